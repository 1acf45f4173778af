"""Everything public is compared with another library, or said to have no counterpart and why."""

import importlib.util
import inspect
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import nn

BENCHMARKS = Path(__file__).resolve().parent.parent / "benchmarks"

WITHOUT_OTHERS = """
import runpy, sys
for library in ("torch", "sklearn", "keras"):
    sys.modules[library] = None
sys.argv = ["torch_agreement.py", *sys.argv[2:]]
runpy.run_path({script!r}, run_name="__main__")
"""


def load_table():
    path = BENCHMARKS / "agreement_table.py"
    spec = importlib.util.spec_from_file_location("agreement_table", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


table = load_table()


def own(module, kind):
    """Return the public classes or functions that a module defines itself."""
    return {
        value.__name__
        for name, value in vars(module).items()
        if kind(value) and value.__module__.startswith(module.__name__) and not name.startswith("_")
    }


def public_names():
    layers = {
        value.__name__  # of an alias that of its class
        for value in (getattr(nn.layers, name) for name in nn.layers.__all__)
        if inspect.isclass(value) and issubclass(value, nn.Layer)
    }
    return {
        "layers": layers,
        "losses": own(nn.losses, inspect.isclass),
        "metrics": {*own(nn.metrics, inspect.isclass), "confusion_matrix"},
        "optimizers": own(nn.optim, inspect.isclass),
        "schedules": {*own(nn.schedules, inspect.isfunction), "ReduceLROnPlateau"},
    }


@pytest.mark.parametrize("group", sorted(public_names()))
def test_every_public_name_is_compared_or_has_a_reason(group):
    names, compared = public_names()[group], set(table.COUNTERPARTS[group])
    without = set(table.NO_COUNTERPART[group])
    assert names - compared - without == set(), "neither in COUNTERPARTS nor in NO_COUNTERPART"
    assert (compared | without) - names == set(), "in the table, and not in nn"
    assert compared & without == set()


def test_what_has_no_counterpart_has_a_reason():
    reasons = [text for group in table.NO_COUNTERPART.values() for text in group.values()]
    assert all(len(text) > 8 for text in reasons)
    every = [text for group in table.COUNTERPARTS.values() for text in group.values()]
    assert all(table.libraries(text) or "activation below" in text for text in every)


def test_the_metrics_by_name_are_functions_of_compared_classes():
    functions = own(nn.metrics, inspect.isfunction) - {"get", "confusion_matrix"}
    classes = {cls.__name__ for cls in nn.metrics.NAME2METRIC.values()}
    assert {
        type(nn.metrics.get(getattr(nn.metrics, name))).__name__ for name in functions
    } <= classes
    assert classes <= set(table.COUNTERPARTS["metrics"])


def test_every_name_of_the_table_stands_in_the_cases():
    files = [path for path in BENCHMARKS.glob("agreement_*.py") if path.stem != "agreement_table"]
    sources = "\n".join(path.read_text(encoding="utf-8") for path in files)
    for group in table.COUNTERPARTS.values():
        for name in group:
            assert re.search(rf"[\"']{name}\b", sources), f"no case is called {name}"


def run_without_others(*arguments):
    code = WITHOUT_OTHERS.format(script=str(BENCHMARKS / "torch_agreement.py"))
    return subprocess.run(
        [sys.executable, "-c", code, "x", *arguments],
        capture_output=True,
        text=True,
        encoding="utf-8",
        env={**os.environ, "PYTHONPATH": str(BENCHMARKS.parent)},
        timeout=120,
    )


def test_the_list_is_printed_without_any_other_library():
    done = run_without_others("--list")
    assert done.returncode == 0, done.stderr
    for group, names in table.COUNTERPARTS.items():
        assert f"{group}:\n" in done.stdout
        for name in {*names, *table.NO_COUNTERPART[group]}:
            assert re.search(rf"^  {name} +\S", done.stdout, flags=re.MULTILINE), name


def test_without_any_other_library_the_comparison_says_so():
    done = run_without_others()
    assert done.returncode == 1
    assert "None of torch, scikit-learn and Keras is installed" in done.stderr

"""The recipes of docs/howto/tracking.md run, without a network, and leave what they promise.

Each recipe is the page's own code, run by a process of its own in an empty folder; a test is
skipped if its package is not installed. All of them:

    python -m pip install optuna wandb mlflow tensorboard tensorboardX
"""

import importlib.util
import os
import re
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "howto" / "tracking.md"
BLOCK = re.compile(r"^```python\n(.*?)^```$", flags=re.MULTILINE | re.DOTALL)
#: No recipe may need a network: a proxy that does not answer takes the place of one.
OFFLINE = dict.fromkeys(("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"),
                        "http://127.0.0.1:9")  # fmt: skip


def recipes():
    """Return the code of each section by the first word of its heading; '' for what all share."""
    shared, *sections = re.split(r"^## ", PAGE.read_text(encoding="utf-8"), flags=re.MULTILINE)
    found = {"": "\n".join(BLOCK.findall(shared))}
    for section in sections:
        found[re.match(r"\w+", section)[0]] = "\n".join(BLOCK.findall(section))
    return found


def run(name, folder, *packages, after=""):
    """Run a recipe in a folder, and then more code; return what that printed."""
    for package in packages:
        if importlib.util.find_spec(package) is None:
            pytest.skip(f"needs {package} (python -m pip install {package})")
    code = recipes()
    script = folder / "recipe.py"
    script.write_text(f"{code['']}\n\n{code[name]}\n{after}", encoding="utf-8")
    home = {"HOME": str(folder), "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, script.name],
        cwd=folder,
        env=os.environ | OFFLINE | home,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout.splitlines()


def test_every_recipe_is_tested():
    assert list(recipes()) == ["", "Optuna", "Weights", "MLflow", "TensorBoard"]
    assert all(recipes().values())


def test_optuna_prunes(tmp_path):
    after = (
        "for t in study.trials: print(t.state.name, len(t.intermediate_values))\n"
        "print(study.best_value > 0.8)"
    )
    *_, best = lines = run("Optuna", tmp_path, "optuna", after=after)
    trials = [line.split() for line in lines[-9:-1]]
    assert best == "True"
    states = {state for state, _ in trials}
    assert states == {"COMPLETE", "PRUNED"}
    for state, epochs in trials:  # a trial that is pruned has not run to its end
        assert int(epochs) == 4 if state == "COMPLETE" else 1 < int(epochs) < 5


def test_wandb_writes_its_run(tmp_path):
    run("Weights", tmp_path, "wandb")
    (written,) = tmp_path.glob("wandb/offline-run-*/run-*.wandb")
    content = written.read_bytes()
    for name in (b"val_acc", b"loss", b"units", b"digits"):
        assert name in content


def test_mlflow_keeps_the_run_in_a_database(tmp_path):
    run("MLflow", tmp_path, "mlflow")
    with sqlite3.connect(tmp_path / "mlflow.db") as database:
        figures = database.execute("select key, step, value from metrics").fetchall()
        arguments = dict(database.execute("select key, value from params").fetchall())
    assert arguments == {"units": "32", "lr": "0.003"}
    assert {key for key, _, _ in figures} == {"loss", "acc", "val_loss", "val_acc", "lr"}
    assert [step for key, step, _ in figures if key == "val_acc"] == [0, 1, 2]
    assert all(0.5 < value <= 1 for key, _, value in figures if key == "val_acc")
    assert list(tmp_path.glob("mlruns/**/artifacts/digits.hdf5"))


def test_tensorboard_reads_both_runs(tmp_path):
    after = """
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

for run in ("train", "validation"):
    events = EventAccumulator(f"logs/first/{run}").Reload()
    print(run, [event.step for event in events.Scalars("epoch_loss")])
"""
    lines = run("TensorBoard", tmp_path, "tensorboardX", "tensorboard", after=after)
    assert lines[-2:] == ["train [0, 1, 2]", "validation [0, 1, 2]"]

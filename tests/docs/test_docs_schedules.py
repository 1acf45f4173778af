"""The page on schedules names them all, its code runs, and its sheet can be drawn."""

import importlib.util
import inspect
import re
import sys
from pathlib import Path

import pytest

from nn.optim import schedules

DOCS = Path(__file__).resolve().parents[2] / "docs"
PAGE = (DOCS / "schedules.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```python\n(.*?)^```$", PAGE, flags=re.MULTILINE | re.DOTALL)
NAMES = [
    name
    for name, function in vars(schedules).items()
    if inspect.isfunction(function)
    and function.__module__ == schedules.__name__
    and not name.startswith("_")
]


def section(name):
    """Return what the page says below the heading of a schedule."""
    parts = re.split(r"^## ", PAGE, flags=re.MULTILINE)
    found = [part for part in parts if part.startswith(f"`{name}`\n")]
    assert len(found) == 1, f"no heading '## `{name}`', or several"
    return found[0]


def load_script():
    spec = importlib.util.spec_from_file_location("make_schedules", DOCS / "make_schedules.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("name", NAMES)
def test_the_page_has_a_formula_a_text_and_code_for_every_schedule(name):
    text = section(name)
    assert re.search(r"^    \S.*rate\(s\) = ", text, flags=re.MULTILINE) or "    rate(s) = " in text
    assert f"schedules.{name}(" in text
    assert name == "by_epoch" or "arXiv" in text


def test_the_page_has_no_heading_for_what_is_not_there():
    assert set(re.findall(r"^## `(\w+)`$", PAGE, flags=re.MULTILINE)) == set(NAMES)


@pytest.mark.parametrize("number", range(len(BLOCKS)))
def test_the_code_on_the_page_runs(number):
    code = compile(BLOCKS[number], f"docs/schedules.md, block {number + 1}", "exec")
    exec(code, {"__name__": "page"})


def test_the_page_has_as_many_blocks_as_there_are_things_to_say():
    assert len(BLOCKS) == len(NAMES) + 5


def test_the_table_of_names_is_that_of_fit():
    from nn.training.arguments import ScheduleArguments

    listed = re.findall(r"^\| `'(\w+)'` \|", PAGE, flags=re.MULTILINE)
    params = {"epochs": 4, "steps": 10}
    for name in listed:
        assert ScheduleArguments(name).callbacks(0.1, params, 1), name
    with pytest.raises(ValueError, match="lr_schedule") as error:
        ScheduleArguments("nonsense").callbacks(0.1, params, 1)
    known = str(error.value).partition("must be one of ")[2].partition(", got")[0]
    assert set(re.findall(r"'(\w+)'", known)) == set(listed)


def test_the_sheet_shows_every_schedule_and_the_call_that_makes_it():
    panels = load_script().PANELS
    assert {name.partition(",")[0] for name, *_ in panels} == set(NAMES)
    for _, call, schedule, _ in panels:
        made = eval(call, {name: getattr(schedules, name) for name in NAMES})
        assert [made(step) for step in range(0, 1001, 7)] == [
            schedule(s) for s in range(0, 1001, 7)
        ]


def test_the_sheet_is_drawn(tmp_path, monkeypatch):
    if importlib.util.find_spec("matplotlib") is None:
        pytest.skip("matplotlib is not installed (the extra 'plot')")
    script = load_script()
    path = tmp_path / "sheet.png"
    monkeypatch.setattr(sys, "argv", ["make_schedules.py", "--out", str(path)])
    script.main()
    data = path.read_bytes()
    assert data.startswith(b"\x89PNG")
    assert 20_000 < len(data) < 150_000


def test_the_committed_sheet_is_small():
    data = (DOCS / "schedules.png").read_bytes()
    assert data.startswith(b"\x89PNG") and len(data) < 150_000
    assert "](schedules.png)" in PAGE

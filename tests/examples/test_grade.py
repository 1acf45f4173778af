"""The grading of submissions: examples/grade.py and the three exercises."""

import csv
import importlib
import re

import numpy as np
import pytest
from conftest import ROOT

EXERCISES = ROOT / "examples" / "exercises"
NAMES = sorted(path.stem for path in EXERCISES.glob("*.py"))


@pytest.fixture
def script(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "examples")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    return importlib.import_module("grade")


def test_each_exercise_has_tests_and_a_solution():
    assert len(NAMES) == 3
    for folder in ("tests", "solutions"):
        assert sorted(path.stem for path in (EXERCISES / folder).glob("*.py")) == NAMES


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_the_solution_passes_and_the_exercise_does_not(name, script, tmp_path, capsys):
    for kind, folder in (("solution", EXERCISES / "solutions"), ("empty", EXERCISES)):
        (tmp_path / f"{kind}.py").write_text((folder / f"{name}.py").read_text())
    assert script.main([str(EXERCISES / "tests" / f"{name}.py"), str(tmp_path)]) == 0
    lines = {line.split()[0]: line for line in capsys.readouterr().out.splitlines()}
    points, most = lines["solution"].split()[1].split("/")
    assert points == most and " - " not in lines["solution"]
    assert lines["empty"].split()[1] == f"0/{most}"
    assert lines["empty"].endswith("not written yet")


TESTS = '''
def test_first(submission):
    """adds"""
    assert submission.add(1, 2) == 3, "1 + 2 must be 3"

def test_second(submission):
    """adds more"""
    assert submission.add(2, 2) == 4

test_second.points = 2.5
'''
SUBMISSIONS = {
    "right": ("def add(a, b):\n    print('noise')\n    return a + b\n", "3.5/3.5", ""),
    "half": ("def add(a, b):\n    return 3\n", "1/3.5", "assert 3 == 4|no message|AssertionError"),
    "wrong": ("def add(a, b):\n    return a - b\n", "0/3.5", r"1 \+ 2 must be 3"),
    "error": ("def add(a, b):\n    return a.x\n", "0/3.5", r"AttributeError: .*'x' \(line 2\)"),
    "syntax": ("def add(:\n", "0/3.5", "cannot be imported: SyntaxError"),
    "exits": ("raise SystemExit(0)\n", "0/3.5", "cannot be imported: SystemExit"),
    "killed": ("import os\nos._exit(0)\n", "0/3.5", "the process ended with status 0"),
    "endless": (
        "def add(a, b):\n    while b == 2 and a == 2: pass\n    return a + b\n",
        "1/3.5",
        "took longer than 5 s",
    ),
}


def test_each_submission_gets_what_it_deserves(script, tmp_path, capsys):
    folder = tmp_path / "submissions"
    for name, (code, _, _) in SUBMISSIONS.items():
        inner = folder / name if name in ("half", "wrong") else folder  # of its own, or not
        inner.mkdir(parents=True, exist_ok=True)
        (inner / f"{'work' if inner != folder else name}.py").write_text(code)
    (tmp_path / "tests.py").write_text(TESTS)
    options = [str(tmp_path / "tests.py"), str(folder), "--timeout", "5", "--jobs", "2"]
    assert script.main([*options, "--csv", str(tmp_path / "grades.csv")]) == 0
    printed = capsys.readouterr().out
    rows = {line.split()[0]: line for line in printed.splitlines()}
    assert re.match(r"submission +points +adds +adds more +first message", rows["submission"])
    for name, (_, points, message) in SUBMISSIONS.items():
        assert rows[name].split()[1] == points, rows[name]
        assert re.search(message, rows[name]), rows[name]
    with (tmp_path / "grades.csv").open(encoding="utf-8") as file:
        saved = {row["submission"]: row for row in csv.DictReader(file)}
    assert set(saved) == set(SUBMISSIONS)
    assert saved["endless"]["adds more"] == "took longer than 5 s"
    assert saved["endless"]["adds"] == ""


OTHERS = {
    "two": "a folder with 2 .py files",
    "none": "a folder with 0 .py files",
    "lesson.ipynb": "a notebook",
    "answer.txt": r"not a \.py file",
}


def test_what_cannot_be_graded_is_in_the_table(script, tmp_path, capsys):
    folder = tmp_path / "submissions"
    for inner in ("two", "none", "__pycache__"):
        (folder / inner).mkdir(parents=True)
    for name in ("two/a.py", "two/b.py", "lesson.ipynb", "answer.txt", ".hidden"):
        (folder / name).write_text("")
    (folder / "right.py").write_text(SUBMISSIONS["right"][0])
    (tmp_path / "tests.py").write_text(TESTS)
    grades = tmp_path / "grades.csv"
    assert script.main([str(tmp_path / "tests.py"), str(folder), "--csv", str(grades)]) == 0
    rows = {line.split()[0]: line for line in capsys.readouterr().out.splitlines()[1:-1]}
    assert set(rows) == {"right", *OTHERS}
    for name, reason in OTHERS.items():
        assert re.search(rf" 0/3\.5 .*not graded: {reason}", rows[name]), rows[name]
    with grades.open(encoding="utf-8") as file:
        assert {row["submission"] for row in csv.DictReader(file)} == set(rows)


def test_the_message_of_numpy_names_a_value(script, tmp_path):
    with pytest.raises(AssertionError) as caught:
        np.testing.assert_allclose(np.zeros((3, 4)), np.ones((3, 4)))
    message = script.short(caught.value, tmp_path)
    assert not message.endswith(":") and "12 / 12" in message
    assert "Max absolute difference" in message or "[0, 0]: 0.0 (ACTUAL)" in message


@pytest.mark.slow
@pytest.mark.parametrize(("name", "code"), [
    ("dense", "import nn\nclass MyDense(nn.Dense):\n    pass\n"),
    ("tanh", "import nn\nclass MyTanh(nn.Tanh):\n    pass\n"),
])  # fmt: skip
def test_a_layer_of_nn_is_no_solution(name, code, script, tmp_path, capsys):
    (tmp_path / "copied.py").write_text(code)
    assert script.main([str(EXERCISES / "tests" / f"{name}.py"), str(tmp_path)]) == 0
    row = capsys.readouterr().out.splitlines()[1]
    assert row.split()[1].startswith("0/"), row
    assert re.search(r"forward\(\) is that of nn\.layers\.\w+: write your own", row)


def test_a_loss_without_its_gradient_is_named(script, tmp_path, capsys):
    (tmp_path / "alone.py").write_text("def cross_entropy(logits, labels):\n    return 1.0\n")
    assert script.main([str(EXERCISES / "tests" / "cross_entropy.py"), str(tmp_path)]) == 0
    row = capsys.readouterr().out.splitlines()[1]
    assert row.endswith("must return the loss and the gradient, got float")


def test_what_is_no_exercise_is_refused(script, tmp_path):
    (tmp_path / "tests.py").write_text("x = 1\n")
    with pytest.raises(SystemExit, match="no functions called test_"):
        script.main([str(tmp_path / "tests.py"), str(tmp_path)])
    (tmp_path / "tests.py").write_text(TESTS)
    (tmp_path / "empty").mkdir()
    with pytest.raises(SystemExit, match="no submissions"):
        script.main([str(tmp_path / "tests.py"), str(tmp_path / "empty")])

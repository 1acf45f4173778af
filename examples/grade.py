"""Grade a folder of submissions with the tests of an exercise, each in its own process.

    python examples/grade.py examples/exercises/tests/dense.py submissions
    python examples/grade.py tests.py submissions --timeout 20 --csv grades.csv

A submission is a `.py` file in the folder, or a folder in it with one; anything else gets a row
without points that says why. The tests are the functions `test_...` of a file; each gets the
submission as a module, and is passed if it raises nothing. Its points are its attribute `points`,
or 1; its name is the first line of its docstring.

A process that takes too long is ended, and keeps the points of the tests before. This is no
sandbox: submissions are programs, and run with your rights.
"""

import argparse
import csv
import importlib.util
import json
import os
import subprocess
import sys
import tempfile
import traceback
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path


@dataclass
class Test:
    """What came of one test: `message` is empty if it was passed."""

    name: str
    points: float
    message: str


@dataclass
class Grade:
    """The tests of one submission."""

    name: str
    tests: list[Test]

    @property
    def points(self):
        return sum(test.points for test in self.tests if not test.message)

    @property
    def most(self):
        return sum(test.points for test in self.tests)

    @property
    def message(self):
        """Return the message of the first test that failed."""
        return next((test.message for test in self.tests if test.message), "")


# -------------------------------------------------------------------------- in the process of one


def load(path, name):
    """Return a file as a module."""
    spec = importlib.util.spec_from_file_location(name, path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def tests_of(path):
    """Return the tests in a file as (name, points, function)."""
    module = load(path, "tests_of_the_exercise")
    found = []
    for name, function in vars(module).items():
        if name.startswith("test_") and callable(function):
            lines = (function.__doc__ or name).strip().splitlines()
            found.append((lines[0], getattr(function, "points", 1), function))
    if not found:
        raise SystemExit(f"{path} has no functions called test_...")
    return found


def short(error, submission):
    """Return an error in one line, with the line of the submission that it comes from."""
    if isinstance(error, NotImplementedError):
        return "not written yet"
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    count = next((n for n, line in enumerate(lines, 1) if n >= 3 and line[-1] != ":"), len(lines))
    words = " ".join(lines[:count])
    if isinstance(error, AssertionError):
        return words or "no message"
    frames = [f for f in traceback.extract_tb(error.__traceback__) if f.filename == str(submission)]
    line = f" (line {frames[-1].lineno})" if frames else ""
    return f"{type(error).__name__}: {words or 'no message'}{line}"


def run_tests(path, submission, results):
    """Run all tests on one submission, and append the result of each to a file as it is known."""
    tests = tests_of(path)
    module, broken = None, ""
    try:
        module = load(submission, "submission")
    except BaseException as error:  # SystemExit too
        broken = f"cannot be imported: {short(error, submission)}"
    for name, _, function in tests:
        message = broken
        if not broken:
            try:
                function(module)
            except BaseException as error:
                message = short(error, submission)
        with results.open("a", encoding="utf-8") as file:
            file.write(json.dumps({"name": name, "message": message}) + "\n")


# ---------------------------------------------------------------------------------- in this process


def grade(tests, path, submission, timeout, threads):
    """Return the grade of one submission, which runs in a process of its own."""
    environment = os.environ | {
        "OMP_NUM_THREADS": str(threads),
        "OPENBLAS_NUM_THREADS": str(threads),
    }
    name = submission.stem if submission.parent == path else submission.parent.name
    with tempfile.TemporaryDirectory() as folder:
        results = Path(folder) / "results.jsonl"
        results.touch()
        command = [sys.executable, __file__, str(tests[0]), str(submission), "--one", str(results)]
        try:
            done = subprocess.run(
                command,
                cwd=folder,
                env=environment,
                timeout=timeout,
                capture_output=True,
                check=False,
            )
            ended = f"the process ended with status {done.returncode}"
        except subprocess.TimeoutExpired:
            ended = f"took longer than {timeout:g} s"
        found = [json.loads(line) for line in results.read_text(encoding="utf-8").splitlines()]
    messages = {each["name"]: each["message"] for each in found}
    return Grade(
        name, [Test(label, points, messages.get(label, ended)) for label, points in tests[1]]
    )


def submissions_in(folder):
    """Return the files to grade, in the folder or alone in one in it, and why others are not."""
    if not folder.is_dir():
        raise SystemExit(f"{folder} is not a folder")
    files, refused = [], {}
    for path in sorted(folder.iterdir()):
        if path.name.startswith((".", "__")):
            continue
        inside = sorted(path.glob("*.py")) if path.is_dir() else [path]
        if len(inside) != 1:
            refused[path.name] = f"not graded: a folder with {len(inside)} .py files, not one"
        elif inside[0].suffix == ".py":
            files += inside
        elif path.suffix == ".ipynb":
            refused[path.name] = "not graded: a notebook, to be saved as a .py file"
        else:
            refused[path.name] = "not graded: not a .py file"
    if not files:
        raise SystemExit(f"{folder} has no submissions, .py files")
    return files, refused


def table(grades):
    """Return the grades as text, with a column for each test."""
    names = [test.name for test in grades[0].tests]
    head = ["submission", "points", *names, "first message"]
    rows = []
    for g in grades:
        marks = ["-" if test.message else "+" for test in g.tests]
        rows.append([g.name, f"{g.points:g}/{g.most:g}", *marks, g.message])
    widths = [max(len(row[i]) for row in [head, *rows]) for i in range(len(head) - 1)]
    lines = []
    for row in [head, *rows]:
        cells = [text.ljust(width) for text, width in zip(row, widths, strict=False)]
        lines.append("  ".join([*cells, row[-1]]).rstrip())
    return "\n".join(lines)


def save_csv(grades, path):
    """Write a row for each submission: its points, and the message of each test."""
    with Path(path).open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["submission", "points", "of", *(t.name for t in grades[0].tests)])
        for g in grades:
            writer.writerow([g.name, g.points, g.most, *(t.message for t in g.tests)])


def parse_arguments(arguments):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("tests", type=Path, help="the file with the tests")
    parser.add_argument("submissions", type=Path, help="the folder with the submissions")
    parser.add_argument("--timeout", type=float, default=60, help="seconds for each submission")
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="processes at a time")
    parser.add_argument("--csv", type=Path, help="also write the grades to this file")
    parser.add_argument("--one", type=Path, help=argparse.SUPPRESS)  # used for the processes
    options = parser.parse_args(arguments)
    if not options.tests.is_file():
        parser.error(f"{options.tests} is not a file")
    if options.timeout <= 0 or options.jobs <= 0:
        parser.error("--timeout and --jobs must be positive")
    return options


def main(arguments=None):
    options = parse_arguments(arguments)
    if options.one:
        run_tests(options.tests, options.submissions, options.one)
        return 0
    path = options.tests.resolve()
    tests = path, [(name, points) for name, points, _ in tests_of(path)]
    folder = options.submissions.resolve()
    files, refused = submissions_in(folder)
    threads = max(1, (os.cpu_count() or 1) // options.jobs)
    with ThreadPoolExecutor(options.jobs) as pool:
        ask = partial(grade, tests, folder, timeout=options.timeout, threads=threads)
        grades = list(pool.map(ask, files))
    for name, reason in refused.items():
        grades.append(Grade(name, [Test(label, points, reason) for label, points in tests[1]]))
    grades.sort(key=lambda each: each.name)
    print(table(grades))
    if options.csv:
        save_csv(grades, options.csv)
        print(f"Grades: {options.csv}")
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""Users' cases: scripts beside the checkout that exit with 0 if nn does right by the user.

They are run as they are, each in a folder and a process of its own. Some attack parts of nn
that have another place or another design now; those are run with the names of today, or are
replaced by a test of the same promise.
"""

import ast
import importlib.util
import os
import subprocess
import sys

import pytest
from conftest import ROOT

CASES = ROOT.parent / "shared" / "cases"
SCRIPTS = sorted([*CASES.glob("*.py"), *CASES.glob("attacks/*.py")])

WAITING: dict[str, str] = {}  # stems of scripts, and what they wait for
REPLACED = {  # by a test of the same promise; the script itself uses classes that are gone
    "b4_overlap_deterministic": (
        "tests/kernels/test_memory.py::"
        "test_an_exception_at_any_line_or_instruction_never_makes_arrays_overlap"
    ),
}
RENAMED = [  # what a script calls it, and what it is called
    (
        "from nn.kernels import jit, array",
        "from nn.kernels.cpu import compiled as jit, tuned as array",
    ),
    ("from nn.kernels import jit", "from nn.kernels.cpu import compiled as jit"),
    ('"nn", "kernels", "vectors.py"', '"nn", "kernels", "cpu", "compiled", "vectors.py"'),
    ("        def numbers", "        number = {4"),  # how the function begins that a script changes
]


def missing_package(source):
    """Return a package that a script needs and that is not installed, or None."""
    if "import compiled" in source and importlib.util.find_spec("numba") is None:
        return "numba"
    for node in ast.walk(ast.parse(source)):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        if isinstance(node, ast.ImportFrom):
            names = [node.module]
        for name in names:
            package = name.partition(".")[0]
            if importlib.util.find_spec(package) is None:
                return package
    return None


@pytest.mark.slow
@pytest.mark.skipif(not SCRIPTS, reason="the users' cases are not beside the checkout")
@pytest.mark.parametrize("script", SCRIPTS, ids=[script.stem for script in SCRIPTS])
def test_nn_does_right_by_the_user(script, tmp_path):
    if script.stem in WAITING:
        pytest.skip(WAITING[script.stem])
    if script.stem in REPLACED:
        file, _, test = REPLACED[script.stem].partition("::")
        assert f"def {test}(" in (ROOT / file).read_text()
        return
    source = script.read_text()
    for old, new in RENAMED:
        source = source.replace(old, new)
    if package := missing_package(source):
        pytest.skip(f"the script needs {package}")
    copy = tmp_path / script.name
    copy.write_text(source)
    done = subprocess.run(
        [sys.executable, copy.name],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=500,
    )
    assert done.returncode == 0, f"{done.stdout[-2000:]}\n{done.stderr[-2000:]}"

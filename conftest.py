"""The examples in the docstrings of `nn.plot` are skipped where matplotlib is not installed."""

import importlib.util
from pathlib import Path

import pytest

PLOT = Path(__file__).parent / "nn" / "plot"
IS_MISSING = importlib.util.find_spec("matplotlib") is None

collect_ignore = ["nn/plot/notebook.py"] if IS_MISSING else []  # it cannot even be imported


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the examples in that folder."""
    for item in items:
        if IS_MISSING and PLOT in item.path.parents:
            item.add_marker(pytest.mark.skip(reason="needs matplotlib, the extra 'plot'"))

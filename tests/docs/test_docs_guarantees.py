"""The page of guarantees names tests that exist, and no guarantee is without one."""

import re

from conftest import ROOT

PAGE = (ROOT / "docs" / "guarantees.md").read_text(encoding="utf-8")


def test_every_test_and_script_that_is_named_exists():
    named = re.findall(r"`(test_\w+\.py)::(test_\w+)`", PAGE)
    assert len(named) > 30
    for file, test in named:
        (path,) = (ROOT / "tests").rglob(file)
        text = path.read_text(encoding="utf-8")
        assert f"\ndef {test}(" in text, f"{file} has no {test}"
    for script in re.findall(r"`((?:tests|benchmarks)/\w+\.py)[ `]", PAGE):
        assert (ROOT / script).is_file(), script


def test_every_guarantee_has_a_test():
    rows = [line for line in PAGE.splitlines() if line.startswith("| ")]
    guarantees = [row for row in rows if not row.startswith(("| guarantee", "| ---"))]
    assert len(guarantees) > 20
    for row in guarantees:
        assert "::test_" in row, row

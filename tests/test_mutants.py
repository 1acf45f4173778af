"""The page of mutants that survive speaks of the code as it is, and `mutants.py` keeps it so."""

import mutants
import pytest
from conftest import ROOT

HEAD, REASONS = mutants.read_page(mutants.PAGE.read_text(encoding="utf-8"))


def test_every_mutant_on_the_page_has_a_reason():
    assert sum(map(len, REASONS.values())) > 50
    assert mutants.NEW not in REASONS
    assert mutants.write_page(HEAD, REASONS) == mutants.PAGE.read_text(encoding="utf-8")


@pytest.mark.parametrize("reason", REASONS)
def test_the_lines_on_the_page_are_in_the_code(reason):
    """Else they were changed since, and `mutmut run` has to look again."""
    for mutant in REASONS[reason]:
        where, *lines = mutant.splitlines()
        source = (ROOT / where.partition(": ")[0]).read_text(encoding="utf-8")
        code = {line.strip() for line in source.splitlines()}
        removed = [line[1:].strip() for line in lines if line.startswith("-")]
        assert removed and set(removed) <= code, mutant


def test_the_page_is_brought_up_to_date():
    reasons = {"It is the same.": ["a", "b", "b"], "It costs time.": ["c"]}
    assert mutants.compare(reasons, ["a", "b", "c", "d"]) == (["d"], ["b"])
    renewed = mutants.renew(reasons, ["d"], ["b"])
    assert renewed == {"It is the same.": ["a", "b"], "It costs time.": ["c"], mutants.NEW: ["d"]}
    assert mutants.compare(renewed, ["a", "b", "c", "d"]) == ([], [])
    text = mutants.write_page("# Head", renewed)
    assert mutants.read_page(text) == ("# Head\n\n", renewed)

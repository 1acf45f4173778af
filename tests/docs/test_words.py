"""Public text uses the terms of the field: words and phrases that it avoids, with those to use."""

import re

import pytest
from conftest import ROOT

#: A pattern to avoid, and what to write instead. Case does not matter.
WORDS = {
    r"pictures?": "image",
    r"turn(s|ed|ing)? round": "flip, rotate, reverse",
    r"anew": "again",
    r"beside": "next to, together with",
    r"put(s|ting)? out": "return, output",
    r"(is|are|be|been) told": "is called with, gets",
    r"of yours": "your own, custom",
    r"hand(s|ed|ing)? (to|out|over|on|back)\b(?! (a|the) desktop)": "pass, return",
    r"what stands": "the contents",
    r"from behind": "in reverse",
    r"things": "the name of what is meant",
    r"nobody": "not",
    r"as it came": "unchanged",
    r"has learned": "is trained",
    r"look(s|ed)? at once": "use once",
    r"at the door": "on input",
    r"where (there|it|they|nn) (is|are|has|have|does|do|was|were) (no|none|not|any|given)": "if",
    r"where (it|they|that) (is|are) (there|missing|wanted|needed|installed|left out)": "if",
    r"in the place of": "instead of",
    r"the way of a": "flow",
    r"tells? (of|whether)": "return, report",
    r"as (it|they) (is|are) given": "unchanged",
    r"what .{1,40} (does|is) to\b": "the effect of",
}
#: Uses that are right: the file, and the text that a pattern finds there.
ALLOWED: dict[str, set[str]] = {}
#: Files whose text has not been revised yet.
LATER: set[str] = set()


def public_files():
    """Return the files whose text users read, by their names in the project."""
    found = [ROOT / "README.md", ROOT / "CONTRIBUTING.md"]
    for folder, pattern in (
        *(("nn", "*.py"), ("docs", "*.md"), ("examples", "*.py")),
        *(("notebooks", "*.py"), ("notebooks", "*.md")),
    ):
        found += sorted((ROOT / folder).rglob(pattern))
    names = {path.relative_to(ROOT).as_posix(): path for path in found}
    return {name: path for name, path in names.items() if name not in LATER}


FILES = public_files()


def found_in(text):
    """Yield each match of a pattern, with its words around it, in text joined to one line."""
    line = re.sub(r"\n\s*(# ?)?", " ", text)
    for pattern, instead in WORDS.items():
        for match in re.finditer(rf"\b(?:{pattern})\b", line, flags=re.IGNORECASE):
            around = line[max(match.start() - 40, 0) : match.end() + 40]
            yield match.group(), f"{around!r}: use {instead!r}"


@pytest.mark.parametrize("name", FILES)
def test_public_text_uses_the_terms_of_the_field(name):
    text = FILES[name].read_text(encoding="utf-8")
    allowed = ALLOWED.get(name, set())
    assert [message for words, message in found_in(text) if words not in allowed] == []


def test_words_are_found_across_lines_and_in_any_case():
    text = "Pictures are\n# put out where there\n    is no room beside them."
    found = [words for words, _ in found_in(text)]
    assert found == ["Pictures", "beside", "put out", "where there is no"]
    assert list(found_in("An image is returned if there is no room next to it.")) == []

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
    r"where (there|it|they|nn) (is|are|has|have|does|do|was|were) (no|none|not|any|one|given)": "if",
    r"where (it|they|that) (is|are) (there|missing|wanted|needed|installed|possible|left out)": "if",
    r"in the place of": "instead of",
    r"the way of a": "flow",
    r"tells? (of|whether)": "return, report",
    r"as (it|they) (is|are) given": "unchanged",
    r"what .{1,40} (does|is) to\b": "the effect of",
}
FILES = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    *sorted((ROOT / "nn").rglob("*.py")),
    *sorted((ROOT / "docs").rglob("*.md")),
    *sorted((ROOT / "examples").glob("*.py")),
    *sorted((ROOT / "notebooks").glob("*.*")),
]
#: Uses that are right, by file and matched text.
ALLOWED: dict[tuple[str, str], str] = {}

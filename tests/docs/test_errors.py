"""The page of common errors shows the messages that nn raises."""

import importlib.util

from conftest import ROOT

specification = importlib.util.spec_from_file_location("make_errors", ROOT / "docs/make_errors.py")
make_errors = importlib.util.module_from_spec(specification)
specification.loader.exec_module(make_errors)


def test_the_messages_on_the_page_are_those_raised():
    page = make_errors.PAGE.read_text(encoding="utf-8")
    renewed = make_errors.renewed(page)  # a loss too large is inf, or nan with other kernels
    renewed = renewed.replace("the loss is nan", "the loss is inf")
    assert renewed == page, "run: python docs/make_errors.py"


def test_every_example_is_a_mistake():
    page = make_errors.PAGE.read_text(encoding="utf-8")
    examples = make_errors.EXAMPLE.findall(page)
    assert len(examples) >= 20
    assert page.count("\n### ") == len(examples)

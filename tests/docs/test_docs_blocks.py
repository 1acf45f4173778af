"""The code on the pages runs, and the code that they quote is that of nn.

Every block of Python in the README and in docs/ runs, in order, with one namespace for a page. Two
kinds are left out: quotes below `<!-- source: ... -->`, which are compared with the code, and
blocks below `<!-- no-run: the reason -->`, of which there are to be few.
"""

import contextlib
import importlib.util
import io
import re
import shutil
from pathlib import Path

import pytest

import nn

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
PAGES = {path.relative_to(ROOT).as_posix(): path for path in [ROOT / "README.md"]}
PAGES |= {path.relative_to(ROOT).as_posix(): path for path in sorted(DOCS.rglob("*.md"))}
BLOCK = re.compile(
    r"(?:^<!-- (?P<mark>source|no-run): (?P<note>.*?) -->\n)?^```python\n(?P<code>.*?)^```$",
    flags=re.MULTILINE | re.DOTALL,
)
# What a page needs beside nn, by what is written in it.
EXTRAS = {
    "nn.plot.": ("matplotlib", "plot"),
    "PIL": ("PIL", "images"),
    "nn.NN": ("sklearn", "sklearn"),
}


def blocks(page, mark=None):
    """Return (line, code, note) of the page's blocks with a mark, or of those without one."""
    text = PAGES[page].read_text(encoding="utf-8")
    return [
        (text.count("\n", 0, found.start("code")), found["code"], found["note"])
        for found in BLOCK.finditer(text)
        if found["mark"] == mark
    ]


def load_quotes():
    spec = importlib.util.spec_from_file_location("make_quotes", DOCS / "make_quotes.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def reader(tmp_path, monkeypatch):
    """A reader's folder with the sample, files of PyTorch and Keras, no network, own registries."""
    (tmp_path / "mnist_dataset").mkdir()
    for path in (ROOT / "mnist_dataset").glob("sample-*"):
        shutil.copy(path, tmp_path / "mnist_dataset")
    fixtures = ROOT / "tests" / "exchange" / "fixtures"
    shutil.copy(fixtures / "weights.pt", tmp_path)
    shutil.copy(fixtures / "from_onnx" / "residual_new21.onnx", tmp_path / "network.onnx")
    shutil.copy(fixtures / "from_keras" / "images.keras", tmp_path / "model.keras")
    monkeypatch.chdir(tmp_path)
    load = nn.data.load_mnist_or_sample
    monkeypatch.setattr(nn.data, "load_mnist_or_sample", lambda path: load(path, download=False))
    registries = (nn.layers.NAME2LAYER, nn.losses.NAME2LOSS, nn.optim.NAME2OPTIMIZER)
    before = [dict(registry) for registry in registries]
    yield tmp_path
    for registry, content in zip(registries, before, strict=True):
        registry.clear()
        registry.update(content)


def test_the_first_page_has_the_lines_of_the_readme():
    (_, code, _), *others = blocks("docs/index.md")
    assert code == blocks("README.md")[0][1]  # so it runs there
    assert not others


# The examples of docs/errors.md raise errors; test_errors.py runs them. Those of tracking.md need
# a package each; test_tracking.py runs them.
ELSEWHERE = ("docs/index.md", "docs/errors.md", "docs/howto/tracking.md")
RUNNING = [p for p in PAGES if blocks(p) and p not in ELSEWHERE]


@pytest.mark.parametrize("page", RUNNING)
def test_the_code_on_the_page_runs(page, reader):
    code = blocks(page)
    for text, (module, extra) in EXTRAS.items():
        if any(text in lines for _, lines, _ in code) and not importlib.util.find_spec(module):
            pytest.skip(f"needs {module} (the extra '{extra}')")
    namespace = {"__name__": "page"}
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        for line, lines, _ in code:
            # Blank lines before it: an error names the line of the page.
            exec(compile("\n" * line + lines, page, "exec"), namespace)


@pytest.mark.parametrize("page", [page for page in PAGES if blocks(page, "source")])
def test_what_the_page_quotes_is_the_code(page):
    text = PAGES[page].read_text(encoding="utf-8")
    assert load_quotes().renewed(text) == text, "run python docs/make_quotes.py"


def test_every_page_of_the_guide_quotes_the_code():
    guide = [page for page in PAGES if page.startswith("docs/guide/")]
    assert len(guide) >= 9
    for page in guide:
        assert page.endswith("index.md") or blocks(page, "source"), page


def test_a_quote_is_the_function_without_its_docstring():
    quotes = load_quotes()
    assert quotes.lines_of(quotes.find("nn.initializers.ones")) == (
        "def ones(shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:\n"
        "    return np.ones(shape)\n"
    )
    part = quotes.lines_of(quotes.find("nn.layers.Conv2DTranspose.linear"), "if b is not None")
    assert part == (
        "if b is not None:\n    y += b.reshape(-1, 1, 1)  # (F,) -> (F, 1, 1)\nreturn y\n"
    )
    stale = "<!-- source: nn.initializers.ones -->\n```python\nold\n```"
    assert "return np.ones(shape)" in quotes.renewed(stale)


def test_few_blocks_are_left_out_and_each_for_a_reason():
    left_out = [(page, note) for page in PAGES for _, _, note in blocks(page, "no-run")]
    assert len(left_out) <= 3
    assert all(len(note.split()) >= 3 for _, note in left_out), left_out


def test_no_block_escapes_the_test():
    for page, path in PAGES.items():
        text = path.read_text(encoding="utf-8")
        found = sum(len(blocks(page, mark)) for mark in (None, "source", "no-run"))
        assert found == len(re.findall(r"^\s*```\s*(?:python|py)\b", text, flags=re.M)), page

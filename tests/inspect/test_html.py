"""What notebooks show of models, histories and datasets: read back as HTML, SVG and PNG."""

import base64
import io
import math
import sys
from html.parser import HTMLParser
from xml.etree import ElementTree

import numpy as np
import pytest

import nn
from nn.callbacks import History

EVIL = "<script>alert('1')</script>&\"\n"
SHOWN = EVIL[:-1] + "\\n"
VOID = ("img", "circle", "path", "polyline")


class Page(HTMLParser):
    """The elements of a page, its tables as lists of cells, and all its text."""

    def __init__(self, source):
        super().__init__()
        self.elements, self.tables, self.words, self._open = [], [], "", []
        self.feed(source)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))
        if tag not in VOID:
            self._open.append(tag)
        if tag == "table":
            self.tables.append([])
        elif tag == "tr":
            self.tables[-1].append([])
        elif tag in ("td", "th"):
            self.tables[-1][-1].append("")

    def handle_startendtag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))

    def handle_endtag(self, tag):
        assert self._open.pop() == tag

    def handle_data(self, data):
        self.words += data
        if self._open and self._open[-1] in ("td", "th"):
            self.tables[-1][-1][-1] += data

    def named(self, tag):
        return [attributes for name, attributes in self.elements if name == tag]


def page(thing):
    """Return what a notebook shows, after checks that hold for all pages."""
    source = thing._repr_html_()
    assert source.isprintable()
    found = Page(source)
    tags = {tag for tag, _ in found.elements}
    assert not tags & {"script", "link", "style", "iframe", "object", "form", "input", "b"}
    for _, attributes in found.elements:
        assert not any(name.startswith("on") or name == "href" for name in attributes)
        assert attributes.get("src", "data:image/png;base64,").startswith("data:image/png;base64,")
        assert "url(" not in (attributes.get("style") or "")
    for head in found.named("th"):
        assert head["scope"] in ("col", "row")
    assert len(found.named("caption")) == len(found.named("table"))
    for image in found.named("img"):
        assert image["alt"]
    return found


# ----------------------------------------------------------------------------------- a model


def test_a_model_is_its_summary():
    inner = nn.Residual([nn.Dense(4, name=EVIL), nn.ReLU()])
    model = nn.Model([nn.Dense(4, input_shape=(3,)), inner], name=EVIL)
    found = page(model)
    assert found.tables == [
        [
            ["Layer", "Output shape", "Parameters"],
            ["Dense", "(None, 4)", "16"],
            ["Residual", "(None, 4)", ""],
            [f"{SHOWN} (Dense)", "(None, 4)", "20"],
            ["ReLU", "(None, 4)", "0"],
            ["36 parameters, 36 of them trainable"],
            ["144 bytes of parameters, 64 bytes of outputs per sample"],
        ]
    ]
    assert found.words.startswith(SHOWN)
    rows = [cell for cell in found.named("th") if cell["scope"] == "row"]
    assert ["padding-left:1.5em" in row["style"] for row in rows] == [False, False, True, True]


def test_a_model_that_is_not_built_and_an_empty_one():
    assert page(nn.Model([nn.Dense(2)])).tables[0][1] == ["Dense", "not built", "0"]
    assert len(page(nn.Model()).tables[0]) == 3


# --------------------------------------------------------------------------------- a history


def test_a_history_has_curves_and_a_table():
    history = History(
        loss=[2.0, 1.0, 0.5], val_loss=[2.0, 1.5, 1.75], acc=[0.1, 0.2, 0.3], lr=[1e-4] * 3
    )
    found = page(history)
    assert found.tables == [
        [
            ["Figure", "First", "Last", "Lowest (epoch)", "Highest (epoch)"],
            ["loss", "2.0000", "0.5000", "0.5000 (3)", "2.0000 (1)"],
            ["val_loss", "2.0000", "1.7500", "1.5000 (2)", "2.0000 (1)"],
            ["acc", "0.1000", "0.3000", "0.1000 (1)", "0.3000 (3)"],
            ["lr", "0.0001", "0.0001", "0.0001 (1)", "0.0001 (1)"],
        ]
    ]
    loss, val_loss, acc = (line["points"] for line in found.named("polyline"))
    left, right, top, bottom = 52, 52 + 260, 24, 24 + 120
    assert loss == f"{left}.0,{top}.0 {left + 130}.0,104.0 {right}.0,{bottom}.0"
    assert val_loss.split()[2] == f"{right}.0,44.0"  # 1.75 lies a sixth of 120 below 2
    assert acc.split()[0] == f"{left}.0,{bottom}.0"
    assert [drawing["role"] for drawing in found.named("svg")] == ["img", "img"]
    assert (
        found.named("svg")[0]["aria-label"] == "loss 0.5000 at the end; val_loss 1.7500 at the end"
    )
    dashes = ["stroke-dasharray" in line for line in found.named("polyline")]
    assert dashes == [False, True, False]


def test_the_drawings_are_sound_svg():
    history = History({"loss": [1.0, 0.5], "val_loss": [1.0, 0.5], "acc": [0.5]})
    source = history._repr_html_()
    start = source.index("<svg")
    drawings = source[start : source.rindex("</svg>") + 6].split("</svg>")[:-1]
    for drawing in drawings:
        root = ElementTree.fromstring(drawing + "</svg>")
        assert root.tag == "{http://www.w3.org/2000/svg}svg"
    assert len(drawings) == 2


@pytest.mark.parametrize(
    ("losses", "lines", "dots"),
    [
        ([], 0, 0),
        ([0.5], 0, 1),
        ([0.5, 0.5], 1, 0),
        ([math.nan, math.nan], 0, 0),
        ([1.0, 0.9, math.nan, 0.8, 0.7, math.inf, 0.5], 2, 1),
        ([1e308, -1e308], 1, 0),
        ([1e-320, 0.0], 1, 0),
    ],
)
def test_curves_break_where_a_figure_is_missing(losses, lines, dots):
    found = page(History({"loss": losses}))
    assert len(found.named("polyline")) == lines
    assert len(found.named("circle")) == dots
    for line in found.named("polyline"):
        for point in line["points"].split():
            x, y = map(float, point.split(","))
            assert 52 <= x <= 312
            assert 24 <= y <= 144


def test_figures_of_the_users_are_in_the_table_alone():
    found = page(History({EVIL: [0.5, math.nan], "val_acc": [0.25, 0.5]}))
    assert found.tables[0][1] == [SHOWN, "0.5000", "nan", "0.5000 (1)", "0.5000 (1)"]
    assert len(found.named("svg")) == 1
    assert page(History()).words == "Training history, 0 epochs"
    assert page(History({"x": [math.nan]})).tables[0][1][3:] == ["-", "-"]


def test_what_fit_returns_shows_itself():
    model = nn.Model([nn.Dense(2, input_shape=(2,))], seed=0)
    model.compile("cce")
    history = model.fit(np.eye(2), [0, 1], epochs=3, verbose=0)
    assert page(history).words.count("loss") >= 2


# --------------------------------------------------------------------------------- a dataset


def images(found):
    from PIL import Image

    sources = [image["src"].partition(",")[2] for image in found.named("img")]
    return [np.asarray(Image.open(io.BytesIO(base64.b64decode(code)))) for code in sources]


def test_a_dataset_of_images():
    x = np.arange(6 * 4 * 5, dtype=np.uint8).reshape(6, 1, 4, 5)
    found = page(nn.Dataset(x, [1, 1, 0, 0, 1, 3], class_names=["a", EVIL, "c", "層"]))
    facts, counts = found.tables
    assert facts == [
        ["Samples", "6"],
        ["x", "(6, 1, 4, 5), uint8, 120 bytes"],
        ["y", "(6,), int64"],
        ["Classes", "4"],
    ]
    assert counts[1:] == [["a", "2"], [SHOWN, "3"], ["c", "0"], ["層", "1"]]
    assert [image["alt"] for image in found.named("img")] == ["a", SHOWN, "層"]
    for shown, row in zip(images(found), (2, 0, 5), strict=True):
        np.testing.assert_array_equal(shown, x[row, 0])


def test_images_in_colour_and_in_floats():
    x = np.zeros((3, 3, 2, 2), dtype=np.float32)
    x[0, 1], x[1, 2], x[2, 0] = 1.0, 0.5, np.nan
    green, blue, black = images(page(nn.Dataset(x)))
    np.testing.assert_array_equal(green, np.broadcast_to([0, 255, 0], (2, 2, 3)))
    np.testing.assert_array_equal(blue, np.broadcast_to([0, 0, 128], (2, 2, 3)))
    np.testing.assert_array_equal(black, 0)
    (spread,) = images(page(nn.Dataset([[[[-2.0, 0.0, 2.0]]]])))
    np.testing.assert_array_equal(spread, [[0, 128, 255]])
    (flat,) = images(page(nn.Dataset([[[[7.0, 7.0]]]])))
    np.testing.assert_array_equal(flat, [[0, 0]])


def test_large_images_are_thinned_out_and_there_are_ten_at_most():
    x = np.zeros((30, 1, 300, 200), dtype=np.uint8)
    found = page(nn.Dataset(x, np.arange(30)))
    assert [shown.shape for shown in images(found)] == [(100, 67)] * 10
    assert (found.named("img")[0]["height"], found.named("img")[0]["width"]) == ("64", "43")
    assert found.tables[1][-1] == ["and 10 more"]
    assert len(found.tables[1]) == 1 + 20 + 1


def test_other_data_have_no_images(monkeypatch):
    found = page(
        nn.Dataset(np.zeros((4, 3)), [[0.5], [1.5], [2.5], [-1.0]], sample_weight=[1, 2, 3, 4])
    )
    assert found.tables == [
        [
            ["Samples", "4"],
            ["x", "(4, 3), float64, 96 bytes"],
            ["y", "(4, 1), float64, -1.0000 to 2.5000"],
            ["sample_weight", "1.0000 to 4.0000"],
        ]
    ]
    assert found.named("img") == page(nn.Dataset(np.zeros((4, 2, 3, 3)))).named("img") == []
    monkeypatch.setitem(sys.modules, "PIL", None)
    assert page(nn.Dataset(np.zeros((4, 1, 3, 3)))).named("img") == []


def test_labels_that_are_any_numbers():
    found = page(nn.Dataset(np.zeros((3, 1)), [5, 10**9, 5]))
    assert found.tables[1][1:] == [["5", "2"], ["1000000000", "1"]]
    found = page(nn.Dataset(np.zeros((2, 1)), np.eye(2)))
    assert found.tables[1][1:] == [["0", "1"], ["1", "1"]]
    assert len(page(nn.Dataset(np.zeros((2, 1)), [-1, 1])).tables) == 1


def test_a_set_in_a_file_is_not_read_whole(tmp_path, monkeypatch):
    np.save(tmp_path / "x.npy", np.zeros((40, 1, 4, 4), dtype=np.uint8))
    data = nn.Dataset(np.load(tmp_path / "x.npy", mmap_mode="r"), np.arange(40) % 2)
    part = data.split(0.5)[0]  # its x is a `Rows`

    def refuse(*_, **__):
        raise AssertionError("all rows are read")

    monkeypatch.setattr(type(part.x), "__array__", refuse)
    assert len(page(part).named("img")) == 2

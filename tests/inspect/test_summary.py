"""Summary and repr of models, and the columns of text under them, to the letter."""

import ast

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import nn
from nn import text
from nn.inspect.summary import summarize


def test_summary_of_a_small_network():
    stack = [
        nn.Conv2D(4, 3, input_shape=(1, 8, 8), activation="relu"),
        nn.MaxPool2D(),
        nn.Flatten(),
        nn.Dense(10, trainable=False),
    ]
    rule = "-" * 38
    assert nn.Model(stack, name="tiny").summary().splitlines() == [
        "tiny",
        rule,
        "Layer      Output shape     Parameters",
        rule,
        "Conv2D     (None, 4, 8, 8)          40",
        "MaxPool2D  (None, 4, 4, 4)           0",
        "Flatten    (None, 64)                0",
        "Dense      (None, 10)              650",
        rule,
        "690 parameters, 40 of them trainable",
        "2.7 KB of parameters, 1.5 KB of outputs per sample",  # 690 and 394 numbers of 4 bytes
    ]


def test_summary_with_names_of_all_widths_stays_in_line():
    inner = nn.Sequential([nn.Dense(3, name="層"), nn.ReLU(name="e\u0301")], name="a longer name")
    model = nn.Model([inner, nn.Dense(2, name="bell\x07\n")], name="two\nlines")
    model.build((None, 5))
    rule = "-" * 52
    assert model.summary().splitlines() == [
        "two\\nlines",
        rule,
        "Layer                       Output shape  Parameters",
        rule,
        "a longer name (Sequential)  (None, 3)",
        "  層 (Dense)                (None, 3)             18",
        "  e\u0301 (ReLU)                  (None, 3)              0",
        "bell\\x07\\n (Dense)          (None, 2)              8",
        rule,
        "26 parameters, 26 of them trainable",
        "104 bytes of parameters, 32 bytes of outputs per sample",
    ]


def test_summary_of_a_model_that_is_not_built_and_of_none():
    lines = nn.Model([nn.ReLU(), nn.Dense(2)]).summary().splitlines()
    assert lines[4:] == [
        "ReLU   not built              0",
        "Dense  not built              0",
        lines[1],
        "0 parameters, 0 of them trainable",
    ]
    assert nn.Model().summary().splitlines()[-1].startswith("0 bytes of parameters, 0 bytes")


def test_memory_in_float64_is_twice_that_in_float32():
    def look(dtype):
        return summarize(nn.Model([nn.Dense(7, input_shape=(3,))], dtype=dtype))

    one, two = look("float32"), look("float64")
    assert (one.parameter_bytes, one.output_bytes) == (4 * 28, 4 * 7)
    assert (two.parameter_bytes, two.output_bytes) == (8 * 28, 8 * 7)


def test_outputs_are_those_that_the_layers_really_make():
    model = nn.zoo.resnet20(input_shape=(3, 8, 8), seed=0)
    made = []
    with nn.observe(model, on_output=lambda name, layer, y: made.append((layer, y))):
        model.forward(np.zeros((1, 3, 8, 8), dtype=np.float32))
    outputs = sum(array.nbytes for layer, array in made if not isinstance(layer, nn.Sequential))
    assert summarize(model).output_bytes == outputs


def test_repr_in_one_line_and_in_several():
    assert repr(nn.Model()) == "Model([])"
    short = nn.Model([nn.ReLU(), nn.Dropout(0.5)], name="x", dtype="float64")
    assert repr(short) == "Model([ReLU(), Dropout(rate=0.5)], name='x', dtype='float64')"
    main = [nn.Dense(4, use_bias=False), nn.Sequential([nn.ReLU(), nn.Dense(2)], name="inner")]
    model = nn.Model([nn.Residual(main, shortcut=[nn.Dense(2)]), nn.Flatten()])
    assert repr(model).splitlines() == [
        "Model([",
        "    Residual([",
        "        Dense(units=4, use_bias=False),",
        "        Sequential([",
        "            ReLU(),",
        "            Dense(units=2, use_bias=True),",
        "        ], name='inner'),",
        "    ], shortcut=[",
        "        Dense(units=2, use_bias=True),",
        "    ]),",
        "    Flatten(),",
        "])",
    ]


def test_repr_is_code_that_makes_the_same_model():
    model = nn.Model([nn.Dense(4, input_shape=(3,)), nn.Residual([nn.Dense(4), nn.ReLU()])])
    tree = ast.parse(repr(model), mode="eval")
    again = eval(compile(tree, "repr", "eval"), vars(nn))
    assert repr(again) == repr(model)
    assert again.summary() == model.summary()


@pytest.mark.parametrize(
    ("count", "says"),
    [
        (0, "0 bytes"),
        (1023, "1,023 bytes"),
        (1024, "1.0 KB"),
        (1024 * 1024 - 1, "1.0 MB"),
        (1536 * 1024, "1.5 MB"),
        (1024**3, "1.0 GB"),
        (2048 * 1024**4, "2,048.0 TB"),
    ],
)
def test_sizes(count, says):
    assert text.size(count) == says


@pytest.mark.parametrize(
    ("seconds", "says"), [(0.4, "00:00"), (59.6, "01:00"), (3599.7, "1:00:00"), (90000, "25:00:00")]
)
def test_durations(seconds, says):
    assert text.duration(seconds) == says


@given(st.lists(st.tuples(st.text(max_size=9), st.text(max_size=9)), min_size=1, max_size=5))
def test_a_table_of_any_text_is_in_line(rows):
    rows = [tuple(map(text.printable, row)) for row in rows]
    lines = text.table(rows, right=[1])
    first = max(text.width(a) for a, _ in rows)
    whole = first + 2 + max(text.width(b) for _, b in rows)
    for (a, b), line in zip(rows, lines, strict=True):
        assert line.startswith(a.rstrip())
        assert line.endswith(b.rstrip())
        if b.rstrip() == b != "":
            assert text.width(line) == whole


@given(st.text(max_size=20), st.integers(0, 30))
def test_what_is_cut_fits_and_begins_alike(words, columns):
    short = text.cut(words, columns)
    assert words.startswith(short)
    assert text.width(short) <= columns
    assert short == words or text.width(words) > columns
    assert text.printable(words).isprintable()

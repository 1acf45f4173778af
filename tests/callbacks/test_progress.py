"""What `fit` shows: what a reader sees in terminals of all widths, in files and in notebooks."""

import contextlib
import math
import os
import re
import sys
import threading
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest

import nn
from nn import text
from nn.callbacks import ProgressBar, progress

termios = pytest.importorskip("termios", reason="needs a pseudo-terminal")

FIGURES = {"loss": 0.25, "acc": 0.875}
END = {**FIGURES, "val_loss": 0.5, "val_acc": 0.75, "lr": 0.01}


class Terminal:
    """A pseudo-terminal in the place of standard error, and a reader that interprets it."""

    def __init__(self, columns, lines=24, encoding="utf-8"):
        self.ours, theirs = os.openpty()
        attributes = termios.tcgetattr(theirs)
        attributes[1] &= ~termios.OPOST  # a line's end comes as it was written
        termios.tcsetattr(theirs, termios.TCSANOW, attributes)
        self.stream = os.fdopen(theirs, "w", encoding=encoding, errors="backslashreplace")
        self.encoding, self.output = encoding, b""
        self.resize(columns, lines)
        self.thread = threading.Thread(target=self._read)
        self.thread.start()

    def resize(self, columns, lines=24):
        self.columns = columns
        termios.tcsetwinsize(self.stream.fileno(), (lines, columns))

    def _read(self):
        with contextlib.suppress(OSError):  # Linux' way of saying that the other end is closed
            while piece := os.read(self.ours, 4096):
                self.output += piece

    def close(self):
        self.stream.close()
        self.thread.join(10)
        os.close(self.ours)
        return self.output.decode(self.encoding)


def screen(output, columns):
    """Return the lines that a reader sees in the end, in a terminal that knows two controls."""
    rows, row, column = [[]], 0, 0
    for c in output:
        if c == "\r":
            column = 0
        elif c == "\n":
            row += 1
        else:
            assert c.isprintable(), repr(c)
            if column + text.width(c) > columns:  # it goes on in the next line
                row, column = row + 1, 0
            rows += [[] for _ in range(row + 1 - len(rows))]
            rows[row] += [" "] * (column + text.width(c) - len(rows[row]))
            rows[row][column : column + text.width(c)] = [c] + [""] * (text.width(c) - 1)
            column += text.width(c)
        rows += [[] for _ in range(row + 1 - len(rows))]
    return ["".join(line).rstrip() for line in rows]


@pytest.fixture
def clock(monkeypatch):
    """A clock that stands still unless it is set."""
    clock = SimpleNamespace(now=1000.0)
    monkeypatch.setattr(progress, "time", SimpleNamespace(perf_counter=lambda: clock.now))
    return clock


@pytest.fixture
def terminal(monkeypatch):
    """A function that makes standard error a terminal so many columns wide."""
    made = []

    def make(columns, **options):
        made.append(Terminal(columns, **options))
        monkeypatch.setattr(sys, "stderr", made[-1].stream)
        return made[-1]

    yield make
    for one in made:
        if not one.stream.closed:
            one.close()


def begin(verbose=1, samples=1000, batch_size=100, epochs=20, epoch=2):
    """Return a bar at the beginning of epoch 3 of 20."""
    bar = ProgressBar(verbose)
    bar.set_params({"epochs": epochs, "samples": samples, "batch_size": batch_size})
    bar.set_model(SimpleNamespace(optimizer=SimpleNamespace(lr=0.01)))
    bar.on_epoch_begin(epoch, {})
    return bar


def run(bar, clock, batches=10, seconds=1.0, figures=FIGURES):
    for batch in range(batches):
        clock.now += seconds
        bar.on_train_batch_end(batch, figures)


# -------------------------------------------------------------------------------- a terminal

HALF = "Epoch 3/20: 50%"
DONE = "Epoch 3/20: 100%"
FULL_END = "loss=0.2500 acc=0.8750 val_loss=0.5000 val_acc=0.7500"
REST = "00:05 left lr=0.0100 100 samples/s"


@pytest.mark.parametrize(
    ("columns", "half", "end"),
    [
        (20, HALF, DONE),
        (40, f"{HALF} loss=0.2500 acc=0.8750", f"{DONE} loss=0.2500 acc=0.8750"),
        (
            80,
            f"{HALF} loss=0.2500 acc=0.8750 {REST}",
            f"{DONE} {FULL_END} 00:12",
        ),
        (
            130,
            f"{HALF} |{'█' * 21}▌{' ' * 21}| loss=0.2500 acc=0.8750 {REST} 500/1,000",
            f"{DONE} |{'█' * 14}| {FULL_END} 00:12 lr=0.0100 100 samples/s 1,000/1,000",
        ),
    ],
)
def test_a_line_fits_and_the_least_important_figures_are_left_out(
    terminal, clock, columns, half, end
):
    window = terminal(columns)
    bar = begin()
    run(bar, clock, 5)
    bar._display._bar.fp.flush()
    run(bar, clock, 5)
    clock.now += 2
    bar.on_epoch_end(2, END)
    output = window.close()
    pieces = [piece.rstrip() for piece in output.split("\r")]
    assert half in pieces
    assert screen(output, columns) == [end, ""]


def test_a_wide_window_shows_all_figures(terminal, clock):
    window = terminal(200)
    bar = begin()
    run(bar, clock)
    bar.on_epoch_end(2, END)
    (line, rest) = screen(window.close(), 200)
    assert rest == ""
    assert len(line) == 199
    assert re.fullmatch(
        rf"{DONE} \|█+\| {FULL_END} 00:10 lr=0\.0100 100 samples/s 1,000/1,000", line
    )


@pytest.mark.parametrize("columns", range(1, 140, 3))
def test_no_width_is_ever_exceeded(terminal, clock, columns):
    """And of the figures those at the end are left out, each as a whole."""
    window = terminal(columns)
    bar = begin()
    run(bar, clock, 5)
    bar._display._bar.fp.flush()
    run(bar, clock, 5)
    bar.on_epoch_end(2, END)
    lines = [piece.rstrip() for piece in window.close().split("\r")]
    assert all(text.width(line) < columns or columns == 1 for line in lines)
    full = [*f"{FULL_END} 00:10 lr=0.0100".split(), "100 samples/s", "1,000/1,000"]
    shown = lines[-1].partition("%")[2].rpartition("|")[2].strip()
    assert shown in {" ".join(full[:k]) for k in range(len(full) + 1)}


@pytest.mark.parametrize("columns", [(120, 60), (60, 120), (200, 40), (40, 41, 39)])
def test_a_window_that_changes_its_width(terminal, clock, columns):
    """Each line that is drawn fits the window of its time, the rest of the old one included."""
    window = terminal(columns[0])
    bar, drawn = begin(), 0
    for width in columns:
        window.resize(width)
        run(bar, clock, 2)
    bar.on_epoch_end(2, END)
    output = window.close()
    lines = output.rstrip("\n").split("\r")[1:]
    sizes = [columns[0], *(w for w in columns for _ in range(2)), *(columns[-1:] * 2)]
    for line, width in zip(lines, sizes, strict=True):
        assert text.width(line) < width
        drawn += 1
    assert drawn == len(sizes)
    assert lines[-1].startswith("Epoch 3/20: 100% ")


def test_at_most_five_drawings_a_second(terminal, clock):
    window = terminal(80)
    bar = begin(samples=100_000, batch_size=10)
    run(bar, clock, 10_000, seconds=1e-3)  # ten seconds
    bar.on_epoch_end(2, END)
    drawings = window.close().count("\r")
    assert 40 <= drawings <= 53


def test_validation_is_announced(terminal, clock):
    window = terminal(80)
    bar = begin()
    run(bar, clock)
    bar.on_test_begin({})
    bar.on_epoch_end(2, END)
    output = window.close()
    says = f"{DONE} loss=0.2500 acc=0.8750 validating lr=0.0100 100 samples/s"
    assert says in [piece.rstrip() for piece in output.split("\r")]
    assert "validating" not in screen(output, 80)[0]


def test_an_unknown_number_of_samples(terminal, clock):
    window = terminal(80)
    bar = begin(samples=math.inf)
    run(bar, clock, 4)
    bar.on_epoch_end(2, END)
    output = window.close()
    says = "Epoch 3/20: 400 samples loss=0.2500 acc=0.8750 lr=0.0100 100 samples/s"
    assert says in [piece.rstrip() for piece in output.split("\r")]
    assert screen(output, 80)[0] == f"Epoch 3/20: 400 samples {FULL_END}"


def test_an_interruption_leaves_the_line_and_begins_a_new_one(terminal, clock):
    window = terminal(40)
    bar = begin()
    run(bar, clock, 5)
    bar.on_train_end({})
    bar.on_train_end({})
    assert screen(window.close(), 40) == [f"{HALF} loss=0.2500 acc=0.8750", ""]


def test_names_in_any_script_and_with_control_characters(terminal, clock):
    window = terminal(80)
    bar = begin()
    figures = {"loss": 0.25, "精度": 0.5, "{bar}": 1.0, "\x1b[2J\n": math.nan}
    run(bar, clock, 5, figures=figures)
    bar.on_epoch_end(2, {"loss": 0.25, "精度精度精度": 0.5, "a{0}": math.inf})
    output = window.close()
    says = f"{HALF} loss=0.2500 精度=0.5000 {{bar}}=1.0000 \\x1b[2J\\n=nan 00:05 left"
    assert says in [piece.rstrip() for piece in output.split("\r")]
    end = f"{DONE} loss=0.2500 精度精度精度=0.5000 a{{0}}=inf 00:05 100 samples/s"
    assert screen(output, 80)[0] == end


def test_a_terminal_without_block_characters(terminal, clock):
    window = terminal(130, encoding="ascii")
    bar = begin()
    run(bar, clock)
    bar.on_epoch_end(2, END)
    assert screen(window.close(), 130)[0].startswith(f"{DONE} |##############| ")


def test_a_terminal_that_does_not_know_its_width(terminal, clock, monkeypatch):
    window = terminal(0, lines=0)
    monkeypatch.setenv("COLUMNS", "40")
    bar = begin()
    run(bar, clock)
    bar.on_epoch_end(2, END)
    assert screen(window.close(), 40)[0] == f"{DONE} loss=0.2500 acc=0.8750"


def test_an_optimizer_without_a_rate(terminal, clock):
    window = terminal(80)
    bar = begin()
    bar.set_model(SimpleNamespace(optimizer=SimpleNamespace()))
    run(bar, clock, 5)
    bar.on_epoch_end(2, FIGURES)
    assert "lr=" not in window.close()


# --------------------------------------------------------------------------- files and pipes


def test_a_file_gets_lines(clock, capsys):
    """A line an epoch, and one every ten seconds within it."""
    bar = begin()
    run(bar, clock, 10, seconds=4.0)
    bar.on_test_begin({})
    clock.now += 5
    bar.on_epoch_end(2, END)
    end = "val_loss 0.5000, val_acc 0.7500, lr 0.0100"
    assert capsys.readouterr() == (
        "Epoch 3/20: 30%, loss 0.2500, acc 0.8750, lr 0.0100, 25 samples/s, 00:28 left\n"
        "Epoch 3/20: 60%, loss 0.2500, acc 0.8750, lr 0.0100, 25 samples/s, 00:16 left\n"
        "Epoch 3/20: 90%, loss 0.2500, acc 0.8750, lr 0.0100, 25 samples/s, 00:04 left\n"
        f"Epoch 3/20: loss 0.2500, acc 0.8750, {end}, 25 samples/s, 00:45\n",
        "",
    )


def test_an_epoch_that_is_resumed_goes_on_where_it_was(clock, capsys):
    bar = ProgressBar(1)
    bar.set_params({"epochs": 20, "samples": 1000, "batch_size": 100})
    bar.set_model(SimpleNamespace(progress=SimpleNamespace(samples=500)))
    bar.on_epoch_begin(2, {})
    run(bar, clock, batches=4, seconds=3.0, figures={"loss": 0.25})
    bar.on_epoch_end(2, {"loss": 0.25})
    assert capsys.readouterr().out.splitlines() == [
        "Epoch 3/20: 90%, loss 0.2500, 33 samples/s, 00:03 left",
        "Epoch 3/20: loss 0.2500, 33 samples/s, 00:12",
    ]


def test_a_file_gets_lines_with_an_unknown_number_of_samples(clock, capsys):
    bar = begin(samples=math.inf)
    run(bar, clock, 1, seconds=10.0)
    assert capsys.readouterr().out == (
        "Epoch 3/20: 100 samples, loss 0.2500, acc 0.8750, lr 0.0100, 10 samples/s\n"
    )


class FullDisk:
    """Standard output in a file on a disk that is full."""

    def write(self, line):
        raise OSError(28, "No space left on device")

    def flush(self):
        pass


def test_training_goes_on_if_its_lines_cannot_be_written(monkeypatch):
    monkeypatch.setattr("sys.stdout", FullDisk())
    model = nn.Model([nn.Dense(2, input_shape=(4,))], seed=0)
    model.compile("cce", "adam")
    with pytest.warns(RuntimeWarning, match=r"\[Model\] cannot print .*No space left"):
        history = model.fit(np.ones((8, 4)), np.arange(8) % 2, epochs=2, verbose=2)
    assert len(history["loss"]) == 2


def test_2_writes_one_line_an_epoch(clock, capsys, terminal):
    window = terminal(80)
    bar = begin(verbose=2)
    run(bar, clock, 10, seconds=60.0)
    bar.on_test_begin({})
    bar.on_epoch_end(2, FIGURES)
    said = "Epoch 3/20: loss 0.2500, acc 0.8750, 2 samples/s, 10:00\n"
    assert capsys.readouterr().out == said
    assert window.close() == ""


def data():
    rng = np.random.default_rng(0)
    return rng.random((40, 2), dtype=np.float32), np.arange(40) % 2


def fit(**arguments):
    model = nn.Model([nn.Dense(2, input_shape=(2,))], seed=0)
    model.compile("cce", "sgd", lr=0.01)
    return model.fit(*data(), epochs=2, batch_size=8, validation_split=0.2, **arguments)


def test_fit_in_a_pipe(capfd):
    fit(verbose=0)
    capfd.readouterr()  # of the first time ever, when kernels are compiled
    fit(verbose=0)
    assert capfd.readouterr() == ("", "")
    for verbose in (1, 2):
        fit(verbose=verbose)
        out, err = capfd.readouterr()
        assert err == ""
        assert out.replace("\n", "").isprintable()
        lines = out.splitlines()
        assert [line[:11] for line in lines] == ["Epoch 1/2: ", "Epoch 2/2: "]
        for figure in ("loss ", "acc ", "val_loss ", "val_acc ", "lr 0.0100", "samples/s"):
            assert figure in lines[1]


@pytest.mark.parametrize("columns", [40, 80, 200])
def test_fit_in_a_terminal(terminal, columns):
    window = terminal(columns)
    history = fit()
    lines = screen(window.close(), columns)
    assert [line[:15] for line in lines] == ["Epoch 1/2: 100%", "Epoch 2/2: 100%", ""]
    assert f"loss={history['loss'][1]:.4f}" in lines[1]
    assert (f"val_acc={history['val_acc'][1]:.4f}" in lines[1]) == (columns >= 80)
    assert ("lr=0.0100" in lines[1]) == (columns == 200)


# --------------------------------------------------------------------------------- notebooks


class Widget:
    """Notes what is asked of a bar of widgets."""

    made: list["Widget"] = []  # noqa: RUF012

    def __init__(self, total, desc, unit):
        self.total, self.desc, self.unit, self.n = total, desc, unit, 0
        self.shown, self.closed = [], False
        Widget.made.append(self)

    def set_postfix_str(self, words, refresh):
        self.words = words

    def refresh(self):
        self.shown.append((self.n, self.words))

    def close(self):
        self.closed = True


@pytest.fixture
def notebook(monkeypatch):
    """A Python in which IPython's kernel runs."""
    shell = SimpleNamespace(config={"IPKernelApp": {}})
    monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(get_ipython=lambda: shell))
    monkeypatch.setattr(Widget, "made", [])
    widgets = ModuleType("tqdm.notebook")
    widgets.tqdm = Widget
    monkeypatch.setitem(sys.modules, "tqdm.notebook", widgets)
    return shell


def test_a_notebook_with_widgets(notebook, clock, capsys, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: name == "ipywidgets")
    bar = begin()
    run(bar, clock, 5)
    bar.on_epoch_end(2, END)
    (widget,) = Widget.made
    assert (widget.desc, widget.unit, widget.closed) == ("Epoch 3/20", " samples", True)
    assert widget.shown[4] == (500, "loss=0.2500, acc=0.8750, lr=0.0100")
    assert widget.shown[-1][1].endswith("val_loss=0.5000, val_acc=0.7500, lr=0.0100")
    assert capsys.readouterr() == ("", "")


def test_a_notebook_without_widgets_gets_lines(notebook, clock, capsys, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    bar = begin()
    run(bar, clock)
    bar.on_epoch_end(2, FIGURES)
    assert Widget.made == []
    assert capsys.readouterr().out.startswith("Epoch 3/20: 100%, loss 0.2500")


def test_ipython_in_a_terminal_or_a_pipe_is_no_notebook(notebook, clock, capsys, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: name)
    notebook.config = {"TerminalIPythonApp": {}}
    bar = begin()
    bar.on_epoch_end(2, FIGURES)
    assert Widget.made == []
    assert "Epoch 3/20" in capsys.readouterr().out

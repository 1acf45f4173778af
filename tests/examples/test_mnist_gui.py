"""The window that reads drawn digits: its parts alone, and the whole under a real mouse.

The tests with a window start a screen of their own, Xvfb, and send it mouse events by xdotool:
`apt-get install xvfb xdotool`. Where one of them or Tk is missing they are skipped.
"""

import gc
import importlib
import os
import shutil
import subprocess
import sys
import threading
import time

import draw_digits
import numpy as np
import pytest
from conftest import ROOT, SAMPLE

import nn
from nn.data import Dataset, normalize_digits

Image = pytest.importorskip("PIL.Image", reason="needs Pillow, the extra 'images'")
EXAMPLES = ROOT / "examples"


@pytest.fixture(scope="session")
def parts():
    """The example without its window."""
    sys.path.insert(0, str(EXAMPLES))
    yield importlib.import_module("mnist_sketch")
    sys.path.remove(str(EXAMPLES))


@pytest.fixture(scope="session")
def recogniser(parts, sample):
    """A small network that has learned a little, in a few seconds."""
    images, labels = sample[0].x[:2000, 0], sample[0].y[:2000]
    model = nn.zoo.small_cnn(seed=0)
    model.compile("categorical_crossentropy", "adam", lr=3e-3)
    model.fit(normalize_digits(images), labels, epochs=3, batch_size=32, verbose=0)
    return parts.Recogniser(model)


@pytest.fixture
def small_sample(parts, sample, monkeypatch):
    """Let the teacher find few digits where it looks for the sample."""
    few = [Dataset(data.x[:n], data.y[:n]) for data, n in zip(sample, (300, 50), strict=True)]
    monkeypatch.setattr(parts, "load_mnist_sample", lambda folder: few)


# --------------------------------------------------------------------------------- the sketch


def slow_line(start, end, thickness, size, fine=8):
    """Return the share of each pixel that is near the line, by trying fine * fine points of it."""
    start, end = np.array(start, float), np.array(end, float)
    ink = np.zeros((size, size))
    for row in range(size):
        for col in range(size):
            for i in range(fine):
                for j in range(fine):
                    point = np.array([col + (j + 0.5) / fine, row + (i + 0.5) / fine])
                    way = end - start
                    t = np.clip((point - start) @ way / max(way @ way, 1e-9), 0, 1)
                    near = np.linalg.norm(point - start - t * way) <= thickness / 2
                    ink[row, col] += near / fine**2
    return ink


@pytest.mark.parametrize("start, end", [((3, 3), (12, 9)), ((8, 2), (8, 13)), ((7.5, 7), (7.5, 7))])
def test_lines_cover_pixels_as_much_as_they_lie_in_them(parts, start, end):
    ink = np.zeros((16, 16), dtype=np.float32)
    parts.add_line(ink, start, end, 4)
    expected = slow_line(start, end, 4, 16)
    np.testing.assert_allclose(ink, expected, atol=0.16)  # where the edge is slanting
    assert ink.sum() == pytest.approx(expected.sum(), rel=0.02)


@pytest.mark.parametrize("start, end", [((-50, 5), (-20, 9)), ((300, 300), (9, 400))])
def test_lines_may_lie_beyond_the_paper(parts, start, end):
    ink = np.zeros((16, 16), dtype=np.float32)
    parts.add_line(ink, start, end, 4)
    assert not ink.any()
    parts.add_line(ink, (-5, 8), (30, 8), 4)
    assert (ink[6:10] == 1).all() and ink.sum() == 64


def test_undo_takes_back_strokes_sheets_and_images_one_by_one(parts):
    sketch = parts.Sketch()
    states = [sketch.raster().copy()]
    sketch.undo()  # nothing to take back

    def note():
        states.append(sketch.raster().copy())

    sketch.begin(30, 40, 10)
    sketch.extend(100, 60)
    note()
    sketch.begin(100, 60, 20)
    note()
    sketch.clear()
    note()
    assert sketch.is_empty and not sketch.raster().any()
    sketch.begin(200, 200, 6)
    sketch.extend(210, 260)
    note()
    sketch.show(np.full((20, 30), 0.5))
    note()
    assert sketch.image.shape == (20, 30) and not sketch.strokes
    sketch.begin(10, 10, 6)  # on a new sheet
    assert sketch.image is None and sketch.raster()[200:].max() == 0
    for state in reversed(states):
        sketch.undo()
        np.testing.assert_allclose(sketch.raster(), state, atol=1e-6)
    assert sketch.is_empty


def test_an_empty_sheet_is_cleared_without_a_step(parts):
    sketch = parts.Sketch()
    sketch.begin(30, 40, 10)
    for _ in range(3):
        sketch.clear()
    sketch.undo()
    assert len(sketch.strokes) == 1 and sketch.raster()[40, 30] == 1


# ----------------------------------------------------------------------------- the recogniser


@pytest.mark.parametrize("end", [[], [nn.Softmax()], [nn.Sigmoid()]])
@pytest.mark.parametrize("shape", [(1, 28, 28), (784,)])
def test_any_network_for_mnist_gives_probabilities(parts, end, shape, rng):
    first = [nn.Flatten(input_shape=shape)] if len(shape) > 1 else []
    dense = nn.Dense(10) if first else nn.Dense(10, input_shape=shape)
    model = nn.Model([*first, dense, *end], seed=0)
    seen = rng.random((28, 28), dtype=np.float32)
    scores = model.predict(seen.reshape(1, *shape))[0]
    got = parts.Recogniser(model).probabilities(seen)
    expected = scores if end else np.exp(scores) / np.exp(scores).sum()
    np.testing.assert_allclose(got, expected / expected.sum(), rtol=1e-5)
    assert got.sum() == pytest.approx(1)


def test_feature_maps_are_those_of_the_first_convolution(parts, recogniser, rng):
    seen = rng.random((28, 28), dtype=np.float32)
    expected = nn.explain.layer_output(recogniser.model, seen[np.newaxis, np.newaxis], 0)[0]
    np.testing.assert_allclose(recogniser.feature_maps(seen), expected, rtol=1e-5, atol=1e-6)
    assert recogniser.has_maps and expected.shape == (8, 28, 28)
    assert not parts.Recogniser(nn.zoo.mlp()).has_maps


@pytest.mark.parametrize(
    "layers, message",
    [
        ([nn.Flatten(input_shape=(3, 32, 32)), nn.Dense(10)], r"inputs of \(3, 32, 32\), not of"),
        ([nn.Flatten(input_shape=(1, 28, 28)), nn.Dense(7)], r"outputs of \(7,\), not ten classes"),
    ],
)
def test_other_networks_are_refused(parts, layers, message):
    with pytest.raises(ValueError, match=message):
        parts.Recogniser(nn.Model(layers))


def test_even_a_little_network_reads_most_drawings(recogniser):
    counts = draw_digits.count_sketches(recogniser, 40, seed=3)
    assert min(counts.values()) >= 36, counts


@pytest.mark.slow
def test_the_examples_own_network_reads_95_of_100_drawings(parts):
    """The figure that the example promises; `draw_digits.py --mouse` draws them by the mouse."""
    recogniser = parts.Recogniser(parts.Teacher().train())
    counts = draw_digits.count_sketches(recogniser, 200, seed=1)
    assert min(counts.values()) >= 190, counts


# -------------------------------------------------------------------------------- the teacher


def news_of(teacher):
    news = []
    while not teacher.news.empty():
        news.append(teacher.news.get())
    return news


def test_the_teacher_tells_its_progress_and_hands_over_a_network(parts, small_sample):
    teacher = parts.Teacher(seed=0, epochs=2)
    teacher.start()
    teacher._thread.join(60)
    *progress, (kind, model) = news_of(teacher)
    assert kind == "done" and model.output_shape == (None, 10)
    shares = [what[0] for _, what in progress]
    assert {kind for kind, _ in progress} == {"progress"}
    assert shares == sorted(shares) and shares[0] == 0 and shares[-1] == 1
    assert "on 50 test digits" in progress[-1][1][1]
    assert len(model.history["loss"]) == 2
    assert not teacher.is_at_work


def test_the_teacher_stops_in_the_middle_of_its_work(parts, small_sample, capsys):
    teacher = parts.Teacher(seed=0, epochs=1000)
    teacher.start()
    while not any("training" in what[1] for _, what in news_of(teacher)):
        time.sleep(0.01)
    started = time.perf_counter()
    teacher.stop(timeout=30)
    assert time.perf_counter() - started < 5
    assert not teacher.is_at_work
    assert {kind for kind, _ in news_of(teacher)} <= {"progress"}
    assert not any(thread.name == "teacher" for thread in threading.enumerate())
    assert capsys.readouterr().err == ""


def test_the_teacher_says_why_it_cannot_train(parts, tmp_path):
    teacher = parts.Teacher(data_dir=tmp_path / "nowhere")
    teacher.start()
    teacher._thread.join(20)
    [_, (kind, text)] = news_of(teacher)
    assert kind == "failed" and "nowhere" in text and "does not exist" in text


# ----------------------------------------------------------------------------------- the window


@pytest.fixture(scope="session")
def screen():
    """A screen of 1,400 x 1,000 pixels that nobody sees; its name, as in DISPLAY."""
    pytest.importorskip("tkinter", reason="needs Tk (python3-tk on Debian)")
    for program in ("Xvfb", "xdotool"):
        if shutil.which(program) is None:
            pytest.skip(f"needs {program} (apt-get install xvfb xdotool)")
    reading, writing = os.pipe()
    server = subprocess.Popen(
        ["Xvfb", "-displayfd", str(writing), "-screen", "0", "1400x1000x24", "-nolisten", "tcp"],
        pass_fds=[writing],
        stderr=subprocess.DEVNULL,
    )
    os.close(writing)
    with os.fdopen(reading) as pipe:
        number = pipe.readline().strip()  # comes when it is ready
    yield f":{number}"
    server.terminate()
    server.wait()


class Person:
    """Sits before the window: looks at it, moves the mouse and presses the buttons."""

    def __init__(self, window):
        self.window = window
        self.wait(0.2)

    def wait(self, seconds):
        until = time.perf_counter() + seconds
        while time.perf_counter() < until:
            self.window.root.update()
            time.sleep(0.002)

    def wait_for(self, condition, seconds=30):
        until = time.perf_counter() + seconds
        while not condition():
            assert time.perf_counter() < until, "it never came"
            self.wait(0.02)

    def order(self, *orders):
        draw_digits.listen(self.window, subprocess.Popen(["xdotool", *map(str, orders)]))

    def press(self, text):
        """Press the button, or tick the box, with a text."""
        [widget] = [w for w in descendants(self.window.root) if has_text(w, text)]
        x = widget.winfo_rootx() + widget.winfo_width() // 2
        y = widget.winfo_rooty() + widget.winfo_height() // 2
        self.order("mousemove", x, y, "sleep", 0.05, "click", 1, "sleep", 0.05)

    def draw(self, digit, seed=0, style=0):
        strokes, thickness = draw_digits.draw(digit, style, np.random.default_rng(seed))
        draw_digits.move_mouse(self.window, strokes, thickness)

    @property
    def answer(self):
        return self.window.result.answer.cget("text").strip()

    @property
    def status(self):
        return self.window.status.cget("text")


def descendants(widget):
    for child in widget.winfo_children():
        yield child
        yield from descendants(child)


def has_text(widget, text):
    return "text" in (widget.keys() or ()) and widget.cget("text") == text


@pytest.fixture
def open_window(parts, screen, monkeypatch, tmp_path):
    """Return a function that opens the example's window and returns a person before it."""
    monkeypatch.setenv("DISPLAY", screen)
    tk = importlib.import_module("tkinter")
    gui = importlib.import_module("mnist_gui")
    roots = []

    def open_it(recogniser=None, teacher=None):
        gc.collect()  # Tk's objects may not be collected later, in another thread
        root = tk.Tk()
        roots.append(root)
        errors = []
        root.report_callback_exception = lambda *error: errors.append(error)
        window = gui.Window(root, tmp_path / "digits.hdf5", recogniser, teacher)
        root.geometry("780x580+0+0")
        person = Person(window)
        person.errors = errors
        return person

    yield open_it
    for root in roots:
        if root.children:  # not closed yet
            root.destroy()
    roots.clear()
    gc.collect()


def test_digits_drawn_by_the_mouse_are_read_while_they_are_drawn(open_window, recogniser, capsys):
    person = open_window(recogniser)
    assert person.answer == ""
    right, latencies = draw_digits.count_by_mouse(person.window, 10, seed=1)
    assert right >= 9
    assert len(latencies) > 50  # not at the end of the strokes alone
    assert not person.errors
    shown = person.window.result.top_three.cget("text")
    assert len(shown.split()) == 6 and shown.startswith(f"{person.answer}: ")
    with capsys.disabled():
        middle, late = np.percentile(latencies, [50, 95]) * 1000
        print(
            f" [from movement to result: median {middle:.0f} ms, 95% within {late:.0f} ms] ", end=""
        )


def test_what_the_mouse_draws_is_what_the_sketch_holds(open_window, recogniser):
    person = open_window(recogniser)
    strokes, thickness = draw_digits.draw(4, 0, np.random.default_rng(0))
    draw_digits.move_mouse(person.window, strokes, thickness)
    drawn = person.window.sketch
    assert len(drawn.strokes) == len(strokes) == 2
    meant = draw_digits.sketched(strokes, thickness)
    assert np.abs(drawn.ink - meant.ink).mean() < 0.02


@pytest.mark.parametrize("size", [(600, 500), (1300, 900), (1300, 500), (600, 950)])
def test_the_sheet_grows_with_the_window_and_the_sketch_with_it(open_window, recogniser, size):
    person = open_window(recogniser)
    person.draw(3)
    before = person.window.sketch.ink.copy()
    answer = person.answer
    person.window.root.geometry(f"{size[0]}x{size[1]}")
    person.wait(0.2)
    sheet = person.window.sheet
    side = sheet.winfo_width()
    assert side == sheet.winfo_height()
    assert side >= min(size[0] - 290, size[1] - 130)
    [line] = sheet.find_all()
    [stroke] = person.window.sketch.strokes
    np.testing.assert_allclose(
        np.reshape(sheet.coords(line), (-1, 2)), 1 + np.array(stroke.points) * (side - 2) / 280
    )
    thickness = stroke.thickness * (side - 2) / 280
    assert float(sheet.itemcget(line, "width")) == pytest.approx(thickness)
    np.testing.assert_array_equal(person.window.sketch.ink, before)
    person.order("mousemove", sheet.winfo_rootx() + side - 2, sheet.winfo_rooty() + side - 2)
    person.order("mousedown", 1, "sleep", 0.05, "mouseup", 1)
    assert person.window.sketch.strokes[-1].points[0] == pytest.approx((279, 279), abs=1.5)
    person.window.undo()
    person.wait(0.1)
    assert person.answer == answer
    for widget in descendants(person.window.root):  # all of it is in the window
        if widget.winfo_ismapped():
            x = widget.winfo_rootx() - person.window.root.winfo_rootx()
            y = widget.winfo_rooty() - person.window.root.winfo_rooty()
            assert x + widget.winfo_width() <= size[0] and y + widget.winfo_height() <= size[1]


def test_undo_and_clear(open_window, recogniser):
    person = open_window(recogniser)
    person.draw(7, style=1)  # two strokes
    sketch, sheet = person.window.sketch, person.window.sheet
    both = sketch.ink.copy()
    assert len(sheet.find_all()) == 2
    person.press("Undo")
    assert len(sketch.strokes) == 1 and len(sheet.find_all()) == 1
    assert sketch.ink.sum() < both.sum()
    person.press("Clear")
    assert sketch.is_empty and person.answer == ""
    assert sheet.itemcget(sheet.find_all()[0], "text") == "Draw a digit here"
    person.press("Undo")
    assert len(sketch.strokes) == 1 and person.answer != ""
    person.draw(1)  # goes on on the same sheet
    assert len(sketch.strokes) == 2
    person.window.root.focus_force()
    person.order("key", "ctrl+z", "key", "ctrl+z", "sleep", 0.05)
    assert sketch.is_empty and not person.errors
    for _ in range(2):
        person.press("Undo")
    assert sketch.is_empty and person.answer == "" and not person.errors


@pytest.mark.parametrize("dark_on_light", [True, False])
def test_a_image_from_a_file_is_shown_and_read(
    open_window, recogniser, tmp_path, monkeypatch, dark_on_light
):
    person = open_window(recogniser)
    strokes, thickness = draw_digits.draw(2, 0, np.random.default_rng(1))
    ink = draw_digits.sketched(strokes, thickness).ink
    wide = np.pad(ink, ((0, 0), (0, 140)))
    draw_digits.as_file(wide, tmp_path / "two.png", dark_on_light)
    filedialog = importlib.import_module("tkinter.filedialog")
    monkeypatch.setattr(filedialog, "askopenfilename", lambda **_: str(tmp_path / "two.png"))
    person.press("Open…")
    assert person.answer == "2"
    person.wait(0.1)
    [item] = person.window.sheet.find_all()
    assert person.window.sheet.type(item) == "image"
    left, top, right, bottom = person.window.sheet.bbox(item)
    assert (right - left) / (bottom - top) == pytest.approx(1.5, abs=0.02)
    person.draw(1)  # on a sheet of its own
    assert person.window.sketch.image is None and len(person.window.sketch.strokes) == 1
    person.press("Undo")
    assert person.answer == "2" and not person.errors


def test_photos_in_doubt_are_said_to_be(open_window, recogniser, tmp_path):
    person = open_window(recogniser)
    sheet = Image.new("L", (300, 200), 230)
    for name, left, status in (
        ("one.png", 80, "Recognised in"),
        ("two.png", 200, "Doubtful: it seems to have more than one digit"),
    ):
        sheet.paste(30, (left, 40, left + 12, 160))
        sheet.save(tmp_path / name)
        person.window.open(tmp_path / name)
        person.wait(0.2)
        assert person.status.startswith(status) and person.answer and not person.errors


def test_files_that_are_no_images_are_named(open_window, recogniser, tmp_path, monkeypatch):
    person = open_window(recogniser)
    (tmp_path / "note.txt").write_text("two")
    person.window.open(tmp_path / "note.txt")
    assert person.status.startswith("cannot decode") and "note.txt" in person.status
    Image.new("L", (30, 20), 200).save(tmp_path / "empty.png")
    person.window.open(tmp_path / "empty.png")
    person.wait(0.1)
    assert person.status == "No digit found" and person.answer == ""
    filedialog = importlib.import_module("tkinter.filedialog")
    monkeypatch.setattr(filedialog, "askopenfilename", lambda **_: "")
    person.window.open()  # and thought better of it
    assert person.window.sketch.image.shape == (20, 30) and not person.errors


def test_feature_maps_are_shown_where_there_are_some(open_window, recogniser, parts):
    person = open_window(recogniser)
    assert not person.window.maps.winfo_ismapped()
    person.draw(5)
    person.press("Feature maps")
    person.wait(0.1)
    maps = person.window.maps
    assert maps.winfo_ismapped() and maps._photo.width() >= 4 * 30
    small = maps._photo.width()
    person.window.root.geometry("1300x900")
    person.wait(0.3)
    assert maps._photo.width() > small
    person.press("Feature maps")
    assert not maps.winfo_ismapped() and not person.errors
    person.window.close()
    person = open_window(parts.Recogniser(nn.zoo.mlp(seed=0)))
    assert person.window.maps_button.instate(["disabled"])


def test_without_a_network_one_is_trained_saved_and_used(
    open_window, parts, small_sample, tmp_path
):
    person = open_window(None, parts.Teacher(seed=0, epochs=3))
    sheet = person.window.sheet
    assert "no network yet" in sheet.itemcget(sheet.find_all()[0], "text")
    person.press("Train a network")
    person.draw(1)
    person.wait_for(lambda: person.window.recogniser is not None)
    person.wait(0.1)
    assert person.answer in list("0123456789")  # it is read what was drawn meanwhile
    assert "on 50 test digits; saved to" in person.status
    assert not person.window.train_button.winfo_ismapped()
    assert nn.Model.load(tmp_path / "digits.hdf5").output_shape == (None, 10)
    assert not person.errors


def test_a_failed_training_can_be_tried_again(open_window, parts, tmp_path):
    person = open_window(None, parts.Teacher(data_dir=tmp_path / "nowhere"))
    for _ in range(2):
        person.press("Train a network")
        person.wait_for(lambda: person.status.startswith("The training failed: "))
        person.status_before = person.status
        person.wait(0.1)
        assert person.window.train_button.winfo_ismapped()
    assert not person.errors


def test_closing_while_it_trains_ends_the_training(open_window, parts, small_sample, capfd):
    person = open_window(None, parts.Teacher(seed=0, epochs=1000))
    person.press("Train a network")
    person.wait_for(lambda: person.status.startswith("training: "))
    started = time.perf_counter()
    person.window.close()
    assert time.perf_counter() - started < 5
    assert not person.window.teacher.is_at_work
    assert not person.errors and capfd.readouterr().err == ""


CLOSED_IN_TRAINING = """
import sys, tkinter
sys.path.insert(0, {examples!r})
import mnist_gui

class ImpatientWindow(mnist_gui.Window):
    def __init__(self, root, *arguments):
        super().__init__(root, *arguments)
        root.after(200, self.train_button.invoke)
        root.after(1500, lambda: root.tk.eval(root.protocol("WM_DELETE_WINDOW")))

mnist_gui.Window = ImpatientWindow
sys.exit(mnist_gui.main([]))
"""


def test_the_script_ends_when_its_window_is_closed_in_training(screen, tmp_path):
    """The whole program, whose window is told to close as a window manager would tell it."""
    environment = {**os.environ, "DISPLAY": screen, "PYTHONPATH": str(ROOT)}
    result = subprocess.run(
        [sys.executable, "-c", CLOSED_IN_TRAINING.format(examples=str(EXAMPLES))],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (result.returncode, result.stderr) == (0, "")
    assert list(tmp_path.iterdir()) == []  # nothing half-trained is saved


def run_example(*arguments, **environment):
    environment = {**os.environ, "PYTHONPATH": str(ROOT), **environment}
    return subprocess.run(
        [sys.executable, str(EXAMPLES / "mnist_gui.py"), *map(str, arguments)],
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_without_a_screen_it_says_so_in_a_line():
    pytest.importorskip("tkinter", reason="needs Tk (python3-tk on Debian)")
    result = run_example(DISPLAY=":987")
    assert result.returncode == 1
    assert result.stderr.startswith("No display for the window: ")
    assert "Traceback" not in result.stderr


def test_a_file_that_is_no_network_is_named(tmp_path):
    pytest.importorskip("tkinter", reason="needs Tk (python3-tk on Debian)")
    for name in ("model.hdf5", "model.npz"):
        (tmp_path / name).write_text("no network")
        result = run_example("--model", tmp_path / name)
        assert result.returncode == 1
        assert f"{name}' cannot be used: " in result.stderr and "Traceback" not in result.stderr
    model = nn.Model([nn.Dense(3, input_shape=(2,))])
    model.save(tmp_path / "other.npz")
    result = run_example("--model", tmp_path / "other.npz")
    assert "inputs of (2,), not of 28 x 28 pixels" in result.stderr


def test_the_sample_is_where_the_example_looks_for_it(parts):
    assert parts.SAMPLE_DIR == SAMPLE

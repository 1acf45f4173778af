"""Digits as a hand with a mouse draws them: strokes in several styles, none of them from MNIST.

    python tests/draw_digits.py                # 200 drawings, moved, turned, thin and thick
    python tests/draw_digits.py --mouse        # the same by mouse events in a window

Prints how many of them `examples/mnist_gui.py` recognises, with the network that it trains
itself, or another (`--model FILE`). `--mouse` needs a screen, `xvfb-run` will do, and xdotool.
"""

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parent.parent

#: For each digit its styles, each a list of strokes: points (x, y), y downward, roughly in the
#: unit square, joined by a smooth curve. A point that is there twice is a corner.
STYLES = {
    0: [
        [[(0.5, 0), (0.15, 0.2), (0.08, 0.55), (0.25, 0.92), (0.55, 1), (0.85, 0.8), (0.92, 0.45),
          (0.75, 0.1), (0.47, 0)]],
        [[(0.6, 0.03), (0.3, 0.2), (0.15, 0.6), (0.3, 0.97), (0.6, 0.9), (0.8, 0.5), (0.75, 0.1),
          (0.5, 0.02)]],
        [[(0.35, 0.05), (0.75, 0.08), (0.97, 0.5), (0.75, 0.93), (0.3, 0.95), (0.03, 0.5),
          (0.3, 0.05), (0.6, 0)]],
    ],
    1: [
        [[(0.5, 0), (0.5, 0.5), (0.5, 1)]],
        [[(0.6, 0), (0.5, 0.5), (0.38, 1)]],
        [[(0.33, 0.25), (0.55, 0), (0.55, 0), (0.54, 0.5), (0.55, 1)]],
        [[(0.3, 0.25), (0.52, 0), (0.52, 0), (0.52, 1)], [(0.28, 1), (0.76, 1)]],
    ],
    2: [
        [[(0.12, 0.25), (0.3, 0.03), (0.65, 0), (0.82, 0.25), (0.6, 0.55), (0.12, 1), (0.12, 1),
          (0.5, 1), (0.9, 0.98)]],
        [[(0.15, 0.22), (0.45, 0), (0.78, 0.2), (0.65, 0.55), (0.3, 0.92), (0.1, 0.93),
          (0.15, 0.78), (0.4, 0.85), (0.65, 1), (0.92, 0.9)]],
        [[(0.2, 0.12), (0.55, 0), (0.75, 0.22), (0.5, 0.6), (0.15, 0.97), (0.15, 0.97),
          (0.85, 0.95)]],
    ],
    3: [
        [[(0.15, 0.1), (0.5, 0), (0.78, 0.2), (0.6, 0.43), (0.4, 0.47), (0.4, 0.47), (0.75, 0.55),
          (0.82, 0.8), (0.5, 1), (0.12, 0.9)]],
        [[(0.18, 0.03), (0.8, 0.03), (0.8, 0.03), (0.45, 0.42), (0.45, 0.42), (0.8, 0.55),
          (0.8, 0.85), (0.45, 1), (0.12, 0.88)]],
        [[(0.22, 0.15), (0.48, 0), (0.72, 0.15), (0.62, 0.4), (0.42, 0.48), (0.68, 0.56),
          (0.75, 0.8), (0.5, 0.98), (0.2, 0.88)]],
    ],
    4: [
        [[(0.3, 0), (0.2, 0.3), (0.12, 0.58), (0.12, 0.58), (0.5, 0.58), (0.9, 0.55)],
         [(0.7, 0.02), (0.68, 0.5), (0.66, 1)]],
        [[(0.68, 1), (0.68, 0.5), (0.68, 0), (0.68, 0), (0.35, 0.35), (0.05, 0.68), (0.05, 0.68),
          (0.5, 0.67), (0.95, 0.66)]],
        [[(0.2, 0.05), (0.18, 0.3), (0.25, 0.52), (0.5, 0.5), (0.78, 0.4)],
         [(0.8, 0), (0.75, 0.5), (0.68, 1)]],
    ],
    5: [
        [[(0.28, 0.03), (0.24, 0.45), (0.24, 0.45), (0.6, 0.38), (0.83, 0.65), (0.65, 0.95),
          (0.35, 1), (0.12, 0.88)], [(0.28, 0.03), (0.82, 0.03)]],
        [[(0.82, 0.03), (0.55, 0.05), (0.3, 0.06), (0.3, 0.06), (0.22, 0.45), (0.22, 0.45),
          (0.55, 0.4), (0.78, 0.62), (0.65, 0.92), (0.35, 1), (0.12, 0.93)]],
        [[(0.88, 0), (0.35, 0.04), (0.35, 0.04), (0.28, 0.4), (0.28, 0.4), (0.62, 0.48),
          (0.72, 0.75), (0.48, 0.98), (0.1, 0.95)]],
    ],
    6: [
        [[(0.65, 0), (0.35, 0.25), (0.17, 0.65), (0.35, 0.98), (0.7, 0.92), (0.78, 0.65),
          (0.5, 0.5), (0.22, 0.68)]],
        [[(0.75, 0.05), (0.45, 0.12), (0.18, 0.5), (0.22, 0.88), (0.55, 1), (0.8, 0.8),
          (0.65, 0.55), (0.35, 0.58), (0.2, 0.75)]],
        [[(0.45, 0), (0.28, 0.4), (0.22, 0.78), (0.45, 1), (0.72, 0.85), (0.6, 0.62),
          (0.3, 0.72)]],
    ],
    7: [
        [[(0.12, 0.03), (0.5, 0.03), (0.85, 0.03), (0.85, 0.03), (0.6, 0.5), (0.4, 1)]],
        [[(0.12, 0.05), (0.5, 0.04), (0.85, 0.03), (0.85, 0.03), (0.6, 0.5), (0.42, 1)],
         [(0.35, 0.52), (0.8, 0.5)]],
        [[(0.12, 0.2), (0.14, 0.05), (0.14, 0.05), (0.5, 0.06), (0.82, 0.02), (0.82, 0.02),
          (0.68, 0.4), (0.58, 0.7), (0.55, 1)]],
    ],
    8: [
        [[(0.75, 0.12), (0.45, 0), (0.22, 0.2), (0.45, 0.45), (0.75, 0.68), (0.7, 0.93), (0.45, 1),
          (0.2, 0.85), (0.3, 0.62), (0.6, 0.4), (0.77, 0.15), (0.6, 0.03)]],
        [[(0.5, 0), (0.25, 0.1), (0.27, 0.35), (0.5, 0.45), (0.73, 0.35), (0.75, 0.12),
          (0.48, 0)], [(0.5, 0.45), (0.2, 0.6), (0.2, 0.88), (0.5, 1), (0.8, 0.88), (0.8, 0.6),
                       (0.48, 0.45)]],
        [[(0.52, 0.48), (0.3, 0.3), (0.38, 0.05), (0.65, 0.04), (0.72, 0.25), (0.5, 0.5),
          (0.25, 0.75), (0.38, 0.99), (0.65, 0.97), (0.72, 0.72), (0.5, 0.48)]],
    ],
    9: [
        [[(0.75, 0.15), (0.5, 0), (0.25, 0.15), (0.25, 0.4), (0.5, 0.5), (0.73, 0.35),
          (0.77, 0.12), (0.74, 0.5), (0.7, 1)]],
        [[(0.72, 0.12), (0.45, 0.02), (0.22, 0.25), (0.4, 0.48), (0.7, 0.35), (0.76, 0.08),
          (0.76, 0.08), (0.74, 0.6), (0.55, 0.95), (0.22, 0.95)]],
        [[(0.7, 0.2), (0.45, 0), (0.2, 0.22), (0.42, 0.45), (0.72, 0.2), (0.72, 0.2), (0.6, 0.6),
          (0.45, 1)]],
    ],
}  # fmt: skip


def smooth(points, steps=4):
    """Return points of the Catmull-Rom curve through points (n, 2)."""
    points = np.asarray(points, dtype=float)
    padded = np.concatenate([points[:1], points, points[-1:]])
    t = np.linspace(0, 1, steps, endpoint=False)[:, np.newaxis]
    curve = [
        0.5 * (2 * b + (c - a) * t + (2 * a - 5 * b + 4 * c - d) * t**2
               + (3 * b - a - 3 * c + d) * t**3)
        for a, b, c, d in zip(padded, padded[1:], padded[2:], padded[3:], strict=False)
    ]  # fmt: skip
    return np.concatenate([*curve, points[-1:]])


def draw(digit, style, rng, side=280):
    """Return the strokes of a digit, [(n, 2) points (x, y)] in pixels, and how thick they are.

    A hand draws no style twice the same: it is turned and slanted, wider or narrower, its points
    are off by a little, and it is large or small somewhere on the paper.
    """
    strokes = [np.array(stroke, dtype=float) for stroke in STYLES[digit][style]]
    for stroke in strokes:
        moved = rng.normal(0, 0.02, stroke.shape)
        corner = np.flatnonzero((stroke[1:] == stroke[:-1]).all(axis=1))
        moved[corner + 1] = moved[corner]  # stays one
        stroke += moved
    angle, slant = np.radians(rng.uniform(-9, 9)), rng.uniform(-0.2, 0.2)
    turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    size = np.array([rng.uniform(0.55, 0.9), 1]) * rng.uniform(0.35, 0.85) * side
    matrix = turn @ np.array([[1, slant], [0, 1]]) @ np.diag(size)
    strokes = [smooth(stroke) @ matrix.T for stroke in strokes]
    thickness = rng.uniform(0.025, 0.13) * size[1]
    margin = thickness / 2 + 2
    every = np.concatenate(strokes)
    low, high = every.min(axis=0), every.max(axis=0)
    room = side - 2 * margin - (high - low)
    corner = margin + rng.uniform(0, 1, 2) * np.maximum(room, 0)
    return [stroke - low + corner for stroke in strokes], float(thickness)


def drawings(count, seed):
    """Yield (digit, strokes, thickness): each digit and each of its styles as often."""
    rng = np.random.default_rng(seed)
    for index in range(count):
        digit = index % 10
        style = index // 10 % len(STYLES[digit])
        yield digit, *draw(digit, style, rng)


# ------------------------------------------------------------------------- how many are read


def sketched(strokes, thickness):
    """Return the sketch of a drawing, as the window makes it from the movements of the mouse."""
    from mnist_sketch import Sketch

    sketch = Sketch()
    for first, *others in strokes:
        sketch.begin(*first, thickness)
        for point in others:
            sketch.extend(*point)
    return sketch


def read_by(recogniser, image):
    """Return the digit that a network reads in an image, an array or a file."""
    return int(recogniser.probabilities(recogniser.look(image)).argmax())


def as_file(ink, path, dark_on_light):
    """Write the ink of a sketch as an image file, of modest contrast."""
    from PIL import Image

    grey = 230 - 190 * ink if dark_on_light else 25 + 200 * ink
    Image.fromarray(grey.round().astype(np.uint8)).save(path)


def move_mouse(window, strokes, thickness):
    """Draw strokes into an open window by mouse events, which xdotool sends.

    Tk drops movements that it has not read before the next one comes, so a pause follows each.
    """
    sheet = window.sheet
    window.pen.set(thickness)
    left, top = sheet.winfo_rootx() + 1, sheet.winfo_rooty() + 1
    orders = []
    for stroke in strokes:
        places = [
            (str(round(left + x * sheet.scale_)), str(round(top + y * sheet.scale_)))
            for x, y in stroke
        ]
        orders += ["mousemove", *places[0], "mousedown", "1", "sleep", "0.02"]
        for place in places[1:]:
            orders += ["mousemove", *place, "sleep", "0.01"]
        orders += ["mouseup", "1", "sleep", "0.02"]
    listen(window, subprocess.Popen(["xdotool", *orders]))


def listen(window, process, seconds=0.1):
    """Let the window work while a process sends it events, and a little longer."""
    until = None
    while until is None or time.perf_counter() < until:
        window.root.update()
        if until is None and process.poll() is not None:
            until = time.perf_counter() + seconds
        time.sleep(0.001)
    if process.returncode:
        raise RuntimeError(f"xdotool ended with {process.returncode}")


def count_sketches(recogniser, count, seed):
    """Return how many drawings are read right: the sketch, and a file of each kind."""
    right = {"drawn": 0, "file, dark on light": 0, "file, light on dark": 0}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "digit.png")
        for digit, strokes, thickness in drawings(count, seed):
            ink = sketched(strokes, thickness).ink
            right["drawn"] += read_by(recogniser, ink) == digit
            for dark in (True, False):
                as_file(ink, path, dark)
                kind = "file, dark on light" if dark else "file, light on dark"
                right[kind] += read_by(recogniser, path) == digit
    return right


def count_by_mouse(window, count, seed):
    """Return how many drawings are read right that the mouse has drawn, and all latencies."""
    right, latencies = 0, []
    for digit, strokes, thickness in drawings(count, seed):
        window.clear()
        window.root.update()
        window.latencies.clear()
        move_mouse(window, strokes, thickness)
        latencies += window.latencies
        right += window.result.answer.cget("text") == str(digit)
    return right, latencies


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", help="file of a network, in place of training one")
    parser.add_argument("--count", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1, help="of the drawings")
    parser.add_argument("--mouse", action="store_true", help="draw in a window")
    options = parser.parse_args()

    sys.path[:0] = [str(ROOT), str(ROOT / "examples")]
    from mnist_sketch import Recogniser, Teacher

    import nn

    if options.model:
        model = nn.Model.load(options.model)
    else:
        started = time.perf_counter()
        model = Teacher().train()
        print(f"Trained in {time.perf_counter() - started:.0f} s")
    recogniser = Recogniser(model)
    if not options.mouse:
        for kind, right in count_sketches(recogniser, options.count, options.seed).items():
            print(f"{kind}: {right} of {options.count} read, {right / options.count:.1%}")
        return
    import tkinter as tk

    from mnist_gui import Window

    root = tk.Tk()
    window = Window(root, "the network", recogniser)
    root.geometry("+0+0")
    root.update()
    right, latencies = count_by_mouse(window, options.count, options.seed)
    window.close()
    print(f"drawn by mouse: {right} of {options.count} read, {right / options.count:.1%}")
    middle, late = np.percentile(latencies, [50, 95]) * 1000
    print(f"from movement to result: median {middle:.0f} ms, 95% within {late:.0f} ms")


if __name__ == "__main__":
    main()

"""The widgets of `mnist_gui.py`: the sheet to draw on, the result, the feature maps."""

import tkinter as tk
from tkinter import ttk

import numpy as np
from mnist_sketch import SIDE

PAPER, DESK, INK = "#ffffff", "#eef1f5", "#16202e"
FAINT, TROUGH, BAR, BEST = "#5d6b7c", "#dde4ec", "#a9bccf", "#0072b2"
PANEL = 250  # width in pixels of the panel right of the sheet


def photo(image, zoom=1):
    """Return an image (H, W) of floats in [0, 1] as a Tk image, enlarged by `zoom`."""
    bytes_ = (np.clip(image, 0, 1) * 255).round().astype(np.uint8)
    bytes_ = bytes_.repeat(zoom, axis=0).repeat(zoom, axis=1)
    height, width = bytes_.shape
    return tk.PhotoImage(data=b"P5 %d %d 255\n" % (width, height) + bytes_.tobytes())


# ---------------------------------------------------------------------------------- the sheet


class Sheet(tk.Canvas):
    """The canvas: shows a sketch as large as fits and handles the mouse.

    `changed` is called after each change of the sketch.
    """

    def __init__(self, parent, sketch, changed):
        super().__init__(
            parent, background=PAPER, highlightthickness=1, highlightbackground=BAR, cursor="pencil"
        )
        self.sketch, self.changed = sketch, changed
        self.thickness = 18.0  # in pixels of the sketch
        self.hint = ""
        self._drawing = None  # Tk's number of the current line
        self._shown = None  # a reference, as Tk does not keep images alive
        parent.bind("<Configure>", self._fit)
        self.bind("<ButtonPress-1>", self._begin)
        self.bind("<B1-Motion>", self._extend)
        self.bind("<ButtonRelease-1>", self._end)

    @property
    def scale_(self):
        """Pixels of the window per pixel of the sketch."""
        return max(self.winfo_width() - 2, 1) / SIDE

    def _fit(self, event):
        """Resize to the largest square that fits into the frame."""
        side = max(1, min(event.width, event.height))
        self.place(
            x=event.width // 2, y=event.height // 2, anchor="center", width=side, height=side
        )
        self.after_idle(self.redraw)

    # mouse ----------------------------------------------------------------------------------

    def _place(self, event):
        return (event.x - 1) / self.scale_, (event.y - 1) / self.scale_

    def _begin(self, event):
        if not self.sketch.strokes:
            self.delete("all")
        self.sketch.begin(*self._place(event), self.thickness)
        self._drawing = self._draw(self.sketch.strokes[-1])
        self.changed()

    def _extend(self, event):
        if self._drawing is None:
            return
        self.sketch.extend(*self._place(event))
        self.coords(self._drawing, *self._line(self.sketch.strokes[-1]))
        self.changed()

    def _end(self, event):
        self._drawing = None

    # drawing --------------------------------------------------------------------------------

    def redraw(self):
        """Draw the whole sketch, after resizing or undo."""
        self._drawing = None
        self.delete("all")
        if self.sketch.is_empty:
            middle = self.winfo_width() / 2, self.winfo_height() / 2
            self.create_text(middle, text=self.hint, fill=FAINT, justify="center")
        elif self.sketch.image is not None:
            self._show(self.sketch.image)
        for stroke in self.sketch.strokes:
            self._draw(stroke)

    def _draw(self, stroke):
        width = max(1.0, stroke.thickness * self.scale_)
        line = self._line(stroke)
        return self.create_line(line, width=width, fill=INK, capstyle="round", joinstyle="round")

    def _line(self, stroke):
        """Return the points of a stroke for Tk; a dot is a line of length 0."""
        points = stroke.points if len(stroke.points) > 1 else stroke.points * 2
        return [1 + value * self.scale_ for point in points for value in point]

    def _show(self, image):
        """Show an image scaled to the sheet and centred."""
        side = self.winfo_width() - 2
        scale = side / max(image.shape)
        rows, cols = (
            (np.arange(max(1, round(size * scale))) / scale).astype(int).clip(max=size - 1)
            for size in image.shape
        )
        self._shown = photo(image[np.ix_(rows, cols)])
        self.create_image(self.winfo_width() / 2, self.winfo_height() / 2, image=self._shown)


# --------------------------------------------------------------------------------- the result


class Result(ttk.Frame):
    """The predicted digit, the ten probabilities, and the input of the network."""

    def __init__(self, parent):
        super().__init__(parent, width=PANEL)
        self.answer = ttk.Label(self, style="Answer.TLabel", anchor="center")
        self.top_three = ttk.Label(self, style="Faint.TLabel", anchor="center")
        self.bars = tk.Canvas(
            self, background=DESK, highlightthickness=0, width=PANEL, height=10 * 15
        )
        caption = ttk.Label(self, text="Input of the network", style="Faint.TLabel")
        self.seen = ttk.Label(self)
        self.answer.pack(fill="x")
        self.top_three.pack(fill="x")
        self.seen.pack(side="bottom")
        caption.pack(side="bottom", pady=(0, 4))
        self.bars.pack(fill="both", expand=True, pady=8)
        self.pack_propagate(False)  # keep the height of the window
        self.image, self.probabilities = None, None
        self.zoom = 4
        self.bars.bind("<Configure>", lambda event: self._draw_bars())
        self.bind("<Configure>", self._fit)
        self.show(None, None)

    def _fit(self, event):
        """Show the input of the network as large as fits."""
        zoom = min(max((event.height - 330) // 28, 4), 8)
        if zoom != self.zoom:
            self.zoom = zoom
            self._show_image()

    def _show_image(self):
        image = np.zeros((28, 28)) if self.image is None else self.image
        self._photo = photo(image, self.zoom)  # a reference, as Tk does not keep images alive
        self.seen.configure(image=self._photo)

    def show(self, seen, probabilities):
        """Show the image (28, 28) and the probabilities (10,); None clears them."""
        self.image, self.probabilities = seen, probabilities
        self._show_image()
        if probabilities is None:
            self.answer.configure(text=" ")
            self.top_three.configure(text=" ")
        else:
            ranked = np.argsort(probabilities)[::-1][:3]
            self.answer.configure(text=str(ranked[0]))
            named = [f"{digit}: {share(probabilities[digit])}" for digit in ranked]
            self.top_three.configure(text="     ".join(named))
        self._draw_bars()

    def _draw_bars(self):
        self.bars.delete("all")
        row = min(self.bars.winfo_height() / 10, 40)
        left, right = 22, self.bars.winfo_width() - 58
        known = self.probabilities is not None
        values = self.probabilities if known else np.zeros(10)
        for digit, value in enumerate(values):
            top, middle, bottom = (row * (digit + part) for part in (0.14, 0.5, 0.86))
            end = left + (right - left) * value
            colour = BEST if digit == values.argmax() else BAR
            self.bars.create_rectangle(left, top, right, bottom, fill=TROUGH, width=0)
            if end >= left + 1:
                self.bars.create_rectangle(left, top, end, bottom, fill=colour, width=0)
            self._write(8, middle, str(digit), "center")
            if known:
                self._write(self.bars.winfo_width(), middle, share(value), "e")

    def _write(self, x, y, text, anchor):
        self.bars.create_text(x, y, text=text, fill=INK, anchor=anchor, font="TkDefaultFont")


def share(value):
    """Return a probability as text, not rounded to 100%."""
    return f"{value:.1%}" if value < 0.9995 else ">99.9%"


class Maps(ttk.Label):
    """The feature maps of the first convolution in a grid."""

    def show(self, maps, width):
        """Show maps (F, H, W) in one or two rows, or more if the width requires it."""
        low, high = float(maps.min()), float(maps.max())
        tiles = (maps - low) / ((high - low) or 1)
        cell = maps.shape[2] + 2  # with a gap
        wanted = len(maps) if len(maps) <= 16 else -(-len(maps) // 2)
        columns = max(1, min(wanted, width // cell))
        tiles = np.pad(tiles, ((0, -len(tiles) % columns), (1, 1), (1, 1)), constant_values=1)
        # (rows * columns, H, W) -> (rows, columns, H, W) -> (rows * H, columns * W)
        tiles = tiles.reshape(-1, columns, *tiles.shape[1:]).transpose(0, 2, 1, 3)
        mosaic = tiles.reshape(tiles.shape[0] * tiles.shape[1], -1)
        self._photo = photo(mosaic, max(1, min(3, width // mosaic.shape[1])))
        self.configure(image=self._photo)

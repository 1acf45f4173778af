"""Draw a digit with the mouse or a pen, and see a network's prediction while you draw.

    python examples/mnist_gui.py
    python examples/mnist_gui.py --model mnist_model.hdf5

Works with any saved network for MNIST, such as that of `mnist_train.py`. If there is none, the
window offers to train one on the digits of mnist_dataset/ in less than a minute, or with
`--data-dir` on the full MNIST in some minutes. Needs Pillow and Tk, which is part of most Python
installations (the package python3-tk on Debian).

Keys: Ctrl+Z undoes, Escape clears, Ctrl+O opens an image of a digit.
"""

import argparse
import signal
import time
from collections import deque
from pathlib import Path

import numpy as np
from mnist_sketch import Recogniser, Sketch, Teacher

import nn
from nn.data.images.digits import read_grey

try:
    import tkinter as tk
    from tkinter import filedialog, font, ttk
except ImportError as error:
    raise SystemExit(
        "This example needs Tk, which this Python lacks: install it (on Debian and Ubuntu the "
        "package python3-tk)."
    ) from error
else:
    from mnist_widgets import BAR, BEST, DESK, FAINT, INK, PANEL, TROUGH, Maps, Result, Sheet

MARGIN = 12  # pixels


class Window:
    """The window, which connects the widgets with the sketch, the recogniser and the trainer.

    Attributes
    ----------
    latencies : deque
        Seconds from a movement of the pen until the result was shown, of the last thousand.
    """

    def __init__(self, root, path, recogniser=None, teacher=None):
        self.root, self.path = root, Path(path)
        self.recogniser, self.teacher = recogniser, teacher
        self.sketch = Sketch()
        self.latencies = deque(maxlen=1000)
        self._since = None  # time of the first change that was not recognised yet
        self._watching = None
        self._dress()
        self._build()
        root.protocol("WM_DELETE_WINDOW", self.close)
        root.bind("<Control-z>", lambda event: self.undo())
        root.bind("<Control-o>", lambda event: self.open())
        root.bind("<Escape>", lambda event: self.clear())
        self._show_hints()

    def _dress(self):
        """Set colours and fonts."""
        self.root.title("Draw a digit")
        self.root.configure(background=DESK)
        self.root.geometry("780x580")
        self.root.minsize(600, 500)
        ordinary = font.nametofont("TkDefaultFont", self.root)
        ordinary.configure(size=10)
        style = ttk.Style(self.root)
        style.theme_use("clam")
        style.configure(".", background=DESK, foreground=INK, font="TkDefaultFont")
        style.configure("TButton", padding=(10, 4), width=7, background="#ffffff", bordercolor=BAR)
        style.configure("TScale", troughcolor=TROUGH, background=BAR, bordercolor=BAR)
        style.configure("TProgressbar", troughcolor=TROUGH, background=BEST, bordercolor=BAR)
        style.configure("Offer.TButton", foreground="#ffffff", background=BEST, width=0)
        style.map("Offer.TButton", background=[("active", "#005a8e")])
        style.configure("Faint.TLabel", foreground=FAINT)
        style.configure("Answer.TLabel", font=(ordinary.actual("family"), 40, "bold"))

    def _build(self):
        """Lay out the widgets; the sheet takes the remaining space."""
        bar = self._toolbar()
        self.result = Result(self.root)
        desk = tk.Frame(self.root, background=DESK)
        self.sheet = Sheet(desk, self.sketch, self._changed)
        self.maps = Maps(self.root, anchor="center")
        foot = ttk.Frame(self.root)
        self.status = ttk.Label(foot, style="Faint.TLabel")
        self.progress = ttk.Progressbar(foot, length=180, maximum=1.0)
        self.train_button = ttk.Button(
            foot, text="Train a network", style="Offer.TButton", command=self.train
        )
        self.status.grid(sticky="w")
        foot.columnconfigure(0, weight=1)
        foot.bind("<Configure>", lambda e: self.status.configure(wraplength=e.width - 200))
        bar.grid(row=0, columnspan=2, sticky="ew", padx=MARGIN, pady=MARGIN)
        desk.grid(row=1, column=0, sticky="nsew", padx=(MARGIN, 0))
        self.result.grid(row=1, rowspan=2, column=1, sticky="ns", padx=MARGIN)
        self.maps.grid(row=2, column=0, pady=(MARGIN, 0), padx=(MARGIN, 0))
        self.maps.grid_remove()
        desk.bind("<Configure>", lambda event: self._resized(), add="+")
        foot.grid(row=3, columnspan=2, sticky="ew", padx=MARGIN, pady=MARGIN)
        self.root.columnconfigure(0, weight=1)
        self.root.rowconfigure(1, weight=1)

    def _toolbar(self):
        bar = ttk.Frame(self.root)
        for text, command in (("Undo", self.undo), ("Clear", self.clear), ("Open…", self.open)):
            button = ttk.Button(bar, text=text, command=command, takefocus=False)
            button.pack(side="left", padx=(0, 6))
        ttk.Label(bar, text="Pen").pack(side="left", padx=(10, 6))
        self.pen = ttk.Scale(bar, from_=4, to=40, value=18, length=110, command=self._take_pen)
        self.pen.pack(side="left")
        self.wants_maps = tk.BooleanVar(self.root, False)
        self.maps_button = ttk.Checkbutton(
            bar, text="Feature maps", variable=self.wants_maps, command=self._toggle_maps
        )
        self.maps_button.pack(side="right")
        return bar

    # actions --------------------------------------------------------------------------------

    def undo(self):
        self.sketch.undo()
        self.sheet.redraw()
        self._changed()

    def clear(self):
        self.sketch.clear()
        self.sheet.redraw()
        self._changed()

    def open(self, path=None):
        """Show an image from a file and recognise it."""
        path = path or filedialog.askopenfilename(
            parent=self.root, title="Open an image of a digit"
        )
        if not path:
            return
        try:
            self.sketch.show(read_grey(path))
        except (OSError, ValueError, ImportError) as error:
            self.status.configure(text=str(error).partition("] ")[2] or str(error))
            return
        self.sheet.redraw()
        self._changed()

    def _take_pen(self, value):
        self.sheet.thickness = float(value)

    def _toggle_maps(self):
        if self.wants_maps.get():
            self.maps.grid()
        else:
            self.maps.grid_remove()
        self._changed()

    # recognising ------------------------------------------------------------------------------

    def _changed(self):
        """Recognise the sketch once when idle, after any number of changes."""
        if self._since is None:
            self.root.after_idle(self._recognise)
        self._since = time.perf_counter()

    def _resized(self):
        if self.wants_maps.get():  # larger ones may fit now
            self._changed()

    def _recognise(self):
        since, self._since = self._since, None
        if self.recogniser is None or since is None:
            return
        if self.sketch.is_empty:
            self.result.show(None, None)
            self._show_hints()
            self._show_maps(np.zeros((28, 28), np.float32))
            return
        drawn = self.sketch.raster()
        seen = self.recogniser.look(drawn)
        empty = not seen.any()
        self.result.show(seen, None if empty else self.recogniser.probabilities(seen))
        self._show_maps(seen)
        self.root.update_idletasks()
        self.latencies.append(time.perf_counter() - since)
        took = f"Recognised in {self.latencies[-1] * 1000:.0f} ms"
        text = "No digit found" if empty else took
        doubts = [] if empty else nn.data.doubts_of_digit(drawn)
        if doubts:
            text = f"Doubtful: {doubts[0]}"
        self.status.configure(text=text)

    def _show_maps(self, seen):
        if self.wants_maps.get() and self.recogniser.has_maps:
            room = self.root.winfo_width() - PANEL - 3 * MARGIN
            self.maps.show(self.recogniser.feature_maps(seen), room)

    # training ---------------------------------------------------------------------------------

    def train(self):
        """Start training a network in the background, unless one is being trained."""
        if self.teacher is None or self.teacher.is_at_work:
            return
        self.train_button.grid_remove()
        self.progress.grid(row=0, column=1)
        self.sheet.hint = "You can draw already.\nThe prediction appears after the training."
        self.sheet.redraw()
        self.teacher.start()
        self._watch()

    def _watch(self):
        """Show the progress of the training ten times a second until it is done."""
        self._watching = None
        while not self.teacher.news.empty():
            kind, what = self.teacher.news.get()
            if kind == "progress":
                self.progress.configure(value=what[0])
                self.status.configure(text=what[1])
            else:
                self.progress.grid_remove()
                self._learned(what) if kind == "done" else self._failed(what)
                return
        self._watching = self.root.after(100, self._watch)

    def _learned(self, model):
        self.recogniser = Recogniser(model)
        text = self.status.cget("text")
        try:
            model.save(self.path)
            text += f"; saved to {self.path}"
        except OSError as error:
            text += f"; it could not be saved: {error}"
        self._show_hints()
        self._since = time.perf_counter()
        self._recognise()
        self.status.configure(text=text)

    def _failed(self, reason):
        self._show_hints()
        self.status.configure(text=f"The training failed: {reason}")

    # hints and closing ------------------------------------------------------------------------

    def _show_hints(self):
        """Update the hint on the empty sheet and the status line."""
        if self.recogniser is not None:
            self.sheet.hint = "Draw a digit here"
            self.status.configure(text=f"Network: {self.path.name}")
            state = ["!disabled" if self.recogniser.has_maps else "disabled"]
            self.maps_button.state(state)
        else:
            self.sheet.hint = "There is no network yet."
            self.status.configure(text=f"There is no file {self.path.name}")
            if self.teacher is not None:
                self.sheet.hint += f"\nTraining one takes {self.teacher.takes}."
                self.train_button.grid(row=0, column=1)
        if self.sketch.is_empty:
            self.sheet.redraw()

    def close(self):
        """Close the window; training ends after the current batch."""
        if self._watching is not None:
            self.root.after_cancel(self._watching)
            self._watching = None
        self.root.withdraw()
        if self.teacher is not None:
            self.teacher.stop(timeout=10)
        self.root.destroy()


# ---------------------------------------------------------------------------------------- main


def parse_arguments(arguments):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--model",
        default="mnist_gui_model.hdf5",
        help="file of a network for MNIST; if missing, a network can be trained and saved to it",
    )
    parser.add_argument(
        "--data-dir",
        metavar="DIR",
        help="folder of the full MNIST for training, instead of the sample",
    )
    parser.add_argument("--seed", type=int, default=0, help="seed of the training")
    return parser.parse_args(arguments)


def main(arguments=None):
    options = parse_arguments(arguments)
    recogniser = None
    if Path(options.model).exists():
        try:
            recogniser = Recogniser(nn.Model.load(options.model))
        except (OSError, ValueError, ImportError) as error:
            raise SystemExit(f"'{options.model}' cannot be used: {error}") from error
    try:
        root = tk.Tk()
    except tk.TclError as error:
        raise SystemExit(f"No display for the window: {error}") from error
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # so that Ctrl-C works in the terminal
    Window(root, options.model, recogniser, Teacher(options.data_dir, options.seed))
    root.mainloop()
    return 0


if __name__ == "__main__":
    raise SystemExit(main())

"""The progress of `fit`: a bar in a terminal or a notebook, lines of text anywhere else.

`ProgressBar` counts samples and seconds; three classes display them. Figures that do not fit into a
line of the terminal are left out, the least important first.
"""

import importlib.util
import math
import os
import shutil
import sys
import time
from typing import Any

from .. import checks, text
from .base import Callback, Logs

_BAR_SECONDS = 0.2  # between two drawings of a bar
_LINE_SECONDS = 10.0  # between two lines within an epoch
_LEAST_BAR = 5  # columns; a shorter bar is left out


class ProgressBar(Callback):
    """Show each epoch: samples a second, time left, loss, metrics and learning rate.

    In a terminal, and in a notebook with ipywidgets, it is a bar; in a terminal it is as wide as
    the window, also after a change of its size. Anywhere else, as in a file, it is a line of text
    an epoch, and one every ten seconds within a longer epoch, without control characters.

    Parameters
    ----------
    verbose
        1 draws a bar on standard error if that is a terminal, or in a notebook, and writes lines
        to standard output elsewhere; 2 writes a line an epoch and no more.
    """

    first_rank_only = True

    def __init__(self, verbose: int = 1):
        self.verbose = verbose
        self._display: Any = None

    def on_epoch_begin(self, epoch: int, logs: Logs) -> None:
        """Start the epoch's display and its clock."""
        self._close()
        self._start = self._shown = time.perf_counter()
        self._seconds, self._logs = 0.0, Logs()
        # If a training is resumed within an epoch, some of its samples were seen before.
        progress = getattr(getattr(self, "model", None), "progress", None)
        self._samples = self._before = 0 if progress is None else progress.samples
        title = f"Epoch {epoch + 1}/{self.params['epochs']}"
        self._display = _display(self.verbose)(title, self.params["samples"])

    def on_train_batch_end(self, batch: int, logs: Logs) -> None:
        """Count the batch, and update the display from time to time."""
        left = self.params["samples"] - self._samples  # infinite if it is not known
        self._samples += int(min(self.params["batch_size"], left))
        now, self._logs = time.perf_counter(), logs
        self._seconds = now - self._start
        if now - self._shown >= self._display.pause:
            self._shown = now
            self._show()

    def on_test_begin(self, logs: Logs) -> None:
        """Show that the validation runs."""
        if self._display is not None:
            self._show("validating")

    def on_epoch_end(self, epoch: int, logs: Logs) -> None:
        """Show the epoch's metrics on a line that remains on the screen."""
        taken = time.perf_counter() - self._start
        speed = _speed(self._samples - self._before, self._seconds)
        display, self._display = self._display, None
        display.end(self._samples, format_logs(logs), speed, text.duration(taken))

    def on_train_end(self, logs: Logs) -> None:
        """Close a bar that an interruption left open."""
        self._close()

    def _show(self, remark: str = "") -> None:
        total, samples = self.params["samples"], self._samples
        seen = samples - self._before
        if not remark and seen and math.isfinite(total):
            remark = f"{text.duration(self._seconds / seen * (total - samples))} left"
        speed = _speed(seen, self._seconds)
        figures = format_logs({**self._logs, **self._rate()})
        self._display.show(samples, total, figures, speed, remark)

    def _rate(self) -> Logs:
        """Return the learning rate; nothing for a user's optimizer that has none."""
        lr = getattr(getattr(self.model, "optimizer", None), "lr", None)
        return {"lr": float(lr)} if isinstance(lr, int | float) else {}

    def _close(self) -> None:
        if self._display is not None:
            self._display.close()
            self._display = None


def format_logs(logs: Logs) -> dict[str, str]:
    """Return figures as short texts.

    Examples
    --------
    >>> format_logs({"loss": 0.123456, "lr": 0.0005})
    {'loss': '0.1235', 'lr': '0.0005'}
    """
    return {k: f"{v:.4f}" if abs(v) >= 1e-3 or v == 0 else f"{v:.3g}" for k, v in logs.items()}


def _speed(samples: int, seconds: float) -> str:
    return f"{samples / seconds if seconds else 0:,.0f} samples/s"


def _percent(samples: int, total: float) -> str:
    """Return the share that is done; the number of samples if the total is not known."""
    return f"{100 * samples / total:.0f}%" if math.isfinite(total) else f"{samples:,} samples"


# ---------------------------------------------------------------------------- the displays


def _display(verbose: int) -> Any:
    """Return the class of the display: for a terminal, a notebook, or a file."""
    if verbose != 1:
        return _EpochLines
    if sys.stderr is not None and sys.stderr.isatty():
        return _TerminalBar
    return _NotebookBar if _has_widgets() else _Lines


def print_line(line: str) -> None:
    """Print a line, or warn that it cannot be written: a training does not end for that."""
    try:
        print(line, flush=True)
    except BrokenPipeError:  # as of `| head`: no more is wanted
        raise
    except OSError as error:  # a full disk, or a terminal that is gone
        checks.warn(f"[Model] cannot print what happens: {error}.", RuntimeWarning)


def _has_widgets() -> bool:
    """Return whether this is a notebook that can show a bar."""
    ipython = sys.modules.get("IPython")
    shell = None if ipython is None else ipython.get_ipython()
    is_notebook = shell is not None and "IPKernelApp" in getattr(shell, "config", {})
    return is_notebook and importlib.util.find_spec("ipywidgets") is not None


class _Lines:
    """Lines of text on standard output: for files, pipes, and notebooks without widgets."""

    pause = _LINE_SECONDS

    def __init__(self, title: str, total: float):
        self.title = title

    def show(
        self, samples: int, total: float, figures: dict[str, str], speed: str, remark: str
    ) -> None:
        if remark != "validating":  # the line would stay
            self._print([_percent(samples, total), *_named(figures, " "), speed, remark])

    def end(self, samples: int, figures: dict[str, str], speed: str, taken: str) -> None:
        self._print([*_named(figures, " "), speed, taken])

    def close(self) -> None:
        pass

    def _print(self, parts: list[str]) -> None:
        print_line(f"{self.title}: {', '.join(part for part in parts if part)}")


class _EpochLines(_Lines):
    """One line of text an epoch."""

    pause = math.inf


class _TerminalBar:
    """A bar that tqdm draws in the last line of a terminal, on standard error."""

    pause = _BAR_SECONDS

    def __init__(self, title: str, total: float):
        from tqdm import tqdm

        self.title, self.total = title, total
        count = total if math.isfinite(total) else None
        begin = f"{title}: 0 samples" if count is None else f"{title}: 0% 0/{total:,.0f}"
        # tqdm draws nothing in a terminal of unknown size, 0 x 0, hence a height.
        self._bar = tqdm(
            total=count, ncols=_line_width(), nrows=24, bar_format="{desc}", desc=begin
        )

    def show(
        self, samples: int, total: float, figures: dict[str, str], speed: str, remark: str
    ) -> None:
        from tqdm.utils import disp_len

        columns, bar, known = _line_width(), self._bar, math.isfinite(total)
        if columns < bar.ncols:  # tqdm would clear the rest of its last line, which is too long now
            bar.sp = bar.status_printer(bar.fp)
        line = f"{self.title}: {_percent(samples, total)}"
        count = f"{samples:,}/{total:,.0f}" if known else ""
        rate = figures.pop("lr", None)  # less important than the time
        parts = [*_named(figures, "="), remark, f"lr={rate}" if rate else "", speed, count]
        parts = [part for part in parts if part]
        while parts and disp_len(" ".join([line, *parts])) > columns:
            parts.pop()
        bar.desc, bar.unit = line, " ".join(parts)  # as they are in tqdm's format
        has_bar = known and disp_len(f"{line} || {bar.unit}") + _LEAST_BAR <= columns
        bar.bar_format = "{desc} |{bar}| {unit}" if has_bar else "{desc} {unit}"
        bar.ncols, bar.n = columns, samples
        bar.refresh()

    def end(self, samples: int, figures: dict[str, str], speed: str, taken: str) -> None:
        if math.isfinite(self.total):  # a source may have had fewer than it said
            self.total = self._bar.total = samples
        self.show(samples, self.total, figures, speed, taken)
        self.close()

    def close(self) -> None:
        self._bar.close()


class _NotebookBar:
    """tqdm's bar of widgets, as wide as the page."""

    pause = _BAR_SECONDS

    def __init__(self, title: str, total: float):
        from tqdm.notebook import tqdm

        count = total if math.isfinite(total) else None
        self._bar = tqdm(total=count, desc=title, unit=" samples")

    def show(
        self, samples: int, total: float, figures: dict[str, str], speed: str, remark: str
    ) -> None:
        self._bar.n = samples
        self._bar.set_postfix_str(", ".join(_named(figures, "=")), refresh=False)
        self._bar.refresh()

    def end(self, samples: int, figures: dict[str, str], speed: str, taken: str) -> None:
        self._bar.total = samples
        self.show(samples, samples, figures, speed, taken)
        self.close()

    def close(self) -> None:
        self._bar.close()


def _line_width() -> int:
    """Return how wide a line may be: one less than the window, as some terminals wrap there.

    The size of the window is asked for each time, as it may have changed; if it is not known, the
    variable COLUMNS is used.
    """
    try:
        columns = os.get_terminal_size(sys.stderr.fileno()).columns
    except (OSError, ValueError, AttributeError):
        columns = 0
    return max(1, (columns or shutil.get_terminal_size().columns) - 1)


def _named(figures: dict[str, str], between: str) -> list[str]:
    return [f"{text.printable(name)}{between}{value}" for name, value in figures.items()]

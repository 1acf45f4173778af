"""Callbacks that record figures: in a CSV file, in TensorBoard's files; and a timer.

None of them changes the training.
"""

import contextlib
import csv
import itertools
import math
import os
import socket
import time
from pathlib import Path
from typing import Any

import numpy as np

from .. import checks, cuda
from .base import Callback, Logs


class CSVLogger(Callback):
    """Write a line of figures an epoch to a CSV file.

    The columns are 'epoch', counted from 0 as Keras does, and the figures of the first epoch; a
    figure that an epoch lacks is 'NA' in its line, and one that comes later is left out.

    Parameters
    ----------
    path
        The file. It is closed after each line, so that other programs can read it.
    separator
        The separator of columns, one character.
    append
        Whether to append to an old file, in its columns, instead of replacing it. A training
        that is resumed appends to its own file in any case; lines of epochs that are run again
        are removed.

    Raises
    ------
    ValueError, TypeError
        For wrong arguments; when training begins, for an old file without such a table.
    OSError
        If the file cannot be written when training begins.

    Warns
    -----
    RuntimeWarning
        If a line cannot be written later, because the disk is full for example. Training goes on,
        and the line is written with the next epoch's; the lines before it are whole.

    Examples
    --------
    >>> import tempfile, numpy as np, nn
    >>> model = nn.Model([nn.Dense(1, use_bias=False, input_shape=(1,))], seed=0)
    >>> model.compile("mse", "sgd", lr=0.5)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     log = CSVLogger(f"{folder}/log.csv")
    ...     h = model.fit(np.ones((4, 1)), np.ones((4, 1)), epochs=2, callbacks=[log], verbose=0)
    ...     print([line.split(",")[::2] for line in log.path.read_text().split()])
    [['epoch', 'lr'], ['0', '0.5'], ['1', '0.5']]
    """

    first_rank_only = True

    def __init__(self, path: str | os.PathLike, separator: str = ",", append: bool = False):
        if not isinstance(separator, str) or len(separator) != 1 or separator in '\r\n"':
            raise checks.error("CSVLogger", "separator", "must be one character", separator)
        self.path, self.separator = Path(checks.path("CSVLogger", "path", path)), separator
        self.append = checks.boolean("CSVLogger", "append", append)
        self._columns: list[str] = []
        self._waiting: list[list[Any]] = []  # rows that are not in the file yet

    def on_train_begin(self, logs: Logs) -> None:
        """Start the file, or read the columns of an old one."""
        self._waiting = []
        resumes = bool(self.model.history)
        append = self.append or (resumes and self._is_a_log())
        self._columns = self._old_columns() if append else []
        if self._columns and resumes:
            self._cut(self.model.epoch)
        cut_off = self._columns and not self.path.read_bytes().endswith(b"\n")
        with self.path.open("a" if append else "w", encoding="utf-8") as file:
            file.write("\n" if cut_off else "")

    def _is_a_log(self) -> bool:
        """Return whether there is a file with a table of epochs."""
        try:
            return bool(self._old_columns())
        except (ValueError, StopIteration):
            return False

    def _cut(self, epoch: int) -> None:
        """Remove the lines at the end of a file whose epochs are not before this one."""
        with self.path.open("rb+") as file:
            lines = file.readlines()
            first = [line.partition(self.separator.encode())[0].strip() for line in lines]
            while first and first[-1].isdigit() and int(first[-1]) >= epoch:
                first.pop()
            file.truncate(sum(map(len, lines[: len(first)])))

    def _old_columns(self) -> list[str]:
        """Return the columns of an old file; none for no file or an empty one."""
        if not self.path.exists() or self.path.stat().st_size == 0:
            return []
        with self.path.open(newline="", encoding="utf-8") as file:
            columns = next(csv.reader(file, delimiter=self.separator))
        if columns[:1] != ["epoch"]:
            rule = f"must begin with the column 'epoch' to be appended to with {self.separator!r}"
            raise checks.error("CSVLogger", "path", rule, str(self.path))
        return columns

    def on_epoch_end(self, epoch: int, logs: Logs) -> None:
        """Write the epoch's line, after the header for the first one."""
        if not self._columns:
            self._columns = ["epoch", *logs]
            self._waiting.append(self._columns)
        figures = [float(logs[name]) if name in logs else "NA" for name in self._columns[1:]]
        self._waiting.append([epoch, *figures])
        try:
            self._write_rows(self._waiting)
            self._waiting = []
        except OSError as error:
            checks.warn(
                f"[CSVLogger] did not write epoch {epoch + 1} to '{self.path}': "
                f"{error.strerror or error}. Training continues, and the line will be written "
                "with the next one.",
                RuntimeWarning,
            )

    def _write_rows(self, rows: list[list[Any]]) -> None:
        """Append rows to the file: all of them or, if the disk is full, none."""
        size = None
        try:
            with self.path.open("a", newline="", encoding="utf-8") as file:
                size = file.tell()
                writer = csv.writer(file, delimiter=self.separator, lineterminator="\n")
                writer.writerows(rows)
        except OSError:
            if size is not None:
                with contextlib.suppress(OSError):  # a device, for example, cannot be cut
                    os.truncate(self.path, size)
            raise


_NUMBERS = itertools.count(1)  # no two files of a process have the same name


class TensorBoard(Callback):
    """Write the figures of every epoch to TensorBoard's files (`tensorboard --logdir logs`).

    Like Keras' callback it writes two runs, so that both curves of a figure are in one diagram:
    `train`, and `validation` if there are validation data. A figure is the scalar
    'epoch_<name>', 'epoch_loss' for example, with the epoch, counted from 0, as its step.

    Parameters
    ----------
    log_dir
        The folder of the two runs; it is created if it is missing.
    histogram_freq
        Write a histogram of each array of weights, of 30 bins, every so many epochs; 0 for never.

    Raises
    ------
    ImportError
        If tensorboardX is not installed.
    OSError
        If the folder cannot be written when training begins.

    Warns
    -----
    RuntimeWarning
        If an epoch cannot be written later, because the disk is full for example. Training goes
        on, and the next epoch starts a new file; TensorBoard reads both.
    """

    first_rank_only = True

    def __init__(self, log_dir: str | os.PathLike = "logs", histogram_freq: int = 0):
        checks.require("TensorBoard", "tensorboardX", "tensorboardX", "write its files")
        self.log_dir = Path(checks.path("TensorBoard", "log_dir", log_dir))
        self.histogram_freq = checks.non_negative_int(
            "TensorBoard", "histogram_freq", histogram_freq
        )
        self._writers: dict[str, Any] = {}

    def on_train_begin(self, logs: Logs) -> None:
        """Start the file of the run `train`."""
        self._close()  # files of a training that ended before its first epoch
        try:
            self._writer("train")
        except OSError:
            self._close(failed=True)
            raise

    def on_epoch_end(self, epoch: int, logs: Logs) -> None:
        """Write the epoch's figures, and the histograms every `histogram_freq` epochs."""
        try:
            self._write(epoch, logs)
        except OSError as error:
            self._close(failed=True)  # nothing after half a record could be read
            checks.warn(
                f"[TensorBoard] did not write all of epoch {epoch + 1} to '{self.log_dir}': "
                f"{error.strerror or error}. Training goes on, and the next epoch begins a new "
                "file.",
                RuntimeWarning,
            )

    def _write(self, epoch: int, logs: Logs) -> None:
        from tensorboardX import summary

        for name, value in logs.items():
            run = "validation" if name.startswith("val_") else "train"
            tag = f"epoch_{name.removeprefix('val_')}"
            self._add(run, epoch, summary.scalar(tag, float(value)))
        if self.histogram_freq and (epoch + 1) % self.histogram_freq == 0:
            for name, array in self.model.get_arrays().items():
                values = cuda.to_cpu(array)
                values = values[np.isfinite(values)].astype(np.float64)
                if values.size:  # NumPy's own bins fail if all values are nearly equal
                    ends = np.linspace(values.min(), values.max(), 31)
                    self._add("train", epoch, summary.histogram(name, values, ends))
        for writer in self._writers.values():
            writer.flush()

    def _add(self, run: str, epoch: int, figures: Any) -> None:
        _write_event(self._writer(run), step=epoch, summary=figures)

    def _writer(self, run: str) -> Any:
        """Return the writer of a run's file, which is created for its first figure.

        The usual `SummaryWriter` writes in a thread of its own: if the disk is full that thread
        dies, and the training would wait for it for ever.
        """
        from tensorboardX.record_writer import RecordWriter

        if run not in self._writers:
            folder = self.log_dir / run
            folder.mkdir(parents=True, exist_ok=True)
            maker = f"{time.time():.0f}.{socket.gethostname()}.{os.getpid()}.{next(_NUMBERS):06d}"
            self._writers[run] = RecordWriter(str(folder / f"events.out.tfevents.{maker}"))
            _write_event(self._writers[run], file_version="brain.Event:2")
            self._writers[run].flush()
        return self._writers[run]

    def on_train_end(self, logs: Logs) -> None:
        """Close the files."""
        self._close()

    def _close(self, failed: bool = False) -> None:
        """Close the files; after a failure remove those without content."""
        for writer in self._writers.values():
            with contextlib.suppress(OSError):  # an epoch's end has flushed it, or has warned
                writer.close()
            with contextlib.suppress(OSError):
                if failed and Path(writer.path).stat().st_size == 0:
                    Path(writer.path).unlink()
        self._writers = {}


def _write_event(writer: Any, **content: Any) -> None:
    """Write a TensorBoard record with its time."""
    from tensorboardX.proto.event_pb2 import Event

    writer.write(Event(wall_time=time.time(), **content).SerializeToString())


class Timer(Callback):
    """Add the time of each epoch and of a step in it to the history, in seconds.

    'seconds' is the whole epoch, including validation and waiting for data, up to this callback's
    call at its end; 'step_seconds' is the mean of its batches, without waiting for data, and NaN
    if a training is resumed after the epoch's last batch.

    Examples
    --------
    >>> import numpy as np, nn
    >>> model = nn.Model([nn.Dense(1, input_shape=(2,))], seed=0)
    >>> model.compile("mse", "sgd")
    >>> h = model.fit(np.ones((4, 2)), np.ones((4, 1)), callbacks=[Timer()], verbose=0)
    >>> h["seconds"][0] >= h["step_seconds"][0] > 0
    True
    """

    adds = ("seconds", "step_seconds")

    def on_epoch_begin(self, epoch: int, logs: Logs) -> None:
        """Start the epoch's clock."""
        self._epoch_start = time.perf_counter()
        self._in_steps, self._steps = 0.0, 0

    def on_train_batch_begin(self, batch: int, logs: Logs) -> None:
        """Start the step's clock."""
        self._step_start = time.perf_counter()

    def on_train_batch_end(self, batch: int, logs: Logs) -> None:
        """Add the step to the epoch's."""
        self._in_steps += time.perf_counter() - self._step_start
        self._steps += 1

    def on_epoch_end(self, epoch: int, logs: Logs) -> None:
        """Write both times into the epoch's figures."""
        logs["seconds"] = time.perf_counter() - self._epoch_start
        logs["step_seconds"] = self._in_steps / self._steps if self._steps else math.nan

"""Signals that end a training, obeyed after the batch.

Python turns Ctrl-C into a KeyboardInterrupt between any two instructions: in the middle of the
optimizer's step, or of a file that is being written. `SIGTERM`, by which job schedulers and
containers ask a program to end, kills it at once. `Fit` defers both until a batch is finished, so
that the model and the files it leaves behind are whole.
"""

import signal
import threading
from types import FrameType, TracebackType
from typing import Any

_TERMINATED = 128 + signal.SIGTERM  # the exit status that shells give for it


class Interrupts:
    """Defer Ctrl-C and `SIGTERM` within a `with` block until `check` is called.

    Ctrl-C becomes a KeyboardInterrupt, `SIGTERM` a SystemExit with the status 143, which runs the
    program's own `finally` blocks on its way. The second signal is not deferred, in case the block
    never reaches its next `check`. Only Python's default handlers are replaced, in the main
    thread: nothing changes for a program with handlers of its own, or in another thread.

    Parameters
    ----------
    is_shared
        Whether several processes obey signals together: then `check` obeys those in `agreed` alone.

    Attributes
    ----------
    received : list of int
        The signals received within the block.
    agreed : list of int
        Those to obey: the same list unless it `is_shared`.

    Examples
    --------
    >>> with Interrupts() as interrupts:
    ...     signal.raise_signal(signal.SIGINT)
    ...     print("the batch is finished first")
    ...     try:
    ...         interrupts.check()
    ...     except KeyboardInterrupt:
    ...         print("and this is the end")
    the batch is finished first
    and this is the end
    """

    def __init__(self, is_shared: bool = False) -> None:
        self.received: list[int] = []
        self.agreed: list[int] = [] if is_shared else self.received
        self._replaced: dict[int, Any] = {}

    def __enter__(self) -> "Interrupts":
        defaults = {signal.SIGINT: signal.default_int_handler, signal.SIGTERM: signal.SIG_DFL}
        if threading.current_thread() is threading.main_thread():
            for number, default in defaults.items():
                handler = signal.getsignal(number)
                outer = getattr(handler, "__self__", None)
                if handler is default:
                    self._replaced[number] = signal.signal(number, self._note)
                elif isinstance(outer, Interrupts):
                    # A training within another ends with it
                    self.received, self.agreed = outer.received, outer.agreed
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for number, handler in self._replaced.items():
            signal.signal(number, handler)
        self._replaced = {}
        if signal.SIGTERM in self.received and not isinstance(error, SystemExit):
            # It was received after the last check, after Ctrl-C, or before an error that may be
            # caught.
            raise SystemExit(_TERMINATED) from error

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.received.append(number)
        if len(self.received) > 1:
            _obey(self.received)

    def check(self) -> None:
        """Raise the exception for the signals received, or agreed on, if any."""
        _obey(self.agreed)


def _obey(signals: list[int]) -> None:
    if signal.SIGTERM in signals:
        raise SystemExit(_TERMINATED)
    if signals:
        raise KeyboardInterrupt

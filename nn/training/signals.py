"""Signals that end a training: noted at once, obeyed where it does no harm.

Python turns Ctrl-C into a KeyboardInterrupt between any two instructions: in the middle of the
optimizer's step, of a file that is being written, of the very lines that clean up. `SIGTERM`, by
which job schedulers and containers ask a program to end, kills it there and then. `run_epochs`
holds both back until a batch is finished, so that the model and the files that it leaves behind
are whole ones.
"""

import signal
import threading
from types import FrameType, TracebackType
from typing import Any

_TERMINATED = 128 + signal.SIGTERM  # the exit status that shells give for it


class Interrupts:
    """Hold Ctrl-C and `SIGTERM` back within a `with` block; `check` obeys them.

    Ctrl-C becomes a KeyboardInterrupt, `SIGTERM` a SystemExit with the status 143, which runs the
    program's own `finally` blocks on its way. The second signal is not held back: it is obeyed
    wherever the program is, for a block that never comes to its next `check`. Only Python's own
    treatment is replaced, in the main thread: where a program has a handler of its own, or trains
    in another thread, nothing changes.

    Attributes
    ----------
    came : list of int
        The signals that came within the block.

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

    def __init__(self) -> None:
        self.came: list[int] = []
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
                    self.came = outer.came  # a training within another ends with it
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
        if signal.SIGTERM in self.came and not isinstance(error, SystemExit):
            # It came after the last check, after Ctrl-C, or before an error that may be caught.
            raise SystemExit(_TERMINATED) from error

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.came.append(number)
        if len(self.came) > 1:
            self.check()

    def check(self) -> None:
        """Raise what the signals that were held back ask for, where any were."""
        if signal.SIGTERM in self.came:
            raise SystemExit(_TERMINATED)
        if self.came:
            raise KeyboardInterrupt

"""Ctrl-C while a model trains: noted at once, obeyed where it does no harm.

Python turns Ctrl-C into a KeyboardInterrupt between any two instructions: in the middle of the
optimizer's step, of a file that is being written, of the very lines that clean up. `run_epochs`
holds it back until a batch is finished, so that the model it leaves behind is a whole one.
"""

import signal
import threading
from types import FrameType, TracebackType
from typing import Any


class CtrlC:
    """Hold Ctrl-C back within a `with` block; `check` raises it where it may be obeyed.

    The second Ctrl-C is not held back: it raises a KeyboardInterrupt wherever the program is, for
    a block that never comes to its next `check`. Only Python's own treatment is replaced, in the
    main thread: where a program has a handler of its own, or trains in another thread, nothing
    changes.

    Attributes
    ----------
    pressed : int
        How often Ctrl-C came within the block.

    Examples
    --------
    >>> with CtrlC() as ctrl_c:
    ...     signal.raise_signal(signal.SIGINT)
    ...     print("the batch is finished first")
    ...     try:
    ...         ctrl_c.check()
    ...     except KeyboardInterrupt:
    ...         print("and this is the end")
    the batch is finished first
    and this is the end
    """

    def __init__(self) -> None:
        self.pressed = 0
        self._replaced: Any = None

    def __enter__(self) -> "CtrlC":
        in_main_thread = threading.current_thread() is threading.main_thread()
        if in_main_thread and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
            self._replaced = signal.signal(signal.SIGINT, self._note)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._replaced is not None:
            signal.signal(signal.SIGINT, self._replaced)
            self._replaced = None

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.pressed += 1
        if self.pressed > 1:
            raise KeyboardInterrupt

    def check(self) -> None:
        """Raise the KeyboardInterrupt that was held back, where there is one."""
        if self.pressed:
            raise KeyboardInterrupt

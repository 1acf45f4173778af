"""What ends a job if one of its processes fails: never a hang, always a message that names it.

Processes wait for each other in every collective. `Watch` waits with a deadline and listens for
messages of the others meanwhile, on a communicator of its own:

- a process that raises an exception sends it to all others, which raise it as well;
- a process whose deadline has passed asks who is there. Those that wait answer; the others are
  named, and the job is aborted;
- a process whose program ends says so.

A process that is killed is noticed by `mpiexec`, which ends the others.
"""

import atexit
import contextlib
import faulthandler
import os
import pickle
import signal
import socket
import sys
import threading
import time
from types import TracebackType
from typing import Any

_ERROR, _WHO_IS_THERE, _HERE, _ENDED = range(1, 5)  # tags of the messages

_ANSWER_SECONDS = 2.0  # in which a process that waits answers
_ABORT_SECONDS = 3  # in which the launcher ends a process of an aborted job
_BUSY_SECONDS = 0.05  # of waiting in a busy loop; then this process sleeps between two looks
_LOOKS_EVERY = 64  # turns of that loop
_WATCHED_SECONDS = 1.0  # of waiting, after which a thread of C makes sure that it ends


class PeerError(RuntimeError):
    """An exception of another process that could not be sent as it is."""


class Watch:
    """Waits for the other processes, and learns what happens to them.

    Parameters
    ----------
    mpi
        The module `mpi4py.MPI`.
    control
        A communicator that serves nothing else.
    timeout
        Seconds that this process waits for another.
    """

    def __init__(self, mpi: Any, control: Any, timeout: float) -> None:
        self.mpi, self.control, self.timeout = mpi, control, timeout
        self.doing: list[str] = []  # what the blocks of `together` do, the innermost last
        self._errors: dict[int, tuple[bool, BaseException]] = {}  # of others, and whether their own
        self._sent: list[Any] = []  # messages on their way
        self._waits_since = 0.0
        self._ended: dict[int, float] = {}  # whose programs have ended, and when it was noticed
        self._raised: BaseException | None = None  # that all have raised
        names = control.allgather((socket.gethostname(), os.getpid()))
        self._names = [f"rank {k} ({host}, process {pid})" for k, (host, pid) in enumerate(names)]
        _end_with_all(mpi, self)

    # ------------------------------------------------------------------------------ waiting

    def wait(self, requests: list[Any]) -> None:
        """Wait until requests of MPI are done.

        Raises
        ------
        BaseException
            What another process has raised meanwhile.
        """
        if self.mpi.Request.Testall(requests):
            return
        try:
            self._wait(requests)
        finally:
            faulthandler.cancel_dump_traceback_later()  # of `_look`

    def _wait(self, requests: list[Any]) -> None:
        start, waited, turn = time.monotonic(), 0.0, 0
        self._waits_since = start
        while not self.mpi.Request.Testall(requests):
            turn += 1
            if waited > _BUSY_SECONDS or turn % _LOOKS_EVERY == 0:
                before, waited = waited, time.monotonic() - start
                self._look(before, waited, requests)
                if waited > self.timeout:
                    self._ask_who_is_there()
                    start, waited = time.monotonic(), 0.0  # some had something else to do
            if waited > _BUSY_SECONDS:
                time.sleep(0.001)
            elif hasattr(os, "sched_yield"):
                os.sched_yield()

    def _look(self, before: float, waited: float, requests: list[Any]) -> None:
        """Read messages; raise what another process has raised, abort if one has ended."""
        if before <= _WATCHED_SECONDS < waited:
            _end_after(self.timeout + _ANSWER_SECONDS + _ABORT_SECONDS)
        self._read_messages()
        if self._errors:
            self._sent += requests  # which MPI may still use
            raise min(self._errors.items())[1][1]
        for rank, since in self._ended.items():  # what it sent before may be on its way
            if min(time.monotonic() - since, waited) > _ANSWER_SECONDS:
                self.abort(f"{self._names[rank]} has ended its program, {self._waiting()}.")

    def _read_messages(self) -> None:
        status = self.mpi.Status()
        while self.control.Iprobe(tag=self.mpi.ANY_TAG, status=status):
            source, tag = status.Get_source(), status.Get_tag()
            message = self.control.recv(source=source, tag=tag)
            if tag == _ERROR:
                self._errors[source] = (message[0], _unpacked(*message))
            elif tag == _WHO_IS_THERE:
                self._send(source, (self._place(), time.monotonic() - self._waits_since), _HERE)
            elif tag == _HERE:
                self._answers[source] = message
            else:
                self._ended[source] = time.monotonic()

    def _send(self, to: int, message: Any, tag: int) -> None:
        self._sent.append(self.control.isend(message, to, tag))

    def _place(self) -> str:
        return self.doing[-1] if self.doing else "a call of nn.distributed"

    def _waiting(self) -> str:
        return f"and {self._names[self.control.rank]} waits for it in {self._place()}"

    @property
    def _others(self) -> list[int]:
        return [rank for rank in range(self.control.size) if rank != self.control.rank]

    def _ask_who_is_there(self) -> None:
        """Abort the job if a process does not answer, or if all have waited for too long."""
        self._answers: dict[int, tuple[str, float]] = {}
        for rank in self._others:
            self._send(rank, None, _WHO_IS_THERE)
        end = time.monotonic() + _ANSWER_SECONDS
        while time.monotonic() < end and len(self._answers) < len(self._others):
            self._read_messages()
            time.sleep(0.001)
        silent = [self._names[rank] for rank in self._others if rank not in self._answers]
        if silent:
            have = "have" if len(silent) > 1 else "has"
            self.abort(
                f"{', '.join(silent)} {have} not answered for {self.timeout:g} s, "
                f"{self._waiting()}: it hangs, or does something else for longer than the "
                "'timeout' of nn.distributed.MPI()."
            )
        if min(waited for _, waited in self._answers.values()) > self.timeout / 2:
            places = {self.control.rank: self._place()}
            places |= {rank: place for rank, (place, _) in self._answers.items()}
            listed = ", ".join(f"rank {rank} in {place}" for rank, place in sorted(places.items()))
            self.abort(
                f"all processes wait for one another for {self.timeout:g} s ({listed}): every "
                "process must call fit(), evaluate() and find_lr() in the same order, rank 0 too."
            )

    def abort(self, reason: str = "") -> None:
        """Print a line and end all processes of the job.

        A launcher that cannot reach another machine does not end this process: it ends itself.
        """
        if reason:
            print(f"[distributed] {reason} The job is aborted.", file=sys.stderr)
        sys.stderr.flush()
        sys.stdout.flush()
        if hasattr(signal, "SIGALRM") and threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGALRM, signal.SIG_DFL)  # ends this process, and MPICH all others
            signal.alarm(_ABORT_SECONDS)
        self.control.Abort(1)

    def end(self) -> None:
        """Tell the others that this program ends; wait a moment for them to end as well."""
        for rank in self._others:
            self._send(rank, None, _ENDED)
        end = time.monotonic() + _ANSWER_SECONDS
        while len(self._ended) < len(self._others) and time.monotonic() < end:
            self._read_messages()
            time.sleep(0.001)

    # ------------------------------------------------------------------------------- errors

    def share(self, error: BaseException) -> BaseException:
        """Return the exception to raise in this process, once every process has one.

        It is this process' own, or that of the first process that has one.

        Parameters
        ----------
        error
            What this process raises, its own or one that `wait` has raised.
        """
        if error is self._raised:  # all have raised it, in a block within this one
            return error
        is_own = all(error is not other for _, other in self._errors.values())
        packed = _packed(error)
        for rank in self._others:
            self._send(rank, (is_own, packed, repr(error)), _ERROR)
        end = time.monotonic() + self.timeout
        while len(self._errors) < len(self._others):
            self._read_messages()
            if time.monotonic() > end:
                self._ask_who_is_there()
                end = time.monotonic() + self.timeout
            time.sleep(0.0005)
        errors, self._errors = self._errors, {}
        self._sent = [request for request in self._sent if not request.Test()]
        self._raised = error
        if not is_own:
            rank, self._raised = min((k, e) for k, (own, e) in errors.items() if own)
            self._raised.add_note(f"[distributed] raised by {self._names[rank]}.")
            self._raised.__nn_peer__ = True  # type: ignore[attr-defined]
        return self._raised


def _end_after(seconds: float) -> None:
    """End this process after a time, with its traceback, even if MPI itself does not return."""
    faulthandler.dump_traceback_later(seconds, exit=True, file=sys.__stderr__ or 2)


def _packed(error: BaseException) -> bytes | None:
    """Return an exception as bytes; None for one that cannot be pickled."""
    try:
        packed = pickle.dumps(error)
        pickle.loads(packed)
    except Exception:
        return None
    return packed


def _unpacked(is_own: bool, packed: bytes | None, text: str) -> BaseException:
    """Return an exception of another process."""
    if packed is not None:
        with contextlib.suppress(Exception):  # its class may be unknown here
            return pickle.loads(packed)
    return PeerError(f"[distributed] {text}")


def _end_with_all(mpi: Any, watch: Watch) -> None:
    """Let an exception that ends this program end the job, and the others know of a normal end."""
    before = sys.excepthook

    def end_all(
        kind: type[BaseException], error: BaseException, traceback: TracebackType | None
    ) -> None:
        if getattr(error, "__nn_peer__", False):
            print(f"[distributed] rank {watch.control.rank} ends as well.", file=sys.stderr)
            time.sleep(1.0)  # in which the process that raised it prints its traceback
        else:
            before(kind, error, traceback)
        watch.abort()

    def tell() -> None:
        if not mpi.Is_finalized():
            watch.end()

    if watch.control.size > 1:
        sys.excepthook = end_all
        atexit.register(tell)

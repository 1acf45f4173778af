"""The command line, `python -m nn`: info, summary, predict, evaluate, convert and others.

A command is a module with `add_arguments`, which adds its options to an argparse parser, and `run`,
which returns a `Result`. This module prints results and errors for all commands.
"""

import argparse
import json
import math
import os
import sys
import warnings
from collections.abc import Callable, Sequence
from types import ModuleType
from typing import Any, NoReturn

from . import (
    benchmark,
    convert,
    evaluate,
    export_web,
    gradcheck,
    info,
    predict,
    summary,
    warmup,
)
from .result import Result

FINE, FAILED, BAD, INTERRUPTED = 0, 1, 2, 130

_COMMANDS: dict[str, ModuleType] = {
    "info": info,
    "summary": summary,
    "predict": predict,
    "evaluate": evaluate,
    "convert": convert,
    "export-web": export_web,
    "gradcheck": gradcheck,
    "benchmark": benchmark,
    "warmup": warmup,
}
# Errors in files, options and machines, reported in one line. Anything else is a bug in nn, and
# its traceback is shown.
_ERRORS = (OSError, ValueError, TypeError, RuntimeError, ImportError, ArithmeticError, MemoryError)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command and return its exit status.

    It is 0 for success, 1 if a check failed, 2 for wrong usage or a file that cannot be used, 130
    after Ctrl-C.
    """
    for stream in (
        sys.stdout,
        sys.stderr,
    ):  # names in any script can be printed, escaped if necessary
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    options = _parser().parse_args(arguments)
    name = f"python -m nn {options.command}"
    with warnings.catch_warnings():
        warnings.showwarning = _show_warning
        try:
            result: Result = options.run(options)
            _print(_as_json(result.data) if options.json else result.text)
        except KeyboardInterrupt:
            return _report(name, "stopped.", INTERRUPTED)
        except _ERRORS as error:
            return _report(name, str(error) or type(error).__name__, BAD)
    return FINE if result.ok else FAILED


def _print(output: str) -> None:
    """Print to standard output; a reader that closes the pipe, such as `head`, is no error."""
    try:
        print(output, flush=True)
    except BrokenPipeError:
        # Python flushes stdout again at exit, which would raise there.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _report(name: str, message: str, status: int) -> int:
    """Print one line to standard error and return the exit status."""
    print(f"{name}: {' '.join(message.split())}", file=sys.stderr)
    return status


def _show_warning(message: Warning | str, *_: Any, **__: Any) -> None:
    print(f"warning: {' '.join(str(message).split())}", file=sys.stderr)


def _as_json(data: Any) -> str:
    return json.dumps(_without_nan(data), indent=2, allow_nan=False)


def _without_nan(value: Any) -> Any:
    """Return data with None instead of NaN and infinity, which JSON cannot represent."""
    if isinstance(value, dict):
        return {name: _without_nan(part) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return [_without_nan(part) for part in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


# --------------------------------------------------------------------------------- the options


class _Parser(argparse.ArgumentParser):
    """A parser whose errors are one line."""

    def error(self, message: str) -> NoReturn:
        raise SystemExit(_report(self.prog, f"{message} (see {self.prog} --help)", BAD))


def _parser() -> argparse.ArgumentParser:
    from .. import __version__

    parser = _Parser(
        prog="python -m nn",
        description="Inspect models and machines from the command line.",
        epilog="Exit status: 0 success, 1 a check failed, 2 wrong usage or a file that cannot be "
        "used, 130 after Ctrl-C. Data sets: python -m nn.data --help.",
    )
    parser.add_argument("--version", action="version", version=f"nn {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for name, module in _COMMANDS.items():
        summary_line = (module.__doc__ or "").partition("\n")[0]
        command = commands.add_parser(name, help=summary_line, description=summary_line)
        command.add_argument("--json", action="store_true", help="print JSON and nothing else")
        module.add_arguments(command)
        run: Callable[[argparse.Namespace], Result] = module.run
        command.set_defaults(run=run)
    return parser

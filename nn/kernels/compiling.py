"""How the compiled kernels are compiled: by Numba, at their first call, once for a machine."""

import sys
from collections.abc import Callable
from typing import Any

import numba
from numba.core import event

_OPTIONS: dict[str, Any] = {
    "nogil": True,  # so that several threads run compiled code at the same time
    "error_model": "numpy",
    # Sums may be reordered and products fused with sums; NaN and infinity are kept.
    "fastmath": {"reassoc", "contract", "nsz", "arcp"},
}


def compile_kernel(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile a function at its first call and keep the machine code on disk.

    It may use constants of the function around it: they become part of the code. Where no
    folder for the code can be written, it is compiled anew in each process.
    """
    try:
        return numba.njit(cache=True, **_OPTIONS)(function)
    except RuntimeError:  # Numba found no folder that it may write to
        return numba.njit(**_OPTIONS)(function)


class _SayOnce(event.Listener):
    """Say it when the first kernel of this process is compiled: it takes some seconds in all."""

    said = False

    def on_start(self, event: Any) -> None:
        kernel = event.data["dispatcher"].py_func
        if self.said or not kernel.__module__.startswith(__package__):
            return
        self.said = True
        print("nn: compiling kernels for this processor, once ...", file=sys.stderr, flush=True)

    def on_end(self, event: Any) -> None:
        pass


event.register("numba:compile", _SayOnce())

"""Notices another distribution that has written into this package's folder.

The package index has a distribution named `nn`, which has nothing to do with this one and whose
modules lie in a folder of the same name. Whichever is installed later replaces `nn/__init__.py`.
`nn.layers` imports this module first, as both have an `nn.layers`.
"""

import sys
import warnings
from pathlib import Path
from types import ModuleType

__all__ = ["check"]

_CURE = (
    "run `python -m pip uninstall nn`, then "
    "`python -m pip install --force-reinstall --no-deps nn-sequential`"
)


def check(package: ModuleType, folder: Path) -> None:
    """Warn if the other distribution lies in the folder of nn; raise if it has replaced nn.

    Parameters
    ----------
    package
        The module that `import nn` gives.
    folder
        The folder of nn's own modules.

    Raises
    ------
    ImportError
        If `nn/__init__.py` is another one.
    """
    if not hasattr(package, "_thread_variables"):  # set in the first lines of nn/__init__.py
        raise ImportError(
            "[nn] Another distribution has replaced nn/__init__.py: the package index has an "
            f"unrelated one named 'nn'. {_CURE[0].upper()}{_CURE[1:]}."
        )
    if (folder / "layers.py").exists():  # ours is a folder
        warnings.warn(
            f"[nn] Modules of another distribution are in {folder}: the package index has an "
            f"unrelated one named 'nn', and uninstalling it would damage this one. To mend it, "
            f"{_CURE}.",
            stacklevel=2,
        )


check(sys.modules[__package__ or "nn"], Path(__file__).parent)

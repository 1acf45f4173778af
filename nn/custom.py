"""How the package tells its own classes and functions from those of its users."""

from typing import Any

_PACKAGE = __name__.partition(".")[0]


def is_ours(thing: Any) -> bool:
    """Return whether a class or a function is of this package, not one of the user's.

    Examples
    --------
    >>> import nn
    >>> is_ours(nn.Dense), is_ours(dict)
    (True, False)
    """
    return str(getattr(thing, "__module__", "")).partition(".")[0] == _PACKAGE

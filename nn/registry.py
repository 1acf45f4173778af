"""Tables of names: one mechanism for layers, losses, optimizers and the like."""

from collections.abc import Mapping
from typing import Any, TypeVar

from . import checks

T = TypeVar("T")


class Registry(dict[str, T]):
    """A dictionary from names to classes or functions whose errors name the nearest entry.

    A name is found as it is written, or in lower case. Entries are added as in any dictionary.

    Parameters
    ----------
    owner, argument
        The class and the argument that an error names, unless a caller passes its own.
    entries
        The first entries.
    aliases
        Other names for entries: `{"cce": "categorical_crossentropy"}`.

    Examples
    --------
    >>> shapes = Registry("Canvas", "shape", {"list": list, "tuple": tuple}, {"array": "list"})
    >>> shapes.find("Array")
    <class 'list'>
    >>> shapes.find("tupel")
    Traceback (most recent call last):
    ValueError: [Canvas] 'shape' must be one of 'array', 'list', 'tuple', got 'tupel': did you \
mean 'tuple'?
    """

    def __init__(
        self,
        owner: str,
        argument: str,
        entries: Mapping[str, T] | None = None,
        aliases: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(entries or {})
        self.owner, self.argument = owner, argument
        self.add_aliases(aliases or {})

    def add_aliases(self, aliases: Mapping[str, str]) -> None:
        """Add other names for entries, given as `{alias: name}`."""
        for alias, name in aliases.items():
            self[alias] = self[name]

    def find(self, name: Any, owner: str | None = None, argument: str | None = None) -> T:
        """Return the entry of a name.

        Parameters
        ----------
        name
            A name, as it is written here or in another case.
        owner, argument
            What the error names, if not the registry's own.

        Raises
        ------
        ValueError
            For an unknown name; the message gives the nearest known one.
        """
        for spelling in (name, name.lower()) if isinstance(name, str) else ():
            if spelling in self:
                return self[spelling]
        raise checks.unknown(owner or self.owner, argument or self.argument, name, self)

    def knows(self, entry: Any) -> bool:
        """Return whether `find_class` finds this class or function by its `__name__`.

        Examples
        --------
        >>> Registry("Canvas", "shape", {"pair": tuple}).knows(tuple)
        True
        """
        return self._by_class_name().get(entry.__name__) is entry

    def find_class(self, config: Any, owner: str | None = None) -> T:
        """Return the class that a configuration `{'class': ..., 'config': {...}}` names.

        The name is that of the class itself, or one under which it is registered.

        Raises
        ------
        ValueError
            For anything but such a dictionary, and for an unknown class.
        """
        owner = owner or self.owner
        if not isinstance(config, dict) or "class" not in config:
            raise checks.error(owner, "config", "must be {'class': ..., 'config': {...}}", config)
        name, known = config["class"], self._by_class_name()
        for names in (known, self) if isinstance(name, str) else ():
            if name in names:
                return names[name]
        raise checks.unknown(owner, "class", name, known)

    def _by_class_name(self) -> dict[str, T]:
        return {getattr(entry, "__name__", name): entry for name, entry in self.items()}

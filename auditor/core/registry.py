"""A registry of named classes, filled by decorators and found through entry points."""

import difflib
from collections.abc import Callable, Iterator
from importlib.metadata import EntryPoint, entry_points
from typing import Generic, TypeVar

from auditor.core.errors import AuditorError

Item = TypeVar("Item")


class Registry(Generic[Item]):
    """Names to items. Plugins of ``group`` are imported when the registry is first read."""

    def __init__(self, kind: str, group: str | None = None) -> None:
        self.kind = kind
        self.group = group
        self._items: dict[str, Item] = {}
        self._loaded = group is None

    def register(self, name: str) -> Callable[[Item], Item]:
        """Decorator that registers an item under ``name``.

        Raises:
            AuditorError: another item holds that name already.
        """

        def add(item: Item) -> Item:
            held = self._items.get(name)
            if held is not None and _origin(held) != _origin(item):
                raise AuditorError(
                    f"two {self.kind}s are called {name!r}: {_origin(held)} and {_origin(item)}. "
                    "Uninstall or rename one."
                )
            self._items[name] = item
            return item

        return add

    def get(self, name: str) -> Item:
        """The item of that name.

        Raises:
            AuditorError: there is none; close names are suggested.
        """
        self._load()
        try:
            return self._items[name]
        except KeyError:
            raise AuditorError(self._unknown(name)) from None

    def names(self) -> list[str]:
        """All names, sorted."""
        self._load()
        return sorted(self._items)

    def __iter__(self) -> Iterator[tuple[str, Item]]:
        return iter((name, self.get(name)) for name in self.names())

    def _unknown(self, name: str) -> str:
        candidates = {full: full for full in self._items}
        candidates |= {full.rsplit("/", 1)[-1]: full for full in self._items}
        wanted = name.casefold()
        close = difflib.get_close_matches(wanted, candidates, n=3, cutoff=0.5)
        close += [short for short in candidates if wanted and wanted in short]
        suggestions = list(dict.fromkeys(candidates[c] for c in close))[:3]
        hint = f" Did you mean {' or '.join(suggestions)}?" if suggestions else ""
        known = ", ".join(sorted(self._items)) or "none"
        return f"there is no {self.kind} {name!r}.{hint} Known: {known}."

    def _load(self) -> None:
        if self._loaded or self.group is None:
            return
        self._loaded = True
        for point in entry_points(group=self.group):
            try:
                point.load()
            except AuditorError:
                self._loaded = False
                raise
            except Exception as error:  # a plugin's import can fail in any way
                self._loaded = False
                raise AuditorError(_broken(point, self.kind, error)) from error


def _origin(item: object) -> str:
    return f"{getattr(item, '__module__', '?')}.{getattr(item, '__qualname__', item)}"


def _broken(point: EntryPoint, kind: str, error: Exception) -> str:
    package = point.dist.name if point.dist else "unknown package"
    return (
        f"the {kind} plugin {point.name!r} ({point.value}, from {package}) does not load: "
        f"{type(error).__name__}: {error}. Mend or uninstall {package}; an audit never runs with "
        "part of its attacks missing."
    )

"""Registry of named items, filled by decorators and entry points."""

import difflib
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from importlib.metadata import EntryPoint, entry_points
from typing import Generic, TypeVar

from auditor.core.errors import AuditorError
from auditor.core.extras import missing_extra

Item = TypeVar("Item")


class Registry(Generic[Item]):
    """Names to items, each imported when it is first asked for.

    An entry point of ``group`` either is one item (``family/name = "package.module:Item"``), or
    names a module whose decorators register several (``anything = "package.module"``). The
    former is imported when its item is asked for. The latter says nothing of its items before it
    is imported, so it is imported once all names are wanted or a name is found nowhere else.
    """

    def __init__(
        self,
        kind: str,
        group: str | None = None,
        current: Callable[[str], str] = lambda name: name,
    ) -> None:
        """Create an empty registry.

        Args:
            kind: What an item is called in messages, for example ``attack``.
            group: Group of the entry points; None for items that are only registered by decorator.
            current: Gives the present name of an item that had another one before.
        """
        self.kind = kind
        self.group = group
        self.current = current
        self._items: dict[str, Item] = {}
        self._points: tuple[EntryPoint, ...] | None = None
        self._loaded: set[str] = set()
        self._modules_loaded = False
        self._broken: dict[str, AuditorError] = {}

    def register(self, name: str) -> Callable[[Item], Item]:
        """Decorator that registers an item under ``name``.

        Raises:
            AuditorError: another item holds that name already.
        """

        def add(item: Item) -> Item:
            held = self._items.get(name)
            if held is not None and _origin(held) != _origin(item):
                raise self._taken(name, _origin(held), _origin(item))
            self._items[name] = item
            return item

        return add

    def unregister(self, name: str) -> None:
        """Take out an item that a decorator registered."""
        self._items.pop(name, None)

    def get(self, name: str) -> Item:
        """Return the item of a name or former name.

        Raises:
            AuditorError: There is none (close names are suggested), its plug-in does not load, or
                two plug-ins provide one.
        """
        name = self.current(name)
        points = self.points(name)
        if points and name not in self._loaded:
            self._load(name, points)
        if name not in self._items:
            self._load_modules()
        if name in self._broken:
            raise self._broken[name]
        if name not in self._items:
            raise AuditorError(self._unknown(name))
        return self._items[name]

    def names(self) -> list[str]:
        """Return all names, sorted.

        Those whose plug-in would not load are among them.
        """
        self._load_modules()
        return sorted({*self._items, *self._by_name()})

    def broken(self) -> Mapping[str, AuditorError]:
        """Return the errors of whatever is known not to load.

        They stand by the name of the item or of the entry point.
        """
        self._load_modules()
        for name, points in self._by_name().items():
            if len(points) > 1 or name in self._items:
                self._checked(name, points)
        return self._broken

    def check_complete(self) -> None:
        """Check that the name of every item is known.

        It is, unless a plug-in fails to load that names its items by decorator.

        Raises:
            AuditorError: One does not load, so nobody can tell what is missing.
        """
        for name, error in self.broken().items():
            if name not in self._by_name():
                raise error

    def points(self, name: str) -> list[EntryPoint]:
        """Return the entry points of the item of a name."""
        return self._by_name().get(self.current(name), [])

    def __iter__(self) -> Iterator[tuple[str, Item]]:
        return iter((name, self.get(name)) for name in self.names())

    def _entry_points(self) -> tuple[EntryPoint, ...]:
        if self._points is None:  # reading them takes a tenth of a second
            self._points = tuple(entry_points(group=self.group)) if self.group else ()
        return self._points

    def _by_name(self) -> dict[str, list[EntryPoint]]:
        """Return the entry points that are one item each, by name."""
        found: dict[str, list[EntryPoint]] = defaultdict(list)
        for point in self._entry_points():
            if point.attr and point not in found[point.name]:
                found[point.name].append(point)
        return dict(found)

    def _load(self, name: str, points: list[EntryPoint]) -> None:
        """Import an item from its entry point.

        Raises:
            AuditorError: It does not load, or something else holds its name.
        """
        if not self._checked(name, points):
            raise self._broken[name]
        try:
            item = points[0].load()
        except Exception as error:  # a plug-in's import can fail in any way
            raise _failure(points[0], self.kind, error) from error
        self.register(name)(item)
        self._loaded.add(name)

    def _checked(self, name: str, points: list[EntryPoint]) -> bool:
        """Return whether exactly one plug-in provides an item.

        If not, the error is kept in ``_broken``.
        """
        origins = [_reference(point) for point in points]
        held = self._items.get(name)
        if held is not None and len(points) == 1 and _origin(held) != origins[0]:
            try:
                same = points[0].load() is held  # the entry point may name a re-export
            except Exception:  # a plug-in's import can fail in any way
                same = False
            origins += [] if same else [_origin(held)]
        if len(origins) > 1:
            self._broken[name] = self._taken(name, *origins[:2])
        return name not in self._broken

    def _load_modules(self) -> None:
        """Import the entry points whose modules register items by decorator."""
        if self._modules_loaded:
            return
        self._modules_loaded = True
        for point in self._entry_points():
            if point.attr:
                continue
            try:
                point.load()
            except Exception as error:  # a plug-in's import can fail in any way
                self._broken[point.name] = _failure(point, self.kind, error)

    def _taken(self, name: str, one: str, other: str) -> AuditorError:
        return AuditorError(
            f"two {self.kind}s are called {name!r}: {one} and {other}. Uninstall or rename one."
        )

    def _unknown(self, name: str) -> str:
        names = self.names()
        candidates = {full: full for full in names}
        candidates |= {full.rsplit("/", 1)[-1]: full for full in names}
        wanted = name.casefold()
        close = difflib.get_close_matches(wanted, candidates, n=3, cutoff=0.5)
        close += [short for short in candidates if wanted and wanted in short]
        suggestions = list(dict.fromkeys(candidates[c] for c in close))[:3]
        hint = (
            f"Did you mean {' or '.join(suggestions)}?"
            if suggestions
            else f"Known: {', '.join(names) or 'none'}."
        )
        broken = "".join(f" Besides, {error}" for error in self._broken.values())
        return f"there is no {self.kind} {name!r}. {hint}{broken}"


def _origin(item: object) -> str:
    return f"{getattr(item, '__module__', '?')}.{getattr(item, '__qualname__', item)}"


def _reference(point: EntryPoint) -> str:
    return f"{point.module}.{point.attr}"


def _failure(point: EntryPoint, kind: str, error: Exception) -> AuditorError:
    """Return the error of an entry point that does not load.

    It speaks of the entry point, or of an extra that is missing.
    """
    if isinstance(error, AuditorError):
        return error
    lacking = missing_extra(error) if isinstance(error, ImportError) else None
    if lacking is not None:
        return lacking
    package = point.dist.name if point.dist else "unknown package"
    return AuditorError(
        f"the {kind} plug-in {point.name!r} ({point.value}, from {package}) does not load: "
        f"{type(error).__name__}: {error}. Fix or uninstall {package}; an audit never runs with "
        "part of its attacks missing."
    )

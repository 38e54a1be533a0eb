"""Open sets of a configuration: items by name; each item has a kind, and the options of this kind.

A kind is a subclass of `Item` in its own file, in the package of its family: `features/kinds/`, `models/kinds/` or `explanation/kinds/`.
Its fields are its options. Its methods define what it reads, what it writes and what it costs. To add a kind, add a file: all files of
these packages are loaded, and no list of kinds exists.
"""

from __future__ import annotations

import functools
import importlib
import pkgutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, NamedTuple

from pydantic import Field, GetCoreSchemaHandler, TypeAdapter
from pydantic_core import CoreSchema, core_schema

from spikelens.config.types import Section
from spikelens.errors import Problem
from spikelens.names import Stage
from spikelens.refusals import ITEM_PATTERN

if TYPE_CHECKING:
    from spikelens.config.run import RunConfig

FAMILIES: dict[str, str] = {
    "features": "spikelens.features.kinds",
    "models": "spikelens.models.kinds",
    "methods": "spikelens.explanation.kinds",
}
"""Package of each family's kinds. A file in it is named after its kind."""
_BASES: dict[str, tuple[str, str]] = {
    "features": ("spikelens.features.feature", "Feature"),
    "models": ("spikelens.models.model", "Model"),
    "methods": ("spikelens.explanation.method", "Method"),
}
"""Module and name of each family's base class."""


class Extensions:
    """Kinds that a user's files add to those of the package (`config.extensions`)."""

    def __init__(self) -> None:
        self.loaded: tuple[tuple[str, str], ...] = ()
        """Path and hash of each file that is loaded."""
        self.kinds: dict[str, dict[str, type[Item]]] = {}
        self._sources: dict[type[Item], Path | None] = {}
        self._adding: tuple[Path | None, list[tuple[str, str]]] | None = None

    def clear(self) -> None:
        self.kinds = {}

    @contextmanager
    def adding(self, source: Path | None) -> Iterator[list[tuple[str, str]]]:
        """Register the kinds that are defined in this context as those of a file; yields the list of their families and names."""
        added: list[tuple[str, str]] = []
        self._adding = source, added
        try:
            yield added
        finally:
            self._adding = None

    def add(self, kind: str, item: type[Item]) -> bool:
        """Register a kind if it is defined in the context `adding`; return whether it is."""
        if self._adding is None:
            return False
        source, added = self._adding
        if source is not None and item.__module__.startswith("spikelens."):  # a kind of the package that the file imports
            return False
        added.append((item.FAMILY, kind))
        self.kinds.setdefault(item.FAMILY, {})[kind] = item
        self._sources[item] = source
        return True

    def source_of(self, item: type[Item]) -> Path | None:
        """The file that defines a kind; None for a kind of the package and for a placeholder."""
        return self._sources.get(item)

    def stands_in(self, item: type[Item]) -> bool:
        """Whether a kind is a placeholder for one whose file was not executed: it has options, but cannot compute."""
        return item in self._sources and self._sources[item] is None


extensions = Extensions()
_SHIPPED: dict[str, dict[str, type[Item]]] = {family: {} for family in FAMILIES}

KIND = "kind of the item; its other keys are the options of this kind"
"""The description of the key `kind`."""
ItemName = Annotated[str, Field(pattern=ITEM_PATTERN)]


class Read(NamedTuple):
    """Results that an item reads: those of a stage, or of one item of it."""

    stage: Stage
    item: str = ""


class Item(Section):
    """One entry of an open set: its kind, and the options of this kind."""

    FAMILY: ClassVar[str]
    NO_RESULTS: ClassVar[tuple[str, ...]] = ()
    """Options that do not enter the key: results do not depend on them, or only through `context`."""

    kind: str

    @classmethod
    def required(cls) -> tuple[str, ...]:
        """Names of the methods that every kind of the family defines."""
        return ()

    @classmethod
    def __pydantic_init_subclass__(cls, **_: Any) -> None:
        kind = cls.model_fields["kind"].default
        if isinstance(kind, str) and not extensions.add(kind, cls):
            _SHIPPED[cls.FAMILY][kind] = cls

    def applies(self, run: RunConfig) -> bool:
        """Whether the run has what the item needs. Features and methods that do not apply are left out."""
        return True

    def reads(self, run: RunConfig) -> tuple[Read, ...]:
        """The results that the item is computed from. Their keys enter its own, and its jobs wait for them."""
        raise NotImplementedError

    def context(self, run: RunConfig) -> dict[str, Any]:
        """Everything else that its results depend on, besides its options and what it reads; enters the key."""
        return {}

    def check(self, run: RunConfig, where: str) -> Iterator[Problem]:
        """Yield every reason why the item cannot be computed; `where` is its dotted key."""
        return iter(())


def kinds(family: str) -> dict[str, type[Item]]:
    """The kinds of a family by name: those of the package and of the loaded extensions."""
    return shipped(family) | extensions.kinds.get(family, {})


def shipped(family: str) -> dict[str, type[Item]]:
    """The kinds of a family that are part of the package."""
    _load(family)
    return _SHIPPED[family]


def base(family: str) -> type[Item]:
    """The base class of a family."""
    module, name = _BASES[family]
    found: type[Item] = getattr(importlib.import_module(module), name)
    return found


@functools.cache
def _load(family: str) -> None:
    package = importlib.import_module(FAMILIES[family])
    for module in pkgutil.iter_modules(package.__path__):
        importlib.import_module(f"{package.__name__}.{module.name}")


class AnyKind:
    """Marks a type as "an item of any kind of a family", selected by its key `kind`."""

    def __init__(self, family: str) -> None:
        self.family = family

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        choices = {kind: handler.generate_schema(item) for kind, item in sorted(kinds(self.family).items())}
        return core_schema.tagged_union_schema(choices, discriminator="kind")


def completed(given: Any, reference: dict[str, dict[str, Any]]) -> Any:
    """Complete the given items: an item without `kind` takes its missing keys from the reference item of the same name."""
    if not isinstance(given, dict):
        return given
    return {
        name: {**reference[name], **item} if name in reference and isinstance(item, dict) and "kind" not in item else item
        for name, item in given.items()
    }


def parsed(family: str, content: dict[str, Any]) -> Any:
    """Restore an item from its `model_dump`."""
    return TypeAdapter(Annotated[Any, AnyKind(family)]).validate_python(content)

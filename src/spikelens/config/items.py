"""Open sets of a configuration: the user's names -> items of some kind, each with the options of its kind.

A kind is a subclass of `Item` in a file of its own, in the package of its family: `features/kinds/`, `models/kinds/` or
`explanation/kinds/`. Its fields are its options. Its methods say what it reads, what it writes and what it costs. To add a kind, add a
file; nothing else names it.
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
"""The package of each family's kinds; a file in it has the name of its kind."""
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
        """What they were added by: path and digest of each file."""
        self.kinds: dict[str, dict[str, type[Item]]] = {}
        self._sources: dict[type[Item], Path | None] = {}
        self._adding: tuple[Path | None, list[tuple[str, str]]] | None = None

    def clear(self) -> None:
        self.kinds = {}

    @contextmanager
    def adding(self, source: Path | None) -> Iterator[list[tuple[str, str]]]:
        """Take the kinds that are defined meanwhile for those of a file; gives their families and names."""
        added: list[tuple[str, str]] = []
        self._adding = source, added
        try:
            yield added
        finally:
            self._adding = None

    def add(self, kind: str, item: type[Item]) -> bool:
        """Add a kind, if those of a file are being added."""
        if self._adding is None:
            return False
        source, added = self._adding
        if source is not None and item.__module__.startswith("spikelens."):  # a kind of the package, which the file imports
            return False
        added.append((item.FAMILY, kind))
        self.kinds.setdefault(item.FAMILY, {})[kind] = item
        self._sources[item] = source
        return True

    def source_of(self, item: type[Item]) -> Path | None:
        """The file that a kind was defined in; None for a kind of the package, or one that stands in for that of a file."""
        return self._sources.get(item)

    def stands_in(self, item: type[Item]) -> bool:
        """Whether a kind stands in for one whose file was not executed: it has options, and computes nothing."""
        return item in self._sources and self._sources[item] is None


extensions = Extensions()
_SHIPPED: dict[str, dict[str, type[Item]]] = {family: {} for family in FAMILIES}

KIND = "what it is; its other keys are options of this kind"
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
    """Options that no result depends on."""

    kind: str

    @classmethod
    def __pydantic_init_subclass__(cls, **_: Any) -> None:
        kind = cls.model_fields["kind"].default
        if isinstance(kind, str) and not extensions.add(kind, cls):
            _SHIPPED[cls.FAMILY][kind] = cls

    def applies(self, run: RunConfig) -> bool:
        """Whether the run has what the item needs. One that does not apply is left out."""
        return True

    def reads(self, run: RunConfig) -> tuple[Read, ...]:
        """What the item reads; its results follow from it."""
        raise NotImplementedError

    def context(self, run: RunConfig) -> dict[str, Any]:
        """What its results follow from besides its options and what it reads."""
        return {}

    def check(self, run: RunConfig, where: str) -> Iterator[Problem]:
        """Yield every reason why the item cannot be computed; `where` is its place in the configuration."""
        return iter(())


def kinds(family: str) -> dict[str, type[Item]]:
    """The kinds of a family by name: those of the package, and of the extensions in use."""
    return shipped(family) | extensions.kinds.get(family, {})


def shipped(family: str) -> dict[str, type[Item]]:
    """The kinds of a family that the package has."""
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
    """Marks a type as "an item of any kind of a family", told by its key `kind`."""

    def __init__(self, family: str) -> None:
        self.family = family

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        choices = {kind: handler.generate_schema(item) for kind, item in sorted(kinds(self.family).items())}
        return core_schema.tagged_union_schema(choices, discriminator="kind")


def completed(given: Any, reference: dict[str, dict[str, Any]]) -> Any:
    """The items of a set as given, where those without a kind take what they leave out from the reference's item of their name."""
    if not isinstance(given, dict):
        return given
    return {
        name: {**reference[name], **item} if name in reference and isinstance(item, dict) and "kind" not in item else item
        for name, item in given.items()
    }


def parsed(family: str, content: dict[str, Any]) -> Any:
    """An item from what `model_dump` made of one."""
    return TypeAdapter(Annotated[Any, AnyKind(family)]).validate_python(content)

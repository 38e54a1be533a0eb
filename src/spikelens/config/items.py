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
_KINDS: dict[str, dict[str, type[Item]]] = {family: {} for family in FAMILIES}

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
        if isinstance(kind, str):
            _KINDS[cls.FAMILY][kind] = cls

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
    """The kinds of a family by name."""
    _load(family)
    return _KINDS[family]


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

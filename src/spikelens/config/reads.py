"""Checks of what items read: every source exists, and no item depends on itself."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from spikelens.config.items import Read
from spikelens.errors import Problem
from spikelens.names import Stage

if TYPE_CHECKING:
    from spikelens.config.run import RunConfig

_PLACES = {"explanation": "explanation.methods"}
"""Key of a stage's items, if it is not the name of the stage."""


def check_reads(run: RunConfig, stage: Stage) -> Iterator[Problem]:
    """Yield a problem for each item of a stage that reads something that does not exist, or that depends on itself."""
    for name, item in run.items(stage).items():
        reader = Read(stage, name)
        for source in _sources(run, reader):
            if source.stage not in run.stages:
                yield Problem(_key(reader), item.kind, f"it reads {source.stage}, which this run does not have")
            elif source.stage in ("features", "models") and not source.item:
                yield Problem(
                    _key(reader), item.kind, f"it reads {source.stage} without naming an item; expected Read({source.stage!r}, name)"
                )
            elif source.item and source.item not in run.items(source.stage):
                yield Problem(_key(reader), item.kind, f"it reads {_key(source)}, which does not exist")
        cycle = _cycle(run, reader, set(), ())
        if cycle:
            chain = " reads ".join(map(_key, cycle))
            yield Problem(_key(reader), item.kind, f"circular dependency: {chain}")


def _sources(run: RunConfig, reader: Read) -> tuple[Read, ...]:
    """What an item reads; empty if it does not exist or is invalid itself. The judge reads all methods."""
    if reader == Read("explanation"):
        return tuple(Read("explanation", name) for name in run.methods)
    item = run.items(reader.stage).get(reader.item)
    return () if item is None or any(item.check(run, "")) else item.reads(run)


def _cycle(run: RunConfig, at: Read, done: set[Read], above: tuple[Read, ...]) -> tuple[Read, ...]:
    """The first cycle that is reachable from an item; empty if there is none."""
    if at in above:
        return (*above[above.index(at) :], at)
    if at in done:
        return ()
    done.add(at)
    return next(filter(None, (_cycle(run, source, done, (*above, at)) for source in _sources(run, at))), ())


def _key(read: Read) -> str:
    place = _PLACES.get(read.stage, read.stage)
    return f"{place}.{read.item}" if read.item else place

"""What items read of one another: every item exists, and none reads itself through others."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from spikelens.config.items import Read
from spikelens.errors import Problem
from spikelens.names import STAGES

if TYPE_CHECKING:
    from spikelens.config.run import RunConfig

_PLACES = {"explanation": "explanation.methods"}
"""Where the configuration has a stage's items, if not under the stage's name."""


def check_reads(run: RunConfig) -> Iterator[Problem]:
    """Refuse items that read what does not exist, and cycles."""
    reads = {Read(stage, name): item.reads(run) for stage in STAGES for name, item in run.items(stage).items()}
    for reader, sources in reads.items():
        kind = run.items(reader.stage)[reader.item].kind
        for source in (source for source in sources if source.stage not in run.stages):
            yield Problem(
                _key(reader), run.items(reader.stage)[reader.item].kind, f"it reads the {source.stage}, which this run does not have"
            )
        for source in (source for source in sources if source.item and source not in reads):
            yield Problem(_key(reader), kind, f"it reads {_key(source)}, which does not exist")
    done: set[Read] = set()
    for start in reads:
        cycle = _cycle(start, reads, done, ())
        if cycle:
            chain = " reads ".join(map(_key, cycle))
            yield Problem(_key(start), run.items(start.stage)[start.item].kind, f"items cannot read each other in a circle: {chain}")
            return


def _cycle(at: Read, reads: dict[Read, tuple[Read, ...]], done: set[Read], above: tuple[Read, ...]) -> tuple[Read, ...]:
    """The first cycle that is found from an item on; empty if there is none."""
    if at in above:
        return (*above[above.index(at) :], at)
    if at in done:
        return ()
    done.add(at)
    return next(filter(None, (_cycle(source, reads, done, (*above, at)) for source in reads.get(at, ()))), ())


def _key(read: Read) -> str:
    return f"{_PLACES.get(read.stage, read.stage)}.{read.item}"

"""The features stage: compute a feature of one segment and some blocks, and write its shards.

A shard depends on its own segment and on the spikes up to 20 tau and a longest delay before it, never on later ones. The same spikes
give the same bytes in any segments and blocks.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable

from spikelens.config import RunConfig
from spikelens.outputs import feature_block, feature_output, write_output
from spikelens.stores import ensure

log = logging.getLogger(__name__)


def compute(run: RunConfig, name: str, segment: int, blocks: Iterable[int]) -> None:
    """Compute and write a feature of a segment and some blocks.

    Raises
    ------
    StoreError
        If a shard that it reads is missing, empty or damaged.
    SpikelensError
        If what it computed does not fit its layout.
    """
    whole = feature_output(run, name)
    ensure(whole)
    for block in blocks:
        groups = [whole]
        if whole.subgroups:
            groups.append(feature_block(run, name, block))
            ensure(groups[-1])
        write_output(name, groups, run.features[name].compute(run, segment, block), segment, block)
        log.info("%s: segment %d, block %d", name, segment, block)

"""The features stage: compute a feature for one segment and some blocks, and write its shards.

A shard depends on the spikes of its own segment and of the end of the previous one (20 tau plus the longest delay), never on later spikes.
The kinds of the package give the same values for any division into segments and blocks.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable

from spikelens.config import RunConfig
from spikelens.outputs import feature_block, feature_output, write_output
from spikelens.stores import ensure

log = logging.getLogger(__name__)


def compute(run: RunConfig, name: str, segment: int, blocks: Iterable[int]) -> None:
    """Compute a feature for one segment and some blocks, and write it.

    Raises
    ------
    StoreError
        If a shard that it reads is missing, empty or damaged.
    SpikelensError
        If the computed arrays do not match the layout.
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

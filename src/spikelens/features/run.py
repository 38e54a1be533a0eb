"""The features stage: compute a feature of one segment and block, and write its shards.

No shard looks ahead: it depends on its own segment and on the spikes up to 20 tau and a longest delay before it. The same spikes give
the same bytes in any segments and blocks.
"""

from __future__ import annotations

import logging

from spikelens.config import RunConfig
from spikelens.outputs import feature_block, feature_output, has_blocks, write_output

log = logging.getLogger(__name__)


def compute(run: RunConfig, name: str, segment: int, block: int) -> None:
    """Compute and write a feature of a segment and block.

    Raises
    ------
    StoreError
        If a shard that it reads is missing, empty or damaged.
    SpikelensError
        If what it computed does not fit its layout.
    """
    groups = [feature_output(run, name), *([feature_block(run, name, block)] if has_blocks(run, name) else [])]
    write_output(name, groups, run.features[name].compute(run, segment, block), segment, block)
    log.info("%s: segment %d, block %d", name, segment, block)

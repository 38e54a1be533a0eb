"""Interface of this stage to the workflow: its jobs, their costs, and what their results depend on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from spikelens.config import RunConfig, shards_per_block
from spikelens.config.items import Read
from spikelens.expected import expected
from spikelens.jobs import Jobs, numbered, shards
from spikelens.keys import content_of, keyed
from spikelens.sizes import COMPILED_BASE
from spikelens.tables import n_rows

if TYPE_CHECKING:
    from spikelens.speeds import Speeds


def reads(run: RunConfig, item: str) -> tuple[Read, ...]:
    return ()


def configured(run: RunConfig, item: str) -> dict[str, Any]:
    return {**keyed(run.network), "edges": content_of(run.network.edges)}


def jobs(run: RunConfig, item: str) -> Jobs:
    """One job per block."""
    return Jobs("{block}", shards(run, "network"), numbered(block=range(run.n_blocks)))


def memory(run: RunConfig, item: str, rate_hz: float) -> float:
    """A block's synapses as drawn (5 bytes each) and as placed (14), a shard being encoded, and the rows of an edge table, sorted."""
    table = 80.0 * n_rows(run.network.edges) if run.network.edges is not None else 0.0
    return float(COMPILED_BASE + table + 40 * expected(run).of_block.max())


def seconds(run: RunConfig, item: str, speeds: Speeds, rate_hz: float) -> float:
    """Time of one block [s]."""
    files = shards_per_block(run)["network"] * speeds.write_ms_per_file * 1e-3
    return speeds.start_s + files + expected(run).all / run.n_blocks * speeds.network_ns_per_synapse * 1e-9

"""The base class of all kinds of features: their interface to the workflow. No slow imports here.

A feature is computed from the spikes, one segment and one block of neurons at a time. A job computes one segment and several blocks
(`features.stage`) and writes only the shards of these. So a run that is extended keeps its features, and segments and blocks are computed
in parallel.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from spikelens.config.items import Item, Read

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from spikelens.config.run import RunConfig
    from spikelens.report.contents import Shown
    from spikelens.speeds import Speeds
    from spikelens.stores import Layout

BASE = 290e6
"""Memory of a process with compiled code and with the spikes that it caches (`recording.spikes`) [bytes]."""


class Feature(Item):
    """A quantity computed from the spikes."""

    FAMILY = "features"

    @classmethod
    def required(cls) -> tuple[str, ...]:
        return ("compute",)

    def reads(self, run: RunConfig) -> tuple[Read, ...]:
        return (Read(run.spikes_stage),)

    def output(self, run: RunConfig) -> Layout:
        """Arrays and coordinates of the whole run; arrays are divided into shards by segment and block."""
        return {}, {}

    def block_output(self, run: RunConfig, block: int, n_synapses: int) -> Layout | None:
        """Arrays and coordinates of a block in its own group, divided into shards by segment; None: no group.

        `n_synapses` is the number of synapses onto the block's neurons, at least 1, since an array needs a cell. It is 1 for a feature
        that does not read the network.
        """
        return None

    def compute(self, run: RunConfig, segment: int, block: int) -> Mapping[str, NDArray[Any]]:
        """Compute the shards of one segment and block, by the names of their arrays."""
        raise NotImplementedError

    def memory(self, run: RunConfig, rate_hz: float) -> float:
        """Expected memory of a job [bytes]; default: reading the spikes."""
        return BASE + spikes_memory(run, rate_hz)

    def seconds(self, run: RunConfig, speeds: Speeds, rate_hz: float) -> float:
        """Expected time of a job with one block [s]; default: reading the spikes."""
        return reading_seconds(run, speeds)

    def figures(self, name: str) -> tuple[Shown, ...]:
        """Its figures in the report; `name` is its name in the configuration."""
        return ()


def spikes_memory(run: RunConfig, rate_hz: float, reach_ms: float = 0) -> float:
    """Memory to sort the spikes of all neurons in a segment and `reach_ms` before it, and of one shard of the raster [bytes]."""
    return 56 * run.n_neurons * rate_hz * (run.segment_s + reach_ms / 1000) + 2 * run.segment_steps * min(run.block_size, run.n_neurons)


def reading_seconds(run: RunConfig, speeds: Speeds) -> float:
    """Time to start a process, read the spikes of all neurons for one segment, and write one file [s]."""
    n_files = min(2, run.n_segments) * run.n_blocks
    cells = run.segment_steps * run.n_neurons
    return speeds.start_s + 1e-3 * (n_files * speeds.read_ms_per_file + speeds.write_ms_per_file) + 1e-9 * cells * speeds.read_ns_per_cell

"""What a feature is to the rest of the workflow: the base of all kinds. Nothing that takes time is imported here.

A feature is computed from the spikes, a segment and a block of neurons at a time: one job each. A job writes the shards of its segment
and block, so that a run that grows keeps all its features, and blocks are computed side by side.
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

BASE = 220e6
"""Memory of a process with compiled code [bytes]."""


class Feature(Item):
    """A quantity computed from the spikes."""

    FAMILY = "features"

    def reads(self, run: RunConfig) -> tuple[Read, ...]:
        return (Read(run.spikes_stage),)

    def output(self, run: RunConfig) -> Layout:
        """Arrays and coordinates of the whole run; arrays are divided by segment and block."""
        return {}, {}

    def block_output(self, run: RunConfig, block: int, n_synapses: int) -> Layout | None:
        """Arrays and coordinates that a block keeps in a group of its own, divided by segment; None: nothing.

        `n_synapses` is the number of synapses onto the block's neurons, at least 1, since an array needs a cell; 0 in a run without
        a network.
        """
        return None

    def compute(self, run: RunConfig, segment: int, block: int) -> Mapping[str, NDArray[Any]]:
        """The shards of a segment and block by the names of their arrays."""
        raise NotImplementedError

    def memory(self, run: RunConfig, rate_hz: float) -> float:
        """Memory that a job is expected to need [bytes]."""
        return BASE + spikes_memory(run, rate_hz)

    def seconds(self, run: RunConfig, speeds: Speeds, rate_hz: float) -> float:
        """Expected time of a job [s]."""
        return reading_seconds(run, speeds)

    def figures(self, name: str) -> tuple[Shown, ...]:
        """Its figures in the report, where it is called `name`."""
        return ()


def spikes_memory(run: RunConfig, rate_hz: float, reach_ms: float = 0) -> float:
    """The spikes of all neurons in a segment and `reach_ms` before it, while they are sorted, and one shard of the raster [bytes]."""
    return 56 * run.n_neurons * rate_hz * (run.segment_s + reach_ms / 1000) + 2 * run.segment_steps * min(run.block_size, run.n_neurons)


def reading_seconds(run: RunConfig, speeds: Speeds) -> float:
    """Start of a process, and the spikes of all neurons in a segment, read [s]."""
    n_files = min(2, run.n_segments) * run.n_blocks
    cells = run.segment_steps * run.n_neurons
    return speeds.start_s + 1e-3 * (n_files * speeds.read_ms_per_file + speeds.write_ms_per_file) + 1e-9 * cells * speeds.read_ns_per_cell

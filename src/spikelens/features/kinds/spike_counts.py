"""Spike counts per bin, of neurons and of populations. Counts in longer windows are sums of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field

from spikelens.config.items import KIND
from spikelens.config.types import Positive
from spikelens.errors import Problem
from spikelens.features.feature import BASE, Feature, reading_seconds

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from spikelens.config.run import RunConfig
    from spikelens.speeds import Speeds
    from spikelens.stores import Layout


class SpikeCounts(Feature):
    """Spikes of each neuron and each population in bins of time."""

    kind: Annotated[Literal["spike_counts"], Field(description=KIND)] = "spike_counts"
    step_ms: Annotated[Positive, Field(description="width of the bins [ms]; divides simulation.chunk_ms or recording.chunk_ms")] = 10

    def check(self, run: RunConfig, where: str) -> Iterator[Problem]:
        if run.chunk_ms % self.step_ms:
            yield Problem(f"{where}.step_ms", self.step_ms, f"expected a divisor of {run.chunk_ms_key} = {run.chunk_ms}")
        elif self.step_ms > (largest := 65_535 if run.has_network else 257):
            yield Problem(f"{where}.step_ms", self.step_ms, f"expected at most {largest:,} ms: counts are 16-bit integers")
        elif run.n_steps % self.step_ms:
            yield Problem(f"{where}.step_ms", self.step_ms, f"expected a divisor of the duration, {run.n_steps} ms")

    def output(self, run: RunConfig) -> Layout:
        import numpy as np

        from spikelens.recording.layout import neuron_coordinates
        from spikelens.stores import Array, Coordinate, time_coordinate

        n_bins, per_segment, populations = run.n_steps // self.step_ms, run.segment_steps // self.step_ms, list(run.populations)
        arrays = {
            "count": Array(
                ("time", "neuron"),
                (n_bins, run.n_neurons),
                (per_segment, run.block_size),
                "uint16",
                {"long_name": f"spikes in a bin of {self.step_ms} ms", "units": "1"},
                chunks=(run.chunk_ms // self.step_ms, run.chunk_neurons),
                by=("segment", "block"),
                stored=0.05,
            ),
            "population_count": Array(
                ("time", "block", "of_population"),
                (n_bins, run.n_blocks, len(populations)),
                (per_segment, 1, len(populations)),
                "int32",
                {"long_name": f"spikes of a population's neurons in a block in a bin of {self.step_ms} ms", "units": "1"},
                by=("segment", "block", ""),
                stored=0.3,
            ),
        }
        names = np.array(populations, dtype=np.dtypes.StringDType())
        return arrays, {
            **time_coordinate(n_bins, self.step_ms, long_name="start of the bin"),
            **neuron_coordinates(run),
            "of_population": Coordinate(("of_population",), names, {"long_name": "population"}),
        }

    def compute(self, run: RunConfig, segment: int, block: int) -> Mapping[str, NDArray[Any]]:
        from spikelens.features.rates import bin_counts, population_counts
        from spikelens.recording.spikes import read_spikes

        (start, end), (first, last) = run.segment_range(segment), run.block_range(block)
        steps, ids = read_spikes(run, start, end, [block])
        counts = bin_counts(steps, ids - first, last - first, start, end, self.step_ms)
        return {"count": counts, "population_count": population_counts(counts, first, run.populations)[:, None]}

    def memory(self, run: RunConfig, rate_hz: float) -> float:
        block = min(run.block_size, run.n_neurons)
        spikes = 56 * block * rate_hz * run.segment_s
        return BASE + spikes + 2 * run.segment_steps * block + 26 * block * run.segment_steps / self.step_ms

    def seconds(self, run: RunConfig, speeds: Speeds, rate_hz: float) -> float:
        """It reads only the spikes of its own block."""
        return speeds.start_s + (reading_seconds(run, speeds) - speeds.start_s) / run.n_blocks

"""Spike traces of some neurons: each spike adds exp(-t / tau), cut off after 20 tau (features/traces.py)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field

from spikelens.config.items import KIND
from spikelens.config.types import Positive, PositiveFloat
from spikelens.errors import Problem
from spikelens.features.feature import BASE, Feature, reading_seconds
from spikelens.features.windows import check_reach

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from spikelens.config.run import RunConfig
    from spikelens.speeds import Speeds
    from spikelens.stores import Layout


class Traces(Feature):
    """Spike traces, step by step."""

    kind: Annotated[Literal["traces"], Field(description=KIND)] = "traces"
    tau_ms: Annotated[PositiveFloat, Field(description="time constant [ms]")] = 20.0
    neurons: Annotated[Positive, Field(description="about this many neurons, evenly spaced in every block")] = 20

    def check(self, run: RunConfig, where: str) -> Iterator[Problem]:
        yield from check_reach(run, where, self.tau_ms)

    def neurons_of(self, run: RunConfig, block: int) -> NDArray[np.int64]:
        """Ids of the neurons of a block whose traces are stored: the same number in every block, except in a short last one."""
        from spikelens.numerics import evenly_spaced

        first, end = run.block_range(block)
        return first + evenly_spaced(end - first, -(-self.neurons // run.n_blocks))

    def block_output(self, run: RunConfig, block: int, n_synapses: int) -> Layout:
        from spikelens.stores import Array, Coordinate, time_coordinate

        ids = self.neurons_of(run, block)
        trace = Array(
            ("time", "neuron"),
            (run.n_steps, len(ids)),
            (run.segment_steps, len(ids)),
            "float32",
            {"long_name": "spike trace", "units": "1", "tau_ms": self.tau_ms},
            chunks=(run.chunk_ms, len(ids)),
            by=("segment", ""),
        )
        return {"trace": trace}, {**time_coordinate(run.n_steps), "neuron": Coordinate(("neuron",), ids, {"long_name": "neuron id"})}

    def compute(self, run: RunConfig, segment: int, block: int) -> Mapping[str, NDArray[Any]]:
        from spikelens.features.traces import cutoff_steps, spike_traces
        from spikelens.recording.spikes import of_neurons, read_spikes

        start, end = run.segment_range(segment)
        ids = self.neurons_of(run, block)
        spikes = of_neurons(*read_spikes(run, start - cutoff_steps(self.tau_ms), end, [block]), ids)
        return {"trace": spike_traces(*spikes, len(ids), start, end, self.tau_ms)}

    def memory(self, run: RunConfig, rate_hz: float) -> float:
        block = min(run.block_size, run.n_neurons)
        traced = min(-(-self.neurons // run.n_blocks), block)
        spikes = 56 * block * rate_hz * run.segment_s
        return BASE + spikes + 2 * run.segment_steps * block + 8 * run.segment_steps * traced

    def seconds(self, run: RunConfig, speeds: Speeds, rate_hz: float) -> float:
        """It reads only the spikes of its own block."""
        return speeds.start_s + (reading_seconds(run, speeds) - speeds.start_s) / run.n_blocks

"""Causal components of the synapses, with weight and delay: how much of their targets' spikes they may have caused (features/causal.py)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field

from spikelens.config.items import KIND, Read
from spikelens.config.types import PositiveFloat
from spikelens.errors import Problem
from spikelens.features.feature import BASE, Feature, reading_seconds, spikes_memory
from spikelens.features.windows import WINDOW, Window, check_reach, check_window, n_windows, segment_windows, window_coordinate, window_s

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from spikelens.config.run import RunConfig
    from spikelens.report.contents import Shown
    from spikelens.speeds import Speeds
    from spikelens.stores import Layout


class OmegaSynapses(Feature):
    """Causal components of the synapses."""

    NO_RESULTS = (WINDOW,)

    kind: Annotated[Literal["omega_synapses"], Field(description=KIND)] = "omega_synapses"
    tau_ms: Annotated[PositiveFloat, Field(description="time constant [ms]")] = 20.0
    window_s: Window = None

    def applies(self, run: RunConfig) -> bool:
        return run.has_network

    def reads(self, run: RunConfig) -> tuple[Read, ...]:
        return Read("network"), Read("simulation")

    def context(self, run: RunConfig) -> dict[str, Any]:
        return {WINDOW: window_s(run, self.window_s)}

    def check(self, run: RunConfig, where: str) -> Iterator[Problem]:

        yield from check_reach(run, where, self.tau_ms, run.max_delay)
        yield from check_window(run, where, self.window_s)

    def block_output(self, run: RunConfig, block: int, n_synapses: int) -> Layout:
        from spikelens.stores import Array

        window = window_s(run, self.window_s)
        shape, shards = (n_windows(run, window), n_synapses), (run.segment_s // window, n_synapses)

        def per_synapse(long_name: str, units: str) -> Array:
            attrs = {"long_name": long_name, "units": units, "tau_ms": self.tau_ms}
            return Array(("window", "synapse"), shape, shards, "float32", attrs, by=("segment", ""))

        return {
            "omega": per_synapse("causal component of a synapse, with weight and delay", "mV"),
            "omega_unweighted": per_synapse("causal component of a synapse, with delay, without weight", "1"),
        }, window_coordinate(run, window)

    def compute(self, run: RunConfig, segment: int, block: int) -> Mapping[str, NDArray[Any]]:
        import numpy as np

        from spikelens.features.causal import causal_components, history_steps
        from spikelens.numerics import UNITS_PER_MV
        from spikelens.recording.spikes import read_spikes
        from spikelens.recording.wiring import read_synapses

        start, end = run.segment_range(segment)
        spikes = read_spikes(run, start - history_steps(self.tau_ms, run.max_delay), end)
        weight_max = round(run.network.weight_max_mv * UNITS_PER_MV) if run.simulation.plasticity else None
        synapses, change = read_synapses(run, segment, block)
        windows = segment_windows(run, segment, window_s(run, self.window_s))
        omegas = causal_components(synapses, change, *spikes, run.n_neurons, windows, self.tau_ms, weight_max)
        # a block without synapses still has one column, since an array needs one
        columns = max(len(synapses.source), 1) - len(synapses.source)
        return {name: np.pad(omega, ((0, 0), (0, columns))) for name, omega in zip(("omega", "omega_unweighted"), omegas, strict=True)}

    def memory(self, run: RunConfig, rate_hz: float) -> float:
        from spikelens.expected import expected

        synapses = expected(run).of_block.max() * (60 + 16 * -(-run.segment_s // window_s(run, self.window_s)))
        return float(BASE + spikes_memory(run, rate_hz, 20 * self.tau_ms) + synapses)

    def seconds(self, run: RunConfig, speeds: Speeds, rate_hz: float) -> float:
        from spikelens.expected import expected

        events = expected(run).all / run.n_blocks * rate_hz * min(run.segment_s, run.duration_s)
        return reading_seconds(run, speeds) + 1e-9 * events * speeds.replay_ns_per_event

    def figures(self, name: str) -> tuple[Shown, ...]:
        from spikelens.report.contents import Shown, drawn_by

        title, draw = f"Causal components of synapses: {name}", drawn_by("explained", "omega_of_synapses", name)
        return (Shown(f"causal_{name}", title, CAPTION, draw, "features"),)


CAPTION = (
    "Causal components Ω with weight and true delay δ: the sum over pairs of spikes, target after source, of W exp(−(t_i − t_j − δ) / τ), "
    "cut at 20 τ. Mean over the synapses of a class, per second [mV/s], in each window of time. It is 0 by definition where there is no "
    "synapse, so it would be circular as evidence of connectivity."
)

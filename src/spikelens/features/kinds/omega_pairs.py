"""Causal components of all pairs of neurons, without weight and with delay 0, from the spikes alone (features/causal.py)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field

from spikelens.config.items import KIND
from spikelens.config.types import MAX_DENSE_NEURONS, PositiveFloat
from spikelens.errors import Problem
from spikelens.features.feature import BASE, Feature, reading_seconds, spikes_memory
from spikelens.features.windows import WINDOW, Window, check_reach, check_window, n_windows, segment_windows, window_coordinate, window_s

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from spikelens.config.run import RunConfig
    from spikelens.report.contents import Shown
    from spikelens.speeds import Speeds
    from spikelens.stores import Layout


class OmegaPairs(Feature):
    """Causal components of all pairs."""

    NO_RESULTS = (WINDOW,)

    kind: Annotated[Literal["omega_pairs"], Field(description=KIND)] = "omega_pairs"
    tau_ms: Annotated[PositiveFloat, Field(description="time constant [ms]")] = 20.0
    window_s: Window = None

    def applies(self, run: RunConfig) -> bool:
        return run.n_neurons <= MAX_DENSE_NEURONS

    def context(self, run: RunConfig) -> dict[str, Any]:
        return {WINDOW: window_s(run, self.window_s)}

    def check(self, run: RunConfig, where: str) -> Iterator[Problem]:
        yield from check_reach(run, where, self.tau_ms)
        yield from check_window(run, where, self.window_s)

    def output(self, run: RunConfig) -> Layout:
        import numpy as np

        from spikelens.stores import Array, Coordinate

        n, window = run.n_neurons, window_s(run, self.window_s)
        pairs = Array(
            ("window", "source", "target"),
            (n_windows(run, window), n, n),
            (run.segment_s // window, n, run.block_size),
            "float32",
            {"long_name": "causal component of all pairs, without weight, delay 0", "units": "1", "tau_ms": self.tau_ms},
            by=("segment", "", "block"),
        )
        ids = {name: Coordinate((name,), np.arange(n), {"long_name": f"id of the {name} neuron"}) for name in ("source", "target")}
        return {"omega": pairs}, {**ids, **window_coordinate(run, window)}

    def compute(self, run: RunConfig, segment: int, block: int) -> Mapping[str, NDArray[Any]]:
        from spikelens.features.causal import dense_causal_components
        from spikelens.features.traces import cutoff_steps
        from spikelens.recording.spikes import read_spikes

        start, end = run.segment_range(segment)
        spikes = read_spikes(run, start - cutoff_steps(self.tau_ms), end)
        windows = segment_windows(run, segment, window_s(run, self.window_s))
        return {"omega": dense_causal_components(*spikes, run.n_neurons, run.block_range(block), windows, self.tau_ms)}

    def memory(self, run: RunConfig, rate_hz: float) -> float:
        pairs = run.n_neurons * min(run.block_size, run.n_neurons) * (16 + 8 * -(-run.segment_s // window_s(run, self.window_s)))
        return BASE + spikes_memory(run, rate_hz, 20 * self.tau_ms) + pairs

    def seconds(self, run: RunConfig, speeds: Speeds, rate_hz: float) -> float:
        pairs = run.n_neurons / run.n_blocks * rate_hz * min(run.segment_s, run.duration_s) * run.n_neurons
        return reading_seconds(run, speeds) + 1e-9 * pairs * speeds.dense_ns_per_pair

    def figures(self, name: str) -> tuple[Shown, ...]:
        from spikelens.report.contents import Shown, drawn_by

        title, draw = f"Causal components of all pairs: {name}", drawn_by("explained", "omega_of_pairs", name)
        return (Shown(f"causal_{name}", title, CAPTION, draw, "features"),)


CAPTION = (
    "Causal components Ω of source j onto target i: the sum over all pairs of spikes, i after j, of exp(−(t_i − t_j) / τ), cut at "
    "20 τ, over the whole run [1]; without weight and delay, so that it uses the spikes alone. (The paper's slides print a plus in the "
    "exponent: a misprint.) Upper left (the only panel for a recording): all pairs, on a logarithmic scale; Ω follows mostly from the "
    "two rates. Each cell is the mean over a small group of neurons. With a known network, both matrices are sorted by population and "
    "mean incoming weight. Upper right: weights at the end [mV], 0 without a synapse. Lower left: distribution of Ω over pairs with a "
    "synapse (solid) and without (dotted), as share of pairs [%]. Lower right: mean Ω over both, by edge class; bars: standard deviation "
    "over pairs. The difference between the two is what Ω alone shows about the wiring."
)

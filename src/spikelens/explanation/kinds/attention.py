"""Attention of a Temporal Fusion Transformer per neuron. The paper asks whether it shows connectivity.

The score of two neurons is the correlation of their attention, averaged over test windows or window by window
("aligned"). The control is the same model before training (Kulkarni et al., NICE 2023).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field

from spikelens.config.items import KIND, Read
from spikelens.config.types import MAX_DENSE_NEURONS, Positive
from spikelens.errors import Problem
from spikelens.explanation.attended import check_model, named
from spikelens.explanation.contents import ATTENTION_SCORES, UNTRAINED
from spikelens.explanation.method import Method, NeuronQuantity, PairScore
from spikelens.models.model import TORCH_BASE

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from spikelens.config.run import RunConfig
    from spikelens.report.contents import Shown
    from spikelens.speeds import Speeds
    from spikelens.stores import Group, Layout


class Attention(Method):
    """Attention of a Temporal Fusion Transformer of single neurons."""

    kind: Annotated[Literal["attention"], Field(description=KIND)] = "attention"
    model: Annotated[str, Field(description="a TFT of single neurons; auto: the first one")] = "auto"
    windows: Annotated[Positive, Field(description="number of test windows for attention, evenly spaced")] = 40

    def applies(self, run: RunConfig) -> bool:
        return named(run, self.model) is not None

    def reads(self, run: RunConfig) -> tuple[Read, ...]:
        return (Read(run.spikes_stage), Read("models", self._name(run)))

    def context(self, run: RunConfig) -> dict[str, Any]:
        return {"seeds": self._tft(run).seeds}

    def check(self, run: RunConfig, where: str) -> Iterator[Problem]:
        return check_model(run, where, self.model)

    def _name(self, run: RunConfig) -> str:
        name = named(run, self.model)
        assert name is not None
        return name

    def _tft(self, run: RunConfig) -> Any:
        return run.models[self._name(run)]

    def output(self, run: RunConfig) -> Layout:
        import numpy as np

        from spikelens.stores import Array, Coordinate

        tft = self._tft(run)
        neurons = tft.names(run)

        def whole(sizes: dict[str, int], long_name: str) -> Array:
            shape = tuple(sizes.values())
            return Array(tuple(sizes), shape, shape, "float64", {"long_name": long_name, "units": "1"})

        steps = {"decoder_step": tft.horizon, "head": tft.attention_heads, "encoder_step": tft.history}
        of_neurons = {"seed": len(tft.seeds), "neuron": len(neurons), **steps}
        arrays = {
            "attention": whole(of_neurons, "attention, mean over test windows"),
            "attention_untrained": whole(of_neurons, "the same of an untrained model"),
        }
        coordinates = {
            "seed": Coordinate(("seed",), np.array(tft.seeds, dtype=np.int64), {"long_name": "seed of the model"}),
            "neuron": Coordinate(("neuron",), neurons, {"long_name": "neuron id"}),
        }
        if len(neurons) <= MAX_DENSE_NEURONS:
            of_pairs = {"seed": len(tft.seeds), "source": len(neurons), "target": len(neurons)}
            for name, long_name in zip(ATTENTION_SCORES, ("mean over test windows", "window by window"), strict=True):
                arrays[name] = whole(of_pairs, f"correlation between neurons of their attention, {long_name}")
                arrays[f"{name}_untrained"] = whole(of_pairs, "the same of an untrained model")
            for name in ("source", "target"):
                coordinates[name] = Coordinate((name,), neurons, {"long_name": f"id of the {name} neuron"})
        return arrays, coordinates

    def compute(self, run: RunConfig) -> Mapping[str, NDArray[Any]]:
        """Attention for each seed of the model, trained and untrained, over evenly spaced test windows."""
        import numpy as np

        from spikelens.explanation.attention import aligned_correlation, mean_correlation
        from spikelens.models.data import rate_series
        from spikelens.models.load import load
        from spikelens.models.tft import forecast
        from spikelens.numerics import evenly_spaced

        tft = self._tft(run)
        series, starts = rate_series(run, tft), tft.test_starts(run)
        starts = starts[evenly_spaced(len(starts), self.windows)]
        found: dict[str, list[NDArray[Any]]] = {}
        for seed in tft.seeds:
            for trained, suffix in ((True, ""), (False, "_untrained")):
                _, attention = forecast(load(run, self._name(run), seed, trained=trained), series.values, starts)
                mean = attention.mean(0, dtype=np.float64)
                found.setdefault(f"attention{suffix}", []).append(mean)
                if len(series.names) <= MAX_DENSE_NEURONS:
                    for name, matrix in zip(ATTENTION_SCORES, (mean_correlation(mean), aligned_correlation(attention)), strict=True):
                        found.setdefault(f"{name}{suffix}", []).append(matrix)
        return {name: np.stack(parts) for name, parts in found.items()}

    def _test_range(self, run: RunConfig) -> tuple[int, int]:
        first, end = self._tft(run).ranges(run)["test"]
        return first * self._tft(run).bin_ms, end * self._tft(run).bin_ms

    def scores(self, run: RunConfig, output: Group) -> Iterator[PairScore]:
        from spikelens.stores import read_array

        tft = self._tft(run)
        for place, seed in enumerate(tft.seeds):
            for trained in (True, False):
                for name in (name for name in ATTENTION_SCORES if name in output.arrays):
                    matrix = read_array(output, name if trained else f"{name}_untrained")[place]
                    shown = name if trained else name + UNTRAINED
                    yield PairScore(shown, self.SAW, tft.names(run), matrix, self._test_range(run), {"model": seed}, shuffled=trained)

    def neuron_quantities(self, run: RunConfig, output: Group) -> Iterator[NeuronQuantity]:
        import numpy as np

        from spikelens.explanation.attention import neuron_quantities
        from spikelens.models.data import rate_series
        from spikelens.stores import read_array

        tft = self._tft(run)
        series = rate_series(run, tft)
        rate_hz = series.values[slice(*series.ranges["test"])].mean(0, dtype=np.float64)
        for place, seed in enumerate(tft.seeds):
            for trained in (True, False):
                mean = read_array(output, "attention" if trained else "attention_untrained")[place]
                for name, values in neuron_quantities(mean).items():
                    shown = name if trained else name + UNTRAINED
                    yield NeuronQuantity(shown, tft.names(run), values, rate_hz, self._test_range(run), {"model": seed})

    def memory(self, run: RunConfig) -> float:
        """Attention over all windows, and matrices of all pairs."""
        tft = self._tft(run)
        n = tft.n_series(run)
        attention = 8 * self.windows * n * tft.horizon * tft.attention_heads * tft.history
        return float(TORCH_BASE + attention + (64 * n**2 if n <= MAX_DENSE_NEURONS else 0))

    def seconds(self, run: RunConfig, speeds: Speeds) -> float:
        """Forecasts of the trained and the untrained model, each a third of the cost of a training step."""
        tft = self._tft(run)
        windows = 2 * len(tft.seeds) * self.windows * tft.n_series(run)
        return float(speeds.start_torch_s + 1e-9 * windows * (tft.history + tft.horizon) * tft.hidden_size * speeds.tft_ns_per_unit / 3)

    def figures(self, name: str) -> tuple[Shown, ...]:
        from spikelens.report.contents import Shown, drawn_by

        attention, weights, omega = (
            drawn_by(module, function, name)
            for module, function in (("explained", "attention"), ("related", "attention_and_weights"), ("related", "attention_and_omega"))
        )
        return (
            Shown(f"attention_{name}", f"Attention: {name}", CAPTION, attention, "explanation"),
            Shown(f"attention_weights_{name}", f"Attention and weights: {name}", _WEIGHTS, weights, "explanation", of_network=True),
            Shown(f"attention_omega_{name}", f"Attention and causal components: {name}", _OMEGA, omega, "explanation", of_network=True),
        )


_WEIGHTS = (
    "Each dot is a neuron, coloured by population. x: mean weight [mV] of its incoming synapses (columns 1 and 2) and of its outgoing "
    "synapses (columns 3 and 4), averaged over the run. y: four quantities of its attention, averaged over test windows, heads and "
    "forecast steps: the share of attention on the history, its mean lag [samples], its entropy, and the share of the latest sample. "
    "The trained model is beside its control, the same model before training: a correlation that the control has too was not "
    "learnt. Spearman's ρ is over all neurons. The table of associations (associations.json) also has it for each population and with "
    "the rate held fixed, because rates alone can cause a correlation."
)
_OMEGA = (
    "Does attention follow the causal components? x: Ω of a pair [1], without weight and delay, over the test range. y: correlation of "
    "the attention of the two neurons [1], the mean over the pairs in one of 20 bins with equally many pairs; bars: two standard errors, "
    "as if pairs were independent, which they are not, so that the true uncertainty is larger. Upper row: attention averaged over "
    "windows, lower row: window by window. Blue: trained, orange: untrained (control). ρ: Spearman's correlation over all pairs. "
    "Training made attention more similar to the causal structure only if blue rises more steeply than orange."
)
CAPTION = (
    "Top: attention weights [1] of the TFT of single neurons, averaged over neurons and test windows, one "
    "column per head. x axis: attended past sample, relative to the start of the forecast; y axis: forecast "
    "step, both in steps of T_w [ms]. Upper row: trained, lower row: the same model before training "
    "(control). Structure that both rows share was not learnt. Bottom left: correlation [1] between neurons "
    "of their mean attention. Bottom middle: adjacency [fraction of pairs with a synapse]. Both matrices are "
    "source × target, sorted by population and mean incoming weight; each cell is the mean over a small group of "
    "neurons. Bottom right: mean correlation over pairs with and without a synapse, by edge class; bars: standard "
    "deviation over pairs. If attention showed connectivity, the two matrices would look alike, except that a correlation "
    'is symmetric and connectivity is not. The figure "Scores" quantifies the agreement.'
)

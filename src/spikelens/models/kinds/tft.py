"""Temporal Fusion Transformer: forecasts the rates of single neurons, or of the network and its populations.

The paper's forecaster (Kulkarni et al., NICE 2023; Lim et al., 2021). Rates are sampled every bin_ms in
non-overlapping bins, so that no two samples share a spike.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field

from spikelens.config.items import KIND, Read
from spikelens.config.types import Positive
from spikelens.errors import Problem
from spikelens.models.model import TORCH_BASE, Epochs, NetworkModel

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor

    from spikelens.config.run import RunConfig
    from spikelens.models.train import Task, Tested
    from spikelens.report.contents import Shown
    from spikelens.speeds import Speeds
    from spikelens.stores import Layout

_VALIDATED_AT_ONCE = 1_024
BAND = (0.1, 0.9)
"""Quantiles of the band around the forecasts one step ahead."""


class Tft(NetworkModel):
    """Temporal Fusion Transformer on rates in non-overlapping bins."""

    kind: Annotated[Literal["tft"], Field(description=KIND)] = "tft"
    series: Annotated[
        Literal["neurons", "populations"],
        Field(description="forecast the rates of single neurons, or of the network and each population"),
    ] = "neurons"
    neurons: Annotated[
        Positive,
        Field(description="maximum number of neurons, evenly spaced; populations always include all neurons"),
    ] = 1_000
    bin_ms: Annotated[Positive, Field(description="T_w, width of the bins in which spikes are counted [ms]")] = 100
    history: Annotated[Positive, Field(description="t_m, number of past samples [bin_ms]")] = 20
    horizon: Annotated[Positive, Field(description="t_h, number of forecast samples [bin_ms]")] = 5
    hidden_size: Annotated[Positive, Field(description="hidden size of the network")] = 16
    attention_heads: Annotated[Positive, Field(description="number of attention heads; must divide hidden_size")] = 4
    dropout: Annotated[float, Field(ge=0, lt=1, description="dropout rate [1]")] = 0.1
    samples_per_epoch: Annotated[Positive, Field(description="maximum number of training windows per epoch")] = 20_000
    epochs: Epochs = 30

    @property
    def forecasts_neurons(self) -> bool:
        """Whether it forecasts single neurons, so that methods can use its attention."""
        return self.series == "neurons"

    def reads(self, run: RunConfig) -> tuple[Read, ...]:
        return (Read(run.spikes_stage),)

    # --- data

    def n_series(self, run: RunConfig) -> int:
        return min(self.neurons, run.n_neurons) if self.series == "neurons" else len(run.populations) + 1

    def names(self, run: RunConfig) -> NDArray[Any]:
        """Ids of the neurons, or "all" and the names of the populations, (n_series,)."""
        import numpy as np

        from spikelens.numerics import evenly_spaced

        if self.series == "neurons":
            return evenly_spaced(run.n_neurons, self.neurons)
        return np.array(["all", *run.populations], dtype=np.dtypes.StringDType())

    def ranges(self, run: RunConfig) -> dict[str, tuple[int, int]]:
        """First sample, and one past the last, of training, validation and test [samples since the run's start].

        The gap between ranges is history + horizon + 1 samples, so that no two ranges share a spike.
        """
        ranges = run.time_ranges((self.history + self.horizon + 1) * self.bin_ms)
        return {name: (-(-start // self.bin_ms), end // self.bin_ms) for name, (start, end) in ranges.items()}

    def test_starts(self, run: RunConfig) -> NDArray[np.int64]:
        """First sample of each test window [samples from the start of the run].

        Windows are one horizon apart, so that each sample is forecast once.
        """
        import numpy as np

        first, end = self.ranges(run)["test"]
        return np.arange(first, end - self.history - self.horizon + 1, self.horizon, dtype=np.int64)

    def step_starts(self, run: RunConfig) -> dict[str, NDArray[np.int64]]:
        """First sample of each window that forecasts one step: of every test sample, and of some validation samples for the band."""
        import numpy as np

        ranges, spacing = self.ranges(run), {"validation": self.horizon, "test": 1}
        return {name: np.arange(ranges[name][0], ranges[name][1] - self.history, step, dtype=np.int64) for name, step in spacing.items()}

    def task(self, run: RunConfig, seed: int) -> Task:
        """Windows of rates, one for each series and start. Test windows are one horizon apart."""
        import numpy as np
        import torch

        from spikelens.models.baselines import forecast_baselines, forecast_scores, forecast_targets
        from spikelens.models.data import rate_series
        from spikelens.models.tft import one_step_ahead, predict
        from spikelens.models.train import Batches, Task, Tested, generator

        series = rate_series(run, self)
        length = self.history + self.horizon
        starts = {key: np.arange(first, end - length + 1) for key, (first, end) in series.ranges.items()}
        starts["validation"] = starts["validation"][:: self.horizon]
        starts["test"] = self.test_starts(run)
        rates, steps = torch.from_numpy(series.values), torch.arange(length)

        def windows(which: str) -> Callable[[Tensor], tuple[Tensor, Tensor]]:
            begins = torch.from_numpy(starts[which])

            def items(chosen: Tensor) -> tuple[Tensor, Tensor]:
                columns, begin = chosen // len(begins), begins[chosen % len(begins)]
                return rates[begin[:, None] + steps, columns[:, None]], columns

            return items

        def test(module: Any) -> Tested:
            target = forecast_targets(series.values, starts["test"], self.history, self.horizon)
            baselines = forecast_baselines(series.values, starts["test"], self.history, series.mean)
            prediction = predict(module, series.values, starts["test"])
            return Tested(
                scores=forecast_scores(prediction, target, series.mean),
                baselines={key: forecast_scores(baseline, target, series.mean) for key, baseline in baselines.items()},
                units={"mse": "Hz^2", "mae": "Hz", "r2": "1"},
                output={
                    "forecast": prediction.swapaxes(1, 2),
                    "observed": target.swapaxes(1, 2),
                    **one_step_ahead(module, series.values, self.step_starts(run), BAND),
                },
            )

        n_items = {key: len(begins) * len(series.names) for key, begins in starts.items()}
        return Task(
            scaling={"mean": series.mean.tolist(), "std": series.std.tolist()},
            ranges_ms={key: (first * self.bin_ms, end * self.bin_ms) for key, (first, end) in series.ranges.items()},
            n_items=n_items,
            train=Batches(windows("train"), n_items["train"], self.batch_size, self.samples_per_epoch, generator(seed)),
            validation=Batches(windows("validation"), n_items["validation"], _VALIDATED_AT_ONCE),
            test=test,
        )

    def module(self, mean: Any, std: Any) -> Any:
        from spikelens.models.tft import RateForecaster

        sizes = (self.history, self.horizon, self.hidden_size, self.attention_heads)
        return RateForecaster(mean, std, *sizes, self.dropout, self.learning_rate)

    def output(self, run: RunConfig) -> Layout:
        from spikelens.stores import Array, Coordinate

        starts, names = self.test_starts(run), self.names(run)
        column = "neuron" if self.series == "neurons" else "population"
        shape = (len(starts), self.horizon, len(names))

        def rates(long_name: str) -> Array:
            return Array(("window", "horizon", column), shape, shape, "float32", {"long_name": long_name, "units": "Hz"})

        begins = (starts + self.history) * self.bin_ms
        steps = self.step_starts(run)["test"]
        of_steps = (len(steps), len(names))

        def step_rates(long_name: str) -> Array:
            return Array(("sample", column), of_steps, of_steps, "float32", {"long_name": long_name, "units": "Hz"})

        low, high = (f"{100 * quantile:g} %" for quantile in BAND)
        return {
            "forecast": rates("rate forecast in the test range"),
            "observed": rates("rate in the test range"),
            "step_forecast": step_rates("rate forecast one step ahead in the test range"),
            "step_observed": step_rates("rate in the test range"),
            "step_low": step_rates(f"the forecast plus the {low} quantile of its error in the validation range"),
            "step_high": step_rates(f"the forecast plus the {high} quantile of its error in the validation range"),
        }, {
            "sample": Coordinate(
                ("sample",), (steps + self.history) * self.bin_ms, {"long_name": "start of the forecast sample", "units": "ms"}
            ),
            "window": Coordinate(("window",), begins, {"long_name": "start of the forecast", "units": "ms"}),
            column: Coordinate((column,), names, {"long_name": "neuron id" if column == "neuron" else "population"}),
        }

    def figures(self, name: str) -> tuple[Shown, ...]:
        from spikelens.report.contents import Shown, drawn_by

        title, caption = ("single neurons", _OF_NEURONS) if self.series == "neurons" else ("populations", _OF_POPULATIONS)
        return (
            Shown(
                f"forecast_{name}", f"Forecast of {title}: {name}", caption, drawn_by("learned", f"forecast_{self.series}", name), "models"
            ),
        )

    def mean_loss(self, scaling: Mapping[str, Any]) -> float:
        """Share of the series with spikes: their variance is 1 by definition of the scale, that of silent ones is 0."""
        return float(sum(mean > 0 for mean in scaling["mean"]) / len(scaling["mean"]))

    # --- checks and cost

    def check(self, run: RunConfig, where: str) -> Iterator[Problem]:
        yield from super().check(run, where)
        if self.hidden_size % self.attention_heads:
            yield Problem(f"{where}.attention_heads", self.attention_heads, f"expected a divisor of hidden_size = {self.hidden_size}")
        if self.bin_ms > min(run.segment_steps, 60_000):
            yield Problem(f"{where}.bin_ms", self.bin_ms, "expected at most one segment and at most 60 s")
            return
        shortest = min(end - start for start, end in self.ranges(run).values())
        if shortest < self.history + 2 * self.horizon:
            yield Problem(
                f"{where}.history",
                self.history,
                f"the shortest of the training, validation and test ranges has {max(shortest, 0)} samples "
                f"of {self.bin_ms} ms; expected at least history + 2 horizon = {self.history + 2 * self.horizon}. "
                "Simulate longer, start earlier, or use a shorter history",
            )

    def n_weights(self, run: RunConfig) -> int:
        """Approximation: the embedding of the series and 60 matrices of hidden_size x hidden_size."""
        return int(self.n_series(run) * self.hidden_size + 60 * self.hidden_size**2)

    def memory(self, run: RunConfig) -> float:
        """The rates of the series and the activations of a batch; windows are slices of the rates."""
        samples = run.n_steps / self.bin_ms
        activations = 60 * 4 * max(self.batch_size, 2_048) * (self.history + self.horizon) * self.hidden_size
        return TORCH_BASE + 20 * samples * self.n_series(run) + activations + self.weights_bytes(run)

    def seconds(self, run: RunConfig, speeds: Speeds) -> float:
        """Time of all epochs; ranks share the parts of each batch."""
        batches, windows = self.epoch(run)
        units = windows * self.own_parts / self.parts * (self.history + self.horizon) * self.hidden_size
        steps_s = 1e-3 * batches * self.own_parts * speeds.tft_batch_ms + 1e-9 * units * speeds.tft_ns_per_unit
        forecasts = self.n_series(run) * sum(len(starts) for starts in self.step_starts(run).values()) / 3
        forecasts_s = 1e-9 * forecasts * (self.history + self.horizon) * self.hidden_size * speeds.tft_ns_per_unit
        return speeds.start_torch_s + self.epochs * steps_s + forecasts_s

    def epoch(self, run: RunConfig) -> tuple[int, float]:
        """Number of batches and of windows per epoch.

        A validation window needs no gradient and counts as a third of a training window.
        """
        starts = {name: end - first - self.history - self.horizon + 1 for name, (first, end) in self.ranges(run).items()}
        n_series = self.n_series(run)
        windows = min(self.samples_per_epoch, n_series * starts["train"])
        return -(-windows // self.batch_size), windows + n_series * starts["validation"] / self.horizon / 3


_BAND = (
    "The line joins the forecasts of all samples, each made one step ahead from the history that ends just before it. The band "
    "reaches from the 10 % to the 90 % quantile of the errors of such forecasts in the validation range, for each series; it contains "
    "80 % of the rates if the test range is like the validation range. "
)
_OF_POPULATIONS = (
    "Observed (grey) and forecast (coloured) rates [Hz] (y axis) of all neurons and of each population over the test range [s] (x "
    "axis). No model was trained on this range. Each sample is the rate in one bin of width T_w. Bins do not overlap, so that history "
    "and target share no spike; with overlapping bins, repeating the last value would look like a good forecast. "
    + _BAND
    + "Title: R² = 1 − MSE / (MSE of the training mean) over all forecast steps, for the TFT and for trivial baselines on the same "
    "samples. 1 is a perfect forecast, 0 is no better than the training mean, negative is worse. The R² is pooled over all series, so "
    "that the most variable population dominates it."
)
_OF_NEURONS = (
    "Left: observed (grey) and forecast (coloured by population) rates [Hz] (y axis) of single neurons over the test range [s] (x "
    "axis). The neurons shown are evenly spaced quantiles of the rate. The rate of a single neuron is a small number of spikes in a "
    "bin of width T_w, so that it moves in steps of 1 / T_w; a forecast of the mean cannot reproduce single spikes. Bins do not "
    "overlap, so that history and target share no spike. "
    + _BAND
    + "Right: number of samples (logarithmic colour scale) by observed (x axis) and forecast (y axis) rate [Hz], over all neurons and "
    "forecast steps; a perfect forecast lies on the dashed line. Title: R² = 1 − MSE / (MSE of the training mean) over all forecast "
    "steps, for the TFT and for trivial baselines on the same samples, pooled over all neurons. The reference is each neuron's own "
    "training mean, so that differences in rate between neurons do not increase R²."
)

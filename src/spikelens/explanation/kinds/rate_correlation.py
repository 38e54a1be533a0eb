"""Correlation between neurons of their rates: a control that needs no model."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field

from spikelens.config.items import KIND, Read
from spikelens.config.types import MAX_DENSE_NEURONS, Positive
from spikelens.errors import Problem
from spikelens.explanation.attended import check_model, model_of
from spikelens.explanation.contents import RATE_CORRELATION
from spikelens.explanation.method import Method, PairScore

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from spikelens.config.run import RunConfig
    from spikelens.speeds import Speeds
    from spikelens.stores import Group, Layout


class RateCorrelation(Method):
    """Correlation of rates, in bins that share no spike."""

    kind: Annotated[Literal["rate_correlation"], Field(description=KIND)] = "rate_correlation"
    model: Annotated[
        str | None,
        Field(description="a TFT of single neurons, whose neurons, bins and test range are used; auto: the first one; null: none"),
    ] = "auto"
    bin_ms: Annotated[Positive, Field(description="width of the bins without a model [ms]")] = 100

    def reads(self, run: RunConfig) -> tuple[Read, ...]:
        return (Read(run.spikes_stage),)

    def context(self, run: RunConfig) -> dict[str, Any]:
        _, bin_ms, ranges = self._seen(run)
        return {"neurons": self._n_neurons(run), "bin_ms": bin_ms, "ranges": ranges}

    def check(self, run: RunConfig, where: str) -> Iterator[Problem]:
        yield from check_model(run, where, self.model)
        if self.bin_ms > min(run.segment_steps, 60_000):
            yield Problem(f"{where}.bin_ms", self.bin_ms, "expected at most one segment and at most 60 s")
        elif model_of(run, self.model) is None and run.training.start_s < run.duration_s:
            _, _, [(first, end), _] = self._seen(run)
            if end - first < 2:
                held = f"the number of bins in the test range is {max(end - first, 0)}, expected at least 2"
                yield Problem(f"{where}.bin_ms", self.bin_ms, f"{held}; simulate longer, start earlier, or use shorter bins")

    def _seen(self, run: RunConfig) -> tuple[NDArray[Any], int, list[tuple[int, int]]]:
        """Ids of the neurons, width of the bins [ms], and ranges of bins: the test range and the whole run."""
        import numpy as np

        tft = model_of(run, self.model)
        if tft is not None:
            return tft.names(run), tft.bin_ms, [tft.ranges(run)["test"], (0, run.n_steps // tft.bin_ms)]
        first, end = run.time_ranges(0)["test"]
        test = (-(-first // self.bin_ms), end // self.bin_ms)
        return np.arange(run.n_neurons), self.bin_ms, [test, (0, run.n_steps // self.bin_ms)]

    def applies(self, run: RunConfig) -> bool:
        return self._n_neurons(run) <= MAX_DENSE_NEURONS

    def _n_neurons(self, run: RunConfig) -> int:
        tft = model_of(run, self.model)
        return run.n_neurons if tft is None else int(tft.n_series(run))

    def output(self, run: RunConfig) -> Layout:
        import numpy as np

        from spikelens.stores import Array, Coordinate

        neurons, bin_ms, ranges = self._seen(run)
        shape = (len(ranges), len(neurons), len(neurons))
        attrs = {"long_name": "correlation between neurons of their rates", "units": "1"}
        starts, ends = np.array(ranges, np.int64).T * bin_ms
        coordinates = {
            "range": Coordinate(("range",), starts, {"long_name": "start of the time range", "units": "ms"}),
            "end": Coordinate(("range",), ends, {"long_name": "end of the time range", "units": "ms"}),
            **{name: Coordinate((name,), neurons, {"long_name": f"id of the {name} neuron"}) for name in ("source", "target")},
        }
        return {RATE_CORRELATION: Array(("range", "source", "target"), shape, shape, "float64", attrs)}, coordinates

    def compute(self, run: RunConfig) -> Mapping[str, NDArray[Any]]:
        import numpy as np

        from spikelens.explanation.attention import correlation
        from spikelens.models.data import neuron_rates

        neurons, bin_ms, ranges = self._seen(run)
        rates = neuron_rates(run, neurons, bin_ms)
        return {RATE_CORRELATION: np.stack([correlation([rates[first:end].T]) for first, end in ranges])}

    def scores(self, run: RunConfig, output: Group) -> Iterator[PairScore]:
        from spikelens.stores import read_array

        neurons, bin_ms, ranges = self._seen(run)
        for matrix, (first, end) in zip(read_array(output, RATE_CORRELATION), ranges, strict=True):
            yield PairScore(RATE_CORRELATION, self.SAW, neurons, matrix, (first * bin_ms, end * bin_ms), {})

    def memory(self, run: RunConfig) -> float:
        """The rates, and matrices of all pairs."""
        n, samples = self._n_neurons(run), run.n_steps / self._seen(run)[1]
        return 300e6 + 24 * samples * n + 64 * n**2

    def seconds(self, run: RunConfig, speeds: Speeds) -> float:
        n = self._n_neurons(run)
        return speeds.start_s + speeds.reading_seconds(run) + 1e-9 * n**2 * run.n_steps / self._seen(run)[1]

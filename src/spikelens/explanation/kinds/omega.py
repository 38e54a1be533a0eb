"""Causal components of the whole run and of its test range, as scores of pairs.

Without weight and delay, they exist for all pairs and use the spikes alone (Kulkarni et al., NICE 2023). With weight and delay, they are
circular: they are 0 where there is no synapse, so they contain the answer.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field

from spikelens.config.items import KIND, Read
from spikelens.config.types import MAX_DENSE_NEURONS
from spikelens.errors import Problem
from spikelens.explanation.attended import AUTO, check_model, model_of
from spikelens.explanation.contents import OMEGA_DENSE
from spikelens.explanation.method import Method, PairScore
from spikelens.features.windows import window_s, windows_range, windows_within

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from spikelens.config.run import RunConfig
    from spikelens.speeds import Speeds
    from spikelens.stores import Group, Layout

CIRCULAR = {"omega": "spikes, wiring and weights", "omega_unweighted": "spikes and wiring"}
PAIRS, SYNAPSES = "omega_pairs", "omega_synapses"
"""Kinds of features."""


class Omega(Method):
    """Causal components of pairs of neurons."""

    kind: Annotated[Literal["omega"], Field(description=KIND)] = "omega"
    model: Annotated[
        str | None, Field(description="a TFT of single neurons, whose neurons and test range are used; auto: the first one; null: none")
    ] = "auto"
    pairs: Annotated[str | None, Field(description="a feature of kind omega_pairs; auto: the first one; null: none")] = "auto"
    synapses: Annotated[str | None, Field(description="a feature of kind omega_synapses; auto: the first one; null: none")] = "auto"

    def _features(self, run: RunConfig) -> dict[str, str]:
        """Name of the feature that it reads, by kind."""
        found = {}
        for kind, option in ((PAIRS, self.pairs), (SYNAPSES, self.synapses)):
            known = [name for name, feature in run.computed_features.items() if feature.kind == kind]
            name = next(iter(known), None) if option == AUTO else option
            if name in known:
                found[kind] = name
        return found

    def applies(self, run: RunConfig) -> bool:
        return self._n_neurons(run) <= MAX_DENSE_NEURONS and bool(self._features(run))

    def reads(self, run: RunConfig) -> tuple[Read, ...]:
        features = self._features(run)
        wiring = (Read("network"),) if SYNAPSES in features else ()
        return (*wiring, *(Read("features", name) for name in features.values()))

    def context(self, run: RunConfig) -> dict[str, Any]:
        return {"neurons": self._n_neurons(run), "windows": [[windows.start, windows.stop] for windows in self._ranges(run)]}

    def check(self, run: RunConfig, where: str) -> Iterator[Problem]:
        yield from check_model(run, where, self.model)
        for key, kind, option in (("pairs", PAIRS, self.pairs), ("synapses", SYNAPSES, self.synapses)):
            known = [name for name, feature in run.features.items() if feature.kind == kind]
            if option not in (AUTO, None, *known):
                yield Problem(f"{where}.{key}", option, f"expected a feature of kind {kind}: {', '.join(known) or 'none is configured'}")

    def _tft(self, run: RunConfig) -> Any:
        return model_of(run, self.model)

    def _n_neurons(self, run: RunConfig) -> int:
        tft = self._tft(run)
        return run.n_neurons if tft is None else int(tft.n_series(run))

    def _neurons(self, run: RunConfig) -> NDArray[np.int64]:
        import numpy as np

        tft = self._tft(run)
        neurons: NDArray[np.int64] = np.arange(run.n_neurons) if tft is None else tft.names(run)
        return neurons

    def _window_s(self, run: RunConfig) -> int:
        """Length of the windows of all pairs [s]."""
        feature: Any = run.features[self._features(run)[PAIRS]]
        return window_s(run, feature.window_s)

    def _ranges(self, run: RunConfig) -> list[range]:
        """Windows of all pairs in the test range, and of the whole run."""
        if PAIRS not in self._features(run):
            return []
        tft, length = self._tft(run), self._window_s(run)
        first, end = run.time_ranges(0)["test"] if tft is None else (bound * tft.bin_ms for bound in tft.ranges(run)["test"])
        found = (windows_within(run, (first, end), length), windows_within(run, (0, run.n_steps), length))
        return [windows for windows in found if len(windows)]

    def output(self, run: RunConfig) -> Layout:
        import numpy as np

        from spikelens.stores import Array, Coordinate

        neurons, ranges = self._neurons(run), self._ranges(run)
        n = len(neurons)
        arrays = {}
        if SYNAPSES in self._features(run):
            arrays = {
                name: Array(("source", "target"), (n, n), (n, n), "float64", {"long_name": long_name, "units": units})
                for name, long_name, units in (
                    ("omega", "causal component over the run, with weight and delay, of all synapses of a pair", "mV"),
                    ("omega_unweighted", "the same without weight", "1"),
                )
            }
        coordinates = {name: Coordinate((name,), neurons, {"long_name": f"id of the {name} neuron"}) for name in ("source", "target")}
        if ranges:
            shape = (len(ranges), n, n)
            attrs = {"long_name": "causal component of all pairs over a time range, without weight and delay", "units": "1"}
            arrays[OMEGA_DENSE] = Array(("range", "source", "target"), shape, shape, "float64", attrs)
            starts, ends = np.array([windows_range(run, windows, self._window_s(run)) for windows in ranges], np.int64).T
            coordinates["range"] = Coordinate(("range",), starts, {"long_name": "start of the time range", "units": "ms"})
            coordinates["end"] = Coordinate(("range",), ends, {"long_name": "end of the time range", "units": "ms"})
        return arrays, coordinates

    def compute(self, run: RunConfig) -> Mapping[str, NDArray[Any]]:
        import numpy as np

        from spikelens.explanation.causal import of_pairs, of_synapses

        neurons, ranges, features = self._neurons(run), self._ranges(run), self._features(run)
        found = {}
        if SYNAPSES in features:
            found = {name: of_synapses(run, features[SYNAPSES], neurons, name) for name in CIRCULAR}
        if ranges:
            found[OMEGA_DENSE] = np.stack([of_pairs(run, features[PAIRS], neurons, windows) for windows in ranges])
        return found

    def scores(self, run: RunConfig, output: Group) -> Iterator[PairScore]:
        import numpy as np

        from spikelens.stores import read_array

        neurons, ranges = self._neurons(run), self._ranges(run)
        if ranges:
            for matrix, windows in zip(read_array(output, OMEGA_DENSE), ranges, strict=True):
                yield PairScore(OMEGA_DENSE, self.SAW, neurons, matrix, windows_range(run, windows, self._window_s(run)), {})
        for name, saw in CIRCULAR.items():
            if name in output.arrays:  # negative for an inhibitory synapse: the score is its absolute value
                yield PairScore(name, saw, neurons, np.abs(read_array(output, name)), (0, run.n_steps), {})

    def memory(self, run: RunConfig) -> float:
        """Matrices of all pairs, and the synapses of a block."""
        synapses = run.expected_synapses / run.n_blocks if SYNAPSES in self._features(run) else 0
        return 300e6 + 64 * self._n_neurons(run) ** 2 + 60 * synapses

    def seconds(self, run: RunConfig, speeds: Speeds) -> float:
        return speeds.start_s + 40e-9 * self._n_neurons(run) ** 2 * (1 + run.n_segments)

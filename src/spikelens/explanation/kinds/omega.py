"""Causal components of the whole run and of its test range, as scores of pairs.

Without weight and delay, for all pairs, they are what spikes tell (Kulkarni et al., NICE 2023). With them they are circular: they are 0
where there is no synapse, so that the answer is in the question.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field

from spikelens.config.items import KIND, Read
from spikelens.config.types import MAX_DENSE_NEURONS
from spikelens.errors import Problem
from spikelens.explanation.attended import check_model, model_of
from spikelens.explanation.method import Method, PairScore

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from spikelens.config.run import RunConfig
    from spikelens.speeds import Speeds
    from spikelens.stores import Group, Layout

DENSE = "omega_dense"
CIRCULAR = {"omega": "spikes, wiring and weights", "omega_unweighted": "spikes and wiring"}


class Omega(Method):
    """Causal components of pairs of neurons."""

    kind: Annotated[Literal["omega"], Field(description=KIND)] = "omega"
    model: Annotated[
        str | None, Field(description="a TFT of single neurons, whose neurons and test range are taken; auto: the first one; null: none")
    ] = "auto"

    def reads(self, run: RunConfig) -> tuple[Read, ...]:
        return (Read("network"), Read("simulation"), Read("features"))

    def context(self, run: RunConfig) -> dict[str, Any]:
        return {"neurons": self._n_neurons(run), "windows": [[windows.start, windows.stop] for windows in self._ranges(run)]}

    def check(self, run: RunConfig, where: str) -> Iterator[Problem]:
        return check_model(run, where, self.model)

    def _tft(self, run: RunConfig) -> Any:
        return model_of(run, self.model)

    def _n_neurons(self, run: RunConfig) -> int:
        tft = self._tft(run)
        return run.network.neurons if tft is None else int(tft.n_series(run))

    def applies(self, run: RunConfig) -> bool:
        return self._n_neurons(run) <= MAX_DENSE_NEURONS

    def _neurons(self, run: RunConfig) -> NDArray[np.int64]:
        import numpy as np

        tft = self._tft(run)
        return np.arange(run.network.neurons) if tft is None else tft.names(run)

    def _ranges(self, run: RunConfig) -> list[range]:
        """Windows of the test range, and of the whole run; without all pairs, none."""
        from spikelens.explanation.wiring import omega_windows

        if not run.features.omega_dense:
            return []
        tft = self._tft(run)
        first, end = run.time_ranges(0)["test"] if tft is None else (bound * tft.bin_ms for bound in tft.ranges(run)["test"])
        found = (omega_windows(run, (first, end)), omega_windows(run, (0, run.n_steps)))
        return [windows for windows in found if len(windows)]

    def output(self, run: RunConfig) -> Layout:
        import numpy as np

        from spikelens.explanation.wiring import windows_range
        from spikelens.stores import Array, Coordinate

        neurons, ranges = self._neurons(run), self._ranges(run)
        n = len(neurons)
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
            arrays[DENSE] = Array(("range", "source", "target"), shape, shape, "float64", attrs)
            starts, ends = np.array([windows_range(run, windows) for windows in ranges], np.int64).T
            coordinates["range"] = Coordinate(("range",), starts, {"long_name": "start of the time range", "units": "ms"})
            coordinates["end"] = Coordinate(("range",), ends, {"long_name": "end of the time range", "units": "ms"})
        return arrays, coordinates

    def compute(self, run: RunConfig) -> Mapping[str, NDArray[Any]]:
        import numpy as np

        from spikelens.explanation.wiring import read_omega_dense, read_wiring

        neurons, ranges = self._neurons(run), self._ranges(run)
        wiring = read_wiring(run, neurons)
        found = {"omega": wiring.omega, "omega_unweighted": wiring.omega_unweighted}
        if ranges:
            found[DENSE] = np.stack([read_omega_dense(run, neurons, windows) for windows in ranges])
        return found

    def scores(self, run: RunConfig, output: Group) -> Iterator[PairScore]:
        import numpy as np

        from spikelens.explanation.wiring import windows_range
        from spikelens.stores import read_array

        neurons, ranges = self._neurons(run), self._ranges(run)
        if ranges:
            for matrix, windows in zip(read_array(output, DENSE), ranges, strict=True):
                yield PairScore(DENSE, self.SAW, neurons, matrix, windows_range(run, windows), {})
        for name, saw in CIRCULAR.items():
            # an inhibitory synapse's component is negative: its size is what tells of a synapse
            yield PairScore(name, saw, neurons, np.abs(read_array(output, name)), (0, run.n_steps), {})

    def memory(self, run: RunConfig) -> float:
        """Matrices of all pairs, and the synapses of a block."""
        from spikelens.config.network import expected_synapses

        return 300e6 + 64 * self._n_neurons(run) ** 2 + 60 * expected_synapses(run.network) / run.n_blocks

    def seconds(self, run: RunConfig, speeds: Speeds) -> float:
        return speeds.start_s + 40e-9 * self._n_neurons(run) ** 2 * (1 + run.n_segments)

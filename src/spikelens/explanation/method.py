"""The base class of all explanation methods: their interface to the workflow. No slow imports here.

A method scores ordered pairs of neurons. It does not use the wiring unless `PairScore.saw` says so. `judge`
compares the scores with the wiring.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from spikelens.config.items import Item
from spikelens.config.types import MAX_DENSE_NEURONS

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from spikelens.config.run import RunConfig
    from spikelens.report.contents import Shown
    from spikelens.speeds import Speeds
    from spikelens.stores import Group, Layout


@dataclass(frozen=True)
class PairScore:
    """A score of pairs of neurons, and the data it was computed from.

    Attributes
    ----------
    name
        Name of the score in scores.json.
    saw
        Its input data, like "spikes" or "spikes and wiring".
    neurons
        (n,) ids of the neurons in the matrix.
    matrix
        (n, n) [source, target].
    time_range
        Time range of its data [ms].
    seed
        Seed of the trained model, if one was used.
    shuffled
        Whether it is evaluated against shuffled labels as well.
    """

    name: str
    saw: str
    neurons: NDArray[np.int64]
    matrix: NDArray[Any]
    time_range: tuple[int, int]
    seed: Mapping[str, int]
    shuffled: bool = False


class Method(Item):
    """A method that scores pairs of neurons."""

    FAMILY = "methods"
    SAW: ClassVar[str] = "spikes"
    BY_TARGETS: ClassVar[bool] = False
    """Whether jobs are divided by blocks of target neurons; arrays then have `by` with "block" for their targets."""

    @classmethod
    def required(cls) -> tuple[str, ...]:
        return "reads", "output", "scores", "compute_targets" if cls.BY_TARGETS else "compute"

    def output(self, run: RunConfig) -> Layout:
        """Arrays and coordinates of its output."""
        raise NotImplementedError

    def compute(self, run: RunConfig) -> Mapping[str, NDArray[Any]]:
        """Compute the arrays of `output` in one job."""
        raise NotImplementedError

    def compute_targets(self, run: RunConfig, block: int) -> Mapping[str, NDArray[Any]]:
        """Compute the shards of one block of targets, if `BY_TARGETS`; each block has its own job."""
        raise NotImplementedError

    def scores(self, run: RunConfig, output: Group) -> Iterator[PairScore]:
        """Yield its scores, one matrix at a time, read from its output."""
        raise NotImplementedError

    def neuron_quantities(self, run: RunConfig, output: Group) -> Iterator[NeuronQuantity]:
        """Quantities of single neurons, which `judge` correlates with their weights."""
        return iter(())

    def memory(self, run: RunConfig) -> float:
        """Expected memory of a job [bytes]; default: a few matrices of all pairs."""
        n = min(run.n_neurons, MAX_DENSE_NEURONS)
        return 300e6 + 64.0 * n**2

    def seconds(self, run: RunConfig, speeds: Speeds) -> float:
        """Expected time of a job [s]; by default that of reading the spikes."""
        return speeds.start_s + speeds.reading_seconds(run)

    def figures(self, name: str) -> tuple[Shown, ...]:
        """Its figures in the report; `name` is its name in the configuration."""
        return ()


@dataclass(frozen=True)
class NeuronQuantity:
    """One number per neuron.

    Attributes
    ----------
    name
        Name of the quantity in associations.json.
    neurons, values, rate_hz
        (n,) ids, values, and rates [Hz] in the same time range.
    """

    name: str
    neurons: NDArray[np.int64]
    values: NDArray[np.float64]
    rate_hz: NDArray[np.float64]
    time_range: tuple[int, int]
    seed: Mapping[str, int]

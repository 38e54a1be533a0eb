"""What an explanation method is to the rest of the workflow: the base of all kinds. Nothing that takes time is imported here.

A method gives scores of ordered pairs of neurons. It does not know the wiring unless it says so; `judge` holds its scores against it.
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
    """A score of pairs of neurons, and what it was computed from.

    Attributes
    ----------
    name
        Of the score, in the rows of scores.json.
    saw
        What it was computed from, like "spikes" or "spikes and wiring".
    neurons
        (n,) ids of the neurons that the matrix is of.
    matrix
        (n, n) [source, target].
    time_range
        The time that it was computed on [ms].
    seed
        Of a trained model, if one was used.
    shuffled
        Whether it is scored against shuffled labels as well.
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

    def output(self, run: RunConfig) -> Layout:
        """Arrays and coordinates of what it computes."""
        raise NotImplementedError

    def compute(self, run: RunConfig) -> Mapping[str, NDArray[Any]]:
        """The arrays of `output`, by one job."""
        raise NotImplementedError

    def compute_targets(self, run: RunConfig, block: int) -> Mapping[str, NDArray[Any]]:
        """The shards of one block of targets, where `BY_TARGETS`; each block has a job of its own."""
        raise NotImplementedError

    def scores(self, run: RunConfig, output: Group) -> Iterator[PairScore]:
        """Its scores, one matrix at a time, read from its output."""
        raise NotImplementedError

    def neuron_quantities(self, run: RunConfig, output: Group) -> Iterator[NeuronQuantity]:
        """What it says of single neurons, to be held against their weights."""
        return iter(())

    def memory(self, run: RunConfig) -> float:
        """Memory that a job is expected to need [bytes]; by default that of a few matrices of all pairs."""
        n = min(run.n_neurons, MAX_DENSE_NEURONS)
        return 300e6 + 64.0 * n**2

    def seconds(self, run: RunConfig, speeds: Speeds) -> float:
        """Expected time of a job [s]; by default that of reading the spikes."""
        return speeds.start_s + speeds.reading_seconds(run)

    def figures(self, name: str) -> tuple[Shown, ...]:
        """Its figures in the report, where it is called `name`."""
        return ()


@dataclass(frozen=True)
class NeuronQuantity:
    """A number for each of some neurons.

    Attributes
    ----------
    name
        Of the quantity, in the rows of associations.json.
    neurons, values, rate_hz
        (n,) ids, numbers, and rates [Hz] in the same time.
    """

    name: str
    neurons: NDArray[np.int64]
    values: NDArray[np.float64]
    rate_hz: NDArray[np.float64]
    time_range: tuple[int, int]
    seed: Mapping[str, int]

"""The base classes of all kinds of models: their interface to the workflow. No slow imports here."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from pydantic import Field

from spikelens.config.items import Item
from spikelens.config.types import Positive, PositiveFloat, Seed
from spikelens.errors import Problem

if TYPE_CHECKING:
    from spikelens.config.run import RunConfig
    from spikelens.models.fitted import Fitted, Setting
    from spikelens.models.train import Task
    from spikelens.report.contents import Shown
    from spikelens.speeds import Speeds
    from spikelens.stores import Layout

WEIGHTS = "weights.safetensors"
DESCRIPTION = "model.json"
HISTORY = "history.jsonl"
"""Names of the files of a trained model, in one folder per seed."""
TORCH_BASE = 550e6
"""Memory of a process with torch [bytes]."""


class Model(Item):
    """A model that is trained on a run, once per seed."""

    FAMILY = "models"
    NO_RESULTS: ClassVar[tuple[str, ...]] = ("seeds",)
    FILES: ClassVar[tuple[str, ...]] = (WEIGHTS, DESCRIPTION)

    seeds: Annotated[tuple[Seed, ...], Field(min_length=1, strict=False, description="one model is trained for each")] = (1,)

    @classmethod
    def required(cls) -> tuple[str, ...]:
        return "reads", "output", "fit"

    @property
    def n_ranks(self) -> int:
        """MPI ranks that train it together."""
        return 1

    @property
    def learns(self) -> bool:
        """Whether it writes a training history."""
        return HISTORY in self.FILES

    def figures(self, name: str) -> tuple[Shown, ...]:
        """Its figures in the report; `name` is its name in the configuration."""
        return ()

    def mean_loss(self, scaling: Mapping[str, Any]) -> float | None:
        """Loss of the training mean on the training data, as in the training history; None if it is not defined.

        `scaling` is that of model.json.
        """
        return None

    def output(self, run: RunConfig) -> Layout:
        """Arrays and coordinates of its output on the test range."""
        raise NotImplementedError

    def n_weights(self, run: RunConfig) -> int:
        """Approximate number of weights."""
        return 0

    def memory(self, run: RunConfig) -> float:
        """Expected memory of a rank [bytes]."""
        return TORCH_BASE

    def seconds(self, run: RunConfig, speeds: Speeds) -> float:
        """Expected training time of one seed [s]; default: reading the spikes."""
        return speeds.start_torch_s + speeds.reading_seconds(run)

    def fit(self, run: RunConfig, name: str, seed: int, setting: Setting) -> Fitted | None:
        """Train the model. None on ranks other than the first."""
        raise NotImplementedError


Epochs = Annotated[Positive, Field(description="maximum number of epochs; early stopping may end sooner")]
BatchSize = Annotated[Positive, Field(description="sequences or windows per optimiser step")]
LearningRate = Annotated[PositiveFloat, Field(description="learning rate of Adam")]


class NetworkModel(Model):
    """A PyTorch network, trained by gradient descent, epoch by epoch."""

    NO_RESULTS = ("seeds", "ranks")
    FILES = (WEIGHTS, DESCRIPTION, HISTORY)

    epochs: Epochs
    patience: Annotated[Positive, Field(description="training ends after this many epochs without a better validation loss")] = 5
    batch_size: BatchSize = 64
    learning_rate: LearningRate = 0.001
    parts: Annotated[
        Positive,
        Field(description="parts of a batch, computed one by one; changing it changes dropout and rounding"),
    ] = 1
    ranks: Annotated[Positive, Field(description="MPI ranks that share the parts of a batch; results do not depend on it")] = 1

    @property
    def n_ranks(self) -> int:
        return self.ranks

    @property
    def own_parts(self) -> int:
        """Largest number of parts of a batch that one rank computes."""
        return -(-self.parts // self.ranks)

    def weights_bytes(self, run: RunConfig) -> float:
        """Memory of weights and gradients [bytes].

        For each part of a batch: its gradient on this rank, as received from all ranks, and concatenated.
        Besides: the weights, the best weights, and the state of the optimiser.
        """
        return 4.0 * self.n_weights(run) * (3 * self.parts + 6)

    def check(self, run: RunConfig, where: str) -> Iterator[Problem]:
        if self.ranks > self.parts:
            yield Problem(
                f"{where}.ranks",
                self.ranks,
                f"ranks share the parts of a batch: expected at most parts = {self.parts}; increase parts as well",
            )
        if self.parts > self.batch_size:
            yield Problem(f"{where}.parts", self.parts, f"expected at most batch_size = {self.batch_size}")

    def module(self, mean: Any, std: Any) -> Any:
        """The untrained network, a LightningModule; `mean` and `std` are those of the training data."""
        raise NotImplementedError

    def task(self, run: RunConfig, seed: int) -> Task:
        """Its training, validation and test data."""
        raise NotImplementedError

    def fit(self, run: RunConfig, name: str, seed: int, setting: Setting) -> Fitted | None:
        from spikelens.models.train import fit_network

        return fit_network(self, run, name, seed, setting)

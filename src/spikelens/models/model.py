"""What a model is to the rest of the workflow: the base of all kinds. Nothing that takes time is imported here."""

from __future__ import annotations

from collections.abc import Iterator
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
"""What a trained model leaves: the names of its files, in a folder for each seed."""
TORCH_BASE = 550e6
"""Memory of a process with torch [bytes]."""


class Model(Item):
    """A model that is trained on a run, once for each seed."""

    FAMILY = "models"
    NO_RESULTS: ClassVar[tuple[str, ...]] = ("seeds",)
    FILES: ClassVar[tuple[str, ...]] = (WEIGHTS, DESCRIPTION)

    seeds: Annotated[tuple[Seed, ...], Field(min_length=1, strict=False, description="one model is trained for each")] = (1,)

    @property
    def n_ranks(self) -> int:
        """MPI ranks that train it together."""
        return 1

    @property
    def learns(self) -> bool:
        """Whether it leaves a history of its training."""
        return HISTORY in self.FILES

    def figures(self, name: str) -> tuple[Shown, ...]:
        """Its figures in the report, where it is called `name`."""
        return ()

    def output(self, run: RunConfig) -> Layout:
        """Arrays and coordinates of what the model makes of the test range."""
        raise NotImplementedError

    def n_weights(self, run: RunConfig) -> int:
        """Number of weights, about."""
        return 0

    def memory(self, run: RunConfig) -> float:
        """Memory that a rank is expected to need [bytes]."""
        return TORCH_BASE

    def seconds(self, run: RunConfig, speeds: Speeds) -> float:
        """Expected time of one seed [s]; by default that of reading the spikes."""
        return speeds.start_torch_s + speeds.reading_seconds(run)

    def fit(self, run: RunConfig, name: str, seed: int, setting: Setting) -> Fitted | None:
        """Train it. None on ranks that write nothing."""
        raise NotImplementedError


Epochs = Annotated[Positive, Field(description="at most; early stopping may end sooner")]
BatchSize = Annotated[Positive, Field(description="sequences or windows a step of the optimiser")]
LearningRate = Annotated[PositiveFloat, Field(description="learning rate of Adam")]


class NetworkModel(Model):
    """A model that torch trains by gradient descent, epoch by epoch."""

    NO_RESULTS = ("seeds", "ranks")
    FILES = (WEIGHTS, DESCRIPTION, HISTORY)

    epochs: Epochs
    patience: Annotated[Positive, Field(description="epochs without a better validation loss before training ends")] = 5
    batch_size: BatchSize = 64
    learning_rate: LearningRate = 0.001
    parts: Annotated[
        Positive, Field(description="parts of a batch that are computed one by one; another number is another draw of dropout and rounding")
    ] = 1
    ranks: Annotated[Positive, Field(description="MPI ranks that share the parts of a batch; results do not depend on it")] = 1

    @property
    def n_ranks(self) -> int:
        return self.ranks

    @property
    def own_parts(self) -> int:
        """Parts of a batch that a rank computes; the rank that has most."""
        return -(-self.parts // self.ranks)

    def weights_bytes(self, run: RunConfig) -> float:
        """The gradients of each part of a batch, here, of all ranks, and joined; weights, the best ones, and the optimiser's state."""
        return 4.0 * self.n_weights(run) * (3 * self.parts + 6)

    def check(self, run: RunConfig, where: str) -> Iterator[Problem]:
        if self.ranks > self.parts:
            yield Problem(
                f"{where}.ranks", self.ranks, f"ranks share the parts of a batch: expected at most parts = {self.parts}; set that, too"
            )
        if self.parts > self.batch_size:
            yield Problem(f"{where}.parts", self.parts, f"expected at most batch_size = {self.batch_size}")

    def module(self, mean: Any, std: Any) -> Any:
        """The untrained network, a LightningModule, for data with this training mean and deviation."""
        raise NotImplementedError

    def task(self, run: RunConfig, seed: int) -> Task:
        """What it is trained and tested on."""
        raise NotImplementedError

    def fit(self, run: RunConfig, name: str, seed: int, setting: Setting) -> Fitted | None:
        from spikelens.models.train import fit_network

        return fit_network(self, run, name, seed, setting)

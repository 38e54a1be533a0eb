"""Training of a network with one seed: batches, training loop, checkpoints.

On a CPU, the same seed and number of threads give the same weights: initialisation, the order of the batches
and dropout are all drawn from the seed. A line is appended to history.jsonl after each epoch. Weights and
model.json are written at the end. Until then, a checkpoint is written after each epoch: a training run that
was killed resumes from it and ends with the same weights.
"""

from __future__ import annotations

import functools
import json
import logging
import math
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from numpy.typing import NDArray
from torch import Tensor

from spikelens.config import RunConfig
from spikelens.errors import SpikelensError
from spikelens.files import write_atomically
from spikelens.fingerprint import fingerprint
from spikelens.limits import Deadline
from spikelens.models.baselines import Scores
from spikelens.models.checkpoint import Checkpoint, read_checkpoint, write_checkpoint
from spikelens.models.fitted import Fitted, Setting
from spikelens.models.load import new_module, weights_of
from spikelens.models.model import HISTORY, NetworkModel
from spikelens.models.ranks import Ranks, repeatable
from spikelens.progress import Progress

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Batches:
    """Batches of items, identified by index.

    With a generator, each epoch uses at most `at_most` items, in a new random order.
    """

    items: Callable[[Tensor], Any]
    n_items: int
    batch_size: int
    at_most: int | None = None
    generator: torch.Generator | None = None

    @property
    def n_used(self) -> int:
        return self.n_items if self.at_most is None else min(self.n_items, self.at_most)

    def __len__(self) -> int:
        return -(-self.n_used // self.batch_size)

    def __iter__(self) -> Iterator[Tensor]:
        """Yield the indices of the items of each batch."""
        order = torch.arange(self.n_items) if self.generator is None else torch.randperm(self.n_items, generator=self.generator)
        yield from torch.split(order[: self.n_used], self.batch_size)

    def read(self, chosen: Tensor, device: torch.device) -> Any:
        """The items with the given indices: one tensor, or a tuple of tensors."""
        items = self.items(chosen)
        return items.to(device) if isinstance(items, Tensor) else tuple(part.to(device) for part in items)


@dataclass(frozen=True)
class Task:
    """Training, validation and test data of a model."""

    scaling: dict[str, list[float]]
    ranges_ms: dict[str, tuple[int, int]]
    n_items: dict[str, int]
    train: Batches
    validation: Batches
    test: Callable[[Any], Tested]
    """Function that tests a module on held-out data."""


@dataclass(frozen=True)
class Tested:
    """Scores of a module and its baselines on held-out data, and the module's output."""

    scores: Scores
    baselines: dict[str, Scores]
    units: dict[str, str]
    """Of the scores."""
    output: dict[str, NDArray[Any]]
    """Arrays with the layout of `Model.output`."""


def generator(seed: int) -> torch.Generator:
    """Random generator for the order of the batches."""
    return torch.Generator().manual_seed(seed)


def fit_network(model: NetworkModel, run: RunConfig, name: str, seed: int, setting: Setting) -> Fitted | None:
    """Train a network; resume from checkpoint.safetensors in its folder if it belongs to this training run.

    Raises
    ------
    SpikelensError
        If there are more ranks than parts, if training diverged, or if the next epoch would not finish before
        the deadline.
    """
    ranks = setting.ranks
    if ranks.size > model.parts:
        raise SpikelensError(
            f"{ranks.size} ranks share the parts of a batch, but models.{name}.parts = {model.parts}: use fewer ranks or more parts"
        )
    task = model.task(run, seed)
    module = new_module(model, task.scaling, seed)
    torch.manual_seed(seed)
    epochs = Epochs(setting.folder, {"model": name, "seed": seed, "fingerprint": fingerprint(run, "models", name)}, model, task, ranks)
    done_s = epochs.seconds
    fit(module, task, epochs, ranks, setting.deadline)
    if ranks.rank:
        return None
    tested = task.test(module)
    epochs.checkpoint.unlink(missing_ok=True)
    description = {
        "scaling": task.scaling,
        "ranges_ms": task.ranges_ms,
        "n_items": task.n_items,
        **epochs.summary,
        "scores": tested.scores,
        "baselines": tested.baselines,
        "units": tested.units,
        "wall_s": done_s,
    }
    return Fitted(weights_of(module), description, tested.output)


# --- the loop -----------------------------------------------------------------------------------------------------------


def fit(module: pl.LightningModule, task: Task, epochs: Epochs, ranks: Ranks, deadline: Deadline | None = None) -> None:
    """Train a module in place; it ends with the weights of the epoch with the lowest validation loss."""
    repeatable()
    module.to(ranks.device)
    optimizer = module.configure_optimizers()
    epochs.restore(module, optimizer)
    while epochs.n_left:
        begun = time.monotonic()
        module.train()
        losses = [step(module, optimizer, chosen, task, epochs.model.parts, ranks) for chosen in epochs.shown(task.train)]
        module.eval()
        epochs.end(module, optimizer, _mean(losses, task.train, ranks), validate(module, task.validation, ranks))
        # an error on the first rank ends the other ranks as well
        if deadline is not None and ranks.rank == 0 and epochs.n_left:
            deadline.refuse_if_too_short(time.monotonic() - begun, epochs.stopped)
    module.load_state_dict(epochs.best_weights, strict=False)
    module.eval().cpu()


def step(module: pl.LightningModule, optimizer: torch.optim.Optimizer, chosen: Tensor, task: Task, n_parts: int, ranks: Ranks) -> Tensor:
    """Make one optimiser step on the items with indices `chosen`.

    Returns
    -------
    (n_parts,) float64: sum of the losses of the items of each part; 0 for the parts of other ranks.
    """
    parts, weights = torch.tensor_split(chosen, n_parts), list(module.parameters())
    own, seeds = ranks.own(len(parts)), _dropout_seeds(len(parts))
    losses = torch.zeros(len(parts), dtype=torch.float64)
    gradients = torch.zeros(len(own), sum(weight.numel() for weight in weights), device=ranks.device)
    for row, number in enumerate(own):
        n_own = len(parts[number])
        if n_own:
            optimizer.zero_grad()
            if seeds:
                torch.manual_seed(seeds[number])
            loss = module.training_step(task.train.read(parts[number], ranks.device), 0)
            (loss * (n_own / len(chosen))).backward()
            gradients[row] = torch.cat([(torch.zeros_like(w) if w.grad is None else w.grad).flatten() for w in weights])
            losses[number] = n_own * loss.item()
    if seeds:
        torch.manual_seed(seeds[-1])
    total = functools.reduce(torch.add, ranks.gather(gradients, len(parts)))
    for weight, gradient in zip(weights, torch.split(total, [weight.numel() for weight in weights]), strict=True):
        weight.grad = gradient.view_as(weight)
    optimizer.step()
    return losses


def _dropout_seeds(n_parts: int) -> list[int]:
    """A seed for each part of a batch, and one for the draws after the batch.

    With one part no seeds are needed: the single rank draws all numbers in order.
    """
    return torch.randint(2**62, (n_parts + 1,)).tolist() if n_parts > 1 else []


def validate(module: pl.LightningModule, batches: Batches, ranks: Ranks) -> float:
    """Mean loss over all items; ranks share the batches."""
    losses, own = torch.zeros(len(batches), dtype=torch.float64), ranks.own(len(batches))
    with torch.no_grad():
        for number, chosen in enumerate(batches):
            if number in own:
                losses[number] = len(chosen) * module.validation_step(batches.read(chosen, ranks.device), 0).item()
    return _mean([losses], batches, ranks)


def _mean(losses: list[Tensor], batches: Batches, ranks: Ranks) -> float:
    """Mean over the items of an epoch, summed in float64 in the same order for any number of ranks."""
    return float(ranks.merge(torch.cat(losses)).sum()) / batches.n_used


class Epochs:
    """Bookkeeping after each epoch: losses, best weights, checkpoint, early stopping.

    Attributes
    ----------
    history
        The lines of history.jsonl.
    """

    def __init__(self, folder: Path, belongs_to: dict[str, Any], model: NetworkModel, task: Task, ranks: Ranks) -> None:
        self.checkpoint = folder / "checkpoint.safetensors"
        self._path, self._belongs_to, self._writes = folder / HISTORY, belongs_to, ranks.rank == 0
        self.model, self._task = model, task
        self._restored = restored = read_checkpoint(self.checkpoint, belongs_to, ranks)
        self.history: list[dict[str, Any]] = [] if restored is None else restored.history
        self.best_epoch = 0 if restored is None else restored.best_epoch
        self.best_weights = {} if restored is None else restored.tensors["best"]
        self.seconds = self.history[-1]["seconds"] if self.history else 0.0
        self._started = time.monotonic() - self.seconds
        self._note = ""
        self._n_batches = self.n_left * len(task.train)
        what = f"training {belongs_to['model']}, seed {belongs_to['seed']}"
        self._progress = Progress(what, self._n_batches, "batches") if self._writes else None
        if self._writes:
            write_atomically(self._path, "".join(json.dumps(line) + "\n" for line in self.history).encode())
            if self.history:
                log.info("resuming after epoch %d from %s", len(self.history), self.checkpoint)

    @property
    def n_left(self) -> int:
        """Maximum number of remaining epochs; 0 after early stopping."""
        patience_is_over = len(self.history) - self.best_epoch >= self.model.patience
        return 0 if patience_is_over else self.model.epochs - len(self.history)

    @property
    def best_loss(self) -> float:
        return float(self.history[self.best_epoch - 1]["validation_loss"]) if self.best_epoch else math.inf

    @property
    def stopped(self) -> str:
        """The message if there is not enough time for the next epoch."""
        what = f"training {self._belongs_to['model']}, seed {self._belongs_to['seed']}"
        return (
            f"{what}: the next epoch would not finish in time, {len(self.history)} are done; "
            "to resume, run the same command or snakemake again"
        )

    @property
    def summary(self) -> dict[str, Any]:
        return {"epochs": len(self.history), "best_epoch": self.best_epoch, "validation_loss": self.best_loss}

    def restore(self, module: pl.LightningModule, optimizer: torch.optim.Optimizer) -> None:
        """Restore a module and its optimiser from the checkpoint, if there is one."""
        if self._restored is not None:
            tensors = self._restored.tensors
            module.load_state_dict(tensors["weights"], strict=False)
            load_optimizer(optimizer, tensors["optimizer"])
            for name, generator in self._generators(module).items():
                generator.set_state(tensors["generators"][name])

    def _generators(self, module: pl.LightningModule) -> dict[str, torch.Generator]:
        """The random generators of the order of the batches and of dropout."""
        assert self._task.train.generator is not None
        found = {"order": self._task.train.generator, "dropout": torch.default_generator}
        return found | ({"gpu": torch.cuda.default_generators[module.device.index]} if module.device.type == "cuda" else {})

    def shown(self, batches: Batches) -> Iterator[Tensor]:
        """The batches of an epoch; reports the progress through all epochs."""
        done = self._n_batches - self.n_left * len(batches)
        for number, chosen in enumerate(batches):
            yield chosen
            if self._progress is not None:
                self._progress.update(done + number + 1, self._note)

    def end(self, module: pl.LightningModule, optimizer: torch.optim.Optimizer, train_loss: float, validation_loss: float) -> None:
        """Record an epoch: losses, best weights, checkpoint.

        Raises
        ------
        SpikelensError
            If a loss is not finite.
        """
        epoch = len(self.history) + 1
        if not (math.isfinite(train_loss) and math.isfinite(validation_loss)):
            losses = f"training loss {train_loss}, validation loss {validation_loss}"
            raise SpikelensError(f"{losses} in epoch {epoch}: training diverged; {self._remedy}")
        if validation_loss < self.best_loss:
            self.best_epoch = epoch
            self.best_weights = {name: weight.detach().cpu().clone() for name, weight in module.named_parameters()}
        seconds = round(time.monotonic() - self._started, 3)
        self.history.append({"epoch": epoch, "train_loss": train_loss, "validation_loss": validation_loss, "seconds": seconds})
        self._note = f"(epoch {epoch}: validation loss {validation_loss:.4f})"
        if self._writes:
            self._write(module, optimizer)

    @property
    def _remedy(self) -> str:
        """Advice if training diverged. Each AdamW step shrinks a weight by learning_rate x weight_decay."""
        section, config = f"models.{self._belongs_to['model']}", self.model
        share = config.learning_rate * getattr(config, "weight_decay", 0.0)
        if share < 1 or config.learning_rate >= 1:
            return f"lower {section}.learning_rate"
        return f"lower {section}.weight_decay: each step shrinks every weight by the fraction learning_rate x weight_decay = {share:g}"

    def _write(self, module: pl.LightningModule, optimizer: torch.optim.Optimizer) -> None:
        """Write the checkpoint, then append the last line of its history to history.jsonl."""
        tensors = {
            "weights": dict(module.named_parameters()),
            "best": self.best_weights,
            "optimizer": optimizer_tensors(optimizer),
            "generators": {name: generator.get_state() for name, generator in self._generators(module).items()},
        }
        write_checkpoint(self.checkpoint, Checkpoint(tensors, self.history, self.best_epoch), self._belongs_to)
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(self.history[-1]) + "\n")


def optimizer_tensors(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """The state of an optimiser, by "parameter number/key"."""
    return {f"{number}/{key}": value for number, state in optimizer.state_dict()["state"].items() for key, value in state.items()}


def load_optimizer(optimizer: torch.optim.Optimizer, tensors: Mapping[str, Tensor]) -> None:
    """Load a state from `optimizer_tensors` into an optimiser of the same parameters."""
    state: dict[int, dict[str, Tensor]] = {}
    for name, value in tensors.items():
        number, _, key = name.partition("/")
        state.setdefault(int(number), {})[key] = value
    optimizer.load_state_dict({**optimizer.state_dict(), "state": state})

"""Training of one model with one seed: batches, the loop, held-out scores, and what is written.

The same seed gives the same weights on a CPU, with the same number of threads: initialisation, the order of the batches and
dropout are all drawn from it. A line is added to history.jsonl as each epoch ends; weights and model.json appear at the end. Until then
a checkpoint is kept after each epoch: a training that was killed goes on from there, to the same weights.
"""

from __future__ import annotations

import json
import logging
import math
import os
import signal
import threading
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import numpy as np
import torch
from lightning.pytorch.plugins.environments import LightningEnvironment
from numpy.typing import NDArray
from torch import Tensor

from spikelens.config import Autoencoder, ModelName, RunConfig, Tft
from spikelens.errors import SpikelensError
from spikelens.fingerprint import model_fingerprint
from spikelens.models.autoencoder import encode
from spikelens.models.baselines import (
    Scores,
    forecast_baselines,
    forecast_scores,
    forecast_targets,
    pca_reconstruction,
    reconstruction_scores,
)
from spikelens.models.checkpoint import Checkpoint, read_checkpoint, write_checkpoint
from spikelens.models.data import TftName, autoencoder_sequences, model_folder, rate_series, sequence_ranges, tft_config
from spikelens.models.load import new_module, save
from spikelens.models.ranks import ALONE, Part, PartOfDropout, Ranks, share_dropout
from spikelens.models.tft import predict
from spikelens.progress import Progress
from spikelens.stores import forecast_windows, write_atomically

log = logging.getLogger(__name__)

_VALIDATED_AT_ONCE = 1_024
"""Windows or sequences validated at a time."""


@dataclass(frozen=True)
class Batches:
    """This rank's part of batches of numbered items; with a generator, `at_most` of them in an order drawn anew each epoch."""

    items: Callable[[Tensor], Any]
    n_items: int
    batch_size: int
    at_most: int | None = None
    generator: torch.Generator | None = None
    ranks: Ranks = ALONE

    @property
    def n_used(self) -> int:
        return self.n_items if self.at_most is None else min(self.n_items, self.at_most)

    def __len__(self) -> int:
        return -(-self.n_used // self.batch_size)

    def part(self, batch: int) -> Part:
        """What this rank takes of a batch."""
        return self.ranks.part(min(self.batch_size, self.n_used - batch * self.batch_size))

    def __iter__(self) -> Iterator[Any]:
        order = torch.arange(self.n_items) if self.generator is None else torch.randperm(self.n_items, generator=self.generator)
        for batch, chosen in enumerate(torch.split(order[: self.n_used], self.batch_size)):
            yield self.items(chosen[self.part(batch).rows])


@dataclass(frozen=True)
class Task:
    """What a model is trained and tested on."""

    config: Autoencoder | Tft
    scaling: dict[str, list[float]]
    ranges_ms: dict[str, tuple[int, int]]
    n_items: dict[str, int]
    train: Batches
    validation: Batches
    test: Callable[[Any], dict[str, Any]]
    """Held-out scores of a module: "scores", "baselines" by name, "units"."""


def train(run: RunConfig, name: ModelName, seed: int, threads: int | None = None, ranks: Ranks = ALONE) -> None:
    """Train a model and write weights.safetensors, model.json and history.jsonl into its `model_folder`.

    It goes on from checkpoint.safetensors there, if that is this training's. All ranks call it alike; the first one writes.

    Parameters
    ----------
    threads
        Taken from OMP_NUM_THREADS where it is not given, and 1 without either.
    """
    torch.set_num_threads(threads or int(os.environ.get("OMP_NUM_THREADS", "1")))
    started = time.monotonic()
    folder = model_folder(run, name, seed)
    task = autoencoder_task(run, seed, ranks) if name == "autoencoder" else tft_task(run, name, seed, ranks)
    hyperparameters = task.config.model_dump(mode="json", exclude={"seeds", "ranks"})
    module = new_module(name, hyperparameters, task.scaling, seed)
    torch.manual_seed(seed)
    belongs_to = {"model": name, "seed": seed, "fingerprint": model_fingerprint(run, name)}
    epochs = Epochs(folder, belongs_to, task, ranks)
    done_s = epochs.seconds
    fit(module, task, epochs)
    if ranks.rank == 0:
        description = {
            "model": name,
            "seed": seed,
            "hyperparameters": hyperparameters,
            "scaling": task.scaling,
            "ranges_ms": task.ranges_ms,
            "n_items": task.n_items,
            "n_weights": sum(weight.numel() for weight in module.parameters()),
            **epochs.summary,
            **task.test(module),
            "wall_s": round(done_s + time.monotonic() - started, 3),
        }
        save(folder, module, description)
        epochs.checkpoint.unlink(missing_ok=True)
    ranks.wait()


# --- what is trained on -------------------------------------------------------------------------------------------------


def autoencoder_task(run: RunConfig, seed: int, ranks: Ranks) -> Task:
    """The autoencoder's sequences, and its test against the training mean and principal components of the same number."""
    config = run.models.autoencoder
    data = autoencoder_sequences(run)
    mean = data.train.mean(axis=(0, 1), dtype=np.float64).astype(np.float32)
    std = math.sqrt(np.mean([np.mean(np.square(sequence - mean)) for sequence in data.train])) or 1.0

    def test(module: Any) -> dict[str, Any]:
        def scores(rebuilt: NDArray[np.float32]) -> Scores:
            return reconstruction_scores(rebuilt, data.test, mean)

        pca = pca_reconstruction(data.train, data.test, config.units)
        return {
            "scores": scores(encode(module, data.test)[0]),
            "baselines": {"training_mean": scores(np.broadcast_to(mean, data.test.shape)), "pca": scores(pca)},
            "units": {"mse": "1", "explained_variance": "1"},
        }

    sequences, validation = torch.from_numpy(data.train), torch.from_numpy(data.validation)
    return Task(
        config=config,
        scaling={"mean": mean.tolist(), "std": [std]},
        ranges_ms=sequence_ranges(run),
        n_items={name: len(starts) for name, starts in data.starts.items()},
        train=Batches(lambda chosen: sequences[chosen], len(sequences), config.batch_size, generator=_generator(seed), ranks=ranks),
        validation=Batches(lambda chosen: validation[chosen], len(validation), _VALIDATED_AT_ONCE, ranks=ranks),
        test=test,
    )


def tft_task(run: RunConfig, name: TftName, seed: int, ranks: Ranks) -> Task:
    """Windows of rates, one for each series and start; tested on windows a horizon apart, so that each sample counts once."""
    config = tft_config(run, name)
    series = rate_series(run, name)
    length = config.history + config.horizon
    starts = {key: np.arange(first, end - length + 1) for key, (first, end) in series.ranges.items()}
    starts["validation"] = starts["validation"][:: config.horizon]
    starts["test"] = forecast_windows(run, config)
    rates, steps = torch.from_numpy(series.values), torch.arange(length)

    def windows(which: str) -> Callable[[Tensor], tuple[Tensor, Tensor]]:
        begins = torch.from_numpy(starts[which])

        def items(chosen: Tensor) -> tuple[Tensor, Tensor]:
            columns, begin = chosen // len(begins), begins[chosen % len(begins)]
            return rates[begin[:, None] + steps, columns[:, None]], columns

        return items

    def test(module: Any) -> dict[str, Any]:
        target = forecast_targets(series.values, starts["test"], config.history, config.horizon)
        baselines = forecast_baselines(series.values, starts["test"], config.history, series.mean)
        return {
            "scores": forecast_scores(predict(module, series.values, starts["test"]), target, series.mean),
            "baselines": {key: forecast_scores(prediction, target, series.mean) for key, prediction in baselines.items()},
            "units": {"mse": "Hz^2", "mae": "Hz", "r2": "1"},
        }

    n_items = {key: len(begins) * len(series.names) for key, begins in starts.items()}
    window = run.features.window_ms
    return Task(
        config=config,
        scaling={"mean": series.mean.tolist(), "std": series.std.tolist()},
        ranges_ms={key: (first * window, end * window) for key, (first, end) in series.ranges.items()},
        n_items=n_items,
        train=Batches(windows("train"), n_items["train"], config.batch_size, config.samples_per_epoch, _generator(seed), ranks),
        validation=Batches(windows("validation"), n_items["validation"], _VALIDATED_AT_ONCE, ranks=ranks),
        test=test,
    )


def _generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


# --- the loop -----------------------------------------------------------------------------------------------------------


@dataclass
class Losses:
    """Losses of the batches of an epoch, each the mean over this rank's part of it."""

    batches: Batches
    of_batch: list[Tensor] = field(default_factory=list)

    def sum(self) -> float:
        """Sum over this rank's items."""
        losses = torch.stack(self.of_batch).cpu().double()
        return float(losses @ torch.tensor([self.batches.part(batch).n_own for batch in range(len(losses))], dtype=torch.float64))


class Epochs(pl.Callback):
    """What happens as each epoch ends: losses, history, the best weights, the checkpoint, and the end of patience.

    Attributes
    ----------
    history
        The lines of history.jsonl.
    """

    def __init__(self, folder: Path, belongs_to: dict[str, Any], task: Task, ranks: Ranks) -> None:
        self.checkpoint = folder / "checkpoint.safetensors"
        self._path, self._belongs_to, self._task, self._ranks = folder / "history.jsonl", belongs_to, task, ranks
        self._restored = read_checkpoint(self.checkpoint, belongs_to, ranks)
        self.history: list[dict[str, Any]] = [] if self._restored is None else self._restored.history
        self.best_epoch = 0 if self._restored is None else self._restored.best_epoch
        self.best_weights = {} if self._restored is None else self._restored.tensors["best"]
        self.seconds = self.history[-1]["seconds"] if self.history else 0.0
        self._started = time.monotonic() - self.seconds
        self._progress = Progress(f"training {belongs_to['model']}, seed {belongs_to['seed']}", self.n_left * len(task.train), "batches")
        self._note = ""
        self._sigterm = signal.getsignal(signal.SIGTERM) or signal.SIG_DFL
        if ranks.rank == 0:
            write_atomically(self._path, "".join(json.dumps(line) + "\n" for line in self.history).encode())
            if self.history:
                log.info("going on after epoch %d, from %s", len(self.history), self.checkpoint)

    @property
    def n_left(self) -> int:
        """Epochs still to be done, at most."""
        patience_is_over = len(self.history) - self.best_epoch >= self._task.config.patience
        return 0 if patience_is_over else self._task.config.epochs - len(self.history)

    @property
    def best_loss(self) -> float:
        return float(self.history[self.best_epoch - 1]["validation_loss"]) if self.best_epoch else math.inf

    @property
    def summary(self) -> dict[str, Any]:
        return {"epochs": len(self.history), "best_epoch": self.best_epoch, "validation_loss": self.best_loss}

    def on_train_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        """Go on from the checkpoint, and let SIGTERM end the process at once: Lightning would end it later, and with exit code 0."""
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, self._sigterm)
        if self._ranks.rank == 0:
            self._progress.__enter__()
        if self._restored is not None:
            tensors = self._restored.tensors
            module.load_state_dict(tensors["weights"], strict=False)
            load_optimizer(trainer.optimizers[0], tensors["optimizer"])
            for name, generator in self._generators(module).items():
                generator.set_state(tensors["generators"][name])

    def _generators(self, module: pl.LightningModule) -> dict[str, torch.Generator]:
        """The order of the batches, and dropout."""
        assert self._task.train.generator is not None
        on_gpu = module.device.type == "cuda"
        dropout = torch.cuda.default_generators[module.device.index] if on_gpu else torch.default_generator
        return {"order": self._task.train.generator, "dropout": dropout}

    def on_train_epoch_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        self._losses = {"train_loss": Losses(self._task.train), "validation_loss": Losses(self._task.validation)}

    def on_train_batch_end(self, trainer: pl.Trainer, module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int) -> None:
        self._losses["train_loss"].of_batch.append(outputs["loss"].detach())
        if self._ranks.rank == 0:
            self._progress.update(trainer.global_step, self._note)

    def on_validation_batch_end(self, trainer: pl.Trainer, module: pl.LightningModule, outputs: Any, *_: Any) -> None:
        self._losses["validation_loss"].of_batch.append(outputs)

    def on_train_epoch_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        losses = self._mean_losses()
        epoch = len(self.history) + 1
        if not all(map(math.isfinite, losses.values())):
            key = f"models.{self._belongs_to['model']}.learning_rate"
            raise SpikelensError(f"the loss is {losses['train_loss']} in epoch {epoch}: training diverged; lower {key}")
        is_best = losses["validation_loss"] < self.best_loss
        self.history.append({"epoch": epoch, **losses, "seconds": round(time.monotonic() - self._started, 3)})
        self._note = f"(epoch {epoch}: validation loss {losses['validation_loss']:.4f})"
        if is_best:
            self.best_epoch = epoch
            self.best_weights = {name: weight.detach().cpu().clone() for name, weight in module.named_parameters()}
        if self._ranks.rank == 0:
            self._keep(trainer, module)
        trainer.should_stop = self.n_left == 0

    def _mean_losses(self) -> dict[str, float]:
        """Mean losses over all items, in float64."""
        sums = self._ranks.add_up(torch.tensor([losses.sum() for losses in self._losses.values()], dtype=torch.float64))
        return {name: float(total) / losses.batches.n_used for (name, losses), total in zip(self._losses.items(), sums, strict=True)}

    def _keep(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        """Write the checkpoint, then the line of history that it holds."""
        tensors = {
            "weights": dict(module.named_parameters()),
            "best": self.best_weights,
            "optimizer": optimizer_tensors(trainer.optimizers[0]),
            "generators": {name: generator.get_state() for name, generator in self._generators(module).items()},
        }
        write_checkpoint(self.checkpoint, Checkpoint(tensors, self.history, self.best_epoch), self._belongs_to)
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(self.history[-1]) + "\n")

    def teardown(self, trainer: pl.Trainer, module: pl.LightningModule, stage: str) -> None:
        if self._ranks.rank == 0:
            self._progress.__exit__(None, None, None)


def optimizer_tensors(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """The state of an optimiser by number of the parameter and key."""
    return {f"{number}/{key}": value for number, state in optimizer.state_dict()["state"].items() for key, value in state.items()}


def load_optimizer(optimizer: torch.optim.Optimizer, tensors: Mapping[str, Tensor]) -> None:
    """Bring an optimiser of the same parameters into the state that `optimizer_tensors` told."""
    state: dict[int, dict[str, Tensor]] = {}
    for name, value in tensors.items():
        number, _, key = name.partition("/")
        state.setdefault(int(number), {})[key] = value
    optimizer.load_state_dict({**optimizer.state_dict(), "state": state})


class SharedSteps(pl.Callback):
    """Makes each rank's steps those of the whole batch: the rows that dropout keeps, and gradients."""

    def __init__(self, dropouts: list[PartOfDropout], batches: Batches) -> None:
        self._dropouts, self._batches = dropouts, batches

    def on_train_batch_start(self, trainer: pl.Trainer, module: pl.LightningModule, batch: Any, batch_idx: int) -> None:
        self._part = self._batches.part(batch_idx)
        for dropout in self._dropouts:
            dropout.part = self._part

    def on_after_backward(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        self._batches.ranks.add_up_gradients(module.parameters(), self._part)


def fit(module: Any, task: Task, epochs: Epochs) -> None:
    """Train a module in place, to the weights of the epoch with the best validation loss."""
    ranks = task.train.ranks
    # Lightning tells of its own hardware survey and tips
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    with warnings.catch_warnings():
        # of Lightning's own calls into torch, and where SLURM is installed
        warnings.filterwarnings("ignore", message=".*LeafSpec.*deprecated.*|.*`srun` command is available.*")
        trainer = pl.Trainer(
            max_epochs=epochs.n_left,
            accelerator="auto" if ranks.size == 1 else "cpu" if ranks.gpu is None else "cuda",
            devices=1 if ranks.gpu is None else [ranks.gpu],
            # each rank's trainer is alone; inside a cluster's job, it would otherwise take the job's tasks for its own
            plugins=[LightningEnvironment()],
            deterministic=True,
            callbacks=[epochs] if ranks.size == 1 else [SharedSteps(share_dropout(module), task.train), epochs],
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            num_sanity_val_steps=0,
        )
        trainer.fit(module, task.train, task.validation)
    module.load_state_dict(epochs.best_weights, strict=False)
    module.eval()

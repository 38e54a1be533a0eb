"""Training of one model with one seed: batches, the loop, held-out scores, and what is written.

The same seed gives the same weights on a CPU, with the same number of threads: initialisation, the order of the batches and
dropout are all drawn from it. A line is added to history.jsonl as each epoch ends; weights and model.json appear at the end.
"""

from __future__ import annotations

import json
import logging
import math
import os
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
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
from spikelens.models.autoencoder import encode
from spikelens.models.baselines import (
    Scores,
    forecast_baselines,
    forecast_scores,
    forecast_targets,
    pca_reconstruction,
    reconstruction_scores,
)
from spikelens.models.data import TftName, autoencoder_sequences, model_folder, rate_series, sequence_ranges, tft_config
from spikelens.models.load import new_module, save
from spikelens.models.tft import predict
from spikelens.progress import Progress
from spikelens.stores import forecast_windows

_VALIDATED_AT_ONCE = 1_024
"""Windows or sequences validated at a time."""


@dataclass(frozen=True)
class Batches:
    """Batches of numbered items; with a generator, `at_most` of them in an order drawn anew each epoch."""

    items: Callable[[Tensor], Any]
    n_items: int
    batch_size: int
    at_most: int | None = None
    generator: torch.Generator | None = None

    @property
    def _n_used(self) -> int:
        return self.n_items if self.at_most is None else min(self.n_items, self.at_most)

    def __len__(self) -> int:
        return -(-self._n_used // self.batch_size)

    def __iter__(self) -> Iterator[Any]:
        order = torch.arange(self.n_items) if self.generator is None else torch.randperm(self.n_items, generator=self.generator)
        yield from map(self.items, torch.split(order[: self._n_used], self.batch_size))


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


def train(run: RunConfig, name: ModelName, seed: int, threads: int | None = None) -> None:
    """Train a model and write weights.safetensors, model.json and history.jsonl into its `model_folder`.

    `threads` is taken from OMP_NUM_THREADS where it is not given, and is 1 without either.
    """
    torch.set_num_threads(threads or int(os.environ.get("OMP_NUM_THREADS", "1")))
    started = time.monotonic()
    folder = model_folder(run, name, seed)
    folder.mkdir(parents=True, exist_ok=True)
    history = folder / "history.jsonl"
    history.unlink(missing_ok=True)
    task = autoencoder_task(run, seed) if name == "autoencoder" else tft_task(run, name, seed)
    hyperparameters = task.config.model_dump(mode="json", exclude={"seeds"})
    module = new_module(name, hyperparameters, task.scaling, seed)
    torch.manual_seed(seed)
    epochs = fit(module, task, EpochHistory(history, f"training {name}, seed {seed}", f"models.{name}.learning_rate", task))
    description = {
        "model": name,
        "seed": seed,
        "hyperparameters": hyperparameters,
        "scaling": task.scaling,
        "ranges_ms": task.ranges_ms,
        "n_items": task.n_items,
        "n_weights": sum(weight.numel() for weight in module.parameters()),
        **epochs,
        **task.test(module),
        "wall_s": round(time.monotonic() - started, 3),
    }
    save(folder, module, description)


# --- what is trained on -------------------------------------------------------------------------------------------------


def autoencoder_task(run: RunConfig, seed: int) -> Task:
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
        train=Batches(lambda chosen: sequences[chosen], len(sequences), config.batch_size, generator=_generator(seed)),
        validation=Batches(lambda chosen: validation[chosen], len(validation), _VALIDATED_AT_ONCE),
        test=test,
    )


def tft_task(run: RunConfig, name: TftName, seed: int) -> Task:
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
        train=Batches(windows("train"), n_items["train"], config.batch_size, config.samples_per_epoch, _generator(seed)),
        validation=Batches(windows("validation"), n_items["validation"], _VALIDATED_AT_ONCE),
        test=test,
    )


def _generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


# --- the loop -----------------------------------------------------------------------------------------------------------


class EpochHistory(pl.Callback):
    """Shows progress, writes each epoch's losses as it ends, keeps the best weights, and stops when patience is at its end."""

    def __init__(self, path: Path, what: str, rate_key: str, task: Task) -> None:
        self._path, self._rate_key, self._patience = path, rate_key, task.config.patience
        self._progress = Progress(what, task.config.epochs * len(task.train), "batches")
        self._started = time.monotonic()
        self._note = ""
        self.epochs = self.best_epoch = 0
        self.best_loss = math.inf
        self.best_weights: dict[str, Tensor] = {}

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._progress.__enter__()

    def on_train_batch_end(self, trainer: pl.Trainer, *_: Any) -> None:
        self._progress.update(trainer.global_step, self._note)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        losses = {key: float(trainer.callback_metrics[key]) for key in ("train_loss", "validation_loss")}
        if not all(map(math.isfinite, losses.values())):
            raise SpikelensError(
                f"the loss is {losses['train_loss']} in epoch {self.epochs + 1}: training diverged; lower {self._rate_key}"
            )
        self.epochs += 1
        line = {"epoch": self.epochs, **losses, "seconds": round(time.monotonic() - self._started, 3)}
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
        loss = losses["validation_loss"]
        self._note = f"(epoch {self.epochs}: validation loss {loss:.4f})"
        if loss < self.best_loss:
            self.best_loss, self.best_epoch = loss, self.epochs
            self.best_weights = {key: value.detach().cpu().clone() for key, value in pl_module.state_dict().items()}
        trainer.should_stop = self.epochs - self.best_epoch >= self._patience

    def teardown(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        self._progress.__exit__(None, None, None)


def fit(module: Any, task: Task, history: EpochHistory) -> dict[str, Any]:
    """Train a module in place, to the weights of the epoch with the best validation loss; return how many epochs it took."""
    # Lightning tells of its own hardware survey and tips
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    trainer = pl.Trainer(
        max_epochs=task.config.epochs,
        accelerator="auto",
        devices=1,
        # inside a cluster's job, Lightning would otherwise take the job's tasks for its own
        plugins=[LightningEnvironment()],
        deterministic=True,
        callbacks=[history],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
    )
    with warnings.catch_warnings():
        # of Lightning's own calls into torch
        warnings.filterwarnings("ignore", message=".*LeafSpec.*deprecated.*")
        trainer.fit(module, task.train, task.validation)
    module.load_state_dict(history.best_weights)
    module.eval()
    return {"epochs": history.epochs, "best_epoch": history.best_epoch, "validation_loss": history.best_loss}

"""The models stage: train one model with one seed; write weights, model.json and the test-range output."""

from __future__ import annotations

import os
import time

import torch

from spikelens.config import RunConfig
from spikelens.limits import Deadline
from spikelens.models.fitted import Setting
from spikelens.models.load import save
from spikelens.models.ranks import ALONE, Ranks
from spikelens.outputs import model_output, write_output
from spikelens.places import model_folder
from spikelens.stores import ensure


def _environment_threads() -> int:
    """Number of threads from OMP_NUM_THREADS, which may be a list for nested regions, like 2,1."""
    first = os.environ.get("OMP_NUM_THREADS", "").split(",")[0].strip()
    return max(int(first), 1) if first.isdecimal() else 1


def train(run: RunConfig, name: str, seed: int, threads: int | None = None, ranks: Ranks = ALONE, deadline: Deadline | None = None) -> None:
    """Train a model and write its files to its `model_folder`. All ranks call it; the first rank writes.

    Parameters
    ----------
    threads
        Default: OMP_NUM_THREADS (of a list, the first number), or 1 if that is not set.

    Raises
    ------
    SpikelensError
        If training diverged, or would not finish before the deadline; then the next call resumes it.
    """
    torch.set_num_threads(threads or _environment_threads())
    started, model = time.monotonic(), run.models[name]
    setting = Setting(model_folder(run, name, seed), ranks, deadline)
    fitted = model.fit(run, name, seed, setting)
    if fitted is not None:
        description = {
            "model": name,
            "kind": model.kind,
            "seed": seed,
            "options": model.model_dump(mode="json", exclude=set(model.NO_RESULTS)),
            "n_weights": sum(weight.numel() for weight in fitted.weights.values()),
            **fitted.description,
        }
        description["wall_s"] = round(description.get("wall_s", 0.0) + time.monotonic() - started, 3)
        group = model_output(run, name, seed)
        ensure(group)
        write_output(name, [group], fitted.output)
        save(setting.folder, fitted.weights, description)
    ranks.wait()

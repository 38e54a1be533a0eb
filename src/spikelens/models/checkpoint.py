"""Checkpoint: the state of a training run after an epoch, in one file.

A training run that was killed resumes from it and ends with the same weights. The file is safetensors and
holds tensors, numbers and the hash of both; nothing is pickled. It is not declared as an output of a rule,
because Snakemake deletes the outputs of a failed job.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors.torch
from safetensors import SafetensorError
from torch import Tensor

from spikelens.files import write_atomically
from spikelens.models.ranks import Ranks

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Checkpoint:
    """The complete state of a training run.

    Attributes
    ----------
    tensors
        By group and name: current weights, weights of the best epoch, state of the optimiser, states of the
        random generators.
    history
        The lines of history.jsonl, one for each completed epoch.
    best_epoch
        The epoch with the best validation loss, counted from 1; 0 before the first epoch.
    """

    tensors: Mapping[str, Mapping[str, Tensor]]
    history: list[dict[str, Any]]
    best_epoch: int


def write_checkpoint(path: Path, checkpoint: Checkpoint, belongs_to: Mapping[str, Any]) -> None:
    """Replace the checkpoint; only a training run with the same `belongs_to` can resume from it."""
    named = ((f"{group}/{name}", tensor) for group, tensors in checkpoint.tensors.items() for name, tensor in tensors.items())
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in named}
    state = json.dumps({**belongs_to, "history": checkpoint.history, "best_epoch": checkpoint.best_epoch}, allow_nan=False)
    write_atomically(path, safetensors.torch.save(tensors, {"state": state, "sha256": _hash(tensors, state)}))


def read_checkpoint(path: Path, belongs_to: Mapping[str, Any], ranks: Ranks) -> Checkpoint | None:
    """Read a checkpoint on the first rank and broadcast it.

    None, with a log message, if it is damaged or belongs to another training run.
    """
    content = ranks.read_by_first(path.read_bytes() if ranks.rank == 0 and path.is_file() else None)
    if content is None:
        return None
    try:
        tensors = safetensors.torch.load(content)
        metadata = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])["__metadata__"]
        if _hash(tensors, metadata["state"]) != metadata["sha256"]:
            raise ValueError("its hash does not match")
        state = json.loads(metadata["state"])
    except (SafetensorError, ValueError, KeyError, TypeError) as error:
        log.warning("%s is damaged (%s): training starts from scratch", path, error)
        return None
    if any(state.get(key) != value for key, value in belongs_to.items()):
        log.info(
            "%s was written with another configuration or another version of the code or its libraries: training starts from scratch",
            path,
        )
        return None
    groups: dict[str, dict[str, Tensor]] = {}
    for key, tensor in tensors.items():
        group, _, name = key.partition("/")
        groups.setdefault(group, {})[name] = tensor
    return Checkpoint(groups, state["history"], state["best_epoch"])


def _hash(tensors: Mapping[str, Tensor], state: str) -> str:
    """Hash the file without its hash field: names, types, shapes, values and state."""
    return hashlib.sha256(safetensors.torch.save(dict(tensors), {"state": state})).hexdigest()

"""A trained model on disk: weights in safetensors, everything else in model.json. Nothing is ever pickled.

model.json carries the hash of the weights it describes, so a damaged file, or a pair of which one half was written and the other
was not, is an error when it is read and never another model.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from safetensors import SafetensorError

from spikelens.config import ModelName, RunConfig
from spikelens.errors import SpikelensError
from spikelens.models.autoencoder import SequenceAutoencoder
from spikelens.models.contents import DESCRIPTION, WEIGHTS
from spikelens.models.data import TftName
from spikelens.models.tft import RateForecaster
from spikelens.places import model_folder
from spikelens.stores import write_atomically

_ARGUMENTS = {
    SequenceAutoencoder: ("units", "learning_rate", "weight_decay"),
    RateForecaster: ("history", "horizon", "hidden_size", "attention_heads", "dropout", "learning_rate"),
}
"""Hyperparameters that a module is built from."""


def load_tft(run: RunConfig, name: TftName, seed: int, trained: bool = True) -> RateForecaster:
    """Load a trained TFT, ready to forecast; with `trained=False`, as it was before its training."""
    module = _load(model_folder(run, name, seed), name, seed, trained)
    assert isinstance(module, RateForecaster)
    return module


def load_autoencoder(run: RunConfig, seed: int, trained: bool = True) -> SequenceAutoencoder:
    """Load a trained autoencoder, ready to encode; with `trained=False`, as it was before its training."""
    module = _load(model_folder(run, "autoencoder", seed), "autoencoder", seed, trained)
    assert isinstance(module, SequenceAutoencoder)
    return module


def new_module(
    name: ModelName, hyperparameters: Mapping[str, Any], scaling: Mapping[str, Any], seed: int
) -> SequenceAutoencoder | RateForecaster:
    """Build a model with the weights that `seed` alone decides; training starts from these."""
    kind = SequenceAutoencoder if name == "autoencoder" else RateForecaster
    arguments = {key: hyperparameters[key] for key in _ARGUMENTS[kind]}
    mean, std = (torch.tensor(scaling[key], dtype=torch.float32) for key in ("mean", "std"))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return kind(mean, std, **arguments)


def save(folder: Path, module: SequenceAutoencoder | RateForecaster, description: Mapping[str, Any]) -> None:
    """Write weights.safetensors, then model.json with the description and the weights' hash."""
    # parameters, each once: the state would repeat those that layers share
    weights = safetensors.torch.save({key: value.detach().cpu().contiguous() for key, value in module.named_parameters()})
    content = {**description, "weights_sha256": hashlib.sha256(weights).hexdigest()}
    write_atomically(folder / WEIGHTS, weights)
    write_atomically(folder / DESCRIPTION, json.dumps(content, indent=1, allow_nan=False).encode())


def read_description(folder: Path) -> dict[str, Any]:
    """Read model.json: hyperparameters, scaling, time ranges, scores, baselines, seconds."""
    path = folder / DESCRIPTION
    try:
        content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise SpikelensError(f"{path} cannot be read ({error}); train the model with `spikelens train`") from None
    return content


def _load(folder: Path, name: ModelName, seed: int, trained: bool) -> SequenceAutoencoder | RateForecaster:
    description = read_description(folder)
    module = new_module(name, description["hyperparameters"], description["scaling"], seed)
    if trained:
        weights = _read_weights(folder / WEIGHTS, description["weights_sha256"])
        if {key: value.shape for key, value in weights.items()} != {key: value.shape for key, value in module.named_parameters()}:
            raise SpikelensError(f"{folder} holds a model of another version of the code or its libraries; delete it, and train again")
        module.load_state_dict(weights, strict=False)
    module.eval()
    return module


def _read_weights(path: Path, sha256: str) -> dict[str, torch.Tensor]:
    """Read weights that are those model.json was written with."""
    again = f"delete {path.parent}, and train the model again"
    try:
        content = path.read_bytes()
    except OSError as error:
        raise SpikelensError(f"{path} cannot be read ({error}); {again}") from None
    if hashlib.sha256(content).hexdigest() != sha256:
        raise SpikelensError(f"{path} is not the file that model.json beside it was written with: damaged or replaced; {again}")
    try:
        weights: dict[str, torch.Tensor] = safetensors.torch.load(content)
    except SafetensorError as error:
        raise SpikelensError(f"{path} is no safetensors file ({error}); {again}") from None
    return weights

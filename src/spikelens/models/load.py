"""A trained model on disk: weights in safetensors, everything else in model.json. Nothing is pickled.

model.json contains the hash of its weights. A damaged file, or a mismatched pair of files, is therefore
reported as an error instead of being loaded as a wrong model.
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

from spikelens.config import RunConfig
from spikelens.config.items import parsed
from spikelens.errors import SpikelensError
from spikelens.files import Fields, read_json, write_atomically
from spikelens.models.model import DESCRIPTION, WEIGHTS, NetworkModel
from spikelens.places import model_folder

_FIELDS: Fields = {"options": dict, "scaling": dict, "weights_sha256": str}
_AGAIN = "delete it, then train the model again with `spikelens train`"


def load(run: RunConfig, name: str, seed: int, trained: bool = True) -> Any:
    """Load a trained network in evaluation mode; with `trained=False`, with its initial weights."""
    folder = model_folder(run, name, seed)
    description = read_description(folder)
    try:
        module = new_module(parsed("models", description["options"]), description["scaling"], seed)
    except (KeyError, TypeError, ValueError) as error:
        reason = " ".join(repr(error).split())
        raise SpikelensError(f"{folder / DESCRIPTION} is damaged: no model can be built from it ({reason}); {_AGAIN}") from None
    if trained:
        weights = read_weights(folder / WEIGHTS, description["weights_sha256"])
        if {key: value.shape for key, value in weights.items()} != {key: value.shape for key, value in module.named_parameters()}:
            raise SpikelensError(
                f"{folder} contains a model from another version of the code or its libraries; delete it, then train the model again"
            )
        module.load_state_dict(weights, strict=False)
    module.eval()
    return module


def new_module(model: NetworkModel, scaling: Mapping[str, Any], seed: int) -> Any:
    """Build a network with its initial weights, which depend on `seed` only."""
    mean, std = (torch.tensor(scaling[key], dtype=torch.float32) for key in ("mean", "std"))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return model.module(mean, std)


def weights_of(module: torch.nn.Module) -> dict[str, torch.Tensor]:
    """The parameters of a network, each once: its state dict repeats parameters that layers share."""
    return {key: value.detach().cpu().contiguous() for key, value in module.named_parameters()}


def save(folder: Path, weights: Mapping[str, torch.Tensor], description: Mapping[str, Any]) -> None:
    """Write weights.safetensors, then model.json with the description and the hash of the weights."""
    content = safetensors.torch.save(dict(weights))
    description = {**description, "weights_sha256": hashlib.sha256(content).hexdigest()}
    write_atomically(folder / WEIGHTS, content)
    write_atomically(folder / DESCRIPTION, json.dumps(description, indent=1, allow_nan=False).encode())


def read_description(folder: Path) -> dict[str, Any]:
    """Read model.json: options, scaling, time ranges, scores, baselines, seconds."""
    return read_json(folder / DESCRIPTION, _FIELDS, _AGAIN)


def read_weights(path: Path, sha256: str) -> dict[str, torch.Tensor]:
    """Read the weights and check them against the hash in model.json."""
    again = f"delete {path.parent} and train the model again"
    try:
        content = path.read_bytes()
    except OSError as error:
        raise SpikelensError(f"{path} cannot be read ({error}); {again}") from None
    if hashlib.sha256(content).hexdigest() != sha256:
        raise SpikelensError(f"{path} does not match model.json next to it: it is damaged or was replaced; {again}")
    try:
        weights: dict[str, torch.Tensor] = safetensors.torch.load(content)
    except SafetensorError as error:
        raise SpikelensError(f"{path} is not a safetensors file ({error}); {again}") from None
    return weights

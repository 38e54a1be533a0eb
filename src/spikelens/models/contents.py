"""What training leaves of a model: the names of its files.

The Snakefile declares them as outputs, so that this module imports nothing that takes time.
"""

from __future__ import annotations

from pathlib import Path

from spikelens.config import ModelName, RunConfig

WEIGHTS = "weights.safetensors"
DESCRIPTION = "model.json"
HISTORY = "history.jsonl"
MODEL_FILES = (WEIGHTS, DESCRIPTION, HISTORY)


def model_folder(run: RunConfig, name: ModelName, seed: int | str) -> Path:
    """Folder of one trained model; of all, where a word stands for the seed."""
    return run.folder / "models" / name / str(seed)

"""What training leaves of a model: the names of its files.

The Snakefile declares them as outputs, so that this module imports nothing that takes time.
"""

from __future__ import annotations

WEIGHTS = "weights.safetensors"
DESCRIPTION = "model.json"
HISTORY = "history.jsonl"
MODEL_FILES = (WEIGHTS, DESCRIPTION, HISTORY)

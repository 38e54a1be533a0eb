"""Names that the command line needs before it reads any configuration. Importing them takes no time."""

from __future__ import annotations

from typing import Literal, get_args

Stage = Literal["network", "simulation", "features", "models", "explanation", "report"]
STAGES: tuple[Stage, ...] = get_args(Stage)

ModelName = Literal["autoencoder", "tft_population", "tft_neuron"]
MODEL_NAMES: tuple[ModelName, ...] = get_args(ModelName)

CONFIG_YAML = "config.yaml"
"""The configuration that commands take where none is named."""
ASSUMED_RATE_HZ = 8.0
"""Mean rate that plans assume where none is given: about the reference network's [Hz]."""

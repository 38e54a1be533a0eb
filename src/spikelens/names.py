"""Names that the command line needs before it reads any configuration. Importing them takes no time."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, get_args

Stage = Literal["network", "simulation", "recording", "features", "models", "explanation", "report"]
STAGES: tuple[Stage, ...] = get_args(Stage)
OPEN_SETS = (("features",), ("models",), ("explanation", "methods"))
"""Paths of keys to the open sets of a configuration: the user's names -> items of some kind."""


def stages_until(stage: Stage | None) -> tuple[Stage, ...]:
    """A stage and all stages before it, which it needs; all stages for None."""
    return STAGES if stage is None else STAGES[: STAGES.index(stage) + 1]


CONFIG_YAML = "config.yaml"
"""The configuration that commands take where none is named."""
DEPLOYED_YAML = "config/config.yaml"
"""Where snakedeploy puts it."""
ASSUMED_RATE_HZ = 8.0
"""Mean rate that plans assume where none is given: about the reference network's [Hz]."""


def default_configuration() -> str:
    """The configuration of the working folder."""
    return DEPLOYED_YAML if Path(DEPLOYED_YAML).is_file() and not Path(CONFIG_YAML).is_file() else CONFIG_YAML

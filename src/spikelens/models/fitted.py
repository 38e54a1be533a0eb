"""What training is given, and what it gives back. Importing this takes no time."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch
    from numpy.typing import NDArray

    from spikelens.limits import Deadline
    from spikelens.models.ranks import Ranks


@dataclass(frozen=True)
class Setting:
    """Where and with whom a model is trained.

    Attributes
    ----------
    folder
        Where its files are written.
    ranks
        This process among those that train it.
    deadline
        When the process must have ended: an epoch that would not be done by then is not begun.
    """

    folder: Path
    ranks: Ranks
    deadline: Deadline | None = None


@dataclass(frozen=True)
class Fitted:
    """A trained model.

    Attributes
    ----------
    weights
        Arrays by name; with the options and the scaling, they are the model.
    description
        What model.json says of it: "scaling", "ranges_ms", "scores", "baselines" and "units" at least.
    output
        Arrays as `Model.output` lays them out.
    """

    weights: Mapping[str, torch.Tensor]
    description: Mapping[str, Any]
    output: Mapping[str, NDArray[Any]]

"""Input and result of a training run. No slow imports here."""

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
    """Folder, ranks and deadline of a training run.

    Attributes
    ----------
    folder
        Its output folder.
    ranks
        This process among the ranks that train it.
    deadline
        Time limit of the process: an epoch that would not finish before it is not started.
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
        Arrays by name. Weights, options and scaling define the model.
    description
        Content of model.json: at least "scaling", "ranges_ms", "scores", "baselines" and "units".
    output
        Arrays with the layout of `Model.output`.
    """

    weights: Mapping[str, torch.Tensor]
    description: Mapping[str, Any]
    output: Mapping[str, NDArray[Any]]

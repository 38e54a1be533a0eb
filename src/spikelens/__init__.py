"""spikelens: simulate a reservoir of spiking neurons over MPI, store it in sharded Zarr, explain it with deep sequence models."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from spikelens.access import OpenRun

__all__ = ["open"]


def open(folder: str | Path) -> OpenRun:
    """Open a run, e.g. `spikelens.open("results/reference")`; its stores are xarray datasets, read lazily.

    Raises
    ------
    SpikelensError
        If the folder is no run.
    """
    from spikelens.access import OpenRun

    return OpenRun(folder)

"""spikelens: simulate a reservoir of spiking neurons over MPI, store it in sharded Zarr, explain it with deep sequence models."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from spikelens.access import OpenRun, OpenSweep
    from spikelens.config import RunConfig

__all__ = ["open", "simulate"]


def open(folder: str | Path, partial: bool = False) -> OpenRun | OpenSweep:
    """Open a run, e.g. `spikelens.open("results/reference")`; its stores are xarray datasets, read lazily.

    The folder of a sweep opens as a mapping of the members' names, like "network.seed=2", to runs.

    Parameters
    ----------
    folder
        The run's folder on this machine; ~ is expanded.
    partial
        Whether a run that is still simulating may be opened: each store then ends with the last segment before the first gap.

    Raises
    ------
    SpikelensError
        If there is no run in the folder, or it is a URL.
    """
    from spikelens.access import open_folder

    return open_folder(folder, partial)


def simulate(config: str | Path | Mapping[str, Any] | RunConfig, folder: str | Path | None = None) -> OpenRun | OpenSweep:
    """Draw the network and simulate it, in this process and without snakemake: the first two stages of the workflow.

    Shards and manifests are those that the workflow's jobs write, bit for bit. So `spikelens run` of the same configuration goes on with
    the features; and what was simulated before is not simulated again.

    Parameters
    ----------
    config
        A configuration file or the folder of a run; a mapping of keys as in such a file, e.g. `{"network": {"seed": 2}}`; or a `RunConfig`.
        With `sweep`, each member is simulated.
    folder
        Where results go; by default the folder that the configuration names, `<run.results>/<run.name>`.

    Returns
    -------
    OpenRun or OpenSweep
        As `spikelens.open` gives it.

    Raises
    ------
    SpikelensError
        If the configuration cannot be run, another process works in the folder, or a file cannot be written.
    """
    from spikelens import direct

    return open(direct.simulate(config, folder))

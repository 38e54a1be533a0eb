"""spikelens: simulate a reservoir of spiking neurons over MPI, store it in sharded Zarr, explain it with deep sequence models."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from spikelens.access import OpenRun, OpenSweep
    from spikelens.config import RunConfig

__all__ = ["__version__", "open", "simulate"]

__version__: str


def __getattr__(name: str) -> str:
    """The version of the installed package, read when it is asked for: it takes as long as `spikelens --help`."""
    if name != "__version__":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import importlib.metadata

    return importlib.metadata.version("spikelens")


def open(folder: str | Path, partial: bool = False) -> OpenRun | OpenSweep:
    """Open a run, e.g. `spikelens.open("results/reference")`; its stores are lazily read xarray datasets.

    For the folder of a sweep, return a mapping from the names of its runs, e.g. "network.seed=2", to the
    runs.

    Parameters
    ----------
    folder
        Folder of the run on this machine; ~ is expanded.
    partial
        Allow a run that is still being simulated: each store then ends with the last segment before the first
        gap.

    Raises
    ------
    SpikelensError
        If the folder contains no run, or is a URL.
    """
    from spikelens.access import open_folder

    return open_folder(folder, partial)


def simulate(config: str | Path | Mapping[str, Any] | RunConfig, folder: str | Path | None = None) -> OpenRun | OpenSweep:
    """Run the first two stages, network and simulation, in this process and without snakemake.

    The shards and manifests are bit-identical to those of the workflow. So `spikelens run` with the same
    configuration continues with the features, and segments that were already simulated are not simulated
    again.

    Parameters
    ----------
    config
        A configuration file or the folder of a run; a mapping with the keys of such a file, e.g.
        `{"network": {"seed": 2}}`; or a `RunConfig`. With `sweep`, all runs of the sweep are simulated.
    folder
        Folder for the results; by default the folder that the configuration names,
        `<run.results>/<run.name>`.

    Returns
    -------
    OpenRun or OpenSweep
        As returned by `spikelens.open`.

    Raises
    ------
    SpikelensError
        If the configuration is invalid, another process uses the folder, or a file cannot be written.
    """
    from spikelens import direct

    return open(direct.simulate(config, folder))

"""A command starts quickly: what takes long to import is imported where it is used, not by everyone who passes by."""

from __future__ import annotations

import subprocess
import sys

import pytest

SLOW = {"numpy", "zarr", "numba", "pandas", "xarray", "dask", "matplotlib", "sklearn", "torch", "mpi4py"}


@pytest.mark.parametrize(
    ("modules", "needed"),
    [
        (["spikelens.cli", "spikelens.config", "spikelens.fingerprint"], set()),
        (["spikelens.jobs", "spikelens.walltime"], {"numpy", "zarr"}),  # what the Snakefile imports, with what they take
        (["spikelens.network.build", "spikelens.simulation.run", "spikelens.features.run"], {"numpy", "zarr", "numba"}),
        (["spikelens.models.train", "spikelens.models.ranks"], SLOW - {"mpi4py"}),
        (["spikelens.report.run"], SLOW - {"numba", "dask", "sklearn", "torch", "mpi4py"}),
    ],
    ids=["the command line", "the workflow", "the first three stages", "training", "the report"],
)
def test_only_what_is_needed_is_imported(modules, needed):
    code = f"import sys, {', '.join(modules)}; print(*{SLOW} & set(sys.modules))"
    imported = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert set(imported) <= needed

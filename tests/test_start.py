"""A command starts quickly: what takes long to import is imported where it is used, not by everyone who passes by."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

SLOW = {"numpy", "zarr", "numba", "pandas", "xarray", "dask", "matplotlib", "sklearn", "torch", "mpi4py"}
TYPES = {"pydantic", "yaml", "statistics"}


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


@pytest.mark.parametrize("arguments", [["--help"], ["run", "--help"], ["--version"]])
def test_help_and_version_need_neither_the_types_of_the_configuration_nor_yaml(arguments):
    """`spikelens --help` takes 0.1 s of processor time; pydantic alone takes as long again."""
    code = "import sys; from spikelens.cli import main\n"
    code += f"try: main({arguments})\nexcept SystemExit: print(*{SLOW | TYPES} & set(sys.modules))"
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert shown.splitlines()[-1] == ""
    assert len(shown.splitlines()) > 1


def test_help_takes_less_than_0_3_s_of_processor_time():
    used = []
    for _ in range(3):
        before = os.times()
        subprocess.run([sys.executable, "-m", "spikelens", "--help"], stdout=subprocess.DEVNULL, check=True)
        after = os.times()
        used.append(after.children_user + after.children_system - before.children_user - before.children_system)
    assert min(used) < 0.3

"""A command starts quickly: what takes long to import is imported where it is used, not by everyone who passes by."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from conftest import small_config

import spikelens

SLOW = {"numpy", "zarr", "numcodecs", "scipy", "pyarrow", "numba", "pandas", "xarray", "dask", "matplotlib", "sklearn", "torch", "mpi4py"}
TYPES = {"pydantic", "yaml", "statistics"}


@pytest.mark.parametrize(
    ("modules", "needed"),
    [
        (["spikelens.cli", "spikelens.config", "spikelens.fingerprint"], set()),
        (["spikelens.jobs", "spikelens.walltime"], {"numpy"}),  # what the Snakefile imports, with what they take
        (["spikelens.network.build", "spikelens.simulation.run", "spikelens.features.run"], {"numpy", "numba", "scipy"}),
        (["spikelens.models.train", "spikelens.models.ranks"], SLOW - {"mpi4py"}),
        (["spikelens.report.run"], SLOW - {"numba", "dask", "sklearn", "torch", "mpi4py"}),
    ],
    ids=["the command line", "the workflow", "the first three stages", "training", "the report"],
)
def test_only_what_is_needed_is_imported(modules, needed):
    code = f"import sys, {', '.join(modules)}; print(*{SLOW} & set(sys.modules))"
    imported = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert set(imported) <= needed


@pytest.fixture(scope="module")
def simulated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a configuration, and its run with the first two stages done."""
    folder = tmp_path_factory.mktemp("simulated")
    content = small_config(folder, {"network.block_size": 100, "simulation.chunk_neurons": 100, "run.results": str(folder / "results")})
    (folder / "config.yaml").write_text(yaml.safe_dump(content, sort_keys=False))
    spikelens.simulate(folder / "config.yaml")
    return folder


@pytest.mark.parametrize(
    ("command", "needed"),
    [
        (["check", "config.yaml"], {"numpy"}),
        (["runs", "config.yaml"], {"numpy"}),
        (["status", "results/small"], {"numpy"}),
        (["plan", "config.yaml"], {"numpy"}),
        (["verify", "results/small"], {"numpy", "zarr", "numcodecs"}),
        (["clean", "results/small"], {"numpy"}),
        (["schema"], set()),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else "",
)
def test_a_command_imports_what_it_needs(command, needed, simulated):
    code = "import sys; from spikelens.cli import main\n"
    code += f"main({command}); print('\\nimported', *{SLOW} & set(sys.modules))"
    shown = subprocess.run([sys.executable, "-c", code], cwd=simulated, capture_output=True, text=True, check=True).stdout
    assert set(shown.splitlines()[-1].split()[1:]) <= needed
    assert len(shown.splitlines()) > 1 or command[0] == "verify"


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

"""MPI ranks over the nodes of a cluster: the same bytes as one process gives, or a refusal and no byte at all."""

from __future__ import annotations

import shutil
import subprocess
import sys

import pytest
from conftest import small_config
from simulations import QUICK

from slurm.conftest import stored
from spikelens.config import load_run, load_runs
from spikelens.network.build import build_blocks
from spikelens.prepare import prepare
from spikelens.simulation.run import simulate_segment

N_RANKS = 4
OVER_TWO_NODES = ["--nodes=2", "--ntasks-per-node=2"]

pytestmark = pytest.mark.slow


def test_nodes_come_up_go_down_and_come_back(cluster):
    assert cluster.nodes() == {"node1": "idle", "node2": "idle", "node3": "idle"}
    hostnames = cluster.ask("srun", "--nodes=3", "--ntasks=3", "bash", "-c", "echo $SLURMD_NODENAME")
    assert sorted(hostnames) == ["node1", "node2", "node3"]
    cluster.control("kill-node", "node2")
    on_node2 = ["srun", "--nodelist=node2", "bash", "-c", "echo $SLURMD_NODENAME"]
    with pytest.raises(subprocess.CalledProcessError):
        cluster.ask(*on_node2)
    cluster.control("start-node", "node2")
    cluster.wait_for_nodes()
    assert cluster.ask(*on_node2) == ["node2"]


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """A run of 200 neurons in four blocks and its network."""
    run = load_runs(small_config(tmp_path_factory.mktemp("built"), QUICK))[0]
    prepare(run)
    build_blocks(run, range(run.n_blocks))
    return run


def simulate(run, *launcher):
    command = [*launcher, *OVER_TWO_NODES, sys.executable, "-m", "spikelens", "simulate", run.path, "--ranks", str(N_RANKS)]
    return subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=120)


def test_two_ranks_on_each_of_two_nodes_give_the_same_bytes_as_one_process(cluster, built, tmp_path):
    """Every file of raster, weights and state."""
    alone, spread = (load_run(shutil.copytree(built.folder, tmp_path / name, symlinks=True)) for name in ("alone", "spread"))
    for segment in range(alone.n_segments):
        simulate_segment(alone, segment)
    finished = simulate(spread, *spread.cluster.srun.split())
    assert finished.returncode == 0, finished.stdout
    assert stored(spread.folder) == stored(alone.folder)


def test_processes_that_srun_starts_without_mpi_are_refused_and_write_nothing(cluster, built):
    """Each would think that it is alone, and all would write the same files."""
    before = {path: path.lstat().st_mtime_ns for path in built.folder.rglob("*")}
    finished = simulate(built, "srun", "--mpi=none")
    assert finished.returncode == 2
    assert finished.stdout.count("1 MPI ranks were started, expected 4") == N_RANKS
    assert "Traceback" not in finished.stdout
    assert {path: path.lstat().st_mtime_ns for path in built.folder.rglob("*")} == before

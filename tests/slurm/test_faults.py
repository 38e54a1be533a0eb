"""What can happen to a run on a cluster, and what recovers it: in the end it is finished, and equals an undisturbed local run.

The first of three segments is there already; faults strike the second, while its two ranks work on two nodes. Most of the time of a
test is waiting for SLURM, so faults that leave each other alone happen at the same time, each to a project of its own.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
from concurrent.futures import ThreadPoolExecutor, wait

import pytest
from projects import RUN, TWO_BLOCKS, Project, wait_for

from slurm.conftest import stored
from slurm.workflow import OnCluster
from spikelens.config import load_run
from spikelens.jobs import job_of

pytestmark = pytest.mark.slow

SPREAD = {**TWO_BLOCKS, "simulation.ranks": 2, "cluster.ranks_per_node": 1}
AT_ONCE = 4
"""So many faults happen at the same time."""


def simulated(project: Project, segment: int) -> str:
    """The file that says that a segment is simulated; snakemake makes it and all that it needs."""
    run = load_run(project.results)
    return f"{RUN}/{job_of(run, 'simulation', {'segment': segment}).whole}"


@pytest.fixture(scope="module")
def begun(tmp_path_factory) -> Project:
    """A project with network and first segment, made here."""
    project = Project.new(tmp_path_factory.mktemp("faults") / "begun", SPREAD)
    project.run("network")
    project.run(simulated(project, 0))
    return project


@pytest.fixture(scope="module")
def undisturbed(begun) -> dict[str, bytes]:
    """All stores after three segments, simulated here."""
    project = begun.copy(begun.folder.with_name("undisturbed"))
    project.run(simulated(project, 2))
    return stored(project.results)


class Struck(OnCluster):
    """The same project on the cluster, to be struck."""

    @classmethod
    def of(cls, begun: Project, name: str) -> Struck:
        return cls(begun.copy(begun.folder.with_name(name)).folder)

    @property
    def target(self) -> str:
        return simulated(self, 2)

    def simulate(self, *arguments: str) -> subprocess.Popen[str]:
        return self.start(self.target, *arguments)

    def finish(self, driver: subprocess.Popen[str] | None = None) -> str:
        """Wait for a snakemake, or call it once more, until all is done; what it said."""
        driver = driver or self.simulate()
        driver.wait(timeout=240)
        said = self.output.read_text()
        assert driver.returncode == 0, said[-6000:]
        return said

    def fail(self, *arguments: str) -> str:
        """Call snakemake with something wrong; what it said. It ends with an error and changes no result. A failed job may leave shards."""
        before = stored(self.results)
        finished = self.snakemake(self.target, "--retries", "0", *arguments)
        assert finished.returncode == 1, finished.stdout[-4000:]
        assert stored(self.results).items() >= before.items()
        return finished.stdout


def check(project: Struck, begun: Project, undisturbed: dict[str, bytes]) -> None:
    """Nothing differs from the undisturbed run, what had been there was not made again, and no job is left."""
    assert stored(project.results) == undisturbed
    first = "current/spikes.zarr/spikes/c/0/*"
    assert project.times(first) == begun.times(first)
    assert project.jobs() == []


# --- faults that leave other jobs alone --------------------------------------------------------------------------------------


def scancel(project: Struck) -> None:
    """It is tried again by itself."""
    driver = project.simulate()
    job = project.hold(driver)
    subprocess.run(["scancel", job], check=True)
    said = project.finish(driver)
    assert f"SLURM-job '{job}' failed, SLURM status is: 'CANCELLED'" in said
    assert "Trying to restart job" in said


def scontrol_requeue(project: Struck) -> None:
    """The job begins anew, under the same number; snakemake does not notice."""
    driver = project.simulate()
    job = project.hold(driver)
    subprocess.run(["scontrol", "requeue", job], check=True)
    said = project.finish(driver)
    assert "failed" not in said


def time_limit(project: Struck) -> None:
    """A job that hangs is ended after its minute, and is tried again with more time; it had been told how long it may run."""
    driver = project.simulate("--set-resources", "simulate:runtime=1 if attempt == 1 else 20")
    job = project.hold(driver)
    assert {tuple(rank.cmdline()[-2:]) for rank in project.ranks()} == {("--limit-min", "1")}
    said = project.finish(driver)
    assert f"SLURM-job '{job}' failed, SLURM status is: 'TIMEOUT'" in said
    assert "DUE TO TIME LIMIT" in project.slurm_log(job)


def memory(project: Struck) -> None:
    """It is tried again with more. Only SLURM's own log tells the cause; where it is, snakemake says."""
    said = project.finish(project.simulate("--set-resources", "simulate:mem_mb_per_cpu=150 if attempt == 1 else 1500"))
    job = re.search(r"SLURM-job '(\d+)' failed, SLURM status is: 'FAILED'", said)[1]
    assert re.search(r"exceeded memory limit \(\d+ > \d+\), being killed", project.slurm_log(job))


def ctrl_c(project: Struck) -> None:
    """Snakemake ends its jobs, and goes on when it is called again."""
    driver = project.simulate()
    project.hold(driver)
    driver.send_signal(signal.SIGINT)
    assert driver.wait(timeout=60) == 1
    wait_for(lambda: project.jobs() == [], 20)
    project.finish()


def kill_9_of_snakemake(project: Struck) -> None:
    """Its jobs go on without it: end them by its run ID, unlock, and call it again."""
    driver = project.simulate()
    job = project.hold(driver)
    driver.kill()
    driver.wait()
    assert project.jobs() == [job]
    run_id = re.search(r"SLURM run ID: (\S+)", project.output.read_text())[1]
    subprocess.run(["scancel", f"--name={run_id}"], check=True)
    wait_for(lambda: project.jobs() == [], 20)
    locked = project.snakemake(project.target)
    assert locked.returncode == 1
    assert "It can be removed with the --unlock argument" in locked.stdout
    assert project.snakemake("--unlock").returncode == 0
    project.finish()


def full_disk(project: Struck) -> None:
    """Results are on a disk of their own, which another has filled: the shown log says so, and what to do."""
    disk, kept = project.results.parent, project.folder / "kept"
    disk.rename(kept)
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=16m", "tmpfs", str(disk)], check=True)
    try:
        shutil.copytree(kept, disk, dirs_exist_ok=True, symlinks=True)
        free = os.statvfs(disk)
        filler = disk / "filler"
        filler.write_bytes(bytes(free.f_bavail * free.f_bsize - 64 * 1024))
        said = project.fail()
        assert re.search(r"cannot be written: No space left on device; free space .*, then run snakemake again", said)
        filler.unlink()
        project.finish()
        shutil.rmtree(kept)
        shutil.copytree(disk, kept, symlinks=True)
    finally:
        subprocess.run(["umount", "--lazy", str(disk)], check=True)
    disk.rmdir()
    kept.rename(disk)


def wrong_words(project: Struck) -> None:
    """A partition or an account that is not there, or an srun that knows no MPI: a clear message, and nothing is lost."""
    said = project.fail("--default-resources", "slurm_partition=nowhere")
    assert "sbatch: error: invalid partition specified: nowhere" in said
    said = project.fail("--default-resources", "slurm_account=nobody")
    assert re.search(r"The given account nobody appears to be invalid. Available accounts:\s+(root, )?lab", said)
    said = project.fail("--set-resources", "simulate:mpi=srun --mpi=none")
    assert "1 MPI ranks were started, expected 2 (--ranks)" in said
    project.finish()


FAULTS = [time_limit, wrong_words, kill_9_of_snakemake, ctrl_c, full_disk, memory, scontrol_requeue, scancel]
"""The longest first."""


@pytest.fixture(scope="module")
def struck(cluster, begun, undisturbed):
    """Every fault, under way."""
    with ThreadPoolExecutor(AT_ONCE) as pool:

        def strike(fault):
            project = Struck.of(begun, fault.__name__)
            fault(project)
            check(project, begun, undisturbed)

        outcomes = {fault: pool.submit(strike, fault) for fault in FAULTS}
        yield outcomes
        for outcome in outcomes.values():
            outcome.cancel()


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.__name__)
def test_a_run_recovers_from(struck, fault):
    struck[fault].result()


# --- a fault that meets every job of a node: alone ----------------------------------------------------------------------------


def test_a_run_recovers_from_the_loss_of_a_node(cluster, struck, begun, undisturbed):
    """SLURM starts the job again on nodes that are left; the user does nothing. The node may come back later."""
    wait(struck.values())
    project = Struck.of(begun, "lost_node")
    driver = project.simulate()
    job = project.hold(driver)
    nodes = cluster.nodes_of(job)
    cluster.control("kill-node", nodes[-1])
    project.finish(driver)
    assert cluster.nodes()[nodes[-1]] == "down*"
    check(project, begun, undisturbed)
    cluster.control("start-node", nodes[-1])
    cluster.wait_for_nodes()

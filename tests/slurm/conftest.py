"""One SLURM cluster of virtual nodes on this machine for all tests here: `cluster.sh` starts it, and ends it whatever happens.

There can be one such cluster on a machine, since jobs find its configuration at /etc/slurm/slurm.conf. So these tests run in one
process (`make test-slurm`), and a second session, of another checkout perhaps, waits for the first.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

HERE = Path(__file__).parent
N_NODES = 3
REQUIRED = ("CI", "SPIKELENS_REQUIRE_SLURM")
"""Where one of these is set, a cluster that cannot be started is a failure."""
SLURM_CONF = Path("/etc/slurm/slurm.conf")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave these tests out of a parallel session: each of its workers would want the cluster."""
    if hasattr(config, "workerinput"):
        for item in items:
            if HERE in item.path.parents:
                item.add_marker(pytest.mark.skip(reason="NOT TESTED: there is one cluster for all of these; run `make test-slurm`"))


class Cluster:
    """The cluster, its nodes (node1, node2, ...) and its jobs, as an administrator sees them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._environment = {**os.environ, "SLURM_TEST_DIR": str(folder), "SLURM_TEST_ACCOUNTING": "1"}

    def control(self, *arguments: str) -> None:
        """Call cluster.sh."""
        command = [str(HERE / "cluster.sh"), *arguments]
        done = subprocess.run(command, env=self._environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=600)
        assert done.returncode == 0, done.stdout

    def ask(self, *command: str) -> list[str]:
        """The lines that a SLURM command prints."""
        return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, timeout=60).stdout.splitlines()

    def nodes(self) -> dict[str, str]:
        """The state of each node: idle, mix, down*, ..."""
        return dict(line.split() for line in self.ask("sinfo", "--noheader", "--Node", "--partition=main", "--format=%N %t"))

    def nodes_of(self, job: str) -> list[str]:
        """The nodes on which a job runs, that of its script first."""
        (nodes,) = self.ask("squeue", "--noheader", f"--jobs={job}", "--format=%N")
        return self.ask("scontrol", "show", "hostnames", nodes)

    def jobs(self) -> list[str]:
        """Numbers of the jobs that wait or run, or are ending."""
        return self.ask("squeue", "--noheader", "--format=%A")

    def wait_for_nodes(self, seconds: float = 60) -> None:
        """Return when all nodes are idle."""
        end = time.monotonic() + seconds
        while set(self.nodes().values()) != {"idle"}:
            assert time.monotonic() < end, self.nodes()
            time.sleep(0.2)

    def processes(self) -> list[psutil.Process]:
        """Daemons and step daemons: each has files of the cluster open."""
        return [process for process in psutil.process_iter() if _has_open(process, self.folder)]


def _has_open(process: psutil.Process, folder: Path) -> bool:
    try:
        return any(folder in Path(file.path).parents for file in process.open_files())
    except psutil.Error:  # it has ended meanwhile
        return False


def stored(folder: Path) -> dict[str, bytes]:
    """Every file of a run's stores, unfinished ones too."""
    files = [path for path in folder.glob("current/*.zarr/**/*") if path.is_file()]
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def unavailable() -> str | None:
    """Why no cluster can be started here."""
    if os.geteuid() != 0:
        return "a test cluster is started by root"
    if SLURM_CONF.exists() and not SLURM_CONF.is_symlink():
        return f"this machine has a SLURM of its own ({SLURM_CONF})"
    if not shutil.which("apt-get") and not all(map(shutil.which, ("slurmctld", "slurmdbd", "munged", "mariadbd"))):
        return "slurmctld, slurmdbd, munged and mariadbd are not all installed, and there is no apt-get"
    return None


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    """Three idle nodes. A cluster that an earlier session could not end, since it was killed, is ended first."""
    reason = unavailable()
    if reason:
        give_up = pytest.fail if any(map(os.environ.get, REQUIRED)) else pytest.skip
        give_up(f"NOT TESTED on SLURM: {reason}")
    temporary = Path(tempfile.gettempdir())
    with (temporary / "slurm-cluster.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        started = Cluster(temporary / "slurm-test")
        started.control("down")
        try:
            started.control("up", str(N_NODES))
            yield started
        finally:
            started.control("down")
        assert not started.processes()
        assert not SLURM_CONF.is_symlink()

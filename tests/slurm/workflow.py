"""A project whose jobs go to the test cluster, and what a test has to know of these jobs to strike them."""

from __future__ import annotations

import re
import signal
import subprocess
from pathlib import Path

import psutil
from projects import SNAKEMAKE, Project, wait_for

PROFILE = ["--workflow-profile", "profiles/slurm"]
IN_TESTS = ["--slurm-init-seconds-before-status-checks", "1", "--seconds-between-status-checks", "1", "--latency-wait", "10"]
"""All that differs from what a user types: the profile is made for jobs of minutes, and looks at them less often."""


class OnCluster(Project):
    """A project whose `snakemake` submits its jobs, as profiles/slurm says."""

    def command(self, *arguments: str):
        return {**super().command(), "args": [str(SNAKEMAKE), *PROFILE, *IN_TESTS, *arguments]}

    @property
    def output(self) -> Path:
        """What a snakemake that was started said."""
        return self.folder / "snakemake.out"

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        """Snakemake in a session of its own, as in a terminal of its own."""
        with self.output.open("w") as output:
            return subprocess.Popen(**self.command(*arguments), stdout=output, stderr=subprocess.STDOUT, start_new_session=True)

    def jobs(self) -> list[str]:
        """Numbers of its SLURM jobs that wait, run or are ending."""
        lines = subprocess.run(["squeue", "--noheader", "--format=%A %Z"], check=True, capture_output=True, text=True).stdout
        return [line.split()[0] for line in lines.splitlines() if line.split()[1] == str(self.folder)]

    def slurm_log(self, job: str) -> str:
        """What SLURM has kept of a job that failed, in the file that snakemake named."""
        return Path(re.search(rf"SLURM jobid {job} \(log: (\S+)\)", self.output.read_text())[1]).read_text()

    def ranks(self) -> list[psutil.Process]:
        """Processes of its simulation, once MPI has started on all of them: then another process watches them."""
        commands = {process: command for process in psutil.process_iter() if (command := _command_in(self.folder, process))}
        watched = any(part.endswith("watch.py") for command in commands.values() for part in command)
        ranks = [
            process for process, command in commands.items() if [Path(part).name for part in command[1:3]] == ["spikelens", "simulate"]
        ]
        return ranks if watched else []

    def hold(self, driver: subprocess.Popen[str]) -> str:
        """Stop the ranks of a simulation, so that a fault meets them at work, however fast the machine is; the number of their job."""
        wait_for(lambda: self.ranks() or driver.poll() is not None)
        assert driver.poll() is None, self.output.read_text()[-4000:]
        for rank in self.ranks():
            rank.send_signal(signal.SIGSTOP)
        (job,) = self.jobs()
        return job


def _command_in(folder: Path, process: psutil.Process) -> list[str]:
    """The command of a process that works in a folder; nothing of another."""
    try:
        return process.cmdline() if process.cwd() == str(folder) else []
    except psutil.Error:  # it has ended meanwhile
        return []

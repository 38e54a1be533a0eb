"""What a SLURM cluster tells, through its own commands."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Collection

from spikelens.errors import SpikelensError

_ANSWER_S = 30.0
"""A busy controller answers within this time, or not at all."""
_TIME = re.compile(r"(?:(?P<days>\d+)-)?(?P<first>\d+)(?::(?P<second>\d+))?(?::(?P<third>\d+))?")


def minutes(text: str) -> int | None:
    """Read a time as SLURM writes it [whole min, seconds cut off]; None: there is no limit.

    minutes, minutes:seconds, hours:minutes:seconds, days-hours, days-hours:minutes and days-hours:minutes:seconds (sbatch(1), --time).

    Raises
    ------
    SpikelensError
        If it is none of these.
    """
    if text.lower() in ("infinite", "unlimited"):
        return None
    found = _TIME.fullmatch(text)
    if found is None:
        raise SpikelensError(f"{text!r} is no time of SLURM's; expected one like 30:00, 12:00:00, 1-00:00:00 or infinite")
    days, *parts = (found[name] for name in ("days", "first", "second", "third"))
    given = [int(part) for part in parts if part is not None]
    if days is not None:
        hours, minute = [*given, 0][:2]
        return 24 * 60 * int(days) + 60 * hours + minute
    return 60 * given[0] + given[1] if len(given) == 3 else given[0]


def partition_limit(name: str) -> int | None:
    """Ask SLURM for the longest time that a job may run in a partition [min]; None: as long as it likes.

    Raises
    ------
    SpikelensError
        If there is no SLURM here, it does not answer, or there is no such partition.
    """
    lines = _ask("sinfo", "--noheader", "--partition", name, "--format", "%l").split()
    if not lines:
        known = ", ".join(sorted(set(_ask("sinfo", "--noheader", "--format", "%R").split())))
        raise SpikelensError(f"--partition {name}: no such partition; this cluster has {known or 'none that you may use'}")
    limits = [limit for limit in map(minutes, lines) if limit is not None]
    if limits and min(limits) < 1:
        raise SpikelensError(f"--partition {name}: its jobs may run less than a minute ({lines[0]}); take another")
    return min(limits, default=None)


def states(jobs: Collection[str]) -> dict[str, str]:
    """Ask SLURM for the states of this user's jobs, like PENDING or RUNNING; those that it does not know any more are left out.

    Raises
    ------
    SpikelensError
        If there is no SLURM here, or it does not answer.
    """
    lines = _ask("squeue", "--noheader", "--me", "--format", "%i %T").splitlines()
    return {job: state for job, state in (line.split() for line in lines) if job in jobs}


def _ask(command: str, *arguments: str) -> str:
    """What one of SLURM's commands says."""
    if shutil.which(command) is None:
        raise SpikelensError(f"there is no {command} here, and only SLURM knows what it tells; call this on a login node of the cluster")
    try:
        answer = subprocess.run([command, *arguments], capture_output=True, text=True, timeout=_ANSWER_S, check=False)
    except subprocess.TimeoutExpired:
        raise SpikelensError(f"{command} does not answer within {_ANSWER_S:.0f} s; is SLURM's controller well?") from None
    if answer.returncode:
        raise SpikelensError(f"{command} ended with {answer.returncode}: {answer.stderr.strip() or 'without a message'}")
    return answer.stdout

"""Query a SLURM cluster with its own commands."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Collection

from spikelens.errors import SpikelensError

_TIMEOUT_S = 30.0
"""Timeout of a command [s]; a busy controller can take long."""
_TIME = re.compile(r"(?:(?P<days>\d+)-)?(?P<first>\d+)(?::(?P<second>\d+))?(?::(?P<third>\d+))?")


def minutes(text: str) -> int | None:
    """Parse a time in SLURM's format and return whole minutes, rounded down; None if it is unlimited.

    Formats: minutes, minutes:seconds, hours:minutes:seconds, days-hours, days-hours:minutes and
    days-hours:minutes:seconds (sbatch(1), --time).

    Raises
    ------
    SpikelensError
        If the text has none of these formats.
    """
    if text.lower() in ("infinite", "unlimited"):
        return None
    found = _TIME.fullmatch(text)
    if found is None:
        raise SpikelensError(f"{text!r} is not a SLURM time; expected e.g. 30:00, 12:00:00, 1-00:00:00 or infinite")
    days, *parts = (found[name] for name in ("days", "first", "second", "third"))
    given = [int(part) for part in parts if part is not None]
    if days is not None:
        hours, minute = [*given, 0][:2]
        return 24 * 60 * int(days) + 60 * hours + minute
    return 60 * given[0] + given[1] if len(given) == 3 else given[0]


def partition_limit(name: str) -> int | None:
    """Return the time limit of a partition as reported by SLURM [min]; None if it is unlimited.

    Raises
    ------
    SpikelensError
        If SLURM is not available or does not answer, or the partition does not exist.
    """
    lines = _ask("sinfo", "--noheader", "--partition", name, "--format", "%l").split()
    if not lines:
        known = ", ".join(sorted(set(_ask("sinfo", "--noheader", "--format", "%R").split())))
        raise SpikelensError(f"--partition {name}: no such partition; available: {known or 'none'}")
    limits = [limit for limit in map(minutes, lines) if limit is not None]
    if limits and min(limits) < 1:
        raise SpikelensError(f"--partition {name}: its time limit is less than a minute ({lines[0]}); use another one")
    return min(limits, default=None)


def states(jobs: Collection[str]) -> dict[str, str]:
    """Return the states of this user's jobs, e.g. PENDING, without those that SLURM no longer lists.

    Raises
    ------
    SpikelensError
        If SLURM is not available or does not answer.
    """
    lines = _ask("squeue", "--noheader", "--me", "--format", "%i %T").splitlines()
    return {job: state for job, state in (line.split() for line in lines) if job in jobs}


def _ask(command: str, *arguments: str) -> str:
    """Run a SLURM command and return its output."""
    if shutil.which(command) is None:
        raise SpikelensError(f"{command} not found; run this command on a login node of the SLURM cluster")
    try:
        answer = subprocess.run([command, *arguments], capture_output=True, text=True, timeout=_TIMEOUT_S, check=False)
    except subprocess.TimeoutExpired:
        raise SpikelensError(f"{command} did not answer within {_TIMEOUT_S:.0f} s; is SLURM's controller running?") from None
    if answer.returncode:
        raise SpikelensError(f"{command} failed with exit code {answer.returncode}: {answer.stderr.strip() or 'no message'}")
    return answer.stdout

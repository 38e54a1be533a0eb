"""The state of a run: its jobs done, running, failed and waiting, from files on disk. For `spikelens status`.

It locks and writes nothing and does not contact the jobs. A job is done if all files in its manifest exist
(`manifests`). For the other jobs, snakemake's markers (.snakemake/incomplete) show which have been started,
and the logs show their progress. A silent job that computes and a job that was killed leave the same files:
such a job is reported as "unclear".
"""

from __future__ import annotations

import base64
import binascii
import json
import os
import re
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, get_args

from spikelens import manifests, slurm
from spikelens.config import RunConfig, why_invalid
from spikelens.errors import SpikelensError
from spikelens.files import read_json
from spikelens.jobs import Job, Rule, jobs_of, work_of
from spikelens.places import root
from spikelens.plan import benchmarks
from spikelens.sizes import n_ranks

State = Literal["done", "running", "queued", "unclear", "failed", "ended", "lost", "waiting"]
STATES: tuple[State, ...] = get_args(State)
MEANING: dict[State, str] = {
    "done": "done",
    "running": "running",
    "queued": "submitted, not started",
    "unclear": "started, not finished: still running or killed",
    "failed": "failed",
    "ended": "ended without a result: killed or cancelled",
    "lost": "was done, but files are missing: snakemake will run it again",
    "waiting": "waiting",
}

SIGN_OF_LIFE_S = 60.0
"""A job whose log is older may have been killed; a job that computes may be silent for longer as well [s]."""
_SHOWN = 10
"""Maximum number of jobs per state that the text lists."""
_END_BYTES = 8_192
"""Number of bytes read from the end of a log."""
_LOG_LINE = re.compile(r"^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d+ ([A-Z]+) (.*)$")
_KILLED = "died first, without an error message"  # what watch.py writes of a rank
_FAILED_JOB = re.compile(r"^ +log: (.+) \(check log file\(s\) for error details\)$", re.MULTILINE)


@dataclass(frozen=True)
class JobStatus:
    """The state of a job."""

    rule: Rule
    name: str
    state: State
    log: str
    line: str | None = None
    """The last line of its log."""
    age_s: float | None = None
    """Seconds since this line was written, or since the job was started."""


@dataclass(frozen=True)
class Spent:
    """Measured time of the jobs of a rule: the last successful run of each."""

    measured_jobs: int
    wall_s: float
    core_hours: float


@dataclass(frozen=True)
class Status:
    """The state of a run."""

    path: str
    folder: str
    """Folder of the results and logs of all runs of the configuration."""
    jobs: tuple[JobStatus, ...]
    spent: dict[Rule, Spent]
    notes: tuple[str, ...]


def look(run: RunConfig, now: float | None = None) -> Status:
    """Inspect a run's folder; `now` [s since 1970] replaces the current time."""
    workflow = Workflow(run)
    states = JobStates(run, workflow, time.time() if now is None else now)
    jobs = tuple(states.of(job) for job in jobs_of(run))
    spent = {}
    for work in work_of(run):
        rows = benchmarks(run, work)
        wall_s = sum(row[0] for row in rows)
        spent[work.rule] = Spent(len(rows), wall_s, wall_s * n_ranks(run, work.rule) / 3600)
    not_run = filter(None, [why_invalid(run)])
    return Status(run.path, str(root(run)), jobs, spent, (*workflow.notes, *not_run, *manifests.under_other_versions(run)))


# --- snakemake's files --------------------------------------------------------------------------------------


class Workflow:
    """Snakemake's record of a run, in the folder .snakemake of its working directory.

    Attributes
    ----------
    started : dict
        Output file of each job that snakemake has started or submitted, relative to the run's folder -> start
        time [s since 1970] and, of a submitted job that has not started, its SLURM id. In snakemake 9.27 this
        is a file in .snakemake/incomplete, whose name is the path in base 64.
    locked : bool
        Whether the run's files are locked: snakemake is running or was killed.
    failed : set of str
        Logs of the jobs that failed in the last call of snakemake, from snakemake's log.
    notes : list of str
        Messages about what could not be determined.
    """

    def __init__(self, run: RunConfig) -> None:
        self.notes: list[str] = []
        self._own = _configured_path(run)
        self.folder = self._find(run)
        if self.folder is None:
            self.notes.append(
                "no .snakemake folder of this run found, so running jobs are unknown; run this command in the folder "
                f"where snakemake was started (it knows the run as {self._own})"
            )
        self.started = {} if self.folder is None else dict(self._started_jobs(self.folder / "incomplete"))
        self.locked = self.folder is not None and self._is_locked(self.folder / "locks")
        self.failed = set() if self.folder is None else self._failed(self.folder / "log")

    def _find(self, run: RunConfig) -> Path | None:
        for folder in (Path.cwd(), *run.folder.absolute().parents, *run.folder.resolve().parents):
            if (folder / ".snakemake").is_dir() and (folder / self._own).resolve() == root(run).resolve():
                return folder / ".snakemake"
        return None

    def _started_jobs(self, folder: Path) -> Iterator[tuple[str, tuple[float, str | None]]]:
        for parent, _, names in os.walk(folder):
            # snakemake splits a long name into folders
            before = "".join(part.removeprefix("@") for part in Path(parent).relative_to(folder).parts)
            for name in names:
                try:
                    path = base64.urlsafe_b64decode(before + name).decode()
                    if not path.startswith(f"{self._own}/"):
                        continue
                    marker = Path(parent, name)
                    started, content = marker.stat().st_mtime, marker.read_text(encoding="utf-8")
                except (OSError, ValueError, binascii.Error):  # deleted meanwhile, or not a marker
                    continue
                yield path.removeprefix(f"{self._own}/"), (started, _external_id(content))

    def _is_locked(self, folder: Path) -> bool:
        return any(f"{self._own}/" in _text(path) for path in folder.glob("*.output.lock"))

    def _failed(self, folder: Path) -> set[str]:
        logs = sorted(folder.glob("*.snakemake.log"))
        if not logs:
            return set()
        paths = (path.strip() for found in _FAILED_JOB.findall(_text(logs[-1])) for path in found.split(","))
        return {path.removeprefix(f"{self._own}/") for path in paths if path.startswith(f"{self._own}/")}

    @cached_property
    def slurm_states(self) -> dict[str, str] | None:
        """States of the submitted jobs; None if SLURM cannot be queried."""
        numbers = {number for _, number in self.started.values() if number is not None}
        try:
            return slurm.states(numbers)
        except SpikelensError as error:
            self.notes.append(f"the state of submitted jobs is unknown: {error}")
            return None


def _configured_path(run: RunConfig) -> str:
    """The folder of all runs as snakemake knows it: as in config.json, not as on the command line."""
    path = Path(read_json(run.folder / "config.json", {"path": str})["path"])
    return str(path.parent if "=" in path.name else path)


def _external_id(content: str) -> str | None:
    try:
        number = json.loads(content)["external_jobid"]
    except (ValueError, KeyError, TypeError):  # incomplete: it is being written
        return None
    return None if number is None else str(number)


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


# --- files of the jobs --------------------------------------------------------------------------------------


class JobStates:
    """Determines the states of the jobs of a run from its files."""

    def __init__(self, run: RunConfig, workflow: Workflow, now: float) -> None:
        self._run, self._workflow, self._now = run, workflow, now
        self._folder, self._size = root(run), manifests.listed()
        # written at each start of snakemake: an older log is from an earlier call, and its job is waiting
        # again
        self._started = (run.folder / "config.json").stat().st_mtime

    def of(self, job: Job) -> JobStatus:
        """The state of a job."""
        marker = self._workflow.started.get(job.made)
        found = manifests.state(self._folder, job, self._size)
        if marker is None and found == "whole":
            return JobStatus(job.rule, job.name, "done", job.log)
        log = _LogEnd.of(Path(self._folder, job.log))
        if marker is not None:
            return self._of_started(job, *marker, log)
        if log is None or log.written < self._started:
            unchanged: State = "lost" if found == "lost" else "waiting"
            state: State = "failed" if job.log in self._workflow.failed else unchanged
        elif log.error or job.log in self._workflow.failed:
            state = "failed"
        elif found == "lost":
            state = "lost"
        else:
            state = "unclear" if self._now - log.written < SIGN_OF_LIFE_S else "ended"
        return self._with_log(job, state, None if state == "waiting" else log)

    def _of_started(self, job: Job, started: float, number: str | None, log: _LogEnd | None) -> JobStatus:
        """The state of a job that snakemake has started or submitted; logs of earlier attempts are ignored."""
        log = None if log is None or log.written < started else log
        if log is not None and log.error:
            return self._with_log(job, "failed", log)
        if number is not None:
            states = self._workflow.slurm_states
            return self._with_log(job, _of_slurm(states.get(number)) if states is not None else "queued", log, started)
        age_s = self._now - max(started, 0.0 if log is None else log.written)
        if self._workflow.locked:
            state: State = "running" if age_s < SIGN_OF_LIFE_S else "unclear"
        else:
            state = "unclear" if age_s < SIGN_OF_LIFE_S else "ended"
        return self._with_log(job, state, log, started)

    def _with_log(self, job: Job, state: State, log: _LogEnd | None, started: float | None = None) -> JobStatus:
        since = started if log is None else log.written
        age_s = None if since is None else round(max(self._now - since, 0.0), 1)
        return JobStatus(job.rule, job.name, state, job.log, None if log is None else log.line, age_s)


def _of_slurm(state: str | None) -> State:
    """Translate SLURM's state of a submitted job.

    None: SLURM no longer knows the job, and snakemake has not noticed yet.
    """
    if state is None:
        return "unclear"
    return "queued" if state in ("PENDING", "REQUEUED", "REQUEUE_HOLD", "SUSPENDED") else "running"


@dataclass(frozen=True)
class _LogEnd:
    """The end of a log: our last line, when it was written, and whether it reports an error."""

    line: str
    written: float
    error: bool

    @classmethod
    def of(cls, path: Path) -> _LogEnd | None:
        try:
            with path.open("rb") as file:
                status = os.fstat(file.fileno())
                file.seek(max(status.st_size - _END_BYTES, 0))
                lines = file.read().decode(errors="replace").splitlines()
        except OSError:
            return None
        for line in reversed(lines):
            if _KILLED in line:
                return cls(line, status.st_mtime, True)
            if found := _LOG_LINE.match(line):
                # the last line of a traceback names the exception
                bug = f": {lines[-1]}" if found[1] == "CRITICAL" and lines[-1] != line else ""
                return cls(found[2] + bug, status.st_mtime, found[1] in ("ERROR", "CRITICAL"))
        return cls("", status.st_mtime, False)


# --- output -------------------------------------------------------------------------------------------------


def as_json(status: Status) -> dict[str, Any]:
    """Numbers of jobs by rule and state, and every job that is neither done nor waiting."""
    rules: list[dict[str, Any]] = []
    for rule in status.spent:
        count = Counter(job.state for job in status.jobs if job.rule == rule)
        states: dict[str, int] = {state: count[state] for state in STATES}
        rules.append({"rule": rule, "jobs": count.total()} | states | asdict(status.spent[rule]))
    return {
        "path": status.path,
        "rules": rules,
        "segments": {state: _segments(status, state) for state in STATES},
        "jobs": [asdict(job) for job in status.jobs if job.state not in ("done", "waiting")],
        "notes": list(status.notes),
    }


def _segments(status: Status, state: State) -> list[int]:
    return [int(job.name) for job in status.jobs if job.rule == "simulation" and job.state == state]


def as_text(status: Status, *, segments: bool = True) -> str:
    """A table of the rules, the segments, and the jobs that are neither done nor waiting."""
    n_done = sum(job.state == "done" for job in status.jobs)
    shown: list[State] = [state for state in STATES if state in ("done", "running", "failed", "waiting")]
    others: list[State] = [state for state in STATES if state not in shown and any(job.state == state for job in status.jobs)]
    lines = [f"{status.path}: {n_done:,} of {len(status.jobs):,} jobs done"]
    lines.append(f"  {'rule':<30}{'jobs':>7}" + "".join(f"{state:>10}" for state in shown + others) + f"{'wall':>10}{'core-hours':>12}")
    for rule in status.spent:
        count = Counter(job.state for job in status.jobs if job.rule == rule)
        spent = status.spent[rule]
        numbers = "".join(f"{f'{count[state]:,}' if count[state] else '-':>10}" for state in shown + others)
        lines.append(f"  {rule:<30}{count.total():>7,}{numbers}{_age(spent.wall_s):>10}{spent.core_hours:>12.3f}")
    if segments:
        of_state = [f"{_ranges(_segments(status, state))} {state}" for state in STATES if _segments(status, state)]
        lines.append(f"  segments: {', '.join(of_state)}")
    for state in (state for state in STATES if state not in ("done", "waiting")):
        lines += _job_lines(status, state)
    return "\n".join([*lines, *status.notes])


def _job_lines(status: Status, state: State) -> Iterator[str]:
    """The jobs in a state, each with the last line and the path of its log."""
    jobs = [job for job in status.jobs if job.state == state]
    if jobs:
        yield f"{MEANING[state]}:"
    for job in jobs[:_SHOWN]:
        age = "" if job.age_s is None else f" ({_age(job.age_s)} ago)"
        name = job.rule if job.name == job.rule else f"{job.rule} {job.name}"
        see = f"; see {status.folder}/{job.log}" if state in ("failed", "ended", "unclear") else ""
        yield f"  {name}: {job.line or ('no output yet' if state in ('running', 'queued') else 'no output')}{age}{see}"
    if len(jobs) > _SHOWN:
        yield f"  and {len(jobs) - _SHOWN:,} more (--json lists all)"


def _ranges(numbers: Sequence[int]) -> str:
    """Format ascending numbers as "0-3, 5"."""
    parts: list[list[int]] = []
    for number in numbers:
        if parts and number == parts[-1][-1] + 1:
            parts[-1] = [parts[-1][0], number]
        else:
            parts.append([number])
    return ", ".join("-".join(map(str, part)) for part in parts)


def _age(seconds: float) -> str:
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 3 * 3600 else f"{seconds / 3600:.3g} h"

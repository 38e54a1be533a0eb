"""Where a run stands: its jobs done, running, failed and waiting, from what they left on disk. `spikelens status` prints it.

Nothing is locked or written, and no job is asked. A job is done when every file that its manifest lists is there (`manifests`). Of the
others, snakemake's markers (.snakemake/incomplete) tell which it has begun, and their logs how far they are. Files cannot
tell a job that thinks from one that was killed: where that is so, it is said.
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
from spikelens.config import RunConfig
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
    "queued": "submitted, not begun",
    "unclear": "begun, not ended: running or killed",
    "failed": "failed",
    "ended": "ended without a result: killed or cancelled",
    "lost": "was done, but files are missing: snakemake makes it again",
    "waiting": "waiting",
}

SIGN_OF_LIFE_S = 60.0
"""A job that has written no line for so long may have been killed; one that computes may be silent for longer, too."""
_SHOWN = 10
"""Jobs of one state that the text lists."""
_END_BYTES = 8_192
"""What is read of a log's end."""
_LOG_LINE = re.compile(r"^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d+ ([A-Z]+) (.*)$")
_KILLED = "died first, without an error message"  # what watch.py writes of a rank
_FAILED_JOB = re.compile(r"^ +log: (.+) \(check log file\(s\) for error details\)$", re.MULTILINE)


@dataclass(frozen=True)
class Standing:
    """How a job stands."""

    rule: Rule
    name: str
    state: State
    log: str
    line: str | None = None
    """The last line of its log."""
    age_s: float | None = None
    """Seconds since it was written, or since the job was begun."""


@dataclass(frozen=True)
class Spent:
    """What the jobs of a rule took that snakemake has measured: the last time that each ended well."""

    measured_jobs: int
    wall_s: float
    core_hours: float


@dataclass(frozen=True)
class Status:
    """How a run stands."""

    path: str
    folder: str
    """Where the results and logs of all runs of the configuration are."""
    jobs: tuple[Standing, ...]
    spent: dict[Rule, Spent]
    notes: tuple[str, ...]


def look(run: RunConfig, now: float | None = None) -> Status:
    """Look at a run's folder; `now` [s since 1970] may be another time than the present."""
    workflow = Workflow(run)
    seen = Seen(run, workflow, time.time() if now is None else now)
    jobs = tuple(seen.standing(job) for job in jobs_of(run))
    spent = {}
    for work in work_of(run):
        rows = benchmarks(run, work)
        wall_s = sum(row[0] for row in rows)
        spent[work.rule] = Spent(len(rows), wall_s, wall_s * n_ranks(run, work.rule) / 3600)
    return Status(run.path, str(root(run)), jobs, spent, (*workflow.notes, *manifests.under_other_versions(run)))


# --- what snakemake knows -----------------------------------------------------------------------------------------------


class Workflow:
    """What snakemake has noted of a run, in the folder .snakemake of where it was started.

    Attributes
    ----------
    begun : dict
        File of a job that snakemake has begun or submitted, below the run's folder -> when [s since 1970], and SLURM's number of the
        job while it is submitted and not begun. Of snakemake 9.27: a file in .snakemake/incomplete, named by the path in base 64.
    locked : bool
        Whether snakemake holds its lock on the run's files: it runs, or was killed.
    failed : set of str
        Logs of the jobs that failed in the last call of snakemake, from its own log.
    notes : list of str
        What could not be known.
    """

    def __init__(self, run: RunConfig) -> None:
        self.notes: list[str] = []
        self._own = _configured_path(run)
        self.folder = self._find(run)
        if self.folder is None:
            self.notes.append(
                f"no folder .snakemake knows of this run: what is running cannot be told; call this where snakemake was started "
                f"(it knows the run as {self._own})"
            )
        self.begun = {} if self.folder is None else dict(self._begun(self.folder / "incomplete"))
        self.locked = self.folder is not None and self._is_locked(self.folder / "locks")
        self.failed = set() if self.folder is None else self._failed(self.folder / "log")

    def _find(self, run: RunConfig) -> Path | None:
        for folder in (Path.cwd(), *run.folder.absolute().parents, *run.folder.resolve().parents):
            if (folder / ".snakemake").is_dir() and (folder / self._own).resolve() == root(run).resolve():
                return folder / ".snakemake"
        return None

    def _begun(self, folder: Path) -> Iterator[tuple[str, tuple[float, str | None]]]:
        for parent, _, names in os.walk(folder):
            before = "".join(part.removeprefix("@") for part in Path(parent).relative_to(folder).parts)  # a long name is cut into folders
            for name in names:
                try:
                    path = base64.urlsafe_b64decode(before + name).decode()
                    if not path.startswith(f"{self._own}/"):
                        continue
                    marker = Path(parent, name)
                    begun, content = marker.stat().st_mtime, marker.read_text(encoding="utf-8")
                except (OSError, ValueError, binascii.Error):  # gone by now, or no marker
                    continue
                yield path.removeprefix(f"{self._own}/"), (begun, _external_id(content))

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
        """States of the submitted jobs; None: SLURM cannot be asked."""
        numbers = {number for _, number in self.begun.values() if number is not None}
        try:
            return slurm.states(numbers)
        except SpikelensError as error:
            self.notes.append(f"whether submitted jobs still wait cannot be told: {error}")
            return None


def _configured_path(run: RunConfig) -> str:
    """The folder of all runs as snakemake knows it: that of config.json, not that of the command line."""
    path = Path(read_json(run.folder / "config.json", {"path": str})["path"])
    return str(path.parent if "=" in path.name else path)


def _external_id(content: str) -> str | None:
    try:
        number = json.loads(content)["external_jobid"]
    except (ValueError, KeyError, TypeError):  # being written just now
        return None
    return None if number is None else str(number)


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


# --- what there is ------------------------------------------------------------------------------------------------------


class Seen:
    """Judges the jobs of a run by its files."""

    def __init__(self, run: RunConfig, workflow: Workflow, now: float) -> None:
        self._run, self._workflow, self._now = run, workflow, now
        self._folder, self._size = root(run), manifests.listed()
        # written whenever snakemake starts: an older log is of a call before, and its job waits again
        self._started = (run.folder / "config.json").stat().st_mtime

    def standing(self, job: Job) -> Standing:
        """How a job stands."""
        marker = self._workflow.begun.get(job.made)
        found = manifests.state(self._folder, job, self._size)
        if marker is None and found == "whole":
            return Standing(job.rule, job.name, "done", job.log)
        log = _End.of(Path(self._folder, job.log))
        if marker is not None:
            return self._begun(job, *marker, log)
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

    def _begun(self, job: Job, begun: float, number: str | None, log: _End | None) -> Standing:
        """How a job stands that snakemake has begun or submitted; lines of an earlier attempt tell nothing of this one."""
        log = None if log is None or log.written < begun else log
        if log is not None and log.error:
            return self._with_log(job, "failed", log)
        if number is not None:
            states = self._workflow.slurm_states
            return self._with_log(job, _of_slurm(states.get(number)) if states is not None else "queued", log, begun)
        age_s = self._now - max(begun, 0.0 if log is None else log.written)
        if self._workflow.locked:
            state: State = "running" if age_s < SIGN_OF_LIFE_S else "unclear"
        else:
            state = "unclear" if age_s < SIGN_OF_LIFE_S else "ended"
        return self._with_log(job, state, log, begun)

    def _with_log(self, job: Job, state: State, log: _End | None, begun: float | None = None) -> Standing:
        since = begun if log is None else log.written
        age_s = None if since is None else round(max(self._now - since, 0.0), 1)
        return Standing(job.rule, job.name, state, job.log, None if log is None else log.line, age_s)


def _of_slurm(state: str | None) -> State:
    """What SLURM's word for a submitted job means; None: SLURM does not know it any more, and snakemake has not noticed yet."""
    if state is None:
        return "unclear"
    return "queued" if state in ("PENDING", "REQUEUED", "REQUEUE_HOLD", "SUSPENDED") else "running"


@dataclass(frozen=True)
class _End:
    """The end of a log: its last line of ours, when it was written, and whether it tells of an error."""

    line: str
    written: float
    error: bool

    @classmethod
    def of(cls, path: Path) -> _End | None:
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
                bug = f": {lines[-1]}" if found[1] == "CRITICAL" and lines[-1] != line else ""  # a traceback ends with what was raised
                return cls(found[2] + bug, status.st_mtime, found[1] in ("ERROR", "CRITICAL"))
        return cls("", status.st_mtime, False)


# --- telling ------------------------------------------------------------------------------------------------------------


def as_json(status: Status) -> dict[str, Any]:
    """Counts of each rule, and every job that is neither done nor waiting."""
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
    """A table of the rules, the segments, and the jobs that one might want to know of."""
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
    """The jobs in a state, with the last line and the name of their log."""
    jobs = [job for job in status.jobs if job.state == state]
    if jobs:
        yield f"{MEANING[state]}:"
    for job in jobs[:_SHOWN]:
        age = "" if job.age_s is None else f" ({_age(job.age_s)} ago)"
        name = job.rule if job.name == job.rule else f"{job.rule} {job.name}"
        see = f"; see {status.folder}/{job.log}" if state in ("failed", "ended", "unclear") else ""
        yield f"  {name}: {job.line or ('no line yet' if state in ('running', 'queued') else 'no line')}{age}{see}"
    if len(jobs) > _SHOWN:
        yield f"  and {len(jobs) - _SHOWN:,} more (--json lists all)"


def _ranges(numbers: Sequence[int]) -> str:
    """Increasing numbers as "0-3, 5"."""
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

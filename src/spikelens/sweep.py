"""Several runs looked at as one: what members of a sweep share is counted, and read, once."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from spikelens import manifests, status, stores
from spikelens.config import RunConfig
from spikelens.jobs import Job, Rule, jobs_of
from spikelens.places import root
from spikelens.status import Spent, Status

# --- status -------------------------------------------------------------------------------------------------------------


def together(members: Sequence[Status]) -> Status:
    """The status of all runs of a sweep, with each job once."""
    jobs = {job.log: job for member in members for job in member.jobs}
    spent: dict[Rule, dict[str, Spent]] = {}
    for member in members:
        for job in member.jobs:
            of_rule, key = spent.setdefault(job.rule, {}), os.path.dirname(os.path.dirname(job.log))
            of_rule[key] = max(of_rule.get(key, Spent(0, 0.0, 0.0)), member.spent[job.rule], key=lambda one: one.measured_jobs)
    notes = tuple(dict.fromkeys(note for member in members for note in member.notes))
    path = f"{members[0].folder}, {len(members):,} runs"
    return Status(path, members[0].folder, tuple(jobs.values()), {rule: _sum(found.values()) for rule, found in spent.items()}, notes)


def _sum(parts: Iterable[Spent]) -> Spent:
    found = list(parts)
    return Spent(sum(one.measured_jobs for one in found), sum(one.wall_s for one in found), sum(one.core_hours for one in found))


def as_text(members: Sequence[Status]) -> str:
    """The table of all rules, jobs that one might want to know of, and a line for each run."""
    lines = [status.as_text(together(members), segments=False), "Jobs of each run; runs share jobs, which the table above counts once:"]
    width = max(len(member.path) for member in members)
    for member in members:
        count = Counter(job.state for job in member.jobs)
        others = "".join(f", {count[state]:,} {state}" for state in status.STATES if count[state] and state != "done")
        lines.append(f"  {member.path:<{width}}  {count['done']:,} of {count.total():,} done{others}")
    return "\n".join(lines)


def as_json(members: Sequence[Status]) -> dict[str, Any]:
    """The same for machines; `runs` has what `spikelens status` tells of each run."""
    return {**status.as_json(replace(together(members), path=members[0].folder)), "runs": [status.as_json(member) for member in members]}


# --- verification -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Verified:
    """What reading every file of some runs has shown."""

    name: str
    jobs: tuple[tuple[RunConfig, Job, tuple[str, ...]], ...]
    """Each job once, with a run that it belongs to and its faults."""
    n_files: int
    """Files that were compared with a checksum."""
    of_metadata: tuple[str, ...]
    """Faults of the stores' metadata, and of shards without a checksum."""

    @property
    def faults(self) -> list[str]:
        return [*(fault for _, _, faults in self.jobs for fault in faults), *self.of_metadata]


def verify(runs: Sequence[RunConfig]) -> Verified:
    """Compare every file of runs with the checksum in its job's manifest, and the stores' metadata with the configuration."""
    longest = sorted(runs, key=lambda run: run.n_segments, reverse=True)  # runs of several durations share stores; that one knows them all
    owners = {job.manifest: (run, job) for run in reversed(longest) for job in jobs_of(run)}
    jobs = tuple((run, job, tuple(manifests.faults(run, job))) for run, job in owners.values())
    # without a manifest there are no checksums: shards are decoded then
    checked = frozenset(root(run) / file for run, job in owners.values() if (root(run) / job.manifest).exists() for file in job.files)
    seen: set[Path] = set()
    of_metadata: list[str] = []
    for run in longest:
        of_metadata += stores.verify(run, checked, frozenset(seen))
        seen |= {stores.store_path(run, store) for store in stores.stores_of(run)}
    name = runs[0].path if len(runs) == 1 else f"{root(runs[0])}, {len(runs):,} runs"
    return Verified(name, jobs, len(checked), tuple(of_metadata))


def repair(runs: Sequence[RunConfig], found: Verified) -> int:
    """Have the next call of snakemake do the jobs of damaged files again, and restore metadata; returns how many jobs."""
    hit = [(run, job, faults) for run, job, faults in found.jobs if faults]
    for run, job, faults in hit:
        manifests.mark(run, job, faults)
    for run in sorted(runs, key=lambda run: run.n_segments):
        stores.heal(run, only_missing=False)
    return len(hit)

"""Status and verification of several runs; results that runs share are counted and read once."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from spikelens import layouts, manifests, outputs, prepare, status
from spikelens.config import RunConfig
from spikelens.jobs import Job, Rule, jobs_of
from spikelens.places import root
from spikelens.status import Spent, Status

# --- status -------------------------------------------------------------------------------------------------------------


def combined(members: Sequence[Status]) -> Status:
    """Combine the status of all runs of a sweep; each job appears once."""
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
    """Return the table of all rules, the jobs that need attention and a line per run."""
    title = "Jobs of each run (the table above counts jobs that runs share only once):"
    lines = [status.as_text(combined(members), segments=False), title]
    width = max(len(member.path) for member in members)
    for member in members:
        count = Counter(job.state for job in member.jobs)
        others = "".join(f", {count[state]:,} {state}" for state in status.STATES if count[state] and state != "done")
        lines.append(f"  {member.path:<{width}}  {count['done']:,} of {count.total():,} done{others}")
    return "\n".join(lines)


def as_json(members: Sequence[Status]) -> dict[str, Any]:
    """Return the same as JSON; `runs` contains the output of `spikelens status` for each run."""
    return {**status.as_json(replace(combined(members), path=members[0].folder)), "runs": [status.as_json(member) for member in members]}


# --- verification -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Verified:
    """Result of verifying all files of some runs."""

    name: str
    jobs: tuple[tuple[RunConfig, Job, tuple[str, ...]], ...]
    """Each job once, with one of its runs and its faults."""
    n_files: int
    """Number of files that were compared with a checksum."""
    of_metadata: tuple[str, ...]
    """Faults in the stores' metadata and in shards without a checksum."""

    @property
    def faults(self) -> list[str]:
        return [*(fault for _, _, faults in self.jobs for fault in faults), *self.of_metadata]


def verify(runs: Sequence[RunConfig]) -> Verified:
    """Compare files with the checksums in manifests, and metadata of stores with the configuration."""
    # runs of different durations share stores; the longest run covers all shards
    longest = sorted(runs, key=lambda run: run.n_segments, reverse=True)
    owners = {job.manifest: (run, job) for run in reversed(longest) for job in jobs_of(run)}
    jobs = tuple((run, job, tuple(manifests.faults(run, job))) for run, job in owners.values())
    # shards without a manifest have no checksum there, so they are decoded
    checked = frozenset(root(run) / file for run, job in owners.values() if (root(run) / job.manifest).exists() for file in job.files)
    seen: set[Path] = set()
    of_metadata: list[str] = []
    for run in longest:
        of_metadata += prepare.verify(run, checked, frozenset(seen))
        seen |= {layouts.store_path(run, store) for store in layouts.stores_of(run)}
        seen |= {group.path for group in outputs.item_outputs(run)}
    name = runs[0].path if len(runs) == 1 else f"{root(runs[0])}, {len(runs):,} runs"
    return Verified(name, jobs, len(checked), tuple(of_metadata))


def repair(runs: Sequence[RunConfig], found: Verified) -> int:
    """Mark the jobs of damaged files to run again, and restore metadata; return the number of jobs."""
    hit = [(run, job, faults) for run, job, faults in found.jobs if faults]
    for run, job, faults in hit:
        manifests.mark(run, job, faults)
    for run in sorted(runs, key=lambda run: run.n_segments):
        prepare.heal(run, only_missing=False)
    return len(hit)

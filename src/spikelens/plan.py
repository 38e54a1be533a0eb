"""Expected cost of a configuration before anything is submitted: `spikelens plan`.

Sizes come from `sizes`. Times come from `speeds`, or from the benchmarks of an earlier run of the same
configuration. The result is an estimate: the mean rate of the network is not known in advance, so that it is
assumed. `walltime` checks whether jobs fit the time limit of a cluster partition.
"""

from __future__ import annotations

import itertools
import statistics
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from spikelens import sizes, walltime
from spikelens.config import STAGES, RunConfig, Stage, stages_until
from spikelens.expected import expected
from spikelens.files import read_benchmark
from spikelens.jobs import Rule, Work, item_of, stage_of, work_of
from spikelens.places import root
from spikelens.speeds import Speeds, job_seconds, runtime_min


@dataclass(frozen=True)
class Jobs:
    """The jobs of one rule of a run."""

    rule: Rule
    jobs: int
    cores: int
    memory_mb: int
    """Memory requested per job, `mem_mb`."""
    runtime_min: int
    """Time requested per job, `runtime`."""
    seconds: float
    """Mean expected time of one job."""
    source: str
    """Source of `seconds`: "speeds" or "measured"."""
    peak_mb: float | None
    """Largest measured memory of a job of this rule; None if not measured."""

    @property
    def core_hours(self) -> float:
        return self.jobs * self.cores * self.seconds / 3600


@dataclass(frozen=True)
class RunPlan:
    """Size and expected cost of one run."""

    path: str
    has_network: bool
    neurons: int
    synapses: float
    plastic_synapses: float
    blocks: int
    segments: int
    ranks: int
    rank_memory_mb: float
    segment_seconds: float | None
    """None if the simulation is not planned."""
    shards: int
    files: int
    bytes_of: dict[str, float]
    rules: tuple[Jobs, ...]
    limit: walltime.Verdict | None
    """Whether its segments fit cluster.limit_min."""
    remarks: tuple[str, ...]


def plan_run(run: RunConfig, speeds: Speeds, rate_hz: float, until: Stage | None = None) -> RunPlan:
    """Plan one run, up to a stage (None: to its end)."""
    stages = stages_until(until)
    synapses, disk = expected(run), sizes.disk(run, rate_hz, stages)
    rules = tuple(row for row in _jobs(run, speeds, rate_hz) if stage_of(row.rule) in stages)
    seconds_of = expected_seconds(run, speeds, rate_hz)
    return RunPlan(
        path=run.path,
        has_network=run.has_network,
        neurons=run.n_neurons,
        synapses=synapses.all,
        plastic_synapses=synapses.plastic,
        blocks=run.n_blocks,
        segments=run.n_segments,
        ranks=sizes.n_ranks(run, run.spikes_stage),
        rank_memory_mb=sizes.job_memory(run, run.spikes_stage, rate_hz) / sizes.n_ranks(run, run.spikes_stage) / 1e6,
        segment_seconds=next((row.seconds for row in rules if row.rule == run.spikes_stage), None),
        shards=disk.n_shards,
        files=disk.n_files,
        bytes_of=disk.bytes_of,
        rules=rules,
        limit=walltime.judge(run, seconds_of, until) if "simulation" in stages else None,
        remarks=(*(walltime.remarks(run, seconds_of) if "models" in stages else ()), *_left_out(run)),
    )


def _left_out(run: RunConfig) -> Iterator[str]:
    """A sentence that names the items that are configured but not computed."""
    if run.left_out:
        yield f"not computed, because this run lacks what they need or has too many neurons: {', '.join(run.left_out)}"


def expected_seconds(run: RunConfig, speeds: Speeds, rate_hz: float) -> walltime.SecondsOf:
    """Expected seconds of a job of a rule, also for a run with other segments or ranks.

    Scaled by the ratio of measured to expected time where this run has been measured.
    """
    by_speeds = walltime.by_speeds(speeds, rate_hz)
    slower = {rule: seconds / by_speeds(run, rule) for rule, (seconds, _) in measured_jobs(run).items()}
    return lambda other, rule: slower.get(rule, 1.0) * by_speeds(other, rule)


def _jobs(run: RunConfig, speeds: Speeds, rate_hz: float) -> Iterator[Jobs]:
    measured = measured_jobs(run)
    for work in work_of(run):
        rule = work.rule
        seconds, peak_mb = measured.get(rule, (job_seconds(run, rule, speeds, rate_hz), None))
        source = "measured" if rule in measured else "speeds"
        asked = sizes.n_ranks(run, rule), sizes.memory_mb(run, rule), runtime_min(run, rule)
        yield Jobs(rule, len(work.numbers), *asked, seconds, source, peak_mb)


def measured_jobs(run: RunConfig) -> dict[Rule, tuple[float, float]]:
    """Mean seconds and largest memory [MB] of the jobs of each rule, from benchmarks of this configuration.

    Benchmarks of other configurations are in other folders.
    """
    rows_of = {work.rule: rows for work in work_of(run) if (rows := benchmarks(run, work))}
    return {rule: (statistics.mean(row[0] for row in rows), max(row[1] for row in rows)) for rule, rows in rows_of.items()}


def benchmarks(run: RunConfig, work: Work) -> list[tuple[float, float]]:
    """Seconds and largest memory [MB] of each job with a snakemake benchmark."""
    last = (measured[-1] for job in work.jobs if (measured := read_benchmark(root(run) / job.benchmark)))
    return [(one.seconds, one.memory_mb) for one in last if one.memory_mb is not None]


# --- totals and output --------------------------------------------------------------------------------------


def wall_seconds(plans: Sequence[RunPlan], cores: int, job_s: float) -> float:
    """Expected wall time of all jobs on `cores` cores: the sum over stages.

    For each stage: the longest chain of jobs, or the total work divided by the number of cores, whichever is
    longer. Segments of a run are sequential. All other jobs of a stage, and runs of a sweep, may run in
    parallel. A job with more ranks than cores is slower by their ratio.
    """
    total = 0.0
    # the items of a stage come before the job that uses all of them
    for stage, of_items in itertools.product(STAGES, (True, False)):
        chain = work = 0.0
        for row in (row for plan in plans for row in plan.rules if stage_of(row.rule) == stage and bool(item_of(row.rule)) == of_items):
            seconds = row.seconds * max(1.0, row.cores / cores) + job_s
            chain = max(chain, seconds * row.jobs if stage == "simulation" else seconds)
            work += row.jobs * seconds * min(row.cores, cores)
        total += max(chain, work / cores)
    return total


def totals(plans: Sequence[RunPlan], cores: int, job_s: float) -> dict[str, Any]:
    """Totals over all runs."""
    return {
        "runs": len(plans),
        "jobs": sum(row.jobs for plan in plans for row in plan.rules),
        "shards": sum(plan.shards for plan in plans),
        "files": sum(plan.files for plan in plans),
        "bytes": sum(sum(plan.bytes_of.values()) for plan in plans),
        "core_hours": sum(row.core_hours for plan in plans for row in plan.rules),
        "largest_job_mb": max(row.memory_mb for plan in plans for row in plan.rules),
        "cores": cores,
        "wall_seconds": wall_seconds(plans, cores, job_s),
    }


def as_json(plans: Sequence[RunPlan], cores: int, rate_hz: float, speeds: Speeds) -> dict[str, Any]:
    """The content of `as_text`, with some more details."""
    runs = [asdict(plan) | {"rules": [asdict(row) | {"core_hours": row.core_hours} for row in plan.rules]} for plan in plans]
    return {"assumed": {"rate_hz": rate_hz, "speeds": speeds.machine}, "runs": runs, "total": totals(plans, cores, speeds.job_s)}


def as_text(plans: Sequence[RunPlan], cores: int, rate_hz: float, speeds: Speeds) -> str:
    """A table for each run, with one row per rule, and the totals."""
    total = totals(plans, cores, speeds.job_s)
    runs = f"{total['runs']} runs, " if len(plans) > 1 else ""
    lines = [line for plan in plans for line in (*_run_lines(plan), "")]
    lines += [
        f"In all {runs}{total['jobs']:,} jobs, {total['files']:,} files, about {_bytes(total['bytes'])} on disk; "
        f"about {_time(total['wall_seconds'])} on {cores} core{'s' if cores > 1 else ''}, {total['core_hours']:.2g} core-hours",
        f"Assumed: a mean rate of {rate_hz:g} Hz (--rate-hz), all epochs of training, and the speeds (--speeds) of\n  {speeds.machine}",
    ]
    if any(row.source == "measured" for plan in plans for row in plan.rules):
        lines.append("measured: mean over the jobs of an earlier run of this configuration")
    return "\n".join(lines)


def _run_lines(plan: RunPlan) -> Iterator[str]:
    disk = ", ".join(f"{name} {_bytes(size)}" for name, size in plan.bytes_of.items())
    wiring = f"about {_rounded(plan.synapses)} synapses, {_rounded(plan.plastic_synapses)} plastic" if plan.has_network else "a recording"
    yield f"{plan.path}: {plan.neurons:,} neurons, {wiring}"
    if plan.segment_seconds is None:
        yield f"  {plan.blocks} blocks"
    else:
        yield (
            f"  {plan.segments} segments on {plan.ranks} ranks, {plan.blocks} blocks; about {plan.rank_memory_mb:,.0f} MB a rank, "
            f"{plan.segment_seconds:,.3g} s a segment"
        )
    yield f"  {plan.shards:,} shards, {plan.files:,} files, about {_bytes(sum(plan.bytes_of.values()))} on disk:"
    yield f"    {disk}"
    if plan.limit is not None:
        verdict = "fits" if plan.limit.fits else "does not fit"
        yield f"  limit of {plan.limit.limit_min:,} min: a segment is expected to need {_time(60 * plan.limit.segment_min)}, and {verdict}"
    yield (
        f"  {'rule':<30}{'jobs':>7}{'cores a job':>13}{'MB a job':>11}{'min a job':>11}{'peak MB':>9}{'s a job':>10}"
        f"{'core-hours':>12}  from"
    )
    for row in plan.rules:
        peak = "-" if row.peak_mb is None else f"{row.peak_mb:,.0f}"
        asked = f"{row.jobs:>7,}{row.cores:>13}{row.memory_mb:>11,}{row.runtime_min:>11,}"
        yield f"  {row.rule:<30}{asked}{peak:>9}{row.seconds:>10,.1f}{row.core_hours:>12.3f}  {row.source}"
    yield from (f"  {remark}" for remark in plan.remarks)


def _rounded(number: float) -> str:
    """A number with three significant digits."""
    return f"{float(f'{number:.3g}'):,.0f}"


def _bytes(number: float) -> str:
    for unit in ("bytes", "kB", "MB", "GB", "TB"):
        if number < 1000 or unit == "TB":
            break
        number /= 1000
    return f"{number:.3g} {unit}"


def _time(seconds: float) -> str:
    if seconds < 100:
        return f"{seconds:.0f} s"
    if seconds < 3 * 3600:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.3g} h"

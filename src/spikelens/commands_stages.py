"""Commands of stages: each does the work of jobs. Only what a command needs is imported, when it is called."""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from spikelens.errors import SpikelensError
from spikelens.names import Stage

if TYPE_CHECKING:
    from spikelens.config import RunConfig


def _range(text: str | None, n: int, what: str) -> range:
    """Parse FIRST or FIRST:END as a range within 0:n."""
    if text is None:
        return range(n)
    first, _, end = text.partition(":")
    try:
        chosen = range(int(first), int(end) if end else int(first) + 1)
    except ValueError:
        chosen = range(0)
    if not chosen or chosen.start < 0 or chosen.stop > n:
        raise SpikelensError(f"--{what} {text}: expected FIRST or FIRST:END within 0:{n}")
    return chosen


def load_run(folder: str | Path) -> RunConfig:
    """Read the configuration that a run keeps in its folder, for a job of it."""
    from spikelens import config

    return config.load_run(folder, execute=True)


def _planned_run(options: argparse.Namespace, stage: Stage) -> RunConfig:
    """The run of a stage's command; refused if its results have another key than was planned.

    Raises
    ------
    SpikelensError
        If the configuration, a table or the code has changed since, or the run does not have the stage.
    """
    from spikelens.config import require_stage
    from spikelens.fingerprint import fingerprint

    run = load_run(options.run)
    require_stage(run, stage)
    _refuse_unplanned(options, fingerprint(run, stage))
    return run


def _refuse_unplanned(options: argparse.Namespace, key: str) -> None:
    if options.planned not in (None, key):
        raise SpikelensError(
            f"{options.run}: this job was planned for key {options.planned}, but the configuration, its tables and the code now give "
            f"key {key}. Nothing was written. Run snakemake again; if two calls share this folder, change the run.name of one of them"
        )


def network_command(options: argparse.Namespace) -> None:
    """Draw the synapses onto blocks of neurons and write network.zarr."""
    from spikelens import manifests
    from spikelens.network.build import build_blocks

    run = _planned_run(options, "network")
    for block in _range(options.blocks, run.n_blocks, "blocks"):
        with manifests.doing(run, "network", {"block": block}) as to_do:
            if to_do:
                build_blocks(run, [block])


def simulate_command(options: argparse.Namespace) -> None:
    """Simulate segments and write spikes, weights, state and records. Under mpiexec or srun, say --ranks N."""
    from spikelens import manifests, mpi
    from spikelens.limits import Deadline, process_started
    from spikelens.simulation.run import simulate_segment
    from spikelens.simulation.stage import writing_seconds
    from spikelens.speeds import shipped

    comm = mpi.world(options.ranks)
    with mpi.watched(comm, options.log):
        run, deadline = _planned_run(options, "simulation"), None
        if options.limit_min is not None:
            writing_s = writing_seconds(run, shipped(), run.simulation.segment_s)
            deadline = Deadline(options.limit_min, process_started(), writing_s)
        for segment in _range(options.segments, run.n_segments, "segments"):
            with manifests.doing(run, "simulation", {"segment": segment}, comm) as to_do:
                if to_do:
                    simulate_segment(run, segment, comm, deadline)


def recording_command(options: argparse.Namespace) -> None:
    """Import segments of a recording."""
    from spikelens import manifests
    from spikelens.recording.run import import_segment

    run = _planned_run(options, "recording")
    for segment in _range(options.segments, run.n_segments, "segments"):
        with manifests.doing(run, "recording", {"segment": segment}) as to_do:
            if to_do:
                import_segment(run, segment)


def features_command(options: argparse.Namespace) -> None:
    """Compute features of the spikes, each into its own store."""
    from spikelens import manifests
    from spikelens.features.run import compute
    from spikelens.fingerprint import fingerprint, remembered
    from spikelens.jobs import jobs_of

    run = load_run(options.run)
    blocks, segments = _range(options.blocks, run.n_blocks, "blocks"), _range(options.segments, run.n_segments, "segments")
    names = _names(options.feature, "feature", run.computed_features)
    with remembered():
        for name in names:
            _refuse_unplanned(options, fingerprint(run, "features", name))
        for job in jobs_of(run):
            if job.stage != "features" or job.work.item not in names:
                continue
            if job.numbers["segment"] not in segments or set(blocks).isdisjoint(job.blocks):
                continue
            with manifests.doing(run, job.rule, job.numbers) as to_do:
                if to_do:
                    compute(run, job.work.item, job.numbers["segment"], job.blocks)


def train_command(options: argparse.Namespace) -> None:
    """Train models; weights, history and scores go to models/<model>/<seed>/. Under mpiexec or srun, say --ranks N."""
    from spikelens import mpi

    comm = mpi.world(options.ranks)
    with mpi.watched(comm, options.log):
        from spikelens import manifests
        from spikelens.fingerprint import fingerprint
        from spikelens.limits import Deadline, process_started
        from spikelens.models.ranks import joined
        from spikelens.models.run import train

        run = load_run(options.run)
        deadline = None if options.limit_min is None else Deadline(options.limit_min, process_started())
        names = _names(options.model, "model", run.models)
        for name in names if options.planned is not None else ():
            _refuse_unplanned(options, fingerprint(run, "models", name))
        chosen = [(name, seed) for name in names for seed in _seeds(run, name, options.seed)]
        with joined(comm) as ranks:
            for name, seed in chosen:
                with manifests.doing(run, f"models.{name}", {"seed": seed}, comm) as to_do:
                    if to_do:
                        train(run, name, seed, ranks=ranks, deadline=deadline)


def _names(given: Sequence[str] | None, what: str, known: Iterable[str]) -> list[str]:
    """The items that are named, or all."""
    known = list(known)
    for name in given or ():
        if name not in known:
            raise SpikelensError(f"--{what} {name}: expected one of {', '.join(known) or f'the {what}s of the run, but it has none'}")
    return list(given or known)


def _seeds(run: RunConfig, name: str, seed: int | None) -> Sequence[int]:
    """The seeds of a model, or the one asked for."""
    seeds = run.models[name].seeds
    if seed is not None and seed not in seeds:
        raise SpikelensError(f"--seed {seed}: expected one of models.{name}.seeds = {list(seeds)}")
    return seeds if seed is None else [seed]


def infer_command(options: argparse.Namespace) -> None:
    """Compute scores of pairs of neurons by the methods of the explanation, each into its own store."""
    from spikelens import manifests
    from spikelens.explanation.run import compute
    from spikelens.fingerprint import fingerprint
    from spikelens.jobs import jobs_of

    run = load_run(options.run)
    for name in _names(options.method, "method", run.methods):
        _refuse_unplanned(options, fingerprint(run, "explanation", name))
        jobs = {job.name: job for job in jobs_of(run) if job.rule == f"explanation.{name}"}
        if options.part is not None and options.part not in jobs:
            raise SpikelensError(f"--part {options.part}: expected one of {', '.join(jobs)}")
        for job in (job for job in jobs.values() if options.part in (None, job.name)):
            with manifests.doing(run, job.rule, job.numbers) as to_do:
                if to_do:
                    manifests.refuse_damaged(run, "explanation", name)
                    compute(run, name, job.numbers.get("block"))


def explain_command(options: argparse.Namespace) -> None:
    """Score what the methods of the explanation computed against the wiring, with controls."""
    from spikelens import manifests
    from spikelens.explanation.judge import judge

    run = _planned_run(options, "explanation")
    with manifests.doing(run, "explanation") as to_do:
        if to_do:
            judge(run)


def report_command(options: argparse.Namespace) -> None:
    """Draw the figures and write the tables and summary.json; `spikelens html` then makes the one report file."""
    from spikelens import manifests
    from spikelens.jobs import benchmarks_of
    from spikelens.prepare import consolidate
    from spikelens.report.run import make_report

    run = _planned_run(options, "report")
    with manifests.doing(run, "report") as to_do:
        if to_do:
            manifests.refuse_damaged(run, "report")
            make_report(run, benchmarks_of(run))
    consolidate(run)

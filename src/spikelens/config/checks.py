"""Checks that types cannot express, by the stage that they concern. The checks of a section are in the section's module."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path

from spikelens.config.drive import check_drive
from spikelens.config.explanation import check_explanation
from spikelens.config.features import check_features
from spikelens.config.models import check_models, check_training
from spikelens.config.network import check_network
from spikelens.config.reads import check_reads
from spikelens.config.recording import check_recording
from spikelens.config.run import RunConfig
from spikelens.config.simulation import check_feature_shard_numbers, check_record, check_shard_numbers, check_simulation
from spikelens.errors import Problem, SpikelensError
from spikelens.names import Stage, stages_until


def check(run: RunConfig, until: Stage | None = None) -> Iterator[Problem]:
    """Yield every reason why a well-typed configuration cannot be run up to a stage (None: up to the last).

    A stage needs all stages before it, so their problems count, and those of later stages do not.
    """
    wanted = stages_until(until)
    return itertools.chain.from_iterable(_CHECKS[stage](run) for stage in run.stages if stage in wanted)


def valid_stages(run: RunConfig) -> tuple[Stage, ...]:
    """The stages that can be run with this configuration: all before the first one that has a problem.

    Only of these stages can the jobs, layouts and keys be computed.
    """
    if (record := run.record) is not None:  # extensions were not executed: the stages that were planned
        recorded = {rule.partition(".")[0] for rule in record}
        last = max((run.stages.index(stage) for stage in run.stages if stage in recorded), default=-1)
        return run.stages[: last + 1]
    return tuple(itertools.takewhile(lambda stage: not any(_CHECKS[stage](run)), run.stages))


def why_invalid(run: RunConfig) -> str | None:
    """The stages that cannot be run with this configuration, and the first problem; None if all stages can be run."""
    if run.record is not None:
        return None
    problem = next(check(run), None)
    if problem is None:
        return None
    return f"{', '.join(run.stages[len(valid_stages(run)) :])}: not run with this configuration: {problem}"


def require_stage(run: RunConfig, stage: Stage) -> None:
    """Refuse to look for the results of a stage that cannot be run with this configuration.

    Raises
    ------
    SpikelensError
        If the run does not have the stage or cannot run it; the message names the first problem.
    """
    if stage not in run.stages:
        has = "simulates a network" if run.has_network else "imports a recording"
        raise SpikelensError(f"{run.path}: there is no stage {stage}: this run {has}")
    if stage not in valid_stages(run):
        raise SpikelensError(f"{run.path}: {why_invalid(run) or f'{stage} was not planned'}")


def require_tables(run: RunConfig) -> None:
    """Refuse to look for the results of a run whose tables are missing: the content of its tables is part of the results' keys.

    Raises
    ------
    SpikelensError
        If a table is missing; the message names the key and the file.
    """
    if run.recording is not None:
        tables: tuple[tuple[str, str | None], ...] = (("recording.file", run.recording.file),)
    else:
        tables = ("network.edges", run.network.edges), ("drive.events", run.drive.events)
    for key, path in tables:
        if path is not None and not Path(path).exists():
            raise SpikelensError(
                f"{run.path}: {key} = {path}: no such file; the results cannot be found without its content. Call this from the folder "
                "where the run was started, or restore the file"
            )


def _check_network(run: RunConfig) -> Iterator[Problem]:
    yield from check_network(run.network)
    yield from _check_table("network.edges", run.network.edges)


def _check_simulation(run: RunConfig) -> Iterator[Problem]:
    yield from check_drive(run)
    yield from check_simulation(run)
    yield from check_record(run)
    if not any(check_network(run.network)):  # the number of shards depends on the expected number of synapses
        yield from check_shard_numbers(run)
    yield from _check_table("drive.events", run.drive.events)


def _check_recording(run: RunConfig) -> Iterator[Problem]:
    yield from check_recording(run)
    yield from check_shard_numbers(run)
    yield from _check_table("recording.file", run.recording.file if run.recording is not None else None)


def _check_features(run: RunConfig) -> Iterator[Problem]:
    problems = list(check_features(run))
    yield from problems
    if not problems and not (run.has_network and any(check_network(run.network))):
        yield from check_reads(run, "features")
        yield from check_feature_shard_numbers(run)


def _check_models(run: RunConfig) -> Iterator[Problem]:
    problems = list(check_models(run))
    yield from problems or check_reads(run, "models")


def _check_explanation(run: RunConfig) -> Iterator[Problem]:
    problems: list[Problem] = []
    if not run.models and run.explanation.methods:  # otherwise a check of the models
        problems += check_training(run)
    problems += check_explanation(run)
    yield from problems or check_reads(run, "explanation")


def _check_report(run: RunConfig) -> Iterator[Problem]:
    if run.report.raster_s > run.duration_s:
        yield Problem("report.raster_s", run.report.raster_s, f"expected at most {run.spikes_stage}.duration_s = {run.duration_s}")


def _check_table(key: str, path: str | None) -> Iterator[Problem]:
    if path is None:
        return
    if Path(path).suffix not in (".parquet", ".csv", ".npz"):
        yield Problem(key, path, "expected a .parquet, .csv or .npz table")
    elif not Path(path).exists():
        yield Problem(key, path, "no such file; the path is relative to the working folder")
    elif Path(path).is_dir() and Path(path).suffix != ".parquet":
        yield Problem(key, path, "expected a file, found a folder; only a Parquet dataset can be a folder")


_CHECKS: dict[Stage, Callable[[RunConfig], Iterator[Problem]]] = {
    "network": _check_network,
    "simulation": _check_simulation,
    "recording": _check_recording,
    "features": _check_features,
    "models": _check_models,
    "explanation": _check_explanation,
    "report": _check_report,
}

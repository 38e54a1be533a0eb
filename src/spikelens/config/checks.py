"""Why a well-typed configuration cannot be run: what types cannot say. The checks of a section are beside it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from spikelens.config.drive import check_drive
from spikelens.config.explanation import check_explanation
from spikelens.config.features import check_features
from spikelens.config.models import check_models
from spikelens.config.network import check_network
from spikelens.config.reads import check_reads
from spikelens.config.recording import check_recording
from spikelens.config.run import RunConfig
from spikelens.config.simulation import check_record, check_shard_numbers, check_simulation
from spikelens.errors import Problem, SpikelensError


def check(run: RunConfig) -> Iterator[Problem]:
    """Yield every reason why a well-typed configuration cannot be run."""
    problems = list(_check_sections(run))
    yield from problems or check_reads(run)


def _check_sections(run: RunConfig) -> Iterator[Problem]:
    faults = list(check_network(run.network) if run.has_network else check_recording(run))
    yield from faults
    if run.has_network:
        yield from check_drive(run)
        yield from check_simulation(run)
        yield from check_record(run)
    of_features = list(check_features(run))
    yield from of_features
    if not faults and not of_features:  # whether averages are kept is told by the expected synapses
        yield from check_shard_numbers(run)
    yield from check_models(run)
    yield from _check_files(run)
    yield from check_explanation(run)
    if run.report.raster_s > run.duration_s:
        yield Problem("report.raster_s", run.report.raster_s, f"expected at most {run.spikes_stage}.duration_s = {run.duration_s}")


def require_tables(run: RunConfig) -> None:
    """Refuse to look for the results of a run without its tables: what stands in these is a part of where results are kept.

    Raises
    ------
    SpikelensError
        Naming the key and the file.
    """
    for key, path in _tables(run):
        if path is not None and not Path(path).exists():
            raise SpikelensError(
                f"{run.path}: {key} = {path}: no such file here, and results are found by what stands in it; call this in the folder "
                "where the run was started, or put the table back"
            )


def _tables(run: RunConfig) -> tuple[tuple[str, str | None], ...]:
    """The user's tables that the spikes are made of: key and path."""
    if run.recording is not None:
        return (("recording.file", run.recording.file),)
    return ("network.edges", run.network.edges), ("drive.events", run.drive.events)


def _check_files(run: RunConfig) -> Iterator[Problem]:
    for key, path in _tables(run):
        if path is None:
            continue
        if Path(path).suffix not in (".parquet", ".csv", ".npz"):
            yield Problem(key, path, "expected a table that ends in .parquet, .csv or .npz")
        elif not Path(path).exists():
            yield Problem(key, path, "no such file; the path is taken from the working folder")
        elif Path(path).is_dir() and Path(path).suffix != ".parquet":
            yield Problem(key, path, "expected a file, found a folder; only a Parquet dataset may be one")

"""Run the first stages from Python without snakemake; they write the same files as the workflow."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from spikelens import manifests, places, prepare
from spikelens.config import RunConfig, parse
from spikelens.config.load import load_given
from spikelens.config.run import Run
from spikelens.network.build import build_blocks
from spikelens.simulation.run import simulate_segment

log = logging.getLogger(__name__)


def simulate(config: str | Path | Mapping[str, Any] | RunConfig, folder: str | Path | None = None) -> Path:
    """Simulate the runs of a configuration; return the folder of the run or sweep (`spikelens.simulate`)."""
    runs = load_given(config, until="simulation")
    if folder is not None:
        runs = [_moved(run, Path(folder).expanduser()) for run in runs]
    shared = places.root(runs[0])
    with places.hold(shared):
        prepare.prepare_all(runs)
        for run in runs:
            _do(run, "network", range(run.n_blocks))
            _do(run, "simulation", range(run.n_segments))
    return runs[0].folder if len(runs) == 1 else shared


def _do(run: RunConfig, rule: str, numbers: Iterable[int]) -> None:
    """Run the jobs of the network or the simulation in order, except those whose files already exist."""
    for number in numbers:
        numbered = {"block" if rule == "network" else "segment": number}
        with manifests.doing(run, rule, numbered) as to_do:
            if to_do and rule == "network":
                build_blocks(run, [number])
            elif to_do:
                simulate_segment(run, number)


def _moved(run: RunConfig, folder: Path) -> RunConfig:
    """Return the run with results in another folder; for a run of a sweep, in its subfolder."""
    section = parse(Run, {"name": folder.absolute().name, "results": str(folder.parent)}, f"folder={str(folder)!r}")
    place = folder / run.folder.name if places.root(run) != run.folder else folder
    return run.model_copy(update={"run": section, "path": str(place)})

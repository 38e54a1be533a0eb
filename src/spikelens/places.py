"""Folders of results: `results/<run>/<stage>/<key>/`, and `<stage>/<item>/<key>/` for features, models and methods.

The key is the fingerprint of the stage or item, so each configuration, and each version of the code, has its
own folder. Results never become invalid and need not be removed, and an earlier configuration finds its
results again. `results/<run>/current/` contains links for people, to the results of the configuration of the
last call. No job reads or writes these links.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import logging
import os
import socket
from collections.abc import Container, Iterator
from pathlib import Path
from typing import IO

from spikelens.config import STAGES, RunConfig, Stage, valid_stages
from spikelens.config.items import Read
from spikelens.errors import SpikelensError, StoreError, disk_remedy
from spikelens.fingerprint import fingerprint

log = logging.getLogger(__name__)

CONFIGURATIONS = "configurations"
"""Subfolder with the configurations of all results in a run's folder."""
LOCK = ".lock"
"""File that the main process of a call locks, in the folder that all runs of the configuration share."""
CURRENT = "current"
"""Subfolder of the run's folder with the links."""


def root(run: RunConfig) -> Path:
    """The folder that all runs of a configuration share. The runs of a sweep (`<key>=<value>/`) share results in it."""
    return run.folder.parent if "=" in run.folder.name else run.folder


def place_of(run: RunConfig, stage: Stage, item: str = "") -> Path:
    """Folder of the results of a stage or of one of its items. All seeds of a model share a folder."""
    return root(run) / stage / item / fingerprint(run, stage, item)


def model_folder(run: RunConfig, name: str, seed: int | str) -> Path:
    """Folder of one trained model; `seed` may be a template, like "{seed}"."""
    return place_of(run, "models", name) / str(seed)


def results_of(run: RunConfig) -> Iterator[Read]:
    """All stages and items that a run computes. Those that its configuration does not allow are left out."""
    if (record := run.record) is not None:
        for rule in record:
            stage_name, _, item = rule.partition(".")
            yield Read(stage_name, item)  # type: ignore[arg-type]
        return
    for stage in valid_stages(run):
        yield from (Read(stage, name) for name in run.items(stage))
        if stage not in ("features", "models"):  # these consist of items
            yield Read(stage)


def configuration_key(run: RunConfig) -> str:
    """The name under which a run's folder registers its configuration: the key of the report, which depends on all stages.

    If the report cannot be made, it is a hash of the folders of all results.
    """
    if "report" in valid_stages(run):
        return fingerprint(run, "report")
    names = [str(place_of(run, *result).relative_to(root(run))) for result in results_of(run)]
    return hashlib.sha256(json.dumps(names).encode()).hexdigest()[:16]


def hold(place: Path) -> IO[str]:
    """Lock a folder of runs until the returned file is closed or the process ends, even if it is killed.

    Raises
    ------
    SpikelensError
        If another process holds the lock; the message names the process.
    """
    place.mkdir(parents=True, exist_ok=True)
    file = lock(place)
    file.truncate(0)
    file.write(f"process {os.getpid()} on {socket.gethostname()}\n")
    file.flush()
    return file


def lock(place: Path) -> IO[str]:
    """Like `hold`, for an existing folder; nothing is written.

    Raises
    ------
    SpikelensError
        If another process holds the lock; the message names the process.
    """
    file = (place / LOCK).open("a+", encoding="utf-8")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.seek(0)
        raise SpikelensError(
            f"{place}: another call is working on this run ({file.read().strip()}); wait until it ends, or use another run.name"
        ) from None
    except OSError as error:  # a file system without locks
        log.warning("%s cannot be locked (%s): do not start a second call on this run", place, error.strerror)
    return file


def link_current(run: RunConfig) -> None:
    """Update the links in `current/` to the results of this configuration, including those that do not exist yet.

    Links to results that this configuration does not use are removed. Other files are not changed.

    Raises
    ------
    StoreError
        If a link cannot be written.
    """
    links = dict(_links(run))
    _remove_old_links(run, links)
    for name, place in links.items():
        link = run.folder / CURRENT / name
        target = os.path.relpath(place, link.parent)
        try:
            if link.is_symlink():
                if os.readlink(link) == target:
                    continue
            elif link.exists():
                log.warning("%s is not a link, so it is left unchanged; the current result is in %s", link, place)
                continue
            link.parent.mkdir(parents=True, exist_ok=True)
            temporary = link.with_name(f".{link.name}.{os.getpid()}")
            os.symlink(target, temporary)
            os.replace(temporary, link)
        except OSError as error:
            raise StoreError(f"{link} cannot be written: {error.strerror}; {disk_remedy(error)}, then run snakemake again") from error


def _remove_old_links(run: RunConfig, kept: Container[str]) -> None:
    """Remove links of an earlier configuration to stages or items that this one does not have."""
    for link in list((run.folder / CURRENT).rglob("*")):
        if link.is_symlink() and str(link.relative_to(run.folder / CURRENT)) not in kept:
            target = Path(os.path.relpath(link.parent / os.readlink(link), root(run)))
            if target.parts and target.parts[0] in STAGES:
                link.unlink(missing_ok=True)
                with contextlib.suppress(OSError):  # the folder contains other links
                    link.parent.rmdir()


def _links(run: RunConfig) -> Iterator[tuple[str, Path]]:
    """Names in `current/` and the targets of these links, for the stages that can be run with this configuration."""
    stages = valid_stages(run)
    if run.spikes_stage in stages:
        yield "spikes.zarr", place_of(run, run.spikes_stage) / "spikes.zarr"
    if "network" in stages:
        yield "network.zarr", place_of(run, "network") / "network.zarr"
    if "simulation" in stages:
        for store in ("weights", "state", *(("records",) if run.records else ())):
            yield f"{store}.zarr", place_of(run, "simulation") / f"{store}.zarr"
    for stage, name in results_of(run):
        place = f"{_IN_CURRENT.get(stage, stage)}/{name}" if name else stage
        yield f"logs/{place}", place_of(run, stage, name) / "logs"
        if name or stage in ("explanation", "report"):
            yield place, place_of(run, stage, name)
    if "report" in stages:
        for file in ("report.html", "summary.json"):
            yield file, place_of(run, "report") / file


_IN_CURRENT = {"explanation": "methods"}
"""Name in `current/` for the items of a stage, if it differs from the stage's name."""
_OLD = ("network", "spikes", "weights", "state", "records", "features", "explanation")


def name_old_results(run: RunConfig) -> None:
    """Warn about stores of an earlier version of spikelens in the run's folder. They are neither read nor removed."""
    old = [path for name in _OLD if (path := run.folder / f"{name}.zarr").exists()]
    if old:
        log.warning(
            "%s: written by an earlier version of spikelens or by another program; neither read nor changed. Delete them if you do not "
            "need them",
            ", ".join(map(str, old)),
        )

"""Where results are kept: `results/<run>/<stage>/<key>/`, named by what made them.

The key is the stage's fingerprint, so another configuration, or other code, has another folder. Nothing is made invalid in place,
nothing has to be removed, and going back to an earlier configuration finds its results. A feature, a model or a method has a key of its
own: `<stage>/<name>/<key>/`. For people, `results/<run>/current/` links to what the configuration of the last call uses; no job
reads or writes these links.
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
"""The folder of all configurations that a run's folder has results of, below it."""
LOCK = ".lock"
"""The file that the main process of a call holds, in the folder that all runs of the configuration share."""
CURRENT = "current"
"""The folder of links, below the run's folder."""


def root(run: RunConfig) -> Path:
    """The folder that all runs of a configuration share: members of a sweep, `<key>=<value>`, find the same results in it."""
    return run.folder.parent if "=" in run.folder.name else run.folder


def place_of(run: RunConfig, stage: Stage, item: str = "") -> Path:
    """Folder of the results of a stage, or of one item of it. The seeds of a model share one."""
    return root(run) / stage / item / fingerprint(run, stage, item)


def model_folder(run: RunConfig, name: str, seed: int | str) -> Path:
    """Folder of one trained model; of all, where a word stands for the seed."""
    return place_of(run, "models", name) / str(seed)


def results_of(run: RunConfig) -> Iterator[Read]:
    """Everything that a run computes: its stages, and the items of stages, as far as they can be run with its configuration."""
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
    """The name under which a run's folder registers its configuration: the key of the report, which covers all stages.

    If some stages cannot be run, a hash of the keys of the others.
    """
    if "report" in valid_stages(run):
        return fingerprint(run, "report")
    names = [str(place_of(run, *result).relative_to(root(run))) for result in results_of(run)]
    return hashlib.sha256(json.dumps(names).encode()).hexdigest()[:16]


def hold(place: Path) -> IO[str]:
    """Lock a folder of runs for this process, as long as the returned file is open; a killed process needs no unlocking.

    Raises
    ------
    SpikelensError
        If another process holds it, naming that.
    """
    place.mkdir(parents=True, exist_ok=True)
    file = (place / LOCK).open("a+", encoding="utf-8")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.seek(0)
        raise SpikelensError(
            f"{place}: another call works on this run ({file.read().strip()}); wait until it has ended, or give this one another run.name"
        ) from None
    except OSError as error:  # a file system without locks
        log.warning("%s cannot be locked (%s): do not start a second call on this run", place, error.strerror)
        return file
    file.truncate(0)
    file.write(f"process {os.getpid()} on {socket.gethostname()}\n")
    file.flush()
    return file


def link_current(run: RunConfig) -> None:
    """Point the links in `current/` at the results of this configuration, also at those that are yet to come.

    A link is replaced, and one to results that this configuration does not name is removed. Other files stay.

    Raises
    ------
    StoreError
        If the file system does not take it.
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
                log.warning("%s is not a link of ours; it stays, and does not show the current result: that is %s", link, place)
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
                with contextlib.suppress(OSError):  # other links are in it
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
"""What the items of a stage are called in `current/`, where that is not the stage's name."""
_OLD = ("network", "spikes", "weights", "state", "records", "features", "explanation")


def name_old_results(run: RunConfig) -> None:
    """Warn of stores that an earlier version of spikelens left in the run's folder: they stay, and are not read."""
    old = [path for name in _OLD if (path := run.folder / f"{name}.zarr").exists()]
    if old:
        log.warning(
            "%s: made before results were kept by key, or not by spikelens; left as they are and not read. Remove them yourself if they "
            "are not needed",
            ", ".join(map(str, old)),
        )

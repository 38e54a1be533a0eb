"""Find and remove results in a run's folder that no configuration uses. No other module removes results.

Each call of snakemake registers its configuration as `configurations/<key of its report>.json`. A result is
used if a registered configuration would find it with the current code.
"""

from __future__ import annotations

import re
import shutil
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from spikelens.config import STAGES, RunConfig, load_config, require_tables
from spikelens.errors import SpikelensError
from spikelens.places import CONFIGURATIONS, place_of, results_of, root

_KEY = re.compile(r"[0-9a-f]{16}")
_UNKNOWN = "the results that it uses are unknown; restore it, or delete it if you do not need its results"


@dataclass(frozen=True)
class Unused:
    """A folder of results that can be removed."""

    folder: Path
    n_bytes: int
    modified: float
    """Modification time of its newest file [s since 1970]."""


def unused(run: RunConfig, configuration: str | None = None) -> list[Unused]:
    """Find results that no registered configuration of a run's folder uses, or only `configuration`.

    Raises
    ------
    SpikelensError
        If `configuration` is not registered, or a registered one cannot be read, so that its results are
        unknown.
    """
    found = sorted((root(run) / CONFIGURATIONS).glob("*.json"))
    registered = {path.stem: path for path in found if _KEY.fullmatch(path.stem)}
    if configuration is not None and configuration not in registered:
        raise SpikelensError(f"--configuration {configuration}: expected one of {', '.join(registered) or 'none (none is registered)'}")
    used = {name: set(_folders_of(_registered(run, path))) for name, path in registered.items()}
    others = set().union(*(folders for name, folders in used.items() if name != configuration), _folders_of(run))
    if configuration is not None:
        candidates: Iterable[Path] = used[configuration] & set(_results(root(run)))
    else:
        candidates = _results(root(run))
    return [_measured(folder) for folder in sorted(candidates) if folder not in others]


def _registered(run: RunConfig, path: Path) -> RunConfig:
    """Load a registered configuration; raise SpikelensError if its results cannot be determined."""
    found = load_config(path, root(run), _UNKNOWN)
    try:
        require_tables(found)
    except SpikelensError as error:
        raise SpikelensError(f"{path}: {_UNKNOWN}: {error}") from None
    return found


def remove(run: RunConfig, found: Iterable[Unused], configuration: str | None = None) -> None:
    """Remove the results that `unused` found, then the registered `configuration`, if given."""
    for result in found:
        shutil.rmtree(result.folder)
    if configuration is not None:
        for ending in (".json", ".work.json"):
            (root(run) / CONFIGURATIONS / f"{configuration}{ending}").unlink(missing_ok=True)


def as_text(found: Iterable[Unused]) -> str:
    """Return one line per folder: size, age and path."""
    now = time.time()
    return "\n".join(f"{result.n_bytes / 1e6:10,.1f} MB {(now - result.modified) / 86_400:8.1f} days  {result.folder}" for result in found)


def _folders_of(run: RunConfig) -> Iterator[Path]:
    """Return the folders of all results of a configuration with the current code."""
    return (place_of(run, *result) for result in results_of(run))


def _results(folder: Path) -> Iterator[Path]:
    """Yield all folders of results in a run's folder, `<stage>/<key>` and `<stage>/<item>/<key>`.

    The name of an item may look like a key. Its folder contains folders of results, and is not a result itself.
    """
    for stage in STAGES:
        for path in _named_by_key(folder / stage):
            if not any(_named_by_key(path)):
                yield path
        for item in (folder / stage).glob("*/"):
            if not item.is_symlink():
                yield from _named_by_key(item)


def _named_by_key(folder: Path) -> Iterator[Path]:
    return (path for path in folder.glob("*") if path.is_dir() and not path.is_symlink() and _KEY.fullmatch(path.name))


def _measured(folder: Path) -> Unused:
    files = [path.lstat() for path in folder.rglob("*") if not path.is_dir()]
    return Unused(folder, sum(file.st_size for file in files), max((file.st_mtime for file in files), default=folder.stat().st_mtime))

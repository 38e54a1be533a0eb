"""What may be removed of a run's folder: results that no configuration of it uses. The only code that removes a result.

Each call of snakemake registers its configuration as `configurations/<key of its report>.json`. A result is used if a registered
configuration would find it with today's code.
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
_UNKNOWN = "which results it uses is not known; restore it, or delete it if these are not needed"


@dataclass(frozen=True)
class Unused:
    """A folder of results that may go."""

    folder: Path
    n_bytes: int
    modified: float
    """When its newest file was written [s since 1970]."""


def unused(run: RunConfig, configuration: str | None = None) -> list[Unused]:
    """Find the results in a run's folder that no registered configuration uses, or that `configuration` alone uses.

    Raises
    ------
    SpikelensError
        If there is no such configuration, or one cannot be read: what it uses is not known then.
    """
    found = sorted((root(run) / CONFIGURATIONS).glob("*.json"))
    registered = {path.stem: path for path in found if _KEY.fullmatch(path.stem)}
    if configuration is not None and configuration not in registered:
        raise SpikelensError(f"--configuration {configuration}: expected one of {', '.join(registered) or 'none: nothing is registered'}")
    used = {name: set(_folders_of(_registered(run, path))) for name, path in registered.items()}
    others = set().union(*(folders for name, folders in used.items() if name != configuration), _folders_of(run))
    if configuration is not None:
        candidates: Iterable[Path] = used[configuration] & set(_results(root(run)))
    else:
        candidates = _results(root(run))
    return [_measured(folder) for folder in sorted(candidates) if folder not in others]


def _registered(run: RunConfig, path: Path) -> RunConfig:
    """A registered configuration, if what it uses can be told."""
    found = load_config(path, root(run), _UNKNOWN)
    try:
        require_tables(found)
    except SpikelensError as error:
        raise SpikelensError(f"{path}: {_UNKNOWN}: {error}") from None
    return found


def remove(run: RunConfig, found: Iterable[Unused], configuration: str | None = None) -> None:
    """Remove what `unused` found, and then the configuration that alone used it."""
    for result in found:
        shutil.rmtree(result.folder)
    if configuration is not None:
        (root(run) / CONFIGURATIONS / f"{configuration}.json").unlink(missing_ok=True)


def as_text(found: Iterable[Unused]) -> str:
    """One line for each folder: size, age, place."""
    now = time.time()
    return "\n".join(f"{result.n_bytes / 1e6:10,.1f} MB {(now - result.modified) / 86_400:8.1f} days  {result.folder}" for result in found)


def _folders_of(run: RunConfig) -> Iterator[Path]:
    """The folders of all results of a configuration, with today's code."""
    return (place_of(run, *result) for result in results_of(run))


def _results(folder: Path) -> Iterator[Path]:
    """Every folder of results below a run's folder; what isn't named by a key is not ours."""
    for pattern in (f"{stage}/{below}" for stage in STAGES for below in ("*", "*/*")):  # of a stage, and of its items
        yield from (path for path in folder.glob(pattern) if path.is_dir() and not path.is_symlink() and _KEY.fullmatch(path.name))


def _measured(folder: Path) -> Unused:
    files = [path.lstat() for path in folder.rglob("*") if not path.is_dir()]
    return Unused(folder, sum(file.st_size for file in files), max((file.st_mtime for file in files), default=folder.stat().st_mtime))

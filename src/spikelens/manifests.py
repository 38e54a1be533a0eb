"""Manifests, which show whether the results of a job are complete, and the flag files that Snakemake uses.

A job writes its manifest, `<stage>/<key>/manifests/<job>.json`, last. It lists all files of the job with size
and CRC32. It is not a declared output, since Snakemake deletes the declared outputs of a job when the job
starts. The declared outputs are two empty flag files: `<stage>/<key>/done/<job>.made`, an (ancient) input of
the jobs that follow, and `.whole`, an input of `rule all`. Both are updated from the manifests whenever the
workflow is read. If a file is missing or has another size, `.whole` is removed and `.made` is kept, so that
only this job runs again.
"""

from __future__ import annotations

import functools
import importlib.metadata
import json
import logging
import os
import platform
import resource
import socket
import time
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from spikelens.config import RunConfig, Stage
from spikelens.errors import StoreError
from spikelens.files import in_its_place, write_atomically
from spikelens.fingerprint import reads_of
from spikelens.jobs import Job, Rule, Work, job_of, jobs_of
from spikelens.places import root

if TYPE_CHECKING:
    from mpi4py.MPI import Comm

log = logging.getLogger(__name__)

_PIECE_BYTES = 16 * 2**20
_LIBRARIES = (
    *("spikelens", "numpy", "numba", "scipy", "zarr", "numcodecs", "google-crc32c", "xarray", "pandas", "pyarrow", "pydantic", "PyYAML"),
    *("torch", "lightning", "pytorch-forecasting", "safetensors", "scikit-learn", "matplotlib", "mpi4py"),
)

State = Literal["whole", "lost", "missing"]
"""State of a job's results.

whole: all files in its manifest exist. lost: some are missing, or the job is marked for repair. missing: no
manifest.
"""


@dataclass(frozen=True)
class Manifest:
    """The files that a job wrote."""

    files: dict[str, tuple[int, int]]
    """Path relative to the folder of all runs -> size [bytes] and CRC32."""
    made: dict[str, Any] = field(default_factory=dict)
    """Provenance: versions of libraries, host, times, memory."""
    repair: tuple[str, ...] = ()
    """Damage found by `spikelens verify --repair`, because of which the job runs again."""


# --- reading and writing ------------------------------------------------------------------------------------------------


def read(path: Path) -> Manifest | None:
    """Read a manifest; return None if it does not exist.

    Raises
    ------
    StoreError
        If the manifest is damaged.
    """
    try:
        content = json.loads(path.read_bytes())
        if content.pop("checksum") != _checksum(content):
            raise ValueError("its checksum differs")
        files = {name: (int(size), int(crc)) for name, (size, crc) in content["files"].items()}
        return Manifest(files, content["made"], tuple(content["repair"]))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise StoreError(f"{path} is damaged ({error}); `spikelens verify --repair` marks its job to run again") from None


def _write(path: Path, manifest: Manifest) -> None:
    content: dict[str, Any] = {"files": manifest.files, "made": manifest.made, "repair": list(manifest.repair)}
    content["files"] = {name: list(entry) for name, entry in manifest.files.items()}
    write_atomically(path, json.dumps({**content, "checksum": _checksum(content)}, indent=1).encode())


def _checksum(content: dict[str, Any]) -> int:
    return zlib.crc32(json.dumps(content, sort_keys=True).encode())


def write(run: RunConfig, job: Job, started: float, comm: Comm | None = None) -> None:
    """Write the manifest of a job that has just finished; the ranks share the work of reading the files.

    Parameters
    ----------
    started : float
        Start time of the job [s since 1970].

    Raises
    ------
    StoreError
        If a file of the job is missing.
    """
    rank, n_ranks = (0, 1) if comm is None else (comm.Get_rank(), comm.Get_size())
    if comm is not None:
        comm.Barrier()  # all ranks have written their files
    own = [(name, digest(root(run) / name)) for name in job.files[rank::n_ranks]]
    parts = [own] if comm is None else comm.gather(own)
    if parts is None:
        return
    files: dict[str, tuple[int, int]] = {}
    for name, entry in sorted(pair for part in parts for pair in part):
        if entry is None:
            raise StoreError(f"{root(run) / name} is missing, although its job has just written it; check what removed it")
        files[name] = entry
    _write(root(run) / job.manifest, Manifest(files, _provenance(started, n_ranks)))


def _provenance(started: float, ranks: int) -> dict[str, Any]:
    return {
        "python": platform.python_version(),
        "libraries": _versions(),
        "host": socket.gethostname(),
        "processor": platform.machine(),
        "started": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(started)),
        "seconds": round(time.time() - started, 3),
        "peak_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1),
        "ranks": ranks,
    }


@functools.cache
def _versions() -> dict[str, str]:
    found = {}
    for name in _LIBRARIES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def under_other_versions(run: RunConfig) -> list[str]:
    """Return a line per different version of Python or a library with which results were made."""
    here = {"python": platform.python_version(), **_versions()}
    found: Counter[tuple[str, str]] = Counter()
    for job in jobs_of(run):
        try:
            manifest = read(root(run) / job.manifest)
        except StoreError:
            continue
        made = {} if manifest is None else manifest.made
        versions = {"python": made.get("python"), **made.get("libraries", {})}
        found.update((name, version) for name, version in versions.items() if version is not None and version != here.get(name, version))
    return [
        f"using results made with {name} {version}; installed: {here[name]} ({n_jobs:,} job{'s' if n_jobs > 1 else ''})"
        for (name, version), n_jobs in sorted(found.items())
    ]


def digest(path: Path) -> tuple[int, int] | None:
    """Return the size [bytes] and CRC32 of a file, or None if it does not exist.

    CRC32C would be the same for many shards, since the chunks of a shard and its index end in their own
    CRC32C.
    """
    crc, size = 0, 0
    try:
        with path.open("rb") as file:
            while piece := file.read(_PIECE_BYTES):
                crc, size = zlib.crc32(piece, crc), size + len(piece)
    except (FileNotFoundError, IsADirectoryError, NotADirectoryError):
        return None
    return size, crc


# --- states of jobs -----------------------------------------------------------------------------------------------------

Sizes = Callable[[str], int | None]
"""Return the size of the file at a path, or None if it does not exist."""


def listed() -> Sizes:
    """Return a function that gives file sizes from folder listings; each folder is read once."""

    @functools.cache
    def of_folder(folder: str) -> dict[str, int]:
        try:
            with os.scandir(folder) as entries:
                return {entry.name: entry.stat().st_size for entry in entries if entry.is_file()}
        except OSError:
            return {}

    def size(path: str) -> int | None:
        folder, name = os.path.split(path)
        return of_folder(folder).get(name)

    return size


def state(folder: Path, job: Job, size: Sizes) -> State:
    """Return the state of a job's results in the folder of all runs."""
    if size(f"{folder}/{job.manifest}") is None:
        return "missing"
    try:
        manifest = read(folder / job.manifest)
    except StoreError:
        return "lost"
    if manifest is None:
        return "missing"
    complete = all(size(f"{folder}/{name}") == n_bytes for name, (n_bytes, _) in manifest.files.items())
    return "whole" if complete and not manifest.repair and manifest.files.keys() == set(job.files) else "lost"


def is_whole(run: RunConfig, job: Job, comm: Comm | None = None) -> bool:
    """Return whether a job has nothing to do; rank 0 checks for all ranks."""
    if comm is None:
        return state(root(run), job, listed()) == "whole"
    whole = state(root(run), job, listed()) == "whole" if comm.Get_rank() == 0 else None
    return bool(comm.bcast(whole))


@contextmanager
def doing(run: RunConfig, rule: Rule, numbers: Mapping[str, int] | None = None, comm: Comm | None = None) -> Iterator[bool]:
    """Run a job: yield whether there is anything to do, and write the manifest after the work."""
    job, started = job_of(run, rule, numbers or {}), time.time()
    if is_whole(run, job, comm):
        log.info("%s: nothing to do: all files in its manifest exist", job.name)
        yield False
        return
    refuse_obstacles(run, job)
    yield True
    write(run, job, started, comm)


# --- flags --------------------------------------------------------------------------------------------------------------


def restore_flags(folder: Path, works: Iterable[Work]) -> None:
    """Update the flag files of all jobs from their manifests. Nothing else is written."""
    size, seen = listed(), set[str]()
    for job in (job for work in works for job in work.jobs):
        if job.made in seen:  # shared by runs of a sweep
            continue
        seen.add(job.made)
        found, flags = state(folder, job, size), (f"{folder}/{job.made}", f"{folder}/{job.whole}")
        made, whole = (size(flag) is not None for flag in flags)
        try:
            if found != "missing" and not made:
                _touch(flags[0])
            if found == "whole" and not whole:
                _touch(flags[1])
            elif found != "whole" and whole:
                os.unlink(flags[1])
        except OSError as error:
            log.warning("%s cannot be written (%s): snakemake may plan the wrong jobs", flags[1], error.strerror)
            return


def _touch(path: str) -> None:
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "ab"):
        pass


# --- verification -------------------------------------------------------------------------------------------------------


def faults(run: RunConfig, job: Job) -> list[str]:
    """Compare all files of a job with its manifest; return one line per fault."""
    folder = root(run)
    try:
        manifest = read(folder / job.manifest)
    except StoreError as error:
        return [str(error)]
    if manifest is None:
        return [f"{folder / job.manifest} is missing: the job has not finished, or its manifest was removed"]
    return [*manifest.repair, *_differing(folder, manifest, job.files)]


def _differing(folder: Path, manifest: Manifest, files: Sequence[str]) -> Iterator[str]:
    for name in files:
        path, expected = folder / name, manifest.files.get(name)
        found = digest(path)
        if expected is None:
            yield f"{path}: not in the manifest of its job"
        elif found is None:
            yield f"{path}: missing{f'; {obstacle}' if (obstacle := in_its_place(path)) else ''}"
        elif found[0] != expected[0]:
            yield f"{path}: {found[0]:,} bytes, expected {expected[0]:,}"
        elif found != expected:
            yield f"{path}: damaged: its checksum differs"


def refuse_damaged(run: RunConfig, stage: Stage, item: str = "") -> None:
    """Raise if models or scores that a job reads have changed since they were written.

    Otherwise a flipped digit would be used silently. Shards are not compared, since they contain checksums.
    Results without a manifest, e.g. from calls in Python, are not checked.

    Raises
    ------
    StoreError
        Lists all files that are damaged, missing or replaced.
    """
    read = {(source.stage, source.item) for source in reads_of(run, stage, item) if source.stage in ("models", "explanation")}
    jobs = [job for job in jobs_of(run) if (job.stage, job.work.item) in read and (root(run) / job.manifest).exists()]
    found = [fault for job in jobs for fault in faults(run, job)]
    if found:
        raise StoreError("\n".join([*found, f"run `spikelens verify {run.path} --repair`, then snakemake, which recreates these files"]))


def refuse_obstacles(run: RunConfig, job: Job) -> None:
    """Raise if a job could not write its files because a folder or a dangling link has the name of one.

    Raises
    ------
    StoreError
        Lists all such obstacles.
    """
    paths = (root(run) / name for name in job.files)
    found = [f"{path}: {obstacle}" for path in paths if (obstacle := in_its_place(path))]
    if found:
        raise StoreError("\n".join([*found, "then run snakemake again; nothing was computed"]))


def mark(run: RunConfig, job: Job, found: Sequence[str]) -> None:
    """Mark a job to run again in the next call of snakemake; its manifest lists the faults until then."""
    folder = root(run)
    try:
        manifest = read(folder / job.manifest)
    except StoreError:
        manifest = None
    files = {} if manifest is None else manifest.files
    _write(folder / job.manifest, Manifest(files, {} if manifest is None else manifest.made, tuple(found)))
    (folder / job.whole).unlink(missing_ok=True)

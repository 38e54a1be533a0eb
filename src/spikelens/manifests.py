"""Whether a job's results are whole: the manifest that it writes last, and the flags that Snakemake plans by.

A manifest, `<stage>/<key>/manifests/<job>.json`, lists every file that the job wrote, with size and CRC32. Snakemake does not know of
it, since it deletes the declared outputs of a job when the job starts. Declared are two empty flags, `<stage>/<key>/done/<job>.made`,
which the jobs that follow have as an (ancient) input, and `.whole`, which `rule all` asks for. Both follow from the manifests whenever
the workflow is read: where a file is gone or has another size, `.whole` goes and `.made` stays, so that this job alone runs again.
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
from spikelens.files import in_its_place
from spikelens.fingerprint import reads_of
from spikelens.jobs import Job, Rule, Work, job_of, jobs_of
from spikelens.places import root
from spikelens.stores import write_atomically

if TYPE_CHECKING:
    from mpi4py.MPI import Comm

log = logging.getLogger(__name__)

_PIECE_BYTES = 16 * 2**20
_LIBRARIES = (
    *("spikelens", "numpy", "numba", "scipy", "zarr", "numcodecs", "google-crc32c", "xarray", "pandas", "pyarrow", "pydantic", "PyYAML"),
    *("torch", "lightning", "pytorch-forecasting", "safetensors", "scikit-learn", "matplotlib", "mpi4py"),
)

State = Literal["whole", "lost", "missing"]
"""Of a job: every file that its manifest lists is there; some are not, or the job is to be repaired; it has no manifest."""


@dataclass(frozen=True)
class Manifest:
    """What a job wrote."""

    files: dict[str, tuple[int, int]]
    """File below the folder of all runs -> size [bytes] and CRC32."""
    made: dict[str, Any] = field(default_factory=dict)
    """Provenance: versions of libraries, host, times, memory."""
    repair: tuple[str, ...] = ()
    """Damage that `spikelens verify --repair` found; the job runs again."""


# --- reading and writing ------------------------------------------------------------------------------------------------


def read(path: Path) -> Manifest | None:
    """Read a manifest; None if there is none.

    Raises
    ------
    StoreError
        If it is damaged.
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
        raise StoreError(f"{path} is damaged ({error}); `spikelens verify --repair` has its job run again") from None


def _write(path: Path, manifest: Manifest) -> None:
    content: dict[str, Any] = {"files": manifest.files, "made": manifest.made, "repair": list(manifest.repair)}
    content["files"] = {name: list(entry) for name, entry in manifest.files.items()}
    write_atomically(path, json.dumps({**content, "checksum": _checksum(content)}, indent=1).encode())


def _checksum(content: dict[str, Any]) -> int:
    return zlib.crc32(json.dumps(content, sort_keys=True).encode())


def write(run: RunConfig, job: Job, started: float, comm: Comm | None = None) -> None:
    """Write the manifest of a job that has just finished; each rank reads a share of the files.

    Parameters
    ----------
    started : float
        When the job started [s since 1970].

    Raises
    ------
    StoreError
        If a file of the job is missing.
    """
    rank, n_ranks = (0, 1) if comm is None else (comm.Get_rank(), comm.Get_size())
    if comm is not None:
        comm.Barrier()  # the files of every rank are there
    own = [(name, digest(root(run) / name)) for name in job.files[rank::n_ranks]]
    parts = [own] if comm is None else comm.gather(own)
    if parts is None:
        return
    files: dict[str, tuple[int, int]] = {}
    for name, entry in sorted(pair for part in parts for pair in part):
        if entry is None:
            raise StoreError(f"{root(run) / name} is missing, though its job has just written it; see whether something removed it")
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
    """Say under which other versions of Python and libraries jobs of a run were done; their results are taken all the same."""
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
        f"results made under {name} {version} are used, {here[name]} is installed ({n_jobs:,} job{'s' if n_jobs > 1 else ''})"
        for (name, version), n_jobs in sorted(found.items())
    ]


def digest(path: Path) -> tuple[int, int] | None:
    """Size [bytes] and CRC32 of a file; None where there is none.

    Not CRC32C: the chunks of a shard and its index end in their own CRC32C, so that this would be the same for many shards.
    """
    crc, size = 0, 0
    try:
        with path.open("rb") as file:
            while piece := file.read(_PIECE_BYTES):
                crc, size = zlib.crc32(piece, crc), size + len(piece)
    except (FileNotFoundError, IsADirectoryError, NotADirectoryError):
        return None
    return size, crc


# --- what is there ------------------------------------------------------------------------------------------------------

Sizes = Callable[[str], int | None]
"""Size of a file by its path; None where there is none."""


def listed() -> Sizes:
    """Sizes of files from the listings of their folders, each of which is read once."""

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
    """How a job's results stand in the folder of all runs."""
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
    """Whether a job has nothing to do; rank 0 looks for all."""
    if comm is None:
        return state(root(run), job, listed()) == "whole"
    whole = state(root(run), job, listed()) == "whole" if comm.Get_rank() == 0 else None
    return bool(comm.bcast(whole))


@contextmanager
def doing(run: RunConfig, rule: Rule, numbers: Mapping[str, int] | None = None, comm: Comm | None = None) -> Iterator[bool]:
    """Do one job: tells whether there is anything to do, and writes its manifest once it is done."""
    job, started = job_of(run, rule, numbers or {}), time.time()
    if is_whole(run, job, comm):
        log.info("%s: nothing to do: every file that its manifest lists is there", job.name)
        yield False
        return
    refuse_obstacles(run, job)
    yield True
    write(run, job, started, comm)


# --- flags --------------------------------------------------------------------------------------------------------------


def restore_flags(folder: Path, works: Iterable[Work]) -> None:
    """Make the flags of all jobs say what the manifests in the folder of all runs say. Nothing else is written."""
    size, seen = listed(), set[str]()
    for job in (job for work in works for job in work.jobs):
        if job.made in seen:  # runs of a sweep share it
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
            log.warning("%s cannot be written (%s): the plan may be wrong", flags[1], error.strerror)
            return


def _touch(path: str) -> None:
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "ab"):
        pass


# --- verification -------------------------------------------------------------------------------------------------------


def faults(run: RunConfig, job: Job) -> list[str]:
    """Compare every file of a job with its manifest; one line for each fault."""
    folder = root(run)
    try:
        manifest = read(folder / job.manifest)
    except StoreError as error:
        return [str(error)]
    if manifest is None:
        return [f"{folder / job.manifest} is missing: the job has not finished, or its manifest was lost"]
    return [*manifest.repair, *_differing(folder, manifest, job.files)]


def _differing(folder: Path, manifest: Manifest, files: Sequence[str]) -> Iterator[str]:
    for name in files:
        path, expected = folder / name, manifest.files.get(name)
        found = digest(path)
        if expected is None:
            yield f"{path}: is not in its job's manifest"
        elif found is None:
            yield f"{path}: is missing{f'; {obstacle}' if (obstacle := in_its_place(path)) else ''}"
        elif found[0] != expected[0]:
            yield f"{path}: has {found[0]:,} bytes, expected {expected[0]:,}"
        elif found != expected:
            yield f"{path}: is damaged: its checksum differs"


def refuse_damaged(run: RunConfig, stage: Stage, item: str = "") -> None:
    """Refuse models and scores that a job reads and that are not as they were written: a flipped digit would be used silently.

    Shards are not compared, since they carry checksums of their own. Results without a manifest, as calls from Python leave them, are not
    checked.

    Raises
    ------
    StoreError
        Naming every file that is damaged, missing or replaced.
    """
    read = {(source.stage, source.item) for source in reads_of(run, stage, item) if source.stage in ("models", "explanation")}
    jobs = [job for job in jobs_of(run) if (job.stage, job.work.item) in read and (root(run) / job.manifest).exists()]
    found = [fault for job in jobs for fault in faults(run, job)]
    if found:
        raise StoreError(
            "\n".join([*found, f"`spikelens verify {run.path} --repair` has the next call of snakemake make these files again"])
        )


def refuse_obstacles(run: RunConfig, job: Job) -> None:
    """Refuse to begin a job that could not write its files: a folder, or a link that leads nowhere, is in the place of one.

    Raises
    ------
    StoreError
        Naming each of them.
    """
    paths = (root(run) / name for name in job.files)
    found = [f"{path}: {obstacle}" for path in paths if (obstacle := in_its_place(path))]
    if found:
        raise StoreError("\n".join([*found, "nothing was computed; then run snakemake again"]))


def mark(run: RunConfig, job: Job, found: Sequence[str]) -> None:
    """Have the next call of snakemake run a job again: what is wrong with it stands in its manifest until then."""
    folder = root(run)
    try:
        manifest = read(folder / job.manifest)
    except StoreError:
        manifest = None
    files = {} if manifest is None else manifest.files
    _write(folder / job.manifest, Manifest(files, {} if manifest is None else manifest.made, tuple(found)))
    (folder / job.whole).unlink(missing_ok=True)

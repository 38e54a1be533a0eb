"""Hashes of stages' code, kept between processes: to parse all modules takes half a second of every command and every job.

They are kept in one small file, with a digest of every source file of the package. Another source, or a damaged file, and they are
computed again; where nothing can be written, they are computed by each process.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Callable
from pathlib import Path

NAME = "code-hashes.json"


def kept(package: Path, stage: str, compute: Callable[[str], str]) -> str:
    """The hash of a stage's code: as it was computed from these very sources, or else as `compute` gives it."""
    sources, file = _digest(package), _file(package)
    hashes = {} if file is None else _read(file, sources)
    if stage not in hashes:
        hashes[stage] = compute(stage)
        if file is not None:
            _write(file, sources, hashes)
    return hashes[stage]


def _digest(package: Path) -> str:
    digest = hashlib.sha256()
    for path in sorted(package.rglob("*.py")):
        digest.update(path.relative_to(package).as_posix().encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()


def _file(package: Path) -> Path | None:
    """Where the hashes are kept; None if there is no place for them."""
    if os.access(package, os.W_OK):
        return package / "__pycache__" / NAME
    with contextlib.suppress(RuntimeError):  # no home folder
        return Path.home() / ".cache" / "spikelens" / NAME
    return None


def _read(file: Path, sources: str) -> dict[str, str]:
    try:
        content = json.loads(file.read_bytes())
        hashes: dict[str, str] = content["hashes"]
        return hashes if content["check"] == _check(sources, hashes) else {}
    except (OSError, ValueError, KeyError, TypeError):
        return {}


def _write(file: Path, sources: str, hashes: dict[str, str]) -> None:
    temporary = file.with_name(f"{file.name}.{os.getpid()}")
    with contextlib.suppress(OSError):
        file.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_text(json.dumps({"hashes": hashes, "check": _check(sources, hashes)}), encoding="utf-8")
        temporary.replace(file)


def _check(sources: str, hashes: dict[str, str]) -> str:
    return hashlib.sha256(json.dumps([sources, hashes], sort_keys=True).encode()).hexdigest()

"""Disk cache for the stages' code hashes: parsing all modules takes half a second per process.

The cache is one small file, with a digest of all source files of the package. The hashes are computed again
if a source file changes or the cache is damaged, and by each process if the cache cannot be written.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Callable
from pathlib import Path

NAME = "code-hashes.json"
_SOURCES = (".py", ".css", ".js", ".j2")


def kept(package: Path, item: str, compute: Callable[[str], str]) -> str:
    """Return the hash of an item's code from the cache, or else from `compute`."""
    sources, file = _digest(package), _file(package)
    hashes = {} if file is None else _read(file, sources)
    if item not in hashes:
        hashes[item] = compute(item)
        if file is not None:
            _write(file, sources, hashes)
    return hashes[item]


def _digest(package: Path) -> str:
    digest = hashlib.sha256()
    for path in sorted(path for path in package.rglob("*.*") if path.suffix in _SOURCES):
        digest.update(path.relative_to(package).as_posix().encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()


def _file(package: Path) -> Path | None:
    """Return the path of the cache, or None if there is no place for it."""
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

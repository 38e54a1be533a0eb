"""Write files atomically, and read the small files that spikelens and snakemake write: JSON, JSON lines, benchmarks.

Error messages name the file, the error and what to do. Other files in the same folders are never read. If
something blocks the path of an expected file, the message names it (`in_its_place`).
"""

from __future__ import annotations

import csv
import json
import math
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from spikelens.errors import StoreError, disk_remedy

Fields = Mapping[str, type | tuple[type, ...]]
"""Required keys of a mapping and the types of their values; further keys are allowed."""

NUMBER = (int, float)
_UNFINISHED = ".partial"
"""Suffix of files that are being written. Complete ones are renamed."""
AGAIN = "delete it, then run snakemake to recreate it"

_SHOWN: dict[type, str] = {dict: "a mapping", list: "a list", str: "text", int: "a whole number", float: "a number", bool: "true or false"}


def read_json(path: Path, fields: Fields, remedy: str = AGAIN) -> dict[str, Any]:
    """Read a JSON file that contains a mapping with these fields.

    `remedy` says what to do if the file is missing or damaged.

    Raises
    ------
    StoreError
        If the file is missing or damaged: it is not JSON, or lacks a field.
    """
    return _with_fields(path, _parsed(path, _text(path, remedy), remedy), fields, remedy)


def read_json_rows(path: Path, fields: Fields, remedy: str = AGAIN) -> list[dict[str, Any]]:
    """Read a JSON file that contains a list of mappings with these fields.

    Raises
    ------
    StoreError
        As for `read_json`.
    """
    rows = _parsed(path, _text(path, remedy), remedy)
    if not isinstance(rows, list):
        raise _damaged(path, f"expected a list, found {_shown(rows)}", remedy)
    return [_with_fields(path, row, fields, remedy, f"row {number}: ") for number, row in enumerate(rows)]


def read_json_lines(path: Path, fields: Fields, remedy: str = AGAIN) -> list[dict[str, Any]]:
    """Read a file that contains one JSON mapping per line.

    Raises
    ------
    StoreError
        As for `read_json`.
    """
    lines = ((f"line {number}: ", line) for number, line in enumerate(_text(path, remedy).splitlines(), 1) if line.strip())
    return [_with_fields(path, _parsed(path, line, remedy, where), fields, remedy, where) for where, line in lines]


class Measured(NamedTuple):
    """One measurement of a job; memory and processor time are None if the job was too short for snakemake to measure them."""

    seconds: float
    """Wall time [s]."""
    memory_mb: float | None
    """Peak memory [MB]."""
    cpu_s: float | None
    """Processor time [s]."""


def read_benchmark(path: Path) -> list[Measured]:
    """Read the measurements in a snakemake benchmark file. They are only displayed, so damaged or missing values are skipped."""
    try:
        with path.open(encoding="utf-8", errors="replace", newline="") as file:
            rows = list(csv.DictReader(file, delimiter="\t"))
    except (OSError, csv.Error):
        return []
    measured = ((_number(row.get("s")), _number(row.get("max_rss")), _number(row.get("cpu_time"))) for row in rows)
    return [Measured(seconds, *others) for seconds, *others in measured if seconds is not None]


def in_its_place(path: Path) -> str | None:
    """Return what blocks a file's path and what to do ("a folder is in its place; remove it"), or None."""
    if os.path.isdir(path):
        return "a folder is in its place; remove it"
    if os.path.islink(path) and not os.path.exists(path):
        return f"a link to {os.readlink(path)}, which does not exist, is in its place; remove it"
    parent = next(part for part in path.absolute().parents if os.path.lexists(part))
    return None if os.path.isdir(parent) else f"{parent} is not a folder; remove it"


def _text(path: Path, remedy: str) -> str:
    try:
        text = path.read_text(encoding="utf-8")
    except (FileNotFoundError, NotADirectoryError):
        raise StoreError(f"{path} is missing; {in_its_place(path) or remedy.removeprefix('delete it, then ')}") from None
    except IsADirectoryError:
        raise StoreError(f"{path}: {in_its_place(path)}") from None
    except OSError as error:
        raise StoreError(f"{path} cannot be read: {error.strerror}; make it readable") from None
    except UnicodeDecodeError:
        raise _damaged(path, "it is not text", remedy) from None
    if not text.strip():
        raise _damaged(path, "it is empty", remedy)
    return text


def _parsed(path: Path, text: str, remedy: str, where: str = "") -> Any:
    try:
        return json.loads(text, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise _damaged(path, f"{where}not JSON: {error}", remedy) from None


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not a JSON number")


def _with_fields(path: Path, content: Any, fields: Fields, remedy: str, where: str = "") -> dict[str, Any]:
    """Return the content if it is a mapping with these fields; raise StoreError otherwise."""
    if not isinstance(content, dict):
        raise _damaged(path, f"{where}expected a mapping, found {_shown(content)}", remedy)
    for name, kinds in fields.items():
        value, allowed = content.get(name), kinds if isinstance(kinds, tuple) else (kinds,)
        if name not in content:
            raise _damaged(path, f"{where}it has no {name}", remedy)
        if type(value) not in allowed:
            raise _damaged(path, f"{where}{name} is {_shown(value)}, expected {_SHOWN[allowed[-1]]}", remedy)
    return content


def _shown(value: Any) -> str:
    return "null" if value is None else _SHOWN[type(value)]


def _damaged(path: Path, what: str, remedy: str) -> StoreError:
    return StoreError(f"{path} is damaged: {what}; {remedy}")


def _number(text: Any) -> float | None:
    try:
        number = float(text)
    except (TypeError, ValueError):
        return None
    return number if math.isfinite(number) and number >= 0 else None


# --- writing ------------------------------------------------------------------------------------------------------------


def write_atomically(path: Path, content: bytes | bytearray | memoryview) -> None:
    """Write a file atomically: a reader sees the complete old or new file, even after a crash or power failure.

    Raises
    ------
    StoreError
        If the file cannot be written, e.g. because the disk is full.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=_UNFINISHED)
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            os.chmod(name, 0o644)
            os.replace(name, path)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise
        _sync_folder(path.parent)
    except OSError as error:
        remedy = in_its_place(path) or disk_remedy(error)
        raise StoreError(f"{path} cannot be written: {error.strerror}; {remedy}, then run snakemake again") from error


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def remove_unfinished(folder: Path) -> None:
    """Remove the partial files of killed jobs."""
    for path in folder.rglob(f".*{_UNFINISHED}"):
        if not path.is_dir():
            path.unlink(missing_ok=True)

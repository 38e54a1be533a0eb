"""The parts of a configuration and of a user's tables that the key of a result covers."""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from spikelens.config import RunConfig
from spikelens.config.items import Item


def item_options(run: RunConfig, item: Item) -> dict[str, Any]:
    """The options of an item that its results depend on, and its other dependencies (`Item.context`)."""
    return {key: value for key, value in keyed(item).items() if key not in item.NO_RESULTS} | item.context(run)


def keyed(value: Any) -> Any:
    """Convert a part of the configuration to JSON types for a key, without the fields that have their neutral value."""
    if isinstance(value, BaseModel):
        neutral = _neutral_values(type(value))
        fields = {name: keyed(getattr(value, name)) for name in type(value).model_fields}
        return {name: content for name, content in fields.items() if name not in neutral or content != neutral[name]}
    if isinstance(value, Mapping):
        return {name: keyed(part) for name, part in value.items()}
    return list(map(keyed, value)) if isinstance(value, (list, tuple)) else value


@functools.cache
def _neutral_values(section: type[BaseModel]) -> dict[str, Any]:
    """The neutral values of a section's fields that have one."""
    extras = {name: field.json_schema_extra for name, field in section.model_fields.items()}
    return {name: extra["neutral"] for name, extra in extras.items() if isinstance(extra, dict) and "neutral" in extra}


def content_of(table: str | None) -> str | None:
    """Hash of the content of a user's table; its path does not matter."""
    if table is None:
        return None
    if not Path(table).exists():
        return f"missing: {table}"  # a finished run may be opened on a machine without its tables
    if Path(table).is_dir():  # a Parquet dataset: names encode partitions, and those that start with '.' or '_' are ignored
        names = (path.relative_to(table) for path in sorted(Path(table).rglob("*")) if path.is_file())
        parts = [name for name in names if not any(part.startswith((".", "_")) for part in name.parts)]
        return digest([[str(name), content_of(str(Path(table, name)))] for name in parts])
    file = Path(table).stat()
    return _file_digest(table, file.st_mtime_ns, file.st_size)


@functools.cache
def _file_digest(path: str, _mtime_ns: int, _size: int) -> str:
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def digest(content: Any) -> str:
    # keys are not sorted: ids depend on the order of the populations, random numbers on that of the connections
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()[:16]


def leaves(content: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Dotted keys of nested mappings, and their values; a list is one value."""
    if isinstance(content, Mapping) and content:
        for key, value in content.items():
            yield from leaves(value, f"{prefix}.{key}" if prefix else str(key))
    else:
        yield prefix, content

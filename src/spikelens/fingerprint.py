"""What a stage's results depend on, as one short hash; the key of a result is made of it (`places`).

It covers the keys of the configuration that a stage, or an item of one, reads, the results version of its code (`versions`), and the
fingerprints of what it is computed from. Ranks, paths and, up to the features, the duration are left out: they do not change what a
shard holds. So is a key of the configuration with its neutral value (`config.types.Section`). Versions of libraries are provenance and
do not count.
"""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from spikelens.config import STAGES, RunConfig, Stage
from spikelens.config.items import Item, Read, extensions
from spikelens.versions import extension_hash, results_version

_NOT_RESULTS = {"simulation": ("ranks", "duration_s"), "explanation": ("methods",)}
"""Keys that do not change what any one shard of a stage holds, and items, which have keys of their own."""


def fingerprint(run: RunConfig, stage: Stage, item: str = "") -> str:
    """Hash everything that the results of a stage, or of one item of it, follow from; 16 hexadecimal digits."""
    if (record := run.record) is not None:
        key: str = record[f"{stage}.{item}" if item else stage]["key"]
        return key
    read = [fingerprint(run, *source) for source in reads_of(run, stage, item)]
    return _digest([_configured(run, stage, item), versions_of(run, stage, item), read])


def reads_of(run: RunConfig, stage: Stage, item: str = "") -> tuple[Read, ...]:
    """The results that those of a stage, or of one item of it, are computed from."""
    if (record := run.record) is not None:
        return tuple(Read(*source) for source in record[f"{stage}.{item}" if item else stage]["reads"])
    match stage:
        case "network" | "recording":
            return ()
        case "simulation":
            return (Read("network"),)
        case "features" | "models" | "explanation" if item:
            return run.items(stage)[item].reads(run)
        case "explanation":
            wiring = (Read("network"), Read("simulation")) if run.has_network else ()
            return (*wiring, *(Read("explanation", name) for name in run.methods))
        case "report":
            features = (Read("features", name) for name in run.computed_features)
            return (*features, Read("explanation"), *(Read("models", name) for name in run.models))
    raise AssertionError(f"{stage} has items, and no results of its own")


def versions_of(run: RunConfig, stage: Stage, item: str) -> list[int | str]:
    """The results versions of the code of a stage, or of one of its items; those of extensions are hashes of their files."""
    if item:
        return [_version(stage, run.items(stage)[item])]
    of_kinds = {found.kind: _version(stage, found) for of in STAGES for found in run.items(of).values()} if stage == "report" else {}
    return [results_version(stage), *(version for _, version in sorted(of_kinds.items()))]


def _version(stage: Stage, item: Item) -> int | str:
    extension = extensions.source_of(type(item))
    return results_version(f"{stage}/{item.kind}") if extension is None else extension_hash(extension)


def _configured(run: RunConfig, stage: Stage, item: str) -> dict[str, Any]:
    """The keys of the configuration that a stage, or an item of it, reads."""
    if item:
        found = run.items(stage)[item]
        section = {key: value for key, value in keyed(found).items() if key not in found.NO_RESULTS} | found.context(run)
        if stage == "features":  # a run that grows keeps its features
            return section
        return {**section, "training": keyed(run.training), "duration_s": run.duration_s}
    section = {key: value for key, value in keyed(getattr(run, stage)).items() if key not in _NOT_RESULTS.get(stage, ())}
    if stage == "network":
        section["edges"] = _content_of(run.network.edges)
    if stage == "recording":
        section["file"] = _content_of(section["file"])
        section = {key: value for key, value in section.items() if key != "duration_s"}
    if stage == "simulation":
        section["drive"] = {**keyed(run.drive), "events": _content_of(run.drive.events)}
        section["weight_average"] = run.weight_average
    if stage == run.spikes_stage and run.n_steps % run.segment_steps:
        section["duration_s"] = run.duration_s  # the shards of a short last segment are short: a longer run can't go on from them
    if stage == "explanation":
        section["duration_s"] = run.duration_s
        section["methods"] = list(run.methods)
    if stage == "report":
        section["duration_s"] = run.duration_s
        section["features"] = list(run.computed_features)
        section["models"] = {name: model.seeds for name, model in run.models.items()}
    return section


def keyed(value: Any) -> Any:
    """A part of the configuration as it enters keys, as JSON has it: without the fields that have their neutral value."""
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


def _content_of(table: str | None) -> str | None:
    """What stands in a user's table; where it stands does not matter."""
    if table is None:
        return None
    if not Path(table).exists():
        return f"missing: {table}"  # a finished run may be opened where its tables are not
    if Path(table).is_dir():  # a Parquet dataset, of which names tell partitions; files that begin with '.' or '_' are no part of it
        names = (path.relative_to(table) for path in sorted(Path(table).rglob("*")) if path.is_file())
        parts = [name for name in names if not any(part.startswith((".", "_")) for part in name.parts)]
        return _digest([[str(name), _content_of(str(Path(table, name)))] for name in parts])
    file = Path(table).stat()
    return _file_digest(table, file.st_mtime_ns, file.st_size)


@functools.cache
def _file_digest(path: str, _mtime_ns: int, _size: int) -> str:
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _digest(content: Any) -> str:
    # keys keep their order: ids follow the order of the populations, random numbers that of the connections
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()[:16]

"""What a stage's results depend on, as one short hash; the key of a result is made of it (`places`).

A stage's fingerprint covers the keys of its configuration, the results version of its code (`versions`), and the fingerprint of the
stage before it. Ranks, paths and the duration are left out: they do not change what a shard holds. So is a key of the configuration
with its neutral value (`config.types.Section`). Versions of libraries are provenance and do not count.
"""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from spikelens.config import MODEL_NAMES, STAGES, ModelName, RunConfig, Stage
from spikelens.versions import items_of, results_version

_NOT_RESULTS = {"simulation": ("ranks", "duration_s"), "features": ("window_ms",)}
"""Keys that do not change what any one shard of a stage holds; windows of rates are added up from bins by who reads them."""


def fingerprint(run: RunConfig, stage: Stage) -> str:
    """Hash everything that the results of a stage follow from, earlier stages included; 16 hexadecimal digits."""
    earlier = STAGES[: STAGES.index(stage)]
    return _digest([[_configured(run, name), *map(results_version, items_of(name))] for name in (*earlier, stage)])


def model_fingerprint(run: RunConfig, model: ModelName) -> str:
    """Hash what one model follows from: as `fingerprint(run, "models")`, with this model's keys only."""
    models = keyed(run.models)
    own = {key: models[key] for key in ("start_s", "split", model)}
    del own[model]["seeds"], own[model]["ranks"]
    if model.startswith("tft"):
        own["window_ms"] = run.features.window_ms
    return _digest([fingerprint(run, "features"), own, run.simulation.duration_s, results_version(f"models/{model}")])


def _configured(run: RunConfig, stage: Stage) -> dict[str, Any]:
    """The keys of the configuration that a stage reads."""
    section = {key: value for key, value in keyed(getattr(run, stage)).items() if key not in _NOT_RESULTS.get(stage, ())}
    if stage == "network":
        section["edges"] = _content_of(run.network.edges)
    if stage == "simulation":
        section["drive"] = {**keyed(run.drive), "events": _content_of(run.drive.events)}
        section["weight_average"] = run.weight_average
        if run.n_steps % run.segment_steps:  # the shards of a short last segment are short: a longer run can't go on from them
            section["duration_s"] = run.simulation.duration_s
    if stage == "explanation":
        section["duration_s"] = run.simulation.duration_s
    if stage == "models":
        section["window_ms"] = run.features.window_ms
        for name in MODEL_NAMES:
            del section[name]["ranks"]
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
    if not Path(table).is_file():
        return f"missing: {table}"  # a finished run may be opened where its tables are not
    file = Path(table).stat()
    return _file_digest(table, file.st_mtime_ns, file.st_size)


@functools.cache
def _file_digest(path: str, _mtime_ns: int, _size: int) -> str:
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _digest(content: Any) -> str:
    # keys keep their order: ids follow the order of the populations, random numbers that of the connections
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()[:16]

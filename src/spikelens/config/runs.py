"""Turn the content of a configuration file into runs, and read the configuration in a run's folder."""

from __future__ import annotations

import itertools
import json
import math
import os
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ValidationError

from spikelens.config import extensions
from spikelens.config.checks import check
from spikelens.config.run import FOLLOWING, ConfigFile, RunConfig
from spikelens.config.types import MAX_RUNS, Section
from spikelens.errors import ConfigError, Problem, SpikelensError
from spikelens.files import read_json
from spikelens.names import Stage
from spikelens.refusals import did_you_mean, problems_of


def load_runs(content: Mapping[str, Any], source: str = "the configuration", until: Stage | None = None) -> list[RunConfig]:
    """Turn the content of a configuration file into runs, one for each combination of the sweep's values.

    Parameters
    ----------
    content
        As read from the file.
    source
        The name of the file, for messages.
    until
        The last stage that will be run; what concerns only later stages is not checked. None: everything is checked.

    Raises
    ------
    ConfigError
        With every problem found: key, value, expected value.
    """
    extensions.use(content.get(extensions.KEY, []), source)
    file = parse(ConfigFile, content, source)
    if file.base is not None:
        raise ConfigError(source, [Problem("base", file.base, "expected only in a configuration file")])
    n_runs = math.prod(map(len, file.sweep.values()))
    if n_runs > MAX_RUNS:
        raise ConfigError(source, [Problem("sweep", n_runs, f"expected at most {MAX_RUNS:,} runs; use fewer values")])
    base = file.model_dump(mode="json", exclude={"base", "sweep"})
    base["run"]["results"] = _home_expanded(file.run.results, source)
    # not from `file`: `problems_of` recognizes text from --config by its type
    sweep = {key: content["sweep"][key] for key in file.sweep}
    problems: dict[str, Problem] = {}
    runs = []
    for combination in itertools.product(*([(key, value) for value in values] for key, values in sweep.items())):
        resolved = json.loads(json.dumps(base))
        for key, value in combination:
            _set_key(resolved, key, value, source)
        _forget_following(resolved, content, sweep)
        name = ",".join(f"{key}={_path_part(key, value, source)}" for key, value in combination)
        resolved["path"] = str(Path(base["run"]["results"], file.run.name, name))
        run = parse(RunConfig, resolved, f"{source} (sweep {name})" if name else source)
        problems |= {str(problem): problem for problem in check(run, until)}
        runs.append(run)
    twice = sorted(path for path, n in Counter(run.path for run in runs).items() if n > 1)
    found = [
        *problems.values(),
        *(Problem("sweep", Path(path).name, "expected distinct values; two combinations have this folder") for path in twice),
    ]
    if found:
        raise ConfigError(source, found)
    return runs


def _home_expanded(results: str, source: str) -> str:
    """The results folder with ~ and ~user expanded."""
    expanded = os.path.expanduser(results)
    if expanded.startswith("~"):
        raise ConfigError(source, [Problem("run.results", results, "unknown user; write the full path")])
    if str(Path(expanded)).startswith("-"):
        raise ConfigError(
            source, [Problem("run.results", results, "expected no '-' at the start: commands would read the path as an option")]
        )
    return expanded


def load_run(folder: str | Path, *, execute: bool = False) -> RunConfig:
    """Read the configuration in a run's folder, `results/<run>/config.json`.

    With `execute`, its extensions are executed; only commands that compute or plan need that.
    """
    path = Path(folder) / "config.json"
    if not os.path.lexists(path):
        raise SpikelensError(f"{folder} is not a run: it has no config.json; expected a folder like results/reference")
    return load_config(path, folder, execute=execute)


def load_config(path: Path, folder: str | Path, remedy: str = "run snakemake, which restores it", *, execute: bool = False) -> RunConfig:
    """Read a configuration in JSON for a run in `folder`; `remedy` says what to do if the file is damaged."""
    content = read_json(path, {"path": str}, remedy)
    if execute:
        extensions.use(content.get(extensions.KEY, []), str(path))
    recorded = not execute and extensions.use_record(content)
    run = parse(RunConfig, content, str(path)).model_copy(update={"path": str(folder)})
    return run.recorded(extensions.record_path(path)) if recorded else run


def json_schema() -> dict[str, Any]:
    """The JSON schema of config.yaml; workflow/schemas/ holds a copy."""
    return ConfigFile.model_json_schema()


ConfigType = TypeVar("ConfigType", bound=Section)


def parse(kind: type[ConfigType], content: Mapping[str, Any], source: str) -> ConfigType:
    """Validate against the types; pydantic's errors become `Problem`s."""
    try:
        return kind.model_validate(content)
    except ValidationError as error:
        raise ConfigError(source, problems_of(kind, error)) from None


_NOT_SWEPT = ("run", extensions.KEY)
"""Top-level keys that are the same for all runs of a sweep."""


def _set_key(content: dict[str, Any], key: str, value: Any, source: str) -> None:
    """Set an existing dotted key of a resolved configuration."""
    *parents, last = key.split(".")
    node: Any = content
    for parent in parents:
        node = node.get(parent) if isinstance(node, dict) else None
    if not isinstance(node, dict) or last not in node or isinstance(node[last], dict) or key.split(".")[0] in _NOT_SWEPT:
        known = [name for name in _dotted_keys(content) if name.split(".")[0] not in _NOT_SWEPT]
        raise ConfigError(
            source,
            [Problem(f"sweep.{key}", value, f"no such key to sweep over; {did_you_mean(key, known, 'expected one like network.seed')}")],
        )
    node[last] = value


def _forget_following(resolved: dict[str, Any], given: Mapping[str, Any], sweep: Iterable[str]) -> None:
    """Remove defaults that depend on other keys: they differ between the runs of a sweep."""
    for key in FOLLOWING:
        section, name = key.split(".")
        if resolved[section] is None:
            continue
        if name not in (given.get(section) or {}) and not any(swept == key or swept.startswith(f"{key}.") for swept in sweep):
            del resolved[section][name]


def _dotted_keys(content: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    for key, value in content.items():
        if isinstance(value, dict):
            yield from _dotted_keys(value, f"{prefix}{key}.")
        else:
            yield prefix + key


def _path_part(key: str, value: Any, source: str) -> str:
    """A value as part of a folder's name: a list is joined by '-', a slash becomes '_'."""
    parts = value if isinstance(value, list) else [value]
    text = "-".join("null" if part is None else str(part) for part in parts).replace("/", "_")
    if not re.fullmatch(r"[A-Za-z0-9._+-]+", text):
        raise ConfigError(
            source,
            [Problem(f"sweep.{key}", value, "expected only letters, digits, '.', '_', '+', '-' and '/': values become folder names")],
        )
    return text

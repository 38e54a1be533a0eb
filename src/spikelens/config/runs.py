"""From the content of a configuration file to runs, and from a run's folder to its configuration."""

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

from spikelens.config.checks import check
from spikelens.config.run import FOLLOWING, ConfigFile, RunConfig
from spikelens.config.types import MAX_RUNS, Section
from spikelens.errors import ConfigError, Problem, SpikelensError
from spikelens.files import read_json
from spikelens.names import Stage
from spikelens.refusals import did_you_mean, problems_of


def load_runs(content: Mapping[str, Any], source: str = "the configuration", until: Stage | None = None) -> list[RunConfig]:
    """Turn the content of a configuration file into its runs, one for each combination of the sweep's values.

    Raises
    ------
    ConfigError
        With every problem found: key, value, what was expected.
    """
    file = parse(ConfigFile, content, source)
    if file.base is not None:
        raise ConfigError(source, [Problem("base", file.base, "expected in a configuration file only")])
    n_runs = math.prod(map(len, file.sweep.values()))
    if n_runs > MAX_RUNS:
        raise ConfigError(source, [Problem("sweep", n_runs, f"expected at most {MAX_RUNS:,} runs; take fewer values")])
    base = file.model_dump(mode="json", exclude={"base", "sweep"})
    base["run"]["results"] = _home_expanded(file.run.results, source)
    # as they were given: of a text, `problems_of` tells whether it is one of --config's
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
    found = [*problems.values(), *(Problem("sweep", Path(path).name, "expected each value once; two give this folder") for path in twice)]
    if found:
        raise ConfigError(source, found)
    return runs


def _home_expanded(results: str, source: str) -> str:
    """The folder of results with ~ and ~user replaced by the home that they stand for."""
    expanded = os.path.expanduser(results)
    if expanded.startswith("~"):
        raise ConfigError(source, [Problem("run.results", results, "no such user has a home here; write the path out")])
    if str(Path(expanded)).startswith("-"):
        raise ConfigError(
            source, [Problem("run.results", results, "expected no '-' at the beginning: commands would take it for an option")]
        )
    return expanded


def load_run(folder: str | Path) -> RunConfig:
    """Read the configuration that a run keeps in its folder, `results/<run>/config.json`."""
    path = Path(folder) / "config.json"
    if not os.path.lexists(path):
        raise SpikelensError(f"{folder} is no run: it has no config.json; expected a folder like results/reference")
    return load_config(path, folder)


def load_config(path: Path, folder: str | Path, remedy: str = "run snakemake, which writes it again") -> RunConfig:
    """Read a configuration that is kept as JSON, as that of a run in `folder`; `remedy`: what to do about a damaged one."""
    run = parse(RunConfig, read_json(path, {"path": str}, remedy), str(path))
    return run.model_copy(update={"path": str(folder)})


def json_schema() -> dict[str, Any]:
    """The JSON schema of config.yaml, as kept in workflow/schemas/."""
    return ConfigFile.model_json_schema()


ConfigType = TypeVar("ConfigType", bound=Section)


def parse(kind: type[ConfigType], content: Mapping[str, Any], source: str) -> ConfigType:
    """Validate against the types, turning pydantic's findings into `Problem`s."""
    try:
        return kind.model_validate(content)
    except ValidationError as error:
        raise ConfigError(source, problems_of(kind, error)) from None


def _set_key(content: dict[str, Any], key: str, value: Any, source: str) -> None:
    """Set a dotted key of a resolved configuration; it must already stand there."""
    *parents, last = key.split(".")
    node: Any = content
    for parent in parents:
        node = node.get(parent) if isinstance(node, dict) else None
    if not isinstance(node, dict) or last not in node or isinstance(node[last], dict) or parents[:1] == ["run"]:
        known = [name for name in _dotted_keys(content) if not name.startswith("run.")]
        raise ConfigError(
            source,
            [Problem(f"sweep.{key}", value, f"no such key to sweep over; {did_you_mean(key, known, 'expected one like network.seed')}")],
        )
    node[last] = value


def _forget_following(resolved: dict[str, Any], given: Mapping[str, Any], sweep: Iterable[str]) -> None:
    """Remove defaults that follow from other keys: each run of a sweep has its own."""
    for key in FOLLOWING:
        section, name = key.split(".")
        if name not in given.get(section, {}) and not any(swept == key or swept.startswith(f"{key}.") for swept in sweep):
            del resolved[section][name]


def _dotted_keys(content: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    for key, value in content.items():
        if isinstance(value, dict):
            yield from _dotted_keys(value, f"{prefix}{key}.")
        else:
            yield prefix + key


def _path_part(key: str, value: Any, source: str) -> str:
    """The part of a folder's name that a value gives: a list is joined by '-', a slash of a path becomes '_'."""
    parts = value if isinstance(value, list) else [value]
    text = "-".join("null" if part is None else str(part) for part in parts).replace("/", "_")
    if not re.fullmatch(r"[A-Za-z0-9._+-]+", text):
        raise ConfigError(
            source, [Problem(f"sweep.{key}", value, "expected values of letters, digits, '.', '_', '+', '-' and '/': they name folders")]
        )
    return text

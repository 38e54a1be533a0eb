"""From what a user names to runs: a configuration file, the files that it builds on, `--set`; or the folder of a run or a sweep.

The command line and the Snakefile both read here, so that they take and refuse the same.
"""

from __future__ import annotations

import copy
import logging
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from spikelens.config import Config, RunConfig, check, load_run, load_runs, parse, require_tables
from spikelens.config.yaml12 import parse_yaml, read_yaml
from spikelens.errors import ConfigError, Problem, SpikelensError
from spikelens.names import OPEN_SETS
from spikelens.refusals import CommandLineText, how_to_set

log = logging.getLogger(__name__)

Layer = tuple[str, Mapping[str, Any]]
"""Where keys come from (a file, or an option), and these keys."""

WHOLE = (("network", "populations"), ("network", "connections"))
"""Mappings that a later file replaces whole: merged, its populations would mix with those of the file that it builds on."""


def load(places: Sequence[str], settings: Sequence[str] = (), overrides: Mapping[str, Any] | None = None) -> list[RunConfig]:
    """Load the runs of a configuration, or of the folder of a run or sweep, and check that they can be run.

    Parameters
    ----------
    places
        A configuration file or a folder. Of several files, a later one counts where two give the same key.
    settings
        Texts of the form `KEY=VALUE` that replace values, with dotted keys and values in YAML.
    overrides
        The content of snakemake's `--config`. Its key `set` holds further settings; `configuration` is the Snakefile's to read.

    Raises
    ------
    SpikelensError
        If the runs cannot be run. The message names each key, and its file or option if that is another one than was named.
    """
    options = dict(overrides or {})
    options.pop("configuration", None)
    dotted = [Problem(key, value, f"no section; use {how_to_set(key, value)}") for key, value in options.items() if "." in key]
    if dotted:
        raise ConfigError("--config", dotted)
    settings = [*settings, *_texts(options.pop("set", None))]
    source = ", ".join(places)
    if len(places) == 1 and Path(places[0]).is_dir():
        return _checked([_with_settings(run, settings) for run in folder_runs(places[0])])
    layers = [layer for place in reversed(places) for layer in file_layers(Path(place))]
    if options:
        layers.insert(0, ("--config", _marked(options)))
    try:
        return load_runs(with_settings(_content_of(layers), settings), source)
    except ConfigError as error:
        raise ConfigError(source, [_with_origin(problem, settings, layers, places) for problem in error.problems]) from None


def load_content(content: Mapping[str, Any], source: str) -> list[RunConfig]:
    """Load the runs of a configuration that is given as a mapping; its key `set` holds texts of the form `KEY=VALUE`.

    Raises
    ------
    ConfigError
        If the runs cannot be run.
    """
    content = dict(content)
    settings = _texts(content.pop("set", None))
    return load_runs(with_settings(content, settings), source)


def load_given(config: str | Path | Mapping[str, Any] | RunConfig) -> list[RunConfig]:
    """Load the runs of whatever a call from Python names: a configuration file, a run's folder, a mapping of keys, or a run itself.

    Raises
    ------
    SpikelensError
        If it is none of these, or the runs cannot be run.
    """
    match config:
        case RunConfig():
            return _checked([config])
        case str() | Path():
            return load([os.path.expanduser(config)])
        case Mapping():
            return load_content(config, "the configuration")
    raise SpikelensError(
        f"the configuration is a {type(config).__name__}; expected the path of a configuration file or of a run's folder, a mapping like "
        '{"network": {"seed": 2}}, or a RunConfig'
    )


def look(place: str) -> list[RunConfig]:
    """The runs that a command looks at: those of a folder as they were made, or those of a configuration that were started.

    Raises
    ------
    SpikelensError
        If nothing was started.
    """
    if Path(place).suffix not in (".yaml", ".yml", ".json") and not Path(place).is_file():
        runs = folder_runs(place)
        for run in runs:
            require_tables(run)
        return runs
    runs = load([place])
    started = [run for run in runs if (run.folder / "config.json").is_file()]
    if not started:
        raise SpikelensError(f"{place}: {runs[0].path} was not started yet; start it with `spikelens run {place}`")
    if len(started) < len(runs):
        log.info("%s: %d of its %d runs were not started yet", place, len(runs) - len(started), len(runs))
    return started


# --- files --------------------------------------------------------------------------------------------------------------


def _content_of(layers: Sequence[Layer]) -> dict[str, Any]:
    """What the layers give together; the first counts most."""
    content: dict[str, Any] = {}
    for _, above in reversed(layers):
        content = merged(content, above)
    return content


def file_layers(path: Path, above: tuple[Path, ...] = ()) -> Iterator[Layer]:
    """A configuration file and the files that it builds on with `base`, this one first.

    Raises
    ------
    SpikelensError
        If one of them is missing, cannot be read, or builds on a file that builds on it.
    """
    content = read_yaml(path)
    base = content.pop("base", None)
    yield str(path), content
    if base is None:
        return
    if not isinstance(base, str) or not base:
        raise ConfigError(str(path), [Problem("base", base, "expected the path of a configuration file, relative to this one")])
    below = path.parent / os.path.expanduser(base)
    if not below.is_file():
        raise ConfigError(str(path), [Problem("base", base, f"{below}: no such file; the path is relative to {path}")])
    chain = (*above, path)
    if any(below.samefile(one) for one in chain):
        cycle = " -> ".join(map(str, (*chain, below)))
        raise ConfigError(str(path), [Problem("base", base, f"a file cannot build on itself: {cycle}")])
    yield from file_layers(below, chain)


def merged(below: Mapping[str, Any], above: Mapping[str, Any], place: tuple[str, ...] = ()) -> dict[str, Any]:
    """Merge two configurations key by key, populations and connections whole; what is above counts.

    Of an open set, null removes an item that the file below has.
    """
    content: dict[str, Any] = dict(below)
    for key, value in above.items():
        under, where = content.get(key), (*place, key)
        if value is None and place in OPEN_SETS and key in content:
            del content[key]
        elif isinstance(under, Mapping) and isinstance(value, Mapping) and where not in WHOLE:
            content[key] = merged(under, value, where)
        else:
            content[key] = value
    if place == ("network",) and "populations" in above and "neurons" not in above:
        content.pop("neurons", None)  # it follows from the populations
    return content


def _marked(given: Any) -> Any:
    """The values of `--config`, whose texts are known as such by messages."""
    if isinstance(given, Mapping):
        return {key: _marked(value) for key, value in given.items()}
    if isinstance(given, list):
        return [_marked(value) for value in given]
    return CommandLineText(given) if isinstance(given, str) else given


def _with_origin(problem: Problem, settings: Iterable[str], layers: Iterable[Layer], named: Sequence[str]) -> Problem:
    """Name the option or file that a faulty key comes from, unless it is the file that the user named."""
    for setting in settings:
        path, _ = _setting(setting)
        if f"{problem.key}.".startswith(f"{'.'.join(path)}.") or f"{'.'.join(path)}.".startswith(f"{problem.key}."):
            return replace(problem, expected=f"{problem.expected} (from --set {setting})")
    origin = next((name for name, content in layers if _has(content, problem.key.split("."))), None)
    if origin is None or [origin] == [str(Path(place)) for place in named] or origin == "--config":
        return problem
    return replace(problem, expected=f"{problem.expected} (from {origin})")


def _has(content: Any, path: Sequence[str]) -> bool:
    """Whether a configuration gives the key at a path."""
    for part in path:
        if not isinstance(content, Mapping) or part not in content:
            return False
        content = content[part]
    return True


# --- --set --------------------------------------------------------------------------------------------------------------


def with_settings(content: Mapping[str, Any], settings: Iterable[str]) -> dict[str, Any]:
    """Set keys of a configuration.

    Raises
    ------
    SpikelensError
        If a text is not of the form `KEY=VALUE`, or its value is not valid YAML.
    """
    changed = copy.deepcopy(dict(content))
    paths = []
    for path, value in map(_setting, settings):
        _set(changed, path, value)
        paths.append(path)
    if any(path[:2] == ("network", "populations") for path in paths) and ("network", "neurons") not in paths:
        changed["network"].pop("neurons", None)  # it follows from the populations
    return changed


def _texts(given: Any) -> list[str]:
    """The texts of `--config set=`, which is a list or one text; characters may be written as in a URL (`launch.as_config`)."""
    return [] if given is None else [unquote(str(text)) for text in (given if isinstance(given, list) else [given])]


def _setting(text: str) -> tuple[tuple[str, ...], Any]:
    """The path of keys and the value of `KEY=VALUE`. A key to sweep over is one key."""
    key, equals, value = text.partition("=")
    section, dot, swept = key.strip().partition(".")
    path = (section, swept) if section == "sweep" and dot else tuple(key.strip().split("."))
    if not equals or not all(path):
        raise SpikelensError(f"--set {text}: expected KEY=VALUE with a dotted key, like network.seed=2")
    return path, parse_yaml(value, f"--set {text}")


def _set(content: dict[str, Any], path: tuple[str, ...], value: Any) -> None:
    """Set the value at a path; of the default populations, connections and items, those that are not named stay."""
    node = content
    for depth, part in enumerate(path[:-1], start=1):
        if not isinstance(node.get(part), dict):
            node[part] = _default(path[:depth]) if path[:depth] in (*WHOLE, *OPEN_SETS) else {}
        node = node[part]
    if value is None and path[:-1] in OPEN_SETS:
        node.pop(path[-1], None)
    else:
        node[path[-1]] = value


def _default(path: tuple[str, ...]) -> Any:
    value: Any = Config().model_dump(mode="json")
    for part in path:
        value = value[part]
    return value


# --- folders ------------------------------------------------------------------------------------------------------------


def folder_runs(place: str) -> list[RunConfig]:
    """The run of a folder like results/reference; if a sweep was made there, all of its runs.

    Raises
    ------
    SpikelensError
        If there is no run in it, or the configuration of one is damaged.
    """
    folder = Path(place)
    members = sorted((path.parent for path in folder.glob("*=*/config.json")), key=_by_numbers)
    if not members or (folder / "config.json").is_file():
        return [load_run(folder)]
    return [load_run(member) for member in members]


def _by_numbers(path: Path) -> list[tuple[int, str]]:
    """Sort names as their numbers are: seed=2 before seed=10."""
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"(\d+)", path.name)]


def _with_settings(run: RunConfig, settings: Sequence[str]) -> RunConfig:
    """A run with keys set; its folder stays."""
    if not settings:
        return run
    content = with_settings(run.model_dump(mode="json"), settings)
    try:
        return parse(RunConfig, content, run.path)
    except ConfigError as error:
        raise ConfigError(run.path, [_with_origin(problem, settings, [], []) for problem in error.problems]) from None


def _checked(runs: list[RunConfig]) -> list[RunConfig]:
    """The runs, if they can be run."""
    for run in runs:
        problems = list(check(run))
        if problems:
            raise ConfigError(run.path, problems)
    return runs

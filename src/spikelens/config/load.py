"""Load runs from a configuration file, its base files and `--set`, or from the folder of a run or a sweep.

The command line and the Snakefile both use this module, so they accept and refuse the same configurations.
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
from spikelens.config.extensions import KEY
from spikelens.config.yaml12 import parse_yaml, read_yaml
from spikelens.errors import ConfigError, Problem, SpikelensError
from spikelens.names import OPEN_SETS, Stage
from spikelens.refusals import CommandLineText, how_to_set

log = logging.getLogger(__name__)

Layer = tuple[str, Mapping[str, Any]]
"""The source of some keys (a file or an option), and the keys."""

WHOLE = (("network", "populations"), ("network", "connections"))
"""Mappings that a file replaces as a whole: merging would mix its populations with those of its base file."""


def load(
    places: Sequence[str],
    settings: Sequence[str] = (),
    overrides: Mapping[str, Any] | None = None,
    until: Stage | None = None,
) -> list[RunConfig]:
    """Load the runs of a configuration, or of the folder of a run or sweep, and check that they can be run.

    Parameters
    ----------
    places
        A configuration file or a folder. Later files override earlier ones.
    settings
        Texts of the form `KEY=VALUE` that replace values; keys are dotted, values are YAML.
    overrides
        The content of snakemake's `--config`. Its key `set` holds further settings; the Snakefile reads `configuration`.
    until
        The last stage that will be run; what concerns only later stages is not checked. None: everything is checked.

    Raises
    ------
    SpikelensError
        If the runs cannot be run. The message names each key, and its file or option if it is not in `places`.
    """
    options = dict(overrides or {})
    options.pop("configuration", None)
    dotted = [Problem(key, value, f"not a section; use {how_to_set(key, value)}") for key, value in options.items() if "." in key]
    if dotted:
        raise ConfigError("--config", dotted)
    settings = [*settings, *_texts(options.pop("set", None))]
    source = ", ".join(places)
    if len(places) == 1 and Path(places[0]).is_dir():
        return _checked([_with_settings(run, settings) for run in folder_runs(places[0], execute=True)], until)
    layers = [layer for place in reversed(places) for layer in file_layers(Path(place))]
    if options:
        layers.insert(0, ("--config", _marked(options)))
    try:
        return load_runs(with_settings(_content_of(layers), settings), source, until)
    except ConfigError as error:
        raise ConfigError(source, [_with_origin(problem, settings, layers, places) for problem in error.problems]) from None


def load_content(content: Mapping[str, Any], source: str, until: Stage | None = None) -> list[RunConfig]:
    """Load the runs of a configuration given as a mapping; its key `set` holds texts of the form `KEY=VALUE`.

    Raises
    ------
    ConfigError
        If the runs cannot be run.
    """
    content = dict(content)
    settings = _texts(content.pop("set", None))
    return load_runs(with_settings(content, settings), source, until)


def load_given(config: str | Path | Mapping[str, Any] | RunConfig, until: Stage | None = None) -> list[RunConfig]:
    """Load runs for a call from Python: from a configuration file, a run's folder, a mapping of keys, or a `RunConfig`.

    Raises
    ------
    SpikelensError
        If `config` has another type, or the runs cannot be run up to `until`.
    """
    match config:
        case RunConfig():
            return _checked([config], until)
        case str() | Path():
            return load([os.path.expanduser(config)], until=until)
        case Mapping():
            return load_content(config, "the configuration", until)
    raise SpikelensError(
        f"the configuration is a {type(config).__name__}; expected a path to a configuration file or a run's folder, "
        'a mapping like {"network": {"seed": 2}}, or a RunConfig'
    )


def look(place: str) -> list[RunConfig]:
    """The runs that a command inspects: the runs in a folder, or the runs of a configuration that have been started.

    Raises
    ------
    SpikelensError
        If no run has been started, or a table of a run is missing.
    """
    if Path(place).suffix not in (".yaml", ".yml", ".json") and not Path(place).is_file():
        started = folder_runs(place)
        for run in started:
            require_tables(run)
        return started
    if any(content.get(KEY) for _, content in file_layers(Path(place))):
        return look(_folder_of(place))  # commands that inspect results do not execute extensions
    runs = load([place], until="network")  # results of a run stay accessible if a later section cannot be run
    started = [run for run in runs if (run.folder / "config.json").is_file()]
    for run in started:
        require_tables(run)
    if not started:
        raise SpikelensError(f"{place}: {runs[0].path} has not been started; start it with `spikelens run {place}`")
    if len(started) < len(runs):
        log.info("%s: %d of %d runs have not been started", place, len(runs) - len(started), len(runs))
    return started


def _folder_of(place: str) -> str:
    """The folder of a configuration's runs.

    Raises
    ------
    SpikelensError
        If no run was started.
    """
    run = _content_of(list(file_layers(Path(place)))).get("run") or {}
    defaults = Config().run
    folder = Path(os.path.expanduser(run.get("results", defaults.results)), run.get("name", defaults.name))
    if not folder.is_dir():
        raise SpikelensError(f"{place}: {folder} has not been started; start it with `spikelens run {place}`")
    return str(folder)


# --- files --------------------------------------------------------------------------------------------------------------


def _content_of(layers: Sequence[Layer]) -> dict[str, Any]:
    """The layers merged; earlier ones override later ones."""
    content: dict[str, Any] = {}
    for _, above in reversed(layers):
        content = merged(content, above)
    return content


def file_layers(path: Path, above: tuple[Path, ...] = ()) -> Iterator[Layer]:
    """A configuration file and its chain of base files (key `base`), the file itself first.

    Raises
    ------
    SpikelensError
        If a file is missing or unreadable, or the chain is circular.
    """
    content = read_yaml(path)
    if isinstance(content.get(KEY), list):
        content[KEY] = [_beside(path, given) for given in content[KEY]]
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
        raise ConfigError(str(path), [Problem("base", base, f"circular base files: {cycle}")])
    yield from file_layers(below, chain)


def _beside(file: Path, given: Any) -> Any:
    """The absolute path of a file that a configuration names relative to itself."""
    return str((file.parent / os.path.expanduser(given)).absolute()) if isinstance(given, str) else given


def merged(below: Mapping[str, Any], above: Mapping[str, Any], place: tuple[str, ...] = ()) -> dict[str, Any]:
    """Merge two configurations key by key, populations and connections as a whole; `above` overrides `below`.

    In an open set, null removes the item of `below`.
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
        content.pop("neurons", None)  # determined by the populations
    return content


def _marked(given: Any) -> Any:
    """The values of `--config`, with texts marked as such for messages."""
    if isinstance(given, Mapping):
        return {key: _marked(value) for key, value in given.items()}
    if isinstance(given, list):
        return [_marked(value) for value in given]
    return CommandLineText(given) if isinstance(given, str) else given


def _with_origin(problem: Problem, settings: Iterable[str], layers: Iterable[Layer], named: Sequence[str]) -> Problem:
    """Name the option or file that a wrong key comes from, unless it is the file that the user named."""
    for setting in settings:
        path, _ = _setting(setting)
        if f"{problem.key}.".startswith(f"{'.'.join(path)}.") or f"{'.'.join(path)}.".startswith(f"{problem.key}."):
            return replace(problem, expected=f"{problem.expected} (from --set {setting})")
    origin = next((name for name, content in layers if _has(content, problem.key.split("."))), None)
    if origin is None or [origin] == [str(Path(place)) for place in named] or origin == "--config":
        return problem
    return replace(problem, expected=f"{problem.expected} (from {origin})")


def _has(content: Any, path: Sequence[str]) -> bool:
    """Whether a configuration contains the key at a path."""
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
        changed["network"].pop("neurons", None)  # determined by the populations
    return changed


def _texts(given: Any) -> list[str]:
    """The texts of `--config set=`, a list or one text; they may be URL-encoded (`launch.as_config`)."""
    return [] if given is None else [unquote(str(text)) for text in (given if isinstance(given, list) else [given])]


def _setting(text: str) -> tuple[tuple[str, ...], Any]:
    """The path of keys and the value of `KEY=VALUE`. The dotted key of a sweep counts as one key."""
    key, equals, value = text.partition("=")
    section, dot, swept = key.strip().partition(".")
    path = (section, swept) if section == "sweep" and dot else tuple(key.strip().split("."))
    if not equals or not all(path):
        raise SpikelensError(f"--set {text}: expected KEY=VALUE with a dotted key, like network.seed=2")
    return path, parse_yaml(value, f"--set {text}")


def _set(content: dict[str, Any], path: tuple[str, ...], value: Any) -> None:
    """Set the value at a path. The other default populations, connections and items are kept."""
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


def folder_runs(place: str, *, execute: bool = False) -> list[RunConfig]:
    """The run in a folder like results/reference, or all runs if the folder holds a sweep.

    Raises
    ------
    SpikelensError
        If the folder holds no run, or a configuration in it is damaged.
    """
    folder = Path(place)
    members = sorted((path.parent for path in folder.glob("*=*/config.json")), key=_by_numbers)
    if not members or (folder / "config.json").is_file():
        return [load_run(folder, execute=execute)]
    return [load_run(member, execute=execute) for member in members]


def _by_numbers(path: Path) -> list[tuple[int, str]]:
    """Sort key that compares numbers in names by value: seed=2 before seed=10."""
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"(\d+)", path.name)]


def _with_settings(run: RunConfig, settings: Sequence[str]) -> RunConfig:
    """A run with keys set, in the same folder."""
    if not settings:
        return run
    content = with_settings(run.model_dump(mode="json"), settings)
    try:
        return parse(RunConfig, content, run.path)
    except ConfigError as error:
        raise ConfigError(run.path, [_with_origin(problem, settings, [], []) for problem in error.problems]) from None


def _checked(runs: list[RunConfig], until: Stage | None) -> list[RunConfig]:
    """The runs, if they can be run up to a stage."""
    for run in runs:
        problems = list(check(run, until))
        if problems:
            raise ConfigError(run.path, problems)
    return runs

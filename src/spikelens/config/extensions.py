"""Kinds of features, models and methods from a user's own files: `extensions: [my_scores.py]`.

Commands that compute or plan execute the file: `spikelens run`, `check`, `plan`, and each job. Commands that only inspect results (`open`,
`status`, `verify`, `clean`) never execute it. They read the record that `prepare` writes next to each configuration, `*.work.json`: the
key, the jobs and the files of everything that the run computes.
"""

from __future__ import annotations

import functools
import hashlib
import importlib.util
import json
import sys
import traceback
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import create_model

from spikelens.config import items
from spikelens.errors import ConfigError, Problem
from spikelens.versions import files_of

KEY = "extensions"
_SETS: dict[str, tuple[str, ...]] = {"features": ("features",), "models": ("models",), "methods": ("explanation", "methods")}
"""Path of keys to the items of each family in a configuration."""
_PLACEHOLDER = "(recorded)"


def use(given: Any, source: str) -> None:
    """Execute extensions and register their kinds, which replace those of the extensions loaded before.

    Parameters
    ----------
    given
        The value of the key `extensions`. Anything but paths in a list is ignored here; validation reports it.
    source
        The configuration, for messages.

    Raises
    ------
    ConfigError
        If a file is missing, cannot be executed, defines no kind, or defines a kind that already exists.
    """
    paths = [path for path in given if isinstance(path, str)] if isinstance(given, (list, tuple)) else []
    wanted = tuple((path, _digest_of(path)) for path in paths)
    if wanted == items.extensions.loaded:
        return
    for family in items.FAMILIES:  # load the package's kinds first: an extension may import one of them
        items.shipped(family)
    _replace(())
    try:
        for path in paths:
            _execute(Path(path), source)
    except ConfigError:
        _replace(())
        raise
    else:
        items.extensions.loaded = wanted
    finally:
        _rebuild()


def use_record(content: Mapping[str, Any]) -> bool:
    """Register placeholders for the kinds of a configuration's extensions without executing them; return whether it has extensions.

    Items of these kinds have only their options: what the run computes is read from its record.
    """
    if not content.get(KEY):
        return False
    wanted = {(family, kind) for family, kind in _kinds_in(content) if kind not in items.shipped(family)}
    loaded = tuple(sorted((_PLACEHOLDER, f"{family}/{kind}") for family, kind in wanted))
    if loaded != items.extensions.loaded:
        _replace(())
        for family, kind in wanted:
            base: Any = items.base(family)
            literal: Any = Literal[kind]
            with items.extensions.adding(None):
                create_model(kind, __base__=base, __cls_kwargs__={"extra": "allow"}, kind=(literal, kind))
        _rebuild()
        items.extensions.loaded = loaded
    return True


def _kinds_in(content: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Family and kind of every item of a configuration."""
    for family, place in _SETS.items():
        node: Any = content
        for part in place:
            node = node.get(part, {}) if isinstance(node, Mapping) else {}
        for item in node.values() if isinstance(node, Mapping) else ():
            if isinstance(item, Mapping) and isinstance(item.get("kind"), str):
                yield family, item["kind"]


def _execute(path: Path, source: str) -> None:
    def refusal(expected: str) -> ConfigError:
        return ConfigError(source, [Problem(KEY, path.name, f"{path}: {expected}")])

    if not path.is_file():
        raise refusal("no such file; the path is relative to the configuration file")
    name = f"spikelens_extension_{hashlib.sha256(str(path).encode()).hexdigest()[:12]}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise refusal("expected a Python file that ends in .py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    local = {file.stem if file.name != "__init__.py" else file.parent.name for file in files_of(path)} - {path.stem}
    for helper in local:  # may be a module of another extension, or an earlier version of this one
        sys.modules.pop(helper, None)
    sys.path = [str(path.parent), *(entry for entry in sys.path if entry != str(path.parent))]  # also for imports in its functions
    with items.extensions.adding(path) as added:
        try:
            spec.loader.exec_module(module)
        except Exception as error:
            line = next(iter(_lines_in(error, path)), None)
            where = "" if line is None else f" in line {line}"
            raise refusal(f"cannot be executed: {type(error).__name__}{where}: {error}") from error
    if not added:
        raise refusal("defines no kind; expected a subclass of Feature, Model or Method with a field `kind`, see docs/extensions.md")
    taken = [kind for family, kind in added if kind in items.shipped(family)]
    if taken:
        raise refusal(f"the kind {taken[0]} already exists; choose another name")
    for family, kind in added:
        found, base = items.extensions.kinds[family][kind], items.base(family)
        missing = [name for name in found.required() if getattr(found, name) is getattr(base, name)]
        if missing:
            raise refusal(f"the kind {kind} does not define {' and '.join(missing)}; see docs/extensions.md")


def _lines_in(error: BaseException, path: Path) -> list[int]:
    """Line numbers of a file in a traceback, innermost first."""
    frames = traceback.extract_tb(error.__traceback__)
    return [frame.lineno for frame in reversed(frames) if frame.filename == str(path) and frame.lineno is not None]


def _replace(loaded: tuple[tuple[str, str], ...]) -> None:
    items.extensions.clear()
    items.extensions.loaded = loaded


def _rebuild() -> None:
    """Rebuild the configuration's types with the kinds registered now."""
    from spikelens.config.explanation import Explanation
    from spikelens.config.run import Config, ConfigFile, RunConfig

    for section in (Explanation, Config, ConfigFile, RunConfig):
        section.model_rebuild(force=True)


# --- the code of an extension -------------------------------------------------------------------------------------------


def _digest_of(path: str) -> str:
    """Hash of the files of an extension, to detect changes since it was executed."""
    digest = hashlib.sha256()
    for file in files_of(Path(path)):
        digest.update(str(file).encode() + b"\0" + file.read_bytes() + b"\0")
    return digest.hexdigest()


# --- the record ---------------------------------------------------------------------------------------------------------


def record_path(config: Path) -> Path:
    """Path of the record that belongs to a stored configuration (JSON)."""
    return config.with_suffix(".work.json")


@functools.lru_cache(maxsize=64)
def _read(path: Path, _mtime_ns: int) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(path.read_bytes())
    return content


def read_record(path: Path) -> dict[str, Any]:
    """Read what a run computes: for each rule, its key, its jobs with their files, and what it reads.

    Raises
    ------
    ConfigError
        If the record is missing or damaged.
    """
    try:
        return _read(path, path.stat().st_mtime_ns)
    except (OSError, ValueError) as error:
        raise ConfigError(
            str(path), [Problem(KEY, str(path), f"the record is missing or damaged ({error}); `spikelens prepare CONFIG` writes it again")]
        ) from None

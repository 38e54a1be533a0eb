"""What a stage's results depend on, as one short hash.

A stage's fingerprint covers the keys of its configuration, the syntax trees (without docstrings) of its package and of every
module of ours that it imports, the versions of the libraries these import, and the fingerprint of the stage before it. Ranks,
paths, and the duration are left out: they do not change what a shard holds. Snakemake gets the fingerprint as a rule's
parameter, so that a changed stage is run again and nothing before it is.
"""

from __future__ import annotations

import ast
import functools
import hashlib
import importlib.metadata
import json
import sys
from pathlib import Path
from typing import Any

from spikelens.config import MODEL_NAMES, STAGES, ModelName, RunConfig, Stage

_PACKAGE = Path(__file__).parent
_NOT_RESULTS = {"simulation": ("ranks", "duration_s")}
"""Keys that do not change what any one shard holds."""
_DISTRIBUTIONS = {"sklearn": "scikit-learn", "yaml": "pyyaml"}


def fingerprint(run: RunConfig, stage: Stage) -> str:
    """Hash everything that the results of a stage follow from, earlier stages included; 16 hexadecimal digits."""
    earlier = STAGES[: STAGES.index(stage)]
    return _digest([[_configured(run, name), source_hash(name)] for name in (*earlier, stage)])


def model_fingerprint(run: RunConfig, model: ModelName) -> str:
    """Hash what one model follows from: as `fingerprint(run, "models")`, with this model's keys only."""
    models = run.models.model_dump(mode="json")
    own = {key: models[key] for key in ("start_s", "split", model)}
    del own[model]["seeds"], own[model]["ranks"]
    return _digest([fingerprint(run, "features"), own, run.simulation.duration_s, source_hash("models")])


def _configured(run: RunConfig, stage: Stage) -> dict[str, Any]:
    """The keys of the configuration that a stage reads."""
    content: dict[str, Any] = run.model_dump(mode="json")
    section = {key: value for key, value in content[stage].items() if key not in _NOT_RESULTS.get(stage, ())}
    if stage == "network":
        section["edges"] = _content_of(run.network.edges)
    if stage == "simulation":
        section["drive"] = {**content["drive"], "events": _content_of(run.drive.events)}
        section["weight_average"] = run.weight_average
        if run.n_steps % run.segment_steps:  # the shards of a short last segment are short: a longer run can't go on from them
            section["duration_s"] = run.simulation.duration_s
    if stage == "explanation":
        section["duration_s"] = run.simulation.duration_s
    if stage == "models":
        for name in MODEL_NAMES:
            del section[name]["ranks"]
    return section


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


@functools.cache
def source_hash(stage: Stage) -> str:
    """Hash the code of a stage's package, of the modules of ours it imports, and the versions of the libraries they import."""
    ours: dict[str, str] = {}
    libraries: set[str] = set()
    waiting = [f"spikelens.{stage}"] + [f"spikelens.{stage}.{path.stem}" for path in sorted((_PACKAGE / stage).glob("*.py"))]
    while waiting:
        module = waiting.pop()
        path = _module_path(module)
        if path is None or module in ours:
            continue
        ours[module], imported = _read_module(path)
        for name in imported:
            if name.split(".")[0] == "spikelens":
                waiting.append(name)
            else:
                libraries.add(name.split(".")[0])
    return _digest([sorted(ours.items()), _versions(libraries)])


@functools.cache
def _read_module(path: Path) -> tuple[str, frozenset[str]]:
    """A module's syntax tree without docstrings, as text, and what it imports; stages share modules, and each is parsed once."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    imported = frozenset(_imports(tree))
    return ast.dump(_without_docstrings(tree)), imported


def _module_path(module: str) -> Path | None:
    """The file of a module of ours; None for a name that is a function or class in one."""
    parts = module.split(".")[1:]
    for path in (_PACKAGE.joinpath(*parts).with_suffix(".py") if parts else None, _PACKAGE.joinpath(*parts, "__init__.py")):
        if path is not None and path.is_file():
            return path
    return None


def _imports(tree: ast.Module) -> set[str]:
    """Dotted names that a module imports; `from a import b` counts as a and a.b."""
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            # `from spikelens import x` means the module x, not everything that the package's front door imports
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
            if node.module != "spikelens":
                names.add(node.module)
    return names


def _without_docstrings(tree: ast.Module) -> ast.Module:
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            node.body = [child for child in node.body if not (isinstance(child, ast.Expr) and isinstance(child.value, ast.Constant))] or [
                ast.Pass()
            ]
    return tree


def _versions(libraries: set[str]) -> dict[str, str]:
    third_party = sorted(library for library in libraries if library not in sys.stdlib_module_names)
    return {name: _version(name) for name in third_party}


@functools.cache
def _version(library: str) -> str:
    return importlib.metadata.version(_DISTRIBUTIONS.get(library, library))


def _digest(content: Any) -> str:
    # keys keep their order: ids follow the order of the populations, random numbers that of the connections
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()[:16]

"""What a stage's results depend on, as one short hash.

A stage's fingerprint covers the keys of its configuration, the code that computes (of its package and of every module of ours that
it imports), and the fingerprint of the stage before it. What only words a message is left out: docstrings, comments, the arguments
of `raise`, logging and warnings, descriptions of keys. So are ranks, paths and the duration: they do not change what a shard holds.
Versions of libraries are provenance and do not count. The key of a result is made of this (`places`).
"""

from __future__ import annotations

import ast
import functools
import hashlib
import json
from pathlib import Path
from typing import Any

from spikelens.config import MODEL_NAMES, STAGES, ModelName, RunConfig, Stage
from spikelens.source_cache import kept

_PACKAGE = Path(__file__).parent
_NOT_RESULTS = {"simulation": ("ranks", "duration_s"), "features": ("window_ms",)}
"""Keys that do not change what any one shard of a stage holds; windows of rates are added up from bins by who reads them."""
_NO_RESULTS = {
    f"spikelens.{name}"
    for name in ("access", "clean", "errors", "fingerprint", "limits", "places", "progress", "refusals", "source_cache", "watch")
}
"""Modules that stages import and that change no result: they word messages, show progress, watch the clock, and name places."""
_LEVELS = ("debug", "info", "warning", "error", "exception", "critical", "log")
_TELLS = {"log": _LEVELS, "logger": _LEVELS, "logging": _LEVELS, "warnings": ("warn",)}
_TEXTS = ("description", "title", "help", "examples")
"""Keyword arguments of pydantic's Field that only tell a reader what a key is."""


def fingerprint(run: RunConfig, stage: Stage) -> str:
    """Hash everything that the results of a stage follow from, earlier stages included; 16 hexadecimal digits."""
    earlier = STAGES[: STAGES.index(stage)]
    return _digest([[_configured(run, name), source_hash(name)] for name in (*earlier, stage)])


def model_fingerprint(run: RunConfig, model: ModelName) -> str:
    """Hash what one model follows from: as `fingerprint(run, "models")`, with this model's keys only."""
    models = run.models.model_dump(mode="json")
    own = {key: models[key] for key in ("start_s", "split", model)}
    del own[model]["seeds"], own[model]["ranks"]
    if model.startswith("tft"):
        own["window_ms"] = run.features.window_ms
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
        section["window_ms"] = run.features.window_ms
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
    """Hash the code that computes: that of a stage's package and of the modules of ours that it imports."""
    return kept(_PACKAGE, stage, _computed_hash)


def _computed_hash(stage: str) -> str:
    ours: dict[str, str] = {}
    waiting = [f"spikelens.{stage}"] + [f"spikelens.{stage}.{path.stem}" for path in sorted((_PACKAGE / stage).glob("*.py"))]
    while waiting:
        module = waiting.pop()
        path = _module_path(module)
        if path is None or module in ours or module in _NO_RESULTS:
            continue
        ours[module], imported = _read_module(path)
        waiting += [name for name in imported if name.split(".")[0] == "spikelens"]
    return _digest(sorted(ours.items()))


@functools.cache
def _read_module(path: Path) -> tuple[str, frozenset[str]]:
    """What a module computes, as text, and what it imports; stages share modules, and each is parsed once."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    imported = frozenset(_imports(tree))
    return _computing(tree), imported


def computing(source: str) -> str:
    """What a module computes, as text that is the same for all versions of Python: its syntax tree without messages and docstrings.

    `ast.dump` differs between versions: fields come (`type_params` in 3.12), and empty ones go (3.13).
    """
    return _computing(ast.parse(source))


def _computing(tree: ast.Module) -> str:
    """As `computing`; changes the tree."""
    return _written(_WithoutMessages().visit(tree))


class _WithoutMessages(ast.NodeTransformer):
    """Drops what only words a message or explains: it can change no result."""

    def visit_Raise(self, node: ast.Raise) -> ast.Raise:
        error = node.exc.func if isinstance(node.exc, ast.Call) else node.exc
        return ast.Raise(exc=error, cause=None)

    def visit_Expr(self, node: ast.Expr) -> ast.AST | None:
        is_docstring = isinstance(node.value, ast.Constant)
        return None if is_docstring or _only_tells(node.value) else self.generic_visit(node)

    def visit_Call(self, node: ast.Call) -> ast.AST:
        name = node.func.id if isinstance(node.func, ast.Name) else None
        if name == "Problem":
            return ast.Call(func=node.func, args=[], keywords=[])
        if name == "Field":  # of a figure, a title is part of the result
            node.keywords = [keyword for keyword in node.keywords if keyword.arg not in _TEXTS]
        return self.generic_visit(node)


def _only_tells(node: ast.expr) -> bool:
    """Whether a statement is a call that only tells a reader something: of print, of a logger, of warnings.warn."""
    match node:
        case ast.Call(func=ast.Name(id="print")):
            return True
        case ast.Call(func=ast.Attribute(value=ast.Name(id=name), attr=called)):
            return called in _TELLS.get(name, ())
    return False


def _written(node: Any) -> str:
    """A syntax tree as text: names of nodes and of their fields that are not empty, constants with their type."""
    if isinstance(node, ast.JoinedStr):
        return f"JoinedStr({_written(_merged(node.values))})"
    if isinstance(node, ast.AST):
        ignored = ("ctx", "kind", "type_comment")
        fields = [(name, value) for name, value in ast.iter_fields(node) if name not in ignored and value is not None and value != []]
        if isinstance(node, ast.Constant):  # None is a value here
            return f"Constant({type(node.value).__name__} {node.value!r})"
        return f"{type(node).__name__}({','.join(f'{name}={_written(value)}' for name, value in fields)})"
    if isinstance(node, list):
        return f"[{','.join(map(_written, node))}]"
    return repr(node)


def _merged(values: list[ast.expr]) -> list[ast.expr]:
    """The parts of an f-string, with constants that follow one another as one: versions of Python divide them differently."""
    merged: list[ast.expr] = []
    for value in values:
        last = merged[-1] if merged else None
        if isinstance(value, ast.Constant) and not value.value:
            continue
        if isinstance(value, ast.Constant) and isinstance(last, ast.Constant):
            merged[-1] = ast.Constant(str(last.value) + str(value.value))
        else:
            merged.append(value)
    return merged


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


def _digest(content: Any) -> str:
    # keys keep their order: ids follow the order of the populations, random numbers that of the connections
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()[:16]

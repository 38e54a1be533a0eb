"""Results version of the code: the number or hash that represents the code in the keys of results.

`versions.json` lists, for each stage and each kind of its items, a number and the hash of the code that it
represents. If the code has the listed hash, keys contain the number. If it was edited, they contain its hash,
so that an edit always takes effect, in new folders. `make versions` compares the results of both and keeps or
increases the number.

The hash covers all modules of this package that the computation imports. It does not cover what cannot change
a result: docstrings, comments, the arguments of exceptions, logging and warnings, the fields of configuration
sections (their values are in the key), checks of the configuration, and estimates of memory and time.
"""

from __future__ import annotations

import ast
import builtins
import functools
import hashlib
import itertools
import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from spikelens import errors
from spikelens.errors import SpikelensError
from spikelens.names import STAGES, Stage
from spikelens.source_cache import kept

Item = str
"""Anything with its own version: a stage, or a kind of its items, like "models/tft"."""

_PACKAGE = Path(__file__).parent
LISTED = "versions.json"
"""The file of listed versions, in the package."""

_ENTRIES: dict[str, tuple[str, ...]] = {
    "network": ("network.build",),
    "simulation": ("simulation.run",),
    "recording": ("recording.run",),
    "features": ("features.run",),
    "models": ("models.run",),
    "explanation": ("explanation.judge",),
    "report": ("report.run", "report.activity", "report.trains", "report.explained", "report.related", "report.learned"),
}
"""Modules that compute the results of each stage. The hash also covers what they import and, for an item, the module of its kind."""
_RUNS = {"features": ("features.run",), "models": ("models.run", "models.train"), "explanation": ("explanation.run",)}
"""Modules that run the items of a user's extension, by stage."""
_NO_RESULTS = frozenset(
    f"spikelens.{name}"
    for name in (
        *(f"{stage}.stage" for stage in STAGES),
        "access",
        "clean",
        "errors",
        "expected",
        "explanation.method",
        "features.feature",
        "files",
        "fingerprint",
        "jobs",
        "keys",
        "limits",
        "models.model",
        "places",
        "progress",
        "refusals",
        "sizes",
        "source_cache",
        "speeds",
        "stages",
        "versions",
        "watch",
        "config.checks",
        "config.extensions",
        "config.items",
        "config.load",
        "config.reads",
        "config.runs",
        "config.yaml12",
    )
)
"""Modules that computations import but that cannot change a result: messages, time limits, paths, reading of the configuration."""


class Version(NamedTuple):
    """A number and the hash of the code that it represents."""

    number: int
    code: str


def items_of(stage: Stage) -> tuple[Item, ...]:
    """The stage and its kinds; for features and models only the kinds; for the report, the figures of each kind of all stages."""
    own = tuple(f"{stage}/{kind}" for kind in _kinds(stage))
    match stage:
        case "features" | "models":
            return own
        case "report":
            return (stage, *(f"report/{kind}" for of in STAGES for kind in _kinds(of)))
    return (stage, *own)


def _kinds(stage: str) -> list[str]:
    """Names of the kinds of a stage's items: the names of their modules."""
    return sorted(path.stem for path in (_PACKAGE / stage / "kinds").glob("[!_]*.py"))


ITEMS: tuple[Item, ...] = tuple(item for stage in STAGES for item in items_of(stage))


def results_version(item: Item) -> int | str:
    """The number of an item's code if versions.json lists its hash, else the hash."""
    version, code = listed(_PACKAGE / LISTED).get(item), code_hash(item)
    return version.number if version is not None and version.code == code else code


@functools.cache
def listed(path: Path) -> dict[Item, Version]:
    """Read a file of versions.

    Raises
    ------
    SpikelensError
        If it is missing or damaged.
    """
    try:
        return {item: Version(int(entry["version"]), str(entry["code"])) for item, entry in json.loads(path.read_bytes()).items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise SpikelensError(f"{path} is missing or damaged ({error}); reinstall spikelens, or restore the file from git") from None


# --- the hash of the code -----------------------------------------------------------------------------------------------


@functools.cache
def code_hash(item: Item) -> str:
    """Hash the code that computes an item; 16 hexadecimal digits."""
    return kept(_PACKAGE, item, _computed_hash)


def _computed_hash(item: Item) -> str:
    modules = modules_of(item)
    ours = sorted((module, _read_module(path)[0]) for module, path in modules.items())
    beside = sorted((file.name, file.read_text(encoding="utf-8")) for path in modules.values() for file in files_beside(path))
    return hashlib.sha256(json.dumps([*ours, *beside]).encode()).hexdigest()[:16]


def files_beside(module: Path) -> list[Path]:
    """The files that a module reads as part of its code: those in its folder with its name, such as page.css of page.py."""
    return [file for file in module.parent.glob(f"{module.stem}.*") if file.suffix in (".css", ".js", ".j2")]


def files_of(path: Path) -> list[Path]:
    """The file of an extension and the files in its folder that it imports, directly or indirectly."""
    found: dict[Path, None] = {}
    waiting = [path]
    while waiting:
        file = waiting.pop()
        if file in found or not file.is_file():
            continue
        found[file] = None
        try:
            tree = ast.parse(file.read_text(encoding="utf-8"))
        except (SyntaxError, ValueError):
            continue  # executing the file reports the error
        for folder, name in _names_imported(tree, file, path.parent):
            parts = name.split(".")
            waiting += [folder.joinpath(*parts[: n + 1], "__init__.py") for n in range(len(parts))]
            waiting += [folder.joinpath(*parts[: n + 1]).with_suffix(".py") for n in range(len(parts))]
    return list(found)


def _names_imported(tree: ast.Module, file: Path, top: Path) -> Iterator[tuple[Path, str]]:
    """The names that a file imports, each with the folder that it is relative to."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((top, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            folder = file.parents[node.level - 1] if node.level else top
            names = [alias.name for alias in node.names]
            yield from ((folder, f"{node.module}.{name}" if node.module else name) for name in names)


def extension_hash(path: Path) -> str:
    """Hash the code of a user's extension: its files (`files_of`) and the modules of this package that they use."""
    state = tuple((file, file.stat().st_mtime_ns) for file in files_of(path))
    return _extension_hash(state)


@functools.cache
def _extension_hash(files: tuple[tuple[Path, int], ...]) -> str:
    sources = [file.read_text(encoding="utf-8") for file, _ in files]
    computing_it = {f"spikelens.{module}" for stage in ("features", "models", "explanation") for module in _RUNS[stage]}
    names = computing_it.union(*(_imports(ast.parse(source)) for source in sources))
    ours = sorted((module, _read_module(path)[0]) for module, path in _closure(names).items())
    return hashlib.sha256(json.dumps([[computing(source) for source in sources], ours]).encode()).hexdigest()[:16]


def modules_of(item: Item) -> dict[str, Path]:
    """The modules of this package that compute an item, and their files."""
    stage, _, kind = item.partition("/")
    if stage == "report" and kind:
        names: tuple[str, ...] = tuple(f"{of}.kinds.{kind}" for of in STAGES if kind in _kinds(of))
    elif stage == "explanation" and kind:
        names = ("explanation.run", f"explanation.kinds.{kind}")
    else:
        names = (*_ENTRIES[stage], *([f"{stage}.kinds.{kind}"] if kind else []))
    return _closure({f"spikelens.{name}" for name in names})


def _closure(names: Iterable[str]) -> dict[str, Path]:
    """Modules of this package and everything that they import, by name, without modules that cannot change a result."""
    found: dict[str, Path] = {}
    waiting = set(names)
    while waiting:
        module = waiting.pop()
        path = _module_path(module)
        if path is not None and module not in found and module not in _NO_RESULTS:
            found[module] = path
            waiting |= _read_module(path)[1]
    return found


@functools.cache
def _read_module(path: Path) -> tuple[str, frozenset[str]]:
    """The code of a module (`computing`) and the modules of this package that it imports. Cached, since items share modules."""
    source = path.read_text(encoding="utf-8")
    return computing(source, sections=path.parent.name in ("config", "kinds")), frozenset(_imports(ast.parse(source)))


def computing(source: str, *, sections: bool = False) -> str:
    """The syntax tree of a module without messages and docstrings, as text that is the same in all versions of Python.

    `ast.dump` differs between versions: 3.12 added the field `type_params`, and 3.13 omits empty fields.

    Parameters
    ----------
    sections : bool
        Whether the module's classes are sections of the configuration, whose fields are left out.
    """
    return _written(_WithoutMessages(sections).visit(ast.parse(source)))


_LEVELS = ("debug", "info", "warning", "error", "exception", "critical", "log")
_TELLS = {"log": _LEVELS, "logger": _LEVELS, "logging": _LEVELS, "warnings": ("warn",)}
_TEXTS = ("description", "title", "help", "examples")
"""Keyword arguments of pydantic's Field that only document a key."""


_MESSAGES = {"Problem", "Progress"} | {
    name
    for module in (builtins, errors)
    for name, value in vars(module).items()
    if isinstance(value, type) and issubclass(value, Exception)
}
"""Classes whose arguments are only messages: exceptions of Python and of this package, problems and progress."""


class _WithoutMessages(ast.NodeTransformer):
    """Removes messages and documentation, which cannot change a result."""

    def __init__(self, sections: bool) -> None:
        self._sections = sections

    def visit_Raise(self, node: ast.Raise) -> ast.Raise:
        error = node.exc.func if isinstance(node.exc, ast.Call) else node.exc
        return ast.Raise(exc=error, cause=None)

    def visit_Expr(self, node: ast.Expr) -> ast.AST | None:
        is_docstring = isinstance(node.value, ast.Constant)
        return None if is_docstring or _only_tells(node.value) else self.generic_visit(node)

    def visit_Call(self, node: ast.Call) -> ast.AST:
        name = node.func.id if isinstance(node.func, ast.Name) else ""
        if name in _MESSAGES:
            return ast.Call(func=node.func, args=[], keywords=[])
        if name == "Field":  # the title of a figure is part of the result, so only Field
            node.keywords = [keyword for keyword in node.keywords if keyword.arg not in _TEXTS]
        return self.generic_visit(node)

    def visit_ClassDef(self, node: ast.ClassDef) -> ast.AST:
        if self._sections:
            node.body = [statement for statement in node.body if not isinstance(statement, ast.AnnAssign)]
        return self.generic_visit(node)

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST | None:
        finds_problems = node.returns is not None and ast.unparse(node.returns) == "Iterator[Problem]"
        estimates = node.name in ("memory", "seconds") and [argument.arg for argument in node.args.args[:2]] == ["self", "run"]
        return None if finds_problems or estimates else self.generic_visit(node)


def _only_tells(node: ast.expr) -> bool:
    """Whether a statement only outputs a message: a call of print, of a logger, or of warnings.warn."""
    match node:
        case ast.Call(func=ast.Name(id="print")):
            return True
        case ast.Call(func=ast.Attribute(value=ast.Name(id=name), attr=called)):
            return called in _TELLS.get(name, ())
    return False


def _written(node: Any) -> str:
    """A syntax tree as text: names of nodes and of their non-empty fields, and constants with their types."""
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


def _merged(values: Iterable[ast.expr]) -> list[ast.expr]:
    """The parts of an f-string, with adjacent constants merged: versions of Python split them differently."""
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
    """The file of a module of this package; None if the name is a function or class in a module."""
    parts = module.split(".")[1:]
    for path in (_PACKAGE.joinpath(*parts).with_suffix(".py") if parts else None, _PACKAGE.joinpath(*parts, "__init__.py")):
        if path is not None and path.is_file():
            return path
    return None


def _is_for_types(statement: ast.stmt) -> bool:
    """Whether a statement is only for type checkers."""
    return isinstance(statement, ast.If) and ast.unparse(statement.test) == "TYPE_CHECKING"


def _imports(tree: ast.Module) -> set[str]:
    """Dotted names in this package that a module imports; `from a import b` counts as a and a.b."""
    names: set[str] = set()
    for node in itertools.chain.from_iterable(ast.walk(statement) for statement in tree.body if not _is_for_types(statement)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            # `from spikelens import x` counts as the module x only, not as spikelens/__init__.py and its imports
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
            if node.module != "spikelens":
                names.add(node.module)
    return {name for name in names if name.split(".")[0] == "spikelens"}

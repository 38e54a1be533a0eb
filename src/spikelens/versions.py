"""The results version of the code: by which number, or hash, the code enters the keys of results.

`versions.json` lists for each item, a stage or a kind of its items, a number and the hash of the code for which that number holds. Code
with the listed hash enters a key by the number; edited code enters by its own hash, so that an edit always takes effect, in a folder of
its own. `make versions` compares the results of both and keeps or raises the number.

The hash covers every module of ours that the item's computation imports. Left out is what cannot change a result: docstrings, comments,
the arguments of errors, logging and warnings, the fields of the configuration's sections (their values are in the key), its checks, and
what a job costs.
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
"""What has a version of its own: a stage, or each kind of its items, like "models/tft"."""

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
    "report": ("report.run", "report.activity", "report.explained", "report.learned"),
}
"""The modules of each stage that compute its results, with all that they import; of an item, the file of its kind besides."""
_RUNS = {"features": ("features.run",), "models": ("models.run", "models.train"), "explanation": ("explanation.run",)}
"""The modules that run the items of a user's extension."""
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
"""Modules that computations import and that change no result: they word messages, watch the clock, name places, read the configuration."""


class Version(NamedTuple):
    """A number, and the hash of the code for which it holds."""

    number: int
    code: str


def items_of(stage: Stage) -> tuple[Item, ...]:
    """The items of a stage: itself, or its kinds; the report's besides, for the figures of each kind."""
    own = tuple(f"{stage}/{kind}" for kind in _kinds(stage))
    match stage:
        case "features" | "models":
            return own
        case "report":
            return (stage, *(f"report/{kind}" for of in STAGES for kind in _kinds(of)))
    return (stage, *own)


def _kinds(stage: str) -> list[str]:
    """Names of the kinds of a stage's items, which are those of their files."""
    return sorted(path.stem for path in (_PACKAGE / stage / "kinds").glob("[!_]*.py"))


ITEMS: tuple[Item, ...] = tuple(item for stage in STAGES for item in items_of(stage))


def results_version(item: Item) -> int | str:
    """The number of an item's code if it is the listed code, else its hash."""
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
        raise SpikelensError(f"{path} is missing or damaged ({error}); install spikelens again, or restore the file from git") from None


# --- the hash of the code -----------------------------------------------------------------------------------------------


@functools.cache
def code_hash(item: Item) -> str:
    """Hash the code that computes an item; 16 hexadecimal digits."""
    return kept(_PACKAGE, item, _computed_hash)


def _computed_hash(item: Item) -> str:
    ours = sorted((module, _read_module(path)[0]) for module, path in modules_of(item).items())
    return hashlib.sha256(json.dumps(ours).encode()).hexdigest()[:16]


def files_of(path: Path) -> list[Path]:
    """An extension and the files beside it that it imports, directly or through one another."""
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
            continue  # executing it says what is wrong
        for folder, name in _names_imported(tree, file, path.parent):
            parts = name.split(".")
            waiting += [folder.joinpath(*parts[: n + 1], "__init__.py") for n in range(len(parts))]
            waiting += [folder.joinpath(*parts[: n + 1]).with_suffix(".py") for n in range(len(parts))]
    return list(found)


def _names_imported(tree: ast.Module, file: Path, top: Path) -> Iterator[tuple[Path, str]]:
    """Names that a file imports, each with the folder that it is relative to."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((top, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            folder = file.parents[node.level - 1] if node.level else top
            names = [alias.name for alias in node.names]
            yield from ((folder, f"{node.module}.{name}" if node.module else name) for name in names)


def extension_hash(path: Path) -> str:
    """Hash the code of a user's extension: its file, the files beside it that it imports, and the modules of ours that these need."""
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
    """The modules of ours whose code computes an item, and their files."""
    stage, _, kind = item.partition("/")
    if stage == "report" and kind:
        names: tuple[str, ...] = tuple(f"{of}.kinds.{kind}" for of in STAGES if kind in _kinds(of))
    elif stage == "explanation" and kind:
        names = ("explanation.run", f"explanation.kinds.{kind}")
    else:
        names = (*_ENTRIES[stage], *([f"{stage}.kinds.{kind}"] if kind else []))
    return _closure({f"spikelens.{name}" for name in names})


def _closure(names: Iterable[str]) -> dict[str, Path]:
    """Modules of ours, by name, with all that they import and that can change a result."""
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
    """What a module computes, as text, and the modules of ours that it imports; items share modules, and each is parsed once."""
    source = path.read_text(encoding="utf-8")
    return computing(source, sections=path.parent.name in ("config", "kinds")), frozenset(_imports(ast.parse(source)))


def computing(source: str, *, sections: bool = False) -> str:
    """What a module computes, as text that is the same for all versions of Python: its syntax tree without messages and docstrings.

    `ast.dump` differs between versions: fields come (`type_params` in 3.12), and empty ones go (3.13).

    Parameters
    ----------
    sections : bool
        Whether the module's classes are sections of the configuration, whose fields do not count.
    """
    return _written(_WithoutMessages(sections).visit(ast.parse(source)))


_LEVELS = ("debug", "info", "warning", "error", "exception", "critical", "log")
_TELLS = {"log": _LEVELS, "logger": _LEVELS, "logging": _LEVELS, "warnings": ("warn",)}
_TEXTS = ("description", "title", "help", "examples")
"""Keyword arguments of pydantic's Field that only tell a reader what a key is."""


_MESSAGES = {"Problem", "Progress"} | {
    name
    for module in (builtins, errors)
    for name, value in vars(module).items()
    if isinstance(value, type) and issubclass(value, Exception)
}
"""Classes whose arguments only tell a reader something: exceptions of Python and of ours, and those of our progress."""


class _WithoutMessages(ast.NodeTransformer):
    """Drops what only words a message or explains: it can change no result."""

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
        if name == "Field":  # of a figure, a title is part of the result
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


def _merged(values: Iterable[ast.expr]) -> list[ast.expr]:
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


def _is_for_types(statement: ast.stmt) -> bool:
    """Whether only a type checker reads a statement."""
    return isinstance(statement, ast.If) and ast.unparse(statement.test) == "TYPE_CHECKING"


def _imports(tree: ast.Module) -> set[str]:
    """Dotted names of ours that a module imports; `from a import b` counts as a and a.b."""
    names: set[str] = set()
    for node in itertools.chain.from_iterable(ast.walk(statement) for statement in tree.body if not _is_for_types(statement)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            # `from spikelens import x` means the module x, not everything that the package's front door imports
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
            if node.module != "spikelens":
                names.add(node.module)
    return {name for name in names if name.split(".")[0] == "spikelens"}

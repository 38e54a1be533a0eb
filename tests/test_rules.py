"""Rules of the code: which package may import which, and how long files and functions may be.

Known violations are listed as exceptions. An unused exception fails the test.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator

import pytest
from conftest import REPOSITORY

from spikelens.names import STAGES

PACKAGE = REPOSITORY / "src/spikelens"
SOURCES = {".".join(path.relative_to(PACKAGE).with_suffix("").parts): path for path in sorted(PACKAGE.rglob("*.py"))}
"""Module, below the package, as "simulation.kernel", -> its file."""
TREES = {module: ast.parse(path.read_text(encoding="utf-8")) for module, path in SOURCES.items()}

MAX_LINES_OF_A_FILE = 400
MAX_LINES_OF_A_FUNCTION = 60


def imports(module: str) -> set[str]:
    """Modules of ours that a module imports, wherever in it; those for types alone are no dependency."""
    found = set()
    for node in ast.walk(without_types(TREES[module])):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "spikelens":
            inner = (node.module or "").split(".")[1:]
            found |= {".".join(parts) for alias in node.names if (parts := module_of([*inner, alias.name]))}
        elif isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[2] for alias in node.names if alias.name.startswith("spikelens.")}
    return found


def module_of(parts: list[str]) -> list[str]:
    """The module that a dotted name is of, or the package."""
    while parts and ".".join(parts) not in SOURCES and ".".join([*parts, "__init__"]) not in SOURCES:
        parts = parts[:-1]
    return parts


def without_types(tree: ast.Module) -> ast.Module:
    """A module without what only a type checker reads."""
    body = [node for node in tree.body if not (isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING")]
    return ast.Module(body=body, type_ignores=[])


IMPORTED = {module: imports(module) for module in SOURCES}


NAMED = {
    module: {alias.name for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) for alias in node.names}
    for module, tree in TREES.items()
}
"""Names that a module imports from others."""


def package_of(module: str) -> str:
    """The stage's package, or the module itself."""
    return module.split(".")[0]


def imported_by(importers: set[str], imported: set[str]) -> Iterator[tuple[str, str]]:
    """Pairs of a module of some packages, and a module of others that it imports."""
    for module, names in IMPORTED.items():
        if package_of(module) in importers:
            yield from ((module, name) for name in sorted(names) if package_of(name) in imported and package_of(name) != package_of(module))


GENERIC = {
    *("random", "compiled", "numerics", "stores", "files", "laid_out", "mpi", "watch", "limits", "progress", "tables", "names"),
    *("errors", "refusals", "source_cache", "stages"),
}
"""Numbers, parallel work, files and messages: none of it knows a stage."""
LATE = {
    *("cli", "commands_runs", "commands_stages", "launch", "prepare", "jobs", "plan", "status", "manifests", "walltime"),
    *("sizes", "speeds", "slurm", "clean", "access", "sweep", "snakefile", "init", "direct"),
}
"""What knows all stages."""

WIRING = {"recording.wiring", "explanation.causal"}
"""What reads the wiring."""
SEEING = {"explanation.judge", "explanation.causal", "explanation.kinds.omega", "features.kinds.omega_synapses"}
"""What may read the wiring: the judge, and the methods and features that say so."""

RULES = {
    "what is generic knows no stage": lambda: imported_by(GENERIC, set(STAGES) | {"layouts", "outputs", "fingerprint", "places"}),
    "features, models and explanation need no network and no simulation": lambda: imported_by(
        {"features", "models", "explanation"}, {"network", "simulation"}
    ),
    "no stage imports what runs another": lambda: (
        pair for pair in imported_by(set(STAGES), set(STAGES)) if pair[1].split(".")[-1] in ("run", "train", "build")
    ),
    "no stage imports what knows all stages, but to describe itself": lambda: (
        pair for pair in imported_by(set(STAGES) | GENERIC | {"config"}, LATE) if not pair[0].endswith(".stage")
    ),
    "nothing but what knows all stages imports how a stage describes itself": lambda: (
        (module, name)
        for module, names in IMPORTED.items()
        for name in sorted(names)
        if name.endswith(".stage") and package_of(module) not in {*LATE, package_of(name)}
    ),
    "the configuration knows no stage": lambda: imported_by({"config"}, set(STAGES) | {"stores", "layouts", "outputs"}),
    "nobody imports the command line": lambda: imported_by({package_of(module) for module in SOURCES} - {"__main__"}, {"cli"}),
    "the hash of the code knows nothing of the stages": lambda: imported_by(
        {"versions"}, {package_of(module) for module in SOURCES} - {"errors", "names", "source_cache"}
    ),
    "recording needs no stage": lambda: imported_by({"recording"}, set(STAGES)),
    "features, models and explanation read spikes through recording": lambda: imported_by(
        {"features", "models", "explanation"}, {"layouts"}
    ),
    "a stage imports only earlier ones, and how figures are described": lambda: (
        (module, name)
        for module, name in imported_by(set(STAGES), set(STAGES))
        if STAGES.index(package_of(module)) < STAGES.index(package_of(name))
        and name != "report.contents"
        and not name.endswith(".layout")
        and name != "recording.synapses"
    ),
    "the report needs no network and no simulation": lambda: imported_by({"report"}, {"network", "simulation"}),
    "only recording.wiring reads synapses for the stages after the simulation": lambda: (
        (module, name)
        for module, names in NAMED.items()
        if package_of(module) in ("recording", "features", "models", "explanation", "report") and module != "recording.wiring"
        for name in sorted(names & {"block_group", "block_layout"})
    ),
    "only what says so sees the wiring": lambda: (
        (module, name)
        for module, names in IMPORTED.items()
        for name in sorted(names & WIRING)
        if package_of(module) not in ("report", "recording") and module not in SEEING
    ),
}

EXCEPTIONS: dict[str, set[tuple[str, str]]] = {
    # the types of items
    "the configuration knows no stage": {
        ("config.features", "features.feature"),
        ("config.run", "features.feature"),
        ("config.models", "models.model"),
        ("config.explanation", "explanation.method"),
        ("config.run", "explanation.method"),
    },
}
"""Imports that break a rule, and why."""


@pytest.mark.parametrize("rule", RULES)
def test_imports_keep_to_the_rules(rule):
    assert set(RULES[rule]()) == EXCEPTIONS.get(rule, set())


def test_kinds_are_files_of_their_own():
    """No kind imports another, so that its results do not follow from the other's code."""
    kinds = {module for module in SOURCES if ".kinds." in module and not module.endswith("__init__")}
    assert {(module, name) for module in kinds for name in IMPORTED[module] & kinds} == set()


def test_imports_are_seen_also_inside_functions():
    assert "network.build" in IMPORTED["commands_stages"]
    assert "simulation.kernel" in IMPORTED["simulation.part"]
    assert "random" in IMPORTED["simulation.kernel"]


def test_files_are_short():
    found = {module for module, path in SOURCES.items() if len(path.read_text(encoding="utf-8").splitlines()) > MAX_LINES_OF_A_FILE}
    assert found == set()


def test_functions_are_short():
    functions = ((module, node) for module, tree in TREES.items() for node in ast.walk(tree) if isinstance(node, ast.FunctionDef))
    assert {f"{module}.{node.name}" for module, node in functions if n_lines(node) > MAX_LINES_OF_A_FUNCTION} == set()


def n_lines(node: ast.FunctionDef) -> int:
    return (node.end_lineno or node.lineno) - node.lineno + 1


REFERENCES = {"config.features", "config.models", "config.explanation"}
"""What holds the items of the reference run."""


def test_what_knows_all_stages_names_no_kind():
    """But for the reference run. (access and stores have names of arrays that are those of kinds, too.)"""
    kinds = {module.split(".")[-1] for module in SOURCES if ".kinds." in module and not module.endswith("__init__")}
    assert len(kinds) > 4
    knowing = (LATE | {"config", "fingerprint", "places"}) - {"access"}
    for module in (module for module in SOURCES if package_of(module) in knowing and module not in REFERENCES):
        texts = {node.value for node in ast.walk(TREES[module]) if isinstance(node, ast.Constant) and isinstance(node.value, str)}
        assert not texts & kinds, module


REMOVING = {
    "clean.remove": "results that no configuration uses, if the user says --yes",
    "compiled._discard": "damaged compiled code",
    "compiled._remove_old": "compiled code of other sources",
    "manifests.mark": "a flag that says that files are whole",
    "manifests.restore_flags": "the same",
    "models.train.fit_network": "the checkpoint, once the model is written",
    "places._remove_old_links": "links to results that the configuration does not name",
    "files.remove_unfinished": "what a killed job was writing",
    "files.write_atomically": "what could not be written whole",
}
"""Functions that remove a file or folder, and of what kind: none but `clean` removes a result."""


def test_nothing_but_clean_removes_a_result():
    functions = [(module, node) for module, tree in TREES.items() for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]
    assert {f"{module}.{node.name}" for module, node in functions if removes(node)} == set(REMOVING)


def removes(function: ast.FunctionDef) -> bool:
    calls = (ast.unparse(node.func) for node in ast.walk(function) if isinstance(node, ast.Call))
    return any(call == "os.remove" or call.split(".")[-1] in ("unlink", "rmtree", "rmdir", "removedirs") for call in calls)

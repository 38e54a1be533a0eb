"""Version number or hash of the code in keys of results; which code counts; `make versions`."""

from __future__ import annotations

import ast
import contextlib
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import REPOSITORY, fingerprints, small_config
from golden.runs import CONFIGURATIONS, EXACT_STAGES, golden, make, results
from golden.versions import EXACT, bumped_items, decide, stale

from spikelens import versions
from spikelens.config import load_runs
from spikelens.errors import SpikelensError
from spikelens.versions import ITEMS, LISTED, Version, code_hash, computing, listed, modules_of, results_version

PACKAGE = REPOSITORY / "src/spikelens"


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A copy of the package that a test may edit. Its code is hashed; the list is from before the edit."""
    copy = tmp_path / "spikelens"
    shutil.copytree(PACKAGE, copy, ignore=shutil.ignore_patterns("__pycache__"))
    list_code(copy)
    monkeypatch.setattr(versions, "_PACKAGE", copy)
    code_hash.cache_clear()
    yield copy
    code_hash.cache_clear()


def list_code(package: Path) -> None:
    """List the present code as version 3: tests do not depend on a stale list of the repository."""
    (package / LISTED).write_text(json.dumps({item: {"version": 3, "code": code_hash(item)} for item in ITEMS}))


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


def edited_items() -> list[str]:
    """Items whose keys contain the hash of the code."""
    code_hash.cache_clear()
    versions._read_module.cache_clear()
    return [item for item in ITEMS if results_version(item) != 3]


# --- what of the code counts --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ('raise ValueError(f"{x} is wrong")', 'raise ValueError(f"{x}: expected another", x) from None'),
        ('log.info("%d spikes", x)', 'log.warning("there are %d", x)'),
        ('yield Problem("a.key", x, "expected more")', 'yield Problem("a.key", x, "expected at least 3")'),
        ('y = Field(gt=0, description="spikes")', 'y = Field(gt=0, description="the spikes")'),
        ('warnings.warn("slow")', 'warnings.warn("this is slow")'),
        ('print("slow")', 'print("this is slow")'),
        ('"""Docstring."""', '"""Another."""'),
        ("def memory(self, run): return 1", "def memory(self, run): return 2"),
    ],
    ids=["error", "log", "problem", "description", "warning", "print", "docstring", "estimate"],
)
def test_the_wording_of_messages_does_not_count(before, after):
    module = "def f(x):\n    y = x + 1\n    {}\n    return y\n"
    assert computing(module.format(before)) == computing(module.format(after))


@pytest.mark.parametrize(
    "after", ["y = x + 2", "y = x - 1", "y = x + 1.0", "y = x + '1'", "y = x + None", "z = x + 1", "y = log.level(x)", "y += x + 1"]
)
def test_what_is_computed_counts(after):
    module = "def f(x):\n    {}\n    return y\n"
    assert computing(module.format("y = x + 1")) != computing(module.format(after))


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ('axes.set(title="In-degree")', 'axes.set(title="Number of sources")'),
        ('warnings.simplefilter("error")', 'warnings.simplefilter("ignore")'),
        ("log.append(x)", "log.append(y)"),
        ("y = MeanSquaredError(x)", "y = MeanSquaredError(2 * x)"),
        ("def memory(self, state): return state", "def memory(self, state): return 2 * state"),
        ("def seconds(run): return run.n_steps", "def seconds(run): return 2 * run.n_steps"),
    ],
    ids=["title of a figure", "filter", "list", "measure", "method of another class", "function"],
)
def test_what_only_looks_like_a_message_counts(before, after):
    module = "def f(x):\n    y = x + 1\n    {}\n    return y\n"
    assert computing(module.format(before)) != computing(module.format(after))


SYNTAX = """
import a.b as c
from d import e
class A(B, metaclass=M):
    x: int = 3
    def f(self, p, /, q=1, *r, s, t=None, **u) -> None:
        return [lambda: f"{p!r:>{q}} and {{}} {s}" "more", (y := 3), *r, {**u}, 1 if p else 2.5e-3, b"b", ..., 1j, -q, not s]
    @property
    async def g(self):
        async for i in self:
            await i
        match self:
            case {"k": 1, **rest} if rest: pass
            case [1, *_] | A(x=2): return
            case _: global G
        with open("f") as h, h: del h.x, h[1:2, ::3]
        try:
            yield x
        except (E, F) as error: raise G("text") from error
        else: assert x, "no"
        finally: nonlocal_ = x[0] @ x
"""


def test_the_same_source_gives_the_same_text_under_every_python():
    """A known digest: `ast.dump` differs between Python versions and would change the key of every result."""
    assert hashlib.sha256(computing(SYNTAX).encode()).hexdigest() == "38e36d8a0c18d4b2c5ab09a06c190ce245f297cee1980cad57055a99617c80de"


def interpreter(version) -> str | None:
    """A Python of this version: on PATH, or of pyenv, whose commands on PATH work only if selected."""
    kept = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")).glob(f"versions/{version}.*/bin/python")
    for python in (shutil.which(f"python{version}"), *map(str, kept)):
        if python and subprocess.run([python, "-c", ""], capture_output=True).returncode == 0:
            return python
    return None


@pytest.mark.parametrize("version", ["3.12", "3.13", "3.14"])
def test_another_python_gives_every_item_the_same_hash(version):
    python = interpreter(version)
    if python is None:
        pytest.skip(f"python{version} is not installed here; the stored digest is compared all the same")
    script = "import sys; sys.path.insert(0, sys.argv[1]); from spikelens.versions import ITEMS, code_hash; print(*map(code_hash, ITEMS))"
    command = [python, "-c", script, str(REPOSITORY / "src")]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout.split() == list(map(code_hash, ITEMS))


def test_versions_of_libraries_do_not_count(monkeypatch, tmp_path):
    run = load_runs(small_config(tmp_path))[0]
    before = fingerprints(run)
    monkeypatch.setattr("importlib.metadata.version", lambda name: "99.0.1")
    for name in ("numpy", "pandas", "pyarrow", "pydantic", "torch", "xarray", "yaml"):
        if name in sys.modules:
            monkeypatch.setattr(sys.modules[name], "__version__", "99.0.1")
    code_hash.cache_clear()
    assert fingerprints(run) == before


OMEGAS = [f"{stage}/{kind}" for stage in ("features", "report") for kind in ("omega_pairs", "omega_synapses")]
"""Items that compute causal components."""
TFT = ["models/tft", "explanation/attention", "report/tft", "report/attention"]


@pytest.mark.parametrize(
    ("file", "old", "new", "items"),
    [
        ("simulation/kernel.py", "np.float32(30.0)", "np.float32(20.0)", ["simulation"]),
        ("features/kinds/spike_counts.py", "[:, None]", "[:, None] + 0", ["features/spike_counts", "report/spike_counts"]),
        ("features/kinds/omega_synapses.py", "weight_max)", "weight_max + 0)", ["features/omega_synapses", "report/omega_synapses"]),
        ("features/causal.py", "import numpy", "_NEW = 1\nimport numpy", OMEGAS),
        (
            "models/tft.py",
            "import warnings",
            "import warnings\n_NEW = 1",
            TFT,
        ),
        ("models/autoencoder.py", "class ", "_NEW = 1\n\n\nclass ", ["models/lstm_autoencoder", "report/lstm_autoencoder"]),
        ("report/activity.py", 'title="In-degree"', 'title="Sources"', ["report"]),
        ("features/kinds/traces.py", "class Traces(Feature):", "class Traces(Feature):\n    depth: Positive = 1", []),
        ("features/kinds/spike_counts.py", "elif run.n_steps % self.step_ms", "elif run.n_steps % (2 * self.step_ms)", []),
        ("features/kinds/traces.py", "return BASE", "return 2 * BASE", []),
        ("models/kinds/tft.py", "return TORCH_BASE", "return 2 * TORCH_BASE", []),
        ("config/run.py", "self.duration_s * STEPS_PER_SECOND", "self.duration_s * 1000", list(ITEMS)),
        ("stores/metadata.py", "clevel=1", "clevel=2", list(ITEMS)),
        ("jobs.py", "import itertools", "import itertools\n_NEW = 1", []),
    ],
    ids=[
        "kernel",
        "one kind of feature",
        "another kind of feature",
        "what two kinds of features share",
        "one kind of model",
        "another kind of model",
        "title of a figure",
        "new field",
        "check",
        "cost of a feature",
        "cost of a model",
        "sizes",
        "encoder",
        "jobs",
    ],
)
def test_an_edit_counts_for_the_items_that_compute_with_it(package, file, old, new, items):
    assert edited_items() == []
    edit(package / file, old, new)
    assert edited_items() == items


def test_a_new_file_that_nothing_imports_counts_for_no_item(package):
    (package / "models/transformer.py").write_text("WIDTH = 8\n")
    assert edited_items() == []


class Reworded(ast.NodeTransformer):
    """Change all docstrings, all texts of errors, logs and warnings, and all descriptions of keys."""

    def visit_Expr(self, node):
        told = node.value
        is_docstring = isinstance(told, ast.Constant) and isinstance(told.value, str)
        is_log = isinstance(told, ast.Call) and ast.unparse(told.func).split(".")[0] in ("log", "print")
        return Words().visit(node) if is_docstring or is_log or ast.unparse(told).startswith("warnings.warn(") else self.generic_visit(node)

    def visit_Raise(self, node):
        return Words().visit(node)

    def visit_Call(self, node):
        if isinstance(node.func, ast.Name) and node.func.id == "Problem":
            return Words().visit(node)
        for keyword in node.keywords:
            if isinstance(node.func, ast.Name) and node.func.id == "Field" and keyword.arg == "description":
                Words().visit(keyword)
        return self.generic_visit(node)


class Words(ast.NodeTransformer):
    def visit_Constant(self, node):
        return ast.Constant(f"{node.value} In other words.") if isinstance(node.value, str) else node


def test_other_words_in_every_module_count_for_no_item(package):
    sources = [path for path in package.rglob("*.py") if path.name != "__main__.py"]
    assert len(sources) > 70
    for path in sources:
        text = ast.unparse(ast.fix_missing_locations(Reworded().visit(ast.parse(path.read_text()))))
        assert ("In other words." in text) or path.parent.name == "report"
        path.write_text(f"# A comment.\n{text}\n")
    assert edited_items() == []


COMPUTE = """
import json, sys
from pathlib import Path
from spikelens.config import load_run
run, called = load_run(sys.argv[1]), {}

def seen(stage, compute):
    found = called.setdefault(stage, set())
    sys.setprofile(lambda frame, event, argument: found.add(frame.f_code.co_filename) if event == "call" else None)
    compute()
    sys.setprofile(None)

import numpy as np
from spikelens.config.recording import Recording
from spikelens.network.build import build_blocks
from spikelens.recording.run import import_segment
from spikelens.simulation.run import simulate_segment
from spikelens.features.run import compute
from spikelens.models.run import train
from spikelens.explanation.judge import judge
from spikelens.explanation.run import compute as infer
from spikelens.report.run import make_report
blocks, segments = range(run.n_blocks), range(run.n_segments)
seen("network", lambda: build_blocks(run, blocks))
seen("simulation", lambda: [simulate_segment(run, segment) for segment in segments])
table = str(Path(run.path, "spikes.npz"))
np.savez(table, time_ms=np.array([1.0]), neuron=np.array([3]))
recorded = run.model_copy(update={"recording": Recording(file=table, populations={"E": 100}, duration_s=2, block_size=50)})
seen("recording", lambda: import_segment(recorded, 0))
for name in run.features:
    seen(f"features/{name}", lambda: [compute(run, name, segment, blocks) for segment in segments])
for name, kind in (("autoencoder", "lstm_autoencoder"), ("tft_neuron", "tft")):
    seen(f"models/{kind}", lambda: train(run, name, 1))
train(run, "tft_population", 1)
for name in run.methods:
    seen(f"explanation/{name}", lambda: infer(run, name))
seen("explanation", lambda: judge(run))
seen("report", lambda: make_report(run))
print(json.dumps({item: sorted(files) for item, files in called.items()}))
"""


LATE = ("explanation", "report", "explanation/attention", "explanation/rate_correlation", "explanation/omega")


@pytest.mark.slow
def test_every_module_that_a_computation_calls_is_in_its_hash(make_run):
    run = make_run()
    finished = subprocess.run([sys.executable, "-c", COMPUTE, run.path], capture_output=True, text=True, timeout=600)
    assert finished.returncode == 0, finished.stderr[-3000:]
    called = json.loads(finished.stdout.splitlines()[-1])
    assert set(called) == {item for item in ITEMS if not item.startswith("report/")}
    for item, files in called.items():
        ours = {
            Path(file) for file in files if file.startswith(f"{PACKAGE}/") and file.endswith(".py")
        }  # templates count with their module
        known = {PACKAGE.joinpath(*module.split(".")[1:]).with_suffix(".py") for module in versions._NO_RESULTS}
        assert len(ours) > 5
        # the kinds of items are in the keys of what is read
        kinds = [other for other in ITEMS if "/" in other]
        known |= {path for kind in kinds for path in modules_of(kind).values()} if item in LATE else set()
        # each kind of feature is asked whether it applies to the run
        known |= set(PACKAGE.glob("features/kinds/*.py")) if item.startswith("features/") else set()
        assert ours - known - set(modules_of(item).values()) == set(), item


# --- numbers ------------------------------------------------------------------------------------------------------------


def test_listed_code_enters_keys_by_its_number_and_other_code_by_its_hash(package, tmp_path):
    run = load_runs(small_config(tmp_path))[0]
    before = fingerprints(run)
    edit(package / "features/rates.py", "import numpy", "_NEW = 1\nimport numpy")
    edited = edited_items()
    assert edited == ["features/spike_counts", "report", "report/spike_counts"]
    assert results_version("features/spike_counts") == code_hash("features/spike_counts")
    assert [stage for stage, keys in fingerprints(run).items() if keys != before[stage]] == ["features", "report"]
    entries = json.loads((package / LISTED).read_text())
    for item in edited:
        entries[item]["code"] = code_hash(item)
    (package / LISTED).write_text(json.dumps(entries))
    listed.cache_clear()
    assert fingerprints(run) == before, "the same number: the results are found again"


@pytest.mark.parametrize("content", [None, "", "[]", '{"network": 3}', '{"network": {"version": "x", "code": ""}}'])
def test_a_damaged_list_is_named(tmp_path, content):
    path = tmp_path / LISTED
    if content is not None:
        path.write_text(content)
    with pytest.raises(SpikelensError, match=f"{path} is missing or damaged"):
        listed(path)


def test_the_list_is_of_the_code_as_it_is():
    known = listed(PACKAGE / LISTED)
    assert stale(known) == [], f"{LISTED} lists other code for these: call `make versions`, and commit what it writes with the code"
    assert list(known) == list(ITEMS)


def test_the_wheel_carries_the_list():
    settings = (REPOSITORY / "pyproject.toml").read_text()
    assert f'"{LISTED}"' in settings.partition("[tool.setuptools.package-data]")[2].partition("\n[")[0]


# --- golden runs --------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_integers_of_the_golden_runs_are_those_that_are_kept(tmp_path):
    found = golden(CONFIGURATIONS, tmp_path, EXACT_STAGES).exact
    kept = json.loads(EXACT.read_text())
    changed = [name for name in kept.keys() | found.keys() if kept.get(name) != found.get(name)]
    assert sorted(changed) == [], "other results, on this machine or of this code; if they are meant to change, call `make versions`"
    assert len(kept) > 50


def test_golden_configurations_have_every_item(tmp_path):
    for configuration in CONFIGURATIONS.glob("*.yaml"):
        run = make(configuration, tmp_path / configuration.stem, commands=())
        others = {"recording"} if run.has_network else {"network", "simulation", "features/omega_synapses"}
        with contextlib.chdir(tmp_path / configuration.stem):
            assert {item for item, _, _ in results(run)} == {item for item in ITEMS if not item.startswith("report/")} - others


# --- make versions ------------------------------------------------------------------------------------------------------


def test_numbers_go_up_where_bits_differ_or_by_hand_and_stay_otherwise():
    known = {item: Version(4, code_hash(item)) for item in ITEMS if item != "report"}
    for item in ("network", "simulation"):
        known[item] = Version(4, "another")
    differing = {"simulation": "results differ: 2 of 9 files"}
    decisions = {d.item: d for d in decide(known, bumped_items(["features", "models"]), differing)}
    numbers = {item: decision.after.number for item, decision in decisions.items()}
    assert numbers == {
        **dict.fromkeys(ITEMS, 4),
        "simulation": 5,
        **dict.fromkeys(versions.items_of("features"), 5),
        **dict.fromkeys(versions.items_of("models"), 5),
        "report": 1,
    }
    assert decisions["network"].why == "results identical"
    assert all(decision.after.code == code_hash(item) for item, decision in decisions.items())
    with pytest.raises(SpikelensError, match=r"BUMP=simulaton: expected all, features, models, or one of network"):
        bumped_items(["simulaton"])


@pytest.fixture
def clone(tmp_path):
    """A separate repository with one commit: the code, its list, and the smallest golden run."""
    folder = tmp_path / "clone"
    ignored = shutil.ignore_patterns("__pycache__", "*.egg-info", "drawn.yaml", "varied.yaml")
    for name in ("src/spikelens", "golden"):
        shutil.copytree(REPOSITORY / name, folder / name, ignore=ignored)
    list_code(folder / "src/spikelens")
    git(folder, "init", "--quiet")
    commit(folder)
    return folder


def git(folder: Path, *arguments: str) -> str:
    author = ("-c", "user.name=tests", "-c", "user.email=tests@localhost")
    return subprocess.run(["git", *author, *arguments], cwd=folder, check=True, capture_output=True, text=True).stdout


def commit(folder: Path) -> None:
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "--message", "code")


def make_versions(folder: Path, *options: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(folder / "src")}
    return subprocess.run(
        [sys.executable, "-m", "golden.versions", *options], cwd=folder, env=environment, capture_output=True, text=True, timeout=900
    )


def numbers(folder: Path) -> dict[str, int]:
    listed.cache_clear()
    return {item: version.number for item, version in listed(folder / "src/spikelens" / LISTED).items()}


@pytest.mark.slow
def test_golden_runs_of_both_codes_decide(clone):
    """An unused function does not change results, a lower threshold changes the simulation's.

    The version number of unchanged code stays.
    """
    with (clone / "src/spikelens/network/build.py").open("a") as file:
        file.write("\n\ndef unused() -> int:\n    return 3\n")
    edit(clone / "src/spikelens/simulation/kernel.py", "_THRESHOLD_MV = np.float32(30.0)", "_THRESHOLD_MV = np.float32(20.0)")
    commit(clone)  # the listed code is in the commit before
    updated = make_versions(clone)
    assert updated.returncode == 0, updated.stderr[-3000:]
    # later stages have other keys through the simulation's number
    assert numbers(clone) == {**dict.fromkeys(ITEMS, 3), "simulation": 4}
    assert re.search(r"^network +3 .* results identical$", updated.stdout, re.M)
    assert re.search(r"^simulation +3 -> 4 .* results differ: \d+ of \d+ files, e\.g\. table/", updated.stdout, re.M)
    again = make_versions(clone)
    assert again.stdout.count("unchanged") == len(ITEMS)


@pytest.mark.slow
def test_a_list_that_no_commit_has_is_refused_and_numbers_go_up_by_hand(clone):
    path = clone / "src/spikelens" / LISTED
    path.write_text(path.read_text().replace(code_hash("report"), "0123456789abcdef"))
    written = path.read_text()
    refused = make_versions(clone)
    assert refused.returncode == 2
    assert f"`git checkout src/spikelens/{LISTED}`" in refused.stderr
    assert "Traceback" not in refused.stderr
    assert path.read_text() == written
    raised = make_versions(clone, "--bump", "report")
    assert raised.returncode == 0, raised.stderr[-3000:]
    assert numbers(clone) == {**dict.fromkeys(ITEMS, 3), "report": 4}

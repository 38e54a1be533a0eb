"""What makes results other results, and what does not; and that compiled code follows its sources."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from conftest import REPOSITORY, small_config, with_keys

from spikelens.config import STAGES, load_run, load_runs
from spikelens.errors import StoreError
from spikelens.fingerprint import _read_module, computing, fingerprint, source_hash
from spikelens.network.build import build_blocks
from spikelens.source_cache import NAME, kept
from spikelens.stores import heal, layout, open_group, read_shard, write_shard


def fingerprints(content):
    run = load_runs(content)[0]
    return {stage: fingerprint(run, stage) for stage in STAGES}


def changed_stages(one, two):
    return [stage for stage in STAGES if fingerprints(one)[stage] != fingerprints(two)[stage]]


def reordered(content, section):
    """The same keys of a part of the network, in another order."""
    changed = with_keys(content, {})
    changed["network"][section] = dict(reversed(changed["network"][section].items()))
    return changed


@pytest.mark.parametrize("section", ["populations", "connections"])
def test_the_order_of_populations_and_connections_matters(tmp_path, section):
    """Ids follow the order of the populations, random numbers that of the connections."""
    content = small_config(tmp_path)
    assert changed_stages(content, reordered(content, section)) == list(STAGES)


@pytest.mark.parametrize(
    "changes",
    [
        {"simulation.ranks": 1},
        {"models.tft_neuron.ranks": 2},
        {"simulation.duration_s": 8},
        {"run.name": "other"},
        {"run.results": "elsewhere"},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_ranks_duration_and_place_do_not_matter(tmp_path, changes):
    content = small_config(tmp_path, {"models.tft_neuron.parts": 2})
    late = ["explanation", "report"] if "simulation.duration_s" in changes else []  # they are of the whole run
    assert changed_stages(content, with_keys(content, changes)) == late


@pytest.mark.parametrize(("key", "first"), [("network.edges", "network"), ("drive.events", "simulation")])
def test_a_tables_content_matters_and_its_place_does_not(tmp_path, key, first):
    table, moved = tmp_path / "table.csv", tmp_path / "moved.csv"
    table.write_text("a,b\n1,2\n")
    shutil.copy(table, moved)
    changes = {"network.connections": {}} if key == "network.edges" else {}
    content = small_config(tmp_path, {**changes, key: str(table)})
    before = fingerprints(content)
    assert changed_stages(content, with_keys(content, {key: str(moved)})) == []
    table.write_text("a,b\n1,3,\n")
    assert [stage for stage in STAGES if fingerprints(content)[stage] != before[stage]] == list(STAGES[STAGES.index(first) :])


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
    ],
    ids=["error", "log", "problem", "description", "warning", "print", "docstring"],
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
    ],
    ids=["title of a figure", "filter", "list"],
)
def test_what_only_looks_like_a_message_counts(before, after):
    module = "def f(x):\n    y = x + 1\n    {}\n    return y\n"
    assert computing(module.format(before)) != computing(module.format(after))


def test_the_title_of_a_figure_changes_the_report_and_nothing_before_it(monkeypatch, tmp_path):
    assert stages_changed_by("report/activity.py", 'title="In-degree"', 'title="Sources"', monkeypatch, tmp_path) == ["report"]


def test_an_edited_kernel_changes_the_simulation_and_no_network(monkeypatch, tmp_path):
    old, new = "np.float32(30.0)", "np.float32(20.0)"
    assert stages_changed_by("simulation/kernel.py", old, new, monkeypatch, tmp_path) == list(STAGES[1:])


def test_versions_of_libraries_do_not_count(monkeypatch, tmp_path):
    content = small_config(tmp_path)
    before = fingerprints(content)
    monkeypatch.setattr("importlib.metadata.version", lambda name: "99.0.1")
    for name in ("numpy", "pandas", "pydantic", "torch", "xarray", "yaml"):
        if name in sys.modules:
            monkeypatch.setattr(sys.modules[name], "__version__", "99.0.1")
    source_hash.cache_clear()
    assert fingerprints(content) == before


def stages_changed_by(file, old, new, monkeypatch, tmp_path):
    """Stages whose fingerprint an edit of one file of the package changes."""
    content, package = small_config(tmp_path), tmp_path / "spikelens"
    shutil.copytree(REPOSITORY / "src/spikelens", package, ignore=shutil.ignore_patterns("__pycache__"))
    before = fingerprints(content)
    text = (package / file).read_text()
    assert old in text
    (package / file).write_text(text.replace(old, new))
    with monkeypatch.context() as patched:
        patched.setattr("spikelens.fingerprint._PACKAGE", package)
        source_hash.cache_clear()
        after = fingerprints(content)
    source_hash.cache_clear()
    return [stage for stage in STAGES if after[stage] != before[stage]]


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
    """Known by its digest: the versions of `ast.dump` differ, and a new Python would give every result another key."""
    assert hashlib.sha256(computing(SYNTAX).encode()).hexdigest() == "38e36d8a0c18d4b2c5ab09a06c190ce245f297cee1980cad57055a99617c80de"


def interpreter(version) -> str | None:
    """A Python of this version: on PATH, or among those that pyenv keeps, whose commands on PATH work only once chosen."""
    kept = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")).glob(f"versions/{version}.*/bin/python")
    for python in (shutil.which(f"python{version}"), *map(str, kept)):
        if python and subprocess.run([python, "-c", ""], capture_output=True).returncode == 0:
            return python
    return None


@pytest.mark.parametrize("version", ["3.12", "3.13", "3.14"])
def test_another_python_gives_every_stage_the_same_fingerprint(version):
    python = interpreter(version)
    if python is None:
        pytest.skip(f"python{version} is not installed here; the stored digest is compared all the same")
    path = REPOSITORY / "src/spikelens/fingerprint.py"
    script = "import sys, types; m = types.ModuleType('m'); source = open(sys.argv[1]).read()\n"
    script += "source = '\\n'.join(line for line in source.splitlines() if not line.startswith('from spikelens.'))\n"
    script += "m.__file__ = sys.argv[1]; exec(source, m.__dict__); print(m._computed_hash('simulation'), m._computed_hash('models'))"
    found = subprocess.run([python, "-c", script, str(path)], capture_output=True, text=True, check=True).stdout.split()
    assert found == [source_hash("simulation"), source_hash("models")]


def test_kept_hashes_are_those_of_these_sources_or_none(tmp_path):
    """Half a second of every command; but never the hash of other code."""
    package, computed = tmp_path / "spikelens", []
    package.mkdir()
    (package / "one.py").write_text("x = 1\n")

    def compute(stage):
        computed.append(stage)
        return f"{stage} of {(package / 'one.py').read_text()}"

    found = [kept(package, stage, compute) for stage in ("network", "features", "network")]
    assert computed == ["network", "features"]
    assert found == [compute(stage) for stage in ("network", "features", "network")]
    file = package / "__pycache__" / NAME
    for change in (
        lambda: (package / "one.py").write_text("x = 2\n"),
        lambda: (package / "two.py").touch(),
        lambda: (package / "two.py").rename(package / "three.py"),
        lambda: file.write_text(file.read_text().replace("x = 2", "x = 3")),
        lambda: file.write_text("[]"),
        lambda: file.write_bytes(b"\xff"),
        file.unlink,
    ):
        change()
        computed.clear()
        assert kept(package, "network", compute) == f"network of {(package / 'one.py').read_text()}"
        assert kept(package, "network", compute) == f"network of {(package / 'one.py').read_text()}"
        assert computed == ["network"], "computed once"
    file.unlink()
    file.mkdir()  # it cannot be written
    assert kept(package, "network", compute) == compute("network")


@pytest.mark.parametrize("stage", STAGES)
def test_an_edited_message_in_any_module_changes_no_fingerprint(tmp_path, monkeypatch, stage):
    package = tmp_path / "spikelens"
    shutil.copytree(REPOSITORY / "src/spikelens", package, ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr("spikelens.fingerprint._PACKAGE", package)
    before = source_hash.__wrapped__(stage)
    for path in package.rglob("*.py"):
        text = path.read_text()
        edited = (
            text.replace(": expected ", ": we expected ").replace(", expected ", ", we expected ").replace("log.info(", "log.debug(")
            if path.name != "refusals.py"
            else text
        )
        path.write_text(edited.replace('"""', '"""In other words: ', 1))
    _read_module.cache_clear()
    changed = source_hash.__wrapped__(stage)
    _read_module.cache_clear()
    assert changed == before


def test_nothing_made_by_another_configuration_passes_for_this_ones(make_run):
    run = make_run()
    build_blocks(run, range(run.n_blocks))
    group = layout(run, "features")
    write_shard(group, "count", (0, 0), np.ones(group.arrays["count"].shards, np.uint16))
    stored = read_shard(layout(run, "network"), "in_degree", (0,))
    other = make_run({"features.tau_ms": 10.0, "features.omega_dense": False})
    assert other.path == run.path
    with pytest.raises(StoreError, match="shard is missing"):
        read_shard(layout(other, "features"), "count", (0, 0))
    assert not (other.folder / "current/features.zarr" / "omega_dense").exists(), "an array that was switched off is gone"
    np.testing.assert_array_equal(read_shard(layout(other, "network"), "in_degree", (0,)), stored)


@pytest.mark.parametrize("content", [None, "", '{"run": {"a_key_of_an_older_version": 1}}'])
def test_a_lost_or_outdated_config_json_is_written_again(make_run, content):
    run = make_run()
    path = run.folder / "config.json"
    before = path.read_text()
    if content is None:
        path.unlink()
    else:
        path.write_text(content)
    heal(run)
    assert path.read_text() == before
    assert load_run(run.folder) == run


def test_lost_metadata_are_restored_by_whoever_opens_the_store(make_run):
    run = make_run()
    build_blocks(run, range(run.n_blocks))
    group = layout(run, "network")
    for name in ("zarr.json", "in_degree/zarr.json", "neuron/c/0"):
        (group.path / name).unlink()
    assert read_shard(group, "in_degree", (0,)).sum() > 0
    opened = open_group(group)
    assert int(opened.in_degree.sum()) > 0
    assert opened.neuron.values.tolist() == list(range(200))


def test_compiled_code_follows_a_change_in_a_file_that_its_own_calls(tmp_path, make_run):
    """run_steps stands in run.py and calls kernel.py: numba alone would go on with the old kernel."""
    run = make_run()
    shutil.copytree(REPOSITORY / "src", tmp_path / "src", ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
    environment = {**os.environ, "PYTHONPATH": str(tmp_path / "src")}
    build_blocks(run, range(run.n_blocks))

    def n_spikes():
        script = "import sys; from spikelens.config import load_run; from spikelens.stores import prepare; prepare(load_run(sys.argv[1]))"
        script += "; from spikelens.network.build import build_blocks; run = load_run(sys.argv[1]); build_blocks(run, range(run.n_blocks))"
        script += "; from spikelens.simulation.run import simulate_segment; from spikelens.stores import layout, read_shard"
        script += "; simulate_segment(run, 0); spikes = layout(run, 'spikes')"
        script += "; print(sum(int(read_shard(spikes, 'spikes', (0, block)).sum()) for block in range(run.n_blocks)))"
        command = [sys.executable, "-c", script, run.path]
        finished = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
        assert finished.returncode == 0, finished.stderr
        return int(finished.stdout)

    before = n_spikes()
    kernel = tmp_path / "src/spikelens/simulation/kernel.py"
    source = kernel.read_text()
    assert "_THRESHOLD_MV = np.float32(30.0)" in source
    kernel.write_text(source.replace("_THRESHOLD_MV = np.float32(30.0)", "_THRESHOLD_MV = np.float32(20.0)"))
    assert 100 < before != n_spikes()

"""A user's file adds kinds of features, models and methods: nothing of the package changes, no other result is computed again."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml
from conftest import REPOSITORY

import spikelens
from spikelens.cli import main
from spikelens.config import load_run
from spikelens.config.load import load, look
from spikelens.errors import ConfigError
from spikelens.fingerprint import fingerprint
from spikelens.jobs import work_of
from spikelens.recording.spikes import read_spikes

FEATURES = {"spike_counts": {}, "omega_pairs": {}}
METHODS = {"rate_correlation": {"model": None}, "omega": {"model": None}}
NEW = {
    "features": {**FEATURES, "isi": {"kind": "isi_cv"}},
    "models": {"ridge": {"kind": "past_rates_ridge"}},
    "explanation": {"methods": {**METHODS, "lagged": {"kind": "lagged_correlation"}}, "bootstraps": 5, "shuffles": 2},
}


def example() -> str:
    """The file of docs/extensions.md."""
    found = re.search(r"```python\n(.*?)```", (REPOSITORY / "docs/extensions.md").read_text(), re.S)
    assert found is not None
    return found[1]


def base() -> dict:
    populations = {
        "E": {"count": 48, "a": 0.02, "b": 0.2, "c": -65.0, "d": 8.0},
        "I": {"count": 12, "a": 0.1, "b": 0.2, "c": -65.0, "d": 2.0},
    }
    synapses = {"out_degree": 20, "weight_mv": 9.0, "delay_ms": [1, 10]}
    return {
        "run": {"name": "ours"},
        "network": {
            "block_size": 30,
            "populations": populations,
            "connections": {"E->E": {**synapses, "plastic": True}, "I->E": {**synapses, "weight_mv": -5.0}},
        },
        "drive": {"kick_mv": 60.0},
        "simulation": {"duration_s": 4, "segment_s": 2, "ranks": 1, "chunk_neurons": 30},
        "training": {"start_s": 0},
        "features": FEATURES,
        "models": {},
        "explanation": {"methods": METHODS, "bootstraps": 5, "shuffles": 2},
        "report": {"raster_s": 1},
    }


def snakemake(folder: Path, *arguments: str) -> str:
    command = [sys.executable, "-m", "spikelens", "run", *arguments]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=560)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def planned(text: str) -> dict[str, int]:
    """Number of jobs by rule that a dry run tells."""
    table = text[text.rindex("Job stats:") :]
    return {name: int(count) for name, count in re.findall(r"^(\w+)\s+(\d+)$", table, re.M) if name not in ("total", "all")}


@pytest.fixture(scope="module")
def project(tmp_path_factory) -> Path:
    """A finished run without the extension, and then with it."""
    folder = tmp_path_factory.mktemp("extensions")
    (folder / "base.yaml").write_text(yaml.safe_dump(base()))
    (folder / "mine.py").write_text(example())
    (folder / "with.yaml").write_text(yaml.safe_dump({"base": "base.yaml", "extensions": ["mine.py"], **NEW}))
    snakemake(folder, "base.yaml", "--cores", "2")
    (folder / "planned.txt").write_text(snakemake(folder, "with.yaml", "--dry-run"))
    snakemake(folder, "with.yaml", "--cores", "2")
    return folder


def test_only_the_new_items_are_planned_and_what_tells_of_all(project):
    assert planned((project / "planned.txt").read_text()) == {
        "compute_features": 2,
        "train": 1,
        "infer": 2,
        "explain": 1,
        "make_report": 1,
    }


def test_what_an_extension_computes_is_right(project):
    opened = spikelens.open(project / "results/ours")
    run = load_run(project / "results/ours", execute=True)
    steps, ids = read_spikes(run, 0, 2000)
    isi = np.diff(steps[ids == 5])
    assert len(isi) > 5
    np.testing.assert_allclose(opened.features["isi"].cv.sel(segment=0, neuron=5), isi.std() / isi.mean(), rtol=1e-6)
    assert opened.outputs["ridge"].forecast.dims == ("seed", "time", "population")
    score = opened.methods["lagged"].score
    assert score.shape == (60, 60)
    assert np.isfinite(score).all()
    rows = opened.scores[opened.scores["score"] == "lagged correlation"]
    assert set(rows["saw"]) == {"spikes"}
    assert set(rows["edge_class"]) == {"E->E", "I->E"}


def test_each_has_a_line_in_plan_and_status_a_log_and_a_section_of_the_report(project, monkeypatch, capsys):
    monkeypatch.chdir(project)
    assert main(["plan", "with.yaml", "--json"]) == 0
    rules = {row["rule"]: row for row in json.loads(capsys.readouterr().out)["runs"][0]["rules"]}
    for rule, jobs in (("features.isi", 2), ("models.ridge", 1), ("explanation.lagged", 2)):
        assert rules[rule]["jobs"] == jobs
        assert rules[rule]["seconds"] > 0
    assert main(["status", "results/ours", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert {"features.isi", "models.ridge", "explanation.lagged"} <= {row["rule"] for row in told["rules"]}
    run = load(["with.yaml"])[0]
    for work in (work for work in work_of(run) if work.item in ("isi", "ridge", "lagged")):
        assert all((run.folder / job.log).is_file() for job in work.jobs)
    page = (project / "results/ours/current/report.html").read_text()
    for name, kind in (("isi", "isi_cv"), ("ridge", "past_rates_ridge"), ("lagged", "lagged_correlation")):
        assert f"<td>{name}</td><td>{kind}</td>" in page


def test_looking_at_results_executes_nothing(project, monkeypatch, capsys):
    """Also where the file is gone, or would do harm."""
    (project / "mine.py").write_text("raise SystemExit('executed')\n")
    try:
        monkeypatch.chdir(project)
        for command in ("status", "verify", "clean"):
            assert main([command, "results/ours"]) == 0, command
            assert "executed" not in capsys.readouterr().out
        opened = spikelens.open("results/ours")
        assert set(opened.features) == {"spike_counts", "omega_pairs", "isi"}
        assert opened.features["isi"].cv.shape == (2, 60)
        (project / "mine.py").unlink()
        assert main(["verify", "results/ours"]) == 0
        assert [work.rule for work in work_of(look("results/ours")[0])]
    finally:
        (project / "mine.py").write_text(example())


def test_an_edit_of_the_file_or_of_one_that_it_imports_is_another_key(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "with.yaml").write_text(yaml.safe_dump({**base(), "extensions": ["mine.py"], **NEW}))
    files = {
        "mine.py": example().replace("import numpy as np\n", "import numpy as np\nimport helper_of_mine\n"),
        "helper_of_mine.py": "A = 1\n",
    }

    def keys() -> list[str]:
        run = load(["with.yaml"])[0]
        return [
            fingerprint(run, *place)
            for place in (("features", "isi"), ("models", "ridge"), ("explanation", "lagged"), ("features", "spike_counts"))
        ]

    def write(name: str, content: str) -> list[bool]:
        before = keys()
        (tmp_path / name).write_text(content)
        os.utime(tmp_path / name, ns=(1, abs(hash(content)) % 10**18))
        return [old != new for old, new in zip(before, keys(), strict=True)]

    for name, content in files.items():
        (tmp_path / name).write_text(content)
    assert write("helper_of_mine.py", "A = 2\n") == [True, True, True, False]
    assert write("mine.py", files["mine.py"].replace("x.std() / x.mean()", "x.std() / x.max()")) == [True, True, True, False]
    assert write("helper_of_mine.py", "# a comment\nA = 2\n") == [False] * 4


TRACES = """
from typing import Literal
from spikelens.extension import Feature

class Mine(Feature):
    kind: Literal["traces"] = "traces"
"""


LINEAR = """
from typing import Literal

from spikelens.extension import Model


class Linear(Model):
    kind: Literal["linear"] = "linear"
"""


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (None, "no such file"),
        ("def f(:\n", "cannot be executed: SyntaxError"),
        ("x = 1\nraise ValueError('no luck')\n", "cannot be executed: ValueError in line 2: no luck"),
        ("x = 1\n", "defines no kind"),
        (TRACES, "traces already exists"),
        (LINEAR, "the kind linear does not define reads and output and fit; see docs/extensions.md"),
    ],
)  # fmt: skip
def test_a_file_that_adds_nothing_is_refused(tmp_path, content, expected):
    if content is not None:
        (tmp_path / "bad.py").write_text(content)
    (tmp_path / "c.yaml").write_text("extensions: [bad.py]\n")
    with pytest.raises(ConfigError, match=f"extensions = .bad.py.: {tmp_path}/bad.py: .*{expected}"):
        load([str(tmp_path / "c.yaml")])


def test_kinds_of_a_file_are_known_to_no_other_configuration(tmp_path):
    (tmp_path / "mine.py").write_text(example())
    (tmp_path / "with.yaml").write_text(yaml.safe_dump({**base(), "extensions": ["mine.py"], **NEW}))
    (tmp_path / "without.yaml").write_text(yaml.safe_dump({**base(), **NEW}))
    load([str(tmp_path / "with.yaml")])
    with pytest.raises(ConfigError, match="isi_cv"):
        load([str(tmp_path / "without.yaml")])


BOTH_WAYS = """
from typing import Literal
from spikelens.extension import Method, Model, Read

class OfMethod(Model):
    kind: Literal["of_method"] = "of_method"
    method: str = "m"
    def reads(self, run): return (Read("explanation", self.method),)
    def output(self, run): return {}, {}
    def fit(self, run, name, seed, setting): ...

class OfModel(Method):
    kind: Literal["of_model"] = "of_model"
    model: str = "a"
    def reads(self, run): return (Read("models", self.model),)
    def output(self, run): return {}, {}
    def compute(self, run): ...
    def scores(self, run, output): ...
"""


def test_items_read_items_of_other_stages_but_not_in_a_circle(tmp_path):
    (tmp_path / "both.py").write_text(BOTH_WAYS)

    def configuration(models: dict, methods: dict) -> str:
        content = {**base(), "extensions": ["both.py"], "models": models, "explanation": {"methods": methods}}
        (tmp_path / "c.yaml").write_text(yaml.safe_dump(content))
        return str(tmp_path / "c.yaml")

    first, second = {"kind": "of_method", "method": "rates"}, {"kind": "of_model", "model": "first"}
    rates = {"kind": "rate_correlation", "model": None}
    run = load([configuration({"first": first}, {"rates": rates, "second": second})])[0]
    keys = [fingerprint(run, "explanation", "rates"), fingerprint(run, "models", "first"), fingerprint(run, "explanation", "second")]
    changed = load([configuration({"first": first}, {"rates": {**rates, "bin_ms": 50}, "second": second})])[0]
    assert all(
        key != fingerprint(changed, *place)
        for key, place in zip(keys, (("explanation", "rates"), ("models", "first"), ("explanation", "second")), strict=True)
    )
    with pytest.raises(ConfigError, match=r"circular dependency: models.a reads explanation.methods.m reads models.a"):
        load([configuration({"a": {"kind": "of_method"}}, {"m": {"kind": "of_model"}})])
    with pytest.raises(ConfigError, match=r"it reads models.nowhere, which does not exist"):
        load([configuration({}, {"m": {"kind": "of_model", "model": "nowhere"}})])

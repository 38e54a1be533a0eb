"""Null controls are valid runs: no synapse, no spike, one neuron, all pairs connected.

Each test runs all commands of the workflow on a small run. Figures without data contain a message instead.
"""

from __future__ import annotations

import json
import re
import warnings
from pathlib import Path
from typing import Any

import pytest
from conftest import small_config

import spikelens
from spikelens.cli import main
from spikelens.config import RunConfig, load_runs
from spikelens.places import place_of
from spikelens.prepare import prepare
from spikelens.report.contents import PAGE, SUMMARY, figures_of

STAGES = ("network", "simulate", "features", "train", "infer", "explain", "report", "verify", "check", "plan", "status", "clean")
LITTLE = {
    "network.neurons": 60,
    "network.block_size": 30,
    "network.populations.E.count": 48,
    "network.populations.I.count": 12,
    "simulation.chunk_neurons": 30,
    "simulation.ranks": 1,
    "drive.kick_mv": 60.0,
    "models.autoencoder.sequences": 60,
    "models.autoencoder.epochs": 1,
    "models.tft_neuron.samples_per_epoch": 100,
}
E = {"count": 1, "a": 0.02, "b": 0.2, "c": -65.0, "d": 8.0}
ALL_PAIRS = {
    name: {"p": 1.0, "weight_mv": 0.5 if name[0] == "E" else -0.5, "delay_ms": [1, 9], "plastic": name[0] == "E"}
    for name in ("E->E", "E->I", "I->E", "I->I")
}
NO_SYNAPSE = "the network has no synapses"
CONTROLS: dict[str, dict[str, Any]] = {
    "p is 0": {f"network.connections.{name}.p": 0.0 for name in ("E->E", "E->I", "I->E")},
    "no connections": {"network.connections": {}},
    "empty table": {"network.connections": {}, "network.edges": "empty.csv"},
    "one neuron": {
        "network.neurons": 1,
        "network.block_size": 1,
        "simulation.chunk_neurons": 1,
        "network.populations": {"E": E},
        "network.connections": {"E->E": ALL_PAIRS["E->E"]},
        "drive.kick_mv": 0.0,
        "drive.current_mv": {"E": 10.0},
    },
    "p is 1": {"network.connections": ALL_PAIRS},
    "silent": {"drive.kick_mv": 0.0},
}


def whole_run(folder: Path, changes: dict[str, Any]) -> RunConfig:
    """A run of all commands; in the report, warnings of libraries (figure without data) are errors."""
    run = load_runs(small_config(folder, {**LITTLE, **changes}))[0]
    prepare(run)
    for stage in STAGES:
        with warnings.catch_warnings():
            if stage in ("infer", "explain", "report"):
                warnings.simplefilter("error", RuntimeWarning)
                warnings.simplefilter("error", UserWarning)
            assert main([stage, run.path]) == 0, stage
    return run


def words(run: RunConfig, figure: str) -> set[str]:
    """The text in a figure: matplotlib draws letters as paths and writes the text in a comment."""
    content = (place_of(run, "report") / f"{figure}.svg").read_text(encoding="utf-8")
    return {text.strip() for text in re.findall(r"<!-- (.*?) -->", content, re.DOTALL)}


@pytest.mark.parametrize("control", CONTROLS)
def test_a_null_control_runs_to_the_end_and_its_report_says_what_it_lacks(tmp_path, capsys, control):
    changes = dict(CONTROLS[control])
    if "network.edges" in changes:
        changes["network.edges"] = str(tmp_path / changes["network.edges"])
        Path(changes["network.edges"]).write_text("source,target,delay_ms,weight_mv,plastic\n")
    run = whole_run(tmp_path, changes)
    said = capsys.readouterr().err
    assert {shown.file for shown in figures_of(run)} < {path.name for path in place_of(run, "report").iterdir()}
    summary = json.loads((place_of(run, "report") / SUMMARY).read_text())
    page = (place_of(run, "report") / PAGE).read_text(encoding="utf-8")
    told = summary["report"]["remarks"]
    n = run.network.neurons
    if control in ("p is 0", "no connections", "empty table", "one neuron"):
        assert told == [f"{NO_SYNAPSE}, so that connectivity cannot be scored"]
        assert summary["network"]["synapses"] == 0
        assert summary["simulation"]["spikes"] > 0
        assert spikelens.open(run.path).synapses.sizes["synapse"] == 0
        assert all(NO_SYNAPSE in words(run, figure) for figure in ("network", "weights", "causal_omega_synapses"))
        assert {"no connectivity scores", told[0]} <= words(run, "scores")
    elif control == "p is 1":
        assert summary["network"]["synapses"] == n * (n - 1)
        assert [text.split(":")[0] for text in told] == [f"{name} has no score" for name in ALL_PAIRS]
        assert "no connectivity scores" in words(run, "scores")
    else:
        assert told == ["no neuron spikes: rates, forecasts and scores are meaningless"]
        assert summary["simulation"]["spikes"] == 0
        assert summary["explanation"]["scores"]
        assert said.count("no spikes; is the drive too weak") == run.n_segments
    assert all(f"{run.path}: {text}\n" in said for text in told)
    assert page.count('class="remark"') == len(told)
    assert ("No score was compared with the wiring." in page) == (control != "silent")

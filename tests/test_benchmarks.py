"""Comparison with other simulators, tested without them: order of runs, medians, failures. And our speeds."""

import argparse
import json
import os
import sys
from pathlib import Path

import pytest
import yaml
from benchmarks import compare, reference, speeds
from benchmarks.peers.environment import PeerError
from benchmarks.peers.network import Network
from conftest import small_config


def row(ns, **more):
    rates = {"rate_hz": 5.0, "rate_hz_by_population": {"E": 3.0, "I": 13.0}}
    notes = {"version": "1.0", "settings": "as it comes", "differs": ["kicks of its own"]}
    return {"seconds": 2, "ns_per_event": ns, "bytes_per_synapse": 16.0, "build_s": 0.5, **rates, **notes, **more}


def simulator(name, rows, calls=None):
    left = list(rows)

    def run(size):
        if calls is not None:
            calls.append((name, str(size)))
        found = left.pop(0)
        if isinstance(found, PeerError):
            raise found
        return found

    return compare.Simulator(name, run)


SIZE = compare.Size(1000, 100, 2)


def test_runs_are_interleaved_and_medians_taken():
    calls = []
    everyone = [
        simulator("spikelens", [row(9.0), row(30.0), row(10.0)], calls),
        simulator("NEST", [row(100.0), row(90.0), row(300.0)], calls),
    ]
    (network,) = compare.measure([SIZE], 3, everyone)
    assert [name for name, _ in calls] == ["spikelens", "NEST"] * 3
    assert network["simulators"]["spikelens"]["ns_per_event"] == 10.0
    assert network["simulators"]["NEST"]["ns_per_event_most"] == 300.0
    (line,) = (line for line in compare.table([network]).splitlines() if line.startswith("  NEST"))
    assert line.split()[1:6] == ["100.0", "90.0", "-", "300.0", "10.0"]  # the last: 100 / 10 of ours


def test_compilation_is_told_by_the_run_that_compiled():
    everyone = [simulator("Brian2", [row(9.0, compile_s=21.0), row(9.0, compile_s=0.3), row(9.0, compile_s=0.3)])]
    assert "plus 21 s compilation" in compare.table(compare.measure([SIZE], 3, everyone))


def test_a_shorter_run_of_a_peer_is_said_to_be_one():
    assert "only 1 s simulated" in compare.table(compare.measure([SIZE], 1, [simulator("NEST", [row(100.0, seconds=1)])]))


def test_a_peer_that_cannot_run_is_named_with_its_reason_and_not_run_again(monkeypatch, capsys):
    calls = []
    everyone = [simulator("spikelens", [row(9.0)] * 2), simulator("NEST", [PeerError("pip cannot install it: no wheel")], calls)]
    monkeypatch.setattr(compare, "simulators", lambda scratch, peer_seconds: everyone)
    monkeypatch.setattr(sys, "argv", ["compare", "--repeats", "2", "--network", "1000x100:2"])
    with pytest.raises(SystemExit) as ended:
        compare.main()
    assert ended.value.code == 1
    assert len(calls) == 1
    assert "not run: pip cannot install it: no wheel" in capsys.readouterr().out


def test_json_is_all_that_is_printed(monkeypatch, capsys):
    monkeypatch.setattr(compare, "simulators", lambda scratch, peer_seconds: [simulator("spikelens", [row(9.0)])])
    monkeypatch.setattr(sys, "argv", ["compare", "--repeats", "1", "--network", "1000x100:2", "--json"])
    with pytest.raises(SystemExit) as ended:
        compare.main()
    assert not ended.value.code
    (network,) = json.loads(capsys.readouterr().out)["networks"]
    assert network["simulators"]["spikelens"]["ns_per_event"] == 9.0


@pytest.mark.parametrize("text", ["1000", "1000x100", "1000x100:0", "1000x-1:3", "1e3x100:2"])
def test_a_size_that_is_none_is_refused(text):
    with pytest.raises(argparse.ArgumentTypeError, match="expected neurons x out-degree : seconds"):
        compare.Size.parse(text)


def test_the_family_at_1000_x_100_is_the_reference_network():
    network = Network(1000, 100)
    assert (network.excitatory, network.p_from_e, network.p_from_i) == (800, 0.1, 0.125)


@pytest.mark.parametrize("few", [True, False])
def test_a_second_of_the_simulation_is_timed_with_its_events(few):
    phases = speeds.stepped(1000, 1, few)
    assert 10_000 < phases["events"] < 10_000_000
    assert phases["step" if few else "deliver"] > 0


def test_every_repeat_of_the_reference_computes_every_stage(monkeypatch, tmp_path):
    config = tmp_path / "config.yaml"
    config.write_text(yaml.safe_dump(small_config(tmp_path)))
    computed, measured = [], reference.cost

    def counted(stage, run):
        before, cost, after = manifests_in(run), measured(stage, run), manifests_in(run)
        computed.append(after - before)
        return cost

    def manifests_in(run):
        return len(list(Path(run.path).glob("**/manifests/*.json")))

    monkeypatch.setattr(reference, "cost", counted)
    cores = os.sched_getaffinity(0)
    try:
        found = reference.measure(config, 1)
    finally:
        os.sched_setaffinity(0, cores)
    assert len(computed) == 6
    assert computed[:3] == computed[3:]
    assert all(computed)
    assert found["spikes"] > 0
    assert all(row["peak_mb"] > 50 for row in found["stages"].values())

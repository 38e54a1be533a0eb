"""Hold our simulation against Brian2: the same synapses and kicks, spike for spike, then the statistics of the activity.

    python -m benchmarks.peers.fidelity [--config config.yaml] [--seconds 180] [--json]

Our network is built and simulated in a scratch folder by the command line, as a user would; Brian2 takes its synapses and its kicks.
Where the arithmetic is exact (benchmarks/peers/brian2_network.py says what that is) every spike and every weight must be the same;
where it is not, the table says at which step the two part. Controls are other kicks in ours, and another network and other kicks
in Brian2: two runs that differ by rounding must differ no more than these. The exit code is 1 if an exact one parted.
"""

from __future__ import annotations

import argparse
import json
import logging
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import spikelens
from benchmarks.peers.environment import PeerError, python_of, run_module
from spikelens.config import RunConfig, load_runs, read_yaml
from spikelens.errors import SpikelensError
from spikelens.prepare import prepare
from spikelens.random import STREAM_KICKS, below, words

log = logging.getLogger(__name__)

GROUP_SIZE = 1_000
BIN_S = 10
"""Rates over time are given in bins of so many seconds."""


@dataclass(frozen=True)
class Activity:
    """What one simulation did: (n_spikes,) step and neuron, ordered by both, and the plastic weights at the end [mV]."""

    step: NDArray[np.int64]
    neuron: NDArray[np.int64]
    weight: NDArray[np.float64]


def ordered(step: NDArray[Any], neuron: NDArray[Any], weight: NDArray[Any]) -> Activity:
    """Order spikes by step, then neuron."""
    order = np.lexsort((neuron, step))
    return Activity(step[order].astype(np.int64), neuron[order].astype(np.int64), weight.astype(np.float64))


def kicks_of(run: RunConfig) -> NDArray[np.int64]:
    """Return the drive of a run (docs/model.md, step 1): (n_kicks, 2), step and neuron."""
    rows = []
    for t in range(run.n_steps):
        for group in range(-(-run.network.neurons // GROUP_SIZE)):
            neuron = group * GROUP_SIZE + int(below(words(run.drive.seed, STREAM_KICKS, group, t)[0], GROUP_SIZE))
            if neuron < run.network.neurons:
                rows.append((t, neuron))
    return np.array(rows, np.int64)


def ours(config: Path, folder: Path, name: str, keys: dict[str, dict[str, Any]]) -> tuple[RunConfig, Activity]:
    """Build and simulate a network by the command line, with some keys of the configuration replaced."""
    content = {key: dict(value) for key, value in read_yaml(config).items()}
    # stages that are not run must not refuse a short duration
    content |= {"features": {}, "models": {}, "explanation": {"methods": {}}}
    for section, values in {**keys, "run": {"name": name, "results": str(folder)}}.items():
        content[section].update(values)
    run = load_runs({**content, "sweep": {}}, str(config))[0]
    prepare(run)
    for stage in ("network", "simulate"):
        subprocess.run([sys.executable, "-m", "spikelens", stage, run.path], check=True)
    opened = spikelens.open(run.path)
    step, neuron = np.nonzero(opened.spikes.spikes.values)
    weight = opened.weights.weight.values[-1][opened.synapses.plastic.values]
    return run, ordered(step, neuron, weight)


def hand_over(run: RunConfig, to: Path) -> None:
    """Write synapses and kicks of a run for Brian2."""
    synapses = spikelens.open(run.path).synapses
    source, target, delay, weight = (synapses[name].values for name in ("source", "target", "delay", "weight"))
    np.savez(to, source=source, target=target, delay=delay, weight=weight, kicks=kicks_of(run))


def brian2(python: Path, folder: Path, arithmetic: str, run: RunConfig, *more: str) -> Activity:
    """Simulate in Brian2; `more` are further options of benchmarks.peers.brian2_network."""
    spikes = folder / "spikes.npz"
    size = ["--neurons", str(run.network.neurons), "--seconds", str(run.simulation.duration_s)]
    sources = ["--folder", str(folder / "sources"), "--spikes", str(spikes)]
    run_module(python, "benchmarks.peers.brian2_network", [*size, *sources, "--arithmetic", arithmetic, *more])
    with np.load(spikes) as found:
        return ordered(found["step"], found["neuron"], found["weight"])


def agreement(a: Activity, b: Activity) -> dict[str, Any]:
    """Say how far two simulations are the same, spike for spike; `parted_at_ms` is the first step whose spikes differ, or None."""
    n = min(len(a.step), len(b.step))
    differ = np.flatnonzero((a.step[:n] != b.step[:n]) | (a.neuron[:n] != b.neuron[:n]))
    same = int(differ[0]) if len(differ) else n
    # where one ends, the other's next spike is the first that differs
    parted = min((int(one.step[same]) for one in (a, b) if same < len(one.step)), default=None)
    return {
        "spikes_ours": len(a.step),
        "spikes_brian2": len(b.step),
        "same_spikes": same,
        "parted_at_ms": parted,
        "largest_weight_difference_mv": float(np.abs(a.weight - b.weight).max()),
    }


def statistics(activity: Activity, run: RunConfig) -> dict[str, Any]:
    """Describe the activity: rates over time, coefficient of variation of the ISI, and weights at the end."""
    seconds = run.simulation.duration_s
    edges = np.arange(0, seconds + BIN_S, BIN_S)
    described: dict[str, Any] = {"bin_s": BIN_S}
    for name, (first, end) in run.populations.items():
        inside = (activity.neuron >= first) & (activity.neuron < end)
        counts = np.histogram(activity.step[inside] / 1_000, edges)[0]
        widths = np.minimum(edges[1:], seconds) - edges[:-1]
        rates = counts / (widths * (end - first))
        second_half = activity.step[inside] >= 500 * seconds
        described[name] = {
            "rate_hz": float(counts.sum() / (seconds * (end - first))),
            "rate_hz_over_time": rates.round(3).tolist(),
            "isi_cv": isi_cv(activity.step[inside][second_half], activity.neuron[inside][second_half]),
        }
    weight = activity.weight
    w_max = run.network.weight_max_mv
    described["weights"] = {
        "mean_mv": float(weight.mean()),
        "share_at_max": float((weight >= w_max).mean()),
        "share_at_zero": float((weight <= 0).mean()),
        "share_below_1_mv": float((weight < 1).mean()),
    }
    return described


def isi_cv(step: NDArray[np.int64], neuron: NDArray[np.int64], at_least: int = 20) -> float | None:
    """Return the coefficient of variation of the interspike intervals, its mean over neurons with enough spikes; None: there are none."""
    order = np.lexsort((step, neuron))
    step, neuron = step[order], neuron[order]
    trains = np.split(step, np.flatnonzero(np.diff(neuron)) + 1)
    intervals = [np.diff(train) for train in trains if len(train) > at_least]
    return float(np.mean([one.std() / one.mean() for one in intervals])) if intervals else None


def compare(config: Path, seconds: int, folder: Path) -> dict[str, Any]:
    """Run ours and Brian2, and describe their agreement and their statistics."""
    python = python_of("brian2")
    # one segment: results do not depend on it
    simulation = {"duration_s": seconds, "segment_s": seconds, "ranks": 1}
    log.info("ours, %d s", seconds)
    run, plastic = ours(config, folder, "ours", {"simulation": simulation})
    _, static = ours(config, folder, "static", {"simulation": {**simulation, "plasticity": False}})
    _, other = ours(config, folder, "other_kicks", {"simulation": simulation, "drive": {"seed": run.drive.seed + 1}})
    given = folder / "given.npz"
    hand_over(run, given)
    theirs: dict[str, Activity] = {}
    for name, arithmetic, more in (
        ("plasticity off", "exact", ["--given", str(given), "--no-plasticity"]),
        ("exact", "exact", ["--given", str(given)]),
        ("float", "float", ["--given", str(given)]),
        ("other network and kicks", "float", ["--seed", "2"]),
    ):
        log.info("Brian2, %s: compiling and simulating", name)
        theirs[name] = brian2(python, folder, arithmetic, run, *more)
    return {
        "neurons": run.network.neurons,
        "seconds": seconds,
        "agreement": {
            "plasticity off (exact)": agreement(static, theirs["plasticity off"]),
            "plastic, rounded to 2^-16 mV in float64 (exact)": agreement(plastic, theirs["exact"]),
            "plastic, plain float64": agreement(plastic, theirs["float"]),
        },
        "statistics": {
            "ours": statistics(plastic, run),
            "Brian2, same kicks, plain float64": statistics(theirs["float"], run),
            "ours, other kicks": statistics(other, run),
            "Brian2, other network and kicks": statistics(theirs["other network and kicks"], run),
        },
    }


def print_tables(result: dict[str, Any]) -> None:
    """Print the comparison for people."""
    print(f"{result['neurons']:,} neurons, {result['seconds']} s; ours against Brian2, same synapses and kicks\n")
    print(f"{'':<50}{'spikes':>11}{'the same':>11}{'parted at':>14}{'weights differ by':>19}")
    for name, row in result["agreement"].items():
        parted = "never" if row["parted_at_ms"] is None else f"{row['parted_at_ms']:,} ms"
        differ = f"{row['largest_weight_difference_mv']:.3g} mV"
        print(f"{name:<50}{row['spikes_ours']:>11,}{row['same_spikes']:>11,}{parted:>14}{differ:>19}")
    print(f"\n{'':<36}{'E [Hz]':>8}{'I [Hz]':>8}{'CV E':>7}{'CV I':>7}{'mean w [mV]':>13}{'at max':>8}{'at 0':>8}{'< 1 mV':>8}")
    for name, row in result["statistics"].items():
        e, i, w = row["E"], row["I"], row["weights"]
        cv = "".join(f"{'-':>7}" if one["isi_cv"] is None else f"{one['isi_cv']:>7.3f}" for one in (e, i))
        print(
            f"{name:<36}{e['rate_hz']:>8.3f}{i['rate_hz']:>8.3f}{cv}{w['mean_mv']:>13.3f}"
            f"{w['share_at_max']:>8.3f}{w['share_at_zero']:>8.3f}{w['share_below_1_mv']:>8.3f}"
        )
    for population in ("E", "I"):
        print(f"\nrate of {population} [Hz], each {BIN_S} s")
        for name, row in result["statistics"].items():
            print(f"{name:<36}" + "".join(f"{rate:>7.2f}" for rate in row[population]["rate_hz_over_time"]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", type=Path, default=Path("config.yaml"), help="its network has to be one of E and I as in config.yaml")
    parser.add_argument("--seconds", type=int, default=180, help="biological time [s]")
    parser.add_argument("--json", action="store_true", help="print only JSON")
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    with tempfile.TemporaryDirectory() as folder:
        try:
            result = compare(options.config, options.seconds, Path(folder))
        except PeerError as error:
            sys.exit(f"Brian2: {error}")
        except SpikelensError as error:
            print(error, file=sys.stderr)
            sys.exit(2)
    if options.json:
        print(json.dumps(result, indent=2))
    else:
        print_tables(result)
    exact = [row for name, row in result["agreement"].items() if name.endswith("(exact)")]
    sys.exit(any(row["parted_at_ms"] is not None or row["largest_weight_difference_mv"] > 0 for row in exact))


if __name__ == "__main__":
    main()

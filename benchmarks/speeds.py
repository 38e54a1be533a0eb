"""Measure the speeds of this machine for `spikelens plan`; takes a minute or two.

    python -m benchmarks.speeds --out speeds.json
    spikelens plan config.yaml --speeds speeds.json

Each stage is run at a small size on one core in a scratch folder; its time is divided by the quantity that it
scales with. The keys are those of `spikelens.speeds.Speeds`. Times are wall times of compiled code, so
nothing else should run on the machine.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.simulation import STEPPING, drawn_columns, network_run
from spikelens.config import RunConfig, load_runs, read_yaml, shards_per_block
from spikelens.errors import SpikelensError
from spikelens.expected import expected
from spikelens.features.causal import causal_components, dense_causal_components
from spikelens.features.run import compute
from spikelens.layouts import layout
from spikelens.network.build import build_blocks
from spikelens.numerics import UNITS_PER_MV
from spikelens.prepare import prepare
from spikelens.recording.spikes import read_spikes
from spikelens.recording.wiring import read_synapses
from spikelens.simulation.part import Part
from spikelens.simulation.run import simulate_segment
from spikelens.simulation.stage import LOADED_FILES
from spikelens.speeds import Speeds
from spikelens.stores import write_shard

CONFIG = Path(__file__).parent.parent / "config.yaml"
_SECONDS = 20
"""Duration of the run whose later stages are measured [s of biological time]."""
_TAU_MS = 20.0
"""Time constant of the causal components [ms]."""
_SIZES = ((1_000, 10), (20_000, 2), (100_000, 1))
"""Number of neurons (with 100 synapses each) and duration [s] of the networks for timing synaptic events."""


def seconds(work: Callable[[], object], times: int = 2) -> float:
    """Minimum wall time over `times` calls [s]."""
    walls = []
    for _ in range(times):
        start = time.perf_counter()
        work()
        walls.append(time.perf_counter() - start)
    return min(walls)


def process(*arguments: str) -> Callable[[], object]:
    """A function that runs Python in a separate process."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return lambda: subprocess.run([sys.executable, *arguments], check=True, capture_output=True, env=environment)


def reference_run(folder: str) -> RunConfig:
    """The reference network with a short simulation and short training."""
    content = read_yaml(CONFIG)
    content |= {"run": {"name": "reference", "results": folder}, "sweep": {}}
    content["simulation"] |= {"duration_s": _SECONDS, "segment_s": _SECONDS}
    content["training"]["start_s"] = 0
    for model in content["models"].values():
        model["epochs"] = 1
    for name in ("tft_population", "tft_neuron"):
        content["models"][name] |= {"history": 10, "horizon": 2, "samples_per_epoch": 1_024}
    content["models"]["autoencoder"]["sequences"] = 600
    return load_runs(content, "the benchmark's run")[0]


def starts(folder: str) -> dict[str, float]:
    """Start-up times of processes."""
    run = network_run(250, 20, 1, 1, 1, folder)
    prepare(run)
    build_blocks(run, range(run.n_blocks))
    return {
        "job_s": seconds(process("-m", "snakemake", "--dry-run", "--quiet", "all", "--directory", folder, "--configfile", str(CONFIG))),
        "start_s": seconds(process("-m", "spikelens", "simulate", run.path), 3),
        "start_torch_s": seconds(process("-c", "import spikelens.models.train")),
    }


def files(folder: str) -> dict[str, float]:
    """Time per file for reading and writing almost empty shards: a network with few synapses in 20 blocks."""
    run = network_run(5_000, 2, 1, 1, 1, folder)
    prepare(run)
    build_s = seconds(lambda: build_blocks(run, range(run.n_blocks)))
    part = loaded(run)
    part.simulate_second(0)
    shards = shards_per_block(run)
    return {
        "read_ms_per_file": 1e3 * part.clock.seconds["load"] / (LOADED_FILES * run.n_blocks),
        "write_ms_per_file": 1e3 * (build_s + seconds(part.write)) / (run.n_blocks * (shards["network"] + shards["simulation"])),
    }


def loaded(run: RunConfig) -> Part:
    """A whole run on one rank, loaded from its store; the faster of two attempts."""
    parts = [Part(run, 0, range(run.n_blocks)) for _ in range(2)]
    return min(parts, key=lambda part: part.clock.seconds["load"])


def synapses(folder: str, read_s: float, write_s: float) -> dict[str, float]:
    """Time per synapse to build 2 M synapses, load them and write a segment, without the cost per file."""
    run = network_run(20_000, 100, 1, 1, 1, folder)
    # few large blocks, so that the cost per file is small
    run = run.model_copy(update={"network": run.network.model_copy(update={"block_size": 10_000})})
    prepare(run)
    n, blocks, shards = expected(run).all, run.n_blocks, shards_per_block(run)
    build_s = seconds(lambda: build_blocks(run, range(blocks))) - blocks * shards["network"] * write_s
    part = loaded(run)
    load_s = part.clock.seconds["load"] - blocks * LOADED_FILES * read_s
    part.simulate_second(0)
    raster = np.random.default_rng(1).random((1000, run.network.block_size)) < 0.008
    v = np.zeros((1, run.network.block_size), np.float32)
    one_file_s = seconds(lambda: write_shard(layout(run, "state"), "v", (0, 0), v), 5)
    raster_s = seconds(lambda: write_shard(layout(run, "spikes"), "spikes", (0, 0), raster), 5) - one_file_s
    back_s = seconds(part.write) - blocks * (shards["simulation"] * write_s + raster_s)
    costs = {"network_ns_per_synapse": build_s, "load_ns_per_synapse": load_s, "write_ns_per_synapse": back_s}
    return {**{name: 1e9 * cost_s / n for name, cost_s in costs.items()}, "write_ns_per_cell": 1e9 * raster_s / raster.size}


def stepped(n_neurons: int, n_seconds: int, few: bool) -> dict[str, float]:
    """Minimum time of each phase and mean number of "events" per biological second, on one rank.

    Compiled code is called once per second (`few`) or once per step.
    """
    run = network_run(n_neurons, 100, n_seconds + 1, 1, 1, "unused")
    part = Part(run, 0, range(run.n_blocks), None, lambda block: drawn_columns(run, block))
    part.few = few
    out_degree = np.diff(part.synapses.static.first) + np.diff(part.synapses.plastic.first)
    phases, n_events = [], []
    for second in range(n_seconds + 1):
        before = dict(part.clock.seconds)
        part.simulate_second(1000 * second)
        phases.append([part.clock.seconds[name] - before[name] for name in STEPPING])
        n_events.append(out_degree[part.neurons.ids[part.raster.ids_of(second)]].sum())
    # the first second is a transient
    least = dict(zip(STEPPING, np.min(phases[1:], axis=0).tolist(), strict=True))
    return {**least, "events": float(np.mean(n_events[1:]))}


def events() -> dict[str, Any]:
    """Time per step and per synaptic event, at several network sizes."""
    few, *larger = _SIZES
    phases = [stepped(*size, few=False) for size in larger]
    neuron_step_ns = 1e9 * phases[-1]["update"] / (1000 * larger[-1][0])
    at_once, by_step = stepped(*few, few=True), stepped(*few, few=False)
    events_s = at_once["step"] + at_once["plasticity"] - 1e-9 * neuron_step_ns * 1000 * few[0]
    beside_s = sum(by_step[name] - at_once[name] for name in STEPPING)
    measured = [[100.0 * size[0], 1e9 * (p["deliver"] + p["plasticity"]) / p["events"]] for size, p in zip(larger, phases, strict=True)]
    return {
        "event_ns": [[100.0 * few[0], 1e9 * events_s / at_once["events"]], *measured],
        "neuron_step_ns": neuron_step_ns,
        "step_us": 1e3 * beside_s,
    }


def features(run: RunConfig, read_s: float) -> dict[str, float]:
    """Time of the parts of the features of a block, on the reference network."""
    steps, ids = read_spikes(run, 0, run.n_steps)
    n, windows, tau_ms = run.network.neurons, [run.segment_range(0)], _TAU_MS
    onto_block, change = read_synapses(run, 0, 0)
    weight_max = round(run.network.weight_max_mv * UNITS_PER_MV)
    cells_s = seconds(lambda: read_spikes(run, 0, run.n_steps)) - run.n_blocks * read_s
    dense_s = seconds(lambda: dense_causal_components(steps, ids, n, run.block_range(0), windows, tau_ms))
    replay_s = seconds(lambda: causal_components(onto_block, change.copy(), steps, ids, n, windows, tau_ms, weight_max))
    own = int((ids < run.network.block_size).sum())
    n_events = int(np.bincount(ids, minlength=n)[onto_block.source].sum())
    return {
        "read_ns_per_cell": 1e9 * cells_s / (run.n_steps * n),
        "replay_ns_per_event": 1e9 * replay_s / n_events,
        "dense_ns_per_pair": 1e9 * dense_s / (own * n),
    }


def models(run: RunConfig) -> dict[str, float]:
    """Time of training steps of the autoencoder and of the TFT of neurons, the latter for two batch sizes."""
    import torch

    from spikelens.models.load import new_module
    from spikelens.models.run import train

    torch.set_num_threads(1)
    for name in run.models:  # the explanation needs them
        train(run, name, 1, threads=1)
    models: Any = run.models
    n, autoencoder, tft = run.network.neurons, models["autoencoder"], models["tft_neuron"]

    def step_s(model: Any, std: int, batch: Any) -> float:
        module = new_module(model, {"mean": [0.0] * n, "std": [1.0] * std}, 1)
        return seconds(lambda: module._loss(batch).backward(), 5)

    length = tft.history + tft.horizon
    sizes_s = [(size, step_s(tft, n, (torch.rand(size, length), torch.arange(size) % n))) for size in (64, 1_024)]
    (small, small_s), (large, large_s) = sizes_s
    window_s = (large_s - small_s) / (large - small)
    traces = torch.rand(autoencoder.batch_size, autoencoder.steps, n)
    steps = autoencoder.n_weights(run) * traces.shape[0] * traces.shape[1]
    return {
        "autoencoder_ps_per_weight": 1e12 * step_s(autoencoder, 1, traces) / steps,
        "tft_batch_ms": 1e3 * (small_s - small * window_s),
        "tft_ns_per_unit": 1e9 * window_s / (length * tft.hidden_size),
    }


def end(run: RunConfig) -> dict[str, float]:
    """Scores and report of the short run."""
    from spikelens.explanation.judge import judge
    from spikelens.explanation.run import compute as infer
    from spikelens.report.run import make_report

    for name in run.methods:
        infer(run, name)
    scores_s = seconds(lambda: judge(run), 1)
    pairs = run.n_neurons**2 * (run.explanation.shuffles + run.explanation.bootstraps)
    return {"score_ns_per_pair": 1e9 * scores_s / pairs, "report_s": seconds(lambda: make_report(run), 1)}


def machine() -> str:
    """Name of the processor, number of cores, and today's date."""
    info = Path("/proc/cpuinfo")
    names = (
        [line.partition(":")[2].strip() for line in info.read_text().splitlines() if line.startswith("model name")]
        if info.is_file()
        else []
    )
    cores = len(os.sched_getaffinity(0))
    return f"{names[0] if names else platform.machine()}, {cores} cores, {datetime.date.today()}"


def measure() -> Speeds:
    """Measure everything."""
    with tempfile.TemporaryDirectory() as folder:
        found: dict[str, Any] = {"machine": machine(), **starts(folder)}
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
        found |= files(folder)
        read_s, write_s = 1e-3 * found["read_ms_per_file"], 1e-3 * found["write_ms_per_file"]
        found |= synapses(folder, read_s, write_s)
        found |= events()
        run = reference_run(folder)
        prepare(run)
        build_blocks(run, range(run.n_blocks))
        simulate_segment(run, 0)
        for name in run.computed_features:
            compute(run, name, 0, range(run.n_blocks))
        found |= features(run, read_s)
        found |= models(run)
        found |= end(run)
    return Speeds.model_validate_json(json.dumps({key: _rounded(key, value) for key, value in found.items()}))


def _rounded(name: str, value: Any) -> Any:
    """Round to three significant digits; a difference of measurements that is not positive is an error."""
    if isinstance(value, list):
        return [_rounded(name, part) for part in value]
    if isinstance(value, str):
        return value
    if value <= 0:
        raise SpikelensError(f"{name} cannot be measured: the machine is too busy; try again when it is idle")
    return float(f"{value:.3g}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="output file, for `spikelens plan --speeds`")
    options = parser.parse_args()
    try:
        content = measure().model_dump_json(indent=2)
    except SpikelensError as error:
        sys.exit(str(error))
    options.out.write_text(content + "\n", encoding="utf-8")
    print(content)


if __name__ == "__main__":
    main()

"""Time the first three stages of a configuration, each in one process on one core, start-up included.

    python -m benchmarks.reference [--config config.yaml] [--repeats 3] [--json]

Network, simulation (one rank) and features are computed in turn, `--repeats` times after a warm-up that compiles
the code. Each repeat uses a new scratch folder, since stages skip existing results. The table shows median,
minimum and maximum of the wall time [s], and the median of the peak resident memory [MB].
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from spikelens.config import RunConfig, load_runs, read_yaml
from spikelens.layouts import layout
from spikelens.prepare import prepare
from spikelens.stores import read_array

STAGES = ("network", "simulate", "features")


def cost(stage: str, run: RunConfig) -> tuple[float, float]:
    """Compute one stage on one core.

    Returns
    -------
    tuple of float
        Wall time from the start to the end of its process [s], and its peak resident memory [MB].
    """
    command = [sys.executable, "-m", "spikelens", stage, run.path]
    start = time.perf_counter()
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL, env={**os.environ, "OMP_NUM_THREADS": "1"})
    _, status, usage = os.wait4(process.pid, 0)
    wall_s = time.perf_counter() - start
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, command)
    return wall_s, usage.ru_maxrss * 1024 / 1e6


def scratch_run(config: Path, folder: str) -> RunConfig:
    """Prepare the run of a configuration, without its sweep, in a folder."""
    content = read_yaml(config)
    run = load_runs({**content, "run": {"name": "benchmark", "results": folder}, "sweep": {}}, str(config))[0]
    prepare(run)
    return run


def measure(config: Path, repeats: int) -> dict[str, Any]:
    """Run the stages repeats + 1 times and summarise all but the first run."""
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    costs: dict[str, list[tuple[float, float]]] = {stage: [] for stage in STAGES}
    for repeat in range(repeats + 1):
        with tempfile.TemporaryDirectory() as folder:
            run = scratch_run(config, folder)
            for stage in STAGES:
                measured = cost(stage, run)
                if repeat:
                    costs[stage].append(measured)
            n_spikes = int(read_array(layout(run, "spikes"), "spikes").sum())
    network = {"neurons": run.network.neurons, "duration_s": run.simulation.duration_s, "spikes": n_spikes}
    stages = {}
    for stage, pairs in costs.items():
        walls, peaks = zip(*pairs, strict=True)
        stages[stage] = {
            "median_s": statistics.median(walls),
            "least_s": min(walls),
            "most_s": max(walls),
            "peak_mb": statistics.median(peaks),
        }
    return {"config": str(config), "repeats": repeats, **network, "stages": stages}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", type=Path, default=Path("config.yaml"))
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--json", action="store_true", help="print only JSON")
    options = parser.parse_args()
    result = measure(options.config, options.repeats)
    if options.json:
        print(json.dumps(result, indent=2))
        return
    print(f"{result['neurons']:,} neurons, {result['duration_s']} s, {result['spikes']:,} spikes; {result['repeats']} runs on one core")
    print(f"{'stage':<12}{'median':>10}{'least':>10}{'most':>10}{'peak':>10}   [s], [MB]")
    for stage, row in result["stages"].items():
        print(f"{stage:<12}{row['median_s']:>10.2f}{row['least_s']:>10.2f}{row['most_s']:>10.2f}{row['peak_mb']:>10.0f}")


if __name__ == "__main__":
    main()

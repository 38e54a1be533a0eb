"""Time the first three stages of a configuration, each in one process on one core, start-up included.

    python -m benchmarks.reference [--config config.yaml] [--repeats 3] [--json]

Network, simulation (one rank) and features are run in turn in a scratch folder, `--repeats` times after one
warm-up, which compiles. The table shows median, minimum and maximum of the wall time [s].
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

from spikelens.config import RunConfig, load_runs, read_yaml
from spikelens.layouts import layout
from spikelens.prepare import prepare
from spikelens.stores import read_array

STAGES = ("network", "simulate", "features")


def seconds(stage: str, run: RunConfig) -> float:
    """Wall time of one stage on one core [s], from the start to the end of its process."""
    command = [sys.executable, "-m", "spikelens", stage, run.path]
    start = time.perf_counter()
    subprocess.run(command, check=True, stderr=subprocess.DEVNULL, env={**os.environ, "OMP_NUM_THREADS": "1"})
    return time.perf_counter() - start


def measure(config: Path, repeats: int) -> dict[str, object]:
    """Run the stages repeats + 1 times and summarise all but the first run."""
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    with tempfile.TemporaryDirectory() as folder:
        content = read_yaml(config)
        run = load_runs({**content, "run": {"name": "benchmark", "results": folder}, "sweep": {}}, str(config))[0]
        prepare(run)
        walls: dict[str, list[float]] = {stage: [] for stage in STAGES}
        for repeat in range(repeats + 1):
            for stage in STAGES:
                wall_s = seconds(stage, run)
                if repeat:
                    walls[stage].append(wall_s)
        n_spikes = int(read_array(layout(run, "spikes"), "spikes").sum())
        network = {"neurons": run.network.neurons, "duration_s": run.simulation.duration_s, "spikes": n_spikes}
    stages = {stage: {"median_s": statistics.median(w), "least_s": min(w), "most_s": max(w)} for stage, w in walls.items()}
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
    print(f"{'stage':<12}{'median':>10}{'least':>10}{'most':>10}   [s]")
    for stage, row in result["stages"].items():  # type: ignore[attr-defined]
        print(f"{stage:<12}{row['median_s']:>10.2f}{row['least_s']:>10.2f}{row['most_s']:>10.2f}")


if __name__ == "__main__":
    main()

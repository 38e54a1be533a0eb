"""Measure the time per synaptic event and the memory of the simulation of N neurons with out-degree K.

    python -m benchmarks.simulation --neurons 100000 --out-degree 100 --seconds 2 [--ranks 2] [--seed 1 2 3] [--write] [--json]

The network is the reference network at another size: 80 % E, 20 % I, Bernoulli, plastic, with random kicks. The
number of synaptic events is the sum over spikes of the source's out-degree. The code is compiled before timing.
Results:

- build_s: drawing the synapses and sorting them for delivery, in memory;
- wall_s: simulation loop including STDP, of the slowest rank; ns_per_event, real_time_factor follow from it;
- bytes_per_synapse: peak memory of all ranks, with spike lists, minus that after imports and compilation;
- cpu_s: processor time of the loop, summed over ranks (busy waiting for other ranks counts);
- phases: seconds of each phase on each rank; processor time with --cpu. With --write, also the time to write
  raster, weights and state to a scratch folder as in a run.

With several seeds (of wiring and drive), each seed runs in separate processes, and the results are medians.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from spikelens import mpi
from spikelens.config import MAX_SHARD_BYTES, RunConfig, load_runs, read_yaml
from spikelens.network.build import build_blocks, drawn_synapses
from spikelens.prepare import prepare
from spikelens.simulation.part import Clock, Part
from spikelens.simulation.synapses import Columns

if TYPE_CHECKING:
    from mpi4py.MPI import Comm

CONFIG = Path(__file__).parent.parent / "config.yaml"
_CHUNK = 250
STEPPING = ("step", "deliver", "update", "exchange", "plasticity")


def network_run(n_neurons: int, out_degree: int, seconds: int, ranks: int, seed: int, results: str) -> RunConfig:
    """The reference network at another size, in one segment; blocks respect the limit on shard size."""
    content = read_yaml(CONFIG)
    n_excitatory = n_neurons * 4 // 5
    network = content["network"]
    network["populations"]["E"]["count"], network["populations"]["I"]["count"] = n_excitatory, n_neurons - n_excitatory
    for name, n_targets in (("E->E", n_neurons), ("E->I", n_neurons), ("I->E", n_excitatory)):
        network["connections"][name]["p"] = out_degree / n_targets
    at_most = min(-(-n_neurons // max(20, 4 * ranks)), MAX_SHARD_BYTES // (1000 * seconds))
    block_size = max(at_most // _CHUNK, 1) * _CHUNK
    network |= {"neurons": n_neurons, "block_size": block_size, "seed": seed}
    content["run"] = {"name": f"{n_neurons}-{out_degree}-{seed}", "results": results}
    content["drive"]["seed"] = seed
    content["simulation"] |= {"duration_s": seconds, "segment_s": seconds, "ranks": ranks, "weight_average": False}
    content["features"], content["models"], content["explanation"]["methods"] = {}, {}, {}
    content["report"]["raster_s"] = 1
    return load_runs(content, "the benchmark's network")[0]


def drawn_columns(run: RunConfig, block: int) -> Columns:
    """A block's synapses, drawn instead of read."""
    synapses = drawn_synapses(run, block)
    change = np.zeros(len(synapses), np.int32)
    return Columns(synapses.source, synapses.target, synapses.delay, synapses.weight, synapses.plastic, change)


def memory_now() -> int:
    """Resident memory of this process [bytes]."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize()


def memory_peak() -> int:
    """Peak resident memory of this process [bytes]."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def warm_up(comm: Comm | None, write: bool = False, folder: str = "unused") -> None:
    """Load all compiled code with a small network; with `write`, also the code that writes, to `folder`."""
    rank, ranks = (0, 1) if comm is None else (comm.Get_rank(), comm.Get_size())
    run = network_run(_CHUNK * max(4, ranks), 20, 1, ranks, 1, folder)
    if write and rank == 0:
        prepare(run)
        build_blocks(run, range(run.n_blocks))
    if comm is not None:
        comm.Barrier()
    for few in (True, False) if comm is None else (False,):
        part = Part(run, 0, range(rank, run.n_blocks, ranks), comm, lambda block: drawn_columns(run, block))
        part.few = few
        part.simulate_second(0)
    if write:
        part.write()


def measure(run: RunConfig, comm: Comm | None, write: bool, cpu: bool) -> dict[str, Any] | None:
    """Build, simulate and optionally write; returns the results of all ranks on the first rank, else None."""
    rank, ranks = (0, 1) if comm is None else (comm.Get_rank(), comm.Get_size())
    warm_up(comm, write, str(run.folder / "warm-up"))
    before = memory_now()
    part = Part(run, 0, mpi.owned_blocks(run.n_blocks, rank, ranks), comm, lambda block: drawn_columns(run, block))
    if comm is not None:
        comm.Barrier()
    if cpu:
        part.clock = Clock(time.process_time)
    started = time.process_time()
    for second in range(run.simulation.duration_s):
        part.simulate_second(1000 * second)
    cpu_s = time.process_time() - started
    if write:
        part.write()
    synapses = part.synapses
    spikes = np.zeros(run.network.neurons, np.int64)
    spikes[part.neurons.ids] = part.raster.n_spikes(part.n_local)
    out_degree = np.diff(synapses.static.first) + np.diff(synapses.plastic.first)
    own = {
        "spikes": spikes,
        "out_degree": out_degree,
        "phases": part.clock.seconds,
        "cpu_s": cpu_s,
        "bytes": memory_peak() - before,
    }
    everyone = [own] if comm is None else comm.gather(own)
    return None if everyone is None else summary(run, everyone)


def summary(run: RunConfig, ranks: list[dict[str, Any]]) -> dict[str, Any]:
    """Combine the results of all ranks."""
    spikes, out_degree = (sum(rank[name] for rank in ranks) for name in ("spikes", "out_degree"))
    n_synapses, n_events = int(out_degree.sum()), int((spikes * out_degree).sum())
    phases = [rank["phases"] for rank in ranks]
    wall_s = max(sum(phase[name] for name in STEPPING) for phase in phases)
    seconds = run.simulation.duration_s
    return {
        "neurons": run.network.neurons,
        "out_degree": n_synapses / run.network.neurons,
        "seconds": seconds,
        "ranks": len(ranks),
        "seed": run.network.seed,
        "n_synapses": n_synapses,
        "n_spikes": int(spikes.sum()),
        "n_events": n_events,
        "rate_hz": float(spikes.mean() / seconds),
        "rate_hz_by_population": {name: float(spikes[first:end].mean() / seconds) for name, (first, end) in run.populations.items()},
        "ns_per_event": 1e9 * wall_s / n_events,
        "bytes_per_synapse": sum(rank["bytes"] for rank in ranks) / n_synapses,
        "build_s": max(phase["load"] for phase in phases),
        "wall_s": wall_s,
        "cpu_s": sum(rank["cpu_s"] for rank in ranks),
        "real_time_factor": wall_s / seconds,
        "write_s": max(phase["write"] for phase in phases),
        "phases": phases,
    }


def run_seed(options: argparse.Namespace, seed: int, folder: str) -> dict[str, Any]:
    """Run one seed in new processes."""
    run = network_run(options.neurons, options.out_degree, options.seconds, options.ranks, seed, folder)
    if options.write:  # the sizes of the weight shards are read from the network's store
        prepare(run)
        build_blocks(run, range(run.n_blocks))
    launcher = [] if options.ranks == 1 else [str(Path(sys.executable).with_name("mpiexec")), "-n", str(options.ranks)]
    sizes = [
        str(value)
        for name in ("neurons", "out_degree", "seconds", "ranks")
        for value in (f"--{name.replace('_', '-')}", getattr(options, name))
    ]
    command = [*launcher, sys.executable, "-m", "benchmarks.simulation", *sizes, "--seed", str(seed), "--worker", folder]
    command += [f"--{name}" for name in ("write", "cpu") if getattr(options, name)]
    finished = subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True)
    return dict(json.loads(finished.stdout.splitlines()[-1]))


def median_of(results: list[dict[str, Any]]) -> dict[str, Any]:
    """Medians over seeds; the results of each seed are in "by_seed"."""
    if len(results) == 1:
        return results[0]
    numbers = {name: statistics.median(r[name] for r in results) for name, value in results[0].items() if isinstance(value, int | float)}
    return {**results[0], **numbers, "seed": [r["seed"] for r in results], "by_seed": results}


def print_table(results: list[dict[str, Any]]) -> None:
    """Print the phases of every rank and seed as a table."""
    first = results[0]
    names = [name for name in first["phases"][0] if any(phase[name] for r in results for phase in r["phases"])]
    print(
        f"{first['neurons']:,} neurons, {first['n_synapses']:,} synapses (plastic and static), "
        f"{first['seconds']} s on {first['ranks']} ranks"
    )
    print(f"{'seed':>5}{'rank':>5}" + "".join(f"{name:>12}" for name in names) + "   [s]")
    for result in results:
        for rank, phases in enumerate(result["phases"]):
            print(f"{result['seed']:>5}{rank:>5}" + "".join(f"{phases[name]:>12.2f}" for name in names))
    result = median_of(results)
    print(
        f"{result['ns_per_event']:.2f} ns per event, {result['n_events']:,} events, {result['rate_hz']:.2f} Hz, "
        f"real-time factor {result['real_time_factor']:.3f}, {result['bytes_per_synapse']:.1f} bytes per synapse, "
        f"build {result['build_s']:.2f} s"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--neurons", type=int, default=100_000)
    parser.add_argument("--out-degree", type=int, default=100)
    parser.add_argument("--seconds", type=int, default=2)
    parser.add_argument("--ranks", type=int, default=1)
    parser.add_argument("--seed", type=int, nargs="+", default=[1])
    parser.add_argument("--write", action="store_true", help="also write raster, weights and state to a scratch folder")
    parser.add_argument("--cpu", action="store_true", help="measure phases in processor time; useful with more ranks than cores")
    parser.add_argument("--json", action="store_true", help="print only JSON")
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        comm = mpi.world(options.ranks if options.ranks > 1 else None)
        run = network_run(options.neurons, options.out_degree, options.seconds, options.ranks, options.seed[0], options.worker)
        result = measure(run, comm, options.write, options.cpu)
        if result is not None:
            print(json.dumps(result))
        return
    with tempfile.TemporaryDirectory() as folder:
        results = [run_seed(options, seed, folder) for seed in options.seed]
    if options.json:
        print(json.dumps(median_of(results)))
    else:
        print_table(results)


if __name__ == "__main__":
    main()

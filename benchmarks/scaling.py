"""Model the time of a step on P ranks from constants measured here, and predict scaling beyond one machine.

    python -m benchmarks.scaling [--neurons 100000] [--seconds 2] [--ranks 1 2 4 8] [--json]

1. Measured: the processor time of each phase, for each number of ranks (which may exceed the number of cores,
   because processor time is measured); the time of one allgather of a step's spikes between two ranks, by
   length; the time to skip a spike whose source has no synapse on the rank, for 10^5 to 10^8 neurons.
2. Fitted: the constants of the model in docs/scaling.md, by non-negative least squares, with the largest error
   of each phase.
3. Predicted: seconds per biological second in weak and strong scaling, and where the allgather stops scaling.
   For comparison: spikes sent only to ranks with targets (directed), and computing time if pending spikes were
   sorted by the step of their next arrival (calendar). The network between machines is assumed: --latency-us,
   --bandwidth-gbs.
"""

from __future__ import annotations

import argparse
import json
import math
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy.optimize import nnls

from spikelens.simulation.kernel import Projection, SpikeQueue, enqueue

MAX_DELAY_MS = 20
STEPS = 1_000
SHARE_EXCITATORY = 0.8
MPIEXEC = Path(sys.executable).with_name("mpiexec")
_EXCHANGE = """
import json, time
import numpy as np
from mpi4py import MPI
comm = MPI.COMM_WORLD
rows = []
for n in (64, 256, 1024, 4096, 16384, 65536):
    own, everyone = np.zeros(n, np.int32), np.zeros((comm.Get_size(), n), np.int32)
    best = 1e9
    for _ in range(20):
        comm.Barrier()
        start = time.perf_counter()
        for _ in range(50):
            comm.Allgather(own, everyone)
        best = min(best, (time.perf_counter() - start) / 50)
    rows.append([4 * n, best])
if comm.rank == 0:
    print(json.dumps(rows))
"""


@dataclass(frozen=True)
class Constants:
    """The model's constants [s]."""

    visit: float
    """Visit one pending spike in one step, whether or not it arrives."""
    event: float
    """Deliver one spike to one synapse."""
    neuron: float
    """Advance one neuron by one step."""
    call: float
    """Overhead per step."""
    synapse: float
    """Update the weight of one plastic synapse, once per second."""
    source: float
    """Tabulate the potentiation of one source with synapses on the rank, once per second."""
    look: float
    """Skip one spike whose source has no synapse on the rank."""
    latency: float
    """Latency of a message between two ranks on one machine."""
    byte: float
    """Transfer time of one byte."""


@dataclass(frozen=True)
class Load:
    """A network of N neurons with out-degree K on P ranks, and its firing rates."""

    neurons: float
    out_degree: float
    ranks: int
    rate_e_hz: float
    rate_i_hz: float

    @property
    def spikes_e(self) -> float:
        """Spikes of excitatory neurons per second; they have delays of 1 .. 20 ms and plastic synapses."""
        return SHARE_EXCITATORY * self.neurons * self.rate_e_hz

    @property
    def spikes_i(self) -> float:
        """Spikes of inhibitory neurons per second; they have delays of 1 ms."""
        return (1 - SHARE_EXCITATORY) * self.neurons * self.rate_i_hz

    @property
    def spikes(self) -> float:
        return self.spikes_e + self.spikes_i

    @property
    def here(self) -> float:
        """Probability that a source has a synapse on a given rank."""
        return 1 - math.exp(-self.out_degree / self.ranks)

    @property
    def visits(self) -> float:
        """Visits of pending spikes on a rank per second; spikes are pending for their longest delay there."""
        mean = self.out_degree / self.ranks
        steps = sum(1 - math.exp(-mean * (MAX_DELAY_MS - d + 1) / MAX_DELAY_MS) for d in range(1, MAX_DELAY_MS + 1))
        return self.spikes_e * steps + self.spikes_i * self.here

    @property
    def arrivals(self) -> float:
        """Visits per second if spikes were visited only at arrival: once per distinct delay on the rank."""
        groups = MAX_DELAY_MS * (1 - math.exp(-self.out_degree / self.ranks / MAX_DELAY_MS))
        return self.spikes_e * groups + self.spikes_i * self.here

    @property
    def events(self) -> float:
        """Synaptic events of a rank per second."""
        return self.spikes * self.out_degree / self.ranks

    @property
    def plastic(self) -> float:
        """Number of plastic synapses on a rank."""
        return SHARE_EXCITATORY * self.neurons * self.out_degree / self.ranks

    @property
    def sources(self) -> float:
        """Number of sources with plastic synapses on a rank."""
        return SHARE_EXCITATORY * self.neurons * self.here


def work(load: Load, c: Constants) -> dict[str, float]:
    """Computing time of a rank per biological second [s], by phase."""
    return {
        "deliver": c.visit * load.visits + c.event * load.events,
        "update": c.neuron * STEPS * load.neurons / load.ranks + c.call * STEPS,
        "plasticity": c.synapse * load.plastic + c.source * load.sources,
        "look": c.look * load.spikes * (1 - load.here),
    }


def allgather_s(load: Load, latency: float, byte: float) -> float:
    """Time per biological second to send all spikes to all ranks [s]: log2(P) rounds per step."""
    return STEPS * latency * math.log2(max(load.ranks, 1)) + byte * 4 * load.spikes * (load.ranks - 1) / load.ranks


def directed_s(load: Load, c: Constants, latency: float, byte: float) -> float:
    """Time per biological second if spikes are sent only to ranks with targets [s].

    Spikes are gathered by machine in sqrt(P) x sqrt(P) rounds. A rank receives only spikes it has synapses
    for. A step costs 2 sqrt(P) messages instead of log2(P).
    """
    messages = 2 * (math.sqrt(load.ranks) - 1)
    return STEPS * latency * messages + 2 * byte * 4 * load.spikes * load.here + c.look * load.spikes * load.here


def measure_phases(neurons: int, out_degree: int, seconds: int, ranks: int) -> dict[str, Any]:
    """Processor time by phase on `ranks` ranks."""
    sizes = [f"--neurons={neurons}", f"--out-degree={out_degree}", f"--seconds={seconds}", f"--ranks={ranks}"]
    command = [sys.executable, "-m", "benchmarks.simulation", *sizes, "--cpu", "--json"]
    return dict(json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout))


def measure_exchange() -> list[tuple[int, float]]:
    """Time of an allgather between two ranks on this machine [s], by bytes per rank."""
    finished = subprocess.run([str(MPIEXEC), "-n", "2", sys.executable, "-c", _EXCHANGE], check=True, stdout=subprocess.PIPE, text=True)
    return [(int(n), float(s)) for n, s in json.loads(finished.stdout.splitlines()[-1])]


def measure_look() -> dict[int, float]:
    """Time to skip a spike whose source has no synapse on the rank [s], by number of neurons."""
    found = {}
    rng = np.random.default_rng(1)
    for neurons in (10**5, 10**6, 10**7, 10**8):
        projection = Projection(np.zeros(neurons + 1, np.int64), np.empty(0, np.int32))
        queue = SpikeQueue(np.empty(1, np.uint64), np.empty(1, np.uint64), np.zeros(MAX_DELAY_MS + 2, np.int64))
        # ids come rank by rank, increasing
        ids = np.sort(rng.integers(0, neurons, max(neurons // 120, 1000), dtype=np.int32))
        enqueue(ids, projection, queue)
        times = []
        for _ in range(9):
            start = time.perf_counter()
            enqueue(ids, projection, queue)
            times.append((time.perf_counter() - start) / len(ids))
        found[neurons] = min(times)
    return found


def fit(rows: list[dict[str, Any]], exchange: list[tuple[int, float]], look: dict[int, float]) -> tuple[Constants, dict[str, float]]:
    """Fit the constants; also return the largest relative error of each phase."""
    loads = [load_of(row) for row in rows]
    mean = {name: np.array([mean_phases(row)[name] for row in rows]) for name in ("deliver", "update", "plasticity")}
    deliver, deliver_error = _least_squares([[load.visits, load.events] for load in loads], mean["deliver"])
    update, update_error = _least_squares([[STEPS * load.neurons / load.ranks, STEPS] for load in loads], mean["update"])
    plasticity, plasticity_error = _least_squares([[load.plastic, load.sources] for load in loads], mean["plasticity"])
    (latency, byte), _ = _least_squares([[1.0, 2.0 * n] for n, _ in exchange], np.array([s for _, s in exchange]))
    constants = Constants(*deliver, *update, *plasticity, max(look.values()), latency, byte)
    return constants, {"deliver": deliver_error, "update": update_error, "plasticity": plasticity_error}


def _least_squares(rows: list[list[float]], values: np.ndarray) -> tuple[list[float], float]:
    """Non-negative constants that minimise the squared relative errors, and the largest relative error."""
    matrix = np.array(rows) / values[:, None]
    solution, _ = nnls(matrix, np.ones(len(values)))
    return [float(x) for x in solution], float(np.abs(matrix @ solution - 1).max())


def mean_phases(row: dict[str, Any]) -> dict[str, float]:
    """Mean time of a rank per biological second [s], by phase."""
    return {name: float(np.mean([phase[name] for phase in row["phases"]])) / row["seconds"] for name in ("deliver", "update", "plasticity")}


def load_of(row: dict[str, Any]) -> Load:
    rates = row["rate_hz_by_population"]
    return Load(row["neurons"], row["out_degree"], row["ranks"], rates["E"], rates["I"])


def predict(c: Constants, row: dict[str, Any], latency: float, byte: float, per_rank: int, strong: int) -> list[dict[str, Any]]:
    """Weak scaling (`per_rank` neurons per rank) and strong scaling (`strong` neurons) up to 10,000 ranks."""
    rates = row["rate_hz_by_population"]
    table = []
    for kind, ranks in [("weak", 10**k) for k in range(5)] + [("strong", 10**k) for k in range(5)]:
        load = Load(per_rank * ranks if kind == "weak" else strong, row["out_degree"], ranks, rates["E"], rates["I"])
        phases = work(load, c)
        compute = sum(phases.values()) - phases["look"]
        calendar = compute - c.visit * (load.visits - load.arrivals)
        gather = phases["look"] + allgather_s(load, latency, byte)
        direct = directed_s(load, c, latency, byte) if ranks > 1 else 0.0
        seconds = {"compute_s": compute, "calendar_s": calendar, "allgather_s": gather, "directed_s": direct}
        table.append({"scaling": kind, "ranks": ranks, "neurons": load.neurons, **seconds})
    return table


def report(result: dict[str, Any]) -> None:
    """Print everything as tables."""
    print("measured: processor seconds per rank and biological second")
    print(f"{'ranks':>6}{'deliver':>10}{'update':>10}{'plasticity':>12}")
    for row in result["measured"]:
        print(f"{row['ranks']:>6}{row['deliver']:>10.3f}{row['update']:>10.3f}{row['plasticity']:>12.3f}")
    print("\nconstants [ns]: " + ", ".join(f"{name} {1e9 * value:.3g}" for name, value in result["constants"].items()))
    print("largest error of the fit: " + ", ".join(f"{name} {100 * value:.0f} %" for name, value in result["fit_error"].items()))
    skips = ", ".join(f"{n:,}: {1e9 * s:.1f}" for n, s in result["look"].items())
    print(f"skip a spike without a synapse on the rank [ns], by neurons: {skips}")
    print("\npredicted: wall seconds per biological second")
    print(f"{'':>8}{'ranks':>8}{'neurons':>16}{'compute':>10}{'calendar':>10}{'allgather':>11}{'directed':>10}")
    for row in result["predicted"]:
        print(
            f"{row['scaling']:>8}{row['ranks']:>8,}{row['neurons']:>16,}{row['compute_s']:>10.3g}{row['calendar_s']:>10.3g}"
            f"{row['allgather_s']:>11.3g}{row['directed_s']:>10.3g}"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--neurons", type=int, default=100_000)
    parser.add_argument("--out-degree", type=int, default=100)
    parser.add_argument("--seconds", type=int, default=2)
    parser.add_argument("--ranks", type=int, nargs="+", default=[1, 2, 4, 8])
    parser.add_argument("--latency-us", type=float, default=2.0, help="assumed latency of a message between machines [us]")
    parser.add_argument("--bandwidth-gbs", type=float, default=10.0, help="assumed receive bandwidth per rank [GB/s]")
    parser.add_argument("--json", action="store_true", help="print only JSON")
    options = parser.parse_args()
    rows = []
    for ranks in options.ranks:
        print(f"measuring {ranks} ranks ...", file=sys.stderr)
        rows.append(measure_phases(options.neurons, options.out_degree, options.seconds, ranks))
    look, exchange = measure_look(), measure_exchange()
    constants, errors = fit(rows, exchange, look)
    latency, byte = 1e-6 * options.latency_us, 1e-9 / options.bandwidth_gbs
    result = {
        "neurons": options.neurons,
        "out_degree": options.out_degree,
        "seconds": options.seconds,
        "measured": [{"ranks": row["ranks"], **mean_phases(row)} for row in rows],
        "exchange": exchange,
        "look": look,
        "constants": asdict(constants),
        "fit_error": errors,
        "assumed": {"latency_s": latency, "s_per_byte": byte},
        "predicted": predict(constants, rows[0], latency, byte, 100_000, 10**9),
    }
    if options.json:
        print(json.dumps(result))
    else:
        report(result)


if __name__ == "__main__":
    main()

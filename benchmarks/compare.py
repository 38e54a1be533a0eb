"""Compare spikelens with Brian2 and NEST on the same plastic networks, one thread each, with interleaved runs.

    python -m benchmarks.compare [--repeats 3] [--network 1000x100:180 --network 100000x100:2] [--peer-seconds 60] [--json]

The simulators take turns, `--repeats` times, each run in a separate process; the table shows medians. On the
first call, each peer gets its own environment (benchmarks/peers/environments). If a peer cannot be installed
or run, the table shows the reason and the exit code is 1. Progress is written to standard error; with --json,
standard output contains only JSON.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import re
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.peers.environment import PeerError, python_of, run_module

log = logging.getLogger(__name__)

OURS = "spikelens"
MEDIANS = ("ns_per_event", "rate_hz", "bytes_per_synapse", "build_s", "compile_s", "wall_s")
DEFAULT_NETWORKS = ("1000x100:180", "100000x100:2")
LEGEND = """event: one spike at one synapse; ns/event: wall time of the simulation loop per event, median
least - most: range over the repeats; CPU ns: processor time per event, more reliable on a busy machine
rate: Hz; bytes/syn: (peak RSS - RSS after imports and compilation) per synapse; build: s"""

Row = dict[str, Any]


@dataclass(frozen=True)
class Size:
    """A network with N neurons of out-degree K, and its duration [s of biological time]."""

    neurons: int
    out_degree: int
    seconds: int

    @classmethod
    def parse(cls, text: str) -> Size:
        """Parse NxK:SECONDS."""
        found = re.fullmatch(r"(\d+)x(\d+):(\d+)", text)
        if not found or min(map(int, found.groups())) < 1:
            raise argparse.ArgumentTypeError(f"{text}: expected neurons x out-degree : seconds, as in 1000x100:180")
        return cls(*map(int, found.groups()))

    def arguments(self, at_most_s: int | None = None) -> list[str]:
        """Return the command-line options common to all simulators."""
        seconds = self.seconds if at_most_s is None else min(self.seconds, at_most_s)
        return ["--neurons", str(self.neurons), "--out-degree", str(self.out_degree), "--seconds", str(seconds)]

    def __str__(self) -> str:
        return f"{self.neurons:,} x {self.out_degree}, {self.seconds} s"


@dataclass(frozen=True)
class Simulator:
    """A simulator: its name and the function for one run, which raises PeerError if it fails."""

    name: str
    run: Callable[[Size], Row]


def simulators(scratch: Path, peer_seconds: int | None) -> list[Simulator]:
    """Return our simulator and its peers; the environments of the peers are created at their first run."""

    def ours(size: Size) -> Row:
        return _parsed(run_module(Path(sys.executable), "benchmarks.simulation", [*size.arguments(), "--json"]))

    def brian2(size: Size) -> Row:
        # with the same folder, only the first run compiles
        folder = scratch / f"brian2-{size.neurons}-{size.out_degree}"
        arguments = [*size.arguments(peer_seconds), "--folder", str(folder)]
        return _parsed(run_module(python_of("brian2"), "benchmarks.peers.brian2_network", arguments))

    def nest(size: Size) -> Row:
        return _parsed(run_module(python_of("nest"), "benchmarks.peers.nest_network", size.arguments(peer_seconds)))

    return [Simulator(OURS, ours), Simulator("Brian2", brian2), Simulator("NEST", nest)]


def _parsed(text: str) -> Row:
    try:
        row: Row = json.loads(text)
    except ValueError:
        raise PeerError(f"expected only JSON on standard output, got: {text[:100]!r}") from None
    return row


def measure(sizes: Sequence[Size], repeats: int, everyone: Sequence[Simulator]) -> list[Row]:
    """Run the simulators in turn on every network and compute medians; after a failure, skip the simulator.

    Returns
    -------
    list of dict
        For each network its size and, by simulator, `error`, or the median, minimum and maximum over its runs.
    """
    start = time.monotonic()
    n_done, n_runs = 0, len(sizes) * repeats * len(everyone)
    networks = []
    for size in sizes:
        runs: dict[str, list[Row]] = {simulator.name: [] for simulator in everyone}
        errors: dict[str, str] = {}
        for repeat in range(repeats):
            for simulator in everyone:
                left = f", about {(time.monotonic() - start) / n_done * (n_runs - n_done):,.0f} s left" if n_done else ""
                log.info("%s: %s, run %d of %d%s", size, simulator.name, repeat + 1, repeats, left)
                n_done += 1
                if simulator.name in errors:
                    continue
                try:
                    runs[simulator.name].append(simulator.run(size))
                except PeerError as error:
                    errors[simulator.name] = str(error)
                    log.info("%s: %s failed: %s", size, simulator.name, error)
        described = {name: {"error": errors[name]} if name in errors else summary(rows) for name, rows in runs.items()}
        networks.append({"neurons": size.neurons, "out_degree": size.out_degree, "seconds": size.seconds, "simulators": described})
    return networks


def summary(rows: Sequence[Row]) -> Row:
    """Summarise the runs of one simulator: constants from the first run, medians of the measurements."""
    described = dict(rows[0])
    for key in MEDIANS:
        values = [row[key] for row in rows if key in row]
        if values:
            described[key] = statistics.median(values)
    # later runs use the compiled code of the first
    described["compile_s"] = max((row.get("compile_s", 0.0) for row in rows), default=0.0)
    cpu = [1e9 * row["cpu_s"] / row["n_events"] for row in rows if row.get("cpu_s") and row.get("n_events")]
    if cpu:
        described["cpu_ns_per_event"] = statistics.median(cpu)
    events = [row["ns_per_event"] for row in rows]
    return {**described, "ns_per_event_least": min(events), "ns_per_event_most": max(events), "repeats": len(rows)}


def table(networks: Sequence[Row]) -> str:
    """Format the comparison as text."""
    lines = []
    for network in networks:
        size = Size(network["neurons"], network["out_degree"], network["seconds"])
        own = network["simulators"].get(OURS, {}).get("ns_per_event")
        lines.append(f"{size}, one thread, STDP on")
        speed = f"{'ns/event':>10}{'least - most':>18}{'/ ours':>8}{'CPU ns':>9}"
        lines.append(f"  {'':<18}{speed}{'rate E':>9}{'rate I':>8}{'all':>7}{'bytes/syn':>11}{'build':>9}")
        lines += [_line(name, row, own, size.seconds) for name, row in network["simulators"].items()]
        lines.append("")
    lines.append(LEGEND)
    for name, row in _with_notes(networks).items():
        lines += ["", f"{name} {row['version']}: {row['settings']}", *(f"  - {text}" for text in row["differs"])]
    return "\n".join(lines)


def _line(name: str, row: Row, own_ns: float | None, seconds: int) -> str:
    if "error" in row:
        return f"  {name:<18}not run: {row['error']}"
    ratio = f"{row['ns_per_event'] / own_ns:.1f}" if own_ns else ""
    spread = f"{row['ns_per_event_least']:.1f} - {row['ns_per_event_most']:.1f}"
    cpu = f"{row['cpu_ns_per_event']:.1f}" if "cpu_ns_per_event" in row else "-"
    rates = row["rate_hz_by_population"]
    notes = [f"only {row['seconds']:g} s simulated"] if row["seconds"] != seconds else []
    notes += [f"plus {row['compile_s']:.0f} s compilation"] if row["compile_s"] >= 1 else []
    return (
        f"  {name:<18}{row['ns_per_event']:>10.1f}{spread:>18}{ratio:>8}{cpu:>9}"
        f"{rates['E']:>9.2f}{rates['I']:>8.2f}{row['rate_hz']:>7.2f}"
        f"{row['bytes_per_synapse']:>11.1f}{row['build_s']:>9.2f}{'  ' + ', '.join(notes) if notes else ''}"
    )


def _with_notes(networks: Sequence[Row]) -> dict[str, Row]:
    """Return one row of each simulator that lists differences from ours."""
    return {name: row for network in networks for name, row in network["simulators"].items() if row.get("differs")}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--network", type=Size.parse, action="append", help="NEURONSxOUT_DEGREE:SECONDS; may be given several times")
    parser.add_argument("--peer-seconds", type=int, help="maximum duration for peers [s]; noted in the table")
    parser.add_argument("--json", action="store_true", help="print only JSON")
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    sizes = options.network or [Size.parse(text) for text in DEFAULT_NETWORKS]
    with tempfile.TemporaryDirectory() as scratch:
        networks = measure(sizes, max(options.repeats, 1), simulators(Path(scratch), options.peer_seconds))
    load, n_cores = os.getloadavg()[0], os.cpu_count() or 1
    if options.json:
        print(json.dumps({"networks": networks, "load": load, "cores": n_cores}, indent=2))
    else:
        print(table(networks))
        if load > 1.5:
            print(f"\nload {load:.1f} on {n_cores} cores at the end: the machine was busy with other work")
    sys.exit(any("error" in row for network in networks for row in network["simulators"].values()))


if __name__ == "__main__":
    main()

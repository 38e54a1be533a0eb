"""The network that is compared, as numbers, and what every simulator reports of it; needs nothing but Python.

"N x K" is the reference network of docs/model.md at N neurons whose mean out-degree is K; 1,000 x 100 is the reference network itself.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import dataclass
from typing import Any, NamedTuple


class Cell(NamedTuple):
    """Izhikevich's parameters; a [1/ms], b [1], c [mV], d [mV]."""

    a: float
    b: float
    c: float
    d: float


EXCITATORY = Cell(0.02, 0.2, -65.0, 8.0)
INHIBITORY = Cell(0.1, 0.2, -65.0, 2.0)
V0_MV = -65.0
U0_MV = -13.0
WEIGHT_E_MV = 6.0
WEIGHT_I_MV = -5.0
WEIGHT_MAX_MV = 10.0
MAX_DELAY_MS = 20
LTP_MV = 0.10
LTD_MV = 0.12
TAU_STDP_MS = 20.0
DRIFT_MV = 0.01
"""Added to each plastic weight once a second."""
KICK_MV = 20.0
GROUP_SIZE = 1_000
"""One neuron of each group of so many is kicked every ms."""


@dataclass(frozen=True)
class Network:
    """N x K: sizes and the probability of each synapse."""

    neurons: int
    out_degree: int

    @property
    def excitatory(self) -> int:
        """The number of excitatory neurons; they come first."""
        return self.neurons * 4 // 5

    @property
    def p_from_e(self) -> float:
        """The probability of a synapse from an excitatory neuron to any neuron."""
        return self.out_degree / self.neurons

    @property
    def p_from_i(self) -> float:
        """The probability of a synapse from an inhibitory neuron to an excitatory one."""
        return self.out_degree / self.excitatory


def parser(description: str | None) -> argparse.ArgumentParser:
    """Return the options that every simulator of the comparison takes."""
    made = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--neurons", type=int, default=1_000)
    made.add_argument("--out-degree", type=int, default=100, help="mean out-degree of every neuron")
    made.add_argument("--seconds", type=int, default=10, help="biological time [s]")
    made.add_argument("--seed", type=int, default=1)
    return made


def resident_bytes(peak: bool = False) -> int:
    """Return this process's resident memory, now or at its peak [bytes]."""
    name = "VmHWM:" if peak else "VmRSS:"
    with open("/proc/self/status", encoding="ascii") as status:
        return next(int(line.split()[1]) * 1024 for line in status if line.startswith(name))


@dataclass(frozen=True)
class Measured:
    """What one run of a simulator took and did; an event is a spike times its out-degree."""

    spikes_e: int
    spikes_i: int
    n_synapses: int
    n_events: int
    build_s: float
    compile_s: float
    wall_s: float
    cpu_s: float
    memory_bytes: int
    version: str
    settings: str
    differs: list[str]


def report(network: Network, seconds: float, seed: int, measured: Measured) -> None:
    """Print the run as one line of JSON, with the keys of `python -m benchmarks.simulation --json`."""
    n_spikes = measured.spikes_e + measured.spikes_i
    rates = {
        "E": measured.spikes_e / (network.excitatory * seconds),
        "I": measured.spikes_i / ((network.neurons - network.excitatory) * seconds),
    }
    row: dict[str, Any] = {
        "neurons": network.neurons,
        "out_degree": network.out_degree,
        "seconds": seconds,
        "ranks": 1,
        "seed": seed,
        "n_synapses": measured.n_synapses,
        "n_spikes": n_spikes,
        "n_events": measured.n_events,
        "rate_hz": n_spikes / (network.neurons * seconds),
        "rate_hz_by_population": rates,
        "ns_per_event": 1e9 * measured.wall_s / max(measured.n_events, 1),
        "bytes_per_synapse": measured.memory_bytes / measured.n_synapses,
        "build_s": measured.build_s,
        "compile_s": measured.compile_s,
        "wall_s": measured.wall_s,
        "cpu_s": measured.cpu_s,
        "version": measured.version,
        "settings": measured.settings,
        "differs": measured.differs,
    }
    print(json.dumps(row))

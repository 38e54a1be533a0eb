"""The network in Brian2, C++ standalone, one thread; prints one line of JSON. Run by benchmarks/compare.py in Brian2's environment.

    python -m benchmarks.peers.brian2_network --neurons 1000 --out-degree 100 --seconds 180 --folder build/brian2

The equations and their order are those of docs/model.md. `--arithmetic` says what their numbers are:

- fast, to be timed: float32 throughout, Brian2's own compiler flags (-O3 -ffast-math -march=native).
- float, as one would write it for precision: v and u in float32, each operation rounded on its own; weights and currents in
  float64, exponentials as they come.
- exact: as float, but STDP's exponentials and the decay of the changes are rounded to multiples of 2^-16 mV as docs/model.md says. Sums
  of such numbers are exact in float64, so this is the same model without an integer in it.

With `--given FILE` synapses and kicks are taken from an npz (benchmarks/peers/fidelity.py writes it) instead of being drawn, and with
`--spikes FILE` spikes and weights are written to one.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import brian2
import numpy as np
from brian2 import NeuronGroup, SpikeGeneratorGroup, SpikeMonitor, Synapses, defaultclock, device, ms, prefs, second, set_device

from benchmarks.peers import network as reference
from benchmarks.peers.network import Measured, Network, parser, report

NEVER = -1_000_000
"""Step of a spike or arrival that has not been: its exponential is 0."""
MEMORY = """
{ std::ifstream status("/proc/self/status"); std::ofstream to("%s"); std::string line;
  while (std::getline(status, line)) if (line.compare(0, 6, "%s") == 0) to << line.substr(6) << std::endl; }
"""
"""C++ that writes a line of /proc/self/status to a file."""
WALL = """
{ timespec now; clock_gettime(CLOCK_MONOTONIC, &now); std::ofstream("%s", std::ios::app) << now.tv_sec << " " << now.tv_nsec << std::endl; }
"""
"""C++ that adds the time to a file: Brian2's own figure is processor time."""


@dataclass(frozen=True)
class Arithmetic:
    """What the model's numbers are: type of weights and currents, rounding of STDP, compiler flags."""

    weights: type
    exact: bool
    flags: list[str] | None

    def rounded(self, expression: str, by: str = "floor") -> str:
        """Return the expression rounded to multiples of 2^-16 (to nearest; by="down": down), or as it is."""
        if not self.exact:
            return f"({expression})"
        return f"(floor(65536*({expression}){'' if by == 'down' else ' + 0.5'})/65536)"


ROUNDING = ["-w", "-O3", "-std=c++11", "-ffp-contract=off"]
ARITHMETIC = {
    "fast": Arithmetic(np.float32, False, None),
    "float": Arithmetic(np.float64, False, ROUNDING),
    "exact": Arithmetic(np.float64, True, ROUNDING),
}

# Every constant is a float32 parameter: C++ would take a literal for a float64. Brian2 writes (v2*v)*v as a power, unless it is cut.
NEURON = """
v : 1
u : 1
a : 1 (constant)
b : 1 (constant)
c : 1 (constant)
d : 1 (constant)
current : 1
spiked : integer
half : 1 (constant, shared)
v2 : 1 (constant, shared)
v1 : 1 (constant, shared)
v0 : 1 (constant, shared)
threshold_mv : 1 (constant, shared)
"""
MEMBRANE = """
rounded_current = current
x = (v0 - u) + rounded_current
slope = v2*v
v = v + half*((slope*v + v1*v) + x)
slope_between = v2*v
v = v + half*((slope_between*v + v1*v) + x)
u = u + a*(b*v - u)
current = 0
"""
PLASTIC = """
w : 1
change : 1
arrived : integer
ltp_mv : 1 (constant, shared)
ltd_mv : 1 (constant, shared)
tau_ms : 1 (constant, shared)
"""


def neurons(network: Network, arithmetic: Arithmetic) -> NeuronGroup:
    """Make the neurons at rest, E first."""
    group = NeuronGroup(
        network.neurons,
        NEURON,
        threshold="v >= threshold_mv",
        reset="v = c; u = u + d; spiked = t_in_timesteps",
        method="exact",
        dtype={"current": arithmetic.weights},
        name="neurons",
    )
    group.half, group.v2, group.v1, group.v0, group.threshold_mv = 0.5, 0.04, 5.0, 140.0, 30.0
    for name in "abcd":
        excitatory, inhibitory = (getattr(cell, name) for cell in (reference.EXCITATORY, reference.INHIBITORY))
        setattr(group, name, np.repeat([excitatory, inhibitory], [network.excitatory, network.neurons - network.excitatory]))
    group.v, group.u, group.spiked = reference.V0_MV, reference.U0_MV, NEVER
    group.run_regularly(MEMBRANE, dt=defaultclock.dt, when="groups", name="membrane")
    return group


def synapses(group: NeuronGroup, network: Network, arithmetic: Arithmetic, plasticity: bool) -> tuple[Synapses, Synapses]:
    """Describe plastic and static synapses.

    A spike of step s is seen before the membranes of step s + 1 are advanced, so that its delay is one step less than the model's.
    """
    ltd = arithmetic.rounded("ltd_mv*exp(-(t_in_timesteps - 1 - spiked_post)/tau_ms)")
    ltp = arithmetic.rounded("ltp_mv*exp(-(t_in_timesteps - arrived)/tau_ms)")
    drift = arithmetic.rounded(str(reference.DRIFT_MV))
    plastic = Synapses(
        group[: network.excitatory],
        group,
        PLASTIC if plasticity else "w : 1 (constant)",
        on_pre=f"current_post += w; change -= {ltd}; arrived = t_in_timesteps" if plasticity else "current_post += w",
        on_post=f"change += {ltp}" if plasticity else None,
        dtype=dict.fromkeys(("w", "change", "ltp_mv", "ltd_mv", "tau_ms"), arithmetic.weights),
        name="plastic",
    )
    plastic.pre.when = "before_groups"
    if plasticity:
        plastic.post.when = "after_thresholds"
        # the first thing in step 1000 k; at step 0 there is no second to be ended
        plastic.run_regularly(
            f"""
            w = clip(w + int(t > 0*ms)*({drift} + change), 0, {reference.WEIGHT_MAX_MV})
            change = {arithmetic.rounded("0.9*change" if not arithmetic.exact else "9*change/10", by="down")}
            """,
            dt=1 * second,
            when="start",
            name="seconds",
        )
    static = Synapses(
        group[network.excitatory :],
        group[: network.excitatory],
        on_pre=f"current_post += {reference.WEIGHT_I_MV}",
        name="static",
    )
    static.pre.when = "before_groups"
    return plastic, static


def drive(group: NeuronGroup, kicks: np.ndarray) -> tuple[SpikeGeneratorGroup, Synapses]:
    """Kick neurons; `kicks` is (n_kicks, 2), step and neuron."""
    source = SpikeGeneratorGroup(len(group), kicks[:, 1], kicks[:, 0] * ms, when="start", name="kicks", sorted=True)
    onto = Synapses(source, group, on_pre=f"current_post += {reference.KICK_MV}", name="kicked")
    onto.pre.when = "before_groups"
    onto.connect(j="i")
    return source, onto


def drawn_kicks(network: Network, seconds: int, seed: int) -> np.ndarray:
    """Draw one neuron of each group of 1,000 for each step; those that do not exist are left out."""
    groups = np.arange(0, network.neurons, reference.GROUP_SIZE)
    chosen = groups + np.random.default_rng(seed).integers(reference.GROUP_SIZE, size=(1_000 * seconds, len(groups)))
    step = np.broadcast_to(np.arange(1_000 * seconds)[:, None], chosen.shape)
    exists = chosen < network.neurons
    return np.stack([step[exists], chosen[exists]], axis=1)


def draw(plastic: Synapses, static: Synapses, network: Network) -> None:
    """Draw the synapses in C++."""
    plastic.connect(condition="i != j", p=network.p_from_e)
    plastic.pre.delay = f"int({reference.MAX_DELAY_MS}*rand())*ms"
    plastic.w = reference.WEIGHT_E_MV
    static.connect(p=network.p_from_i)


def take(plastic: Synapses, static: Synapses, network: Network, given: Any) -> None:
    """Take the synapses from source, target, delay [ms], weight [mV] of an npz; E's are the plastic ones."""
    from_e = given["source"] < network.excitatory
    plastic.connect(i=given["source"][from_e], j=given["target"][from_e])
    plastic.pre.delay = (given["delay"][from_e] - 1.0) * ms
    plastic.w = given["weight"][from_e]
    static.connect(i=given["source"][~from_e] - network.excitatory, j=given["target"][~from_e])


def write_measures(folder: Path) -> None:
    """Let the program note its resident memory when it starts, the peak at its end, and the time before and after its steps."""
    device.insert_code("before_start", MEMORY % (folder / "memory_start.txt", "VmRSS:"))
    device.insert_code("before_end", MEMORY % (folder / "memory_peak.txt", "VmHWM:"))
    for when in ("before", "after"):
        device.insert_code(f"{when}_network_run", WALL % (folder / "wall.txt"))


def used_bytes(folder: Path) -> int:
    """Return the program's peak memory less what it had when it started [bytes]."""
    start, peak = (int((folder / f"memory_{when}.txt").read_text().split()[0]) for when in ("start", "peak"))
    return (peak - start) * 1024


def loop_times(folder: Path) -> tuple[float, float]:
    """Return when the program's stepping loop began and ended in its last run, on the clock of time.monotonic [s]."""
    start, end = (int(s) + 1e-9 * int(ns) for s, ns in (line.split() for line in (folder / "wall.txt").read_text().splitlines()[-2:]))
    return start, end


def options() -> argparse.Namespace:
    made = parser(__doc__)
    made.add_argument("--folder", type=Path, help="for C++ sources and program; kept, so that unchanged code is not compiled again")
    made.add_argument("--arithmetic", choices=list(ARITHMETIC), default="fast")
    made.add_argument("--no-plasticity", action="store_true", help="weights stay as they are")
    made.add_argument("--given", type=Path, help="npz with source, target, delay, weight, kicks")
    made.add_argument("--spikes", type=Path, help="npz to write: step, neuron; weight of the plastic synapses in the order given")
    return made.parse_args()


def describe(chosen: argparse.Namespace, network: Network) -> tuple[brian2.Network, Synapses, Synapses, SpikeMonitor]:
    """Describe the whole network to Brian2; returns it, its plastic and static synapses, and its spikes."""
    arithmetic = ARITHMETIC[chosen.arithmetic]
    prefs.core.default_float_dtype = np.float32
    if arithmetic.flags is not None:
        prefs.codegen.cpp.extra_compile_args_gcc = arithmetic.flags
        prefs.codegen.loop_invariant_optimisations = False
    defaultclock.dt = 1 * ms
    brian2.seed(chosen.seed)
    group = neurons(network, arithmetic)
    plastic, static = synapses(group, network, arithmetic, not chosen.no_plasticity)
    if chosen.given is None:
        draw(plastic, static, network)
        kicks = drawn_kicks(network, chosen.seconds, chosen.seed)
    else:
        given = np.load(chosen.given)
        take(plastic, static, network, given)
        kicks = given["kicks"]
    if not chosen.no_plasticity:
        # can be set only now that there are synapses
        plastic.arrived = NEVER
        plastic.ltp_mv, plastic.ltd_mv, plastic.tau_ms = reference.LTP_MV, reference.LTD_MV, reference.TAU_STDP_MS
    source, onto = drive(group, kicks)
    monitor = SpikeMonitor(group, name="spikes")
    return brian2.Network(group, plastic, static, source, onto, monitor), plastic, static, monitor


def simulate(chosen: argparse.Namespace, folder: Path) -> None:
    """Build, compile and run the network, and print what it took."""
    network = Network(chosen.neurons, chosen.out_degree)
    start = time.monotonic()
    set_device("cpp_standalone", build_on_run=False)
    whole, plastic, static, monitor = describe(chosen, network)
    write_measures(folder)
    # weights of the last second are changed at the start of the step after it
    whole.run(chosen.seconds * second + defaultclock.dt)
    described = time.monotonic()
    device.build(directory=str(folder), compile=True, run=False)
    compiled = time.monotonic()
    device.run()
    loop_start, loop_end = loop_times(folder)
    at = np.rint(monitor.t / ms).astype(np.int64)
    inside = at < 1_000 * chosen.seconds
    step, neuron = at[inside], np.asarray(monitor.i)[inside]
    if chosen.spikes is not None:
        np.savez(chosen.spikes, step=step, neuron=neuron, weight=np.asarray(plastic.w, np.float64))
    per_neuron = np.bincount(neuron, minlength=network.neurons)
    sources = np.concatenate([np.asarray(plastic.i), np.asarray(static.i) + network.excitatory])
    spikes_e = int(per_neuron[: network.excitatory].sum())
    measured = Measured(
        spikes_e,
        len(neuron) - spikes_e,
        len(sources),
        int(per_neuron[sources].sum()),
        build_s=(described - start) + (loop_start - compiled),
        compile_s=compiled - described,
        wall_s=loop_end - loop_start,
        cpu_s=device._last_run_time,
        memory_bytes=used_bytes(folder),
        version=brian2.__version__,
        settings=f"C++ standalone, {' '.join(prefs.codegen.cpp.extra_compile_args_gcc)}, one thread",
        differs=[f"weights in {np.dtype(ARITHMETIC[chosen.arithmetic].weights).name}, not in integers", "random numbers of its own"],
    )
    report(network, chosen.seconds, chosen.seed, measured)


def main() -> None:
    chosen = options()
    if chosen.folder is not None:
        simulate(chosen, chosen.folder.absolute())
        return
    with tempfile.TemporaryDirectory() as folder:
        simulate(chosen, Path(folder))


if __name__ == "__main__":
    main()

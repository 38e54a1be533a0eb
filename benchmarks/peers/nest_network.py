"""The network in NEST, one thread; prints one line of JSON. Run by benchmarks/compare.py in NEST's environment.

python -m benchmarks.peers.nest_network --neurons 1000 --out-degree 100 --seconds 180
"""

from __future__ import annotations

import time
from random import Random

import nest

from benchmarks.peers import network as reference
from benchmarks.peers.network import Measured, Network, parser, report, resident_bytes

PAIRS_EACH_COUNTED = 10
"""In the reference a pair's change is applied every second anew, times 0.9: 1 + 0.9 + 0.81 + ... = 10 times in all."""
COUNTER = {"beta_Ca": 1.0, "tau_Ca": 1e15}
"""A calcium trace that grows by 1 a spike and does not decay: a spike recorder would keep 33 kB for every neuron connected to it."""
DIFFERS = [
    "membrane in float64",
    "a pair changes the weight at once, by 10 times A+ or A-, instead of each second anew by 0.9 of the second before; no drift",
    "the delay is dendritic for STDP: a pair's lag is target spike + delay - source spike",
    "memory is given without the kicks' spike_train_injectors, one for each neuron",
    "spikes are counted, not recorded",
    "every out-degree is exactly K: the rule pairwise_bernoulli draws a number for each pair, minutes at 100,000 neurons",
]


def kick_times(network: Network, seconds: int, seed: int) -> list[list[float]]:
    """Draw one neuron of each group of 1,000 for each step; the times [ms] of each neuron's kicks."""
    random = Random(seed)
    times: list[list[float]] = [[] for _ in range(network.neurons)]
    for t in range(1, 1_000 * seconds):
        for group in range(0, network.neurons, reference.GROUP_SIZE):
            neuron = group + random.randrange(reference.GROUP_SIZE)
            if neuron < network.neurons:
                times[neuron].append(float(t))
    return times


def build(network: Network, seed: int) -> tuple[nest.NodeCollection, nest.NodeCollection]:
    """Create neurons and synapses; returns excitatory and inhibitory neurons."""
    nest.ResetKernel()
    nest.verbosity = nest.VerbosityLevel.ERROR
    nest.set(resolution=1.0, local_num_threads=1, rng_seed=seed)
    # two half steps of v, then u with the new v: the numerics of Izhikevich (2003)
    common = {"V_m": reference.V0_MV, "U_m": reference.U0_MV, "consistent_integration": False, **COUNTER}
    excitatory = nest.Create("izhikevich", network.excitatory, {**reference.EXCITATORY._asdict(), **common})
    inhibitory = nest.Create("izhikevich", network.neurons - network.excitatory, {**reference.INHIBITORY._asdict(), **common})
    additive = {
        "Wmax": reference.WEIGHT_MAX_MV,
        "lambda": PAIRS_EACH_COUNTED * reference.LTP_MV / reference.WEIGHT_MAX_MV,
        "alpha": reference.LTD_MV / reference.LTP_MV,
        "mu_plus": 0.0,
        "mu_minus": 0.0,
        "tau_plus": reference.TAU_STDP_MS,
    }
    nest.CopyModel("stdp_nn_symm_synapse", "plastic", additive)
    nest.CopyModel("static_synapse_hom_w", "static", {"weight": reference.WEIGHT_I_MV})
    nest.CopyModel("static_synapse_hom_w", "kick", {"weight": reference.KICK_MV})
    delays = nest.random.uniform_int(reference.MAX_DELAY_MS) + 1
    everyone = excitatory + inhibitory
    nest.Connect(
        excitatory,
        everyone,
        {"rule": "fixed_outdegree", "outdegree": network.out_degree, "allow_autapses": False, "allow_multapses": False},
        {"synapse_model": "plastic", "weight": reference.WEIGHT_E_MV, "delay": delays},
    )
    nest.Connect(
        inhibitory,
        excitatory,
        {"rule": "fixed_outdegree", "outdegree": network.out_degree, "allow_multapses": False},
        {"synapse_model": "static", "delay": 1.0},
    )
    return excitatory, inhibitory


def drive(everyone: nest.NodeCollection, kicks: list[list[float]]) -> int:
    """Kick the neurons by one spike_train_injector each; returns what these need in memory [bytes].

    A poisson_generator would add a quarter to the time of 1,000 x 100, and spike_generators need 33 kB each.
    """
    before = resident_bytes()
    injectors = nest.Create("spike_train_injector", len(everyone), [{"spike_times": times} for times in kicks])
    nest.Connect(injectors, everyone, "one_to_one", {"synapse_model": "kick", "delay": 1.0})
    return resident_bytes() - before


def main() -> None:
    options = parser(__doc__).parse_args()
    network = Network(options.neurons, options.out_degree)
    kicks = kick_times(network, options.seconds, options.seed)
    before = resident_bytes()
    start = time.perf_counter()
    excitatory, inhibitory = build(network, options.seed)
    drive_bytes = drive(excitatory + inhibitory, kicks)
    nest.Prepare()
    built, built_cpu = time.perf_counter(), time.process_time()
    nest.Run(1_000.0 * options.seconds)
    end, end_cpu = time.perf_counter(), time.process_time()
    peak = resident_bytes(peak=True)
    nest.Cleanup()
    spikes_e, spikes_i = (round(sum(population.get("Ca"))) for population in (excitatory, inhibitory))
    measured = Measured(
        spikes_e,
        spikes_i,
        sum(nest.GetDefaults(name, "num_connections") for name in ("plastic", "static")),
        (spikes_e + spikes_i) * network.out_degree,
        build_s=built - start,
        compile_s=0.0,
        wall_s=end - built,
        cpu_s=end_cpu - built_cpu,
        memory_bytes=peak - before - drive_bytes,
        version=nest.__version__,
        settings="izhikevich, stdp_nn_symm_synapse, static_synapse_hom_w, 1 ms, one thread, wheel from PyPI",
        differs=DIFFERS,
    )
    report(network, options.seconds, options.seed, measured)


if __name__ == "__main__":
    main()

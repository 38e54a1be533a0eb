"""Interface of this stage to the workflow: its jobs, their costs, and what their results depend on."""

from __future__ import annotations

import itertools
import math
from typing import TYPE_CHECKING, Any

from spikelens.config import ASSUMED_RATE_HZ, STEPS_PER_SECOND, RunConfig, shards_per_block
from spikelens.config.items import Read
from spikelens.expected import expected
from spikelens.jobs import Jobs, numbered, of_all_blocks, shards
from spikelens.keys import content_of, keyed
from spikelens.sizes import BYTES_A_SPIKE, COMPILED_BASE

if TYPE_CHECKING:
    from spikelens.speeds import Speeds

_NOT_RESULTS = ("ranks", "duration_s")
"""Keys that do not change the content of any shard."""
LOADED_FILES = 10
"""Number of shards that the simulation reads per block: five columns, twice."""
_ONE_CALL_NEURONS = 20_000
"""A single rank with fewer neurons runs whole seconds in compiled code."""


def reads(run: RunConfig, item: str) -> tuple[Read, ...]:
    return (Read("network"),)


def configured(run: RunConfig, item: str) -> dict[str, Any]:
    section = {key: value for key, value in keyed(run.simulation).items() if key not in _NOT_RESULTS}
    section["drive"] = {**keyed(run.drive), "events": content_of(run.drive.events)}
    section["weight_average"] = run.weight_average
    if run.n_steps % run.segment_steps:  # the last segment is short: a longer run cannot continue from its shards
        section["duration_s"] = run.duration_s
    return section


def jobs(run: RunConfig, item: str) -> Jobs:
    """One job per segment."""
    paths = of_all_blocks(run, shards(run, "spikes", "state", "weights", "records"))
    return Jobs("{segment}", paths, numbered(segment=range(run.n_segments)))


def ranks(run: RunConfig, item: str) -> int:
    return run.simulation.ranks


def memory(run: RunConfig, item: str, rate_hz: float) -> float:
    return rank_memory(run, run.simulation.ranks, rate_hz)


def rank_memory(run: RunConfig, ranks: int, rate_hz: float = ASSUMED_RATE_HZ) -> float:
    """Memory of the rank that needs most, during one segment [bytes].

    All terms are added, also those not allocated at the same time: memory freed below malloc's threshold stays with the process.
    """
    synapses = expected(run)
    n, blocks = run.network.neurons, -(-run.n_blocks // ranks)
    own_neurons = min(blocks * run.network.block_size, n)
    own = max(synapses.of_block[rank::ranks].sum() for rank in range(ranks))
    plastic_share = synapses.plastic / max(synapses.all, 1)
    block = synapses.of_block.max()
    averaged = 8 * run.weight_average
    held = own * (plastic_share * (12 + averaged) + (1 - plastic_share) * 8)
    # first synapses of both kinds (twice while loading), last spikes, sources of a second's spikes; recent spikes as a dense array
    of_network = n * (32 + 8 + 60 + run.max_delay)
    of_own_neurons = own_neurons * 64  # state, inputs, largest inputs, queues
    # own spikes of the segment; spikes of all neurons in a second, while they are sorted
    spikes_hz = rate_hz * (4 * own_neurons * run.simulation.segment_s + 40 * n)
    loading = 40 * block  # columns in storage order, 18 bytes per synapse, and a shard being decoded
    shard_spikes = rate_hz * run.simulation.segment_s * min(run.network.block_size, n)
    raster = 2 * BYTES_A_SPIKE * shard_spikes + 2 * run.simulation.chunk_ms * run.simulation.chunk_neurons  # dense one chunk at a time
    record = run.simulation.record
    recorded = 3 * (8 * len(record.neurons) + 4 * len(record.synapses)) * run.segment_steps / record.every_ms  # kept, gathered, joined
    way_back = max(own / 8, block) * (8 + averaged) + block * 1.5 * averaged
    return float(COMPILED_BASE + held + of_network + of_own_neurons + spikes_hz + loading + raster + recorded + way_back)


def seconds(run: RunConfig, item: str, speeds: Speeds, rate_hz: float) -> float:
    return segment_seconds(run, speeds, rate_hz)


def segment_seconds(run: RunConfig, speeds: Speeds, rate_hz: float = ASSUMED_RATE_HZ, seconds: float | None = None) -> float:
    """Wall time of one segment of the simulation on simulation.ranks ranks, with one core per rank [s].

    `seconds` is the biological time of the segment; default: simulation.segment_s. The time to start the process and to load and write
    synapses does not depend on it.
    """
    ranks, neurons = run.simulation.ranks, run.network.neurons
    seconds = min(run.simulation.segment_s, run.simulation.duration_s) if seconds is None else seconds
    share = -(-run.n_blocks // ranks) / run.n_blocks
    synapses, own_neurons, n_steps = share * expected(run).all, share * neurons, seconds * STEPS_PER_SECOND
    blocks = share * run.n_blocks
    in_python = ranks > 1 or own_neurons >= _ONE_CALL_NEURONS
    load_s = 1e-3 * blocks * LOADED_FILES * speeds.read_ms_per_file + 1e-9 * synapses * speeds.load_ns_per_synapse
    events_ns = synapses * rate_hz * seconds * event_ns(speeds, synapses)
    steps_ns = n_steps * (own_neurons * speeds.neuron_step_ns + in_python * 1e3 * speeds.step_us)
    return speeds.start_s + load_s + 1e-9 * (events_ns + steps_ns) + writing_seconds(run, speeds, seconds)


def writing_seconds(run: RunConfig, speeds: Speeds, seconds: float) -> float:
    """Wall time in which a rank writes a segment with `seconds` of biological time [s]."""
    # a rank owns whole blocks, so one rank may have one more than another
    blocks = -(-run.n_blocks // run.simulation.ranks)
    share = blocks / run.n_blocks
    cells = seconds * STEPS_PER_SECOND * share * run.network.neurons
    files_ms = blocks * shards_per_block(run)["simulation"] * speeds.write_ms_per_file
    return 1e-3 * files_ms + 1e-9 * (share * expected(run).all * speeds.write_ns_per_synapse + cells * speeds.write_ns_per_cell)


def event_ns(speeds: Speeds, n_synapses: float) -> float:
    """Cost of a synaptic event [ns], log-interpolated between measured sizes and constant outside them."""
    points = speeds.event_ns
    for (n0, ns0), (n1, ns1) in itertools.pairwise(points):
        if n_synapses < n1:
            share = max(math.log(max(n_synapses, 1) / n0) / math.log(n1 / n0), 0.0)
            return ns0 + share * (ns1 - ns0)
    return points[-1][1]

"""The stores of a run and the stages that write them.

    network.zarr      in_degree, in_weight (neuron), delay_histogram; blocks/<block>: source, target, delay, weight, plastic (synapse)
    spikes.zarr       spikes (time, neuron)
    weights.zarr      <block>: weight (boundary, synapse), weight_average (segment, synapse)
    state.zarr        v, u, last_spike, recent_spikes (boundary, neuron), stamp; blocks/<block>: weight_change (boundary, synapse)
    records.zarr      v, u (time, neuron); synapses: weight (time, synapse); only if simulation.record chooses some

Each feature, model and method of the explanation has its own output.zarr (`outputs`). Every matrix over pairs
of neurons is [source, target]. The synapses of a block are those onto its neurons, ordered by target, source
and delay.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from spikelens.config import RunConfig, Stage, valid_stages
from spikelens.errors import SimulationError
from spikelens.fingerprint import fingerprint
from spikelens.network.layout import network_block_layout, network_layout
from spikelens.places import place_of
from spikelens.recording.layout import spikes_layout
from spikelens.simulation.layout import (
    RecordedSynapses,
    recorded_weights_layout,
    records_layout,
    state_block_layout,
    state_layout,
    weights_block_layout,
    weights_layout,
)
from spikelens.stores import Group, beside_dimensions, read_shard

StoreName = Literal["network", "spikes", "weights", "state", "records"]
OWNER: dict[StoreName, Stage] = {
    "network": "network",
    "spikes": "simulation",
    "weights": "simulation",
    "state": "simulation",
    "records": "simulation",
}
BLOCK_STORES: tuple[StoreName, ...] = ("network", "weights", "state")
"""Stores with a group for each block."""


def stores_of(run: RunConfig) -> list[StoreName]:
    """The stores of a run, without those of items, that its configuration allows; records only if something is recorded."""
    stages = valid_stages(run)
    return [store for store in OWNER if owner_of(run, store) in stages and (store != "records" or run.records)]


def block_stores(run: RunConfig) -> tuple[StoreName, ...]:
    """The stores of a run with a group for each block."""
    return BLOCK_STORES if run.has_network else ()


def owner_of(run: RunConfig, store: StoreName) -> Stage:
    """The stage that writes a store."""
    return run.spikes_stage if store == "spikes" else OWNER[store]


def store_path(run: RunConfig, store: StoreName) -> Path:
    return place_of(run, owner_of(run, store)) / f"{store}.zarr"


def block_folder(store: StoreName, block: int) -> str:
    """Path of the group of a block's synapses in a store."""
    return str(block) if store == "weights" else f"blocks/{block}"


def layout(run: RunConfig, store: StoreName) -> Group:
    """The root group of a store: all arrays that are not in the groups of blocks."""
    arrays, coordinates = {
        "network": network_layout,
        "spikes": spikes_layout,
        "weights": weights_layout,
        "state": state_layout,
        "records": records_layout,
    }[store](run)
    owner = owner_of(run, store)
    attrs = {
        "title": f"spikelens: {store}",
        "stage": owner,
        "fingerprint": fingerprint(run, owner),
        "coordinates": beside_dimensions(coordinates),
    }
    subgroups = ("blocks",) if store in BLOCK_STORES and store != "weights" else ()
    return Group(store_path(run, store), attrs, arrays, coordinates, subgroups)


def block_layout(run: RunConfig, store: StoreName, block: int, n_synapses: int) -> Group:
    """The group of a block's synapses."""
    arrays, coordinates = {
        "network": network_block_layout,
        "weights": weights_block_layout,
        "state": state_block_layout,
    }[store](run, block, max(n_synapses, 1))
    attrs = {"block": block, "n_synapses": n_synapses, "fingerprint": fingerprint(run, OWNER[store])}
    return Group(store_path(run, store) / block_folder(store, block), attrs, arrays, coordinates)


def n_synapses(run: RunConfig, block: int) -> int:
    """Number of synapses onto a block's neurons, from the stored in-degrees."""
    return int(read_shard(layout(run, "network"), "in_degree", (block,)).sum())


def block_group(run: RunConfig, store: StoreName, block: int) -> Group:
    """The group of a block in a store, with the number of synapses of the built network."""
    return block_layout(run, store, block, n_synapses(run, block))


def recorded_synapses(run: RunConfig) -> RecordedSynapses:
    """Find the recorded synapses in the built network.

    Raises
    ------
    StoreError
        If a shard of the network is missing or damaged.
    SimulationError
        If a pair has no synapse; the message names the pair.
    """
    network, size = layout(run, "network"), run.network.block_size
    found: dict[tuple[int, int], NDArray[np.uint8]] = {}
    pairs = run.simulation.record.synapses
    for block in sorted({target // size for _, target in pairs}):
        own = [pair for pair in pairs if pair[1] // size == block]
        before = np.concatenate([[0], np.cumsum(read_shard(network, "in_degree", (block,)))])
        group = block_layout(run, "network", block, int(before[-1]))
        source, delay = (read_shard(group, name, (0,)) for name in ("source", "delay"))
        for pair in own:
            onto = slice(*before[pair[1] - block * size :][:2])
            found[pair] = delay[onto][source[onto] == pair[0]]
            if not len(found[pair]):
                raise SimulationError(
                    f"simulation.record.synapses: there is no synapse from neuron {pair[0]} onto neuron {pair[1]} in this network; "
                    f"`spikelens.open({run.path!r}).synapses` lists all synapses"
                )
    ids = np.repeat(np.array(pairs, np.int64), [len(found[pair]) for pair in pairs], axis=0)
    return RecordedSynapses(ids[:, 0], ids[:, 1], np.concatenate([found[pair] for pair in pairs]).astype(np.int64))


def recorded_synapses_layout(run: RunConfig, synapses: RecordedSynapses) -> Group:
    """The group of the recorded weights; the names of its files do not depend on the synapses."""
    arrays, coordinates = recorded_weights_layout(run, synapses)
    attrs = {"fingerprint": fingerprint(run, "simulation"), "coordinates": beside_dimensions(coordinates)}
    return Group(store_path(run, "records") / "synapses", attrs, arrays, coordinates)


def recorded_group(run: RunConfig) -> Group:
    """The group of the recorded weights, with the synapses of the built network."""
    return recorded_synapses_layout(run, recorded_synapses(run))

"""Convert a rank's synapses from storage order to delivery order, and back.

Stores keep synapses by block of targets, ordered by target, source, delay. The simulation needs them ordered
by source and delay, in separate arrays for plastic (12 bytes) and static (8 bytes) synapses. The conversion
needs no comparison sort, and no permutation is stored. To load, blocks are read twice in the order of their
targets: the first pass counts the synapses of each source, the second puts each synapse into the next free
slot of its source. To store, sources are visited in increasing order, and each synapse is put into the next
free slot of its target.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from spikelens.compiled import compiled
from spikelens.config import RunConfig
from spikelens.layouts import block_group
from spikelens.numerics import UNITS_PER_MV
from spikelens.simulation.kernel import Projection, address_of, delay_of, target_of
from spikelens.stores import read_shard

STATIC_FIELDS, PLASTIC_FIELDS = 2, 3
"""int32 values per synapse: address, weight, and, if plastic, pending change."""
_PASSES = 8
"""Approximate number of parts in which columns are converted to storage order, to save memory."""


class Columns(NamedTuple):
    """Synapses of a block in storage order, (n,): ids, delays [ms], weights and changes [2^-16 mV]."""

    source: NDArray[np.int32]
    target: NDArray[np.int32]
    delay: NDArray[np.uint8]
    weight: NDArray[np.int32]
    plastic: NDArray[np.bool_]
    change: NDArray[np.int32]


def stored_columns(run: RunConfig, segment: int, block: int) -> Columns:
    """Read the synapses of a block, with weights and pending changes at the start of a segment."""
    group = block_group(run, "network", block)
    columns = {name: read_shard(group, name, (0,)) for name in group.arrays}
    if segment == 0:
        return Columns(**columns, change=np.zeros(len(columns["weight"]), np.int32))
    columns["weight"] = read_shard(block_group(run, "weights", block), "weight", (segment - 1, 0))[0]
    return Columns(**columns, change=read_shard(block_group(run, "state", block), "weight_change", (segment - 1, 0))[0])


@dataclass
class Synapses:
    """The synapses onto a rank's neurons."""

    static: Projection
    plastic: Projection
    largest_input: NDArray[np.int64]
    """(n_local,) sum of the largest possible |weight| of each neuron's synapses [2^-16 mV]."""

    @property
    def n_plastic(self) -> int:
        return len(self.plastic.synapses) // PLASTIC_FIELDS


def load(run: RunConfig, blocks: Sequence[int], read: Callable[[int], Columns]) -> Synapses:
    """Load the synapses of a rank's blocks in delivery order.

    Parameters
    ----------
    blocks : sequence of int
        The rank's blocks; local indices number their neurons in this order.
    read : function
        Returns the columns of a block. It is called twice per block, so that only one block is in memory at a
        time, besides the result.
    """
    n, plasticity = run.network.neurons, run.simulation.plasticity
    offsets = local_offsets(run, blocks)
    first = np.zeros((2, n + 1), np.int64)
    for block in blocks:
        columns = read(block)
        _count(first, columns.source, columns.plastic, plasticity)
    np.cumsum(first, axis=1, out=first)
    static = Projection(first[0].copy(), np.empty(STATIC_FIELDS * first[0, -1], np.int32))
    plastic = Projection(first[1].copy(), np.empty(PLASTIC_FIELDS * first[1, -1], np.int32))
    largest = np.zeros(offsets[-1], np.int64)
    weight_max = round(run.network.weight_max_mv * UNITS_PER_MV)
    for k, block in enumerate(blocks):
        shift = offsets[k] - run.block_range(block)[0]
        _place(first, *read(block), plasticity, shift, weight_max, static.synapses, plastic.synapses, largest)
    for projection, fields in ((static, STATIC_FIELDS), (plastic, PLASTIC_FIELDS)):
        _order_by_delay(projection.first, projection.synapses, fields)
    return Synapses(static, plastic, largest)


def local_offsets(run: RunConfig, blocks: Sequence[int]) -> NDArray[np.int64]:
    """Return each block's first local index, and the total number of neurons: (n_blocks + 1,)."""
    sizes = [end - first for first, end in map(run.block_range, blocks)]
    return np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)


@compiled
def _count(first: NDArray[np.int64], source: NDArray[np.int32], plastic: NDArray[np.bool_], plasticity: bool) -> None:
    """Count each source's static and plastic synapses into first[:, source + 1]."""
    for k in range(len(source)):
        first[np.int64(plasticity and plastic[k]), source[k] + 1] += 1


@compiled
def _place(
    free: NDArray[np.int64],
    source: NDArray[np.int32],
    target: NDArray[np.int32],
    delay: NDArray[np.uint8],
    weight: NDArray[np.int32],
    plastic: NDArray[np.bool_],
    change: NDArray[np.int32],
    plasticity: bool,
    shift: int,
    weight_max: int,
    static_synapses: NDArray[np.int32],
    plastic_synapses: NDArray[np.int32],
    largest: NDArray[np.int64],
) -> None:
    """Put synapses into the next free slots of their sources; local index of a target = id + `shift`."""
    for k in range(len(source)):
        local = target[k] + shift
        address = address_of(delay[k], local)
        kind = np.int64(plasticity and plastic[k])
        at = free[kind, source[k]]
        free[kind, source[k]] = at + 1
        if kind:
            plastic_synapses[3 * at], plastic_synapses[3 * at + 1], plastic_synapses[3 * at + 2] = address, weight[k], change[k]
        else:
            static_synapses[2 * at], static_synapses[2 * at + 1] = address, weight[k]
        largest[local] += weight_max if kind else abs(np.int64(weight[k]))


@compiled
def _order_by_delay(first: NDArray[np.int64], synapses: NDArray[np.int32], fields: int) -> None:
    """Sort each source's synapses by delay with a stable counting sort."""
    longest = 0
    for j in range(len(first) - 1):
        longest = max(longest, first[j + 1] - first[j])
    unordered = np.empty(longest * fields, np.int32)
    place = np.empty(257, np.int64)
    for j in range(len(first) - 1):
        start, n = first[j], first[j + 1] - first[j]
        place[:] = 0
        for k in range(n):
            place[np.uint64(delay_of(synapses[(start + k) * fields])) + np.uint64(1)] += 1
        for delay in range(256):
            place[delay + 1] += place[delay]
        unordered[: n * fields] = synapses[start * fields : (start + n) * fields]
        for k in range(n):
            own = np.uint64(delay_of(unordered[k * fields]))
            at = (start + place[own]) * fields
            place[own] += 1
            for field in range(fields):
                synapses[at + field] = unordered[k * fields + field]


# --- back to storage order ----------------------------------------------------------------------------------------------


class Stored(NamedTuple):
    """Variables of a block's synapses at the end of a segment, in storage order; arrays are (n,)."""

    weight: NDArray[np.int32]
    change: NDArray[np.int32]
    weight_sum: NDArray[np.int64]
    """Sum of the weight over the seconds of the segment [2^-16 mV]; empty if not needed."""


def stored(synapses: Synapses, offsets: NDArray[np.int64], weight_sum: NDArray[np.int64] | None, n_seconds: int) -> Iterator[Stored]:
    """Yield the synapses in storage order, block by block.

    Parameters
    ----------
    offsets : (n_blocks + 1,) int64
        Number of local neurons before each block, from `local_offsets`.
    weight_sum : (n_plastic,) int64
        Sums of the plastic weights over the seconds, or None. Sums of static weights follow from `n_seconds`.
    """
    plastic_sum = np.empty(0, np.int64) if weight_sum is None else weight_sum
    in_degree = np.zeros(offsets[-1], np.int64)
    _count_targets(synapses.static.synapses, STATIC_FIELDS, in_degree)
    _count_targets(synapses.plastic.synapses, PLASTIC_FIELDS, in_degree)
    before = np.concatenate([[0], np.cumsum(in_degree)])
    at_once = max(before[-1] // _PASSES, 1)
    block, n_blocks = 0, len(offsets) - 1
    while block < n_blocks:
        end = block + 1
        while end < n_blocks and before[offsets[end + 1]] - before[offsets[block]] <= at_once:
            end += 1
        bounds = before[offsets[block : end + 1]] - before[offsets[block]]
        before_targets = before[offsets[block] : offsets[end] + 1]
        part = _unload(*synapses.static, *synapses.plastic, weight_sum is not None, plastic_sum, n_seconds, before_targets, offsets[block])
        for k in range(end - block):
            own = slice(bounds[k], bounds[k + 1])
            yield Stored(*(column[own] for column in part))
        block = end


@compiled
def _count_targets(synapses: NDArray[np.int32], fields: int, in_degree: NDArray[np.int64]) -> None:
    for k in range(0, len(synapses), fields):
        in_degree[target_of(synapses[k])] += 1


@compiled
def _unload(
    static_first: NDArray[np.int64],
    static: NDArray[np.int32],
    plastic_first: NDArray[np.int64],
    plastic: NDArray[np.int32],
    summed: bool,
    plastic_sum: NDArray[np.int64],
    n_seconds: int,
    before: NDArray[np.int64],
    first_target: int,
) -> tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.int64]]:
    """Return weights, changes and sums of synapses onto n_targets local targets from `first_target` on.

    The result is ordered by target, source, delay.

    before : (n_targets + 1,) int64
        Number of synapses onto all targets before each one; only differences are used.
    """
    n_targets = np.uint64(len(before) - 1)
    free = before[:-1] - before[0]
    n = before[-1] - before[0]
    weight, change = np.empty(n, np.int32), np.empty(n, np.int32)
    weight_sum = np.empty(n if summed else 0, np.int64)
    for j in range(len(static_first) - 1):
        s, s_end = static_first[j], static_first[j + 1]
        p, p_end = plastic_first[j], plastic_first[j + 1]
        while s < s_end or p < p_end:
            # merge both kinds by delay, since a source can have several synapses onto one target
            take_static = p == p_end or (s < s_end and delay_of(static[2 * s]) < delay_of(plastic[3 * p]))
            target = target_of(static[2 * s] if take_static else plastic[3 * p]) - np.uint64(first_target)
            if target < n_targets:  # unsigned: targets below first_target wrap around
                at = free[target]
                free[target] = at + 1
                weight[at] = static[2 * s + 1] if take_static else plastic[3 * p + 1]
                change[at] = 0 if take_static else plastic[3 * p + 2]
                if summed:
                    weight_sum[at] = n_seconds * np.int64(weight[at]) if take_static else plastic_sum[p]
            s += take_static
            p += not take_static
    return weight, change, weight_sum

"""Compiled code for one step of 1 ms: spike delivery, drive, neuron update, spike detection.

The order of operations is specified (docs/model.md). Inputs are integers, so sums over synapses can be taken
in any order. The membrane potential is float32, and each operation is rounded separately (no fused
multiply-add, no fastmath).

A spike is not delivered to all its synapses at once. Pending spikes are in a queue, each with a cursor into
the synapses of its source, which are ordered by delay. In each step, all cursors move past the synapses at
which their spikes arrive. So random writes go only to the inputs of one step, which stay in the cache. The
weight at the time of arrival is used. Depression by STDP, which needs only the target's last spike, is
applied during delivery. The next synapses are known several spikes ahead, so they are prefetched.

Index arithmetic uses uint64. For signed indices, numba adds a check for negative values, which costs time and
prevents vectorisation.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from spikelens.compiled import compiled, prefetch
from spikelens.random import STREAM_KICKS, STREAM_POISSON, below, words

GROUP_SIZE = 1_000
"""Number of neurons in a drive group, which receives one kick per step."""
MAX_LOCAL_NEURONS = 1 << 24
"""A synapse's address has the delay in the upper 8 bits and the target's local index in the lower 24."""
ALL_FINITE = -1

_CURRENT_UNIT = np.float32(2.0**-16)
_HALF = np.float32(0.5)
_V2 = np.float32(0.04)
_V1 = np.float32(5.0)
_V0 = np.float32(140.0)
_THRESHOLD_MV = np.float32(30.0)
_INFINITY = np.float32(np.inf)
_SPIKED, _NOT_FINITE = np.uint8(1), np.uint8(2)
_AHEAD = 8
"""Prefetch distance [spikes]."""


class Neurons(NamedTuple):
    """The neurons of a rank, divided into runs of consecutive ids within one population."""

    ids: NDArray[np.int32]
    """(n_local,) ids in the network."""
    v: NDArray[np.float32]
    u: NDArray[np.float32]
    """(n_local,) membrane potential and recovery variable [mV]."""
    inputs: NDArray[np.int32]
    """(n_local,) input of the next step [2^-16 mV]."""
    last_spike: NDArray[np.int32]
    """(n_local,) last spike, in steps from the start of the segment; a large negative number: none."""
    flags: NDArray[np.uint8]
    """(n_local, rounded up to a multiple of 8) whether the neuron spiked or is no longer finite."""
    bounds: NDArray[np.int64]
    """(n_runs + 1,) run r contains the neurons bounds[r]:bounds[r + 1]."""
    parameters: NDArray[np.float32]
    """(n_runs, 4) Izhikevich parameters a, b, c, d."""
    current: NDArray[np.int32]
    """(n_runs,) constant input [2^-16 mV]."""


class Drive(NamedTuple):
    """External input to the neurons."""

    seed: int
    kick: int
    """Amount of a kick [2^-16 mV]."""
    poisson_amount: NDArray[np.int32]
    """(n_runs,) amount of a Poisson event [2^-16 mV]; 0: none."""
    poisson_limits: NDArray[np.uint64]
    """(n_runs, n) distribution function of the number of events per step, times 2^32."""
    step: NDArray[np.int64]
    neuron: NDArray[np.int64]
    amount: NDArray[np.int32]
    """(n_events,) the user's events, ordered by step; local neuron indices, amounts in 2^-16 mV."""


class Projection(NamedTuple):
    """Synapses onto a rank's neurons by source and delay; those of source j are first[j]:first[j + 1]."""

    first: NDArray[np.int64]
    """(n_neurons + 1,)"""
    synapses: NDArray[np.int32]
    """Static: (2 n,) address, weight; plastic: (3 n,) address, weight, pending change [2^-16 mV]."""


class SpikeQueue(NamedTuple):
    """Pending spikes of a projection, the oldest first."""

    cursor: NDArray[np.uint64]
    """(capacity,) next synapse of each spike."""
    stop: NDArray[np.uint64]
    """(capacity,) end of the synapses of each spike (exclusive)."""
    bounds: NDArray[np.int64]
    """(max_delay + 2,) bounds[age] is the end (exclusive) of the spikes with an age of `age` ms."""


@compiled(inline="always")
def address_of(delay: Any, target: Any) -> Any:
    """Return the address of a synapse, int32."""
    return np.int32((np.uint32(delay) << np.uint32(24)) | np.uint32(target))


@compiled(inline="always")
def delay_of(address: Any) -> Any:
    """Return the delay of a synapse [ms], uint32."""
    return np.uint32(address) >> np.uint32(24)


@compiled(inline="always")
def target_of(address: Any) -> Any:
    """Return the local index of a synapse's target, uint64."""
    return np.uint64(np.uint32(address) & np.uint32(0xFFFFFF))


# --- spike delivery -----------------------------------------------------------------------------------------------------


@compiled
def enqueue(ids: NDArray[np.int32], projection: Projection, queue: SpikeQueue) -> None:
    """Add spikes of the neurons `ids` to the queue, with an age of 1 ms in the next step. They must fit."""
    n = queue.bounds[2]
    for j in ids:
        start, end = projection.first[np.uint64(j)], projection.first[np.uint64(j) + np.uint64(1)]
        if start < end:
            queue.cursor[np.uint64(n)], queue.stop[np.uint64(n)] = np.uint64(start), np.uint64(end)
            n += 1
    queue.bounds[1] = n


@compiled
def age_spikes(queue: SpikeQueue) -> None:
    """Increase the age of all spikes by 1 ms. Spikes with an age of 1 ms are added by `enqueue`."""
    bounds = queue.bounds
    for age in range(len(bounds) - 2, 1, -1):
        bounds[age] = bounds[age - 1]
    bounds[1] = bounds[2]


@compiled
def deliver_static(oldest: int, youngest: int, projection: Projection, queue: SpikeQueue, inputs: NDArray[np.int32]) -> None:
    """Deliver spikes with an age in [youngest, oldest] to static synapses: add weights to inputs (n_local,).

    Spikes that have arrived at all synapses are removed from the queue.
    """
    cursor, stop, bounds = queue
    synapses = projection.synapses
    two = np.uint64(2)
    start = kept = bounds[oldest + 1]
    for age in range(oldest, youngest - 1, -1):
        end = bounds[age]
        for e in range(start, end):
            if e + _AHEAD < end:
                prefetch(synapses, cursor[np.uint64(e + _AHEAD)] * two)
            k, last = cursor[np.uint64(e)], stop[np.uint64(e)]
            while k < last:
                address = synapses[k * two]
                if delay_of(address) != np.uint32(age):
                    break
                inputs[target_of(address)] += synapses[k * two + np.uint64(1)]
                k += np.uint64(1)
            cursor[np.uint64(kept)], stop[np.uint64(kept)] = k, last
            kept += k < last
        start = end
        bounds[age] = kept


@compiled
def deliver_plastic(
    oldest: int,
    youngest: int,
    projection: Projection,
    queue: SpikeQueue,
    inputs: NDArray[np.int32],
    now: int,
    last_spike: NDArray[np.int32],
    ltd: NDArray[np.int32],
) -> None:
    """Deliver as `deliver_static`, but to plastic synapses; arrivals depress: dw -= LTD[now - p - 1].

    Parameters
    ----------
    now, last_spike : int, (n_local,) int32
        The current step, and the last spike p of each neuron before it, in steps from the start of the
        segment.
    ltd : (n_lags,) int32
        Depression by lag, zero at the last lag [2^-16 mV].
    """
    cursor, stop, bounds = queue
    synapses = projection.synapses
    three, beyond = np.uint64(3), np.uint32(len(ltd) - 1)
    start = kept = bounds[oldest + 1]
    for age in range(oldest, youngest - 1, -1):
        end = bounds[age]
        for e in range(start, end):
            if e + _AHEAD < end:
                ahead = cursor[np.uint64(e + _AHEAD)] * three
                prefetch(synapses, ahead)
                prefetch(synapses, ahead + np.uint64(15))  # next line: a delay's synapses take 36 .. 84 B
            k, last = cursor[np.uint64(e)], stop[np.uint64(e)]
            while k < last:
                address = synapses[k * three]
                if delay_of(address) != np.uint32(age):
                    break
                target = target_of(address)
                inputs[target] += synapses[k * three + np.uint64(1)]
                since = np.uint32(now - last_spike[target] - 1)
                synapses[k * three + np.uint64(2)] -= ltd[min(since, beyond)]
                k += np.uint64(1)
            cursor[np.uint64(kept)], stop[np.uint64(kept)] = k, last
            kept += k < last
        start = end
        bounds[age] = kept


@compiled
def deliver(
    oldest: int,
    youngest: int,
    static: Projection,
    static_queue: SpikeQueue,
    plastic: Projection,
    plastic_queue: SpikeQueue,
    neurons: Neurons,
    now: int,
    ltd: NDArray[np.int32],
) -> None:
    """Deliver spikes with an age in [youngest, oldest] in step `now` (from the start of the segment)."""
    deliver_static(oldest, youngest, static, static_queue, neurons.inputs)
    deliver_plastic(oldest, youngest, plastic, plastic_queue, neurons.inputs, now, neurons.last_spike, ltd)


# --- drive --------------------------------------------------------------------------------------------------------------


@compiled
def kick(inputs: NDArray[np.int32], t: int, first: int, seed: int, amount: int) -> None:
    """Add the kicks of step t: `amount` [2^-16 mV] to one random neuron, if it exists, per 1,000 ids.

    `inputs` is (n,), for the ids first .. first + n - 1.
    """
    end = first + len(inputs)
    for group in range(first // GROUP_SIZE, (end - 1) // GROUP_SIZE + 1):
        word, _, _, _ = words(seed, STREAM_KICKS, group, t)
        neuron = group * GROUP_SIZE + below(word, GROUP_SIZE)
        if first <= neuron < end:
            inputs[neuron - first] += amount


@compiled
def poisson(inputs: NDArray[np.int32], t: int, first: int, seed: int, amount: int, limits: NDArray[np.uint64]) -> None:
    """Add independent Poisson events of step t, with the given amount per event [2^-16 mV].

    Each neuron has its own random word. Its number of events is the number of limits (distribution function
    times 2^32) that are at most this word. `inputs` is (n,), for the ids first .. first + n - 1.
    """
    end = first + len(inputs)
    for four in range(first // 4, (end - 1) // 4 + 1):
        w0, w1, w2, w3 = words(seed, STREAM_POISSON, four, t)
        drawn = (np.uint64(w0), np.uint64(w1), np.uint64(w2), np.uint64(w3))
        for k in range(4):
            neuron = 4 * four + k
            if first <= neuron < end:
                n = 0
                while n < len(limits) and drawn[k] >= limits[n]:
                    n += 1
                inputs[neuron - first] += n * amount


@compiled
def replay(inputs: NDArray[np.int32], t: int, step: NDArray[np.int64], neuron: NDArray[np.int64], amount: NDArray[np.int32]) -> None:
    """Add the user's events of step t. Arrays are (n_events,), ordered by step, with local neuron indices."""
    for k in range(np.searchsorted(step, t), np.searchsorted(step, t + 1)):
        inputs[neuron[k]] += amount[k]


# --- neurons ------------------------------------------------------------------------------------------------------------


@compiled(error_model="numpy")
def update_neurons(
    inputs: NDArray[np.int32],
    v: NDArray[np.float32],
    u: NDArray[np.float32],
    flags: NDArray[np.uint8],
    a: np.float32,
    b: np.float32,
    c: np.float32,
    d: np.float32,
    current: np.int32,
) -> None:
    """Advance neurons by 1 ms (Izhikevich 2003: two half steps of v, one of u); set inputs to `current`.

    Arrays are (n,). The loop has no branches, so that it is vectorised.
    """
    for i in range(len(v)):
        x = (_V0 - u[i]) + np.float32(inputs[i]) * _CURRENT_UNIT
        inputs[i] = current
        y = v[i]
        y = y + _HALF * (_V2 * y * y + _V1 * y + x)
        y = y + _HALF * (_V2 * y * y + _V1 * y + x)
        w = u[i] + a * (b * y - u[i])
        spiked = y >= _THRESHOLD_MV
        v[i] = c if spiked else y
        u[i] = w + d if spiked else w
        flags[i] = np.uint8(spiked) * _SPIKED | np.uint8(not abs(y) < _INFINITY) * _NOT_FINITE


@compiled
def collect_spikes(neurons: Neurons, now: int, found: NDArray[np.int32], n_found: int) -> tuple[int, int]:
    """Append the local indices of neurons that spiked in step `now` (from the segment's start) to `found`.

    `found` must have enough capacity.

    Returns
    -------
    n_found : int
        Number of spikes in `found`.
    not_finite : int
        Lowest id of a neuron whose v is no longer finite, or ALL_FINITE.
    """
    flags, eight = neurons.flags, neurons.flags.view(np.uint64)
    not_finite = ALL_FINITE
    for word in range(len(eight)):
        if eight[word] == 0:
            continue
        for i in range(8 * word, 8 * word + 8):
            if flags[i] & _NOT_FINITE:
                if not_finite == ALL_FINITE or neurons.ids[i] < not_finite:
                    not_finite = int(neurons.ids[i])
            elif flags[i]:
                found[n_found] = i
                neurons.last_spike[i] = now
                n_found += 1
    return n_found, not_finite


@compiled
def advance(t: int, start: int, neurons: Neurons, drive: Drive, found: NDArray[np.int32], n_found: int) -> tuple[int, int]:
    """Add the drive of step t, update all neurons and append spikes to `found`; return as `collect_spikes`.

    `start` is the first step of the segment.
    """
    replay(neurons.inputs, t, drive.step, drive.neuron, drive.amount)
    for run in range(len(neurons.current)):
        first, end = neurons.bounds[run], neurons.bounds[run + 1]
        inputs, id_ = neurons.inputs[first:end], int(neurons.ids[first])
        if drive.kick != 0:
            kick(inputs, t, id_, drive.seed, drive.kick)
        if drive.poisson_amount[run] != 0:
            poisson(inputs, t, id_, drive.seed, drive.poisson_amount[run], drive.poisson_limits[run])
        a, b, c, d = neurons.parameters[run]
        update_neurons(inputs, neurons.v[first:end], neurons.u[first:end], neurons.flags[first:end], a, b, c, d, neurons.current[run])
    n_found, not_finite = collect_spikes(neurons, t - start, found, n_found)
    return n_found, not_finite


@compiled
def deliver_older(
    now: int,
    max_delay: int,
    static: Projection,
    static_queue: SpikeQueue,
    plastic: Projection,
    plastic_queue: SpikeQueue,
    neurons: Neurons,
    ltd: NDArray[np.int32],
) -> None:
    """Deliver spikes in step `now` (from the segment's start), except those of the previous step."""
    age_spikes(static_queue)
    age_spikes(plastic_queue)
    deliver(max_delay, 2, static, static_queue, plastic, plastic_queue, neurons, now, ltd)


@compiled
def deliver_youngest(
    now: int,
    pending: NDArray[np.int32],
    static: Projection,
    static_queue: SpikeQueue,
    plastic: Projection,
    plastic_queue: SpikeQueue,
    neurons: Neurons,
    ltd: NDArray[np.int32],
) -> None:
    """Enqueue the spikes of the previous step (ids); deliver them to synapses with a delay of 1 ms."""
    enqueue(pending, static, static_queue)
    enqueue(pending, plastic, plastic_queue)
    deliver(1, 1, static, static_queue, plastic, plastic_queue, neurons, now, ltd)

"""What happens in one step of 1 ms, compiled: arrivals, drive, neurons, spikes.

The order of operations is the contract (docs/model.md): inputs are integers, so that sums over synapses may be taken in any
order; the membrane is float32, each operation rounded on its own (no fused multiply-add, no fastmath).

A spike does not go through all its synapses at once. It stands in a list of spikes in flight, with a cursor into its source's
synapses, which are ordered by delay; each step moves every cursor past the synapses at which the spike arrives now. So the inputs
of one step are all that is written to at random, and stay in the cache; a weight counts as it stands at the arrival; and depression
by STDP, which needs no more than the target's last spike, is settled on the way. Which synapses come next is known several spikes
ahead, and they are prefetched.

Index arithmetic is in uint64: of a signed index numba would ask each time whether it counts from the end, which costs time and
keeps loops from being vectorised.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from spikelens.compiled import compiled, prefetch
from spikelens.random import STREAM_KICKS, STREAM_POISSON, below, words

GROUP_SIZE = 1_000
"""Each drive group of so many neurons gets one kick a step."""
MAX_LOCAL_NEURONS = 1 << 24
"""A synapse's address holds its delay in the upper 8 bits and its target, counted on its rank, in the lower 24."""
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
"""Spikes between the one whose synapses are fetched and the one that is delivered."""


class Neurons(NamedTuple):
    """The neurons of a rank, in runs of consecutive ids within one population."""

    ids: NDArray[np.int32]
    """(n_local,) id in the whole network."""
    v: NDArray[np.float32]
    u: NDArray[np.float32]
    """(n_local,) membrane potential and recovery variable [mV]."""
    inputs: NDArray[np.int32]
    """(n_local,) input of the step to come [2^-16 mV]."""
    last_spike: NDArray[np.int32]
    """(n_local,) last spike, in steps from the segment's start; far below 0: none."""
    flags: NDArray[np.uint8]
    """(n_local, rounded up to a multiple of 8) what the step did to the neuron."""
    bounds: NDArray[np.int64]
    """(n_runs + 1,) run r is the neurons bounds[r]:bounds[r + 1]."""
    parameters: NDArray[np.float32]
    """(n_runs, 4) Izhikevich's a, b, c, d."""
    current: NDArray[np.int32]
    """(n_runs,) constant input [2^-16 mV]."""


class Drive(NamedTuple):
    """What reaches the neurons from outside."""

    seed: int
    kick: int
    """Amount of a kick [2^-16 mV]."""
    poisson_amount: NDArray[np.int32]
    """(n_runs,) amount of a Poisson event [2^-16 mV]; 0: none."""
    poisson_limits: NDArray[np.uint64]
    """(n_runs, n) distribution function of the number of events a step, times 2^32."""
    step: NDArray[np.int64]
    neuron: NDArray[np.int64]
    amount: NDArray[np.int32]
    """(n_events,) the user's events, ordered by step; neurons counted on the rank, amounts in 2^-16 mV."""


class Projection(NamedTuple):
    """Synapses onto a rank's neurons, ordered by source, delay: those of neuron j are first[j]:first[j + 1]."""

    first: NDArray[np.int64]
    """(n_neurons + 1,)"""
    synapses: NDArray[np.int32]
    """Static synapses: (2 n,) address and weight of each; plastic ones: (3 n,) address, weight, unspent change [2^-16 mV]."""


class Flight(NamedTuple):
    """Spikes on their way through a projection, the oldest first."""

    cursor: NDArray[np.uint64]
    """(capacity,) the next synapse of each spike."""
    stop: NDArray[np.uint64]
    """(capacity,) one past the last synapse of each spike."""
    bounds: NDArray[np.int64]
    """(max_delay + 2,) bounds[age] is one past the last spike that is `age` ms old."""


@compiled(inline="always")
def address_of(delay: Any, target: Any) -> Any:
    """A synapse's address, int32."""
    return np.int32((np.uint32(delay) << np.uint32(24)) | np.uint32(target))


@compiled(inline="always")
def delay_of(address: Any) -> Any:
    """Delay of a synapse [ms], uint32."""
    return np.uint32(address) >> np.uint32(24)


@compiled(inline="always")
def target_of(address: Any) -> Any:
    """Local target of a synapse, uint64."""
    return np.uint64(np.uint32(address) & np.uint32(0xFFFFFF))


# --- arrivals -----------------------------------------------------------------------------------------------------------


@compiled
def depart(ids: NDArray[np.int32], projection: Projection, flight: Flight) -> None:
    """Let spikes of neurons (ids) take off: they are 1 ms old in the step to come. The flight must have room."""
    n = flight.bounds[2]
    for j in ids:
        start, end = projection.first[np.uint64(j)], projection.first[np.uint64(j) + np.uint64(1)]
        if start < end:
            flight.cursor[np.uint64(n)], flight.stop[np.uint64(n)] = np.uint64(start), np.uint64(end)
            n += 1
    flight.bounds[1] = n


@compiled
def grow_older(flight: Flight) -> None:
    """Let a millisecond pass; no spike is 1 ms old until some take off."""
    bounds = flight.bounds
    for age in range(len(bounds) - 2, 1, -1):
        bounds[age] = bounds[age - 1]
    bounds[1] = bounds[2]


@compiled
def deliver_static(oldest: int, youngest: int, projection: Projection, flight: Flight, inputs: NDArray[np.int32]) -> None:
    """Add the weights of static synapses to the inputs (n_local,), where spikes of an age in [youngest, oldest] arrive now.

    Spikes that have arrived everywhere leave the flight.
    """
    cursor, stop, bounds = flight
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
    flight: Flight,
    inputs: NDArray[np.int32],
    now: int,
    last_spike: NDArray[np.int32],
    ltd: NDArray[np.int32],
) -> None:
    """Do the same for plastic synapses, and depress each one that a spike arrives at: dw -= LTD[now - p - 1].

    Parameters
    ----------
    now, last_spike : int, (n_local,) int32
        This step, and each neuron's last spike p before it, on one clock.
    ltd : (n_lags,) int32
        Depression by lag, zero at the last [2^-16 mV].
    """
    cursor, stop, bounds = flight
    synapses = projection.synapses
    three, beyond = np.uint64(3), np.uint32(len(ltd) - 1)
    start = kept = bounds[oldest + 1]
    for age in range(oldest, youngest - 1, -1):
        end = bounds[age]
        for e in range(start, end):
            if e + _AHEAD < end:
                ahead = cursor[np.uint64(e + _AHEAD)] * three
                prefetch(synapses, ahead)
                prefetch(synapses, ahead + np.uint64(15))  # the next cache line: a few synapses of one delay are 36 .. 84 bytes
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
    static_flight: Flight,
    plastic: Projection,
    plastic_flight: Flight,
    neurons: Neurons,
    now: int,
    ltd: NDArray[np.int32],
) -> None:
    """Deliver what arrives in step `now` (from the segment's start) of the spikes of an age in [youngest, oldest]."""
    deliver_static(oldest, youngest, static, static_flight, neurons.inputs)
    deliver_plastic(oldest, youngest, plastic, plastic_flight, neurons.inputs, now, neurons.last_spike, ltd)


# --- drive --------------------------------------------------------------------------------------------------------------


@compiled
def kick(inputs: NDArray[np.int32], t: int, first: int, seed: int, amount: int) -> None:
    """Add the kicks of step t: in every group of 1,000 neurons the one that is drawn gets `amount` [2^-16 mV], if it exists.

    `inputs` is (n,), for the neurons from id `first` on.
    """
    end = first + len(inputs)
    for group in range(first // GROUP_SIZE, (end - 1) // GROUP_SIZE + 1):
        word, _, _, _ = words(seed, STREAM_KICKS, group, t)
        neuron = group * GROUP_SIZE + below(word, GROUP_SIZE)
        if first <= neuron < end:
            inputs[neuron - first] += amount


@compiled
def poisson(inputs: NDArray[np.int32], t: int, first: int, seed: int, amount: int, limits: NDArray[np.uint64]) -> None:
    """Add independent Poisson events of step t: each neuron gets `amount` as often as its own random word says.

    The number of events is that of the limits, (n,) the distribution function times 2^32, that lie at or below the word. `inputs`
    is (n,), for the neurons from id `first` on.
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
    """Add the user's events of step t; (n_events,) arrays ordered by step, neurons counted on the rank."""
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
    """Advance neurons by 1 ms (Izhikevich 2003: two half steps of v, one of u), and leave in `inputs` their constant current.

    Arrays are (n,). Written without a branch, so that it is vectorised.
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
    """Append the local ids of the neurons that spiked in step `now` (from the segment's start) to `found`, which must have room.

    Returns
    -------
    n_found : int
    not_finite : int
        The lowest id of a neuron whose v is no longer finite, or ALL_FINITE.
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
    """Add the drive of step t, advance all neurons and append those that spike to `found`; returns as `collect_spikes`.

    `start` is the segment's first step.
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

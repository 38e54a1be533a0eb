"""Causal components: how much of a neuron's spikes its sources may have caused.

Omega_ji = sum over the spikes t_j of source j and t_i of target i of W_ji exp(-(t_i - t_j - delta_ji) / tau) H(t_i - t_j - delta_ji)
with H(0) = 1 (Kulkarni et al., NICE 2023; the plus sign in the exponent on their slides is a misprint), cut where the lag is over
20 tau. A pair belongs to the window of t_i, and W is the weight in force at t_i. STDP changes weights at whole seconds only, so
sums are taken second by second with the weights of that second, which are reconstructed exactly by replaying STDP on the spikes.

Sums are float64, in the order of time. Windows consist of whole seconds, so the results are bit-identical for any division into segments.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from spikelens.compiled import compiled
from spikelens.config import STEPS_PER_SECOND
from spikelens.errors import SpikelensError
from spikelens.features.replay import apply_changes, gather_changes, spike_trains
from spikelens.features.traces import advance, cutoff_steps, decay_table
from spikelens.numerics import STDP_LAGS, UNITS_PER_MV, stdp_tables
from spikelens.recording.spikes import between, raster_spikes
from spikelens.recording.synapses import Synapses

if TYPE_CHECKING:
    import xarray as xr


@compiled
def _pair_sums(
    source: NDArray[np.int32],
    target: NDArray[np.int32],
    delay: NDArray[np.uint8],
    first: NDArray[np.int64],
    times: NDArray[np.int64],
    start: int,
    end: int,
    table: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Sum the exponentials of each synapse's pairs whose target spike is in [start, end)."""
    cutoff = len(table) - 2
    sums = np.zeros(len(source))
    for k in range(len(source)):
        total = 0.0
        oldest, j_end = first[source[k]], first[source[k] + 1]
        for i in range(first[target[k]], first[target[k] + 1]):
            if times[i] < start:
                continue
            if times[i] >= end:
                break
            latest = times[i] - np.int64(delay[k])
            while oldest < j_end and times[oldest] < latest - cutoff:
                oldest += 1
            j = oldest
            while j < j_end and times[j] <= latest:
                total += table[latest - times[j]]
                j += 1
        sums[k] = total
    return sums


def causal_components(
    synapses: Synapses,
    change: NDArray[np.int32],
    steps: NDArray[np.int64],
    ids: NDArray[np.int64],
    n_neurons: int,
    windows: Sequence[tuple[int, int]],
    tau_ms: float,
    weight_max: int | None,
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Compute each synapse's causal component in consecutive windows, replaying STDP.

    Parameters
    ----------
    synapses : Synapses
        With the weights at the start of the first window; updated in place to those at the end of the last one.
    change : (n_synapses,) int32
        Pending weight changes of STDP, likewise [2^-16 mV].
    steps, ids : (n_spikes,) int64
        Time [ms] and neuron of each spike, ordered by time, from `history_steps` before the first window on.
    n_neurons : int
        Number of neurons; ids are below it.
    windows : sequence of (start, end)
        Ranges of whole seconds [ms], each starting at the end of the previous one.
    tau_ms : float
        Time constant [ms].
    weight_max : int or None
        Upper bound of plastic weights [2^-16 mV]; None: weights are constant.

    Returns
    -------
    omega : (n_windows, n_synapses) float32
        Causal components [mV].
    omega_unweighted : (n_windows, n_synapses) float32
        The same without the weight [1].
    """
    table, history = decay_table(tau_ms), history_steps(tau_ms, int(synapses.delay.max(initial=0)))
    weighted, unweighted = np.zeros((2, len(windows), len(synapses.source)))
    for window, (window_start, window_end) in enumerate(windows):
        for start in range(window_start, window_end, STEPS_PER_SECOND):
            end = start + STEPS_PER_SECOND
            trains = spike_trains(*between(steps, ids, start - history, end), n_neurons)
            sums = _pair_sums(synapses.source, synapses.target, synapses.delay, *trains, start, end, table)
            unweighted[window] += sums
            weighted[window] += synapses.weight * sums
            if weight_max is not None:
                replay_second(synapses, change, trains, start, end, weight_max)
    return (weighted / UNITS_PER_MV).astype(np.float32), unweighted.astype(np.float32)


def history_steps(tau_ms: float, max_delay_ms: int) -> int:
    """Time before a second on which its causal components and its STDP depend [ms]."""
    return max(cutoff_steps(tau_ms), STDP_LAGS) + max_delay_ms


def replay_second(
    synapses: Synapses,
    change: NDArray[np.int32],
    trains: tuple[NDArray[np.int64], NDArray[np.int64]],
    start: int,
    end: int,
    weight_max: int,
) -> None:
    """Advance weights and pending changes from the start of a second to its end, as the simulation does."""
    columns = (synapses.source, synapses.target, synapses.delay, synapses.plastic)
    gather_changes(change, *columns, *trains, start, end, *stdp_tables())
    apply_changes(synapses.weight, change, synapses.plastic, weight_max)


@compiled
def _add_dense(
    sums: NDArray[np.float64],
    steps: NDArray[np.int64],
    ids: NDArray[np.int64],
    start: int,
    end: int,
    first_target: int,
    table: NDArray[np.float64],
) -> None:
    """Add the traces of all neurons to sums (n_targets, n_neurons) at every spike of a target in [start, end)."""
    n_targets, n_neurons = sums.shape
    trace = np.zeros(n_neurons)
    in_sum = np.zeros(n_neurons, np.int64)
    oldest = following = 0
    for t in range(start, end):
        oldest, following = advance(trace, in_sum, steps, ids, oldest, following, t, table, t == start)
        k = following - 1
        while k >= 0 and steps[k] == t:
            row = ids[k] - first_target
            if 0 <= row < n_targets:
                for j in range(n_neurons):
                    sums[row, j] += trace[j]
            k -= 1


def dense_causal_components(
    steps: NDArray[np.int64],
    ids: NDArray[np.int64],
    n_neurons: int,
    targets: tuple[int, int],
    windows: Sequence[tuple[int, int]],
    tau_ms: float,
) -> NDArray[np.float32]:
    """Compute the causal components of all sources onto some targets, without weight and with delay 0.

    Parameters
    ----------
    steps, ids : (n_spikes,) int64
        Time [ms] and neuron of each spike, ordered by time, from 20 tau before the first window on.
    n_neurons : int
        Number of neurons; ids are below it.
    targets : (first, end)
        Range of the targets' ids.
    windows : sequence of (start, end)
        Ranges of whole seconds [ms].
    tau_ms : float
        Time constant [ms].

    Returns
    -------
    (n_windows, n_neurons, n_targets) float32
        [window, source, target]; zero from a neuron to itself.
    """
    table, reach = decay_table(tau_ms), cutoff_steps(tau_ms)
    first, last = targets
    itself = np.arange(last - first)
    dense = np.empty((len(windows), n_neurons, last - first), np.float32)
    for window, (start, end) in enumerate(windows):
        sums = np.zeros((last - first, n_neurons))
        _add_dense(sums, *between(steps, ids, start - reach, end), start, end, first, table)
        sums[itself, first + itself] = 0
        dense[window] = sums.T
    return dense


def causal_component(
    spikes: xr.DataArray,
    source: Sequence[int],
    target: Sequence[int],
    delay_ms: Sequence[int],
    tau_ms: float,
    weight_mv: Sequence[float] | None = None,
) -> xr.DataArray:
    """Compute the causal components of some pairs of neurons over a whole raster, as if there were no spikes before it.

    Parameters
    ----------
    spikes : xarray.DataArray
        (time, neuron), true where a neuron spikes; its time [ms] goes up by 1 ms.
    source, target : sequence of int
        Positions of the pairs' neurons along `neuron`.
    delay_ms : sequence of int
        Delay of each pair, 0 .. 255 [ms].
    tau_ms : float
        Time constant [ms].
    weight_mv : sequence of float, optional
        Weight of each pair [mV]; None: 1, without a unit.

    Returns
    -------
    xarray.DataArray
        (synapse,) float64 with coordinates source, target and delay.

    Raises
    ------
    SpikelensError
        If the pairs do not fit the raster or each other, or time does not go up by 1 ms.
    """
    import xarray as xr

    steps, ids, start, end = raster_spikes(spikes)
    n_neurons = spikes.sizes["neuron"]
    sources, targets, delays = (np.asarray(values, np.int64) for values in (source, target, delay_ms))
    weights = np.ones(len(sources)) if weight_mv is None else np.asarray(weight_mv, np.float64)
    if not len(sources) == len(targets) == len(delays) == len(weights):
        raise SpikelensError("expected as many targets, delays and weights as sources")
    for name, values, limit in (("source", sources, n_neurons), ("target", targets, n_neurons), ("delay_ms", delays, 256)):
        if ((values < 0) | (values >= limit)).any():
            raise SpikelensError(f"expected every {name} in 0 .. {limit - 1}, got {values.min()} .. {values.max()}")
    pairs = (sources.astype(np.int32), targets.astype(np.int32), delays.astype(np.uint8))
    sums = _pair_sums(*pairs, *spike_trains(steps, ids, n_neurons), start, end, decay_table(tau_ms))
    neurons = spikes["neuron"].to_numpy()
    coordinates = {
        "source": ("synapse", neurons[sources]),
        "target": ("synapse", neurons[targets]),
        "delay": ("synapse", delays, {"units": "ms"}),
    }
    attrs = {"long_name": "causal component", "units": "1" if weight_mv is None else "mV", "tau_ms": tau_ms}
    return xr.DataArray(weights * sums, coordinates, ("synapse",), "omega", attrs)

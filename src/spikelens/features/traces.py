"""Spike traces: each spike adds exp(-t / tau), cut off after 20 tau.

The trace of neuron i is S~_i(t) = sum over its spikes s <= t, t - s <= 20 tau, of exp(-(t - s) / tau): the filtered spike train
of Kulkarni et al. (NICE 2023). It is computed by the recursion S~(t) = exp(-1 / tau) S~(t - 1) + S(t), for all neurons at once.
At every whole second the recursion restarts from the explicit sum, and a spike is subtracted again after 20 tau. So a trace depends only
on the spikes of the last 20 tau, and it is bit-identical for any division into segments.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from spikelens.compiled import compiled
from spikelens.config import CAUSAL_CUTOFF_TAUS, STEPS_PER_SECOND
from spikelens.recording.spikes import raster_spikes

if TYPE_CHECKING:
    import xarray as xr


def cutoff_steps(tau_ms: float) -> int:
    """Largest lag at which the exponential is not zero by definition [ms]."""
    return int(CAUSAL_CUTOFF_TAUS * tau_ms)


def decay_table(tau_ms: float) -> NDArray[np.float64]:
    """exp(-k / tau) for the lags k = 0 .. 20 tau, and for the first one beyond."""
    return np.exp(-np.arange(cutoff_steps(tau_ms) + 2) / tau_ms)


@compiled
def advance(
    trace: NDArray[np.float64],
    in_sum: NDArray[np.int64],
    steps: NDArray[np.int64],
    ids: NDArray[np.int64],
    oldest: int,
    following: int,
    t: int,
    table: NDArray[np.float64],
    begin: bool,
) -> tuple[int, int]:
    """Advance the traces of all neurons from step t - 1 to t; in the first step and at whole seconds, compute the sums from scratch.

    Parameters
    ----------
    trace, in_sum : (n_neurons,)
        Each neuron's trace and the number of spikes in its sum; updated in place.
    steps, ids : (n_spikes,) int64
        Spikes, ordered by time.
    oldest, following : int
        The traces are the sums over spikes oldest .. following - 1.
    table : (20 tau + 2,) float64
        As from `decay_table`.
    begin : bool
        Whether this is the first step; the contents of `trace` and `in_sum` are then discarded.

    Returns
    -------
    oldest, following : int
        The same for step t.
    """
    cutoff = len(table) - 2
    if begin or t % STEPS_PER_SECOND == 0:
        trace[:] = 0.0
        in_sum[:] = 0
        while oldest < len(steps) and steps[oldest] < t - cutoff:
            oldest += 1
        following = oldest
    else:
        for i in range(len(trace)):
            trace[i] *= table[1]
        while oldest < following and steps[oldest] < t - cutoff:
            i = ids[oldest]
            in_sum[i] -= 1
            # zero where no spike is left: a difference would leave a rounding error behind
            trace[i] = trace[i] - table[cutoff + 1] if in_sum[i] > 0 else 0.0
            oldest += 1
    while following < len(steps) and steps[following] <= t:
        trace[ids[following]] += table[t - steps[following]]
        in_sum[ids[following]] += 1
        following += 1
    return oldest, following


@compiled
def _fill(out: NDArray[np.float32], steps: NDArray[np.int64], ids: NDArray[np.int64], start: int, table: NDArray[np.float64]) -> None:
    """Write the traces from step `start` on into out (n_steps, n_neurons)."""
    trace = np.zeros(out.shape[1])
    in_sum = np.zeros(out.shape[1], np.int64)
    oldest = following = 0
    for row in range(out.shape[0]):
        oldest, following = advance(trace, in_sum, steps, ids, oldest, following, start + row, table, row == 0)
        for i in range(out.shape[1]):
            out[row, i] = trace[i]


def spike_traces(
    steps: NDArray[np.int64], ids: NDArray[np.int64], n_neurons: int, start: int, end: int, tau_ms: float
) -> NDArray[np.float32]:
    """Compute the spike traces of all neurons in [start, end).

    Parameters
    ----------
    steps, ids : (n_spikes,) int64
        Time [ms] and neuron of each spike, ordered by time, from 20 tau before `start` on.
    n_neurons : int
        Number of neurons; ids are below it.
    start, end : int
        Range of steps. Ranges that start at whole seconds give the same bits as one long range.
    tau_ms : float
        Time constant [ms].

    Returns
    -------
    (end - start, n_neurons) float32
        S~ [1].
    """
    out = np.empty((end - start, n_neurons), np.float32)
    _fill(out, steps, ids, start, decay_table(tau_ms))
    return out


def spike_trace(spikes: xr.DataArray, tau_ms: float) -> xr.DataArray:
    """Compute the spike traces S~ of a raster, as if there were no spikes before it.

    Parameters
    ----------
    spikes : xarray.DataArray
        (time, neuron), true where a neuron spikes; its time [ms] goes up by 1 ms.
    tau_ms : float
        Time constant [ms].

    Returns
    -------
    xarray.DataArray
        (time, neuron) float32 [1], with the coordinates of the spikes.

    Raises
    ------
    SpikelensError
        If a dimension is missing, or time does not go up by 1 ms.
    """
    import xarray as xr

    steps, ids, start, end = raster_spikes(spikes)
    values = spike_traces(steps, ids, spikes.sizes["neuron"], start, end, tau_ms)
    attrs = {"long_name": "spike trace", "units": "1", "tau_ms": tau_ms}
    return xr.DataArray(values, spikes.transpose("time", "neuron").coords, ("time", "neuron"), "spike_trace", attrs)

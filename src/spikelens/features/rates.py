"""Running rates: R_i(t) = number of spikes of i in [t, t + T_w), over T_w (Kulkarni et al., NICE 2023).

Spikes are counted in bins, and the rate of a window is the sum of its bins. So stored counts depend neither on T_w nor on later
segments. A window that extends beyond the end of the run has no rate (NaN).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from spikelens.config import STEPS_PER_SECOND
from spikelens.errors import SpikelensError
from spikelens.recording.spikes import raster_spikes

if TYPE_CHECKING:
    import xarray as xr


def bin_counts(steps: NDArray[np.int64], ids: NDArray[np.int64], n_neurons: int, start: int, end: int, step_ms: int) -> NDArray[np.uint16]:
    """Count the spikes of every neuron in each bin of `step_ms` in [start, end).

    Parameters
    ----------
    steps, ids : (n_spikes,) int64
        Time [ms] and neuron of each spike, ordered by time. Spikes outside the range are left out.
    n_neurons : int
        Number of neurons; ids are below it.
    start, end : int
        Range of time [ms], both multiples of step_ms.

    Returns
    -------
    (n_bins, n_neurons) uint16
        Spike counts.
    """
    first, last = np.searchsorted(steps, (start, end))
    n_bins = (end - start) // step_ms
    cell = (steps[first:last] - start) // step_ms * n_neurons + ids[first:last]
    return np.bincount(cell, minlength=n_bins * n_neurons).reshape(n_bins, n_neurons).astype(np.uint16)


def window_counts(counts: NDArray[Any], width: int) -> NDArray[np.int64]:
    """Add up the counts of `width` consecutive bins.

    Parameters
    ----------
    counts : (n_bins, ...) int
        Spike counts per bin.
    width : int
        Number of bins in a window, at most n_bins.

    Returns
    -------
    (n_bins - width + 1, ...) int64
        Row k is the sum of the rows k to k + width - 1: the running count of the window that starts with bin k.
    """
    total = np.cumsum(counts, axis=0, dtype=np.int64)
    windows = total[width - 1 :].copy()
    windows[1:] -= total[:-width]
    return windows


def population_counts(counts: NDArray[np.uint16], first_neuron: int, populations: Mapping[str, tuple[int, int]]) -> NDArray[np.int32]:
    """Sum spike counts over the neurons of each population.

    Parameters
    ----------
    counts : (n_bins, n_neurons) uint16
        Spike counts of the neurons from first_neuron on.
    populations : mapping of str to (first, end)
        Range of neuron ids of each population.

    Returns
    -------
    (n_bins, n_populations) int32
        Spike counts.
    """
    sums = np.zeros((len(counts), len(populations)), np.int32)
    for column, (first, end) in enumerate(populations.values()):
        sums[:, column] = counts[:, max(first - first_neuron, 0) : max(end - first_neuron, 0)].sum(axis=1, dtype=np.int32)
    return sums


def running_rate(spikes: xr.DataArray, window_ms: int, step_ms: int = 1) -> xr.DataArray:
    """Compute the running rates of a raster.

    Parameters
    ----------
    spikes : xarray.DataArray
        (time, neuron), true where a neuron spikes; its time [ms] goes up by 1 ms.
    window_ms : int
        T_w, a multiple of step_ms [ms].
    step_ms : int
        Sampling interval [ms].

    Returns
    -------
    xarray.DataArray
        (time, neuron) [Hz]; time is the window's start, NaN where the window reaches beyond the raster.

    Raises
    ------
    SpikelensError
        If the window is not a multiple of the step, a dimension is missing, or time does not go up by 1 ms.
    """
    import xarray as xr

    if window_ms < 1 or step_ms < 1 or window_ms % step_ms:
        raise SpikelensError(f"expected a window that is a multiple of the step, got {window_ms} and {step_ms} ms")
    steps, ids, start, end = raster_spikes(spikes)
    width, n_windows = window_ms // step_ms, len(range(start, end, step_ms))
    rates = np.full((n_windows, spikes.sizes["neuron"]), np.nan)
    if (n_bins := (end - start) // step_ms) >= width:
        counts = bin_counts(steps - start, ids, spikes.sizes["neuron"], 0, n_bins * step_ms, step_ms)
        rates[: n_bins - width + 1] = window_counts(counts, width) * (STEPS_PER_SECOND / window_ms)
    attrs = {"long_name": f"running rate over the next {window_ms} ms", "units": "Hz"}
    coordinates = spikes.transpose("time", "neuron").isel(time=slice(None, None, step_ms)).coords
    return xr.DataArray(rates, coordinates, ("time", "neuron"), "running_rate", attrs)

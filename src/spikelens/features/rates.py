"""Running rates: R_i(t) = number of spikes of i in [t, t + T_w), over T_w (Kulkarni et al., NICE 2023).

They are kept as counts, every `step_ms`. A window that would reach beyond the end has no count: MISSING_COUNT, and -1 for a
population; xarray shows NaN.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from spikelens.compiled import compiled
from spikelens.config import STEPS_PER_SECOND, RunConfig
from spikelens.errors import SpikelensError
from spikelens.features.spikes import raster_spikes
from spikelens.stores import MISSING_COUNT, layout, read_array

if TYPE_CHECKING:
    import xarray as xr


@compiled
def _running_counts(
    out: NDArray[np.uint16], steps: NDArray[np.int64], ids: NDArray[np.int64], start: int, step_ms: int, width: int
) -> None:
    """Count into out (n_samples, n_neurons), zero at first, the spikes of the `width` bins from each sample on.

    A spike adds one at the first sample whose window holds it, and takes one away after the last; summed over time, these
    differences are the counts. They are below zero in places, so the sums are those of integers modulo 2^16.
    """
    for k in range(len(steps)):
        last = (steps[k] - start) // step_ms
        if last < 0:
            continue
        first = max(last - width + 1, 0)
        if first < len(out):
            out[first, ids[k]] += np.uint16(1)
        if last + 1 < len(out):
            out[last + 1, ids[k]] -= np.uint16(1)
    for row in range(1, len(out)):
        for i in range(out.shape[1]):
            out[row, i] += out[row - 1, i]


def running_counts(
    steps: NDArray[np.int64],
    ids: NDArray[np.int64],
    n_neurons: int,
    samples: slice,
    end: int,
    step_ms: int,
    window_ms: int,
) -> NDArray[np.uint16]:
    """Count the spikes of every neuron in [t, t + window) for t = k step_ms.

    Parameters
    ----------
    steps, ids : (n_spikes,) int64
        Time [ms] and neuron of each spike, ordered by time, to one window after the last sample.
    n_neurons : int
        Neurons; ids lie below it.
    samples : slice
        The k from start to stop.
    end : int
        End of all spikes [ms]; windows that reach beyond have no count.
    step_ms, window_ms : int
        Sampling interval and T_w, a multiple of it [ms].

    Returns
    -------
    (n_samples, n_neurons) uint16
        Counts, or MISSING_COUNT.
    """
    counts = np.zeros((samples.stop - samples.start, n_neurons), np.uint16)
    _running_counts(counts, steps, ids, samples.start * step_ms, step_ms, window_ms // step_ms)
    n_complete = (end - window_ms) // step_ms + 1
    counts[max(n_complete - samples.start, 0) :] = MISSING_COUNT
    return counts


def population_counts(counts: NDArray[np.uint16], first_neuron: int, populations: Mapping[str, tuple[int, int]]) -> NDArray[np.int32]:
    """Sum running counts over the neurons of each population.

    Parameters
    ----------
    counts : (n_samples, n_neurons) uint16
        As from `running_counts`, of neurons first_neuron and following.
    populations : mapping of str to (first, end)
        Range of neuron ids of each population.

    Returns
    -------
    (n_samples, n_populations) int32
        Counts, -1 where the window reaches beyond the end.
    """
    sums = np.zeros((len(counts), len(populations)), np.int32)
    for column, (first, end) in enumerate(populations.values()):
        sums[:, column] = counts[:, max(first - first_neuron, 0) : max(end - first_neuron, 0)].sum(axis=1, dtype=np.int32)
    sums[counts[:, 0] == MISSING_COUNT] = -1
    return sums


def mean_rates(run: RunConfig) -> xr.DataArray:
    """Read the mean running rate of all neurons and of each population.

    Returns
    -------
    xarray.DataArray
        (time, population) [Hz], the first population being "all"; NaN where the window reaches beyond the run's end.

    Raises
    ------
    StoreError
        If a shard is missing, empty or damaged.
    """
    import xarray as xr

    group = layout(run, "features")
    stored = read_array(group, "population_count")
    counts, complete = stored.sum(axis=1), stored[:, 0, 0] >= 0
    counts = np.column_stack([counts.sum(axis=1), counts])
    sizes = [run.network.neurons, *(end - first for first, end in run.populations.values())]
    values = np.where(complete[:, None], counts * (STEPS_PER_SECOND / run.features.window_ms) / sizes, np.nan)
    coordinates = {"time": group.coordinates["time"].values, "population": ["all", *run.populations]}
    attrs = {"long_name": f"mean rate over the next {run.features.window_ms} ms", "units": "Hz"}
    rates = xr.DataArray(values, coordinates, ("time", "population"), "mean_rate", attrs)
    rates["time"].attrs.update(group.coordinates["time"].attrs)
    return rates


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
        If the window is no multiple of the step, a dimension is missing, or time does not go up by 1 ms.
    """
    import xarray as xr

    if not 0 < window_ms < MISSING_COUNT or step_ms < 1 or window_ms % step_ms:
        raise SpikelensError(f"expected a window of less than 65,535 ms that is a multiple of the step, got {window_ms} and {step_ms} ms")
    steps, ids, start, end = raster_spikes(spikes)
    samples = slice(0, len(range(start, end, step_ms)))
    counts = running_counts(steps - start, ids, spikes.sizes["neuron"], samples, end - start, step_ms, window_ms)
    rates = np.where(counts == MISSING_COUNT, np.nan, counts * (STEPS_PER_SECOND / window_ms))
    attrs = {"long_name": f"running rate over the next {window_ms} ms", "units": "Hz"}
    coordinates = spikes.transpose("time", "neuron").isel(time=slice(None, None, step_ms)).coords
    return xr.DataArray(rates, coordinates, ("time", "neuron"), "running_rate", attrs)

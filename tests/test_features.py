"""The features' promises: the paper's formulas, checked against other libraries, and the same bits however time is divided."""

from __future__ import annotations

import itertools
import math
from collections import OrderedDict
from pathlib import Path

import elephant.conversion
import neo
import numpy as np
import pytest
import quantities as pq
import scipy.signal
import xarray as xr
from conftest import small_config
from hypothesis import given, settings
from hypothesis import strategies as st
from simulations import compute_features

import spikelens
from spikelens.cli import main
from spikelens.config import RunConfig, load_runs
from spikelens.config.items import kinds
from spikelens.errors import SpikelensError, StoreError
from spikelens.features import causal_component, running_rate, spike_trace
from spikelens.features.causal import causal_components, dense_causal_components, history_steps
from spikelens.features.rates import bin_counts, window_counts
from spikelens.features.run import compute
from spikelens.features.traces import advance, decay_table, spike_traces
from spikelens.jobs import work_of
from spikelens.layouts import block_group, layout
from spikelens.network.build import build_blocks
from spikelens.numerics import UNITS_PER_MV
from spikelens.outputs import feature_block, feature_output, has_blocks
from spikelens.places import place_of, root
from spikelens.prepare import prepare
from spikelens.recording import spikes
from spikelens.recording.spikes import neuron_counts, population_counts, read_spikes
from spikelens.recording.synapses import Synapses
from spikelens.recording.wiring import read_synapses
from spikelens.report.contents import PAGE, figures_of
from spikelens.simulation.run import simulate_segment
from spikelens.stores import Group, open_group, read_array, read_shard, write_shard

BRIEF = {
    "models.autoencoder.sequences": 60,
    "models.tft_population.history": 2,
    "models.tft_population.horizon": 1,
    "models.tft_neuron.history": 2,
    "models.tft_neuron.horizon": 1,
}
"""Models that fit a run of a few seconds."""


def as_list(raster: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    steps, ids = np.nonzero(raster)
    return steps, ids


def random_raster(seed: int, n_steps: int, n_neurons: int, p: float = 0.03) -> np.ndarray:
    return np.random.default_rng(seed).random((n_steps, n_neurons)) < p


def as_xarray(raster: np.ndarray, start: int = 0) -> xr.DataArray:
    n_steps, n_neurons = raster.shape
    neurons = 100 + np.arange(n_neurons)
    time = ("time", start + np.arange(n_steps), {"units": "ms"})
    return xr.DataArray(raster, {"time": time, "neuron": neurons, "population": ("neuron", ["E"] * n_neurons)}, ("time", "neuron"))


def simulate(run: RunConfig) -> RunConfig:
    build_blocks(run, range(run.n_blocks))
    for segment in range(run.n_segments):
        simulate_segment(run, segment)
    return run


def features_of(run: RunConfig) -> dict[tuple[str, str], np.ndarray]:
    """Every array of a run's features as stored, by feature and array; those of blocks side by side."""
    arrays = {}
    for name in run.computed_features:
        root = feature_output(run, name)
        arrays |= {(name, array): read_array(root, array) for array in root.arrays}
        groups = [feature_block(run, name, block) for block in range(run.n_blocks)] if has_blocks(run, name) else []
        for array in groups[0].arrays if groups else ():
            arrays[name, array] = np.concatenate([read_array(group, array) for group in groups], axis=1)
    return arrays


def simulated_and_featured(run: RunConfig) -> RunConfig:
    simulate(run)
    compute_features(run)
    return run


@pytest.fixture(scope="module")
def module_run(tmp_path_factory: pytest.TempPathFactory) -> RunConfig:
    """One small run with its features, for tests that only read it."""
    run = load_runs(small_config(tmp_path_factory.mktemp("features")))[0]
    prepare(run)
    return simulated_and_featured(run)


# --- spikes ---


def test_spikes_are_those_of_the_raster_in_order_of_time_and_neuron(module_run):
    raster = read_array(layout(module_run, "spikes"), "spikes")
    assert raster.sum() > 1000
    for start, end in ((0, 6000), (1990, 2010), (500, 3500), (-300, 100), (5900, 7000), (2000, 2000), (8000, 9000)):
        steps, ids = read_spikes(module_run, start, end)
        inside = raster[max(start, 0) : max(end, 0)]
        expected_steps, expected_ids = np.nonzero(inside)
        assert steps.dtype == ids.dtype == np.int64
        np.testing.assert_array_equal(steps, expected_steps + max(start, 0))
        np.testing.assert_array_equal(ids, expected_ids)


def test_spikes_of_some_blocks_are_those_of_their_neurons(module_run):
    steps, ids = read_spikes(module_run, 0, 6000)
    some = (ids >= 50) & (ids < 150)
    chosen_steps, chosen_ids = read_spikes(module_run, 0, 6000, blocks=[2, 1])
    np.testing.assert_array_equal(chosen_steps, steps[some])
    np.testing.assert_array_equal(chosen_ids, ids[some])


def test_only_shards_that_overlap_are_needed_and_a_missing_one_is_refused(make_run):
    run = simulate(make_run())
    group = layout(run, "spikes")
    group.shard_path("spikes", (2, 1)).unlink()
    assert len(read_spikes(run, 0, 4000)[0]) > 0
    assert len(read_spikes(run, 4000, 6000, blocks=[0])[0]) > 0
    with pytest.raises(StoreError, match="spikes/c/2/1"):
        read_spikes(run, 3000, 4001)
    for name in ("omega_pairs", "omega_synapses"):  # block 0 needs the spikes of all blocks
        with pytest.raises(StoreError, match="spikes/c/2/1"):
            compute(run, name, 2, [0])
    group.shard_path("spikes", (1, 0)).write_bytes(b"")
    with pytest.raises(StoreError, match="spikes/c/1/0"):
        read_spikes(run, 0, 2001)


def test_a_shard_that_was_written_again_is_read_again(make_run):
    run = simulate(make_run())
    group = layout(run, "spikes")
    steps, _ = read_spikes(run, 0, 2000, [0])
    assert len(steps) > 10
    write_shard(group, "spikes", (0, 0), np.zeros(group.arrays["spikes"].shards, bool))
    assert len(read_spikes(run, 0, 2000, [0])[0]) == 0


def test_decoded_shards_are_kept_up_to_a_limit(module_run, monkeypatch):
    reads = []

    def counted(*arguments):
        reads.append(arguments)
        return read_shard(*arguments)

    monkeypatch.setattr(spikes, "read_shard", counted)
    monkeypatch.setattr(spikes, "_recent", OrderedDict())
    expected = read_spikes(module_run, 0, 6000)
    n_shards = len(reads)
    assert n_shards == module_run.n_segments * module_run.n_blocks
    np.testing.assert_array_equal(read_spikes(module_run, 0, 6000), expected)
    assert len(reads) == n_shards
    monkeypatch.setattr(spikes, "RECENT_BYTES", 0)
    np.testing.assert_array_equal(read_spikes(module_run, 1, 6000), np.array(expected)[:, expected[0] >= 1])
    assert not spikes._recent
    np.testing.assert_array_equal(read_spikes(module_run, 0, 6000), expected)
    assert not spikes._recent


# --- traces ---


def test_trace_equals_scipys_recursive_filter():
    raster = random_raster(1, 3000, 7)
    expected = scipy.signal.lfilter([1.0], [1.0, -math.exp(-1 / 20.0)], raster, axis=0)
    trace = spike_traces(*as_list(raster), 7, 0, 3000, 20.0)
    assert trace.dtype == np.float32
    # scipy does not cut: each spike leaves less than exp(-20) = 2e-9 behind
    np.testing.assert_allclose(trace, expected, rtol=1e-6, atol=5e-8)


@pytest.mark.parametrize("tau_ms", [0.04, 1.0, 7.3, 20.0])
def test_trace_equals_a_convolution_with_the_cut_kernel(tau_ms):
    raster = random_raster(2, 2500, 5)
    kernel = np.exp(-np.arange(int(20 * tau_ms) + 1) / tau_ms)
    expected = np.stack([np.convolve(train, kernel)[:2500] for train in raster.T.astype(float)], axis=1)
    np.testing.assert_allclose(spike_traces(*as_list(raster), 5, 0, 2500, tau_ms), expected, rtol=1e-6, atol=1e-15)


def test_trace_of_one_spike_is_the_exponential_and_exactly_zero_after_20_tau():
    trace = spike_traces(np.array([700]), np.array([1]), 2, 0, 1500, 20.0)
    assert not trace[:, 0].any()
    assert not trace[:700, 1].any()
    np.testing.assert_allclose(trace[700:1101, 1], np.exp(-np.arange(401) / 20), rtol=1e-6)
    assert not trace[1101:, 1].any()


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), seconds=st.sets(st.integers(1, 5)), tau_ms=st.floats(0.1, 45))
def test_trace_is_the_same_for_any_segmentation(seed, seconds, tau_ms):
    raster = random_raster(seed, 6000, 3)
    steps, ids = as_list(raster)
    whole = spike_traces(steps, ids, 3, 0, 6000, tau_ms)
    for start, end in itertools.pairwise([0, *(1000 * s for s in sorted(seconds)), 6000]):
        near = (steps >= start - int(20 * tau_ms)) & (steps < end)
        part = spike_traces(steps[near], ids[near], 3, start, end, tau_ms)
        assert part.tobytes() == whole[start:end].tobytes()


def test_trace_is_the_same_before_rounding_wherever_the_recursion_began():
    steps, ids = as_list(random_raster(8, 3500, 40))
    table = decay_table(20.0)

    def traces_at(begin: int, t_end: int) -> np.ndarray:
        trace, in_sum, place = np.zeros(40), np.zeros(40, np.int64), (0, 0)
        for t in range(begin, t_end + 1):
            place = advance(trace, in_sum, steps, ids, *place, t, table, t == begin)
        return trace

    assert traces_at(0, 2005).tobytes() == traces_at(1000, 2005).tobytes() == traces_at(2000, 2005).tobytes()
    # from elsewhere than a whole second it differs, but by rounding only
    np.testing.assert_allclose(traces_at(1995, 1999), traces_at(0, 1999), rtol=1e-13)


def test_trace_of_a_raster_keeps_its_coordinates_and_has_units():
    raster = random_raster(3, 800, 4)
    trace = spike_trace(as_xarray(raster, start=5000), 20.0)
    assert trace.dims == ("time", "neuron")
    assert trace.attrs["units"] == "1"
    assert trace["time"].values[[0, -1]].tolist() == [5000, 5799]
    assert trace["population"].dims == ("neuron",)
    expected = scipy.signal.lfilter([1.0], [1.0, -math.exp(-1 / 20.0)], raster, axis=0)
    np.testing.assert_allclose(trace, expected, rtol=1e-6, atol=5e-8)
    np.testing.assert_array_equal(spike_trace(as_xarray(raster, start=5000).T, 20.0), trace)


def test_raster_with_a_gap_in_time_or_without_time_is_refused():
    spikes = as_xarray(random_raster(4, 50, 2))
    with pytest.raises(SpikelensError, match="goes up by 1 ms"):
        spike_trace(spikes[::2], 20.0)
    with pytest.raises(SpikelensError, match="dimensions time and neuron"):
        spike_trace(spikes.drop_vars("time"), 20.0)


# --- rates ---


def test_bin_counts_equal_elephants_binned_spike_trains():
    raster = random_raster(5, 3000, 6)
    trains = [neo.SpikeTrain(np.flatnonzero(train) * pq.ms, t_stop=3000 * pq.ms) for train in raster.T]
    binned = elephant.conversion.BinnedSpikeTrain(trains, bin_size=50 * pq.ms, t_start=0 * pq.ms, t_stop=3000 * pq.ms, tolerance=1e-8)
    np.testing.assert_array_equal(bin_counts(*as_list(raster), 6, 0, 3000, 50), binned.to_array().T)


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    step_ms=st.integers(1, 12),
    width=st.integers(1, 9),
    first=st.integers(0, 20),
    n_bins=st.integers(9, 20),
)
def test_running_counts_equal_the_formula(seed, step_ms, width, first, n_bins):
    raster, start = random_raster(seed, 500, 3, 0.2), first * step_ms
    counts = window_counts(bin_counts(*as_list(raster), 3, start, start + n_bins * step_ms, step_ms), width)
    expected = [raster[t : t + width * step_ms].sum(axis=0) for t in range(start, start + (n_bins - width + 1) * step_ms, step_ms)]
    np.testing.assert_array_equal(counts, expected)


def test_running_rate_of_a_raster_is_in_hertz_and_nan_where_the_window_reaches_beyond():
    raster = random_raster(6, 1000, 4)
    rate = running_rate(as_xarray(raster, start=2000), window_ms=100, step_ms=10)
    assert rate.attrs["units"] == "Hz"
    assert rate["time"].values.tolist() == list(range(2000, 3000, 10))
    np.testing.assert_allclose(rate.sel(time=2350), raster[350:450].sum(axis=0) / 0.1)
    assert rate.sel(time=slice(None, 2900)).notnull().all()
    assert rate.sel(time=slice(2910, None)).isnull().all()
    with pytest.raises(SpikelensError, match="multiple of the step"):
        running_rate(as_xarray(raster), window_ms=105, step_ms=10)


def test_an_opened_run_shows_rates_in_hertz_and_nan_in_the_last_window_only(module_run):
    run, rate = module_run, spikelens.open(module_run.folder).rate(window_ms=50)
    raster = read_array(layout(run, "spikes"), "spikes")
    window, step = 50, 10
    assert rate.dims == ("time", "neuron")
    assert rate.attrs["units"] == "Hz"
    complete = rate["time"] + window <= run.n_steps
    np.testing.assert_array_equal(rate.isnull().all("neuron"), ~complete)
    np.testing.assert_array_equal(rate.isnull().any("neuron"), ~complete)
    # 1990: the window reaches from the first segment into the second
    for t in (0, 1990, 2000, 5950):
        np.testing.assert_allclose(rate.sel(time=t), raster[t : t + window].sum(axis=0) * 1000 / window)
    assert rate["time"].values[:2].tolist() == [0, step]


def test_population_counts_are_those_of_the_raster(module_run):
    run = module_run
    raster = read_array(layout(run, "spikes"), "spikes")
    counts = read_array(feature_output(run, "spike_counts"), "population_count").sum(axis=1)
    for column, (first, end) in enumerate(run.populations.values()):
        expected = raster[:, first:end].reshape(len(counts), -1).sum(axis=1)
        np.testing.assert_array_equal(counts[:, column], expected)


@pytest.mark.parametrize("bin_ms", [10, 70, 1500, 7000])
def test_counts_of_chosen_neurons_and_of_populations_are_those_of_the_raster(module_run, bin_ms):
    run = module_run
    raster = read_array(layout(run, "spikes"), "spikes")
    n_bins = run.n_steps // bin_ms  # whole bins only
    by_neuron = raster[: n_bins * bin_ms].reshape(n_bins, bin_ms, run.n_neurons).sum(axis=1)
    neurons = np.array([0, 3, 49, 50, 130, 199])
    np.testing.assert_array_equal(neuron_counts(run, neurons, bin_ms), by_neuron[:, neurons])
    by_population = np.stack([by_neuron[:, first:end].sum(axis=1) for first, end in run.populations.values()], axis=1)
    np.testing.assert_array_equal(population_counts(run, bin_ms), by_population)


# --- causal components ---


def pairs_by_formula(raster, source, target, delay, tau_ms, start, end):
    """Sum over all pairs of spikes with the target's in [start, end), from the formula, pair by pair."""
    total = 0.0
    for t_i in np.flatnonzero(raster[:, target]):
        for t_j in np.flatnonzero(raster[:, source]):
            lag = t_i - t_j - delay
            if start <= t_i < end and 0 <= lag <= 20 * tau_ms:
                total += math.exp(-lag / tau_ms)
    return total


def static_synapses(source, target, delay, weight_mv) -> Synapses:
    n = len(source)
    return Synapses(
        np.array(source, np.int32),
        np.array(target, np.int32),
        np.array(delay, np.uint8),
        np.rint(np.array(weight_mv) * UNITS_PER_MV).astype(np.int32),
        np.zeros(n, np.bool_),
    )


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), tau_ms=st.floats(0.3, 40), max_delay_ms=st.integers(1, 255))
def test_causal_components_equal_the_double_sum(seed, tau_ms, max_delay_ms):
    generator = np.random.default_rng(seed)
    raster = random_raster(seed, 4000, 4, 0.01)
    source, target = generator.integers(0, 4, (2, 6))
    delay, weight = generator.integers(1, max_delay_ms + 1, 6), generator.uniform(-5, 10, 6)
    synapses = static_synapses(source, target, delay, weight)
    windows = [(1000, 3000), (3000, 4000)]
    steps, ids = as_list(raster)
    needed = steps >= 1000 - history_steps(tau_ms, max_delay_ms)
    omega, unweighted = causal_components(synapses, np.zeros(6, np.int32), steps[needed], ids[needed], 4, windows, tau_ms, None)
    expected = np.array(
        [[pairs_by_formula(raster, *pair, tau_ms, *w) for pair in zip(source, target, delay, strict=True)] for w in windows]
    )
    np.testing.assert_allclose(unweighted, expected, rtol=1e-6)
    np.testing.assert_allclose(omega, expected * synapses.weight / UNITS_PER_MV, rtol=1e-6)


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), tau_ms=st.floats(0.3, 40))
def test_dense_causal_components_equal_the_double_sum_without_delay(seed, tau_ms):
    raster = random_raster(seed, 3000, 5, 0.01)
    steps, ids = as_list(raster)
    needed = steps >= 1000 - int(20 * tau_ms)
    windows = [(1000, 2000), (2000, 3000)]
    dense = dense_causal_components(steps[needed], ids[needed], 5, (2, 5), windows, tau_ms)
    assert dense.shape == (2, 5, 3)
    for (k, window), source, target in itertools.product(enumerate(windows), range(5), range(2, 5)):
        expected = 0.0 if source == target else pairs_by_formula(raster, source, target, 0, tau_ms, *window)
        assert dense[k, source, target - 2] == pytest.approx(expected, rel=1e-6)


def test_pair_counts_from_coincidence_to_20_tau_and_in_the_window_of_the_target_spike():
    synapses = static_synapses([0, 0, 0, 0], [1, 1, 1, 1], [4, 3, 5, 255], [2.0, 2.0, 2.0, 2.0])
    # source at 995; target 4 ms later, in the same window, and 4 + 400 ms and 4 + 401 ms later, in the next
    steps, ids = np.array([995, 999, 1399, 1400]), np.array([0, 1, 1, 1])
    omega, unweighted = causal_components(synapses, np.zeros(4, np.int32), steps, ids, 2, [(0, 1000), (1000, 2000)], 20.0, None)
    e = np.exp
    expected = [[1, e(-1 / 20), 0, 0], [e(-20), 0, e(-399 / 20) + e(-20), e(-149 / 20) + e(-150 / 20)]]
    np.testing.assert_allclose(unweighted, expected, rtol=1e-6)
    np.testing.assert_allclose(omega, 2 * np.array(expected), rtol=1e-6)


def test_causal_component_of_chosen_pairs_has_units_and_refuses_pairs_that_do_not_fit():
    raster = random_raster(7, 500, 3)
    spikes = as_xarray(raster, start=3000)
    omega = causal_component(spikes, [0, 2], [1, 0], [3, 0], 20.0, weight_mv=[6.0, 0.0])
    assert omega.attrs["units"] == "mV"
    assert omega["source"].values.tolist() == [100, 102]
    np.testing.assert_allclose(omega, [6 * pairs_by_formula(raster, 0, 1, 3, 20.0, 0, 500), 0], rtol=1e-12)
    assert causal_component(spikes, [0], [1], [3], 20.0).attrs["units"] == "1"
    with pytest.raises(SpikelensError, match=r"every target in 0 \.\. 2"):
        causal_component(spikes, [0], [3], [3], 20.0)
    with pytest.raises(SpikelensError, match="as many targets"):
        causal_component(spikes, [0], [1, 2], [3], 20.0)


def test_synapse_without_weight_has_no_causal_component(make_run):
    run = simulated_and_featured(make_run({"network.connections.I->E.weight_mv": 0.0, "simulation.plasticity": False}))
    for block in range(run.n_blocks):
        weight = read_shard(block_group(run, "network", block), "weight", (0,))
        stored = feature_block(run, "omega_synapses", block)
        omega, unweighted = read_array(stored, "omega"), read_array(stored, "omega_unweighted")
        assert not omega[:, weight == 0].any()
        np.testing.assert_allclose(omega, unweighted * weight / UNITS_PER_MV, rtol=1e-6)
        if (weight == 0).any():
            assert unweighted[:, weight == 0].any()


def test_replayed_weights_are_the_stored_ones(module_run):
    run = module_run
    weight_max = round(run.network.weight_max_mv * UNITS_PER_MV)
    for segment, block in itertools.product(range(run.n_segments), range(run.n_blocks)):
        start, end = run.segment_range(segment)
        spikes = read_spikes(run, start - history_steps(20.0, run.max_delay), end)
        synapses, change = read_synapses(run, segment, block)
        before = synapses.weight.copy()
        causal_components(synapses, change, *spikes, run.network.neurons, [(start, end)], 20.0, weight_max)
        np.testing.assert_array_equal(synapses.weight, read_shard(block_group(run, "weights", block), "weight", (segment, 0))[0])
        np.testing.assert_array_equal(change, read_shard(block_group(run, "state", block), "weight_change", (segment, 0))[0])
        assert (synapses.weight != before).any() == synapses.plastic.any()


def test_causal_component_takes_the_weight_in_force_at_the_target_spike(make_run):
    # one segment in one window, against segments of 1 s, whose stored weights are those in force in each second
    run = simulated_and_featured(make_run({"simulation.segment_s": 6, "features.omega_synapses.window_s": 6}))
    by_second = simulate(make_run({"simulation.segment_s": 1}, "seconds"))
    raster = read_array(layout(run, "spikes"), "spikes")
    n_checked = 0
    for block in (0, 3):
        network = block_group(run, "network", block)
        source, target, delay, first = (read_shard(network, name, (0,)) for name in ("source", "target", "delay", "weight"))
        stored = read_array(block_group(by_second, "weights", block), "weight")
        in_force = [first, *stored[:5]]
        omega = read_array(feature_block(run, "omega_synapses", block), "omega")[0]
        for k in range(0, len(source), len(source) // 40):
            pair = (source[k], target[k], int(delay[k]), 20.0)
            parts = [in_force[s][k] / UNITS_PER_MV * pairs_by_formula(raster, *pair, 1000 * s, 1000 * s + 1000) for s in range(6)]
            assert omega[k] == pytest.approx(sum(parts), rel=1e-6, abs=1e-12)
            n_checked += len({weight[k] for weight in in_force}) > 1 and omega[k] > 0
    assert n_checked > 10


# --- the stage ---


def test_features_are_the_same_for_one_segment_or_three_and_for_two_block_sizes(make_run, module_run):
    expected = features_of(module_run)
    assert len(expected) == 6
    assert all(values.any() for values in expected.values())
    whole = features_of(simulated_and_featured(make_run({"simulation.segment_s": 6}, "whole")))
    assert expected.keys() == whole.keys()
    for name, values in expected.items():
        assert values.tobytes() == whole[name].tobytes(), name
    changes = {"network.block_size": 100, "simulation.chunk_neurons": 100}
    coarse = features_of(simulated_and_featured(make_run(changes, "coarse")))
    # traces are of other neurons, and counts of populations are kept by block
    for name in expected.keys() - {("traces", "trace"), ("spike_counts", "population_count")}:
        assert expected[name].tobytes() == coarse[name].tobytes(), name


def test_shards_of_one_segment_and_block_do_not_depend_on_what_else_is_computed(make_run, module_run):
    run = simulate(make_run())
    compute_features(run, [1], [2])
    for name in run.computed_features:
        groups = [feature_output(run, name), *([feature_block(run, name, 2)] if has_blocks(run, name) else [])]
        written = {path for group in groups for path in group.shard_paths(segments=[1], blocks=[2])}
        assert written
        for path in written:
            assert path.read_bytes() == twin(module_run, name, groups[0], path).read_bytes()
        assert {path for path in groups[0].path.glob("**/c/**/*") if path.is_file()} - coordinates_of(groups) == written


def twin(other: RunConfig, name: str, root: Group, path: Path) -> Path:
    """The same file of a feature in another run."""
    return feature_output(other, name).path / path.relative_to(root.path)


def coordinates_of(groups: list[Group]) -> set[Path]:
    return {path for group in groups for name in group.coordinates for path in (group.path / name).glob("c/**/*") if path.is_file()}


def test_a_longer_run_begins_with_the_features_of_a_shorter_one(make_run, module_run):
    short = features_of(simulated_and_featured(make_run({**BRIEF, "simulation.duration_s": 4}, "short")))
    longer = features_of(module_run)
    assert short.keys() == longer.keys()
    for name, values in short.items():
        assert values.tobytes() == longer[name][: len(values)].tobytes(), name


def test_a_short_last_segment_has_short_shards_and_the_same_values(make_run, module_run):
    changes = {**BRIEF, "simulation.duration_s": 5, "features.omega_pairs.window_s": 2, "features.omega_synapses.window_s": 2}
    run = simulated_and_featured(make_run(changes, "short"))
    features, longer = features_of(run), features_of(module_run)
    assert features["spike_counts", "count"].shape == (500, 200)
    assert features["traces", "trace"].tobytes() == longer["traces", "trace"][:5000].tobytes()
    for name in (("omega_pairs", "omega"), ("omega_synapses", "omega"), ("omega_synapses", "omega_unweighted")):
        assert features[name].shape[0] == 3
        np.testing.assert_array_equal(features[name][2], longer[name][4])  # the last second


def test_stored_causal_components_of_all_pairs_are_those_of_the_raster(module_run):
    run = module_run
    dense = read_array(feature_output(run, "omega_pairs"), "omega")
    assert not dense[:, np.arange(200), np.arange(200)].any()
    raster = read_array(layout(run, "spikes"), "spikes")
    source, target = np.argwhere(dense[3] > 0)[::701].T
    pairs = [pairs_by_formula(raster, j, i, 0, 20.0, 3000, 4000) for j, i in zip(source, target, strict=True)]
    assert len(pairs) > 10
    np.testing.assert_allclose(dense[3, source, target], pairs, rtol=1e-6)


def test_a_block_without_synapses_has_features_too(make_run):
    changes = {"network.connections.E->I.p": 0.0, "network.block_size": 40, "simulation.chunk_neurons": 40}
    run = simulated_and_featured(make_run(changes))
    group = feature_block(run, "omega_synapses", 4)
    assert group.attrs["n_synapses"] == 0
    assert not read_array(group, "omega_unweighted").any()
    assert read_array(feature_block(run, "traces", 4), "trace").any()
    assert open_group(feature_block(run, "traces", 4))["trace"].attrs["units"] == "1"


def test_features_need_the_weights_and_the_state_at_the_segments_start(make_run):
    run = simulate(make_run())
    block_group(run, "state", 1).shard_path("weight_change", (0, 0)).unlink()
    compute_features(run, [0], [1])
    with pytest.raises(StoreError, match="weight_change"):
        compute(run, "omega_synapses", 1, [1])
    compute(run, "omega_pairs", 1, [1])


# --- an open set ---


def changed_rules(run: RunConfig, other: RunConfig) -> set[str]:
    """The rules of `other` whose results are not those of `run`."""
    known = {work.folder for work in work_of(run)}
    return {work.rule for work in work_of(other) if work.folder not in known}


OMEGA = {"explanation.omega", "explanation", "report"}
"""What follows from the causal components."""
WINDOWS = {"omega_pairs": {"window_s": 1}, "omega_synapses": {"window_s": 1}}


@pytest.mark.parametrize("kind", kinds("features"))
def test_a_kind_may_be_the_only_feature(tmp_path, module_run, kind):
    run = load_runs(small_config(tmp_path, {"features": {"mine": {"kind": kind, **WINDOWS.get(kind, {})}}}))[0]
    prepare(run)
    simulated_and_featured(run)
    expected = {array: values for (name, array), values in features_of(module_run).items() if name == kind}
    found = features_of(run)
    assert found.keys() == {("mine", array) for array in expected}
    for array, values in expected.items():
        assert found["mine", array].tobytes() == values.tobytes()
    assert [work.rule for work in work_of(run) if work.stage == "features"] == ["features.mine"]
    figures = [figure.name for figure in figures_of(run) if figure.stage == "features"]
    assert figures == (["causal_mine"] if kind.startswith("omega") else [])
    assert set(spikelens.open(run.folder).features) == {"mine"}
    assert set(expected) <= set(spikelens.open(run.folder).features["mine"])


def test_a_run_without_features_has_models_methods_and_a_report(make_run):
    run = make_run({"features": {}})
    for command in ("network", "simulate", "features", "train", "infer", "explain", "report"):
        assert main([command, run.path]) == 0, command
    assert list(run.methods) == ["attention", "rate_correlation"]
    assert not (root(run) / "features").exists()
    assert (place_of(run, "report") / PAGE).is_file()
    opened = spikelens.open(run.folder)
    assert opened.features == {}
    assert set(opened.scores["score"]) >= {"attention_correlation", "rate_correlation"}
    assert opened.rate(50).sizes["neuron"] == 200


def test_two_features_of_one_kind_stand_side_by_side(tmp_path, module_run):
    features = {
        "slow": {"kind": "omega_pairs", "tau_ms": 20.0, "window_s": 1},
        "fast": {"kind": "omega_pairs", "tau_ms": 5.0, "window_s": 2},
        "fine": {"kind": "spike_counts", "step_ms": 10},
        "coarse": {"kind": "spike_counts", "step_ms": 50},
    }
    run = load_runs(small_config(tmp_path, {"features": features, "explanation.methods.omega.pairs": "fast"}))[0]
    prepare(run)
    found, expected = features_of(simulated_and_featured(run)), features_of(module_run)
    assert found["slow", "omega"].tobytes() == expected["omega_pairs", "omega"].tobytes()
    raster = read_array(layout(run, "spikes"), "spikes")
    source, target = np.argwhere(found["fast", "omega"][1] > 0)[::701].T
    pairs = [pairs_by_formula(raster, j, i, 0, 5.0, 2000, 4000) for j, i in zip(source, target, strict=True)]
    np.testing.assert_allclose(found["fast", "omega"][1, source, target], pairs, rtol=1e-6)
    np.testing.assert_array_equal(found["fine", "count"], expected["spike_counts", "count"])
    np.testing.assert_array_equal(found["coarse", "count"], found["fine", "count"].reshape(120, 5, 200).sum(axis=1))
    assert run.methods["omega"].reads(run) == (("features", "fast"),)


@pytest.mark.parametrize(
    ("changes", "rules"),
    [
        ({"features.spike_counts.step_ms": 20}, {"features.spike_counts", "report"}),
        ({"features.traces.tau_ms": 10.0}, {"features.traces", "report"}),
        ({"features.traces.neurons": 8}, {"features.traces", "report"}),
        ({"features.omega_pairs.tau_ms": 10.0}, {"features.omega_pairs", *OMEGA}),
        ({"features.omega_pairs.window_s": 2}, {"features.omega_pairs", *OMEGA}),
        ({"features.omega_synapses.tau_ms": 10.0}, {"features.omega_synapses", *OMEGA}),
        ({"features.more": {"kind": "spike_counts", "step_ms": 20}}, {"features.more", "report"}),
    ],
)
def test_a_changed_option_concerns_the_feature_what_reads_it_and_the_report(tmp_path, changes, rules):
    run, other = (load_runs(small_config(tmp_path, given))[0] for given in ({}, changes))
    assert changed_rules(run, other) == rules


def test_a_name_given_to_a_feature_names_its_results_and_its_figure(tmp_path):
    """The report of a feature with another name has other files, so it is another report."""
    runs = [load_runs(small_config(tmp_path, {"features": {name: {"kind": "omega_pairs"}}}))[0] for name in ("a", "network")]
    assert changed_rules(*runs) == {"features.network", "report"}
    for run in runs:
        files = [figure.file for figure in figures_of(run)]
        assert len(files) == len(set(files)), "whatever a feature is called"


def test_the_default_window_is_the_one_that_is_named(tmp_path):
    runs = [load_runs(small_config(tmp_path, {"features.omega_pairs.window_s": window}))[0] for window in (None, 2)]
    assert changed_rules(*runs) == set(), "20 s or less, and a divisor of segments of 2 s"

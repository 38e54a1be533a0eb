"""Poisson input and constant current: same spikes as the plain reference, and the configured distribution."""

from __future__ import annotations

import numpy as np
import pytest
import reference
from scipy import stats
from simulations import QUICK, compare_with_reference, simulate

from spikelens.simulation.drive import poisson_limits
from spikelens.simulation.kernel import poisson

STREAM = 5
"""Of the random numbers for Poisson input (docs/model.md)."""


def plain_background(run):
    """background(t) for the reference: constant currents, and Poisson events from plain Philox and scipy."""
    drive = run.drive
    n = run.network.neurons
    current, amount = np.zeros(n, np.int64), np.zeros(n, np.int64)
    limits = {}
    for name, (first, end) in run.populations.items():
        current[first:end] = round(drive.current_mv.get(name, 0.0) * 65536)
        if name in drive.poisson:
            amount[first:end] = round(drive.poisson[name].weight_mv * 65536)
            mean = drive.poisson[name].rate_hz / 1000
            limits[name] = [round(stats.poisson.cdf(k, mean) * 2**32) for k in range(200)]

    def background(t):
        words = reference.philox4x32((t, np.arange(-(-n // 4), dtype=np.uint64), 0, STREAM), drive.seed)
        word = np.stack(words, axis=1).ravel()[:n]  # that of neuron i is word i % 4 of the draw i // 4
        events = np.zeros(n, np.int64)
        for name, (first, end) in run.populations.items():
            for limit in limits.get(name, []):
                events[first:end] += word[first:end] >= limit
        return current + amount * events

    return background


DRIVES = {
    "poisson": {"drive.kick_mv": 0.0, "drive.poisson": {"E": {"rate_hz": 2000.0, "weight_mv": 4.0}}},
    "current": {"drive.kick_mv": 0.0, "drive.current_mv": {"E": 4.75, "I": -1.5}},
    "all": {
        "drive.poisson": {"E": {"rate_hz": 45_000.0, "weight_mv": 0.1}, "I": {"rate_hz": 30.0, "weight_mv": -7.0}},
        "drive.current_mv": {"I": 3.0},
        "drive.seed": 2**40 + 3,
    },
}


@pytest.mark.parametrize("drive", DRIVES)
def test_poisson_input_and_current_give_exactly_the_spikes_of_the_reference(make_run, drive):
    run = make_run({**QUICK, **DRIVES[drive]})
    simulate(run)
    spikes = compare_with_reference(run, background=plain_background(run))
    assert spikes.sum() > 1000


def drawn(mean, n_neurons, n_steps, seed=1, first=0):
    """Number of events of the neurons first, first + 1, ..., (n_steps, n_neurons)."""
    counts = np.zeros((n_steps, n_neurons), np.int32)
    for t in range(n_steps):
        poisson(counts[t], t, first, seed, 1, poisson_limits(mean))
    return counts


@pytest.mark.parametrize("rate_hz", [5.0, 300.0, 2_500.0, 17_000.0, 50_000.0])
def test_events_have_the_poisson_distribution(rate_hz):
    mean = rate_hz / 1000
    counts = drawn(mean, 10_000, 20)
    common = [k for k in range(150) if counts.size * stats.poisson.pmf(k, mean) > 10]
    low, high = common[0], common[-1]
    observed = np.bincount(np.clip(counts.ravel(), low, high), minlength=high + 1)[low:]
    expected = stats.poisson.pmf(np.arange(low, high + 1), mean)
    expected[0], expected[-1] = stats.poisson.cdf(low, mean), stats.poisson.sf(high - 1, mean)
    assert stats.chisquare(observed, expected * counts.size).pvalue > 1e-3


def test_events_of_neighbours_and_of_neighbouring_steps_are_independent():
    counts = drawn(2.5, 8_000, 40).astype(float)
    limit = 5 / np.sqrt(counts.size)
    for ours, theirs in [(counts[:, :-shift], counts[:, shift:]) for shift in (1, 2, 3, 4)] + [(counts[:-1], counts[1:])]:
        assert abs(np.corrcoef(ours.ravel(), theirs.ravel())[0, 1]) < limit


@pytest.mark.parametrize("first", [0, 1, 2, 3, 50, 1001])
def test_events_of_a_neuron_do_not_depend_on_the_range_of_neurons(first):
    whole = drawn(2.5, 1_100, 5)
    np.testing.assert_array_equal(drawn(2.5, 90, 5, first=first), whole[:, first : first + 90])


def test_another_seed_gives_other_events():
    assert (drawn(2.5, 1_000, 5) != drawn(2.5, 1_000, 5, seed=2)).mean() > 0.5


@pytest.mark.parametrize("mean", [1e-7, 0.005, 1.0, 50.0, 100.0])
def test_limits_are_the_distribution_function_until_it_rounds_to_one(mean):
    limits = poisson_limits(mean)
    np.testing.assert_allclose(limits.astype(float), stats.poisson.cdf(np.arange(len(limits)), mean) * 2**32, rtol=0, atol=1)
    assert stats.poisson.sf(len(limits), mean) * 2**32 < 2
    assert (np.diff(limits.astype(float)) >= 0).all()


def test_no_rate_gives_no_events():
    assert not drawn(0.0, 1_000, 5).any()


def test_events_without_effect_cause_one_warning(make_run, tmp_path, caplog):
    path = tmp_path / "events.csv"
    path.write_text("step,neuron,mv\n0,1,20\n2999,1,20\n3000,2,20\n99999,2,1e-6\n5,2,0\n")
    run = make_run({**QUICK, "drive.events": str(path)})
    simulate(run)
    told = [record.message for record in caplog.records if record.levelname == "WARNING"]
    assert told == [
        f"{path}: 2 of 5 events are after the end of the run (step 3,000) and have no effect",
        f"{path}: 1 of 5 amounts round to 0 mV (the resolution is 2^-16 mV); are they in mV?",
    ]


def test_a_silent_network_causes_a_warning_in_each_segment(make_run, caplog):
    run = make_run({**QUICK, "drive.kick_mv": 0.0})
    simulate(run)
    told = [record.message for record in caplog.records if record.levelname == "WARNING"]
    assert [text.split(":")[0] for text in told] == [f"simulation, segment {n} of 3" for n in (1, 2, 3)]
    assert all("no spikes; is the drive too weak" in text for text in told)

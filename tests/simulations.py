"""Small simulations that the tests run, what these leave, and what the plain reference says of them."""

from __future__ import annotations

import itertools
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import reference

from spikelens.config import RunConfig
from spikelens.features.run import compute
from spikelens.layouts import block_group, layout, n_synapses
from spikelens.network.build import build_blocks
from spikelens.simulation.run import simulate_segment
from spikelens.stores import read_array, read_shard

MPIEXEC = Path(sys.executable).with_name("mpiexec")


def wiring(run):
    """All synapses of a run: source, target, delay, weight, plastic."""
    blocks = [block_group(run, "network", block) for block in range(run.n_blocks)]
    names = ("source", "target", "delay", "weight", "plastic")
    return [np.concatenate([read_shard(g, name, (0,))[: n_synapses(run, b)] for b, g in enumerate(blocks)]) for name in names]


def final_weights(run):
    last = run.n_segments - 1
    groups = [block_group(run, "weights", block) for block in range(run.n_blocks)]
    return np.concatenate([read_shard(g, "weight", (last, 0))[0][: n_synapses(run, b)] for b, g in enumerate(groups)])


def raster(run):
    return read_array(layout(run, "spikes"), "spikes")


def cells(run):
    populations = run.network.populations.values()
    counts = [p.count for p in populations]
    return [np.repeat([getattr(p, name) for p in populations], counts) for name in ("a", "b", "c", "d", "v0_mv", "u0_mv")]


def kicked_by_plain_philox(seed, n_neurons):
    """The drive, from ten rounds of Philox4x32 written out in plain Python instead of ours."""

    def kicked(t):
        neurons = [1000 * g + (reference.philox4x32((t, g, 0, 2), seed)[0] * 1000 >> 32) for g in range(-(-n_neurons // 1000))]
        return [n for n in neurons if n < n_neurons]

    return kicked


def simulate(run, ranks=None):
    """Build the network and simulate all segments: in this process, or on ranks that mpiexec starts."""
    if ranks is None:
        build_blocks(run, range(run.n_blocks))
        for segment in range(run.n_segments):
            simulate_segment(run, segment)
        return
    build_blocks(run, range(run.n_blocks))
    command = [str(MPIEXEC), "-n", str(ranks), sys.executable, "-m", "spikelens", "simulate", run.path, "--ranks", str(ranks)]
    subprocess.run(command, check=True, capture_output=True, text=True, timeout=120)


def compute_features(run: RunConfig, segments: Iterable[int] | None = None, blocks: Iterable[int] | None = None) -> None:
    """Compute every feature of the given segments and blocks; None: all."""
    segments, blocks = (range(n) if given is None else given for given, n in ((segments, run.n_segments), (blocks, run.n_blocks)))
    for name, segment in itertools.product(run.computed_features, list(segments)):
        compute(run, name, segment, blocks)


def compare_with_reference(run, events=(), **more):
    """The reference's raster, after making sure that the run has the same, and the same weights; `more` goes to the reference."""
    expected_raster, expected_weights = reference.simulate(
        wiring(run),
        cells(run),
        run.n_steps,
        kicked_by_plain_philox(run.drive.seed, run.network.neurons),
        round(run.drive.kick_mv * 65536),
        events,
        run.simulation.plasticity,
        **more,
    )
    assert expected_raster.sum() > 100
    np.testing.assert_array_equal(raster(run), expected_raster)
    np.testing.assert_array_equal(final_weights(run), expected_weights)
    return expected_raster


# A drive stronger than the reference network's, so that a small network spikes enough for STDP to meet every case.
BUSY = {
    "simulation.duration_s": 3,
    "simulation.segment_s": 1,
    "drive.kick_mv": 60.0,
    "training.start_s": 0,
    "network.connections.E->E.weight_mv": 9.0,
}
QUICK = {**BUSY, "models.tft_population.history": 2, "models.tft_neuron.history": 2, "models.autoencoder.sequences": 50}

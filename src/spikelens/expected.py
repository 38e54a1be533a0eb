"""Expected number of synapses of a network, before it is built."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from spikelens.config import RunConfig, expected_in_degree
from spikelens.tables import n_rows


class Synapses(NamedTuple):
    """Expected numbers of synapses."""

    all: float
    plastic: float
    of_block: NDArray[np.float64]
    """Synapses onto each block, (n_blocks,)."""


def expected(run: RunConfig) -> Synapses:
    """Compute the expected numbers from the connection rules or from the number of rows of the edge table, all assumed plastic."""
    if not run.has_network:
        return Synapses(0.0, 0.0, np.zeros(run.n_blocks))
    network = run.network
    by_population, plastic = dict.fromkeys(network.populations, 0.0), 0.0
    for key, connection in network.connections.items():
        target, in_degree = key.split("->")[1], expected_in_degree(network, key)
        by_population[target] += in_degree
        plastic += connection.plastic * in_degree * network.populations[target].count
    if network.edges is not None:
        plastic = n_rows(network.edges)
        by_population = dict.fromkeys(network.populations, plastic / network.neurons)
    ends = np.array([0, *(end for _, end in run.populations.values())])
    before = np.cumsum([0.0, *(degree * network.populations[name].count for name, degree in by_population.items())])
    bounds = np.minimum(np.arange(run.n_blocks + 1) * network.block_size, network.neurons)
    of_block = np.diff(np.interp(bounds, ends, before))
    return Synapses(float(before[-1]), plastic if run.simulation.plasticity else 0.0, of_block)

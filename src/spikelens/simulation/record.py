"""Record variables of neurons and synapses: each rank samples its own, rank 0 writes all.

v and u are recorded after each step, including the reset. The recorded weight is the one used for arrivals in
a step. Weights change only at whole seconds, so they are read once per second.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from spikelens.compiled import compiled
from spikelens.config import STEPS_PER_SECOND, RunConfig
from spikelens.layouts import layout, recorded_synapses, recorded_synapses_layout
from spikelens.simulation.kernel import Neurons, Projection, address_of
from spikelens.simulation.layout import RecordedSynapses
from spikelens.simulation.synapses import PLASTIC_FIELDS, STATIC_FIELDS, Synapses
from spikelens.stores import ensure, write_shard

if TYPE_CHECKING:
    from mpi4py.MPI import Comm


class Samples(NamedTuple):
    """v and u of a rank's recorded neurons during a segment."""

    every: int
    """Steps between samples; a divisor of a second, and so of the segment's first step."""
    neurons: NDArray[np.int64]
    """(n_own,) local indices."""
    v: NDArray[np.float32]
    u: NDArray[np.float32]
    """(n_samples, n_own) [mV]."""


@compiled
def sample(now: int, neurons: Neurons, samples: Samples) -> None:
    """Store v and u after step `now` (from the segment's start), if this step is recorded."""
    if len(samples.neurons) == 0 or now % samples.every != 0:
        return
    row = now // samples.every
    for k in range(len(samples.neurons)):
        samples.v[row, k] = neurons.v[samples.neurons[k]]
        samples.u[row, k] = neurons.u[samples.neurons[k]]


class Recorder:
    """Samples the variables in `simulation.record` of a rank's neurons and synapses during a segment.

    Parameters
    ----------
    neurons, synapses
        Those of the rank; the recorder reads them while the simulation changes them.
    comm : mpi4py communicator, optional
        None for a single rank.

    Raises
    ------
    SimulationError
        If a pair of neurons has no synapse.
    """

    def __init__(self, run: RunConfig, segment: int, neurons: Neurons, synapses: Synapses, comm: Comm | None) -> None:
        self.run, self.segment, self.comm = run, segment, comm
        self.neurons, self.synapses = neurons, synapses
        start, end = run.segment_range(segment)
        record = run.simulation.record
        self.of_neurons, own = _own(neurons.ids, np.array(record.neurons, np.int64))
        shape = (end - start) // record.every_ms, len(own)
        self.samples = Samples(record.every_ms, own, np.empty(shape, np.float32), np.empty(shape, np.float32))
        self.chosen = recorded_synapses(run) if record.synapses else None
        static, self.static_at = _find(synapses.static, STATIC_FIELDS, neurons.ids, self.chosen)
        plastic, self.plastic_at = _find(synapses.plastic, PLASTIC_FIELDS, neurons.ids, self.chosen)
        self.of_synapses = np.concatenate([static, plastic])
        self.weights = np.empty(((end - start) // STEPS_PER_SECOND, len(self.of_synapses)), np.int32)

    def on_second_start(self, now: int) -> None:
        """Store the weights of the second that begins with step `now` (from the segment's start)."""
        static, plastic = self.synapses.static.synapses[self.static_at], self.synapses.plastic.synapses[self.plastic_at]
        self.weights[now // STEPS_PER_SECOND] = np.concatenate([static, plastic])

    def on_step_end(self, now: int) -> None:
        """Store v and u after step `now` (from the segment's start)."""
        if len(self.samples.neurons):
            sample(now, self.neurons, self.samples)

    def write(self) -> None:
        """Gather the samples of all ranks on rank 0, which writes them. All ranks must call this method."""
        run, record = self.run, self.run.simulation.record
        if not run.records:
            return
        weights = np.repeat(self.weights, STEPS_PER_SECOND // record.every_ms, axis=0)
        own = {"v": (self.of_neurons, self.samples.v), "u": (self.of_neurons, self.samples.u), "weight": (self.of_synapses, weights)}
        everyone = [own] if self.comm is None else self.comm.gather(own)
        if everyone is None:
            return
        if record.neurons:
            for name in ("v", "u"):
                write_shard(layout(run, "records"), name, (self.segment, 0), _joined([part[name] for part in everyone]))
        if self.chosen is not None:
            group = recorded_synapses_layout(run, self.chosen)
            ensure(group)
            write_shard(group, "weight", (self.segment, 0), _joined([part["weight"] for part in everyone]))


def _own(ids: NDArray[np.int32], wanted: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the positions in `wanted` of the rank's neurons (`ids`, increasing), and their local indices."""
    local = np.minimum(np.searchsorted(ids, wanted), len(ids) - 1)
    columns = np.flatnonzero(ids[local] == wanted)
    return columns, local[columns]


def _find(
    projection: Projection, fields: int, ids: NDArray[np.int32], chosen: RecordedSynapses | None
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return which chosen synapses are in a projection onto `ids`, and the indices of their weights."""
    found: list[tuple[int, int]] = []
    if chosen is not None:
        for column, target in zip(*_own(ids, chosen.target), strict=True):
            source = chosen.source[column]
            first, end = projection.first[source] * fields, projection.first[source + 1] * fields
            at = np.flatnonzero(projection.synapses[first:end:fields] == address_of(chosen.delay[column], target))
            found += [(int(column), int(first + k * fields + 1)) for k in at]
    columns, places = np.array(found, np.int64).reshape(-1, 2).T
    return columns, places


def _joined(parts: Sequence[tuple[NDArray[np.int64], NDArray[Any]]]) -> NDArray[Any]:
    """Join the columns of all ranks into one array (n_samples, n)."""
    values = parts[0][1]
    joined = np.empty((len(values), sum(len(columns) for columns, _ in parts)), values.dtype)
    for columns, own in parts:
        joined[:, columns] = own
    return joined

"""The layouts of all Zarr stores, and the only code that reads or writes them.

Every array is divided into shards: each shard is one file, written whole by exactly one job, and declared to Snakemake as that
job's output. A store is kept below its stage's key (`places`). Metadata (`zarr.json`) and coordinates are a pure function of the
configuration (for synapses, also of a block's number of synapses); no job owns them, and `prepare` and every opening for writing make
sure of them. Two things zarr would do silently are refused here: a missing or empty shard reads as zeros, and a write may leave a
chunk of zeros out.

Stores of a run, by the stage that owns them:

    network.zarr      in_degree, in_weight (neuron), delay_histogram; blocks/<block>: source, target, delay, weight, plastic (synapse)
    spikes.zarr       spikes (time, neuron)
    weights.zarr      <block>: weight (boundary, synapse), weight_average (segment, synapse)
    state.zarr        v, u, last_spike, recent_spikes (boundary, neuron), stamp; blocks/<block>: weight_change (boundary, synapse)
    records.zarr      v, u (time, neuron); synapses: weight (time, synapse); only where simulation.record chooses some

Each feature, each model and each method of the explanation keeps what it computes in an output.zarr of its own (`Feature.output`,
`Model.output`, `Method.output`).

Boundary k is the end of segment k. Every matrix over pairs of neurons is [source, target]. Synapses of a block are those onto
its neurons, ordered by target, source, delay.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import re
import tempfile
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from spikelens.config import MAX_DELAY_MS, RunConfig, Stage, load_run, valid_stages
from spikelens.config.extensions import record_path
from spikelens.config.items import Item, extensions
from spikelens.errors import SimulationError, SpikelensError, StoreError, disk_remedy, is_out_of_memory
from spikelens.files import in_its_place
from spikelens.fingerprint import fingerprint
from spikelens.places import CONFIGURATIONS, configuration_key, link_current, model_folder, name_old_results, place_of, root

if TYPE_CHECKING:
    import xarray as xr
    import zarr
    from zarr.storage import MemoryStore

StoreName = Literal["network", "spikes", "weights", "state", "records"]
OWNER: dict[StoreName, Stage] = {
    "network": "network",
    "spikes": "simulation",
    "weights": "simulation",
    "state": "simulation",
    "records": "simulation",
}
BLOCK_STORES: tuple[StoreName, ...] = ("network", "weights", "state")
"""Stores that keep a group for each block."""
UNITS_PER_MV = 65_536
"""Weights, weight changes and input currents are int32 in units of 2^-16 mV."""
NO_SPIKE = -1_000_000_000
"""Stands for the time of a spike that never was: far before the start, and no overflow when subtracted."""
STDP_LAGS = 256
"""Length of the stored STDP tables; they are zero from 194 on."""

OUTPUT = "output.zarr"
"""The store of a model with one seed, or of a method."""
_UNFINISHED = ".partial"
"""Ends the names of files that are being written: whole under such a name, they are renamed."""
_COORDINATE_CHUNK = 2**20
_OURS = re.compile(r"((blocks|\d+|synapses)/)?(\d+/)?([a-z_]+/)?(zarr\.json|c(/\d+)+)")
"""Files within a store that have a name of ours; others, like .DS_Store, are nobody's business."""


@dataclass(frozen=True)
class Array:
    """One sharded array: what zarr needs to know, and along which dimensions shards are divided by segment and block."""

    dims: tuple[str, ...]
    shape: tuple[int, ...]
    shards: tuple[int, ...]
    dtype: str
    attrs: Mapping[str, Any]
    chunks: tuple[int, ...] | None = None
    by: tuple[Literal["segment", "block", ""], ...] = ()
    fill_value: float = 0
    stored: float = 0.85
    """What the codec is expected to leave of it; by default that of dense float32."""

    @property
    def chunk_shape(self) -> tuple[int, ...]:
        """Cells of a chunk along each dimension: what is compressed, and read, as one."""
        return tuple(min(chunk, shard) for chunk, shard in zip(self.chunks or self.shards, self.shards, strict=True))

    @property
    def grid(self) -> tuple[int, ...]:
        """Number of shards along each dimension."""
        return tuple(-(-length // shard) for length, shard in zip(self.shape, self.shards, strict=True))

    def region(self, index: Sequence[int]) -> tuple[slice, ...]:
        """The cells of shard `index`; the last of a dimension may be short."""
        return tuple(
            slice(i * shard, min((i + 1) * shard, length)) for i, shard, length in zip(index, self.shards, self.shape, strict=True)
        )

    def indices(self, segments: Iterable[int] | None = None, blocks: Iterable[int] | None = None) -> Iterator[tuple[int, ...]]:
        """Indices of the shards of the given segments and blocks (None: all)."""
        chosen = {"segment": segments, "block": blocks}
        ranges = []
        for kind, n in zip(self.by or ("",) * len(self.shape), self.grid, strict=True):
            wanted = chosen.get(kind)
            ranges.append(range(n) if wanted is None else [i for i in wanted if i < n])
        return itertools.product(*ranges)


@dataclass(frozen=True)
class Coordinate:
    """Values known from the configuration alone, or a function that makes them: who only wants a layout need not wait for them."""

    dims: tuple[str, ...]
    made: NDArray[Any] | Callable[[], NDArray[Any]]
    attrs: Mapping[str, Any] = field(default_factory=dict)

    @cached_property
    def values(self) -> NDArray[Any]:
        return self.made if isinstance(self.made, np.ndarray) else self.made()


@dataclass(frozen=True)
class Group:
    """A Zarr group: arrays, coordinates and attributes, at a place on disk."""

    path: Path
    attrs: Mapping[str, Any]
    arrays: Mapping[str, Array]
    coordinates: Mapping[str, Coordinate] = field(default_factory=dict)
    subgroups: tuple[str, ...] = ()

    @property
    def n_metadata_files(self) -> int:
        """Files that follow from the configuration: each zarr.json, and the coordinates' chunks."""
        chunks = sum(-(-len(coordinate.values) // _COORDINATE_CHUNK) for coordinate in self.coordinates.values())
        return 1 + len(self.subgroups) + len(self.arrays) + len(self.coordinates) + chunks

    def shard_path(self, array: str, index: Sequence[int | str]) -> Path:
        """The file of a shard; of all shards, where words stand for indices."""
        return self.path / array / "c" / "/".join(map(str, index))

    def shard_paths(
        self, arrays: Iterable[str] | None = None, segments: Iterable[int] | None = None, blocks: Iterable[int] | None = None
    ) -> list[Path]:
        """Files that hold the given segments and blocks of the given arrays (None: all)."""
        segments, blocks = (None if items is None else list(items) for items in (segments, blocks))
        return [
            self.shard_path(name, index)
            for name in (self.arrays if arrays is None else arrays)
            for index in self.arrays[name].indices(segments, blocks)
        ]


# --- layouts ------------------------------------------------------------------------------------------------------------


def stores_of(run: RunConfig) -> list[StoreName]:
    """The stores, besides those of items, of the stages that can be run with this configuration; records only if anything is recorded."""
    stages = valid_stages(run)
    return [store for store in OWNER if owner_of(run, store) in stages and (store != "records" or run.records)]


def block_stores(run: RunConfig) -> tuple[StoreName, ...]:
    """The stores of a run that keep a group for each block."""
    return BLOCK_STORES if run.has_network else ()


def owner_of(run: RunConfig, store: StoreName) -> Stage:
    """The stage that makes a store."""
    return run.spikes_stage if store == "spikes" else OWNER[store]


def store_path(run: RunConfig, store: StoreName) -> Path:
    return place_of(run, owner_of(run, store)) / f"{store}.zarr"


def block_folder(store: StoreName, block: int) -> str:
    """Group of a block's synapses within a store."""
    return str(block) if store == "weights" else f"blocks/{block}"


def layout(run: RunConfig, store: StoreName) -> Group:
    """The root group of a store: everything but what is kept by block."""
    arrays, coordinates = {
        "network": _network_layout,
        "spikes": _spikes_layout,
        "weights": _weights_layout,
        "state": _state_layout,
        "records": _records_layout,
    }[store](run)
    owner = owner_of(run, store)
    attrs = {
        "title": f"spikelens {run.run.name}: {store}",
        "stage": owner,
        "fingerprint": fingerprint(run, owner),
        "coordinates": _beside_dimensions(coordinates),
    }
    subgroups = ("blocks",) if store in BLOCK_STORES and store != "weights" else ()
    return Group(store_path(run, store), attrs, arrays, coordinates, subgroups)


def _beside_dimensions(coordinates: Mapping[str, Coordinate]) -> str:
    """Names of the coordinates that are not those of a dimension itself, as xarray wants them told."""
    return " ".join(name for name, coordinate in coordinates.items() if name not in coordinate.dims)


def block_layout(run: RunConfig, store: StoreName, block: int, n_synapses: int) -> Group:
    """The group that holds a block's synapses."""
    arrays, coordinates = {
        "network": _network_block_layout,
        "weights": _weights_block_layout,
        "state": _state_block_layout,
    }[store](run, block, max(n_synapses, 1))
    attrs = {"block": block, "n_synapses": n_synapses, "fingerprint": fingerprint(run, OWNER[store])}
    return Group(store_path(run, store) / block_folder(store, block), attrs, arrays, coordinates)


Layout = tuple[dict[str, Array], dict[str, Coordinate]]
"""Arrays and coordinates of a group."""


def neuron_coordinates(run: RunConfig, ids: NDArray[np.int64] | None = None) -> dict[str, Coordinate]:
    """Ids and populations of the given neurons (None: of all)."""

    def neurons() -> NDArray[np.int64]:
        return np.arange(run.n_neurons, dtype=np.int64) if ids is None else ids

    def populations() -> NDArray[Any]:
        names = np.array(list(run.populations), dtype=np.dtypes.StringDType())
        firsts = [first for first, _ in run.populations.values()]
        return names[np.searchsorted(firsts, neurons(), side="right") - 1]

    return {
        "neuron": Coordinate(("neuron",), neurons, {"long_name": "neuron id"}),
        "population": Coordinate(("neuron",), populations, {"long_name": "population"}),
    }


def time_coordinate(n: int, step_ms: int = 1, first_ms: int = 0, dim: str = "time", long_name: str = "time") -> dict[str, Coordinate]:
    # the key is not "units": xarray would turn "ms" into timedelta64 only where asked to, but tools differ
    return {dim: Coordinate((dim,), lambda: first_ms + step_ms * np.arange(n, dtype=np.int64), {"long_name": long_name, "units": "ms"})}


def _boundary_coordinate(run: RunConfig) -> dict[str, Coordinate]:
    ends = np.array([run.segment_range(segment)[1] for segment in range(run.n_segments)], dtype=np.int64)
    return {"boundary": Coordinate(("boundary",), ends, {"long_name": "time of a segment's end", "units": "ms"})}


def segment_coordinate(run: RunConfig) -> dict[str, Coordinate]:
    starts = np.arange(run.n_segments, dtype=np.int64) * run.segment_steps
    return {"segment": Coordinate(("segment",), starts, {"long_name": "time of a segment's start", "units": "ms"})}


def _mv(long_name: str) -> dict[str, Any]:
    """Attributes of an integer array in units of 2^-16 mV; xarray shows mV."""
    return {"long_name": long_name, "units": "mV", "scale_factor": 1 / UNITS_PER_MV}


def _network_layout(run: RunConfig) -> Layout:
    n, size = run.network.neurons, run.network.block_size
    arrays = {
        "in_degree": Array(("neuron",), (n,), (size,), "int32", {"long_name": "in-degree", "units": "1"}, by=("block",)),
        "in_weight": Array(("neuron",), (n,), (size,), "int64", _mv("sum of the weights onto a neuron at the start"), by=("block",)),
        "delay_histogram": Array(
            ("block", "delay"),
            (run.n_blocks, MAX_DELAY_MS + 1),
            (1, MAX_DELAY_MS + 1),
            "int64",
            {"long_name": "synapses of a block by delay", "units": "1"},
            by=("block", ""),
        ),
    }
    ltd, ltp = stdp_tables()
    lag = {"units": "mV", "scale_factor": 1 / UNITS_PER_MV}
    coordinates = {
        **neuron_coordinates(run),
        "delay": Coordinate(("delay",), np.arange(MAX_DELAY_MS + 1, dtype=np.int64), {"long_name": "delay", "units": "ms"}),
        "ltd": Coordinate(("lag",), ltd, {"long_name": "depression at an arrival lag+1 ms after a spike", **lag}),
        "ltp": Coordinate(("lag",), ltp, {"long_name": "potentiation at a spike lag ms after an arrival", **lag}),
    }
    return arrays, coordinates


def stdp_tables() -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """The weight changes of STDP by lag, in units of 2^-16 mV: (LTD, LTP), each (STDP_LAGS,).

    round(A exp(-k/20) 65536) with A = 0.12 and 0.10 mV, the nearest-neighbour rule of Izhikevich (2006), computed in float64.
    """
    lag = np.arange(STDP_LAGS, dtype=np.float64)
    ltd, ltp = (np.rint(amplitude * np.exp(-lag / 20.0) * UNITS_PER_MV).astype(np.int32) for amplitude in (0.12, 0.10))
    if ltd[194:].any() or ltp[194:].any():
        raise AssertionError("STDP tables must vanish from lag 194 on: no history is cut")
    return ltd, ltp


def _network_block_layout(run: RunConfig, block: int, n: int) -> Layout:
    def array(dtype: str, attrs: Mapping[str, Any]) -> Array:
        return Array(("synapse",), (n,), (n,), dtype, attrs)

    return {
        "source": array("int32", {"long_name": "id of the source neuron"}),
        "target": array("int32", {"long_name": "id of the target neuron"}),
        "delay": array("uint8", {"long_name": "delay", "units": "ms"}),
        "weight": array("int32", _mv("weight at the start")),
        "plastic": array("bool", {"long_name": "changed by STDP"}),
    }, {}


def _spikes_layout(run: RunConfig) -> Layout:
    spikes = Array(
        ("time", "neuron"),
        (run.n_steps, run.n_neurons),
        (run.segment_steps, run.block_size),
        "bool" if run.has_network else "uint8",
        {"long_name": "spike" if run.has_network else "spikes in a millisecond", "units": "1"},
        chunks=(run.chunk_ms, run.chunk_neurons),
        by=("segment", "block"),
    )
    return {"spikes": spikes}, {**time_coordinate(run.n_steps), **neuron_coordinates(run)}


def _weights_layout(run: RunConfig) -> Layout:
    return {}, {**_boundary_coordinate(run), **segment_coordinate(run)}


def _weights_block_layout(run: RunConfig, block: int, n: int) -> Layout:
    arrays = {
        "weight": Array(("boundary", "synapse"), (run.n_segments, n), (1, n), "int32", _mv("weight at a segment's end"), by=("segment", ""))
    }
    if run.weight_average:
        attrs = {"long_name": "weight, mean over a segment", "units": "mV"}
        arrays["weight_average"] = Array(("segment", "synapse"), (run.n_segments, n), (1, n), "float32", attrs, by=("segment", ""))
    return arrays, {**_boundary_coordinate(run), **segment_coordinate(run)}


def _state_layout(run: RunConfig) -> Layout:
    n, size, boundaries = run.network.neurons, run.network.block_size, run.n_segments
    lags = max_delay(run)

    def per_neuron(dtype: str, attrs: Mapping[str, Any]) -> Array:
        return Array(("boundary", "neuron"), (boundaries, n), (1, size), dtype, attrs, by=("segment", "block"))

    arrays = {
        "v": per_neuron("float32", {"long_name": "membrane potential", "units": "mV"}),
        "u": per_neuron("float32", {"long_name": "recovery variable", "units": "mV"}),
        "last_spike": per_neuron("int64", {"long_name": "last spike before those in recent_spikes", "units": "ms"}),
        "recent_spikes": Array(
            ("boundary", "lag", "neuron"),
            (boundaries, lags, n),
            (1, lags, size),
            "bool",
            {"long_name": "spike `lag` ms before the boundary", "units": "1"},
            by=("segment", "", "block"),
        ),
        "stamp": Array(
            ("boundary", "block", "field"),
            (boundaries, run.n_blocks, 2),
            (1, 1, 2),
            "int64",
            {"long_name": "step of the boundary, fingerprint of the simulation"},
            by=("segment", "block", ""),
        ),
    }
    lag = Coordinate(("lag",), np.arange(1, lags + 1, dtype=np.int64), {"long_name": "time before the boundary", "units": "ms"})
    return arrays, {**_boundary_coordinate(run), **neuron_coordinates(run), "lag": lag}


def max_delay(run: RunConfig) -> int:
    """Longest delay that the network may have [ms]; the state keeps spikes this far back."""
    if run.network.edges is not None:
        return MAX_DELAY_MS
    return max((connection.delay_range[1] for connection in run.network.connections.values()), default=1)


def _state_block_layout(run: RunConfig, block: int, n: int) -> Layout:
    attrs = _mv("weight change gathered by STDP and not yet spent")
    change = Array(("boundary", "synapse"), (run.n_segments, n), (1, n), "int32", attrs, by=("segment", ""))
    return {"weight_change": change}, _boundary_coordinate(run)


def _recorded(run: RunConfig, dim: str, n: int, dtype: str, attrs: Mapping[str, Any]) -> Array:
    """An array of n neurons or synapses at the recorded steps."""
    every = run.simulation.record.every_ms
    shape, shards, chunks = ((steps // every, n) for steps in (run.n_steps, run.segment_steps, run.simulation.chunk_ms))
    return Array(("time", dim), shape, shards, dtype, attrs, chunks=chunks, by=("segment", ""))


def _records_layout(run: RunConfig) -> Layout:
    record = run.simulation.record
    coordinates = time_coordinate(run.n_steps // record.every_ms, record.every_ms)
    if not record.neurons:
        return {}, coordinates
    names = {"v": "membrane potential after a step", "u": "recovery variable after a step"}
    arrays = {
        name: _recorded(run, "neuron", len(record.neurons), "float32", {"long_name": long_name, "units": "mV"})
        for name, long_name in names.items()
    }
    return arrays, coordinates | neuron_coordinates(run, np.array(record.neurons, np.int64))


@dataclass(frozen=True)
class RecordedSynapses:
    """The synapses that simulation.record chooses: pair by pair as given, those of one pair by delay; each array is (n,)."""

    source: NDArray[np.int64]
    target: NDArray[np.int64]
    delay: NDArray[np.int64]
    """[ms]"""


ANY_SYNAPSE = RecordedSynapses(*np.zeros((3, 1), np.int64))
"""For a layout that is only asked for the names of its files."""


def recorded_synapses(run: RunConfig) -> RecordedSynapses:
    """Find the recorded synapses in the network as built.

    Raises
    ------
    StoreError
        If a shard of the network is missing or damaged.
    SimulationError
        Naming a pair without a synapse.
    """
    network, size = layout(run, "network"), run.network.block_size
    found: dict[tuple[int, int], NDArray[np.uint8]] = {}
    pairs = run.simulation.record.synapses
    for block in sorted({target // size for _, target in pairs}):
        own = [pair for pair in pairs if pair[1] // size == block]
        before = np.concatenate([[0], np.cumsum(read_shard(network, "in_degree", (block,)))])
        group = block_layout(run, "network", block, int(before[-1]))
        source, delay = (read_shard(group, name, (0,)) for name in ("source", "delay"))
        for pair in own:
            onto = slice(*before[pair[1] - block * size :][:2])
            found[pair] = delay[onto][source[onto] == pair[0]]
            if not len(found[pair]):
                raise SimulationError(
                    f"simulation.record.synapses: there is no synapse from neuron {pair[0]} onto neuron {pair[1]} in this network; "
                    f"`spikelens.open({run.path!r}).synapses` lists those that there are"
                )
    ids = np.repeat(np.array(pairs, np.int64), [len(found[pair]) for pair in pairs], axis=0)
    return RecordedSynapses(ids[:, 0], ids[:, 1], np.concatenate([found[pair] for pair in pairs]).astype(np.int64))


def recorded_synapses_layout(run: RunConfig, synapses: RecordedSynapses) -> Group:
    """The group of the recorded weights; the names of its files do not depend on the synapses."""
    every = run.simulation.record.every_ms
    coordinates = {
        **time_coordinate(run.n_steps // every, every),
        "source": Coordinate(("synapse",), synapses.source, {"long_name": "id of the source neuron"}),
        "target": Coordinate(("synapse",), synapses.target, {"long_name": "id of the target neuron"}),
        "delay": Coordinate(("synapse",), synapses.delay, {"long_name": "delay", "units": "ms"}),
    }
    attrs = {"fingerprint": fingerprint(run, "simulation"), "coordinates": _beside_dimensions(coordinates)}
    weight = _recorded(run, "synapse", len(synapses.source), "int32", _mv("weight in force at the arrivals of a step"))
    return Group(store_path(run, "records") / "synapses", attrs, {"weight": weight}, coordinates)


def evenly_spaced(n: int, at_most: int) -> NDArray[np.int64]:
    """At most `at_most` of the numbers below n, evenly spaced."""
    count = min(n, at_most)
    return (np.arange(count, dtype=np.int64) * n) // max(count, 1)


def feature_output(run: RunConfig, name: str) -> Group:
    """The root group of a feature's store: what it keeps of the whole run."""
    arrays, coordinates = run.features[name].output(run)
    attrs = {
        "title": f"spikelens {run.run.name}: {name}",
        "feature": name,
        "fingerprint": fingerprint(run, "features", name),
        "coordinates": _beside_dimensions(coordinates),
    }
    subgroups = () if run.features[name].block_output(run, 0, 1) is None else ("blocks",)
    return Group(place_of(run, "features", name) / OUTPUT, attrs, arrays, coordinates, subgroups)


def feature_block(run: RunConfig, name: str, block: int, n_synapses: int | None = None) -> Group:
    """The group that a block has in a feature's store, empty for a feature that keeps none; n_synapses: None, as many as were built."""
    if n_synapses is None:
        n_synapses = n_synapses_of(run, name, block)
    found = run.features[name].block_output(run, block, max(n_synapses, 1))
    arrays, coordinates = ({}, {}) if found is None else found
    attrs = {"block": block, "n_synapses": n_synapses, "fingerprint": fingerprint(run, "features", name)}
    return Group(place_of(run, "features", name) / OUTPUT / "blocks" / str(block), attrs, arrays, coordinates)


def has_blocks(run: RunConfig, name: str) -> bool:
    """Whether a feature keeps a group for each block."""
    return bool(feature_output(run, name).subgroups)


def model_output(run: RunConfig, name: str, seed: int | str) -> Group:
    """The group of what a model makes of the test range; of all seeds, where a word stands for the seed."""
    arrays, coordinates = run.models[name].output(run)
    attrs = {
        "title": f"spikelens {run.run.name}: {name} on the test range",
        "model": name,
        "seed": seed,
        "fingerprint": fingerprint(run, "models", name),
        "coordinates": _beside_dimensions(coordinates),
    }
    return Group(model_folder(run, name, seed) / OUTPUT, attrs, arrays, coordinates)


def model_outputs(run: RunConfig) -> Iterator[Group]:
    """The groups of all models and seeds."""
    models: Mapping[str, Any] = laid_out(run, "models")
    return (model_output(run, name, seed) for name, model in models.items() for seed in model.seeds)


def method_output(run: RunConfig, name: str) -> Group:
    """The group of what a method of the explanation computed."""
    arrays, coordinates = run.methods[name].output(run)
    attrs = {
        "title": f"spikelens {run.run.name}: {name}",
        "method": name,
        "fingerprint": fingerprint(run, "explanation", name),
        "coordinates": _beside_dimensions(coordinates),
    }
    return Group(place_of(run, "explanation", name) / OUTPUT, attrs, arrays, coordinates)


def item_outputs(run: RunConfig) -> Iterator[Group]:
    """The root groups of all features, models and methods, if these can be run with this configuration."""
    features = (feature_output(run, name) for name in laid_out(run, "features"))
    return itertools.chain(features, model_outputs(run), (method_output(run, name) for name in laid_out(run, "explanation")))


def laid_out(run: RunConfig, stage: Stage) -> dict[str, Item]:
    """The items of a stage whose layouts are known: all, but those of extensions that were not executed."""
    if stage not in valid_stages(run):
        return {}
    return {name: item for name, item in run.items(stage).items() if not extensions.stands_in(type(item))}


def feature_blocks(run: RunConfig) -> Iterator[tuple[str, int]]:
    """Feature and block of each group that features keep for blocks."""
    return itertools.product((name for name in laid_out(run, "features") if has_blocks(run, name)), range(run.n_blocks))


# --- metadata -----------------------------------------------------------------------------------------------------------

_Files = dict[str, bytes]


def _metadata(group: Group) -> _Files:
    """The files of a group that follow from the configuration: every zarr.json, and the coordinates' chunks."""
    import zarr  # not above: `spikelens status` needs the layouts alone
    from zarr.storage import MemoryStore

    store = MemoryStore()
    root = zarr.create_group(store, zarr_format=3, attributes=dict(group.attrs))
    for name in group.subgroups:
        root.create_group(name)
    for name, array in group.arrays.items():
        _create_array(root, name, array)
    for name, coordinate in group.coordinates.items():
        text = coordinate.values.dtype.kind == "T"
        created = root.create_array(
            name,
            shape=coordinate.values.shape,
            chunks=tuple(min(length, _COORDINATE_CHUNK) for length in coordinate.values.shape),
            dtype=str if text else coordinate.values.dtype,
            compressors="auto" if text else _codecs(coordinate.values.dtype),
            dimension_names=coordinate.dims,
            attributes=dict(coordinate.attrs),
            config={"write_empty_chunks": True},
        )
        created[...] = coordinate.values
    return _files_of(store)


def _create_array(root: zarr.Group, name: str, array: Array) -> None:
    """Create an array without cells."""
    dtype = np.dtype(array.dtype)
    root.create_array(
        name,
        shape=array.shape,
        chunks=array.chunk_shape,
        shards=array.shards,
        dtype=dtype,
        compressors=_codecs(dtype),
        fill_value=array.fill_value,
        dimension_names=array.dims,
        attributes=dict(array.attrs),
    )


def _files_of(store: MemoryStore) -> _Files:
    return {key: bytes(value.to_bytes()) for key, value in store._store_dict.items()}


def _codecs(dtype: np.dtype[Any]) -> list[Any]:
    """Level 1 everywhere: 5 takes three to six times as long, and saves 2 % on weights; writing must not cost more than simulating."""
    from zarr.codecs import BloscCodec, Crc32cCodec, ZstdCodec

    if dtype == np.bool_:  # rasters are nearly all zeros: blosc, which shuffles and cuts them into blocks first, halves the speed
        return [ZstdCodec(level=1), Crc32cCodec()]
    return [BloscCodec(cname="zstd", clevel=1, shuffle="bitshuffle", typesize=dtype.itemsize), Crc32cCodec()]


def _compressor(dtype: np.dtype[Any]) -> Any:
    """What compresses the chunks that are described by `_codecs`."""
    import numcodecs

    return numcodecs.Zstd(level=1) if dtype == np.bool_ else numcodecs.Blosc("zstd", clevel=1, shuffle=numcodecs.Blosc.BITSHUFFLE)


def ensure(group: Group, *, only_missing: bool = False) -> None:
    """Make a group's metadata and coordinates on disk what the configuration says; `only_missing` restores lost files alone."""
    changed = False
    # group metadata come last: a group whose zarr.json is up to date is complete
    for key, content in sorted(_metadata(group).items(), key=lambda item: item[0] == "zarr.json"):
        path = group.path / key
        current = path.read_bytes() if path.is_file() else None
        if key == "zarr.json" and current is not None and not changed:
            current = _without_consolidated(current)
        unchanged = current == content and (key != "zarr.json" or _is_consolidated(path))
        if unchanged or (only_missing and current is not None):
            continue
        write_atomically(path, content)
        changed = True


def _without_consolidated(content: bytes) -> bytes:
    """A group's metadata as written at first; as they are if they hold no consolidated ones, or are damaged."""
    try:
        metadata = json.loads(content)
    except ValueError:
        return content
    if not isinstance(metadata, dict) or metadata.pop("consolidated_metadata", None) is None:
        return content
    import zarr
    from zarr.storage import MemoryStore

    store = MemoryStore()
    zarr.create_group(store, zarr_format=3, attributes=metadata.get("attributes", {}))
    return bytes(store._store_dict["zarr.json"].to_bytes())


def write_atomically(path: Path, content: bytes | bytearray | memoryview) -> None:
    """Write a file so that a reader sees the old one or the new one, whole, also after a crash or a loss of power.

    Raises
    ------
    StoreError
        If the file system does not take it: it is full, or not writable.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=_UNFINISHED)
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            os.chmod(name, 0o644)
            os.replace(name, path)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise
        _sync_folder(path.parent)
    except OSError as error:
        remedy = in_its_place(path) or disk_remedy(error)
        raise StoreError(f"{path} cannot be written: {error.strerror}; {remedy}, then run snakemake again") from error


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def prepare(run: RunConfig) -> None:
    """Make a run's folder ready: its configuration, the metadata of every store, and the links to what is current.

    No result is removed: another configuration has other folders (`places`). Only files that a killed job did not finish are.
    """
    remove_unfinished(run.folder)
    _write_config(run, run.folder / "config.json")
    _register(run)
    for store in stores_of(run):
        ensure(layout(run, store))
    for name in run.computed_features:
        ensure(feature_output(run, name))
    link_current(run)
    name_old_results(run)


def prepare_all(runs: Sequence[RunConfig]) -> None:
    """Make the folders of all runs of a configuration ready. Runs of several durations share stores, which get the longest's metadata."""
    remove_unfinished(root(runs[0]))
    for run in sorted(runs, key=lambda run: run.n_segments):
        prepare(run)


def remove_unfinished(folder: Path) -> None:
    """Remove the files that killed jobs did not finish."""
    for path in folder.rglob(f".*{_UNFINISHED}"):
        if not path.is_dir():
            path.unlink(missing_ok=True)


def _register(run: RunConfig) -> None:
    """Keep the configuration beside those of earlier calls: `spikelens clean` leaves what any of them uses."""
    path = root(run) / CONFIGURATIONS / f"{configuration_key(run)}.json"
    if not path.is_file():
        _write_config(run, path)


def _write_config(run: RunConfig, path: Path) -> None:
    """Write a configuration, and the record of what it computes if only its extensions know that."""
    from spikelens.jobs import record_of

    if run.extensions and run.record is None:
        write_atomically(record_path(path), json.dumps(record_of(run)).encode())
    write_atomically(path, run.model_dump_json(indent=2).encode())


def heal(run: RunConfig, *, only_missing: bool = True) -> None:
    """Restore what was lost of a run's metadata and of its config.json; with `only_missing=False`, also what was changed."""
    if not run.folder.is_dir():
        return
    try:
        load_run(run.folder)
    except SpikelensError:
        _write_config(run, run.folder / "config.json")
    stores = stores_of(run)
    for store in stores:
        if store_path(run, store).is_dir():
            ensure(layout(run, store), only_missing=only_missing)
    for group in item_outputs(run):
        if group.path.is_dir():
            ensure(group, only_missing=only_missing)
    for store, block in itertools.product((store for store in block_stores(run) if store in stores), range(run.n_blocks)):
        with contextlib.suppress(SpikelensError):  # of a network that has to be made again first
            if (store_path(run, store) / block_folder(store, block)).is_dir():
                ensure(block_layout(run, store, block, _told_synapses(run, block)), only_missing=only_missing)
    for name, block in feature_blocks(run):
        with contextlib.suppress(SpikelensError):
            group = feature_block(run, name, block, _told_synapses(run, block, name))
            if group.path.is_dir():
                ensure(group, only_missing=only_missing)
    with contextlib.suppress(SpikelensError):
        if "records" in stores and (store_path(run, "records") / "synapses").is_dir() and run.simulation.record.synapses:
            ensure(recorded_group(run), only_missing=only_missing)


def consolidate(run: RunConfig) -> None:
    """Write each store's consolidated metadata, once a run is complete: opening it then reads one file."""
    for store in stores_of(run):
        groups = [block_group(run, store, block) for block in range(run.n_blocks)] if store in block_stores(run) else []
        if store == "records" and run.simulation.record.synapses:
            groups.append(recorded_group(run))
        _consolidate(layout(run, store), groups)
    for name in run.computed_features:
        blocks = [feature_block(run, name, block) for block in range(run.n_blocks)] if has_blocks(run, name) else []
        _consolidate(feature_output(run, name), blocks)
    for output in itertools.chain(model_outputs(run), (method_output(run, name) for name in run.methods)):
        _consolidate(output, [])


def _consolidate(root: Group, groups: Iterable[Group]) -> None:
    """Write the metadata of a store's groups and arrays into that of its root.

    They are those of the layouts: a folder of someone else's in the store is not looked into.
    """
    import zarr
    from zarr.core.buffer import default_buffer_prototype
    from zarr.storage import MemoryStore

    files = _metadata(root) | {
        f"{group.path.relative_to(root.path)}/{key}": content for group in groups for key, content in _metadata(group).items()
    }
    held = MemoryStore({key: default_buffer_prototype().buffer.from_bytes(content) for key, content in files.items()})
    with warnings.catch_warnings():
        # zarr warns that other implementations may not know them: these read every zarr.json instead
        warnings.simplefilter("ignore", zarr.errors.ZarrUserWarning)
        zarr.consolidate_metadata(held, zarr_format=3)
    write_atomically(root.path / "zarr.json", _files_of(held)["zarr.json"])


# --- shards -------------------------------------------------------------------------------------------------------------


Cells = Callable[[tuple[slice, ...]], NDArray[Any]]
"""Makes the cells of one chunk; slices count from the shard's first cell."""


def write_shard(group: Group, array: str, index: Sequence[int], values: NDArray[Any] | Cells) -> Path:
    """Write one shard whole, chunks of zeros too, and wait until it is on disk.

    The group's metadata must stand (`ensure`). The file appears under its name only when it is on disk; one that is there already is
    not read.

    Parameters
    ----------
    values : array or function
        The shard's cells; or a function that is asked for one chunk after the other, in C order, where they would be too many at once.

    Raises
    ------
    StoreError
        If the disk is full, or not writable.
    """
    spec = group.arrays[array]
    region = spec.region(index)
    expected = tuple(part.stop - part.start for part in region)
    if isinstance(values, np.ndarray) and (values.shape != expected or values.dtype != np.dtype(spec.dtype)):
        raise AssertionError(f"{group.path}/{array} {tuple(index)}: expected {expected} {spec.dtype}, got {values.shape} {values.dtype}")
    if not (group.path / array / "zarr.json").is_file():
        ensure(group, only_missing=True)
    path = group.shard_path(array, index)
    write_atomically(path, _encoded_shard(spec, expected, values.__getitem__ if isinstance(values, np.ndarray) else values))
    return path


def _encoded_shard(spec: Array, shape: tuple[int, ...], cells: Cells) -> bytearray:
    """The bytes of a shard of the given shape, as Zarr v3's codec "sharding_indexed" (1.0) has them: chunks, index, checksum.

    zarr would do the same, with several copies of the shard on the way: of rasters, which compress fast, these take most of the time.
    A short last shard lacks the chunks beyond its end.
    """
    import google_crc32c

    chunk = spec.chunk_shape
    dtype = np.dtype(spec.dtype).newbyteorder("<")
    places = [range(0, length, size) for length, size in zip(shape, chunk, strict=True)]
    index = np.full((*(shard // size for shard, size in zip(spec.shards, chunk, strict=True)), 2), np.iinfo(np.uint64).max, "<u8")
    encoded = bytearray()
    compress = _compressor(dtype).encode
    for corner in itertools.product(*places):
        place = tuple(slice(start, min(start + size, length)) for start, size, length in zip(corner, chunk, shape, strict=True))
        part = cells(place)
        if part.shape != chunk:
            whole = np.full(chunk, spec.fill_value, dtype)
            whole[tuple(map(slice, part.shape))] = part
            part = whole
        compressed = compress(np.ascontiguousarray(part, dtype))
        index[tuple(start // size for start, size in zip(corner, chunk, strict=True))] = len(encoded), len(compressed) + 4
        encoded += compressed
        encoded += google_crc32c.value(bytes(compressed)).to_bytes(4, "little")
    table = index.tobytes()
    encoded += table + google_crc32c.value(table).to_bytes(4, "little")
    return encoded


def read_shard(group: Group, array: str, index: Sequence[int], rows: slice = slice(None)) -> NDArray[Any]:
    """Read one shard as stored (integers stay integers), or only some of its rows: chunks without them are not decoded.

    Raises
    ------
    StoreError
        If it is missing, empty or damaged.
    """
    path = group.shard_path(array, index)
    require([path])
    along, *others = group.arrays[array].region(index)
    first, last, _ = rows.indices(along.stop - along.start)
    region = (slice(along.start + first, along.start + last), *others)
    opened = _open_array(group, array)
    try:
        values = opened[region]
    except Exception as error:
        if is_out_of_memory(error):
            raise
        raise StoreError(f"{path} cannot be read ({error}); delete it, and the next call of snakemake makes it again") from error
    return np.asarray(values)


def _open_array(group: Group, array: str) -> zarr.Array[Any]:
    """Open an array to read it, as its layout says; its zarr.json on disk is not read."""
    import zarr
    from zarr.storage import MemoryStore

    from spikelens.laid_out import LaidOut

    store = MemoryStore()
    _create_array(zarr.create_group(store, zarr_format=3), array, group.arrays[array])
    return zarr.open_array(LaidOut(group.path, _files_of(store)), path=array, mode="r", zarr_format=3)


def read_array(group: Group, array: str, segments: Iterable[int] | None = None, blocks: Iterable[int] | None = None) -> NDArray[Any]:
    """Read the shards of consecutive segments and blocks (None: all) as one array, as stored."""
    spec = group.arrays[array]
    indices = list(spec.indices(None if segments is None else list(segments), None if blocks is None else list(blocks)))
    first, last = indices[0], indices[-1]
    starts, stops = [part.start for part in spec.region(first)], [part.stop for part in spec.region(last)]
    out = np.empty([stop - start for start, stop in zip(starts, stops, strict=True)], dtype=spec.dtype)
    for index in indices:
        place = tuple(slice(part.start - start, part.stop - start) for part, start in zip(spec.region(index), starts, strict=True))
        out[place] = read_shard(group, array, index)
    return out


def require(paths: Iterable[Path]) -> None:
    """Refuse missing and empty shards, which zarr would read as zeros."""
    bad = [path for path in paths if not is_there(path)]
    if bad:
        more = f" and {len(bad) - 1} more" if len(bad) > 1 else ""
        fault, remedy = ("is empty", "delete it and run") if bad[0].is_file() else ("is missing", "run")
        obstacle = in_its_place(bad[0])
        remedy = f"{obstacle}, then {remedy}" if obstacle else remedy
        raise StoreError(f"{bad[0]}{more}: shard {fault}; {remedy} snakemake, which makes it again")


def is_there(path: Path) -> bool:
    """Whether a shard is a file that is not empty."""
    return path.is_file() and path.stat().st_size > 0


def n_synapses_of(run: RunConfig, feature: str, block: int) -> int:
    """Number of synapses onto a block's neurons for a feature that reads the network, else 0."""
    reads_network = any(read.stage == "network" for read in run.features[feature].reads(run))
    return n_synapses(run, block) if reads_network else 0


def n_synapses(run: RunConfig, block: int) -> int:
    """Number of synapses onto a block's neurons, from the stored in-degrees."""
    return int(read_shard(layout(run, "network"), "in_degree", (block,)).sum())


def _told_synapses(run: RunConfig, block: int, feature: str | None = None) -> int:
    """As `n_synapses`, or `n_synapses_of`; where these are lost, what most of the stores' metadata tell of a block.

    Raises
    ------
    StoreError
        If nothing tells.
    """
    try:
        return n_synapses(run, block) if feature is None else n_synapses_of(run, feature, block)
    except StoreError:
        told: Counter[int] = Counter()
        for store in block_stores(run):
            with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
                content = json.loads((store_path(run, store) / block_folder(store, block) / "zarr.json").read_bytes())
                told[int(content["attributes"]["n_synapses"])] += 1
        if not told:
            raise
        return told.most_common(1)[0][0]


def block_group(run: RunConfig, store: StoreName, block: int) -> Group:
    """The group of a block in a store, sized by the network as built."""
    return block_layout(run, store, block, n_synapses(run, block))


def recorded_group(run: RunConfig) -> Group:
    """The group of the recorded weights, with the synapses of the network as built."""
    return recorded_synapses_layout(run, recorded_synapses(run))


def open_group(group: Group, segments: Iterable[int] | None = None, blocks: Iterable[int] | None = None) -> xr.Dataset:
    """Open a group lazily as xarray, after making sure that the shards of the given segments and blocks (None: all) are there."""
    import xarray as xr  # not above: its import takes longer than many a job that only reads and writes shards

    from spikelens.laid_out import LaidOut

    require(group.shard_paths(None, segments, blocks))
    opened: xr.Dataset = xr.open_zarr(LaidOut(group.path, _metadata(group)), consolidated=False, decode_timedelta=False)
    return opened.assign_coords({name: coordinate.load() for name, coordinate in opened.coords.items()})


@contextmanager
def naming_damage(*groups: Group) -> Iterator[None]:
    """Name the shard if what is read lazily (`open_group`) cannot be decoded: zarr's own errors do not say which file it was.

    Raises
    ------
    StoreError
        In place of any other exception, if a file of the groups is missing or damaged.
    """
    try:
        yield
    except SpikelensError:
        raise
    except Exception as error:
        for fault in itertools.chain.from_iterable(map(_faults, groups)):
            raise StoreError(fault) from error
        raise


# --- verification -------------------------------------------------------------------------------------------------------


def verify(run: RunConfig, checked: frozenset[Path] = frozenset(), seen: frozenset[Path] = frozenset()) -> list[str]:
    """Check a run's stores: metadata against the configuration, every shard present, not empty and decodable, nothing besides.

    Parameters
    ----------
    checked : frozenset of Path, optional
        Shards that were compared with their checksums, and are not decoded.
    seen : frozenset of Path, optional
        Stores that were verified for another run, and are left out.

    Returns
    -------
    list of str
        One line per fault, naming the file; empty if all is well.
    """
    stores = [store for store in stores_of(run) if store_path(run, store) not in seen]
    groups = [layout(run, store) for store in stores]
    unknown: set[Path] = set()
    for store, block in itertools.product((store for store in block_stores(run) if store in stores), range(run.n_blocks)):
        try:
            groups.append(block_layout(run, store, block, _told_synapses(run, block)))
        except StoreError:  # told below, of network.zarr; without the block's in-degrees nobody knows what belongs to it
            unknown.add(store_path(run, store) / block_folder(store, block))
    if "records" in stores and run.simulation.record.synapses:
        try:
            groups.append(recorded_group(run))
        except StoreError:
            unknown.add(store_path(run, "records") / "synapses")
    outputs = [group for group in item_outputs(run) if group.path not in seen and group.path.is_dir()]  # of those that were computed
    groups += outputs
    for name, block in feature_blocks(run):
        folder = place_of(run, "features", name) / OUTPUT
        if folder in {group.path for group in outputs}:
            try:
                groups.append(feature_block(run, name, block, _told_synapses(run, block, name)))
            except StoreError:
                unknown.add(folder / "blocks" / str(block))
    faults: list[str] = []
    expected: set[Path] = set()
    for group in groups:
        faults += _faults(group, checked)
        expected |= {group.path / key for key in _metadata(group)} | set(group.shard_paths()) | set(_of_longer_runs(group))
    owned = {store_path(run, store) for store in stores_of(run)} | {group.path for group in outputs}
    for folder in sorted(owned - seen):
        for path in sorted(folder.rglob("*")):
            named = _OURS.fullmatch(path.relative_to(folder).as_posix())
            if named and path.is_file() and path not in expected and unknown.isdisjoint(path.parents):
                faults.append(f"{path}: belongs to no shard of this configuration; delete it")
    return faults


def _of_longer_runs(group: Group) -> Iterator[Path]:
    """Shards of segments beyond the run's end, and coordinates of their times: a longer run of the same configuration shares the store."""
    for name, array in group.arrays.items():
        if "segment" in array.by:
            place, folder = array.by.index("segment"), group.path / name / "c"
            for path in folder.rglob("*"):
                number = path.relative_to(folder).parts[place : place + 1]
                if path.is_file() and number and number[0].isdecimal() and int(number[0]) >= array.grid[place]:
                    yield path
    for name in group.coordinates:
        yield from (group.path / name / "c").glob("*")


def _is_consolidated(path: Path) -> bool:
    """Whether a group's consolidated metadata, if it has any, are what the zarr.json of its members say."""
    content = json.loads(path.read_bytes())
    consolidated = content.get("consolidated_metadata") or {}
    members = consolidated.get("metadata", {}) if isinstance(consolidated, dict) else None
    return isinstance(members, dict) and all(_same_member(path.parent / name / "zarr.json", member) for name, member in members.items())


def _same_member(path: Path, member: Any) -> bool:
    try:
        own = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return False
    return isinstance(member, dict) and all(
        own.get(key) == member.get(key) for key in (own.keys() | member.keys()) - {"consolidated_metadata"}
    )


def _faults(group: Group, checked: frozenset[Path] = frozenset()) -> Iterator[str]:
    """What is wrong with the metadata and the shards of one group; shards of arrays with wrong metadata are not decoded."""
    unreadable: set[str] = set()
    for key, content in _metadata(group).items():
        path = group.path / key
        current = path.read_bytes() if path.is_file() else None
        if current is not None and key == "zarr.json":
            current = _without_consolidated(current)
        if current != content:
            unreadable.add(key.split("/")[0])
            fault, remedy = ("is missing", "run") if current is None else ("is not what config.json says", "delete it and run")
            yield f"{path}: {fault}; {remedy} snakemake, which writes it again"
        elif key == "zarr.json" and not _is_consolidated(path):
            yield f"{path}: its consolidated metadata are not those of the arrays; delete it and run snakemake, which writes it again"
    for name, spec in group.arrays.items():
        for index in (index for index in spec.indices() if group.shard_path(name, index) not in checked):
            try:
                if name in unreadable:
                    require([group.shard_path(name, index)])
                else:
                    read_shard(group, name, index)
            except StoreError as error:
                yield str(error)

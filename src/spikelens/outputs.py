"""Stores of features, models and methods: one output.zarr per feature, per method, and per seed of a model."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spikelens.config import RunConfig, Stage, valid_stages
from spikelens.config.items import Item, extensions
from spikelens.errors import SpikelensError
from spikelens.fingerprint import fingerprint
from spikelens.layouts import n_synapses
from spikelens.places import model_folder, place_of
from spikelens.stores import Group, Layout, beside_dimensions, write_shard

OUTPUT = "output.zarr"
"""Name of the store in the folder of a feature, a method, or a seed of a model."""


def feature_output(run: RunConfig, name: str) -> Group:
    """The root group of a feature's store: its output for the whole run."""
    subgroups = () if run.features[name].block_output(run, 0, 1) is None else ("blocks",)
    about = {"title": name, "feature": name}
    return _output(run, "features", name, place_of(run, "features", name), about, run.features[name].output(run), subgroups)


def feature_block(run: RunConfig, name: str, block: int, n_synapses: int | None = None) -> Group:
    """The group of a block in a feature's store; without arrays if the feature has no output per block.

    n_synapses: None for the number in the built network.
    """
    if n_synapses is None:
        n_synapses = n_synapses_of(run, name, block)
    found = run.features[name].block_output(run, block, max(n_synapses, 1))
    arrays, coordinates = ({}, {}) if found is None else found
    attrs = {"block": block, "n_synapses": n_synapses, "fingerprint": fingerprint(run, "features", name)}
    return Group(place_of(run, "features", name) / OUTPUT / "blocks" / str(block), attrs, arrays, coordinates)


def has_blocks(run: RunConfig, name: str) -> bool:
    """Whether a feature has output per block."""
    return bool(feature_output(run, name).subgroups)


def n_synapses_of(run: RunConfig, feature: str, block: int) -> int:
    """Number of synapses onto a block's neurons for a feature that reads the network, else 0."""
    reads_network = any(read.stage == "network" for read in run.features[feature].reads(run))
    return n_synapses(run, block) if reads_network else 0


def model_output(run: RunConfig, name: str, seed: int | str) -> Group:
    """The group of a model's output on the test range; `seed` may be a template, like "{seed}"."""
    about = {"title": f"{name} on the test range", "model": name, "seed": seed}
    return _output(run, "models", name, model_folder(run, name, seed), about, run.models[name].output(run))


def model_outputs(run: RunConfig) -> Iterator[Group]:
    """The groups of all models and seeds."""
    models: Mapping[str, Any] = laid_out(run, "models")
    return (model_output(run, name, seed) for name, model in models.items() for seed in model.seeds)


def method_output(run: RunConfig, name: str) -> Group:
    """The group of the output of a method of the explanation."""
    about = {"title": name, "method": name}
    return _output(run, "explanation", name, place_of(run, "explanation", name), about, run.methods[name].output(run))


def _output(
    run: RunConfig, stage: Stage, name: str, folder: Path, about: Mapping[str, Any], layout: Layout, subgroups: tuple[str, ...] = ()
) -> Group:
    """The root group of an item's store."""
    arrays, coordinates = layout
    attrs = {
        **about,
        "title": f"spikelens: {about['title']}",
        "fingerprint": fingerprint(run, stage, name),
        "coordinates": beside_dimensions(coordinates),
    }
    return Group(folder / OUTPUT, attrs, arrays, coordinates, subgroups)


def write_output(name: str, groups: Sequence[Group], computed: Mapping[str, NDArray[Any]], segment: int = 0, block: int = 0) -> None:
    """Write the output of an item: one shard per array, converted to the data type of the layout.

    Raises
    ------
    SpikelensError
        If an array is not in the layout, or has another shape. Then nothing is written.
    """
    shards = []
    places = {"segment": segment, "block": block}
    for array, cells in computed.items():
        group = next((group for group in groups if array in group.arrays), None)
        if group is None:
            known = ", ".join(known for group in groups for known in group.arrays)
            raise SpikelensError(f"{name} computed an array {array!r} that is not in its layout; expected one of {known}")
        spec = group.arrays[array]
        index = [places.get(kind, 0) for kind in spec.by or ("",) * len(spec.shape)]
        expected = tuple(part.stop - part.start for part in spec.region(index))
        if np.shape(cells) != expected:
            raise SpikelensError(f"{name} computed {array} with shape {np.shape(cells)}; its layout expects {expected}, for {spec.dims}")
        shards.append((group, array, index, np.ascontiguousarray(cells, spec.dtype)))
    for shard in shards:
        write_shard(*shard)


def item_outputs(run: RunConfig) -> Iterator[Group]:
    """The root groups of all features, models and methods that can be computed with this configuration."""
    features = (feature_output(run, name) for name in laid_out(run, "features"))
    return itertools.chain(features, model_outputs(run), (method_output(run, name) for name in laid_out(run, "explanation")))


def laid_out(run: RunConfig, stage: Stage) -> dict[str, Item]:
    """The items of a stage whose layouts are known: all except those of extensions that were not executed."""
    if stage not in valid_stages(run):
        return {}
    return {name: item for name, item in run.items(stage).items() if not extensions.stands_in(type(item))}


def feature_blocks(run: RunConfig) -> Iterator[tuple[str, int]]:
    """Feature and block of each group with output per block."""
    return itertools.product((name for name in laid_out(run, "features") if has_blocks(run, name)), range(run.n_blocks))

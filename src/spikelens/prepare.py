"""The folder of runs: make it ready, restore what was lost of its metadata, and look for what is wrong with its stores."""

from __future__ import annotations

import contextlib
import itertools
import json
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from spikelens.config import RunConfig
from spikelens.config.extensions import record_path
from spikelens.errors import SpikelensError, StoreError
from spikelens.files import read_json, remove_unfinished, write_atomically
from spikelens.jobs import record_of
from spikelens.layouts import (
    block_folder,
    block_group,
    block_layout,
    block_stores,
    layout,
    n_synapses,
    recorded_group,
    store_path,
    stores_of,
)
from spikelens.outputs import (
    OUTPUT,
    feature_block,
    feature_blocks,
    feature_output,
    has_blocks,
    item_outputs,
    laid_out,
    method_output,
    model_outputs,
    n_synapses_of,
)
from spikelens.places import CONFIGURATIONS, configuration_key, link_current, name_old_results, place_of, root
from spikelens.stores import consolidate_group, ensure, faults_of, metadata_files, of_longer_runs

_OURS = re.compile(r"((blocks|\d+|synapses)/)?(\d+/)?([a-z_]+/)?(zarr\.json|c(/\d+)+)")
"""Files within a store that have a name of ours; others, like .DS_Store, are nobody's business."""


def prepare(run: RunConfig) -> None:
    """Make a run's folder ready: its configuration, the metadata of every store, and the links to what is current.

    No result is removed: another configuration has other folders (`places`). Only files that a killed job did not finish are.
    """
    remove_unfinished(run.folder)
    _write_config(run, run.folder / "config.json")
    _register(run)
    for store in stores_of(run):
        ensure(layout(run, store))
    for name in laid_out(run, "features"):
        ensure(feature_output(run, name))
    link_current(run)
    name_old_results(run)


def prepare_all(runs: Sequence[RunConfig]) -> None:
    """Make the folders of all runs of a configuration ready. Runs of several durations share stores, which get the longest's metadata."""
    remove_unfinished(root(runs[0]))
    for run in sorted(runs, key=lambda run: run.n_segments):
        prepare(run)


def _register(run: RunConfig) -> None:
    """Keep the configuration beside those of earlier calls: `spikelens clean` leaves what any of them uses."""
    path = root(run) / CONFIGURATIONS / f"{configuration_key(run)}.json"
    if not path.is_file() or (run.extensions and not record_path(path).is_file()):
        _write_config(run, path)


def _write_config(run: RunConfig, path: Path) -> None:
    """Write a configuration, and the record of what it computes if only its extensions know that."""
    if run.extensions and run.record is None:
        write_atomically(record_path(path), json.dumps(record_of(run)).encode())
    write_atomically(path, run.model_dump_json(indent=2).encode())


def heal(run: RunConfig, *, only_missing: bool = True) -> None:
    """Restore what was lost of a run's metadata and of its config.json; with `only_missing=False`, also what was changed."""
    if not run.folder.is_dir():
        return
    try:
        read_json(run.folder / "config.json", {"path": str})
    except SpikelensError:
        _write_config(run, run.folder / "config.json")
    if run.extensions and run.record is None and not record_path(run.folder / "config.json").is_file():
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
        consolidate_group(layout(run, store), groups)
    for name in run.computed_features:
        blocks = [feature_block(run, name, block) for block in range(run.n_blocks)] if has_blocks(run, name) else []
        consolidate_group(feature_output(run, name), blocks)
    for output in itertools.chain(model_outputs(run), (method_output(run, name) for name in run.methods)):
        consolidate_group(output, [])


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
        faults += faults_of(group, checked)
        expected |= {group.path / key for key in metadata_files(group)} | set(group.shard_paths()) | set(of_longer_runs(group))
    owned = {store_path(run, store) for store in stores_of(run)} | {group.path for group in outputs}
    for folder in sorted(owned - seen):
        for path in sorted(folder.rglob("*")):
            named = _OURS.fullmatch(path.relative_to(folder).as_posix())
            if named and path.is_file() and path not in expected and unknown.isdisjoint(path.parents):
                faults.append(f"{path}: belongs to no shard of this configuration; delete it")
    return faults

"""Prepare the folder of runs, restore lost metadata, and verify the stores."""

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
"""Names of the files that spikelens writes in a store; others, like .DS_Store, are ignored."""


def prepare(run: RunConfig) -> None:
    """Prepare a run's folder: write its configuration, the metadata of every store, and the links in `current/`.

    No result is removed, since each configuration has its own folders (`places`). Only the partial files of
    killed jobs are removed.
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
    """Prepare the folders of all runs of a configuration. Runs that differ in duration share stores, with metadata of the longest."""
    remove_unfinished(root(runs[0]))
    for run in sorted(runs, key=lambda run: run.n_segments):
        prepare(run)


def _register(run: RunConfig) -> None:
    """Store the configuration with those of earlier calls: `spikelens clean` keeps the results of all of them."""
    path = root(run) / CONFIGURATIONS / f"{configuration_key(run)}.json"
    if not path.is_file() or (run.extensions and not record_path(path).is_file()):
        _write_config(run, path)


def _write_config(run: RunConfig, path: Path) -> None:
    """Write a configuration and, if its extensions were executed, the record of what it computes."""
    if run.extensions and run.record is None:
        write_atomically(record_path(path), json.dumps(record_of(run)).encode())
    write_atomically(path, run.model_dump_json(indent=2).encode())


def heal(run: RunConfig, *, only_missing: bool = True) -> None:
    """Restore config.json and lost metadata of a run; with `only_missing=False`, also metadata that were changed."""
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
        with contextlib.suppress(SpikelensError):  # the network must be built again first
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
    """Write the consolidated metadata of each store of a complete run: opening a store then reads one file."""
    for store in stores_of(run):
        groups = [block_group(run, store, block) for block in range(run.n_blocks)] if store in block_stores(run) else []
        if store == "records" and run.simulation.record.synapses:
            groups.append(recorded_group(run))
        consolidate_group(layout(run, store), groups)
    for name in run.computed_features:
        blocks = [feature_block(run, name, block) for block in range(run.n_blocks)] if has_blocks(run, name) else []
        consolidate_group(feature_output(run, name), blocks)
    for output in itertools.chain(model_outputs(run), (method_output(run, name) for name in run.methods)):
        ensure(output)  # `prepare` does not: the store may not exist yet
        consolidate_group(output, [])


def _told_synapses(run: RunConfig, block: int, feature: str | None = None) -> int:
    """Like `n_synapses` or `n_synapses_of`; if in-degrees are lost, the most frequent number in the metadata of the block's groups.

    Raises
    ------
    StoreError
        If no metadata of the block exist either.
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
    """Check a run's stores: metadata match the configuration, all shards exist and can be decoded, and there are no other files.

    Parameters
    ----------
    checked : frozenset of Path, optional
        Shards that were compared with their checksums; they are not decoded.
    seen : frozenset of Path, optional
        Stores that were verified for another run; they are skipped.

    Returns
    -------
    list of str
        One line per fault, with the file; empty if there are no faults.
    """
    stores = [store for store in stores_of(run) if store_path(run, store) not in seen]
    groups = [layout(run, store) for store in stores]
    unknown: set[Path] = set()
    for store, block in itertools.product((store for store in block_stores(run) if store in stores), range(run.n_blocks)):
        try:
            groups.append(block_layout(run, store, block, _told_synapses(run, block)))
        except StoreError:  # reported below for network.zarr; without in-degrees, the files of the block are unknown
            unknown.add(store_path(run, store) / block_folder(store, block))
    if "records" in stores and run.simulation.record.synapses:
        try:
            groups.append(recorded_group(run))
        except StoreError:
            unknown.add(store_path(run, "records") / "synapses")
    outputs = [group for group in item_outputs(run) if group.path not in seen and group.path.is_dir()]  # only computed ones
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
                faults.append(f"{path}: unexpected file; delete it if you do not need it")
    return faults

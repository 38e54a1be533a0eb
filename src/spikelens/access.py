"""Open runs with xarray, e.g. in notebooks.

Every store is read lazily, with the synapses of all blocks in one dataset. The runs of a sweep are opened by
name. With `partial`, an unfinished run can be opened as far as it is complete.
"""

from __future__ import annotations

import functools
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
import xarray as xr

from spikelens import frames
from spikelens.config import RunConfig, Stage, load_run, require_stage, require_tables
from spikelens.config.items import extensions
from spikelens.config.load import folder_runs
from spikelens.errors import SpikelensError, StoreError
from spikelens.explanation.contents import SCORE_FIELDS, SCORES
from spikelens.files import read_json, read_json_rows
from spikelens.jobs import Job, jobs_of
from spikelens.layouts import StoreName, block_group, layout, owner_of, recorded_group
from spikelens.manifests import listed, state
from spikelens.outputs import feature_block, feature_output, has_blocks, method_output, model_output
from spikelens.places import place_of, root
from spikelens.report.contents import SUMMARY
from spikelens.stores import Group, is_there, open_group, require

if TYPE_CHECKING:
    from spikelens.plots import Plots

_AGAIN = "`spikelens run` writes it after the earlier stages; `spikelens status` shows the progress"


def open_folder(folder: str | Path, partial: bool = False) -> OpenRun | OpenSweep:
    """Open the folder of a run or of a sweep. Changing the working folder later is safe.

    Raises
    ------
    SpikelensError
        If the folder contains no run, or is a URL.
    """
    place = _absolute(folder)
    found = [run.folder for run in folder_runs(str(place))]
    return OpenRun(place, partial) if found == [place] else OpenSweep(place, found, partial)


class OpenRun:
    """The stores of a run. Each is opened on first use; values are read when they are needed.

    Opening a store checks that every shard exists, since a missing one would be read as zeros. With `partial`,
    a store ends before the first segment with a missing shard.
    """

    def __init__(self, folder: str | Path, partial: bool = False) -> None:
        self.config: RunConfig = _with_absolute_tables(load_run(_absolute(folder)))
        self._partial = partial

    def __repr__(self) -> str:
        run = self.config
        return f"<spikelens run {run.path}: {run.n_neurons} neurons, {run.duration_s} s>"

    def _repr_html_(self) -> str:
        return _html(self.config.path, self._facts())

    def _facts(self) -> dict[str, str]:
        """Size and progress. No store is read."""
        run = self.config
        populations = ", ".join(f"{count:,} {name}" for name, count in run.population_sizes.items())
        size = listed()
        done = {stage: all(state(root(run), job, size) == "whole" for job in jobs) for stage, jobs in _by_stage(run).items()}
        return {
            "neurons": f"{run.n_neurons:,} ({populations})",
            "duration": f"{run.duration_s} s, {run.n_segments} segments",
            "complete": ", ".join(stage for stage, complete in done.items() if complete) or "no stage",
            "not complete": ", ".join(stage for stage, complete in done.items() if not complete) or "no stage",
        }

    @functools.cached_property
    def network(self) -> xr.Dataset:
        """In-degree and in-weight of each neuron, delays of each block, the STDP tables."""
        return self._root("network")

    @functools.cached_property
    def synapses(self) -> xr.Dataset:
        """Source, target, delay [ms], initial weight [mV] and plasticity of every synapse, (synapse,)."""
        return self._blocks("network").set_coords(["source", "target"])

    @functools.cached_property
    def spikes(self) -> xr.Dataset:
        """The raster: spikes (time, neuron), bool; time in ms."""
        return self._root("spikes")

    @functools.cached_property
    def weights(self) -> xr.Dataset:
        """Weights at the end of each segment, (boundary, synapse), and their mean over it, (segment, synapse) [mV]."""
        return self._with_ids(self._blocks("weights"))

    @functools.cached_property
    def state(self) -> xr.Dataset:
        """State of the neurons at the end of each segment."""
        return self._root("state")

    @functools.cached_property
    def records(self) -> xr.Dataset:
        """v and u [mV] of the chosen neurons, (time, neuron), and weights [mV] of the chosen synapses, (time, synapse).

        Raises
        ------
        StoreError
            If the run records nothing.
        """
        if not self.config.records:
            raise StoreError(f"{self.config.path} records nothing; choose neurons or synapses in simulation.record")
        records = self._root("records")
        if not self.config.simulation.record.synapses:
            return records
        synapses = recorded_group(self.config)
        weights = _opened(synapses, self._n_segments("records", [synapses]))
        return records.merge(weights, join="inner", combine_attrs="override")

    def events(self, start_ms: int = 0, end_ms: int | None = None, neurons: Iterable[int] | None = None) -> pd.DataFrame:
        """The spikes in [start_ms, end_ms) as a table of `time_ms`, `neuron` and `population`, in the order of their times.

        Only the shards that contain them are read, one at a time. `neurons`: ids; None: all. With `partial`, the
        end is that of the last complete segment.

        Raises
        ------
        SpikelensError
            If the range is not within the run, or a neuron does not exist.
        """
        if end_ms is None and self._partial:
            end_ms = min(self._n_segments("spikes", [layout(self.config, "spikes")]) * self.config.segment_steps, self.config.n_steps)
        return frames.events(self.config, start_ms, end_ms, neurons)

    @functools.cached_property
    def plot(self) -> Plots:
        """Figures of the run: each method draws on given axes, or on new ones, and returns them."""
        from spikelens.plots import Plots

        return Plots(self.config, lambda: self.scores)

    @functools.cached_property
    def features(self) -> dict[str, xr.Dataset]:
        """The output of each feature, by name.

        Output per synapse has the dimension `synapse`, with source and target. Output for some neurons of each
        block has the dimension `neuron`.
        """
        require_stage(self.config, "features")
        return {name: self._feature(name) for name in self.config.computed_features}

    def rate(self, window_ms: int = 100, step_ms: int = 10) -> xr.DataArray:
        """Running rate R_i(t) of every neuron over `window_ms` from t on [Hz], (time, neuron); NaN beyond the run's end.

        Raises
        ------
        SpikelensError
            If the window is not a multiple of the step, or the step does not divide a chunk of the raster.
        """
        if window_ms < 1 or step_ms < 1 or window_ms % step_ms:
            raise SpikelensError(f"window_ms = {window_ms}: expected a multiple of step_ms = {step_ms}")
        if self.config.chunk_ms % step_ms:
            raise SpikelensError(f"step_ms = {step_ms}: expected a divisor of {self.config.chunk_ms_key} = {self.config.chunk_ms}")
        width = window_ms // step_ms
        bins = self.spikes["spikes"].coarsen(time=step_ms, boundary="trim", coord_func="min").sum()
        counts = bins.rolling(time=width).sum().shift(time=1 - width)
        chunks = {dim: sizes[0] for dim, sizes in bins.chunksizes.items()}  # Zarr requires chunks of equal size
        rate: xr.DataArray = (counts * (1000 / window_ms)).rename("rate").chunk(chunks)
        return rate.assign_attrs(long_name=f"running rate over the next {window_ms} ms", units="Hz")

    @functools.cached_property
    def outputs(self) -> dict[str, xr.Dataset]:
        """The output of each model on the test range, by name; the first dimension is the seed."""
        require_stage(self.config, "models")
        opened = {}
        for name, model in self.config.models.items():
            if extensions.stands_in(type(model)):
                parts = [self._of_extension("models", name, str(seed)) for seed in model.seeds]
            else:
                parts = [open_group(model_output(self.config, name, seed)) for seed in model.seeds]
            opened[name] = xr.concat(parts, dim=pd.Index(model.seeds, name="seed"), data_vars="all", combine_attrs="drop_conflicts")
        return opened

    @functools.cached_property
    def methods(self) -> dict[str, xr.Dataset]:
        """The output of each method of the explanation, by name; scores of pairs are (source, target)."""
        require_stage(self.config, "explanation")
        return {
            name: self._of_extension("explanation", name)
            if extensions.stands_in(type(method))
            else open_group(method_output(self.config, name))
            for name, method in self.config.methods.items()
        }

    @functools.cached_property
    def scores(self) -> pd.DataFrame:
        """All scores against the wiring: one row per method, score, edge class and stratum (docs/formats.md)."""
        require_stage(self.config, "explanation")
        return frames.score_table(read_json_rows(place_of(self.config, "explanation") / SCORES, SCORE_FIELDS, _AGAIN))

    @functools.cached_property
    def summary(self) -> dict[str, Any]:
        """Summary of each stage, as in summary.json."""
        require_stage(self.config, "report")
        return read_json(place_of(self.config, "report") / SUMMARY, {}, _AGAIN)

    def _root(self, store: StoreName) -> xr.Dataset:
        require_stage(self.config, owner_of(self.config, store))
        group = layout(self.config, store)
        return _opened(group, self._n_segments(store, [group]))

    def _of_extension(self, stage: Stage, name: str, seed: str = "") -> xr.Dataset:
        """Open the output of an extension's item from its Zarr metadata; the extension is not executed.

        Raises
        ------
        StoreError
            If a shard is missing.
        """
        below = root(self.config)
        require(below / file for job in jobs_of(self.config) if job.rule == f"{stage}.{name}" for file in job.files if "/c/" in file)
        found: xr.Dataset = xr.open_zarr(place_of(self.config, stage, name) / seed / "output.zarr", decode_timedelta=False)
        return found.drop_encoding()

    def _feature(self, name: str) -> xr.Dataset:
        run = self.config
        if extensions.stands_in(type(run.features[name])):
            return self._of_extension("features", name)
        root = feature_output(run, name)
        groups = [feature_block(run, name, block) for block in range(run.n_blocks)] if has_blocks(run, name) else []
        n_segments = self._n_segments(name, [root, *groups])
        found = _opened(root, n_segments)
        if not groups:
            return found
        if any("synapse" in array.dims for array in groups[0].arrays.values()):
            return found.merge(self._with_ids(self._joined(groups, n_segments)))
        return found.merge(xr.concat([_opened(group, n_segments).drop_attrs(deep=False) for group in groups], dim="neuron"))

    def _blocks(self, store: StoreName) -> xr.Dataset:
        require_stage(self.config, owner_of(self.config, store))
        groups = [block_group(self.config, store, block) for block in range(self.config.n_blocks)]
        return self._joined(groups, self._n_segments(store, groups))

    def _joined(self, groups: Sequence[Group], n_segments: int) -> xr.Dataset:
        """Concatenate the synapses of all blocks."""
        parts = []
        for group in groups:
            opened = _opened(group, n_segments)
            per_synapse = opened[[name for name, array in opened.data_vars.items() if "synapse" in array.dims]]
            parts.append(per_synapse.isel(synapse=slice(0, group.attrs["n_synapses"])).drop_attrs(deep=False))
        joined = xr.concat(parts, dim="synapse", data_vars="minimal", coords="minimal", compat="override", join="override")
        return joined.chunk(synapse=max(group.attrs["n_synapses"] for group in groups) or 1)  # Zarr requires chunks of equal size

    def _with_ids(self, dataset: xr.Dataset) -> xr.Dataset:
        return dataset.assign_coords(source=self.synapses.source, target=self.synapses.target)

    def _n_segments(self, store: str, groups: Sequence[Group]) -> int:
        """Number of segments of these groups to show: all, or with `partial` those before the first with a missing shard.

        Raises
        ------
        StoreError
            If there are none.
        """
        n = self.config.n_segments
        if not self._partial or store == "network":
            return n
        lacking = (segment for segment in range(n) for group in groups if not all(map(is_there, group.shard_paths(None, [segment]))))
        first = next(lacking, n)
        if not first:
            raise StoreError(f"{self.config.path}: no segment of {store}.zarr is done yet; `spikelens status` shows the progress")
        return first


class OpenSweep(Mapping[str, OpenRun]):
    """The runs of a sweep by name, like "network.seed=2", in the order of their values. Each is opened on first use."""

    def __init__(self, folder: Path, members: list[Path], partial: bool = False) -> None:
        self.folder, self._partial = folder, partial
        self._members = {member.name: member for member in members}
        self._opened: dict[str, OpenRun] = {}

    def __getitem__(self, name: str) -> OpenRun:
        if name not in self._members:
            raise KeyError(f"{name}: expected one of {', '.join(self)}")
        if name not in self._opened:
            self._opened[name] = OpenRun(self._members[name], self._partial)
        return self._opened[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._members)

    def __len__(self) -> int:
        return len(self._members)

    @functools.cached_property
    def keys_that_differ(self) -> pd.DataFrame:
        """The keys in which the runs differ: one row per run, one column per key."""
        exclude = {"run": True, "cluster": True, "path": True}
        return frames.differing_keys(
            {name: load_run(path).model_dump(mode="json", exclude=exclude) for name, path in self._members.items()}
        )

    @functools.cached_property
    def scores(self) -> pd.DataFrame:
        """The scores of all runs: `run`, the keys in which the runs differ, and the columns of a run's scores."""
        of_runs = pd.concat({name: run.scores for name, run in self.items()}, names=["run", None]).reset_index("run")
        keys = self.keys_that_differ
        joined = of_runs.merge(keys, left_on="run", right_index=True, validate="many_to_one")
        return joined[["run", *keys.columns, *of_runs.columns[1:]]].reset_index(drop=True)

    def _repr_html_(self) -> str:
        table: str = self.keys_that_differ.to_html()
        return f"<p>{escape(str(self.folder))}: {len(self)} runs</p>{table}"

    def __repr__(self) -> str:
        return "\n".join([f"<spikelens sweep {self.folder}: {len(self)} runs>", *(f"  {name}" for name in self)])


def _by_stage(run: RunConfig) -> dict[Stage, list[Job]]:
    found: dict[Stage, list[Job]] = {}
    for job in jobs_of(run):
        found.setdefault(job.stage, []).append(job)
    return found


def _html(title: str, facts: Mapping[str, str]) -> str:
    """A small table for a notebook."""
    rows = "".join(f"<tr><th style='text-align:left'>{escape(name)}</th><td>{escape(value)}</td></tr>" for name, value in facts.items())
    return f"<table><caption>{escape(title)}</caption>{rows}</table>"


def _opened(group: Group, n_segments: int) -> xr.Dataset:
    """Open the first segments of a group, without their encoding, since derived data may be stored differently."""
    ends = {
        dim: slice(n_segments * length)
        for array in group.arrays.values()
        for dim, length, kind in zip(array.dims, array.shards, array.by, strict=False)
        if kind == "segment"
    }
    return open_group(group, segments=range(n_segments)).isel(ends).drop_encoding()


def _absolute(folder: str | Path) -> Path:
    """The absolute path of a run's folder, which stays valid if the working folder changes."""
    if re.match(r"[a-z][a-z0-9+.-]+:/", str(folder), re.IGNORECASE):
        raise SpikelensError(
            f"{folder} is a URL, expected a folder; open one store of the run with xarray, like "
            f'xarray.open_zarr("{folder}/current/spikes.zarr"), or copy the run'
        )
    return Path(os.path.expanduser(folder)).absolute()


def _with_absolute_tables(run: RunConfig) -> RunConfig:
    """The run with absolute paths of its tables: keys depend on their content, so they must be found later."""
    require_tables(run)
    sections: dict[str, Any] = {
        section: getattr(run, section).model_copy(update={key: path and str(Path(path).absolute())})
        for section, key, path in (
            ("network", "edges", run.network.edges),
            ("drive", "events", run.drive.events),
            *((("recording", "file", run.recording.file),) if run.recording is not None else ()),
        )
    }
    return run.model_copy(update=sections)

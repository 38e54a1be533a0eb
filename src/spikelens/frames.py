"""Spikes and scores of runs as pandas DataFrames, for notebooks and comparisons."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from spikelens.config import RunConfig
from spikelens.errors import SpikelensError
from spikelens.keys import leaves
from spikelens.recording.spikes import read_spikes

SCORE_COLUMNS = (
    *("method", "score", "saw", "edge_class", "stratum", "auroc", "ci_low", "ci_high", "ap", "n_positive", "n_negative"),
    *("start_ms", "end_ms", "network_seed", "drive_seed", "model_seed"),
)


def events(run: RunConfig, start_ms: int = 0, end_ms: int | None = None, neurons: Iterable[int] | None = None) -> pd.DataFrame:
    """The spikes in [start_ms, end_ms), in the order of their times. Only the shards that contain them are read, one at a time.

    Parameters
    ----------
    end_ms
        None: the end of the run.
    neurons
        Their ids; None: all.

    Returns
    -------
    pandas.DataFrame
        `time_ms` (int64), `neuron` (int32) and `population` (category); one row per spike.

    Raises
    ------
    SpikelensError
        If the range is not within the run, or a neuron does not exist.
    StoreError
        If a shard is missing or damaged.
    """
    end_ms = run.n_steps if end_ms is None else end_ms
    if not 0 <= start_ms < end_ms <= run.n_steps:
        raise SpikelensError(f"start_ms = {start_ms}, end_ms = {end_ms}: expected 0 <= start_ms < end_ms <= {run.n_steps} (the run's end)")
    if neurons is None:
        steps, ids = read_spikes(run, start_ms, end_ms)
    else:
        chosen = chosen_neurons(run, neurons)
        steps, ids = read_spikes(run, start_ms, end_ms, np.unique(chosen // run.block_size).tolist())
        own = np.isin(ids, chosen)
        steps, ids = steps[own], ids[own]
    ends = [end for _, end in run.populations.values()]
    codes = np.searchsorted(ends, ids, side="right")
    population = pd.Categorical.from_codes(codes, categories=pd.Index(list(run.populations)))
    return pd.DataFrame({"time_ms": steps, "neuron": ids.astype(np.int32), "population": population})


def chosen_neurons(run: RunConfig, neurons: Iterable[int]) -> NDArray[np.int64]:
    """Ids of neurons, each once, in increasing order.

    Raises
    ------
    SpikelensError
        If one of them does not exist.
    """
    chosen = np.unique(np.fromiter(neurons, np.int64))
    unknown = chosen[(chosen < 0) | (chosen >= run.n_neurons)]
    if len(unknown):
        raise SpikelensError(f"neurons: {unknown[0]} does not exist; expected ids from 0 to {run.n_neurons - 1}")
    return chosen


def score_table(rows: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    """Rows of scores.json, with one plain column per number: interval, time range [ms] and seeds."""
    return pd.DataFrame([_plain(row) for row in rows], columns=SCORE_COLUMNS)


def _plain(row: Mapping[str, Any]) -> dict[str, Any]:
    (ci_low, ci_high), (start, end) = row["ci"], row["time_range_ms"]
    seeds = {f"{name}_seed": seed for name, seed in row["seed"].items()}
    return {**row, "ci_low": ci_low, "ci_high": ci_high, "start_ms": start, "end_ms": end, **seeds}


def differing_keys(contents: Mapping[str, Mapping[str, Any]]) -> pd.DataFrame:
    """The keys in which configurations differ: one row per configuration, one column per key; a missing key is None.

    Parameters
    ----------
    contents
        Configurations by name, as nested mappings.
    """
    flat = {name: dict(leaves(content)) for name, content in contents.items()}
    keys = dict.fromkeys(key for content in flat.values() for key in content)
    differing = [key for key in keys if any(content.get(key) != next(iter(flat.values())).get(key) for content in flat.values())]
    rows = [[_cell(content.get(key)) for key in differing] for content in flat.values()]
    return pd.DataFrame(rows, index=pd.Index(flat, name="run"), columns=differing)


def _cell(value: Any) -> Any:
    return value if value is None or isinstance(value, str | int | float) else str(value)

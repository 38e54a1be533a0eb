"""Layouts of Zarr groups: arrays that are divided into shards, coordinates, and the paths of shards."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

COORDINATE_CHUNK = 2**20


@dataclass(frozen=True)
class Array:
    """One sharded array: its properties in zarr, and the dimensions along which shards are divided by segment and block."""

    dims: tuple[str, ...]
    shape: tuple[int, ...]
    shards: tuple[int, ...]
    dtype: str
    attrs: Mapping[str, Any]
    chunks: tuple[int, ...] | None = None
    by: tuple[Literal["segment", "block", ""], ...] = ()
    fill_value: float = 0
    stored: float = 0.85
    """Expected size on disk, as a fraction of the size in memory, for plans. Default: that of dense float32."""

    @property
    def chunk_shape(self) -> tuple[int, ...]:
        """Cells of a chunk along each dimension. A chunk is compressed and read as one unit."""
        return tuple(min(chunk, shard) for chunk, shard in zip(self.chunks or self.shards, self.shards, strict=True))

    @property
    def grid(self) -> tuple[int, ...]:
        """Number of shards along each dimension."""
        return tuple(-(-length // shard) for length, shard in zip(self.shape, self.shards, strict=True))

    def region(self, index: Sequence[int]) -> tuple[slice, ...]:
        """The cells of shard `index`; the last shard along a dimension may be short."""
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
    """Values that follow from the configuration alone, or a function that computes them on first use."""

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
        """Number of files that follow from the configuration: each zarr.json, and the chunks of coordinates."""
        chunks = sum(-(-len(coordinate.values) // COORDINATE_CHUNK) for coordinate in self.coordinates.values())
        return 1 + len(self.subgroups) + len(self.arrays) + len(self.coordinates) + chunks

    def shard_path(self, array: str, index: Sequence[int | str]) -> Path:
        """The file of a shard; indices may be templates, like "{block}"."""
        return self.path / array / "c" / "/".join(map(str, index))

    def shard_paths(
        self, arrays: Iterable[str] | None = None, segments: Iterable[int] | None = None, blocks: Iterable[int] | None = None
    ) -> list[Path]:
        """Files of the given segments and blocks of the given arrays (None: all)."""
        segments, blocks = (None if items is None else list(items) for items in (segments, blocks))
        return [
            self.shard_path(name, index)
            for name in (self.arrays if arrays is None else arrays)
            for index in self.arrays[name].indices(segments, blocks)
        ]


Layout = tuple[dict[str, Array], dict[str, Coordinate]]
"""Arrays and coordinates of a group."""


def time_coordinate(n: int, step_ms: int = 1, first_ms: int = 0, dim: str = "time", long_name: str = "time") -> dict[str, Coordinate]:
    # xarray may convert the unit "ms" to timedelta64, so this package opens stores with decode_timedelta=False
    return {dim: Coordinate((dim,), lambda: first_ms + step_ms * np.arange(n, dtype=np.int64), {"long_name": long_name, "units": "ms"})}


def beside_dimensions(coordinates: Mapping[str, Coordinate]) -> str:
    """Names of the coordinates that are not dimension coordinates, for the attribute "coordinates" that xarray reads."""
    return " ".join(name for name, coordinate in coordinates.items() if name not in coordinate.dims)

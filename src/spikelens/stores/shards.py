"""Read and write shards.

Two silent behaviours of zarr are avoided: it reads a missing or empty shard as zeros, and it may omit chunks of
zeros when it writes a shard.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from spikelens.errors import SpikelensError, StoreError, is_out_of_memory
from spikelens.files import in_its_place, write_atomically
from spikelens.stores.layout import Array, Group
from spikelens.stores.metadata import compressor, create_array, ensure, files_of, is_consolidated, metadata_files, without_consolidated

if TYPE_CHECKING:
    import xarray as xr
    import zarr

Cells = Callable[[tuple[slice, ...]], NDArray[Any]]
"""Returns the cells of one chunk; the slices are relative to the first cell of the shard."""


def write_shard(group: Group, array: str, index: Sequence[int], values: NDArray[Any] | Cells) -> Path:
    """Write one complete shard, including chunks of zeros, and sync it to disk.

    If the array has no zarr.json, the metadata of the group are written first (`ensure`). The file gets its name
    only when it is on disk. An existing file is replaced without being read.

    Parameters
    ----------
    values : array or function
        The shard's cells; or, to save memory, a function that is called for each chunk, in C order.

    Raises
    ------
    StoreError
        If the file cannot be written, e.g. because the disk is full.
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
    """Encode a shard of the given shape with Zarr v3's codec "sharding_indexed" (1.0): chunks, index, checksum.

    zarr itself copies the shard several times, which takes most of the time for rasters, since they compress
    fast. A short last shard has no chunks beyond its end.
    """
    import google_crc32c

    chunk = spec.chunk_shape
    dtype = np.dtype(spec.dtype).newbyteorder("<")
    places = [range(0, length, size) for length, size in zip(shape, chunk, strict=True)]
    index = np.full((*(shard // size for shard, size in zip(spec.shards, chunk, strict=True)), 2), np.iinfo(np.uint64).max, "<u8")
    encoded = bytearray()
    compress = compressor(dtype).encode
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
    """Read one shard as stored (integers stay integers), or only some of its rows; other chunks are not decoded.

    Raises
    ------
    StoreError
        If the shard is missing, empty or damaged.
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
        raise StoreError(f"{path} cannot be read ({error}); delete it, then run snakemake to recreate it") from error
    return np.asarray(values)


def _open_array(group: Group, array: str) -> zarr.Array[Any]:
    """Open an array for reading with the metadata of its layout; its zarr.json on disk is not read."""
    import zarr

    from spikelens.laid_out import LaidOut

    spec = group.arrays[array]
    metadata = _cells_metadata(spec.dims, spec.shape, spec.shards, spec.chunks, spec.dtype, spec.fill_value)
    return zarr.open_array(LaidOut(group.path, {f"{array}/zarr.json": metadata}), path=array, mode="r", zarr_format=3)


@lru_cache(maxsize=256)
def _cells_metadata(
    dims: tuple[str, ...],
    shape: tuple[int, ...],
    shards: tuple[int, ...],
    chunks: tuple[int, ...] | None,
    dtype: str,
    fill_value: float,
) -> bytes:
    """The zarr.json of an array without attributes. Cached, since creating it takes longer than reading a small shard."""
    import zarr
    from zarr.storage import MemoryStore

    store = MemoryStore()
    array = Array(dims, shape, shards, dtype, {}, chunks, fill_value=fill_value)
    create_array(zarr.create_group(store, zarr_format=3), "cells", array)
    return files_of(store)["cells/zarr.json"]


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
    """Raise a StoreError if shards are missing or empty, since zarr would read them as zeros."""
    bad = [path for path in paths if not is_there(path)]
    if bad:
        more = f" and {len(bad) - 1} more" if len(bad) > 1 else ""
        fault, remedy = ("is empty", "delete it, then run") if bad[0].is_file() else ("is missing", "run")
        obstacle = in_its_place(bad[0])
        remedy = f"{obstacle}, then {remedy}" if obstacle else remedy
        raise StoreError(f"{bad[0]}{more}: shard {fault}; {remedy} snakemake to recreate it")


def is_there(path: Path) -> bool:
    """Whether a shard exists and is not empty."""
    return path.is_file() and path.stat().st_size > 0


def open_group(group: Group, segments: Iterable[int] | None = None, blocks: Iterable[int] | None = None) -> xr.Dataset:
    """Open a group lazily with xarray, after checking that the shards of the given segments and blocks (None: all) exist."""
    import xarray as xr  # imported here, since this takes longer than many jobs that only read and write shards

    from spikelens.laid_out import LaidOut

    require(group.shard_paths(None, segments, blocks))
    opened: xr.Dataset = xr.open_zarr(LaidOut(group.path, metadata_files(group)), consolidated=False, decode_timedelta=False)
    return opened.assign_coords({name: coordinate.load() for name, coordinate in opened.coords.items()})


@contextmanager
def naming_damage(*groups: Group) -> Iterator[None]:
    """Name the damaged shard if lazily read data (`open_group`) cannot be decoded: zarr's own errors do not name the file.

    Raises
    ------
    StoreError
        Instead of any other exception, if a file of the groups is missing or damaged.
    """
    try:
        yield
    except SpikelensError:
        raise
    except Exception as error:
        for fault in itertools.chain.from_iterable(map(faults_of, groups)):
            raise StoreError(fault) from error
        raise


def faults_of(group: Group, checked: frozenset[Path] = frozenset()) -> Iterator[str]:
    """Faults of the metadata and shards of one group. Shards of arrays with wrong metadata are not decoded."""
    unreadable: set[str] = set()
    for key, content in metadata_files(group).items():
        path = group.path / key
        current = path.read_bytes() if path.is_file() else None
        if current is not None and key == "zarr.json":
            current = without_consolidated(current)
        if current != content:
            unreadable.add(key.split("/")[0])
            fault, remedy = ("is missing", "run") if current is None else ("does not match config.json", "delete it, then run")
            yield f"{path}: {fault}; {remedy} snakemake to recreate it"
        elif key == "zarr.json" and not is_consolidated(path):
            yield f"{path}: its consolidated metadata do not match the arrays; delete it, then run snakemake to recreate it"
    for name, spec in group.arrays.items():
        for index in (index for index in spec.indices() if group.shard_path(name, index) not in checked):
            try:
                if name in unreadable:
                    require([group.shard_path(name, index)])
                else:
                    read_shard(group, name, index)
            except StoreError as error:
                yield str(error)


def of_longer_runs(group: Group) -> Iterator[Path]:
    """Files that belong to a longer run of the same configuration, which shares the store.

    These are shards of segments beyond the end of this run, and chunks of coordinates.
    """
    for name, array in group.arrays.items():
        if "segment" in array.by:
            place, folder = array.by.index("segment"), group.path / name / "c"
            for path in folder.rglob("*"):
                number = path.relative_to(folder).parts[place : place + 1]
                if path.is_file() and number and number[0].isdecimal() and int(number[0]) >= array.grid[place]:
                    yield path
    for name in group.coordinates:
        yield from (group.path / name / "c").glob("*")

"""Metadata of Zarr groups (`zarr.json` and coordinates). They follow from the layout, so any process can restore them."""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from spikelens.files import write_atomically
from spikelens.stores.layout import COORDINATE_CHUNK, Array, Group

if TYPE_CHECKING:
    import zarr
    from zarr.storage import MemoryStore

_Files = dict[str, bytes]


def metadata_files(group: Group) -> _Files:
    """The files of a group that follow from the configuration: every zarr.json, and the chunks of coordinates."""
    import zarr  # imported here, since `spikelens status` needs only layouts
    from zarr.storage import MemoryStore

    store = MemoryStore()
    root = zarr.create_group(store, zarr_format=3, attributes=dict(group.attrs))
    for name in group.subgroups:
        root.create_group(name)
    for name, array in group.arrays.items():
        create_array(root, name, array)
    for name, coordinate in group.coordinates.items():
        text = coordinate.values.dtype.kind == "T"
        created = root.create_array(
            name,
            shape=coordinate.values.shape,
            chunks=tuple(min(length, COORDINATE_CHUNK) for length in coordinate.values.shape),
            dtype=str if text else coordinate.values.dtype,
            compressors="auto" if text else codecs(coordinate.values.dtype),
            dimension_names=coordinate.dims,
            attributes=dict(coordinate.attrs),
            config={"write_empty_chunks": True},
        )
        created[...] = coordinate.values
    return files_of(store)


def create_array(root: zarr.Group, name: str, array: Array) -> None:
    """Create an array without writing cells."""
    dtype = np.dtype(array.dtype)
    root.create_array(
        name,
        shape=array.shape,
        chunks=array.chunk_shape,
        shards=array.shards,
        dtype=dtype,
        compressors=codecs(dtype),
        fill_value=array.fill_value,
        dimension_names=array.dims,
        attributes=dict(array.attrs),
    )


def files_of(store: MemoryStore) -> _Files:
    return {key: bytes(value.to_bytes()) for key, value in store._store_dict.items()}


def codecs(dtype: np.dtype[Any]) -> list[Any]:
    """Codecs with compression level 1 for all data types.

    Level 5 takes three to six times as long and saves 2 % on weights; writing must not cost more than simulating.
    """
    from zarr.codecs import BloscCodec, Crc32cCodec, ZstdCodec

    if dtype == np.bool_:  # rasters are mostly zeros; blosc shuffles and splits them into blocks first, which halves the speed
        return [ZstdCodec(level=1), Crc32cCodec()]
    return [BloscCodec(cname="zstd", clevel=1, shuffle="bitshuffle", typesize=dtype.itemsize), Crc32cCodec()]


def compressor(dtype: np.dtype[Any]) -> Any:
    """The compressor of the chunks that `codecs` describes."""
    import numcodecs

    return numcodecs.Zstd(level=1) if dtype == np.bool_ else numcodecs.Blosc("zstd", clevel=1, shuffle=numcodecs.Blosc.BITSHUFFLE)


def ensure(group: Group, *, only_missing: bool = False) -> None:
    """Write the metadata and coordinates of a group that are missing or, without `only_missing`, differ from its layout."""
    changed = False
    # group metadata come last: a group whose zarr.json is up to date is complete
    for key, content in sorted(metadata_files(group).items(), key=lambda item: item[0] == "zarr.json"):
        path = group.path / key
        current = path.read_bytes() if path.is_file() else None
        if key == "zarr.json" and current is not None and not changed:
            current = without_consolidated(current)
        unchanged = current == content and (key != "zarr.json" or is_consolidated(path))
        if unchanged or (only_missing and current is not None):
            continue
        write_atomically(path, content)
        changed = True


def without_consolidated(content: bytes) -> bytes:
    """A group's metadata without consolidated metadata; unchanged if they have none, or are damaged."""
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


def consolidate_group(root: Group, groups: Iterable[Group]) -> None:
    """Write the metadata of a store's groups and arrays into the metadata of its root.

    They are those on disk: a longer run may share the store, so its arrays may be longer than in this layout. Unrelated folders in the
    store are ignored.
    """
    import zarr
    from zarr.core.buffer import default_buffer_prototype
    from zarr.storage import MemoryStore

    files = metadata_files(root) | {
        f"{group.path.relative_to(root.path)}/{key}": content for group in groups for key, content in metadata_files(group).items()
    }
    for key in files:
        path = root.path / key
        if path.name == "zarr.json" and path.is_file():
            files[key] = without_consolidated(path.read_bytes())
    held = MemoryStore({key: default_buffer_prototype().buffer.from_bytes(content) for key, content in files.items()})
    with warnings.catch_warnings():
        # zarr warns that other implementations may not support them; these read every zarr.json instead
        warnings.simplefilter("ignore", zarr.errors.ZarrUserWarning)
        zarr.consolidate_metadata(held, zarr_format=3)
    write_atomically(root.path / "zarr.json", files_of(held)["zarr.json"])


def is_consolidated(path: Path) -> bool:
    """Whether a group's consolidated metadata, if any, match the zarr.json of its members."""
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

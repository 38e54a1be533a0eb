"""A store for zarr that takes shards from disk and metadata from the layout."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from zarr.core.buffer import Buffer, BufferPrototype, default_buffer_prototype
from zarr.storage import LocalStore, MemoryStore, WrapperStore

if TYPE_CHECKING:
    from zarr.abc.store import ByteRequest


class LaidOut(WrapperStore[LocalStore]):
    """A folder whose metadata and coordinates come from the layout instead of zarr.json on disk.

    A flipped bit in a shape, separator or codec in zarr.json would make zarr silently read fill values.
    """

    def __init__(self, folder: Path, files: Mapping[str, bytes]) -> None:
        super().__init__(LocalStore(folder, read_only=True))
        self._files = files

    async def get(self, key: str, prototype: BufferPrototype, byte_range: ByteRequest | None = None) -> Buffer | None:
        if key not in self._files:
            return None if key.endswith("zarr.json") else await super().get(key, prototype, byte_range)
        held = MemoryStore({key: default_buffer_prototype().buffer.from_bytes(self._files[key])})
        return await held.get(key, prototype, byte_range)

    async def exists(self, key: str) -> bool:
        return key in self._files or await super().exists(key)

    async def list_dir(self, prefix: str) -> AsyncIterator[str]:
        below = f"{prefix.rstrip('/')}/" if prefix else ""
        for name in dict.fromkeys(key.removeprefix(below).split("/")[0] for key in self._files if key.startswith(below)):
            yield name

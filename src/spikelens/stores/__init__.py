"""Zarr stores of sharded arrays. This package defines layouts of groups in general and does not depend on stages.

Every array is divided into shards. Each shard is one file, which exactly one job writes, as a whole. A store is
in the folder of its stage's key (`places`). Metadata (`zarr.json`) and coordinates follow from the layout alone,
so no job owns them.
"""

from __future__ import annotations

from spikelens.stores.layout import Array, Coordinate, Group, Layout, beside_dimensions, time_coordinate
from spikelens.stores.metadata import consolidate_group, ensure, metadata_files
from spikelens.stores.shards import (
    faults_of,
    is_there,
    naming_damage,
    of_longer_runs,
    open_group,
    read_array,
    read_shard,
    require,
    write_shard,
)

__all__ = [
    "Array",
    "Coordinate",
    "Group",
    "Layout",
    "beside_dimensions",
    "consolidate_group",
    "ensure",
    "faults_of",
    "is_there",
    "metadata_files",
    "naming_damage",
    "of_longer_runs",
    "open_group",
    "read_array",
    "read_shard",
    "require",
    "time_coordinate",
    "write_shard",
]

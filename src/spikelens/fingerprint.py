"""Fingerprint of a stage or item: a short hash of everything that its results depend on. It is their key (`places`).

It covers the configuration keys that the stage or item uses, the results version of its code (`versions`), and
the fingerprints of the results that it reads. It does not cover ranks, paths and, for stages up to the
features, the duration, since they do not change the content of a shard; nor configuration keys with their
neutral value (`config.types.Section`); nor versions of libraries, which are only recorded in manifests.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from spikelens.config import STAGES, RunConfig, Stage
from spikelens.config.items import Item, Read, extensions
from spikelens.keys import digest
from spikelens.stages import stage_module
from spikelens.versions import extension_hash, results_version

_REMEMBERED: ContextVar[dict[tuple[int, Stage, str], tuple[RunConfig, str]] | None] = ContextVar("remembered", default=None)


@contextmanager
def remembered() -> Iterator[None]:
    """Cache fingerprints in this context, since those of later stages contain those of earlier ones. Runs must not be changed in it."""
    token = _REMEMBERED.set({} if (known := _REMEMBERED.get()) is None else known)
    try:
        yield
    finally:
        _REMEMBERED.reset(token)


def fingerprint(run: RunConfig, stage: Stage, item: str = "") -> str:
    """Hash everything that the results of a stage or of one of its items depend on; 16 hexadecimal digits."""
    known = _REMEMBERED.get()
    if known is None:
        return _computed(run, stage, item)
    place = (id(run), stage, item)
    if place not in known:
        known[place] = run, _computed(run, stage, item)  # a reference to the run, so that no other object gets its id
    return known[place][1]


def _computed(run: RunConfig, stage: Stage, item: str) -> str:
    if (record := run.record) is not None:
        key: str = record[f"{stage}.{item}" if item else stage]["key"]
        return key
    read = [fingerprint(run, *source) for source in reads_of(run, stage, item)]
    return digest([stage_module(stage).configured(run, item), versions_of(run, stage, item), read])


def reads_of(run: RunConfig, stage: Stage, item: str = "") -> tuple[Read, ...]:
    """The results that a stage or one of its items reads."""
    if (record := run.record) is not None:
        return tuple(Read(*source) for source in record[f"{stage}.{item}" if item else stage]["reads"])
    found: tuple[Read, ...] = stage_module(stage).reads(run, item)
    return found


def versions_of(run: RunConfig, stage: Stage, item: str) -> list[int | str]:
    """The results versions of the code of a stage or of one of its items; for extensions, hashes of their files."""
    if item:
        return [_version(stage, run.items(stage)[item])]
    found = [(of, one) for of in STAGES for one in run.items(of).values()] if stage == "report" else []
    of_kinds = {(of, one.kind): _version(stage, one) for of, one in found}
    return [results_version(stage), *(version for _, version in sorted(of_kinds.items()))]


def _version(stage: Stage, item: Item) -> int | str:
    extension = extensions.source_of(type(item))
    return results_version(f"{stage}/{item.kind}") if extension is None else extension_hash(extension)

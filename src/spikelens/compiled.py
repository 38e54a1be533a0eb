"""Compiled functions, cached on disk by the code that they were compiled from.

numba's own cache watches the file of a function and not those of the functions that it calls: after a change in one of these, it
would go on with the old machine code, silently. So the cache is kept in a folder that is named by a hash of all our sources, and in
it one for each kind of processor: the nodes of a cluster may differ, and share it.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from pathlib import Path
from typing import Any

import numba as nb
from llvmlite import binding, ir
from numba.core import cgutils, types
from numba.extending import intrinsic

_KEPT = 3
"""Caches of so many versions of the code are kept."""


def _cache_folder() -> Path:
    package = Path(__file__).parent
    digest = hashlib.sha256()
    for path in sorted(package.rglob("*.py")):
        digest.update(path.relative_to(package).as_posix().encode() + b"\0" + path.read_bytes())
    named = os.environ.get("NUMBA_CACHE_DIR")
    if named:
        base = Path(named)
    elif os.access(package, os.W_OK):
        base = package / "__pycache__"
    else:
        base = Path.home() / ".cache" / "spikelens"
    return base / f"compiled-{digest.hexdigest()[:16]}" / (binding.get_host_cpu_name() or "generic")


def _forget_old(version: Path) -> None:
    """Remove the caches of versions long gone."""
    others = [path for path in version.parent.glob("compiled-*") if path != version]
    for path in sorted(others, key=lambda path: path.stat().st_mtime)[: -(_KEPT - 1)]:
        shutil.rmtree(path, ignore_errors=True)


_FOLDER = _cache_folder()
if not _FOLDER.is_dir():
    _FOLDER.mkdir(parents=True, exist_ok=True)
    _forget_old(_FOLDER.parent)
nb.config.CACHE_DIR = str(_FOLDER)


def compiled(function: Any = None, **options: Any) -> Any:
    """Compile a function with numba on its first call; `@compiled` or `@compiled(inline="always")`."""
    decorate = nb.njit(cache=True, **options)
    return decorate if function is None else decorate(function)


@intrinsic
def prefetch(_context: Any, array: Any, index: Any) -> Any:
    """Ask the processor to fetch array[index] into its caches for writing; a hint that changes nothing, whatever the index."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        data = context.make_array(signature.args[0])(context, builder, arguments[0]).data
        byte_pointer, word = ir.IntType(8).as_pointer(), ir.IntType(32)
        hint = cgutils.get_or_insert_function(
            builder.module, ir.FunctionType(ir.VoidType(), [byte_pointer, word, word, word]), "llvm.prefetch.p0i8"
        )
        place = builder.bitcast(builder.gep(data, [arguments[1]]), byte_pointer)
        for_writing, in_all_caches, data_cache = (ir.Constant(word, value) for value in (1, 3, 1))
        builder.call(hint, [place, for_writing, in_all_caches, data_cache])
        return context.get_dummy_value()

    return types.void(array, index), generate

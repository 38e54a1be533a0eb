"""Functions compiled by numba, with a disk cache that depends on all source files of the package.

numba's cache checks the file of a function, but not the files of the functions that it calls. After a change
in one of those it would silently use stale machine code. So the name of the cache folder contains a hash of
all our source files. It has a subfolder per processor type, since nodes of a cluster can differ and share the
cache.
"""

from __future__ import annotations

import errno
import hashlib
import logging
import os
import shutil
from pathlib import Path
from typing import Any

import numba as nb
from llvmlite import binding, ir
from numba.core import cgutils, types
from numba.extending import intrinsic

log = logging.getLogger(__name__)

_KEPT = 3
"""Number of code versions whose caches are kept."""


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


def _remove_old(version: Path) -> None:
    """Remove the caches of old versions."""
    others = [path for path in version.parent.glob("compiled-*") if path != version]
    for path in sorted(others, key=lambda path: path.stat().st_mtime)[: -(_KEPT - 1)]:
        shutil.rmtree(path, ignore_errors=True)


def _prepare_cache() -> Path | None:
    """Return the cache folder, created if missing. If it is not writable, warn and return None."""
    try:
        folder = _cache_folder()
    except RuntimeError as error:  # no home folder
        log.warning("compiled code cannot be cached (%s), so each job compiles it again; set NUMBA_CACHE_DIR", error)
        return None
    try:
        if not folder.is_dir():
            folder.mkdir(parents=True, exist_ok=True)
            _remove_old(folder.parent)
        if not os.access(folder, os.W_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
    except OSError as error:
        text = "compiled code cannot be cached in %s (%s), so each job compiles it again; set NUMBA_CACHE_DIR"
        log.warning(text, folder, error.strerror)
        return None
    return folder


_FOLDER = _prepare_cache()
if _FOLDER is not None:
    nb.config.CACHE_DIR = str(_FOLDER)


def compiled(function: Any = None, **options: Any) -> Any:
    """Compile a function with numba on its first call; `@compiled` or `@compiled(inline="always")`."""
    if function is None:
        return lambda given: compiled(given, **options)
    dispatcher = nb.njit(cache=_FOLDER is not None, **options)(function)
    if _FOLDER is not None and hasattr(dispatcher, "_cache"):  # plain functions if NUMBA_DISABLE_JIT is set
        _treat_damage_as_miss(dispatcher._cache._cache_file)
    return dispatcher


def _treat_damage_as_miss(file: Any) -> None:
    """Treat a damaged cache file as a cache miss; numba would raise an error in every later job."""
    load_index, load_data = file._load_index, file._load_data

    def index() -> Any:
        try:
            return load_index()
        except Exception as error:
            _discard(file._index_path, error)
            return {}

    def data(name: str) -> Any:
        try:
            return load_data(name)
        except OSError:
            raise
        except Exception as error:
            _discard(file._data_path(name), error)
            raise FileNotFoundError(name) from error  # numba treats it as a cache miss

    file._load_index, file._load_data = index, data


def _discard(path: str, error: Exception) -> None:
    log.warning("%s is damaged (%s); it is removed and the code is compiled again", path, error or type(error).__name__)
    Path(path).unlink(missing_ok=True)


@intrinsic
def prefetch(_context: Any, array: Any, index: Any) -> Any:
    """Prefetch array[index] into the processor's caches for writing; a hint, so any index is safe."""

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

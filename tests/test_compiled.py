"""Compiled code and its cache: an unwritable folder or damaged files cost time, but fail no job."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = """
import logging
logging.basicConfig(format="%(message)s")
from spikelens.compiled import compiled

@compiled
def twice(x):
    return 2 * x

print(twice(21))
"""


def call(tmp_path: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Compile and call a small function in a separate process."""
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    finished = subprocess.run(
        [sys.executable, str(script)], env={**os.environ, **environment}, capture_output=True, text=True, timeout=120, check=False
    )
    assert finished.returncode == 0, finished.stderr
    assert finished.stdout == "42\n"
    return finished


def test_code_is_compiled_without_a_writable_cache_folder(tmp_path):
    file = tmp_path / "file"
    file.write_text("no folder")
    finished = call(tmp_path, NUMBA_CACHE_DIR=str(file / "cache"))
    assert finished.stderr.count("\n") == 1
    assert f"compiled code cannot be cached in {file / 'cache'}" in finished.stderr


@pytest.mark.parametrize("ending", [".nbi", ".nbc"])
@pytest.mark.parametrize("left", [0, 20])
def test_a_damaged_cache_file_is_reported_removed_and_recreated(tmp_path, ending, left):
    cache = tmp_path / "cache"
    call(tmp_path, NUMBA_CACHE_DIR=str(cache))
    files = [path for path in cache.rglob(f"*{ending}") if "twice" in path.name]
    assert len(files) == 1
    whole = files[0].read_bytes()
    files[0].write_bytes(whole[:left])
    damaged = call(tmp_path, NUMBA_CACHE_DIR=str(cache))
    assert f"{files[0]} is damaged" in damaged.stderr
    assert call(tmp_path, NUMBA_CACHE_DIR=str(cache)).stderr == ""
    assert len(files[0].read_bytes()) > left

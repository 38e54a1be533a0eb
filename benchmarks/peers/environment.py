"""Environments of the other simulators, one each, since their pins exclude one another and ours."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
PINS = Path(__file__).with_name("environments")
FOLDER = ROOT / ".venv-peers"


class PeerError(Exception):
    """A peer cannot be set up or run; the message says why."""


def python_of(peer: str) -> Path:
    """Return the Python of a peer's environment, which is made first if it is not there or its pins have changed.

    Raises
    ------
    PeerError
        If packages cannot be installed, or a compiler that the peer needs is missing.
    """
    if peer == "brian2" and not (shutil.which("g++") and shutil.which("make")):
        raise PeerError("its C++ standalone mode needs g++ and make")
    pins, folder = PINS / f"{peer}-requirements.txt", FOLDER / peer
    python, ready = folder / "bin" / "python", folder / ".ready"
    if ready.is_file() and ready.read_bytes() == pins.read_bytes():
        return python
    _run([sys.executable, "-m", "venv", "--clear", str(folder)], "its environment cannot be made")
    _run([str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "-r", str(pins)], "pip cannot install it")
    ready.write_bytes(pins.read_bytes())
    return python


def run_module(python: Path, module: str, arguments: list[str]) -> str:
    """Run a module of this repository on one thread; returns what it wrote to standard output.

    Raises
    ------
    PeerError
        With the last line that it wrote to standard error.
    """
    quiet = {**os.environ, "PYNEST_QUIET": "1", "OMP_NUM_THREADS": "1"}
    ended = subprocess.run([str(python), "-m", module, *arguments], cwd=ROOT, env=quiet, capture_output=True, text=True, check=False)
    if ended.returncode:
        raise PeerError(f"{module} ended with {ended.returncode}: {_last_line(ended.stderr)}")
    return ended.stdout


def _run(command: list[str], failure: str) -> None:
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    if ended.returncode:
        raise PeerError(f"{failure}: {_last_line(ended.stderr)}")


def _last_line(text: str) -> str:
    lines = [line for line in text.splitlines() if line.strip()]
    return lines[-1].strip() if lines else "it said nothing"

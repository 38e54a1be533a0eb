"""Starting snakemake from a command of ours: with which Snakefile, profile and configuration, and what becomes of signals."""

from __future__ import annotations

import json
import logging
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

from spikelens.errors import SpikelensError

log = logging.getLogger(__name__)

CARRIED = Path(__file__).with_name("_workflow")
"""Where an installed package has the Snakefile, workflow/, profiles/ and config.yaml (setup.py puts them there)."""
CHECKOUT = Path(__file__).parents[2]
"""Where they are if the package was installed with `pip install -e`."""
_SAFE = "=.,:/+-_[]{} "
"""What may be in a text that goes through shells, besides letters and digits."""


def snakemake(configuration: str, settings: Sequence[str], *arguments: str) -> int:
    """Run snakemake on a configuration or the folder of a run, and return its exit code.

    The configuration is passed with `--config`: snakemake would refuse an empty `--configfile`, and a folder.
    """
    command = [
        "snakemake",
        "--snakefile",
        _found("Snakefile", "workflow/Snakefile"),
        *arguments,
        "--config",
        *as_config(configuration, settings),
    ]
    log.info("%s", shlex.join(command))
    with subprocess.Popen([sys.executable, "-m", *command]) as process, _passing_signals(process):
        code = _wait(process)
    return code if code >= 0 else 128 - code


def as_config(configuration: str, settings: Sequence[str]) -> list[str]:
    """What to pass with snakemake's `--config`.

    Snakemake writes it anew for the shell of each job that it submits, and does not escape quotes and dollars: they are written as in
    a URL, which `config.load` undoes.
    """
    given = [f"configuration={json.dumps(configuration, ensure_ascii=False)}"]
    if settings:
        given.append(f"set={json.dumps([quote(setting, safe=_SAFE) for setting in settings])}")
    return given


def profile(name: str) -> str:
    """The folder of a workflow profile."""
    return _found(name)


def workflow_folder() -> Path:
    """The folder of the Snakefile, workflow/, profiles/ and the full config.yaml that belong to this package."""
    return CARRIED if CARRIED.is_dir() else CHECKOUT


def _found(*names: str) -> str:
    """A file of the workflow: in the working folder, or where this package has it."""
    for place in (Path(), workflow_folder()):
        for name in names:
            if (place / name).exists():
                return str(place / name)
    raise SpikelensError(f"{names[0]}: not found, neither here nor in {workflow_folder()}; give a path from this folder")


def _wait(process: subprocess.Popen[bytes]) -> int:
    """Wait for snakemake. On Ctrl-C it gets the signal from the terminal, too, and ends its jobs before it ends itself."""
    while True:
        try:
            return process.wait()
        except KeyboardInterrupt:
            continue


@contextmanager
def _passing_signals(process: subprocess.Popen[bytes]) -> Iterator[None]:
    """Pass SIGTERM and SIGHUP on to snakemake: this process does not end before it."""
    kept = {number: signal.signal(number, lambda number, _: process.send_signal(number)) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in kept.items():
            signal.signal(number, handler)

"""Start snakemake: find the Snakefile and profiles, pass the configuration, forward signals."""

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
"""The Snakefile, workflow/, profiles/ and config.yaml of an installed package (copied there by setup.py)."""
CHECKOUT = Path(__file__).parents[2]
"""Their folder if the package was installed with `pip install -e`."""
_SAFE = "=.,:/+-_[]{} "
"""Characters, besides letters and digits, that need no escaping in shells."""


def snakemake(configuration: str, settings: Sequence[str], *arguments: str) -> int:
    """Run snakemake on a configuration or the folder of a run and return its exit code.

    The configuration is passed with `--config`, since `--configfile` accepts neither an empty file nor a
    folder.
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
    """Return the arguments for snakemake's `--config`.

    Snakemake repeats them in the shell command of each job that it submits, and does not escape quotes and
    dollar signs. So they are percent-encoded; `config.load` decodes them.
    """
    given = [f"configuration={json.dumps(configuration, ensure_ascii=False)}"]
    if settings:
        given.append(f"set={json.dumps([quote(setting, safe=_SAFE) for setting in settings])}")
    return given


def profile(name: str) -> str:
    """Return the folder of a workflow profile."""
    return _found(name)


def workflow_folder() -> Path:
    """Return the folder with this package's Snakefile, workflow/, profiles/ and full config.yaml."""
    return CARRIED if CARRIED.is_dir() else CHECKOUT


def _found(*names: str) -> str:
    """Find a file of the workflow in the working folder, or else in this package."""
    for place in (Path(), workflow_folder()):
        for name in names:
            if (place / name).exists():
                return str(place / name)
    raise SpikelensError(f"{names[0]}: not found, neither in this folder nor in {workflow_folder()}; give its path")


def _wait(process: subprocess.Popen[bytes]) -> int:
    """Wait for snakemake. On Ctrl-C, the terminal signals it too, and it stops its jobs and exits."""
    while True:
        try:
            return process.wait()
        except KeyboardInterrupt:
            continue


@contextmanager
def _passing_signals(process: subprocess.Popen[bytes]) -> Iterator[None]:
    """Forward SIGTERM and SIGHUP to snakemake, so that this process does not exit before it."""
    kept = {number: signal.signal(number, lambda number, _: process.send_signal(number)) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in kept.items():
            signal.signal(number, handler)

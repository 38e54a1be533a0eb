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

from spikelens.errors import SpikelensError

log = logging.getLogger(__name__)

CHECKOUT = Path(__file__).parents[2]
"""Where the Snakefile and the profiles are if the package was installed with `pip install -e`."""


def snakemake(configuration: str, settings: Sequence[str], *arguments: str) -> int:
    """Run snakemake on a configuration or the folder of a run, and return its exit code.

    The configuration is passed with `--config`: snakemake would refuse an empty `--configfile`, and a folder.
    """
    given = [f"configuration={json.dumps(configuration, ensure_ascii=False)}"]
    if settings:
        given.append(f"set={json.dumps(list(settings), ensure_ascii=False)}")
    command = ["snakemake", "--snakefile", _found("Snakefile", "workflow/Snakefile"), *arguments, "--config", *given]
    log.info("%s", shlex.join(command))
    with subprocess.Popen([sys.executable, "-m", *command]) as process, _passing_signals(process):
        code = _wait(process)
    return code if code >= 0 else 128 - code


def profile(name: str) -> str:
    """The folder of a workflow profile."""
    return _found(name)


def _found(*names: str) -> str:
    """A file of the workflow: in the working folder, or in the checkout that this package belongs to."""
    for place in (Path(), CHECKOUT):
        for name in names:
            if (place / name).exists():
                return str(place / name)
    raise SpikelensError(f"{names[0]}: not found here; run this in the folder of the Snakefile")


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

"""A folder to start from: `spikelens init` writes a short configuration, and a profile to edit. It overwrites nothing."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from spikelens.errors import SpikelensError, disk_remedy
from spikelens.launch import workflow_folder
from spikelens.names import CONFIG_YAML

TEMPLATE = """\
# A run of spikelens. Every key has a default, so this file needs only what differs from the reference network:
# 1,000 neurons, 180 s. The commented lines show defaults of keys that are often changed; units are in brackets.
#
#   spikelens check    what would be refused
#   spikelens plan     memory, files and time
#   spikelens run      all stages, then results/<name>/report.html
#
# `spikelens init --full` writes every key. To try a value without editing: spikelens run --set network.seed=2

run:
  name: reference                 # results go to results/<name>/

# sweep:
#   network.seed: [1, 2, 3]       # one run for each value, in results/<name>/network.seed=1/ and so on

# network:
#   seed: 1                       # of the wiring
#   block_size: 250               # neurons that one job and one file hold

# drive:
#   seed: 1                       # of the random input
#   kick_mv: 20.0                 # each ms, one of every 1,000 neurons receives this [mV]

# simulation:
#   duration_s: 180               # biological time [s]
#   segment_s: 60                 # biological time that one job simulates [s]
#   ranks: 2                      # MPI ranks; results do not depend on it

# features:
#   tau_ms: 20.0                  # time constant of spike traces and causal components [ms]

# training:
#   start_s: 50                   # earlier time is left out of all models, while STDP settles [s]

# models:                         # given ones replace the three of the reference network
#   autoencoder: {}
#   tft_population: {}
#   tft_neuron:
#     epochs: 8                   # at most
#     learning_rate: 0.003        # of Adam
"""


def files(*, full: bool = False, profiles: tuple[str, ...] = ()) -> Iterator[tuple[str, str]]:
    """Name and content of each file to write.

    Raises
    ------
    SpikelensError
        If there is no such profile.
    """
    source = workflow_folder()
    yield CONFIG_YAML, (source / CONFIG_YAML).read_text(encoding="utf-8") if full else TEMPLATE
    for name in profiles:
        path = Path("profiles", name, "config.yaml")
        known = sorted(folder.name for folder in (source / "profiles").iterdir())
        if name not in known:
            raise SpikelensError(f"--profile {name}: expected one of {', '.join(known)}")
        yield str(path), (source / path).read_text(encoding="utf-8")


def write(folder: Path, content: dict[str, str]) -> Iterator[str]:
    """Write files that are not there yet; one line for each says what became of it.

    Raises
    ------
    SpikelensError
        If a file cannot be written.
    """
    for name, text in content.items():
        path = folder / name
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("x", encoding="utf-8") as file:
                file.write(text)
        except (FileExistsError, NotADirectoryError) as error:
            if not os.path.lexists(path):  # the folder's place is taken by a file
                raise SpikelensError(f"{path.parent}: expected a folder, found a file; name another folder") from error
            yield f"{path} exists and stays as it is"
        except OSError as error:
            raise SpikelensError(f"{path} cannot be written: {error.strerror}; {disk_remedy(error)}") from error
        else:
            yield f"wrote {path}"

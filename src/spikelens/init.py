"""`spikelens init`: write a short configuration and profiles. It never overwrites files."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from spikelens.errors import SpikelensError, disk_remedy
from spikelens.launch import workflow_folder
from spikelens.names import CONFIG_YAML

TEMPLATE = """\
# Configuration of a spikelens run. All keys have defaults, so list only those that differ from the reference network:
# 1,000 neurons, 180 s. The commented lines show defaults of frequently changed keys; units are in brackets.
#
#   spikelens check    list errors in this file
#   spikelens plan     show the expected memory, files and time
#   spikelens run      run all stages and write results/<name>/report.html
#
# `spikelens init --full` writes all keys. To try a value without editing: spikelens run --set network.seed=2

run:
  name: reference                 # results go to results/<name>/

# sweep:
#   network.seed: [1, 2, 3]       # one run per value, in results/<name>/network.seed=1/ etc.

# network:
#   seed: 1                       # of the wiring
#   block_size: 250               # neurons per job and per file

# drive:
#   seed: 1                       # of the random input
#   kick_mv: 20.0                 # input to one of every 1,000 neurons, each ms [mV]

# simulation:
#   duration_s: 180               # biological time [s]
#   segment_s: 60                 # biological time per job [s]
#   ranks: 2                      # MPI ranks; results do not depend on it

# features:                       # features listed here replace the four of the reference network
#   spike_counts: {}
#   traces:
#     tau_ms: 20.0                # time constant of the spike traces [ms]
#   omega_pairs: {}
#   omega_synapses: {}

# training:
#   start_s: 50                   # models ignore the time before, in which STDP settles [s]

# models:                         # models listed here replace the three of the reference network
#   autoencoder: {}
#   tft_population: {}
#   tft_neuron:
#     epochs: 8                   # maximum
#     learning_rate: 0.003        # Adam
"""


def files(*, full: bool = False, profiles: tuple[str, ...] = ()) -> Iterator[tuple[str, str]]:
    """Yield the name and content of each file to write.

    Raises
    ------
    SpikelensError
        If a profile does not exist.
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
    """Write the files that do not exist yet; yield one line per file that says what was done.

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
            if not os.path.lexists(path):  # a file has the name of the folder
                raise SpikelensError(f"{path.parent}: expected a folder, found a file; name another folder") from error
            yield f"{path} exists and was not changed"
        except OSError as error:
            raise SpikelensError(f"{path} cannot be written: {error.strerror}; {disk_remedy(error)}") from error
        else:
            yield f"wrote {path}"

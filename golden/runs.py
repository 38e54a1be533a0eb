"""Run the golden configurations and print checksums of their results.

    python -m golden.runs CONFIGURATIONS FOLDER [--exact]

runs each CONFIGURATIONS/*.yaml in a subfolder of FOLDER with the code that Python imports, and prints a
`Golden` as JSON. For another version of the code, call this module of that version: it knows which files its
code writes.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import json
import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from spikelens.cli import main as spikelens
from spikelens.config import RunConfig, load_run
from spikelens.config.load import load
from spikelens.jobs import jobs_of
from spikelens.layouts import block_group, block_stores, layout, recorded_group, stores_of
from spikelens.outputs import feature_block, feature_output, has_blocks
from spikelens.places import root
from spikelens.stores import read_array
from spikelens.versions import Item

CONFIGURATIONS = Path(__file__).parent
STAGES = ("network", "simulate", "recording", "features", "train", "infer", "explain", "report")
EXACT_STAGES = STAGES[:4]
"""Commands of the stages whose integer results are the same on any machine."""
_TIMES = ("wall_s", "wall_seconds", "cpu_seconds", "seconds")
"""Keys of JSON files whose values are times."""


@dataclass(frozen=True)
class Golden:
    """Checksums of the results of the golden runs."""

    files: dict[Item, dict[str, str]]
    """Item -> file, relative to the folder of its results -> checksum of its content without times."""
    exact: dict[str, str]
    """Integer array -> checksum of its values, which are the same on any machine."""


def golden(configurations: Path, folder: Path, commands: Sequence[str] = STAGES) -> Golden:
    """Run every golden configuration and compute the checksums of its results."""
    files: dict[Item, dict[str, str]] = {}
    exact: dict[str, str] = {}
    for configuration in sorted(configurations.glob("*.yaml")):
        run = make(configuration, folder / configuration.stem, commands)
        with contextlib.chdir(folder / configuration.stem):
            for item, name, path in results(run):
                if path.is_file():
                    files.setdefault(item, {})[f"{configuration.stem}/{name}"] = checksum(path)
            exact |= {f"{configuration.stem}/{name}": value for name, value in exact_arrays(run)}
    return Golden(files, exact)


def make(configuration: Path, folder: Path, commands: Sequence[str]) -> RunConfig:
    """Run the commands of stages on a golden configuration in a folder, as a user would."""
    folder.mkdir(parents=True)
    write_tables(folder)
    (folder / "config.yaml").write_bytes(configuration.read_bytes())
    place = f"results/{configuration.stem}"
    with contextlib.chdir(folder):
        unused = ("recording",) if load(["config.yaml"])[0].has_network else ("network", "simulate")
        chosen = (command for command in commands if command not in unused)
        for command in (("prepare", "config.yaml"), *((command, place) for command in chosen)):
            with contextlib.redirect_stdout(sys.stderr):  # stdout is for JSON only
                code = spikelens(list(command))
            if code:
                raise SystemExit(f"{configuration}: `spikelens {' '.join(command)}` exited with {code}")
        return load_run(place)


def write_tables(folder: Path) -> None:
    """Write the input tables of the golden configurations, by formulas without random numbers."""
    edges = [(source, (source + 7 * k * k + 1) % 100, 1 + (source + k) % 9) for source in range(100) for k in range(1, 13)]
    edges = sorted({edge for edge in edges if edge[0] != edge[1]})
    lines = [f"{source},{target},{delay},{9.0 if source < 80 else -6.0},{int(source < 80)}" for source, target, delay in edges]
    (folder / "edges.csv").write_text("\n".join(["source,target,delay_ms,weight_mv,plastic", *lines, ""]))
    events = [f"{13 * k % 5000},{k % 100},{5 + k % 20}" for k in range(300)]
    (folder / "events.csv").write_text("\n".join(["step,neuron,mv", *events, ""]))
    # about 8 Hz; some spikes share a millisecond
    spikes = [f"{(37 * k * k + 11 * k) % 50_000 / 10},{(7 * k + k // 13) % 100}" for k in range(4_000)]
    (folder / "spikes.csv").write_text("\n".join(["time_ms,neuron", *spikes, ""]))


def results(run: RunConfig) -> Iterator[tuple[Item, str, Path]]:
    """Every file that the jobs of a run write: its item, its name relative to the item's folder, its path."""
    for job in jobs_of(run):
        item = f"{job.stage}/{run.items(job.stage)[job.work.item].kind}" if job.work.item else job.stage
        for file in job.files:
            if "/stamp/" not in file:  # provenance: the fingerprint
                yield item, f"{job.work.item}/{file.removeprefix(f'{job.work.folder}/')}", root(run) / file


def checksum(path: Path) -> str:
    """Hash a file without the measured times in it."""
    reader = _WITHOUT_TIMES.get(path.suffix)
    content = path.read_bytes() if reader is None else reader(path.read_text(encoding="utf-8")).encode()
    return _digest(content)


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:16]


def _without_times(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _without_times(part) for key, part in value.items() if key not in _TIMES}
    return [_without_times(part) for part in value] if isinstance(value, list) else value


def _json_without_times(text: str) -> str:
    return json.dumps(_without_times(json.loads(text)))


_WITHOUT_TIMES: dict[str, Callable[[str], str]] = {
    ".json": _json_without_times,
    ".jsonl": lambda text: "\n".join(map(_json_without_times, text.splitlines())),
    # elements of the report that show times, versions and the commit
    ".html": lambda text: re.sub(r"<(\w+)[^>]* data-varies>.*?</\1>", "", text, flags=re.DOTALL),
}


def exact_arrays(run: RunConfig) -> Iterator[tuple[str, str]]:
    """Checksums of the integer arrays of network, simulation and spike counts, independent of compression."""
    groups = {f"{store}": layout(run, store) for store in stores_of(run)}
    for name in run.computed_features:
        groups[f"features/{name}"] = feature_output(run, name)
        if has_blocks(run, name):
            groups |= {f"features/{name}/{block}": feature_block(run, name, block) for block in range(run.n_blocks)}
    for store in block_stores(run):
        groups |= {f"{store}/{block}": block_group(run, store, block) for block in range(run.n_blocks)}
    if run.records and run.simulation.record.synapses:
        groups["records/synapses"] = recorded_group(run)
    for name, group in groups.items():
        for array, spec in group.arrays.items():
            if np.dtype(spec.dtype).kind in "biu" and array != "stamp":
                values = np.ascontiguousarray(read_array(group, array)).astype(np.dtype(spec.dtype).newbyteorder("<"))
                yield f"{name}/{array}", _digest(values.tobytes())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("configurations", type=Path)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--exact", action="store_true", help="run only the stages whose integer results are the same on any machine")
    options = parser.parse_args()
    commands = EXACT_STAGES if options.exact else STAGES
    print(json.dumps(asdict(golden(options.configurations.resolve(), options.folder.resolve(), commands))))


if __name__ == "__main__":
    main()

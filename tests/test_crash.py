"""Crashes, full disks, flipped bits: they are reported, cost at most a segment, and change no result."""

from __future__ import annotations

import os
import random
import re
import shutil
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import psutil
import pytest
from conftest import small_config
from projects import kill_all
from test_report import synthetic_run
from test_simulation import MPIEXEC, QUICK

from spikelens.cli import main
from spikelens.config import load_run, load_runs
from spikelens.errors import StoreError
from spikelens.layouts import OWNER, block_group, layout, store_path
from spikelens.network.build import build_blocks
from spikelens.outputs import feature_output, method_output, model_outputs
from spikelens.prepare import prepare, verify
from spikelens.simulation.run import simulate_segment
from spikelens.stores import ensure, read_array, read_shard, write_shard

FAILING_RANK = Path(__file__).with_name("failing_rank.py")
SIMULATED = ("spikes", "weights", "state")
N_SEGMENTS = 3


def build(folder, changes=None):
    """A run of 200 spiking neurons with 3 segments of 1 s and two recorded neurons; its network is built."""
    run = load_runs(small_config(folder, {**QUICK, "simulation.record.neurons": [0, 150], **(changes or {})}))[0]
    prepare(run)
    build_blocks(run, range(run.n_blocks))
    return run


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    return build(tmp_path_factory.mktemp("built"))


@pytest.fixture(scope="module")
def undisturbed(built, tmp_path_factory):
    """The same run, simulated by one process without interruption."""
    run = copy_of(built, tmp_path_factory.mktemp("undisturbed") / "run")
    for segment in range(run.n_segments):
        simulate_segment(run, segment)
    assert read_array(layout(run, "spikes"), "spikes").sum() > 1000
    return run


def copy_of(run, folder):
    shutil.copytree(run.folder, folder, symlinks=True)  # keeps modification times
    return load_run(folder)


def contents(run, stores=SIMULATED):
    """All files of some stores by path, including temporary ones."""
    files = [path for store in stores for path in store_path(run, store).rglob("*") if path.is_file()]
    return {str(path.relative_to(run.folder)): path.read_bytes() for path in files}


def stored(run):
    """Every file of every store by its path."""
    folders = [place for place in run.folder.iterdir() if place.name != "current"]
    return {path: path.read_bytes() for folder in folders for path in folder.rglob("*.zarr/**/*") if path.is_file()}


def shards(run, segments):
    """The files that the simulation writes for some segments."""
    groups = [layout(run, store) for store in SIMULATED]
    groups += [block_group(run, store, block) for store in ("weights", "state") for block in range(run.n_blocks)]
    return [path for group in groups for path in group.shard_paths(None, segments)]


def is_complete(run, segment):
    """Shards get their final name when complete, so a segment is complete if all its files exist."""
    return all(path.is_file() for path in shards(run, [segment]))


def command(run, ranks, segments=None):
    chosen = [] if segments is None else ["--segments", f"{segments.start}:{segments.stop}"]
    ours = [sys.executable, "-m", "spikelens", "simulate", run.path, *chosen, "--ranks", str(ranks)]
    return [str(MPIEXEC), "-n", str(ranks), *ours]


def go_on(run, ranks):
    """Do what `make run` does after a crash: prepare, then simulate from the first incomplete segment."""
    prepare(run)
    first = next(segment for segment in range(N_SEGMENTS) if not is_complete(run, segment))
    before = {path: path.stat().st_mtime_ns for path in shards(run, range(first))}
    finished = subprocess.run(command(run, ranks, range(first, N_SEGMENTS)), capture_output=True, text=True, timeout=120)
    assert finished.returncode == 0, finished.stderr
    assert {path: path.stat().st_mtime_ns for path in before} == before, "a complete segment was written again"


def check_nothing_is_half_written(run):
    """Files can be missing, and unfinished ones have temporary names; all others are complete."""
    for fault in verify(run):
        assert "is missing; run" in fault or re.match(r"\S+/\.[^/]+\.partial: unexpected file", fault), fault


# --- a killed job --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Kill:
    """A kill `after_s` after the start of a phase; the run continues with another number of ranks."""

    ranks: int
    then: int
    phase: str
    segment: int
    after_s: float


RANKS = [(2, 1), (1, 2), (2, 3), (3, 1), (2, 4), (1, 3), (4, 2), (2, 1), (3, 2), (1, 4)]
LENGTH_S = {"start": 1.2, "stepping": 0.2, "writing": 0.12}
"""Approximate duration of a phase."""


def twenty_kills():
    """Random times during start-up, stepping and writing, in all segments."""
    rng = random.Random(20)
    phases = 5 * [("start", 0)] + [("stepping", s) for s in (1, 2, 1, 2, 1)] + [("writing", s) for s in (0, 1, 2, 0, 1, 2, 0, 1, 2, 1)]
    rng.shuffle(phases)
    return [Kill(*pair, *phase, rng.random() * LENGTH_S[phase[0]]) for pair, phase in zip(2 * RANKS, phases, strict=True)]


def wait_for(kill, paths, job):
    """Wait until the time of the kill, or until the job has finished; `paths`: the files of each segment."""
    begun = {
        "start": lambda: True,
        "stepping": lambda: all(path.is_file() for path in paths[kill.segment - 1]),
        "writing": lambda: any(path.is_file() for path in paths[kill.segment]),
    }
    while not begun[kill.phase]() and job.poll() is None:
        time.sleep(0.005)
    time.sleep(kill.after_s)


def survive(kill, built, expected, folder):
    """Kill the job and continue; return the number of segments complete then, and of files of the next."""
    run = copy_of(built, folder)
    paths = [shards(run, [segment]) for segment in range(N_SEGMENTS)]
    job = psutil.Popen(command(run, kill.ranks), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    wait_for(kill, paths, job)
    at_work = kill_all(job)
    there = [sum(path.is_file() for path in of_segment) for of_segment in paths]
    complete = [n == len(of_segment) for n, of_segment in zip(there, paths, strict=True)]
    if not at_work or all(complete):  # too late on a fast machine: try earlier
        shutil.rmtree(folder)
        return survive(replace(kill, after_s=kill.after_s / 2), built, expected, folder)
    go_on(run, kill.then)
    assert contents(run) == expected, f"{kill}: other bytes than without a kill"
    return sum(complete), there[sum(complete)]


@pytest.mark.slow
def test_after_sigkill_at_20_times_another_number_of_ranks_gives_the_same_bytes(built, undisturbed, tmp_path):
    """All files of spikes, weights and state are the same; complete segments are not written again."""
    kills, expected = twenty_kills(), contents(undisturbed)
    with ThreadPoolExecutor(2) as pool:
        landed = list(pool.map(lambda i: survive(kills[i], built, expected, tmp_path / str(i)), range(20)))
    assert {complete for complete, _ in landed} >= {0, 1, 2}
    assert sum(begun > 0 for _, begun in landed) >= 3, "too few kills hit a partially written segment"


# --- a failing rank ------------------------------------------------------------------------------------------------------


def beside_sound_ranks(run, how):
    """Three ranks, of which rank 1 fails."""
    sound = ["-n", "1", sys.executable, "-m", "spikelens"]
    failing = ["-n", "1", sys.executable, str(FAILING_RANK), how]
    simulate = ["simulate", run.path, "--ranks", "3"]
    return [str(MPIEXEC), *sound, *simulate, ":", *failing, *simulate, ":", *sound, *simulate]


def left_behind():
    """Processes that this test and its children have started: all have its name in their environment."""
    found = []
    for process in psutil.process_iter():
        try:
            name = process.environ().get("PYTEST_CURRENT_TEST")
        except psutil.Error:  # it is exiting, or belongs to another user
            continue
        if name == os.environ["PYTEST_CURRENT_TEST"] and process.pid != os.getpid():
            found.append(process)
    return found


def watch(job, sign):
    """Return a job's output, and the time [s] from a line with `sign` to the exit of all processes."""
    lines, seen = [], None
    for line in job.stderr:
        lines.append(line)
        if seen is None and re.search(sign, line):
            seen = time.monotonic()
    assert seen is not None, "".join(lines)
    job.wait(timeout=60)
    while left_behind():
        time.sleep(0.02)
    return "".join(lines), time.monotonic() - seen


@pytest.mark.slow
def test_a_failing_rank_aborts_all_ranks_and_reports_its_number_and_error(built, undisturbed, tmp_path):
    """It fails in its third write, while the others write or wait; then two ranks continue the run."""
    run = copy_of(built, tmp_path / "run")
    job = psutil.Popen(beside_sound_ranks(run, "exception"), stderr=subprocess.PIPE, text=True)
    text, lasted_s = watch(job, "^rank 1 failed$")
    assert re.search(r"^rank 1 failed\n(.*\n)+RuntimeError: struck by a test$", text, flags=re.MULTILINE), text
    assert "died first" not in text
    assert job.returncode == 1
    assert lasted_s < 10
    check_nothing_is_half_written(run)
    go_on(run, 2)
    assert contents(run) == contents(undisturbed)


@pytest.mark.slow
def test_a_rank_out_of_memory_aborts_all_ranks_and_reports_its_number_and_a_remedy(tmp_path):
    """With 1.2 million synapses, a rank needs more memory than failing_rank.py allows."""
    counts = {"network.neurons": 2000, "network.populations.E.count": 1600, "network.populations.I.count": 400}
    run = build(tmp_path, {**counts, "network.block_size": 500, "simulation.chunk_neurons": 500})
    job = psutil.Popen(beside_sound_ranks(run, "memory"), stderr=subprocess.PIPE, text=True)
    text, lasted_s = watch(job, r"^rank 1: out of memory \((Unable to allocate|can't start new thread).*\); use machines with more")
    assert "Traceback" not in text
    assert "died first" not in text
    assert job.returncode == 2
    assert lasted_s < 10
    check_nothing_is_half_written(run)


@pytest.mark.slow
@pytest.mark.parametrize("rank", [0, 2])
def test_a_killed_rank_ends_all_ranks_and_is_reported(tmp_path, rank):
    """It is killed during stepping: no other rank reports anything, and mpiexec does not name the rank."""
    run = build(tmp_path, {"simulation.duration_s": 300, "simulation.segment_s": 300})
    log = tmp_path / "x.log"
    job = psutil.Popen([*command(run, 3), "--log", str(log)], stderr=subprocess.PIPE, text=True)
    begun = job.stderr.readline()
    assert "of 300,000 ms" in begun
    killed = next(p for p in job.children(recursive=True) if "spikelens" in p.cmdline() and p.environ()["PMI_RANK"] == str(rank))
    killed.kill()
    message = rf"^rank {rank} \(process {killed.pid}\) on \S+ died first, without an error message: probably killed"
    text, lasted_s = watch(job, message)
    assert lasted_s < 10
    assert job.returncode != 0
    assert re.findall(r"^.*died first.*\n", log.read_text(), flags=re.MULTILINE) == re.findall(r".*died first.*\n", text)
    check_nothing_is_half_written(run)


# --- a full disk ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def small_disk(tmp_path):
    """A separate file system of 16 MB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=16m", "tmpfs", str(disk)], capture_output=True, text=True)
    if mounted.returncode:
        pytest.skip(f"NOT TESTED: a full disk needs a file system of its own, and mount says {mounted.stderr.strip()!r}; run this as root")
    yield disk
    subprocess.run(["umount", "--lazy", str(disk)], check=True)


def fill(disk):
    """Fill the disk except for 64 kB, which is less than a segment needs."""
    free = os.statvfs(disk)
    filler = disk / "filler"
    filler.write_bytes(bytes(free.f_bavail * free.f_bsize - 64 * 1024))
    return filler


@pytest.mark.slow
def test_a_full_disk_aborts_all_ranks_with_file_and_remedy_and_the_run_can_continue(built, undisturbed, small_disk, capsys):
    run = copy_of(built, small_disk / "run")
    filler = fill(small_disk)
    log = [*command(run, 2), "--log", str(run.folder / "logs/0.log")]
    job = psutil.Popen(log, stderr=subprocess.PIPE, text=True)
    full = r"/run/\S+ cannot be written: No space left on device; free space .*, then run snakemake again$"
    text, lasted_s = watch(job, rf"^rank [01]: \S+{full}")
    assert job.returncode == 2
    assert "Traceback" not in text
    assert lasted_s < 10
    check_nothing_is_half_written(run)
    filler.unlink()
    go_on(run, 3)
    assert contents(run) == contents(undisturbed)

    fill(small_disk)
    assert main(["features", run.path]) == 2
    assert re.search(full, capsys.readouterr().err, flags=re.MULTILINE)


def test_a_log_that_cannot_be_written_is_reported(built, tmp_path, capsys):
    (tmp_path / "file").touch()
    assert main(["network", built.path, "--log", str(tmp_path / "file/x.log")]) == 2
    assert f"--log {tmp_path}/file/x.log cannot be written: File exists; make it writable" in capsys.readouterr().err


# --- damage ---------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def whole(undisturbed, tmp_path_factory):
    """A run with all shards of all stores; those of models and methods contain random numbers."""
    run = copy_of(undisturbed, tmp_path_factory.mktemp("whole") / "run")
    assert main(["features", run.path]) == 0
    rng = np.random.default_rng(3)
    for group in (*model_outputs(run), *(method_output(run, name) for name in run.methods)):
        ensure(group)
        for name, spec in group.arrays.items():
            write_shard(group, name, (0,) * len(spec.shape), rng.random(spec.shape).astype(spec.dtype))
    assert verify(run) == []
    return run


def flip_any(path, rng):
    content = bytearray(path.read_bytes())
    bit = rng.randrange(8 * len(content))
    content[bit // 8] ^= 1 << bit % 8
    path.write_bytes(content)


@pytest.mark.slow
def test_verify_reports_100_of_100_flipped_bits_with_the_file(whole, tmp_path, capsys):
    """In shards of all stores and in coordinates; ten at a time."""
    run = copy_of(whole, tmp_path / "run")
    rng = random.Random(100)
    found = sorted(path for path in run.folder.rglob("*.zarr/**/c/**/*") if path.is_file())
    every = [path for path in found if path.relative_to(run.folder).parts[0] not in ("current", "models", "explanation")]
    places = {path.relative_to(run.folder).parts for path in every}
    assert {parts[2] for parts in places if parts[0] != "features"} == {f"{store}.zarr" for store in OWNER}
    assert {parts[1] for parts in places if parts[0] == "features"} == set(run.computed_features)
    chosen = rng.sample(every, 100)
    # without in-degrees, other files of a block cannot be distinguished from foreign files
    alone = [[path] for path in chosen if "in_degree" in path.parts]
    others = [path for path in chosen if "in_degree" not in path.parts]
    for damaged in alone + [others[i : i + 10] for i in range(0, len(others), 10)]:
        sound = {path: path.read_bytes() for path in damaged}
        for path in damaged:
            flip_any(path, rng)
        faults = verify(run)
        assert sorted(re.match(r"(\S+?):? ", fault)[1] for fault in faults) == sorted(map(str, damaged))
        for path, content in sound.items():
            path.write_bytes(content)
    flip_any(chosen[0], rng)
    assert main(["verify", run.path]) == 2
    assert str(chosen[0]) in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.parametrize(
    ("group_of", "array", "index"),
    [
        (lambda run: layout(run, "state"), "v", (0, 1)),
        (lambda run: layout(run, "spikes"), "spikes", (2, 3)),
        (lambda run: feature_output(run, "spike_counts"), "count", (1, 0)),
    ],
    ids=["state", "spikes", "feature"],
)
def test_any_changed_byte_of_a_shard_is_detected(whole, tmp_path, group_of, array, index):
    """One bit of each byte (data, checksums, index); truncation at each byte; one additional byte."""
    run = copy_of(whole, tmp_path / "run")
    group = group_of(run)
    path = group.shard_path(array, index)
    sound, rng = path.read_bytes(), random.Random(5)
    damaged = [sound[:length] for length in range(len(sound))] + [sound + b"\0", b"\0" + sound]
    for place, byte in enumerate(sound):
        damaged.append(sound[:place] + bytes([byte ^ 1 << rng.randrange(8)]) + sound[place + 1 :])
    for content in damaged:
        path.write_bytes(content)
        with pytest.raises(StoreError, match=re.escape(str(path))):
            read_shard(group, array, index)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("damaged", "stage"),
    [
        (f"current/network.zarr/blocks/1/{name}/c/0", ["simulate", "--segments", "0"])
        for name in ("source", "target", "delay", "weight", "plastic")
    ]
    + [("current/network.zarr/in_degree/c/1", ["simulate", "--segments", "0"])]
    + [(f"current/state.zarr/{shard}", ["simulate", "--segments", "1"]) for shard in ("v/c/0/1", "u/c/0/0", "last_spike/c/0/3")]
    + [(f"current/state.zarr/{shard}", ["simulate", "--segments", "1"]) for shard in ("recent_spikes/c/0/0/2", "stamp/c/0/3/0")]
    + [("current/state.zarr/blocks/2/weight_change/c/0/0", ["simulate", "--segments", "1"])]
    + [("current/weights.zarr/2/weight/c/1/0", ["simulate", "--segments", "2"])]
    + [("current/spikes.zarr/spikes/c/0/1", ["features", "--segments", segment, "--blocks", "1"]) for segment in "01"]
    + [("current/weights.zarr/1/weight/c/0/0", ["features", "--segments", "1", "--blocks", "1"])]
    + [("current/spikes.zarr/spikes/c/1/2", ["train", "--model", model]) for model in ("tft_neuron", "tft_population", "autoencoder")]
    + [("current/features/omega_pairs/output.zarr/omega/c/1/0/2", ["infer", "--method", "omega"])]
    + [("current/features/omega_synapses/output.zarr/blocks/1/omega/c/2/0", ["infer", "--method", "omega"])],
)
def test_all_stages_refuse_a_damaged_shard(whole, tmp_path, capsys, damaged, stage):
    """The stage exits with 2, names the file, and leaves no results that were computed with it."""
    run = copy_of(whole, tmp_path / "run")
    flip_any(run.folder / damaged, random.Random(damaged))
    for manifests in list(run.folder.rglob("manifests")):
        shutil.rmtree(manifests)  # with them, jobs that are done would have nothing to do
    before = stored(run)
    assert main([stage[0], run.path, *stage[1:]]) == 2
    assert f"{(run.folder / damaged).resolve()} cannot be read" in capsys.readouterr().err
    assert stored(run) == before
    assert not [path for path in (run.folder / "models").rglob("*") if path.is_file() and "output.zarr" not in path.parts]


@pytest.mark.slow
@pytest.mark.parametrize(
    "damaged",
    [
        "current/methods/attention/output.zarr/attention/c/0/0/0/0/0",
        "current/spikes.zarr/spikes/c/2/1",
        "current/weights.zarr/1/weight/c/2/0",
    ],
)
def test_the_report_refuses_a_damaged_shard(tmp_path, capsys, damaged):
    run, _ = synthetic_run(tmp_path)
    flip_any(run.folder / damaged, random.Random(6))
    assert main(["report", run.path]) == 2
    assert f"{(run.folder / damaged).resolve()} cannot be read" in capsys.readouterr().err
    assert not (run.folder / "current" / "summary.json").exists()

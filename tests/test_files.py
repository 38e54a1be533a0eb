"""Damaged, missing and foreign files in our folders: messages name the file and the remedy; no tracebacks."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
from test_report import synthetic_run
from test_stores import TINY, fill_run

import spikelens
from spikelens import manifests
from spikelens.cli import main
from spikelens.errors import SpikelensError, StoreError
from spikelens.files import in_its_place, read_benchmark, read_json, read_json_lines, read_json_rows
from spikelens.jobs import benchmarks_of, job_of
from spikelens.layouts import layout
from spikelens.models.load import load
from spikelens.places import model_folder, place_of, root
from spikelens.plan import measured_jobs
from spikelens.prepare import consolidate, heal, prepare, verify
from spikelens.report.contents import figures_of
from spikelens.report.run import render
from spikelens.report.summary import facts_of, write_summary
from spikelens.stores import open_group, write_shard

DAMAGE = {
    "empty": b"",
    "zeros": bytes(100),
    "binary": b"\xff\xfe\x00\x01",
    "null": b"null",
    "number": b"5",
    "cut off": b'{"path": "resul',
    "deep": b"[" * 100_000,
}


@pytest.mark.parametrize("content", [*DAMAGE.values(), b"[]", b"{}", b'{"n": "1"}', b'{"n": true}', b'{"n": null}', b'{"n": NaN}'])
def test_unexpected_content_is_reported_as_damage_with_a_remedy(tmp_path, content):
    path = tmp_path / "file.json"
    path.write_bytes(content)
    with pytest.raises(StoreError, match=r"file\.json is damaged: .+; run snakemake"):
        read_json(path, {"n": int}, "run snakemake")
    if content != b"[]":
        with pytest.raises(StoreError, match=r"file\.json is damaged: .+; delete it, then run snakemake"):
            read_json_rows(path, {"n": int})


def test_messages_name_the_row_or_line_and_what_was_expected_and_found(tmp_path):
    path = tmp_path / "file.json"
    path.write_text('[{"n": 1}, {"n": 1.5}]')
    with pytest.raises(StoreError, match=r"damaged: row 1: n is a number, expected a whole number; "):
        read_json_rows(path, {"n": int})
    path.write_text('{"n": 1}\n\n{"m": 1}\n')
    with pytest.raises(StoreError, match=r"damaged: line 3: it has no n; "):
        read_json_lines(path, {"n": int})
    path.write_text('{"n": 1}\n\n{"n": 2, "m": null}\n')
    assert read_json_lines(path, {"n": (int, float)}) == [{"n": 1}, {"n": 2, "m": None}]
    with pytest.raises(StoreError, match=r"nothing\.json is missing; run snakemake to recreate it"):
        read_json(tmp_path / "nothing.json", {})


@pytest.mark.parametrize(
    "content", [*DAMAGE.values(), b"s\tmax_rss\n", b"s\tmax_rss\nNA\t-\n", b"s\n\x00\n", b"x" * 200_000, b"s\nnan\n-1\n"]
)
def test_damaged_timings_are_skipped(tmp_path, content):
    path = tmp_path / "benchmark.tsv"
    path.write_bytes(content)
    assert read_benchmark(path) == []


def test_timings_are_read_if_the_memory_was_not_measured(tmp_path):
    path = tmp_path / "benchmark.tsv"
    path.write_text("s\th:m:s\tmax_rss\n1.5\t0:00:01\t-\n2.5\t0:00:02\t12.25\n")
    assert read_benchmark(path) == [(1.5, None, None), (2.5, 12.25, None)]
    assert read_benchmark(tmp_path) == read_benchmark(tmp_path / "nothing") == []


# --- config.json --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("content", [*DAMAGE.values(), b"[]", b"{}", b'{"path": 5}'])
@pytest.mark.parametrize("command", [["status"], ["verify"], ["clean"], ["network"], ["check"]], ids=" ".join)
def test_all_commands_name_a_damaged_configuration_of_a_run(make_run, capsys, content, command):
    run = make_run()
    (run.folder / "config.json").write_bytes(content)
    assert main([*command, run.path]) == 2
    assert f"{run.path}/config.json is damaged: " in capsys.readouterr().err


def test_a_folder_or_dangling_link_with_the_name_of_a_configuration_is_reported(make_run, capsys):
    run = make_run()
    path = run.folder / "config.json"
    path.unlink()
    path.symlink_to("nowhere")
    assert main(["status", run.path]) == 2
    assert f"{path} is missing; a link to nowhere, which does not exist, is in its place; remove it" in capsys.readouterr().err
    path.unlink()
    path.mkdir()
    assert main(["status", run.path]) == 2
    assert f"{path}: a folder is in its place; remove it" in capsys.readouterr().err


def test_clean_fails_on_a_damaged_registered_configuration_but_ignores_foreign_files(make_run, capsys):
    run = make_run()
    registered = next((run.folder / "configurations").glob("*.json"))
    for name in (".DS_Store", "note.txt", "._note.json", "note.json"):
        (registered.parent / name).write_bytes(b"\xff")
    assert main(["clean", run.path, "--yes"]) == 0
    registered.write_bytes(b"{}")
    assert main(["clean", run.path, "--yes"]) == 2
    assert "the results that it uses are unknown" in capsys.readouterr().err


# --- results ------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def explained(tmp_path_factory):
    return synthetic_run(tmp_path_factory.mktemp("files"))[0]


@pytest.fixture
def run(explained, tmp_path):
    """A copy of a run with results up to the explanation, which tests can damage."""
    shutil.copytree(explained.folder, tmp_path / "run", symlinks=True)
    return explained.model_copy(update={"path": str(tmp_path / "run")})


def drawn(run, name):
    return render(run, next(shown for shown in figures_of(run) if shown.name == name))


READERS = {
    "model.json": (lambda run: model_folder(run, "tft_neuron", 1), lambda run: write_summary(run, facts_of(run), 0.0)),
    "history.jsonl": (lambda run: model_folder(run, "autoencoder", 1), lambda run: drawn(run, "learning")),
    "scores.json": (lambda run: place_of(run, "explanation"), lambda run: drawn(run, "scores")),
    "associations.json": (lambda run: place_of(run, "explanation"), lambda run: write_summary(run, facts_of(run), 0.0)),
}
"""Path of each result, and a part of the report that reads it."""


@pytest.mark.parametrize("name", READERS)
def test_the_report_names_a_damaged_result(run, name):
    folder, read = READERS[name]
    path = folder(run) / name
    for content in (*DAMAGE.values(), *([b"[[]]"] if name == "associations.json" else [b"[{}]", b'{"scores": 1}'])):
        path.write_bytes(content)
        with pytest.raises(StoreError, match=f"{path} is damaged: "):
            read(run)


@pytest.mark.parametrize(
    "change", [{"options": {"kind": "tft", "history": "x"}}, {"scaling": {"mean": "x", "std": 1}}, {"weights_sha256": None}, None]
)
def test_a_model_that_cannot_be_built_from_its_description_names_it(run, change):
    path = model_folder(run, "tft_neuron", 1) / "model.json"
    whole = {**json.loads(path.read_text()), "scaling": {"mean": [1.0], "std": [1.0]}, "weights_sha256": "0"}
    path.write_text(json.dumps(change and {**whole, **change}))
    with pytest.raises(SpikelensError, match=f"{path} is damaged: .*train the model again"):
        load(run, "tft_neuron", 1)


def test_report_and_plan_ignore_damaged_timings(run):
    folder = place_of(run, "simulation") / "benchmarks"
    folder.mkdir()
    (folder / "0.tsv").write_bytes(b"\xff\x00\n\x00")
    (folder / "1.tsv").write_text("s\tmax_rss\n2.5\t10\n")
    (folder / "2.tsv").mkdir()
    write_summary(run, facts_of(run, benchmarks_of(run)), 0.0)
    summary = json.loads((place_of(run, "report") / "summary.json").read_text())
    assert (summary["simulation"]["wall_seconds"], summary["simulation"]["jobs"]) == (2.5, 1)
    assert measured_jobs(run) == {"simulation": (2.5, 10.0)}


def test_opening_scores_in_python_reports_damaged_and_unfinished_ones(run):
    opened = spikelens.open(run.path)
    with pytest.raises(StoreError, match=r"summary\.json is missing; `spikelens run` writes it after the earlier stages"):
        _ = opened.summary
    path = place_of(run, "explanation") / "scores.json"
    path.write_text("[{}]")
    with pytest.raises(StoreError, match=r"scores\.json is damaged: row 0: it has no method; "):
        _ = opened.scores


# --- what is not ours ---------------------------------------------------------------------------------------------------


@pytest.fixture
def full_run(make_run):
    """A run with complete stores."""
    run = make_run(TINY)
    fill_run(run)
    return run


def litter(run):
    """Put foreign files and folders into all our folders."""
    folders = [path for path in run.folder.rglob("*") if path.is_dir() and not path.is_symlink()]
    for folder in (run.folder, *folders):
        (folder / ".DS_Store").write_bytes(b"\xff")
        (folder / "note.txt").write_bytes(b"\xff")
        (folder / "nowhere").symlink_to("nothing")
        (folder / "7x").mkdir()
        (folder / "7x" / "zarr.json").write_bytes(b"\xff")
        (folder / ".x.partial").mkdir()


def test_foreign_files_in_our_folders_are_skipped(full_run, capsys):
    litter(full_run)
    assert verify(full_run) == []
    prepare(full_run)
    heal(full_run, only_missing=False)
    consolidate(full_run)
    assert verify(full_run) == []
    assert main(["status", full_run.path]) == 0
    assert main(["clean", full_run.path, "--yes"]) == 0
    assert "all results are in use" in capsys.readouterr().out
    assert (full_run.folder / "7x" / "zarr.json").read_bytes() == b"\xff"
    opened = spikelens.open(full_run.path)
    assert opened.spikes.spikes.values.shape == (full_run.n_steps, 20)
    assert opened.synapses.sizes["synapse"] > 0


def test_reading_and_writing_a_shard_report_what_blocks_its_path(full_run, capsys):
    spikes = layout(full_run, "spikes")
    path = spikes.shard_path("spikes", (0, 1))
    content = open_group(spikes)["spikes"].to_numpy()[:2000, 10:]
    path.unlink()
    path.mkdir()
    place = f"{path}: shard is missing; a folder is in its place; remove it, then run snakemake"
    with pytest.raises(StoreError, match=place):
        open_group(spikes)
    assert any(fault.startswith(place) for fault in verify(full_run))
    with pytest.raises(StoreError, match=f"{path} cannot be written: .*; a folder is in its place; remove it, then run snakemake again"):
        write_shard(spikes, "spikes", (0, 1), content)
    path.rmdir()
    path.symlink_to("nowhere")
    with pytest.raises(StoreError, match="a link to nowhere, which does not exist, is in its place; remove it"):
        open_group(spikes)
    write_shard(spikes, "spikes", (0, 1), content)  # a dangling link contains no result
    assert verify(full_run) == []


def test_a_file_with_the_name_of_a_folder_is_reported(full_run):
    spikes = layout(full_run, "spikes")
    folder = spikes.path / "spikes" / "c" / "0"
    shutil.rmtree(folder)
    folder.write_bytes(b"x")
    with pytest.raises(StoreError, match=f"{folder} is not a folder; remove it"):
        open_group(spikes)
    with pytest.raises(StoreError, match=f"cannot be written: .*; {folder} is not a folder; remove it"):
        write_shard(spikes, "spikes", (0, 1), np.zeros((2000, 10), np.bool_))


def test_faults_report_what_blocks_the_path_of_a_file(full_run):
    job = job_of(full_run, "network", {"block": 0})
    manifests.write(full_run, job, 0.0)
    path = root(full_run) / job.files[0]
    path.unlink()
    path.mkdir()
    assert manifests.faults(full_run, job) == [f"{path}: missing; a folder is in its place; remove it"]


def test_a_job_does_not_start_if_a_folder_or_dangling_link_blocks_its_files(make_run, capsys):
    run = make_run(TINY)
    first, second = (layout(run, "network").shard_path(name, (0,)) for name in ("in_degree", "in_weight"))
    first.mkdir(parents=True)
    second.parent.mkdir(parents=True)
    second.symlink_to("/media/archive/shard")
    assert main(["network", run.path, "--blocks", "0"]) == 2
    said = capsys.readouterr().err
    assert f"{first}: a folder is in its place; remove it" in said
    assert f"{second}: a link to /media/archive/shard, which does not exist, is in its place; remove it" in said
    assert not list(run.folder.rglob("blocks/0/source/c/*"))
    first.rmdir()
    second.unlink()
    assert main(["network", run.path, "--blocks", "0"]) == 0


def test_a_free_path_is_not_blocked(tmp_path):
    assert in_its_place(tmp_path / "a" / "b") is None
    (tmp_path / "file").write_bytes(b"")
    assert in_its_place(tmp_path / "file") is None

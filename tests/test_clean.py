"""`spikelens clean`: which results it lists and removes, and that nothing else removes results."""

from __future__ import annotations

import pytest

from spikelens import places, snakefile
from spikelens.clean import unused
from spikelens.cli import main
from spikelens.config import load_run
from spikelens.network.build import build_blocks
from spikelens.places import place_of
from spikelens.prepare import prepare


@pytest.fixture
def two(make_run):
    """A run's folder with the networks of two configurations; the second is current."""
    first = make_run()
    build_blocks(first, range(first.n_blocks))
    second = make_run({"network.seed": 2})
    build_blocks(second, range(second.n_blocks))
    assert first.path == second.path
    return first, second


def test_results_that_a_configuration_uses_are_not_listed(two, capsys):
    first, second = two
    assert main(["clean", first.path, "--yes"]) == 0
    assert "all results are in use" in capsys.readouterr().out
    assert place_of(first, "network").is_dir()
    assert place_of(second, "network").is_dir()


def test_results_of_only_one_configuration_are_listed_and_removed_only_with_yes(two, capsys):
    first, second = two
    name = place_of(first, "report").name
    assert main(["clean", first.path, "--configuration", name]) == 0
    out = capsys.readouterr().out
    assert str(place_of(first, "network")) in out
    assert str(place_of(second, "network")) not in out
    assert "nothing was removed" in out
    assert place_of(first, "network").is_dir()
    assert main(["clean", first.path, "--configuration", name, "--yes"]) == 0
    assert not place_of(first, "network").exists()
    assert place_of(second, "network").is_dir()
    assert not (first.folder / "configurations" / f"{name}.json").exists()


def test_results_of_the_current_configuration_are_kept_even_if_it_is_named(two, capsys):
    _, second = two
    assert main(["clean", second.path, "--configuration", place_of(second, "report").name, "--yes"]) == 0
    assert place_of(second, "network").is_dir()


def test_results_of_old_code_are_listed_but_foreign_folders_are_not(two, capsys):
    first, _ = two
    gone = [first.folder / place / ("0" * 16) for place in ("network", "features/traces", "models/tft_neuron", "explanation/omega")]
    foreign = first.folder / "network" / "notes"
    for folder in (*gone, foreign):
        folder.mkdir(parents=True)
        (folder / "file").write_text("x")
    assert main(["clean", first.path, "--yes"]) == 0
    assert not any(folder.exists() for folder in gone)
    assert foreign.is_dir()


def test_an_item_whose_name_looks_like_a_key_is_no_result(two):
    first, _ = two
    item = first.folder / "models" / ("a" * 16)
    results = [item / ("0" * 16), item / ("1" * 16)]
    for folder in results:
        folder.mkdir(parents=True)
    assert [found.folder for found in unused(first) if item in (found.folder, *found.folder.parents)] == results


def test_nothing_is_listed_if_tables_of_a_configuration_are_missing(make_run, tmp_path, monkeypatch, capsys):
    """The results that a configuration uses depend on the content of its tables."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "edges.csv").write_text("source,target,delay_ms,weight_mv,plastic\n0,1,1,6,1\n")
    run = make_run({"network.connections": {}, "network.edges": "edges.csv"})
    build_blocks(run, range(run.n_blocks))
    make_run()  # the current configuration has no table
    monkeypatch.chdir(run.folder)
    assert main(["clean", run.path, "--yes"]) == 2
    assert "network.edges = edges.csv: no such file; the results cannot be found without its content" in capsys.readouterr().err
    monkeypatch.chdir(tmp_path)
    assert main(["clean", run.path, "--yes"]) == 0
    assert place_of(run, "network").is_dir()


@pytest.mark.parametrize("command", ["status", "verify", "clean"])
def test_commands_do_not_look_for_results_if_tables_are_missing(make_run, tmp_path, monkeypatch, capsys, command):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "events.csv").write_text("step,neuron,mv\n0,1,20\n")
    run = make_run({"drive.events": "events.csv"})
    monkeypatch.chdir(run.folder)
    assert main([command, run.path]) == 2
    assert "drive.events = events.csv: no such file; the results cannot" in capsys.readouterr().err


def test_an_unknown_configuration_is_refused(two, capsys):
    assert main(["clean", two[0].path, "--configuration", "base"]) == 2
    assert place_of(two[0], "report").name in capsys.readouterr().err


def test_a_job_refuses_results_that_were_not_planned(two, capsys):
    """Meanwhile a second snakemake, in another folder, prepared the same run with another configuration."""
    first, second = two
    planned = place_of(first, "network").name
    assert main(["network", first.path, "--planned", planned]) == 2
    error = capsys.readouterr().err
    assert planned in error
    assert place_of(second, "network").name in error
    prepare(first)
    assert main(["network", first.path, "--blocks", "0", "--planned", planned]) == 0
    assert load_run(first.path).network.seed == 1


@pytest.mark.parametrize("command", [("clean", "--yes"), ("verify", "--repair"), ("prepare",)])
def test_commands_that_change_a_folder_are_refused_while_another_call_works_on_it(two, capsys, command):
    first, second = two
    shard = next(place_of(second, "network").rglob("in_degree/c/0"))
    shard.write_bytes(shard.read_bytes()[:-1])
    writing = shard.with_name(".0.partial")
    writing.write_bytes(b"the other call is writing this")
    (first.folder / "network" / ("0" * 16)).mkdir()
    name, *options = command
    capsys.readouterr()
    with places.hold(first.folder):
        before = {path: path.lstat().st_mtime_ns for path in first.folder.rglob("*")}
        assert main([name, first.path, *options]) == 2
        assert {path: path.lstat().st_mtime_ns for path in first.folder.rglob("*")} == before
    assert "another call is working on this run" in capsys.readouterr().err
    assert writing.exists()


def test_metadata_are_not_restored_while_another_call_works_on_the_folder(two):
    _, second = two
    lost = place_of(second, "network") / "network.zarr/in_degree/zarr.json"
    lost.unlink()
    with places.hold(second.folder):
        snakefile.heal([second])
        assert not lost.exists()
    snakefile.heal([second])
    assert lost.is_file()


def test_restoring_metadata_creates_no_folder(make_run, tmp_path):
    run = make_run()
    absent = run.model_copy(update={"path": str(tmp_path / "nowhere/small")})
    snakefile.heal([absent])
    assert not (tmp_path / "nowhere").exists()

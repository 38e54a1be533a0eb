"""What a user names becomes runs: few lines with defaults for the rest, files that build on others, --set, and folders of runs."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from conftest import REPOSITORY, small_config

from spikelens.cli import main
from spikelens.config import RunConfig, load_runs
from spikelens.config.load import load, look
from spikelens.errors import ConfigError, SpikelensError
from spikelens.prepare import prepare

REFERENCE = load_runs({})[0]
ONE = {"A": {"count": 300, "a": 0.02, "b": 0.2, "c": -65.0, "d": 8.0}}
WITHIN_ONE = {"A->A": {"p": 0.1, "weight_mv": 6.0, "delay_ms": [1, 20]}}


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    """A function that writes a configuration file in the working folder: write("mine.yaml", {"run": {"name": "x"}})."""
    monkeypatch.chdir(tmp_path)

    def written(name: str, content: Any) -> str:
        path = Path(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content if isinstance(content, str) else yaml.safe_dump(content, sort_keys=False), encoding="utf-8")
        return name

    return written


def refused(*arguments: Any, **others: Any) -> str:
    with pytest.raises(SpikelensError) as caught:
        load(*arguments, **others)
    return str(caught.value)


# --- defaults -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", ["", "# nothing but a comment\n", "{}", "run:\n  name: reference\n"])
def test_a_configuration_without_keys_is_the_reference_network(text: str, write: Callable[..., str]) -> None:
    assert load([write("mine.yaml", text)]) == [REFERENCE]


def test_the_copy_in_the_runs_folder_is_whole(write: Callable[..., str]) -> None:
    run = load([write("mine.yaml", {"run": {"name": "x"}})])[0]
    prepare(run)
    kept = json.loads(Path("results/x/config.json").read_text(encoding="utf-8"))
    assert kept == {**json.loads(REFERENCE.model_dump_json()), "run": {"name": "x", "results": "results"}, "path": "results/x"}


def test_given_populations_and_connections_replace_the_default_ones_and_are_counted() -> None:
    run = load_runs({"network": {"populations": ONE, "connections": WITHIN_ONE}})[0]
    assert (list(run.network.populations), list(run.network.connections), run.network.neurons) == (["A"], ["A->A"], 300)


def test_connections_of_populations_that_were_replaced_are_refused() -> None:
    with pytest.raises(ConfigError, match=r'network.connections.E->E = "E": no such population; known: A'):
        load_runs({"network": {"populations": ONE}})


def test_an_edge_table_replaces_the_default_connections(tmp_path: Path) -> None:
    (tmp_path / "edges.csv").touch()
    assert load_runs({"network": {"edges": str(tmp_path / "edges.csv")}})[0].network.connections == {}


@pytest.mark.parametrize(("duration_s", "segment_s", "window_s"), [(180, 60, 20), (90, 60, 20), (60, 60, 20), (55, 55, 5), (54, 54, 2)])
def test_a_default_segment_fits_the_duration_and_default_windows_fit_it(duration_s: int, segment_s: int, window_s: int) -> None:
    content = {"simulation": {"duration_s": duration_s}, "training": {"start_s": 5}, "models": {"autoencoder": {"sequences": 500}}}
    run = load_runs(content)[0]
    assert (run.simulation.segment_s, default_window_s(run)) == (segment_s, window_s)


def default_window_s(run: RunConfig) -> int:
    """The default length of windows of causal components, which keys have in the place of null [s]."""
    (length,) = {run.features[name].context(run)["window_s"] for name in ("omega_pairs", "omega_synapses")}
    assert isinstance(length, int)
    return length


def test_each_run_of_a_sweep_has_the_defaults_that_follow_from_its_own_keys() -> None:
    sweep = {"simulation.duration_s": [180, 55], "network.populations.E.count": [800, 1600]}
    runs = load_runs({"sweep": sweep, "training": {"start_s": 5}, "models": {"autoencoder": {"sequences": 500}}})
    assert [(run.simulation.segment_s, run.network.neurons) for run in runs] == [(60, 1000), (60, 1800), (55, 1000), (55, 1800)]
    assert {default_window_s(run) for run in runs[2:]} == {5}


def test_a_default_that_is_swept_over_takes_the_values_of_the_sweep() -> None:
    runs = load_runs({"sweep": {"simulation.segment_s": [20, 60], "network.connections.E->E.p": [0.1, 0.2]}})
    assert [(run.simulation.segment_s, run.network.connections["E->E"].p) for run in runs] == [(20, 0.1), (20, 0.2), (60, 0.1), (60, 0.2)]


# --- base ---------------------------------------------------------------------------------------------------------------


def test_files_build_on_files_key_by_key_and_paths_are_relative_to_the_file_that_names_them(write: Callable[..., str]) -> None:
    write("shared/deep/first.yaml", {"features": {"traces": {"tau_ms": 10.0, "neurons": 0o10}}, "run": {"name": "first"}})
    write(
        "shared/second.yaml",
        {"base": "deep/first.yaml", "features": {"spike_counts": {"step_ms": 20}, "traces": {"tau_ms": 5.0}}, "network": {"seed": 2}},
    )
    run = load([write("mine/third.yaml", {"base": "../shared/second.yaml", "run": {"name": "third"}, "network": {"seed": 3}})])[0]
    assert (run.run.name, run.network.seed) == ("third", 3)
    traces, counts = run.features["traces"], run.features["spike_counts"]
    assert (traces.tau_ms, traces.neurons, counts.step_ms) == (5.0, 8, 20)
    assert list(run.features) == ["traces", "spike_counts"]


def test_null_removes_a_feature_of_the_base(write: Callable[..., str]) -> None:
    base = str(REPOSITORY / "config.yaml")
    run = load([write("mine.yaml", {"base": base, "features": {"omega_pairs": None}})])[0]
    assert list(run.features) == ["spike_counts", "traces", "omega_synapses"]


def test_a_set_key_of_one_feature_leaves_the_others(write: Callable[..., str]) -> None:
    run = load([write("mine.yaml", "")], ["features.traces.tau_ms=5.0", "features.omega_pairs=null", "features.more={kind: traces}"])[0]
    assert list(run.features) == ["spike_counts", "traces", "omega_synapses", "more"]
    assert (run.features["traces"].tau_ms, run.features["more"].tau_ms) == (5.0, 20.0)


def test_populations_and_connections_of_the_base_are_replaced_whole_and_neurons_are_counted_again(write: Callable[..., str]) -> None:
    base = str(REPOSITORY / "config.yaml")
    run = load([write("mine.yaml", {"base": base, "network": {"populations": ONE, "connections": WITHIN_ONE}})])[0]
    assert (list(run.network.populations), list(run.network.connections), run.network.neurons) == (["A"], ["A->A"], 300)


@pytest.mark.parametrize(
    ("base", "expected"),
    [
        ("none.yaml", 'a.yaml cannot be run:\n  base = "none.yaml": none.yaml: no such file; the path is relative to a.yaml'),
        (5, "a.yaml cannot be run:\n  base = 5: expected the path of a configuration file"),
        ("a.yaml", 'a.yaml cannot be run:\n  base = "a.yaml": circular base files: a.yaml -> a.yaml'),
        ("b.yaml", 'b.yaml cannot be run:\n  base = "./a.yaml": circular base files: a.yaml -> b.yaml -> a.yaml'),
    ],
)
def test_a_base_that_cannot_be_read_is_refused_with_the_file_that_names_it(base: Any, expected: str, write: Callable[..., str]) -> None:
    write("b.yaml", {"base": "./a.yaml"})
    assert expected in refused([write("a.yaml", {"base": base})])


def test_a_wrong_key_is_told_with_the_file_that_gives_it(write: Callable[..., str]) -> None:
    write("ours.yaml", {"features": {"traces": {"tua_ms": 50}}, "network": {"seed": -1}})
    message = refused([write("mine.yaml", {"base": "ours.yaml", "network": {"seed": -2}})])
    assert "mine.yaml cannot be run:" in message
    assert re_line(message, "features.traces.tua_ms").endswith("did you mean tau_ms? (from ours.yaml)")
    assert re_line(message, "network.seed = -2").endswith("(seed of the wiring)")


def test_a_broken_base_is_told_by_its_own_name(write: Callable[..., str]) -> None:
    write("ours.yaml", "network: [1, 2")
    assert refused([write("mine.yaml", {"base": "ours.yaml"})]).startswith("ours.yaml is not valid YAML")


def re_line(message: str, part: str) -> str:
    return next(line for line in message.splitlines() if part in line)


def test_a_later_file_of_snakemake_counts_and_base_is_no_key_of_its_config_option(write: Callable[..., str]) -> None:
    first, second = write("first.yaml", "network: {seed: 0010, block_size: 500}"), write("second.yaml", "network: {seed: 3}")
    run = load([first, second])[0]
    assert (run.network.seed, run.network.block_size) == (3, 500)
    assert load([second, first])[0].network.seed == 10
    assert 'base = "x.yaml": expected only in a configuration file' in refused([first], overrides={"base": "x.yaml"})


# --- set ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("setting", "key", "expected"),
    [
        ("models.tft_neuron.learning_rate=1e-4", "models.tft_neuron.learning_rate", 1e-4),
        ("network.seed=0010", "network.seed", 10),
        ("simulation.plasticity=off", "simulation.plasticity", False),
        ("explanation.strata_mv=[0, 1, 2]", "explanation.strata_mv", (0.0, 1.0, 2.0)),
        ("drive.current_mv={E: 4.0}", "drive.current_mv", {"E": 4.0}),
        ("drive.current_mv.E=4.0", "drive.current_mv", {"E": 4.0}),
        ("cluster.srun=srun --mpi=pmix", "cluster.srun", "srun --mpi=pmix"),
        ("cluster.limit_min=", "cluster.limit_min", None),
        (" network.seed = 5 ", "network.seed", 5),
    ],
)
@pytest.mark.parametrize("content", ["", "reference"])
def test_set_gives_a_key_a_value_in_yaml(content: str, setting: str, key: str, expected: Any, write: Callable[..., str]) -> None:
    text = (REPOSITORY / "config.yaml").read_text(encoding="utf-8") if content else ""
    place = write("mine.yaml", text)
    for runs in (load([place], [setting]), load([place], overrides={"set": [setting]}), load([place], overrides={"set": setting})):
        found: Any = runs[0]
        for part in key.split("."):
            found = found[part] if isinstance(found, dict) else getattr(found, part)
        assert (type(found), found) == (type(expected), expected)


def test_set_of_one_population_keeps_the_others_and_neurons_are_counted_again(write: Callable[..., str]) -> None:
    for text in ("", (REPOSITORY / "config.yaml").read_text(encoding="utf-8")):
        run = load([write("mine.yaml", text)], ["network.populations.E.count=1600", "network.connections.E->E.p=.05"])[0]
        assert {name: population.count for name, population in run.network.populations.items()} == {"E": 1600, "I": 200}
        assert run.network.neurons == 1800
        assert [connection.p for connection in run.network.connections.values()] == [0.05, 0.1, 0.125]
    given = ["network.populations.E.count=1600", "network.neurons=1700"]
    assert "network.neurons = 1700: expected 1800, the sum of the populations' counts" in refused(["mine.yaml"], given)


def test_the_last_set_counts_and_a_sweep_can_be_set(write: Callable[..., str]) -> None:
    runs = load([write("mine.yaml", {"network": {"seed": 7}})], ["run.name=a", "run.name=b", "sweep.network.seed=[1, 2]"])
    assert [run.path for run in runs] == ["results/b/network.seed=1", "results/b/network.seed=2"]


@pytest.mark.parametrize(
    ("setting", "expected"),
    [
        ("network.seeds=1", "network.seeds = 1: unknown key; did you mean seed? (from --set network.seeds=1)"),
        ("simulatoin.ranks=1", 'simulatoin = {"ranks": 1}: unknown key; did you mean simulation? (from --set simulatoin.ranks=1)'),
        ("network.seed=one", 'network.seed = "one": expected a whole number (seed of the wiring) (from --set network.seed=one)'),
        ("network.seed.x=1", 'network.seed = {"x": 1}: expected a whole number'),
        ("simulation.segment_s=200", "expected at most simulation.duration_s = 180 (from --set simulation.segment_s=200)"),
        ("network.seed", "--set network.seed: expected KEY=VALUE with a dotted key, like network.seed=2"),
        ("network..seed=1", "--set network..seed=1: expected KEY=VALUE"),
        ("=1", "--set =1: expected KEY=VALUE"),
        ("network.seed=[1", "--set network.seed=[1 is not valid YAML"),
        ("sweep.network.seeds=[1]", "sweep.network.seeds = 1: no such key to sweep over; did you mean network.seed?"),
    ],
)
def test_a_wrong_set_is_refused(setting: str, expected: str, write: Callable[..., str]) -> None:
    assert expected in refused([write("mine.yaml", "")], [setting])


@pytest.mark.parametrize(
    ("overrides", "key", "value"),
    [
        ({"simulation": {"duration_s": "240"}}, "simulation.duration_s", "240"),
        ({"models": {"tft_neuron": {"learning_rate": "1e-4"}}}, "models.tft_neuron.learning_rate", "1e-4"),
        ({"features": {"traces": {"neurons": "5"}}}, "features.traces.neurons", "5"),
        ({"network.seed": 2}, "network.seed", "2"),
    ],
)
def test_what_snakemakes_config_option_cannot_set_is_told_with_what_can(
    overrides: dict[str, Any], key: str, value: str, write: Callable[..., str]
) -> None:
    told = refused([write("config.yaml", "")], overrides=overrides)
    assert f"use `spikelens run --set {key}={value}` or `snakemake --config set='[\"{key}={value}\"]'`" in told
    assert load(["config.yaml"], overrides={"set": [f"{key}={value}"]})


@pytest.mark.parametrize("command", ["check", "plan", "prepare", "runs", "run"])
def test_commands_take_set_alike(command: str, write: Callable[..., str], capsys: pytest.CaptureFixture[str]) -> None:
    write("config.yaml", "")
    assert main([command, "--set", "network.seeds=1"]) == 2
    assert "network.seeds = 1: unknown key; did you mean seed?" in capsys.readouterr().err


# --- folders ------------------------------------------------------------------------------------------------------------


@pytest.fixture
def swept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[RunConfig]:
    """Three runs of a sweep, prepared, from config.yaml in the working folder."""
    monkeypatch.chdir(tmp_path)
    content = small_config(tmp_path, {"run.results": "results", "sweep": {"network.seed": [1, 2, 10]}})
    Path("config.yaml").write_text(yaml.safe_dump(content, sort_keys=False), encoding="utf-8")
    runs = load_runs(content)
    for run in runs:
        prepare(run)
    return runs


def test_the_folder_of_a_sweep_stands_for_all_of_its_runs_in_the_order_of_their_values(swept: list[RunConfig]) -> None:
    for place in ("results/small", "results/small/"):
        assert look(place) == load([place]) == swept
    assert look(swept[1].path) == load([swept[1].path]) == [swept[1]]
    assert look("config.yaml") == swept


def test_a_single_run_in_the_folder_is_the_run_of_the_folder(swept: list[RunConfig]) -> None:
    single = load(["config.yaml"], ["sweep={}"])[0]
    prepare(single)
    assert look("results/small") == [single]


@pytest.mark.parametrize("command", ["check", "plan", "prepare", "runs", "status"])
def test_commands_take_a_configuration_or_the_folder_of_a_run_or_sweep(
    command: str, swept: list[RunConfig], capsys: pytest.CaptureFixture[str]
) -> None:
    for arguments, expected in (
        ([], swept),
        (["config.yaml"], swept),
        (["results/small"], swept),
        ([swept[1].path], swept[1:2]),
    ):
        assert main([command, *arguments]) == 0
        shown = capsys.readouterr().out
        assert all((run.path in shown) == (run in expected) for run in swept[1:])


def test_verify_and_clean_look_once_at_what_runs_share(swept: list[RunConfig], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["verify", "results/small"]) == 2
    assert f"faults in results/small, {len(swept)} runs (" in capsys.readouterr().err
    assert main(["clean"]) == 0
    assert capsys.readouterr().out.count("all results are in use") == 1


def test_status_in_json_is_one_run_or_a_list_of_runs(swept: list[RunConfig], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["status", swept[0].path, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["path"] == swept[0].path
    assert main(["status", "--json"]) == 0
    assert [run["path"] for run in json.loads(capsys.readouterr().out)["runs"]] == [run.path for run in swept]


def test_keys_can_be_set_on_top_of_a_runs_own_configuration(swept: list[RunConfig]) -> None:
    run = load([swept[2].path], ["features.traces.tau_ms=10.0"])[0]
    assert (run.path, run.network.seed, run.features["traces"].tau_ms) == (swept[2].path, 10, 10.0)
    told = refused([swept[2].path], ["features.traces.tua_ms=1"])
    assert "features.traces.tua_ms = 1: unknown key; did you mean tau_ms? (from --set" in told


def test_what_was_not_started_is_said(swept: list[RunConfig], caplog: pytest.LogCaptureFixture) -> None:
    Path("more.yaml").write_text("base: config.yaml\nsweep: {network.seed: [1, 2, 10, 11]}\n", encoding="utf-8")
    with caplog.at_level("INFO"):
        assert look("more.yaml") == swept
    assert "more.yaml: 1 of 4 runs have not been started" in caplog.text
    Path("other.yaml").write_text("run: {name: other}\n", encoding="utf-8")
    with pytest.raises(SpikelensError, match=r"results/other has not been started; start it with `spikelens run other.yaml`"):
        look("other.yaml")


@pytest.mark.parametrize("command", ["check", "status"])
def test_what_is_neither_a_configuration_nor_a_run_is_refused_by_name(
    command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([command, str(tmp_path)]) == 2
    assert f"{tmp_path} is not a run: it has no config.json" in capsys.readouterr().err
    assert main([command, str(tmp_path / "none.yaml")]) == 2
    assert f"{tmp_path / 'none.yaml'}: no such configuration file or folder of a run" in capsys.readouterr().err

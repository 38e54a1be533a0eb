"""What `spikelens plan` promises: the jobs, files and memory that come to pass, times that scale, and the refusals of `check`."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from conftest import REPOSITORY, SIMULATED, small_config

from spikelens import plan, sizes
from spikelens.cli import main
from spikelens.config import STEPS_PER_SECOND, load_runs
from spikelens.expected import expected
from spikelens.jobs import stage_of
from spikelens.layouts import BLOCK_STORES, OWNER, block_layout, layout
from spikelens.network.build import build_blocks, drawn_synapses
from spikelens.outputs import feature_block, feature_blocks, item_outputs
from spikelens.places import place_of
from spikelens.prepare import prepare
from spikelens.simulation.stage import event_ns, rank_memory, segment_seconds
from spikelens.speeds import job_seconds, read_speeds
from spikelens.stores import read_array
from spikelens.tables import n_rows

SPEEDS = read_speeds()


@pytest.fixture
def config(tmp_path):
    """A function that writes a small configuration and returns its path: config({"network.seed": 2})."""

    def write(changes=None):
        path = tmp_path / "config.yaml"
        path.write_text(yaml.safe_dump(small_config(tmp_path, changes), sort_keys=False))
        return str(path)

    return write


def run_of(tmp_path, changes=None):
    return load_runs(small_config(tmp_path, changes))[0]


def planned(capsys, *arguments):
    assert main(["plan", *arguments, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


# --- jobs and files -----------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("changes", [{}, {"simulation.duration_s": 5, "models.tft_population.seeds": [1, 2], "features": {"traces": {}}}])
def test_jobs_and_files_are_those_that_snakemake_plans(config, tmp_path, capsys, changes):
    """Also of five seconds in segments of two, of which the last is short and has a rule of its own."""
    changes |= {f"models.{name}.history": 4 for name in ("tft_population", "tft_neuron")}
    path = config(changes)
    (run,) = planned(capsys, path)["runs"]
    command = [sys.executable, "-m", "snakemake", "--snakefile", str(REPOSITORY / "Snakefile"), "--directory", str(tmp_path)]

    def snakemake(*arguments):
        arguments = [*command, "--configfile", path, "--cores", "2", *arguments]
        return subprocess.run(arguments, capture_output=True, text=True, check=True)

    table = snakemake("--dry-run").stdout.partition("Job stats:")[2].partition("\n\n")[0]
    jobs = Counter()
    for name, n in re.findall(r"^(\w+) +(\d+)$", table, flags=re.MULTILINE):
        jobs[name] += int(n)
    ours = Counter()
    for row in run["rules"]:
        ours[stage_of(row["rule"])] += row["jobs"]
    verbs = dict(zip(SIMULATED, ("build_network", "simulate", "compute_features", "train", "explain", "make_report"), strict=True))
    n_methods = sum(row["jobs"] for row in run["rules"] if row["rule"].startswith("explanation."))
    assert jobs.pop("infer") == n_methods >= 2
    ours["explanation"] -= n_methods
    assert jobs == {"all": 1, "total": ours.total() + 1 + n_methods} | {verbs[stage]: n for stage, n in ours.items()}
    ours["explanation"] += n_methods
    outputs = snakemake("--summary").stdout.splitlines()[1:]
    assert len(outputs) == 2 * ours.total() + 2, "two flags for each job, the page and the summary"


def test_shards_are_those_of_every_layout(tmp_path):
    """Also where the last block and the last segment are short."""
    run = run_of(tmp_path, {"network.block_size": 150, "simulation.duration_s": 7, "features.traces.neurons": 3})
    groups = [layout(run, store) for store in OWNER]
    groups += [block_layout(run, store, block, 10) for store in BLOCK_STORES for block in range(run.n_blocks)]
    groups += item_outputs(run)
    groups += [feature_block(run, name, block, 10) for name, block in feature_blocks(run)]
    assert sizes.disk(run).n_shards == sum(len(group.shard_paths()) for group in groups)


def test_bytes_on_disk_are_about_those_of_a_network_that_was_built(make_run):
    size = {"network.neurons": 2_000, "network.populations.E.count": 1_600, "network.populations.I.count": 400, "network.block_size": 500}
    run = make_run(size | {f"network.connections.{key}.p": 0.1 for key in ("E->E", "E->I", "I->E")})
    build_blocks(run, range(run.n_blocks))
    on_disk = sum(path.stat().st_size for path in (run.folder / "current/network.zarr").rglob("*") if path.is_file())
    assert 0.6 < sizes.disk(run).bytes_of["network"] / on_disk < 1.6


# --- synapses and memory ------------------------------------------------------------------------------------------------


def test_expected_synapses_are_those_that_are_drawn_block_by_block(tmp_path):
    """One block is of E alone, one of I alone: they differ in their in-degrees."""
    run = run_of(tmp_path)
    found = expected(run)
    drawn = [drawn_synapses(run, block) for block in range(run.n_blocks)]
    np.testing.assert_allclose(found.of_block, [len(synapses) for synapses in drawn], rtol=0.06)
    assert found.of_block.sum() == pytest.approx(found.all)
    assert found.plastic == pytest.approx(sum(synapses.plastic.sum() for synapses in drawn), rel=0.06)
    assert expected(run_of(tmp_path, {"simulation.plasticity": False})).plastic == 0


@pytest.mark.parametrize("suffix", ["csv", "parquet", "npz"])
def test_synapses_of_an_edge_table_are_its_rows(tmp_path, suffix):
    n, path = 5_000, tmp_path / f"edges.{suffix}"
    columns = {"source": np.arange(n) % 200, "target": np.arange(n) % 199, "delay_ms": np.ones(n, int), "weight_mv": np.full(n, 0.5)}
    columns["plastic"] = np.ones(n, bool)
    if suffix == "npz":
        np.savez(path, **columns)
    else:
        frame = pd.DataFrame(columns)
        frame.to_csv(path, index=False) if suffix == "csv" else frame.to_parquet(path)
    assert n_rows(path) == pytest.approx(n, rel=0.01)
    run = run_of(tmp_path, {"network.edges": str(path), "network.connections": {}})
    assert expected(run).all == pytest.approx(n, rel=0.01)


PEAK = """
import sys
from pathlib import Path
from spikelens.config import load_run
from spikelens.simulation.run import simulate_segment
simulate_segment(load_run(sys.argv[1]), int(sys.argv[2]))
print(next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM")).split()[1])
"""


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").is_file(), reason="the peak is read from /proc")
@pytest.mark.parametrize("average", [False, True])
def test_a_segment_takes_no_more_memory_than_planned_and_not_much_less(make_run, average):
    """Four million synapses, so that they weigh more than what any process takes; the later segment reads a state, too."""
    size = {"network.neurons": 20_000, "network.populations.E.count": 16_000, "network.populations.I.count": 4_000}
    size |= {"network.block_size": 2_000, "simulation.chunk_neurons": 250, "training.start_s": 0}
    size |= {f"network.connections.{key}.p": p for key, p in (("E->E", 0.01), ("E->I", 0.01), ("I->E", 0.0125))}
    run = make_run(size | {"simulation.weight_average": average})
    build_blocks(run, range(run.n_blocks))
    for segment in range(2):
        finished = subprocess.run([sys.executable, "-c", PEAK, run.path, str(segment)], capture_output=True, text=True, check=True)
        peak = 1024 * int(finished.stdout)
    rate_hz = STEPS_PER_SECOND * read_array(layout(run, "spikes"), "spikes", [0]).mean()
    planned_bytes = rank_memory(run, 1, rate_hz)
    assert 0.75 * planned_bytes < peak < planned_bytes


def test_each_rank_that_trains_holds_the_data_and_has_a_core_and_its_share_of_the_batches(tmp_path):
    training = {"models.tft_neuron.parts": 2, "models.tft_neuron.samples_per_epoch": 10**6}
    alone, shared = (run_of(tmp_path, {**training, "models.tft_neuron.ranks": n}) for n in (1, 2))
    rule = "models.tft_neuron"
    assert sizes.job_memory(shared, rule) == 2 * sizes.job_memory(alone, rule)
    # the first rank alone forecasts in the end
    epochs = [
        [run_of(tmp_path, {**training, "models.tft_neuron.ranks": n, "models.tft_neuron.epochs": count}) for count in (1, 2)]
        for n in (1, 2)
    ]
    of_one, of_two = (job_seconds(two, rule, SPEEDS) - job_seconds(one, rule, SPEEDS) for one, two in epochs)
    assert of_two == pytest.approx(of_one / 2)
    cores = {row.rule: row.cores for row in plan.plan_run(shared, SPEEDS, 8.0).rules}
    assert (cores[rule], cores["models.autoencoder"], cores["simulation"]) == (2, 1, 2)


def test_ranks_share_the_synapses_and_a_job_asks_for_all_of_them(tmp_path):
    run = run_of(tmp_path)
    alone, shared = rank_memory(run, 1), rank_memory(run, 4)
    assert shared < alone
    assert sizes.job_memory(run, "simulation") == pytest.approx(2 * rank_memory(run, 2))
    assert sizes.memory_mb(run, "network") == 1_000, "a floor"
    assert sizes.memory_mb(run, "simulation") * 1e6 >= sizes.job_memory(run, "simulation")


# --- times --------------------------------------------------------------------------------------------------------------


def test_twice_the_duration_is_twice_the_segments_and_core_hours(tmp_path):
    plans = [plan.plan_run(run_of(tmp_path, {"simulation.duration_s": seconds}), SPEEDS, 8.0) for seconds in (6, 12)]
    short, long = ({row.rule: row for row in p.rules} for p in plans)
    assert (short["simulation"].jobs, long["simulation"].jobs) == (3, 6)
    assert long["simulation"].core_hours == pytest.approx(2 * short["simulation"].core_hours)
    assert (short["features.traces"].jobs, long["features.traces"].jobs) == (3, 6)


def test_a_segment_takes_a_start_and_a_time_for_each_second_and_spike(tmp_path):
    run = run_of(tmp_path)
    one, two, three = (segment_seconds(run, SPEEDS, 8.0, seconds) for seconds in (1, 2, 3))
    assert three - two == pytest.approx(two - one)
    assert two < 2 * one
    slow, fast = (segment_seconds(run, SPEEDS, rate_hz, 2) for rate_hz in (8.0, 16.0))
    assert fast - slow == pytest.approx(1e-9 * SPEEDS.event_ns[0][1] * 8 * 2 * expected(run).all / 2, rel=1e-3)


def test_synaptic_events_cost_what_was_measured_at_the_nearest_sizes():
    sizes_of = SPEEDS.model_copy(update={"event_ns": ((1e4, 5.0), (1e6, 9.0))})
    assert [event_ns(sizes_of, n) for n in (10, 1e4, 1e5, 1e6, 1e9)] == pytest.approx([5.0, 5.0, 7.0, 9.0, 9.0])


def test_training_takes_a_start_and_a_time_for_each_epoch(tmp_path):
    for model in ("autoencoder", "tft_population", "tft_neuron"):
        runs = [run_of(tmp_path, {f"models.{model}.epochs": n}) for n in (10, 20, 40)]
        ten, twenty, forty = (job_seconds(run, f"models.{model}", SPEEDS) for run in runs)
        assert forty - twenty == pytest.approx(2 * (twenty - ten))
        assert ten > SPEEDS.start_torch_s
        assert twenty > ten


def test_one_core_does_all_work_and_many_wait_for_the_longest_chain(tmp_path):
    planned_run = plan.plan_run(run_of(tmp_path, {"simulation.ranks": 1}), SPEEDS, 8.0)
    rows = {row.rule: row for row in planned_run.rules}
    work = sum(row.jobs * row.seconds for row in planned_run.rules)
    assert plan.wall_seconds([planned_run], 1, 0.0) == pytest.approx(work)
    stages = ("features", "models", "explanation")
    items = sum(max(row.seconds for row in planned_run.rules if row.rule.startswith(f"{stage}.")) for stage in stages)
    chain = 3 * rows["simulation"].seconds + items + sum(rows[name].seconds for name in ("network", "explanation", "report"))
    assert plan.wall_seconds([planned_run], 1000, 0.0) == pytest.approx(chain)
    assert plan.wall_seconds([planned_run] * 2, 1000, 0.0) == pytest.approx(chain), "runs of a sweep go side by side"
    assert plan.wall_seconds([planned_run] * 2, 1, 1.0) == pytest.approx(2 * (work + sum(row.jobs for row in planned_run.rules)))


def test_the_last_benchmark_of_this_very_configuration_counts(make_run):
    run = make_run()
    folder = place_of(run, "simulation") / "benchmarks"
    folder.mkdir(parents=True)
    for segment, seconds in enumerate((10, 14)):
        (folder / f"{segment}.tsv").write_text(f"s\th:m:s\tmax_rss\n{seconds}\t0:00:10\t{500 + segment}\n")
    (folder / "2.tsv").write_text("s\th:m:s\tmax_rss\n0.1\t0:00:00\t-\n")
    rows = {row.rule: row for row in plan.plan_run(run, SPEEDS, 8.0).rules}
    assert (rows["simulation"].seconds, rows["simulation"].peak_mb, rows["simulation"].source) == (12.0, 501.0, "measured")
    assert rows["network"].source == "speeds"
    (folder / "3.tsv").write_text("s\th:m:s\tmax_rss\n99\t0:01:39\t999\n")  # of a segment that the run no longer has
    assert plan.measured_jobs(run)["simulation"] == (12.0, 501.0)
    other = run.model_copy(update={"drive": run.drive.model_copy(update={"seed": 2})})
    assert {row.source for row in plan.plan_run(other, SPEEDS, 8.0).rules} == {"speeds"}
    prepare(other)
    assert plan.measured_jobs(run)["simulation"] == (12.0, 501.0), "another configuration under the same name changes nothing"


# --- the command --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "changes",
    [{"simulation.duration_s": -5}, {"features.traces.tua_ms": 50}, {"network.block_size": 130}, {"network.edges": "nowhere.csv"}],
)
def test_what_check_refuses_is_refused_alike(config, capsys, changes):
    path = config(changes)
    assert main(["check", path]) == 2
    refused = capsys.readouterr()
    assert main(["plan", path]) == 2
    assert capsys.readouterr() == refused
    assert "cannot be run" in refused.err


def test_a_sweep_is_planned_run_by_run_and_in_sum(config, capsys):
    path = config({"sweep": {"network.seed": [1, 2], "simulation.segment_s": [2, 3]}})
    found = planned(capsys, path, "--cores", "3", "--rate-hz", "5")
    assert [run["segments"] for run in found["runs"]] == [3, 2, 3, 2]
    for key in ("files", "shards"):
        assert found["total"][key] == sum(run[key] for run in found["runs"])
    assert found["total"]["jobs"] == sum(row["jobs"] for run in found["runs"] for row in run["rules"])
    assert (found["total"]["cores"], found["assumed"]["rate_hz"]) == (3, 5.0)
    assert main(["plan", path]) == 0
    text = capsys.readouterr().out
    assert text.count("models.tft_neuron") == 4
    assert "In all 4 runs" in text
    assert not (Path(path).parent / "results").exists(), "nothing is written"


def test_items_that_do_not_apply_are_named(config, capsys):
    path = config({"models": {}, "explanation.methods": {"attention": {}, "rate_correlation": {}}})
    [run] = planned(capsys, path)["runs"]
    assert run["remarks"] == ["not computed, because this run lacks what they need or has too many neurons: explanation.methods.attention"]
    assert main(["plan", path]) == 0
    assert run["remarks"][0] in capsys.readouterr().out


def test_speeds_of_another_machine_are_taken_from_a_file(config, tmp_path, capsys):
    path, mine = config(), tmp_path / "mine.json"
    mine.write_text(SPEEDS.model_copy(update={"machine": "a slow one", "report_s": 1000.0}).model_dump_json())
    found = planned(capsys, path, "--speeds", str(mine))
    assert found["assumed"]["speeds"] == "a slow one"
    assert found["runs"][0]["rules"][-1]["seconds"] > 1000


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "no such file; `python -m benchmarks.speeds --out"),
        ("[]", "top level = []: expected a mapping of keys to values"),
        ("null", "top level = null: expected a mapping of keys to values"),
        ("{", "it is not JSON"),
        ('{"machine": "x"}', "start_s is not given"),
        (SPEEDS.model_copy(update={"start_s": -1.0}).model_dump_json(), "start_s = -1.0: expected more than 0 (start of a process"),
    ],
)
def test_what_is_no_table_of_speeds_is_refused(config, tmp_path, capsys, content, message):
    path, mine = config(), tmp_path / "mine.json"
    if content is not None:
        mine.write_text(content)
    assert main(["plan", path, "--speeds", str(mine)]) == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [["--cores", "0"], ["--rate-hz", "-1"], ["--rate-hz", "nan"]])
def test_impossible_assumptions_are_refused(config, arguments):
    try:
        code = main(["plan", config(), *arguments])
    except SystemExit as ended:
        code = ended.code
    assert code == 2


@pytest.mark.slow
def test_the_snakefile_reads_sizes_without_loading_a_stage():
    """Sizes are computed whenever the Snakefile is read, by every job: neither numba nor torch may be needed."""
    code = "import sys, spikelens.sizes, spikelens.speeds, spikelens.plan; sys.exit(bool({'numba', 'torch', 'mpi4py'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], env=os.environ, check=False).returncode == 0

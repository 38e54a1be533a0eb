"""The report shows the content of the stores: complete, valid, reproducible, with correct numbers."""

from __future__ import annotations

import html
import itertools
import json
import re
import shutil
import subprocess
import sys
import warnings
import xml.etree.ElementTree as ET
from dataclasses import dataclass
from html.parser import HTMLParser
from pathlib import Path

import docutils.core
import jinja2
import numpy as np
import pytest
from conftest import REPOSITORY, SIMULATED, small_config

from spikelens.config import RunConfig, load_runs, read_yaml
from spikelens.errors import SpikelensError, StoreError
from spikelens.explanation.scores import OUTCOMES, verdict
from spikelens.jobs import benchmarks_of
from spikelens.layouts import block_layout, layout
from spikelens.numerics import UNITS_PER_MV
from spikelens.outputs import feature_block, item_outputs
from spikelens.places import model_folder, place_of
from spikelens.prepare import prepare
from spikelens.report import data
from spikelens.report.answer import Fact, answer, main_class, six_facts
from spikelens.report.contents import COPIES, HEADLINE, PAGE, SUMMARY, figures_of
from spikelens.report.run import make_report, render
from spikelens.report.summary import facts_of, write_summary
from spikelens.stores import Array, ensure, write_shard

MAX_BYTES = 1_000_000


@dataclass
class Truth:
    """The content of the synthetic run, as dense arrays over the whole network."""

    weight: np.ndarray
    """(boundary, source, target) in 2^-16 mV, the start first; only where `synapse`."""
    synapse: np.ndarray
    delay: np.ndarray
    spikes: np.ndarray
    """(time, neuron)."""
    scores: list[dict]


def synthetic_run(folder: Path, changes: dict | None = None) -> tuple[RunConfig, Truth]:
    """A run whose stores contain random numbers of the right type, written without the code of the stages."""
    run = load_runs(small_config(folder, changes))[0]
    prepare(run)
    rng = np.random.default_rng(7)
    truth = Truth(*_random_network(run, rng), rng.random((run.n_steps, run.network.neurons)) < 0.01, _random_scores(run, rng))
    for block in range(run.n_blocks):
        _write_block(run, block, truth, rng)
    _write_spikes(run, truth)
    for output in item_outputs(run):
        ensure(output)
        for name, spec in output.arrays.items():
            for index in spec.indices():
                write_shard(output, name, index, rng.gamma(2, size=shape_of(spec, index)).astype(spec.dtype))
    _write_models(run, rng)
    place_of(run, "explanation").mkdir(exist_ok=True, parents=True)
    (run.folder / "current" / "explanation" / "scores.json").write_text(json.dumps(truth.scores))
    (run.folder / "current" / "explanation" / "associations.json").write_text('[{"score": "attention_level", "rho": 0.1}]')
    return run, truth


def _random_network(run: RunConfig, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    n = run.network.neurons
    synapse, delay, weight = np.zeros((n, n), bool), np.zeros((n, n), np.uint8), np.zeros((run.n_segments + 1, n, n), np.int32)
    for name, connection in run.network.connections.items():
        part = np.ix_(*(np.arange(*run.populations[population]) for population in name.split("->")))
        shape = synapse[part].shape
        synapse[part] = rng.random(shape) < 0.2
        delay[part] = rng.integers(connection.delay_ms[0], connection.delay_ms[1] + 1, shape)
        for boundary in range(run.n_segments + 1):
            moved = connection.plastic and boundary > 0
            mv = rng.choice([0, 0.5, 3.2, 9, 10], shape) if moved else np.full(shape, connection.weight_mv)
            weight[(boundary, *part)] = np.rint(mv * UNITS_PER_MV)
    np.fill_diagonal(synapse, False)
    return weight, synapse, delay


def _write_block(run: RunConfig, block: int, truth: Truth, rng: np.random.Generator) -> None:
    first, end = run.block_range(block)
    target, source = np.nonzero(truth.synapse[:, first:end].T)
    target += first
    n = len(source)
    names = np.repeat(list(run.populations), [population.count for population in run.network.populations.values()])
    plastic = np.array([run.network.connections[f"{names[j]}->{names[i]}"].plastic for j, i in zip(source, target, strict=True)])
    network = layout(run, "network")
    write_shard(network, "in_degree", (block,), truth.synapse.sum(axis=0, dtype=np.int32)[first:end])
    write_shard(network, "in_weight", (block,), np.where(truth.synapse, truth.weight[0], 0).sum(axis=0, dtype=np.int64)[first:end])
    delays = np.bincount(truth.delay[source, target], minlength=256).astype(np.int64)[None]
    write_shard(network, "delay_histogram", (block, 0), delays)
    groups = {name: block_layout(run, name, block, n) for name in ("network", "weights")}
    for group in groups.values():
        ensure(group)
    built = {"source": source, "target": target, "delay": truth.delay[source, target], "weight": truth.weight[0, source, target]}
    for name, values in {**built, "plastic": plastic}.items():
        write_shard(groups["network"], name, (0,), values.astype(groups["network"].arrays[name].dtype))
    for segment in range(run.n_segments):
        write_shard(groups["weights"], "weight", (segment, 0), truth.weight[segment + 1, source, target][None])
        average = truth.weight[segment + 1, source, target] / UNITS_PER_MV
        write_shard(groups["weights"], "weight_average", (segment, 0), average.astype(np.float32)[None])
    if "omega_synapses" in run.features:
        group = feature_block(run, "omega_synapses", block)
        ensure(group)
        for index in group.arrays["omega"].indices():
            write_shard(group, "omega", index, rng.normal(size=shape_of(group.arrays["omega"], index)).astype(np.float32))


def shape_of(spec: Array, index: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(part.stop - part.start for part in spec.region(index))


def _write_spikes(run: RunConfig, truth: Truth) -> None:
    spikes = layout(run, "spikes")
    for index in spikes.arrays["spikes"].indices():
        write_shard(spikes, "spikes", index, truth.spikes[spikes.arrays["spikes"].region(index)])


def _write_models(run: RunConfig, rng: np.random.Generator) -> None:
    for name, seed in data.trained_models(run):
        folder = model_folder(run, name, seed)
        measures = {"mse": "1", "explained_variance": "1"} if name == "autoencoder" else {"mse": "Hz^2", "r2": "1"}
        scored = [dict(zip(measures, rng.random(2), strict=True)) for _ in range(3)]
        facts = {
            "epochs": 2,
            "best_epoch": 1,
            "n_weights": 10,
            "ranges_ms": {},
            "scaling": {"mean": [0.5, 0.0], "std": [1.0]},
            "wall_s": 1.5,
            "units": measures,
            "scores": scored[0],
        }
        facts["options"] = run.models[name].model_dump(mode="json")
        content = {**facts, "baselines": {"training_mean": scored[1], "persistence": scored[2]}}
        (folder / "model.json").write_text(json.dumps(content))
        lines = [{"epoch": epoch, "train_loss": 1 / epoch, "validation_loss": 1.2 / epoch} for epoch in (1, 2)]
        (folder / "history.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))


def _random_scores(run: RunConfig, rng: np.random.Generator) -> list[dict]:
    test, whole = [4000, run.n_steps], [0, run.n_steps]
    known = [
        ("attention", "attention_correlation", "spikes", test),
        ("attention", "attention_correlation, labels shuffled", "spikes", test),
        ("attention", "attention_correlation, untrained", "spikes", test),
        ("rate_correlation", "rate_correlation", "spikes", test),
        ("rate_correlation", "rate_correlation", "spikes", whole),
        ("omega", "omega", "spikes, wiring and weights", whole),
    ]
    rows = []
    for (method, score, saw, time_range), edge_class, stratum in itertools.product(known, run.edge_classes, ("all", "0-1", "1-2")):
        if stratum == "all" or (run.network.connections[edge_class].plastic and "shuffled" not in score):
            auroc = rng.uniform(0.4, 0.6) if "wiring" not in saw else 1.0
            row = {"method": method, "score": score, "saw": saw, "edge_class": edge_class, "stratum": stratum, "auroc": auroc, "ap": 0.2}
            row |= {"ci": [auroc - 0.02, min(auroc + 0.02, 1.0)], "n_positive": 100, "n_negative": 900}
            rows.append({**row, "seed": {"network": 1, "model": 1}, "time_range_ms": time_range})
    return rows


@pytest.fixture(scope="module")
def reported(tmp_path_factory: pytest.TempPathFactory) -> tuple[RunConfig, Truth]:
    """A synthetic run with its report; warnings (missing glyph, collapsed layout) are errors."""
    run, truth = synthetic_run(tmp_path_factory.mktemp("report"))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        make_report(run)
    return run, truth


@pytest.fixture
def copied(reported: tuple[RunConfig, Truth], tmp_path: Path) -> RunConfig:
    """A copy of the reported run that a test may damage."""
    shutil.copytree(reported[0].folder, tmp_path / "run", symlinks=True)
    return reported[0].model_copy(update={"path": str(tmp_path / "run")})


def summary(run: RunConfig) -> dict:
    def refuse(name: str) -> None:
        raise ValueError(f"{name} is not strict JSON")

    return json.loads((place_of(run, "report") / SUMMARY).read_text(), parse_constant=refuse)


# --- figures ------------------------------------------------------------------------------------------------------------


def test_every_figure_is_a_drawing_of_readable_size(reported):
    for shown in figures_of(reported[0]):
        content = (place_of(reported[0], "report") / shown.file).read_bytes()
        root = ET.fromstring(content)
        assert root.tag == "{http://www.w3.org/2000/svg}svg"
        assert len(list(root.iter("{http://www.w3.org/2000/svg}path"))) > 20, shown.name
        assert len(content) < MAX_BYTES, shown.name
        assert float(root.get("width").removesuffix("pt")) / 72 <= 11.5


def test_text_is_drawn_and_not_left_to_the_viewers_fonts(reported):
    for shown in figures_of(reported[0]):
        assert b"<text" not in (place_of(reported[0], "report") / shown.file).read_bytes(), shown.name


def test_axes_carry_units(reported):
    wanted = {
        "network": ["delay [ms]", "weight [mV]"],
        "raster_and_rates": ["time [s]", "rate [Hz]"],
        "weights": ["weight [mV]"],
        "forecast_tft_population": ["time [s]", "rate [Hz]"],
        "forecast_tft_neuron": ["observed rate [Hz]", "forecast rate [Hz]"],
        "reconstruction_autoencoder": ["step in the sequence [ms]", "spike trace [1]"],
        "encoder_autoencoder": ["step in the sequence [ms]", "variance of the state [1]"],
        "attention_attention": ["attention [1]", "correlation [1]"],
        "causal_omega_pairs": ["weight, mean over pairs [mV]"],
        "causal_omega_synapses": ["time [s]"],
        "scores": ["AUROC [1]", "time-averaged weight [mV]"],
    }
    for name, labels in wanted.items():
        drawn = (reported[0].folder / "current" / "report" / f"{name}.svg").read_text()
        for label in labels:
            assert f"<!-- {label} -->" in drawn, (name, label)


def test_a_second_report_has_the_same_bytes(reported):
    run = reported[0]
    files = [place_of(run, "report") / name for name in (*(shown.file for shown in figures_of(run)), PAGE)]
    first, first_summary = [path.read_bytes() for path in files], summary(run)
    make_report(run)
    assert [path.read_bytes() for path in files] == first
    second_summary = summary(run)
    assert 0 < second_summary["report"].pop("wall_seconds") != first_summary["report"].pop("wall_seconds")
    assert second_summary == first_summary
    names = [path.name for path in (run.folder / "current" / "report").iterdir() if path.is_file()]
    copies = [(run.folder / "current" / "report" / copy).read_bytes() for copy in COPIES]
    assert copies == [(run.folder / "current" / "report" / file).read_bytes() for file in (PAGE, SUMMARY)]
    assert sorted(names) == sorted([*(path.name for path in files), SUMMARY])


class _Rows(HTMLParser):
    """The rows of every table of a page, and all of its links to other resources."""

    def __init__(self) -> None:
        super().__init__()
        self.tables: list[list[list[str]]] = []
        self.outside: list[str] = []

    def handle_starttag(self, tag, attributes):
        if tag == "table":
            self.tables.append([])
        elif tag == "tr":
            self.tables[-1].append([])
        elif tag in ("td", "th"):
            self.tables[-1][-1].append("")
        self.outside += [value for key, value in attributes if key in ("src", "href")]

    def handle_data(self, text):
        if self.tables and self.tables[-1] and self.tables[-1][-1] and text.strip():
            self.tables[-1][-1][-1] += text.strip()


def test_table_holds_every_score_and_needs_nothing_else(reported):
    run, truth = reported
    page = _Rows()
    page.feed((run.folder / "current" / "report" / PAGE).read_text())
    of_items = [table for table in page.tables if table[0][:2] == ["name", "kind"]]
    assert [row[0] for table in of_items for row in table[1:]] == [*run.computed_features, *run.models, *run.methods]
    models, whole, by_weight = (table for table in page.tables if table[0][0] in ("model", "score"))
    assert [link for link in page.outside if not link.startswith(("#", "data:"))] == []
    assert len(whole) - 1 == sum(row["stratum"] == "all" for row in truth.scores)
    assert len(by_weight) - 1 == sum(row["stratum"] != "all" for row in truth.scores)
    aurocs = sorted(f"{row['auroc']:.3f}" for row in truth.scores if row["stratum"] == "all")
    assert sorted(row[whole[0].index("AUROC")] for row in whole[1:]) == aurocs
    assert len(models) - 1 == 3 * 2 * 3  # models, measures, predictors
    assert {row[2] for row in models[1:]} == {"the model", "training mean", "persistence"}


def test_the_first_screen_answers_with_the_numbers_of_the_scores(reported):
    run, truth = reported
    found = answer(run, facts_of(run))
    edge_class = main_class(truth.scores)
    assert edge_class == "E->E"
    row = next(
        row for row in truth.scores if (row["edge_class"], row["score"], row["stratum"]) == (edge_class, "attention_correlation", "all")
    )
    assert f"AUROC {row['auroc']:.3f} (95 % interval {row['ci'][0]:.3f} to {row['ci'][1]:.3f}) for attention" in found.evidence
    judged = verdict(truth.scores)[edge_class]["attention"]["attention_correlation"]
    assert found.short == OUTCOMES[judged["outcome"]]
    assert judged["conclusion"] in found.further
    page = html.unescape((run.folder / "current" / "report" / PAGE).read_text())
    assert page.index(found.short) < page.index(found.evidence) < page.index("<nav")


@pytest.mark.parametrize(
    ("scores", "question", "short", "evidence"),
    [
        ([("rates", "spikes", 0.7)], "Do the spikes show the wiring?", "Better than chance.", "AUROC 0.700 (95 % interval 0.690 to 0.710)"),
        ([("rates", "spikes", 0.3)], "Do the spikes show the wiring?", "Worse than chance.", "for rates, 0.5 for chance"),
        ([("rates", "spikes", 0.505)], "Do the spikes show the wiring?", "Not better than chance.", "0.505"),
        ([("omega", "spikes and wiring", 1.0)], "Do the spikes show the wiring?", "Not tested.", "no score was computed from the spikes"),
        ([], "How active are the neurons?", " spikes in 6 s.", "No score was compared with the wiring."),
    ],
)
def test_without_attention_the_first_screen_answers_what_it_can(copied, scores, question, short, evidence):
    rows = [
        {"method": "m", "score": name, "saw": saw, "edge_class": "E->E", "stratum": "all", "auroc": auroc, "ap": 0.2}
        | {"ci": [auroc - 0.01, auroc + 0.01], "n_positive": 10, "n_negative": 90, "seed": {}, "time_range_ms": [0, 1]}
        for name, saw, auroc in scores
    ]
    (place_of(copied, "explanation") / "scores.json").write_text(json.dumps(rows))
    found = answer(copied, facts_of(copied))
    assert found.question == question
    assert short in found.short
    assert evidence in found.evidence
    assert not found.further


def test_the_configuration_shows_what_differs_from_the_reference(reported):
    page = _Rows()
    page.feed((reported[0].folder / "current" / "report" / PAGE).read_text())
    (differs,) = (table for table in page.tables if table[0] == ["key", "value", "reference"])
    assert ["network.neurons", "200", "1000"] in differs
    assert not any(row[0].startswith(("run.", "cluster.", "path")) or row[0].endswith(".ranks") for row in differs)


def test_who_was_given_the_wiring_is_called_circular(reported):
    kinds = {row["score"]: data.kind_of_score(row) for row in reported[1].scores}
    assert kinds == {
        "attention_correlation": "attention",
        "attention_correlation, labels shuffled": "control",
        "attention_correlation, untrained": "control",
        "rate_correlation": "no model",
        "omega": "circular",
    }


def test_a_run_of_another_kind_is_drawn_too(tmp_path):
    changes = {
        "network.connections.E->E.plastic": False,
        "network.connections.E->I.plastic": False,
        "features": {"omega_synapses": {}},
        "simulation.segment_s": 4,
        "models.tft_neuron.neurons": 40,
        "models.tft_neuron.seeds": [1, 2],
        "models.autoencoder.neurons": 30,
        "report.neurons": 1,
    }
    run, _ = synthetic_run(tmp_path, changes)
    make_report(run)
    assert all((place_of(run, "report") / shown.file).stat().st_size > 1000 for shown in figures_of(run))
    weights = summary(run)["simulation"]["plastic_weights_at_end"]
    assert weights == {"synapses": 0, "mean_mv": None, "share_at_maximum": None, "share_at_zero": None, "share_below_1_mv": None}
    assert set(summary(run)["models"]["tft_neuron"]) == {"1", "2"}


# --- numbers ------------------------------------------------------------------------------------------------------------


def test_summary_tells_the_network_as_it_is(reported):
    run, truth = reported
    network = summary(run)["network"]
    assert network["neurons"] == 200
    assert network["neurons_by_population"] == {"E": 160, "I": 40}
    assert network["synapses"] == truth.synapse.sum()
    parts = {"E->E": truth.synapse[:160, :160], "E->I": truth.synapse[:160, 160:], "I->E": truth.synapse[160:, :160]}
    assert network["synapses_by_edge_class"] == {name: part.sum() for name, part in parts.items()}
    assert network["mean_in_degree"] == pytest.approx(truth.synapse.sum() / 200)
    assert network["mean_delay_ms"] == pytest.approx(truth.delay[truth.synapse].mean())


def test_summary_tells_the_simulation_as_it_was(reported):
    run, truth = reported
    simulation = summary(run)["simulation"]
    assert simulation["spikes"] == truth.spikes.sum()
    mean_hz = truth.spikes.mean(axis=0) * 1000
    expected = {"all": mean_hz.mean(), "E": mean_hz[:160].mean(), "I": mean_hz[160:].mean()}
    assert simulation["rates_hz"] == pytest.approx(expected)
    assert simulation["rates_first_10_s_hz"] == pytest.approx(expected), "the whole run is shorter than 10 s"
    end_mv = truth.weight[-1, :160][truth.synapse[:160]] / UNITS_PER_MV
    weights = simulation["plastic_weights_at_end"]
    assert weights["synapses"] == len(end_mv)
    assert weights["mean_mv"] == pytest.approx(end_mv.mean())
    assert weights["share_at_maximum"] == pytest.approx((end_mv == 10).mean())
    assert weights["share_at_zero"] == pytest.approx((end_mv == 0).mean())
    assert weights["share_below_1_mv"] == pytest.approx((end_mv < 1).mean())


def test_first_seconds_are_those_before_ten_seconds(tmp_path):
    run, truth = synthetic_run(tmp_path, {"simulation.duration_s": 13, "simulation.segment_s": 4})
    write_summary(run, facts_of(run), 1.5)
    first = truth.spikes[:10_000].mean(axis=0) * 1000
    assert summary(run)["simulation"]["rates_first_10_s_hz"]["all"] == pytest.approx(first.mean())


def test_summary_has_the_stages_and_their_scores(reported):
    run, truth = reported
    content = summary(run)
    assert tuple(content) == SIMULATED
    assert content["explanation"]["scores"] == truth.scores
    assert set(content["explanation"]["verdict"]) == {"E->E", "E->I", "I->E"}
    facts = json.loads((run.folder / "current" / "models" / "tft_neuron" / "1" / "model.json").read_text())
    assert content["models"]["tft_neuron"]["1"]["scores"] == facts["scores"]
    assert content["models"]["tft_neuron"]["1"]["baselines"] == facts["baselines"]
    assert content["report"]["figures"] == [shown.file for shown in figures_of(run)]


def test_the_first_screen_names_a_score_that_is_not_defined(copied):
    path = model_folder(copied, "tft_neuron", 1) / "model.json"
    content = json.loads(path.read_text())
    content["scores"]["r2"], content["baselines"]["persistence"]["r2"] = None, None
    content["baselines"]["training_mean"]["r2"] = 0.25
    path.write_text(json.dumps(content))
    models = next(fact for fact in six_facts(copied, facts_of(copied)) if fact.name.startswith("Models"))
    assert "tft neuron: R\N{SUPERSCRIPT TWO} not defined (training mean 0.250)" in models.details


def test_wall_seconds_add_up_snakemakes_benchmarks(copied):
    stages = {name: (stage["wall_seconds"], stage["jobs"]) for name, stage in summary(copied).items()}
    assert stages.pop("report")[1] == 1
    assert set(stages.values()) == {(None, None)}
    folder = place_of(copied, "simulation") / "benchmarks"
    folder.mkdir(parents=True)
    for segment, seconds in enumerate((1.25, 2.5)):
        (folder / f"{segment}.tsv").write_text(f"s\th:m:s\tmax_rss\tcpu_time\n{seconds}\t0:00:0{int(seconds)}\t100.0\t{2 * seconds}\n")
    (folder / "7.tsv").write_text("s\n100\n")  # of a longer run, which shares the folder
    write_summary(copied, facts_of(copied, benchmarks_of(copied)), 1.5)
    content = summary(copied)
    assert set(content["features"]) == {"spike_counts", "traces", "omega_pairs", "omega_synapses", "wall_seconds", "cpu_seconds", "jobs"}
    assert content["features"]["traces"] == {"kind": "traces", "tau_ms": 20.0, "neurons": 20}
    assert {name: content["simulation"][name] for name in ("wall_seconds", "cpu_seconds", "jobs")} == {
        "wall_seconds": 3.75,
        "cpu_seconds": 7.5,
        "jobs": 2,
    }
    assert Fact("Processor time", "8 s", ("simulation: 8 s",)) in six_facts(copied, facts_of(copied, benchmarks_of(copied)))
    assert content["features"]["wall_seconds"] is None
    assert content["report"]["wall_seconds"] == 1.5


def test_weights_are_counted_by_class_and_time(reported):
    run, truth = reported
    histograms = data.weight_histograms(run)
    assert histograms.edges_mv[0] <= -5
    assert {0.0, 10.0} <= set(histograms.edges_mv)
    for boundary, (i, part) in itertools.product(range(run.n_segments + 1), enumerate((np.s_[:160, :160], np.s_[:160, 160:]))):
        mv = truth.weight[boundary][part][truth.synapse[part]] / UNITS_PER_MV
        assert np.array_equal(histograms.counts[boundary, i, 1], np.histogram(mv, histograms.edges_mv)[0])
        assert not histograms.counts[boundary, i, 0].any()


def test_weight_matrix_is_source_by_target(reported):
    run, truth = reported
    ids = np.array([0, 3, 77, 159, 160, 199])
    expected = np.where(truth.synapse, truth.weight[-1] / UNITS_PER_MV, np.nan)[np.ix_(ids, ids)]
    np.testing.assert_allclose(data.weight_matrix(run, ids, run.n_segments - 1), expected, rtol=1e-6)


def test_running_rates_are_spikes_per_neuron_and_second(reported):
    run, truth = reported
    rates = data.running_rates(run)
    at_ms = 1230
    window = truth.spikes[at_ms : at_ms + run.report.window_ms]
    expected = [window.mean() * 1000, window[:, :160].mean() * 1000, window[:, 160:].mean() * 1000]
    np.testing.assert_allclose(rates[at_ms // data.rate_step_ms(run)], expected)
    assert np.isnan(rates[-1]).all(), "the last window reaches beyond the end"


# --- faults -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("lost", "item"),
    [
        ("current/network.zarr/blocks/2/delay/c/0", "network"),
        ("current/spikes.zarr/spikes/c/2/1", "raster_and_rates"),
        ("current/features/omega_pairs/output.zarr/omega/c/1/0/2", "causal_omega_pairs"),
        ("current/features/omega_synapses/output.zarr/blocks/1/omega/c/2/0", "causal_omega_synapses"),
        ("current/weights.zarr/3/weight/c/2/0", "weights"),
        ("current/models/autoencoder/1/output.zarr/encoder_variance/c/0/0", "encoder_autoencoder"),
        ("current/models/tft_population/1/history.jsonl", "learning"),
        ("current/explanation/scores.json", "scores"),
    ],
)
def test_a_lost_shard_is_named_and_not_drawn_as_zeros(copied, lost, item):
    path = (copied.folder / lost).resolve()
    path.unlink()
    with pytest.raises(StoreError, match=re.escape(str(path))):
        render(copied, next(shown for shown in figures_of(copied) if shown.name == item))


def test_a_report_that_lacks_a_shard_ends_with_an_error(copied):
    (copied.folder / "current/network.zarr/in_degree/c/0").write_bytes(b"")
    with pytest.raises(StoreError, match="in_degree"):
        make_report(copied)


# --- captions -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("caption", ["page.rst", "summary.rst", "workflow.rst"])
def test_what_snakemakes_report_says_reads_cleanly(caption):
    text = (REPOSITORY / "workflow" / "report" / caption).read_text()
    config = read_yaml(REPOSITORY / "config.yaml")
    rendered = jinja2.Template(text, undefined=jinja2.StrictUndefined).render(snakemake={"config": config})
    docutils.core.publish_string(rendered, settings_overrides={"halt_level": 2, "report_level": 2})


def test_every_figure_has_a_caption_that_names_units(reported):
    run, _ = reported
    page = html.unescape((run.folder / "current" / "report" / PAGE).read_text())
    for shown in figures_of(run):
        assert re.search(r"\[(1|%|s|ms|mV|Hz|[\w%/², ]+)\]", shown.caption), shown.name
        assert len(shown.caption.split()) > 40, shown.name
        assert shown.caption in page


def test_without_models_the_report_shows_what_there_is(tmp_path):
    run, _ = synthetic_run(tmp_path, {"models": {}})
    make_report(run)
    names = {shown.name for shown in figures_of(run)}
    assert names == {HEADLINE, "network", "raster_and_rates", "binary_rates", "irregularity", "synchrony", "cross_correlograms"} | {
        *("weights", "causal_omega_pairs", "causal_omega_synapses", "scores")
    }
    assert "models" not in re.findall(r'<section id="(\w+)">', (run.folder / "current" / "report" / PAGE).read_text())
    assert summary(run)["models"] == {"wall_seconds": None, "cpu_seconds": None, "jobs": None}


def test_without_features_the_report_shows_what_there_is(tmp_path):
    run, _ = synthetic_run(tmp_path, {"features": {}})
    make_report(run)
    assert "features" not in re.findall(r'<section id="(\w+)">', (run.folder / "current" / "report" / PAGE).read_text())
    assert summary(run)["features"] == {"wall_seconds": None, "cpu_seconds": None, "jobs": None}


def test_contents_can_be_imported_without_the_libraries_that_draw():
    code = "import sys, spikelens.report.contents; print(*{'matplotlib', 'torch', 'zarr', 'xarray', 'numba'} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == ""


def test_two_figures_with_one_name_are_refused(copied, monkeypatch):
    shown = figures_of(copied)[0]
    monkeypatch.setattr(type(copied.models["autoencoder"]), "figures", lambda self, name: (shown,))
    with pytest.raises(SpikelensError, match="two figures of the report have the name 'headline'"):
        figures_of(copied)


def test_scores_of_several_methods_are_told_apart(copied):
    path = place_of(copied, "explanation") / "scores.json"
    rows = [row for row in json.loads(path.read_text()) if row["score"] == "rate_correlation"]
    path.write_text(json.dumps([*rows, *({**row, "method": "coarse"} for row in rows)]))
    shown = {(row["method"], row["shown"]) for row in data.connectivity_scores(copied)}
    assert shown == {
        (method, f"rate correlation ({method}){time_range}")
        for method in ("rate_correlation", "coarse")
        for time_range in ("", ", whole run")
    }

"""Models: ranges share no spike, scaling uses training data only, same seed gives same weights, and they learn."""

from __future__ import annotations

import hashlib
import itertools
import json
import pickle
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import MODEL_NAMES, small_config

from spikelens.config import RunConfig, load_runs
from spikelens.errors import ConfigError, SpikelensError, StoreError
from spikelens.layouts import layout
from spikelens.models.autoencoder import encode
from spikelens.models.baselines import (
    forecast_baselines,
    forecast_scores,
    forecast_targets,
    pca_reconstruction,
    reconstruction_scores,
)
from spikelens.models.data import rate_series, trace_sequences, training_scale
from spikelens.models.load import load, new_module, read_description, save, weights_of
from spikelens.models.run import _environment_threads, train
from spikelens.models.tft import forecast, predict
from spikelens.models.train import Epochs
from spikelens.places import model_folder
from spikelens.prepare import prepare
from spikelens.stores import ensure, write_shard

TINY = {
    "network.neurons": 12,
    "network.block_size": 4,
    "network.populations.E.count": 8,
    "network.populations.I.count": 4,
    "simulation.chunk_neurons": 4,
    "simulation.ranks": 1,
    "simulation.duration_s": 20,
    "simulation.segment_s": 5,
    "training.start_s": 2,
    "models.autoencoder.sequences": 300,
    "models.autoencoder.steps": 10,
    "models.autoencoder.batch_size": 32,
    "models.tft_population.batch_size": 32,
    "models.tft_neuron.batch_size": 64,
}


def tiny_run(folder: Path, changes: dict | None = None, raster: np.ndarray | None = None) -> RunConfig:
    """A run of 12 neurons that contains only spikes."""
    run = load_runs(small_config(folder, {**TINY, **(changes or {})}))[0]
    prepare(run)
    write_raster(run, random_raster(run) if raster is None else raster)
    return run


def random_raster(run: RunConfig, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).random((run.n_steps, run.network.neurons)) < 0.02


def write_raster(run: RunConfig, raster: np.ndarray) -> None:
    group = layout(run, "spikes")
    ensure(group)
    for index in group.arrays["spikes"].indices():
        write_shard(group, "spikes", index, raster[group.arrays["spikes"].region(index)])


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> RunConfig:
    """A tiny run with one model of each kind, trained for two epochs."""
    run = tiny_run(tmp_path_factory.mktemp("trained"), {f"models.{name}.epochs": 2 for name in MODEL_NAMES})
    for name in MODEL_NAMES:
        train(run, name, 1)
    return run


def history_of(run: RunConfig, name: str, seed: int = 1) -> list[dict]:
    return [json.loads(line) for line in (model_folder(run, name, seed) / "history.jsonl").read_text().splitlines()]


def description_of(run: RunConfig, name: str, seed: int = 1) -> dict:
    return read_description(model_folder(run, name, seed))


# --- what models are trained on -----------------------------------------------------------------------------------------


def test_sequences_of_two_ranges_share_no_spike(make_run):
    run = make_run()
    model = run.models["autoencoder"]
    seen = [
        {step for start in starts for step in range(start - model.reach_ms, start + model.steps)} for starts in model.starts(run).values()
    ]
    assert all(seen)
    assert not seen[0] & seen[1]
    assert not seen[1] & seen[2]
    assert max(seen[0]) < min(seen[1])
    assert max(seen[1]) < min(seen[2])


@pytest.mark.parametrize(("given", "threads"), [("2,1", 2), ("3", 3), (" 4 , 2", 4), ("", 1), ("many", 1), ("0", 1), (None, 1)])
def test_threads_are_the_first_number_of_the_environment(given, threads, monkeypatch):
    if given is None:
        monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    else:
        monkeypatch.setenv("OMP_NUM_THREADS", given)
    assert _environment_threads() == threads


@pytest.mark.parametrize("tau_ms", [1.0, 20.0, 47.3, 90.0, 99.0])
@pytest.mark.parametrize("sequences", [20, 37, 120, 250])
@pytest.mark.parametrize("split", [[0.6, 0.2, 0.2], [0.9, 0.05, 0.05], [0.98, 0.01, 0.01]])
def test_check_tells_of_ranges_without_sequences_as_training_finds_them(tmp_path, tau_ms, sequences, split):
    run = load_runs(small_config(tmp_path))[0]
    model = run.models["autoencoder"].model_copy(update={"sequences": sequences, "tau_ms": tau_ms})
    run = run.model_copy(update={"models": {"autoencoder": model}, "training": run.training.model_copy(update={"split": tuple(split)})})
    empty = [name for name, starts in model.starts(run).items() if not len(starts)]
    assert [re.search("the ([a-z]+) range", problem.expected)[1] for problem in model.check_sequences(run, "models.a")] == empty
    if empty:
        with pytest.raises(ConfigError, match="none of the sequences"):
            trace_sequences(run, run.models["autoencoder"])


@pytest.mark.parametrize("name", ["tft_population", "tft_neuron"])
def test_windows_of_two_ranges_share_no_spike_and_stand_a_history_a_horizon_and_a_window_apart(make_run, name):
    run = make_run()
    model, t_w = run.models[name], run.models[name].bin_ms
    ranges = model.ranges(run)
    spans = [(first * t_w, end * t_w) for first, end in ranges.values()]
    for (_, before), (after, _) in itertools.pairwise(spans):
        assert after - before >= (model.history + model.horizon + 1) * t_w
    assert spans[0][0] >= run.training.start_s * 1000
    assert spans[-1][1] <= run.n_steps


def test_sequences_stand_evenly_in_the_time_used_and_never_overlap(make_run):
    run = make_run()
    starts = np.concatenate(list(run.models["autoencoder"].starts(run).values()))
    apart = np.diff(starts)
    # 5,000 ms for 120 sequences: 41 or 42 ms from one to the next, and more only across a gap
    assert sorted(set(apart[apart < 100])) == [41, 42]
    assert (apart >= run.models["autoencoder"].steps).all()
    for name, (begin, end) in run.models["autoencoder"].ranges(run).items():
        chosen = run.models["autoencoder"].starts(run)[name]
        assert chosen.min() >= begin
        assert chosen.max() + run.models["autoencoder"].steps <= end


def test_traces_of_sequences_are_the_plain_sum_of_exponentials_over_segments_and_blocks(tmp_path):
    run = tiny_run(tmp_path, {"models.autoencoder.neurons": 5, "models.autoencoder.sequences": 1700})
    raster, tau, cutoff = random_raster(run), run.models["autoencoder"].tau_ms, run.models["autoencoder"].reach_ms
    data = trace_sequences(run, run.models["autoencoder"])
    assert data.neurons.tolist() == [0, 2, 4, 7, 9]
    for name in ("train", "validation", "test"):
        sequences, starts = getattr(data, name), data.starts[name]
        assert sequences.shape == (len(starts), 10, 5)
        times = starts[:, None] + np.arange(10)
        expected = np.zeros(sequences.shape)
        for lag in range(cutoff + 1):
            expected += np.exp(-lag / tau) * raster[times - lag][..., data.neurons]
        assert np.allclose(sequences, expected, rtol=1e-5, atol=1e-6)
    straddles = data.starts["train"] // run.segment_steps != (data.starts["train"] + 9) // run.segment_steps
    assert straddles.any(), "some sequence crosses a segment's end"


def test_sampled_rates_are_spikes_counted_in_windows_side_by_side(tmp_path):
    run = tiny_run(
        tmp_path,
        {
            "models.tft_neuron.neurons": 6,
            "models.tft_neuron.bin_ms": 300,
            "models.tft_population.bin_ms": 300,
            "simulation.duration_s": 60,
            "simulation.segment_s": 20,
        },
    )
    raster = random_raster(run)
    n = run.n_steps // 300
    counts = raster[: n * 300].reshape(n, 300, 12).sum(axis=1)
    neurons = rate_series(run, run.models["tft_neuron"])
    assert neurons.names.tolist() == [0, 2, 4, 6, 8, 10]
    assert np.allclose(neurons.values, counts[:, ::2] / 0.3)
    population = rate_series(run, run.models["tft_population"])
    assert population.names.tolist() == ["all", "E", "I"]
    means = np.column_stack([counts.mean(axis=1), counts[:, :8].mean(axis=1), counts[:, 8:].mean(axis=1)])
    assert np.allclose(population.values, means / 0.3)
    assert population.values.dtype == neurons.values.dtype == np.float32


def test_rates_need_no_features_and_their_bins_may_cross_segments(tmp_path):
    changes = {"features": {}, "models.tft_neuron.bin_ms": 35, "models.tft_population.bin_ms": 35}
    run = tiny_run(tmp_path, changes)
    raster = random_raster(run)
    n = run.n_steps // 35
    counts = raster[: n * 35].reshape(n, 35, 12).sum(axis=1)
    assert run.segment_steps % 35, "some bins have spikes of two segments"
    assert np.allclose(rate_series(run, run.models["tft_neuron"]).values, counts / 0.035)
    assert np.allclose(rate_series(run, run.models["tft_population"]).values[:, 0], counts.mean(axis=1) / 0.035)


@pytest.mark.parametrize("model", ["tft_neuron", "tft_population", "autoencoder"])
def test_a_lost_shard_of_spikes_is_an_error_and_not_silence(tmp_path, model):
    run = tiny_run(tmp_path)
    layout(run, "spikes").shard_path("spikes", (1, 2)).unlink()
    with pytest.raises(StoreError, match="missing"):
        train(run, model, 1)


def test_scaling_knows_the_training_range_alone(tmp_path):
    run = tiny_run(tmp_path / "a")
    louder = random_raster(run)
    tft = run.models["tft_neuron"]
    first_unseen = max(run.models["autoencoder"].ranges(run)["train"][1], tft.ranges(run)["train"][1] * tft.bin_ms)
    louder[first_unseen:] |= random_raster(run, seed=1)[first_unseen:]
    other = tiny_run(tmp_path / "b", raster=louder)
    for name in ("tft_population", "tft_neuron"):
        one, two = rate_series(run, run.models[name]), rate_series(other, other.models[name])
        assert not np.array_equal(one.values, two.values)
        assert np.array_equal(one.mean, two.mean)
        assert np.array_equal(one.std, two.std)
    for each in (run, other):
        train(each, "autoencoder", 1)
    assert description_of(run, "autoencoder")["scaling"] == description_of(other, "autoencoder")["scaling"]


def test_a_silent_series_is_scaled_by_a_single_spike():
    values = np.zeros((100, 2), np.float32)
    values[3, 1] = 10
    mean, std = training_scale(values, (0, 100), np.array([10.0, 10.0]))
    assert mean.tolist() == pytest.approx([0, 0.1])
    # one of 100 samples at 10 Hz: sqrt(10^2 / 100 - 0.1^2)
    assert std.tolist() == pytest.approx([np.sqrt(0.99), np.sqrt(0.99)])


# --- baselines ----------------------------------------------------------------------------------------------------------


def test_baselines_and_scores_of_a_forecast_computed_by_hand():
    values = np.array([[1, 0], [3, 0], [5, 2], [7, 2]], np.float32)
    starts, mean = np.array([0, 1]), np.array([2, 1], np.float32)
    target = forecast_targets(values, starts, history=2, horizon=1)
    assert target.tolist() == [[[5], [2]], [[7], [2]]]
    predicted = forecast_baselines(values, starts, 2, mean)
    assert predicted["training_mean"].tolist() == [[[2], [1]], [[2], [1]]]
    assert predicted["persistence"].tolist() == [[[3], [0]], [[5], [2]]]
    assert predicted["history_mean"].tolist() == [[[2], [0]], [[4], [1]]]
    # errors of persistence: 2, 2, 2, 0; of the mean: 3, 1, 5, 1
    assert forecast_scores(predicted["persistence"], target, mean) == {"mse": 3.0, "mae": 1.5, "r2": pytest.approx(1 - 12 / 36)}
    assert forecast_scores(predicted["training_mean"], target, mean)["r2"] == 0
    assert forecast_scores(target, target, mean) == {"mse": 0.0, "mae": 0.0, "r2": 1.0}


def test_a_target_that_never_leaves_the_mean_has_no_r2():
    target = np.ones((2, 1, 3), np.float32)
    assert forecast_scores(target + 1, target, np.ones(1, np.float32)) == {"mse": 1.0, "mae": 1.0, "r2": None}


def test_principal_components_rebuild_what_varies_in_as_many_directions():
    rng = np.random.default_rng(0)
    directions = rng.normal(size=(3, 40))
    train_set, test_set = ((rng.normal(size=(n, 3)) @ directions + 1).reshape(n, 4, 10).astype(np.float32) for n in (60, 20))
    mean = train_set.mean(axis=(0, 1))
    assert reconstruction_scores(pca_reconstruction(train_set, test_set, 3), test_set, mean)["explained_variance"] == pytest.approx(
        1, abs=1e-4
    )
    two = reconstruction_scores(pca_reconstruction(train_set, test_set, 2), test_set, mean)["explained_variance"]
    centred = train_set.reshape(60, -1) - train_set.reshape(60, -1).mean(axis=0)
    axes = np.linalg.svd(centred, full_matrices=False)[2][:2]
    away = test_set.reshape(20, -1) - train_set.reshape(60, -1).mean(axis=0)
    lost = np.sum((away - away @ axes.T @ axes) ** 2) / np.sum((test_set - mean) ** 2)
    assert two == pytest.approx(1 - lost, abs=1e-3)


@pytest.mark.parametrize("name", MODEL_NAMES)
def test_a_model_and_its_baselines_stand_in_model_json_in_the_same_units(trained, name):
    description = description_of(trained, name)
    assert set(description["baselines"]) == (
        {"training_mean", "pca"} if name == "autoencoder" else {"training_mean", "persistence", "history_mean"}
    )
    for scores in (description["scores"], *description["baselines"].values()):
        assert set(scores) == set(description["units"])
    skill = "explained_variance" if name == "autoencoder" else "r2"
    assert description["baselines"]["training_mean"][skill] == 0
    assert description["scores"][skill] == pytest.approx(
        1 - description["scores"]["mse"] / description["baselines"]["training_mean"]["mse"]
    )


# --- training -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", MODEL_NAMES)
def test_the_same_seed_gives_the_same_weights_and_another_seed_others(tmp_path, trained, name):
    again = tiny_run(tmp_path, {f"models.{name}.epochs": 2, f"models.{name}.seeds": [1, 2**63 - 1]})
    for seed in (1, 2**63 - 1):
        train(again, name, seed)
    files = [model_folder(run, name, seed) / "weights.safetensors" for run, seed in ((trained, 1), (again, 1), (again, 2**63 - 1))]
    first, second, other = (file.read_bytes() for file in files)
    assert first == second
    assert first != other


def test_a_forecast_learns_a_rate_that_repeats(tmp_path):
    """Each neuron fires in one of four samples: the mean and the last value cannot predict which."""
    changes = {"models.tft_neuron.epochs": 12, "models.tft_neuron.learning_rate": 0.01, "models.tft_neuron.samples_per_epoch": 1500}
    run = load_runs(small_config(tmp_path, {**TINY, **changes}))[0]
    window = run.models["tft_neuron"].bin_ms
    raster = np.zeros((run.n_steps, 12), bool)
    for neuron in range(12):
        for start in range(neuron % 4 * window, run.n_steps, 4 * window):
            raster[start + 5 : start + 35 : 10, neuron] = True
    run = tiny_run(tmp_path, changes, raster)
    train(run, "tft_neuron", 1)
    description = description_of(run, "tft_neuron")
    assert description["scores"]["r2"] > 0.8
    assert abs(description["baselines"]["history_mean"]["r2"]) < 0.3
    assert description["baselines"]["persistence"]["r2"] < 0


def test_an_autoencoder_learns_traces_that_go_together(tmp_path):
    """Two groups of six neurons fire together, at random: two numbers explain most of the twelve traces."""
    changes = {"models.autoencoder.epochs": 40, "models.autoencoder.learning_rate": 0.01}
    run = load_runs(small_config(tmp_path, {**TINY, **changes}))[0]
    raster = np.repeat(np.random.default_rng(3).random((run.n_steps, 2)) < 0.02, 6, axis=1)
    run = tiny_run(tmp_path, changes, raster)
    train(run, "autoencoder", 1)
    assert description_of(run, "autoencoder")["scores"]["explained_variance"] > 0.4


def test_history_grows_by_a_line_as_each_epoch_ends_and_forgets_an_earlier_training(tmp_path, monkeypatch):
    run = tiny_run(tmp_path, {"models.tft_population.epochs": 3})
    folder = model_folder(run, "tft_population", 1)
    folder.mkdir(parents=True)
    (folder / "history.jsonl").write_text('{"epoch": 99}\n')
    lengths, original = [], Epochs.end

    def watched(self, *arguments):
        original(self, *arguments)
        lengths.append(len(history_of(run, "tft_population")))

    monkeypatch.setattr(Epochs, "end", watched)
    train(run, "tft_population", 1)
    assert lengths == [1, 2, 3]
    assert [line["epoch"] for line in history_of(run, "tft_population")] == [1, 2, 3]
    assert all(set(line) == {"epoch", "train_loss", "validation_loss", "seconds"} for line in history_of(run, "tft_population"))


def test_training_stops_at_the_end_of_patience_and_keeps_the_best_epoch(tmp_path):
    changes = {"models.autoencoder.epochs": 60, "models.autoencoder.patience": 2, "models.autoencoder.learning_rate": 0.03}
    run = tiny_run(tmp_path, changes)
    train(run, "autoencoder", 1)
    losses = [line["validation_loss"] for line in history_of(run, "autoencoder")]
    description = description_of(run, "autoencoder")
    assert description["epochs"] == len(losses) < 60
    assert description["best_epoch"] == len(losses) - 2 == int(np.argmin(losses)) + 1
    data, module = trace_sequences(run, run.models["autoencoder"]), load(run, "autoencoder", 1)
    error = np.mean((encode(module, data.validation)[0] - data.validation) ** 2) / float(module.std) ** 2
    assert error == pytest.approx(min(losses), rel=1e-4)


@pytest.mark.parametrize(
    ("name", "key", "remedy"),
    [
        ("tft_population", "learning_rate", "lower models.tft_population.learning_rate"),
        ("autoencoder", "learning_rate", "lower models.autoencoder.learning_rate"),
        (
            "autoencoder",
            "weight_decay",
            "lower models.autoencoder.weight_decay: each step shrinks every weight by the fraction learning_rate x weight_decay = 1e+27",
        ),
    ],
)
def test_training_that_diverges_names_the_key_to_lower(tmp_path, name, key, remedy):
    run = tiny_run(tmp_path, {"models.autoencoder.learning_rate": 1e-3, f"models.{name}.{key}": 1e30})
    with pytest.raises(SpikelensError, match=rf"training loss \S+, validation loss \S+ in epoch 1: training diverged; {re.escape(remedy)}"):
        train(run, name, 1)


def test_the_untrained_model_is_what_training_starts_from(tmp_path):
    # steps of 1e-30 leave every weight where it was
    run = tiny_run(tmp_path, {f"models.{name}.learning_rate": 1e-30 for name in MODEL_NAMES})
    for name in MODEL_NAMES:
        train(run, name, 1)
        trained, untrained = (load(run, name, 1, on).state_dict() for on in (True, False))
        assert all(torch.allclose(trained[key], untrained[key], rtol=0, atol=1e-20) for key in untrained)


# --- on disk ------------------------------------------------------------------------------------------------------------


def test_a_model_read_back_gives_the_same_outputs(tmp_path, trained):
    for name in MODEL_NAMES:
        facts = description_of(trained, name)
        module = new_module(trained.models[name], facts["scaling"], seed=5).eval()
        run = trained.model_copy(update={"path": str(tmp_path)})
        save(model_folder(run, name, 1), weights_of(module), {key: facts[key] for key in ("options", "scaling")})
        if name == "autoencoder":
            sequences = trace_sequences(trained, trained.models["autoencoder"]).test
            pairs = zip(encode(module, sequences), encode(load(run, "autoencoder", 1), sequences), strict=True)
        else:
            values = rate_series(trained, trained.models[name]).values
            pairs = zip(forecast(module, values, np.array([7])), forecast(load(run, name, 1), values, np.array([7])), strict=True)
        assert all(np.array_equal(one, two) for one, two in pairs)


class Trap:
    """Creates a file if it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


def test_a_damaged_or_foreign_weights_file_is_refused_and_nothing_in_it_runs(tmp_path, trained):
    run = trained.model_copy(update={"path": str(tmp_path)})
    source, folder = model_folder(trained, "tft_neuron", 1), model_folder(run, "tft_neuron", 1)
    folder.mkdir(parents=True)
    good, facts = (source / "weights.safetensors").read_bytes(), description_of(trained, "tft_neuron")
    flipped = bytearray(good)
    flipped[len(good) // 2] ^= 1
    sprung = tmp_path / "sprung"
    unsafe = pickle.dumps(Trap(sprung))
    other = (model_folder(trained, "tft_population", 1) / "weights.safetensors").read_bytes()
    described = {content: {**facts, "weights_sha256": hashlib.sha256(content).hexdigest()} for content in (unsafe, other)}
    for content in (bytes(flipped), good[:-1], b"", unsafe, other):
        (folder / "weights.safetensors").write_bytes(content)
        (folder / "model.json").write_text(json.dumps(described.get(content, facts)))
        with pytest.raises(SpikelensError, match="train"):
            load(run, "tft_neuron", 1)
    assert not sprung.exists()
    (folder / "weights.safetensors").unlink()
    with pytest.raises(SpikelensError, match="train"):
        load(run, "tft_neuron", 1)
    (folder / "model.json").write_text("{")
    with pytest.raises(SpikelensError, match=r"model\.json"):
        load(run, "tft_neuron", 1)


# --- forecasts and attention --------------------------------------------------------------------------------------------


def test_attention_of_a_step_adds_up_to_one_over_the_past_and_earlier_steps(trained):
    module, values = load(trained, "tft_neuron", 1), rate_series(trained, trained.models["tft_neuron"]).values
    outputs = []
    module.network.register_forward_hook(lambda _, __, output: outputs.append(output))
    prediction, attention = forecast(module, values, np.array([0, 50, 90]))
    model = trained.models["tft_neuron"]
    assert prediction.shape == (3, 12, model.horizon)
    assert attention.shape == (3, 12, model.horizon, model.attention_heads, model.history)
    assert (attention >= 0).all()
    # the first step has nothing but the past to attend to
    assert np.allclose(attention[:, :, 0].sum(axis=-1), 1, atol=1e-5)
    on_earlier = torch.cat([output["decoder_attention"] for output in outputs]).numpy().reshape(*attention.shape[:-1], model.horizon)
    assert np.allclose(attention.sum(axis=-1) + on_earlier.sum(axis=-1), 1, atol=1e-5)
    assert (attention[:, :, 1:].sum(axis=-1) < 1).all()
    for step in range(model.horizon):
        assert (on_earlier[:, :, step, :, step:] == 0).all()


def test_a_forecast_sees_its_history_and_nothing_after_it_and_not_the_time_of_the_run(trained):
    module, values = load(trained, "tft_neuron", 1), rate_series(trained, trained.models["tft_neuron"]).values
    history, start = module.history, np.array([30])
    known = predict(module, values, start)
    later = values.copy()
    later[30 + history :] += 50
    assert np.array_equal(predict(module, later, start), known)
    earlier = values.copy()
    earlier[30 + history - 1] += 50
    assert (predict(module, earlier, start) != known).any(axis=-1).all()
    assert np.array_equal(predict(module, np.roll(values, 17, axis=0), start + 17), known)


def test_forecasts_do_not_depend_on_what_else_is_forecast(trained):
    module, values = load(trained, "tft_neuron", 1), rate_series(trained, trained.models["tft_neuron"]).values
    starts = np.arange(0, 340)
    together = predict(module, values, starts)
    assert together.shape[:2] == (340, 12)
    alone = np.stack([predict(module, values, starts[[i]])[0] for i in (0, 171, 339)])
    assert np.allclose(together[[0, 171, 339]], alone, rtol=1e-4, atol=1e-4)
    assert np.array_equal(forecast(module, values, starts[:5])[0], predict(module, values, starts[:5]))


def test_encoder_states_end_in_what_the_sequence_is_rebuilt_from(trained):
    module, sequences = load(trained, "autoencoder", 1), trace_sequences(trained, trained.models["autoencoder"]).test
    rebuilt, states = encode(module, sequences)
    assert rebuilt.shape == sequences.shape
    assert states.shape == (*sequences.shape[:2], trained.models["autoencoder"].units)
    with torch.inference_mode():
        code = torch.from_numpy(states[:, -1:]).expand(-1, sequences.shape[1], -1).contiguous()
        again = module.readout(module.decoder(code)[0]) * module.std + module.mean
    assert np.allclose(again.numpy(), rebuilt, atol=1e-5)

"""Training on several ranks, and training resumed after a kill, gives the same model."""

from __future__ import annotations

import json
import logging
import multiprocessing
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import psutil
import pytest
import torch
from conftest import MODEL_NAMES
from simulations import MPIEXEC
from test_crash import watch
from test_models import description_of, history_of, tiny_run

from spikelens.cli import main
from spikelens.config import RunConfig, load_run
from spikelens.errors import SpikelensError
from spikelens.models.checkpoint import read_checkpoint
from spikelens.models.load import new_module
from spikelens.models.ranks import ALONE, Ranks
from spikelens.models.run import train
from spikelens.models.train import Epochs, step
from spikelens.places import model_folder
from spikelens.prepare import verify

N_EPOCHS = 3
UNEVEN = {
    # 177 sequences: the last batch holds one, so that most of its parts are empty
    "models.autoencoder.batch_size": 44,
    # the last batch holds 5 windows: parts of 2, 1, 1, 1
    "models.tft_population.batch_size": 61,
    "models.tft_population.samples_per_epoch": 188,
    # the last batch holds 2
    "models.tft_neuron.batch_size": 67,
    "models.tft_neuron.samples_per_epoch": 203,
    **{f"models.{name}.epochs": N_EPOCHS for name in MODEL_NAMES},
    **{f"models.{name}.parts": 4 for name in MODEL_NAMES},
}


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> RunConfig:
    """A run with spikes and rates and without models."""
    return tiny_run(tmp_path_factory.mktemp("data"), UNEVEN)


@pytest.fixture(scope="module")
def undisturbed(data, tmp_path_factory) -> RunConfig:
    """The same run with all models, trained by one process without interruption."""
    run = copy_of(data, tmp_path_factory.mktemp("undisturbed") / "run")
    for name in MODEL_NAMES:
        train(run, name, 1)
    return run


@pytest.fixture(scope="module")
def on_two_ranks(data, tmp_path_factory) -> RunConfig:
    run = copy_of(data, tmp_path_factory.mktemp("two") / "run")
    launch(run, 2)
    return run


def copy_of(run: RunConfig, folder: Path) -> RunConfig:
    shutil.copytree(run.folder, folder, symlinks=True)
    return load_run(folder)


def command(run: RunConfig, n_ranks: int, *arguments: str) -> list[str]:
    ours = [sys.executable, "-m", "spikelens", "train", run.path, "--ranks", str(n_ranks), *arguments]
    return [str(MPIEXEC), "-n", str(n_ranks), *ours]


def launch(run: RunConfig, n_ranks: int, *arguments: str) -> str:
    finished = subprocess.run(command(run, n_ranks, *arguments), capture_output=True, text=True, timeout=300)
    assert finished.returncode == 0, finished.stderr
    return finished.stderr


def weights_of(run: RunConfig, name: str) -> bytes:
    return (model_folder(run, name, 1) / "weights.safetensors").read_bytes()


def losses_of(run: RunConfig, name: str) -> np.ndarray:
    """(n_epochs, 2) training and validation losses."""
    return np.array([(line["train_loss"], line["validation_loss"]) for line in history_of(run, name)])


# --- several ranks ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", MODEL_NAMES)
def test_parts_of_a_batch_give_the_gradient_of_its_mean_loss(data, name):
    """Also for the last batch, whose parts have different sizes or are empty."""
    model = data.models[name]
    task = model.task(data, 1)
    module = new_module(model if name == "autoencoder" else model.model_copy(update={"dropout": 0.0}), task.scaling, 1)
    unmoved = torch.optim.SGD(module.parameters(), lr=0)
    first, *_, last = task.train
    assert len(last) < 6
    for chosen in (first, last):
        losses = step(module, unmoved, chosen, task, model.parts, ALONE)
        found = [weight.grad.clone() for weight in module.parameters()]
        unmoved.zero_grad()
        loss = module.training_step(task.train.items(chosen), 0)
        loss.backward()
        assert losses.sum() == pytest.approx(len(chosen) * loss.item(), rel=1e-5)
        for gradient, weight in zip(found, module.parameters(), strict=True):
            assert torch.allclose(gradient, weight.grad, rtol=1e-4, atol=1e-6)


def test_parts_draw_dropout_of_their_own(data):
    model = data.models["tft_population"].model_copy(update={"dropout": 0.5})
    task = model.task(data, 1)
    module = new_module(model, task.scaling, 1)
    (chosen, *_) = task.train
    alike = chosen[:1].repeat(8)
    for seed in (1, 2):
        torch.manual_seed(seed)
        losses = step(module, torch.optim.SGD(module.parameters(), lr=0), alike, task, model.parts, ALONE)
        assert len(set(losses.tolist())) == 4


@pytest.mark.slow
def test_any_number_of_ranks_trains_the_very_same_model(undisturbed, on_two_ranks, data, tmp_path):
    """With dropout, and batches that ranks cannot share evenly. Three ranks resume what one rank has begun."""
    on_three = copy_of(data, tmp_path / "three")
    for name in MODEL_NAMES:
        train_until(on_three, name, after_epoch(1))
    messages = launch(on_three, 3)
    for run in (on_two_ranks, on_three):
        for name in MODEL_NAMES:
            assert weights_of(run, name) == weights_of(undisturbed, name), (run.path, name)
            assert np.array_equal(losses_of(run, name), losses_of(undisturbed, name))
            assert {**description_of(run, name), "wall_s": 0} == {**description_of(undisturbed, name), "wall_s": 0}
    assert len(re.findall("resuming after epoch 1", messages)) == len(MODEL_NAMES), "only the first rank logs it"


@pytest.mark.slow
@pytest.mark.parametrize("rank", [0, 1])
def test_a_rank_that_is_killed_ends_all_and_is_named_and_then_it_goes_on_to_the_same_weights(data, on_two_ranks, tmp_path, rank):
    run = copy_of(data, tmp_path / "run")
    checkpoint = model_folder(run, "tft_neuron", 1) / "checkpoint.safetensors"
    job = psutil.Popen(command(run, 2, "--model", "tft_neuron"), stderr=subprocess.PIPE, text=True)
    killed = None
    while not checkpoint.is_file() and job.poll() is None:
        ranks = [child for child in job.children(recursive=True) if killed is None and "spikelens" in child.cmdline()]
        killed = next((child for child in ranks if child.environ().get("PMI_RANK") == str(rank)), killed)
        time.sleep(0.01)
    killed.kill()
    text, lasted_s = watch(job, rf"^rank {rank} \(process {killed.pid}\) on \S+ died first, without an error message: probably killed")
    assert lasted_s < 10
    assert job.returncode != 0
    assert not (checkpoint.parent / "model.json").exists(), text
    assert "resuming after epoch" in launch(run, 2, "--model", "tft_neuron")
    assert weights_of(run, "tft_neuron") == weights_of(on_two_ranks, "tft_neuron")


def test_more_ranks_than_parts_are_refused(data):
    """A rank without a part would be idle, and its random generator would diverge from that of the others."""
    with pytest.raises(SpikelensError, match=r"5 ranks share the parts of a batch, but models\.autoencoder\.parts = 4: use fewer ranks"):
        train(data, "autoencoder", 1, ranks=Ranks(rank=0, size=5))
    assert not model_folder(data, "autoencoder", 1).exists()


def test_another_number_of_ranks_than_asked_for_is_refused(data, capsys, monkeypatch):
    assert main(["train", data.path, "--ranks", "2"]) == 2
    assert "1 MPI ranks were started, expected 2" in capsys.readouterr().err
    monkeypatch.setenv("PMI_SIZE", "2")
    assert main(["train", data.path]) == 2
    assert "2 processes were started (PMI_SIZE) without --ranks" in capsys.readouterr().err
    assert not (data.folder / "models").exists()


# --- a kill -------------------------------------------------------------------------------------------------------------


def after_epoch(epoch: int, sign: signal.Signals = signal.SIGKILL):
    """Send the signal as soon as the checkpoint and the history line of an epoch are written."""

    def prepare():
        write = Epochs._write

        def struck(self, *arguments):
            write(self, *arguments)
            if len(self.history) == epoch:
                os.kill(os.getpid(), sign)

        Epochs._write = struck

    return prepare


def in_epoch(epoch: int, sign: signal.Signals = signal.SIGKILL):
    """Send the signal after the second batch of an epoch."""

    def prepare():
        shown = Epochs.shown

        def struck(self, batches):
            for number, chosen in enumerate(shown(self, batches)):
                if len(self.history) == epoch - 1 and number == 2:
                    os.kill(os.getpid(), sign)
                yield chosen

        Epochs.shown = struck

    return prepare


def train_until(run: RunConfig, name: str, strike) -> int | None:
    """Train in a separate process that receives a signal; return its exit code."""

    def body():
        strike()
        train(run, name, 1)

    process = multiprocessing.get_context("fork").Process(target=body)
    process.start()
    process.join(60)
    return process.exitcode


@pytest.mark.parametrize(
    ("name", "strike"),
    [
        ("autoencoder", after_epoch(1)),
        ("autoencoder", in_epoch(3)),
        ("autoencoder", after_epoch(N_EPOCHS)),
        ("tft_population", in_epoch(2)),
        ("tft_neuron", after_epoch(2)),
    ],
    ids=["autoencoder, after 1", "autoencoder, in 3", "autoencoder, at the end", "TFT, in 2", "TFT, after 2"],
)
def test_a_training_that_is_killed_goes_on_to_the_very_same_weights(data, undisturbed, tmp_path, name, strike):
    """Also if the outputs of the job are deleted, as snakemake does."""
    run = copy_of(data, tmp_path / "run")
    assert train_until(run, name, strike) == -signal.SIGKILL
    folder = model_folder(run, name, 1)
    assert sorted(path.name for path in folder.iterdir()) == ["checkpoint.safetensors", "history.jsonl"]
    assert not [fault for fault in verify(run) if "models" in fault]
    (folder / "history.jsonl").unlink()
    train(run, name, 1)
    assert weights_of(run, name) == weights_of(undisturbed, name)
    assert np.array_equal(losses_of(run, name), losses_of(undisturbed, name))
    resumed, whole = description_of(run, name), description_of(undisturbed, name)
    assert {**resumed, "wall_s": 0} == {**whole, "wall_s": 0}
    assert sorted(path.name for path in folder.iterdir()) == ["history.jsonl", "model.json", "output.zarr", "weights.safetensors"]
    seconds = [line["seconds"] for line in history_of(run, name)]
    assert seconds == sorted(seconds)


def test_a_training_that_was_killed_twice_and_whose_patience_is_over_stops_where_it_would_have(data, tmp_path):
    changes = {"models.autoencoder.epochs": 60, "models.autoencoder.patience": 2, "models.autoencoder.learning_rate": 0.03}
    runs = [tiny_run(tmp_path / folder, {**UNEVEN, **changes}) for folder in ("a", "b")]
    train(runs[0], "autoencoder", 1)
    n_epochs, best = (description_of(runs[0], "autoencoder")[key] for key in ("epochs", "best_epoch"))
    assert n_epochs == best + 2 < 60
    for strike in (after_epoch(best + 1), after_epoch(n_epochs)):
        assert train_until(runs[1], "autoencoder", strike) == -signal.SIGKILL
    train(runs[1], "autoencoder", 1)
    assert weights_of(runs[1], "autoencoder") == weights_of(runs[0], "autoencoder")
    assert len(history_of(runs[1], "autoencoder")) == n_epochs


def test_a_training_that_has_no_time_for_another_epoch_ends_with_a_message_and_goes_on_when_called_again(
    data, undisturbed, tmp_path, capsys
):
    run, ended = copy_of(data, tmp_path / "run"), []
    while not ended or ended[-1]:
        ended.append(main(["train", run.path, "--model", "autoencoder", "--limit-min", "0.0001"]))
        if ended[-1]:
            message = capsys.readouterr().err
            assert f"training autoencoder, seed 1: the next epoch would not finish in time, {len(ended)} are done;" in message
            assert "0 min left of 0.0001 min, --limit-min)" in message
    assert ended == [2] * (len(history_of(run, "autoencoder")) - 1) + [0]
    assert len(ended) > 1
    assert weights_of(run, "autoencoder") == weights_of(undisturbed, "autoencoder")


@pytest.mark.parametrize(("sign", "code"), [(signal.SIGTERM, -signal.SIGTERM), (signal.SIGINT, 1)])
def test_an_interrupted_training_ends_with_no_model_and_not_with_0(data, tmp_path, sign, code):
    run = copy_of(data, tmp_path / "run")
    assert train_until(run, "autoencoder", in_epoch(2, sign)) == code
    folder = model_folder(run, "autoencoder", 1)
    assert sorted(path.name for path in folder.iterdir()) == ["checkpoint.safetensors", "history.jsonl"]
    assert len(history_of(run, "autoencoder")) == 1


# --- a checkpoint that is of no use -------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def interrupted(data, tmp_path_factory) -> RunConfig:
    """A run whose autoencoder was killed after its second epoch."""
    run = copy_of(data, tmp_path_factory.mktemp("interrupted") / "run")
    assert train_until(run, "autoencoder", after_epoch(2)) == -signal.SIGKILL
    return run


def test_a_damaged_checkpoint_is_named_and_training_starts_anew(interrupted, undisturbed, tmp_path, caplog):
    run = copy_of(interrupted, tmp_path / "run")
    path = model_folder(run, "autoencoder", 1) / "checkpoint.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with caplog.at_level(logging.INFO, "spikelens"):
        train(run, "autoencoder", 1)
    (said,) = [record for record in caplog.records if record.levelno == logging.WARNING]
    assert f"{path} is damaged" in said.getMessage()
    assert "resuming" not in caplog.text
    assert weights_of(run, "autoencoder") == weights_of(undisturbed, "autoencoder")


def test_no_flipped_bit_or_cut_of_a_checkpoint_goes_unnoticed(interrupted, tmp_path):
    sound = (model_folder(interrupted, "autoencoder", 1) / "checkpoint.safetensors").read_bytes()
    header = 8 + int.from_bytes(sound[:8], "little")
    path, rng = tmp_path / "checkpoint.safetensors", random.Random(3)
    path.write_bytes(sound)
    assert read_checkpoint(path, {}, ALONE).best_epoch == 2
    places = [*range(0, header, 7), *rng.sample(range(header, len(sound)), 100)]
    damaged = [sound[:length] for length in (0, 7, 8, header // 2, header, len(sound) - 1)]
    for place in places:
        damaged.append(sound[:place] + bytes([sound[place] ^ 1 << rng.randrange(8)]) + sound[place + 1 :])
    for content in damaged:
        path.write_bytes(content)
        assert read_checkpoint(path, {}, ALONE) is None


@pytest.mark.parametrize("changes", [{"models.autoencoder.learning_rate": 0.002}, {"models.autoencoder.tau_ms": 10.0}])
def test_the_checkpoint_of_another_configuration_is_left_alone(interrupted, tmp_path, caplog, changes):
    run = tiny_run(tmp_path, {**UNEVEN, **changes, "models.autoencoder.epochs": 1})
    shutil.copytree(model_folder(interrupted, "autoencoder", 1), model_folder(run, "autoencoder", 1))
    with caplog.at_level(logging.INFO, "spikelens"):
        train(run, "autoencoder", 1)
    assert "checkpoint.safetensors was written with another configuration" in caplog.text
    assert [line["epoch"] for line in history_of(run, "autoencoder")] == [1]


def test_a_checkpoint_does_not_depend_on_the_number_of_ranks_it_is_to_go_on_with(interrupted, tmp_path, caplog):
    run = copy_of(interrupted, tmp_path / "run")
    content = json.loads((run.folder / "config.json").read_text())
    content["models"]["autoencoder"]["ranks"] = 3
    (run.folder / "config.json").write_text(json.dumps(content))
    with caplog.at_level(logging.INFO, "spikelens"):
        train(load_run(run.folder), "autoencoder", 1)
    assert "resuming after epoch 2" in caplog.text

"""The section `models`: a section for each model, and how time is divided."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from spikelens.config.types import CAUSAL_CUTOFF_TAUS, STEPS_PER_SECOND, Positive, PositiveFloat, Section, Seed
from spikelens.errors import Problem
from spikelens.names import MODEL_NAMES

if TYPE_CHECKING:
    from spikelens.config.run import RunConfig

Epochs = Annotated[Positive, Field(description="at most; early stopping may end sooner")]
BatchSize = Annotated[Positive, Field(description="sequences or windows a step of the optimiser")]
Samples = Annotated[Positive, Field(description="training windows drawn an epoch, at most")]
LearningRate = Annotated[PositiveFloat, Field(description="learning rate of Adam")]


class Training(Section):
    """What every model's training has."""

    seeds: Annotated[tuple[Seed, ...], Field(min_length=1, strict=False, description="one model is trained for each")] = (1,)
    epochs: Epochs
    patience: Annotated[Positive, Field(description="epochs without a better validation loss before training ends")] = 5
    batch_size: BatchSize = 64
    learning_rate: LearningRate = 0.001
    parts: Annotated[
        Positive, Field(description="parts of a batch that are computed one by one; another number is another draw of dropout and rounding")
    ] = 1
    ranks: Annotated[Positive, Field(description="MPI ranks that share the parts of a batch; results do not depend on it")] = 1


class Autoencoder(Training):
    """LSTM autoencoder on spike traces."""

    epochs: Epochs = 30
    learning_rate: LearningRate = 0.003
    weight_decay: Annotated[float, Field(ge=0, allow_inf_nan=False, description="weight decay of Adam, decoupled [1]")] = 1.0
    steps: Annotated[Positive, Field(description="time steps a sequence [ms]")] = 20
    units: Annotated[Positive, Field(description="size of the encoding")] = 100
    sequences: Annotated[Positive, Field(description="sequences in all, evenly spaced over the time used")] = 6_000
    neurons: Annotated[Positive, Field(description="at most so many neurons, evenly spaced")] = 1_000


class Tft(Training):
    """Temporal Fusion Transformer on running rates, sampled every features.window_ms so that no two samples share a spike."""

    history: Annotated[Positive, Field(description="t_m, past samples seen [features.window_ms]")] = 20
    horizon: Annotated[Positive, Field(description="t_h, samples predicted [features.window_ms]")] = 5
    hidden_size: Annotated[Positive, Field(description="width of the network")] = 16
    attention_heads: Annotated[Positive, Field(description="heads of the attention; divides hidden_size")] = 4
    dropout: Annotated[float, Field(ge=0, lt=1, description="share of units left out in training [1]")] = 0.1
    samples_per_epoch: Samples = 20_000


class TftPopulation(Tft):
    """The TFT on the mean rate of the network and of each population."""

    epochs: Epochs = 30


class TftNeuron(Tft):
    """The TFT on each neuron's rate."""

    epochs: Epochs = 8
    batch_size: BatchSize = 512
    learning_rate: LearningRate = 0.003
    samples_per_epoch: Samples = 60_000
    neurons: Annotated[Positive, Field(description="at most so many neurons, evenly spaced")] = 1_000


class Models(Section):
    """The sequence models and how time is divided among training, validation and test."""

    start_s: Annotated[int, Field(ge=0, description="earlier time is left out: STDP settles [s]")] = 50
    split: Annotated[
        tuple[PositiveFloat, PositiveFloat, PositiveFloat],
        Field(strict=False, description="shares of the time for training, validation, test, in this order"),
    ] = (0.6, 0.2, 0.2)
    autoencoder: Autoencoder = Field(default_factory=Autoencoder)
    tft_population: TftPopulation = Field(default_factory=TftPopulation)
    tft_neuron: TftNeuron = Field(default_factory=TftNeuron)


def check_models(run: RunConfig) -> Iterator[Problem]:
    models = run.models
    if abs(sum(models.split) - 1) > 1e-9:
        yield Problem("models.split", models.split, "expected three shares that add up to 1")
    if models.start_s >= run.simulation.duration_s:
        yield Problem("models.start_s", models.start_s, f"expected less than simulation.duration_s = {run.simulation.duration_s}")
        return
    for name, model in (("tft_population", models.tft_population), ("tft_neuron", models.tft_neuron)):
        if model.hidden_size % model.attention_heads:
            yield Problem(
                f"models.{name}.attention_heads", model.attention_heads, f"expected a divisor of hidden_size = {model.hidden_size}"
            )
        shortest = min(end - start for start, end in run.tft_windows(model).values())
        if shortest < model.history + 2 * model.horizon:
            yield Problem(
                f"models.{name}.history",
                model.history,
                f"the shortest of training, validation and test has {max(shortest, 0)} samples of {run.features.window_ms} ms, and needs "
                f"history + 2 horizon = {model.history + 2 * model.horizon}; simulate longer, start earlier, or take a shorter history",
            )
    for name in MODEL_NAMES:
        training: Training = getattr(models, name)
        if len(set(training.seeds)) < len(training.seeds):
            yield Problem(f"models.{name}.seeds", training.seeds, "expected each seed once")
        if training.ranks > training.parts:
            yield Problem(
                f"models.{name}.ranks",
                training.ranks,
                f"ranks share the parts of a batch: expected at most parts = {training.parts}; set that, too",
            )
        if training.parts > training.batch_size:
            yield Problem(f"models.{name}.parts", training.parts, f"expected at most batch_size = {training.batch_size}")
    autoencoder = models.autoencoder
    available = run.n_steps - models.start_s * STEPS_PER_SECOND
    if autoencoder.steps * autoencoder.sequences > available:
        yield Problem(
            "models.autoencoder.sequences",
            autoencoder.sequences,
            f"sequences do not overlap: at most {available // autoencoder.steps} of {autoencoder.steps} ms fit after models.start_s",
        )
    elif autoencoder.sequences < 20:
        yield Problem("models.autoencoder.sequences", autoencoder.sequences, "expected at least 20")
    elif CAUSAL_CUTOFF_TAUS * run.features.tau_ms <= run.segment_steps:  # else that has been told
        yield from check_sequences(run)


def check_sequences(run: RunConfig) -> Iterator[Problem]:
    """Each of the autoencoder's ranges must hold a sequence, or training would refuse it after the simulation."""
    steps, gap_ms = run.models.autoencoder.steps, run.models.autoencoder.steps + run.causal_cutoff_steps
    for (name, (begin, end)), share in zip(run.autoencoder_ranges().items(), run.models.split, strict=True):
        if not _count_sequences(run, begin, end):
            yield Problem(
                "features.tau_ms",
                run.features.tau_ms,
                f"the autoencoder's {name} range, {share:g} of the {run.n_steps - run.models.start_s * STEPS_PER_SECOND:,} ms from "
                f"models.start_s on, less its part of the gaps of {CAUSAL_CUTOFF_TAUS} tau_ms + models.autoencoder.steps = {gap_ms:,} ms, "
                f"has {max(end - begin, 0):,} ms and none of the sequences of {steps} ms; expected at least one: simulate longer, start "
                "earlier, take a smaller tau_ms or more sequences, or raise its share in models.split",
            )


def _count_sequences(run: RunConfig, begin: int, end: int) -> int:
    """Number of the autoencoder's sequences, which are evenly spaced after models.start_s, that lie in a range [ms]."""
    model, start = run.models.autoencoder, run.models.start_s * STEPS_PER_SECOND
    duration = run.n_steps - start
    in_all = min(model.sequences, duration)
    # sequence i starts at start + floor(i duration / in_all)
    first, stop = (-(-(step - start) * in_all // duration) for step in (begin, end - model.steps + 1))
    return max(min(stop, in_all) - max(first, 0), 0)

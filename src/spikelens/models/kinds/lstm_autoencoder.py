"""LSTM autoencoder: encodes sequences of the spike traces of many neurons in one state and decodes it.

The paper's reduced-order model (Kulkarni et al., NICE 2023). Its baseline is PCA with as many components as
units.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field

from spikelens.config.items import KIND, Read
from spikelens.config.types import CAUSAL_CUTOFF_TAUS, STEPS_PER_SECOND, Positive, PositiveFloat
from spikelens.errors import Problem
from spikelens.models.model import TORCH_BASE, Epochs, LearningRate, NetworkModel

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from spikelens.config.run import RunConfig
    from spikelens.models.baselines import Scores
    from spikelens.models.train import Task, Tested
    from spikelens.report.contents import Shown
    from spikelens.speeds import Speeds
    from spikelens.stores import Layout

KEPT_SEQUENCES = 8
"""Number of test sequences whose input and reconstruction are stored."""
_VALIDATED_AT_ONCE = 1_024


class LstmAutoencoder(NetworkModel):
    """LSTM autoencoder on spike traces."""

    kind: Annotated[Literal["lstm_autoencoder"], Field(description=KIND)] = "lstm_autoencoder"
    epochs: Epochs = 30
    learning_rate: LearningRate = 0.003
    weight_decay: Annotated[float, Field(ge=0, allow_inf_nan=False, description="decoupled weight decay (AdamW) [1]")] = 1.0
    tau_ms: Annotated[PositiveFloat, Field(description="time constant of the traces [ms]")] = 20.0
    steps: Annotated[Positive, Field(description="time steps per sequence [ms]")] = 20
    units: Annotated[Positive, Field(description="size of the encoding")] = 100
    sequences: Annotated[Positive, Field(description="number of sequences, evenly spaced after training.start_s")] = 6_000
    neurons: Annotated[Positive, Field(description="maximum number of neurons, evenly spaced")] = 1_000

    def reads(self, run: RunConfig) -> tuple[Read, ...]:
        return (Read(run.spikes_stage),)

    # --- data

    @property
    def reach_ms(self) -> int:
        """Time after a spike beyond which its trace is zero by definition [ms]."""
        return int(CAUSAL_CUTOFF_TAUS * self.tau_ms)

    def n_neurons(self, run: RunConfig) -> int:
        return min(self.neurons, run.n_neurons)

    def ranges(self, run: RunConfig) -> dict[str, tuple[int, int]]:
        """Time ranges of the sequences [ms].

        The gap between them is one sequence plus the reach of a trace, so that no two ranges share a spike.
        """
        return run.time_ranges(self.steps + self.reach_ms)

    def starts(self, run: RunConfig) -> dict[str, NDArray[np.int64]]:
        """First step of each sequence [ms], by range.

        Sequences are evenly spaced and do not overlap. Those that are not completely inside a range are
        dropped.
        """
        from spikelens.numerics import evenly_spaced

        first = run.training.start_s * STEPS_PER_SECOND
        starts = first + evenly_spaced(run.n_steps - first, self.sequences)
        return {name: starts[(starts >= begin) & (starts + self.steps <= end)] for name, (begin, end) in self.ranges(run).items()}

    def task(self, run: RunConfig, seed: int) -> Task:
        import numpy as np
        import torch

        from spikelens.models.autoencoder import encode
        from spikelens.models.baselines import pca_reconstruction, reconstruction_scores
        from spikelens.models.data import trace_sequences
        from spikelens.models.train import Batches, Task, Tested, generator

        data = trace_sequences(run, self)
        mean = data.train.mean(axis=(0, 1), dtype=np.float64).astype(np.float32)
        std = math.sqrt(np.mean([np.mean(np.square(sequence - mean)) for sequence in data.train])) or 1.0
        kept = np.arange(KEPT_SEQUENCES) * len(data.test) // KEPT_SEQUENCES

        def test(module: Any) -> Tested:
            def scores(rebuilt: NDArray[np.float32]) -> Scores:
                return reconstruction_scores(rebuilt, data.test, mean)

            rebuilt, states = encode(module, data.test)
            pca = pca_reconstruction(data.train, data.test, self.units)
            return Tested(
                scores=scores(rebuilt),
                baselines={"training_mean": scores(np.broadcast_to(mean, data.test.shape)), "pca": scores(pca)},
                units={"mse": "1", "explained_variance": "1"},
                output={
                    "encoder_mean": states.mean(0, dtype=np.float64),
                    "encoder_variance": states.var(0, dtype=np.float64),
                    "trace_input": data.test[kept],
                    "trace_reconstruction": rebuilt[kept],
                },
            )

        sequences, validation = torch.from_numpy(data.train), torch.from_numpy(data.validation)
        return Task(
            scaling={"mean": mean.tolist(), "std": [std]},
            ranges_ms=self.ranges(run),
            n_items={name: len(starts) for name, starts in data.starts.items()},
            train=Batches(lambda chosen: sequences[chosen], len(sequences), self.batch_size, generator=generator(seed)),
            validation=Batches(lambda chosen: validation[chosen], len(validation), _VALIDATED_AT_ONCE),
            test=test,
        )

    def module(self, mean: Any, std: Any) -> Any:
        from spikelens.models.autoencoder import SequenceAutoencoder

        return SequenceAutoencoder(mean, std, self.units, self.learning_rate, self.weight_decay)

    def output(self, run: RunConfig) -> Layout:
        from spikelens.numerics import evenly_spaced
        from spikelens.stores import Array, Coordinate

        def whole(sizes: dict[str, int], long_name: str) -> Array:
            shape = tuple(sizes.values())
            return Array(tuple(sizes), shape, shape, "float32", {"long_name": long_name, "units": "1"})

        neurons = evenly_spaced(run.n_neurons, self.neurons)
        encoded, traces = {"step": self.steps, "unit": self.units}, {"sequence": KEPT_SEQUENCES, "step": self.steps, "neuron": len(neurons)}
        return {
            "encoder_mean": whole(encoded, "encoder state, mean over test sequences"),
            "encoder_variance": whole(encoded, "encoder state, variance over test sequences"),
            "trace_input": whole(traces, "spike trace given to the autoencoder"),
            "trace_reconstruction": whole(traces, "spike trace rebuilt by the autoencoder"),
        }, {"neuron": Coordinate(("neuron",), neurons, {"long_name": "neuron id"})}

    def figures(self, name: str) -> tuple[Shown, ...]:
        from spikelens.report.contents import Shown, drawn_by

        return (
            Shown(
                f"reconstruction_{name}", f"Reconstruction: {name}", _RECONSTRUCTION, drawn_by("learned", "reconstruction", name), "models"
            ),
            Shown(f"encoder_{name}", f"Encoder: {name}", _ENCODER, drawn_by("learned", "encoder", name), "models"),
        )

    def mean_loss(self, scaling: Mapping[str, Any]) -> float:
        """1 by definition of the scale; 0 if all neurons are silent."""
        return float(any(scaling["mean"]))

    # --- checks and cost

    def check(self, run: RunConfig, where: str) -> Iterator[Problem]:
        yield from super().check(run, where)
        available = run.n_steps - run.training.start_s * STEPS_PER_SECOND
        if self.steps * self.sequences > available:
            yield Problem(
                f"{where}.sequences",
                self.sequences,
                f"sequences do not overlap: at most {available // self.steps} of {self.steps} ms fit after training.start_s",
            )
        elif self.sequences < 20:
            yield Problem(f"{where}.sequences", self.sequences, "expected at least 20")
        elif self.reach_ms > run.segment_steps:
            yield Problem(
                f"{where}.tau_ms",
                self.tau_ms,
                f"{CAUSAL_CUTOFF_TAUS} tau_ms is longer than a segment, {run.segment_steps:,} ms; expected at most "
                f"{run.segment_steps / CAUSAL_CUTOFF_TAUS:.9g} ms; use a smaller tau_ms or a larger {run.segment_s_key}",
            )
        else:
            yield from self.check_sequences(run, where)

    def check_sequences(self, run: RunConfig, where: str) -> Iterator[Problem]:
        """Check that each range contains a sequence; otherwise training would fail after the simulation."""
        gap_ms, available_ms = self.steps + self.reach_ms, run.n_steps - run.training.start_s * STEPS_PER_SECOND
        for (name, (begin, end)), share in zip(self.ranges(run).items(), run.training.split, strict=True):
            if not self._count_sequences(run, begin, end):
                yield Problem(
                    f"{where}.tau_ms",
                    self.tau_ms,
                    f"the {name} range contains none of the sequences of {self.steps} ms; expected at least one. "
                    f"The range is {share:g} of the {available_ms:,} ms after training.start_s, minus its part of the "
                    f"gaps of {CAUSAL_CUTOFF_TAUS} tau_ms + steps = {gap_ms:,} ms: {max(end - begin, 0):,} ms. "
                    "Simulate longer, start earlier, use a smaller tau_ms or more sequences, or increase its share "
                    "in training.split",
                )

    def _count_sequences(self, run: RunConfig, begin: int, end: int) -> int:
        """Number of sequences inside a range [ms]; sequences are evenly spaced after training.start_s."""
        start = run.training.start_s * STEPS_PER_SECOND
        duration = run.n_steps - start
        in_all = min(self.sequences, duration)
        # sequence i starts at start + floor(i duration / in_all)
        first, stop = (-(-(step - start) * in_all // duration) for step in (begin, end - self.steps + 1))
        return max(min(stop, in_all) - max(first, 0), 0)

    def n_weights(self, run: RunConfig) -> int:
        n, units = self.n_neurons(run), self.units
        return 4 * units * (n + units + 2) + 4 * units * (2 * units + 2) + n * (units + 1)

    def memory(self, run: RunConfig) -> float:
        """All traces (float32), split into ranges, and once more for PCA; weights and gradients."""
        return TORCH_BASE + 2.3 * 4.0 * self.sequences * self.steps * self.n_neurons(run) + self.weights_bytes(run)

    def seconds(self, run: RunConfig, speeds: Speeds) -> float:
        """Time of all epochs; ranks share the parts of each batch."""
        sequences = run.training.split[0] * self.sequences * self.own_parts / self.parts
        steps = self.n_weights(run) * self.steps * sequences * self.epochs
        return speeds.start_torch_s + speeds.reading_seconds(run) + 1e-12 * steps * speeds.autoencoder_ps_per_weight


_RECONSTRUCTION = (
    "Spike traces [1] and their reconstruction by the LSTM autoencoder, for a few sequences of the test "
    "range. One row per sequence. A trace jumps by 1 at each spike and decays with the time constant τ. Left "
    "and middle: input and reconstruction as images on the same colour scale; x axis: step in the sequence "
    "[ms], y axis: neuron (at most 200, evenly spaced). Right: the traces of the neurons that vary most in "
    "this sequence, input solid, reconstruction dashed. These neurons are the hardest cases. The table of "
    "scores below compares the variance that the autoencoder explains over all neurons and test sequences "
    "with PCA of the same number of components."
)
_ENCODER = (
    "State of the encoder [1] (y axis) at each step of a sequence [ms] (x axis). Left: mean, right: variance "
    "over the test sequences. Thin lines: single units, thick line: mean over units. The state is reset to "
    "zero at the start of each sequence. The variance rises while the encoder takes in information that "
    "distinguishes the sequences; a flat line means that later steps add none."
)

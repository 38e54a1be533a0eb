"""Interface of this stage to the workflow: the jobs of each method and of the judge, their costs, and what their results depend on.

The item of the judge is an empty name.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from spikelens.config import MAX_DENSE_NEURONS, RunConfig
from spikelens.config.items import Read
from spikelens.expected import expected
from spikelens.explanation.contents import TABLES
from spikelens.jobs import Jobs, below, numbered, shards_of
from spikelens.keys import item_options, keyed
from spikelens.outputs import method_output
from spikelens.places import place_of
from spikelens.sizes import COMPILED_BASE

if TYPE_CHECKING:
    from spikelens.speeds import Speeds


def reads(run: RunConfig, item: str) -> tuple[Read, ...]:
    if item:
        return run.methods[item].reads(run)
    wiring = (Read("network"), Read("simulation")) if run.has_network else ()
    return (*wiring, *(Read("explanation", name) for name in run.methods))


def configured(run: RunConfig, item: str) -> dict[str, Any]:
    if item:
        return {**item_options(run, run.methods[item]), "training": keyed(run.training), "duration_s": run.duration_s}
    return {**keyed(run.explanation), "duration_s": run.duration_s, "methods": list(run.methods)}


def jobs(run: RunConfig, item: str) -> Jobs:
    """One job for a method, or one per block of targets; one job for the judge."""
    if not item:
        place = below(run, place_of(run, "explanation"))
        return Jobs("explanation", tuple(f"{place}/{file}" for file in TABLES), numbered())
    paths = shards_of(run, [method_output(run, item)])
    if run.methods[item].BY_TARGETS:
        return Jobs("{block}", paths, numbered(block=range(run.n_blocks)))
    return Jobs("method", paths, numbered())


def memory(run: RunConfig, item: str, rate_hz: float) -> float:
    """For the judge: matrices of all pairs (a score, edge classes, shuffled labels) and the synapses of a block."""
    if item:
        return run.methods[item].memory(run)
    return float(COMPILED_BASE + 128 * min(run.n_neurons, MAX_DENSE_NEURONS) ** 2 + 40 * expected(run).of_block.max())


def seconds(run: RunConfig, item: str, speeds: Speeds, rate_hz: float) -> float:
    """For the judge: about one score per method, and the attention scores with shuffled labels."""
    if item:
        return run.methods[item].seconds(run, speeds)
    explanation, n = run.explanation, run.n_neurons
    n_scores = 1 + sum(len(getattr(model, "seeds", ())) for model in run.models.values())
    pairs = n**2 * n_scores * (explanation.shuffles + explanation.bootstraps) if n <= MAX_DENSE_NEURONS and run.methods else 0
    return speeds.start_s + 1e-9 * pairs * speeds.score_ns_per_pair

"""The section `network`: populations, connections, and expected numbers of synapses."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from statistics import NormalDist
from typing import Annotated, Any, Literal

from pydantic import BaseModel, Discriminator, Field, Tag, model_validator

from spikelens.config.types import (
    MAX_CONNECTIONS,
    MAX_DELAY_MS,
    MAX_TABLE_NEURONS,
    MAX_WEIGHT_MV,
    MIN_SHARE_WITHIN,
    Finite,
    Positive,
    PositiveFloat,
    Section,
    Seed,
    values,
    whole,
)
from spikelens.errors import Problem
from spikelens.refusals import CONNECTION_PATTERN


class Population(Section):
    """Neurons with the same Izhikevich parameters; ids follow the order of the populations."""

    count: Annotated[int, Field(gt=0, description="number of neurons")]
    a: Annotated[Finite, Field(description="recovery rate [1/ms]")]
    b: Annotated[Finite, Field(description="sensitivity of u to v [1]")]
    c: Annotated[Finite, Field(description="reset of v after a spike [mV]")]
    d: Annotated[Finite, Field(description="increment of u after a spike [mV]")]
    v0_mv: Annotated[Finite, Field(description="initial v [mV]")] = -65.0
    u0_mv: Annotated[Finite, Field(description="initial u [mV]")] = -13.0


def _form(of_one: str) -> Discriminator:
    """Select the union member: "distribution" for a mapping, else `of_one`, a single value or range."""
    return Discriminator(lambda given: "distribution" if isinstance(given, Mapping | BaseModel) else of_one)


DistributionName = Literal["uniform", "normal", "lognormal"]
Delay = Annotated[int, Field(ge=1, le=MAX_DELAY_MS)]
WeightMv = Annotated[float, Field(gt=-MAX_WEIGHT_MV, lt=MAX_WEIGHT_MV)]
Scale = Annotated[float, Field(ge=1e-6, le=1e6)]
"""A mean or standard deviation [mV, ms]; the wide bounds keep logarithms finite."""
DISTRIBUTION = "uniform, normal or lognormal; mean and sd refer to the values before truncation, not to their logarithms"


class WeightDistribution(Section):
    """Distribution of weights, drawn per synapse; values outside the bounds are drawn again."""

    distribution: Annotated[DistributionName, Field(description=DISTRIBUTION)]
    mean_mv: Annotated[WeightMv | None, Field(description="mean of normal and lognormal weights [mV]; below 0: inhibitory")] = None
    sd_mv: Annotated[Scale | None, Field(description="standard deviation of normal and lognormal weights [mV]")] = None
    low_mv: Annotated[WeightMv | None, Field(description="lower bound [mV]; only a uniform distribution needs it")] = None
    high_mv: Annotated[WeightMv | None, Field(description="upper bound [mV]; only a uniform distribution needs it")] = None


class DelayDistribution(Section):
    """Distribution of delays, drawn per synapse in whole ms; values outside the bounds are drawn again."""

    distribution: Annotated[DistributionName, Field(description=DISTRIBUTION)]
    mean_ms: Annotated[Scale | None, Field(description="mean of normal and lognormal delays [ms]")] = None
    sd_ms: Annotated[Scale | None, Field(description="standard deviation of normal and lognormal delays [ms]")] = None
    first_ms: Annotated[Delay, Field(description="shortest delay [ms]")]
    last_ms: Annotated[Delay, Field(description="longest delay [ms]")]


class Connection(Section):
    """Rule for drawing the synapses from one population to another."""

    rule: Annotated[
        Literal["bernoulli", "fixed_indegree", "fixed_outdegree"],
        Field(
            description="bernoulli: each pair with probability p; fixed_indegree: in_degree distinct sources per target; "
            "fixed_outdegree: out_degree distinct targets per source"
        ),
    ] = "bernoulli"
    p: Annotated[float | None, Field(ge=0, le=1, description="probability of a synapse for each pair (bernoulli) [1]")] = None
    out_degree: Annotated[
        float | None, Field(gt=0, description="targets per source: exact (fixed_outdegree), or the mean, instead of p (bernoulli)")
    ] = None
    in_degree: Annotated[int | None, Field(gt=0, description="sources per target (fixed_indegree)")] = None
    weight_mv: Annotated[
        Annotated[Finite, Tag("number")] | Annotated[WeightDistribution, Tag("distribution")],
        _form("number"),
        Field(description="initial weight, one value or a distribution [mV]; below 0: inhibitory"),
    ]
    delay_ms: Annotated[
        Annotated[tuple[Delay, Delay], Field(strict=False), Tag("range")] | Annotated[DelayDistribution, Tag("distribution")],
        _form("range"),
        Field(description="delay: [first, last] for a uniform distribution of integers, or another distribution [ms]"),
    ]
    plastic: Annotated[bool, Field(description="changed by STDP")] = False

    @property
    def delay_range(self) -> tuple[int, int]:
        """Shortest and longest delay that a synapse may have [ms]."""
        if isinstance(self.delay_ms, DelayDistribution):
            return self.delay_ms.first_ms, self.delay_ms.last_ms
        return self.delay_ms


def reference_populations() -> dict[str, Population]:
    """Return the populations of the reference network, in the order of their ids."""
    return {"E": Population(count=800, a=0.02, b=0.2, c=-65.0, d=8.0), "I": Population(count=200, a=0.1, b=0.2, c=-65.0, d=2.0)}


def reference_connections() -> dict[str, Connection]:
    """Return the connections of the reference network. Random streams depend on their order."""
    return {
        "E->E": Connection(p=0.1, weight_mv=6.0, delay_ms=(1, 20), plastic=True),
        "E->I": Connection(p=0.1, weight_mv=6.0, delay_ms=(1, 20), plastic=True),
        "I->E": Connection(p=0.125, weight_mv=-5.0, delay_ms=(1, 1)),
    }


class Network(Section):
    """Neurons and connections."""

    seed: Annotated[Seed, Field(description="seed of the wiring")] = 1
    neurons: Annotated[Positive, Field(description="total number of neurons; by default the sum of the populations' counts")] = 1_000
    block_size: Annotated[Positive, Field(description="neurons per storage block; a rank owns whole blocks")] = 250
    populations: Annotated[
        dict[str, Population],
        Field(min_length=1, description="populations by name, in the order of their ids; by default E and I of the reference network"),
    ] = Field(default_factory=reference_populations)
    connections: Annotated[
        dict[Annotated[str, Field(pattern=CONNECTION_PATTERN)], Connection],
        Field(description="connection rules by source->target; by default those of the reference network, or none with an edge table"),
    ] = Field(default_factory=reference_connections)
    edges: Annotated[
        str | None, Field(description="table (parquet, csv, npz) of source, target, delay_ms, weight_mv, plastic; instead of connections")
    ] = None
    weight_max_mv: Annotated[PositiveFloat, Field(lt=32_768, description="upper bound of plastic weights [mV]")] = 10.0

    @model_validator(mode="before")
    @classmethod
    def _complete(cls, given: Any) -> Any:
        """Set the default number of neurons; with an edge table, remove the default connections."""
        if not isinstance(given, Mapping):
            return given
        found: dict[str, Any] = {} if given.get("edges") is None else {"connections": {}}
        populations = given.get("populations")
        counts = [whole(node.get("count")) if isinstance(node, Mapping) else None for node in values(populations)]
        if counts and None not in counts:
            found["neurons"] = sum(count for count in counts if count)
        return {**found, **given}


def connection_probability(network: Network, key: str) -> float:
    """Return the probability of a synapse for each pair of a connection with p or out_degree."""
    connection = network.connections[key]
    if connection.p is not None:
        return connection.p
    assert connection.out_degree is not None
    return connection.out_degree / network.populations[key.split("->")[1]].count


def expected_in_degree(network: Network, key: str) -> float:
    """Return the expected number of synapses of a connection per target."""
    return network.connections[key].in_degree or connection_probability(network, key) * network.populations[key.split("->")[0]].count


def expected_synapses(network: Network) -> float:
    """Return the expected total number of synapses; 0 with an edge table, whose size is unknown here."""
    return sum(expected_in_degree(network, key) * network.populations[key.split("->")[1]].count for key in network.connections)


def weight_bounds_mv(network: Network, weight: WeightDistribution, plastic: bool) -> tuple[float, float]:
    """Return the bounds of a weight distribution [mV].

    Defaults of missing bounds: those of plastic weights for a plastic connection; otherwise 0 on one side, so
    that all weights have one sign.
    """
    largest = network.weight_max_mv if plastic else MAX_WEIGHT_MV - 1.0
    inhibitory = not plastic and weight.mean_mv is not None and weight.mean_mv < 0
    low, high = (-largest, 0.0) if inhibitory else (0.0, largest)
    return (low if weight.low_mv is None else weight.low_mv), (high if weight.high_mv is None else weight.high_mv)


def log_parameters(mean: float, sd: float) -> tuple[float, float]:
    """Return mean and sd of the logarithm of a lognormal variable with the given mean (above 0) and sd."""
    ratio = sd / mean
    variance = math.log1p(ratio * ratio)
    return math.log(mean) - variance / 2, math.sqrt(variance)


def share_within(distribution: DistributionName, mean: float, sd: float, low: float, high: float) -> float:
    """Return the probability within the bounds; a lognormal with a negative mean is mirrored."""
    if distribution == "normal":
        normal = NormalDist(mean, sd)
        return normal.cdf(high) - normal.cdf(low)
    low, high = (low, high) if mean > 0 else (-high, -low)
    normal = NormalDist(*log_parameters(abs(mean), sd))
    share = (normal.cdf(math.log(high)) if high > 0 else 0.0) - (normal.cdf(math.log(low)) if low > 0 else 0.0)
    return 0.0 if math.isnan(share) else share  # if mean and sd differ too much for floats


def check_network(network: Network) -> Iterator[Problem]:
    total = sum(population.count for population in network.populations.values())
    if total != network.neurons:
        yield Problem("network.neurons", network.neurons, f"expected {total}, the sum of the populations' counts")
    for name in network.populations:
        if not re.fullmatch(r"\w+", name) or name == "all":
            yield Problem(f"network.populations.{name}", name, "expected letters, digits and underscores, and not 'all'")
    if network.edges is not None and network.connections:
        yield Problem("network.edges", network.edges, "an edge table replaces network.connections; set connections: {}")
    if network.edges is not None and network.neurons > MAX_TABLE_NEURONS:
        yield Problem("network.edges", network.edges, f"expected at most {MAX_TABLE_NEURONS:,} neurons with an edge table")
    if len(network.connections) > MAX_CONNECTIONS:
        yield Problem("network.connections", len(network.connections), f"expected at most {MAX_CONNECTIONS:,} connections")
    for key, connection in network.connections.items():
        where = f"network.connections.{key}"
        unknown = [name for name in key.split("->") if name not in network.populations]
        if unknown:
            yield Problem(where, unknown[0], f"no such population; known: {', '.join(network.populations)}")
            continue
        yield from _check_connection(network, key, connection, where)


def _check_connection(network: Network, key: str, connection: Connection, where: str) -> Iterator[Problem]:
    yield from _check_degree(network, key, connection, where)
    if isinstance(connection.weight_mv, WeightDistribution):
        yield from _check_weights(network, connection.weight_mv, connection.plastic, f"{where}.weight_mv")
    else:
        yield from _check_weight(network, connection.weight_mv, connection.plastic, f"{where}.weight_mv")
    first, last = connection.delay_range
    if first > last:
        yield Problem(f"{where}.delay_ms", [first, last], "expected [first, last] with first <= last")
    elif isinstance(connection.delay_ms, DelayDistribution):
        delay = connection.delay_ms
        # delays are rounded: 1 ms represents 0.5 .. 1.5 ms
        bounds = first - 0.5, last + 0.5
        yield from _check_distribution(delay.distribution, delay.mean_ms, delay.sd_ms, bounds, f"{where}.delay_ms", "ms")


def _check_degree(network: Network, key: str, connection: Connection, where: str) -> Iterator[Problem]:
    """Check the keys of the rule, and that the degree is possible."""
    sources, targets = (network.populations[name].count for name in key.split("->"))
    itself = len(set(key.split("->"))) == 1  # a neuron never connects to itself
    given = {name for name in ("p", "out_degree", "in_degree") if getattr(connection, name) is not None}
    if connection.rule == "bernoulli":
        if given not in ({"p"}, {"out_degree"}):
            yield Problem(where, sorted(given), "the rule bernoulli takes exactly one of p and out_degree")
        elif connection.out_degree is not None and connection.out_degree > targets:
            yield Problem(f"{where}.out_degree", connection.out_degree, f"expected at most {targets}, the number of targets")
        return
    name = "in_degree" if connection.rule == "fixed_indegree" else "out_degree"
    degree = getattr(connection, name)
    if given != {name}:
        yield Problem(where, sorted(given), f"the rule {connection.rule} takes {name} only")
    elif degree != int(degree):
        yield Problem(f"{where}.{name}", degree, f"the rule {connection.rule} takes a whole number")
    elif name == "in_degree" and degree > sources - itself:
        yield Problem(f"{where}.{name}", degree, f"expected at most {sources - itself}, the possible sources of a target")
    elif name == "out_degree" and degree > targets - itself:
        yield Problem(f"{where}.{name}", degree, f"expected at most {targets - itself}, the possible targets of a source")


def _check_weight(network: Network, weight_mv: float, plastic: bool, where: str) -> Iterator[Problem]:
    if plastic and not 0 <= weight_mv <= network.weight_max_mv:
        yield Problem(where, weight_mv, f"expected a plastic weight in 0 .. network.weight_max_mv = {network.weight_max_mv}")
    if abs(weight_mv) >= MAX_WEIGHT_MV:
        yield Problem(where, weight_mv, f"expected |weight| < {MAX_WEIGHT_MV:,} mV: weights are 32-bit integers")


def _check_weights(network: Network, weight: WeightDistribution, plastic: bool, where: str) -> Iterator[Problem]:
    bounds = weight_bounds_mv(network, weight, plastic)
    if weight.distribution == "uniform" and None in (weight.low_mv, weight.high_mv):
        yield Problem(where, weight.distribution, "a uniform distribution needs low_mv and high_mv")
        return
    if weight.distribution != "uniform" and weight.mean_mv == 0:
        yield Problem(f"{where}.mean_mv", weight.mean_mv, "expected a mean above or below 0, which sets the sign of the weights")
        return
    faults = [
        *_check_weight(network, bounds[0], plastic, f"{where}.low_mv"),
        *_check_weight(network, bounds[1], plastic, f"{where}.high_mv"),
    ]
    if bounds[0] > bounds[1]:
        faults.append(Problem(where, bounds, "expected low_mv <= high_mv"))
    elif bounds[0] < 0 < bounds[1]:
        faults.append(Problem(where, bounds, "expected low_mv and high_mv of the same sign: a connection is excitatory or inhibitory"))
    yield from faults
    if not faults:
        yield from _check_distribution(weight.distribution, weight.mean_mv, weight.sd_mv, bounds, where, "mv")


def _check_distribution(
    distribution: DistributionName, mean: float | None, sd: float | None, bounds: tuple[float, float], where: str, unit: str
) -> Iterator[Problem]:
    """Check that mean and sd are given if and only if needed, and that enough values are in bounds."""
    given = [f"{name}_{unit}" for name, value in (("mean", mean), ("sd", sd)) if value is not None]
    if distribution == "uniform":
        if given:
            yield Problem(where, given, "a uniform distribution takes bounds only")
        return
    if mean is None or sd is None:
        yield Problem(where, given, f"a {distribution} distribution needs mean_{unit} and sd_{unit}")
        return
    share = share_within(distribution, mean, sd, *bounds)
    if share < MIN_SHARE_WITHIN:
        yield Problem(
            f"{where}.mean_{unit}",
            mean,
            f"only {100 * share:.2g} % of this distribution is within its bounds, {bounds[0]:g} .. {bounds[1]:g}; expected at least "
            f"{100 * MIN_SHARE_WITHIN:g} %",
        )

"""The section `network`: populations, connections, and what their rules lead one to expect."""

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
    """Neurons that share Izhikevich's parameters; ids are given in the order of the populations."""

    count: Annotated[int, Field(gt=0, description="neurons")]
    a: Annotated[Finite, Field(description="recovery rate [1/ms]")]
    b: Annotated[Finite, Field(description="sensitivity of u to v [1]")]
    c: Annotated[Finite, Field(description="reset of v after a spike [mV]")]
    d: Annotated[Finite, Field(description="increment of u after a spike [mV]")]
    v0_mv: Annotated[Finite, Field(description="v at the start [mV]")] = -65.0
    u0_mv: Annotated[Finite, Field(description="u at the start [mV]")] = -13.0


def _form(of_one: str) -> Discriminator:
    """Tell a mapping, which is a distribution, from what stands for one value or range."""
    return Discriminator(lambda given: "distribution" if isinstance(given, Mapping | BaseModel) else of_one)


DistributionName = Literal["uniform", "normal", "lognormal"]
Delay = Annotated[int, Field(ge=1, le=MAX_DELAY_MS)]
WeightMv = Annotated[float, Field(gt=-MAX_WEIGHT_MV, lt=MAX_WEIGHT_MV)]
Scale = Annotated[float, Field(ge=1e-6, le=1e6)]
"""A mean or standard deviation [mV, ms] between bounds that no network reaches, and within which logarithms stay finite."""
DISTRIBUTION = "uniform, normal or lognormal; mean and sd are those of the values before truncation, not of their logarithms"


class WeightDistribution(Section):
    """Weights drawn for each synapse; values beyond the bounds are drawn again."""

    distribution: Annotated[DistributionName, Field(description=DISTRIBUTION)]
    mean_mv: Annotated[WeightMv | None, Field(description="mean of normal and lognormal weights [mV]; below 0: inhibitory")] = None
    sd_mv: Annotated[Scale | None, Field(description="standard deviation of normal and lognormal weights [mV]")] = None
    low_mv: Annotated[WeightMv | None, Field(description="lower bound [mV]; only a uniform distribution needs it")] = None
    high_mv: Annotated[WeightMv | None, Field(description="upper bound [mV]; only a uniform distribution needs it")] = None


class DelayDistribution(Section):
    """Delays drawn for each synapse in whole ms; values beyond the bounds are drawn again."""

    distribution: Annotated[DistributionName, Field(description=DISTRIBUTION)]
    mean_ms: Annotated[Scale | None, Field(description="mean of normal and lognormal delays [ms]")] = None
    sd_ms: Annotated[Scale | None, Field(description="standard deviation of normal and lognormal delays [ms]")] = None
    first_ms: Annotated[Delay, Field(description="shortest delay [ms]")]
    last_ms: Annotated[Delay, Field(description="longest delay [ms]")]


class Connection(Section):
    """How the synapses from one population onto another are drawn."""

    rule: Annotated[
        Literal["bernoulli", "fixed_indegree", "fixed_outdegree"],
        Field(
            description="bernoulli: every pair with probability p; fixed_indegree: in_degree distinct sources a target; "
            "fixed_outdegree: out_degree distinct targets a source"
        ),
    ] = "bernoulli"
    p: Annotated[float | None, Field(ge=0, le=1, description="probability of each synapse, for the rule bernoulli [1]")] = None
    out_degree: Annotated[
        float | None, Field(gt=0, description="targets a source: exactly (fixed_outdegree), or on average, instead of p (bernoulli)")
    ] = None
    in_degree: Annotated[int | None, Field(gt=0, description="sources a target (fixed_indegree)")] = None
    weight_mv: Annotated[
        Annotated[Finite, Tag("number")] | Annotated[WeightDistribution, Tag("distribution")],
        _form("number"),
        Field(description="weight at the start, one for all or a distribution [mV]; below 0: inhibitory"),
    ]
    delay_ms: Annotated[
        Annotated[tuple[Delay, Delay], Field(strict=False), Tag("range")] | Annotated[DelayDistribution, Tag("distribution")],
        _form("range"),
        Field(description="delay, uniform on the whole numbers from first to last, or a distribution [ms]"),
    ]
    plastic: Annotated[bool, Field(description="changed by STDP")] = False

    @property
    def delay_range(self) -> tuple[int, int]:
        """Shortest and longest delay that a synapse may have [ms]."""
        if isinstance(self.delay_ms, DelayDistribution):
            return self.delay_ms.first_ms, self.delay_ms.last_ms
        return self.delay_ms


def reference_populations() -> dict[str, Population]:
    """The populations of the reference network, in the order of their ids."""
    return {"E": Population(count=800, a=0.02, b=0.2, c=-65.0, d=8.0), "I": Population(count=200, a=0.1, b=0.2, c=-65.0, d=2.0)}


def reference_connections() -> dict[str, Connection]:
    """The connections of the reference network. Random numbers follow their order."""
    return {
        "E->E": Connection(p=0.1, weight_mv=6.0, delay_ms=(1, 20), plastic=True),
        "E->I": Connection(p=0.1, weight_mv=6.0, delay_ms=(1, 20), plastic=True),
        "I->E": Connection(p=0.125, weight_mv=-5.0, delay_ms=(1, 1)),
    }


class Network(Section):
    """The neurons and how they are wired."""

    seed: Annotated[Seed, Field(description="seed of the wiring")] = 1
    neurons: Annotated[Positive, Field(description="neurons in all; by default the sum of the populations' counts")] = 1_000
    block_size: Annotated[Positive, Field(description="neurons in a storage block; a rank owns whole blocks")] = 250
    populations: Annotated[
        dict[str, Population],
        Field(min_length=1, description="populations by name, in the order of their ids; by default E and I of the reference network"),
    ] = Field(default_factory=reference_populations)
    connections: Annotated[
        dict[Annotated[str, Field(pattern=CONNECTION_PATTERN)], Connection],
        Field(
            description="rules by which synapses are drawn; keys: source->target; by default those of the reference network, "
            "or none with an edge table"
        ),
    ] = Field(default_factory=reference_connections)
    edges: Annotated[
        str | None, Field(description="table (parquet, csv, npz) of source, target, delay_ms, weight_mv, plastic; instead of connections")
    ] = None
    weight_max_mv: Annotated[PositiveFloat, Field(lt=32_768, description="upper bound of plastic weights [mV]")] = 10.0

    @model_validator(mode="before")
    @classmethod
    def _complete(cls, given: Any) -> Any:
        """Count the neurons of the populations; an edge table replaces the default connections."""
        if not isinstance(given, Mapping):
            return given
        found: dict[str, Any] = {} if given.get("edges") is None else {"connections": {}}
        populations = given.get("populations")
        counts = [whole(node.get("count")) if isinstance(node, Mapping) else None for node in values(populations)]
        if counts and None not in counts:
            found["neurons"] = sum(count for count in counts if count)
        return {**found, **given}


def connection_probability(network: Network, key: str) -> float:
    """Probability of a synapse for each pair of a connection with p or out_degree."""
    connection = network.connections[key]
    if connection.p is not None:
        return connection.p
    assert connection.out_degree is not None
    return connection.out_degree / network.populations[key.split("->")[1]].count


def expected_in_degree(network: Network, key: str) -> float:
    """Number of synapses to expect onto each target of a connection."""
    return network.connections[key].in_degree or connection_probability(network, key) * network.populations[key.split("->")[0]].count


def expected_synapses(network: Network) -> float:
    """Number of synapses to expect from the connection rules; 0 for an edge table, whose length is not known here."""
    return sum(expected_in_degree(network, key) * network.populations[key.split("->")[1]].count for key in network.connections)


def weight_bounds_mv(network: Network, weight: WeightDistribution, plastic: bool) -> tuple[float, float]:
    """Bounds of a distribution of weights [mV]: its own, else those of plastic weights, else 0 on one side, so that the sign is kept."""
    largest = network.weight_max_mv if plastic else MAX_WEIGHT_MV - 1.0
    inhibitory = not plastic and weight.mean_mv is not None and weight.mean_mv < 0
    low, high = (-largest, 0.0) if inhibitory else (0.0, largest)
    return (low if weight.low_mv is None else weight.low_mv), (high if weight.high_mv is None else weight.high_mv)


def log_parameters(mean: float, sd: float) -> tuple[float, float]:
    """Mean and standard deviation of the logarithm of a lognormal variable that has this mean (above 0) and standard deviation."""
    ratio = sd / mean
    variance = math.log1p(ratio * ratio)
    return math.log(mean) - variance / 2, math.sqrt(variance)


def share_within(distribution: DistributionName, mean: float, sd: float, low: float, high: float) -> float:
    """Share of a normal or lognormal distribution that lies within its bounds; a lognormal with a mean below 0 is mirrored."""
    if distribution == "normal":
        normal = NormalDist(mean, sd)
        return normal.cdf(high) - normal.cdf(low)
    low, high = (low, high) if mean > 0 else (-high, -low)
    normal = NormalDist(*log_parameters(abs(mean), sd))
    share = (normal.cdf(math.log(high)) if high > 0 else 0.0) - (normal.cdf(math.log(low)) if low > 0 else 0.0)
    return 0.0 if math.isnan(share) else share  # where mean and standard deviation are too far apart for numbers


def check_network(network: Network) -> Iterator[Problem]:
    total = sum(population.count for population in network.populations.values())
    if total != network.neurons:
        yield Problem("network.neurons", network.neurons, f"the populations' counts add up to {total}; make the two agree")
    for name in network.populations:
        if not re.fullmatch(r"\w+", name) or name == "all":
            yield Problem(f"network.populations.{name}", name, "expected a name of letters, digits and underscores, and not 'all'")
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
        # a delay of 1 ms stands for 0.5 .. 1.5 ms
        bounds = first - 0.5, last + 0.5
        yield from _check_distribution(delay.distribution, delay.mean_ms, delay.sd_ms, bounds, f"{where}.delay_ms", "ms")


def _check_degree(network: Network, key: str, connection: Connection, where: str) -> Iterator[Problem]:
    """The rule's own keys: which are given, and whether there are so many sources or targets."""
    sources, targets = (network.populations[name].count for name in key.split("->"))
    itself = len(set(key.split("->"))) == 1  # a neuron never connects to itself
    given = {name for name in ("p", "out_degree", "in_degree") if getattr(connection, name) is not None}
    if connection.rule == "bernoulli":
        if given not in ({"p"}, {"out_degree"}):
            yield Problem(where, sorted(given), "the rule bernoulli takes exactly one of p and out_degree")
        elif connection.out_degree is not None and connection.out_degree > targets:
            yield Problem(f"{where}.out_degree", connection.out_degree, f"expected at most the {targets} targets")
        return
    name = "in_degree" if connection.rule == "fixed_indegree" else "out_degree"
    degree = getattr(connection, name)
    if given != {name}:
        yield Problem(where, sorted(given), f"the rule {connection.rule} takes {name} and nothing else")
    elif degree != int(degree):
        yield Problem(f"{where}.{name}", degree, f"the rule {connection.rule} takes a whole number")
    elif name == "in_degree" and degree > sources - itself:
        yield Problem(f"{where}.{name}", degree, f"expected at most the {sources - itself} sources that a target has")
    elif name == "out_degree" and degree > targets - itself:
        yield Problem(f"{where}.{name}", degree, f"expected at most the {targets - itself} targets that a source has")


def _check_weight(network: Network, weight_mv: float, plastic: bool, where: str) -> Iterator[Problem]:
    if plastic and not 0 <= weight_mv <= network.weight_max_mv:
        yield Problem(where, weight_mv, f"a plastic weight lies in 0 .. network.weight_max_mv = {network.weight_max_mv}")
    if abs(weight_mv) >= MAX_WEIGHT_MV:
        yield Problem(where, weight_mv, f"expected less than {MAX_WEIGHT_MV:,} mV: weights are 32-bit integers")


def _check_weights(network: Network, weight: WeightDistribution, plastic: bool, where: str) -> Iterator[Problem]:
    bounds = weight_bounds_mv(network, weight, plastic)
    if weight.distribution == "uniform" and None in (weight.low_mv, weight.high_mv):
        yield Problem(where, weight.distribution, "a uniform distribution needs low_mv and high_mv")
        return
    if weight.distribution != "uniform" and weight.mean_mv == 0:
        yield Problem(f"{where}.mean_mv", weight.mean_mv, "expected more or less than 0: the mean tells the sign of all")
        return
    faults = [
        *_check_weight(network, bounds[0], plastic, f"{where}.low_mv"),
        *_check_weight(network, bounds[1], plastic, f"{where}.high_mv"),
    ]
    if bounds[0] > bounds[1]:
        faults.append(Problem(where, bounds, "expected low_mv <= high_mv"))
    elif bounds[0] < 0 < bounds[1]:
        faults.append(Problem(where, bounds, "expected low_mv and high_mv of one sign: a connection is excitatory or inhibitory"))
    yield from faults
    if not faults:
        yield from _check_distribution(weight.distribution, weight.mean_mv, weight.sd_mv, bounds, where, "mv")


def _check_distribution(
    distribution: DistributionName, mean: float | None, sd: float | None, bounds: tuple[float, float], where: str, unit: str
) -> Iterator[Problem]:
    """That mean and standard deviation stand where they are needed, and nowhere else, and enough values lie within the bounds."""
    given = [f"{name}_{unit}" for name, value in (("mean", mean), ("sd", sd)) if value is not None]
    if distribution == "uniform":
        if given:
            yield Problem(where, given, "a uniform distribution has bounds and nothing else")
        return
    if mean is None or sd is None:
        yield Problem(where, given, f"a {distribution} distribution needs mean_{unit} and sd_{unit}")
        return
    share = share_within(distribution, mean, sd, *bounds)
    if share < MIN_SHARE_WITHIN:
        yield Problem(
            f"{where}.mean_{unit}",
            mean,
            f"only {100 * share:.2g} % of this distribution lie within its bounds, {bounds[0]:g} .. {bounds[1]:g}; expected at least "
            f"{100 * MIN_SHARE_WITHIN:g} %",
        )

"""Configurations are valid or refused with one message, and config.yaml documents all keys."""

from __future__ import annotations

import getpass
import itertools
import json
import math
import os
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from conftest import REPOSITORY, small_config, with_keys
from hypothesis import given, settings
from hypothesis import strategies as st

from spikelens.cli import main
from spikelens.config import check, json_schema, load_run, load_runs, read_yaml
from spikelens.config.load import load
from spikelens.errors import ConfigError, SpikelensError

CONFIG_YAML = REPOSITORY / "config.yaml"
CONTENT = read_yaml(CONFIG_YAML)

E_TO_E = "network.connections.E->E"
LARGE = {
    "network.neurons": 10_000,
    "network.populations.E.count": 9_800,
    "network.block_size": 1_000,
    "simulation.chunk_neurons": 1_000,
    "simulation.segment_s": 20,
}
FIXED = {"rule": "fixed_indegree", "in_degree": 100, "weight_mv": 6.0, "delay_ms": [1, 20], "plastic": True}

EXACT = {"rule": "fixed_outdegree", "out_degree": 80, "weight_mv": 6.0, "delay_ms": [1, 20], "plastic": True}
NORMAL = {"distribution": "normal", "mean_mv": 6.0, "sd_mv": 1.0}
DELAYS = {"distribution": "normal", "mean_ms": 8.0, "sd_ms": 2.0, "first_ms": 1, "last_ms": 20}

WRONG: dict[str, tuple[dict[str, Any], str, str]] = {
    # error: (changes, key and value in the message, expectation in the message)
    "unknown section": ({"simulatoin": {}}, "simulatoin = {}", "did you mean simulation?"),
    "unknown key in run": ({"run.nmae": "a"}, 'run.nmae = "a"', "did you mean name?"),
    "unknown key in network": ({"network.seeds": 1}, "network.seeds = 1", "did you mean seed?"),
    "unknown key in a population": ({"network.populations.E.cuont": 1}, "network.populations.E.cuont = 1", "did you mean count?"),
    "unknown key in a connection": ({f"{E_TO_E}.probability": 0.1}, f"{E_TO_E}.probability = 0.1", "expected one of delay_ms, in_degree"),
    "unknown key in drive": ({"drive.kick": 20}, "drive.kick = 20", "did you mean kick_mv?"),
    "unknown key in simulation": ({"simulation.duration": 5}, "simulation.duration = 5", "did you mean duration_s?"),
    "key of a feature outside any feature": ({"features.tau_ms": 20.0}, "features.tau_ms = 20.0", "expected a mapping"),
    "unknown key in a feature": ({"features.traces.tau": 20.0}, "features.traces.tau = 20.0", "did you mean tau_ms?"),
    "feature without a kind": ({"features.mine": {}}, "features.mine.kind is not given", "one of omega_pairs, omega_synapses, spike"),
    "unknown kind of feature": ({"features.mine": {"kind": "trace"}}, 'features.mine.kind = "trace"', "did you mean traces?"),
    "name of a feature with a space": ({"features.my traces": {"kind": "traces"}}, '= "my traces"', "expected letters, digits and '_'"),
    "model without a kind": ({"models.lstm": {}}, "models.lstm.kind is not given", "one of lstm_autoencoder, tft"),
    "unknown kind of model": ({"models.lstm": {"kind": "tftt"}}, 'models.lstm.kind = "tftt"', "did you mean tft?"),
    "name of a model with a space": ({"models.my model": {"kind": "tft"}}, "models.my model", "expected"),
    "unknown key in a model": ({"models.tft_neuron.units": 8}, "models.tft_neuron.units = 8", "unknown key"),
    "unknown key in explanation": ({"explanation.shufles": 5}, "explanation.shufles = 5", "did you mean shuffles?"),
    "unknown key in report": ({"report.raster_ms": 5}, "report.raster_ms = 5", "did you mean raster_s?"),
    "unknown key in cluster": (
        {"cluster.partition": "cpu"},
        'cluster.partition = "cpu"',
        "expected one of gpus, limit_min, modules, ranks_per_node, srun",
    ),
    "no time for a job": ({"cluster.limit_min": 0}, "cluster.limit_min = 0", "expected more than 0 (time limit of jobs"),
    "limit as SLURM shows it": ({"cluster.limit_min": "1-00:00:00"}, 'cluster.limit_min = "1-00:00:00"', "expected a whole number"),
    "a number of GPUs": ({"cluster.gpus": 2}, "cluster.gpus = 2", "expected true or false (use one GPU per rank"),
    "no rank on a node": (
        {"cluster.ranks_per_node": 0},
        "cluster.ranks_per_node = 0",
        "expected more than 0 (MPI ranks per node",
    ),
    "a module that is no list": ({"cluster.modules": "openmpi"}, 'cluster.modules = "openmpi"', "expected a list"),
    "a module without a name": (
        {"cluster.modules": [""]},
        'cluster.modules.0 = ""',
        "expected text that is not empty (environment modules",
    ),
    "no launcher": ({"cluster.srun": ""}, 'cluster.srun = ""', "expected text that is not empty (command that starts MPI ranks"),
    "text for a whole number": ({"network.seed": "one"}, 'network.seed = "one"', "expected a whole number"),
    "fraction for a whole number": ({"network.neurons": 1000.5}, "network.neurons = 1000.5", "expected a whole number"),
    "truth value for a whole number": ({"network.seed": True}, "network.seed = true", "expected a whole number"),
    "text for a number": ({"drive.kick_mv": "strong"}, 'drive.kick_mv = "strong"', "expected a number"),
    "number for a truth value": ({f"{E_TO_E}.plastic": 1}, f"{E_TO_E}.plastic = 1", "expected true or false"),
    "number for text": ({"run.name": 5}, "run.name = 5", "expected text in quotes"),
    "number for a list": ({f"{E_TO_E}.delay_ms": 5}, f"{E_TO_E}.delay_ms = 5", "expected a list"),
    "nothing for a section": ({"features": None}, "features = null", "expected a mapping"),
    "list for a section": ({"features": [1]}, "features = [1]", "expected a mapping"),
    "neither auto nor a truth value": (
        {"simulation.weight_average": "often"},
        'simulation.weight_average = "often"',
        "expected true or false or 'auto'",
    ),
    "negative duration": ({"simulation.duration_s": -5}, "simulation.duration_s = -5", "expected more than 0 (biological time [s])"),
    "no duration": ({"simulation.duration_s": 0}, "simulation.duration_s = 0", "expected more than 0 (biological time [s])"),
    "segment that is no multiple of 1 s": ({"simulation.segment_s": 0.5}, "simulation.segment_s = 0.5", "expected a whole number"),
    "segment longer than the duration": (
        {"simulation.segment_s": 200},
        "simulation.segment_s = 200",
        "expected at most simulation.duration_s = 180",
    ),
    "more ranks than blocks": ({"simulation.ranks": 5}, "simulation.ranks = 5", "expected at most 4, the number of blocks"),
    "no ranks for a model": ({"models.tft_neuron.ranks": 0}, "models.tft_neuron.ranks = 0", "expected more than 0"),
    "half a rank for a model": ({"models.autoencoder.ranks": 1.5}, "models.autoencoder.ranks = 1.5", "expected a whole number"),
    "more ranks than parts of a batch": ({"models.tft_neuron.ranks": 5}, "models.tft_neuron.ranks = 5", "expected at most parts = 1"),
    "more parts than items in a batch": ({"models.tft_neuron.parts": 513}, "models.tft_neuron.parts = 513", "at most batch_size = 512"),
    "no parts": ({"models.autoencoder.parts": 0}, "models.autoencoder.parts = 0", "expected more than 0"),
    "no ranks": ({"simulation.ranks": 0}, "simulation.ranks = 0", "expected more than 0"),
    "time chunk that does not divide its shard": ({"simulation.chunk_ms": 700}, "simulation.chunk_ms = 700", "a divisor of the segment"),
    "neuron chunk that does not divide its shard": (
        {"simulation.chunk_neurons": 100},
        "simulation.chunk_neurons = 100",
        "expected a divisor of network.block_size = 250",
    ),
    "too large a shard": (
        {"network.block_size": 5000, "simulation.chunk_neurons": 5000, "simulation.ranks": 1},
        "network.block_size = 5000",
        "exceeds 256 MB",
    ),
    "too many shards a job": (
        {"network.block_size": 5, "simulation.chunk_neurons": 5},
        "network.block_size = 5",
        "1,801 files; the maximum is 1,000",
    ),
    "too many shards a run": (
        {"simulation.segment_s": 1, "simulation.duration_s": 1000},
        "simulation.segment_s = 1",
        "37,036 files; the maximum is 20,000",
    ),
    "too large a shard of traces": (
        {
            "features.traces.neurons": 5000,
            "network.block_size": 2000,
            "simulation.chunk_neurons": 2000,
            "simulation.ranks": 1,
            "simulation.segment_s": 90,
        },
        'features.traces = "traces"',
        "a shard of trace would hold 343 MB, expected at most 256 MB",
    ),
    "too large a shard of all pairs": (
        {
            "network.neurons": 5000,
            "network.populations.E.count": 4800,
            "network.block_size": 1000,
            "simulation.chunk_neurons": 1000,
            "features.omega_pairs.window_s": 1,
        },
        'features.omega_pairs = "omega_pairs"',
        "a shard of omega would hold 1,144 MB, expected at most 256 MB",
    ),
    "unknown key in record": ({"simulation.record.neuron": [1]}, "simulation.record.neuron = [1]", "did you mean neurons?"),
    "recorded step that does not divide a second": (
        {"simulation.record.every_ms": 7},
        "simulation.record.every_ms = 7",
        "expected a divisor of 1,000 and of simulation.chunk_ms = 1000",
    ),
    "recorded step that does not divide the chunk": (
        {"simulation.record.every_ms": 200, "simulation.chunk_ms": 500},
        "simulation.record.every_ms = 200",
        "expected a divisor of 1,000 and of simulation.chunk_ms = 500",
    ),
    "recorded steps of 0": (
        {"simulation.record.every_ms": 0},
        "simulation.record.every_ms = 0",
        "expected more than 0 (recording interval",
    ),
    "recorded neuron that there is not": (
        {"simulation.record.neurons": [5, 1000]},
        "simulation.record.neurons = 1000",
        "expected neuron ids in 0 .. 999",
    ),
    "recorded neuron below 0": ({"simulation.record.neurons": [-1]}, "simulation.record.neurons.0 = -1", "expected at least 0 (ids of"),
    "recorded neuron by name": ({"simulation.record.neurons": ["E"]}, 'simulation.record.neurons.0 = "E"', "expected a whole number"),
    "recorded neuron twice": ({"simulation.record.neurons": [5, 7, 5]}, "simulation.record.neurons = 5", "duplicate entry"),
    "too many recorded neurons": (
        {"simulation.record.neurons": [0] * 4097},
        "simulation.record.neurons = [0, 0,",
        "expected a length of at most 4096",
    ),
    "recorded pair of a neuron that there is not": (
        {"simulation.record.synapses": [[5, 7], [1000, 3]]},
        "simulation.record.synapses = [1000, 3]",
        "expected neuron ids in 0 .. 999",
    ),
    "recorded pair twice": ({"simulation.record.synapses": [[5, 7], [5, 7]]}, "simulation.record.synapses = [5, 7]", "duplicate entry"),
    "recorded pair of one": ({"simulation.record.synapses": [[5]]}, "simulation.record.synapses.0 = [5]", "expected 2 entries"),
    "recorded synapse by number": ({"simulation.record.synapses": [5]}, "simulation.record.synapses.0 = 5", "expected a list"),
    "too large a shard of records": (
        {"simulation.segment_s": 90, "simulation.record.neurons": list(range(999))},
        "simulation.record.neurons = 999",
        "exceed 256 MB; record fewer, or use a larger every_ms",
    ),
    "Poisson input of an unknown population": (
        {"drive.poisson": {"X": {"rate_hz": 10.0, "weight_mv": 1.0}}},
        'drive.poisson = "X"',
        "no such population; known: E, I",
    ),
    "Poisson input without a weight": (
        {"drive.poisson": {"E": {"rate_hz": 10.0}}},
        "drive.poisson.E.weight_mv is not given",
        "input added by one event [mV]",
    ),
    "Poisson input at a negative rate": (
        {"drive.poisson": {"E": {"rate_hz": -10.0, "weight_mv": 1.0}}},
        "drive.poisson.E.rate_hz = -10.0",
        "expected more than 0 (rate of events per neuron [Hz])",
    ),
    "Poisson input at too high a rate": (
        {"drive.poisson": {"E": {"rate_hz": 2e5, "weight_mv": 1.0}}},
        "drive.poisson.E.rate_hz = 200000.0",
        "expected at most 100,000",
    ),
    "Poisson input at a rate in words": (
        {"drive.poisson": {"E": {"rate_hz": "high", "weight_mv": 1.0}}},
        'drive.poisson.E.rate_hz = "high"',
        "expected a number (rate of events",
    ),
    "Poisson input as a number": ({"drive.poisson": {"E": 10.0}}, "drive.poisson.E = 10.0", "expected a mapping"),
    "Poisson events beyond the integers": (
        {"drive.poisson": {"E": {"rate_hz": 10.0, "weight_mv": 40_000.0}}},
        "drive.poisson.E.weight_mv = 40000.0",
        "expected less than 32,768",
    ),
    "current onto an unknown population": ({"drive.current_mv": {"X": 1.0}}, 'drive.current_mv = "X"', "no such population; known: E, I"),
    "current in words": (
        {"drive.current_mv": {"E": "some"}},
        'drive.current_mv.E = "some"',
        "expected a number (constant input per step [mV])",
    ),
    "current that is no number": ({"drive.current_mv": {"E": float("nan")}}, "drive.current_mv.E = NaN", "expected a finite number"),
    "current beyond the integers": ({"drive.current_mv": {"E": -40_000.0}}, "drive.current_mv.E = -40000.0", "expected more than -32,768"),
    "probability above 1": ({f"{E_TO_E}.p": 1.5}, f"{E_TO_E}.p = 1.5", "expected at most 1 (probability of a synapse"),
    "negative probability": ({f"{E_TO_E}.p": -0.1}, f"{E_TO_E}.p = -0.1", "expected at least 0"),
    "NaN": ({"features.traces.tau_ms": float("nan")}, "features.traces.tau_ms = NaN", "expected a finite number"),
    "infinity": ({"network.populations.E.a": float("inf")}, "network.populations.E.a = Infinity", "expected a finite number"),
    "missing edge table": (
        {"network.edges": "none.csv", "network.connections": {}},
        'network.edges = "none.csv"',
        "no such file",
    ),
    "missing event table": ({"drive.events": "none.npz"}, 'drive.events = "none.npz"', "no such file"),
    "table of an unknown kind": ({"drive.events": "kicks.txt"}, 'drive.events = "kicks.txt"', "expected a .parquet, .csv or .npz table"),
    "rules and an edge table": ({"network.edges": "README.csv"}, 'network.edges = "README.csv"', "set connections: {}"),
    "no populations": ({"network.populations": {}}, "network.populations = {}", "expected a length of at least 1"),
    "populations that do not add up": (
        {"network.populations.E.count": 700},
        "network.neurons = 1000",
        "expected 900, the sum of the populations' counts",
    ),
    "population without a parameter": (
        {"network.populations.I": {"count": 200, "a": 0.1, "b": 0.2, "c": -65.0}},
        "network.populations.I.d is not given",
        "increment of u after a spike [mV]",
    ),
    "population with a bad name": (
        {"network.populations.a b": CONTENT["network"]["populations"]["I"]},
        '= "a b"',
        "expected letters, digits",
    ),
    "connection of an unknown population": (
        {"network.connections.E->X": CONTENT["network"]["connections"]["E->E"]},
        'network.connections.E->X = "X"',
        "no such population; known: E, I",
    ),
    "connection with a bad name": (
        {"network.connections.E to I": CONTENT["network"]["connections"]["E->E"]},
        'network.connections.E to I = "E to I"',
        "expected source->target",
    ),
    "unknown rule": (
        {f"{E_TO_E}.rule": "all_to_all"},
        f'{E_TO_E}.rule = "all_to_all"',
        "'bernoulli', 'fixed_indegree' or 'fixed_outdegree'",
    ),
    "two probabilities": ({f"{E_TO_E}.out_degree": 100.0}, f'{E_TO_E} = ["out_degree", "p"]', "exactly one of p and out_degree"),
    "no in-degree": ({f"{E_TO_E}.rule": "fixed_indegree"}, f'{E_TO_E} = ["p"]', "takes in_degree only"),
    "in-degree too large": ({E_TO_E: {**FIXED, "in_degree": 800}}, f"{E_TO_E}.in_degree = 800", "at most 799, the possible sources"),
    "out-degree too large": (
        {E_TO_E: {**FIXED, "rule": "bernoulli", "in_degree": None, "out_degree": 900}},
        f"{E_TO_E}.out_degree = 900.0",
        "at most 800, the number of targets",
    ),
    "exact out-degree too large": (
        {E_TO_E: {**EXACT, "out_degree": 800}},
        f"{E_TO_E}.out_degree = 800",
        "at most 799, the possible targets",
    ),
    "exact out-degree onto others too large": (
        {"network.connections.E->I": {**EXACT, "out_degree": 201}},
        "E->I.out_degree = 201",
        "at most 200, the possible targets of a source",
    ),
    "exact out-degree of a fraction": ({E_TO_E: {**EXACT, "out_degree": 80.5}}, f"{E_TO_E}.out_degree = 80.5", "takes a whole number"),
    "exact out-degree of 0": ({E_TO_E: {**EXACT, "out_degree": 0}}, f"{E_TO_E}.out_degree = 0", "expected more than 0 (targets per source"),
    "exact out-degree and a probability": (
        {E_TO_E: {**EXACT, "p": 0.1}},
        f'{E_TO_E} = ["out_degree", "p"]',
        "the rule fixed_outdegree takes out_degree only",
    ),
    "exact out-degree without a number": (
        {f"{E_TO_E}.rule": "fixed_outdegree"},
        f'{E_TO_E} = ["p"]',
        "the rule fixed_outdegree takes out_degree only",
    ),
    "weights of an unknown distribution": (
        {f"{E_TO_E}.weight_mv": {"distribution": "gamma"}},
        f'{E_TO_E}.weight_mv.distribution = "gamma"',
        "expected 'uniform', 'normal' or 'lognormal' (",
    ),
    "weights with an unknown key": (
        {f"{E_TO_E}.weight_mv": {**NORMAL, "meen_mv": 6.0}},
        f"{E_TO_E}.weight_mv.meen_mv = 6.0",
        "unknown key; did you mean mean_mv?",
    ),
    "weights without a distribution": (
        {f"{E_TO_E}.weight_mv": {"mean_mv": 6.0}},
        f"{E_TO_E}.weight_mv.distribution is not given",
        "expected this key",
    ),
    "text as a weight": ({f"{E_TO_E}.weight_mv": "strong"}, f'{E_TO_E}.weight_mv = "strong"', "expected a number (initial weight"),
    "text in a distribution": (
        {f"{E_TO_E}.weight_mv": {**NORMAL, "mean_mv": "strong"}},
        f'{E_TO_E}.weight_mv.mean_mv = "strong"',
        "expected a number (mean of",
    ),
    "weights without a mean": (
        {f"{E_TO_E}.weight_mv": {"distribution": "lognormal", "sd_mv": 1.0}},
        f'{E_TO_E}.weight_mv = ["sd_mv"]',
        "a lognormal distribution needs mean_mv and sd_mv",
    ),
    "weights that do not differ": (
        {f"{E_TO_E}.weight_mv": {**NORMAL, "sd_mv": 0.0}},
        f"{E_TO_E}.weight_mv.sd_mv = 0.0",
        "expected at least 1e-06 (standard deviation",
    ),
    "weights of either sign": (
        {"network.connections.I->E.weight_mv": {**NORMAL, "mean_mv": 0.0}},
        "weight_mv.mean_mv = 0.0",
        "which sets the sign of the weights",
    ),
    "uniform weights of either sign": (
        {"network.connections.I->E.weight_mv": {"distribution": "uniform", "low_mv": -5.0, "high_mv": 1.0}},
        "weight_mv = [-5.0, 1.0]",
        "of the same sign",
    ),
    "uniform weights without a bound": (
        {f"{E_TO_E}.weight_mv": {"distribution": "uniform", "low_mv": 1.0}},
        f'{E_TO_E}.weight_mv = "uniform"',
        "needs low_mv and high_mv",
    ),
    "uniform weights with a mean": (
        {f"{E_TO_E}.weight_mv": {"distribution": "uniform", "low_mv": 1.0, "high_mv": 2.0, "mean_mv": 1.5}},
        f'{E_TO_E}.weight_mv = ["mean_mv"]',
        "takes bounds only",
    ),
    "uniform weights reversed": (
        {f"{E_TO_E}.weight_mv": {"distribution": "uniform", "low_mv": 3.0, "high_mv": 2.0}},
        f"{E_TO_E}.weight_mv = [3.0, 2.0]",
        "low_mv <= high_mv",
    ),
    "plastic weights up to more than their bound": (
        {f"{E_TO_E}.weight_mv": {**NORMAL, "high_mv": 12.0}},
        f"{E_TO_E}.weight_mv.high_mv = 12.0",
        "expected a plastic weight in 0 .. network.weight_max_mv = 10.0",
    ),
    "plastic weights below 0": (
        {f"{E_TO_E}.weight_mv": {**NORMAL, "mean_mv": -6.0}},
        f"{E_TO_E}.weight_mv.mean_mv = -6.0",
        "of this distribution is within its bounds, 0 .. 10; expected at least 1 %",
    ),
    "weights up to more than the integers": (
        {"network.connections.I->E.weight_mv": {**NORMAL, "mean_mv": -6.0, "low_mv": -40_000.0}},
        "weight_mv.low_mv = -40000.0",
        "expected more than -32,768 (lower bound [mV]",
    ),
    "delays of a distribution without bounds": (
        {f"{E_TO_E}.delay_ms": {"distribution": "normal", "mean_ms": 8.0, "sd_ms": 2.0, "first_ms": 1}},
        f"{E_TO_E}.delay_ms.last_ms is not given",
        "longest delay [ms]",
    ),
    "delays of a distribution from 0 on": (
        {f"{E_TO_E}.delay_ms": {**DELAYS, "first_ms": 0}},
        f"{E_TO_E}.delay_ms.first_ms = 0",
        "expected at least 1 (shortest delay [ms])",
    ),
    "delays of a distribution in fractions": (
        {f"{E_TO_E}.delay_ms": {**DELAYS, "last_ms": 20.5}},
        f"{E_TO_E}.delay_ms.last_ms = 20.5",
        "expected a whole number (longest delay [ms])",
    ),
    "delays of a distribution reversed": (
        {f"{E_TO_E}.delay_ms": {**DELAYS, "first_ms": 20, "last_ms": 1}},
        f"{E_TO_E}.delay_ms = [20, 1]",
        "first <= last",
    ),
    "delays beyond their bounds": (
        {f"{E_TO_E}.delay_ms": {**DELAYS, "mean_ms": 100.0}},
        f"{E_TO_E}.delay_ms.mean_ms = 100.0",
        "is within its bounds, 0.5 .. 20.5",
    ),
    "delays without a mean": (
        {f"{E_TO_E}.delay_ms": {"distribution": "normal", "first_ms": 1, "last_ms": 20}},
        f"{E_TO_E}.delay_ms = []",
        "a normal distribution needs mean_ms and sd_ms",
    ),
    "three delays": ({f"{E_TO_E}.delay_ms": [1, 2, 3]}, f"{E_TO_E}.delay_ms = [1, 2, 3]", "expected a length of at most 2"),
    "edge table for too many neurons": (
        {
            "network.neurons": 2**28 + 200,
            "network.populations.E.count": 2**28,
            "network.connections": {},
            "network.edges": "edges.csv",
        },
        'network.edges = "edges.csv"',
        "expected at most 268,435,456 neurons with an edge table",
    ),
    "delay of 0": ({f"{E_TO_E}.delay_ms": [0, 20]}, f"{E_TO_E}.delay_ms.0 = 0", "expected at least 1 (delay"),
    "delay too long": ({f"{E_TO_E}.delay_ms": [1, 300]}, f"{E_TO_E}.delay_ms.1 = 300", "expected at most 255"),
    "delays reversed": ({f"{E_TO_E}.delay_ms": [20, 1]}, f"{E_TO_E}.delay_ms = [20, 1]", "first <= last"),
    "one delay": ({f"{E_TO_E}.delay_ms": [1]}, f"{E_TO_E}.delay_ms = [1]", "expected 2 entries"),
    "plastic weight above its bound": ({f"{E_TO_E}.weight_mv": 20.0}, f"{E_TO_E}.weight_mv = 20.0", "network.weight_max_mv = 10.0"),
    "weight beyond the integers": (
        {"network.connections.I->E.weight_mv": -40000.0},
        "weight_mv = -40000.0",
        "expected |weight| < 32,768 mV",
    ),
    "time constant of traces too long": (
        {"features.traces.tau_ms": 3001.0},
        "features.traces.tau_ms = 3001.0",
        "20 tau_ms is longer than a segment, 60,000 ms; expected at most 3000 ms",
    ),
    "time constant of all pairs too long": (
        {"features.omega_pairs.tau_ms": 3001.0},
        "features.omega_pairs.tau_ms = 3001.0",
        "20 tau_ms is longer than a segment, 60,000 ms; expected at most 3000 ms",
    ),
    "time constant of synapses too long": (
        {"features.omega_synapses.tau_ms": 2999.5},
        "features.omega_synapses.tau_ms = 2999.5",
        "20 tau_ms plus the longest delay, 20 ms, is longer than a segment, 60,000 ms; expected at most 2999 ms",
    ),
    "step that does not divide the chunk": (
        {"features.spike_counts.step_ms": 7},
        "features.spike_counts.step_ms = 7",
        "divisor of simulation.chunk_ms = 1000",
    ),
    "traces of no neuron": ({"features.traces.neurons": 0}, "features.traces.neurons = 0", "expected more than 0"),
    "window of all pairs that does not divide the segment": (
        {"features.omega_pairs.window_s": 7},
        "features.omega_pairs.window_s = 7",
        "expected a divisor of simulation.segment_s = 60",
    ),
    "window of synapses that does not divide the segment": (
        {"features.omega_synapses.window_s": 7},
        "features.omega_synapses.window_s = 7",
        "expected a divisor of simulation.segment_s = 60",
    ),
    "method of a feature of another kind": (
        {"explanation.methods.omega.pairs": "omega_synapses"},
        'explanation.methods.omega.pairs = "omega_synapses"',
        "expected a feature of kind omega_pairs: omega_pairs",
    ),
    "method of a feature that there is not": (
        {"features": {}, "explanation.methods.omega.synapses": "mine"},
        'explanation.methods.omega.synapses = "mine"',
        "expected a feature of kind omega_synapses: none is configured",
    ),
    "window longer than a segment": (
        {"models.tft_neuron.bin_ms": 70_000},
        "models.tft_neuron.bin_ms = 70000",
        "at most one segment",
    ),
    "split that does not add to 1": ({"training.split": [0.6, 0.2, 0.3]}, "training.split = [0.6, 0.2, 0.3]", "add up to 1"),
    "split into two": ({"training.split": [0.6, 0.4]}, "training.split = [0.6, 0.4]", "expected 3 entries"),
    "heads that do not divide": ({"models.tft_neuron.attention_heads": 3}, "models.tft_neuron.attention_heads = 3", "hidden_size = 16"),
    "too little data for the TFT": ({"models.tft_neuron.history": 300}, "models.tft_neuron.history = 300", "Simulate longer"),
    "too little data for the autoencoder": ({"models.autoencoder.sequences": 9000}, "models.autoencoder.sequences = 9000", "at most 6500"),
    "no time left for the models": ({"training.start_s": 200}, "training.start_s = 200", "less than simulation.duration_s = 180"),
    "no time left for the methods": (
        {"models": {}, "training.start_s": 200},
        "training.start_s = 200",
        "less than simulation.duration_s = 180",
    ),
    "too little data for the correlation of rates": (
        {"models": {}, "explanation.methods.rate_correlation.bin_ms": 20_000},
        "explanation.methods.rate_correlation.bin_ms = 20000",
        "the number of bins in the test range is 1, expected at least 2",
    ),
    "seeds twice": ({"models.autoencoder.seeds": [1, 1]}, "models.autoencoder.seeds = [1, 1]", "expected distinct seeds"),
    "no seeds": ({"models.autoencoder.seeds": []}, "models.autoencoder.seeds = []", "expected a length of at least 1"),
    "strata that do not increase": ({"explanation.strata_mv": [0, 2, 1]}, "explanation.strata_mv = [0.0, 2.0, 1.0]", "increasing weights"),
    "raster longer than the run": ({"report.raster_s": 500}, "report.raster_s = 500", "at most simulation.duration_s = 180"),
    "run name with a slash": ({"run.name": "a/b"}, 'run.name = "a/b"', "expected letters, digits"),
    "sweep over an unknown key": ({"sweep": {"network.sed": [1]}}, "sweep.network.sed = 1", "did you mean network.seed?"),
    "sweep over a section": ({"sweep": {"network": [1]}}, "sweep.network = 1", "no such key to sweep over"),
    "sweep over the run's name": ({"sweep": {"run.name": ["a"]}}, 'sweep.run.name = "a"', "no such key to sweep over"),
    "sweep over extensions": ({"sweep": {"extensions": ["a.py"]}}, 'sweep.extensions = "a.py"', "no such key to sweep over"),
    "sweep with a value that breaks": ({"sweep": {f"{E_TO_E}.p": [0.1, 2.0]}}, f"{E_TO_E}.p = 2.0", "expected at most 1"),
    "sweep with sizes that break": (
        {"sweep": {"simulation.ranks": [1, 9]}},
        "simulation.ranks = 9",
        "expected at most 4, the number of blocks",
    ),
    "sweep with a value twice": ({"sweep": {"network.seed": [1, 1]}}, "network.seed=1", "expected distinct values"),
    "sweep without a list": ({"sweep": {"network.seed": 1}}, "sweep.network.seed = 1", "expected a list"),
    "sweep over what names no folder": (
        {"sweep": {"drive.events": ["a b.csv"]}},
        'sweep.drive.events = "a b.csv"',
        "values become folder names",
    ),
    "sweep over paths that name one folder": (
        {"sweep": {"drive.events": ["a/b.csv", "a_b.csv"]}},
        "drive.events=a_b.csv",
        "expected distinct values; two combinations have this folder",
    ),
    "sweep over lists of lists": ({"sweep": {f"{E_TO_E}.delay_ms": [[[1, 1]]]}}, f"sweep.{E_TO_E}.delay_ms.0", "expected text"),
    "number in quotes": ({"drive.kick_mv": "2.5"}, 'drive.kick_mv = "2.5"', "2.5 is text here; write 2.5 without quotes"),
    "whole number with a point": ({"network.neurons": 1e3}, "network.neurons = 1000.0", "expected a whole number; write 1000 ("),
    "yes": ({"simulation.plasticity": "yes"}, 'simulation.plasticity = "yes"', "expected true or false"),
    "sweep of too many runs": (
        {"sweep": {"network.seed": list(range(2000)), "drive.seed": list(range(2000))}},
        "sweep = 4000000",
        "expected at most 10,000 runs",
    ),
    "no folder of results": ({"run.results": ""}, 'run.results = ""', "expected a path without { } < > $"),
    "braces in the folder of results": ({"run.results": "{x}"}, 'run.results = "{x}"', "expected a path without { } < > $"),
    "line break in the folder of results": ({"run.results": "a\nb"}, 'run.results = "a\\nb"', "on one line"),
    "line break at the end of the folder of results": ({"run.results": "a\n"}, 'run.results = "a\\n"', "on one line"),
    "short option as the folder of results": ({"run.results": "-rf"}, 'run.results = "-rf"', "does not begin with '-'"),
    "long option as the folder of results": ({"run.results": "--foo"}, 'run.results = "--foo"', "does not begin with '-'"),
    "option in a path of results": ({"run.results": "./-rf"}, 'run.results = "./-rf"', "expected no '-' at the start"),
    "variable in the folder of results": ({"run.results": "$HOME/x"}, 'run.results = "$HOME/x"', "expected a path without { } < > $"),
    "home of nobody": ({"run.results": "~nosuchuser/x"}, 'run.results = "~nosuchuser/x"', "unknown user; write the full path"),
    **{
        f"{c} in the folder of results": ({"run.results": f"a{c}b"}, "run.results = ", "expected a path without { } < > $")
        for c in "<>'\"`\\"
    },
    "time constant too long for the autoencoder": (
        {"models.autoencoder.tau_ms": 2900.0},
        "models.autoencoder.tau_ms = 2900.0",
        "the validation range contains none of the sequences of 20 ms; expected at least one. "
        "The range is 0.2 of the 130,000 ms after training.start_s, minus its part of the gaps of 20 tau_ms + "
        "steps = 58,020 ms: 0 ms. Simulate longer",
    ),
}

BOMB = "a0: &a0 [x, x]\n" + "".join(f"a{n}: &a{n} [{', '.join(9 * [f'*a{n - 1}'])}]\n" for n in range(1, 12))
MERGED_BOMB = "a0: &a0 {x: 1}\n" + "".join(f"a{n}: &a{n} {{<<: [{', '.join(9 * [f'*a{n - 1}'])}]}}\n" for n in range(1, 12))

NOT_YAML: dict[str, tuple[str, str]] = {
    "a list": ("- network\n", "expected a mapping of sections"),
    "syntax error": ("network: [1, 2\n", "line 2"),
    "key twice": (CONFIG_YAML.read_text(encoding="utf-8") + "\nnetwork: {}\n", "duplicate key 'network'; keep one"),
    "key twice in a section": ("run: {name: a, name: b}\n", "duplicate key 'name'; keep one"),
    "key that is no text": ("network:\n  on: 1\n", "expected text as a key, found on; quote it"),
    "list as a key": ("? [1, 2]\n: 3\n", "expected text as a key"),
    "unknown tag": ("network: !!python/name:os.system\n", "line 1"),
    "date": ("network: 2024-13-45\n", 'network = "2024-13-45": expected a mapping'),
    "list within itself": ("network: &x [*x]\n", "it contains over 1,000,000 values with aliases expanded"),
    "aliases of aliases": (BOMB, "it contains over 1,000,000 values with aliases expanded"),
    "merges of merges": (MERGED_BOMB, "it contains over 1,000,000 values with aliases expanded"),
    "nested too deeply": ("network: " + 5_000 * "[", "nested too deeply"),
    "bytes": ("network: \0\n", "special characters are not allowed"),
}


@pytest.fixture
def refusal(capsys: pytest.CaptureFixture[str]) -> Callable[[Path], str]:
    """A function that runs a command on an invalid configuration and returns its error message."""

    def refuse(path: Path) -> str:
        assert main(["check", str(path)]) == 2
        shown = capsys.readouterr()
        assert shown.out == ""
        assert "Traceback" not in shown.err
        return shown.err

    return refuse


@pytest.mark.parametrize("wrong", WRONG)
def test_invalid_configuration_is_refused_with_key_value_and_expectation(
    wrong: str, tmp_path: Path, refusal: Callable[[Path], str]
) -> None:
    changes, given_, expected = WRONG[wrong]
    path = tmp_path / "config.yaml"
    content = with_keys(CONTENT, {"run.results": str(tmp_path / "results"), **changes})
    path.write_text(yaml.safe_dump(content), encoding="utf-8")
    message = refusal(path)
    line = next((line for line in message.splitlines() if given_ in line), None)
    assert line is not None, message
    assert expected in line
    assert str(path) in message
    assert [child.name for child in tmp_path.iterdir()] == ["config.yaml"]


@pytest.mark.parametrize("wrong", NOT_YAML)
def test_file_that_is_not_a_configuration_is_refused_with_its_name(wrong: str, tmp_path: Path, refusal: Callable[[Path], str]) -> None:
    text, expected = NOT_YAML[wrong]
    path = tmp_path / "config.yaml"
    path.write_text(text, encoding="utf-8")
    message = refusal(path)
    assert str(path) in message
    assert expected in message


@pytest.mark.parametrize("encoding", ["utf-16", "latin-1"])
def test_file_in_another_encoding_is_refused_with_its_name(encoding: str, tmp_path: Path, refusal: Callable[[Path], str]) -> None:
    path = tmp_path / "config.yaml"
    path.write_text("# ü\n" + CONFIG_YAML.read_text(encoding="utf-8"), encoding=encoding)
    assert f"{path} is not UTF-8 text; save it as UTF-8" in refusal(path)


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("0010", 10),
        ("0o10", 8),
        ("0x1F", 31),
        ("-7", -7),
        ("1:30", "1:30"),
        ("1_000", "1_000"),
        ("0b11", "0b11"),
        ("1e3", 1000.0),
        ("1.E+3", 1000.0),
        (".5", 0.5),
        ("-.inf", -math.inf),
        ("2024-01-01", "2024-01-01"),
        *((text, True) for text in ("true", "True", "TRUE", "on", "On", "ON")),
        *((text, False) for text in ("false", "False", "FALSE", "off", "Off", "OFF")),
        *((text, text) for text in ("yes", "No", "y", "N", "oN", "=", "e3")),
        *((text, None) for text in ("", "~", "null", "Null", "NULL")),
    ],
)
def test_scalars_are_read_as_yaml_1_2_and_on_and_off_are_booleans(written: str, expected: Any, tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(f"key: {written}\n", encoding="utf-8")
    found = read_yaml(path)["key"]
    assert (type(found), found) == (type(expected), expected)


def test_nan_in_yaml_is_read_as_nan(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text("key: .NaN\n", encoding="utf-8")
    assert math.isnan(read_yaml(path)["key"])


@pytest.mark.parametrize(
    ("override", "line", "setting"),
    [
        ({"simulation": {"duration_s": "8"}}, 'simulation.duration_s = "8"', "simulation.duration_s=8"),
        ({"simulation": {"plasticity": "false"}}, 'simulation.plasticity = "false"', "simulation.plasticity=false"),
        ({"training": {"split": ["0.6", "0.2", "0.2"]}}, 'training.split.0 = "0.6"', "training.split=[...]"),
        ({"sweep": {"network.seed": ["1", "2"]}}, 'network.seed = "1"', "network.seed="),
    ],
)
def test_values_that_snakemake_converted_to_text_are_reported_as_such(override: dict[str, Any], line: str, setting: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load([str(CONFIG_YAML)], overrides=override)
    found = next(told for told in str(caught.value).splitlines() if line in told)
    assert f"snakemake converts this --config value to text; use `spikelens run --set {setting}" in found


def test_list_of_many_wrong_values_is_refused_quickly() -> None:
    with pytest.raises(ConfigError):
        load_runs(with_keys(CONTENT, {"models.autoencoder.seeds": 300_000 * ["one"]}))


@pytest.mark.parametrize("results", ["my results", "Läufe/große", "../x", "/tmp/a,b", "a~b"])
def test_folder_of_results_can_have_spaces_and_umlauts(results: str) -> None:
    assert load_runs(with_keys(CONTENT, {"run.results": results}))[0].path == f"{results}/reference"


@pytest.mark.parametrize("tilde", ["~", f"~{getpass.getuser()}"])
def test_tilde_in_the_folder_of_results_is_expanded(tilde: str) -> None:
    run = load_runs(with_keys(CONTENT, {"run.results": f"{tilde}/x"}))[0]
    home = os.path.expanduser(tilde)
    assert not home.startswith("~")
    assert (run.path, run.run.results) == (f"{home}/x/reference", f"{home}/x")


@pytest.mark.parametrize("changes", [{"models.autoencoder.tau_ms": 99.0}, {"training.start_s": 5}])
def test_run_too_short_for_the_sequences_is_refused_before_it_starts(changes: dict[str, Any], tmp_path: Path) -> None:
    changes = {"models.tft_population.history": 1, "models.tft_population.horizon": 1, **changes}
    changes = {"models.tft_neuron.history": 1, "models.tft_neuron.horizon": 1, "models.autoencoder.sequences": 40, **changes}
    with pytest.raises(ConfigError) as caught:
        load_runs(small_config(tmp_path, changes))
    assert {problem.key for problem in caught.value.problems} >= {"models.autoencoder.tau_ms"}
    assert "contains none of the sequences of 20 ms" in str(caught.value)


def test_missing_configuration_is_refused_with_its_name(tmp_path: Path, refusal: Callable[[Path], str]) -> None:
    assert str(tmp_path / "none.yaml") in refusal(tmp_path / "none.yaml")


def test_all_errors_are_reported_at_once() -> None:
    with pytest.raises(ConfigError) as caught:
        load_runs(with_keys(CONTENT, {"simulation.ranks": 9, "features.spike_counts.step_ms": 7, "training.split": [0.5, 0.2, 0.2]}))
    assert {problem.key for problem in caught.value.problems} == {
        "simulation.ranks",
        "training.split",
        "features.spike_counts.step_ms",
    }


def test_features_without_a_kind_take_the_reference_and_replace_the_others() -> None:
    run = load_runs({"features": {"traces": {"tau_ms": 5.0}, "mine": {"kind": "traces"}}})[0]
    assert {name: (feature.kind, feature.tau_ms) for name, feature in run.features.items()} == {
        "traces": ("traces", 5.0),
        "mine": ("traces", 20.0),
    }
    assert load_runs({"features": {}})[0].features == {}


def test_causal_components_of_all_pairs_are_left_out_above_5_000_neurons() -> None:
    run = load_runs(with_keys(CONTENT, LARGE))[0]
    assert list(run.features) == ["spike_counts", "traces", "omega_pairs", "omega_synapses"]
    assert list(run.computed_features) == ["spike_counts", "traces", "omega_synapses"]


@pytest.mark.parametrize("changes", [{"models.tft_neuron.bin_ms": 105}, {"report.window_ms": 105}, {"features.spike_counts.step_ms": 8}])
def test_bins_of_readers_do_not_depend_on_those_of_features(changes: dict[str, Any]) -> None:
    load_runs(with_keys(CONTENT, changes))


def leaves(content: Mapping[str, Any], prefix: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Paths of the values of a configuration; an empty mapping is a value."""
    for key, value in content.items():
        if isinstance(value, Mapping) and value:
            yield from leaves(value, (*prefix, key))
        else:
            yield (*prefix, key)


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.just(10**400) | st.just("E"),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=2),
    max_leaves=4,
)


@settings(max_examples=300, deadline=None)
@given(path=st.sampled_from(sorted(leaves(CONTENT))), depth=st.integers(1, 4), value=ANYTHING)
def test_any_single_mutation_is_loaded_or_refused_without_a_crash(path: tuple[str, ...], depth: int, value: Any) -> None:
    mutated = with_keys(CONTENT, {".".join(path[:depth]): value})
    try:
        runs = load_runs(mutated)
    except SpikelensError:
        return
    assert all(not list(check(run)) for run in runs)


def test_sweep_gives_one_run_per_combination_each_in_its_own_folder() -> None:
    runs = load_runs(with_keys(CONTENT, {"sweep": {"network.seed": [1, 2], "features.traces.tau_ms": [10.0, 20.0, 40.0]}}))
    assert len({run.path for run in runs}) == 6
    found = {(run.network.seed, run.features["traces"].tau_ms) for run in runs}
    assert found == {(s, t) for s in (1, 2) for t in (10.0, 20.0, 40.0)}
    assert runs[0].path == "results/reference/network.seed=1,features.traces.tau_ms=10.0"


def test_sweep_takes_lists_none_and_paths(tmp_path: Path) -> None:
    table = tmp_path / "kicks.csv"
    table.touch()
    runs = load_runs(with_keys(CONTENT, {"sweep": {f"{E_TO_E}.delay_ms": [[1, 1], [1, 20]], "drive.events": [None, str(table)]}}))
    assert [(run.network.connections["E->E"].delay_ms, run.drive.events) for run in runs] == [
        ((1, 1), None),
        ((1, 1), str(table)),
        ((1, 20), None),
        ((1, 20), str(table)),
    ]
    path_part = str(table).replace("/", "_")
    assert [run.folder.name for run in runs] == [
        f"{E_TO_E}.delay_ms={delays},drive.events={events}" for delays in ("1-1", "1-20") for events in ("null", path_part)
    ]


@pytest.mark.parametrize("text", ["1e-3", "1e-7", "2.5e8", "1E5", "3e+20", "1_000"])
def test_the_number_in_the_hint_is_the_intended_one(text: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        load_runs(with_keys(CONTENT, {"models.tft_neuron.learning_rate": text}))
    found = re.search(r"is text here; write (\S+) without quotes", str(caught.value))
    assert found
    (tmp_path / "config.yaml").write_text(f"key: {found[1]}", encoding="utf-8")
    assert read_yaml(tmp_path / "config.yaml") == {"key": float(text)}


def test_a_million_neurons_in_100_blocks_are_valid() -> None:
    changes = {
        "network.neurons": 1_000_000,
        "network.populations.E.count": 999_800,
        "network.block_size": 10_000,
        "simulation.chunk_neurons": 1_000,
        "simulation.segment_s": 20,
    }
    for averages in ("auto", True):
        run = load_runs(with_keys(CONTENT, {**changes, "simulation.weight_average": averages}))[0]
        assert run.n_blocks == 100


def test_weight_averages_are_stored_up_to_ten_million_expected_synapses_and_with_an_edge_table(tmp_path: Path) -> None:
    table = tmp_path / "edges.csv"
    table.touch()
    assert load_runs(CONTENT)[0].weight_average
    assert not load_runs(with_keys(CONTENT, {**LARGE, f"{E_TO_E}.p": 0.2}))[0].weight_average
    assert load_runs(with_keys(CONTENT, {**LARGE, "network.connections": {}, "network.edges": str(table)}))[0].weight_average
    described = json_schema()["$defs"]["Simulation"]["properties"]["weight_average"]["description"]
    assert "always with an edge table" in described


def test_run_reads_back_its_own_configuration(make_run: Any) -> None:
    run = make_run()
    assert load_run(run.folder) == run


def test_damaged_copy_of_the_configuration_is_refused_with_its_name(make_run: Any) -> None:
    path = make_run().folder / "config.json"
    path.write_text(path.read_text(encoding="utf-8")[:100], encoding="utf-8")
    with pytest.raises(SpikelensError, match=re.escape(str(path))):
        load_run(path.parent)


def test_segments_and_blocks_cover_the_run_once_even_if_the_last_is_shorter(tmp_path: Path) -> None:
    changes = {"simulation.duration_s": 7, "network.block_size": 60, "simulation.chunk_neurons": 60}
    run = load_runs(small_config(tmp_path, changes))[0]
    assert [run.segment_range(k) for k in range(run.n_segments)] == [(0, 2000), (2000, 4000), (4000, 6000), (6000, 7000)]
    assert [run.block_range(b) for b in range(run.n_blocks)] == [(0, 60), (60, 120), (120, 180), (180, 200)]


def test_training_validation_and_test_share_no_spike() -> None:
    run = load_runs(CONTENT)[0]
    model = run.models["tft_neuron"]
    ranges = list(model.ranges(run).values())
    for (_, end), (start, _) in itertools.pairwise(ranges):
        assert start - end >= model.history + model.horizon + 1
    assert ranges[0][0] * model.bin_ms >= run.training.start_s * 1000
    assert ranges[-1][1] * model.bin_ms <= run.n_steps


def test_schema_file_matches_the_types() -> None:
    kept = json.loads((REPOSITORY / "workflow/schemas/config.schema.json").read_text(encoding="utf-8"))
    assert kept == json_schema(), "run `make schema`"


def test_schema_accepts_config_yaml_and_rejects_an_unknown_key() -> None:
    jsonschema.validate(CONTENT, json_schema())
    with pytest.raises(jsonschema.ValidationError, match="nmae"):
        jsonschema.validate(with_keys(CONTENT, {"run.nmae": "a"}), json_schema())


def test_schema_describes_every_key() -> None:
    sections = json_schema()["$defs"]
    values = [(name, key, node) for name, section in sections.items() for key, node in section["properties"].items() if "$ref" not in node]
    assert len(values) > 50
    assert [(name, key) for name, key, node in values if not node.get("description")] == []


INSTEAD_OF_P = {"out_degree", "in_degree"}
"""Keys of connection rules that the reference network does not use."""


def test_config_yaml_shows_every_key() -> None:
    resolved = load_runs(CONTENT)[0].model_dump(mode="json")
    known = {path for path in leaves(resolved) if path[-1] not in INSTEAD_OF_P} - {("path",)}
    assert set(leaves(CONTENT)) == known | {("sweep",), ("base",)}


def test_config_yaml_shows_the_defaults_in_their_order() -> None:
    assert load_runs({})[0].model_dump_json() == load_runs(CONTENT)[0].model_dump_json()


def commented_lines() -> dict[tuple[str, ...], str]:
    """The comment on the line of each leaf of config.yaml, or an empty string."""
    comments: dict[tuple[str, ...], str] = {}
    path: list[str] = []
    for line in CONFIG_YAML.read_text(encoding="utf-8").splitlines():
        found = re.match(r"( *)([^\s#].*?):(?:\s|$)", line)
        if found:
            path = [*path[: len(found[1]) // 2], found[2]]
            comments[tuple(path)] = line.partition(" # ")[2]
    return {key: comments[key] for key in leaves(CONTENT)}


UNIT_OF_SUFFIX = {"min": "min", "ms": "ms", "s": "s", "mv": "mV", "hz": "Hz"}


@pytest.mark.parametrize(("path", "comment"), commented_lines().items(), ids=map(".".join, commented_lines()))
def test_config_yaml_and_messages_describe_each_key_with_the_same_unit(path: tuple[str, ...], comment: str) -> None:
    assert comment
    suffix = path[-1].rpartition("_")[2]
    if suffix in UNIT_OF_SUFFIX and suffix != path[-1]:
        assert f"[{UNIT_OF_SUFFIX[suffix]}]" in comment
    key = ".".join(path)
    with pytest.raises(ConfigError) as caught:
        load_runs(with_keys(CONTENT, {key: object()}))
    assert key in str(caught.value)
    for unit in re.findall(r"\[[^]]+\]", comment.partition("e.g.")[0]):
        assert unit in str(caught.value)

"""The typed configuration: every key with its type, unit and default, and the checks that a configuration must pass.

`load.py` reads `config.yaml` once, for the Snakefile or the command line. The result is one `RunConfig` per run (several with
`sweep:`), frozen and fully resolved. Each run stores its own copy in `results/<run>/config.json`, which jobs and
notebooks read. Defaults are defined only here; `workflow/schemas/config.schema.json` is generated from here.
"""

from __future__ import annotations

from spikelens.config.checks import check, require_stage, require_tables, valid_stages, why_invalid
from spikelens.config.network import (
    Connection,
    DelayDistribution,
    DistributionName,
    Network,
    connection_probability,
    expected_in_degree,
    expected_synapses,
    log_parameters,
    weight_bounds_mv,
)
from spikelens.config.run import Config, RunConfig
from spikelens.config.runs import json_schema, load_config, load_run, load_runs, parse
from spikelens.config.simulation import record_shards, shards_per_block
from spikelens.config.types import (
    CAUSAL_CUTOFF_TAUS,
    MAX_DELAY_MS,
    MAX_DENSE_NEURONS,
    MAX_SHARD_BYTES,
    MAX_WEIGHT_MV,
    STEPS_PER_SECOND,
    Section,
)
from spikelens.config.yaml12 import read_yaml
from spikelens.names import ASSUMED_RATE_HZ, STAGES, Stage, stages_until

__all__ = [
    "ASSUMED_RATE_HZ",
    "CAUSAL_CUTOFF_TAUS",
    "Config",
    "Connection",
    "DelayDistribution",
    "DistributionName",
    "MAX_DELAY_MS",
    "MAX_DENSE_NEURONS",
    "MAX_SHARD_BYTES",
    "MAX_WEIGHT_MV",
    "Network",
    "RunConfig",
    "STAGES",
    "STEPS_PER_SECOND",
    "Section",
    "Stage",
    "check",
    "connection_probability",
    "expected_in_degree",
    "expected_synapses",
    "json_schema",
    "load_config",
    "load_run",
    "load_runs",
    "log_parameters",
    "parse",
    "read_yaml",
    "record_shards",
    "require_stage",
    "require_tables",
    "shards_per_block",
    "stages_until",
    "valid_stages",
    "weight_bounds_mv",
    "why_invalid",
]

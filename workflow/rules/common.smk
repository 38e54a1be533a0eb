# Helpers, no rules: the configuration, and which files belong to which stage of a run.

import functools
import itertools
import os
import re
import shlex
import sys
from pathlib import Path

from spikelens import stores
from spikelens.config import MODEL_NAMES, load_runs, read_yaml
from spikelens.errors import SpikelensError
from spikelens.fingerprint import fingerprint, model_fingerprint
from spikelens.sizes import memory_mb, n_ranks, rank_memory_mb
from spikelens.speeds import runtime_min
from spikelens.walltime import refuse_unfit

# Commands come from the environment that snakemake itself runs in, whether or not it is activated.
shell.executable("bash")
shell.prefix(f"set -euo pipefail; export PATH={shlex.quote(str(Path(sys.executable).parent))}:$PATH; ")

# A configuration file of the user's replaces config.yaml whole: merged with it, their populations would mix with ours.
CONFIG_FILES = [str(path) for path in workflow.overwrite_configfiles] or ["config.yaml"]


def refuse(error):
    """End with the message alone and exit code 2: nothing has been started or written."""
    print(error, file=sys.stderr, flush=True)
    os._exit(2)


try:
    for path in CONFIG_FILES:
        read_yaml(Path(path))
except SpikelensError as error:
    refuse(error)

if not workflow.overwrite_configfiles:

    configfile: "config.yaml"


try:
    RUNS = load_runs(config, ", ".join(CONFIG_FILES))
    if workflow.is_main_process:
        refuse_unfit(RUNS, ", ".join(CONFIG_FILES))
    # while this is read, snakemake (9.27) does not tell yet whether it is a dry run, which must not write
    dry_run = any(re.fullmatch(r"--dry-?run|-[a-zA-Z]*n[a-zA-Z]*", argument) for argument in sys.argv[1:])
    if workflow.is_main_process and not dry_run:
        for run in RUNS:
            stores.heal(run)
except SpikelensError as error:
    refuse(error)


wildcard_constraints:
    segment=r"\d+",
    block=r"\d+",
    seed=r"\d+",


onstart:
    for run in RUNS:
        stores.prepare(run)


def rule_name(stage, run, stamps=None):
    """A rule stands for a stage of one run: runs of a sweep may differ in their blocks, so each has rules of its own.

    A last segment may have a rule of its own, too: where it is short, or has nothing ahead, its stamp says so.
    """
    last = "_last" if stamps is not None and stamps != str(stores.stamp_folder(run, stage, 0)) else ""
    return f"{stage}{last}" if len(RUNS) == 1 else f"{stage}{last}_{RUNS.index(run)}"


def asked(run, rule):
    """What a job of a rule asks for; one that failed asks for more when it is tried again."""
    ranks, minutes, mb, limit = n_ranks(run, rule), runtime_min(run, rule), memory_mb(run, rule), run.cluster.limit_min
    wanted = {
        "runtime": lambda wildcards, attempt: min(attempt * minutes, limit or attempt * minutes),
        "mem_mb": lambda wildcards, attempt: attempt * mb,
        "tasks": ranks,
        # a rank that is alone needs no launcher, and the SLURM plugin refuses one
        "mpi": launcher(run) if ranks > 1 else "",
    }
    if ranks > 1:
        # of a job on several nodes, SLURM takes mem_mb for the memory of each, and threads for cores of each rank
        rank_mb = rank_memory_mb(run, rule)
        wanted |= {"cpus_per_task": 1, "mem_mb_per_cpu": lambda wildcards, attempt: attempt * rank_mb}
        per_node = run.cluster.ranks_per_node
        if per_node is not None:
            # the plugin takes tasks_per_node in the place of tasks only, and none that is 1
            wanted |= {"nodes": -(-ranks // per_node), "slurm_extra": f"--ntasks-per-node={per_node}"}
    if rule.startswith("models") and run.cluster.gpus:
        wanted |= {"gpu": ranks, "tasks_per_gpu": 1}
    return wanted


def launcher(run):
    """Inside a SLURM job, mpiexec would put every rank on the first node: snakemake hides SLURM's variables from it."""
    return run.cluster.srun if "SLURM_JOB_ID" in os.environ else "mpiexec"


def together(group):
    """Jobs of a group are submitted together; only on a cluster, since snakemake (9.27) plans groups in a time that grows with their square."""
    return lambda wildcards: group if workflow.non_local_exec else None


# Parts of commands: how ranks are started, how many, and the time that SLURM gives (elsewhere there is no limit), so that a command
# that sees that it will not do ends early.
LAUNCH = "mpi={resources.mpi:q}; ${{mpi:+$mpi -n {resources.tasks}}}"
RANKS = "${{mpi:+--ranks {resources.tasks}}}"
LIMIT = "${{SLURM_JOB_ID:+--limit-min {resources.runtime}}}"


def patterns(group, names=None):
    """Output patterns of the arrays of a group, with the wildcards {segment} and {block}."""
    wildcard = {"segment": "{segment}", "block": "{block}", "": "0"}
    chosen = {name: array for name, array in group.arrays.items() if names is None or name in names}
    return [str(group.shard_path(name, [wildcard[kind] for kind in a.by or [""] * len(a.shape)])) for name, a in chosen.items()]


def block_patterns(run, store, names=None, block="{block}"):
    """The same for a block's own group; what is in a block's files, the names do not depend on."""
    group = stores.block_layout(run, store, 0, 1)
    folder = stores.store_path(run, store) / stores.block_folder(store, block)
    return [path.replace(str(group.path), str(folder), 1) for path in patterns(group, names)]


def fill(paths, segments=(), blocks=()):
    """Files that the patterns stand for, over the given segments and blocks."""
    filled = [path.replace("{segment}", str(segment)) for segment in segments or [""] for path in paths]
    filled = [path.replace("{block}", str(block)) for block in blocks or [""] for path in filled]
    return list(dict.fromkeys(filled))


def network_patterns(run):
    return patterns(stores.layout(run, "network")) + block_patterns(run, "network")


def spike_patterns(run):
    return patterns(stores.layout(run, "spikes"))


def state_patterns(run):
    """State and weights at a segment's end: what the next segment starts from."""
    return patterns(stores.layout(run, "state")) + block_patterns(run, "state") + block_patterns(run, "weights", ["weight"])


def average_patterns(run):
    return block_patterns(run, "weights", ["weight_average"])


def record_patterns(run):
    """Recorded v and u, and weights; nothing where nothing is chosen."""
    if not run.records:
        return []
    weights = stores.recorded_synapses_layout(run, stores.ANY_SYNAPSE) if run.simulation.record.synapses else None
    return patterns(stores.layout(run, "records")) + (patterns(weights) if weights else [])


def feature_patterns(run):
    return patterns(stores.layout(run, "features")) + block_patterns(run, "features")


def simulation_patterns(run):
    return spike_patterns(run) + state_patterns(run) + average_patterns(run) + record_patterns(run)


MODEL_FILES = ("weights.safetensors", "model.json", "history.jsonl")


def model_files(run, model, seed, names=MODEL_FILES):
    return [str(run.folder / "models" / model / str(seed) / name) for name in names]


def explanation_files(run):
    tables = [str(run.folder / "explanation" / name) for name in ("scores.json", "associations.json")]
    return patterns(stores.layout(run, "explanation")) + tables


def segments_by_stamp(run, stage):
    """Segments by the folder of their stamps: all are alike, but perhaps for the last."""
    folders = {}
    for segment in range(run.n_segments):
        folders.setdefault(str(stores.stamp_folder(run, stage, segment)), []).append(segment)
    return folders


def one_of(segments):
    """A wildcard's constraint to some segments."""
    return "|".join(map(str, segments))


# What a job leaves beside its shards, and what the jobs that read these take as input: an empty file, missing where the job was
# last run with another fingerprint. Naming the shards themselves would cost snakemake, for each job, as many looks as there are.


def network_stamps(run):
    return [f"{stores.stamp_folder(run, 'network')}/{block}" for block in range(run.n_blocks)]


def simulation_stamps(run):
    """By segment."""
    return [f"{stores.stamp_folder(run, 'simulation', segment)}/{segment}" for segment in range(run.n_segments)]


def feature_stamps(run):
    """Those of a segment's blocks stand together."""
    folders = [f"{stores.stamp_folder(run, 'features', segment)}/{segment}" for segment in range(run.n_segments)]
    return [f"{folder}-{block}" for folder in folders for block in range(run.n_blocks)]


def stored_stamps(run):
    """The stamps of all jobs that write shards."""
    return network_stamps(run) + simulation_stamps(run) + feature_stamps(run)


def shards_by_stamp(run):
    """For each job that writes shards: its stamp, and patterns and numbers of its shards."""
    segments, blocks = range(run.n_segments), range(run.n_blocks)
    network, simulation, features = network_patterns(run), simulation_patterns(run), feature_patterns(run)
    for block, stamp in enumerate(network_stamps(run)):
        yield stamp, network, (), [block]
    for segment, stamp in enumerate(simulation_stamps(run)):
        yield stamp, simulation, [segment], blocks
    for (segment, block), stamp in zip(itertools.product(segments, blocks), feature_stamps(run), strict=True):
        yield stamp, features, [segment], [block]


def lost_shards(run):
    """Shards that are not there, of jobs that were done."""
    listed = functools.cache(lambda folder: frozenset(os.listdir(folder)) if os.path.isdir(folder) else frozenset())
    is_there = lambda path: os.path.basename(path) in listed(os.path.dirname(path))
    done = (fill(*shards) for stamp, *shards in shards_by_stamp(run) if is_there(stamp))
    return [path for path in itertools.chain.from_iterable(done) if not is_there(path)]


def all_model_files(run, names=MODEL_FILES):
    return [path for model in MODEL_NAMES for seed in getattr(run.models, model).seeds for path in model_files(run, model, seed, names)]


def wanted_files(run):
    """What a finished run has; of shards those that were lost, since there may be very many, and a job not done makes them anyway."""
    shown = [str(run.folder / item.file) for item in FIGURES] + [str(run.folder / SUMMARY)]
    return stored_stamps(run) + lost_shards(run) + all_model_files(run) + explanation_files(run) + shown

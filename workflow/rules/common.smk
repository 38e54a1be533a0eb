# Helpers, no rules: the configuration, what a job asks for, and what jobs.py says in the way that rules take it.

import os
import re
import shlex
import shutil
import sys
from pathlib import Path

from spikelens import jobs, places, stores
from spikelens.config import load_runs, read_files
from spikelens.errors import SpikelensError
from spikelens.fingerprint import fingerprint, model_fingerprint
from spikelens.models.contents import DESCRIPTION
from spikelens.sizes import memory_mb, n_ranks, rank_memory_mb
from spikelens.speeds import runtime_min
from spikelens.walltime import refuse_unfit

# Whether this is read in a job that was submitted to SLURM, and not by a snakemake that somebody runs inside an allocation of theirs.
SUBMITTED = workflow.remote_exec and "SLURM_JOB_ID" in os.environ

# Commands come from the environment that snakemake itself runs in, whether or not it is activated.
shell.executable("bash")
shell.prefix(
    f"set -euo pipefail; submitted={'1' if SUBMITTED else ''}; export PATH={shlex.quote(str(Path(sys.executable).parent))}:$PATH; "
)

# A configuration file of the user's replaces config.yaml whole: merged with it, their populations would mix with ours.
CONFIG_FILES = [str(path) for path in workflow.overwrite_configfiles] or ["config.yaml"]


def refuse(error):
    """End with the message alone and exit code 2: nothing has been started or written."""
    print(error, file=sys.stderr, flush=True)
    os._exit(2)


# What snakemake itself makes of the files (its `config`) is not used: it reads 0010 as 8.
try:
    CONTENT = read_files(map(Path, CONFIG_FILES), workflow.config_settings.config)
except SpikelensError as error:
    refuse(error)

if not workflow.overwrite_configfiles:

    configfile: "config.yaml"


try:
    RUNS = load_runs(CONTENT, ", ".join(CONFIG_FILES))
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


HELD = []  # the lock on the runs' folder: it ends with this process


def refuse_without_sbatch():
    """Jobs that can't be submitted would be tried again, silently, for ten minutes and more.

    Raises
    ------
    SpikelensError
        If jobs go to SLURM and sbatch is not there.
    """
    if workflow.executor_plugin.name == "slurm" and shutil.which("sbatch") is None:
        raise SpikelensError("sbatch not found: log in to a node that submits jobs, or load SLURM's module")


onstart:
    try:
        refuse_without_sbatch()
        HELD.append(places.hold(Path(RUNS[0].run.results, RUNS[0].run.name)))
        for run in RUNS:
            stores.prepare(run)
    except SpikelensError as error:
        workflow.persistence.unlock()
        refuse(error)


def rule_name(run, of_rule):
    """A rule stands for a stage of one run: runs of a sweep may differ in their blocks, so each has rules of its own."""
    return of_rule[0].rule if len(RUNS) == 1 else f"{of_rule[0].rule}_{RUNS.index(run)}"


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
    """Inside a job that snakemake submitted, mpiexec would put every rank on the first node: SLURM's variables are hidden from it."""
    return run.cluster.srun if SUBMITTED else "mpiexec"


def together(group):
    """Jobs of a group are submitted together; only on a cluster, since snakemake (9.27) plans groups in a time that grows with their square."""
    return lambda wildcards: group if workflow.non_local_exec else None


# Parts of commands: how ranks are started, how many, and the time that a submitted job has (elsewhere there is no limit), so that a
# command that sees that it will not do ends early.
LAUNCH = "mpi={resources.mpi:q}; ${{mpi:+$mpi -n {resources.tasks}}}"
RANKS = "${{mpi:+--ranks {resources.tasks}}}"
LIMIT = "${{submitted:+--limit-min {resources.runtime}}}"


# For each rule: its run, what a job of it writes (with wildcards), and its jobs.
DECLARED = [(run, job, of_rule) for run in RUNS for job, of_rule in jobs.by_rule(run)]


def rules_of(stage):
    """The same for the rules of a stage, of all runs."""
    return [(run, job, of_rule) for run, job, of_rule in DECLARED if job.stage == stage]


def rule_job(run, rule):
    """What a job of a rule writes, with wildcards."""
    return next(job for other, job, _ in DECLARED if other is run and job.rule == rule)


def jobs_of(run, *stages):
    """The jobs of some stages of a run."""
    return [job for other, _, of_rule in DECLARED if other is run for job in of_rule if job.stage in stages]


def below(run, paths):
    """Paths from where snakemake is, of those in the run's folder."""
    return [f"{run.path}/{path}" for path in paths]


def stamps(run, *stages):
    """What jobs that read shards have as input: naming the shards would cost snakemake, for each job, as many looks as there are."""
    return below(run, (job.stamp for job in jobs_of(run, *stages)))


def descriptions(run):
    """What jobs that read models have as input: of a model's files, the one that is written last."""
    return below(run, (path for job in jobs_of(run, "models") for path in job.files if path.endswith(DESCRIPTION)))


def segments_of(of_rule):
    """A wildcard's constraint to the segments of a rule's jobs."""
    return "|".join(dict.fromkeys(str(job.numbers["segment"]) for job in of_rule))

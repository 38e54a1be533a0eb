# Helpers, no rules: the configuration, what a job asks for, and what jobs.py says in the way that rules take it.

import functools
import os
import re
import shlex
import shutil
import sys
from pathlib import Path

from spikelens import jobs, manifests, places, snakefile, stores
from spikelens.config import STAGES
from spikelens.errors import SpikelensError
from spikelens.fingerprint import reads_of
from spikelens.sizes import memory_mb, n_ranks, rank_memory_mb
from spikelens.speeds import runtime_min

# Whether this is read in a job that was submitted to SLURM, and not by a snakemake that somebody runs inside an allocation of theirs.
SUBMITTED = workflow.remote_exec and "SLURM_JOB_ID" in os.environ

# Commands come from the environment that snakemake itself runs in, whether or not it is activated.
shell.executable("bash")
shell.prefix(
    f"set -euo pipefail; submitted={'1' if SUBMITTED else ''}; export PATH={shlex.quote(str(Path(sys.executable).parent))}:$PATH; "
)


def refuse(error):
    """End with the message alone and exit code 2: no job has been started."""
    print(error, file=sys.stderr, flush=True)
    os._exit(2)


# What snakemake itself makes of the files is not used: it reads 0010 as 8, and knows neither `base` nor our defaults.
try:
    LOAD, SOURCE = snakefile.source_of(workflow, config)
    RUNS = LOAD("network")  # every target needs the network; `whole` checks the other stages
    if not snakefile.is_module(workflow):  # there it is the user's
        config.update(RUNS[0].model_dump(mode="json"))  # the report's caption reads it
    # while this is read, snakemake (9.27) does not tell yet whether it is a dry run, which must not write
    dry_run = any(re.fullmatch(r"--dry-?run|-[a-zA-Z]*n[a-zA-Z]*", argument) for argument in sys.argv[1:])
    if workflow.is_main_process and not dry_run:
        for run in RUNS:
            stores.heal(run)
    WORK = {run.path: list(jobs.work_of(run)) for run in RUNS}
    if workflow.is_main_process:
        manifests.restore_flags(places.root(RUNS[0]), (work for of_run in WORK.values() for work in of_run))
except SpikelensError as error:
    refuse(error)


wildcard_constraints:
    segment=r"\d+",
    block=r"\d+",
    seed=r"\d+",
    part=r"method|\d+",
    item=r"\w+",
    key=r"\w+",


def refuse_without_sbatch():
    """Jobs that can't be submitted would be tried again, silently, for ten minutes and more.

    Raises
    ------
    SpikelensError
        If jobs go to SLURM and sbatch is not there.
    """
    if workflow.executor_plugin.name == "slurm" and shutil.which("sbatch") is None:
        raise SpikelensError("sbatch not found: log in to a node that submits jobs, or load SLURM's module")


def start():
    """Make the runs' folder ready for the first job."""
    try:
        refuse_without_sbatch()
        snakefile.start(RUNS)
    except SpikelensError as error:
        workflow.persistence.unlock()
        refuse(error)


snakefile.at_start(workflow, start)


# What is to be done, of all runs: the jobs of each key, by their folder, with a run that they belong to. Runs of a sweep share some; of
# these runs, the one with most jobs counts.
ROOT = places.root(RUNS[0])
OWNERS = {}
for run in RUNS:
    for work in WORK[run.path]:
        if work.folder not in OWNERS or len(work.jobs) > len(OWNERS[work.folder][1].jobs):
            OWNERS[work.folder] = run, work


def owner(stage, wildcards):
    """The run and the jobs that the wildcards of a stage's rule name."""
    return OWNERS["/".join(filter(None, (stage, wildcards.get("item"), wildcards.key)))]


def run_of(stage):
    """The run whose configuration a job reads."""
    return lambda wildcards: owner(stage, wildcards)[0].path


def below(path):
    """A path from where snakemake is, of one below the folder that all runs share."""
    return f"{ROOT}/{path}"


@functools.cache
def flags(path, stage, item=""):
    """For each job of a stage of a run, or of an item of it, the flag that its results are there. It does not say how new they are."""
    return [below(job.made) for work in WORK[path] if (work.stage, work.item) == (stage, item) for job in work.jobs]


def made(stage):
    """What the jobs of a stage have as input: the flags of everything that they read."""

    def found(wildcards):
        run, work = owner(stage, wildcards)
        return [flag for read in reads_of(run, stage, work.item) for flag in flags(run.path, *read)]

    return found


def whole(*stages):
    """The input of a target rule: for each job of some stages, of all runs, the flag that its results are complete.

    Evaluated when the target is planned. A configuration that cannot be run up to the last of the stages is refused.
    """

    def found(wildcards):
        try:
            snakefile.refuse_unless_valid(LOAD, RUNS, SOURCE, stages[-1])
        except SpikelensError as error:
            refuse(error)
        return [below(job.whole) for _, work in OWNERS.values() if work.stage in stages for job in work.jobs]

    return found


def ask(stage):
    """What the jobs of a stage ask for; one that failed asks for more when it is tried again."""
    first = {folder: asked(folder, 1) for folder, (_, work) in OWNERS.items() if work.stage == stage}
    names = dict.fromkeys(name for wanted in first.values() for name in wanted)
    values = {name: {wanted.get(name) for wanted in first.values()} for name in names}
    # snakemake takes long to call a function for each job: what is the same for all is no function
    grows = ("runtime", "mem_mb", "mem_mb_per_cpu")
    return {name: asked_for(stage, name) if name in grows or len(values[name]) > 1 else values[name].pop() for name in names}


def asked_for(stage, name):
    return lambda wildcards, attempt: asked(owner(stage, wildcards)[1].folder, attempt).get(name)


@functools.cache
def asked(folder, attempt):
    """All that a job asks for. What is left out is not asked for."""
    run, work = OWNERS[folder]
    ranks, limit = n_ranks(run, work.rule), run.cluster.limit_min
    minutes = attempt * runtime_min(run, work.rule)
    wanted = {
        "runtime": minutes if limit is None else min(minutes, limit),
        "mem_mb": attempt * memory_mb(run, work.rule),
        "tasks": ranks,
        # a rank that is alone needs no launcher, and the SLURM plugin refuses one
        "mpi": launcher(run) if ranks > 1 else "",
    }
    if ranks > 1:
        # of a job on several nodes, SLURM takes mem_mb for the memory of each, and threads for cores of each rank
        wanted |= {"cpus_per_task": 1, "mem_mb_per_cpu": attempt * rank_memory_mb(run, work.rule)}
        per_node = run.cluster.ranks_per_node
        if per_node is not None:
            # the plugin takes tasks_per_node in the place of tasks only, and none that is 1
            wanted |= {"nodes": -(-ranks // per_node), "slurm_extra": f"--ntasks-per-node={per_node}"}
    if work.stage == "models" and run.cluster.gpus:
        wanted |= {"gpu": ranks, "tasks_per_gpu": 1}
    return wanted


MODULES = RUNS[0].cluster.modules


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

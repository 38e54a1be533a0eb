# Helpers, no rules: the configuration, the resources of a job, and the jobs of jobs.py in the form that rules
# need.

import functools
import os
import re
import shlex
import shutil
import sys
from pathlib import Path

from spikelens import jobs, manifests, places, snakefile
from spikelens.config import STAGES
from spikelens.errors import SpikelensError
from spikelens.features.stage import blocks_per_job
from spikelens.fingerprint import reads_of
from spikelens.sizes import memory_mb, n_ranks, rank_memory_mb
from spikelens.speeds import runtime_min

# True in a job that snakemake submitted to SLURM; false if snakemake itself runs inside a SLURM allocation.
SUBMITTED = workflow.remote_exec and "SLURM_JOB_ID" in os.environ

# Commands are taken from the environment that snakemake runs in, even if it is not activated.
shell.executable("bash")
shell.prefix(
    f"set -euo pipefail; submitted={'1' if SUBMITTED else ''}; export PATH={shlex.quote(str(Path(sys.executable).parent))}:$PATH; "
)


def refuse(error):
    """End with the message alone and exit code 2: no job has been started."""
    print(error, file=sys.stderr, flush=True)
    os._exit(2)


# Snakemake's own parsing of the configuration is not used: it reads 0010 as 8 and knows neither `base` nor
# our defaults.
try:
    LOAD, SOURCE = snakefile.source_of(workflow, config)
    RUNS = LOAD("network")  # every target needs the network; `whole` checks the other stages
    if not snakefile.is_module(workflow):  # there it is the user's
        config.update(RUNS[0].model_dump(mode="json"))  # the report's caption reads it
    # while this is read, snakemake (9.27) does not tell yet whether it is a dry run, which must not write
    dry_run = any(re.fullmatch(r"--dry-?run|-[a-zA-Z]*n[a-zA-Z]*", argument) for argument in sys.argv[1:])
    if workflow.is_main_process and not dry_run:
        snakefile.heal(RUNS)
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
    """Check that sbatch exists: otherwise submission would be retried silently for ten minutes and more.

    Raises
    ------
    SpikelensError
        If jobs are submitted to SLURM and sbatch does not exist.
    """
    if workflow.executor_plugin.name == "slurm" and shutil.which("sbatch") is None:
        raise SpikelensError("sbatch not found: log in to a submit node, or load the SLURM module")


def start():
    """Prepare the folder of the runs for the first job."""
    try:
        refuse_without_sbatch()
        snakefile.start(RUNS)
    except SpikelensError as error:
        workflow.persistence.unlock()
        refuse(error)


snakefile.at_start(workflow, start)


# The jobs of all runs, by their folder, each with a run that they belong to. Runs of a sweep share jobs; of
# these runs, the one with the most jobs is used.
ROOT = places.root(RUNS[0])
OWNERS = {}
for run in RUNS:
    for work in WORK[run.path]:
        if work.folder not in OWNERS or len(work.jobs) > len(OWNERS[work.folder][1].jobs):
            OWNERS[work.folder] = run, work


def owner(stage, wildcards):
    """The run and the jobs that the wildcards of a stage's rule refer to."""
    return OWNERS["/".join(filter(None, (stage, wildcards.get("item"), wildcards.key)))]


def run_of(stage):
    """The run whose configuration a job reads."""
    return lambda wildcards: owner(stage, wildcards)[0].path


def below(path):
    """Convert a path relative to the common folder of all runs to one relative to the working directory."""
    return f"{ROOT}/{path}"


@functools.cache
def flags(path, stage, item=""):
    """For each job of a stage of a run, or of one of its items, the flag that its results exist.

    Its age is not the age of the results.
    """
    return [below(job.made) for work in WORK[path] if (work.stage, work.item) == (stage, item) for job in work.jobs]


def made(stage):
    """The input of the jobs of a stage: the flags of all results that they read."""

    def found(wildcards):
        run, work = owner(stage, wildcards)
        return [flag for read in reads_of(run, stage, work.item) for flag in flags(run.path, *read)]

    return found


def whole(*stages):
    """The input of a target rule: the flags that the results of all jobs of some stages, and those they read, are complete.

    Evaluated when the target is planned. A configuration that cannot be run up to the last of the stages is refused.
    Snakemake (9.27) does not check the jobs that follow one that it plans, and starts them only for a target, if
    their inputs are ancient. So a target requests each job that it depends on, not the last ones alone.
    """

    def found(wildcards):
        try:
            snakefile.refuse_unless_valid(LOAD, RUNS, SOURCE, stages[-1])
        except SpikelensError as error:
            refuse(error)
        if not snakefile.is_module(workflow):
            # whether a job has finished, manifests tell: also if snakemake was killed before it took note
            workflow.dag.ignore_incomplete = True
        needed = {folder for run in RUNS for folder in jobs.needed_by(run, WORK[run.path], stages)}
        return [below(job.whole) for folder in OWNERS if folder in needed for job in OWNERS[folder][1].jobs]

    return found


def ask(stage):
    """The resources of the jobs of a stage; a retry after a failure requests more."""
    first = {folder: asked(folder, 1) for folder, (_, work) in OWNERS.items() if work.stage == stage}
    names = dict.fromkeys(name for wanted in first.values() for name in wanted)
    values = {name: {wanted.get(name) for wanted in first.values()} for name in names}
    # snakemake is slow at calling a function for each job: resources equal for all jobs are constants
    grows = ("runtime", "mem_mb", "mem_mb_per_cpu")
    return {name: asked_for(stage, name) if name in grows or len(values[name]) > 1 else values[name].pop() for name in names}


def asked_for(stage, name):
    return lambda wildcards, attempt: asked(owner(stage, wildcards)[1].folder, attempt).get(name)


@functools.cache
def asked(folder, attempt):
    """The resources that a job requests; those that are missing are not requested."""
    run, work = OWNERS[folder]
    ranks, limit = n_ranks(run, work.rule), run.cluster.limit_min
    minutes = attempt * runtime_min(run, work.rule)
    wanted = {
        "runtime": minutes if limit is None else min(minutes, limit),
        "mem_mb": attempt * memory_mb(run, work.rule),
        "tasks": ranks,
        # a single rank needs no launcher, and the SLURM plugin refuses one
        "mpi": launcher(run) if ranks > 1 else "",
    }
    if ranks > 1:
        # for a job on several nodes, SLURM interprets mem_mb per node, and threads as cores per rank
        wanted |= {"cpus_per_task": 1, "mem_mb_per_cpu": attempt * rank_memory_mb(run, work.rule)}
        per_node = run.cluster.ranks_per_node
        if per_node is not None:
            # the plugin accepts tasks_per_node only instead of tasks, and not if it is 1
            wanted |= {"nodes": -(-ranks // per_node), "slurm_extra": f"--ntasks-per-node={per_node}"}
    if work.stage == "models" and run.cluster.gpus:
        wanted |= {"gpu": ranks, "tasks_per_gpu": 1}
    return wanted


MODULES = RUNS[0].cluster.modules


def launcher(run):
    """The MPI launcher of a run.

    In a submitted job, mpiexec does not see SLURM's variables and would start all ranks on the first node.
    """
    return run.cluster.srun if SUBMITTED else "mpiexec"


def together(group):
    """The group of jobs that are submitted together, on a cluster only.

    In snakemake (9.27) the planning time of groups grows with the square of their size.
    """
    return lambda wildcards: group if workflow.non_local_exec else None


# Parts of commands: the launcher, the number of ranks, and the time limit of a submitted job, so that a
# command that would exceed it ends early. Local jobs have no limit.
LAUNCH = "mpi={resources.mpi:q}; ${{mpi:+$mpi -n {resources.tasks}}}"
RANKS = "${{mpi:+--ranks {resources.tasks}}}"
LIMIT = "${{submitted:+--limit-min {resources.runtime}}}"

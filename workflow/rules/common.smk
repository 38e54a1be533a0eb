# Helpers, no rules: the configuration, what a job asks for, and what jobs.py says in the way that rules take it.

import os
import re
import shlex
import shutil
import sys
from pathlib import Path

from spikelens import jobs, manifests, places, snakefile, stores
from spikelens.config import MODEL_NAMES, STAGES
from spikelens.errors import SpikelensError
from spikelens.fingerprint import fingerprint, model_fingerprint
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


def refuse(error):
    """End with the message alone and exit code 2: nothing has been started or written."""
    print(error, file=sys.stderr, flush=True)
    os._exit(2)


# What snakemake itself makes of the files is not used: it reads 0010 as 8, and knows neither `base` nor our defaults.
try:
    RUNS, SOURCE = snakefile.runs_of(workflow, config)
    if not snakefile.is_module(workflow):  # there it is the user's
        config.update(RUNS[0].model_dump(mode="json"))  # the report's caption reads it
    if workflow.is_main_process:
        refuse_unfit(RUNS, SOURCE)
    # while this is read, snakemake (9.27) does not tell yet whether it is a dry run, which must not write
    dry_run = any(re.fullmatch(r"--dry-?run|-[a-zA-Z]*n[a-zA-Z]*", argument) for argument in sys.argv[1:])
    if workflow.is_main_process and not dry_run:
        for run in RUNS:
            stores.heal(run)
    if workflow.is_main_process:
        manifests.restore_flags(RUNS)
except SpikelensError as error:
    refuse(error)


wildcard_constraints:
    segment=r"\d+",
    block=r"\d+",
    seed=r"\d+",


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


VERBS = {
    "network": "build_network",
    "simulation": "simulate",
    "features": "compute_features",
    **{f"models_{name}": f"train_{name}" for name in MODEL_NAMES},
    "explanation": "explain",
    "report": "make_report",
}


def rule_name(run, job):
    """A rule does the jobs of one key: runs of a sweep that differ in it have rules of their own, which end in a number."""
    keys = KEYS[job.rule]
    return VERBS[job.rule] if len(keys) == 1 else f"{VERBS[job.rule]}_{keys[job.folder]}"


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


# Of each run, by its folder: what the jobs of each rule write, and all these jobs. It is asked for often, and takes milliseconds.
BY_RULE = {run.path: list(jobs.by_rule(run)) for run in RUNS}


def jobs_of(run, *stages):
    """The jobs of some stages of a run (without any: of all)."""
    return [job for rule, of_rule in BY_RULE[run.path] if rule.stage in (stages or STAGES) for job in of_rule]


def declared():
    """For each rule: its run, what a job of it writes (with wildcards), and its jobs. Of runs that share results, the one with most jobs."""
    found = {}
    for run in RUNS:
        for job, of_rule in BY_RULE[run.path]:
            if job.folder not in found or len(of_rule) > len(found[job.folder][2]):
                found[job.folder] = run, job, of_rule
    return list(found.values())


DECLARED = declared()
KEYS = {}  # rule -> folder -> number of it
for _, job, _ in DECLARED:
    KEYS.setdefault(job.rule, {}).setdefault(job.folder, len(KEYS.get(job.rule, {})))
DOERS = {}  # flag of a job -> a run that it belongs to
for run in RUNS:
    for job in jobs_of(run):
        DOERS.setdefault(f"{places.root(run)}/{job.made}", run.path)


def doer(wildcards, output):
    """The folder of the run whose configuration a job reads."""
    return DOERS[str(output.made)]


def rules_of(stage):
    """What is declared of a stage."""
    return [(run, job, of_rule) for run, job, of_rule in DECLARED if job.stage == stage]


def below(run, path):
    """A path from where snakemake is, of one below the folder that all runs share."""
    return f"{places.root(run)}/{path}"


def made(run, *stages):
    """What jobs that read the results of stages have as input: a flag for each job. They say when a result is there, and not how new it is."""
    return [below(run, job.made) for job in jobs_of(run, *stages)]


def whole(*stages):
    """The flags that all files of the jobs of some stages are there, of all runs."""
    return list(dict.fromkeys(below(run, job.whole) for run in RUNS for job in jobs_of(run, *stages)))

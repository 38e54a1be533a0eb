"""Functions that the Snakefile calls: which runs to plan, and whether another Snakefile uses it as a module.

In a module (`module spikelens: ...`), snakemake 9.27 differs in two ways. The configuration is the module's `config`,
a dict that snakemake has parsed as YAML 1.1. And `onstart:` of a module is never called.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import IO, Any

from spikelens import places, prepare, walltime
from spikelens.config import RunConfig, Stage, check, require_stage
from spikelens.config.load import load, load_content
from spikelens.errors import SpikelensError
from spikelens.names import default_configuration

Workflow = Any
"""snakemake's Workflow object; importing its class would import all of snakemake."""

_HELD: dict[str, IO[str]] = {}
"""Locks on folders of runs; they are released when this process exits."""


def is_module(workflow: Workflow) -> bool:
    """Whether another Snakefile uses this one as a module."""
    return not workflow.modifier.is_main_snakefile()


Loader = Callable[[Stage | None], list[RunConfig]]
"""Loads the runs to plan, and refuses runs that cannot be run up to a stage (None: up to the last)."""


def source_of(workflow: Workflow, config: dict[str, Any]) -> tuple[Loader, str]:
    """Find the source of the runs to plan: a function that loads the runs, and the source's name.

    The source is the file in `--config configuration=` (passed by `spikelens run`), the module's `config`, or
    `--configfile`, which replaces config.yaml. Must be called while the Snakefile is read: afterwards, snakemake
    does not know the module any more.

    Raises
    ------
    SpikelensError
        If a module would move the results.
    """
    given = workflow.config_settings.config
    named = [str(path) for path in workflow.overwrite_configfiles]
    if "configuration" in given or not workflow.modifier.skip_configfile:
        files = named or [str(given.get("configuration", default_configuration()))]
        return lambda until: load(files, overrides=given, until=until), ", ".join(files)
    _refuse_moved(workflow)
    files = [*map(str, workflow.configfiles), *named]
    # our reader supports `base` and YAML 1.2: 0010, 1e-4
    if files and config == _as_snakemake_reads(workflow, files):
        return lambda until: load(files, overrides=given, until=until), ", ".join(files)
    source, content = "config of the module", copy.deepcopy(config)
    return lambda until: load_content(content, source, until), source


def refuse_unless_valid(load_until: Loader, runs: list[RunConfig], source: str, until: Stage) -> None:
    """Refuse runs that cannot be run up to a stage, or whose jobs up to this stage do not fit cluster.limit_min.

    Snakemake 9.27 sets the targets of a call only after it has read the Snakefile. So this is called when
    snakemake evaluates the input of a target rule. Jobs submitted to a cluster have no target rule.

    Raises
    ------
    SpikelensError
        With every problem found.
    """
    for run in runs:
        if until not in run.stages:
            require_stage(run, until)
    if any(problem for run in runs for problem in check(run, until)):
        load_until(until)  # its message names the file or option that a key comes from
    walltime.refuse_unfit(runs, source, until=until)


def _as_snakemake_reads(workflow: Workflow, files: list[str]) -> dict[str, Any]:
    """Configuration files and `--config` as snakemake reads and merges them."""
    from snakemake.common.configfile import load_configfile
    from snakemake.utils import update_config

    content: dict[str, Any] = {}
    for file in files:
        update_config(content, load_configfile(file))
    update_config(content, workflow.config_settings.overwrite_config)
    return content


def _refuse_moved(workflow: Workflow) -> None:
    """Refuse a module's `prefix`: snakemake would look for the results in a folder that no job writes to."""
    if workflow.modifier.modify_path("results") != "results":
        raise SpikelensError(
            "module: prefix and replace_prefix cannot move the results; remove them and set run.results in the module's config"
        )


def at_start(workflow: Workflow, action: Callable[[], object]) -> None:
    """Call `action` before the first job, also in a module. The `onstart:` of the Snakefile that uses the module is kept."""
    if not is_module(workflow):
        workflow.onstart(lambda log: action())
        return

    def also(theirs: Callable[[Any], object]) -> Callable[[Any], object]:
        return lambda log: (action(), theirs(log))

    register = workflow.onstart
    workflow._onstart = also(workflow._onstart)  # an `onstart:` above the module
    workflow.onstart = lambda theirs: register(also(theirs))  # and below it


def heal(runs: list[RunConfig]) -> None:
    """Restore lost metadata of the runs before jobs are planned, unless another call is working on their folder."""
    folder = places.root(runs[0])
    if not folder.is_dir():
        return
    try:
        lock = places.lock(folder)
    except (SpikelensError, OSError):  # `start` refuses; --report and --summary start no jobs
        return
    with lock:
        for run in runs:
            prepare.heal(run)


def start(runs: list[RunConfig]) -> None:
    """Lock and prepare the folder of runs, once per process: a Snakefile may use a module's rules in several statements.

    Raises
    ------
    SpikelensError
        If another process holds the lock, or a file cannot be written.
    """
    folder = places.root(runs[0])
    if str(folder) in _HELD:
        return
    _HELD[str(folder)] = places.hold(folder)
    prepare.prepare_all(runs)

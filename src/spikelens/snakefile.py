"""What the Snakefile asks when it is read: for which runs, and whether as a module of another Snakefile.

As a module (`module spikelens: ...`), two things differ in snakemake 9.27. The configuration arrives as the module's `config`, a dict
that snakemake made of YAML 1.1; and `onstart:` of a module is never called.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import IO, Any

from spikelens import places, stores, walltime
from spikelens.config import RunConfig, Stage, check
from spikelens.config.load import load, load_content
from spikelens.errors import SpikelensError
from spikelens.names import default_configuration

Workflow = Any
"""snakemake's object of a workflow; importing its class would load all of snakemake."""

_HELD: dict[str, IO[str]] = {}
"""Locks on folders of runs; they end with this process."""


def is_module(workflow: Workflow) -> bool:
    """Whether another Snakefile uses the one that is being read."""
    return not workflow.modifier.is_main_snakefile()


def runs_of(workflow: Workflow, config: dict[str, Any], until: Stage | None = None) -> tuple[list[RunConfig], str]:
    """The runs that a Snakefile is read for, and what to call the place that they come from.

    They come from the file that `--config configuration=` names (`spikelens run` passes it), from the module's `config`, or from
    `--configfile`, which takes the place of config.yaml.

    Raises
    ------
    SpikelensError
        If they cannot be run.
    """
    given = workflow.config_settings.config
    named = [str(path) for path in workflow.overwrite_configfiles]
    if "configuration" in given or not workflow.modifier.skip_configfile:
        files = named or [str(given.get("configuration", default_configuration()))]
        return load(files, overrides=given, until=until), ", ".join(files)
    _refuse_moved(workflow)
    files = [*map(str, workflow.configfiles), *named]
    if files and config == _as_snakemake_reads(workflow, files):  # our reader knows `base`, and reads 0010 and 1e-4 as YAML 1.2 does
        return load(files, overrides=given, until=until), ", ".join(files)
    source = "config of the module"
    return load_content(config, source, until), source


def refuse_unless_valid(workflow: Workflow, config: dict[str, Any], runs: list[RunConfig], source: str, until: Stage) -> None:
    """Refuse runs that cannot be run up to a stage, or whose jobs up to this stage do not fit cluster.limit_min.

    Snakemake 9.27 sets the targets of a call only after it has read the Snakefile. So this is called when
    snakemake evaluates the input of a target rule. Jobs submitted to a cluster have no target rule.

    Raises
    ------
    SpikelensError
        With every problem found.
    """
    if any(problem for run in runs for problem in check(run, until)):
        runs_of(workflow, config, until)  # its message names the file or option that a key comes from
    walltime.refuse_unfit(runs, source, until=until)


def _as_snakemake_reads(workflow: Workflow, files: list[str]) -> dict[str, Any]:
    """What snakemake makes of configuration files and of its command line."""
    from snakemake.common.configfile import load_configfile
    from snakemake.utils import update_config

    content: dict[str, Any] = {}
    for file in files:
        update_config(content, load_configfile(file))
    update_config(content, workflow.config_settings.overwrite_config)
    return content


def _refuse_moved(workflow: Workflow) -> None:
    """Refuse a module's `prefix`: snakemake would look for the results where no job writes them."""
    if workflow.modifier.modify_path("results") != "results":
        raise SpikelensError(
            "module: prefix and replace_prefix cannot move the results; remove them, and set run.results in the module's config instead"
        )


def at_start(workflow: Workflow, action: Callable[[], object]) -> None:
    """Have `action` called before the first job, in a module too; what the Snakefile that uses the module does at its start is kept."""
    if not is_module(workflow):
        workflow.onstart(lambda log: action())
        return

    def also(theirs: Callable[[Any], object]) -> Callable[[Any], object]:
        return lambda log: (action(), theirs(log))

    register = workflow.onstart
    workflow._onstart = also(workflow._onstart)  # it may stand above the module
    workflow.onstart = lambda theirs: register(also(theirs))  # or below


def start(runs: list[RunConfig]) -> None:
    """Lock the folder of runs for this process, and make it ready. Once: a Snakefile may use rules of a module in several statements.

    Raises
    ------
    SpikelensError
        If another process works on these runs, or a file cannot be written.
    """
    folder = places.root(runs[0])
    if str(folder) in _HELD:
        return
    _HELD[str(folder)] = places.hold(folder)
    stores.prepare_all(runs)

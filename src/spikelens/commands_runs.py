"""Commands that plan, start and look at runs. Only what a command needs is imported, when it is called."""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import TYPE_CHECKING

from spikelens.errors import SpikelensError

if TYPE_CHECKING:
    from spikelens.config import RunConfig

PROFILE = "profiles/default"
"""The snakemake profile that `spikelens run` uses by default."""


def _loaded(options: argparse.Namespace) -> list[RunConfig]:
    """The runs of a configuration or folder, with `--set` applied, checked up to `--until`."""
    from spikelens.config.load import load

    return load([options.config], options.set, until=getattr(options, "until", None))


def init_command(options: argparse.Namespace) -> None:
    """Write a short config.yaml with comments, and the profiles given with --profile. Existing files are kept."""
    from spikelens import init

    content = dict(init.files(full=options.full, profiles=tuple(options.profile)))
    for line in init.write(Path(options.folder), content):
        print(line)


def run_command(options: argparse.Namespace) -> int:
    """Check a configuration, run its stages with snakemake, and write the report. To resume, run the command again."""
    from spikelens import launch

    check_command(options)
    target = () if options.until is None else (options.until,)
    dry = ("--dry-run",) if options.dry_run else ()
    cores = () if options.cores is None else ("--cores", options.cores)
    profile = launch.profile(options.profile or PROFILE)
    code = launch.snakemake(options.config, options.set, "--workflow-profile", profile, *cores, *dry, *target)
    if code or options.until is not None or options.dry_run:
        return code
    html_command(options)
    return 0


def check_command(options: argparse.Namespace) -> None:
    """Check a configuration without starting anything. All problems found are listed."""
    runs = _loaded(options)
    if any(run.cluster.limit_min is not None for run in runs):
        from spikelens import walltime

        walltime.refuse_unfit(runs, options.config, until=options.until)
    up_to = "" if options.until is None else f" up to {options.until}"
    print(f"{options.config} can be run{up_to}: {', '.join(run.path for run in runs)}", flush=True)


def plan_command(options: argparse.Namespace) -> None:
    """Print sizes, jobs, memory, files and expected times of a configuration's runs, after the checks of `check`."""
    import json

    from spikelens import plan, walltime
    from spikelens.speeds import read_speeds

    runs, speeds = _with_limit(_loaded(options), options), read_speeds(options.speeds)
    cores = (os.cpu_count() or 1) if options.cores is None else options.cores
    if cores < 1:
        raise SpikelensError(f"--cores {cores}: expected at least 1")
    plans = [plan.plan_run(run, speeds, options.rate_hz, options.until) for run in runs]
    if options.json:
        print(json.dumps(plan.as_json(plans, cores, options.rate_hz, speeds), indent=2))
    else:
        print(plan.as_text(plans, cores, options.rate_hz, speeds))
    for run in runs:
        walltime.refuse_unfit([run], options.config, plan.expected_seconds(run, speeds, options.rate_hz), options.until)


def _with_limit(runs: list[RunConfig], options: argparse.Namespace) -> list[RunConfig]:
    """The runs with the time limit from --limit-min, or with that of the SLURM partition."""
    from spikelens.slurm import partition_limit

    if options.limit_min is None and options.partition is None:
        return runs
    limit_min = partition_limit(options.partition) if options.partition is not None else options.limit_min
    return [run.model_copy(update={"cluster": run.cluster.model_copy(update={"limit_min": limit_min})}) for run in runs]


def prepare_command(options: argparse.Namespace) -> None:
    """Write config.json and the metadata of the stores of each run. Snakemake does the same before its first job."""
    from spikelens import places
    from spikelens.prepare import prepare_all

    runs = _loaded(options)
    with places.hold(places.root(runs[0])):
        prepare_all(runs)
    for run in runs:
        print(run.path)


def runs_command(options: argparse.Namespace) -> None:
    """Print the folders of the runs, one per line."""
    for run in _loaded(options):
        print(run.path)


def html_command(options: argparse.Namespace) -> None:
    """Write <results>/<name>/report.html, a self-contained file, from finished runs."""
    from spikelens import launch
    from spikelens.places import root

    target = root(_loaded(options)[0]) / "report.html"
    code = launch.snakemake(options.config, options.set, "--report", str(target), "--cores", "1", "--nolock")
    if code:
        raise SpikelensError(f"snakemake --report exited with {code}; is the run complete? `spikelens run --dry-run` lists missing results")
    print(target)


def status_command(options: argparse.Namespace) -> None:
    """List the jobs of a run that are done, running, failed and waiting, and the core-hours used. Nothing is written."""
    import json

    from spikelens import status, sweep
    from spikelens.config.load import look

    found = [status.look(run) for run in look(options.config)]
    if options.json:
        print(json.dumps(status.as_json(found[0]) if len(found) == 1 else sweep.as_json(found), indent=2))
    else:
        print(status.as_text(found[0]) if len(found) == 1 else sweep.as_text(found))


def verify_command(options: argparse.Namespace) -> None:
    """Check every file of a run or sweep against its job's manifest, and the stores' metadata against config.json."""
    from spikelens import places, sweep
    from spikelens.config.load import look

    runs = look(options.config)
    found = sweep.verify(runs)
    looked = f"{len(found.jobs):,} jobs, {found.n_files:,} files, and the stores' metadata"
    if not found.faults:
        print(f"{found.name}: all files are present and intact ({looked})")
        return
    listed = "\n".join([*found.faults, f"{len(found.faults)} faults in {found.name} ({looked})"])
    if not options.repair:
        raise SpikelensError(f"{listed}; run `spikelens verify {options.config} --repair`, then snakemake")
    with places.hold(places.root(runs[0])):
        n_jobs = sweep.repair(runs, found)
    print(f"{listed}; metadata are restored; the next call of snakemake runs {n_jobs:,} jobs again")


def clean_command(options: argparse.Namespace) -> None:
    """List results of a run that no registered configuration uses with the current code; only --yes removes them."""
    import contextlib

    from spikelens import clean, places
    from spikelens.config.load import look

    run = look(options.config)[0]  # the runs of a sweep share one folder of results
    with places.hold(places.root(run)) if options.yes else contextlib.nullcontext():
        found = clean.unused(run, options.configuration)
        if not found:
            print(f"{run.path}: all results are in use (`--configuration NAME` lists those that only one configuration uses)")
            return
        print(clean.as_text(found))
        if options.yes:
            clean.remove(run, found, options.configuration)
            print(f"removed: {len(found)} folders")
        else:
            print("nothing was removed; --yes removes these folders")


def schema_command(options: argparse.Namespace) -> None:
    """Print the JSON schema of config.yaml."""
    import json

    from spikelens.config import json_schema

    print(json.dumps(json_schema(), indent=2))

"""The command line: one subcommand for each stage, and a few that look at runs. A rule's command is one call of it.

Every command ends with 0, with 2 and one message if the user can fix the cause, or with 1 and a traceback if the cause is a bug.
`spikelens run` passes on the exit code of snakemake. Only what `--help` needs is imported at the top: it answers at once.
"""

from __future__ import annotations

import argparse
import logging
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from spikelens.errors import SpikelensError, disk_remedy, user_message
from spikelens.names import ASSUMED_RATE_HZ, STAGES, Stage, default_configuration

if TYPE_CHECKING:
    from spikelens.config import RunConfig

log = logging.getLogger("spikelens")

Command = Callable[[argparse.Namespace], int | None]
"""What a subcommand does; returns the exit code where it is another one than 0."""
PROFILE = "profiles/default"
"""The profile of snakemake that `spikelens run` takes where none is named."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code."""
    options = _parser().parse_args(arguments)
    try:
        _start_logging(getattr(options, "log", None))
        code = options.command(options)
    except BrokenPipeError:
        return 1
    except ModuleNotFoundError as error:
        if error.name is None or error.name.split(".")[0] == "spikelens":
            raise
        log.error("spikelens %s needs %s, which is not installed; README.md says how to install all", options.name, error.name)
        return 2
    except Exception as error:
        message = user_message(error)
        if message is None:
            raise
        log.error("%s", message)
        return 2
    return code or 0


def _start_logging(path: str | None) -> None:
    """Plain lines to standard error, and to a log file if one is named."""
    logging.raiseExceptions = False  # on a full disk, the log's own faults would hide the message about the first one
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(message)s", force=True)
    if path:
        try:
            Path(path).parent.mkdir(parents=True, exist_ok=True)
            handler = logging.FileHandler(path, mode="a")
        except OSError as error:
            raise SpikelensError(f"--log {path} cannot be written: {error.strerror}; {disk_remedy(error)}") from error
        handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
        logging.getLogger().addHandler(handler)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="spikelens", description="Simulate a reservoir of spiking neurons and explain what it does.")
    parser.add_argument("--version", action=_Version, help="print the version and exit")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")

    def add(name: str, command: Command, text: str) -> argparse.ArgumentParser:
        sub = commands.add_parser(name, help=text, description=(command.__doc__ or text))
        sub.set_defaults(command=command, name=name)
        return sub

    def stage(name: str, command: Command, text: str) -> argparse.ArgumentParser:
        sub = add(name, command, text)
        sub.add_argument("run", help="the run's folder, e.g. results/reference (made by `spikelens prepare`)")
        sub.add_argument("--log", help="also write plain lines to this file")
        sub.add_argument("--planned", metavar="KEY", help="refuse unless the results belong to this key: what snakemake planned")
        return sub

    network = stage("network", _network, "stage 1: draw the synapses")
    _blocks(network)
    simulate = stage("simulate", _simulate, "stage 2: simulate segments, alone or under mpiexec")
    _segments(simulate)
    _ranks(simulate)
    _limit(simulate)
    features = stage("features", _features, "stage 3: rates, traces, causal components")
    _segments(features)
    _blocks(features)
    train = stage("train", _train, "stage 4: train a model, alone or under mpiexec")
    train.add_argument("--model", action="append", metavar="NAME", help="which model (default: all); may be given more than once")
    train.add_argument("--seed", type=int, help="which of the model's seeds (default: all)")
    _ranks(train)
    _limit(train)
    infer = stage("infer", _infer, "stage 5: compute the scores of pairs by the methods of the explanation")
    infer.add_argument("--method", action="append", metavar="NAME", help="which method (default: all); may be given more than once")
    stage("explain", _explain, "stage 5: hold the models' attention against the wiring")
    stage("report", _report, "stage 6: figures, tables and summary.json")
    init = add("init", _init, "write a short config.yaml to start from; overwrites nothing")
    init.add_argument("folder", nargs="?", default=".", metavar="FOLDER", help="where to write; made if missing (default: here)")
    init.add_argument("--full", action="store_true", help="write every key, with its default and unit")
    text = "also write profiles/NAME/config.yaml, to edit: default or slurm; may be given more than once"
    init.add_argument("--profile", action="append", default=[], metavar="NAME", help=text)
    run = add("run", _run, "check a configuration, run all stages, and write the report")
    _configuration(run)
    run.add_argument("--until", choices=STAGES, metavar="STAGE", help=f"run this stage and what it needs: {', '.join(STAGES)}")
    run.add_argument("--profile", metavar="FOLDER", help=f"snakemake's workflow profile, e.g. profiles/slurm (default: {PROFILE})")
    run.add_argument("--cores", metavar="N", help="cores of this machine to use, or all (default: the profile's)")
    run.add_argument("--dry-run", action="store_true", help="print what would be done, and do nothing")
    for name, command, text in (
        ("check", _check, "check a configuration; says what would be refused"),
        ("prepare", _prepare, "write the folders and metadata of a configuration's runs"),
        ("runs", _runs, "print the folders of a configuration's runs"),
        ("html", _html, "write the finished runs' report.html with snakemake --report"),
    ):
        _configuration(add(name, command, text))
    plan = add("plan", _plan, "print what a configuration will cost, before anything is submitted")
    _configuration(plan)
    plan.add_argument("--rate-hz", type=_positive, default=ASSUMED_RATE_HZ, help="mean rate to assume [Hz] (default: %(default)g)")
    plan.add_argument("--cores", type=int, help="cores that snakemake will have (default: all of this machine)")
    plan.add_argument("--speeds", type=Path, help="speeds as `python -m benchmarks.speeds --out FILE` measures them")
    limit = plan.add_mutually_exclusive_group()
    limit.add_argument("--limit-min", type=_whole, help="longest time that a job may run [min] (default: cluster.limit_min)")
    limit.add_argument("--partition", help="take the limit of this SLURM partition")
    plan.add_argument("--json", action="store_true", help="print only JSON")
    status = add("status", _status, "print which jobs of a run are done, running, failed and waiting")
    _place(status)
    status.add_argument("--json", action="store_true", help="print only JSON")
    verify = add("verify", _verify, "compare every file of a run with its checksum")
    _place(verify)
    verify.add_argument("--repair", action="store_true", help="have the next call of snakemake do the jobs of damaged files again")
    clean = add("clean", _clean, "list results that no configuration uses, and remove them with --yes")
    _place(clean)
    clean.add_argument("--configuration", metavar="NAME", help="list what this configuration alone uses (a file in RUN/configurations)")
    clean.add_argument("--yes", action="store_true", help="remove what is listed")
    add("schema", _schema, "print the JSON schema of config.yaml")
    return parser


class _Version(argparse.Action):
    """Print the version of the installed package; to find it takes time, and only this option needs it."""

    def __init__(self, option_strings: Sequence[str], dest: str, help: str | None = None) -> None:
        super().__init__(option_strings, argparse.SUPPRESS, nargs=0, default=argparse.SUPPRESS, help=help)

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        from importlib.metadata import PackageNotFoundError, version

        try:
            found = version("spikelens")
        except PackageNotFoundError:
            found = "(not installed)"
        print(f"spikelens {found}")
        parser.exit()


def _place(parser: argparse.ArgumentParser) -> None:
    """The first argument of every command that looks at runs."""
    text = "configuration file, or the folder of a run or sweep, e.g. results/reference (default: %(default)s)"
    parser.add_argument("config", nargs="?", default=default_configuration(), metavar="CONFIG", help=text)


def _configuration(parser: argparse.ArgumentParser) -> None:
    """The first argument, and keys to set."""
    _place(parser)
    text = "set a key, e.g. models.tft_neuron.learning_rate=1e-4; dotted key, value in YAML; may be given more than once"
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help=text)


def _blocks(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--blocks", help="FIRST or FIRST:END, blocks of neurons (default: all)")


def _segments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--segments", help="FIRST or FIRST:END, segments of time (default: all)")


def _ranks(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--ranks", type=int, help="how many MPI ranks were started; checked (left out: one process without MPI)")


def _limit(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--limit-min", type=_positive, help="minutes this job may run: it ends early, with a message, if it sees that it needs more"
    )


def _whole(text: str) -> int:
    """A whole number above 0, for argparse."""
    number = int(text)
    if number < 1:
        raise ValueError
    return number


def _positive(text: str) -> float:
    """A number above 0, for argparse."""
    number = float(text)
    if not 0 < number < float("inf"):
        raise ValueError
    return number


def _range(text: str | None, n: int, what: str) -> range:
    """Turn FIRST or FIRST:END into a range within 0 .. n."""
    if text is None:
        return range(n)
    first, _, end = text.partition(":")
    try:
        chosen = range(int(first), int(end) if end else int(first) + 1)
    except ValueError:
        chosen = range(0)
    if not chosen or chosen.start < 0 or chosen.stop > n:
        raise SpikelensError(f"--{what} {text}: expected FIRST or FIRST:END within 0:{n}")
    return chosen


def load_run(folder: str | Path) -> RunConfig:
    """Read the configuration that a run keeps in its folder."""
    from spikelens import config

    return config.load_run(folder)


def _planned_run(options: argparse.Namespace, stage: Stage) -> RunConfig:
    """The run of a stage's command; refused if its results have another key than was planned.

    Raises
    ------
    SpikelensError
        If the configuration, a table or the code has changed since.
    """
    from spikelens.fingerprint import fingerprint

    run = load_run(options.run)
    _refuse_unplanned(options, fingerprint(run, stage))
    return run


def _refuse_unplanned(options: argparse.Namespace, key: str) -> None:
    if options.planned not in (None, key):
        raise SpikelensError(
            f"{options.run}: this job was planned for the results {options.planned}, and the run's configuration, its tables and the code "
            f"now give {key}; something changed them since, perhaps another snakemake on the same folder. Nothing was written; run "
            "snakemake again, or give one of the two another run.name"
        )


def _network(options: argparse.Namespace) -> None:
    """Draw the synapses onto blocks of neurons and write network.zarr."""
    from spikelens import manifests
    from spikelens.network.build import build_blocks

    run = _planned_run(options, "network")
    for block in _range(options.blocks, run.n_blocks, "blocks"):
        with manifests.doing(run, "network", {"block": block}) as to_do:
            if to_do:
                build_blocks(run, [block])


def _simulate(options: argparse.Namespace) -> None:
    """Simulate segments and write spikes, weights, state and records. Under mpiexec or srun, say --ranks N."""
    from spikelens import manifests, mpi
    from spikelens.limits import Deadline, process_started
    from spikelens.simulation.run import simulate_segment
    from spikelens.speeds import shipped, writing_seconds

    comm = mpi.world(options.ranks)
    with mpi.watched(comm, options.log):
        run, deadline = _planned_run(options, "simulation"), None
        if options.limit_min is not None:
            writing_s = writing_seconds(run, shipped(), run.simulation.segment_s)
            deadline = Deadline(options.limit_min, process_started(), writing_s)
        for segment in _range(options.segments, run.n_segments, "segments"):
            with manifests.doing(run, "simulation", {"segment": segment}, comm) as to_do:
                if to_do:
                    simulate_segment(run, segment, comm, deadline)


def _features(options: argparse.Namespace) -> None:
    """Compute rates, traces and causal components and write features.zarr."""
    from spikelens import manifests
    from spikelens.features.run import compute_features

    run = _planned_run(options, "features")
    blocks = _range(options.blocks, run.n_blocks, "blocks")
    for segment in _range(options.segments, run.n_segments, "segments"):
        for block in blocks:
            with manifests.doing(run, "features", {"segment": segment, "block": block}) as to_do:
                if to_do:
                    compute_features(run, [segment], [block])


def _train(options: argparse.Namespace) -> None:
    """Train models; weights, history and scores go to models/<model>/<seed>/. Under mpiexec or srun, say --ranks N."""
    from spikelens import mpi

    comm = mpi.world(options.ranks)
    with mpi.watched(comm, options.log):
        from spikelens import manifests
        from spikelens.fingerprint import fingerprint
        from spikelens.limits import Deadline, process_started
        from spikelens.models.ranks import joined
        from spikelens.models.run import train

        run = load_run(options.run)
        deadline = None if options.limit_min is None else Deadline(options.limit_min, process_started())
        names: list[str] = options.model or list(run.models)
        for name in names:
            if name not in run.models:
                raise SpikelensError(f"--model {name}: expected one of {', '.join(run.models) or 'the models of a run: it has none'}")
            if options.planned is not None:
                _refuse_unplanned(options, fingerprint(run, "models", name))
        chosen = [(name, seed) for name in names for seed in _seeds(run, name, options.seed)]
        with joined(comm) as ranks:
            for name, seed in chosen:
                with manifests.doing(run, f"models.{name}", {"seed": seed}, comm) as to_do:
                    if to_do:
                        train(run, name, seed, ranks=ranks, deadline=deadline)


def _seeds(run: RunConfig, name: str, seed: int | None) -> Sequence[int]:
    """The seeds of a model, or the one asked for."""
    seeds = run.models[name].seeds
    if seed is not None and seed not in seeds:
        raise SpikelensError(f"--seed {seed}: expected one of models.{name}.seeds = {list(seeds)}")
    return seeds if seed is None else [seed]


def _infer(options: argparse.Namespace) -> None:
    """Compute scores of pairs of neurons by the methods of the explanation, each into its own store."""
    from spikelens import manifests
    from spikelens.explanation.run import compute
    from spikelens.fingerprint import fingerprint

    run = load_run(options.run)
    for name in options.method or list(run.methods):
        if name not in run.methods:
            raise SpikelensError(f"--method {name}: expected one of {', '.join(run.methods) or 'the methods of a run: it has none'}")
        _refuse_unplanned(options, fingerprint(run, "explanation", name))
        with manifests.doing(run, f"explanation.{name}") as to_do:
            if to_do:
                manifests.refuse_damaged(run, "explanation", name)
                compute(run, name)


def _explain(options: argparse.Namespace) -> None:
    """Score what the methods of the explanation computed against the wiring, with controls."""
    from spikelens import manifests
    from spikelens.explanation.judge import judge

    run = _planned_run(options, "explanation")
    with manifests.doing(run, "explanation") as to_do:
        if to_do:
            judge(run)


def _report(options: argparse.Namespace) -> None:
    """Draw the figures and write the tables and summary.json; `spikelens html` then makes the one report file."""
    from spikelens import manifests
    from spikelens.report.run import make_report
    from spikelens.stores import consolidate

    run = _planned_run(options, "report")
    with manifests.doing(run, "report") as to_do:
        if to_do:
            manifests.refuse_damaged(run, "report")
            make_report(run)
    consolidate(run)


def _loaded(options: argparse.Namespace) -> list[RunConfig]:
    """The runs of the configuration or folder that is named, with the keys that are set."""
    from spikelens.config.load import load

    return load([options.config], options.set)


def _init(options: argparse.Namespace) -> None:
    """Write a short, commented config.yaml, and profiles if named. Files that exist stay as they are."""
    from spikelens import init

    content = dict(init.files(full=options.full, profiles=tuple(options.profile)))
    for line in init.write(Path(options.folder), content):
        print(line)


def _run(options: argparse.Namespace) -> int:
    """Check a configuration, run its stages with snakemake, and write the report. To go on after an interruption, run it again."""
    from spikelens import launch

    _check(options)
    target = () if options.until is None else (options.until,)
    dry = ("--dry-run",) if options.dry_run else ()
    cores = () if options.cores is None else ("--cores", options.cores)
    profile = launch.profile(options.profile or PROFILE)
    code = launch.snakemake(options.config, options.set, "--workflow-profile", profile, *cores, *dry, *target)
    if code or options.until is not None or options.dry_run:
        return code
    _html(options)
    return 0


def _check(options: argparse.Namespace) -> None:
    """Check a configuration without starting anything."""
    runs = _loaded(options)
    if any(run.cluster.limit_min is not None for run in runs):
        from spikelens import walltime

        walltime.refuse_unfit(runs, options.config)
    print(f"{options.config} can be run: {', '.join(run.path for run in runs)}", flush=True)


def _plan(options: argparse.Namespace) -> None:
    """Tell sizes, jobs, memory, files and expected times of a configuration's runs; what `check` refuses is refused."""
    import json

    from spikelens import plan, walltime
    from spikelens.speeds import read_speeds

    runs, speeds = _with_limit(_loaded(options), options), read_speeds(options.speeds)
    cores = (os.cpu_count() or 1) if options.cores is None else options.cores
    if cores < 1:
        raise SpikelensError(f"--cores {cores}: expected at least 1")
    plans = [plan.plan_run(run, speeds, options.rate_hz) for run in runs]
    if options.json:
        print(json.dumps(plan.as_json(plans, cores, options.rate_hz, speeds), indent=2))
    else:
        print(plan.as_text(plans, cores, options.rate_hz, speeds))
    for run in runs:
        walltime.refuse_unfit([run], options.config, plan.expected_seconds(run, speeds, options.rate_hz))


def _with_limit(runs: list[RunConfig], options: argparse.Namespace) -> list[RunConfig]:
    """The runs with the limit that the command line gives, or that SLURM tells of the partition that it names."""
    from spikelens.slurm import partition_limit

    if options.limit_min is None and options.partition is None:
        return runs
    limit_min = partition_limit(options.partition) if options.partition is not None else options.limit_min
    return [run.model_copy(update={"cluster": run.cluster.model_copy(update={"limit_min": limit_min})}) for run in runs]


def _prepare(options: argparse.Namespace) -> None:
    """Write each run's config.json and the metadata of its stores, as snakemake does before its first job."""
    from spikelens.stores import prepare_all

    runs = _loaded(options)
    prepare_all(runs)
    for run in runs:
        print(run.path)


def _runs(options: argparse.Namespace) -> None:
    """Print the folders of the runs, one a line."""
    for run in _loaded(options):
        print(run.path)


def _html(options: argparse.Namespace) -> None:
    """Write <results>/<name>/report.html, one self-contained file, from finished runs."""
    from spikelens import launch
    from spikelens.places import root

    target = root(_loaded(options)[0]) / "report.html"
    code = launch.snakemake(options.config, options.set, "--report", str(target), "--cores", "1", "--nolock")
    if code:
        raise SpikelensError(f"snakemake --report ended with {code}; is the run complete? `spikelens run --dry-run` prints what is missing")
    print(target)


def _status(options: argparse.Namespace) -> None:
    """Print which jobs of a run are done, running, failed and waiting, and the core-hours so far. Only files are read."""
    import json

    from spikelens import status, sweep
    from spikelens.config.load import look

    found = [status.look(run) for run in look(options.config)]
    if options.json:
        print(json.dumps(status.as_json(found[0]) if len(found) == 1 else sweep.as_json(found), indent=2))
    else:
        print(status.as_text(found[0]) if len(found) == 1 else sweep.as_text(found))


def _verify(options: argparse.Namespace) -> None:
    """Compare every file of a run or sweep with the checksum in its job's manifest, and the stores' metadata with config.json."""
    from spikelens import sweep
    from spikelens.config.load import look

    runs = look(options.config)
    found = sweep.verify(runs)
    looked = f"{len(found.jobs):,} jobs, {found.n_files:,} files, and the stores' metadata"
    if not found.faults:
        print(f"{found.name}: every file is there and whole ({looked})")
        return
    told = "\n".join([*found.faults, f"{len(found.faults)} faults in {found.name} ({looked})"])
    if not options.repair:
        raise SpikelensError(f"{told}; run `spikelens verify {options.config} --repair`, then snakemake")
    n_jobs = sweep.repair(runs, found)
    print(f"{told}; metadata are restored, and the next call of snakemake does {n_jobs:,} jobs again")


def _clean(options: argparse.Namespace) -> None:
    """List the results of a run that no registered configuration uses with today's code; --yes removes them. Nothing else ever does."""
    from spikelens import clean
    from spikelens.config.load import look

    run = look(options.config)[0]  # runs of a sweep share the folder of all results
    found = clean.unused(run, options.configuration)
    if not found:
        print(f"{run.path}: every result is used by a configuration (`--configuration NAME` lists what one alone uses)")
        return
    print(clean.as_text(found))
    if options.yes:
        clean.remove(run, found, options.configuration)
        print(f"removed: {len(found)} folders")
    else:
        print("nothing was removed; --yes removes these folders")


def _schema(options: argparse.Namespace) -> None:
    """Print the JSON schema of config.yaml."""
    import json

    from spikelens.config import json_schema

    print(json.dumps(json_schema(), indent=2))


if __name__ == "__main__":
    sys.exit(main())

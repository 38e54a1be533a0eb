"""The command line: one subcommand per stage, which the rules call, and commands that inspect runs.

Exit codes: 0; 2 with one message if the user can fix the cause; 1 with a traceback if the cause is a bug.
`spikelens run` returns the exit code of snakemake. Only imports that `--help` needs are at the top, to keep it fast.
"""

from __future__ import annotations

import argparse
import logging
import os
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from spikelens.errors import SpikelensError, disk_remedy, user_message
from spikelens.names import ASSUMED_RATE_HZ, STAGES, Stage, default_configuration

if TYPE_CHECKING:
    from spikelens.config import RunConfig

log = logging.getLogger("spikelens")

Command = Callable[[argparse.Namespace], int | None]
"""A subcommand; it returns an exit code, or None for 0."""
PROFILE = "profiles/default"
"""The snakemake profile that `spikelens run` uses by default."""


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
        log.error("spikelens %s needs %s, which is not installed; see README.md for the installation", options.name, error.name)
        return 2
    except Exception as error:
        message = user_message(error)
        if message is None:
            raise
        log.error("%s", message)
        return 2
    return code or 0


def _start_logging(path: str | None) -> None:
    """Log messages to standard error and, if a path is given, to a log file with time and level."""
    logging.raiseExceptions = False  # on a full disk, errors of the log itself would hide the first message
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
    parser = argparse.ArgumentParser(prog="spikelens", description="Simulate a reservoir of spiking neurons and explain its activity.")
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
    recording = stage("recording", _recording, "stage 1, without a network: import spikes from a file")
    _segments(recording)
    features = stage("features", _features, "stage 3: compute features of the spikes")
    features.add_argument("--feature", action="append", metavar="NAME", help="which feature (default: all); may be given more than once")
    _segments(features)
    _blocks(features)
    train = stage("train", _train, "stage 4: train a model, alone or under mpiexec")
    train.add_argument("--model", action="append", metavar="NAME", help="which model (default: all); may be given more than once")
    train.add_argument("--seed", type=int, help="which of the model's seeds (default: all)")
    _ranks(train)
    _limit(train)
    infer = stage("infer", _infer, "stage 5: compute the scores of pairs by the methods of the explanation")
    infer.add_argument("--method", action="append", metavar="NAME", help="which method (default: all); may be given more than once")
    infer.add_argument("--part", metavar="JOB", help="a block of targets, of a method that has jobs for these (default: all)")
    stage("explain", _explain, "stage 5: hold the models' attention against the wiring")
    stage("report", _report, "stage 6: figures, tables and summary.json")
    init = add("init", _init, "write a short config.yaml to start from; existing files are kept")
    init.add_argument(
        "folder", nargs="?", default=".", metavar="FOLDER", help="where to write; created if missing (default: the working folder)"
    )
    init.add_argument("--full", action="store_true", help="write all keys, with defaults and units")
    text = "also write profiles/NAME/config.yaml, for editing: default or slurm; can be repeated"
    init.add_argument("--profile", action="append", default=[], metavar="NAME", help=text)
    run = add("run", _run, "check a configuration, run all stages, and write the report")
    _configuration(run)
    _until(run, "run")
    run.add_argument("--profile", metavar="FOLDER", help=f"workflow profile of snakemake, e.g. profiles/slurm (default: {PROFILE})")
    run.add_argument("--cores", metavar="N", help="number of cores to use on this machine, or all (default: from the profile)")
    run.add_argument("--dry-run", action="store_true", help="print the jobs that would run, without running them")
    check = add("check", _check, "check a configuration and list every problem")
    _configuration(check)
    _until(check, "check")
    prepare = add("prepare", _prepare, "create the folders and metadata of a configuration's runs")
    _configuration(prepare)
    _until(prepare, "check")
    for name, command, text in (
        ("runs", _runs, "print the folders of a configuration's runs"),
        ("html", _html, "write report.html of finished runs with snakemake --report"),
    ):
        _configuration(add(name, command, text))
    plan = add("plan", _plan, "print the expected cost of a configuration, before anything is submitted")
    _configuration(plan)
    _until(plan, "plan")
    plan.add_argument("--rate-hz", type=_positive, default=ASSUMED_RATE_HZ, help="mean rate to assume [Hz] (default: %(default)g)")
    plan.add_argument("--cores", type=int, help="number of cores available to snakemake (default: all cores of this machine)")
    plan.add_argument("--speeds", type=Path, help="file of speeds measured with `python -m benchmarks.speeds --out FILE`")
    limit = plan.add_mutually_exclusive_group()
    limit.add_argument("--limit-min", type=_whole, help="time limit of a job [min] (default: cluster.limit_min)")
    limit.add_argument("--partition", help="use the time limit of this SLURM partition")
    plan.add_argument("--json", action="store_true", help="print only JSON")
    status = add("status", _status, "list the jobs of a run that are done, running, failed and waiting")
    _place(status)
    status.add_argument("--json", action="store_true", help="print only JSON")
    verify = add("verify", _verify, "check every file of a run against its checksum")
    _place(verify)
    verify.add_argument("--repair", action="store_true", help="mark the jobs of damaged files; the next call of snakemake runs them again")
    clean = add("clean", _clean, "list results that no configuration uses; --yes removes them")
    _place(clean)
    clean.add_argument(
        "--configuration", metavar="NAME", help="list the results that only this configuration uses (a file in RUN/configurations)"
    )
    clean.add_argument("--yes", action="store_true", help="remove the listed results")
    add("schema", _schema, "print the JSON schema of config.yaml")
    return parser


class _Version(argparse.Action):
    """Print the version of the installed package. It is looked up only when asked for, because this takes time."""

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
    """The first argument of every command that inspects runs."""
    text = "configuration file, or the folder of a run or sweep, e.g. results/reference (default: %(default)s)"
    parser.add_argument("config", nargs="?", default=default_configuration(), metavar="CONFIG", help=text)


def _configuration(parser: argparse.ArgumentParser) -> None:
    """The first argument, and `--set`."""
    _place(parser)
    text = "set a dotted key to a YAML value, e.g. models.tft_neuron.learning_rate=1e-4; can be repeated"
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help=text)


def _until(parser: argparse.ArgumentParser, verb: str) -> None:
    """The last stage; later sections of the configuration are not checked."""
    text = f"{verb} only this stage and the stages before it: {', '.join(STAGES)} (default: all)"
    parser.add_argument("--until", type=_stage, metavar="STAGE", help=text)


def _stage(text: str) -> Stage:
    """The name of a stage, for argparse."""
    if text not in STAGES:
        from spikelens.refusals import did_you_mean  # imports pydantic, which --help does not need

        hint = did_you_mean(text, STAGES, f"expected one of {', '.join(STAGES)}")
        raise argparse.ArgumentTypeError(f"invalid choice: {text!r}; {hint}")
    return text  # type: ignore[return-value]


def _blocks(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--blocks", help="blocks of neurons: FIRST or FIRST:END (default: all)")


def _segments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--segments", help="segments of time: FIRST or FIRST:END (default: all)")


def _ranks(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--ranks", type=int, help="number of MPI ranks started, which is checked (default: one process without MPI)")


def _limit(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--limit-min", type=_positive, help="time limit of this job [min]: it stops early, with a message, if it will need more"
    )


def _whole(text: str) -> int:
    """A positive integer, for argparse."""
    number = int(text)
    if number < 1:
        raise ValueError
    return number


def _positive(text: str) -> float:
    """A positive finite number, for argparse."""
    number = float(text)
    if not 0 < number < float("inf"):
        raise ValueError
    return number


def _range(text: str | None, n: int, what: str) -> range:
    """Parse FIRST or FIRST:END as a range within 0:n."""
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
    """Read the configuration that a run keeps in its folder, for a job of it."""
    from spikelens import config

    return config.load_run(folder, execute=True)


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
    from spikelens.simulation.stage import writing_seconds
    from spikelens.speeds import shipped

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


def _recording(options: argparse.Namespace) -> None:
    """Import segments of a recording."""
    from spikelens import manifests
    from spikelens.recording.run import import_segment

    run = _planned_run(options, "recording")
    if run.recording is None:
        raise SpikelensError(f"{run.path}: the configuration has no recording; its spikes are simulated")
    for segment in _range(options.segments, run.n_segments, "segments"):
        with manifests.doing(run, "recording", {"segment": segment}) as to_do:
            if to_do:
                import_segment(run, segment)


def _features(options: argparse.Namespace) -> None:
    """Compute features of the spikes, each into its own store."""
    from spikelens import manifests
    from spikelens.features.run import compute
    from spikelens.fingerprint import fingerprint
    from spikelens.jobs import jobs_of

    run = load_run(options.run)
    blocks, segments = _range(options.blocks, run.n_blocks, "blocks"), _range(options.segments, run.n_segments, "segments")
    for name in _names(options.feature, "feature", run.computed_features):
        _refuse_unplanned(options, fingerprint(run, "features", name))
        for job in (job for job in jobs_of(run) if job.rule == f"features.{name}"):
            if job.numbers["segment"] in segments and not set(blocks).isdisjoint(job.blocks):
                with manifests.doing(run, job.rule, job.numbers) as to_do:
                    for block in job.blocks if to_do else ():
                        compute(run, name, job.numbers["segment"], block)


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
        names = _names(options.model, "model", run.models)
        for name in names if options.planned is not None else ():
            _refuse_unplanned(options, fingerprint(run, "models", name))
        chosen = [(name, seed) for name in names for seed in _seeds(run, name, options.seed)]
        with joined(comm) as ranks:
            for name, seed in chosen:
                with manifests.doing(run, f"models.{name}", {"seed": seed}, comm) as to_do:
                    if to_do:
                        train(run, name, seed, ranks=ranks, deadline=deadline)


def _names(given: Sequence[str] | None, what: str, known: Iterable[str]) -> list[str]:
    """The items that are named, or all."""
    known = list(known)
    for name in given or ():
        if name not in known:
            raise SpikelensError(f"--{what} {name}: expected one of {', '.join(known) or f'the {what}s of the run, but it has none'}")
    return list(given or known)


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
    from spikelens.jobs import jobs_of

    run = load_run(options.run)
    for name in _names(options.method, "method", run.methods):
        _refuse_unplanned(options, fingerprint(run, "explanation", name))
        for job in jobs_of(run):
            if job.rule == f"explanation.{name}" and options.part in (None, job.name):
                with manifests.doing(run, job.rule, job.numbers) as to_do:
                    if to_do:
                        manifests.refuse_damaged(run, "explanation", name)
                        compute(run, name, job.numbers.get("block"))


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
    from spikelens.prepare import consolidate
    from spikelens.report.run import make_report

    run = _planned_run(options, "report")
    with manifests.doing(run, "report") as to_do:
        if to_do:
            manifests.refuse_damaged(run, "report")
            make_report(run)
    consolidate(run)


def _loaded(options: argparse.Namespace) -> list[RunConfig]:
    """The runs of a configuration or folder, with `--set` applied, checked up to `--until`."""
    from spikelens.config.load import load

    return load([options.config], options.set, until=getattr(options, "until", None))


def _init(options: argparse.Namespace) -> None:
    """Write a short config.yaml with comments, and the profiles given with --profile. Existing files are kept."""
    from spikelens import init

    content = dict(init.files(full=options.full, profiles=tuple(options.profile)))
    for line in init.write(Path(options.folder), content):
        print(line)


def _run(options: argparse.Namespace) -> int:
    """Check a configuration, run its stages with snakemake, and write the report. To resume, run the command again."""
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
    """Check a configuration without starting anything. All problems found are listed."""
    runs = _loaded(options)
    if any(run.cluster.limit_min is not None for run in runs):
        from spikelens import walltime

        walltime.refuse_unfit(runs, options.config, until=options.until)
    up_to = "" if options.until is None else f" up to {options.until}"
    print(f"{options.config} can be run{up_to}: {', '.join(run.path for run in runs)}", flush=True)


def _plan(options: argparse.Namespace) -> None:
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


def _prepare(options: argparse.Namespace) -> None:
    """Write config.json and the metadata of the stores of each run. Snakemake does the same before its first job."""
    from spikelens.prepare import prepare_all

    runs = _loaded(options)
    prepare_all(runs)
    for run in runs:
        print(run.path)


def _runs(options: argparse.Namespace) -> None:
    """Print the folders of the runs, one per line."""
    for run in _loaded(options):
        print(run.path)


def _html(options: argparse.Namespace) -> None:
    """Write <results>/<name>/report.html, a self-contained file, from finished runs."""
    from spikelens import launch
    from spikelens.places import root

    target = root(_loaded(options)[0]) / "report.html"
    code = launch.snakemake(options.config, options.set, "--report", str(target), "--cores", "1", "--nolock")
    if code:
        raise SpikelensError(f"snakemake --report exited with {code}; is the run complete? `spikelens run --dry-run` lists missing results")
    print(target)


def _status(options: argparse.Namespace) -> None:
    """List the jobs of a run that are done, running, failed and waiting, and the core-hours used. Nothing is written."""
    import json

    from spikelens import status, sweep
    from spikelens.config.load import look

    found = [status.look(run) for run in look(options.config)]
    if options.json:
        print(json.dumps(status.as_json(found[0]) if len(found) == 1 else sweep.as_json(found), indent=2))
    else:
        print(status.as_text(found[0]) if len(found) == 1 else sweep.as_text(found))


def _verify(options: argparse.Namespace) -> None:
    """Check every file of a run or sweep against its job's manifest, and the stores' metadata against config.json."""
    from spikelens import sweep
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
    n_jobs = sweep.repair(runs, found)
    print(f"{listed}; metadata are restored; the next call of snakemake runs {n_jobs:,} jobs again")


def _clean(options: argparse.Namespace) -> None:
    """List results of a run that no registered configuration uses with the current code; only --yes removes them."""
    from spikelens import clean
    from spikelens.config.load import look

    run = look(options.config)[0]  # the runs of a sweep share one folder of results
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


def _schema(options: argparse.Namespace) -> None:
    """Print the JSON schema of config.yaml."""
    import json

    from spikelens.config import json_schema

    print(json.dumps(json_schema(), indent=2))


if __name__ == "__main__":
    sys.exit(main())

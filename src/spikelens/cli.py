"""The command line: one subcommand per stage, which the rules call, and commands that inspect runs.

Exit codes: 0; 2 with one message if the user can fix the cause; 1 with a traceback if the cause is a bug.
`spikelens run` returns the exit code of snakemake. Only imports that `--help` needs are at the top, to keep it fast.
"""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from spikelens import commands_runs as runs
from spikelens import commands_stages as stages
from spikelens.errors import SpikelensError, disk_remedy, user_message
from spikelens.names import ASSUMED_RATE_HZ, STAGES, Stage, default_configuration

log = logging.getLogger("spikelens")

Command = Callable[[argparse.Namespace], int | None]
"""A subcommand; it returns an exit code, or None for 0."""


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

    _add_stages(add)
    _add_starting(add)
    _add_looking(add)
    return parser


Add = Callable[[str, Command, str], argparse.ArgumentParser]
"""Adds a subcommand: name, function, help."""


def _add_stages(add: Add) -> None:
    """Add the commands that do the work of jobs."""

    def stage(name: str, command: Command, text: str) -> argparse.ArgumentParser:
        sub = add(name, command, text)
        sub.add_argument("run", help="the run's folder, e.g. results/reference (made by `spikelens prepare`)")
        sub.add_argument("--log", help="also write plain lines to this file")
        sub.add_argument("--planned", metavar="KEY", help="stop unless the results have this key (set by snakemake)")
        return sub

    network = stage("network", stages.network_command, "stage 1: draw the synapses")
    _blocks(network)
    simulate = stage("simulate", stages.simulate_command, "stage 2: simulate segments, alone or under mpiexec")
    _segments(simulate)
    _ranks(simulate)
    _limit(simulate)
    recording = stage("recording", stages.recording_command, "stage 1, without a network: import spikes from a file")
    _segments(recording)
    features = stage("features", stages.features_command, "stage 3: compute features of the spikes")
    features.add_argument("--feature", action="append", metavar="NAME", help="which feature (default: all); may be given more than once")
    _segments(features)
    _blocks(features)
    train = stage("train", stages.train_command, "stage 4: train a model, alone or under mpiexec")
    train.add_argument("--model", action="append", metavar="NAME", help="which model (default: all); may be given more than once")
    train.add_argument("--seed", type=int, help="which of the model's seeds (default: all)")
    _ranks(train)
    _limit(train)
    infer = stage("infer", stages.infer_command, "stage 5: compute the scores of pairs by the methods of the explanation")
    infer.add_argument("--method", action="append", metavar="NAME", help="which method (default: all); may be given more than once")
    infer.add_argument("--part", metavar="JOB", help="name of one job of the method: its first block of targets (default: all)")
    stage("explain", stages.explain_command, "stage 5: compare the scores of all methods with the wiring")
    stage("report", stages.report_command, "stage 6: figures, tables and summary.json")


def _add_starting(add: Add) -> None:
    """Add the commands that check and start runs."""
    init = add("init", runs.init_command, "write a short config.yaml to start from; existing files are kept")
    init.add_argument(
        "folder", nargs="?", default=".", metavar="FOLDER", help="where to write; created if missing (default: the working folder)"
    )
    init.add_argument("--full", action="store_true", help="write all keys, with defaults and units")
    text = "also write profiles/NAME/config.yaml, for editing: default or slurm; can be repeated"
    init.add_argument("--profile", action="append", default=[], metavar="NAME", help=text)
    run = add("run", runs.run_command, "check a configuration, run all stages, and write the report")
    _configuration(run)
    _until(run, "run")
    run.add_argument("--profile", metavar="FOLDER", help=f"workflow profile of snakemake, e.g. profiles/slurm (default: {runs.PROFILE})")
    run.add_argument("--cores", metavar="N", help="number of cores to use on this machine, or all (default: from the profile)")
    run.add_argument("--dry-run", action="store_true", help="print the jobs that would run, without running them")
    check = add("check", runs.check_command, "check a configuration and list every problem")
    _configuration(check)
    _until(check, "check")
    prepare = add("prepare", runs.prepare_command, "create the folders and metadata of a configuration's runs")
    _configuration(prepare)
    _until(prepare, "check")
    for name, command, text in (
        ("runs", runs.runs_command, "print the folders of a configuration's runs"),
        ("html", runs.html_command, "write report.html of finished runs with snakemake --report"),
    ):
        _configuration(add(name, command, text))


def _add_looking(add: Add) -> None:
    """Add the commands that look at what runs will cost, do and have done, and that clean up."""
    plan = add("plan", runs.plan_command, "print the expected cost of a configuration, before anything is submitted")
    _configuration(plan)
    _until(plan, "plan")
    plan.add_argument("--rate-hz", type=_positive, default=ASSUMED_RATE_HZ, help="mean rate to assume [Hz] (default: %(default)g)")
    plan.add_argument("--cores", type=int, help="number of cores available to snakemake (default: all cores of this machine)")
    plan.add_argument("--speeds", type=Path, help="file of speeds measured with `python -m benchmarks.speeds --out FILE`")
    limit = plan.add_mutually_exclusive_group()
    limit.add_argument("--limit-min", type=_whole, help="time limit of a job [min] (default: cluster.limit_min)")
    limit.add_argument("--partition", help="use the time limit of this SLURM partition")
    plan.add_argument("--json", action="store_true", help="print only JSON")
    status = add("status", runs.status_command, "list the jobs of a run that are done, running, failed and waiting")
    _place(status)
    status.add_argument("--json", action="store_true", help="print only JSON")
    verify = add("verify", runs.verify_command, "check every file of a run against its checksum")
    _place(verify)
    verify.add_argument("--repair", action="store_true", help="mark the jobs of damaged files; the next call of snakemake runs them again")
    clean = add("clean", runs.clean_command, "list results that no configuration uses; --yes removes them")
    _place(clean)
    clean.add_argument(
        "--configuration", metavar="NAME", help="list the results that only this configuration uses (a file in RUN/configurations)"
    )
    clean.add_argument("--yes", action="store_true", help="remove the listed results")
    add("schema", runs.schema_command, "print the JSON schema of config.yaml")


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

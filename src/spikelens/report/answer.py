"""The first screen of the report: the main question, the answer with its number and its controls, and six facts."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

from spikelens.config import RunConfig
from spikelens.explanation.scores import ALL, OUTCOMES, verdict
from spikelens.report import data

Row = Mapping[str, Any]
_MEASURES = {"r2": "R\N{SUPERSCRIPT TWO}"}


class Answer(NamedTuple):
    """The main question, its answer in a few words, and the evidence."""

    question: str
    short: str
    evidence: str
    further: tuple[str, ...] = ()
    """One sentence per edge class and score of attention."""


class Fact(NamedTuple):
    """A number of the first screen."""

    name: str
    value: str
    details: tuple[str, ...] = ()


def main_class(rows: Sequence[Row]) -> str | None:
    """The edge class with the most pairs among the rows of scores.json, which the first screen shows; None without rows."""
    pairs = {row["edge_class"]: row["n_positive"] + row["n_negative"] for row in rows if row["stratum"] == ALL}
    return max(pairs, key=lambda name: pairs[name], default=None)


def answer(run: RunConfig, facts: Mapping[Any, Any]) -> Answer:
    """Answer the question that the run can answer: about attention, else about other scores, else about the activity.

    Parameters
    ----------
    facts
        The content of summary.json.
    """
    rows = data.connectivity_scores(run)
    edge_class = main_class(rows)
    judged = verdict(rows)
    if edge_class is None:
        return _without_scores(run, facts)
    own = [row for row in rows if row["stratum"] == ALL and row["edge_class"] == edge_class]
    best = max((row for row in own if data.kind_of_score(row) == "no model"), key=lambda row: row["auroc"], default=None)
    attended = [one for scores in judged.get(edge_class, {}).values() for one in scores.values()]
    if not attended:
        return _of_scores(edge_class, best)
    shown = max(attended, key=lambda one: one["trained"]["auroc"])
    trained, control = shown["trained"], shown["rate_correlation"] or shown["untrained"] or {"auroc": 0.5}
    named = "plain rate correlation" if shown["rate_correlation"] else "the untrained model" if shown["untrained"] else "chance"
    evidence = f"{_pairs(edge_class)}: AUROC {_with_interval(trained)} for attention, {control['auroc']:.3f} for {named}, 0.5 for chance."
    if best is not None and best["auroc"] > max(trained["auroc"], control["auroc"]):
        evidence += f" The best score of the spikes without the wiring is {best['shown']}: {_with_interval(best)}."
    every = tuple(
        (f"{method}: " if len(methods) > 1 else "") + one["conclusion"]
        for methods in judged.values()
        for method, scores in methods.items()
        for one in scores.values()
    )
    return Answer("Does attention show the wiring?", OUTCOMES[shown["outcome"]], evidence, every)


def _of_scores(edge_class: str, best: Row | None) -> Answer:
    question = "Do the spikes show the wiring?"
    if best is None:
        return Answer(question, "Not tested.", f"{_pairs(edge_class)}: no score was computed from the spikes alone.")
    low, high = best["ci"]
    short = "Better than chance." if low > 0.5 else "Worse than chance." if high < 0.5 else "Not better than chance."
    return Answer(question, short, f"{_pairs(edge_class)}: AUROC {_with_interval(best)} for {best['shown']}, 0.5 for chance.")


def _without_scores(run: RunConfig, facts: Mapping[Any, Any]) -> Answer:
    spikes = facts[run.spikes_stage]
    rates = ", ".join(f"{name} {rate:.2f} Hz" for name, rate in spikes["rates_hz"].items() if name != "all")
    short = f"{spikes['spikes']:,} spikes in {spikes['duration_s']} s."
    unscored = " No score was compared with the wiring." if run.has_network else ""  # else a remark says that the wiring is not known
    return Answer("How active are the neurons?", short, f"Mean rate {spikes['rates_hz']['all']:.2f} Hz per neuron ({rates}).{unscored}")


def _pairs(edge_class: str) -> str:
    return edge_class.replace("->", "\N{RIGHTWARDS ARROW}")


def _with_interval(row: Row) -> str:
    low, high = row["ci"]
    return f"{row['auroc']:.3f} (95 % interval {low:.3f} to {high:.3f})"


def six_facts(run: RunConfig, facts: Mapping[Any, Any]) -> list[Fact]:
    """Size, wiring or spikes, rates, models, cost, origin."""
    spikes = facts[run.spikes_stage]
    sizes = tuple(f"{count:,} {name}" for name, count in run.population_sizes.items())
    rates = tuple(f"{name} {rate:.2f} Hz" for name, rate in spikes["rates_hz"].items() if name != "all")
    found = [Fact("Neurons", f"{run.n_neurons:,}", sizes)]
    if run.has_network:
        network = facts["network"]
        found.append(Fact("Synapses", f"{network['synapses']:,}", (f"{network['mean_in_degree']:.1f} per neuron",)))
    else:
        found.append(Fact("Spikes", f"{spikes['spikes']:,}", (f"in {spikes['duration_s']} s",)))
    found.append(Fact("Mean rate", f"{spikes['rates_hz']['all']:.2f} Hz", rates))
    found.append(Fact("Models on the test range", "" if run.models else "none", tuple(_model_scores(run))))
    return [*found, _cost(facts), _origin(run)]


def _model_scores(run: RunConfig) -> Iterator[str]:
    """A line for each model: its main score with its first seed, beside that of its best baseline."""
    for name, model in run.models.items():
        described = data.model_facts(run, name, model.seeds[0])
        units = described["units"]
        measure = next((one for one, unit in units.items() if unit == "1" and one != "mse"), next(iter(units)))
        label = _MEASURES.get(measure, measure.replace("_", " "))
        line = f"{name.replace('_', ' ')}: {label} {_three_digits(described['scores'][measure])}"
        better = min if measure == "mse" else max
        of_baselines = {baseline: scores.get(measure) for baseline, scores in described["baselines"].items()}
        found = {baseline: value for baseline, value in of_baselines.items() if value is not None}
        if found:
            best = better(found, key=lambda baseline: found[baseline])
            line += f" ({best.replace('_', ' ')} {_three_digits(found[best])})"
        yield line


def _three_digits(value: float | None) -> str:
    """A score; None is one that the data do not define, e.g. R^2 of a constant series."""
    return "not defined" if value is None else f"{value:.3f}"


def _cost(facts: Mapping[Any, Any]) -> Fact:
    """Processor time of all stages but the report, which is not finished."""
    spent = {stage: content["cpu_seconds"] for stage, content in facts.items() if content.get("cpu_seconds")}
    if not spent:
        return Fact("Processor time", "not measured")
    most = max(spent, key=lambda stage: spent[stage])
    return Fact("Processor time", duration(sum(spent.values())), (f"{most}: {duration(spent[most])}",))


def duration(seconds: float) -> str:
    """A time in seconds, minutes or hours."""
    if seconds < 60:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.1f} min" if seconds < 3600 else f"{seconds / 3600:.1f} h"


def _origin(run: RunConfig) -> Fact:
    seeds = [f"network {run.network.seed}", f"drive {run.drive.seed}"] if run.has_network else []
    trained = sorted({seed for model in run.models.values() for seed in model.seeds})
    seeds += [f"models {', '.join(map(str, trained))}"] if trained else []
    commit = _commit()
    return Fact("spikelens", version("spikelens"), (*([f"commit {commit}"] if commit else []), f"seeds: {'; '.join(seeds) or 'none'}"))


def _commit() -> str | None:
    """The commit of the checkout that contains the code, with a plus sign if files differ from it; None outside a checkout."""
    top = Path(__file__).parents[3]
    if not (top / ".git").exists():
        return None
    try:
        command = ["git", "-C", str(top), "describe", "--always", "--exclude=*", "--dirty=+"]
        return subprocess.run(command, capture_output=True, check=True, text=True, timeout=10).stdout.strip() or None
    except (OSError, subprocess.SubprocessError):
        return None

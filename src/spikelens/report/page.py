"""The report of a run as one self-contained HTML page."""

from __future__ import annotations

import base64
import inspect
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from html import escape
from typing import Any

from spikelens.config import STAGES, RunConfig, Stage
from spikelens.explanation.scores import verdict
from spikelens.report import data, style
from spikelens.report.contents import Shown, figures_of
from spikelens.report.remarks import remarks

_STYLE = """
body { font-family: system-ui, sans-serif; color: #222; margin: 2em; max-width: 90em; } table { display:
block; overflow-x: auto; border-collapse: collapse; margin-bottom: 2em; font-variant-numeric: tabular-nums; }
caption { text-align: left; font-weight: 600; padding-bottom: .6em; } th, td { padding: .3em .7em .3em 0;
text-align: left; border-bottom: 1px solid #ddd; font-size: .9em; white-space: nowrap; } th { border-bottom:
2px solid #888; vertical-align: bottom; white-space: normal; } td.number, th.number { text-align: right; }
p.remark { font-weight: 600; max-width: 60em; } p.note, figcaption { color: #444; max-width: 60em; } figure {
margin: 2em 0; } img { max-width: 100%; height: auto; } nav a { margin-right: 1em; } pre { font-size: .85em; }
summary { cursor: pointer; margin-bottom: 1em; }
"""
_COLUMNS = (
    "score", "input data", "kind", "edge class", "weight [mV]", "AUROC", "95 % interval", "average precision",
    "pairs with synapse", "pairs without", "model seed",
)  # fmt: skip
_SCORES_NOTE = (
    "AUROC: probability that a pair of neurons with a synapse scores higher than a pair without; 0.5 is "
    "chance. The 95 % interval is a bootstrap over target neurons; for shuffled labels it is the range over "
    "shuffles. Average precision at chance is the fraction of pairs with a synapse. A control uses an "
    "untrained model or shuffled labels. A circular score uses the wiring as input, so it is no evidence. "
    'Scores are computed on the test range unless they say "whole run".'
)
_MODEL_COLUMNS = ("model", "seed", "predictor", "measure", "unit", "value")


_ITEM_COLUMNS = ("name", "kind", "description", "options", "computed from")


def page(run: RunConfig, drawings: Mapping[str, bytes]) -> str:
    """The report as an HTML page.

    Parameters
    ----------
    drawings
        The figures of `figures_of`, by name, as SVG.
    """
    sections = {stage: [_figure(shown, drawings[shown.name]) for shown in figures_of(run) if shown.stage == stage] for stage in STAGES}
    for stage in (stage for stage in STAGES if run.items(stage)):
        sections[stage].append(_table(f"{stage.capitalize()}: computed items", _ITEM_COLUMNS, _item_rows(run, stage)))
    if run.models:
        of_models = [row for model, seed in data.trained_models(run) for row in _model_rows(run, model, seed)]
        sections["models"].append(_table("Scores of models and baselines on the test range", _MODEL_COLUMNS, of_models))
    rows = sorted(data.connectivity_scores(run), key=lambda row: run.edge_classes.index(row["edge_class"]))
    whole = [_score_cells(row) for row in rows if row["stratum"] == "all"]
    by_weight = [_score_cells(row) for row in rows if row["stratum"] != "all"]
    sections["explanation"] += [
        f'<p class="note">{escape(_SCORES_NOTE)}</p>',
        _table("Connectivity: all scores by edge class (source\N{RIGHTWARDS ARROW}target)", _COLUMNS, whole),
        "<details><summary>The same scores by time-averaged weight of the synapse</summary>",
        _table("Connectivity: all scores by edge class and weight", _COLUMNS, by_weight),
        "</details>",
    ]
    shown_stages = [stage for stage in STAGES if sections[stage]]
    links = " ".join(f'<a href="#{stage}">{stage}</a>' for stage in shown_stages)
    noted = [f'<p class="remark">{escape(style.arrow(remark[0].upper() + remark[1:]))}.</p>' for remark in remarks(run)]
    parts = [f"<h1>{escape(run.run.name)}</h1>", *noted, *_answer(run), f"<nav>{links}</nav>"]
    for stage in shown_stages:
        parts += [f'<section id="{stage}"><h2>{stage.capitalize()}</h2>', *sections[stage], "</section>"]
    configuration = escape(json.dumps(_configuration(run), indent=2))
    parts.append(f"<section><h2>Configuration</h2><details><summary>All keys</summary><pre>{configuration}</pre></details></section>")
    head = f'<meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>{escape(run.run.name)}</title>'
    return (
        f'<!DOCTYPE html>\n<html lang="en"><head>{head}<style>{_STYLE}</style></head>\n<body>\n' + "\n".join(parts) + "\n</body></html>\n"
    )


def _configuration(run: RunConfig) -> dict[str, Any]:
    """All keys that results can depend on: the report is shared by configurations that differ in others."""
    content: dict[str, Any] = run.model_dump(mode="json", exclude={"run": True, "cluster": True, "path": True})
    for part in (content.get("simulation") or {}, *content["models"].values()):
        part.pop("ranks", None)
    return content


def _answer(run: RunConfig) -> list[str]:
    """The main question, and the verdict for each edge class."""
    judged = [
        f"<li>{escape(f'{method}: ' if len(methods) > 1 else '')}{escape(style.arrow(one['conclusion']))}</li>"
        for methods in verdict(data.connectivity_scores(run)).values()
        for method, scores in methods.items()
        for one in scores.values()
    ]
    if not run.has_network:
        return []
    if not judged:
        return ["<p>No edge class has a score of attention.</p>"]
    return [
        "<p><strong>Does attention show connectivity?</strong> One verdict per edge class "
        "(source\N{RIGHTWARDS ARROW}target), first for attention averaged over test windows, then for attention "
        "window by window:</p>",
        f"<ul>{''.join(judged)}</ul>",
    ]


def _figure(shown: Shown, drawing: bytes) -> str:
    """A figure with its caption; embedded as an image, so that ids of different SVGs do not collide."""
    image = f'<img src="data:image/svg+xml;base64,{base64.b64encode(drawing).decode()}" alt="{escape(shown.title)}">'
    return (
        f'<figure id="{escape(shown.name)}"><h3>{escape(shown.title)}</h3>{image}<figcaption>{escape(shown.caption)}</figcaption></figure>'
    )


def _score_cells(row: dict[str, Any]) -> list[Any]:
    low, high = row["ci"]
    stratum = row["stratum"].replace("-", "\N{EN DASH}")
    return [
        row["shown"], row["saw"], data.kind_of_score(row), style.arrow(row["edge_class"]), stratum, row["auroc"],
        f"{low:.3f} to {high:.3f}", row["ap"], row["n_positive"], row["n_negative"],
        row["seed"].get("model"),
    ]  # fmt: skip


def _item_rows(run: RunConfig, stage: Stage) -> Iterator[list[str]]:
    """The items of a stage: kind, description, options, and what each was computed from."""
    for name, item in run.items(stage).items():
        options = ", ".join(f"{key}: {value}" for key, value in item.model_dump(mode="json", exclude={"kind", "ranks"}).items())
        about = inspect.cleandoc(type(item).__doc__ or "").split("\n")[0]
        yield [name, item.kind, about, options, ", ".join(read.item or read.stage for read in item.reads(run))]


def _model_rows(run: RunConfig, model: str, seed: int) -> list[list[Any]]:
    """Scores of a model and its baselines on the test range, one row per measure and predictor."""
    facts = data.model_facts(run, model, seed)
    predictors = {"the model": facts["scores"], **facts["baselines"]}
    return [
        [model.replace("_", " "), seed, name.replace("_", " "), measure.replace("_", " "), facts["units"][measure], scores[measure]]
        for measure in facts["scores"]
        for name, scores in predictors.items()
    ]


def _table(caption: str, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    body = list(rows)
    numeric = [any(isinstance(row[i], int | float) for row in body) for i in range(len(columns))]
    head = "".join(f"<th{_class(number)}>{escape(name)}</th>" for name, number in zip(columns, numeric, strict=True))
    lines = [
        "<tr>" + "".join(f"<td{_class(number)}>{_cell(value)}</td>" for value, number in zip(row, numeric, strict=True)) + "</tr>"
        for row in body
    ]
    content = "\n".join(lines) or f'<tr><td colspan="{len(columns)}">none</td></tr>'
    return f"<table><caption>{escape(caption)}</caption>\n<thead><tr>{head}</tr></thead>\n<tbody>\n{content}\n</tbody></table>"


def _class(number: bool) -> str:
    return ' class="number"' if number else ""


def _cell(value: Any) -> str:
    if value is None:
        return "\N{EN DASH}"
    if isinstance(value, float):
        return f"{value:.3f}"
    return f"{value:,}" if isinstance(value, int) else escape(str(value))

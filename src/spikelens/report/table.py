"""The table of scores as one HTML page that needs nothing else."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape
from typing import Any

from spikelens.config import ModelName, RunConfig
from spikelens.explanation.scores import verdict
from spikelens.report import data, style

_STYLE = """
body { font-family: system-ui, sans-serif; color: #222; margin: 2em; max-width: 90em; }
table { border-collapse: collapse; margin-bottom: 2em; font-variant-numeric: tabular-nums; }
caption { text-align: left; font-weight: 600; padding-bottom: .6em; }
th, td { padding: .3em .7em .3em 0; text-align: left; border-bottom: 1px solid #ddd; font-size: .9em; white-space: nowrap; }
th { border-bottom: 2px solid #888; vertical-align: bottom; white-space: normal; }
td.number, th.number { text-align: right; }
p.note { color: #444; max-width: 50em; }
summary { cursor: pointer; margin-bottom: 1em; }
"""
_COLUMNS = (
    "score", "it saw", "kind", "edges", "weight [mV]", "AUROC", "95 % interval", "average precision", "with synapse", "without",
    "model seed",
)  # fmt: skip
_MODEL_COLUMNS = ("model", "seed", "predictor", "measure", "unit", "value")


def page(run: RunConfig) -> str:
    """The scores of connectivity, and the models' scores beside their baselines, as an HTML page."""
    rows = sorted(data.connectivity_scores(run), key=lambda row: run.edge_classes.index(row["edge_class"]))
    whole = [_score_cells(run, row) for row in rows if row["stratum"] == "all"]
    by_weight = [_score_cells(run, row) for row in rows if row["stratum"] != "all"]
    of_models = [row for model, seed in data.trained_models(run) for row in _model_rows(run, model, seed)]
    conclusions = [
        f"<li>{escape(style.arrow(judged['conclusion']))}</li>"
        for scores in verdict(data.connectivity_scores(run)).values()
        for judged in scores.values()
    ]
    parts = [
        f"<h1>Scores of {escape(run.run.name)}</h1>",
        '<p class="note">AUROC: probability that a pair of neurons with a synapse scores higher than one without; 0.5 is chance. '
        "A circular score was given the wiring, so that the answer is in the question. What is not said to be of the whole run is of "
        "the test range, or of the windows within it.</p>",
        "<h2>Does attention show connectivity?</h2>",
        f"<p>By averaged attention, then window by window, for each class of edges:</p><ul>{''.join(conclusions)}</ul>",
        _table("Connectivity: every score, each class of edges", _COLUMNS, whole),
        "<details><summary>The same by time-averaged weight of the synapse</summary>",
        _table("Connectivity by weight", _COLUMNS, by_weight),
        "</details>",
        _table("Models and their baselines on the test range", _MODEL_COLUMNS, of_models),
    ]
    head = f'<meta charset="utf-8"><title>Scores of {escape(run.run.name)}</title><style>{_STYLE}</style>'
    return f'<!DOCTYPE html>\n<html lang="en"><head>{head}</head>\n<body>\n' + "\n".join(parts) + "\n</body></html>\n"


def _score_cells(run: RunConfig, row: dict[str, Any]) -> list[Any]:
    low, high = row["ci"]
    stratum = row["stratum"].replace("-", "\N{EN DASH}")
    return [
        data.name_of_score(run, row), row["saw"], data.kind_of_score(row), style.arrow(row["edge_class"]), stratum, row["auroc"],
        f"{low:.3f} to {high:.3f}", row["ap"], row["n_positive"], row["n_negative"],
        row["seed"].get("model"),
    ]  # fmt: skip


def _model_rows(run: RunConfig, model: ModelName, seed: int) -> list[list[Any]]:
    """What a model and its baselines scored on the test range, a row for each measure."""
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

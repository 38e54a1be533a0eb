"""The report of a run as one self-contained HTML page, made from the template page.html.j2.

The first screen has the question, the answer, one figure and six facts (`report.answer`). The page needs no other file, no network and
no JavaScript; with JavaScript, tables can be sorted and filtered, and figures enlarged.
"""

from __future__ import annotations

import base64
import importlib.metadata
import inspect
import json
import platform
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import jinja2
from markupsafe import Markup

from spikelens.config import STAGES, Config, RunConfig, Stage
from spikelens.keys import leaves
from spikelens.report import data, style
from spikelens.report.answer import answer, duration, six_facts
from spikelens.report.contents import HEADLINE, Shown, figures_of
from spikelens.report.remarks import remarks

_HERE = Path(__file__).parent
_LIBRARIES = ("numpy", "numba", "zarr", "xarray", "torch", "lightning", "pytorch-forecasting", "snakemake")
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


def page(run: RunConfig, drawings: Mapping[str, style.Drawing], facts: Mapping[Stage, Mapping[str, Any]]) -> str:
    """The report as an HTML page.

    Parameters
    ----------
    drawings
        The figures of `figures_of`, by name.
    facts
        The content of summary.json.
    """
    figures = {shown.name: _figure(shown, drawings[shown.name]) for shown in figures_of(run)}
    sections = [_section(run, stage, figures) for stage in STAGES if stage != "report"]
    loader = jinja2.FileSystemLoader(_HERE)
    environment = jinja2.Environment(loader=loader, autoescape=True, keep_trailing_newline=True, undefined=jinja2.StrictUndefined)
    return environment.get_template("page.html.j2").render(
        name=run.run.name,
        style=Markup((_HERE / "page.css").read_text(encoding="utf-8")),
        script=Markup((_HERE / "page.js").read_text(encoding="utf-8")),
        answer=_with_arrows(answer(run, facts)),
        remarks=[style.arrow(remark[0].upper() + remark[1:]) + "." for remark in remarks(run)],
        facts=[{**fact._asdict(), "varies": fact.name in ("spikelens", "Processor time")} for fact in six_facts(run, facts)],
        headline={**figures[HEADLINE], "title": ""},
        sections=[section for section in [*sections, _origin(run, facts), _configured(run)] if _has_content(section)],
    )


def _with_arrows(found: Any) -> dict[str, Any]:
    return {**found._asdict(), "further": [style.arrow(sentence) for sentence in found.further]}


def _has_content(section: Mapping[str, Any]) -> bool:
    return any(section[part] for part in ("figures", "tables", "folded", "text"))


def _empty(name: str, title: str) -> dict[str, Any]:
    return {"id": name, "title": title, "figures": [], "notes": [], "tables": [], "folded": [], "text": ""}


def _section(run: RunConfig, stage: Stage, figures: Mapping[str, dict[str, Any]]) -> dict[str, Any]:
    """The figures and tables of one stage."""
    section = _empty(stage, stage.capitalize())
    section["figures"] = [figures[shown.name] for shown in figures_of(run) if shown.stage == stage]
    if run.items(stage):
        section["tables"].append(_table(f"{stage.capitalize()}: computed items", _ITEM_COLUMNS, _item_rows(run, stage)))
    if stage == "models" and run.models:
        of_models = [row for model, seed in data.trained_models(run) for row in _model_rows(run, model, seed)]
        section["tables"].append(_table("Scores of models and baselines on the test range", _MODEL_COLUMNS, of_models))
    if stage == "explanation":
        rows = sorted(data.connectivity_scores(run), key=lambda row: run.edge_classes.index(row["edge_class"]))
        whole = [_score_cells(row) for row in rows if row["stratum"] == "all"]
        by_weight = [_score_cells(row) for row in rows if row["stratum"] != "all"]
        section["notes"].append(_SCORES_NOTE)
        section["tables"].append(_table("Connectivity: all scores by edge class (source\N{RIGHTWARDS ARROW}target)", _COLUMNS, whole))
        table = _table("Connectivity: all scores by edge class and weight", _COLUMNS, by_weight)
        section["folded"].append(("The same scores by time-averaged weight of the synapse", table))
    return section


def _origin(run: RunConfig, facts: Mapping[Stage, Mapping[str, Any]]) -> dict[str, Any]:
    """How long each stage took, and the environment that made the report."""
    section = _empty("origin", "Time and environment")
    spent = [
        [stage, content["jobs"], duration(content["wall_seconds"]), duration(content["cpu_seconds"]) if content["cpu_seconds"] else None]
        for stage, content in facts.items()
        if content["jobs"]
    ]
    versions = [["python", platform.python_version()], *([name, importlib.metadata.version(name)] for name in _LIBRARIES)]
    machine = [["machine", f"{platform.system()} {platform.machine()}"]]
    section["tables"] = [
        _table("Time of the jobs, without the report", ("stage", "jobs", "wall time", "processor time"), spent),
        _table("Made with", ("name", "version"), [*versions, *machine]),
    ]
    return section


def _configured(run: RunConfig) -> dict[str, Any]:
    """What differs from the reference network, and the whole configuration."""
    section, content = _empty("configuration", "Configuration"), _configuration(run)
    reference = dict(leaves(Config().model_dump(mode="json")))
    own = dict(leaves(content))
    rows = [
        [key, _text(value), _text(reference[key]) if key in reference else None]
        for key, value in own.items()
        if reference.get(key) != value
    ]
    section["tables"] = [_table("Keys that differ from the reference network", ("key", "value", "reference"), rows)]
    section["text"] = json.dumps(content, indent=2)
    return section


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _configuration(run: RunConfig) -> dict[str, Any]:
    """All keys that results can depend on: the report is shared by configurations that differ in others."""
    content: dict[str, Any] = run.model_dump(mode="json", exclude={"run": True, "cluster": True, "path": True})
    for part in (content.get("simulation") or {}, *content["models"].values()):
        part.pop("ranks", None)
    return content


def _figure(shown: Shown, drawing: style.Drawing) -> dict[str, Any]:
    """A figure with its caption; embedded as an image, so that ids of different SVGs do not collide."""
    root = ElementTree.fromstring(drawing.svg)
    width, height = (float(root.attrib[side].removesuffix("pt")) for side in ("width", "height"))
    return {
        "name": shown.name,
        "title": shown.title,
        "alt": shown.title,
        "caption": shown.caption,
        "source": f"data:image/svg+xml;base64,{base64.b64encode(drawing.svg).decode()}",
        "width": round(width * 4 / 3),  # 96 pixels per 72 points
        "height": round(height * 4 / 3),
        "frames": json.dumps([frame._asdict() for frame in drawing.frames], separators=(",", ":")),
    }


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


def _table(caption: str, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> dict[str, Any]:
    body = list(rows)
    numeric = [any(isinstance(row[i], int | float) for row in body) for i in range(len(columns))]
    return {
        "caption": caption,
        "columns": [{"name": name, "number": number} for name, number in zip(columns, numeric, strict=True)],
        "rows": [
            [
                {"text": _cell(value), "number": number, "value": "" if value is None else value}
                for value, number in zip(row, numeric, strict=True)
            ]
            for row in body
        ],
    }


def _cell(value: Any) -> str:
    if value is None:
        return "\N{EN DASH}"
    if isinstance(value, float):
        return f"{value:.3f}"
    return f"{value:,}" if isinstance(value, int) else str(value)

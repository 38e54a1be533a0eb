"""What an edit of the code costs: the jobs that snakemake plans after it, on a finished run. docs/recovery.md has the same table."""

from __future__ import annotations

import ast
import re
from collections.abc import Callable
from dataclasses import dataclass, replace

import pytest
from conftest import REPOSITORY, made_once
from projects import CAUSAL, END, FEATURES, JUDGED, MODELS, NETWORK, SIMULATION, TFTS, Project, contents, finish, of_features
from test_versions import Reworded

from spikelens import manifests

pytestmark = pytest.mark.slow


@dataclass(frozen=True)
class Edit:
    """An edit of the code in a project, and the jobs that it costs: in the words of the table, and by name."""

    what: str
    apply: Callable[[Project], None]
    costs: str
    jobs: set[str]


def append(file: str, text: str = "\n_A_NEW_CONSTANT = 1\n") -> Callable[[Project], None]:
    def apply(project: Project) -> None:
        with (project.code / "spikelens" / file).open("a") as opened:
            opened.write(text)

    return apply


def substitute(place: str, old: str, new: str) -> Callable[[Project], None]:
    def apply(project: Project) -> None:
        path = project.folder / place
        text = path.read_text()
        assert old in text
        path.write_text(text.replace(old, new, 1))

    return apply


def rewrite(change: Callable[[str], str]) -> Callable[[Project], None]:
    """Change every module of the package."""

    def apply(project: Project) -> None:
        sources = [path for path in project.code.rglob("*.py") if path.parent.name != "report" and path.name != "__main__.py"]
        assert len(sources) > 60
        for path in sources:
            before = path.read_text()
            path.write_text(change(before))
            assert path.read_text() != before, path

    return apply


def new_file(project: Project) -> None:
    (project.code / "spikelens/models/transformer.py").write_text('"""A model that nothing trains yet."""\n\nWIDTH = 8\n')


def new_kind(project: Project) -> None:
    (project.code / "spikelens/models/kinds/mean.py").write_text(
        "from typing import Literal\n\nfrom spikelens.models.model import Model\n\n\n"
        'class Mean(Model):\n    kind: Literal["mean"] = "mean"\n'
    )


def new_feature(project: Project) -> None:
    (project.code / "spikelens/features/kinds/nothing.py").write_text(
        "from typing import Literal\n\nfrom spikelens.features.feature import Feature\n\n\n"
        'class Nothing(Feature):\n    kind: Literal["nothing"] = "nothing"\n'
    )


def new_method(project: Project) -> None:
    (project.code / "spikelens/explanation/kinds/nothing.py").write_text(
        "from typing import Literal\n\nfrom spikelens.explanation.method import Method\n\n\n"
        'class Nothing(Method):\n    kind: Literal["nothing"] = "nothing"\n'
    )


def other_versions(project: Project) -> None:
    """Manifests as after an update of every library."""
    for path in project.results.glob("**/manifests/*.json"):
        manifest = manifests.read(path)
        libraries = {name: f"{version}.1" for name, version in manifest.made["libraries"].items()}
        assert {"numpy", "pandas", "pyarrow", "pydantic", "PyYAML", "torch", "xarray"} <= libraries.keys()
        manifests._write(path, replace(manifest, made={**manifest.made, "libraries": libraries}))


def reworded(text: str) -> str:
    return ast.unparse(ast.fix_missing_locations(Reworded().visit(ast.parse(text))))


AUTOENCODER = {"autoencoder 1"}
AFTER_NETWORK = SIMULATION | FEATURES | MODELS | END
FIELD = '    depth: Annotated[Positive, Field(json_schema_extra={"neutral": 1}, description="depth")] = 1\n'
new_rule_text = substitute("workflow/rules/simulation.smk", "simulation: segment", "simulation: the segment")
new_key = substitute("src/spikelens/features/kinds/traces.py", "class Traces(Feature):\n", f"class Traces(Feature):\n{FIELD}")
ATTENDED = {"attention"} | JUDGED
AFTER_TFTS = "both TFTs, the attention, the scores, the report"
EDITS = (
    Edit("a comment in every module", rewrite(lambda text: f"{text}\n# a comment\n"), "nothing", set()),
    Edit("other docstrings, messages and log texts in every module", rewrite(reworded), "nothing", set()),
    Edit("the text of a rule", new_rule_text, "nothing", set()),
    Edit("a new key of the configuration, at its neutral value", new_key, "nothing", set()),
    Edit("a new file in `models/` that nothing imports", new_file, "nothing", set()),
    Edit("other versions of libraries", other_versions, "nothing", set()),
    Edit("`jobs.py`", append("jobs.py"), "nothing", set()),
    Edit("`network/build.py`", append("network/build.py"), "everything", NETWORK | AFTER_NETWORK),
    Edit("`simulation/kernel.py`", append("simulation/kernel.py"), "the simulation and all after it", AFTER_NETWORK),
    Edit(
        "`features/causal.py`",
        append("features/causal.py"),
        "the causal components, the method `omega`, the scores, the report",
        of_features("omega_pairs", "omega_synapses") | CAUSAL,
    ),
    Edit(
        "`features/kinds/spike_counts.py`",
        append("features/kinds/spike_counts.py"),
        "the spike counts, the report",
        of_features("spike_counts") | {"report"},
    ),
    Edit("a new kind of feature in `features/kinds/`", new_feature, "nothing", set()),
    Edit(
        "`models/train.py`", append("models/train.py"), "the models, the attention, the scores, the report", MODELS | {"attention"} | JUDGED
    ),
    Edit("a new kind of model in `models/kinds/`", new_kind, "nothing", set()),
    Edit("`models/autoencoder.py`", append("models/autoencoder.py"), "the autoencoder, the report", AUTOENCODER | {"report"}),
    Edit("`models/tft.py`", append("models/tft.py"), AFTER_TFTS, TFTS | ATTENDED),
    Edit(
        "`models/kinds/tft.py`",
        append("models/kinds/tft.py"),
        "both TFTs, the attention, the scores, the report",
        TFTS | {"attention"} | JUDGED,
    ),
    Edit("`explanation/scores.py`", append("explanation/scores.py"), "the scores, the report", JUDGED),
    Edit("`explanation/kinds/omega.py`", append("explanation/kinds/omega.py"), "the method, the scores, the report", {"omega"} | JUDGED),
    Edit("a new kind of method in `explanation/kinds/`", new_method, "nothing", set()),
    Edit("`report/style.py`", append("report/style.py"), "the report", {"report"}),
)


@pytest.fixture
def project(tmp_path_factory, tmp_path) -> Project:
    """A copy of the finished run, with code of its own."""
    return Project(made_once(tmp_path_factory, "finished", finish)).copy(tmp_path / "project").with_own_code()


@pytest.mark.parametrize("edit", EDITS, ids=lambda edit: edit.what)
def test_an_edit_plans_the_jobs_that_compute_with_it(project, edit):
    edit.apply(project)
    assert project.plan() == edit.jobs


def test_the_documented_table_is_that_of_the_test():
    page = (REPOSITORY / "docs/recovery.md").read_text(encoding="utf-8")
    table = page.partition("| edit of the code | what runs again |\n|---|---|\n")[2].partition("\n\n")[0]
    assert re.findall(r"^\| (.*) \| (.*) \|$", table, flags=re.MULTILINE) == [(edit.what, edit.costs) for edit in EDITS]


def test_an_edited_kernel_computes_elsewhere_and_undoing_the_edit_finds_the_old_results(project):
    before, kernel = contents(project), project.code / "spikelens/simulation/kernel.py"
    source = kernel.read_text()
    append("simulation/kernel.py")(project)
    project.run("simulation")
    assert contents(project).items() >= before.items()
    assert len(list((project.results / "simulation").iterdir())) == 2
    kernel.write_text(source)
    assert project.plan() == set()

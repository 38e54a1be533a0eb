"""The documentation agrees with the code: commands, configuration keys, defaults, file names, links and printed output."""

from __future__ import annotations

import ast
import math
import re
import shlex
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import REPOSITORY

import spikelens
from spikelens import init, sizes, speeds
from spikelens.access import OpenRun
from spikelens.cli import _parser, main
from spikelens.config import (
    CAUSAL_CUTOFF_TAUS,
    MAX_DENSE_NEURONS,
    STAGES,
    RunConfig,
    json_schema,
    load_runs,
    parse,
    read_yaml,
)
from spikelens.config.run import ConfigFile
from spikelens.config.types import MAX_SHARD_BYTES, MAX_SHARDS_PER_JOB, MAX_SHARDS_PER_RUN
from spikelens.config.yaml12 import parse_yaml
from spikelens.jobs import work_of
from spikelens.layouts import layout
from spikelens.status import STATES

PAGES = ("README.md", "CONTRIBUTING.md", "benchmarks/README.md", *(f"docs/{path.name}" for path in (REPOSITORY / "docs").glob("*.md")))
COMMENTED = ("config.yaml", "profiles/default/config.yaml", "profiles/slurm/config.yaml", "Makefile")
"""Other files whose text names commands and keys."""
SOURCE = REPOSITORY / "src/spikelens"
SECTIONS = tuple(json_schema()["properties"])


def text_of(page: str) -> str:
    if page == "spikelens init":
        return init.TEMPLATE
    return (REPOSITORY / page).read_text(encoding="utf-8")


TEXTS = (*PAGES, *COMMENTED, "spikelens init")


def words(page: str) -> str:
    """The text of a page with single spaces, so that line breaks do not matter."""
    return " ".join(text_of(page).split())


def prose(page: str) -> str:
    """A page without its fenced code."""
    return re.sub(r"^```.*?^```", "", text_of(page), flags=re.DOTALL | re.MULTILINE)


def spans(page: str) -> Iterator[str]:
    """Text in backticks, with single spaces; not that of indented code."""
    for paragraph in re.split(r"\n\s*\n", prose(page)):
        if not all(line.startswith("    ") for line in paragraph.splitlines()):
            yield from (" ".join(found.split()) for found in re.findall(r"`([^`]+)`", paragraph))


def code_lines(page: str) -> Iterator[str]:
    """Lines of code blocks: indented, or fenced."""
    fenced = False
    for line in text_of(page).splitlines():
        if line.startswith("```"):
            fenced = not fenced
        elif fenced or line.startswith("    "):
            yield line.strip().removeprefix("$ ")


# --- commands -----------------------------------------------------------------------------------------------------------

START = re.compile(r"(?:\.venv/bin/|mpiexec -n \d+ )?spikelens (?=[a-z-])")


def commands(page: str) -> list[str]:
    """Every command line of ours, as it is written."""
    found = []
    for text in (*spans(page), *code_lines(page)):
        for part in text.split(" && "):
            start = START.match(part)
            if start:
                found.append(part[start.end() :])
    return sorted(set(found))


COMMANDS = [(page, command) for page in TEXTS for command in commands(page)]


@pytest.mark.parametrize(("page", "command"), COMMANDS)
def test_every_command_line_is_one_that_the_parser_accepts(page: str, command: str) -> None:
    name, *arguments = shlex.split(command, comments=True)
    if not arguments and name in {"network", "simulate", "recording", "features", "train", "infer", "explain", "report"}:
        arguments = ["a run"]  # a command that is only named
    options = _parser().parse_args([name, *arguments])
    assert options.name == name
    assert [setting for setting in getattr(options, "set", ()) if not exists(setting.partition("=")[0])] == []


def test_the_commands_are_found() -> None:
    """A change of the pages' form must not let the test above pass with nothing to do."""
    assert len(COMMANDS) > 50
    assert ("README.md", "plan large.yaml --limit-min 10") in COMMANDS
    assert ("docs/recovery.md", "train results/reference --model tft_neuron --seed 1 --ranks 2") in COMMANDS


@pytest.mark.parametrize("page", PAGES)
def test_every_target_of_make_exists(page: str) -> None:
    targets = set(re.findall(r"^([a-z-]+):", text_of("Makefile"), flags=re.MULTILINE))
    for text in (*spans(page), *code_lines(page)):
        if found := re.match(r"make ([a-z-]+)", text):
            assert found[1] in targets


@pytest.mark.parametrize("page", PAGES)
def test_every_module_to_run_exists(page: str) -> None:
    for module in re.findall(r"python -m ((?:benchmarks|golden|spikelens)[\w.]*)", text_of(page)):
        path = REPOSITORY / module.replace(".", "/")
        assert path.with_suffix(".py").is_file() or (path / "__main__.py").is_file()


# --- configuration ------------------------------------------------------------------------------------------------------


def below(node: Any, name: str) -> list[Any]:
    """The nodes of the JSON schema under a key; `<name>` matches any key of an open set."""
    if "$ref" in node:
        return below(json_schema()["$defs"][node["$ref"].rpartition("/")[2]], name)
    found = [child for form in ("anyOf", "oneOf", "allOf") for option in node.get(form, ()) for child in below(option, name)]
    found += [node["properties"][name]] if name in node.get("properties", {}) else []
    for pattern, child in node.get("patternProperties", {}).items():
        found += [child] if name == "<name>" or re.search(pattern, name) else []
    if isinstance(node.get("additionalProperties"), dict):
        found.append(node["additionalProperties"])
    return found


def exists(key: str) -> bool:
    nodes: list[Any] = [json_schema()]
    for part in key.split("."):
        nodes = [child for node in nodes for child in below(node, part)]
    return bool(nodes)


KEY = re.compile(rf"(?:{'|'.join(SECTIONS)})(?:\.(?!zarr\b|html\b|py\b|smk\b|md\b)[\w<>]+(?:->\w+)?)+(?=$|[:= ])")
KEYS = [(page, found[0]) for page in TEXTS for text in spans(page) if (found := KEY.match(text))]


@pytest.mark.parametrize(("page", "key"), sorted(set(KEYS)))
def test_every_configuration_key_exists(page: str, key: str) -> None:
    assert exists(key)


def test_the_keys_are_found_and_others_are_refused() -> None:
    named = {key for _, key in KEYS}
    assert named >= {"models.<name>.ranks", "network.connections.E->E.delay_ms", "simulation.record", "cluster.limit_min"}
    assert [key for key in ("network.sead", "models.<name>.rank", "drive.poisson.E.rate", "network.connections.E.p") if exists(key)] == []


def test_the_keys_in_the_comments_of_the_configuration_exist() -> None:
    for page in ("config.yaml", "spikelens init"):
        for comment in re.findall(r"(?:^| )# (.*)$", text_of(page), flags=re.MULTILINE):
            for key in re.findall(rf"(?<![/\w])(?:{'|'.join(SECTIONS)})\.(?!yaml|html|md|py)[a-z_]+", comment):
                assert exists(key), comment


@pytest.mark.parametrize("page", PAGES)
def test_every_configuration_in_a_code_block_has_known_keys_and_types(page: str) -> None:
    for block in re.findall(r"(?:^    .*\n)+", prose(page), flags=re.MULTILINE):
        if re.match(rf"    (?:{'|'.join(SECTIONS)}):", block):
            parse(ConfigFile, parse_yaml(textwrap.dedent(block), page), page)


def test_the_two_lines_of_the_readme_train_one_model_with_the_other_options_of_the_reference_run() -> None:
    block = re.search(r"(?:^    (?:run|models): .*\n)+", text_of("README.md"), flags=re.MULTILINE)
    assert block
    assert block[0].count("\n") == 2
    run, reference = load_runs(parse_yaml(textwrap.dedent(block[0]), "README.md"))[0], load_runs({})[0]
    assert list(run.models) == ["tft_neuron"]
    assert run.models["tft_neuron"] == reference.models["tft_neuron"].model_copy(update={"learning_rate": 1e-4})


# --- defaults and limits ------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def reference() -> RunConfig:
    return load_runs({})[0]


def test_the_page_on_the_model_describes_the_reference_network(reference: RunConfig) -> None:
    page, network = words("docs/model.md"), reference.network
    excitatory, inhibitory = network.populations["E"], network.populations["I"]
    for name, population in (("excitatory", excitatory), ("inhibitory neurons", inhibitory)):
        parameters = f"a {population.a:g}, b {population.b:g}, c {population.c:g}, d {population.d:g}"
        assert f"{population.count} {name} ({parameters})" in page
        assert f"v0 = {population.v0_mv:g}, u0 = {population.u0_mv:g}." in page
    plastic, static = network.connections["E->E"], network.connections["I->E"]
    assert list(network.connections) == ["E->E", "E->I", "I->E"]
    assert plastic == network.connections["E->I"]
    first, last = plastic.delay_range
    assert (
        f"E->E and E->I: each pair with probability {plastic.p:g}, delay uniform on {first} .. {last} ms, initial weight "
        f"{plastic.weight_mv:g} mV, maximum {network.weight_max_mv:g} mV, plastic."
    ) in page
    assert f"I->E: probability {static.p:g}, delay {static.delay_range[0]} ms, {static.weight_mv:g} mV, static." in page


@pytest.mark.parametrize("name", ["LTD", "LTP"])
def test_the_page_on_the_model_gives_the_tables_of_stdp(reference: RunConfig, name: str) -> None:
    page = text_of("docs/model.md")
    found = re.search(rf"{name}\[k\] = round\(65536 \* ([\d.]+) exp\(-k / (\d+)\)\)", page)
    zero = re.search(r"zero from k = (\d+) on", page)
    assert found
    assert zero
    table = np.asarray(layout(reference, "network").coordinates[name.lower()].values)
    lags = np.arange(len(table))
    expected = np.round(65_536 * float(found[1]) * np.exp(-lags / int(found[2])))
    assert np.array_equal(table, np.where(lags < int(zero[1]), expected, 0))


def test_the_documented_requests_for_memory_and_time_are_those_of_the_rules(reference: RunConfig) -> None:
    found = re.search(
        r"([\d.]+) x the expected memory \+ (\d+) MB for Snakemake \(at least ([\d,]+) MB\), and (\d+) x the expected time \+ (\d+) min",
        words("README.md"),
    )
    assert found
    headroom, own_mb, least_mb, safety, least_min = (float(number.replace(",", "")) for number in found.groups())
    for work in work_of(reference):
        expected_mb = sizes.job_memory(reference, work.rule) / 1e6
        assert sizes.memory_mb(reference, work.rule) == max(least_mb, 100 * math.ceil((headroom * expected_mb + own_mb) / 100))
        seconds = speeds.job_seconds(reference, work.rule, speeds.shipped())
        assert speeds.runtime_min(reference, work.rule) == least_min + math.ceil(safety * seconds / 60)
    page = words("docs/cluster.md")
    assert f"{headroom:g} x the expected memory + {own_mb / 1000:g} GB" in page
    assert f"{safety:g} x the expected time + {least_min:g} min" in page


def test_documented_limits_and_defaults_are_those_of_the_code(reference: RunConfig) -> None:
    architecture, cluster = words("docs/architecture.md"), words("docs/cluster.md")
    assert f"A dense shard has at most {MAX_SHARD_BYTES // 2**20} MB." in architecture
    assert f"at most {MAX_SHARDS_PER_JOB:,} shards and a run at most {MAX_SHARDS_PER_RUN:,}." in architecture
    assert f"kept for up to {MAX_DENSE_NEURONS:,} neurons" in architecture
    assert f"the last {CAUSAL_CUTOFF_TAUS} tau before the segment" in architecture
    assert f"zero beyond {CAUSAL_CUTOFF_TAUS} tau by definition" in words("docs/model.md")
    assert {model.parts for model in reference.models.values()} == {1}
    assert "`parts` (1 by default)" in architecture
    assert f"`{reference.cluster.srun}`" in cluster
    profile = read_yaml(REPOSITORY / "profiles/slurm/config.yaml")
    assert profile["retries"] == 2
    assert "retried twice (`retries`)" in cluster
    assert set(profile["group-components"]) == {"network=16", "features=16"}
    assert "up to 16 of them" in cluster


def test_the_page_on_recovery_explains_every_state_of_a_job() -> None:
    table = text_of("docs/recovery.md").partition("| state | how it is determined |\n|---|---|\n")[2].partition("\n\n")[0]
    assert sorted(["done", *re.findall(r"^\| (\w+) \|", table, flags=re.MULTILINE)]) == sorted(STATES)


def test_the_readme_names_the_dimensions_that_arrays_have(reference: RunConfig) -> None:
    attention = reference.methods["attention"].output(reference)[0]["attention"]
    forecast = reference.models["tft_neuron"].output(reference)[0]["forecast"]
    spikes = layout(reference, "spikes").arrays["spikes"]
    shown = {
        'run.methods["attention"].attention': attention.dims,
        'run.outputs["tft_neuron"].forecast': ("seed", *forecast.dims),
        "run.spikes.spikes": spikes.dims,
    }
    for expression, dims in shown.items():
        assert f"{expression}  # ({', '.join(dims)})" in text_of("README.md")


@pytest.mark.parametrize("page", ["README.md", "docs/use.md"])
def test_the_examples_in_python_use_what_runs_and_sweeps_have(page: str) -> None:
    code = "\n".join(re.findall(r"^```python\n(.*?)^```", text_of(page), flags=re.DOTALL | re.MULTILINE))
    ast.parse(code)
    names = re.findall(r"\brun\.(\w+)", code)
    assert names
    assert [name for name in names if not hasattr(OpenRun, name) and name != "config"] == []
    assert set(re.findall(r"\bspikelens\.(\w+)\(", code)) <= set(spikelens.__all__)


# --- files and links ----------------------------------------------------------------------------------------------------


def anchors(page: Path) -> set[str]:
    """Anchors of the headings of a page, as GitHub makes them."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(encoding="utf-8"), flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES)
def test_every_link_leads_to_a_file_and_a_heading(page: str) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", prose(page)):
        if "://" in target:
            continue
        path, _, anchor = target.partition("#")
        file = (REPOSITORY / page).parent / path if path else REPOSITORY / page
        assert file.is_file(), target
        assert not anchor or anchor in anchors(file), target


FOLDERS = {"## Inside the simulation": "simulation", "## Inside training": "models"}
"""Tables of docs/architecture.md whose files are in a stage's package."""


def listed_files() -> dict[str, list[str]]:
    """The first column of each table of docs/architecture.md, by the folder in src/spikelens of its files."""
    found: dict[str, list[str]] = {}
    for section in re.split(r"(?=^## )", text_of("docs/architecture.md"), flags=re.MULTILINE):
        folder = FOLDERS.get(section.partition("\n")[0], "")
        for column in re.findall(r"^\| (`[^|]*) \|", section, flags=re.MULTILINE):
            found.setdefault(folder, []).extend(re.findall(r"`([^`]+)`", column))
    return found


def test_the_tables_of_the_architecture_name_files_that_exist_and_every_module() -> None:
    listed = listed_files()
    assert set(listed) == {"", *FOLDERS.values()}
    for folder, names in listed.items():
        for name in names:
            places = [SOURCE / folder, REPOSITORY]
            stages = [name.replace("<stage>", stage) for stage in STAGES]
            assert any((place / form).exists() for place in places for form in stages), name
    modules = {path.relative_to(SOURCE) for path in SOURCE.rglob("*.py") if path.name not in ("__init__.py", "__main__.py")}
    named = {Path(folder, name) for folder, names in listed.items() for name in names}
    assert {path for path in modules if path not in named and path.parent not in named} == set()


@pytest.mark.parametrize("page", PAGES)
def test_every_source_file_in_the_text_exists(page: str) -> None:
    """Those of docs/architecture.md's tables too; a bare name is that of a module anywhere."""
    for text in spans(page):
        if not re.fullmatch(r"[\w/]+\.(?:py|smk)", text):
            continue
        places = [REPOSITORY / text, REPOSITORY / "benchmarks" / text, SOURCE / text]
        assert any(place.is_file() for place in places) or any(SOURCE.glob(f"*/{text}")), text


@pytest.mark.parametrize("page", PAGES)
def test_every_path_in_the_repository_exists(page: str) -> None:
    for text in spans(page):
        if re.fullmatch(r"(?:src|tests|docs|envs|golden|profiles|workflow|benchmarks)/[\w./-]*", text) and page != "docs/recovery.md":
            assert (REPOSITORY / text).exists() or text == "workflow/Snakefile", text


# --- printed output -----------------------------------------------------------------------------------------------------


def shown_after(command: str) -> str:
    """What the README shows as the output of a command, without its indentation."""
    block = text_of("README.md").partition(f"    $ {command}\n")[2]
    lines = []
    for line in block.splitlines():
        if line.strip() and not line.startswith("    "):
            break
        lines.append(line[4:])
    return "\n".join(lines).strip()


def test_the_readme_shows_what_check_prints(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(tmp_path)
    Path("mine.yaml").write_text("simulation: {duration_s: 90.5}\ndrive: {kik_mv: 20}\n", encoding="utf-8")
    assert main(["check", "mine.yaml"]) == 2
    assert capsys.readouterr().err.strip() == shown_after("spikelens check mine.yaml")


def test_the_readme_shows_what_plan_prints(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """With a change of features, sizes or speeds, copy the new table into the README."""
    monkeypatch.chdir(tmp_path)
    Path("config.yaml").write_text(text_of("config.yaml"), encoding="utf-8")
    assert main(["plan", "config.yaml", "--cores", "2"]) == 0
    assert capsys.readouterr().out.strip() == shown_after("spikelens plan config.yaml")


OUR_MESSAGE = re.compile(r"\(--ranks\)|\(--limit-min\)|cannot be written|\(cluster\.limit_min\);|^rank 1")
"""Marks a message of ours among the quotations of the pages."""
FILLED_IN = re.compile(r"\d[\d.,]*(?: min)?|\.\.\.|No space left on device|simulation\.segment_s = ")
"""What a message fills in, or the operating system says."""


def quoted_messages() -> set[str]:
    lines = [(page, text) for page in PAGES for text in (*spans(page), *code_lines(page))]
    return {text for _, text in lines if OUR_MESSAGE.search(text) and not START.match(text)}


def test_quoted_messages_are_in_the_source() -> None:
    """Every fixed part of a quoted message is part of a string in the source."""
    strings = []
    for path in SOURCE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.JoinedStr):
                strings.append("".join(part.value if isinstance(part, ast.Constant) else "\0" for part in node.values))
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                strings.append(node.value)
    messages = quoted_messages()
    assert len(messages) >= 5
    for message in messages:
        for part in FILLED_IN.split(message):
            fixed = part.strip(" :;,.()")
            assert not fixed or any(fixed in text for text in strings), f"{message}: {fixed}"

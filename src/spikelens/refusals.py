"""Translate pydantic's validation errors into messages for users.

Pydantic checks the types of values. This module turns its errors into one `Problem` per key, with the
description (and so the unit) of the key from the schema. Inconsistent values are found and described by
`config.check`.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from pydantic import BaseModel, ValidationError

from spikelens.errors import NOT_GIVEN, Problem
from spikelens.names import OPEN_SETS

NAME_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9._-]*$"
ITEM_PATTERN = r"^[A-Za-z][A-Za-z0-9_]*$"
"""Names of items become names of folders and wildcards of Snakemake."""
CONNECTION_PATTERN = r"^\w+->\w+$"
RESULTS_PATTERN = r"""^[^-\s{}<>$`"'\\\x00-\x1f\x7f][^{}<>$`"'\\\x00-\x1f\x7f]*$"""
"""Paths are used in shell commands, where '-' starts an option, and in snakemake's formats."""

_EXPECTED = {
    NAME_PATTERN: "letters, digits, '.', '_' and '-', a letter or digit first",
    ITEM_PATTERN: "letters, digits and '_', a letter first",
    CONNECTION_PATTERN: "source->target, like E->I",
    RESULTS_PATTERN: "a path without {{ }} < > $ ` \\ or quotes, on one line, that does not begin with '-' or a space",
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "finite_number": "a finite number",
    "bool_type": "true or false",
    "string_type": "text in quotes",
    "string_too_short": "text that is not empty",
    "invalid_key": "text as a key; put it in quotes",
    "dict_type": "a mapping of keys to values",
    "model_type": "a mapping of keys to values",
    "model_attributes_type": "a mapping of keys to values",
    "list_type": "a list, like [1, 2]",
    "tuple_type": "a list, like [1, 2]",
    "too_short": "a length of at least {min_length}",
    "too_long": "a length of at most {max_length}",
    "literal_error": "{expected}",
    "greater_than": "more than {gt:,.10g}",
    "greater_than_equal": "at least {ge:,.10g}",
    "less_than": "less than {lt:,.10g}",
    "less_than_equal": "at most {le:,.10g}",
}
"""Wording for each pattern, and for each error type of pydantic that our types can cause."""

_MAX_REPORTED = 1_000
"""Maximum number of errors that are reported: a list of a million wrong values would take minutes."""

_Path = tuple[str | int, ...]
"""Keys and indices from the top level of a configuration to a value."""


class CommandLineText(str):
    """Text from snakemake's `--config`, which converts all values within a section to text."""


def problems_of(kind: type[BaseModel], error: ValidationError) -> list[Problem]:
    """Return the errors that pydantic found in a configuration of the type `kind`, one problem per key."""
    schema = kind.model_json_schema()
    found: dict[_Path, tuple[dict[str, Any], Problem]] = {}
    for detail in error.errors(include_url=False)[:_MAX_REPORTED]:
        narrowed, location = _narrowed(schema, detail["loc"])
        path = _key_path(narrowed, location)
        problem = _problem(narrowed, path, dict(detail))
        if path in found:  # pydantic reports an error for each member of a union
            _, other = found[path]
            problem = replace(other, expected=f"{other.expected} or {problem.expected.removeprefix('expected ')}")
        found[path] = narrowed, problem
    return [_described(narrowed, path, problem) for path, (narrowed, problem) in found.items()]


def _narrowed(schema: dict[str, Any], location: _Path) -> tuple[dict[str, Any], _Path]:
    """Reduce the open set of kinds at a location to the item's kind, and remove the kind from the location.

    Pydantic puts the kind after the item: `models`, `tft_neuron`, `tft`, `history`.
    """
    for place in OPEN_SETS:
        n = len(place)
        if location[:n] != place or len(location) < n + 2:
            continue
        member = _node(schema, location[: n + 1]).get("discriminator", {}).get("mapping", {}).get(location[n + 1])
        if member is not None:
            section = {"type": "object", "additionalProperties": {"$ref": member}}
            return _with(schema, place, section), (*location[: n + 1], *location[n + 2 :])
    return schema, location


def _with(schema: dict[str, Any], place: tuple[str, ...], section: dict[str, Any]) -> dict[str, Any]:
    """Return the schema with the section at a place replaced."""
    if not place:
        return section
    node = _resolved(schema, schema["properties"][place[0]])
    inner = _with({"$defs": schema["$defs"], **node}, place[1:], section)
    return {**schema, "properties": {**schema["properties"], place[0]: inner}}


def did_you_mean(name: str, known: Iterable[str], otherwise: str) -> str:
    """Suggest the known name that is most similar, or else return `otherwise`."""
    close = difflib.get_close_matches(name, known, n=1)
    return f"did you mean {close[0]}?" if close else otherwise


def _problem(schema: dict[str, Any], path: _Path, detail: dict[str, Any]) -> Problem:
    if not path:
        return Problem("top level", detail["input"], f"expected {_EXPECTED['model_type']}")
    *parents, last = map(str, path)
    key, given, limits = ".".join((*parents, last)), detail["input"], detail.get("ctx", {})
    match detail["type"]:
        case "extra_forbidden":
            known = sorted(_said(schema, path[:-1], "properties"))
            hint = did_you_mean(last, known, "expected one of " + ", ".join(known))
            return Problem(key, given, f"unknown key; {hint}")
        case "union_tag_not_found":
            return Problem(f"{key}.kind", NOT_GIVEN, f"expected this key; one of {', '.join(_kinds(schema, path))}")
        case "union_tag_invalid":
            known = _kinds(schema, path)
            return Problem(f"{key}.kind", limits["tag"], did_you_mean(limits["tag"], known, f"expected one of {', '.join(known)}"))
        case "missing" if isinstance(path[-1], int):
            return Problem(".".join(parents), given, f"expected {_said(schema, path[:-1], 'minItems')} entries")
        case "missing":
            return Problem(key, NOT_GIVEN, "expected this key; add it")
    known_wording = _EXPECTED.get(limits.get("pattern", detail["type"]))
    wording = detail["msg"] if known_wording is None else known_wording.format(**limits)
    return Problem(key, given, f"expected {wording}{_text_hint(detail['type'], path, given)}")


def _kinds(schema: dict[str, Any], path: _Path) -> list[str]:
    """Return the kinds that are allowed for the item at a path."""
    return sorted(_node(schema, path).get("discriminator", {}).get("mapping", {}))


def how_to_set(key: str, value: Any) -> str:
    """Return the command-line options that set a key."""
    return f"""`spikelens run --set {key}={value}` or `snakemake --config set='["{key}={value}"]'`"""


def _text_hint(fault: str, path: _Path, given: Any) -> str:
    """Suggest how to write a number or boolean given as text, or an integer given as a float."""
    if isinstance(given, CommandLineText) and not fault.startswith(("string", "literal")):
        keys = [part for part in path if isinstance(part, str)]  # --set takes whole lists
        value = given if len(keys) == len(path) else "[...]"
        return f"; snakemake converts this --config value to text; use {how_to_set('.'.join(keys), value)}"
    if fault not in ("int_type", "float_type") or not isinstance(given, str | float):
        return ""
    try:
        number = float(given)
    except ValueError:
        return ""
    if not math.isfinite(number) or (fault == "int_type" and not number.is_integer()):
        return ""
    shown = str(int(number)) if fault == "int_type" else repr(number)
    return f"; {given} is text here; write {shown} without quotes" if isinstance(given, str) else f"; write {shown}"


def _described(schema: dict[str, Any], path: _Path, problem: Problem) -> Problem:
    """Add the description of the key, or of the list if the key is an entry of a list; not for sections."""
    node = _node(schema, path)
    if "description" not in node and path and isinstance(path[-1], int):
        node = _node(schema, path[:-1])
    if "description" not in node or "properties" in node:
        return problem
    return replace(problem, expected=f"{problem.expected} ({node['description']})")


def _key_path(schema: dict[str, Any], location: _Path) -> _Path:
    """Return the key path from pydantic's location, without the markers for union members and for keys."""
    path: _Path = ()
    marked = False
    for part in location:
        node = _node(schema, path)
        if part == "[key]" or "anyOf" in node:
            break
        if "oneOf" in node and not marked:  # if the union member is known, pydantic puts its name first
            marked = True
            continue
        path, marked = (*path, part), False
    return path


def _node(schema: dict[str, Any], path: _Path) -> dict[str, Any]:
    """Return the part of a schema at a path of keys and indices, or an empty mapping."""
    node: dict[str, Any] = schema
    for part in path:
        members = _members(schema, node)
        if isinstance(part, int):
            items = [member.get("prefixItems") or {part: member.get("items")} for member in members if member.get("type") == "array"]
            node = (items[0][part] if items else None) or {}
        else:
            node = next((found for member in members if (found := _child(member, part))), {})
        node = _resolved(schema, node)
    return node


def _said(schema: dict[str, Any], path: _Path, what: str) -> Any:
    """Return the schema's entry `what` at a path; for a union, from its first member that has it."""
    return next((member[what] for member in _members(schema, _node(schema, path)) if what in member), {})


def _members(schema: dict[str, Any], node: dict[str, Any]) -> list[dict[str, Any]]:
    return [_resolved(schema, member) for member in node.get("oneOf", [node])]


def _child(node: dict[str, Any], key: str) -> dict[str, Any]:
    others = (node.get("additionalProperties"), *node.get("patternProperties", {}).values())
    child: dict[str, Any] = node.get("properties", {}).get(key) or next(filter(None, others), {})
    return child


def _resolved(schema: dict[str, Any], node: dict[str, Any]) -> dict[str, Any]:
    """Return a node with its reference resolved; for a section that may be null, the section."""
    members = node.get("anyOf", [])
    if len(members) == 2 and "$ref" in members[0] and members[1] == {"type": "null"}:
        node = {**{key: value for key, value in node.items() if key != "anyOf"}, **members[0]}
    return {**schema["$defs"][node["$ref"].rsplit("/", 1)[1]], **node} if "$ref" in node else node

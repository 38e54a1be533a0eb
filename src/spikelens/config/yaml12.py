"""Read YAML 1.2: numbers are decimal unless prefixed, keys are text, duplicate keys are errors."""

from __future__ import annotations

import itertools
import re
from pathlib import Path
from typing import Any

import yaml

from spikelens.errors import SpikelensError

MAX_NODES = 1_000_000
"""Maximum number of values in a file, with aliases expanded; MAX_CONNECTIONS with all keys need fewer."""


def read_yaml(path: Path) -> dict[str, Any]:
    """Read a configuration file. An empty file is an empty configuration.

    Raises
    ------
    SpikelensError
        If the file is missing, is not a YAML mapping, or contains a key twice.
    """
    if not path.is_file():
        raise SpikelensError(f"{path}: no such configuration file or folder of a run; give one as the first argument")
    try:
        text = path.read_bytes().decode("utf-8")
    except OSError as error:
        raise SpikelensError(f"{path} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise SpikelensError(f"{path} is not UTF-8 text; save it as UTF-8") from None
    content = parse_yaml(text, str(path))
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise SpikelensError(f"{path}: expected a mapping of sections (run, network, ...), found {type(content).__name__}")
    return content


def parse_yaml(text: str, name: str) -> Any:
    """Parse a YAML text; `name` is the source of the text in messages.

    Raises
    ------
    SpikelensError
        If the text is not valid YAML.
    """
    try:
        return _parsed_yaml(text, name)
    except RecursionError:
        raise SpikelensError(f"{name} is not valid YAML: it is nested too deeply") from None
    except (yaml.YAMLError, ValueError, TypeError, KeyError, AttributeError) as error:
        # yaml also passes on errors of int() and other functions that it calls on values
        raise SpikelensError(f"{name} is not valid YAML: {error}") from None


def _parsed_yaml(text: str, name: str) -> Any:
    loader = _Loader(text)
    loader.name = name
    try:
        node = loader.get_single_node()
        if node is None:
            return None
        if _count_nodes(node, {}) > MAX_NODES:
            raise yaml.YAMLError(f"it contains over {MAX_NODES:,} values with aliases expanded; use a smaller file")
        return loader.construct_document(node)
    finally:
        loader.dispose()


def _count_nodes(node: yaml.Node, known: dict[yaml.Node, int]) -> int:
    """Count a node and all nodes below it, with aliases expanded."""
    if isinstance(node, yaml.ScalarNode):
        return 1
    if node not in known:
        known[node] = MAX_NODES + 1  # infinite if an alias makes the node contain itself
        inner = itertools.chain.from_iterable(node.value) if isinstance(node, yaml.MappingNode) else node.value
        known[node] = 1 + sum(_count_nodes(child, known) for child in inner)
    return known[node]


class _Loader(yaml.SafeLoader):
    """Loader for YAML 1.2's core schema: 0010 is 10, 1e3 is a number, 1:30 is text.

    Unlike in standard YAML, on and off are booleans (as in 1.1), and duplicate keys and keys that are not
    text are errors.
    """

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[str] = set()
        for key_node, _ in node.value:
            key = key_node.value
            if key_node.tag not in ("tag:yaml.org,2002:str", "tag:yaml.org,2002:merge"):
                raise yaml.MarkedYAMLError(problem=f"expected text as a key, found {key}; quote it", problem_mark=key_node.start_mark)
            if key in seen:
                raise yaml.MarkedYAMLError(problem=f"duplicate key '{key}'; keep one", problem_mark=key_node.start_mark)
            seen.add(key)
        return super().construct_mapping(node, deep)

    def construct_yaml_int(self, node: yaml.ScalarNode) -> int:
        text = self.construct_scalar(node)
        return int(text, {"0o": 8, "0x": 16}.get(text[:2], 10))

    def construct_yaml_float(self, node: yaml.ScalarNode) -> float:
        return float(re.sub(r"\.(?=[a-z])", "", self.construct_scalar(node).lower()))


_Loader.yaml_implicit_resolvers = {}
for _kind, _pattern, _first in (
    ("bool", r"(?:true|True|TRUE|false|False|FALSE|on|On|ON|off|Off|OFF)$", "tTfFoO"),
    ("int", r"(?:[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+)$", "-+0123456789"),
    (
        "float",
        r"(?:[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN))$",
        "-+.0123456789",
    ),
    ("null", r"(?:~|null|Null|NULL|)$", ["~", "n", "N", ""]),
    ("merge", r"<<$", "<"),
):
    _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{_kind}", re.compile(_pattern), list(_first))
_Loader.add_constructor("tag:yaml.org,2002:int", _Loader.construct_yaml_int)
_Loader.add_constructor("tag:yaml.org,2002:float", _Loader.construct_yaml_float)

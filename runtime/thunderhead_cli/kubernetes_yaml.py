"""YAML as kubectl reads it, so that a job file means the same on one machine and in a cluster.

PyYAML and Go's reader (sigs.k8s.io/yaml) both follow YAML 1.1 and differ in plain scalars: PyYAML takes ``1e-3`` for a
string, ``1:30`` for 90 and ``2026-01-01`` for a date; Go takes them for 0.001 and two strings, and ``y`` for true.
"""

from __future__ import annotations

import re
from typing import Final

import yaml

_BOOL: Final = re.compile(r"^(?:[yY]|yes|Yes|YES|true|True|TRUE|on|On|ON|[nN]|no|No|NO|false|False|FALSE|off|Off|OFF)$")
_NULL: Final = re.compile(r"^(?:~|null|Null|NULL|)$")
_NUMBER: Final = re.compile(
    r"^[-+]?(?:0x[0-9a-fA-F_]+|0o[0-7_]+|0b[01_]+|(?:\.[0-9][0-9_]*|[0-9][0-9_]*(?:\.[0-9_]*)?)(?:[eE][-+]?[0-9]+)?)$"
)
_NOT_FINITE: Final = re.compile(r"^(?:[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN))$")
_NUMBER_TAG: Final = "tag:thunderhead.dev,2026:number"


class KubernetesLoader(yaml.SafeLoader):
    """A safe loader that resolves plain scalars as Go's does."""

    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}  # noqa: RUF012  # PyYAML's own attribute


def number(text: str) -> int | float:
    """The number that Go reads; a leading zero means octal where the digits allow it."""
    plain = text.replace("_", "")
    digits = plain.lstrip("+-")
    for prefix, base in (("0x", 16), ("0o", 8), ("0b", 2)):
        if digits.startswith(prefix):
            return int(plain.replace(prefix, "", 1), base)
    if not digits.isdigit():
        return float(plain)
    is_octal = digits.startswith("0") and set(digits) <= set("01234567")
    return int(plain, 8 if is_octal else 10)


def _construct_number(loader: yaml.SafeLoader, node: yaml.ScalarNode) -> int | float:
    return number(str(loader.construct_scalar(node)))


def _construct_bool(loader: yaml.SafeLoader, node: yaml.ScalarNode) -> bool:
    return str(loader.construct_scalar(node)).lower() in ("y", "yes", "true", "on")


KubernetesLoader.add_implicit_resolver("tag:yaml.org,2002:bool", _BOOL, list("yYnNtTfFoO"))
KubernetesLoader.add_implicit_resolver("tag:yaml.org,2002:null", _NULL, ["~", "n", "N", ""])
KubernetesLoader.add_implicit_resolver("tag:yaml.org,2002:merge", re.compile(r"^<<$"), ["<"])
KubernetesLoader.add_implicit_resolver(_NUMBER_TAG, _NUMBER, list("-+.0123456789"))
KubernetesLoader.add_implicit_resolver("tag:yaml.org,2002:float", _NOT_FINITE, list("-+."))
KubernetesLoader.add_constructor(_NUMBER_TAG, _construct_number)
KubernetesLoader.add_constructor("tag:yaml.org,2002:bool", _construct_bool)

"""The CustomResourceDefinition of TrainingJob, generated from the models.

``python -m thunderhead_api.schema`` writes it; ``--check`` only says whether it is fresh.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from thunderhead_api.hints import REFUSED_KEY, RULES_KEY, SAYS_KEY
from thunderhead_api.names import JOB_NAME_MAX, JOB_NAME_PATTERN
from thunderhead_api.rulebook import RULES, Rule
from thunderhead_api.structural import INT_OR_STRING, KEYS_KEY, Schema, spec_schema, status_schema
from thunderhead_api.treaty import GROUP, KIND, PLURAL, VERSION

REPOSITORY: Final = Path(__file__).resolve().parents[2]
CRD_FILE: Final = REPOSITORY / "crds" / f"{GROUP}_{PLURAL}.yaml"
CHART_CRD_FILE: Final = REPOSITORY / "charts" / "thunderhead" / "files" / "crds" / CRD_FILE.name
"""A chart is packaged from its own directory alone, so it needs a copy; a test says that the two are equal."""
HEADER: Final = (
    "# Generated from the models in crds/thunderhead_api by `python -m thunderhead_api.schema`; do not edit.\n"
)

COLUMNS: Final = (
    ("Phase", "string", ".status.phase", 0, "Summary of the conditions."),
    ("Reason", "string", ".status.reason", 0, "Why it has failed or is blocked or restarts, or what it waits for."),
    ("Nodes", "string", ".status.nodes.summary", 0, "Pods that train or have finished, of all pods."),
    ("Step", "integer", ".status.progress.step", 0, "Optimizer steps done."),
    ("Progress", "string", ".status.progress.summary", 0, "Share of the steps that the job is to do."),
    ("Restarts", "integer", ".status.restarts.total", 0, "Restarts so far, charged and free."),
    ("Attempt", "integer", ".status.attempt", 1, "Number of the running attempt."),
    ("Checkpoint", "integer", ".status.checkpoint.step", 1, "Step of the newest committed checkpoint."),
    ("Goodput", "integer", ".status.goodput.ratioPercent", 1, "Percent of the time wanted to run that was not lost."),
    ("Last-Cause", "string", ".status.lastRecovery.cause", 1, "Why the newest restart was needed."),
    ("Age", "date", ".metadata.creationTimestamp", 0, ""),
)


def crd() -> dict[str, Any]:
    """The whole CustomResourceDefinition as a dictionary."""
    version = {
        "name": VERSION,
        "served": True,
        "storage": True,
        "subresources": {"status": {}},
        "additionalPrinterColumns": [_column(*column) for column in COLUMNS],
        "schema": {"openAPIV3Schema": _root()},
    }
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{PLURAL}.{GROUP}"},
        "spec": {
            "group": GROUP,
            "scope": "Namespaced",
            "names": {
                "kind": KIND,
                "listKind": f"{KIND}List",
                "plural": PLURAL,
                "singular": KIND.lower(),
                "shortNames": ["tj"],
                "categories": ["all", "training"],
            },
            "versions": [version],
        },
    }


def object_schema() -> Schema:
    """The schema of a whole object, in the form that :mod:`thunderhead_api.structural` describes."""
    name = {"type": "string", "maxLength": JOB_NAME_MAX, "pattern": JOB_NAME_PATTERN}
    return {
        "type": "object",
        "description": "A PyTorch training job: what to train, on what, and how to recover.",
        "required": ["spec"],
        RULES_KEY: ["nodesFixed", "processesFixed", "checkpointUriFixed"],
        "properties": {
            "apiVersion": {"type": "string"},
            "kind": {"type": "string"},
            "metadata": {"type": "object", "properties": {"name": name}},
            "spec": {**spec_schema(), "description": "What to train, on what, and how to recover."},
            "status": {**status_schema(), "description": "What the operator knows about the job."},
        },
    }


def render() -> str:
    """The YAML file."""
    return HEADER + "\n".join(yaml_lines(crd())) + "\n"


def yaml_lines(value: Any, indent: str = "") -> Iterator[str]:
    """Block YAML of a non-empty dictionary or list, its scalars written as JSON.

    Every string is quoted, so that no reader of YAML 1.1 takes one for a boolean, a number or a date.
    """
    pairs = value.items() if isinstance(value, dict) else ((None, item) for item in value)
    for key, item in pairs:
        head = indent + ("-" if key is None else f"{key}:")
        if not isinstance(item, dict | list) or not item:
            yield f"{head} {json.dumps(item, ensure_ascii=False)}"
            continue
        lines = yaml_lines(item, indent + "  ")
        if key is None:
            yield f"{head} {next(lines).lstrip()}"
        else:
            yield head
        yield from lines


def for_server(schema: Schema) -> Schema:
    """The schema with everything that only we understand turned into CEL rules."""
    served = {key: value for key, value in schema.items() if key not in (SAYS_KEY, RULES_KEY, REFUSED_KEY, KEYS_KEY)}
    if INT_OR_STRING in schema:
        served.pop("enum", None)  # its word alone would refuse every integer; the rule says it right
    if SAYS_KEY in schema:
        served.pop("pattern")
    for key in ("items", "additionalProperties"):
        if key in schema:
            served[key] = for_server(schema[key])
    if "properties" in schema:
        refused = {name: _refused(advice) for name, advice in schema.get(REFUSED_KEY, {}).items()}
        served["properties"] = {name: for_server(field) for name, field in schema["properties"].items()} | refused
    rules = [_validation(rule) for rule in cel_rules(schema)]
    return {**served, "x-kubernetes-validations": rules} if rules else served


def cel_rules(schema: Schema) -> list[Rule]:
    """Every rule on one place of the schema; those made here have their Python in :mod:`thunderhead_api.walk`."""
    rules = [RULES[name] for name in schema.get(RULES_KEY, ())]
    if INT_OR_STRING in schema and "enum" in schema:
        (word,) = schema["enum"]
        rules.append(Rule(f"type(self) == int || self == '{word}'", f"must be an integer or {word}", None))
    if SAYS_KEY in schema:
        matching = f"self.matches({_quote(schema['pattern'])})"
        cel = f"type(self) == int || {matching}" if INT_OR_STRING in schema else matching
        rules.append(Rule(cel, schema[SAYS_KEY], None))
    if KEYS_KEY in schema:
        keys = schema[KEYS_KEY]
        cel = f"self.all(key, size(key) <= {keys['maxLength']} && key.matches({_quote(keys['pattern'])}))"
        rules.append(Rule(cel, f"keys {keys[SAYS_KEY]}", None))
    refused = schema.get(REFUSED_KEY, {})
    rules += [Rule(f"!has(self.{name})", f"{name} {advice}", None, field=name) for name, advice in refused.items()]
    return rules


def _root() -> Schema:
    return for_server(object_schema())


def _refused(advice: str) -> Schema:
    return {INT_OR_STRING: True, "description": f"Refused: {advice}."}


def _validation(rule: Rule) -> dict[str, str]:
    where = {"fieldPath": f".{rule.field}"} if rule.field else {}
    return {"rule": rule.cel, "message": rule.message, **where}


def _quote(pattern: str) -> str:
    """A CEL raw string; a pattern with an apostrophe would need another quote."""
    assert "'" not in pattern, pattern
    return f"r'{pattern}'"


def _column(name: str, kind: str, path: str, priority: int, description: str) -> dict[str, Any]:
    column: dict[str, Any] = {"name": name, "type": kind, "jsonPath": path}
    if description:
        column["description"] = description
    return {**column, "priority": priority} if priority else column


def main(arguments: list[str] | None = None) -> int:
    """Write the files, or with ``--check`` only say whether they are fresh."""
    parser = argparse.ArgumentParser(prog="python -m thunderhead_api.schema", description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 when a file is not fresh")
    check = parser.parse_args(arguments).check
    text = render()
    stale = [file for file in (CRD_FILE, CHART_CRD_FILE) if not file.exists() or file.read_text() != text]
    for file in stale:
        print(f"{file.relative_to(REPOSITORY)} {'is not what the models say' if check else 'written'}")
        if not check:
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text)
    return 1 if check and stale else 0


if __name__ == "__main__":
    sys.exit(main())

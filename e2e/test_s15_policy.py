"""Scenario 15: what the site denies of a podTemplate, by the API server's own admission as by the operator's rules."""

from __future__ import annotations

import runpy
from typing import Any

import pytest

from .cluster.config import REPOSITORY
from .support.api import JOBS, Api, ApiError
from .support.figures import Figures
from .support.jobs import ProbeJob, Site

SCENARIO = "15 policy"
TABLE = runpy.run_path(str(REPOSITORY / "tests/charts/policy_cases.py"))
"""The rows that tests/charts puts to the operator's rules and to the expressions of the chart."""


def answer(api: Api, site: Site, template: dict[str, Any]) -> str | None:
    """What the API server says against a job of this template; None: it would take it."""
    manifest = ProbeJob(name="policy-case", spec={"podTemplate": template}).manifest(site)
    try:
        api.rehearse(JOBS, site.namespace, manifest)
    except ApiError as error:
        return f"HTTP {error.status}: {error}"
    return None


@pytest.mark.usefixtures("operator")
def test_the_api_server_denies_what_the_operator_denies(api: Api, site: Site, figures: Figures) -> None:
    wrong = []
    for rule, template in TABLE["CASES"]:
        said = answer(api, site, template)
        if said is None or not said.startswith("HTTP 403") or f"policy.allow: [{rule}]" not in said:
            wrong.append((str(rule), template, said))
    wrong += [("allowed", template, said) for template in TABLE["ALLOWED"] if (said := answer(api, site, template))]
    rows = len(TABLE["CASES"]) + len(TABLE["ALLOWED"])
    figures.note(SCENARIO, f"rows that the API server judges as the operator does, of {rows}", float(rows - len(wrong)))
    assert wrong == []

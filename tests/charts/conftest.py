"""Rendering the chart in process. The Helm library is used here alone, so that another way to render can replace it."""

from __future__ import annotations

import logging
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from helm_python import Chart, lint

ROOT = Path(__file__).parents[2]
CHART = ROOT / "charts" / "thunderhead"
HAS_PROMETHEUS_OPERATOR = '.Capabilities.APIVersions.Has "monitoring.coreos.com/v1"'

sys.path.insert(0, str(Path(__file__).parent))  # policy_cases

Manifest = dict[str, Any]
Render = Callable[..., list[Manifest]]


@pytest.fixture(scope="session")
def chart() -> Iterator[Chart]:
    """The chart as it is in the repository."""
    with Chart.load(CHART) as loaded:
        yield loaded


@pytest.fixture(scope="session")
def monitored_chart(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chart]:
    """The chart as a cluster with the Prometheus operator sees it: the library offers no way to name API versions."""
    copied = tmp_path_factory.mktemp("chart") / "thunderhead"
    shutil.copytree(CHART, copied)
    helpers = copied / "templates" / "_helpers.tpl"
    assert HAS_PROMETHEUS_OPERATOR in helpers.read_text()
    helpers.write_text(helpers.read_text().replace(HAS_PROMETHEUS_OPERATOR, "true"))
    with Chart.load(copied) as loaded:
        yield loaded


@pytest.fixture(scope="session")
def render(chart: Chart, monitored_chart: Chart) -> Render:
    """``render(values, monitored=False)`` → every object."""

    def rendered(values: Manifest, *, monitored: bool = False, name: str = "thunderhead") -> list[Manifest]:
        source = monitored_chart if monitored else chart
        texts = source.render(values, name=name, namespace="training")
        found = [
            yaml.load_all(text, yaml.CSafeLoader) for file, text in sorted(texts.items()) if not file.endswith(".txt")
        ]
        return [manifest for manifests in found for manifest in manifests if manifest]

    return rendered


@pytest.fixture(scope="session")
def notes(chart: Chart) -> Callable[[Manifest], str]:
    """``notes(values)`` → what helm prints at the end."""
    return lambda values: chart.render(values, name="thunderhead", namespace="training")[
        "thunderhead/templates/NOTES.txt"
    ]


@pytest.fixture(scope="session")
def lint_messages() -> list[str]:
    """What ``helm lint`` complains about, advice (severity 1) left out."""
    logging.getLogger("helm_python").setLevel(logging.ERROR)
    report = lint(str(CHART))
    return [*report["errors"], *(m["error"] for m in report["messages"] if m["severity"] > 1)]

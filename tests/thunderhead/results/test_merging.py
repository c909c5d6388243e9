"""Accumulators of several ranks made one."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
import torchmetrics

from thunderhead.results.merging import apart, merged


def entry(name: str, reduction: str, total: float, weight: float = 0.0, metric: Any = None) -> dict[str, Any]:
    """One entry as a file holds it."""
    attribute = None if metric is None else name
    spec = {"reduction": reduction, "metric_attribute": attribute, "dataloader_idx": None}
    saved = None
    if metric is not None:
        states = {key: getattr(metric, key) for key in metric._defaults}
        saved = {"states": states, "update_count": metric._update_count, "forward_cache": None}
    return {"hook": "training_step", "name": name, "spec": spec, "total": total, "weight": weight, "metric": saved}


@pytest.mark.parametrize(
    ("reduction", "totals", "weights", "expected"),
    [
        ("mean", (6.0, 10.0), (2, 3), (16.0, 5)),
        ("sum", (6.0, 10.0), (0.0, 0.0), (16.0, 0.0)),
        ("min", (6.0, 10.0), (0.0, 0.0), (6.0, 0.0)),
        ("max", (6.0, 10.0), (0.0, 0.0), (10.0, 0.0)),
    ],
)
def test_values(reduction: str, totals: Any, weights: Any, expected: Any) -> None:
    parts = [[entry("a", reduction, total, weight)] for total, weight in zip(totals, weights, strict=True)]
    (found,) = merged(parts, {})
    assert (found["total"], found["weight"]) == expected


@pytest.mark.parametrize("reduction", ["min", "max"])
def test_nan_wins(reduction: str) -> None:
    for totals in ((math.nan, 1.0), (1.0, math.nan)):
        (found,) = merged([[entry("a", reduction, total)] for total in totals], {})
        assert math.isnan(found["total"])


def test_what_only_one_rank_logged_stays() -> None:
    found = merged([[entry("a", "sum", 1.0)], [], [entry("b", "sum", 2.0), entry("a", "sum", 4.0)]], {})
    assert [(each["name"], each["total"]) for each in found] == [("a", 5.0), ("b", 2.0)]


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        (torchmetrics.SumMetric, 10.0),
        (torchmetrics.MeanMetric, 2.5),
        (torchmetrics.MaxMetric, 4.0),
        (torchmetrics.CatMetric, [1.0, 2.0, 3.0, 4.0]),
    ],
)
def test_metric_objects(make: Any, expected: Any) -> None:
    """Two ranks, which saw one and two, three and four."""
    ranks = [make(), make()]
    for metric, values in zip(ranks, ((1.0, 2.0), (3.0, 4.0)), strict=True):
        for value in values:
            metric.update(value)
    (found,) = merged([[entry("a", "mean", 0.0, metric=metric)] for metric in ranks], {"a": make()})
    whole = make()
    for name, value in found["metric"]["states"].items():
        setattr(whole, name, value)
    whole._update_count = found["metric"]["update_count"]
    assert whole._update_count == 4
    assert whole.compute().tolist() == expected


def test_a_state_without_a_reduction_stays_the_first_ranks() -> None:
    ranks = [torchmetrics.PearsonCorrCoef(), torchmetrics.PearsonCorrCoef()]
    for number, metric in enumerate(ranks):
        metric.update(torch.arange(3.0) + number, torch.arange(3.0))
    parts = [[entry("a", "mean", 0.0, metric=metric)] for metric in ranks]
    (found,) = merged(parts, {"a": torchmetrics.PearsonCorrCoef()})
    assert found["metric"] is parts[0][0]["metric"]


class MeanState(torchmetrics.Metric):
    """A mean that is reduced as one, beside a sum."""

    def __init__(self) -> None:
        super().__init__()
        self.add_state("mean", torch.tensor(0.0), dist_reduce_fx="mean")
        self.add_state("count", torch.tensor(0), dist_reduce_fx="sum")

    def update(self, value: float) -> None:
        """Take the value."""
        self.mean = torch.tensor(value)
        self.count += 1

    def compute(self) -> torch.Tensor:
        """The mean."""
        return self.mean


def test_what_is_reduced_to_its_mean_is_on_every_rank() -> None:
    ranks = [MeanState(), MeanState()]
    for metric, value in zip(ranks, (1.0, 3.0), strict=True):
        metric.update(value)
    metrics = {"a": MeanState()}
    parts = [[entry("a", "mean", 0.0, metric=metric), entry("b", "sum", 1.0)] for metric in ranks]
    whole = merged(parts, metrics)
    (other,) = apart(whole, metrics)
    assert whole[0]["metric"]["states"] == {"mean": torch.tensor(2.0), "count": torch.tensor(2)}
    assert other["metric"]["states"] == {"mean": torch.tensor(2.0), "count": torch.tensor(0)}

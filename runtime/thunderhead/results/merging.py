"""Accumulators of several ranks made one, for a run that goes on with another number of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import deepcopy
from typing import Any

import torch


def merged(parts: Sequence[list[dict[str, Any]]], metrics: Mapping[str, Any]) -> list[dict[str, Any]]:
    """What one rank would hold that had logged everything; see ``Results.state_dict`` for the form.

    Args:
        parts: by rank.
        metrics: the Metric objects among the module's attributes, by name, which say how their states are reduced. One
            with a state that cannot be (``dist_reduce_fx=None``) stays as the first rank has it.
    """
    found: dict[tuple[Any, ...], list[dict[str, Any]]] = {}
    for part in parts:
        for entry in part:
            key = (entry["hook"], entry["name"], entry["spec"]["dataloader_idx"])
            found.setdefault(key, []).append(entry)
    return [_merged(entries, metrics) for entries in found.values()]


def _merged(entries: list[dict[str, Any]], metrics: Mapping[str, Any]) -> dict[str, Any]:
    first = entries[0]
    attribute = first["spec"]["metric_attribute"]
    if attribute is not None:
        states = [entry["metric"] for entry in entries]
        return {**first, "metric": _merged_metric(states, metrics[attribute]._reductions)}
    totals = torch.tensor([entry["total"] for entry in entries], dtype=torch.float64)
    # torch's minimum and maximum let NaN win, as the entries do.
    reduce = {"min": torch.min, "max": torch.max}.get(first["spec"]["reduction"], torch.sum)
    return {**first, "total": reduce(totals).item(), "weight": sum(entry["weight"] for entry in entries)}


def _merged_metric(saved: list[dict[str, Any]], reductions: Mapping[str, Any]) -> dict[str, Any]:
    states: dict[str, Any] = {}
    for name, reduce in reductions.items():
        values = [each["states"][name] for each in saved]
        if isinstance(values[0], list):
            states[name] = [item for value in values for item in value]
        elif reduce is None:
            return saved[0]
        else:
            states[name] = reduce(torch.stack(values))
    return {**saved[0], "states": states, "update_count": sum(each["update_count"] for each in saved)}


def apart(entries: Sequence[dict[str, Any]], metrics: Mapping[str, Any]) -> list[dict[str, Any]]:
    """What all other ranks hold beside the one that got ``entries``, so that reducing them again changes nothing.

    That is nothing, but for states that are reduced to their mean: each rank must have those.

    Args:
        entries: as ``merged`` returns them.
        metrics: as there.
    """
    found = []
    for entry in entries:
        reductions = {} if entry["metric"] is None else metrics[entry["spec"]["metric_attribute"]]._reductions
        if any(map(_is_mean, reductions.values())):
            defaults = metrics[entry["spec"]["metric_attribute"]]._defaults
            saved = entry["metric"]["states"]
            states = {
                name: saved[name] if _is_mean(reduce) else deepcopy(defaults[name])
                for name, reduce in reductions.items()
            }
            found.append({**entry, "metric": {**entry["metric"], "states": states}})
    return found


def _is_mean(reduce: object) -> bool:
    # torchmetrics' function, which is not imported for its name.
    return getattr(reduce, "__name__", "") == "dim_zero_mean"

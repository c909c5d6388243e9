"""Reducing over ranks what was logged: one collective per kind, however many values, and those of metric objects.

Ranks may have logged different names: one that had no batch has logged nothing. They compare what they have, two small
numbers, and only where they differ do they tell each other. Each then takes what it lacks as its own, neutral in the
reduction: a collective never waits for a rank that does not know of it, and whoever watches a value sees it everywhere.
"""

from __future__ import annotations

import math
import warnings
import zlib
from dataclasses import fields
from typing import Any

import torch
import torch.distributed as dist
from torch import nn

from thunderhead.exceptions import MisconfigurationException
from thunderhead.ranks import Ranks
from thunderhead.results.entry import Entry, LogSpec, Mean, MetricEntry
from thunderhead.results.metric_objects import MetricsOf
from thunderhead.results.results import Results

_SPEC = tuple(field.name for field in fields(LogSpec) if field.name != "group")
# What a rank tells of an entry: its name, how it was logged, and the ranks of its sync_dist_group where it has one.
Told = tuple[str, str, str, dict[str, Any], list[int] | None]
Logged = tuple[str, str, LogSpec]  # in which hook, under which name, how


def reduce_over_ranks(results: Results, ranks: Ranks, module: nn.Module) -> None:
    """Reduce every fresh value of ``results`` that is to be; all ranks come here alike.

    Values with a ``sync_dist_group`` of their own are reduced over that, with a collective per group.

    Raises:
        MisconfigurationException: not all ranks of a group logged its value.
    """
    mine = _wanted(results)
    if not _all_alike(mine, ranks):
        mine |= _adopted(results, mine, ranks, module)
        for entry in mine.values():
            if isinstance(entry, MetricEntry):
                entry.computed = None
    # In one order everywhere, whatever was logged first.
    entries = [mine[key] for key in sorted(mine)]
    for entry in entries:
        if isinstance(entry, MetricEntry):
            entry.synced = _computed(entry)
    for kind, operation in (("Mean", "sum"), ("Sum", "sum"), ("Min", "min"), ("Max", "max")):
        found = [entry for entry in entries if type(entry).__name__ == kind]
        # Nearly always one, of all ranks: that of values for which no sync_dist_group was named.
        for group in dict.fromkeys(entry.spec.group for entry in found):
            of_group = [entry for entry in found if entry.spec.group is group]
            _reduce_kind(of_group, operation, ranks, ranks.data_group if group is None else group)


def _wanted(results: Results) -> dict[tuple[str, str], Entry]:
    return {
        (_key(entry.hook, entry.name, entry.spec.dataloader_idx), type(entry).__name__): entry
        for entry in results.entries()
        if entry.fresh and entry.spec.on_epoch and (entry.spec.sync_dist or isinstance(entry, MetricEntry))
    }


def _all_alike(mine: dict[tuple[str, str], Entry], ranks: Ranks) -> bool:
    # What one rank has computed and another must compute is a collective of the one alone, too.
    names = [(*key, str(isinstance(entry, MetricEntry) and entry.computed is None)) for key, entry in mine.items()]
    counted = torch.tensor([len(mine), hash_names(sorted(names))], dtype=torch.int64, device=ranks.root_device)
    lowest = ranks.reduce(counted, reduce_op="min")
    highest = ranks.reduce(counted, reduce_op="max")
    return torch.equal(lowest, highest)


def _adopted(
    results: Results, mine: dict[tuple[str, str], Entry], ranks: Ranks, module: nn.Module
) -> dict[tuple[str, str], Entry]:
    """What other ranks logged and this one did not, as far as it takes part in its reduction."""
    told: list[list[Told]] = ranks.gather_words([_tell(entry) for entry in mine.values()])
    _check_groups(told)
    lacking: dict[tuple[str, str], Logged] = {}
    for hook, name, kind, words, members in (one for of_rank in told for one in of_rank):
        spec = LogSpec(**words, group=None)
        key = (_key(hook, name, spec.dataloader_idx), kind)
        if key not in mine and members is None:
            lacking.setdefault(key, (hook, name, spec))
    metrics = _metrics_of(ranks, module, {key: of for key, of in lacking.items() if key[1] == "MetricEntry"})
    return {key: results.adopt(*of, metrics.get(key)) for key, of in lacking.items()}


def _tell(entry: Entry) -> Told:
    group = entry.spec.group
    members = None if group is None else dist.get_process_group_ranks(group)
    return entry.hook, entry.name, type(entry).__name__, {name: getattr(entry.spec, name) for name in _SPEC}, members


def _check_groups(told: list[list[Told]]) -> None:
    logged = [{(hook, name) for hook, name, *_ in of_rank} for of_rank in told]
    for hook, name, _, _, members in (one for of_rank in told for one in of_rank):
        lacking = [rank for rank in members or () if (hook, name) not in logged[rank]]
        if lacking:
            raise MisconfigurationException(
                f"self.log({name!r}, sync_dist_group=...) in {hook} was called on ranks of its group, but not on "
                f"{', '.join(map(str, lacking))}; log it on all of {members}, or leave sync_dist_group out"
            )


def _metrics_of(ranks: Ranks, module: nn.Module, logged: dict[tuple[str, str], Logged]) -> dict[tuple[str, str], Any]:
    """This rank's metric for each of ``logged``; all ranks come here alike.

    Raises:
        MisconfigurationException: a rank has none. All of them raise: one alone would leave the others in a collective.
    """
    known = MetricsOf(module)
    absent = [(name, spec.metric_attribute) for _, name, spec in logged.values() if spec.metric_attribute not in known]
    told: list[list[tuple[str, str]]] = ranks.gather_words(absent)
    for rank, of_rank in enumerate(told):
        for name, attribute in of_rank:
            raise MisconfigurationException(
                f"self.log({name!r}, metric_attribute={attribute!r}): rank {rank} had no batch and must take part in "
                f"the metric's reduction, but its {type(module).__name__} has no metric of that name; make it in "
                "__init__, and pass the name that it has there"
            )
    return {key: known[str(spec.metric_attribute)] for key, (_, _, spec) in logged.items()}


def _computed(entry: MetricEntry) -> float | None:
    if entry.computed is None:
        for metric in entry.metric.modules():
            if hasattr(metric, "_computed"):
                metric._computed = None  # kept since the last update, which was not the same one on every rank
    with warnings.catch_warnings():
        # Torchmetrics' word on a metric without data, which this rank may well have, while others have some.
        warnings.filterwarnings("ignore", message=r"The ``compute`` method of metric", category=UserWarning)
        return entry.compute()


def _reduce_kind(entries: list[Entry], operation: str, ranks: Ranks, group: dist.ProcessGroup | None) -> None:
    pairs = [entry.state() for entry in entries]
    packed = torch.tensor(pairs, dtype=torch.float64, device=ranks.root_device)
    totals = ranks.reduce(packed, group=group, reduce_op=operation).tolist()
    for entry, (total, weight) in zip(entries, totals, strict=True):
        if isinstance(entry, Mean):
            entry.synced = total / weight if weight else math.nan
        else:
            entry.synced = total


def hash_names(names: list[tuple[str, ...]]) -> int:
    """A number that differs when the names do, the same in every process."""
    return zlib.crc32(repr(names).encode())


def _key(hook: str, name: str, dataloader_idx: int | None) -> str:
    return f"{hook}.{name}.{dataloader_idx}"

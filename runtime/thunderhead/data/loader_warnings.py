"""What is often a mistake in a loader: told where it is loaded, on rank 0."""

from __future__ import annotations

import math
import multiprocessing
import os
from collections.abc import Iterable, Sequence
from typing import Any

from torch.utils.data import DataLoader, IterableDataset, RandomSampler

from thunderhead.data.combined import CombinedLoader
from thunderhead.warning import PossibleUserWarning, warn


def warn_of_loaders(loaders: Iterable[Any], stage: str, *, workers: int, reloads: bool) -> None:
    """Say what may slow the loaders down, or make them give other batches than were meant; each thing once.

    Args:
        loaders: as they were given, or returned by a hook.
        stage: train, val, test or predict.
        workers: how many processes a loader could have here, see ``suggested_max_num_workers``.
        reloads: they are asked for again every so many epochs.
    """
    found: dict[str, type[Warning]] = {}
    for loader in (loaders if isinstance(loaders, CombinedLoader) else CombinedLoader(loaders)).flattened:
        if stage != "train" and _shuffles(loader):
            found[f"the {stage} loader shuffles; evaluation usually reads its data in order"] = PossibleUserWarning
        if isinstance(loader, DataLoader):
            found |= _of_processes(loader, stage, workers, reloads=reloads)
        if isinstance(getattr(loader, "dataset", None), IterableDataset) and _has_length(loader):
            found[
                f"the {stage} loader's {type(loader.dataset).__name__} is an IterableDataset with a length: with "
                "several loader processes it holds only where they share the samples out among themselves"
            ] = UserWarning
    for message, category in found.items():
        warn(message, category)


def warn_of_empty(lengths_of_ranks: Sequence[Sequence[float]], stage: str) -> None:
    """Say which loaders have no batch on any rank."""
    for index, lengths in enumerate(zip(*lengths_of_ranks, strict=True)):
        if sum(lengths) == 0:
            which = f"{stage} loader {index}" if len(lengths_of_ranks[0]) > 1 else f"{stage} loader"
            warn(f"the {which} is empty, on all ranks; check its dataset, drop_last and batch_size")


def suggested_max_num_workers(local_world_size: int) -> int:
    """Loader processes per rank that leave a processor to each rank itself."""
    if local_world_size < 1:
        raise ValueError(f"local_world_size={local_world_size} must be at least 1")
    available = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, available // local_world_size - 1)


def _of_processes(loader: DataLoader[Any], stage: str, workers: int, *, reloads: bool) -> dict[str, type[Warning]]:
    found: dict[str, type[Warning]] = {}
    context = loader.multiprocessing_context or multiprocessing
    if loader.num_workers > 0 and not loader.persistent_workers and context.get_start_method() == "spawn":
        found[
            f"the {stage} loader starts its processes anew for each epoch, by spawn, which takes seconds; "
            "persistent_workers=True keeps them"
        ] = UserWarning
    elif loader.num_workers < 2 and workers > 1:
        found[
            f"the {stage} loader has num_workers={loader.num_workers}, so training may wait for its samples; this "
            f"machine has processors for num_workers={workers}"
        ] = PossibleUserWarning
    if reloads and loader.persistent_workers and loader.pin_memory:
        found[
            f"the {stage} loader has pin_memory and persistent_workers, and is loaded anew by "
            "reload_dataloaders_every_n_epochs: torch may crash when pinning threads of old ones end; set one to False"
        ] = PossibleUserWarning
    return found


def _shuffles(loader: Any) -> bool:
    """By a sampler of torch's that does so; what other samplers mean, nobody knows."""
    if not hasattr(loader, "sampler") or isinstance(getattr(loader, "dataset", None), IterableDataset):
        return False
    batches = getattr(loader, "batch_sampler", None)
    sampler = loader.sampler if batches is None else getattr(batches, "sampler", batches)
    return isinstance(sampler, RandomSampler)


def _has_length(loader: Any) -> bool:
    try:
        return math.isfinite(len(loader))
    except (TypeError, NotImplementedError):
        return False

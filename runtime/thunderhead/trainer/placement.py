"""Which device and strategy a trainer's arguments mean, given who started this process."""

from __future__ import annotations

import os
import sys
from typing import Any

import torch

from thunderhead.accelerators import (
    Accelerator,
    CPUAccelerator,
    TorchAccelerator,
    accelerator_of,
    choose_accelerator,
    parse_indices,
)
from thunderhead.distributed.batch_systems import find_scheduler
from thunderhead.distributed.cluster import ClusterEnvironment, find_cluster, process_rank_in
from thunderhead.distributed.ddp_options import Named, read_name
from thunderhead.distributed.environment import ProcessRank, find_process_rank
from thunderhead.distributed.fsdp import FSDPStrategy
from thunderhead.distributed.launch import ScriptLauncher, environment_of
from thunderhead.distributed.parallel import ParallelStrategy
from thunderhead.distributed.process_launch import ProcessLauncher
from thunderhead.distributed.strategy import DDPStrategy, Strategy
from thunderhead.distributed.tpu_slice import prepare_slice
from thunderhead.exceptions import MisconfigurationException
from thunderhead.trainer.inner_parts import with_registered
from thunderhead.trainer.plugins import Plugins


def choose_strategy(given: dict[str, Any], plugins: Plugins) -> Strategy:
    """Device and strategy; ``devices`` and ``num_nodes`` follow the environment where it says something.

    Raises:
        MisconfigurationException: an argument means nothing, contradicts another, or is given twice.
    """
    given = with_registered(given)
    asked = given["strategy"]
    strategy = asked if isinstance(asked, Strategy) else None
    named = None if strategy is not None else read_name(asked)
    _check_numbers(given["devices"], given["num_nodes"])
    cluster = _cluster(plugins, strategy) or find_scheduler()
    accelerator = _accelerator(given["accelerator"], strategy)
    by_hand, place, devices = _site(given, accelerator, cluster, _single(strategy, named))
    if strategy is None:
        strategy = _made(named, place, interactive=hasattr(sys, "ps1"))
    if strategy.parallel_devices is None:
        strategy.parallel_devices = devices
    _announce(cluster, place)
    strategy.bind(strategy.parallel_devices[place.local_rank % len(strategy.parallel_devices)], place)
    counted = isinstance(accelerator, CPUAccelerator | TorchAccelerator)
    mismatched = counted and accelerator.name() != strategy.root_device.type
    strategy.accelerator = accelerator_of(strategy.root_device) if mismatched else accelerator
    strategy.cluster_environment = cluster or find_cluster()
    if strategy.world_size != place.world_size:
        raise MisconfigurationException(
            f"strategy={strategy.name!r} is a single process, but there are {place.world_size}; use 'ddp' or 'auto'"
        )
    if by_hand and place.world_size > 1:
        strategy.launcher = _launcher(strategy, place, interactive=hasattr(sys, "ps1"))
    return strategy


def _single(strategy: Strategy | None, named: Named | None) -> bool:
    """Whether the strategy is one process by its nature."""
    if strategy is not None:
        return not isinstance(strategy, ParallelStrategy) and type(strategy).world_size is Strategy.world_size
    return named is not None and not named.ddp and not named.fsdp


def _made(named: Named | None, place: ProcessRank, *, interactive: bool) -> Strategy:
    if named is None:
        if place.world_size == 1:
            return Strategy()
        named = Named(ddp=True, start_method="fork" if interactive else "popen")
    if named.fsdp:
        return FSDPStrategy(**(named.options or {}))
    if not named.ddp:
        return Strategy()
    return DDPStrategy(start_method=named.start_method, **(named.options or {}))


def _launcher(strategy: Strategy, place: ProcessRank, *, interactive: bool) -> ScriptLauncher | ProcessLauncher:
    method = getattr(strategy, "start_method", "popen")
    prepare = prepare_slice if strategy.root_device.type == "tpu" else None
    if method != "popen":
        return ProcessLauncher(place, method, prepare=prepare)
    if interactive:
        raise MisconfigurationException(
            f"strategy={strategy.name!r} runs the script again for each device, and this is an interactive session; "
            "use 'ddp_notebook', or write a script"
        )
    return ScriptLauncher(place, prepare=prepare)


def _accelerator(asked: object, strategy: Strategy | None) -> Accelerator:
    own = None if strategy is None else strategy.accelerator
    if own is not None:
        if asked != "auto":
            raise MisconfigurationException(
                f"accelerator={asked!r} and the strategy's accelerator {type(own).__name__} both set it; pass one"
            )
        return choose_accelerator(own)
    if strategy is not None and asked == "auto":
        device = strategy._device or next(iter(strategy.parallel_devices or ()), None)
        if device is not None:
            return accelerator_of(device)
    return choose_accelerator(asked)


def _cluster(plugins: Plugins, strategy: Strategy | None) -> ClusterEnvironment | None:
    own = None if strategy is None else strategy.cluster_environment
    if own is not None and plugins.cluster is not None and own is not plugins.cluster:
        raise MisconfigurationException(
            f"plugins holds {type(plugins.cluster).__name__} and the strategy {type(own).__name__}; pass one of them"
        )
    return plugins.cluster or own


def _site(
    given: dict[str, Any], accelerator: Accelerator, cluster: ClusterEnvironment | None, single: bool
) -> tuple[bool, ProcessRank, list[torch.device]]:
    """``(by hand, place, device of each process of this node)``; by hand, nobody has started the others."""
    devices, num_nodes = given["devices"], given["num_nodes"]
    if cluster is not None:
        nodes = num_nodes or cluster.num_nodes() or 1
        wanted = _wanted(devices, accelerator, single, nodes=nodes, cluster=cluster)
        place = process_rank_in(cluster, len(wanted), nodes)
        return not cluster.creates_processes_externally, place, wanted
    place = find_process_rank()
    if place.world_size > 1 or "RANK" in os.environ:
        _agree(devices, num_nodes, place)
        return False, place, _of_launched(devices, accelerator, place)
    if num_nodes not in (None, 1) and devices == "auto":
        raise MisconfigurationException(
            f"num_nodes={num_nodes}, but nobody says how many processes a node has; pass devices, or use torchrun"
        )
    wanted = _wanted(devices, accelerator, single)
    return True, _first_of(len(wanted), num_nodes or 1), wanted


def _wanted(
    devices: object,
    accelerator: Accelerator,
    single: bool,
    *,
    nodes: int | None = None,
    cluster: ClusterEnvironment | None = None,
) -> list[torch.device]:
    """The device of each process that this node is to have."""
    if devices == "auto":
        count = accelerator.auto_device_count()
        if cluster is not None and cluster.creates_processes_externally:
            count = max(1, cluster.world_size() // (nodes or 1))
            return _of_launched(devices, accelerator, ProcessRank(local_world_size=count))
        # In a notebook the first device, so that nothing has to be started.
        devices = 1 if hasattr(sys, "ps1") or single else count
    found = accelerator.get_parallel_devices(accelerator.parse_devices(devices))
    return found[:1] if single else found


def _of_launched(devices: object, accelerator: Accelerator, place: ProcessRank) -> list[torch.device]:
    """The devices of processes that were started from outside: those named, else one after the other."""
    if devices not in ("auto", -1, "-1"):
        return accelerator.get_parallel_devices(accelerator.parse_devices(devices))
    there = accelerator.auto_device_count()
    if accelerator.name() == "cpu":
        return accelerator.get_parallel_devices(place.local_world_size)
    all_devices = accelerator.get_parallel_devices(accelerator.parse_devices(there))
    return [all_devices[index % there] for index in range(place.local_world_size)]


def _first_of(processes: int, num_nodes: int) -> ProcessRank:
    """The place of local rank 0, which starts the others."""
    node = int(os.environ.get("NODE_RANK", os.environ.get("GROUP_RANK", "0")))
    return ProcessRank(
        rank=node * processes,
        world_size=processes * num_nodes,
        local_rank=0,
        local_world_size=processes,
        node_rank=node,
    )


def _announce(cluster: ClusterEnvironment | None, place: ProcessRank) -> None:
    """Tell in torchrun's variables, which all else reads, what a cluster tells in words of its own."""
    if cluster is not None and cluster.creates_processes_externally and place.world_size > 1:
        os.environ.update(environment_of(place, cluster.main_address, cluster.main_port))


def _check_numbers(devices: object, num_nodes: object) -> None:
    if devices != "auto":
        parse_indices(devices)
    if num_nodes is not None and (isinstance(num_nodes, bool) or not isinstance(num_nodes, int) or num_nodes < 1):
        raise MisconfigurationException(f"num_nodes={num_nodes!r} must be an integer of at least 1")


def _agree(devices: object, num_nodes: object, place: ProcessRank) -> None:
    """What was asked for is what was started.

    Raises:
        MisconfigurationException: it is not; nothing hangs.
    """
    wanted = None if devices == "auto" else parse_indices(devices)
    count = len(wanted) if isinstance(wanted, list) else wanted
    if count not in (None, -1, place.local_world_size):
        raise MisconfigurationException(
            f"devices={devices!r}, but the launcher started {place.local_world_size} processes on this node; "
            "leave it out"
        )
    if num_nodes is not None and num_nodes != place.num_nodes:
        raise MisconfigurationException(
            f"num_nodes={num_nodes}, but the launcher started {place.num_nodes} (WORLD_SIZE={place.world_size}, "
            f"LOCAL_WORLD_SIZE={place.local_world_size}); leave it out"
        )

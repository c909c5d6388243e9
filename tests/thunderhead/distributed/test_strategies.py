"""Strategies by name and as objects: what they mean, what they take, and what they refuse."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch.distributed.algorithms.ddp_comm_hooks import default_hooks
from torch.distributed.algorithms.ddp_comm_hooks.post_localSGD_hook import PostLocalSGDState, post_localSGD_hook
from trainer_models import QUIET, Net, bits, in_order, regression, shuffled
from trainer_ranks import run_ranks

import thunderhead as th
from thunderhead.accelerators import CPUAccelerator
from thunderhead.distributed.cluster import LightningEnvironment
from thunderhead.distributed.ddp_model import average_after_steps
from thunderhead.distributed.ddp_options import NAMES
from thunderhead.distributed.launch import ScriptLauncher
from thunderhead.distributed.process_launch import ProcessLauncher
from thunderhead.files.checkpoint_io import TorchCheckpointIO
from thunderhead.precision import Precision
from thunderhead.strategies import DDPStrategy, SingleDeviceStrategy


@pytest.mark.parametrize("name", [name for name in NAMES if name.startswith("ddp")])
def test_names(name: str) -> None:
    strategy = th.Trainer(**QUIET, strategy=name, devices=2).strategy
    assert isinstance(strategy, DDPStrategy)
    assert strategy.world_size == 2
    method = {"ddp_s": "spawn", "ddp_n": "fork"}.get(name[:5], "fork" if name.startswith("ddp_fork") else "popen")
    assert strategy.start_method == method
    assert isinstance(strategy.launcher, ScriptLauncher if method == "popen" else ProcessLauncher)
    unused = {"e": True, "_false": False}.get(name[-1] if name.endswith("_true") else name[-6:])
    assert strategy._ddp_options == ({} if unused is None else {"find_unused_parameters": unused})


def test_there_are_sixteen_names() -> None:
    assert len(NAMES) == 16


@pytest.mark.parametrize(
    ("name", "alternative"),
    [
        ("deepspeed", "DeepSpeed is not supported; use 'fsdp'"),
        ("deepspeed_stage_3_offload", "DeepSpeed is not supported"),
        ("xla", "torch_xla has ended; use 'ddp', with accelerator='tpu'"),
        ("xla_debug", "torch_xla has ended; use 'ddp', with accelerator='tpu'"),
        ("single_xla", "use 'single_device'"),
        ("dp", "use 'ddp'"),
        ("ddp_spwan", "does not exist. Did you mean 'ddp_spawn'"),
        (3, "neither the name of a strategy nor a Strategy"),
    ],
)
def test_refused_names(name: Any, alternative: str) -> None:
    with pytest.raises(th.MisconfigurationException, match=alternative):
        th.Trainer(**QUIET, strategy=name)


def test_single_device_takes_the_first() -> None:
    trainer = th.Trainer(**QUIET, strategy="single_device", devices=3)
    assert (trainer.world_size, trainer.num_devices, trainer.strategy.launcher) == (1, 1, None)
    assert th.Trainer(**QUIET, strategy=SingleDeviceStrategy("cpu"), devices=3).world_size == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"start_method": "thread"}, "start_method='thread'"),
        ({"gradient_as_bucket": True}, "no argument 'gradient_as_bucket'.* Did you mean 'gradient_as_bucket_view'"),
        ({"device_ids": [0]}, "device_ids=.* is set by the strategy; pass devices"),
        ({"process_group": None}, "pass process_group_backend"),
        ({"ddp_comm_state": object()}, "ddp_comm_state=.* belongs to a ddp_comm_hook"),
        ({"ddp_comm_wrapper": id}, "ddp_comm_wrapper=.* belongs to a ddp_comm_hook"),
        ({"model_averaging_period": 4}, "averages what post-local SGD lets drift"),
        ({"model_averaging_period": 0}, "must be a number from 1"),
    ],
)
def test_refused_arguments(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(th.MisconfigurationException, match=message):
        DDPStrategy(**arguments)


def test_arguments_reach_torch() -> None:
    strategy = DDPStrategy(static_graph=True, gradient_as_bucket_view=True, process_group_backend="gloo", timeout=None)
    seen = []

    class Looking(th.Callback):
        def on_train_start(self, trainer: Any, pl_module: Any) -> None:
            seen.append((trainer.model.static_graph, trainer.model.gradient_as_bucket_view))

    try:
        th.Trainer(**QUIET, strategy=strategy, max_epochs=1, callbacks=[Looking()]).fit(Net(), shuffled(), in_order())
    finally:
        dist.destroy_process_group()
    assert seen == [(True, True)]


@pytest.mark.parametrize(
    ("given", "strategy", "message"),
    [
        ({}, {"accelerator": CPUAccelerator()}, "accelerator='cpu' and the strategy's accelerator CPUAccelerator"),
        ({"precision": 32}, {"precision_plugin": Precision()}, "precision=32 and the strategy's Precision both"),
        ({"plugins": Precision()}, {"precision_plugin": Precision()}, "the plugin Precision and the strategy's"),
        ({"plugins": TorchCheckpointIO()}, {"checkpoint_io": TorchCheckpointIO()}, "plugins holds TorchCheckpointIO"),
        ({"plugins": LightningEnvironment()}, {"cluster_environment": LightningEnvironment()}, "plugins holds Light"),
    ],
)
def test_the_same_thing_twice(given: dict[str, Any], strategy: dict[str, Any], message: str) -> None:
    with pytest.raises(th.MisconfigurationException, match=message):
        th.Trainer(**QUIET, **given, strategy=DDPStrategy(**strategy))


def test_a_strategy_brings_its_own_parts() -> None:
    io, precision, cluster, accelerator = TorchCheckpointIO(), Precision(), LightningEnvironment(), CPUAccelerator()
    strategy = DDPStrategy(accelerator, [torch.device("cpu")], cluster, io, precision)
    trainer = th.Trainer(**{**QUIET, "accelerator": "auto"}, strategy=strategy)
    assert trainer.accelerator is accelerator
    assert trainer.precision_plugin is precision
    assert (trainer.strategy.checkpoint_io, trainer.strategy.cluster_environment) == (io, cluster)


def test_communication_hooks_and_averages(tmp_path: Path) -> None:
    found = run_ranks(_communicating, 2, tmp_path)
    assert found[0]["plain"] == found[1]["plain"]
    assert found[0]["halved"] == found[1]["halved"] != found[0]["plain"]
    assert found[0]["wrapped"] == found[0]["halved"]
    assert found[0]["drifting"] != found[1]["drifting"]
    assert found[0]["averaged"] == found[1]["averaged"] != found[0]["plain"]


def _communicating(rank: int) -> dict[str, Any]:
    drift = {"ddp_comm_hook": post_localSGD_hook}
    alone = dist.new_subgroups(1)[0]

    def local(start: int) -> PostLocalSGDState:
        return PostLocalSGDState(process_group=None, subgroup=alone, start_localSGD_iter=start)

    strategies = {
        "plain": {},
        "halved": {"ddp_comm_hook": default_hooks.fp16_compress_hook},
        "wrapped": {
            "ddp_comm_hook": default_hooks.allreduce_hook,
            "ddp_comm_wrapper": default_hooks.fp16_compress_wrapper,
        },
        "drifting": {**drift, "ddp_comm_state": local(0), "model_averaging_period": 100},
        "averaged": {**drift, "ddp_comm_state": local(0), "model_averaging_period": 3},
    }
    found = {}
    for name, arguments in strategies.items():
        th.seed_everything(1, verbose=False)
        net = Net(normalise=False, scheduler="none")
        trainer = th.Trainer(**QUIET, strategy=DDPStrategy(**arguments), max_epochs=1)
        trainer.fit(net, shuffled(regression(64)), in_order())
        found[name] = bits(net)
    return found


def test_averages_are_refused_where_they_cannot_be_right() -> None:
    weights = [torch.nn.Parameter(torch.zeros(1))]
    with pytest.raises(th.MisconfigurationException, match="one copy for all ranks; leave it out in a job"):
        average_after_steps([torch.optim.SGD(weights, 0.1)], 2, None, in_job=True)

    class PostLocalSGDOptimizer(torch.optim.SGD):
        pass

    with pytest.raises(th.MisconfigurationException, match="return the optimizer inside of it"):
        average_after_steps([PostLocalSGDOptimizer(weights, 0.1)], 2, None, in_job=False)
    with pytest.raises(th.MisconfigurationException, match="pass model_averaging_period"):
        DDPStrategy(ddp_comm_hook=post_localSGD_hook, ddp_comm_state=_state())


def _state() -> PostLocalSGDState:
    return PostLocalSGDState(process_group=None, subgroup=None, start_localSGD_iter=1)

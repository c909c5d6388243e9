"""Modules that shard themselves over ranks: what they learn is what DDP's copies learn."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from trainer_models import QUIET, regression, shuffled
from trainer_ranks import run_ranks
from trainer_sharded import Fitted, Sharded, differences, fit

import thunderhead as th
from thunderhead.exceptions import MisconfigurationException
from thunderhead.strategies import FSDPStrategy, ModelParallelStrategy


def shards(**options: Any) -> ModelParallelStrategy:
    return ModelParallelStrategy(tensor_parallel_size=1, **options)


CASES: dict[str, tuple[str, Any, dict[str, Any]]] = {
    "layers": ("layers", shards, {}),
    "the module itself": ("whole", shards, {}),
    "pieces of unequal length": ("layers", shards, {"hidden": 7}),
    "accumulation": ("layers", shards, {"accumulate_grad_batches": 3}),
    "clipped by norm": ("layers", shards, {"gradient_clip_val": 0.1}),
    "clipped by value": ("whole", shards, {"gradient_clip_val": 0.02, "gradient_clip_algorithm": "value"}),
    "by name": ("nothing", lambda: "fsdp", {}),
    "by a policy": ("nothing", lambda: FSDPStrategy(auto_wrap_policy={nn.Linear}), {}),
    "computed again": ("nothing", lambda: FSDPStrategy(activation_checkpointing_policy={nn.Linear}), {}),
}
OF_FOUR: dict[str, tuple[str, Any, dict[str, Any]]] = {
    "layers": ("layers", shards, {}),
    "copies of shards": (
        "nothing",
        lambda: FSDPStrategy(sharding_strategy="HYBRID_SHARD", device_mesh=(2, 2), auto_wrap_policy={nn.Linear}),
        {},
    ),
}


def _like_ddp(rank: int, names: list[str], cases: str) -> list[str]:
    found = []
    for name in names:
        how, strategy, options = (OF_FOUR if cases == "four" else CASES)[name]
        hidden = options.pop("hidden", 8)
        expected = fit(Sharded("nothing", hidden=hidden), "ddp", **options)
        of_shards = fit(Sharded(how, hidden=hidden), strategy(), **options)
        found += [f"{name}, {said}" for said in differences(of_shards, expected)]
    return found


def test_shards_learn_what_copies_learn(tmp_path: Path) -> None:
    assert run_ranks(_like_ddp, 2, tmp_path, list(CASES), "two") == [[]] * 2


def test_four_ranks_of_shards_learn_what_copies_learn(tmp_path: Path) -> None:
    assert run_ranks(_like_ddp, 4, tmp_path, list(OF_FOUR), "four") == [[]] * 4


OPTIONS: dict[str, Any] = {"gradient_clip_val": 0.5, "accumulate_grad_batches": 2}


def _fitted(rank: int, how: str, strategy: Any) -> Fitted:
    return fit(Sharded(how, dropout=0.3), ModelParallelStrategy(*strategy) if how != "nothing" else strategy, **OPTIONS)


@pytest.mark.parametrize(
    ("how", "sizes", "copies"), [("tensor", (1, 2), 1), ("both", (2, 2), 2)], ids=["parts", "pieces of parts"]
)
def test_parts_of_layers_compute_what_whole_ones_compute(
    tmp_path: Path, how: str, sizes: tuple[int, int], copies: int
) -> None:
    data, tensor = sizes
    of_parts = run_ranks(_fitted, data * tensor, tmp_path, how, sizes)
    of_copies = run_ranks(_fitted, copies, tmp_path, "nothing", "ddp" if copies > 1 else "single_device")
    found = [differences(one, of_copies[rank // tensor]) for rank, one in enumerate(of_parts)]
    assert found == [[]] * (data * tensor)


def _refused(rank: int) -> list[str]:
    class Half(Sharded):
        def configure_model(self) -> None:
            from torch.distributed.fsdp import fully_shard

            fully_shard(self.net[0], mesh=self.device_mesh["data_parallel"])

    class OnMeta(Sharded):
        def configure_model(self) -> None:
            self.scale = nn.Parameter(torch.empty(3, device="meta"))

    said = []
    for module in (Sharded("nothing"), Half(), OnMeta()):
        trainer = th.Trainer(**QUIET, strategy=shards(), max_epochs=1)
        with pytest.raises(MisconfigurationException) as error:
            trainer.fit(module, shuffled(regression(8), batch_size=4))
        said.append(str(error.value))
    return said


def test_what_nobody_would_reduce_is_refused_with_the_remedy(tmp_path: Path) -> None:
    unsharded, half, on_meta = run_ranks(_refused, 2, tmp_path)[0]
    assert "Sharded is not sharded over its 2 ranks" in unsharded
    assert "use strategy='ddp'" in unsharded
    assert half.startswith("net.2.weight, net.2.bias of Half belong to no sharded layer")
    assert "fully_shard(self, mesh=self.device_mesh['data_parallel'])" in half
    assert "OnMeta of OnMeta was made on the meta device and has no reset_parameters" in on_meta


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: ModelParallelStrategy(data_parallel_size=0), "data_parallel_size=0"),
        (lambda: ModelParallelStrategy(tensor_parallel_size="all"), "tensor_parallel_size='all'"),
        (lambda: FSDPStrategy(sharding_strategy="NO_SHARD"), "Use strategy='ddp'"),
        (lambda: FSDPStrategy(state_dict_type="local"), "neither 'full' nor 'sharded'"),
        (lambda: FSDPStrategy(device_mesh=(1, 1)), "pass sharding_strategy='HYBRID_SHARD' too"),
        (lambda: FSDPStrategy(backward_prefetch=None), "backward_prefetch=...) belongs to FSDP1"),
        (lambda: FSDPStrategy(use_orig_params=False), "FSDP2 knows only True"),
        (lambda: FSDPStrategy(auto_rap_policy=set()), "has no argument 'auto_rap_policy'"),
        (lambda: FSDPStrategy(auto_wrap_policy="all"), "neither a set of classes"),
        (lambda: th.Trainer(**QUIET, strategy="fsdp", precision="16-mixed"), "use 'bf16-mixed'"),
        (lambda: th.Trainer(**QUIET, strategy=ModelParallelStrategy(), precision=64), "precision='64-true' under"),
        (lambda: th.Trainer(**QUIET, strategy="deepspeed"), "DeepSpeed is not supported; use 'fsdp'"),
        (lambda: th.Trainer(**QUIET, strategy=ModelParallelStrategy(2, 2), devices=2).strategy.data, "there are 2"),
    ],
)
def test_arguments_that_mean_nothing_are_refused_by_name(make: Any, said: str) -> None:
    with pytest.raises((MisconfigurationException, TypeError), match=said.replace("(", r"\(").replace(")", r"\)")):
        make()


def test_ranks_that_hold_a_model_together_read_the_same_data() -> None:
    strategy = ModelParallelStrategy(data_parallel_size=2)
    th.Trainer(**QUIET, strategy=strategy, devices=4)
    assert strategy.sizes == (2, 2)
    assert (strategy.data.rank, strategy.data.size) == (0, 2)


POLICY_CASES = {
    "a set": ({nn.Linear}, ["0", "2"]),
    "a list": ([nn.Tanh, nn.Linear], ["0", "2"]),
    "a function": (lambda module, recurse, nonwrapped_numel: recurse or nonwrapped_numel >= 10, ["0"]),
}


@pytest.mark.parametrize("case", POLICY_CASES)
def test_policies_choose_layers_that_hold_something(case: str) -> None:
    from thunderhead.distributed.fsdp_options import layers_of, read_policy

    given, expected = POLICY_CASES[case]
    net = Sharded("nothing")
    policy = read_policy("auto_wrap_policy", given)
    assert policy is not None
    chosen = layers_of(net.net, policy)
    assert [name for name, layer in net.net.named_children() if layer in chosen] == expected

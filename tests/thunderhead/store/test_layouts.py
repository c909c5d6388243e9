"""Tensors come back lying in memory as they lay: strides, and what they share."""

from __future__ import annotations

import json
import random
from collections import defaultdict
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from trainer_job import through_bytes

from thunderhead.files.staging import detached
from thunderhead.store.codec import decode, encode
from thunderhead.store.objects import Corrupt

DTYPES = (torch.float32, torch.int64, torch.bfloat16, torch.complex64, torch.float8_e4m3fnuz)


def layout(tensor: Tensor) -> Any:
    return tensor.dtype, tensor.shape, tensor.stride()


def raw(tensor: Tensor) -> bytes:
    rows = torch.empty(tensor.shape, dtype=tensor.dtype).copy_(tensor)
    return rows.flatten().view(torch.uint8).numpy().tobytes()


@pytest.mark.parametrize("copied", [through_bytes, detached])
@pytest.mark.parametrize(
    "tensor",
    [
        torch.randn(5, 3, 2, 4).to(memory_format=torch.channels_last),
        torch.randn(5, 3, 2, 4, 2).to(memory_format=torch.channels_last_3d),
        # Row by row and by channels at once, and convolutions choose their way by the strides of single pixels.
        torch.randn(5, 3, 1, 1).to(memory_format=torch.channels_last),
        torch.randn(3, 4).t(),
        torch.randn(2, 3, 4).permute(2, 0, 1),
        torch.arange(12)[::3],
        torch.randn(4, 6)[1:, ::2],
        torch.ones(3).expand(2, 3),
        torch.ones(3, 1).expand(3, 4),
        torch.tensor(7).expand(5),
        torch.arange(6).as_strided((3, 3), (1, 1)),
        torch.empty(0, 3).t(),
    ],
    ids=lambda value: f"{list(value.shape)} by {list(value.stride())}" if isinstance(value, Tensor) else None,
)
def test_one_tensor(tensor: Tensor, copied: Any) -> None:
    restored = copied({"it": tensor})["it"]
    assert raw(restored) == raw(tensor)
    assert layout(restored) == layout(tensor) or not tensor.numel()
    assert restored.data_ptr() != tensor.data_ptr() or not tensor.numel()


@pytest.mark.parametrize("order", ["C", "F"])
def test_an_array(order: Any) -> None:
    array = np.array(np.random.default_rng(1).normal(size=(5, 4)), order=order)
    restored = through_bytes([array])[0]
    assert restored.strides == array.strides
    assert array.mean(axis=0).tobytes() == restored.mean(axis=0).tobytes()


def test_what_lies_far_apart_is_not_stored_with_what_lies_between() -> None:
    table = torch.zeros(100, 1000)
    encoded = encode(
        {"first": table[:, 0], "last": table[:, -1], "wide": torch.zeros(2000).as_strided((2, 2), (0, 999))}
    )
    assert sum(tensor.numel() for tensor in encoded.tensors.values()) == 204


def random_views(chance: random.Random) -> dict[str, Tensor]:
    """A few views of few memories, of whatever layout."""
    memories = [torch.randint(0, 255, (240,), dtype=torch.uint8).view(chance.choice(DTYPES)) for _ in range(2)]
    views: dict[str, Tensor] = {}
    for number in range(chance.randint(1, 7)):
        memory = chance.choice(memories)
        shape = [chance.randint(1, 4) for _ in range(chance.randint(0, 3))]
        strides = [chance.choice((0, 1, 2, 3, 4)) for _ in shape]
        reach = sum((size - 1) * stride for size, stride in zip(shape, strides, strict=True))
        if reach < memory.numel():
            views[f"view {number}"] = memory.as_strided(shape, strides, chance.randrange(memory.numel() - reach))
    return views


@pytest.mark.parametrize("copied", [through_bytes, detached])
def test_random_views(copied: Any) -> None:
    for seed in range(300):
        torch.manual_seed(seed)
        views = random_views(random.Random(seed))
        restored = copied(views)
        # In two steps: what was restored is saved once more.
        for again in (restored, copied(restored)):
            assert list(again) == list(views)
            for name, view in views.items():
                assert raw(again[name]) == raw(view), (seed, name)


@pytest.mark.parametrize("copied", [through_bytes, detached])
def test_what_shares_memory_goes_on_sharing_it(copied: Any) -> None:
    for seed in range(200):
        chance = random.Random(seed)
        memory = torch.arange(24.0)
        views = {
            "flat": memory,
            "matrix": memory.view(4, 6),
            "turned": memory.view(4, 6).t(),
            "part": memory[3 : chance.randint(5, 24)],
            "other": torch.zeros(3),
        }
        tree = {name: views[name] for name in chance.sample(sorted(views), k=chance.randint(2, 5))}
        restored = copied(tree)
        written = chance.choice(list(tree))
        for one in (restored, tree):
            one[written] += 100
        assert {name: view.tolist() for name, view in restored.items()} == {
            name: view.tolist() for name, view in tree.items()
        }, seed


def test_a_checkpoint_from_before_layouts_were_kept_is_read() -> None:
    skeleton = {"weight": {"$": "tensor", "name": "weight", "dtype": "float32", "shape": [2, 3]}}
    restored = decode(json.loads(json.dumps(skeleton)), {"weight": torch.arange(6.0).view(2, 3)})
    assert restored["weight"].tolist() == [[0, 1, 2], [3, 4, 5]]


@pytest.mark.parametrize(
    "words",
    [
        {"strides": [1]},
        {"strides": [1, -1]},
        {"strides": [1, "3"]},
        {"strides": None, "offset": 0},
        {"strides": [3, 1], "offset": 1},
        {"strides": [3, 1], "offset": -1},
        {"strides": [2**62, 1]},
        {"strides": [2**62, 1], "offset": 0},
        {"strides": [3, 1], "offset": 0, "dtype": "float64"},
    ],
    ids=str,
)
def test_nonsense_is_damage(words: dict[str, Any]) -> None:
    node = {"$": "tensor", "name": "there", "dtype": "float32", "shape": [2, 3], **words}
    with pytest.raises(Corrupt):
        decode({"value": node}, {"there": torch.zeros(2, 3)})


def test_a_copy_keeps_kinds_of_dicts() -> None:
    """State kept aside during a validation is what is committed, should the job stop there."""
    tree: Any = {"factory": defaultdict(list, {"a": [torch.ones(2)]}), "state": torch.nn.BatchNorm1d(2).state_dict()}
    copied = detached(tree)
    assert copied["factory"]["new"] == []
    assert copied["state"]._metadata == tree["state"]._metadata
    assert copied["state"]["weight"] is not tree["state"]["weight"]

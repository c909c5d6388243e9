"""The codec: what goes through comes back exactly, everything else is refused by path."""

from __future__ import annotations

import enum
import math
import random
import struct
from collections import Counter, OrderedDict, defaultdict, namedtuple
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from trainer_job import through_bytes

from thunderhead.job.errors import UnsupportedState
from thunderhead.store.codec import decode, encode
from thunderhead.store.objects import Corrupt
from thunderhead.store.strides import DTYPES


def assert_same(left: Any, right: Any) -> None:
    """Equal in type and in every bit, at every place."""
    assert type(left) is type(right)
    if isinstance(left, torch.Tensor):
        assert (left.dtype, left.shape, left.stride()) == (right.dtype, right.shape, right.stride())
        assert raw_bytes(left) == raw_bytes(right)
    elif isinstance(left, np.ndarray):
        assert (left.dtype, left.shape) == (right.dtype, right.shape)
        assert left.tobytes() == right.tobytes()
        assert left.flags.f_contiguous == right.flags.f_contiguous
    elif isinstance(left, np.generic):
        assert left.dtype == right.dtype
        assert left.tobytes() == right.tobytes()
    elif isinstance(left, dict):
        assert_same_items(left, right)
    elif isinstance(left, list | tuple):
        assert len(left) == len(right)
        for one, other in zip(left, right, strict=True):
            assert_same(one, other)
    elif isinstance(left, float):
        assert struct.pack(">d", left) == struct.pack(">d", right)
    elif isinstance(left, complex):
        assert_same((left.real, left.imag), (right.real, right.imag))
    else:
        assert left == right


def assert_same_items(left: dict[Any, Any], right: dict[Any, Any]) -> None:
    assert len(left) == len(right)
    for (key, one), (other_key, other) in zip(left.items(), right.items(), strict=True):
        assert_same(key, other_key)
        assert_same(one, other)
    if isinstance(left, defaultdict):
        assert left.default_factory is right.default_factory
    assert getattr(left, "_metadata", None) == getattr(right, "_metadata", None)


def raw_bytes(tensor: torch.Tensor) -> bytes:
    return tensor.detach().resolve_conj().resolve_neg().contiguous().flatten().view(torch.uint8).numpy().tobytes()


scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(min_value=-(2**200), max_value=2**200),
    st.floats(allow_nan=True, allow_infinity=True),
    st.complex_numbers(),
    st.text(st.characters(codec=None), max_size=20),
    st.binary(max_size=40),
    st.sampled_from(list(DTYPES.values())),
    st.sampled_from([torch.device("cpu"), torch.device("cuda", 1), torch.Size([2, 0, 3])]),
)
keys = st.one_of(
    st.text(max_size=8), st.integers(), st.booleans(), st.none(), st.tuples(st.integers(), st.text(max_size=3))
)
float_bits = st.integers(0, 2**64 - 1).map(lambda bits: struct.unpack(">d", struct.pack(">Q", bits))[0])
arrays = st.builds(
    lambda dtype, shape, seed: np.frombuffer(
        random.Random(seed).randbytes(math.prod(shape) * np.dtype(dtype).itemsize), dtype=dtype
    ).reshape(shape),
    st.sampled_from(["u1", "<i2", ">i4", "<u4", "<f2", ">f4", "<f8", "<c8", ">c16", "<u8", "<u2"]),
    st.lists(st.integers(0, 3), max_size=3),
    st.integers(),
)
tensors = st.builds(
    lambda dtype, shape, seed: (
        torch.frombuffer(
            bytearray(random.Random(seed).randbytes(max(1, math.prod(shape)) * dtype.itemsize)), dtype=torch.uint8
        )
        .view(dtype)[: math.prod(shape)]
        .reshape(shape)
    ),
    st.sampled_from([dtype for name, dtype in DTYPES.items() if name != "bool"]),
    st.lists(st.integers(0, 3), max_size=3),
    st.integers(),
)
trees = st.recursive(
    st.one_of(scalars, float_bits, arrays, tensors, arrays.filter(lambda a: a.size).map(lambda array: array.flat[0])),
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.lists(inner, max_size=4).map(tuple),
        st.dictionaries(keys, inner, max_size=4),
        st.dictionaries(keys, inner, max_size=4).map(OrderedDict),
        st.dictionaries(keys, inner, max_size=3).map(lambda items: defaultdict(list, items)),
        st.dictionaries(keys, st.integers(), max_size=3).map(Counter),
        st.sets(keys, max_size=3),
        st.frozensets(keys, max_size=3),
        st.dictionaries(st.sampled_from(["$", "", "a/b", "a~b", "~2", "1"]), inner, max_size=4),
    ),
    max_leaves=12,
)


@given(trees)
@settings(max_examples=300, deadline=None)
def test_whatever_goes_through_comes_back_exactly(tree: Any) -> None:
    assert_same(tree, through_bytes(tree))


@pytest.mark.parametrize(
    "value",
    [
        float("nan"),
        struct.unpack(">d", bytes.fromhex("fff8000000000123"))[0],
        -0.0,
        float("-inf"),
        5e-324,
        2**63,
        -(2**63) - 1,
        10**5000,
        "\ud800 lone",
        {1: "integer", "1": "string", None: 0, False: 1},
        {"$": "tensor", "name": "forged"},
        {"a": {"b": torch.zeros(1)}, "a/b": torch.ones(1), "a~1b": torch.full((1,), 2.0)},
        {1: torch.zeros(1), "1": torch.ones(1)},
        torch.tensor(3.5),
        torch.tensor([]),
        torch.zeros(0, 3, dtype=torch.bfloat16),
        torch.arange(12).view(3, 4).t(),
        torch.arange(12)[::3],
        torch.ones(3).expand(2, 3),
        torch.tensor([True, False]),
        torch.tensor([1 + 2j]).conj(),
        torch.nn.Parameter(torch.ones(2)).data,
        np.arange(6).reshape(2, 3).T,
        np.array(7, dtype=">u2"),
        np.float64(0.1),
        np.bool_(True),
        np.zeros(0, dtype=np.float16),
        (),
        {},
        [],
        set(),
        (1, [2, (3,)]),
    ],
    ids=lambda value: str(type(value).__name__),
)
def test_corner(value: Any) -> None:
    assert_same(value, through_bytes(value))


def test_a_read_only_array_is_taken() -> None:
    array = np.arange(4)
    array.flags.writeable = False
    assert_same(array, through_bytes(array))


def test_a_tied_tensor_is_stored_once_and_comes_back_tied() -> None:
    weight = torch.randn(4, 4)
    lying = torch.randn(4, 3).t()
    tree = {"encoder": weight, "decoder": weight, "lying": lying, "again": lying}
    assert len(encode(tree).tensors) == 2
    restored = through_bytes(tree)
    assert_same(tree, restored)
    assert restored["encoder"] is restored["decoder"]
    assert restored["lying"] is restored["again"]


def test_parameters_come_back_as_tensors_with_memory_of_their_own() -> None:
    restored = through_bytes({"weight": torch.nn.Parameter(torch.ones(3)), "big": torch.zeros(1000)})["weight"]
    assert type(restored) is torch.Tensor
    assert restored.untyped_storage().nbytes() == 12


def test_a_module_and_its_optimizer_go_through() -> None:
    torch.manual_seed(0)
    module = torch.nn.Sequential(torch.nn.Conv2d(1, 2, 3), torch.nn.BatchNorm2d(2), torch.nn.Flatten())
    optimizer = torch.optim.AdamW(module.parameters(), lr=0.1, fused=False)
    module(torch.randn(3, 1, 5, 5)).sum().backward()
    optimizer.step()
    for state in (module.state_dict(), optimizer.state_dict()):
        assert_same(state, through_bytes(state))
    assert through_bytes(module.state_dict())._metadata["1"] == {"version": 2}


def schedulers(optimizer: torch.optim.Optimizer) -> list[Any]:
    kinds = torch.optim.lr_scheduler
    return [
        kinds.StepLR(optimizer, 2),
        kinds.MultiStepLR(optimizer, [1, 3, 3]),
        kinds.ExponentialLR(optimizer, 0.9),
        kinds.CosineAnnealingLR(optimizer, 5),
        kinds.CosineAnnealingWarmRestarts(optimizer, 3),
        kinds.OneCycleLR(optimizer, 0.1, total_steps=10),
        kinds.CyclicLR(optimizer, 0.01, 0.1),
        kinds.ReduceLROnPlateau(optimizer),
        kinds.LambdaLR(optimizer, lambda epoch: 0.5**epoch),
        kinds.PolynomialLR(optimizer),
        kinds.LinearLR(optimizer),
        kinds.ConstantLR(optimizer),
        kinds.ChainedScheduler([kinds.StepLR(optimizer, 1), kinds.ExponentialLR(optimizer, 0.5)]),
        kinds.SequentialLR(optimizer, [kinds.ConstantLR(optimizer), kinds.StepLR(optimizer, 2)], milestones=[2]),
    ]


@pytest.mark.parametrize("number", range(14))
@pytest.mark.filterwarnings("ignore:The epoch parameter:UserWarning")
@pytest.mark.filterwarnings("ignore:To get the last learning rate:UserWarning")
def test_every_scheduler_of_torch_goes_through(number: int) -> None:
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.ones(1))], lr=0.1, momentum=0.9)
    scheduler = schedulers(optimizer)[number]
    optimizer.step()
    scheduler.step(*([0.5] if isinstance(scheduler, torch.optim.lr_scheduler.ReduceLROnPlateau) else []))
    assert_same(scheduler.state_dict(), through_bytes(scheduler.state_dict()))


def test_random_states_go_through() -> None:
    state = {"python": random.getstate(), "numpy": np.random.get_state(), "torch": torch.get_rng_state()}
    assert_same(state, through_bytes(state))
    generator = np.random.default_rng(3).bit_generator.state
    assert_same(generator, through_bytes(generator))


class Colour(enum.Enum):
    RED = 1


class Level(enum.IntEnum):
    LOW = 1


Point = namedtuple("Point", "x y")


class Custom:
    pass


class StrangeDict(dict[str, Any]):
    pass


class StrangeTensor(torch.Tensor):
    pass


def cyclic() -> list[Any]:
    cycle: list[Any] = []
    cycle.append(cycle)
    return cycle


def deep() -> list[Any]:
    tree: list[Any] = []
    for _ in range(150):
        tree = [tree]
    return tree


def annotated() -> OrderedDict[str, Any]:
    tree: OrderedDict[str, Any] = OrderedDict()
    tree.note = 1  # type: ignore[attr-defined]
    return tree


@pytest.mark.parametrize(
    ("value", "says"),
    [
        (Custom(), "Custom"),
        (Colour.RED, "save its .value"),
        (Level.LOW, "save its .value"),
        (Point(1, 2), "save a plain tuple"),
        (StrangeDict(), "save a plain dict"),
        (Path("x"), "save str(path)"),
        (lambda: 0, "code is not state"),
        (torch.nn.Linear, "code is not state"),
        (torch.Generator(), "get_state()"),
        (np.array(["text"]), "dtype <U4"),
        (np.array([None]), "dtype object"),
        (np.array([1], dtype="datetime64[s]"), "dtype datetime64"),
        (np.ma.masked_array([1.0], [True]), "MaskedArray"),
        (np.longdouble(1), "dtype float128"),
        (torch.ones(2).to_sparse(), "torch.sparse_coo"),
        (torch.empty(2, device="meta"), "meta"),
        (torch.ones(2).as_subclass(StrangeTensor), "StrangeTensor"),
        (defaultdict(lambda: 0), "return dict(...)"),
        (annotated(), "attributes ['note']"),
        ({1.5j: 0}, "a key of"),
        ({frozenset([1]): 0}, "a key of"),
        ({(1, Colour.RED): 0}, "a key of"),
        (cyclic(), "contains itself"),
        (deep(), "nested deeper than 100"),
        (bytearray(b"x"), "bytearray"),
        (memoryview(b"x"), "memoryview"),
        (range(3), "range"),
        (iter([]), "list_iterator"),
    ],
    ids=lambda value: value if isinstance(value, str) else type(value).__name__,
)
def test_refuses(value: Any, says: str) -> None:
    with pytest.raises(UnsupportedState) as caught:
        encode({"callbacks": [{"state": value}]}, "local")
    assert "local['callbacks'][0]['state']" in str(caught.value) or "nested deeper" in says
    assert says in str(caught.value)


@pytest.mark.parametrize(
    "skeleton",
    [
        {"$": "pickle", "value": "gASVBAAAAAAAAABLAS4="},
        {"$": "tensor", "name": "missing", "dtype": "float32", "shape": [1]},
        {"$": "tensor", "name": "there", "dtype": "float64", "shape": [2]},
        {"$": "tensor", "name": "there", "dtype": "float32", "shape": [1, 2]},
        {"$": "tensor", "name": "there", "dtype": "no_such", "shape": [2]},
        {"$": "ndarray", "name": "there", "dtype": "float32", "shape": [2], "numpy": "O"},
        {"$": "scalar", "dtype": "O", "bytes": "00" * 8},
        {"$": "scalar", "dtype": "<f8", "bytes": "zz"},
        {"$": "dtype", "name": "load"},
        {"$": "device", "name": "no such device"},
        {"$": "defaultdict", "of": "eval", "items": []},
        {"$": "set", "items": [[1]]},
        {"$": "int", "hex": "1 + 1"},
        {"$": "bytes", "base64": "?"},
        {"$": ["tuple"], "items": []},
        {"$": "tuple"},
        {"$": "dict", "items": [[1]]},
    ],
    ids=lambda skeleton: str(skeleton),
)
def test_a_forged_skeleton_is_corrupt(skeleton: Any) -> None:
    with pytest.raises(Corrupt):
        decode({"value": skeleton}, {"there": torch.zeros(2)})

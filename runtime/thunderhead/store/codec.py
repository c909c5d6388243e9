"""A tree of state as tagged JSON and named tensors, and back, exactly. No pickle, no import of what a file names.

JSON itself carries ``None``, booleans, integers, finite floats, strings, lists, and dicts whose keys are strings. The
rest is an object with the member ``"$"``:

    tensor, ndarray      in a shard: see ``store.tensors``   scalar          a NumPy scalar
    dict, OrderedDict,   items as [key, value] pairs         set, frozenset  members
    Counter, defaultdict                                     tuple, Size     items
    float                NaN and infinities, by their bits   int             beyond 64 bits
    bytes, complex, dtype, device

Values are exact: bits of floats and NaN payloads, order of dicts, types of keys, and how tensors lie in memory. A
tensor that occurs twice (tied weights) is stored once and comes back as one object, and tensors of one type that share
memory come back sharing it; other aliasing (two names for one list, views as another type) comes back as copies.
"""

from __future__ import annotations

import base64
import math
import struct
from collections import Counter, OrderedDict, defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from enum import Enum
from functools import partial
from os import PathLike
from typing import Any, Final

import numpy as np
import torch

from thunderhead.job.errors import UnsupportedState
from thunderhead.store.objects import Corrupt
from thunderhead.store.strides import DTYPE_NAMES, DTYPES, StoredTensors, TensorTable

TAG: Final = "$"
_MAX_DEPTH: Final = 100
_KEY_TYPES: Final = (str, int, float, bool, type(None), bytes, tuple)
_FACTORIES: Final[dict[str, Callable[[], Any] | None]] = {
    "none": None,
    **{kind.__name__: kind for kind in (dict, list, set, int, float, str, bool, OrderedDict, Counter)},
}
_FACTORY_NAMES: Final = {factory: name for name, factory in _FACTORIES.items()}
_NUMPY_KINDS: Final = "biufc"
_NUMPY_MAX_ITEMSIZE: Final = {"b": 1, "i": 8, "u": 8, "f": 8, "c": 16}


@dataclass(frozen=True, slots=True)
class Encoded:
    """A tree taken apart.

    Attributes:
        skeleton: JSON; its tensors are references by name.
        tensors: name → tensor, in order of the walk; the live ones, nothing is copied.
    """

    skeleton: object
    tensors: dict[str, torch.Tensor]


def encode(tree: object, root: str = "state") -> Encoded:
    """Take ``tree`` apart; ``root`` is what messages call it.

    Raises:
        UnsupportedState: naming the path and type of a value that is not of the closed set.
    """
    encoder = _Encoder()
    skeleton = encoder.encode(tree, _Path(root, ()))
    encoder.table.share()
    return Encoded(skeleton, encoder.table.tensors)


def decode(skeleton: object, tensors: Mapping[str, torch.Tensor]) -> Any:
    """The tree that :func:`encode` was given, with ``tensors`` in place of references.

    Raises:
        Corrupt: an unknown tag, a missing tensor, a malformed member.
    """
    try:
        return _decode(skeleton, StoredTensors(tensors))
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        if isinstance(error, Corrupt):
            raise
        raise Corrupt(f"state cannot be decoded: {type(error).__name__}: {error}") from error


@dataclass(frozen=True, slots=True)
class _Path:
    root: str
    steps: tuple[Any, ...]

    def __truediv__(self, step: object) -> _Path:
        return _Path(self.root, (*self.steps, step))

    def __str__(self) -> str:
        return self.root + "".join(f"[{step!r}]" for step in self.steps)

    @property
    def tensor_name(self) -> str:
        """A JSON pointer without its first slash (RFC 6901), so that safetensors viewers show something readable."""
        return "/".join(str(step).replace("~", "~0").replace("/", "~1") for step in self.steps)


class _Encoder:
    def __init__(self) -> None:
        self.table = TensorTable()
        self._open: set[int] = set()

    def encode(self, value: object, path: _Path) -> object:
        kind = type(value)
        if kind in (str, bool, type(None)):
            return value
        if isinstance(value, int) and kind is int:
            return value if -(2**63) <= value < 2**63 else {TAG: "int", "hex": hex(value)}
        if isinstance(value, float) and kind is float:
            return value if math.isfinite(value) else {TAG: "float", "bits": struct.pack(">d", value).hex()}
        if isinstance(value, torch.Tensor):
            return self._tensor(value, path)
        if isinstance(value, np.ndarray | np.generic):
            return self._numpy(value, path)
        if kind in _CONTAINERS:
            return self._container(value, path)
        if kind in _LEAVES:
            return _LEAVES[kind](value)
        raise UnsupportedState(f"{path} is {_described(value)}; {_remedy(value)}")

    def _container(self, value: object, path: _Path) -> object:
        if id(value) in self._open:
            raise UnsupportedState(f"{path} contains itself; a job checkpoint holds trees, break the cycle")
        if len(path.steps) > _MAX_DEPTH:
            raise UnsupportedState(f"{path.root} is nested deeper than {_MAX_DEPTH} levels; flatten it")
        self._open.add(id(value))
        try:
            return _CONTAINERS[type(value)](self, value, path)
        finally:
            self._open.discard(id(value))

    def sequence(self, value: Iterable[Any], path: _Path) -> list[Any]:
        return [self.encode(item, path / index) for index, item in enumerate(value)]

    def items(self, value: Mapping[Any, Any], path: _Path) -> list[list[Any]]:
        return [[self.key(key, path), self.encode(item, path / key)] for key, item in value.items()]

    def key(self, key: object, path: _Path) -> object:
        """A key or a member of a set: scalars and tuples of them."""
        if type(key) not in _KEY_TYPES:
            raise UnsupportedState(f"a key of {path} is {_described(key)}; use a string or an integer")
        if isinstance(key, tuple):
            return {TAG: "tuple", "items": [self.key(item, path) for item in key]}
        return self.encode(key, path)

    def plain_dict(self, value: dict[Any, Any], path: _Path) -> dict[str, object]:
        if TAG not in value and all(type(key) is str for key in value):
            return {key: self.encode(item, path / key) for key, item in value.items()}
        return {TAG: "dict", "items": self.items(value, path)}

    def ordered_dict(self, value: OrderedDict[Any, Any], path: _Path) -> dict[str, object]:
        encoded: dict[str, object] = {TAG: "OrderedDict", "items": self.items(value, path)}
        # nn.Module.state_dict() hangs each submodule's version on its result; load_state_dict reads it.
        attributes = dict(vars(value))
        if "_metadata" in attributes:
            encoded["metadata"] = self.encode(attributes.pop("_metadata"), path / "_metadata")
        if attributes:
            raise UnsupportedState(
                f"{path} is an OrderedDict with attributes {sorted(attributes)}; move them into items"
            )
        return encoded

    def default_dict(self, value: defaultdict[Any, Any], path: _Path) -> dict[str, object]:
        if value.default_factory not in _FACTORY_NAMES:
            raise UnsupportedState(
                f"{path} is a defaultdict of {value.default_factory!r}; only {sorted(_FACTORIES)} can be "
                "restored without pickle, so return dict(...) from state_dict"
            )
        return {TAG: "defaultdict", "of": _FACTORY_NAMES[value.default_factory], "items": self.items(value, path)}

    def _tensor(self, value: torch.Tensor, path: _Path) -> object:
        if type(value) not in (torch.Tensor, torch.nn.Parameter, torch.nn.Buffer):
            raise UnsupportedState(f"{path} is {_described(value)}; save a plain tensor, such as its local or full one")
        if value.dtype not in DTYPE_NAMES or value.layout != torch.strided or value.is_meta or value.is_nested:
            raise UnsupportedState(
                f"{path} is a tensor of {value.dtype}, layout {value.layout} on {value.device}; "
                f"save a dense one of {', '.join(DTYPES)}"
            )
        node = self.table.add(value, path.tensor_name or "value")
        node[TAG] = "tensor"
        return node

    def _numpy(self, value: np.ndarray[Any, Any] | np.generic, path: _Path) -> object:
        dtype = value.dtype
        plain = type(value) is np.ndarray or isinstance(value, np.generic)
        if not plain or dtype.kind not in _NUMPY_KINDS or dtype.itemsize > _NUMPY_MAX_ITEMSIZE[dtype.kind]:
            raise UnsupportedState(
                f"{path} is {_described(value)} of dtype {dtype}; save plain numbers of at most 64 bits"
            )
        if isinstance(value, np.generic):
            return {TAG: "scalar", "dtype": dtype.str, "bytes": value.tobytes().hex()}
        # A copy: the array may be read-only or byte-swapped, which tensors cannot be. It lies as the array does.
        tensor = torch.from_numpy(np.array(value, dtype=dtype.newbyteorder("="), order="K", copy=True))
        node = self.table.add(tensor, path.tensor_name or "value")
        node |= {TAG: "ndarray", "numpy": dtype.str}
        return node


def _sorted_members(encoder: _Encoder, value: Iterable[Any], path: _Path) -> list[Any]:
    """Members in an order that does not depend on hash seeds."""
    return sorted((encoder.key(member, path) for member in value), key=repr)


_CONTAINERS: Final[dict[type, Callable[[_Encoder, Any, _Path], Any]]] = {
    dict: _Encoder.plain_dict,
    OrderedDict: _Encoder.ordered_dict,
    defaultdict: _Encoder.default_dict,
    Counter: lambda encoder, value, path: {TAG: "Counter", "items": encoder.items(value, path)},
    list: _Encoder.sequence,
    tuple: lambda encoder, value, path: {TAG: "tuple", "items": encoder.sequence(value, path)},
    torch.Size: lambda encoder, value, path: {TAG: "Size", "items": list(value)},
    set: lambda encoder, value, path: {TAG: "set", "items": _sorted_members(encoder, value, path)},
    frozenset: lambda encoder, value, path: {TAG: "frozenset", "items": _sorted_members(encoder, value, path)},
}

_LEAVES: Final[dict[type, Callable[[Any], Any]]] = {
    bytes: lambda value: {TAG: "bytes", "base64": base64.b64encode(value).decode()},
    complex: lambda value: {TAG: "complex", "bits": struct.pack(">dd", value.real, value.imag).hex()},
    torch.dtype: lambda value: {TAG: "dtype", "name": str(value).removeprefix("torch.")},
    torch.device: lambda value: {TAG: "device", "name": str(value)},
}


def _described(value: object) -> str:
    kind = type(value)
    name = kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
    return f"of type {name}"


def _remedy(value: object) -> str:
    if isinstance(value, Enum):
        return "save its .value and build the member again on load"
    if isinstance(value, PathLike):
        return "save str(path)"
    if isinstance(value, torch.Generator):
        return "save its get_state()"
    if callable(value):
        return "code is not state: leave it out of state_dict and set it again on load"
    if isinstance(value, tuple | dict | list | str | int | float):
        return f"a subclass cannot be restored without pickle: save a plain {type(value).__mro__[-2].__name__}"
    return "return plain dicts, lists, numbers, strings, bytes, NumPy arrays and tensors from state_dict"


def _decode(node: object, tensors: StoredTensors) -> object:
    if isinstance(node, list):
        return [_decode(item, tensors) for item in node]
    if not isinstance(node, dict):
        return node
    tag = node.get(TAG)
    if tag is None:
        return {key: _decode(item, tensors) for key, item in node.items()}
    if tag not in _DECODERS:
        raise Corrupt(f"state has the unknown tag {tag!r}; this release knows {sorted(_DECODERS)}")
    return _DECODERS[tag](node, tensors)


def _decode_ndarray(node: dict[str, Any], tensors: StoredTensors) -> np.ndarray[Any, Any]:
    return tensors.find(node).numpy().astype(_numpy_dtype(node["numpy"]))


def _numpy_dtype(name: str) -> np.dtype[Any]:
    dtype: np.dtype[Any] = np.dtype(name)
    if dtype.kind not in _NUMPY_KINDS:
        raise Corrupt(f"NumPy dtype {name!r} is none that a checkpoint holds")
    return dtype


def _decode_scalar(node: dict[str, Any], _: StoredTensors) -> object:
    return np.frombuffer(bytes.fromhex(node["bytes"]), dtype=_numpy_dtype(node["dtype"]))[0]


def _decode_items(node: dict[str, Any], tensors: StoredTensors) -> list[tuple[Any, Any]]:
    return [(_decode(key, tensors), _decode(item, tensors)) for key, item in node["items"]]


def _decode_ordered(node: dict[str, Any], tensors: StoredTensors) -> OrderedDict[Any, Any]:
    value = OrderedDict(_decode_items(node, tensors))
    if "metadata" in node:
        vars(value)["_metadata"] = _decode(node["metadata"], tensors)
    return value


def _decode_counter(node: dict[str, Any], tensors: StoredTensors) -> Counter[Any]:
    return Counter(dict(_decode_items(node, tensors)))


def _decode_default(node: dict[str, Any], tensors: StoredTensors) -> defaultdict[Any, Any]:
    return defaultdict(_FACTORIES[node["of"]], _decode_items(node, tensors))


def _decode_members(make: Callable[[list[Any]], Any], node: dict[str, Any], tensors: StoredTensors) -> object:
    return make([_decode(item, tensors) for item in node["items"]])


def _decode_dtype(node: dict[str, Any], _: StoredTensors) -> torch.dtype:
    dtype = getattr(torch, node["name"], None)
    if not isinstance(dtype, torch.dtype):
        raise Corrupt(f"torch has no dtype {node['name']!r}")
    return dtype


_DECODERS: Final[dict[str, Callable[[dict[str, Any], StoredTensors], Any]]] = {
    "tensor": lambda node, tensors: tensors.find(node),
    "ndarray": _decode_ndarray,
    "scalar": _decode_scalar,
    "dict": lambda node, tensors: dict(_decode_items(node, tensors)),
    "OrderedDict": _decode_ordered,
    "Counter": _decode_counter,
    "defaultdict": _decode_default,
    "tuple": partial(_decode_members, tuple),
    "Size": partial(_decode_members, torch.Size),
    "set": partial(_decode_members, set),
    "frozenset": partial(_decode_members, frozenset),
    "int": lambda node, _: int(node["hex"], 16),
    "float": lambda node, _: struct.unpack(">d", bytes.fromhex(node["bits"]))[0],
    "complex": lambda node, _: complex(*struct.unpack(">dd", bytes.fromhex(node["bits"]))),
    "bytes": lambda node, _: base64.b64decode(node["base64"], validate=True),
    "dtype": _decode_dtype,
    "device": lambda node, _: torch.device(node["name"]),
}

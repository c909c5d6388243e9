"""What ranks tell each other besides tensors, as bytes in tensors.

What the trainer itself has to say is JSON. Objects of the user's are pickled, and a pickle runs code where it is read:
so each bears a MAC under a key that the ranks take from their store, and without it is not read. In a job that store is
in the reach of the job's own pods alone (``docs/adr/attempt-key.md``); the sockets of gloo and NCCL are not.
"""

from __future__ import annotations

import hmac
import pickle
import secrets
from typing import Any, Final, Protocol

import torch
import torch.distributed as dist
from torch import Tensor

MAX_BYTES: Final = 2**31
_MAC_BYTES: Final = 32
_KEY: Final = "thunderhead/objects/key"


class KeyStore(Protocol):
    """What is used of a ``torch.distributed.Store``."""

    def compare_set(self, key: str, expected: str, desired: str, /) -> bytes:
        """Write a value unless there is one; what is there afterwards."""


class ObjectSeal:
    """Packs objects for other ranks of this process group, and unpacks theirs.

    Args:
        store: of the process group; the first rank that needs a key draws it for all.
    """

    def __init__(self, store: KeyStore) -> None:
        self._key = store.compare_set(_KEY, "", secrets.token_hex(_MAC_BYTES))

    def pack(self, obj: object, purpose: str) -> bytes:
        """The object with a MAC; ``purpose`` says from whom and what for."""
        pickled = pickle.dumps(obj)
        return self._mac(pickled, purpose) + pickled

    def unpack(self, data: bytes, purpose: str) -> Any:
        """The object that was packed for this purpose.

        Raises:
            RuntimeError: it was not packed by a rank of this group.
        """
        mac, pickled = data[:_MAC_BYTES], data[_MAC_BYTES:]
        if not hmac.compare_digest(mac, self._mac(pickled, purpose)):
            raise RuntimeError(
                f"an object ({purpose}) came over the network that no rank of this run has sent; it was not read. "
                "Keep other pods away from the sockets of gloo and NCCL (a NetworkPolicy that is enforced)"
            )
        return pickle.loads(pickled)

    def _mac(self, pickled: bytes, purpose: str) -> bytes:
        return hmac.digest(self._key, purpose.encode() + b"\0" + pickled, "sha256")


def broadcast_bytes(data: bytes, src: int, device: torch.device) -> bytes:
    """The bytes that rank ``src`` has (never none): two broadcasts."""
    size = torch.tensor([len(data)], dtype=torch.int64, device=device)
    dist.broadcast(size, src)
    if dist.get_rank() == src:
        buffer = _as_tensor(data, device)
    else:
        buffer = torch.empty(_checked(int(size.item())), dtype=torch.uint8, device=device)
    dist.broadcast(buffer, src)
    return data if dist.get_rank() == src else _as_bytes(buffer)


def gather_bytes(data: bytes, device: torch.device, *, on_first: bool = False) -> list[bytes]:
    """What each rank has (never nothing), in order of rank: on all of them, or on rank 0 and nothing on the others."""
    size = torch.tensor([len(data)], dtype=torch.int64, device=device)
    sizes = [torch.zeros_like(size) for _ in range(dist.get_world_size())]
    dist.all_gather(sizes, size)
    lengths = [_checked(int(one.item())) for one in sizes]
    longest = max(lengths)
    mine = _as_tensor(data.ljust(longest, b"\0"), device)
    receives = not on_first or dist.get_rank() == 0
    parts = [torch.empty_like(mine) for _ in lengths] if receives else []
    if on_first:
        dist.gather(mine, parts or None, dst=0)
    else:
        dist.all_gather(parts, mine)
    return [_as_bytes(part[:length]) for part, length in zip(parts, lengths, strict=False)]


def _checked(size: int) -> int:
    if not 0 < size <= MAX_BYTES:
        raise RuntimeError(f"a rank announces a message of {size} bytes; at most {MAX_BYTES} are taken")
    return size


def _as_tensor(data: bytes, device: torch.device) -> Tensor:
    return torch.frombuffer(bytearray(data), dtype=torch.uint8).to(device)


def _as_bytes(buffer: Tensor) -> bytes:
    found: bytes = buffer.cpu().numpy().tobytes()
    return found

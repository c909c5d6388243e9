"""Random state of this process: seeding it, keeping it apart, capturing it and putting it back.

Python, NumPy (only where something imported it), torch on the CPU and on the accelerators in use.
"""

from __future__ import annotations

import os
import random
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

from thunderhead.device_kinds import device_count, initialised, module_of, present
from thunderhead.exceptions import MisconfigurationException

_MAX_SEED = 2**32 - 1


def seed_everything(seed: int | None = None, workers: bool = False, verbose: bool = True) -> int:
    """Seed Python, NumPy and torch, and remember the seed for samplers and subprocesses in ``PL_GLOBAL_SEED``.

    Args:
        seed: from 0 to 2³²-1; ``None`` takes ``PL_GLOBAL_SEED``, else 0.
        workers: whether loader processes get a seed derived from it (``PL_SEED_WORKERS``).
        verbose: whether to say which seed it was.

    Returns:
        The seed used.

    Raises:
        MisconfigurationException: no integer in that range.
    """
    asked: int | str = os.environ.get("PL_GLOBAL_SEED", 0) if seed is None else seed
    try:
        chosen = int(asked)
    except (TypeError, ValueError) as error:
        raise MisconfigurationException(f"seed={asked!r} is no integer") from error
    if not 0 <= chosen <= _MAX_SEED:
        raise MisconfigurationException(f"seed={chosen} is outside 0..{_MAX_SEED}")
    if verbose and os.environ.get("RANK", "0") == "0":
        print(f"Seed set to {chosen}", file=sys.stderr)
    os.environ["PL_GLOBAL_SEED"] = str(chosen)
    os.environ["PL_SEED_WORKERS"] = str(int(workers))
    seed_process(chosen)
    return chosen


def seed_process(seed: int) -> None:
    """Seed every generator of this process, without remembering it."""
    random.seed(seed)
    if "numpy" in sys.modules:
        sys.modules["numpy"].random.seed(seed % 2**32)
    torch.manual_seed(seed)


def capture_rng() -> dict[str, Any]:
    """State of every generator, as plain data and tensors."""
    version, words, gauss = random.getstate()
    state: dict[str, Any] = {
        "python": {"version": version, "words": torch.tensor(words, dtype=torch.int64), "gauss": gauss},
        "torch": torch.get_rng_state(),
    }
    if "numpy" in sys.modules:
        name, keys, position, has_gauss, cached = sys.modules["numpy"].random.get_state()
        state["numpy"] = {
            "name": name,
            "keys": torch.from_numpy(keys.astype("int64")),
            "position": int(position),
            "has_gauss": int(has_gauss),
            "gauss": float(cached),
        }
    for type_ in initialised():
        if states := _states_of(module_of(type_)):
            state[type_] = states
    return state


def _states_of(module: Any) -> list[torch.Tensor]:
    """Of every device of a kind; of the one that this process works with, where only that can be asked for."""
    if hasattr(module, "get_rng_state_all"):
        return list(module.get_rng_state_all())
    return [module.get_rng_state()] if hasattr(module, "get_rng_state") else []


def restore_rng(state: dict[str, Any]) -> None:
    """Put back what ``capture_rng`` returned."""
    python = state["python"]
    random.setstate((python["version"], tuple(python["words"].tolist()), python["gauss"]))
    torch.set_rng_state(state["torch"].cpu())
    if "numpy" in state:
        import numpy as np

        saved = state["numpy"]
        keys = saved["keys"].cpu().numpy().astype(np.uint32)
        np.random.set_state((saved["name"], keys, saved["position"], saved["has_gauss"], saved["gauss"]))
    for type_ in present():
        if type_ in state and type_ != "cpu":
            # A file may come from a machine with more devices.
            _put_back(module_of(type_), [saved.cpu() for saved in state[type_][: device_count(type_)]])


def _put_back(module: Any, states: list[torch.Tensor]) -> None:
    if hasattr(module, "set_rng_state_all"):
        module.set_rng_state_all(states)
    elif states:
        module.set_rng_state(states[0])


@contextmanager
def isolate_rng() -> Iterator[None]:
    """Whatever is drawn inside leaves no trace in the random state outside."""
    state = capture_rng()
    try:
        yield
    finally:
        restore_rng(state)

"""What differs between the ranks of a run, in the one ``.ckpt`` file that rank 0 writes.

``content["thunderhead"]`` holds rank 0's share beside the position, and under ``others`` those of ranks 1, 2, ...:

=====================  ================================================================================================
``replicas``           copies of the model: how many ranks read different data; rank 0's alone
``data``               where this rank's training loaders stand
``results``            what the epoch's reduced values are made of
``metrics``            the newest value of every name
``counters``           the x axis of validation, and in which epochs loaders were asked for; alike on all ranks
``validation_data``    which validation loaders have started their processes
``random``             state of every generator
``hand``               the batch in hand, where its step or hooks at its end are still to come
``gradients``          of an accumulation window that is open
``callbacks``          of the other ranks: state by ``state_key`` that is plain data or single numbers
``buffers``            of the other ranks: those of the module that ranks do not share
=====================  ================================================================================================

Those from ``validation_data`` to ``hand`` only inside an epoch: between two, a file goes on with the random state
of the process that reads it, as Lightning's do. A file without ``others`` was written by rank 0 alone, which asked
nobody.
"""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from typing import Any, Final

from torch import Tensor

from thunderhead.checkpoint.capture import RankState, own_buffers
from thunderhead.checkpoint.hand import gradients_of, mean_gradients
from thunderhead.core.position import BETWEEN_EPOCHS, Next, Position
from thunderhead.files.staging import detached
from thunderhead.ranks import Ranks
from thunderhead.results.merging import apart, merged
from thunderhead.rng import capture_rng
from thunderhead.run.run import Run
from thunderhead.run.training import Training
from thunderhead.warning import say

# Ranks that stop together come within a batch of each other; whoever sent SIGTERM sends SIGKILL half a minute later.
_LONGEST_WAIT_S: Final = 10.0
_APART: Final = ("random", "validation_data", "hand", "gradients")


def share_of(
    run: Run, training: Training, position: Position, rank: RankState, hand: dict[str, Any] | None
) -> dict[str, Any]:
    """What of this rank's state goes into its file at ``position``; see the module's table."""
    share: dict[str, Any] = {
        "world_size": run.strategy.world_size,
        "replicas": run.strategy.data.size,
        "data": rank.data,
        "results": rank.results if position.next is not Next.EPOCH else [],
        "metrics": rank.metrics,
    }
    if position.next not in BETWEEN_EPOCHS:
        share["validation_data"] = rank.validation_data
        share["random"] = _random_state(training, position, rank.random)
        share["hand"] = hand
    # Those that a module adds up by hand outlast an epoch.
    share["gradients"] = gradients_of(run, training, position)
    return share


def take_what_hooks_drew(share: dict[str, Any], training: Training, position: Position) -> None:
    """The run that writes goes on from the random state that the hooks of writing leave, and so does who resumes."""
    if "random" in share:
        share["random"] = _random_state(training, position, capture_rng())


def _random_state(training: Training, position: Position, now: dict[str, Any]) -> dict[str, Any]:
    if training.left.random is not None:
        return training.left.random  # of the run being resumed, which has not come to it
    # A validation that was interrupted is run again, from where it began.
    began_with = training.validation.began_with if position.next is Next.VALIDATE else None
    return began_with if began_with is not None else now


def gather(run: Run, content: Mapping[str, Any], own: Mapping[str, Any], *, ending: bool = False) -> list[bytes | str]:
    """The shares of all ranks on rank 0, packed: one gather, for which every rank must come here.

    Args:
        run: whose state.
        content: of this rank's file.
        own: its part of ours.
        ending: all ranks end the run here, but one may be killed before it comes: no collective, and a short wait.

    Raises:
        RuntimeError: a rank did not come, on rank 0.
    """
    given: dict[str, Any] = {
        name: value for name, value in own.items() if name not in ("position", "world_size", "replicas")
    }
    states = content["callbacks"]
    given["callbacks"] = {key: state for key, state in states.items() if _is_small(state)}
    # Outside of a fit nothing says which buffers ranks share, and all of them are alike or will be.
    wrapped = run.strategy.model is not None
    given["buffers"] = own_buffers(run, content["state_dict"]) if wrapped else {}
    packed = _packed(given)
    if ending:
        return run.strategy.leave_with_first(packed, _LONGEST_WAIT_S)
    return run.strategy.gather_on_first(packed)


def add_others(own: dict[str, Any], gathered: list[bytes | str]) -> None:
    """Keep what ``gather`` returned on rank 0.

    Raises:
        TypeError: a rank has state that cannot be pickled.
    """
    if len(gathered) > 1:
        own["others"] = [_unpacked(rank, packed) for rank, packed in enumerate(gathered) if rank > 0]


def of_this_rank(
    ranks: Ranks, content: dict[str, Any], own: dict[str, Any], metrics: Mapping[str, Any]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Content and ``own`` as this rank's own file would hold them, as far as one file can say.

    Args:
        ranks: that resume.
        content: of the file.
        own: its part of ours.
        metrics: the Metric objects that may be logged, by their attribute in the module.
    """
    rank, saved, others = ranks.global_rank, own.get("world_size", 1), own.get("others")
    if saved == ranks.world_size and (saved == 1 or others is not None):
        if rank == 0 or others is None:
            return content, own
        share = dict(others[rank - 1])
        callbacks, buffers = share.pop("callbacks"), share.pop("buffers")
        state_dict = {**content["state_dict"], **buffers}
        callbacks = {**content.get("callbacks", {}), **callbacks}
        return {**content, "callbacks": callbacks, "state_dict": state_dict}, {**own, **share}
    common = {name: value for name, value in own.items() if name not in _APART}
    # Ranks that held the model together have counted the same samples: the first of each such group speaks.
    together = saved // own.get("replicas", saved)
    parts = [share["results"] for share in (own, *(others or ())) if "results" in share][::together]
    # Given to one rank, or to those that hold the model with it, so that they count once in what is reduced over ranks.
    whole = merged(parts, metrics)
    common["results"] = whole if ranks.data.rank == 0 else apart(whole, metrics)
    gradients = [share["gradients"] for share in (own, *(others or ())) if share.get("gradients")]
    # A rank's piece of a gradient means nothing to another number of ranks.
    if gradients and all(isinstance(value, Tensor) for part in gradients for value in part.values()):
        common["gradients"] = mean_gradients(gradients)
    say(_told(own, ranks.world_size))
    return content, common


def _told(own: dict[str, Any], world_size: int) -> str:
    saved, inside = own.get("world_size", 1), own["position"]["next"] not in BETWEEN_EPOCHS
    if saved == world_size:
        what = "the checkpoint holds the state of rank 0 alone, which asked nobody when it was written"
    else:
        what = f"the checkpoint was saved by {saved} rank{'s' * (saved > 1)}, and {world_size} go on"
    if not inside:
        return f"{what}: what callbacks keep per rank is rank 0's"
    batch = own["position"]["batch"]
    known = "rank 0" if "others" not in own and saved > 1 else "all ranks"
    values = f"values of the epoch count what {known} had logged, random states begin anew"
    if saved == world_size:
        return f"{what}: {values}"
    return (
        f"{what}: {values}, and the epoch is read on from batch {batch} in the order of {world_size}, so some "
        "samples come again and others not at all"
    )


def _is_small(state: object) -> bool:
    """Plain data and single numbers: what may differ between ranks without being a copy of the weights."""
    if isinstance(state, Tensor):
        return state.numel() <= 1
    if type(state) is dict:
        return all(map(_is_small, state)) and all(map(_is_small, state.values()))
    if isinstance(state, list | tuple) and type(state) in (list, tuple):
        return all(map(_is_small, state))
    return type(state) in (type(None), bool, int, float, str, bytes)


def _packed(share: dict[str, Any]) -> bytes | str:
    """The share, or why it cannot be sent: the gather waits for this rank either way."""
    try:
        return pickle.dumps(detached(share))
    except Exception as error:  # noqa: BLE001 - raised on rank 0, which tells all
        return f"{type(error).__name__}: {error}"


def _unpacked(rank: int, packed: bytes | str) -> object:
    if isinstance(packed, str):
        raise TypeError(f"rank {rank} has state that cannot be saved: {packed}")
    return pickle.loads(packed)

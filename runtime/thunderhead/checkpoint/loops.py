"""Our position in the words of Lightning's ``loops`` key, and back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from thunderhead.loops.position import Next, Position

if TYPE_CHECKING:
    from thunderhead.trainer.trainer import Trainer


def _tracker(count: int, *, processed: bool = True) -> dict[str, int]:
    made = {"ready": count, "completed": count, "started": count}
    return {**made, "processed": count} if processed else made


def _progress(total: int, current: int, *, processed: bool = True) -> dict[str, Any]:
    return {"total": _tracker(total, processed=processed), "current": _tracker(current, processed=processed)}


def loops_of(position: Position, trainer: Trainer) -> dict[str, Any]:
    """``loops`` as Lightning writes it for a run that stands at ``position``."""
    inside = position.next is not Next.EPOCH
    epoch = _progress(position.epoch, position.epoch)
    if inside:
        for level in ("total", "current"):
            epoch[level]["ready"] += 1
            epoch[level]["started"] += 1
    last = bool(trainer.fit_loop.is_last_batch) or not inside
    optimizer = {
        "optimizer": {
            "step": {"total": _pair(position.step), "current": _pair(position.step)},
            "zero_grad": {"total": _triple(position.step), "current": _triple(position.step)},
        }
    }
    data = trainer.fit_loop.data
    states = [] if data is None else data.stateful()
    fit = {
        "state_dict": {"combined_loader": states} if states else {},
        "epoch_loop.state_dict": {"_batches_that_stepped": position.log_step},
        "epoch_loop.batch_progress": {**_progress(position.batches, position.batch), "is_last_batch": last},
        "epoch_loop.scheduler_progress": {"total": _pair(0), "current": _pair(0)},
        "epoch_loop.automatic_optimization.state_dict": {},
        "epoch_loop.automatic_optimization.optim_progress": optimizer,
        "epoch_loop.manual_optimization.state_dict": {},
        "epoch_loop.manual_optimization.optim_step_progress": {"total": _pair(0), "current": _pair(0)},
        "epoch_loop.val_loop.state_dict": {},
        "epoch_loop.val_loop.batch_progress": {**_progress(0, 0), "is_last_batch": False},
        "epoch_progress": epoch,
    }
    if not trainer.lightning_module.automatic_optimization:
        manual = {"total": _pair(position.step), "current": _pair(position.step)}
        fit["epoch_loop.manual_optimization.optim_step_progress"] = manual
    evaluation = {"state_dict": {}, "batch_progress": {**_progress(0, 0), "is_last_batch": False}}
    return {
        "fit_loop": fit,
        "validate_loop": evaluation,
        "test_loop": evaluation,
        "predict_loop": {"state_dict": {}, "batch_progress": _progress(0, 0)},
    }


def position_of(content: dict[str, Any]) -> Position:
    """The position in a file that Lightning wrote."""
    epoch, step = content.get("epoch", 0), content.get("global_step", 0)
    fit = (content.get("loops") or {}).get("fit_loop")
    if not fit:
        return Position(epoch=epoch, step=step, log_step=step)
    batches = fit["epoch_loop.batch_progress"]
    epochs = fit["epoch_progress"]["current"]
    over = epochs["processed"] >= epochs["started"] or batches.get("is_last_batch", False)
    return Position(
        epoch=epochs["processed"] if epochs["processed"] >= epochs["started"] else epochs["completed"] + int(over),
        batch=0 if over else batches["current"]["processed"],
        batches=batches["total"]["processed"],
        step=step,
        log_step=fit.get("epoch_loop.state_dict", {}).get("_batches_that_stepped", step),
        next=Next.EPOCH if over else Next.BATCH,
    )


def data_of(content: dict[str, Any], position: Position) -> dict[str, Any] | None:
    """Where the training data of a file that Lightning wrote is to be taken up; None at an epoch's start.

    Lightning keeps how many batches were used, and the state of loaders that have one; not in which order.
    """
    if position.next is Next.EPOCH:
        return None
    states = content["loops"]["fit_loop"].get("state_dict", {}).get("combined_loader", [])
    return {"used": position.batch, "states": states}


def _pair(count: int) -> dict[str, int]:
    return {"ready": count, "completed": count}


def _triple(count: int) -> dict[str, int]:
    return {"ready": count, "completed": count, "started": count}

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
    fit = {
        "state_dict": {},
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
    fit = content.get("loops", {}).get("fit_loop", {})
    if not fit:
        return Position(epoch=content.get("epoch", 0), step=content.get("global_step", 0))
    batches = fit["epoch_loop.batch_progress"]
    epochs = fit["epoch_progress"]["current"]
    over = epochs["processed"] >= epochs["started"] or batches.get("is_last_batch", False)
    return Position(
        epoch=epochs["processed"] if epochs["processed"] >= epochs["started"] else epochs["completed"] + int(over),
        batch=0 if over else batches["current"]["processed"],
        batches=batches["total"]["processed"],
        step=content["global_step"],
        log_step=fit["epoch_loop.state_dict"].get("_batches_that_stepped", content["global_step"]),
        next=Next.EPOCH if over else Next.BATCH,
    )


def _pair(count: int) -> dict[str, int]:
    return {"ready": count, "completed": count}


def _triple(count: int) -> dict[str, int]:
    return {"ready": count, "completed": count, "started": count}

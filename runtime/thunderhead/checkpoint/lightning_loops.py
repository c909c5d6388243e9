"""Our position in the words of Lightning's ``loops`` key, and back."""

from __future__ import annotations

from typing import Any

from thunderhead.core.position import Next, Position
from thunderhead.run.run import Run
from thunderhead.run.training import Training


def loops_of(run: Run, training: Training, position: Position) -> dict[str, Any]:
    """``loops`` as Lightning writes it at ``position``: what has begun, what is done, what its hooks are at."""
    now, live, optimizers = training.epoch, training.position, training.optimizers
    epoch_ends = position.next is Next.EPOCH_END
    inside = live.next is not Next.EPOCH or epoch_ends
    begun = live.epoch + int(inside)
    epoch = _each(_tracker(begun, live.epoch + int(epoch_ends), live.epoch))
    open_batch = int(position.next is Next.BATCH_END and position.stepped)
    done = live.batch if inside else now.batches_before
    batches = {
        "total": _tracker(live.batches, live.batches, live.batches - open_batch),
        "current": _tracker(done, done, done - open_batch),
        "is_last_batch": now.is_last_batch,
    }
    steps = (live.step, live.step - now.steps_before)
    schedules = (optimizers.scheduler_steps, optimizers.scheduler_steps - now.schedules_before)
    validated, validated_in_epoch = training.validation.counted_at(position)
    automatic = run.module.automatic_optimization
    states = [] if training.data is None else training.data.stateful()
    fit = {
        "state_dict": {"combined_loader": states} if states else {},
        "epoch_loop.state_dict": {"_batches_that_stepped": live.log_step},
        "epoch_loop.batch_progress": batches,
        "epoch_loop.scheduler_progress": _pairs(*schedules),
        "epoch_loop.automatic_optimization.state_dict": {},
        "epoch_loop.automatic_optimization.optim_progress": _optimizer(steps if automatic else (0, 0), run, training),
        "epoch_loop.manual_optimization.state_dict": {},
        "epoch_loop.manual_optimization.optim_step_progress": _pairs(*((0, 0) if automatic else (live.step,) * 2)),
        "epoch_loop.val_loop.state_dict": {},
        "epoch_loop.val_loop.batch_progress": {
            "total": _even(validated_in_epoch),
            "current": _even(validated),
            "is_last_batch": validated > 0,
        },
        "epoch_progress": epoch,
    }
    evaluation = {"state_dict": {}, "batch_progress": {**_each(_even(0)), "is_last_batch": False}}
    return {
        "fit_loop": fit,
        "validate_loop": evaluation,
        "test_loop": evaluation,
        "predict_loop": {"state_dict": {}, "batch_progress": _each(_even(0))},
    }


def _optimizer(steps: tuple[int, int], run: Run, training: Training) -> dict[str, Any]:
    """Steps, and gradients freed: once per accumulation window, at its first batch."""
    now, live = training.epoch, training.position
    in_window = steps[0] and not now.is_last_batch and live.batch % run.options.accumulate_grad_batches
    freed = [count + int(bool(in_window)) for count in steps]
    zero_grad = {level: _triple(count) for level, count in zip(("total", "current"), freed, strict=True)}
    return {"optimizer": {"step": _pairs(*steps), "zero_grad": zero_grad}}


def position_of(content: dict[str, Any]) -> Position:
    """The position in a file that Lightning wrote."""
    epoch, step = content.get("epoch", 0), content.get("global_step", 0)
    fit = (content.get("loops") or {}).get("fit_loop")
    if not fit:
        return Position(epoch=epoch, step=step, log_step=step)
    batches = fit["epoch_loop.batch_progress"]
    epochs = fit["epoch_progress"]["current"]
    # A hook at the batch's end saved: Lightning counts the batch on the x axis of loggers once it goes on.
    open_step = batches["current"]["processed"] > batches["current"]["completed"]
    over = epochs["processed"] >= epochs["started"] or batches.get("is_last_batch", False)
    return Position(
        epoch=epochs["processed"] if epochs["processed"] >= epochs["started"] else epochs["completed"] + int(over),
        batch=0 if over else batches["current"]["processed"],
        batches=batches["total"]["processed"],
        step=step,
        log_step=fit.get("epoch_loop.state_dict", {}).get("_batches_that_stepped", step) + int(open_step),
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


def scheduler_steps_of(content: dict[str, Any]) -> int:
    """How often schedulers were stepped when the file was written."""
    fit = content.get("loops", {}).get("fit_loop", {})
    steps: int = fit.get("epoch_loop.scheduler_progress", {}).get("total", {}).get("completed", 0)
    return steps


def restore_counts(content: dict[str, Any], training: Training) -> None:
    """What counts from the running epoch's start goes on from there, not from where a run took it up."""
    epoch, steps, schedules = training.epoch, training.position.step, training.optimizers.scheduler_steps
    epoch.steps_before, epoch.schedules_before = steps, schedules
    fit = (content.get("loops") or {}).get("fit_loop")
    if not fit:
        return
    epoch.batches_before = _done(fit.get("epoch_loop.batch_progress", {}), "current")
    stepped = fit.get("epoch_loop.automatic_optimization.optim_progress", {}).get("optimizer", {}).get("step", {})
    epoch.steps_before = steps - _done(stepped, "current")
    epoch.schedules_before = schedules - _done(fit.get("epoch_loop.scheduler_progress", {}), "current")
    validated = fit.get("epoch_loop.val_loop.batch_progress", {})
    training.validation.count_from((_done(validated, "current"), _done(validated, "total")))


def without_loaders(loops: dict[str, Any]) -> dict[str, Any]:
    """Counters alone: where loaders stand is kept elsewhere."""
    fit = loops.get("fit_loop")
    return {**loops, "fit_loop": {**fit, "state_dict": {}}} if fit else {}


def _done(progress: dict[str, Any], level: str) -> int:
    found: int = progress.get(level, {}).get("completed", 0)
    return found


def _tracker(begun: int, processed: int, completed: int) -> dict[str, int]:
    return {"ready": begun, "completed": completed, "started": begun, "processed": processed}


def _even(count: int) -> dict[str, int]:
    return _tracker(count, count, count)


def _each(tracker: dict[str, int]) -> dict[str, Any]:
    return {"total": tracker, "current": dict(tracker)}


def _pairs(total: int, current: int) -> dict[str, Any]:
    return {"total": {"ready": total, "completed": total}, "current": {"ready": current, "completed": current}}


def _triple(count: int) -> dict[str, int]:
    return {"ready": count, "completed": count, "started": count}

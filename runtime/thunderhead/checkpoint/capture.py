"""The state of a run, taken once for whoever saves it: a ``.ckpt`` file or a job checkpoint, which only arrange it.

In two halves, since they differ in when user hooks have their say: those of a file see what this rank adds to it, and
a job goes on from what they did.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from thunderhead.checkpoint.lightning_loops import loops_of
from thunderhead.core.position import Position
from thunderhead.hooks.overriding import call_hook
from thunderhead.loggers.logger import Logger
from thunderhead.rng import capture_rng
from thunderhead.run.loaders import training_data_state, validation_data_state
from thunderhead.run.run import Run
from thunderhead.run.training import Training

# The version of Lightning whose format this is; its migrations look at it.
FORMAT_VERSION: Final = "2.6.6"
# Keys of a file which is not restored yet: what it says of training is still what counts.
_OF_TRAINING: Final = ("epoch", "global_step", "loops", "optimizer_states", "lr_schedulers")


def state_of(run: Run, training: Training, position: Position, *, weights_only: bool = False) -> dict[str, Any]:
    """Module, optimizers, schedulers, callbacks, precision and datamodule, under the keys of Lightning.

    Args:
        run: whose module, datamodule and callbacks.
        training: what it carries.
        position: where to resume, which hooks of the running moment may make differ from the loop's own.
        weights_only: leave out optimizers, schedulers, callbacks and precision.
    """
    optimizers = training.optimizers
    # What was to be logged before this moment is not left to who goes on from it, nor to loggers that hold it back:
    # should this process be killed, nobody would write it.
    run.metrics.send_late()
    run.metrics.save_loggers()
    content: dict[str, Any] = {
        "epoch": training.position.epoch,
        "global_step": training.position.step,
        "pytorch-lightning_version": FORMAT_VERSION,
        "state_dict": run.strategy.module_state(run.module),
        "loops": loops_of(run, training, position),
    }
    if not weights_only:
        content["callbacks"] = _callback_states(run)
        content["optimizer_states"] = [run.strategy.optimizer_state(optimizer) for optimizer in optimizers.plain]
        content["lr_schedulers"] = [config.scheduler.state_dict() for config in optimizers.configs]
        precision = run.precision.state_dict()
        if precision:
            content[key_of(run.precision)] = precision
        waiting = training.left.file
        if waiting is not None:
            content.update({key: waiting[key] for key in _OF_TRAINING if key in waiting})
    if run.datamodule is not None:
        state = call_hook(run.datamodule, "state_dict")
        if state:
            content[key_of(run.datamodule)] = state
    return content


@dataclass(frozen=True, slots=True, kw_only=True)
class RankState:
    """What may differ between ranks, beside what callbacks and hooks keep.

    Attributes:
        data: where the training loaders stand.
        results: what the epoch's reduced values are made of.
        metrics: the newest value of every name.
        counters: the x axis of validation, in which epochs loaders were asked for, how many records loggers have.
        validation_data: which validation loaders have started their processes.
        random: state of every generator.
    """

    data: dict[str, Any] | None
    results: list[dict[str, Any]]
    metrics: dict[str, Any]
    counters: dict[str, Any]
    validation_data: list[dict[str, Any]] | None
    random: dict[str, Any]


def rank_state(run: Run, training: Training, position: Position, *, in_hand: bool = False) -> RankState:
    """Take it; ``in_hand``: the batch after those of ``position`` was read, and is kept by who saves."""
    return RankState(
        data=training_data_state(training, position, in_hand=in_hand),
        results=training.results.state_dict(),
        metrics=run.metrics.state_dict(),
        counters=_counters(run, training, position),
        validation_data=validation_data_state(training),
        random=capture_rng(),
    )


def ask_hooks(run: Run, content: dict[str, Any], *, weights_only: bool = False) -> None:
    """Let the user's ``on_save_checkpoint`` add what it likes."""
    with run.hooks.inside("on_save_checkpoint"):
        if not weights_only:
            for callback in run.callbacks:
                call_hook(callback, "on_save_checkpoint", run.caller, run.module, content)
        call_hook(run.module, "on_save_checkpoint", content)


def own_buffers(run: Run, saved: Mapping[str, Any]) -> dict[str, Any]:
    """Buffers that belong to this rank: those that ranks do not share, and those that hooks exchanged in ``saved``.

    Nobody keeps the latter alike on all ranks, such as averages of buffers.
    """
    module, several = run.module, run.strategy.world_size > 1
    local = run.strategy.local_buffers(module)
    found = {}
    for name, buffer in module.named_buffers() if several or local else ():
        kept = saved.get(name)
        if kept is not None and several and kept.data_ptr() != buffer.data_ptr():
            found[name] = kept
        elif name in local and (kept is not None or name not in module.state_dict()):
            found[name] = buffer
    return found


def key_of(owner: object) -> str:
    """Under which key the state of precision or datamodule lies."""
    return type(owner).__qualname__


def _callback_states(run: Run) -> dict[str, Any]:
    states = {}
    for callback in run.callbacks:
        state = callback.state_dict()
        if state:
            states[callback.state_key] = state
    return states


def _counters(run: Run, training: Training, position: Position) -> dict[str, Any]:
    """Counters of a run that are no part of its position."""
    records = [logger._records() if isinstance(logger, Logger) else None for logger in run.loggers]
    seen = training.validation.seen_at(position)
    return {"validated": seen, "loaded": training.loaded_in.state_dict(), "records": records}

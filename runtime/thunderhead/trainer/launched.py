"""One entry point on ranks that are children of this process, and what of it comes back to the Trainer here.

Back come rank 0's weights, results, metrics, position, state, and the state of callbacks and datamodule; not what user
code keeps in attributes: other processes had those.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from thunderhead.core.state import TrainerState, TrainerStatus
from thunderhead.distributed.environment import ProcessRank
from thunderhead.distributed.process_launch import ProcessLauncher
from thunderhead.files.staging import detached
from thunderhead.run.schedulers import Schedulers
from thunderhead.trainer.preparing import name_of_configure_model
from thunderhead.trainer.properties import TrainerProperties


def run_in_children(
    trainer: TrainerProperties, launcher: ProcessLauncher, call: dict[str, Any]
) -> list[dict[str, float]] | None:
    """What ``enter(trainer, **call)`` returns on rank 0.

    Raises:
        BaseException: what a child raised first.
    """
    for logger in trainer.loggers:
        _ = logger.version  # chosen here, so that all processes write to, and this one knows, the same
    try:
        outcome = launcher.launch(_on_rank, (trainer, call))
    except BaseException:
        trainer.state.status = TrainerStatus.INTERRUPTED
        trainer.state.stage = None
        raise
    assert outcome is not None, "local rank 0 gives it"
    _take_over(trainer, outcome)
    result: list[dict[str, float]] | None = outcome["result"]
    return result


def _on_rank(place: ProcessRank, payload: tuple[TrainerProperties, dict[str, Any]]) -> dict[str, Any] | None:
    from thunderhead.trainer.entry_point import enter

    trainer, call = payload
    trainer.strategy.move_to(place)
    result = enter(trainer, **call)
    found = _outcome(trainer, result) if place.local_rank == 0 else None
    trainer.strategy.leave()
    return found


def _outcome(trainer: TrainerProperties, result: object) -> dict[str, Any]:
    datamodule, training = trainer.datamodule, trainer._training
    return {
        "result": result,
        "weights": detached(trainer.lightning_module.state_dict()),
        "position": training.position,
        "scheduler_steps": training.optimizers.scheduler_steps,
        "metrics": trainer._metrics.state_dict(),
        "state": asdict(trainer.state),
        "should_stop": trainer.should_stop,
        "ckpt_path": trainer._resumed_from,
        "validation": training.validation.possible,
        "callbacks": {callback.state_key: detached(callback.state_dict()) for callback in trainer.callbacks},
        "datamodule": None if datamodule is None else detached(datamodule.state_dict()),
    }


def _take_over(trainer: TrainerProperties, outcome: dict[str, Any]) -> None:
    module, run, training = trainer.lightning_module, trainer._run, trainer._training
    assert run is not None, "it was begun before its children were"
    with run.precision.init_context():
        run.hooks.call_module(name_of_configure_model(run.module))
    module.load_state_dict(outcome["weights"])
    training.position.become(outcome["position"])
    training.optimizers.schedulers = Schedulers((), training.position, run.hooks, run.metrics)
    training.optimizers.schedulers.steps = outcome["scheduler_steps"]
    training.validation.possible = outcome["validation"]
    run.metrics.load_state_dict(outcome["metrics"])
    run.state = TrainerState(**outcome["state"])
    run.stop.asked = outcome["should_stop"]
    trainer._resumed_from = outcome["ckpt_path"]
    for callback in trainer.callbacks:
        state = outcome["callbacks"].get(callback.state_key)
        if state:
            callback.load_state_dict(state)
    if outcome["datamodule"] and trainer.datamodule is not None:
        trainer.datamodule.load_state_dict(outcome["datamodule"])

"""One entry point on ranks that are children of this process, and what of it comes back to the Trainer here.

Back come rank 0's weights, results, metrics, position, state, and the state of callbacks and datamodule; not what user
code keeps in attributes: other processes had those.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from thunderhead.checkpoint.staging import detached
from thunderhead.distributed.environment import Place
from thunderhead.distributed.process_launch import ProcessLauncher
from thunderhead.trainer.hook_table import is_overridden
from thunderhead.trainer.state import TrainerStatus

if TYPE_CHECKING:
    from thunderhead.trainer.trainer import Trainer


def run_in_children(trainer: Trainer, launcher: ProcessLauncher, call: dict[str, Any]) -> Any:
    """What ``run(trainer, **call)`` returns on rank 0.

    Raises:
        BaseException: what a child raised first.
    """
    for logger in trainer.loggers:
        _ = logger.version  # chosen here, so that all processes write to, and this one knows, the same
    try:
        outcome = launcher.launch(_on_rank, (trainer, call))
    except BaseException:
        trainer.state.status = TrainerStatus.INTERRUPTED
        trainer.state.stage = trainer._stage = None
        raise
    _take_over(trainer, outcome)
    return outcome["result"]


def _on_rank(place: Place, payload: tuple[Trainer, dict[str, Any]]) -> dict[str, Any] | None:
    from thunderhead.trainer.run import run

    trainer, call = payload
    trainer.strategy.move_to(place)
    result = run(trainer, **call)
    found = _outcome(trainer, result) if place.local_rank == 0 else None
    trainer.strategy.leave()
    return found


def _outcome(trainer: Trainer, result: Any) -> dict[str, Any]:
    datamodule = trainer.datamodule
    return {
        "result": result,
        "weights": detached(trainer.lightning_module.state_dict()),
        "position": trainer._position,
        "scheduler_steps": trainer._schedulers.steps,
        "metrics": trainer._metrics.state_dict(),
        "state": asdict(trainer.state),
        "should_stop": trainer.should_stop,
        "ckpt_path": trainer._resumed_from,
        "validation": trainer._validation.possible,
        "callbacks": {callback.state_key: detached(callback.state_dict()) for callback in trainer.callbacks},
        "datamodule": None if datamodule is None else detached(datamodule.state_dict()),
    }


def _take_over(trainer: Trainer, outcome: dict[str, Any]) -> None:
    module = trainer.lightning_module
    for name in ("configure_sharded_model", "configure_model"):
        if is_overridden(name, module):
            getattr(module, name)()
    module.load_state_dict(outcome["weights"])
    trainer._position = outcome["position"]
    trainer._schedulers.steps = outcome["scheduler_steps"]
    trainer._metrics.load_state_dict(outcome["metrics"])
    for name, value in outcome["state"].items():
        setattr(trainer.state, name, value)
    trainer._stage = None
    trainer.should_stop = outcome["should_stop"]
    trainer._resumed_from = outcome["ckpt_path"]
    trainer._validation.possible = outcome["validation"]
    for callback in trainer.callbacks:
        state = outcome["callbacks"].get(callback.state_key)
        if state:
            callback.load_state_dict(state)
    if outcome["datamodule"] and trainer.datamodule is not None:
        trainer.datamodule.load_state_dict(outcome["datamodule"])

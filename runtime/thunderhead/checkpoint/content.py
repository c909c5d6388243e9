"""What a checkpoint holds, under the keys of Lightning 2.x, and how it is put back.

============================  =========================================================================================
``epoch, global_step``        epochs completed, optimizer steps done
``state_dict``                the module's
``loops``                     progress in Lightning's words, projected from our position
``callbacks``                 state by ``state_key``
``optimizer_states``          one per optimizer
``lr_schedulers``             one per scheduler
``<precision class>``         the gradient scaler's
``<datamodule class>``        the datamodule's
``hyper_parameters`` ...      hyperparameters of module and datamodule
``thunderhead``               our position, and what differs by rank, such as where the data stood: see ``shares``
============================  =========================================================================================

User hooks add what they like. Nothing in it needs pickle but what users put there.

Taken by ``capture``, as job checkpoints are.
"""

from __future__ import annotations

from typing import Any, Final

from torch.optim import Optimizer

from thunderhead.checkpoint import shares
from thunderhead.checkpoint.capture import ask_hooks, key_of, rank_state, state_of
from thunderhead.checkpoint.hand import hand_of
from thunderhead.checkpoint.layout import lay_out_fused_state
from thunderhead.checkpoint.lightning_loops import data_of, position_of, restore_counts, scheduler_steps_of
from thunderhead.checkpoint.reconcile import reconcile
from thunderhead.core.position import Next, Position
from thunderhead.distributed.base import Strategy
from thunderhead.exceptions import MisconfigurationException
from thunderhead.hooks.overriding import call_hook
from thunderhead.results.metric_objects import MetricsOf
from thunderhead.run import optimizer_settings as settings
from thunderhead.run.optimizers import Optimizers
from thunderhead.run.run import Run
from thunderhead.run.training import Training
from thunderhead.warning import warn

OWN_KEY: Final = "thunderhead"


def dump(run: Run, training: Training, position: Position, *, weights_only: bool = False) -> dict[str, Any]:
    """Everything to write, with live tensors; user hooks have had their say.

    Args:
        run: whose module, datamodule and callbacks.
        training: what it carries.
        position: where to resume, which hooks of the running moment may make differ from the loop's own.
        weights_only: leave out optimizers, schedulers, callbacks and precision.
    """
    content = state_of(run, training, position, weights_only=weights_only)
    run.strategy.gather_state(content)
    if not weights_only:
        content[OWN_KEY] = _own(run, training, position)
    _add_hyperparameters(content, run.module, "")
    _add_hyperparameters(content, run.datamodule, "datamodule_")
    own = content.get(OWN_KEY)
    # After ours, so that they may look at it and change it.
    ask_hooks(run, content, weights_only=weights_only)
    if own is not None and training.left.file is None:
        shares.take_what_hooks_drew(own, training, position)
    return content


def _own(run: Run, training: Training, position: Position) -> dict[str, Any]:
    waiting = training.left.file
    if waiting is not None and OWN_KEY in waiting:
        own: dict[str, Any] = waiting[OWN_KEY]
        return own
    hand = hand_of(run, training, position)
    reads = hand is not None and position.next in (Next.BATCH, Next.BATCH_START)
    rank = rank_state(run, training, position, in_hand=reads)
    common = {"position": position.state_dict(), "settings": training.optimizers.made, "counters": rank.counters}
    return {**common, **shares.share_of(run, training, position, rank, hand)}


def restore_modules(run: Run, content: dict[str, Any]) -> None:
    """Give module, datamodule and callbacks their state, hooks first, in the order of the contract."""
    module = run.module
    with run.hooks.inside("on_load_checkpoint"):
        call_hook(module, "on_load_checkpoint", content)
    run.strategy.load_module_state(module, content["state_dict"], strict=module.strict_loading)
    restore_datamodule(run, content)
    with run.hooks.inside("on_load_checkpoint"):
        for callback in run.callbacks:
            call_hook(callback, "on_load_checkpoint", run.caller, module, content)
    _restore_callbacks(run, content.get("callbacks") or {})


def restore_datamodule(run: Run, content: dict[str, Any]) -> None:
    """Give the datamodule its state."""
    datamodule = run.datamodule
    if datamodule is not None and key_of(datamodule) in content:
        call_hook(datamodule, "load_state_dict", content[key_of(datamodule)])


def restore_training(run: Run, training: Training, content: dict[str, Any]) -> None:
    """Give precision, optimizers and schedulers their state, and training its position.

    Raises:
        KeyError: the file holds weights only, so it cannot be trained on from.
        MisconfigurationException: it was taken with other parameter groups.
        RuntimeError: it was taken with another number of optimizers or schedulers.
    """
    key = key_of(run.precision)
    if key in content:
        run.precision.load_state_dict(content[key])
    if "optimizer_states" not in content or "lr_schedulers" not in content:
        raise KeyError(
            "the checkpoint holds weights only (save_weights_only=True), no optimizer states, so fit cannot go "
            "on from it; "
            "load it with load_from_checkpoint"
        )
    own, position = content.get(OWN_KEY), position_in(content)
    _restore_optimization(run, training.optimizers, content, (own or {}).get("settings"))
    if training.optimizers.schedulers is not None:
        training.optimizers.schedulers.steps = scheduler_steps_of(content)
    training.position.become(position)
    restore_counts(content, training)
    if own is None:
        return
    if own.get("results"):
        training.results.load_state_dict(own["results"], MetricsOf(run.module))
    if "metrics" in own:
        run.metrics.load_state_dict(own["metrics"])
    if "counters" in own:
        restore_counters(training, own["counters"])
    training.left.leave(own)


def position_in(content: dict[str, Any]) -> Position:
    """Where the run stood that wrote a file, ours or Lightning's."""
    own = content.get(OWN_KEY)
    if own is None:
        return position_of(content)
    position = Position()
    position.load_state_dict(own["position"])
    return position


def restore_counters(training: Training, counters: dict[str, Any]) -> None:
    """Take the counters of ``capture.rank_state`` back."""
    training.validation.seen = list(counters["validated"])
    training.loaded_in.resume(counters["loaded"])


def _restore_optimization(
    run: Run, optimizers: Optimizers, content: dict[str, Any], before: settings.Made | None
) -> None:
    """Optimizers and schedulers; ``before``: what they were made with in the run that wrote the checkpoint."""
    states, plans = content["optimizer_states"], content["lr_schedulers"]
    _check_count("optimizers", len(states), len(optimizers.plain))
    _check_count("schedulers", len(plans), len(optimizers.configs))
    _refuse_other_kinds(optimizers.plain, states, before)
    taken = before if before and reconcile(optimizers, before, run.control) else None
    if taken is not None:
        now = optimizers.made
        # Before they are loaded: torch places Adam's steps by what the groups say of fused and capturable.
        pairs = zip(states, taken["optimizers"], now["optimizers"], strict=True)
        states = [settings.optimizer_with_settings(*of) for of in pairs]
        made = [config.scheduler.state_dict() for config in optimizers.configs]
        of_each = zip(plans, taken["schedulers"], now["schedulers"], made, strict=True)
        plans = [settings.with_settings(*of) for of in of_each]
    for optimizer, state in zip(optimizers.plain, states, strict=True):
        _restore_optimizer(run.strategy, optimizer, state)
        if taken is not None:
            settings.begin_new_state(optimizer)
    for config, plan in zip(optimizers.configs, plans, strict=True):
        config.scheduler.load_state_dict(plan)


def _refuse_other_kinds(
    optimizers: list[Optimizer], states: list[dict[str, Any]], before: settings.Made | None
) -> None:
    """An optimizer of another class takes the place of the one before where its groups need no more than that one's."""
    for optimizer, state, was in zip(optimizers, states, (before or {}).get("optimizers", ()), strict=False):
        groups = zip(optimizer.param_groups, state["param_groups"], strict=False)
        lacking = sorted({key for now, then in groups for key in now.keys() - then.keys()})
        if lacking and was["class"] != type(optimizer).__name__:
            raise MisconfigurationException(
                f"the checkpoint was taken with {was['class']}, but configure_optimizers now makes "
                f"{type(optimizer).__name__}, which needs {', '.join(lacking)}; make the same, or begin anew from the "
                "weights with load_from_checkpoint"
            )


def _restore_optimizer(strategy: Strategy, optimizer: Optimizer, state: dict[str, Any]) -> None:
    try:
        strategy.load_optimizer_state(optimizer, state)
        lay_out_fused_state(optimizer)
    except ValueError as error:
        saved, present = _sizes(state["param_groups"]), _sizes(optimizer.param_groups)
        if saved == present:
            raise
        raise MisconfigurationException(
            f"the checkpoint was taken with {type(optimizer).__name__} parameter groups of {saved} parameters, but "
            f"configure_optimizers now makes groups of {present}; make the same, or begin anew from the weights with "
            "load_from_checkpoint"
        ) from error


def _sizes(groups: list[dict[str, Any]]) -> list[int]:
    return [len(group["params"]) for group in groups]


def gather_shares(run: Run, content: dict[str, Any], *, ending: bool = False) -> list[Any]:
    """What belongs to each rank, on rank 0, for ``add_shares``; called by all, see ``checkpoint.shares.gather``."""
    if OWN_KEY not in content or run.strategy.world_size == 1:
        return []
    return shares.gather(run, content, content[OWN_KEY], ending=ending)


def add_shares(content: dict[str, Any], gathered: list[Any]) -> None:
    """Let rank 0's content hold what belongs to the other ranks.

    Raises:
        TypeError: state of a rank cannot be pickled.
    """
    if gathered:
        shares.add_others(content[OWN_KEY], gathered)


def of_this_rank(run: Run, content: dict[str, Any]) -> dict[str, Any]:
    """A file's content as this rank is to go on from it; one that Lightning wrote is the same for all."""
    if OWN_KEY not in content:
        return content
    found, own = shares.of_this_rank(run.strategy, content, content[OWN_KEY], MetricsOf(run.module))
    return {**found, OWN_KEY: own}


def training_data_of(content: dict[str, Any], position: Position) -> dict[str, Any] | None:
    """What ``TrainingData.load_state_dict`` takes, from our own file or from one that Lightning wrote."""
    own = content.get(OWN_KEY)
    if own is not None:
        found: dict[str, Any] | None = own["data"]
        return found
    return data_of(content, position)


def _restore_callbacks(run: Run, states: dict[str, Any]) -> None:
    # Files of Lightning before 1.5 know callbacks by their class alone.
    present = {name for callback in run.callbacks for name in (callback.state_key, type(callback).__qualname__)}
    missing = sorted(set(states) - present)
    if missing:
        warn(f"the checkpoint holds state of callbacks that this Trainer does not have: {', '.join(missing)}")
    for callback in run.callbacks:
        state = states.get(callback.state_key, states.get(type(callback).__qualname__))
        if state is not None:
            callback.load_state_dict(state)


def _add_hyperparameters(content: dict[str, Any], owner: Any, prefix: str) -> None:
    hparams = None if owner is None else owner.hparams
    if not hparams:
        return
    content[f"{prefix}hparams_name"] = owner._hparams_name
    # Plain data where it is plain, so that a file can be loaded with weights_only=True.
    content[f"{prefix}hyper_parameters"] = dict(hparams) if isinstance(hparams, dict) else hparams
    if not isinstance(hparams, dict):
        content[f"{prefix}hparams_type"] = type(hparams)


def _check_count(what: str, saved: int, present: int) -> None:
    if saved != present:
        raise RuntimeError(
            f"the checkpoint was taken with {saved} {what}, but configure_optimizers now makes {present}"
        )

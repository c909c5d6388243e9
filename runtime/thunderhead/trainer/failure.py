"""A run has failed: what is said of the error, and who hears of it."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

from torch.optim import Optimizer

from thunderhead.core.ending import SIGTERMException
from thunderhead.core.steps import Steps
from thunderhead.files.schemes import place_of
from thunderhead.hooks.overriding import call_hook
from thunderhead.run.run import Run
from thunderhead.run.training import Training
from thunderhead.warning import say


def explain(run: Run, training: Training, error: BaseException) -> None:
    """Note on an error of torch's what it means for this module, and what to do about it."""
    if not run.fitting:
        return
    for note in (
        *run.strategy.explanations(error, run.module),
        *of_backward(error, run.module),
        *of_step(error, training.optimizers.plain),
    ):
        error.add_note(note)


def of_backward(error: BaseException, module: Steps) -> Iterator[str]:
    """What autograd refused."""
    if not isinstance(error, RuntimeError):
        return
    name, text = type(module).__name__, str(error)
    if "does not require grad and does not have a grad_fn" in text:
        if any(parameter.requires_grad for parameter in module.parameters()):
            yield (
                f"The loss of {name} does not depend on any parameter that requires a gradient: it was detached, made "
                "from numbers, or computed under torch.no_grad(). Return what was computed from the parameters"
            )
        else:
            yield (
                f"No parameter of {name} requires a gradient, so there is nothing to train; unfreeze some, or set "
                "self.automatic_optimization = False"
            )
    elif "grad can be implicitly created only for" in text:
        yield f"The loss of {name} must be one real number; reduce it, with loss.mean() for instance"
    elif "backward through the graph a second time" in text:
        if module.automatic_optimization:
            yield (
                f"If training_step of {name} calls backward() itself, remove that, since Trainer calls it, or set "
                "self.automatic_optimization = False"
            )
        yield (
            f"{'Else the' if module.automatic_optimization else 'The'} loss of {name} depends on a tensor that an "
            "earlier backward went through; detach() what is kept from one step to the next"
        )


def of_step(error: BaseException, optimizers: Sequence[Optimizer]) -> Iterator[str]:
    """An optimizer that lacks one of its own options, because it took over the state of another kind."""
    if not isinstance(error, KeyError) or not error.args:
        return
    option = error.args[0]
    for optimizer in optimizers:
        if option in optimizer.defaults and any(option not in group for group in optimizer.param_groups):
            yield (
                f"{type(optimizer).__name__} needs {option!r}, which the state in the checkpoint does not hold: "
                "another optimizer wrote it. Return that one from configure_optimizers, or begin anew from the "
                "weights with load_from_checkpoint"
            )


def tell(run: Run, error: BaseException) -> None:
    """Callbacks, datamodule, then loggers hear of it."""
    datamodule = run.datamodule
    with run.hooks.inside("on_exception"):
        for callback in run.callbacks:
            attempt(
                error,
                callback,
                "on_exception",
                partial(call_hook, callback, "on_exception", run.caller, run.module, error),
            )
        if datamodule is not None:
            attempt(error, datamodule, "on_exception", partial(call_hook, datamodule, "on_exception", error))
    for logger in run.loggers:
        attempt(error, logger, "finalize", partial(logger.finalize, "failed"))


def tell_sigterm(run: Run, step: int, error: BaseException) -> None:
    """Say that SIGTERM ended the run, which shows no traceback, and where its checkpoint is.

    To be called last: by then everything that was saved is on its place, or a note on the error says why not.
    """
    if not isinstance(error, SIGTERMException) or not run.strategy.is_global_zero:
        return
    ended = f"SIGTERM: training ended after step {step} with exit code {error.code}"
    say("; ".join([ended, _newest_of(run.callbacks, step, error), *getattr(error, "__notes__", [])]))


def _newest_of(callbacks: Sequence[object], now: int, error: SIGTERMException) -> str:
    savers: list[Any] = [c for c in callbacks if getattr(c, "_last_checkpoint_saved", "")]
    regular = [(saver._last_global_step_saved, saver._last_checkpoint_saved) for saver in savers]
    known = [*regular, *((now, path) for path in error.saved)]
    found = [(step, path) for step, path in known if place_of(path).exists(path)]
    remedy = "ModelCheckpoint(save_on_exception=True) or OnExceptionCheckpoint saves the last step too"
    if not found:
        return f"no checkpoint was saved; {remedy}"
    step, path = max(found)
    if step == now:
        return f"checkpoint {path} is of that step"
    return f"checkpoint {path} is of step {step}; {remedy}"


def attempt(error: BaseException, owner: object, name: str, act: Callable[[], object]) -> None:
    """``act``, and if it fails too, a note of that on the error, which it must not hide."""
    try:
        act()
    except Exception as second:  # noqa: BLE001 - told with the first
        if second is error:
            return  # raised again by a callback that was told of it
        where = traceback.extract_tb(second.__traceback__)[-1]
        error.add_note(
            f"Afterwards {name} of {type(owner).__name__} raised {type(second).__name__}: {second} "
            f"({where.filename}, line {where.lineno})"
        )

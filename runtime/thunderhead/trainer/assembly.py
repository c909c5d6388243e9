"""Choosing the parts of a trainer from its arguments and the environment."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from importlib.metadata import entry_points
from importlib.util import find_spec
from typing import Any

import torch

from thunderhead.arguments import one_of
from thunderhead.distributed.batch_systems import SLURMEnvironment
from thunderhead.distributed.cluster import ClusterEnvironment
from thunderhead.exceptions import MisconfigurationException, refuse_class
from thunderhead.loggers.dummy import DummyLogger
from thunderhead.profilers.profiler import PassThroughProfiler, Profiler
from thunderhead.run.options import Options
from thunderhead.run.run import Run
from thunderhead.trainer.builtin import builtin
from thunderhead.trainer.root import in_full
from thunderhead.user.callback import Callback, Checkpoint
from thunderhead.warning import say

CALLBACK_ENTRY_POINTS = ("thunderhead.callbacks_factory", "lightning.pytorch.callbacks_factory")


def set_determinism(deterministic: bool | str | None, benchmark: bool | None) -> None:
    """torch's switches, where they were asked for."""
    if deterministic is not None:
        one_of("deterministic", deterministic, (True, False, "warn"))
        torch.use_deterministic_algorithms(bool(deterministic), warn_only=deterministic == "warn")
        if deterministic is True:
            os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
            benchmark = False if benchmark is None else benchmark
    if benchmark is not None:
        torch.backends.cudnn.benchmark = benchmark


def collect_loggers(given: Mapping[str, Any], options: Options) -> list[Any]:
    """Loggers as a list; by default one for TensorBoard where that is installed, else a CSV logger.

    Raises:
        MisconfigurationException: one of them is no logger.
    """
    logger = given["logger"]
    if logger is False or (logger is None and options.barebones):
        return []
    if options.fast_dev_run:
        return [DummyLogger()]
    if logger is None or logger is True:
        return [_default_logger(in_full(options.default_root_dir), options.root_argument)]
    several = list(logger) if isinstance(logger, Iterable) and not isinstance(logger, (str, type)) else [logger]
    for one in several:
        refuse_class(one, "Trainer(logger=...)")
        # Not by its class: loggers of Lightning and of others work as they are.
        if not callable(getattr(one, "log_metrics", None)):
            raise MisconfigurationException(
                f"logger={one!r} is no logger; pass an instance: thunderhead.loggers.CSVLogger(directory), "
                "TensorBoardLogger(directory) or a Logger of your own, or True or False"
            )
    return several


def _default_logger(root: str, decided_by: str) -> object:
    from thunderhead.loggers import CSVLogger, TensorBoardLogger

    logger = (CSVLogger if find_spec("tensorboard") is None else TensorBoardLogger)(root)
    logger._decided_by = decided_by
    return logger


def choose_profiler(given: object) -> Profiler:
    """The profiler of that name, the given one, or one that measures nothing.

    Raises:
        MisconfigurationException: there is no such name, or it is no profiler.
    """
    if given is None:
        return PassThroughProfiler()
    refuse_class(given, "Trainer(profiler=...)")
    if isinstance(given, Profiler):
        return given
    name = given.lower() if isinstance(given, str) else given
    if name == "xla":
        raise MisconfigurationException("profiler='xla': XLA is not supported; use profiler='pytorch'")
    one_of("profiler", name, ("simple", "advanced", "pytorch"))
    from thunderhead import profilers

    named: dict[str, type[Profiler]] = {"simple": profilers.SimpleProfiler, "advanced": profilers.AdvancedProfiler}
    return named.get(str(name), profilers.PyTorchProfiler)()


def callbacks_of_packages() -> list[Any]:
    """Callbacks that installed packages bring: what their entry points return, one callback or several.

    Raises:
        MisconfigurationException: an entry point returns something else.
    """
    found: list[Any] = []
    for group in CALLBACK_ENTRY_POINTS:
        for entry in entry_points(group=group):
            made = entry.load()()
            several = list(made) if isinstance(made, (list, tuple)) else [made]
            if not all(isinstance(callback, Callback) for callback in several):
                raise MisconfigurationException(
                    f"the entry point {entry.name!r} of {group} ({entry.value}) must return a Callback or a list of "
                    f"them, but it returned {made!r}; uninstall or mend the package that brings it"
                )
            found += several
    return found


def _given_callbacks(given: Mapping[str, Any]) -> list[Any]:
    asked = given["callbacks"]
    return [] if asked is None else list(asked) if isinstance(asked, Iterable) else [asked]


def collect_callbacks(
    given: Mapping[str, Any], options: Options, cluster: ClusterEnvironment | None = None
) -> list[Callback]:
    """The given callbacks and those that arguments and the cluster ask for, in the order in which they are called."""
    callbacks = [*_given_callbacks(given), *callbacks_of_packages()]
    for callback in callbacks:
        refuse_class(callback, "Trainer(callbacks=...)")
        if not isinstance(callback, Callback):
            raise MisconfigurationException(
                f"callbacks={callback!r} is no Callback; derive it from thunderhead.Callback"
            )
    _add_default_checkpoint(callbacks, given)
    _add_progress(callbacks, given)
    _add_summary(callbacks, given)
    if options.max_time is not None:
        if any(isinstance(callback, builtin().TIMER) for callback in callbacks):
            say("max_time is ignored: a Timer callback was given")
        else:
            callbacks.append(builtin().timer(options.max_time))
    if isinstance(cluster, SLURMEnvironment) and cluster.auto_requeue and not options.fast_dev_run:
        callbacks.append(builtin().requeue(cluster))
    return order_callbacks(callbacks)


def _add_default_checkpoint(callbacks: list[Any], given: Mapping[str, Any]) -> None:
    enabled = given["enable_checkpointing"]
    present = any(isinstance(callback, Checkpoint) for callback in callbacks)
    if present and enabled is False:
        raise MisconfigurationException(
            "enable_checkpointing=False, but callbacks holds a checkpoint callback; drop one"
        )
    if not present and enabled is not False:
        callbacks.append(builtin().checkpoint())


def _add_progress(callbacks: list[Any], given: Mapping[str, Any]) -> None:
    bars = [callback for callback in callbacks if isinstance(callback, builtin().PROGRESS)]
    if len(bars) > 1:
        raise MisconfigurationException(f"{len(bars)} progress bars were given; pass one")
    if bars and given["enable_progress_bar"] is False:
        raise MisconfigurationException("enable_progress_bar=False, but callbacks holds a progress bar; drop one")
    if not bars and given["enable_progress_bar"] is not False:
        callbacks.append(builtin().progress())


def _add_summary(callbacks: list[Any], given: Mapping[str, Any]) -> None:
    if given["enable_model_summary"] is not False and not any(isinstance(c, builtin().SUMMARY) for c in callbacks):
        callbacks.append(builtin().summary())


def order_callbacks(callbacks: list[Callback]) -> list[Callback]:
    """Callbacks that save come last; others keep their order.

    Raises:
        RuntimeError: two callbacks with state share a ``state_key``.
    """
    keys = [callback.state_key for callback in callbacks if _has_state(callback)]
    twice = sorted({key for key in keys if keys.count(key) > 1})
    if twice:
        raise RuntimeError(f"several callbacks have the state_key {twice[0]!r}; override state_key to tell them apart")
    saving = [callback for callback in callbacks if isinstance(callback, Checkpoint)]
    return [callback for callback in callbacks if not isinstance(callback, Checkpoint)] + saving


def attach_module_callbacks(run: Run) -> None:
    """Callbacks that the module brings replace the trainer's of the same type; all of them can log."""
    brought = run.hooks.call_module("configure_callbacks")
    own = [brought] if isinstance(brought, Callback) else list(brought or [])
    if own:
        types = {type(callback) for callback in own}
        replaced = sorted(type(c).__name__ for c in run.callbacks if type(c) in types)
        if replaced:
            say(f"callbacks of the module replace the Trainer's: {', '.join(replaced)}")
        run.callbacks[:] = order_callbacks([c for c in run.callbacks if type(c) not in types] + own)
    for callback in run.callbacks:
        callback.log = run.module.log  # type: ignore[attr-defined]  # every callback can log
        callback.log_dict = run.module.log_dict  # type: ignore[attr-defined]


def _has_state(callback: Callback) -> bool:
    return type(callback).state_dict is not Callback.state_dict

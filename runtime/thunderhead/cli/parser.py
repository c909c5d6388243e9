"""The parser: jsonargparse's, which knows besides what a trainer is made of."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any, NoReturn, TypeVar

import torch
from jsonargparse import ArgumentParser, register_unresolvable_import_paths, set_parsing_settings
from jsonargparse.typing import class_from_function
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from thunderhead import callbacks
from thunderhead.cli.annotations import AUTOMATIC, LRSchedulerTypeTuple
from thunderhead.cli.problems import Given, explained
from thunderhead.exceptions import MisconfigurationException
from thunderhead.loggers import MLFlowLogger, WandbLogger
from thunderhead.profilers import AdvancedProfiler, PyTorchProfiler, SimpleProfiler
from thunderhead.trainer.trainer import Trainer
from thunderhead.user.callback import Callback
from thunderhead.user.datamodule import LightningDataModule
from thunderhead.user.module import LightningModule

Part = TypeVar("Part")
Several = type[Part] | tuple[type[Part], ...]

register_unresolvable_import_paths(torch)  # functions of torch's that do not know their module
# Short names are those of classes that are there: these are otherwise imported by who asks for them.
SHORT_NAMED = (callbacks, AdvancedProfiler, MLFlowLogger, PyTorchProfiler, SimpleProfiler, WandbLogger)
# A class named in a file is built wherever it stands, as in a TrainingJob.
set_parsing_settings(instantiate_subclass_spec_in_any=True, add_print_completion_argument=True)


class LightningArgumentParser(ArgumentParser):
    """jsonargparse's ``ArgumentParser``, with arguments taken from modules, callbacks, optimizers and schedulers.

    Args:
        *args: jsonargparse's.
        description: shown by ``--help``.
        env_prefix: with which the names of variables begin.
        default_env: whether variables are read.
        **kwargs: jsonargparse's.
    """

    def __init__(
        self,
        *args: Any,
        description: str = "Trains, validates, tests or predicts.",
        env_prefix: str = "PL",
        default_env: bool = False,
        **kwargs: Any,
    ) -> None:
        kwargs.setdefault("allow_abbrev", False)  # --trainer.max_epoch is a mistake
        super().__init__(*args, description=description, env_prefix=env_prefix, default_env=default_env, **kwargs)
        self.callback_keys: list[str] = []
        self.link_targets: list[str] = []
        self.given: Given | None = None
        self._optimizers: dict[str, tuple[Several[Optimizer], str]] = {}
        self._lr_schedulers: dict[str, tuple[Several[Any], str]] = {}

    def add_lightning_class_args(
        self,
        lightning_class: Callable[..., Any] | type,
        nested_key: str,
        subclass_mode: bool = False,
        required: bool = True,
    ) -> list[str]:
        """Add the arguments of a trainer, module, datamodule or callback.

        Args:
            lightning_class: the class, or a function that returns one of its objects.
            nested_key: under which they stand.
            subclass_mode: whether a class derived from it can be named.
            required: whether one must be named then.

        Returns:
            The keys that were added.

        Raises:
            MisconfigurationException: it is none of these.
        """
        found = lightning_class if isinstance(lightning_class, type) else class_from_function(lightning_class)
        if not isinstance(found, type) or not issubclass(
            found, (Trainer, LightningModule, LightningDataModule, Callback)
        ):
            raise MisconfigurationException(
                f"add_lightning_class_args got {lightning_class!r}; pass a class derived from Trainer, "
                "LightningModule, LightningDataModule or Callback, or a function annotated to return one"
            )
        if issubclass(found, Callback):
            self.callback_keys.append(nested_key)
        added: list[str] = (
            self.add_subclass_arguments(found, nested_key, fail_untyped=False, required=required)
            if subclass_mode
            else self.add_class_arguments(
                found, nested_key, fail_untyped=False, instantiate=not issubclass(found, Trainer), sub_configs=True
            )
        )
        return added

    def add_optimizer_args(
        self,
        optimizer_class: Several[Optimizer] = (Optimizer,),
        nested_key: str = "optimizer",
        link_to: str = AUTOMATIC,
    ) -> None:
        """Add the arguments of an optimizer.

        Args:
            optimizer_class: which one; a tuple for any that derives from one of these.
            nested_key: under which they stand.
            link_to: the argument that is given them; by default ``configure_optimizers`` is made of them.

        Raises:
            MisconfigurationException: it is no optimizer.
        """
        self._add_kind(optimizer_class, (Optimizer,), nested_key, skip={"params"})
        self._optimizers[nested_key] = (optimizer_class, link_to)

    def add_lr_scheduler_args(
        self,
        lr_scheduler_class: Several[Any] = LRSchedulerTypeTuple,
        nested_key: str = "lr_scheduler",
        link_to: str = AUTOMATIC,
    ) -> None:
        """Add the arguments of a scheduler of the learning rate; arguments as of ``add_optimizer_args``.

        Raises:
            MisconfigurationException: it is no scheduler, or torch's ``ReduceLROnPlateau``, which has no ``monitor``.
        """
        self._add_kind(lr_scheduler_class, (LRScheduler, LRSchedulerTypeTuple[1]), nested_key, skip={"optimizer"})
        self._lr_schedulers[nested_key] = (lr_scheduler_class, link_to)

    def _add_kind(self, found: Several[Any], bases: tuple[type, ...], nested_key: str, skip: set[str]) -> None:
        for one in found if isinstance(found, tuple) else (found,):
            if not (isinstance(one, type) and issubclass(one, bases)):
                names = " or ".join(f"{base.__module__}.{base.__qualname__}" for base in bases)
                raise MisconfigurationException(f"{nested_key}: {one!r} is no {names}; pass a class derived from it")
        if isinstance(found, tuple):
            self.add_subclass_arguments(found, nested_key, instantiate=False, fail_untyped=False, skip=skip)
        else:
            self.add_class_arguments(
                found, nested_key, instantiate=False, fail_untyped=False, sub_configs=True, skip=skip
            )

    def link_arguments(
        self,
        source: str | tuple[str, ...],
        target: str,
        compute_fn: Callable[..., object] | None = None,
        apply_on: str = "parse",
    ) -> None:
        """Let ``target`` follow from ``source``; see jsonargparse."""
        super().link_arguments(source, target, compute_fn=compute_fn, apply_on=apply_on)
        self.link_targets.append(target)

    def dump(self, *args: Any, **kwargs: Any) -> str:
        """The configuration as text; see jsonargparse."""
        if "skip_none" in kwargs:  # its name of before, in scripts that are to run unedited
            kwargs["skip_unset"] = kwargs.pop("skip_none")
        with warnings.catch_warnings():
            # Of an optimizer's betas, say, which no longer are a tuple: whoever reads them does not mind.
            warnings.filterwarnings("ignore", message=r"\s*Dump of a value that does not round-trip")
            text: str = super().dump(*args, **kwargs)
        return text

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        """Say what is wrong: where it was written, the value, the rule and the nearest valid name; then exit with 2."""
        # A parser inside of this one, of a class's arguments, passes its words on as they are.
        super().error(message if self.given is None else explained(message, self, self.given), ex)
        raise SystemExit(2)  # it has exited

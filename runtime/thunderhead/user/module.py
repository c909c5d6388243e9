"""The module a user writes: a network, its steps, and how it is optimised."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, SupportsFloat, TextIO, cast

from torch import Tensor, nn

from thunderhead.core.steps import Steps
from thunderhead.dead_overrides import TellsDeadOverrides
from thunderhead.files.file import MapLocation, Source
from thunderhead.files.loading import ClassOnly, load_module
from thunderhead.standing import step_off
from thunderhead.user.export import Export
from thunderhead.user.module_optimization import Optimizing
from thunderhead.warning import warn_once

if TYPE_CHECKING:
    from torch.distributed import ProcessGroup
    from torch.distributed.device_mesh import DeviceMesh

    from thunderhead.loggers.logger import Logger
    from thunderhead.results.sink import Sink
    from thunderhead.trainer.trainer import Trainer


# An input to describe a network with: one argument, several, or arguments by name.
ExampleInput = Tensor | tuple[Any, ...] | list[Any] | dict[str, Any] | None


class LightningModule(Optimizing, Export, Steps, TellsDeadOverrides):
    """A network with its training, validation, test and prediction step, and its optimizers.

    Attributes:
        automatic_optimization: the trainer calls backward and the optimizer; set it to False in ``__init__`` to call
            ``manual_backward`` and ``optimizer.step()`` yourself.
        strict_loading: whether a checkpoint must hold exactly this module's keys.
        example_input_array: an input to describe the network with.
    """

    _declares_hooks = True
    # Not annotated where it runs: TorchScript reads the annotations of what an instance has, and knows no Trainer.
    if TYPE_CHECKING:
        _sink: Sink | None
        _trainer: Trainer | None
    else:
        _sink = _trainer = None
    CHECKPOINT_HYPER_PARAMS_KEY = "hyper_parameters"
    CHECKPOINT_HYPER_PARAMS_NAME = "hparams_name"
    CHECKPOINT_HYPER_PARAMS_TYPE = "hparams_type"

    def __init__(self, *args: object, **kwargs: object) -> None:
        super().__init__(*args, **kwargs)
        self._example_input_array: ExampleInput = None

    # --- where it runs -------------------------------------------------------------------------------------------

    @property
    def trainer(self) -> Trainer:
        """The trainer this module is attached to.

        Raises:
            RuntimeError: it is not attached to any.
        """
        if self._trainer is None and _asked_by_torchscript():
            return cast("Trainer", None)
        if self._trainer is None:
            raise RuntimeError(f"{type(self).__name__} is not attached to a Trainer; pass it to Trainer.fit first")
        return self._trainer

    @trainer.setter
    def trainer(self, trainer: Trainer | None) -> None:
        for child in self.modules():
            if isinstance(child, LightningModule):
                object.__setattr__(child, "_trainer", trainer)
                object.__setattr__(child, "_sink", None if trainer is None else trainer._sink)

    @property
    def fabric(self) -> None:
        """None: there is no Fabric, and a module is always run by a Trainer."""
        return None

    @property
    def device_mesh(self) -> DeviceMesh | None:
        """The strategy's device mesh to shard over in ``configure_model``; None where it has none."""
        return None if self._trainer is None else getattr(self._trainer.strategy, "device_mesh", None)

    @property
    def example_input_array(self) -> ExampleInput:
        """An input the network can be described with."""
        return self._example_input_array

    @example_input_array.setter
    def example_input_array(self, example: ExampleInput) -> None:
        self._example_input_array = example

    @property
    def on_gpu(self) -> bool:
        """Whether the module lies on a CUDA device."""
        return self.device.type == "cuda"

    @property
    def current_epoch(self) -> int:
        """Epochs completed so far; 0 without a trainer."""
        return self._trainer.current_epoch if self._trainer is not None else 0

    @property
    def global_step(self) -> int:
        """Optimizer steps done so far, summed over optimizers; 0 without a trainer."""
        return self._trainer.global_step if self._trainer is not None else 0

    @property
    def global_rank(self) -> int:
        """Rank of this process among all; 0 without a trainer."""
        return self._trainer.global_rank if self._trainer is not None else 0

    @property
    def local_rank(self) -> int:
        """Rank of this process on its node; 0 without a trainer."""
        return self._trainer.local_rank if self._trainer is not None else 0

    @property
    def logger(self) -> Logger | None:
        """The first logger, or None."""
        return self._trainer.logger if self._trainer is not None else None

    @property
    def loggers(self) -> list[Logger]:
        """All loggers."""
        return self._trainer.loggers if self._trainer is not None else []

    # --- logging -------------------------------------------------------------------------------------------------

    def log(
        self,
        name: str,
        value: SupportsFloat | nn.Module,
        prog_bar: bool = False,
        logger: bool | None = None,
        on_step: bool | None = None,
        on_epoch: bool | None = None,
        reduce_fx: str | Callable[..., Any] = "mean",
        enable_graph: bool = False,
        sync_dist: bool = False,
        sync_dist_group: ProcessGroup | None = None,
        add_dataloader_idx: bool = True,
        batch_size: int | None = None,
        metric_attribute: str | None = None,
        rank_zero_only: bool = False,
    ) -> None:
        """Record a value for loggers, callbacks and the progress bar.

        Args:
            name: its name; with ``on_step`` and ``on_epoch`` both, ``<name>_step`` and ``<name>_epoch``.
            value: a number, a tensor with one element or a ``torchmetrics.Metric``.
            prog_bar: show it in the progress bar.
            logger: send it to the loggers (True unless said otherwise).
            on_step: record each value; True by default in training batch hooks.
            on_epoch: reduce all values of the epoch; True by default everywhere else.
            reduce_fx: mean (weighted by batch size), sum, min or max.
            enable_graph: keep the autograd graph of the newest value.
            sync_dist: reduce over all ranks too: a collective per call if ``on_step``, else one per epoch.
            sync_dist_group: process group to reduce over.
            add_dataloader_idx: append ``/dataloader_idx_N`` when several loaders are evaluated.
            batch_size: samples behind this value; by default inferred from the batch.
            metric_attribute: where a logged Metric is found in the module, if not by identity.
            rank_zero_only: called on rank 0 alone, hence never reduced over ranks.

        Raises:
            MisconfigurationException: not possible in this hook, or the name was logged here with other arguments.
            ValueError: the value is not one number.
        """
        call = (
            prog_bar,
            logger,
            on_step,
            on_epoch,
            reduce_fx,
            enable_graph,
            sync_dist,
            sync_dist_group,
            add_dataloader_idx,
            metric_attribute,
            rank_zero_only,
        )
        sink = self._sink
        if sink is None:
            _warn_unattached(self)
            return
        # A name that was logged in this hook before, with the same arguments, on a host: the way of nearly every call.
        entries = sink.entries
        if entries is not None and name in entries:
            entry = entries[name]
            if entry.quick and entry.call == call and value.__class__ is Tensor and value.numel() == 1:
                weight = batch_size
                if weight is None:
                    results = sink.results
                    assert results is not None
                    weight = results.batch_size or results.infer_batch_size() if entry.weighted else 1
                entry.add(value.item(), weight)
                return
        if sink.results is None:
            sink = self._newest_sink()
        sink.log(name, value, batch_size, call)

    def _newest_sink(self) -> Sink:
        """That of the run that goes on: one module may belong to a Trainer and be used by another in its runs."""
        object.__setattr__(self, "_sink", self.trainer._sink)
        return self.trainer._sink

    def log_dict(
        self,
        dictionary: Mapping[str, Any],
        prog_bar: bool = False,
        logger: bool | None = None,
        on_step: bool | None = None,
        on_epoch: bool | None = None,
        reduce_fx: str | Callable[..., Any] = "mean",
        enable_graph: bool = False,
        sync_dist: bool = False,
        sync_dist_group: ProcessGroup | None = None,
        add_dataloader_idx: bool = True,
        batch_size: int | None = None,
        rank_zero_only: bool = False,
    ) -> None:
        """``log`` for every item of ``dictionary`` (a MetricCollection too), with the same arguments."""
        # A torchmetrics.MetricCollection hides its prefix unless it is asked for.
        options = {"keep_base": False} if hasattr(dictionary, "keep_base") else {}
        for name, value in dictionary.items(**options):
            self.log(
                name,
                value,
                prog_bar=prog_bar,
                logger=logger,
                on_step=on_step,
                on_epoch=on_epoch,
                reduce_fx=reduce_fx,
                enable_graph=enable_graph,
                sync_dist=sync_dist,
                sync_dist_group=sync_dist_group,
                add_dataloader_idx=add_dataloader_idx,
                batch_size=batch_size,
                rank_zero_only=rank_zero_only,
            )

    def print(
        self,
        *args: object,
        sep: str | None = " ",
        end: str | None = "\n",
        file: TextIO | None = None,
        flush: bool = False,
    ) -> None:
        """Print on rank 0."""
        if self._trainer is None or self._trainer.is_global_zero:
            step_off()
            print(*args, sep=sep, end=end, file=file, flush=flush)

    # --- the rest ------------------------------------------------------------------------------------------------

    @ClassOnly
    def load_from_checkpoint(
        cls,
        checkpoint_path: Source,
        map_location: MapLocation = None,
        hparams_file: str | os.PathLike[str] | None = None,
        strict: bool | None = None,
        weights_only: bool | None = None,
        **kwargs: object,
    ) -> LightningModule:
        """A new module with the hyperparameters and weights of a ``.ckpt`` file.

        Args:
            checkpoint_path: the file, a URL, or a binary stream such as ``io.BytesIO``.
            map_location: where tensors go; by default where they were.
            hparams_file: ``.yaml`` or ``.csv`` file to take hyperparameters from instead.
            strict: whether the file must hold exactly this module's keys; by default ``strict_loading``.
            weights_only: refuse a file that holds more than tensors and plain data (the default).
            **kwargs: constructor arguments, stronger than the saved ones; others have no effect but a warning.

        Raises:
            FileNotFoundError: there is no such file.
            MisconfigurationException: it holds objects, which only ``weights_only=False`` loads.
            RuntimeError: its keys are not this module's.
            TypeError: called on an instance.
        """
        owner = cast(type[LightningModule], cls)
        return load_module(owner, checkpoint_path, map_location, hparams_file, strict, weights_only, **kwargs)

    def freeze(self) -> LightningModule:
        """Stop all parameters from requiring gradients and go into evaluation mode."""
        for parameter in self.parameters():
            parameter.requires_grad = False
        return self.eval()

    def unfreeze(self) -> LightningModule:
        """Undo ``freeze``: all parameters require gradients, in training mode."""
        for parameter in self.parameters():
            parameter.requires_grad = True
        return self.train()

    def all_gather(self, data: object, group: ProcessGroup | None = None, sync_grads: bool = False) -> Any:
        """``data`` of all ranks: every tensor inside gets a new first dimension of the world's size.

        Args:
            data: a tensor or a collection of tensors, shaped alike on every rank.
            group: process group; all ranks by default.
            sync_grads: let gradients flow back through the gathering.
        """
        return self.trainer.strategy.all_gather(data, group=group, sync_grads=sync_grads)

    def __getstate__(self) -> dict[str, Any]:
        state = dict(self.__dict__)
        state.pop("_trainer", None)
        state.pop("_sink", None)
        return state


# What TorchScript would compile, had a module of the user's no list of its own.
LightningModule.__jit_unused_properties__ = sorted(  # type: ignore[attr-defined]  # torch looks for it by this name
    name for kind in LightningModule.__mro__ for name, found in vars(kind).items() if isinstance(found, property)
)


_TORCHSCRIPT = (os.path.join("torch", "jit", ""), os.path.join("torch", "_jit_internal"))


def _asked_by_torchscript() -> bool:
    """Whether it is TorchScript that looks at every attribute, of which it uses those alone that ``forward`` does."""
    file = sys._getframe(2).f_code.co_filename
    return any(part in file for part in _TORCHSCRIPT)


def _warn_unattached(module: LightningModule) -> None:
    warn_once(f"self.log in {type(module).__name__} does nothing: the module is not attached to a Trainer")

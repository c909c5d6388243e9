"""What the loops ask of a trainer: its data, its optimizers, and the moments around a step."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, cast

from torch import Tensor
from torch.optim import Optimizer

from thunderhead.checkpoint import settings
from thunderhead.core.module import LightningModule
from thunderhead.core.optimization import parse_configuration
from thunderhead.core.optimizer import LightningOptimizer
from thunderhead.data.reloading import LoadedIn
from thunderhead.data.source import (
    EvaluationData,
    Placement,
    TrainingData,
    request_loaders,
    warn_if_shuffled,
    without_shuffling,
)
from thunderhead.exceptions import MisconfigurationException
from thunderhead.job.link import Ask
from thunderhead.layer_sync import LayerSync
from thunderhead.loops.control import Control
from thunderhead.loops.evaluate import EvaluationLoop
from thunderhead.loops.left import Left
from thunderhead.loops.position import BETWEEN_EPOCHS, Position
from thunderhead.loops.schedulers import Schedulers
from thunderhead.loops.signature import refuse_removed
from thunderhead.precision import Precision
from thunderhead.results.sink import Sink
from thunderhead.results.store import Results
from thunderhead.trainer.hook_table import HookTable, is_overridden
from thunderhead.trainer.properties import TrainerProperties
from thunderhead.warning import PossibleUserWarning, say, say_once, warn, warn_once

if TYPE_CHECKING:
    from thunderhead.trainer.trainer import Trainer

_ALLOW_EMPTY = "allow_zero_length_dataloader_with_multiple_devices"
_TRANSFER_HOOKS = ("on_before_batch_transfer", "transfer_batch_to_device", "on_after_batch_transfer")


class TrainerInternals(TrainerProperties):
    """The inner side of a trainer."""

    _given_loaders: dict[str, Any]
    _hooks: HookTable
    _control: Control | None
    _in_job: bool
    _sigterm: bool
    _left: Left
    _loaded_in: LoadedIn
    _schedulers: Schedulers
    _made: dict[str, Any]
    _sink: Sink
    _train_results: Results
    _val_check_seconds: float | None
    _wrapped_optimizers: list[Any]
    accumulate_grad_batches: int
    check_val_every_n_epoch: int | None
    detect_anomaly: bool
    fast_dev_run: int | bool
    gradient_clip_algorithm: str | None
    gradient_clip_val: float | None
    inference_mode: bool
    limit_predict_batches: int | float
    limit_test_batches: int | float
    limit_train_batches: int | float
    limit_val_batches: int | float
    log_every_n_steps: int
    max_epochs: int
    max_steps: int
    min_epochs: int
    min_steps: int | None
    overfit_batches: int | float
    reload_dataloaders_every_n_epochs: int
    should_stop: bool
    use_distributed_sampler: bool
    val_check_batch: float | None
    _val_counts_over_epochs: bool = False
    val_check_interval: int | float

    # --- data ----------------------------------------------------------------------------------------------------

    def _placement(self, *, predicting: bool = False) -> Placement:
        return Placement(
            self.global_rank,
            self.world_size,
            enabled=self.use_distributed_sampler,
            overfit=bool(self.overfit_batches),
            predicting=predicting,
        )

    def _loader_owner(self, hook: str) -> Any:
        """The datamodule where it has this hook, else the module."""
        return self.datamodule if is_overridden(hook, self.datamodule) else self.lightning_module

    def _request(self, stage: str, epoch: int) -> Any:
        """The loaders of ``stage`` as its hook makes them in ``epoch``, which it may ask the trainer for."""
        hook, running = f"{stage}_dataloader", self._position.epoch
        self._position.epoch = epoch
        try:
            with self._hooks.inside(hook):
                return request_loaders(self._given_loaders.get(stage), self._loader_owner(hook), hook)
        finally:
            self._position.epoch = running

    def _load_training_data(self) -> TrainingData:
        loaders = self._request("train", self._loaded_in.next_load("train", self.current_epoch))
        if self.overfit_batches:
            loaders = without_shuffling(loaders, warn)
        self.strategy.barrier("train_dataloader")
        data = TrainingData(loaders, self.limit_train_batches, self._placement())
        owners = (self.lightning_module, self.datamodule)
        allow_empty = any(getattr(owner, _ALLOW_EMPTY, False) for owner in owners)
        data.agree(self.strategy, allow_empty=allow_empty)
        if data.num_batches == 0 and self.limit_train_batches != 0:
            warn("the training loader is empty, so nothing is trained; check its dataset, drop_last and batch_size")
        self._set_validation_interval(data)
        self._warn_of_rare_records(data)
        return data

    def _warn_of_rare_records(self, data: TrainingData) -> None:
        every = self.log_every_n_steps
        steps = math.inf if math.isinf(data.num_batches) else math.ceil(data.num_batches / self.accumulate_grad_batches)
        if self.loggers and not self.fast_dev_run and 0 < steps < every:
            warn_once(
                f"an epoch has {steps} training steps, fewer than log_every_n_steps={every}: loggers get no step "
                f"values in most epochs; to see some of each, pass Trainer(log_every_n_steps={steps}) or less",
                PossibleUserWarning,
            )

    def _set_validation_interval(self, data: TrainingData) -> None:
        """How many batches lie between validations, now that the number of batches is known."""
        interval = self.val_check_interval
        self._val_counts_over_epochs = self.check_val_every_n_epoch is None
        if self._val_check_seconds is not None:
            self.val_check_batch = None
        elif isinstance(interval, int):
            over = interval > data.num_batches and bool(self.limit_val_batches)
            self._val_counts_over_epochs = self.check_val_every_n_epoch is None or over
            if over and self.check_val_every_n_epoch == 1:
                say_once(f"validation runs every {interval} training batches, counted over epochs")
            elif over and self.check_val_every_n_epoch is not None:
                raise MisconfigurationException(
                    f"val_check_interval={interval} is more than the {int(data.num_batches)} training batches "
                    "of an epoch; "
                    "set check_val_every_n_epoch=None to count batches over epochs, or limit_val_batches=0 for "
                    "no validation"
                )
            self.val_check_batch = interval
        elif data.sized:
            self.val_check_batch = max(1, int(data.num_batches * interval))
        elif interval == 1.0:
            self.val_check_batch = math.inf
        else:
            raise MisconfigurationException(
                f"val_check_interval={interval} is a share of an epoch, but the training loader has no length; "
                "give a number of batches, a duration, or 1.0"
            )

    @property
    def _validates_once_per_epoch(self) -> bool:
        """Validation comes at the end of every epoch and nowhere else: 1.0, which the number 1 is not."""
        interval = self.val_check_interval
        whole = isinstance(interval, float) and interval == 1.0
        return whole and self.check_val_every_n_epoch == 1 and self._val_check_seconds is None

    def _reload_training_data_if_due(self) -> None:
        if self._loaded_in.is_stale("train", self.current_epoch):
            self.fit_loop.data = self._load_training_data()

    def _load_evaluation_data_if_due(self) -> None:
        """Validation loaders are loaded before training where its first epoch needs them, so a mistake shows early."""
        every = self.check_val_every_n_epoch
        if self._validation.possible and (every is None or (self.current_epoch + 1) % every == 0):
            self._load_evaluation_data(self._validation)
        self._validation.restart_clock()

    def _load_evaluation_data(self, loop: EvaluationLoop) -> EvaluationData:
        stale = loop is self._validation and self._loaded_in.is_stale("val", self.current_epoch)
        if loop.data is not None and not stale:
            return loop.data
        stage = {"validation": "val"}.get(loop.kind, loop.kind)
        fitting = loop is self._validation
        epoch = self._loaded_in.next_load("val", self.current_epoch) if fitting else self.current_epoch
        loaders = self._request(stage, epoch)
        if self.overfit_batches and fitting:
            loaders = without_shuffling(loaders, warn)
        warn_if_shuffled(loaders, stage)
        self.strategy.barrier(f"{stage}_dataloader")
        name = f"limit_{stage}_batches"
        loop.data = EvaluationData(loaders, getattr(self, name), name, self._placement(predicting=stage == "predict"))
        state = self._left.take("validation_data") if fitting else None
        if state is not None:
            loop.data.load_state_dict(state)
        return loop.data

    def _training_data_state(self, position: Position, *, in_hand: bool = False) -> dict[str, Any] | None:
        """Where the training loaders stand, after a batch that is in hand as well."""
        if self._left.data is not None:
            return self._left.data
        data = self.fit_loop.data
        running = position.next not in BETWEEN_EPOCHS
        return None if data is None else data.state_dict(position.batch + in_hand, running=running)

    def _validation_data_state(self) -> list[dict[str, Any]] | None:
        data = self._validation.data
        return self._left.validation_data if data is None else data.state_dict()

    def _transfer(self) -> Callable[[Any, int], Any] | None:
        """What brings a batch to the device, ``None`` where nothing has to be done."""
        module, datamodule = self.lightning_module, self.datamodule
        owners = {}
        for name in _TRANSFER_HOOKS:
            of_module, of_datamodule = is_overridden(name, module), is_overridden(name, datamodule)
            if of_module and of_datamodule:
                warn_once(f"{name} is overridden in the module and in the datamodule; the datamodule's is used")
            owners[name] = datamodule if of_datamodule else module if of_module else None
        converts = type(self.precision_plugin).convert_input is not Precision.convert_input
        device = self.strategy.root_device
        if not any(owners.values()) and not converts and device.type == "cpu":
            return None
        before, move, after = (getattr(owners[name] or module, name) for name in _TRANSFER_HOOKS)
        enter, convert = self._sink.enter, self.precision_plugin.convert_input

        def transfer(batch: Any, dataloader_idx: int) -> Any:
            enter("on_before_batch_transfer")
            batch = before(convert(batch) if converts else batch, dataloader_idx)
            enter("transfer_batch_to_device")
            batch = move(batch, device, dataloader_idx)
            enter("on_after_batch_transfer")
            return after(batch, dataloader_idx)

        return transfer

    # --- optimisation --------------------------------------------------------------------------------------------

    def _set_up_optimizers(self) -> None:
        module = self.lightning_module
        trainer = cast("Trainer", self)
        found = self._hooks.call_module("configure_optimizers")
        self.optimizers, self.lr_scheduler_configs = parse_configuration(found, module)
        count = self._count_manual_step if not module.automatic_optimization else _count_nothing
        self._wrapped_optimizers = [LightningOptimizer(optimizer, trainer, count) for optimizer in self.optimizers]
        self.strategy.attend_optimizers(self.optimizers, in_job=self._in_job)
        self._schedulers = Schedulers(trainer, self.lr_scheduler_configs if module.automatic_optimization else ())
        self._made = settings.made(self.optimizers, self.lr_scheduler_configs)
        self._clips = is_overridden("configure_gradient_clipping", module) or is_overridden("clip_gradients", module)

    def _count_manual_step(self) -> None:
        self._position.step += 1
        self._unstepped = False

    def _before_optimizer_step(self, optimizer: Optimizer) -> None:
        """Between backward and the optimizer: hooks, then clipping (automatic optimisation only)."""
        hooks, module = self._hooks, self.lightning_module
        if hooks["on_before_optimizer_step"]:
            hooks.call("on_before_optimizer_step", optimizer)
        if (self._clips or self.gradient_clip_val) and module.automatic_optimization:
            hooks.call_module(
                "configure_gradient_clipping", optimizer, self.gradient_clip_val, self.gradient_clip_algorithm
            )

    def _manual_backward(self, loss: Tensor, *args: Any, **kwargs: Any) -> None:
        hooks = self._hooks
        self.strategy.before_manual_backward(loss)
        self._unstepped = True
        hooks.call("on_before_backward", loss)
        before = self._sink.hook
        self._sink.enter("backward")
        self.precision_plugin.backward(loss, self.lightning_module, *args, **kwargs)
        self._sink.enter(before)
        hooks.call("on_after_backward")

    @property
    def estimated_stepping_batches(self) -> float:
        """Optimizer steps of the whole run; infinite where there is no limit. Loads the training data if need be."""
        if self.max_epochs == -1:
            return math.inf if self.max_steps == -1 else self.max_steps
        if self.fit_loop.data is None:
            self.fit_loop.data = self._load_training_data()
        batches = self.num_training_batches
        if math.isinf(batches):
            return self.max_steps if self.max_steps != -1 else math.inf
        total = math.ceil(batches / self.accumulate_grad_batches) * max(self.max_epochs, 1)
        return min(total, self.max_steps) if self.max_steps != -1 else total

    def _stop_on_all_ranks(self) -> None:
        """End training early; called on every rank at the same moment."""
        self.should_stop = True
        if self._control is not None:
            self._control.finish_together()

    def _finish_after_agreement(self) -> None:
        """End training after a step that all ranks agree on; a single process just ends."""
        if self.world_size == 1 or self._control is None:
            self.should_stop = True
        else:
            self._control.request(Ask.FINISH)

    def _clock_says(self, ask: Ask, is_up: bool) -> bool:
        """One answer for all ranks to "is the time up?", without asking them at every step."""
        if self.world_size == 1 or self._control is None:
            return is_up
        return self._control.clock_says(ask, is_up)

    # --- setting up ----------------------------------------------------------------------------------------------

    def _check_fit(self, module: LightningModule) -> None:
        """Refuse what cannot be trained.

        Raises:
            MisconfigurationException: arguments that contradict manual optimisation, or no training step.
            NotImplementedError: a hook that Lightning 2 no longer calls.
            RuntimeError: ``training_step`` wants ``optimizer_idx``, which nobody passes any more.
        """
        if not is_overridden("training_step", module):
            raise MisconfigurationException(f"{type(module).__name__} has no training_step; Trainer.fit needs one")
        if not is_overridden("configure_optimizers", module):
            raise MisconfigurationException(
                f"{type(module).__name__} has no configure_optimizers; return None from it to train without an "
                "optimizer"
            )
        refuse_removed(module)
        if module.automatic_optimization:
            return
        if self.gradient_clip_val:
            raise MisconfigurationException(
                f"gradient_clip_val={self.gradient_clip_val} with manual optimisation; call self.clip_gradients "
                "in training_step"
            )
        if self.accumulate_grad_batches != 1:
            raise MisconfigurationException(
                f"accumulate_grad_batches={self.accumulate_grad_batches} with manual optimisation; "
                "step the optimizer every so many batches in training_step"
            )

    def _move_module(self, module: LightningModule) -> None:
        module.to(self.strategy.root_device)
        self.precision_plugin.convert_module(module)
        if self._layer_sync is not None and self.world_size > 1 and self._fn == "fit":
            converted = self._layer_sync.apply(module)
            if converted is not module:
                say("the module itself is a BatchNorm layer, which sync_batchnorm cannot replace")

    sync_batchnorm: bool
    _layer_sync: LayerSync | None
    _clips: bool
    _unstepped: bool = False


def _count_nothing() -> None:
    """Automatic optimisation counts its steps itself."""

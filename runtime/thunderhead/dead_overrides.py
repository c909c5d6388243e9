"""Methods of Lightning's that a subclass overrides and nobody here calls: said where the subclass is made.

What a class of ours has under one of these names, it calls where Lightning does, so only the others are dead.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from thunderhead.warning import PossibleUserWarning, warn_once

_STRATEGY: Final = (
    "_configure_launcher _enable_model_averaging _get_process_group_backend _register_ddp_hooks _setup_model "
    "batch_to_device _setup_model_and_optimizers _setup_optimizer backward block_backward_sync configure_ddp connect "
    "determine_ddp_device_ids distributed_sampler_kwargs lightning_module_state_dict load_model_state_dict "
    "load_optimizer_state_dict model_sharded_context model_to_device on_exception on_predict_end on_predict_start "
    "on_test_end on_test_start on_train_batch_start on_train_end on_train_start on_validation_end "
    "on_validation_start optimizer_step post_backward post_training_step pre_backward predict_step "
    "process_dataloader set_world_ranks setup setup_distributed setup_optimizers setup_precision_plugin "
    "tensor_init_context test_step training_step validation_step"
)
# By the name of the class of ours from which they are derived, as of Lightning 2.6.
_NAMES: Final = {
    "ModelCheckpoint": "_format_checkpoint_name _link_checkpoint _should_save_on_exception",
    "EarlyStopping": "_log_info",
    "Timer": "_check_time_remaining",
    "TQDMProgressBar": "_should_update",
    "RichProgressBar": (
        "_add_task _get_train_description _init_progress _initialize_train_progress_bar_id _reset_progress_bar_ids "
        "_stop_progress _update _update_metrics configure_columns"
    ),
    "LearningRateMonitor": (
        "_add_prefix _add_suffix _check_duplicates_and_update_name _extract_lr _extract_momentum _extract_stats "
        "_extract_weight_decay _find_names_from_optimizers _find_names_from_schedulers _get_optimizer_stats "
        "_remap_keys"
    ),
    "Strategy": _STRATEGY,
    "LightningModule": (
        "_apply_batch_transfer_handler _call_batch_hook _log_dict_through_fabric _on_before_batch_transfer"
    ),
    "Trainer": (
        "_evaluation_loop _fit_impl _predict_impl _run _run_sanity_check _run_stage _teardown _test_impl _validate_impl"
    ),
    "Precision": (
        "_after_closure _clip_gradients _wrap_closure clip_grad_by_norm clip_grad_by_value connect post_backward "
        "pre_backward predict_step_context test_step_context train_step_context val_step_context"
    ),
}
_OURS: Final = "thunderhead."
# Offered to those who call them, in the place of what does the work here.
_OFFERED: Final = frozenset({"batch_to_device", "_apply_batch_transfer_handler"})


class TellsDeadOverrides:
    """A base whose subclasses are looked at once, as they are defined."""

    def __init_subclass__(cls, **kwargs: object) -> None:
        super().__init_subclass__(**kwargs)
        if not cls.__module__.startswith(_OURS):
            for message in dead_overrides(cls):
                warn_once(message, PossibleUserWarning)


def dead_overrides(cls: type) -> Iterator[str]:
    """What to say of each method in the body of ``cls`` that Lightning would call and we do not."""
    for base in cls.__mro__[1:]:
        if not base.__module__.startswith(_OURS):
            continue
        for name in _NAMES.get(base.__name__, "").split():
            if name in vars(cls) and (name in _OFFERED or not hasattr(base, name)):
                yield (
                    f"{cls.__name__}.{name} is called by nothing: it belongs to the inside of Lightning's "
                    f"{base.__name__}, and ours works otherwise; see docs/lightning-compatibility.md for what it has"
                )

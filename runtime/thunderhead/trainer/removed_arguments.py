"""Arguments of Lightning 1.x that Trainer no longer takes, and what does their work now.

A class or function with ``(argument=)`` is called with it; a bare ``argument=`` is Trainer's own. Only what exists here
may be named, also where Lightning 2 has more.
"""

from __future__ import annotations

from typing import Final

_DEVICES: Final = "use devices=, with accelerator='{}'"
_PRECISION: Final = "torch's own mixed precision is the only one; use precision='16-mixed' or 'bf16-mixed'"

SUCCESSORS: Final = {
    "amp_backend": _PRECISION,
    "amp_level": _PRECISION,
    "auto_lr_find": "there is no tuner yet; leave it out and set the learning rate yourself",
    "auto_scale_batch_size": "there is no tuner yet; leave it out and set the batch size yourself",
    "auto_select_gpus": "use devices='auto'",
    "checkpoint_callback": "use enable_checkpointing=, and ModelCheckpoint in callbacks=",
    "distributed_backend": "use strategy=",
    "early_stop_callback": "use EarlyStopping(monitor=) in callbacks=",
    "flush_logs_every_n_steps": "use CSVLogger(flush_logs_every_n_steps=) in logger=",
    "gpus": _DEVICES.format("gpu"),
    "ipus": "IPUs are not supported; use devices= with accelerator='gpu' or 'cpu'",
    "log_gpu_memory": "nothing here logs the memory of GPUs; log torch.cuda.max_memory_allocated() yourself",
    "log_save_interval": "use CSVLogger(flush_logs_every_n_steps=) in logger=",
    "max_nb_epochs": "use max_epochs=",
    "min_nb_epochs": "use min_epochs=",
    "move_metrics_to_cpu": "metrics stay where they are; leave it out",
    "multiple_trainloader_mode": "use CombinedLoader(mode=) as the training loader",
    "nb_gpu_nodes": "use num_nodes=",
    "num_processes": _DEVICES.format("cpu"),
    "prepare_data_per_node": "set self.prepare_data_per_node in the module or datamodule",
    "process_position": "use TQDMProgressBar(process_position=) in callbacks=",
    "progress_bar_refresh_rate": "use TQDMProgressBar(refresh_rate=) in callbacks=, or enable_progress_bar=False for 0",
    "reload_dataloaders_every_epoch": "use reload_dataloaders_every_n_epochs=1",
    "replace_sampler_ddp": "use use_distributed_sampler=",
    "resume_from_checkpoint": "use Trainer.fit(ckpt_path=)",
    "row_log_interval": "use log_every_n_steps=",
    "stochastic_weight_avg": "there is no weight averaging yet; leave it out",
    "terminate_on_nan": "use detect_anomaly=True, or EarlyStopping(check_finite=) in callbacks=",
    "test_percent_check": "use limit_test_batches=",
    "tpu_cores": _DEVICES.format("tpu"),
    "track_grad_norm": "call self.log_dict(thunderhead.core.gradients.grad_norm(self, norm_type=2)) in "
    "on_before_optimizer_step of the module",
    "train_percent_check": "use limit_train_batches=",
    "truncated_bptt_steps": "split the batch in training_step, with self.automatic_optimization = False",
    "val_percent_check": "use limit_val_batches=",
    "weights_save_path": "use ModelCheckpoint(dirpath=) in callbacks=",
    "weights_summary": "use enable_model_summary=, or ModelSummary(max_depth=) in callbacks=",
}

"""Differences that are meant, wherever they show. Those of single options stand with their cases."""

from __future__ import annotations

from typing import Final

EVERYWHERE: Final[dict[str, str]] = {
    "checkpoints/*/thunderhead*": "files hold the position under a key of our own, which Lightning ignores",
    "metrics/* on_train_epoch_start/is_last_batch": "is_last_batch is False until an epoch's first batch; Lightning "
    "still shows the last epoch's",
    "*/stopping_reason_message": "messages are worded otherwise",
    "*/callbacks/Timer/time_elapsed/*": "seconds differ between any two runs",
}

AFTER_VALIDATION: Final[dict[str, str]] = dict.fromkeys(
    ("hooks/*", "logged/*", "checkpoints/*/callbacks/*", "checkpoints/*/loops/*", "attributes/ModelCheckpoint.*"),
    "what is due by step and by validation at once is saved after validation, with its metrics",
)
EACH_VALIDATION: Final[dict[str, str]] = dict.fromkeys(
    ("hooks/*", "logged/*", "checkpoints/*", "files/*", "attributes/ModelCheckpoint.*"),
    "val_check_interval=1 is validation after each batch, so a save follows each; Lightning takes the 1 for 1.0 there",
)
ONE_PER_STEP: Final[dict[str, str]] = dict.fromkeys(
    ("logged/*", "csv/*", "attributes/LearningRateMonitor.*"),
    "LearningRateMonitor writes one record per optimizer step under accumulation, Lightning the same one per batch",
)
RELOADED: Final[dict[str, str]] = {
    "*": "a reloaded training loader is iterated once, in Lightning twice; the draw in between changes the shuffle",
}
EVERY_NAME: Final[dict[str, str]] = {
    "*": "save_top_k=-1 keeps every file; Lightning overwrites one whose name is the same",
}
RESUMED: Final[dict[str, str]] = {
    "metrics/*/is_last_batch": "is_last_batch is False until an epoch's first batch; Lightning still shows the last "
    "epoch's",
    "metrics/*/current_epoch": "current_epoch is right from on_fit_start of a resumed run, in Lightning after the "
    "sanity check",
}
EARLIER: Final[dict[str, str]] = dict.fromkeys(
    ("hooks/*", "metrics/*", "attributes/*", "error"), "refused earlier, with a MisconfigurationException"
)
CLOSURES: Final[dict[str, str]] = {
    "*/optimizer/zero_grad/*": "gradients freed are counted once per step, however often a closure is evaluated; "
    "nothing reads that counter",
}

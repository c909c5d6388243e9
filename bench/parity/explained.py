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
    ("hooks/*", "logged/*"), "what is due by step and by validation at once is saved after validation, with its metrics"
)
AFTER_VALIDATION_KEPT: Final[dict[str, str]] = AFTER_VALIDATION | {
    "checkpoints/*/loops/*": "what is due by step and by validation at once is saved after validation, with its metrics"
}
EACH_VALIDATION: Final[dict[str, str]] = dict.fromkeys(
    ("hooks/*", "logged/*", "checkpoints/*/_batches_that_stepped", "checkpoints/*/epoch_progress/*/processed"),
    "val_check_interval=1 is validation after each batch, so a save follows each; Lightning takes the 1 for 1.0 there",
)
ONE_PER_STEP: Final[dict[str, str]] = dict.fromkeys(
    ("logged/*", "csv/*", "attributes/LearningRateMonitor.lrs/*"),
    "LearningRateMonitor writes one record per optimizer step under accumulation, Lightning the same one per batch",
)
# What follows from other samples in training; their number, and what is done with them, is compared.
_OF_OTHER_SAMPLES = (
    "batches/* training_step/batch/*/values/*",
    "losses/[0-9]*",
    "weights/*/values/*",
    "metrics/*/callback_metrics/*_loss*/1",
    "metrics/*/logged_metrics/*_loss*/1",
    "metrics/*/progress_bar_metrics/*_loss*",
    "logged/*/metrics/*_loss*",
    "csv/*/*_loss*",
    "checkpoints/*/state_dict/*/values/*",
    "checkpoints/*/optimizer_states/*/values/*",
)
RELOADED: Final[dict[str, str]] = dict.fromkeys(
    _OF_OTHER_SAMPLES,
    "a reloaded training loader is iterated once, in Lightning twice; the draw in between changes the shuffle",
)
DRAWN_ALIKE: Final[dict[str, str]] = dict.fromkeys(
    _OF_OTHER_SAMPLES,
    "with several ranks, a sampler without a generator draws from the seed and the epoch, on all ranks alike; in "
    "Lightning from each rank's global state",
)
EVERY_NAME: Final[dict[str, str]] = dict.fromkeys(
    (
        "files/*",
        "attributes/ModelCheckpoint.best_model_path",
        "checkpoints/*/model-v[123].ckpt",
        "checkpoints/*/model.ckpt/epoch",
        "checkpoints/*/model.ckpt/global_step",
        "checkpoints/*/model.ckpt/loops/fit_loop/*/total/*",
        "checkpoints/*/model.ckpt/loops/fit_loop/epoch_progress/current/*",
        "checkpoints/*/model.ckpt/loops/fit_loop/*/_batches_that_stepped",
        "checkpoints/*/model.ckpt/state_dict/*",
        "checkpoints/*/model.ckpt/optimizer_states/*/values/*",
    ),
    "save_top_k=-1 keeps every file; Lightning overwrites one whose name is the same",
)
RESUMED: Final[dict[str, str]] = {
    "metrics/*/current_epoch": "current_epoch is right from on_fit_start of a resumed run, in Lightning after the "
    "sanity check",
    **dict.fromkeys(
        ("metrics/*/callback_metrics/*", "metrics/*/logged_metrics/*", "metrics/*/progress_bar_metrics/*"),
        "a run that goes on knows the newest values of the run before; Lightning none until they are logged again",
    ),
    **dict.fromkeys(
        ("logged/*", "csv/*"),
        "what was to follow the save, an epoch's records among it, is carried out by the run that goes on",
    ),
}
RESUMED_WITH_PLATEAU: Final[dict[str, str]] = RESUMED | dict.fromkeys(
    (
        "losses/[0-9]*",
        "weights/*/values/*",
        "attributes/*",
        "hooks/*",
        "checkpoints/*",
    ),
    "the step on plateau that was to follow the save is carried out by the run that goes on; Lightning loses it",
)
AFTER_THE_MODULE: Final[dict[str, str]] = {
    "hooks/*": "what a batch changed is complete once the module has had its say, so those that save come after it"
}
LINKED: Final[dict[str, str]] = dict.fromkeys(
    ("hooks/*", "logged/*"), "a link is renewed where the last file that was kept is another one"
)
MISSING_AT_ONCE: Final[dict[str, str]] = dict.fromkeys(
    ("hooks/*", "error"), "a metric that nobody logs ends the run in words of its own, after the module's hook"
)
EARLIER: Final[dict[str, str]] = {"error": "refused earlier, with a MisconfigurationException"}
BEFORE_TRAINING: Final[dict[str, str]] = dict.fromkeys(
    ("hooks/*", "metrics/length", "attributes/num_training_batches", "error"), EARLIER["error"]
)
CLOSURES: Final[dict[str, str]] = {
    "*/optimizer/zero_grad/*": "gradients freed are counted once per step, however often a closure is evaluated; "
    "nothing reads that counter",
}
OWN_BUFFERS: Final[dict[str, str]] = dict.fromkeys(
    (
        "metrics/*/callback_metrics/val_loss/1",
        "metrics/*/logged_metrics/val_loss/1",
        "metrics/*/progress_bar_metrics/val_loss",
        "logged/*/metrics/val_loss",
    ),
    "every rank is evaluated with the buffers of rank 0; in Lightning with its own under manual optimisation and amid "
    "an accumulation",
)
KEPT_BUFFERS: Final[dict[str, str]] = OWN_BUFFERS | {
    "weights/*.running_*/values/*": OWN_BUFFERS["logged/*/metrics/val_loss"]
}
RANK_0_DECIDES: Final[dict[str, str]] = dict.fromkeys(
    ("hooks/*", "logged/*", "files/*", "checkpoints/*/epoch=*-step=*.ckpt", "attributes/ModelCheckpoint.*"),
    "where ranks monitor values of their own, rank 0 decides what is saved; in Lightning all of them must agree",
)
WIDE_INTEGERS: Final[dict[str, str]] = {"returned/0/8/dtype": "all_gather of an int gives 64 bits, in Lightning 32"}


def unpadded(step: str, metric: str) -> dict[str, str]:
    """Reasons where an evaluation with ``metric`` has fewer samples than ranks times batches."""
    return dict.fromkeys(
        (
            "hooks/*",  # which say how large a batch is
            f"batches/* {step}/batch/*",
            f"metrics/*/callback_metrics/{metric}/1",
            f"metrics/*/logged_metrics/{metric}/1",
            f"logged/*/metrics/{metric}",
            f"csv/*/{metric}",
        ),
        "evaluation sees every sample once, so that metrics do not depend on the number of ranks; Lightning repeats "
        "samples until all ranks have equally many",
    )


# The steps of all ranks may then communicate.
AS_MANY_BATCHES: Final[dict[str, str]] = dict.fromkeys(
    ("batches/length", "batches/* predict_step/batch/*", "returned/*/predict/*", "attributes/num_predict_batches/0"),
    "all ranks predict equally many batches, for which one with fewer samples splits its last; not in Lightning",
)

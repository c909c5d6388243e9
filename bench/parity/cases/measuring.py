"""What measures a run, or looks for its batch size: the values found, keys of records, names of actions."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from itertools import groupby
from typing import Any, Final

from torch.utils.data import DataLoader

from bench.parity.record import plain
from bench.parity.scenario import Case, Session, loss_of, samples, seed

# What ThroughputMonitor counts rather than measures.
_COUNTED: Final = ("batches", "samples", "lengths")
_LARGEST: Final = 11

_SEARCHED: Final = dict.fromkeys(
    ("attributes/ckpt_path", "attributes/num_*_batches", "attributes/num_*_batches/length"),
    "a search runs inside of the run, and leaves no trace in it; Lightning shows its file and its loader",
)
_FROM_ITS_FIRST: Final = {
    **_SEARCHED,
    "returned/0/tried/0": "the first trial is of init_val; Lightning's of the loader that it had already",
}

_EACH_EVALUATION: Final = {
    "logged/*/metrics/validate/*": "an evaluation of its own counts from its start; in Lightning from that of the last "
    "validation inside the fit",
}
_MANY_ACTIONS: Final = {
    "returned/0/[[][CL]*.*": "hooks that are the base's own are not called, so no time of theirs is told; "
    "configure_model is timed in every run",
    "returned/0/[[]Strategy*": "a strategy of one device has no hooks of its own, and on the CPU no batch is moved",
}


def _sized(self: Any) -> None:
    self.batch_size = 2


def _loads_by_size(self: Any) -> Any:
    return DataLoader(samples(64), batch_size=self.batch_size, shuffle=True)


def _until_memory_is_full(self: Any, batch: Any, batch_idx: int) -> Any:
    if len(batch[0]) > _LARGEST:
        raise RuntimeError("CUDA out of memory.")
    return loss_of(self, batch)


_BY_SIZE: Final = {
    "begin": _sized,
    "train_dataloader": _loads_by_size,
    "val_dataloader": _loads_by_size,
    "training_step": _until_memory_is_full,
}


def _scaled(*, fits: bool = False, **options: Any) -> Callable[[Session], None]:
    """What ``scale_batch_size`` finds, and where it leaves trainer and module; with ``fits``, also a fit after it."""

    def steps(session: Session) -> None:
        tuning = importlib.import_module(f"{session.api.__name__}.tuner")
        trainer, module = session.new_trainer(watch=False), session.new_module()
        seed(2)
        found = tuning.Tuner(trainer).scale_batch_size(module, **options)
        told = {"found": found, "set": module.batch_size, "step": trainer.global_step, "epoch": trainer.current_epoch}
        told["tried"] = [size for size, _ in groupby(shape["batch"][0]["shape"][0] for shape in session.record.batches)]
        session.record.returned.append(plain(told))
        for kept in (session.record.hooks, session.record.batches, session.record.losses, session.record.logged):
            kept.clear()  # of the trials, each of which trains on other samples
        if fits:
            seed(3)
            trainer.fit(module)

    return steps


def _told(session: Session) -> Any:
    """A logger that keeps the keys of records, and of their values those that are counted."""

    class Told(session.api.loggers.logger.Logger):  # type: ignore[misc,name-defined]  # the base is a value
        name, version = "told", 0

        def log_metrics(self, metrics: Any, step: int | None = None) -> None:
            told = {key: value for key, value in metrics.items() if key.rpartition("/")[2] in _COUNTED}
            session.record.logged.append({"step": step, "metrics": {**dict.fromkeys(metrics, "measured"), **told}})

        def log_hyperparams(self, params: Any, *args: Any, **kwargs: Any) -> None:
            """Not looked at."""

    return Told()


def _throughput(**options: Any) -> Callable[[Session], None]:
    def size(batch: Any) -> int:
        return len(batch[0])

    def steps(session: Session) -> None:
        monitor = session.api.callbacks.ThroughputMonitor(batch_size_fn=size, **options)
        session.trainer = session.new_trainer(watch=False, callbacks=[monitor], logger=_told(session))
        module, loaders = session.new_module(), session.loaders()
        session.trainer.fit(module, loaders["train"], loaders["val"])
        session.trainer.validate(module, loaders["val"], verbose=False)
        session.trainer.test(module, loaders["test"], verbose=False)
        session.trainer.predict(module, loaders["predict"])

    return steps


def _profiled(session: Session) -> None:
    """Which actions the simple profiler names, and how often each was."""
    profiling = importlib.import_module(f"{session.api.__name__}.profilers")
    profiler = profiling.SimpleProfiler()
    session.fit(profiler=profiler, watch=False)
    session.trainer.validate(session.module, session.loaders()["val"], verbose=False)
    counted = {name: len(durations) for name, durations in profiler.recorded_durations.items()}
    session.record.returned.append(counted)


MEASURING = (
    *(
        Case(
            name=f"scale_batch_size: {name}",
            methods=_BY_SIZE,
            steps=_scaled(**options),
            hooks=False,
            explained=explained,
        )
        for name, options, explained in (
            ("power", {"steps_per_trial": 2}, _SEARCHED),
            ("power, so many trials", {"max_trials": 2}, _SEARCHED),
            ("binsearch", {"mode": "binsearch", "steps_per_trial": 1}, _SEARCHED),
            ("binsearch, from 5", {"mode": "binsearch", "init_val": 5}, _FROM_ITS_FIRST),
            ("power, then a fit", {"fits": True}, {}),
        )
    ),
    *(
        Case(
            name=f"ThroughputMonitor: {name}",
            trainer=trainer,
            steps=_throughput(**options),
            hooks=False,
            explained=_EACH_EVALUATION,
        )
        for name, trainer, options in (
            ("each step", {"log_every_n_steps": 1}, {"window_size": 3}),
            ("every other step", {"log_every_n_steps": 2}, {"window_size": 3}),
            ("accumulated", {"log_every_n_steps": 2, "accumulate_grad_batches": 2}, {"window_size": 3}),
            ("validated twice", {"log_every_n_steps": 2, "val_check_interval": 3}, {"window_size": 2}),
            ("of lengths", {"log_every_n_steps": 1}, {"window_size": 3, "length_fn": lambda batch: batch[0].numel()}),
        )
    ),
    Case(name="SimpleProfiler: names of actions", steps=_profiled, hooks=False, explained=_MANY_ACTIONS),
)

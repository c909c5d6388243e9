"""Files written in random hooks at random steps of random runs: who goes on from one ends as the undisturbed run did.

::

    python resume_search.py FIRST LAST      (make search-resume SEEDS="0 1000"); prints every seed

Files written in a training step are left out: half a step is in no file, so its batch is trained on again.
"""

from __future__ import annotations

import random
import sys
import tempfile
import traceback
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from resume_options import SAVING_HOOKS, VALIDATION_HOOKS, Options, Searched, callbacks_of, options_of
from trainer_models import QUIET

import thunderhead as th
from thunderhead.callbacks import Callback
from thunderhead.loggers import Logger
from thunderhead.rng import capture_rng, restore_rng

AGAIN = [hook for hook in VALIDATION_HOOKS if hook != "on_validation_end"]
FILES = 4


class Rows(Logger):
    """Puts every record into the trace."""

    name, version = "rows", 0

    def __init__(self, trace: list[Any]) -> None:
        self.trace = trace

    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        self.trace.append(("row", step, dict(metrics)))

    def log_hyperparams(self, params: Any, *args: Any, **kwargs: Any) -> None:
        """Not looked at."""


@dataclass(slots=True)
class Written:
    """A file, and what of the run that wrote it must follow.

    Attributes:
        path: of the file.
        moment: hook, and how often it had been called.
        after: number of events before what the file leads to.
        random: state of every generator when it was written.
        complete: nothing was left to train.
        restored_in: the hook in which whoever goes on takes that state.
    """

    path: Path
    moment: tuple[str, int]
    after: int
    random: dict[str, Any]
    complete: bool
    restored_in: str


class Saver(Callback):
    """Writes files at the moments it is told, and begins with the random state it is told."""

    def __init__(self, moments: set[tuple[str, int]], folder: Path, begin: Written | None = None) -> None:
        self.moments, self.folder, self.begin = moments, folder, begin
        self.calls: dict[str, int] = {}
        self.files: list[Written] = []

    def seen(self, hook: str, trainer: Any) -> None:
        """Called first thing in every hook."""
        begin = self.begin
        if begin is not None and hook == begin.restored_in:
            restore_rng(begin.random)
        if trainer.sanity_checking:
            return
        self.calls[hook] = count = self.calls.get(hook, 0) + 1
        if (hook, count) in self.moments:
            path = self.folder / f"{hook}-{count}.ckpt"
            trace = trainer.lightning_module.trace
            after = len(trace)
            if hook in AGAIN:
                after = max(index for index, event in enumerate(trace) if event == "validation")
            stands = trainer.max_steps != -1 and trainer.global_step >= trainer.max_steps
            ends = hook == "on_train_end" or (
                hook == "on_train_epoch_end" and trainer.current_epoch + 1 >= trainer.max_epochs
            )
            state, restored_in = capture_rng(), "on_fit_start" if hook == "on_fit_start" else "on_train_start"
            if hook == "on_fit_start" and begin is not None:
                # This run is yet to take the state that it goes on with.
                state, restored_in = begin.random, begin.restored_in
            self.files.append(Written(path, (hook, count), after, state, stands or ends, restored_in))
            trainer.save_checkpoint(path)


def _hook(name: str) -> Callable[..., None]:
    def called(self: Saver, trainer: Any, *args: Any, **kwargs: Any) -> None:
        self.seen(name, trainer)

    return called


for _name in dict.fromkeys(SAVING_HOOKS):
    setattr(Saver, _name, _hook(_name))


@dataclass(slots=True)
class Run:
    """What a run did, and how it ended."""

    trace: list[Any]
    saver: Saver
    end: dict[str, Any] = field(default_factory=dict)


def run(options: Options, folder: Path, moments: set[tuple[str, int]], begin: Written | None = None) -> Run:
    """One fit, from a file if there is one."""
    th.seed_everything(3, verbose=False)
    trace: list[Any] = []
    model = Searched(options, trace)
    folder = folder / str(len(list(folder.iterdir())))
    saver = Saver(moments, folder, begin)
    arguments = {**QUIET, "enable_checkpointing": options.keep is not None, "logger": Rows(trace), **options.trainer}
    trainer = th.Trainer(**arguments, callbacks=callbacks_of(options, saver, folder / "own"))
    trainer.fit(model, ckpt_path=None if begin is None else begin.path)
    counts = {callback.state_key: callback.state_dict() for callback in trainer.callbacks[:3]}
    end = {
        "weights": {name: value.clone() for name, value in model.state_dict().items()},
        "optimizers": [optimizer.state_dict() for optimizer in trainer.optimizers],
        "schedulers": [config.scheduler.state_dict() for config in trainer.lr_scheduler_configs],
        "position": trainer._training.position,
        "validated": list(trainer._training.validation.seen),
        "metrics": {name: value.item() for name, value in trainer.callback_metrics.items()},
        "callbacks": counts,
        "random": capture_rng(),
    }
    return Run(trace, saver, end)


def difference(one: Any, other: Any, where: str = "") -> str | None:
    """Where two ends differ first, bit by bit."""
    if isinstance(one, torch.Tensor) and isinstance(other, torch.Tensor):
        return None if torch.equal(one, other) else f"{where}: {one} and {other}"
    if isinstance(one, dict) and isinstance(other, dict):
        if one.keys() != other.keys():
            return f"{where}: keys {sorted(map(str, one.keys() ^ other.keys()))} in one only"
        pairs = [(one[key], other[key], f"{where}.{key}") for key in one]
    elif isinstance(one, (list, tuple)) and isinstance(other, (list, tuple)):
        if len(one) != len(other):
            return f"{where}: {len(one)} and {len(other)}: {one[-3:]} and {other[-3:]}"
        pairs = [(a, b, f"{where}[{index}]") for index, (a, b) in enumerate(zip(one, other, strict=True))]
    else:
        return None if one == other or (one != one and other != other) else f"{where}: {one!r} and {other!r}"
    return next((found for a, b, name in pairs if (found := difference(a, b, name)) is not None), None)


def compare(whole: Run, resumed: Run, written: Written) -> str | None:
    """What the resumed run did otherwise."""
    ends = [dict(whole.end), dict(resumed.end)]
    if written.complete:
        # Nothing is trained, so nothing is called, and hooks at the end are not either.
        ends = [{name: end[name] for name in ("weights", "optimizers")} for end in ends]
        return None if whole.trace[written.after :] == [] else _weights_only(ends)
    if written.moment[0] in AGAIN:
        # Callbacks that count batches of validation counted those before the file, and all of them again.
        for end in ends:
            end["callbacks"] = {
                key: {k: v for k, v in state.get("calls", {}).items() if k not in VALIDATION_HOOKS}
                for key, state in end["callbacks"].items()
            }
    return difference(whole.trace[written.after :], resumed.trace, "events") or difference(*ends, "end")


def _weights_only(ends: list[dict[str, Any]]) -> str | None:
    return difference({"n": len(ends[0]["weights"])}, {"n": len(ends[1]["weights"])})


def search(seed: int, folder: Path) -> list[str]:
    """What went wrong with this seed; empty when nothing did."""
    options, pick = options_of(seed), random.Random(-seed - 1)
    plain = run(options, folder, set())
    reached = [(hook, count) for hook, most in plain.saver.calls.items() for count in range(1, most + 1)]
    by_hook = {hook: [moment for moment in reached if moment[0] == hook] for hook in dict(reached)}
    chosen = {pick.choice(by_hook[pick.choice([h for h in SAVING_HOOKS if h in by_hook])]) for _ in range(FILES)}
    whole = run(options, folder, chosen)
    found = [f"saving disturbed the run: {said}"] if (said := difference(plain.end, whole.end)) else []
    for index, written in enumerate(whole.saver.files):
        again = {pick.choice(reached)} if index == 0 else set()
        resumed = run(options, folder, again, written)
        if said := compare(whole, resumed, written):
            found.append(f"from {written.moment}: {said}")
        for second in [] if written.complete else resumed.saver.files:
            third = run(options, folder, set(), second)
            if said := compare(resumed, third, second):
                found.append(f"from {written.moment}, then {second.moment}: {said}")
    return [f"seed {seed}: {said}\n    {options}" for said in found]


def main(first: int, last: int) -> int:
    """Search these seeds; the exit code."""
    warnings.simplefilter("ignore")
    bad = 0
    for seed in range(first, last):
        with tempfile.TemporaryDirectory() as folder:
            try:
                found = search(seed, Path(folder))
            except Exception:  # noqa: BLE001 - told with its seed
                found = [f"seed {seed}: {traceback.format_exc()}\n    {options_of(seed)}"]
        bad += bool(found)
        print("\n".join(found) if found else f"seed {seed}: same", flush=True)
    print(f"{last - first} seeds, {bad} with a difference")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]), int(sys.argv[2])))

"""What a sweep came to, as a table: the best first, then the others in the order of their values."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import inf

from optuna.trial import FrozenTrial, TrialState
from rich import box
from rich.table import Table

from thunderhead_cli.local.progress_line import duration
from thunderhead_cli.sweep.file import Objective
from thunderhead_cli.sweep.study import STEPS, WHY

_WORDS = {
    TrialState.COMPLETE: "complete",
    TrialState.PRUNED: "ended early",
    TrialState.FAIL: "failed",
    TrialState.RUNNING: "to be continued",
    TrialState.WAITING: "waiting",
}
_ORDER = (TrialState.COMPLETE, TrialState.PRUNED, TrialState.RUNNING, TrialState.WAITING, TrialState.FAIL)


def results_table(name: str, trials: Sequence[FrozenTrial], objective: Objective, paths: Sequence[str]) -> Table:
    """One row per trial."""
    table = Table(title=f"sweep {name}", title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("trial", justify="right")
    table.add_column("outcome")
    table.add_column(objective.metric, justify="right")
    table.add_column("steps", justify="right")
    table.add_column("time", justify="right")
    for path in paths:
        table.add_column(path, justify="right", overflow="fold")
    table.add_column("why", overflow="fold")
    for trial in sorted(trials, key=_by_value(objective)):
        seconds = "" if trial.duration is None else duration(trial.duration.total_seconds())
        table.add_row(
            str(trial.number),
            _WORDS[trial.state],
            "" if trial.value is None else f"{trial.value:.4g}",
            str(trial.user_attrs.get(STEPS, "")),
            seconds,
            *(_shown(trial.params.get(path)) for path in paths),
            str(trial.user_attrs.get(WHY, "")).partition("\n")[0],
        )
    return table


def _by_value(objective: Objective) -> Callable[[FrozenTrial], tuple[int, float, int]]:
    sign = 1 if objective.direction == "minimize" else -1

    def key(trial: FrozenTrial) -> tuple[int, float, int]:
        value = inf if trial.value is None else sign * trial.value
        return _ORDER.index(trial.state), value, trial.number

    return key


def _shown(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)

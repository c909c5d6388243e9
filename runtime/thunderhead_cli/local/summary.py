"""What a run came to: the table printed at its end."""

from __future__ import annotations

import io
from dataclasses import dataclass, field
from typing import Final

from rich import box
from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from thunderhead_api.conditions import find_condition
from thunderhead_api.messages import Culprit, TimeSpent
from thunderhead_api.status import LedgerEntry, TrainingJobStatus
from thunderhead_api.time_spent import KINDS, WORK, seconds_of
from thunderhead_api.treaty import Cause, ConditionType
from thunderhead_cli.local.progress_line import duration, metrics_shown
from thunderhead_cli.local.results import Result
from thunderhead_operator.plan.given_up import sentence

_KINDS: Final = {
    "counted": "in steps that counted",
    "repeated": "in steps done again",
    "validation": "validation",
    "checkpoint_stall": "held up by checkpoints",
    "starting": "starting",
    "restoring": "restoring",
    "recovering": "recovering",
    "suspended": "stopped",
    "queued": "queued",
    "other": "between epochs and at ends",
}


def outcome(status: TrainingJobStatus, *, killed: bool = False) -> str:
    """How the job stands, in a few words."""
    for type_, word in (
        (ConditionType.COMPLETE, "Complete"),
        (ConditionType.FAILED, "Failed"),
        (ConditionType.SUSPENDED, "Stopped; the same command continues it"),
        (ConditionType.BLOCKED, "Blocked"),
    ):
        condition = find_condition(status.conditions, type_)
        if killed and type_ in (ConditionType.SUSPENDED, ConditionType.BLOCKED):
            continue
        if condition is not None and condition.status == "True":
            headline = condition.message.partition("\n")[0]
            told = type_ in (ConditionType.FAILED, ConditionType.BLOCKED)
            why = f": {condition.reason}: {headline}" if told else ""
            return word + why
    return "Cut off; the same command continues from the newest checkpoint"


@dataclass(frozen=True, slots=True, kw_only=True)
class Places:
    """Where everything of a run is.

    Attributes:
        checkpoint_uri: of committed checkpoints.
        pods_dir: of the pods' files and logs.
        results_dir: where files of the user's code and its loggers go, of all attempts.
        results: those that are known.
    """

    checkpoint_uri: str
    pods_dir: str
    results_dir: str
    results: list[Result] = field(default_factory=list)


def summary(name: str, status: TrainingJobStatus, places: Places, *, killed: bool = False) -> RenderableType:
    """The ledger, what was lost, how long recovery took, goodput, checkpoints and the last metrics."""
    return Group(Text(""), _ledger(name, status.ledger), _figures(status, places, killed=killed))


def print_summary(console: Console, renderable: RenderableType) -> None:
    """To a terminal in its own width; to a log wide enough that no cell is folded."""
    if console.is_terminal:
        console.print(renderable)
        return
    wide = Console(file=io.StringIO(), width=200, no_color=True)
    with wide.capture() as capture:
        wide.print(renderable)
    console.file.write("".join(f"{line.rstrip()}\n" for line in capture.get().splitlines()))


def _ledger(name: str, entries: list[LedgerEntry]) -> Table:
    table = Table(title=f"Ledger of {name}", box=box.SIMPLE_HEAD, title_justify="left", title_style="bold")
    for column in ("attempt", "cause", "budget", "culprit", "from step", "to step", "seconds to recover"):
        table.add_column(column, justify="left" if column in ("cause", "budget", "culprit") else "right")
    for entry in entries:
        ended_well = entry.cause is Cause.COMPLETED
        table.add_row(
            str(entry.attempt) if entry.round == 0 else f"{entry.attempt}.{entry.round}",
            entry.cause.value,
            "" if ended_well else "free" if entry.free else "charged",
            _culprit(entry.culprit, entry.cause),
            _or_blank(entry.first_step),
            _or_blank(entry.last_step),
            "" if entry.seconds_lost is None else f"{entry.seconds_lost:.1f}",
        )
    return table


def _figures(status: TrainingJobStatus, places: Places, *, killed: bool) -> Table:
    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 1))
    table.add_column(style="bold")
    table.add_column(overflow="fold")  # a path that is cut off is of no use
    recovery, goodput, newest = status.last_recovery, status.goodput, status.checkpoint
    table.add_row("outcome", outcome(status, killed=killed))
    table.add_row("restarts", f"{status.restarts.charged} charged, {status.restarts.free} free")
    if recovery is not None and recovery.seconds is not None:
        table.add_row("seconds to recover", f"{recovery.seconds:.1f}  (last recovery: first sight → first new step)")
        table.add_row("steps lost", _or_blank(recovery.steps_lost))
    if goodput is not None:
        share = f"{goodput.ratio_percent} %" if seconds_of(goodput.time, *WORK) else "none: no step was done"
        table.add_row("goodput", f"{share}  (of {duration(goodput.wall_seconds)} wanted to run)")
        if goodput.time is not None:
            table.add_row("time", _time_shown(goodput.time))
    table.add_row("checkpoints", places.checkpoint_uri)
    if newest is not None:
        table.add_row("newest", f"step {newest.step}, committed {newest.committed_at}")
    for entry in status.ledger:
        if entry.given_up is not None:
            table.add_row("given up", f"attempt {entry.attempt} {sentence(entry.given_up)}")
    skipped = status.progress.skipped_checkpoints if status.progress is not None else None
    if status.progress is not None and status.progress.non_finite_step is not None:
        step = status.progress.non_finite_step
        table.add_row("not finite", f"since step {step}; the newest checkpoint from before, if there is one, is kept")
    if skipped is not None:
        table.add_row("skipped", f"{skipped.total} checkpoints that the store did not take in the last attempt")
    if status.progress is not None and status.progress.metrics:
        table.add_row("metrics", "  ".join(metrics_shown(status.progress.metrics)))
    table.add_row("results", places.results_dir)
    for result in places.results:
        table.add_row(result.kind, f"{result.path}  ({result.note})" if result.note else result.path)
    table.add_row("pods' logs", places.pods_dir)
    return table


def _time_shown(time: TimeSpent) -> str:
    """Every kind that took a second or more, as a person says it."""
    words = _KINDS if seconds_of(time, *WORK) else {**_KINDS, "other": "until its end"}
    spent = ((words[kind], seconds_of(time, kind)) for kind in KINDS)
    return ", ".join(f"{duration(seconds)} {kind}" for kind, seconds in spent if seconds >= 1)


def _culprit(culprit: Culprit | None, cause: Cause) -> str:
    if culprit is None:
        return ""
    what = culprit.signal or ("" if culprit.exit_code is None else f"exit {culprit.exit_code}")
    parts = ["" if culprit.rank is None else f"rank {culprit.rank}", culprit.pod or "", what]
    parts.append("" if culprit.reason in (None, cause) else culprit.reason)
    return ", ".join(part for part in parts if part)


def _or_blank(number: int | None) -> str:
    return "" if number is None else str(number)

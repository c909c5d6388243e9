"""Metrics of the operator: its own work, and what only it knows of jobs (restarts, recoveries, phases)."""

from __future__ import annotations

from collections import Counter as Tally
from collections.abc import Callable, Iterator, Mapping
from time import perf_counter
from typing import Any, Final

from prometheus_client import CollectorRegistry, Counter, Histogram
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector
from pydantic.alias_generators import to_camel

from thunderhead_api.time_spent import KINDS
from thunderhead_api.treaty import Phase
from thunderhead_operator.cluster.errors import Conflict
from thunderhead_operator.control.queue import Handler, Key
from thunderhead_operator.control.reconcile import Memory
from thunderhead_operator.plan.objects import Obj, items, section, uid_of

_SECONDS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 15)
_RECOVERY_SECONDS: Final = (1, 2, 5, 10, 15, 20, 30, 45, 60, 90, 120, 300, 900)
_ENDED: Final = frozenset({Phase.COMPLETE.value, Phase.FAILED.value})


class Metrics:
    """Counters fed by the loop; gauges are read from what it remembers when somebody scrapes."""

    def __init__(self, registry: CollectorRegistry) -> None:
        """Everything is registered with ``registry``; nothing at import."""
        self._passes = Histogram(
            "thunderhead_operator_reconcile_seconds",
            "Duration of a pass over one job.",
            ["outcome"],
            buckets=_SECONDS,
            registry=registry,
        )
        self._calls = Counter(
            "thunderhead_operator_api_calls",
            "Calls to the API server; code 0 is no answer.",
            ["verb", "code"],
            registry=registry,
        )
        self._restarts = Counter(
            "thunderhead_operator_restarts",
            "Attempts that ended and were followed by another.",
            ["cause", "charged"],
            registry=registry,
        )
        self._recovery = Histogram(
            "thunderhead_operator_recovery_seconds",
            "From the detection of a failure to the first new step after it.",
            ["cause"],
            buckets=_RECOVERY_SECONDS,
            registry=registry,
        )
        self._steps_lost = Counter(
            "thunderhead_operator_steps_lost", "Steps that had to be done again.", ["cause"], registry=registry
        )
        self._seen: dict[Key, tuple[str, int, str | None]] = {}  # uid, newest ended attempt, last recovery's end

    def on_call(self, verb: str, status: int) -> None:
        """A call to the API server has ended."""
        self._calls.labels(verb, str(status)).inc()

    def timed(self, handle: Handler) -> Handler:
        """``handle`` with its duration and outcome measured."""

        async def measured(key: Key) -> float | None:
            start, outcome = perf_counter(), "error"
            try:
                again = await handle(key)
                outcome = "ok"
            except Conflict:
                outcome = "conflict"
                raise
            finally:
                self._passes.labels(outcome).observe(perf_counter() - start)
            return again

        return measured

    def on_pass(self, key: Key, memory: Memory) -> None:
        """Count what the status tells that it did not tell before. What was there at first sight was counted by whoever
        ran then."""
        if memory.gone:
            self._seen.pop(key, None)
            return
        if memory.job is None:
            return
        status = section(memory.job, "status")
        entries = [e for e in items(status, "ledger") if e.get("cause") != "Completed"]
        recovery = section(status, "lastRecovery")
        newest = max((int(e.get("attempt", 0)) for e in entries), default=0)
        now = uid_of(memory.job), newest, recovery.get("resumedAt")
        before = self._seen.get(key)
        self._seen[key] = now
        if before is None or before[0] != now[0]:
            return
        for entry in entries:
            if before[1] < int(entry.get("attempt", 0)) < int(status.get("attempt", 0)):
                charged = "false" if entry.get("free") else "true"
                self._restarts.labels(str(entry.get("cause")), charged).inc()
        if now[2] is not None and now[2] != before[2]:
            cause = str(recovery.get("cause"))
            self._recovery.labels(cause).observe(float(recovery.get("seconds") or 0.0))
            self._steps_lost.labels(cause).inc(int(recovery.get("stepsLost") or 0))


class Gauges(Collector):
    """Read at each scrape."""

    def __init__(
        self,
        memories: Mapping[Key, Memory],
        values: Mapping[str, tuple[str, Callable[[], float]]],
        ages: Callable[[], Mapping[str, float]],
    ) -> None:
        """``values``: name → help and reader; ``ages``: seconds since the last watch event, by kind."""
        self._memories = memories
        self._values = values
        self._ages = ages

    def collect(self) -> Iterator[Metric]:
        """See the base class."""
        for name, (text, read) in self._values.items():
            gauge = GaugeMetricFamily(f"thunderhead_operator_{name}", text)
            gauge.add_metric([], read())
            yield gauge
        age = GaugeMetricFamily(
            "thunderhead_operator_watch_event_age_seconds", "Since the last watch event.", labels=["kind"]
        )
        for kind, seconds in self._ages().items():
            age.add_metric([kind], seconds)
        yield age
        jobs = [memory.job for memory in list(self._memories.values()) if memory.job is not None]
        yield _phases(jobs)
        yield from _per_job([job for job in jobs if _phase(job) not in _ENDED])


def _phase(job: Obj) -> str:
    return str(section(job, "status").get("phase") or Phase.PENDING)


def _phases(jobs: list[Obj]) -> Metric:
    gauge = GaugeMetricFamily("thunderhead_operator_jobs", "Jobs by phase.", labels=["phase"])
    tally = Tally(_phase(job) for job in jobs)
    for phase in Phase:
        gauge.add_metric([phase.value], tally[phase.value])
    return gauge


def _per_job(jobs: list[Obj]) -> Iterator[Metric]:
    """Of jobs that have not ended, so that the number of series follows what runs."""
    wanted: tuple[tuple[str, str, Callable[[Obj], Any]], ...] = (
        ("step", "Newest step in status.", lambda s: section(s, "progress").get("step")),
        ("attempt", "Running attempt.", lambda s: s.get("attempt")),
        (
            "goodput_ratio",
            "Share of the time wanted to run that was not lost.",
            lambda s: _ratio(section(s, "goodput")),
        ),
        ("checkpoint_step", "Step of the newest committed checkpoint.", lambda s: section(s, "checkpoint").get("step")),
    )
    for name, text, read in wanted:
        gauge = GaugeMetricFamily(f"thunderhead_job_{name}", text, labels=["job_namespace", "job"])
        for job in jobs:
            value = read(section(job, "status"))
            if value is not None:
                meta = section(job, "metadata")
                gauge.add_metric([str(meta.get("namespace")), str(meta.get("name"))], float(value))
        yield gauge
    yield _time(jobs)


def _time(jobs: list[Obj]) -> Metric:
    text, labels = "Time since the first attempt began, by kind.", ["job_namespace", "job", "kind"]
    gauge = GaugeMetricFamily("thunderhead_job_time_seconds", text, labels=labels)
    for job in jobs:
        meta, spent = section(job, "metadata"), section(job, "status", "goodput", "time")
        for kind in KINDS:
            seconds = spent.get(to_camel(kind))
            if isinstance(seconds, int | float):
                gauge.add_metric([str(meta.get("namespace")), str(meta.get("name")), kind], seconds)
    return gauge


def _ratio(goodput: Obj) -> float | None:
    percent = goodput.get("ratioPercent")
    return None if percent is None else float(percent) / 100

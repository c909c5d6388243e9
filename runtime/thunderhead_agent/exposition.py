"""``/metrics``: the snapshot as Prometheus metrics, from a registry of our own that is filled anew for each scrape."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from datetime import datetime
from importlib.metadata import PackageNotFoundError, version

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, InfoMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from thunderhead_agent.reading import Reading, phase_name
from thunderhead_agent.snapshot import Snapshot
from thunderhead_api.messages import TimeSpent
from thunderhead_api.time_spent import KINDS, goodput_ratio, seconds_of
from thunderhead_api.treaty import STATUS_MAX_METRICS

PREFIX = "thunderhead_"


class SnapshotCollector(Collector):
    """Turns the newest snapshot into metric families at each scrape."""

    def __init__(self, snapshot: Callable[[], Snapshot], threads: int) -> None:
        self._snapshot = snapshot
        self._threads = threads

    def collect(self) -> Iterable[Metric]:
        """All families of this pod; before the workers start, only those of the agent."""
        snapshot = self._snapshot()
        yield from _build(self._threads)
        yield from _execution(snapshot)
        if not snapshot.started or snapshot.lead is None:
            return
        yield from _per_rank(snapshot.readings)
        yield from _progress(snapshot, snapshot.lead)
        yield from _checkpoint(snapshot, snapshot.lead)


def exposition(snapshot: Callable[[], Snapshot], threads: int) -> Callable[[], bytes]:
    """The page ``/metrics``."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(SnapshotCollector(snapshot, threads))
    return lambda: generate_latest(registry)


def _gauge(name: str, help_text: str, value: float) -> Metric:
    return GaugeMetricFamily(PREFIX + name, help_text, value=value)


def _build(threads: int) -> Iterator[Metric]:
    info = InfoMetricFamily(PREFIX + "build", "Versions that the bits of a run depend on.")
    info.add_metric([], {"version": _version("thunderhead"), "torch": _version("torch"), "threads": str(threads)})
    yield info


def _execution(snapshot: Snapshot) -> Iterator[Metric]:
    job = snapshot.job
    yield _gauge("world_size", "Processes of the whole job.", job.world_size)
    yield _gauge("attempt", "Number of the attempt that this pod belongs to.", job.attempt)
    restarts = job.attempt - 1 + snapshot.round
    yield CounterMetricFamily(PREFIX + "restarts", "Executions of this job before this one.", value=restarts)
    yield _gauge("ranks_met", "Ranks past the rendezvous, of those this agent hears of.", snapshot.ranks_met)
    yield CounterMetricFamily(PREFIX + "wall_seconds", "Time since this agent started.", value=snapshot.uptime_s)


def _per_rank(readings: Iterable[Reading]) -> Iterator[Metric]:
    families = _rank_families()
    for reading in readings:
        rank = [str(reading.rank)]
        families["phase"].add_metric([*rank, phase_name(reading.phase)], 1)
        families["steps"].add_metric(rank, reading.steps)
        families["samples"].add_metric(rank, reading.samples)
        families["step_seconds"].add_metric(rank, reading.step_s)
        families["age"].add_metric(rank, reading.age_s)
        families["training"].add_metric(rank, reading.training_s)
        families["stall"].add_metric(rank, reading.checkpoint_s)
        if reading.last_step_at is not None:
            families["last_step"].add_metric(rank, reading.last_step_at)
    yield from families.values()


RankFamily = GaugeMetricFamily | CounterMetricFamily


def _rank_families() -> dict[str, RankFamily]:
    def gauge(name: str, help_text: str, labels: tuple[str, ...] = ("rank",)) -> RankFamily:
        return GaugeMetricFamily(PREFIX + name, help_text, labels=labels)

    def counter(name: str, help_text: str) -> RankFamily:
        return CounterMetricFamily(PREFIX + name, help_text, labels=("rank",))

    return {
        "phase": gauge("rank_phase", "1 for the phase a rank is in.", ("rank", "phase")),
        "steps": counter("steps", "Optimizer steps of this execution."),
        "samples": counter("samples", "Samples trained on in this execution."),
        "step_seconds": gauge("step_seconds", "Duration of the newest step."),
        "age": gauge("rank_silence_seconds", "Time since the rank's last sign of life."),
        "training": counter("training_seconds", "Time spent in steps that were not repetitions."),
        "stall": counter("checkpoint_stall_seconds", "Time that training stood still for checkpoints."),
        "last_step": gauge("last_step_timestamp_seconds", "Unix time of the newest step."),
    }


def _progress(snapshot: Snapshot, lead: Reading) -> Iterator[Metric]:
    """Of the job, hence of rank 0's node alone: other nodes would only repeat it."""
    if snapshot.node_rank != 0:
        return
    yield _gauge("global_step", "Optimizer steps done by the job, earlier executions included.", lead.step)
    yield _gauge("epoch", "Epoch being trained, from 0.", lead.epoch)
    if lead.max_steps >= 0:
        yield _gauge("max_steps", "Optimizer steps of the whole run.", lead.max_steps)
    spent = snapshot.spent or TimeSpent()
    yield _gauge("goodput_ratio", "Share of this execution that was not lost.", goodput_ratio(spent))
    times = CounterMetricFamily(PREFIX + "time_seconds", "Time of this execution, by kind.", labels=["kind"])
    for kind in KINDS:
        times.add_metric([kind], seconds_of(spent, kind))
    yield times
    if snapshot.non_finite_step is not None:
        text = "First step whose loss, or after which a parameter, was no finite number, on any rank."
        yield _gauge("first_non_finite_step", text, snapshot.non_finite_step)
    logged = GaugeMetricFamily(PREFIX + "logged_value", "Newest value that the module logged.", labels=["metric"])
    for name in list(snapshot.metrics)[:STATUS_MAX_METRICS]:
        logged.add_metric([name], snapshot.metrics[name])
    yield logged
    left_out = lead.left_out + max(0, len(snapshot.metrics) - STATUS_MAX_METRICS)
    yield _gauge("logged_values_left_out", "Logged values that are not among these.", left_out)


def _checkpoint(snapshot: Snapshot, lead: Reading) -> Iterator[Metric]:
    if snapshot.node_rank != 0:
        return
    skipped = lead.skipped.total if lead.skipped else 0
    text = "Checkpoints of this execution that the store did not take."
    yield CounterMetricFamily(PREFIX + "checkpoint_skipped", text, value=skipped)
    if lead.commit is None:
        return
    at = datetime.fromisoformat(lead.commit.committed_at).timestamp()
    age = max(0.0, snapshot.taken_at - at)
    yield _gauge("checkpoint_last_step", "Step of the newest committed checkpoint.", lead.commit.step)
    yield _gauge("checkpoint_last_success_timestamp_seconds", "Unix time of the newest committed checkpoint.", at)
    yield _gauge("checkpoint_age_seconds", "Time since the newest committed checkpoint.", age)


def _version(distribution: str) -> str:
    try:
        return version(distribution)
    except PackageNotFoundError:
        return "unknown"

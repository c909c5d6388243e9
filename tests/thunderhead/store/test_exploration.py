"""Every crash point, lost reply, late write, frozen process and damaged object of a job's life, in memory.

Beside it, deliberately naive variants of the protocol, each of which the exploration must catch.
"""

from __future__ import annotations

import logging
import random
from collections.abc import Callable, Iterator
from functools import partial

import pytest
import torch
from store_faults import explore_crashes, explore_damage, explore_gaps, explore_replies, explore_zombies
from store_world import Broken, Oracle, Process

from thunderhead.job.errors import NothingRestorable, Superseded
from thunderhead.store import job_checkpoints, lineage, log, reading, saving
from thunderhead.store.executions import SHARDS, Commit, shard_of_key
from thunderhead.store.log import ExecutionLog, Taken, list_job
from thunderhead.store.objects import NotFound, PreconditionFailed, StoreError
from thunderhead.store.retention import kept_of

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


@pytest.fixture(autouse=True)
def _quiet(caplog: pytest.LogCaptureFixture) -> None:
    """Each state logs what it had to skip, ten thousand times over."""
    caplog.set_level(logging.ERROR, logger="thunderhead.store")
    torch.set_num_threads(1)


# A part takes seconds, all of it minutes.
THINNED = pytest.mark.parametrize(
    "one_in", [pytest.param(7, id="a seventh"), pytest.param(1, id="all", marks=pytest.mark.matrix)]
)


@THINNED
def test_survives_a_crash_at_every_point_of_three_attempts(one_in: int) -> None:
    assert explore_crashes((3, 2, 2), one_in) > 2_500 // one_in


def test_survives_a_crash_at_every_point_of_a_long_attempt_with_deletions() -> None:
    assert explore_crashes((7,)) > 30


@THINNED
def test_survives_every_operation_left_without_an_answer(one_in: int) -> None:
    assert explore_replies(one_in) > 1_300 // one_in


@THINNED
@pytest.mark.parametrize("patience_s", [0, 1e6])
def test_a_store_that_is_away_for_a_while_costs_checkpoints_and_never_the_process(
    patience_s: float, one_in: int
) -> None:
    assert explore_gaps((1, 2, 3, 5, 9, 40), patience_s=patience_s, one_in=one_in) > 400 // one_in


@THINNED
def test_a_process_frozen_anywhere_does_no_harm_to_the_next(one_in: int) -> None:
    assert explore_zombies(saves=2, keep=1, with_third=False, one_in=one_in) > 500 // one_in


@THINNED
def test_two_processes_frozen_anywhere_do_no_harm_to_a_third(one_in: int) -> None:
    assert explore_zombies(saves=2, keep=1, with_third=True, one_in=one_in) > 500 // one_in


def flips_and_cuts(key: str, body: bytes, one_in: int) -> Iterator[bytes | None]:
    """A flipped bit in every byte (one in ``one_in``), cuts at several lengths, other content, nothing."""
    seed = f"bits of {key}"
    bits = random.Random(seed)
    for index in range(bits.randrange(one_in), len(body), one_in):
        flipped = bytearray(body)
        flipped[index] ^= 1 << bits.randrange(8)
        yield bytes(flipped)
    yield from (body[:length] for length in (0, 1, 8, len(body) // 2, len(body) - 1))
    yield body[::-1]
    yield None


def last_bit(key: str, body: bytes) -> Iterator[bytes | None]:
    """The last bit flipped: in a shard, one of a tensor's."""
    yield body[:-1] + bytes([body[-1] ^ 1])


@THINNED
def test_any_damaged_object_costs_at_most_its_own_commit(one_in: int) -> None:
    assert explore_damage(partial(flips_and_cuts, one_in=one_in)) > 5_000 // one_in


def test_nothing_whole_left_never_starts_over() -> None:
    """Every commit damaged: refused, by each later attempt too; and ``Never`` is the way out that the message names."""
    process = Process({}, Oracle(), 1)
    process.live(3)
    objects = process.store.objects
    for key in [key for key in objects if key.startswith(SHARDS)]:
        objects[key] = objects[key][:-1]
    for attempt in (2, 3):
        with pytest.raises(NothingRestorable, match=r"set checkpoint\.resume to Never"):
            Process(objects, process.oracle, attempt).open()


def test_a_second_process_of_the_same_execution_is_superseded() -> None:
    process = Process({}, Oracle(), 1)
    process.live(1)
    twin = Process(process.store.objects, process.oracle, 1)
    twin.checkpoints._log.nonce = "another"
    with pytest.raises(Superseded, match="needs a new attempt or round"):
        twin.open()
    process.save()


# Naive variants. Each replaces one rule by what seems to do as well.


def newest_step_wins(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        lineage.Lineage,
        "counting",
        lambda self, commits: sorted(commits, key=lambda c: (c.step, c.execution), reverse=True),
    )
    monkeypatch.setattr(lineage.Lineage, "ending_at", lambda self, base: lineage.Lineage())


def newest_execution_wins(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lineage.Lineage, "counting", lambda self, commits: sorted(commits, reverse=True))
    monkeypatch.setattr(lineage.Lineage, "ending_at", lambda self, base: lineage.Lineage())


def acknowledge_without_looking_for_claims(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        ExecutionLog, "commit", lambda self, manifest: self._create(manifest.commit.key, manifest.to_bytes())
    )


def claim_after_listing(monkeypatch: pytest.MonkeyPatch) -> None:
    claim, write_base = ExecutionLog.claim, ExecutionLog.write_base

    def late(self: ExecutionLog, *args: object, **kwargs: object) -> None:
        claim(self, world_size=1, at=0)
        write_base(self, *args, **kwargs)  # type: ignore[arg-type]

    monkeypatch.setattr(ExecutionLog, "claim", lambda self, **_: None)
    monkeypatch.setattr(ExecutionLog, "write_base", late)


def believe_every_refusal(monkeypatch: pytest.MonkeyPatch) -> None:
    """ "Exists already" means another process, without reading back whose it is."""

    def create(store: log.ObjectStore, key: str, body: bytes) -> None:
        for _ in range(3):
            try:
                store.put(key, body, if_none_match=True)
            except PreconditionFailed as error:
                raise Taken(str(error)) from error
            except StoreError:
                continue
            return

    monkeypatch.setattr(log, "create_once", create)


def shards_before_manifests(monkeypatch: pytest.MonkeyPatch) -> None:
    def collect(log: ExecutionLog, line: lineage.Lineage, *, newest: Commit, precious: list[Commit], keep: int) -> int:
        listing = list_job(log.store)
        kept = kept_of(listing, line, newest=newest, precious=precious, keep=keep)
        keys = [info.key for info in log.store.scan(SHARDS)]
        dropped = [key for key in keys if (commit := shard_of_key(key)) and kept.drops_shard_of(commit)]
        for key in [*dropped, *(commit.key for commit in listing.commits if kept.drops_manifest(commit))]:
            log.check_not_superseded()
            log.store.delete(key)
        return 0

    monkeypatch.setattr(job_checkpoints, "collect", collect)


def manifest_before_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    upload, commit = saving.upload, ExecutionLog.commit
    waiting: list[Callable[[], object]] = []

    class Later:
        def __init__(self, store: log.ObjectStore) -> None:
            self.put = lambda key, body: waiting.append(lambda body=bytes(body): store.put(key, body))

    def commit_first(self: ExecutionLog, manifest: log.Manifest) -> None:
        commit(self, manifest)
        while waiting:
            waiting.pop()()

    monkeypatch.setattr(saving, "upload", lambda store, *args, **kw: upload(Later(store), *args, **kw))
    monkeypatch.setattr(ExecutionLog, "commit", commit_first)


def trust_what_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "verified_chunk", lambda store, shard, index: store.get(shard.key))


@pytest.mark.parametrize(
    ("variant", "explore"),
    [
        (newest_step_wins, lambda: explore_zombies(saves=3, keep=2, with_third=False)),
        (newest_execution_wins, lambda: explore_zombies(saves=3, keep=2, with_third=False)),
        (acknowledge_without_looking_for_claims, lambda: explore_zombies(saves=3, keep=2, with_third=False)),
        (claim_after_listing, lambda: explore_zombies(saves=3, keep=2, with_third=False)),
        (believe_every_refusal, explore_replies),
        (shards_before_manifests, lambda: explore_crashes((4,))),
        (manifest_before_shards, lambda: explore_crashes((2,))),
        (trust_what_is_read, lambda: explore_damage(last_bit)),
    ],
)
def test_catches_a_naive_variant(
    variant: Callable[[pytest.MonkeyPatch], None], explore: Callable[[], int], monkeypatch: pytest.MonkeyPatch
) -> None:
    variant(monkeypatch)
    with pytest.raises((Broken, NotFound)) as caught:
        explore()
    print(f"{variant.__name__}: {caught.value}")

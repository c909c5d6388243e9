"""Ways to disturb a process of :mod:`store_world`, and explorations that place each of them everywhere."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from store_world import Broken, Objects, Oracle, Process, check_manifests_complete, recover, undisturbed_or_ended

from thunderhead.job.errors import StorageUnavailable
from thunderhead.store.executions import Commit, shard_of_key
from thunderhead.store.memory import Operation
from thunderhead.store.objects import NotFound, PreconditionFailed, Unavailable

Effect = Callable[[], Any]

# Operations of the next attempt before which a late write lands: all those of its opening, some of its save.
_LANDINGS = (0, 1, 2, 3, 4, 5, 6, 7, 8, 10, 12, 14)


class Crash(BaseException):
    """The process is gone: nothing that it would have done afterwards happens."""


@dataclass
class Recorder:
    """Carries out every operation and remembers each state that a crash can leave behind.

    Only writes change the store. Between two of them the process may still learn something (that a commit is safe),
    which makes the later oracle the stricter one, so one moment stands for all of them.
    """

    objects: Objects
    oracle: Oracle
    operations: list[Operation] = field(default_factory=list)
    moments: list[tuple[Objects, Oracle]] = field(default_factory=list)

    def __call__(self, operation: Operation, effect: Effect) -> Any:
        self.operations.append(operation)
        if operation.writes:
            self.remember()
        return effect()

    def remember(self) -> None:
        self.moments.append((dict(self.objects), self.oracle.copy()))


def record(objects: Objects, oracle: Oracle, attempt: int, saves: int) -> Recorder:
    """An undisturbed life over ``objects``, with every moment of it, the end included."""
    recorder = Recorder(objects, oracle)
    Process(objects, oracle, attempt, recorder).live(saves)
    recorder.remember()
    return recorder


@dataclass
class Fault:
    """No answer to the operation number ``index``.

    ``lost``: it took effect. ``refused``: it did not. ``late``: it does, ``delay`` operations later.
    """

    index: int
    kind: str
    delay: int = 0
    _count: int = 0
    late: Effect | None = None

    def __call__(self, operation: Operation, effect: Effect) -> Any:
        number, self._count = self._count, self._count + 1
        if self.late is not None and number >= self.index + self.delay:
            pending, self.late = self.late, None
            unseen(pending)
        if number != self.index:
            return effect()
        if self.kind == "lost":
            unseen(effect)
        if self.kind == "late":
            self.late = effect
        raise Unavailable(f"{operation} got no answer")


@dataclass
class Gap:
    """No answer to ``length`` operations from number ``start`` on; ``lost``: they took effect all the same."""

    start: int
    length: int
    lost: bool
    count: int = 0

    @property
    def over(self) -> bool:
        return self.count >= self.start + self.length

    def __call__(self, operation: Operation, effect: Effect) -> Any:
        number, self.count = self.count, self.count + 1
        if not self.start <= number < self.start + self.length:
            return effect()
        if self.lost:
            unseen(effect)
        raise Unavailable(f"{operation} got no answer")


@dataclass
class Landing:
    """Carries out a write of somebody else before the operation number ``index``."""

    index: int
    effect: Effect
    _count: int = 0

    def __call__(self, operation: Operation, effect: Effect) -> Any:
        if self._count == self.index:
            unseen(self.effect)
        self._count += 1
        return effect()


def unseen(effect: Effect) -> None:
    """The server carries a request out, and nobody learns its answer."""
    try:
        effect()
    except (PreconditionFailed, NotFound):
        return


class Actor:
    """A process in a thread of its own that performs as many operations as it is told to, then stands still."""

    def __init__(self, action: Callable[[Actor], object]) -> None:
        self.finished = False
        self.error: BaseException | None = None
        self._budget = 0.0
        self._killed = False
        self._go = threading.Semaphore(0)
        self._still = threading.Semaphore(0)
        self._thread = threading.Thread(target=self._run, args=(action,), daemon=True)
        self._thread.start()

    def __call__(self, operation: Operation, effect: Effect) -> Any:
        if self._budget <= 0:
            self._still.release()
            self._go.acquire()
        if self._killed:
            raise Crash
        self._budget -= 1
        return effect()

    def advance(self, operations: float = float("inf")) -> None:
        """Perform up to ``operations`` more; returns once they are done."""
        if not self.finished and operations > 0:
            self._budget = operations
            self._go.release()
            self._still.acquire()
        if self.error is not None:
            raise self.error

    def kill(self) -> None:
        """End it where it stands."""
        if not self.finished:
            self._killed = True
            self._go.release()
        self._thread.join()

    def _run(self, action: Callable[[Actor], object]) -> None:
        self._go.acquire()
        try:
            if not self._killed:
                action(self)
        except Crash:
            pass
        except BaseException as error:  # noqa: BLE001 - handed to the thread that advances this actor
            self.error = error
        self.finished = True
        self._still.release()


def explore_crashes(saves: Sequence[int], one_in: int = 1) -> int:
    """Crash attempt 1 at every point, attempt 2 at every point after that, and so on; recover from each state.

    Args:
        saves: how many times each attempt saves, one number for each attempt that crashes.
        one_in: of the points of the last attempt, one in so many.
    """
    states = 0
    pending: list[tuple[Objects, Oracle, int]] = [({}, Oracle(), 1)]
    while pending:
        objects, oracle, attempt = pending.pop()
        if attempt > 1:
            check_manifests_complete(objects)
            recover(dict(objects), oracle, attempt)
            states += 1
        if attempt <= len(saves):
            moments = record(objects, oracle, attempt, saves[attempt - 1]).moments
            if attempt == len(saves):
                moments = moments[states % one_in :: one_in]
            pending += [(found, truth, attempt + 1) for found, truth in moments]
    return states


def explore_replies(one_in: int = 1) -> int:
    """Leave each operation of an attempt without an answer: lost, refused, or late by any time.

    One in ``one_in`` of the delays is tried, for each operation another.
    """
    states = 0
    for earlier_saves in (0, 2):
        objects: Objects = {}
        oracle = Oracle()
        if earlier_saves:
            Process(objects, oracle, 1).live(earlier_saves)
        operations = record(dict(objects), oracle.copy(), 2, saves=4).operations
        for index, operation in enumerate(operations):
            writes = [("lost", 0), *(("late", delay) for delay in (1, 2, 4, 9, 1000))]
            faults = [("refused", 0), *(writes if operation.writes else ())]
            for kind, delay in faults[index % min(one_in, len(faults)) :: one_in]:
                states += _explore_fault(dict(objects), oracle.copy(), Fault(index, kind, delay))
    return states


def _explore_fault(objects: Objects, oracle: Oracle, fault: Fault) -> int:
    process = Process(objects, oracle, 2, fault)
    undisturbed_or_ended(lambda: process.live(4), alone=True)
    if fault.late is None:
        recover(objects, oracle, attempt=3)
        return 1
    # Still on its way: it lands before the next attempt, or at any moment of it.
    for landing in _LANDINGS:
        process.store.objects = dict(objects)
        branch = oracle.copy()
        following = Process(process.store.objects, branch, 3, Landing(landing, fault.late))
        undisturbed_or_ended(lambda: following.live(1), alone=True)  # noqa: B023 - called at once
        recover(process.store.objects, branch, attempt=4)
    return len(_LANDINGS)


def explore_gaps(lengths: Sequence[int], *, patience_s: float, one_in: int = 1) -> int:
    """Let the store be away for a while, from every operation on: saves are skipped, and the process lives on.

    With ``patience_s`` opening outlasts it too, and so does the save that is made with it. One in ``one_in`` operations
    is where it begins, for each length another.
    """
    states = 0
    for length in lengths:
        for lost in (False, True):
            start = length % one_in
            while _explore_gap(Gap(start, length, lost), patience_s):
                states += 1
                start += one_in
    return states


def _explore_gap(gap: Gap, patience_s: float) -> bool:
    """Whether the gap began before the last save."""
    objects: Objects = {}
    oracle = Oracle()
    Process(objects, oracle, 1).live(2)
    process = Process(objects, oracle, 2, gap, patience_s=patience_s)
    try:
        process.open()
    except StorageUnavailable:
        if patience_s:
            raise
        recover(objects, oracle, attempt=3)
        return True
    for _ in range(3):
        was_over = gap.over
        skipped = process.save()
        if was_over and skipped:
            raise Broken(f"{gap} was over and {skipped}")
    if not patience_s and gap.count <= gap.start:
        return False
    while not gap.over and not patience_s:
        process.save()
    if process.save(patience_s):
        raise Broken(f"{gap}: the last save was skipped")
    if oracle.acknowledged[-1] != process.at:
        raise Broken(f"{gap}: {oracle.acknowledged} ends before {process.at}")
    recover(objects, oracle, attempt=3)
    return gap.count > gap.start


def explore_zombies(*, saves: int, keep: int, with_third: bool, one_in: int = 1) -> int:
    """Freeze attempt 1 anywhere, attempt 2 anywhere, let 1 run on to its end, then 2; recover before and after.

    With a third attempt, it opens and saves while both stand still, and both wake up after it. Of the pairs of places,
    one in ``one_in`` is tried, each place in some pair.
    """
    states = 0
    first = 0
    while True:
        second = first % one_in
        while True:
            ended = _explore_schedule(first, second, saves=saves, keep=keep, with_third=with_third)
            states += 1
            if ended[1]:
                break
            second += one_in
        if ended[0]:
            return states
        first += 1


def _explore_schedule(first: int, second: int, *, saves: int, keep: int, with_third: bool) -> tuple[bool, bool]:
    objects: Objects = {}
    oracle = Oracle()

    def life(attempt: int) -> Callable[[Actor], object]:
        return lambda actor: undisturbed_or_ended(
            lambda: Process(objects, oracle, attempt, actor, keep).live(saves), alone=False
        )

    older, newer = Actor(life(1)), Actor(life(2))
    try:
        older.advance(first)
        newer.advance(second)
        ended = (older.finished, newer.finished)
        if with_third:
            third = Process(objects, oracle, 3, keep=keep)
            third.live(1)
        older.advance()
        if not newer.finished:
            recover(dict(objects), oracle, attempt=4)
        newer.advance()
        recover(objects, oracle, attempt=4)
    finally:
        older.kill()
        newer.kill()
    return ended


def explore_damage(damages: Callable[[str, bytes], Iterable[bytes | None]]) -> int:
    """Damage one object at a time, in every way that ``damages`` yields for its key and body, and recover.

    ``None`` removes the object. The newest commit that is still whole must come back, exactly; without one the job must
    refuse to start over.
    """
    objects: Objects = {}
    oracle = Oracle()
    Process(objects, oracle, 1, keep=3).live(3)
    Process(objects, oracle, 2, keep=3).live(2)
    states = 0
    for key, body in objects.items():
        for damaged in damages(key, body):
            branch = {**objects, key: damaged} if damaged is not None else {k: objects[k] for k in objects if k != key}
            # What comes afterwards is the same for every flip of one object, so it is tried for the others.
            _recover_from_damage(branch, oracle.copy(), key, go_on=damaged is None or len(damaged) < len(body))
            states += 1
    return states


def _recover_from_damage(objects: Objects, oracle: Oracle, damaged: str, *, go_on: bool) -> None:
    lost = Commit.of_key(damaged) or shard_of_key(damaged)
    expected = next(commit for commit in reversed(oracle.acknowledged) if commit != lost)
    process = Process(objects, oracle, 3, keep=3)
    found = process.open()
    if found != expected:
        raise Broken(f"{damaged} is damaged and {found} was restored, expected {expected}")
    if not go_on:
        return
    process.save()
    if Process(objects, oracle, 4, keep=3).open() != process.at:
        raise Broken(f"{damaged} was damaged, and what was saved afterwards did not come back")

"""What watches over a run from outside of the loop: who may stop it, and when all ranks do so together."""

from __future__ import annotations

import itertools
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from thunderhead.core.ending import SIGTERMException, Stop
from thunderhead.core.position import Position
from thunderhead.job.link import Ask, StopControl
from thunderhead.job.stop import boundary_tick, evaluation_tick, over_process_group_store
from thunderhead.ranks import Ranks

_fits = itertools.count()


class Control:
    """The agreement of several ranks on stopping, outside of a job; a job's control does more.

    The loop calls these methods at the moments that they name. Between optimizer steps a rank may stop; what the ranks
    agree on is found out beside the training thread, so per step this is one comparison.

    Args:
        stop: what this rank wants, and what all agreed on.
        ranks: all of them.
        may_end: whether the run's minimum is met, so that ``should_stop`` counts.
        agreement: how they come to one.

    Attributes:
        finishing: all ranks know that training is to end early; ``should_stop`` is what a single one wants.
    """

    def __init__(self, stop: Stop, ranks: Ranks, may_end: Callable[[], bool], agreement: StopControl) -> None:
        self._wanted, self._ranks, self._may_end = stop, ranks, may_end
        self._stop = agreement
        self._asked: set[Ask] = set()
        self._agreed: set[Ask] = set()
        self._may_stop = False
        self.finishing = False

    def begin(self, position: Position) -> None:
        """Everything is restored and loaded; training begins."""

    def epoch(self, position: Position) -> None:
        """An epoch begins, or goes on."""

    def before_step(self, position: Position) -> None:
        """At a boundary between optimizer steps: may this rank go on?"""
        tick = boundary_tick(position.step)
        stop = self._stop
        if self._wanted.asked and not self.finishing:
            self._ask_to_finish(tick, position)
        # Strictly before the limit is read: who sets a limit reads this afterwards (see thunderhead.job.stop).
        stop.running = tick + 1
        if tick >= stop.limit:
            self._resolve(tick, position)

    def after_step(self, position: Position, before: int) -> None:
        """A batch is done; ``before`` is the optimizer step it began with."""

    def before_validation(self, position: Position, *, boundary: bool) -> None:
        """Validation follows; ``boundary`` unless gradients are being accumulated, which no checkpoint holds."""
        self._may_stop = boundary

    def in_evaluation(self, position: Position, loader: int, batch: int | None) -> None:
        """Before each evaluation batch, and before the collectives that end a loader (None): may this rank go on?"""
        if not self._may_stop:
            return
        tick = evaluation_tick(position.step, loader, batch)
        self._stop.running = tick + 1
        if tick >= self._stop.limit:
            self._resolve(tick, position)

    def after_validation(self) -> None:
        """Validation is over."""
        self._may_stop = False

    def between_epochs(self) -> None:
        """What one rank wants by now is what all do: one small reduction over the hosts."""
        if self._ranks.world_size > 1 and not self._ranks.all_of(not self._wanted.asked):
            self.finish_together()

    def finish_together(self) -> None:
        """All ranks know here that training ends early."""
        self._wanted.asked = self.finishing = True

    def after_training(self) -> None:
        """There is no further step at which an agreement on SIGTERM could be carried out.

        Raises:
            SIGTERMException: a rank got it; on all ranks.
        """
        if self._ranks.world_size > 1 and not self._ranks.all_of(not self._wanted.sigterm):
            self._wanted.by_sigterm = True
            raise SIGTERMException

    def finish(self, position: Position) -> None:
        """Training is complete."""

    def note(self, text: str) -> None:
        """Something that whoever looks at the run should know; without a job nobody but the log's reader does."""

    def close(self) -> None:
        """The run is over, however it ended."""
        closing = getattr(self._stop, "close", None)
        if closing is not None:
            closing()

    def request(self, ask: Ask) -> None:
        """Ask all ranks for something after one step."""
        self._stop.request(ask)

    def clock_says(self, ask: Ask, is_up: bool) -> bool:
        """Whether something due by the clock is to be done now: rank 0's clock counts, and all ranks do it together."""
        if ask in self._agreed:
            self._agreed.remove(ask)
            self._asked.discard(ask)
            return True
        if is_up and self._ranks.is_global_zero and ask not in self._asked:
            self._asked.add(ask)
            self._stop.request(ask)
        return False

    def _ask_to_finish(self, tick: int, position: Position) -> None:
        """``should_stop`` was set here: stand until all ranks know.

        ``running`` is not past this tick yet. Where all ranks set it at this very step they all stand here, and end
        here; one that did not is in the next step, waiting for our gradients, and all end after that one.
        """
        if Ask.FINISH in self._asked or self._ranks.world_size == 1 or not self._may_end():
            return
        self._asked.add(Ask.FINISH)
        self._stop.request(Ask.FINISH)
        while not self.finishing:
            agreed = self._stop.resolve(tick)
            if agreed is None:
                return
            self._act(agreed, position)

    def _resolve(self, tick: int, position: Position) -> None:
        agreed = self._stop.resolve(tick)
        if agreed is not None:
            self._act(agreed, position)

    def _act(self, agreed: Ask, position: Position) -> None:
        if agreed is Ask.FINISH:
            self.finish_together()
        elif agreed is Ask.STOP:
            self._wanted.by_sigterm = True
            raise SIGTERMException
        else:
            self._agreed.add(agreed)


def control_of_ranks(stop: Stop, ranks: Ranks, may_end: Callable[[], bool]) -> Control | None:
    """Control of a fit outside of a job: none for a single process, which stops by itself."""
    if ranks.world_size == 1:
        return None
    # Counted over all fits of this process: what an earlier one agreed on is still in the store.
    agreement = over_process_group_store(f"thunderhead/fit-{next(_fits)}", asked=lambda: stop.sigterm)
    return Control(stop, ranks, may_end, agreement.start())


@contextmanager
def sigterm_stops(stop: Stop, *, in_job: bool) -> Iterator[None]:
    """SIGTERM ends the run after the optimizer step that is being made, on every rank; then the old handler is back.

    The handler itself only takes a note: it may interrupt anything. In a job the agent handles signals, and threads
    other than the main one cannot.
    """
    if in_job or threading.current_thread() is not threading.main_thread():
        yield
        return

    def note(number: int, frame: FrameType | None) -> None:
        stop.sigterm = True
        if callable(before):
            before(number, frame)

    before: Callable[[int, FrameType | None], object] | int | None = signal.signal(signal.SIGTERM, note)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before if before is not None else signal.SIG_DFL)

"""Short pairs: blocks of a framework's steps and of a raw loop's, in turn, inside one run of the framework.

The loader that the framework reads is the stopwatch. It hands out one block of batches, and before it hands out
the next it trains as many batches itself, without the framework; every other pair the other way round. Both halves of a
pair are milliseconds apart in one process, so what disturbs the machine meets both, and the difference or ratio of a
pair is steady where the times are not. Start-up, warm-up and the end of the run are outside of every block.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

T = TypeVar("T")
WARM_UP = 100


@dataclass(slots=True)
class Pairs:
    """Seconds per step of each block.

    Attributes:
        framework, raw: of the two halves of each pair.
    """

    framework: list[float] = field(default_factory=list)
    raw: list[float] = field(default_factory=list)

    def added_us(self) -> list[float]:
        """What the framework adds to a step, microseconds, for each pair."""
        return [(f - r) * 1e6 for f, r in zip(self.framework, self.raw, strict=True)]

    def ratios(self) -> list[float]:
        """How many times as long the framework's steps took, for each pair."""
        return [f / r for f, r in zip(self.framework, self.raw, strict=True)]

    def extend(self, other: Pairs) -> None:
        """Take the pairs of another run in."""
        self.framework += other.framework
        self.raw += other.raw


class PairedBatches:
    """A sized loader that measures whoever reads it.

    Args:
        items: different batches, used in turn.
        raw: trains on some batches without a framework.
        steps: in a block; a multiple of the interval at which records are written, so that every block has its share.
        pairs: how many.
        warm_up: batches before the first pair.
        clock: seconds; the CPU time of the process, unless the work is done elsewhere.
    """

    def __init__(
        self,
        items: Sequence[T],
        raw: Callable[[Sequence[T]], None],
        *,
        steps: int,
        pairs: int,
        warm_up: int = WARM_UP,
        clock: Callable[[], float] = time.process_time,
    ) -> None:
        self._block = [items[i % len(items)] for i in range(steps)]
        self._before = [items[i % len(items)] for i in range(warm_up)]
        self._raw = raw
        self._pairs = pairs
        self._clock = clock
        self.measured = Pairs()

    def __len__(self) -> int:
        # One more at the end: the last block is over when the batch after it is asked for.
        return len(self._before) + self._pairs * len(self._block) + 1

    def __iter__(self) -> Iterator[Any]:
        yield from self._before
        self._raw(self._before)
        for number in range(self._pairs):
            if number % 2:
                self._time_raw()
            began = self._clock()
            yield from self._block
            self.measured.framework.append((self._clock() - began) / len(self._block))
            if number % 2 == 0:
                self._time_raw()
        yield self._block[0]

    def _time_raw(self) -> None:
        began = self._clock()
        self._raw(self._block)
        self.measured.raw.append((self._clock() - began) / len(self._block))

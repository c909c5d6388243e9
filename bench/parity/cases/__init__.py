"""The matrix: pairwise rather than the full product."""

from __future__ import annotations

from bench.parity.cases.callbacks import CALLBACKS, RESUMING
from bench.parity.cases.data import DATA
from bench.parity.cases.logging import LOGGING
from bench.parity.cases.loop import LOOP
from bench.parity.cases.measuring import MEASURING
from bench.parity.cases.more_callbacks import MORE_CALLBACKS
from bench.parity.cases.optimisation import OPTIMISATION
from bench.parity.cases.ranks import TWO_RANKS
from bench.parity.cases.ranks_options import RANKS_OPTIONS
from bench.parity.scenario import Case

CASES: tuple[Case, ...] = (
    *LOOP,
    *DATA,
    *OPTIMISATION,
    *LOGGING,
    *CALLBACKS,
    *MORE_CALLBACKS,
    *MEASURING,
    *RESUMING,
    *TWO_RANKS,
    *RANKS_OPTIONS,
)

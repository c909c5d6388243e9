"""The table of hooks and the base of callbacks name the same moments: a hook in one alone would never be called."""

from __future__ import annotations

import thunderhead as th
from thunderhead.hooks.table import CALLBACK_HOOKS

NO_HOOKS = {"state_key", "state_dict", "load_state_dict", "inactive_hooks", "acts_last", "acts_last_in_batches"}


def test_every_hook_of_a_callback_has_its_slot() -> None:
    named = {name for name in vars(th.Callback) if not name.startswith("_")} - NO_HOOKS
    assert sorted(CALLBACK_HOOKS) == sorted(named)

"""What brings a batch to the device of a run."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, Final

from thunderhead.hooks.overriding import base_of, is_overridden
from thunderhead.precision import Precision
from thunderhead.run.run import Run
from thunderhead.warning import warn_once

_HOOKS: Final = ("on_before_batch_transfer", "transfer_batch_to_device", "on_after_batch_transfer")
Transfer = Callable[[Any, int], Any]


def transfer_of(run: Run) -> Transfer | None:
    """Called with a batch and the index of its loader; None where nothing has to be done."""
    module, datamodule = run.module, run.datamodule
    owners: dict[str, Any] = {}
    for name in _HOOKS:
        of_module, of_datamodule = is_overridden(name, module), is_overridden(name, datamodule)
        if of_module and of_datamodule:
            warn_once(f"{name} is overridden in the module and in the datamodule; the datamodule's is used")
        owners[name] = datamodule if of_datamodule else module if of_module else None
    converts = type(run.precision).convert_input is not Precision.convert_input
    device = run.strategy.root_device
    if not any(owner is not None for owner in owners.values()) and not converts and device.type == "cpu":
        return None
    owned = [(name, module if owners[name] is None else owners[name]) for name in _HOOKS]
    before, move, after = (run.timed(run.action_of(owner, name), _hook(owner, name)) for name, owner in owned)
    enter, convert = run.sink.enter, run.precision.convert_input

    def transfer(batch: object, dataloader_idx: int) -> object:
        enter("on_before_batch_transfer")
        batch = before(convert(batch) if converts else batch, dataloader_idx)
        enter("transfer_batch_to_device")
        batch = move(batch, device, dataloader_idx)
        enter("on_after_batch_transfer")
        return after(batch, dataloader_idx)

    return transfer


def _hook(owner: object, name: str) -> Callable[..., Any]:
    """The owner's, or the base's where it was set to None."""
    found: Callable[..., Any] | None = getattr(owner, name)
    return partial(getattr(base_of(type(owner)), name), owner) if found is None else found

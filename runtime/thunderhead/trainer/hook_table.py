"""Which hooks exist in this run, in the order in which they are called.

Looked up once per stage: a slot is a flat list of functions that take the hook's own arguments. A hook that nobody
overrides is an empty list, and the loop passes it by.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from thunderhead.callbacks.callback import Callback, Checkpoint
from thunderhead.core.datamodule import LightningDataModule
from thunderhead.core.hooks import CheckpointHooks, DataHooks
from thunderhead.core.module import LightningModule

if TYPE_CHECKING:
    from thunderhead.trainer.trainer import Trainer

_CALLBACK_HOOKS: Final = tuple(
    name
    for name in vars(Callback)
    if not name.startswith("_") and name not in ("state_key", "state_dict", "load_state_dict", "inactive_hooks")
)
MONITORS: Final = "on_train_epoch_end.monitors"
UNRECORDED: Final = "on_train_batch_start.unrecorded"


def is_overridden(name: str, instance: Any, base: type | None = None) -> bool:
    """Whether ``instance`` (or its class) has a hook ``name`` of its own, rather than that of ``base``."""
    if instance is None:
        return False
    if name in getattr(instance, "__dict__", {}):
        return True
    base = base or _base_of(instance)
    own = getattr(type(instance), name, None)
    return own is not None and own is not getattr(base, name, None)


def _base_of(instance: Any) -> type:
    if isinstance(instance, LightningModule):
        return LightningModule
    if isinstance(instance, LightningDataModule):
        return LightningDataModule
    return Callback


class HookTable:
    """Flat lists of hooks, by name.

    The lists stay the same objects when they are resolved again, so a loop may hold on to them.
    """

    def __init__(self, trainer: Trainer) -> None:
        self._trainer = trainer
        self._slots: dict[str, list[Callable[..., Any]]] = {
            name: [] for name in (*_CALLBACK_HOOKS, MONITORS, UNRECORDED)
        }
        self._resolved: tuple[Any, ...] = ()

    def __getitem__(self, name: str) -> list[Callable[..., Any]]:
        return self._slots[name]

    def resolve(self) -> None:
        """Look at callbacks and module again, unless nothing changed since the last time."""
        present = (*self._trainer.callbacks, self._trainer.lightning_module)
        if len(present) == len(self._resolved) and all(a is b for a, b in zip(present, self._resolved, strict=True)):
            return
        self._resolved = present
        for name, slot in self._slots.items():
            slot[:] = self._functions(name)

    def _functions(self, name: str) -> list[Callable[..., Any]]:
        trainer, module = self._trainer, self._trainer.lightning_module
        callbacks = list(trainer.callbacks)
        if name == MONITORS:
            return self._of_callbacks("on_train_epoch_end", [c for c in callbacks if is_monitor(c)])
        if name == "on_train_epoch_end":
            callbacks = [callback for callback in callbacks if not is_monitor(callback)]
        if name == UNRECORDED:
            name, callbacks = "on_train_batch_start", [c for c in callbacks if not waits_for_records(c)]
        functions = self._of_callbacks(name, callbacks)
        if name in _MODULE_HOOKS and is_overridden(name, module):
            functions.append(getattr(module, name))
        return functions

    def _of_callbacks(self, name: str, callbacks: list[Callback]) -> list[Callable[..., Any]]:
        trainer, module = self._trainer, self._trainer.lightning_module
        return [
            partial(getattr(c, name), trainer, module)
            for c in callbacks
            if name not in c.inactive_hooks and is_overridden(name, c)
        ]

    def call_monitors(self) -> None:
        """The end of an epoch, for callbacks that watch a metric."""
        self._trainer._sink.enter("on_train_epoch_end")
        for function in self._slots[MONITORS]:
            function()

    def call(self, name: str, *args: Any) -> Any:
        """Call every function of a slot; the last one's result."""
        slot = self._slots[name]
        return self.run(slot, name, *args) if slot else None

    def run(self, slot: list[Callable[..., Any]], name: str, *args: Any) -> Any:
        """Call these functions as hook ``name``; the last one's result."""
        sink = self._trainer._sink
        before = sink.hook, sink.entries
        sink.enter(name)
        result = None
        for function in slot:
            result = function(*args)
        sink.hook, sink.entries = before
        return result

    @contextmanager
    def inside(self, name: str) -> Iterator[None]:
        """What is called in here is hook ``name``, which decides on what ``self.log`` may do there."""
        sink = self._trainer._sink
        before = sink.hook, sink.entries
        sink.enter(name)
        try:
            yield
        finally:
            sink.hook, sink.entries = before

    def call_module(self, name: str, *args: Any) -> Any:
        """Call the module's own hook, whatever callbacks do."""
        with self.inside(name):
            return getattr(self._trainer.lightning_module, name)(*args)


# Hooks that callbacks and modules share by name and arguments; the others mean something else in a module.
_MODULE_HOOKS: Final = tuple(
    name
    for name in _CALLBACK_HOOKS
    if hasattr(LightningModule, name)
    and name not in vars(DataHooks)
    and name not in vars(CheckpointHooks)
    and name not in ("setup", "teardown")
)


def is_monitor(callback: Callback) -> bool:
    """Callbacks that watch a metric run after the module's own hook at the end of an epoch."""
    from thunderhead.callbacks.early_stopping import EarlyStopping

    return isinstance(callback, (Checkpoint, EarlyStopping))


def waits_for_records(callback: Callback) -> bool:
    """Callbacks that do nothing at the start of a batch whose step is not recorded, so that they need not be called."""
    from thunderhead.callbacks.lr_monitor import LearningRateMonitor

    # A subclass with a hook of its own, or one set on the object, is called at every batch like any other.
    hook = getattr(callback.on_train_batch_start, "__func__", None)
    return hook is LearningRateMonitor.on_train_batch_start

"""Which hooks exist in this run, in the order in which they are called.

Looked up once per stage: a slot is a flat list of functions that take the hook's own arguments. A hook that nobody
overrides is an empty list, and the loop passes it by.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from operator import length_hint
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
_MODULE: Final = "module"
Function = Callable[..., Any]


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


class Slot(list[Function]):
    """The functions of one hook, in the order in which they are called.

    Attributes:
        owners: whose they are: a callback, or None for the module.
    """

    def __init__(self, found: Iterable[tuple[Callback | None, Function]] = ()) -> None:
        super().__init__()
        self.owners: list[Callback | None] = []
        self.fill(found)

    def fill(self, found: Iterable[tuple[Callback | None, Function]]) -> None:
        """Take these in the place of what was there."""
        pairs = list(found)
        self[:] = [function for _, function in pairs]
        self.owners = [owner for owner, _ in pairs]

    def names(self, begun: int = 0) -> tuple[str, ...]:
        """Whose functions follow after the first ``begun``, in words that a file keeps."""
        return tuple(_MODULE if owner is None else owner.state_key for owner in self.owners[begun:])

    def only(self, names: Iterable[str]) -> Slot:
        """The functions of these owners; of several with one name, those that are called last."""
        wanted = Counter(names)
        found = []
        for owner, function, name in zip(self.owners[::-1], self[::-1], self.names()[::-1], strict=True):
            if wanted[name]:
                wanted[name] -= 1
                found.append((owner, function))
        return Slot(found[::-1])


class HookTable:
    """Flat lists of hooks, by name.

    The lists stay the same objects when they are resolved again, so a loop may hold on to them.

    Attributes:
        running: the hook that runs now, innermost: its name, its functions, how far it has come, its arguments.
    """

    def __init__(self, trainer: Trainer) -> None:
        self._trainer = trainer
        self._slots = {name: Slot() for name in (*_CALLBACK_HOOKS, MONITORS, UNRECORDED)}
        self._resolved: tuple[Any, ...] = ()
        self.running: tuple[str, Slot, Iterator[Any], tuple[Any, ...]] | None = None

    def __getitem__(self, name: str) -> Slot:
        return self._slots[name]

    def left(self) -> tuple[str, tuple[str, ...]]:
        """The hook that runs now, and whose functions of it have not begun."""
        if self.running is None:
            return "", ()
        name, slot, to_come, _ = self.running
        return name, slot.names(len(slot) - length_hint(to_come))

    def resolve(self) -> None:
        """Look at callbacks and module again, unless nothing changed since the last time."""
        present = (*self._trainer.callbacks, self._trainer.lightning_module)
        if len(present) == len(self._resolved) and all(a is b for a, b in zip(present, self._resolved, strict=True)):
            return
        self._resolved = present
        for name, slot in self._slots.items():
            slot.fill(self._functions(name))

    def _functions(self, name: str) -> list[tuple[Callback | None, Function]]:
        trainer, module = self._trainer, self._trainer.lightning_module
        callbacks = list(trainer.callbacks)
        if name == MONITORS:
            return self._of_callbacks("on_train_epoch_end", [c for c in callbacks if is_monitor(c)])
        if name == "on_train_epoch_end":
            callbacks = [callback for callback in callbacks if not is_monitor(callback)]
        if name == UNRECORDED:
            name, callbacks = "on_train_batch_start", [c for c in callbacks if not waits_for_records(c)]
        # What a batch changed is complete once the module has had its say, so those that save come after it.
        last = [c for c in callbacks if isinstance(c, Checkpoint) and name == "on_train_batch_end"]
        functions = self._of_callbacks(name, [c for c in callbacks if not any(c is saving for saving in last)])
        if name in _MODULE_HOOKS and is_overridden(name, module):
            functions.append((None, getattr(module, name)))
        return functions + self._of_callbacks(name, last)

    def _of_callbacks(self, name: str, callbacks: Sequence[Callback]) -> list[tuple[Callback | None, Function]]:
        trainer, module = self._trainer, self._trainer.lightning_module
        return [
            (c, partial(getattr(c, name), trainer, module))
            for c in callbacks
            if name not in c.inactive_hooks and is_overridden(name, c)
        ]

    def call(self, name: str, *args: Any) -> Any:
        """Call every function of a slot; the last one's result."""
        slot = self._slots[name]
        return self.run(slot, name, *args) if slot else None

    def run(self, slot: Slot, name: str, *args: Any) -> Any:
        """Call these functions as hook ``name``; the last one's result."""
        sink = self._trainer._sink
        before, outer = (sink.hook, sink.entries), self.running
        sink.enter(name)
        result = None
        # Whoever writes a file in there asks how far this has come. After an exception it stays, for who saves then.
        to_come = iter(slot)
        self.running = (name, slot, to_come, args)
        for function in to_come:
            result = function(*args)
        self.running = outer
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

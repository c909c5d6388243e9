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
from typing import Any, Final, TypeVar

from torch import nn

from thunderhead.core.hooks import CallbackLike, ModuleHooks
from thunderhead.hooks.overriding import is_called
from thunderhead.profilers.profiler import Profiler
from thunderhead.profilers.timed import timed
from thunderhead.results.sink import Sink

# Hooks that callbacks and modules share by name and arguments, and those that mean something else in a module.
SHARED_HOOKS: Final = tuple(name for name in vars(ModuleHooks) if name.startswith("on_") and "_model_" not in name)
CALLBACK_HOOKS: Final = (
    *SHARED_HOOKS,
    "setup",
    "teardown",
    "on_sanity_check_start",
    "on_sanity_check_end",
    "on_exception",
    "on_save_checkpoint",
    "on_load_checkpoint",
)
MONITORS: Final = "on_train_epoch_end.monitors"
UNRECORDED: Final = "on_train_batch_start.unrecorded"
_MODULE: Final = "module"
Function = Callable[..., Any]
_Hook = TypeVar("_Hook", bound=Function)


class Slot(list[Function]):
    """The functions of one hook, in the order in which they are called.

    Attributes:
        owners: whose they are: a callback, or None for the module.
    """

    def __init__(self, found: Iterable[tuple[CallbackLike | None, Function]] = ()) -> None:
        super().__init__()
        self.owners: list[CallbackLike | None] = []
        self.fill(found)

    def fill(self, found: Iterable[tuple[CallbackLike | None, Function]]) -> None:
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

    Args:
        caller: what callbacks get as their first argument: the Trainer.
        callbacks: in their order; the list may change until it is resolved again.
        module: whose own hooks these are, too.
        sink: which hook runs now decides on what may be logged.
        profiler: measures each function; None for nothing.

    Attributes:
        callbacks: whose hooks are looked up the next time.
        running: the hook that runs now, innermost: its name, its functions, how far it has come, its arguments.
    """

    def __init__(
        self,
        caller: object,
        callbacks: Sequence[CallbackLike],
        module: nn.Module,
        sink: Sink,
        profiler: Profiler | None = None,
    ) -> None:
        self._caller, self._module, self._sink, self._profiler = caller, module, sink, profiler
        self.callbacks = callbacks
        self._slots = {name: Slot() for name in (*CALLBACK_HOOKS, MONITORS, UNRECORDED)}
        self._resolved: tuple[object, ...] = ()
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
        present: tuple[object, ...] = (*self.callbacks, self._module)
        if len(present) == len(self._resolved) and all(a is b for a, b in zip(present, self._resolved, strict=True)):
            return
        self._resolved = present
        for name, slot in self._slots.items():
            slot.fill(self._functions(name))

    def _functions(self, name: str) -> list[tuple[CallbackLike | None, Function]]:
        module, callbacks = self._module, list(self.callbacks)
        if name == MONITORS:
            return self._of_callbacks("on_train_epoch_end", [c for c in callbacks if c.acts_last])
        if name == "on_train_epoch_end":
            callbacks = [callback for callback in callbacks if not callback.acts_last]
        if name == UNRECORDED:
            name, callbacks = "on_train_batch_start", [c for c in callbacks if not _waits_for_records(c)]
        # What a batch changed is complete once the module has had its say, so those that save come after it.
        last = [c for c in callbacks if c.acts_last_in_batches and name == "on_train_batch_end"]
        functions = self._of_callbacks(name, [c for c in callbacks if not any(c is saving for saving in last)])
        if name in SHARED_HOOKS and is_called(name, module):
            functions.append((None, self._of_module(name)))
        return functions + self._of_callbacks(name, last)

    def _of_callbacks(self, name: str, callbacks: Sequence[CallbackLike]) -> list[tuple[CallbackLike | None, Function]]:
        return [
            (c, self._timed(f"[Callback]{c.state_key}.{name}", partial(getattr(c, name), self._caller, self._module)))
            for c in callbacks
            if name not in c.inactive_hooks and is_called(name, c)
        ]

    def _of_module(self, name: str) -> Function:
        return self._timed(f"[LightningModule]{type(self._module).__name__}.{name}", getattr(self._module, name))

    def _timed(self, action: str, function: Function) -> Function:
        return timed(self._profiler, action, function)

    def call(self, name: str, *args: object) -> object:
        """Call every function of a slot; the last one's result."""
        slot = self._slots[name]
        return self.run(slot, name, *args) if slot else None

    def run(self, slot: Slot, name: str, *args: object) -> object:
        """Call these functions as hook ``name``; the last one's result."""
        sink = self._sink
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
        sink = self._sink
        before = sink.hook, sink.entries
        sink.enter(name)
        try:
            yield
        finally:
            sink.hook, sink.entries = before

    def call_module(self, name: str, *args: object) -> Any:
        """Call the module's own hook, whatever callbacks do."""
        with self.inside(name):
            if getattr(self._module, name) is None:
                return None  # set to None it is none
            return self._of_module(name)(*args)


def only_when_recorded(hook: _Hook) -> _Hook:
    """Mark a callback's ``on_train_batch_start`` that does nothing where the batch's step is not recorded.

    It is then called at those batches only whose step values the loggers are to get. A subclass that overrides it has
    a hook of its own, which is called at every batch like any other.
    """
    hook.only_when_recorded = True  # type: ignore[attr-defined]  # a mark on the function itself
    return hook


def _waits_for_records(callback: CallbackLike) -> bool:
    hook = getattr(callback, "on_train_batch_start", None)
    return getattr(hook, "only_when_recorded", False)

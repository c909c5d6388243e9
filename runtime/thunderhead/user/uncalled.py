"""Methods that look like hooks and that nobody calls: misspelt, of another kind of object, or gone with Lightning 1."""

from __future__ import annotations

import difflib
import inspect
import re
from collections.abc import Collection, Iterator, Sequence
from types import CodeType, FunctionType
from typing import Final

from thunderhead.user.callback import Callback
from thunderhead.user.datamodule import LightningDataModule
from thunderhead.user.module import LightningModule
from thunderhead.warning import PossibleUserWarning, warn_once

_KINDS: Final = {LightningModule: "modules", Callback: "callbacks", LightningDataModule: "datamodules"}
_GONE: Final = {
    "on_epoch_start": "on_train_epoch_start",
    "on_epoch_end": "on_train_epoch_end",
    "on_batch_start": "on_train_batch_start",
    "on_batch_end": "on_train_batch_end",
    "on_keyboard_interrupt": "on_exception of a callback",
    "on_pretrain_routine_start": "on_fit_start",
    "on_pretrain_routine_end": "on_fit_start",
    "training_step_end": "training_step or on_train_batch_end",
    "validation_step_end": "validation_step or on_validation_batch_end",
    "test_step_end": "test_step or on_test_batch_end",
    "tbptt_split_batch": "training_step, which may split its batch itself",
}
_WORDS: Final = {
    "training": "train",
    "val": "validation",
    "valid": "validation",
    "testing": "test",
    "prediction": "predict",
    "begin": "start",
    "finish": "end",
    "step": "batch",
}
_DATA: Final = ("train_dataloader", "val_dataloader", "test_dataloader", "predict_dataloader", "prepare_data")
_STEPS: Final = ("training_step", "validation_step", "test_step", "predict_step")
_CONFIGURE: Final = ("configure_optimizers", "configure_callbacks", "configure_model")
# What users override and is not called on_...; a method that is spelt nearly so was meant to be it.
_OTHERS: Final = {
    LightningModule: (*_STEPS, *_CONFIGURE, *_DATA, "setup", "teardown"),
    Callback: ("setup", "teardown"),
    LightningDataModule: (*_DATA, "setup", "teardown"),
}
_CLOSE: Final = 0.9


def warn_of_uncalled(
    module: LightningModule, datamodule: LightningDataModule | None, callbacks: Sequence[Callback]
) -> None:
    """Warn once of each method of module, datamodule and callbacks that was meant to be called and is not."""
    for owner in (module, datamodule, *callbacks):
        if owner is not None:
            for message in uncalled(type(owner)):
                warn_once(message, PossibleUserWarning)


def uncalled(kind: type) -> Iterator[str]:
    """What to say of each method of ``kind`` that looks like a hook and is none.

    Strict: only methods of classes that derive from ours, and none that any of its classes names in its own code,
    mixins included.
    """
    bases = [base for base in _KINDS if issubclass(kind, base)]
    if not bases:
        return
    own = [cls for cls in kind.__mro__ if not cls.__module__.startswith(("thunderhead.", "torch."))]
    methods = {
        name: function
        for cls in own
        if issubclass(cls, tuple(bases))
        for name, function in vars(cls).items()
        if isinstance(function, FunctionType)
    }
    named = {name for cls in own for value in vars(cls).values() for name in _named(value)}
    for name in methods:
        if (
            name not in named
            and not any(hasattr(each, name) for each in bases)
            and (why := _why(name, bases[0], methods))
        ):
            yield f"{kind.__name__}.{name} is called by no loop{why}"


def _named(attribute: object) -> Iterator[str]:
    """Names and texts in the code of an attribute of a class, below decorators, in lambdas and comprehensions too."""
    if isinstance(attribute, property):
        functions: list[object] = [attribute.fget, attribute.fset, attribute.fdel]
    else:
        functions = [getattr(attribute, "__func__", attribute)]
    codes = [code for function in functions if (code := getattr(inspect.unwrap(function), "__code__", None))]  # type: ignore[arg-type]
    while codes:
        code = codes.pop()
        yield from code.co_names
        yield from (constant for constant in code.co_consts if isinstance(constant, str))
        codes += [constant for constant in code.co_consts if isinstance(constant, CodeType)]


def _why(name: str, base: type, present: Collection[str]) -> str:
    if name in _GONE:
        return f": it is gone since Lightning 2.0; use {_GONE[name]}"
    if not name.startswith("on_"):
        lacking = [other for other in _OTHERS[base] if other not in present]
        meant = None if any(map(name.startswith, lacking)) else _closest(name, lacking)
        return f". Did you mean {meant!r}?" if meant else ""
    others = [kind for cls, kind in _KINDS.items() if hasattr(cls, name)]
    if others:
        return f": it is a hook of {' and '.join(others)}, not of {_KINDS[base]}"
    hooks = [hook for hook in dir(base) if hook.startswith("on_")]
    meant = _meant(name, hooks)
    return f". Did you mean {meant!r}?" if meant else ""


def _meant(name: str, hooks: list[str]) -> str | None:
    """The hook that ``name`` is another spelling of; a name that goes on after a hook's is a helper of it."""
    plain = re.sub(r"[a-z]+", lambda word: _WORDS.get(word[0], word[0]), name)
    if plain in hooks:
        return plain
    if any(name.startswith(f"{hook}_") for hook in hooks):
        return None
    return _closest(name, hooks)


def _closest(name: str, known: list[str]) -> str | None:
    close = difflib.get_close_matches(name, known, n=1, cutoff=_CLOSE)
    return close[0] if close else None

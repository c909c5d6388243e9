"""``.ckpt`` files of Lightning before 2.0, in today's form.

==========  ===========================================================================================================
before      what was otherwise
==========  ===========================================================================================================
0.8         hyperparameters under ``hparams`` or ``module_arguments``
0.10        the state of ModelCheckpoint and EarlyStopping in keys of their own
1.5         no ``loops``; states of callbacks under their classes instead of their names
1.6         the gradient scaler under ``native_amp_scaling_state``, afterwards under ``…MixedPrecisionPlugin``
1.6.5       no ``_batches_that_stepped``: the loggers went by ``global_step``
1.9         ``save_on_train_epoch_end`` in the key of ModelCheckpoint's state
2.0         a scaler of apex; loops nested more deeply than what is read of them here
==========  ===========================================================================================================

``epoch`` and ``global_step`` of a file without ``loops`` are numbers of epochs and steps completed: Lightning added one
to both as it wrote.
"""

from __future__ import annotations

import re
from typing import Any, Final

from thunderhead.exceptions import MisconfigurationException
from thunderhead.warning import warn

_VERSION: Final = "pytorch-lightning_version"
_OLD_HPARAMS: Final = ("hparams", "module_arguments")
_OLD_CALLBACK_KEYS: Final = {
    "checkpoint_callback_best_model_score": ("ModelCheckpoint", "best_model_score"),
    "checkpoint_callback_best_model_path": ("ModelCheckpoint", "best_model_path"),
    "checkpoint_callback_best": ("ModelCheckpoint", "best_model_score"),
    "early_stop_callback_wait": ("EarlyStopping", "wait_count"),
    "early_stop_callback_patience": ("EarlyStopping", "patience"),
}
_OLD_SCALERS: Final = ("native_amp_scaling_state", "NativeMixedPrecisionPlugin", "MixedPrecisionPlugin")
_APEX: Final = "amp_scaling_state"
_DROPPED_ARGUMENT: Final = re.compile(r", 'save_on_train_epoch_end': (None|True|False)")
# Classes whose names old files hold; under weights_only=True they are let through, as keys and not to be called.
_OLD_CLASSES: Final = {
    "callbacks.model_checkpoint.ModelCheckpoint": "callbacks:ModelCheckpoint",
    "callbacks.early_stopping.EarlyStopping": "callbacks:EarlyStopping",
    "callbacks.timer.Timer": "callbacks:Timer",
    "utilities.parsing.AttributeDict": "core.hparams:AttributeDict",
}


def migrate(content: object, path: str) -> dict[str, Any]:
    """``content`` in today's form, changed in place; nothing to do for files of Lightning 2 and ours.

    Args:
        content: what was read.
        path: where, for messages.

    Raises:
        MisconfigurationException: it is no checkpoint of a Trainer.
    """
    if not isinstance(content, dict) or "state_dict" not in content:
        raise MisconfigurationException(
            f"{path!r} is no checkpoint of a Trainer: it has no state_dict; load bare weights with "
            "module.load_state_dict(torch.load(path))"
        )
    version = version_of(content)
    if version > (2,):
        if version >= (3,):
            warn(f"{path!r} was written by Lightning {content[_VERSION]}, which is newer than the format known here")
        return content
    for old in _OLD_HPARAMS:
        if old in content:
            content.setdefault("hyper_parameters", content[old])
    for old in _OLD_SCALERS:
        if old in content:
            content["MixedPrecision"] = content.pop(old)
    if _APEX in content:
        warn(f"{path!r} holds the scaler's state of apex, which is left out: precision='16-mixed' begins a new one")
        del content[_APEX]
    states = {_callback_key(key): state for key, state in (content.get("callbacks") or {}).items()}
    for old, (callback, name) in _OLD_CALLBACK_KEYS.items():
        if old in content:
            states.setdefault(callback, {})[name] = content.pop(old)
    if "callbacks" in content or states:
        content["callbacks"] = states
    return content


def version_of(content: dict[str, Any]) -> tuple[int, ...]:
    """The version of Lightning that wrote it; ``(0,)`` where it does not say."""
    return tuple(int(part) for part in re.findall(r"\d+", str(content.get(_VERSION, "0")))[:3]) or (0,)


def old_classes() -> list[Any]:
    """For ``torch.serialization.safe_globals``: our classes under the names in old files."""
    from importlib import import_module

    found = []
    for old, new in _OLD_CLASSES.items():
        module, _, name = new.partition(":")
        ours = getattr(import_module(f"thunderhead.{module}"), name)
        found += [(ours, f"{root}.{old}") for root in ("pytorch_lightning", "lightning.pytorch")]
    return found


def _callback_key(key: object) -> str:
    """Today's key, or where that cannot be known the class's bare name."""
    if not isinstance(key, str):
        return str(getattr(key, "__qualname__", key))
    return _DROPPED_ARGUMENT.sub("", key) if key.startswith("ModelCheckpoint") else key

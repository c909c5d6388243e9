"""What ``configure_optimizers`` asked for, kept in checkpoints beside what became of it.

A checkpoint's optimizers and schedulers bring their settings along: a learning rate edited before a resume would be in
the files and not in the training. Values alone cannot tell (schedulers move them), so what was made at the start is
kept, and compared with what is made now.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, TypeGuard

import torch
from torch import Tensor

if TYPE_CHECKING:
    from torch.optim import Optimizer

    from thunderhead.core.optimization import LRSchedulerConfig

Made = dict[str, Any]
_NOT_SETTINGS: Final = frozenset({"params", "param_names"})
_PROGRESS: Final = frozenset(
    {
        "last_epoch",
        "_step_count",
        "_last_lr",
        "_get_lr_called_within_step",
        "_is_initial",
        "num_bad_epochs",
        "cooldown_counter",
        "best",
        "T_cur",
    }
)
_STATE_OF: Final = {"amsgrad": "max_exp_avg_sq", "centered": "grad_avg", "momentum": "momentum_buffer"}
"""What torch's optimizers keep for a setting where it is on."""
_FOLLOW_LR: Final = ("initial_lr", "max_lr", "min_lr", "base_lrs")


def made(optimizers: Sequence[Optimizer], configs: Sequence[LRSchedulerConfig]) -> Made:
    """Settings as they are now: called before the first step and before anything is restored."""
    return {
        "optimizers": [
            {"class": type(optimizer).__name__, "groups": [_plain(group) for group in optimizer.param_groups]}
            for optimizer in optimizers
        ],
        "schedulers": [
            {"class": type(config.scheduler).__name__, "state": _plain(config.scheduler.state_dict())}
            for config in configs
        ],
    }


def differences(before: Made, now: Made) -> list[str]:
    """What ``now`` asks for that ``before`` did not: ``Adam lr: 0.01, now 0.003``."""
    lines = []
    for one, other in zip(before["optimizers"], now["optimizers"], strict=False):
        several = len(other["groups"]) > 1
        lines += _class_changed(one, other)
        for index, (old, new) in enumerate(zip(one["groups"], other["groups"], strict=False)):
            where = f"{other['class']} group {index}" if several else str(other["class"])
            found = dict(_changed("", old, new))
            lines += [f"{where} {_said(key, *values)}" for key, values in found.items() if not _follows(key, found)]
    told = bool(lines)
    for one, other in zip(before["schedulers"], now["schedulers"], strict=False):
        lines += _class_changed(one, other)
        found = dict(_changed("", one["state"], other["state"]))
        shown = {path: values for path, values in found.items() if not (told and path.startswith("base_lrs"))}
        lines += [f"{other['class']} {_said(path, *values)}" for path, values in shown.items()]
    return lines


def optimizer_with_settings(
    state: Mapping[str, Any], before: Mapping[str, Any], now: Mapping[str, Any]
) -> dict[str, Any]:
    """An optimizer's saved state with the settings of ``now`` in it; a learning rate keeps what schedulers made of it.

    Groups without a counterpart stay as they are: loading them is refused where that is told best.
    """
    groups = [dict(group) for group in state["param_groups"]]
    for group, old, new in zip(groups, before["groups"], now["groups"], strict=False):
        for key, (was, wanted) in _changed("", old, new):
            name = key.partition("[")[0]
            if name != key:
                group[name] = _as_before(group.get(name), new[name])
            elif wanted is not None or key in new:
                group[key] = _like(group.get(key), _carried(key, group.get(key), was, wanted))
    return {**state, "param_groups": groups}


def begin_new_state(optimizer: Optimizer) -> None:
    """Give torch's optimizers the state that a setting taken now needs and the run before had no use for, as theirs
    begins: with zeros. Else their next step would look for it in vain."""
    if not type(optimizer).__module__.startswith("torch.optim"):
        return
    for group in optimizer.param_groups:
        for name in (name for setting, name in _STATE_OF.items() if group.get(setting)):
            for parameter in group["params"]:
                state = optimizer.state.get(parameter)
                if state and name not in state:
                    state[name] = torch.zeros_like(parameter, memory_format=torch.preserve_format)


def with_settings(
    state: dict[str, Any], before: Mapping[str, Any], now: Mapping[str, Any], made: Mapping[str, Any]
) -> dict[str, Any]:
    """A scheduler's saved state with the settings of ``now`` in it, which are taken from ``made``, its state of now."""
    merged: dict[str, Any] = _merged(state, before["state"], now["state"], made)
    return merged


def _merged(state: object, old: object, new: object, made: Any) -> Any:
    if isinstance(new, Mapping) and _is_state(state) and _is_state(made):
        known = old if isinstance(old, Mapping) else {}
        return {
            key: _merged(value, known.get(key), new[key], made[key]) if key in new and key not in _PROGRESS else value
            for key, value in state.items()
        }
    if isinstance(state, list) and isinstance(new, list) and len(state) == len(new) and _holds_states(state):
        known_items = old if isinstance(old, list) and len(old) == len(new) else [None] * len(new)
        return [_merged(*items) for items in zip(state, known_items, new, made, strict=True)]
    return state if old == new else copy.deepcopy(made)


def _is_state(value: object) -> TypeGuard[dict[str, Any]]:
    """Not so: a setting that is a dict, such as milestones by their numbers."""
    return isinstance(value, dict) and all(isinstance(key, str) for key in value)


def _holds_states(values: Sequence[Any]) -> bool:
    return any(isinstance(value, dict) for value in values)


def _class_changed(one: Mapping[str, Any], other: Mapping[str, Any]) -> list[str]:
    return [] if one["class"] == other["class"] else [f"class {one['class']}, now {other['class']}"]


def _changed(path: str, old: object, new: object) -> Iterator[tuple[str, tuple[Any, Any]]]:
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        for key in (*new, *(key for key in old if key not in new)):
            if key not in _PROGRESS:
                yield from _changed(f"{path}.{key}" if path else str(key), old.get(key), new.get(key))
    elif isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        for index, (one, other) in enumerate(zip(old, new, strict=True)):
            yield from _changed(f"{path}[{index}]", one, other)
    elif old != new:
        yield path, (old, new)


def _follows(key: str, found: Mapping[str, Any]) -> bool:
    """Schedulers keep copies of the learning rate beside it."""
    return "lr" in found and key in _FOLLOW_LR


def _said(path: str, old: object, new: object) -> str:
    return f"{path}: {_number(old)}, now {_number(new)}"


def _number(value: object) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _is_number(value: object) -> TypeGuard[int | float]:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _carried(key: str, value: object, was: object, wanted: object) -> object:
    current = value.item() if isinstance(value, Tensor) and value.numel() == 1 else value
    if key != "lr" or not _is_number(was) or not _is_number(wanted):
        return wanted
    if not was or current == was or not isinstance(current, int | float):
        return wanted
    return current * (wanted / was)


def _like(value: object, wanted: object) -> object:
    """A learning rate that is a tensor becomes another one: captured graphs read it from there."""
    if isinstance(value, Tensor) and isinstance(wanted, int | float):
        return torch.full_like(value, wanted)
    return wanted


def _as_before(value: object, wanted: object) -> object:
    return tuple(wanted) if isinstance(value, tuple) and isinstance(wanted, list) else wanted


def _plain(value: object) -> object:
    """What of it is numbers, words and collections of them; the rest (functions, large tensors) is no setting here."""
    if isinstance(value, Tensor):
        return value.item() if value.numel() == 1 else None
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items() if key not in _NOT_SETTINGS}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value if isinstance(value, bool | int | float | str) else None

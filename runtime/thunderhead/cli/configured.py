"""Optimizers and schedulers of a command line, and the ``configure_optimizers`` that is made of them."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from types import MethodType
from typing import Any

from jsonargparse import Namespace

from thunderhead.cli.annotations import AUTOMATIC
from thunderhead.cli.parser import LightningArgumentParser
from thunderhead.compat.internal_arguments import instantiate_class
from thunderhead.exceptions import MisconfigurationException
from thunderhead.hooks.overriding import is_overridden
from thunderhead.user.module import LightningModule
from thunderhead.warning import warn


def link(parser: LightningArgumentParser) -> None:
    """Give those that name an argument to it, as a class path with arguments."""
    for key, (kind, target) in {**parser._optimizers, **parser._lr_schedulers}.items():
        if target == AUTOMATIC:
            continue
        if isinstance(kind, tuple):
            parser.link_arguments(key, target)
        else:
            parser.link_arguments(key, target, compute_fn=_Named(kind))


def link_targets(parser: LightningArgumentParser, key: str) -> list[str]:
    """Names below ``key`` that links fill in, which nobody may give besides."""
    below = [target.removeprefix(f"{key}.") for target in parser.link_targets if target.startswith(f"{key}.")]
    return [name.removeprefix("init_args.") for name in below]


class _Named:
    """Arguments of one class, said to be those of that class."""

    def __init__(self, kind: type) -> None:
        self._kind = kind

    def __call__(self, init_args: Namespace | Mapping[str, Any] | None) -> dict[str, Any]:
        arguments = init_args.as_dict() if isinstance(init_args, Namespace) else dict(init_args or {})
        return {"class_path": f"{self._kind.__module__}.{self._kind.__name__}", "init_args": arguments}


def configure(
    module: LightningModule,
    parser: LightningArgumentParser,
    read: Callable[[str], object],
    returned: Callable[[LightningModule, Any, Any], object],
) -> None:
    """Put a ``configure_optimizers`` on the module, where an optimizer was configured for it.

    They are made when the Trainer asks, so that parameters made in ``configure_model`` are among them.

    Args:
        module: gets it.
        parser: knows which keys are optimizers and schedulers.
        read: what was read under a key.
        returned: makes of optimizer and scheduler what it returns.

    Raises:
        MisconfigurationException: several, and nothing says what the second is for.
    """
    keys = [key for key, (_, target) in parser._optimizers.items() if target == AUTOMATIC]
    of_schedulers = [key for key, (_, target) in parser._lr_schedulers.items() if target == AUTOMATIC]
    if not keys:
        return
    if len(keys) > 1 or len(of_schedulers) > 1:
        raise MisconfigurationException(
            f"{[*keys, *of_schedulers]} are optimizers and schedulers without link_to, of which configure_optimizers "
            "can be made with one of each; pass link_to for them, and write configure_optimizers"
        )
    optimizer = _described(parser._optimizers[keys[0]][0], read(keys[0]))
    if optimizer is None:
        return
    scheduler = (
        _described(parser._lr_schedulers[of_schedulers[0]][0], read(of_schedulers[0])) if of_schedulers else None
    )
    if is_overridden("configure_optimizers", module):
        warn(
            f"{type(module).__name__}.configure_optimizers is replaced by --{keys[0]}; leave that out to have the "
            "module's own"
        )

    def configure_optimizers(self: LightningModule) -> object:
        made = instantiate_class((self.parameters(),), optimizer)
        return returned(self, made, None if scheduler is None else instantiate_class((made,), scheduler))

    module.configure_optimizers = MethodType(configure_optimizers, module)  # type: ignore[method-assign]


def _described(kind: object, read: object) -> dict[str, Any] | None:
    arguments = read.as_dict() if isinstance(read, Namespace) else read
    assert arguments is None or isinstance(arguments, Mapping), "what a parser has read"
    if isinstance(kind, type):
        return _Named(kind)(arguments)
    return None if arguments is None else dict(arguments)


def returned_by(kind: type | Callable[..., Any]) -> type:
    """The class of what a class or a function makes."""
    return kind if isinstance(kind, type) else inspect.signature(kind, eval_str=True).return_annotation

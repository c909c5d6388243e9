"""Pruning while a module is trained, by ``torch.nn.utils.prune``."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Final, cast

import torch
from torch import Tensor, nn
from torch.nn.utils import prune

from thunderhead.arguments import one_of, switch
from thunderhead.callbacks.pruning_targets import Target, module_paths, sanitized
from thunderhead.callbacks.spread import refuse_spread
from thunderhead.exceptions import MisconfigurationException
from thunderhead.user.callback import Callback
from thunderhead.warning import say

if TYPE_CHECKING:
    from thunderhead.trainer.trainer import Trainer
    from thunderhead.user.module import LightningModule

_FUNCTIONS: Final[Mapping[str, Callable[..., Any]]] = {
    "ln_structured": prune.ln_structured,
    "l1_unstructured": prune.l1_unstructured,
    "random_structured": prune.random_structured,
    "random_unstructured": prune.random_unstructured,
}
_METHODS: Final[Mapping[str, Any]] = {
    "ln_structured": prune.LnStructured,
    "l1_unstructured": prune.L1Unstructured,
    "random_structured": prune.RandomStructured,
    "random_unstructured": prune.RandomUnstructured,
}
Amount = int | float


class ModelPruning(Callback):
    """Prunes at the end of each epoch; masks hold until training ends, when they are applied for good.

    Checkpoints hold the weights as pruned. A run that is resumed has the masks, and what is under them.

    Args:
        pruning_fn: ``l1_unstructured``, ``random_unstructured``, ``ln_structured``, ``random_structured``, or a class
            derived from torch's ``BasePruningMethod``.
        parameters_to_prune: pairs of a module and the name of its parameter; by default all of ``parameter_names``.
        parameter_names: ``weight`` and ``bias``, or one of them.
        use_global_unstructured: compare over all parameters, rather than within each.
        amount: share of what is left, or number; or a function of the epoch that says it.
        apply_pruning: whether to prune; or a function of the epoch that says it.
        make_pruning_permanent: apply the masks for good when training ends, and in checkpoints.
        use_lottery_ticket_hypothesis: after pruning, give the rest the values it began with; or a function of the
            epoch that says whether to.
        resample_parameters: new random values in the place of those it began with.
        pruning_dim: along which to prune, for structured pruning.
        pruning_norm: the order of the norm, for ``ln_structured``.
        verbose: 1 says how much is pruned, 2 of which parameter.
        prune_on_train_epoch_end: prune when an epoch ends, rather than when a validation does.

    Raises:
        MisconfigurationException: an argument cannot mean anything.
    """

    PARAMETER_NAMES = ("weight", "bias")

    def __init__(
        self,
        pruning_fn: Callable[..., Any] | str,
        parameters_to_prune: Sequence[Target] = (),
        parameter_names: list[str] | None = None,
        use_global_unstructured: bool = True,
        amount: Amount | Callable[[int], Amount] = 0.5,
        apply_pruning: bool | Callable[[int], bool] = True,
        make_pruning_permanent: bool = True,
        use_lottery_ticket_hypothesis: bool | Callable[[int], bool] = True,
        resample_parameters: bool = False,
        pruning_dim: int | None = None,
        pruning_norm: int | None = None,
        verbose: int = 0,
        prune_on_train_epoch_end: bool = True,
    ) -> None:
        name = type(self).__name__
        self._parameter_names = tuple(parameter_names or self.PARAMETER_NAMES)
        for given in self._parameter_names:
            one_of(f"{name}: parameter_names", given, self.PARAMETER_NAMES)
        self._global = switch(f"{name}: use_global_unstructured", use_global_unstructured)
        options = {"dim": pruning_dim, "n": pruning_norm}
        self.pruning_fn, self._kwargs = _chosen(name, pruning_fn, options, over_all=self._global)
        self._parameters_to_prune = parameters_to_prune
        self.amount = _checked_amount(name, amount)
        self._apply_pruning = _switch_by_epoch(f"{name}: apply_pruning", apply_pruning)
        self._make_pruning_permanent = switch(f"{name}: make_pruning_permanent", make_pruning_permanent)
        self._use_lottery_ticket = _switch_by_epoch(
            f"{name}: use_lottery_ticket_hypothesis", use_lottery_ticket_hypothesis
        )
        self._resample_parameters = switch(f"{name}: resample_parameters", resample_parameters)
        self._verbose = one_of(f"{name}: verbose", verbose, (0, 1, 2))
        self._prune_on_train_epoch_end = switch(f"{name}: prune_on_train_epoch_end", prune_on_train_epoch_end)
        self._targets: list[Target] = []
        self._paths: list[str] = []
        self._first: dict[int, nn.Module] = {}
        self._pruned_at = -1
        self._restored: dict[str, Any] | None = None

    def filter_parameters_to_prune(self, parameters_to_prune: Sequence[Target] = ()) -> Sequence[Target]:
        """Override to leave some out."""
        return parameters_to_prune

    # --- moments -------------------------------------------------------------------------------------------------

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Find out what is to be pruned, and keep the values that it begins with.

        Raises:
            MisconfigurationException: a parameter to be pruned is not in the module, or weights are averaged as well.
        """
        self._restored = None
        self._refuse_averages(trainer)
        if stage == "fit":
            refuse_spread(self, trainer)
        found = sanitized(type(self).__name__, pl_module, self._parameters_to_prune, self._parameter_names)
        self._targets = list(self.filter_parameters_to_prune(found))
        paths = module_paths(pl_module)
        if not self._targets:
            raise MisconfigurationException(
                f"{type(self).__name__} finds no parameter to prune in {type(pl_module).__name__}; pass "
                "parameters_to_prune, or drop the callback"
            )
        self._paths = [f"{paths[module]}.{name}".lstrip(".") for module, name in self._targets]
        if self._use_lottery_ticket is not False:
            self._first = {id(module): copy.deepcopy(module) for module, _ in self._targets}

    def _refuse_averages(self, trainer: Trainer) -> None:
        """A mask gives the module other parameters, in another order, than those that an average was made of."""
        from thunderhead.callbacks.stochastic_weight_avg import StochasticWeightAveraging
        from thunderhead.callbacks.weight_averaging import WeightAveraging

        for callback in trainer.callbacks:
            if isinstance(callback, WeightAveraging | StochasticWeightAveraging):
                raise MisconfigurationException(
                    f"{type(self).__name__} together with {type(callback).__name__}: a pruned module has other "
                    "parameters than its average, whose zeros would not stay zeros either; average first, then prune "
                    "in a fit of its own"
                )

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Go on with the masks of a checkpoint; optimizers know the parameters by now, and masks do not change that."""
        restored, self._restored = self._restored, None
        if restored is None:
            self._pruned_at = -1
            return
        self._pruned_at = restored["pruned_at"]
        for (module, name), path in zip(self._targets, self._paths, strict=True):
            if path in restored["first"] and id(module) in self._first:
                _copy_into(getattr(self._first[id(module)], name), restored["first"][path])
            if path in restored["masks"]:
                if not hasattr(module, f"{name}_mask"):
                    mask = restored["masks"][path].to(getattr(module, name).device)
                    prune.custom_from_mask(module, name, mask)  # type: ignore[no-untyped-call]  # torch's
                _copy_into(getattr(module, f"{name}_orig"), restored["values"][path])
                # What a forward has last made of both, which hooks may read before the next one.
                setattr(module, name, restored["shown"][path].to(getattr(module, name).device))

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Prune."""
        if self._prune_on_train_epoch_end:
            self._run(trainer)

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Prune, once after each step: a validation that was interrupted is run again."""
        wanted = not self._prune_on_train_epoch_end and trainer.state.fn == "fit" and not trainer.sanity_checking
        if wanted and trainer.global_step != self._pruned_at:
            self._pruned_at = trainer.global_step
            self._run(trainer)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """For good."""
        if self._make_pruning_permanent:
            self.make_pruning_permanent(pl_module)

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """For good as well where a resumed run had nothing left to train."""
        if self._make_pruning_permanent:
            self.make_pruning_permanent(pl_module)

    def state_dict(self) -> dict[str, Any]:
        """Masks, the values under them, and those that the parameters began with."""
        if self._restored is not None:
            return self._restored
        pruned = [(m, n, p) for (m, n), p in zip(self._targets, self._paths, strict=True) if hasattr(m, f"{n}_mask")]
        first = zip(self._targets, self._paths, strict=True) if self._first else ()
        return {
            "masks": {path: getattr(module, f"{name}_mask") for module, name, path in pruned},
            "values": {path: getattr(module, f"{name}_orig").detach() for module, name, path in pruned},
            "first": {path: getattr(self._first[id(module)], name).detach() for (module, name), path in first},
            "shown": {path: getattr(module, name).detach() for module, name, path in pruned},
            "pruned_at": self._pruned_at,
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Keep it for the moment in which there are optimizers."""
        self._restored = state_dict

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """The module's state as a module without masks takes it."""
        checkpoint["state_dict"] = self._plain(checkpoint["state_dict"])

    def _plain(self, state: Mapping[str, Any]) -> dict[str, Any]:
        """Masks are in the callback's own state, so that the module which goes on need not be pruned yet."""
        found = dict(state)
        for path in self._paths:
            if f"{path}_mask" in found and f"{path}_orig" in found:
                mask, value = found.pop(f"{path}_mask"), found.pop(f"{path}_orig")
                found[path] = mask.to(value.dtype) * value
        return found

    # --- pruning -------------------------------------------------------------------------------------------------

    def make_pruning_permanent(self, module: nn.Module) -> None:
        """Apply the masks of all modules in there, and take them away."""
        for child in module.modules():
            for key, hook in list(child._forward_pre_hooks.items()):
                if isinstance(hook, prune.BasePruningMethod):
                    hook.remove(child)
                    del child._forward_pre_hooks[key]

    def apply_lottery_ticket_hypothesis(self) -> None:
        """Give what is left the values that it began with, or new ones."""
        drawn: dict[int, nn.Module] = {}
        for module, name in self._targets:
            first = self._first[id(module)]
            if self._resample_parameters and callable(getattr(first, "reset_parameters", None)):
                if id(module) not in drawn:
                    made: Any = copy.deepcopy(first)
                    made.reset_parameters()
                    drawn[id(module)] = made
                first = drawn[id(module)]
            kept, value = getattr(module, f"{name}_orig", None), getattr(first, name, None)
            kept = getattr(module, name, None) if kept is None else kept
            if isinstance(kept, Tensor) and isinstance(value, Tensor):
                _copy_into(kept, value)

    def apply_pruning(self, amount: Amount) -> None:
        """Prune this much of what is left."""
        before = [_pruned(module, name) for module, name in self._targets] if self._verbose else []
        if self._global:
            accepted = inspect.signature(self.pruning_fn).parameters
            options = {name: value for name, value in self._kwargs.items() if name in accepted}
            prune.global_unstructured(self._targets, pruning_method=self.pruning_fn, amount=amount, **options)
        else:
            for module, name in self._targets:
                self.pruning_fn(module, name=name, amount=amount)
        if self._verbose:
            self._tell(before, amount)

    def _run(self, trainer: Trainer) -> None:
        epoch = trainer.current_epoch
        amount = self.amount(epoch) if callable(self.amount) else self.amount
        if not _said(self._apply_pruning, epoch) or not amount:
            return
        self.apply_pruning(amount)
        if _said(self._use_lottery_ticket, epoch):
            self.apply_lottery_ticket_hypothesis()

    def _tell(self, before: list[int], amount: Amount) -> None:
        after = [_pruned(module, name) for module, name in self._targets]
        sizes = [getattr(module, name).numel() for module, name in self._targets]
        total = sum(sizes)
        say(f"pruned {sum(after)} of {total} values ({sum(after) / total:.2%}); before, {sum(before)}")
        for path, was, now, size in zip(self._paths, before, after, sizes, strict=True) if self._verbose == 2 else ():
            say(f"pruned {now} of {size} values of {path} ({now / size:.2%}) with amount={amount}; before, {was}")


def _chosen(
    owner: str, wanted: object, options: Mapping[str, int | None], *, over_all: bool
) -> tuple[Callable[..., Any], dict[str, Any]]:
    """The function or class that prunes, and its options."""
    if isinstance(wanted, str):
        name = one_of(f"{owner}: pruning_fn", wanted.lower(), tuple(_FUNCTIONS))
        needed = {"ln_structured": ("dim", "n"), "random_structured": ("dim",)}.get(name, ())
        for option in needed:
            if options[option] is None:
                argument = {"dim": "pruning_dim", "n": "pruning_norm"}[option]
                raise MisconfigurationException(f"{owner}: pruning_fn={name!r} needs {argument}, as an integer")
        given = {option: options[option] for option in needed}
        found: Any = _METHODS[name] if over_all else partial(_FUNCTIONS[name], **given)
    elif isinstance(wanted, type) and issubclass(wanted, prune.BasePruningMethod):
        if not over_all:
            raise MisconfigurationException(
                f"{owner}: pruning_fn={wanted.__name__} is a class, which is used over all parameters together; pass "
                "use_global_unstructured=True, or the name of a function"
            )
        found, given = wanted, {}
    else:
        raise MisconfigurationException(
            f"{owner}: pruning_fn={wanted!r} must be one of {', '.join(_FUNCTIONS)}, or a class (not an instance) "
            "derived from torch.nn.utils.prune.BasePruningMethod"
        )
    if over_all and getattr(found, "PRUNING_TYPE", None) != "unstructured":
        raise MisconfigurationException(
            f"{owner}: use_global_unstructured=True prunes values one by one, and pruning_fn={wanted!r} does not; pass "
            "use_global_unstructured=False"
        )
    return cast("Callable[..., Any]", found), given


def _checked_amount(owner: str, amount: object) -> Any:
    if not callable(amount) and (isinstance(amount, bool) or not isinstance(amount, (int, float))):
        raise MisconfigurationException(f"{owner}: amount={amount!r} must be a number or a function of the epoch")
    if not callable(amount) and not (0 <= amount <= 1 if isinstance(amount, float) else amount >= 0):
        raise MisconfigurationException(
            f"{owner}: amount={amount!r} must be a share from 0.0 to 1.0, or a number of values from 0"
        )
    return amount


def _switch_by_epoch(name: str, value: Any) -> bool | Callable[[int], bool]:
    return value if callable(value) else switch(name, value)


def _said(value: bool | Callable[[int], bool], epoch: int) -> bool:
    return value(epoch) if callable(value) else value


def _pruned(module: nn.Module, name: str) -> int:
    mask = getattr(module, f"{name}_mask", None)
    return 0 if mask is None else int((mask == 0).sum())


@torch.no_grad()
def _copy_into(target: Tensor, value: Tensor) -> None:
    target.copy_(value)

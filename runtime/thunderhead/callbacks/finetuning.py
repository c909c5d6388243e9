"""Parts of a module that are frozen at first, and trained from some epoch on."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.optim import Optimizer

from thunderhead.arguments import real_number, switch, whole_number
from thunderhead.exceptions import MisconfigurationException
from thunderhead.user.callback import Callback
from thunderhead.warning import say, warn

if TYPE_CHECKING:
    from thunderhead.trainer.trainer import Trainer
    from thunderhead.user.module import LightningModule

Modules = nn.Module | Iterable[Any]


class BaseFinetuning(Callback):
    """Derive from it, and override ``freeze_before_training`` and ``finetune_function``.

    The first is called before ``configure_optimizers``, which should make optimizers of the parameters that then
    require gradients; the second when an epoch begins, for every optimizer. A run that is resumed has the parameter
    groups of then, and what was frozen is so again.
    """

    def __init__(self) -> None:
        self._internal_optimizer_metadata: dict[int, list[dict[str, Any]]] = {}
        self._module: LightningModule | None = None
        self._restored: dict[str, Any] | None = None

    def freeze_before_training(self, pl_module: LightningModule) -> None:
        """Freeze what is not to be trained from the start, by ``self.freeze``.

        Raises:
            NotImplementedError: it is not overridden.
        """
        raise NotImplementedError(_lacks(self, "freeze_before_training"))

    def finetune_function(self, pl_module: LightningModule, epoch: int, optimizer: Optimizer) -> None:
        """Thaw what is due in ``epoch``, by ``self.unfreeze_and_add_param_group``.

        Raises:
            NotImplementedError: it is not overridden.
        """
        raise NotImplementedError(_lacks(self, "finetune_function"))

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Freeze."""
        self._module = pl_module
        self.freeze_before_training(pl_module)

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Go on from a checkpoint: its groups, before their state is put back, and what was frozen in it."""
        restored, self._restored = self._restored, None
        if restored is None:
            self._internal_optimizer_metadata = {}
            return
        named = dict(pl_module.named_parameters())
        for index, optimizer in enumerate(trainer.optimizers):
            groups = self._internal_optimizer_metadata.get(index)
            if groups:
                optimizer.param_groups = [
                    _group_with(group, [named[name] for name in group["params"]]) for group in groups
                ]
        trained = _trained(pl_module)
        _freeze_again(pl_module, restored)
        if _trained(pl_module) != trained:
            trainer.trains_others()

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Thaw what is due."""
        trained = _trained(pl_module)
        for index, optimizer in enumerate(trainer.optimizers):
            before = len(optimizer.param_groups)
            self.finetune_function(pl_module, trainer.current_epoch, optimizer)
            self._keep(pl_module, index, before, optimizer.param_groups)
        if _trained(pl_module) != trained:
            trainer.trains_others()

    def state_dict(self) -> dict[str, Any]:
        """The groups of every optimizer by the names of their parameters, and what is frozen."""
        frozen = {} if self._module is None else _frozen(self._module)
        return {"internal_optimizer_metadata": self._internal_optimizer_metadata, **frozen}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Keep it for the moment in which there are optimizers."""
        self._restored = state_dict
        groups = state_dict.get("internal_optimizer_metadata", state_dict)
        self._internal_optimizer_metadata = {int(index): found for index, found in groups.items()}

    # --- what overriding methods call ----------------------------------------------------------------------------

    @staticmethod
    def flatten_modules(modules: Modules) -> list[nn.Module]:
        """Every module in there that has no children, or parameters of its own."""
        if isinstance(modules, nn.ModuleDict):
            modules = modules.values()
        if isinstance(modules, Iterable):
            return [found for module in modules for found in BaseFinetuning.flatten_modules(module)]
        return [m for m in modules.modules() if not list(m.children()) or m._parameters]

    @staticmethod
    def filter_params(modules: Modules, train_bn: bool = True, requires_grad: bool = True) -> Iterator[nn.Parameter]:
        """Parameters that are trained, or that are not; without those of BatchNorm unless ``train_bn``."""
        for module in BaseFinetuning.flatten_modules(modules):
            if train_bn or not isinstance(module, _BatchNorm):
                yield from (p for p in module.parameters(recurse=False) if p.requires_grad is requires_grad)

    @staticmethod
    def make_trainable(modules: Modules) -> None:
        """Train all parameters in there, and statistics."""
        for module in BaseFinetuning.flatten_modules(modules):
            _set_trainable(module, True)

    @staticmethod
    def freeze_module(module: nn.Module) -> None:
        """Train neither the module's own parameters nor its statistics."""
        _set_trainable(module, False)

    @staticmethod
    def freeze(modules: Modules, train_bn: bool = True) -> None:
        """Train nothing in there; but BatchNorm, if ``train_bn``."""
        for module in BaseFinetuning.flatten_modules(modules):
            _set_trainable(module, train_bn and isinstance(module, _BatchNorm))

    @staticmethod
    def filter_on_optimizer(optimizer: Optimizer, params: Iterable[nn.Parameter]) -> list[nn.Parameter]:
        """Those of ``params`` that the optimizer does not have yet."""
        known = {id(parameter) for group in optimizer.param_groups for parameter in group["params"]}
        wanted = list(params)
        found = [parameter for parameter in wanted if id(parameter) not in known]
        if len(found) < len(wanted):
            warn(
                f"{len(wanted) - len(found)} parameters to be trained from now on are in a group of "
                f"{type(optimizer).__name__} already, and stay there; in configure_optimizers give it only those with "
                "requires_grad: filter(lambda p: p.requires_grad, self.parameters())"
            )
        return found

    @staticmethod
    def unfreeze_and_add_param_group(
        modules: Modules,
        optimizer: Optimizer,
        lr: float | None = None,
        initial_denom_lr: float = 10.0,
        train_bn: bool = True,
    ) -> None:
        """Train what is in there as a group of its own.

        Args:
            modules: what.
            optimizer: that trains it.
            lr: its rate; by default that of the first group divided by ``initial_denom_lr``.
            initial_denom_lr: see ``lr``.
            train_bn: with BatchNorm's parameters.
        """
        frozen = {id(p) for p in BaseFinetuning.filter_params(modules, requires_grad=False)}
        BaseFinetuning.make_trainable(modules)
        rate = optimizer.param_groups[0]["lr"] / initial_denom_lr if lr is None else float(lr)
        # What was trained all along, as BatchNorm is, has its group.
        thawed = [p for p in BaseFinetuning.filter_params(modules, train_bn=train_bn) if id(p) in frozen]
        params = BaseFinetuning.filter_on_optimizer(optimizer, thawed)
        if params:
            optimizer.add_param_group({"params": params, "lr": rate})

    def _keep(self, module: nn.Module, index: int, before: int, groups: Sequence[Mapping[str, Any]]) -> None:
        """The groups as they are made; their settings of later are in the optimizer's own state."""
        kept = self._internal_optimizer_metadata.setdefault(index, [])
        if kept and len(groups) == before:
            return
        names = {parameter: name for name, parameter in module.named_parameters()}
        for group in groups[before if kept else 0 :]:
            kept.append(_group_with(group, [names[parameter] for parameter in group["params"]]))


class BackboneFinetuning(BaseFinetuning):
    """Trains the module's ``backbone`` from an epoch on, with a rate that grows until it reaches that of the rest.

    Args:
        unfreeze_backbone_at_epoch: when.
        lambda_func: by how much the backbone's rate grows; called with the number of the next epoch.
        backbone_initial_ratio_lr: the backbone's first rate, as a share of the rest's.
        backbone_initial_lr: the backbone's first rate, in the place of that.
        should_align: never let it grow beyond that of the rest.
        initial_denom_lr: not used, since there is always a first rate.
        train_bn: train BatchNorm of the backbone too, once it is trained.
        verbose: say the rates of each epoch.
        rounding: to how many digits.

    Raises:
        MisconfigurationException: an argument cannot mean anything.
    """

    def __init__(
        self,
        unfreeze_backbone_at_epoch: int = 10,
        lambda_func: Callable[[int], float] = lambda epoch: 2.0,
        backbone_initial_ratio_lr: float = 0.1,
        backbone_initial_lr: float | None = None,
        should_align: bool = True,
        initial_denom_lr: float = 10.0,
        train_bn: bool = True,
        verbose: bool = False,
        rounding: int = 12,
    ) -> None:
        super().__init__()
        name = type(self).__name__
        self.unfreeze_backbone_at_epoch = whole_number(
            f"{name}: unfreeze_backbone_at_epoch", unfreeze_backbone_at_epoch, least=0
        )
        if not callable(lambda_func):
            raise MisconfigurationException(f"{name}: lambda_func={lambda_func!r} must be a function of an epoch")
        self.lambda_func = lambda_func
        self.backbone_initial_ratio_lr = real_number(
            f"{name}: backbone_initial_ratio_lr", backbone_initial_ratio_lr, least=0.0
        )
        self.backbone_initial_lr = real_number(
            f"{name}: backbone_initial_lr", backbone_initial_lr, least=0.0, optional=True
        )
        self.should_align = switch(f"{name}: should_align", should_align)
        self.initial_denom_lr = initial_denom_lr
        self.train_bn = switch(f"{name}: train_bn", train_bn)
        self.verbose = switch(f"{name}: verbose", verbose)
        self.rounding = whole_number(f"{name}: rounding", rounding, least=0)
        self.previous_backbone_lr: float | None = None

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Freeze it.

        Raises:
            MisconfigurationException: the module has none.
        """
        if not isinstance(getattr(pl_module, "backbone", None), nn.Module):
            raise MisconfigurationException(
                f"{type(self).__name__} with {type(pl_module).__name__}, which has no module 'backbone'; call the part "
                "that is to be trained later self.backbone, or derive a callback from BaseFinetuning"
            )
        super().setup(trainer, pl_module, stage)

    def freeze_before_training(self, pl_module: LightningModule) -> None:
        """All of the backbone."""
        self.freeze(pl_module.backbone)

    def finetune_function(self, pl_module: LightningModule, epoch: int, optimizer: Optimizer) -> None:
        """Thaw it, or let its rate grow.

        Raises:
            MisconfigurationException: the checkpoint was saved without this callback, after the epoch in which to thaw.
        """
        if epoch < self.unfreeze_backbone_at_epoch:
            return
        rate = optimizer.param_groups[0]["lr"]
        if epoch == self.unfreeze_backbone_at_epoch:
            given = self.backbone_initial_lr
            own = rate * self.backbone_initial_ratio_lr if given is None else given
            backbone: Any = pl_module.backbone
            self.unfreeze_and_add_param_group(backbone, optimizer, own, self.initial_denom_lr, self.train_bn)
        else:
            if self.previous_backbone_lr is None:
                raise MisconfigurationException(
                    f"{type(self).__name__}: training goes on in epoch {epoch}, but the checkpoint was saved without "
                    f"this callback, so the backbone was not trained from epoch {self.unfreeze_backbone_at_epoch} on; "
                    f"set unfreeze_backbone_at_epoch={epoch}"
                )
            own = self.lambda_func(epoch + 1) * self.previous_backbone_lr
            own = rate if self.should_align and own > rate else own
            optimizer.param_groups[-1]["lr"] = own
        self.previous_backbone_lr = own
        if self.verbose:
            say(
                f"epoch {epoch}: the backbone's learning rate is {round(own, self.rounding)}, "
                f"that of the rest {round(rate, self.rounding)}"
            )

    def state_dict(self) -> dict[str, Any]:
        """Also the backbone's rate."""
        return {**super().state_dict(), "previous_backbone_lr": self.previous_backbone_lr}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """See the base class."""
        self.previous_backbone_lr = state_dict["previous_backbone_lr"]
        super().load_state_dict(state_dict)


def _lacks(callback: Callback, method: str) -> str:
    return f"{type(callback).__name__} has no {method}; override it, or use BackboneFinetuning"


def _set_trainable(module: nn.Module, trainable: bool) -> None:
    if isinstance(module, _BatchNorm):
        module.track_running_stats = trainable
    for parameter in module.parameters(recurse=False):
        parameter.requires_grad = trainable


def _group_with(group: Mapping[str, Any], params: list[Any]) -> dict[str, Any]:
    return {**{name: value for name, value in group.items() if name != "params"}, "params": params}


def _trained(module: nn.Module) -> list[bool]:
    return [parameter.requires_grad for parameter in module.parameters()]


def _frozen(module: nn.Module) -> dict[str, list[str]]:
    layers = {name: layer for name, layer in module.named_modules() if isinstance(layer, _BatchNorm)}
    return {
        "frozen_parameters": [name for name, p in module.named_parameters() if not p.requires_grad],
        "frozen_statistics": [name for name, layer in layers.items() if not layer.track_running_stats],
    }


def _freeze_again(module: nn.Module, state: Mapping[str, Any]) -> None:
    """Files of Lightning's do not say what was frozen: there, what a group holds is trained."""
    if "frozen_parameters" not in state:
        groups = state.get("internal_optimizer_metadata", state)
        trained = {name for found in groups.values() for group in found for name in group["params"]}
        for name, parameter in module.named_parameters():
            parameter.requires_grad = parameter.requires_grad or name in trained
        return
    for name, parameter in module.named_parameters():
        parameter.requires_grad = name not in state["frozen_parameters"]
    for name, layer in module.named_modules():
        if isinstance(layer, _BatchNorm):
            layer.track_running_stats = name not in state["frozen_statistics"]

"""Layers whose statistics are shared between ranks, for the time of a fit."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm


class LayerSync(ABC):
    """Replaces layers by synchronised ones before fit, and puts the old kind back afterwards."""

    @abstractmethod
    def apply(self, model: nn.Module) -> nn.Module:
        """The module with its layers synchronised; parameters and buffers stay the same objects."""

    @abstractmethod
    def revert(self, model: nn.Module) -> nn.Module:
        """The module as it was before ``apply``."""


class TorchSyncBatchNorm(LayerSync):
    """``torch.nn.SyncBatchNorm`` in the place of every BatchNorm; what ``sync_batchnorm=True`` does."""

    def __init__(self) -> None:
        self._kinds: dict[str, type[_BatchNorm]] = {}

    def apply(self, model: nn.Module) -> nn.Module:
        for name, layer in model.named_modules():
            if isinstance(layer, _BatchNorm) and not isinstance(layer, nn.SyncBatchNorm):
                self._kinds[name] = type(layer)
        converted: nn.Module = nn.SyncBatchNorm.convert_sync_batchnorm(model)  # type: ignore[no-untyped-call]  # torch's
        return converted

    def revert(self, model: nn.Module) -> nn.Module:
        for name, layer in list(model.named_modules()):
            kind = self._kinds.get(name)
            if kind is None or not isinstance(layer, nn.SyncBatchNorm) or not name:
                continue
            parent, _, last = name.rpartition(".")
            setattr(model.get_submodule(parent), last, _as(kind, layer))
        self._kinds = {}
        return model


def _as(kind: type[_BatchNorm], layer: nn.SyncBatchNorm) -> _BatchNorm:
    """A layer of the former kind with the very parameters and buffers of ``layer``."""
    made: Any = kind.__new__(kind)
    made.__dict__.update(layer.__dict__)
    return made  # type: ignore[no-any-return]  # a _BatchNorm, made without its constructor

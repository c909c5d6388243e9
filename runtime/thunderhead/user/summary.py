"""What a module is made of: its layers, their parameters, modes, shapes and floating-point operations."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import torch
from torch import nn
from torch.nn.parameter import UninitializedParameter

from thunderhead.exceptions import MisconfigurationException
from thunderhead.rng import isolate_rng
from thunderhead.run.transfer import transfer_of
from thunderhead.tensors import move_to_device

if TYPE_CHECKING:
    from torch.utils.flop_counter import FlopCounterMode

    from thunderhead.user.module import LightningModule

_UNITS: Final = ("", "K", "M", "B", "T")
UNKNOWN: Final = "?"


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerSummary:
    """One submodule.

    Attributes:
        name: its path in the module.
        layer_type: name of its class.
        num_parameters: elements of its parameters; those of a lazy layer that has not seen data count as 0.
        training: whether it is in training mode.
        flops: floating-point operations of one forward pass; 0 where the module gives no example input.
        in_size: shape of its input, a list of shapes, or ``"?"`` where the example does not reach it.
        out_size: the same of its output.
    """

    name: str
    layer_type: str
    num_parameters: int
    training: bool
    flops: int = 0
    in_size: object = UNKNOWN
    out_size: object = UNKNOWN


class ModelSummary:
    """A module's layers down to a depth, and its totals; ``str()`` gives them as a table.

    With ``example_input_array`` the module is run on it once (in evaluation mode, without gradients, leaving the random
    state as it is), which gives shapes and operations.

    Args:
        model: the module.
        max_depth: levels of submodules to list; -1 for all, 0 for none.

    Attributes:
        layers: the listed submodules.
        total_parameters: elements of all parameters.
        trainable_parameters: elements of those that require gradients.
        model_size: megabytes of all parameters, as they are stored now.
        total_training_modes: number of submodules in mode ``train`` and in mode ``eval``.
        total_flops: floating-point operations of one forward pass.

    Raises:
        MisconfigurationException: ``max_depth`` is less than -1 or no integer.
    """

    def __init__(self, model: LightningModule, max_depth: int = 1) -> None:
        if isinstance(max_depth, bool) or not isinstance(max_depth, int) or max_depth < -1:
            raise MisconfigurationException(
                f"max_depth={max_depth!r} must be a number of levels, -1 for all or 0 for none"
            )
        parameters = [parameter for parameter in model.parameters() if not _is_lazy(parameter)]
        self.has_example = model.example_input_array is not None
        self.total_parameters = sum(parameter.numel() for parameter in parameters)
        self.trainable_parameters = sum(parameter.numel() for parameter in parameters if parameter.requires_grad)
        self.model_size = sum(parameter.numel() * parameter.element_size() for parameter in parameters) / 1e6
        modes = [child.training for child in model.modules()][1:]
        self.total_training_modes = {"train": modes.count(True), "eval": modes.count(False)}
        chosen = [(name, child) for name, child in model.named_modules() if name and _is_shown(name, max_depth)]
        shapes, flops = _measure(model, chosen) if self.has_example else ({}, {})
        self.total_flops = flops.get("", 0)
        self.layers = [_layer(name, child, shapes, flops) for name, child in chosen]

    @property
    def rows(self) -> list[list[str]]:
        """The table: a header, a row per layer, and one for parameters that belong to none of them."""
        header = ["", "Name", "Type", "Params", "Mode", "FLOPs"] + (
            ["In sizes", "Out sizes"] if self.has_example else []
        )
        rows = [header, *(self._row(number, layer) for number, layer in enumerate(self.layers))]
        top = [layer.num_parameters for layer in self.layers if "." not in layer.name]
        left_over = self.total_parameters - sum(top)
        if left_over > 0 and self.layers:
            rows.append(["", "other params", "n/a", readable(left_over), *["n/a"] * (len(header) - 4)])
        return rows

    @property
    def totals(self) -> list[tuple[str, str]]:
        """Totals as ``(value, what it is)``."""
        frozen = self.total_parameters - self.trainable_parameters
        return [
            (readable(self.trainable_parameters), "Trainable params"),
            (readable(frozen), "Non-trainable params"),
            (readable(self.total_parameters), "Total params"),
            (f"{self.model_size:,.3f}", "Total estimated model params size (MB)"),
            (str(self.total_training_modes["train"]), "Modules in train mode"),
            (str(self.total_training_modes["eval"]), "Modules in eval mode"),
            (readable(self.total_flops), "Total FLOPs"),
        ]

    def _row(self, number: int, layer: LayerSummary) -> list[str]:
        row = [
            str(number),
            layer.name,
            layer.layer_type,
            readable(layer.num_parameters),
            "train" if layer.training else "eval",
            readable(layer.flops),
        ]
        return [*row, str(layer.in_size), str(layer.out_size)] if self.has_example else row

    def __str__(self) -> str:
        rows = self.rows
        widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
        lines = [
            " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
        ]
        rule = "-" * max(map(len, lines))
        totals = [f"{value:<10}{what}" for value, what in self.totals]
        return "\n".join([lines[0], rule, *lines[1:], rule, *totals])


def summarize(lightning_module: LightningModule, max_depth: int = 1) -> ModelSummary:
    """The summary of a module down to ``max_depth`` levels."""
    return ModelSummary(lightning_module, max_depth)


def readable(number: int) -> str:
    """A count in at most four characters and a unit: 1234 → ``1.2 K``, 2 500 000 000 → ``2.5 B``."""
    group = 0 if number < 1000 else min((len(str(number)) - 1) // 3, len(_UNITS) - 1)
    scaled = number / 1000**group
    if group == 0:
        return str(number)
    return f"{math.floor(scaled):,d} {_UNITS[group]}" if scaled >= 100 else f"{scaled:.1f} {_UNITS[group]}"


def _is_lazy(parameter: nn.Parameter) -> bool:
    return isinstance(parameter, UninitializedParameter)


def _is_shown(name: str, max_depth: int) -> bool:
    return max_depth == -1 or name.count(".") < max_depth


def _layer(
    name: str, child: nn.Module, shapes: dict[str, tuple[object, object]], flops: dict[str, int]
) -> LayerSummary:
    in_size, out_size = shapes.get(name, (UNKNOWN, UNKNOWN))
    return LayerSummary(
        name=name,
        layer_type=type(child).__name__,
        num_parameters=sum(parameter.numel() for parameter in child.parameters() if not _is_lazy(parameter)),
        training=child.training,
        flops=flops.get(name, 0),
        in_size=in_size,
        out_size=out_size,
    )


def _measure(
    model: LightningModule, chosen: list[tuple[str, nn.Module]]
) -> tuple[dict[str, tuple[object, object]], dict[str, int]]:
    """Shapes of inputs and outputs, and operations, by name; the whole model's under ``""``."""
    # Only a module with an example needs it, and it is slow to import.
    from torch.utils.flop_counter import FlopCounterMode

    shapes: dict[str, tuple[object, object]] = {}
    handles = []
    for name, child in chosen:
        if isinstance(child, torch.jit.ScriptModule):
            continue  # it takes no hooks

        def keep(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], out: object, name: str = name) -> None:
            inputs = [*args, *kwargs.values()]
            shapes.setdefault(name, (_shape(inputs[0] if len(inputs) == 1 else inputs), _shape(out)))

        handles.append(child.register_forward_hook(keep, with_kwargs=True))
    counter = FlopCounterMode(display=False)
    try:
        with _as_in_evaluation(model), counter:
            _forward(model)
    finally:
        for handle in handles:
            handle.remove()
    return shapes, _flops(counter, model)


def _flops(counter: FlopCounterMode, model: LightningModule) -> dict[str, int]:
    root = type(model).__name__
    counted = {name: sum(by_kind.values()) for name, by_kind in counter.get_flop_counts().items()}
    found = {name.removeprefix(f"{root}."): count for name, count in counted.items() if name.startswith(f"{root}.")}
    return {**found, "": counter.get_total_flops()}


@contextmanager
def _as_in_evaluation(model: LightningModule) -> Iterator[None]:
    """Evaluation mode, no gradients, the run's precision; every mode and the random state are as before afterwards."""
    modes = {child: child.training for child in model.modules()}
    trainer = model._trainer
    precision = nullcontext() if trainer is None else trainer.precision_plugin.forward_context()
    model.eval()
    try:
        with isolate_rng(), torch.no_grad(), precision:
            yield
    finally:
        for child, training in modes.items():
            child.training = training


def _forward(model: LightningModule) -> None:
    run = None if model._trainer is None else model._trainer._run
    transfer = None if run is None else transfer_of(run)
    example = model.example_input_array
    # As a batch is: by the hooks of the datamodule, where it has them.
    example = move_to_device(example, model.device) if transfer is None else transfer(example, 0)
    if isinstance(example, (list, tuple)):
        model(*example)
    elif isinstance(example, dict):
        model(**example)
    else:
        model(example)


def _shape(data: object) -> object:
    if hasattr(data, "shape"):
        return list(data.shape)
    if isinstance(data, (list, tuple)):
        return [_shape(item) for item in data]
    return UNKNOWN

"""A loop of the user's own, on any device and any number of ranks.

::

    fabric = Fabric(devices=2, precision="bf16-mixed")
    fabric.launch()
    model, optimizer = fabric.setup(model, optimizer)
    loader = fabric.setup_dataloaders(loader)
    for batch in loader:
        optimizer.zero_grad()
        fabric.backward(model(batch))
        optimizer.step()

Strategies, number formats, launchers and loaders are those of the trainer; nothing else is between the user and torch.
"""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, MutableMapping
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.utils.data import DataLoader, IterableDataset, RandomSampler

from thunderhead.accelerators import Accelerator
from thunderhead.data.feeds import needs_shard
from thunderhead.data.sampling import Shard
from thunderhead.distributed.base import Strategy
from thunderhead.exceptions import MisconfigurationException
from thunderhead.fabric import checkpoints
from thunderhead.fabric.clipping import clip
from thunderhead.fabric.launched_fabric import Launched
from thunderhead.fabric.unfilled import Unfilled
from thunderhead.fabric.wrappers import FabricDataLoader, FabricModule, FabricOptimizer, unwrapped
from thunderhead.rng import seed_everything
from thunderhead.tensors import move_to_device
from thunderhead.trainer.placement import choose_strategy
from thunderhead.trainer.plugins import Plugin, choose_checkpoint_io, choose_precision, read_plugins

Moved = TypeVar("Moved")


class Fabric(Launched):
    """Devices, ranks and number formats for a loop of the user's own.

    Args:
        accelerator: auto, cpu, gpu, cuda, mps, tpu, what else torch has, or an Accelerator.
        strategy: auto, single_device, ddp, fsdp …, or a Strategy.
        devices: how many, which, or auto.
        num_nodes: number of nodes; follows the environment, only checked.
        precision: 32-true, 64-true, bf16-mixed, 16-mixed, bf16-true or 16-true.
        plugins: a Precision, CheckpointIO or ClusterEnvironment, or one of each.
        callbacks: objects whose methods ``call`` calls.
        loggers: where ``log`` sends values.

    Raises:
        MisconfigurationException: an argument cannot mean anything, or contradicts another.
    """

    def __init__(
        self,
        *,
        accelerator: str | Accelerator = "auto",
        strategy: str | Strategy = "auto",
        devices: list[int] | str | int = "auto",
        num_nodes: int | None = None,
        precision: int | str | None = None,
        plugins: Plugin | list[Plugin] | tuple[Plugin, ...] | None = None,
        callbacks: Any | list[Any] | None = None,
        loggers: Any | list[Any] | None = None,
    ) -> None:
        given = {"accelerator": accelerator, "strategy": strategy, "devices": devices, "num_nodes": num_nodes}
        read = read_plugins(plugins)
        super().__init__(choose_strategy(given, read))
        self._precision = choose_precision(precision, read, self._strategy)
        self._strategy.precision_plugin = self._precision
        self._strategy.checkpoint_io = choose_checkpoint_io(read, self._strategy)
        self._scaler: torch.amp.GradScaler | None = getattr(self._precision, "scaler", None)
        self._callbacks = _listed(callbacks)
        self._loggers = _listed(loggers)

    @property
    def loggers(self) -> list[Any]:
        """All loggers."""
        return self._loggers

    @property
    def logger(self) -> object:
        """The first logger."""
        return self._loggers[0]

    # --- setting up ----------------------------------------------------------------------------------------------

    def setup(
        self,
        module: nn.Module,
        *optimizers: Optimizer,
        scheduler: Any = None,
        move_to_device: bool = True,
        _reapply_compile: bool = True,
    ) -> Any:
        """A module, and the optimizers of its parameters, ready to train.

        Args:
            module: what to train; what ``torch.compile`` returned is compiled again around the strategy's wrapper.
            *optimizers: of its parameters.
            scheduler: returned last, as it is.
            move_to_device: bring the module to ``device``.
            _reapply_compile: a compiled module is compiled again around the wrapper.

        Returns:
            The module alone, or with the optimizers and the scheduler.

        Raises:
            MisconfigurationException: optimizers before a module is cut into pieces, which makes new parameters.
        """
        made = self._set_up(module, move_to_device, again=_reapply_compile, optimizers=optimizers)
        wrapped = tuple(map(self._wrapped, optimizers))
        self.call("on_after_setup", fabric=self, module=made)
        if not optimizers:
            return made
        return (made, *wrapped) if scheduler is None else (made, *wrapped, scheduler)

    def setup_module(
        self, module: nn.Module, move_to_device: bool = True, _reapply_compile: bool = True
    ) -> FabricModule:
        """As ``setup`` without optimizers."""
        return self._set_up(module, move_to_device, again=_reapply_compile)

    def setup_optimizers(self, *optimizers: Optimizer) -> FabricOptimizer | tuple[FabricOptimizer, ...]:
        """Optimizers of a module that is set up already.

        Raises:
            ValueError: there is none.
        """
        if not optimizers:
            raise ValueError("Fabric.setup_optimizers() got none; pass one or several")
        wrapped = tuple(map(self._wrapped, optimizers))
        return wrapped[0] if len(wrapped) == 1 else wrapped

    def _set_up(
        self, module: nn.Module, move: bool, *, again: bool, optimizers: tuple[Optimizer, ...] = ()
    ) -> FabricModule:
        self._ready("setup")
        if isinstance(module, FabricModule):
            raise ValueError("Fabric.setup got a module that it has set up already; pass each once")
        if optimizers and self._strategy.spreads:
            raise MisconfigurationException(
                f"Fabric.setup with optimizers under strategy={self._strategy.name!r}, which gives the module new "
                "parameters; call model = fabric.setup_module(model), make the optimizer, then "
                "fabric.setup_optimizers(optimizer)"
            )
        compiled = getattr(module, "_compile_kwargs", None) if again else None
        original: nn.Module = getattr(module, "_orig_mod", module) if again else module
        if move and not self._strategy.spreads:
            original.to(self.device)
            for optimizer in optimizers:
                _to_device(optimizer, self.device)
        converted = self._precision.convert_module(original)
        forward = self._strategy.wrap_forward(converted)
        if forward is not module and hasattr(module, "_orig_mod"):
            forward = torch.compile(forward, **(compiled or {}))  # type: ignore[assignment]  # a module's is one
        return FabricModule(forward, original, self._precision)

    def _wrapped(self, optimizer: Optimizer) -> FabricOptimizer:
        if isinstance(optimizer, FabricOptimizer):
            raise ValueError("Fabric.setup got an optimizer that it has set up already; pass each once")
        return FabricOptimizer(optimizer, self._scaler, self._strategy, self._callbacks)

    def setup_dataloaders(
        self, *dataloaders: Iterable[Any], use_distributed_sampler: bool = True, move_to_device: bool = True
    ) -> Any:
        """Loaders that give this rank's part of the data, on its device.

        Args:
            *dataloaders: one or several.
            use_distributed_sampler: cut each into one part per copy of the model; padded to equal lengths.
            move_to_device: bring batches to ``device``.

        Returns:
            One, or a list.

        Raises:
            ValueError: there is none.
        """
        if not dataloaders:
            raise ValueError("Fabric.setup_dataloaders() got none; pass one or several")
        self._ready("setup_dataloaders")
        device = self.device if move_to_device else None
        made = [
            FabricDataLoader(loader, self._shard(loader) if use_distributed_sampler else None, device)
            for loader in dataloaders
        ]
        return made[0] if len(made) == 1 else made

    def _shard(self, loader: object) -> Shard | None:
        data = self._strategy.data
        if data.size == 1 or not isinstance(loader, DataLoader) or not needs_shard(loader):
            return None
        if isinstance(loader.dataset, IterableDataset):
            return None
        shuffled = isinstance(getattr(loader.batch_sampler, "sampler", loader.sampler), RandomSampler)
        seed = int(os.environ.get("PL_GLOBAL_SEED", "0"))
        return Shard(rank=data.rank, world_size=data.size, shuffle=shuffled, seed=seed, padded=True)

    # --- training ------------------------------------------------------------------------------------------------

    def backward(self, tensor: Tensor, *args: object, model: nn.Module | None = None, **kwargs: object) -> None:
        """In the place of ``loss.backward()``: scaled where the number format needs it."""
        if self._scaler is not None:
            tensor = self._scaler.scale(tensor)
        tensor.backward(*args, **kwargs)  # type: ignore[no-untyped-call]  # torch's

    def clip_gradients(
        self,
        module: nn.Module,
        optimizer: Optimizer,
        clip_val: float | None = None,
        max_norm: float | None = None,
        norm_type: float = 2.0,
        error_if_nonfinite: bool = True,
    ) -> Tensor | None:
        """Clip every element (``clip_val``) or the norm of all (``max_norm``), which is returned then.

        Raises:
            ValueError: both or neither.
            RuntimeError: ``error_if_nonfinite``, and the norm is no number.
        """
        plain: Optimizer = unwrapped(optimizer)
        if self._scaler is not None:
            self._precision.check_clipping(plain)
            self._scaler.unscale_(plain)
        return clip(
            self._strategy, plain, value=clip_val, norm=max_norm, order=norm_type, finite_only=error_if_nonfinite
        )

    def autocast(self) -> AbstractContextManager[Any]:
        """The number format, for what is computed outside of a module's forward."""
        return self._precision.forward_context()

    def no_backward_sync(self, module: nn.Module, enabled: bool = True) -> AbstractContextManager[Any]:
        """Keep gradients to this rank inside, while they are added up.

        Raises:
            TypeError: the module is not set up.
        """
        found = getattr(module, "_orig_mod", module)
        if not isinstance(found, FabricModule):
            raise TypeError("Fabric.no_backward_sync needs a module that Fabric.setup gave back; set it up first")
        if not enabled:
            return nullcontext()
        forward = getattr(found._forward_module, "_orig_mod", found._forward_module)
        if isinstance(forward, nn.parallel.DistributedDataParallel):
            return forward.no_sync()
        return self._strategy.no_sync()

    # --- making and moving ---------------------------------------------------------------------------------------

    def to_device(self, obj: Moved) -> Moved:
        """A module, a tensor or a collection of them on ``device``."""
        if isinstance(obj, nn.Module):
            return obj.to(self.device)
        return move_to_device(obj, self.device)

    def init_tensor(self) -> AbstractContextManager[Any]:
        """Tensors made inside are on ``device``, in the run's number format."""
        stack = ExitStack()
        stack.enter_context(self._precision.init_context())
        stack.enter_context(self.device)
        return stack

    @contextmanager
    def init_module(self, empty_init: bool | None = None) -> Iterator[None]:
        """Modules made inside have their parameters on ``device``, in the run's number format.

        Args:
            empty_init: do not fill them: on the meta device where the strategy spreads them. No random number is drawn.
        """
        self._ready("init_module")
        where = torch.device("meta") if empty_init and self._strategy.spreads else self._strategy.module_context()
        filled = Unfilled() if empty_init else nullcontext()
        with self._precision.init_context(), where, filled:
            yield

    # --- keeping -------------------------------------------------------------------------------------------------

    def save(self, path: checkpoints.Path, state: Mapping[str, Any], filter: object = None) -> None:
        """Write modules, optimizers and anything else; every rank must call it.

        Args:
            path: file or URL; a directory where the strategy's ranks write together.
            state: by key.
            filter: functions of name and value by key, which say what of it is kept.

        Raises:
            OSError: it could not be written, on every rank.
        """
        self._ready("save")
        checkpoints.write(self._strategy, path, state, checkpoints.check_filter(filter, state))
        self.barrier()

    def load(
        self,
        path: checkpoints.Path,
        state: MutableMapping[str, Any] | None = None,
        strict: bool = True,
        *,
        weights_only: bool | None = None,
    ) -> dict[str, Any]:
        """Put what ``save`` wrote back into ``state``, in place; every rank must call it.

        Returns:
            What is left over: all of it without ``state``.
        """
        self._ready("load")
        return checkpoints.read(self._strategy, path, state, strict=strict, weights_only=weights_only)

    def load_raw(
        self,
        path: checkpoints.Path,
        obj: nn.Module | Optimizer,
        strict: bool = True,
        *,
        weights_only: bool | None = None,
    ) -> None:
        """Load a state that torch wrote, of one module or optimizer."""
        self._ready("load_raw")
        content = checkpoints.read_file(self._strategy, path, weights_only)
        checkpoints.put_back(self._strategy, unwrapped(obj), content, strict=strict)

    # --- telling -------------------------------------------------------------------------------------------------

    def log(self, name: str, value: object, step: int | None = None) -> None:
        """Send one value to all loggers."""
        self.log_dict({name: value}, step)

    def log_dict(self, metrics: Mapping[str, object], step: int | None = None) -> None:
        """Send values to all loggers."""
        numbers = {name: value.item() if isinstance(value, Tensor) else value for name, value in metrics.items()}
        for logger in self._loggers:
            logger.log_metrics(metrics=numbers, step=step)

    def call(self, hook_name: str, *args: object, **kwargs: object) -> None:
        """Call the method of this name of every callback that has it, with the keywords that it takes."""
        for callback in self._callbacks:
            method = getattr(callback, hook_name, None)
            if callable(method):
                method(*args, **_taken(method, kwargs))

    @staticmethod
    def seed_everything(seed: int | None = None, workers: bool | None = None, verbose: bool = True) -> int:
        """Seed Python, NumPy and torch; also what loader processes draw, unless ``workers=False``."""
        return seed_everything(seed, workers=workers is not False, verbose=verbose)


def _listed(given: object) -> list[Any]:
    if given is None:
        return []
    return list(given) if isinstance(given, list | tuple) else [given]


def _taken(method: Callable[..., Any], kwargs: dict[str, Any]) -> dict[str, Any]:
    try:
        parameters = inspect.signature(method).parameters
    except (TypeError, ValueError):
        return kwargs  # nobody knows, so it gets all
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values()):
        return kwargs
    return {name: value for name, value in kwargs.items() if name in parameters}


def _to_device(optimizer: Optimizer, device: torch.device) -> None:
    """What it keeps of parameters that have moved."""
    for parameter, state in optimizer.state.items():
        for name, value in state.items():
            if isinstance(value, Tensor) and value.shape == parameter.shape:
                state[name] = value.to(device)

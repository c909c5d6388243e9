"""The interface of all strategies, which is itself the simplest one: one process on one device."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any, Final, Self, TypeVar

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from thunderhead.accelerators import Accelerator, accelerator_of
from thunderhead.core.steps import Steps
from thunderhead.dead_overrides import TellsDeadOverrides
from thunderhead.distributed.cluster import ClusterEnvironment
from thunderhead.distributed.environment import ProcessRank
from thunderhead.distributed.leave import leave_group
from thunderhead.distributed.operations import ReduceOp, operation_of
from thunderhead.distributed.owned import OwnedStrategy
from thunderhead.files.checkpoint_io import CheckpointIO, Path
from thunderhead.precision import Precision
from thunderhead.ranks import Reduced, Replica

if TYPE_CHECKING:
    from torch.distributed import ProcessGroup

    from thunderhead.distributed.launch import ScriptLauncher
    from thunderhead.distributed.process_launch import ProcessLauncher

Sent = TypeVar("Sent")
State = TypeVar("State")
# Under which keys of a content a strategy's own state is.
STATES: Final = ("state_dict", "optimizer_states")


class Strategy(OwnedStrategy, TellsDeadOverrides):
    """One process, one device; also the interface of all strategies.

    Args:
        device: where the module and its batches go; the Trainer's choice by default.
        accelerator: its kind.
        checkpoint_io: who writes ``.ckpt`` files.
        precision_plugin: number format.

    Attributes:
        accelerator: kind of the device; by default the Trainer's.
        checkpoint_io: who writes ``.ckpt`` files; by default the Trainer's.
        precision_plugin: number format; by default the Trainer's.
        cluster_environment: who started the processes.
        parallel_devices: the device of each process of this node.
        model: what runs the training step: the module, or its wrapper.
        launcher: starts the other processes of this node, where nobody else did.
        spreads: parts of the module's and of optimizers' state are on other ranks only.
        owner: the Trainer that it was passed to last, for libraries that ask the strategy what the Trainer knows.
    """

    name = "single_device"
    spreads = False

    def __init__(
        self,
        device: torch.device | str | None = None,
        accelerator: Accelerator | None = None,
        checkpoint_io: CheckpointIO | None = None,
        precision_plugin: Precision | None = None,
    ) -> None:
        self._device = None if device is None else torch.device(device)
        self._place: ProcessRank | None = None
        self.accelerator = accelerator
        self.checkpoint_io = checkpoint_io
        self.precision_plugin = precision_plugin
        self.cluster_environment: ClusterEnvironment | None = None
        self.parallel_devices: list[torch.device] | None = None
        self.model: nn.Module | None = None
        self.launcher: ScriptLauncher | ProcessLauncher | None = None
        self.owner = None

    def bind(self, device: torch.device, place: ProcessRank) -> Self:
        """Take the trainer's device and place, unless they were given."""
        self._device = device if self._device is None else self._device
        self._place = place if self._place is None else self._place
        return self

    def move_to(self, place: ProcessRank) -> None:
        """Be another of the processes of this node: what one does that a launcher has just made."""
        self._place = place
        if self.parallel_devices is not None:
            self._device = self.parallel_devices[place.local_rank]
        self.launcher = None

    @property
    def root_device(self) -> torch.device:
        """Where the module and its batches go."""
        assert self._device is not None, "a strategy gets its device from the Trainer it is passed to"
        return self._device

    @property
    def precision(self) -> Precision:
        """The number format, as codebases on Fabric ask for it."""
        return self.precision_plugin or Precision()

    @property
    def process(self) -> ProcessRank:
        """This process among all."""
        return self._place or ProcessRank()

    @property
    def world_size(self) -> int:
        """Number of processes."""
        return 1

    @property
    def global_rank(self) -> int:
        """Rank of this process among all."""
        return 0

    @property
    def local_rank(self) -> int:
        """Rank of this process on its node."""
        return 0

    @property
    def node_rank(self) -> int:
        """Which node this is."""
        return 0

    @property
    def is_global_zero(self) -> bool:
        """Whether this is rank 0."""
        return self.global_rank == 0

    def setup_environment(self) -> None:
        """Meet the other processes."""
        (self.accelerator or accelerator_of(self.root_device)).setup_device(self.root_device)

    @property
    def data(self) -> Replica:
        """Which part of the data is this process's: of as many as there are copies of the model."""
        return Replica(self.global_rank, self.world_size)

    @property
    def data_group(self) -> ProcessGroup | None:
        """Ranks with different data, over which values are reduced; None for all."""
        return None

    def check_precision(self, name: str) -> None:
        """Refuse a number format that this strategy does not train in.

        Raises:
            MisconfigurationException: it is one.
        """

    def configured(self, module: nn.Module, *, training: bool) -> None:
        """The module has done its ``configure_model``, and is given its state next; it is made ready for that.

        Raises:
            MisconfigurationException: it cannot be trained so.
        """

    def module_context(self) -> AbstractContextManager[Any]:
        """Modules made inside have their parameters where this strategy wants them."""
        return self.root_device

    def place(self, module: Steps, *, convert: Callable[[Steps], None], training: bool) -> None:
        """Bring the module where it runs.

        Args:
            module: with its state restored.
            convert: makes its number format and its layers those of the run, once it is on its device.
            training: make it ready for training steps, too.
        """
        module.to(self.root_device)
        convert(module)
        if training:
            self.wrap(module)

    def wrap(self, module: Steps) -> None:
        """Make the module ready for training steps; it is on its device already."""
        self.model = module

    def wrap_forward(self, module: nn.Module) -> nn.Module:
        """What a loop of the user's own is to call in the place of a module, which is on its device."""
        return module

    def module_state(self, module: nn.Module) -> dict[str, Any]:
        """The module's state, under the names that it has without any wrapper."""
        return module.state_dict()

    def load_module_state(self, module: nn.Module, state: dict[str, Any], *, strict: bool) -> None:
        """Take ``module_state`` back."""
        module.load_state_dict(state, strict=strict)

    def optimizer_state(self, optimizer: Optimizer) -> dict[str, Any]:
        """The state of an optimizer of the module's parameters."""
        return optimizer.state_dict()

    def load_optimizer_state(self, optimizer: Optimizer, state: dict[str, Any]) -> None:
        """Take ``optimizer_state`` back."""
        optimizer.load_state_dict(state)

    def gather_state(self, content: dict[str, Any], keys: Sequence[str] = STATES) -> None:
        """Make the state under these keys of a ``.ckpt``'s content what this strategy's files hold; a collective."""

    def own_part(self, state: State) -> State:
        """What this rank holds of state that is spread, as plain data and tensors."""
        return state

    def from_own_part(self, part: State) -> State:
        """Take ``own_part`` back, for ``load_module_state`` and ``load_optimizer_state``."""
        return part

    def gradients(self, module: nn.Module) -> dict[str, Any]:
        """What this rank has added up since the last step, by parameter."""
        return {name: each.grad.detach() for name, each in module.named_parameters() if each.grad is not None}

    def load_gradients(self, module: nn.Module, gradients: dict[str, Any]) -> None:
        """Take ``gradients`` back."""
        for name, parameter in module.named_parameters():
            if name in gradients:
                parameter.grad = gradients[name].to(parameter.device, copy=True)

    def clip_gradients(self, optimizer: Optimizer, value: float, algorithm: str) -> None:
        """Clip by total norm (``norm``) or each element (``value``); 0 or less switches it off.

        Raises:
            MisconfigurationException: there is no such algorithm.
            RuntimeError: the gradients are still scaled.
        """
        (self.precision_plugin or Precision()).clip_gradients(optimizer, value, algorithm)

    def training_step(self, module: Steps) -> Callable[..., Any]:
        """What to call with the arguments of ``training_step``."""
        return module.training_step

    def no_sync(self) -> AbstractContextManager[Any]:
        """Backward passes inside keep their gradients to this rank."""
        return nullcontext()

    def before_manual_backward(self, loss: Tensor) -> None:
        """Called before each backward of manual optimisation."""

    def barrier(self, name: str | None = None) -> None:
        """Wait for all ranks."""

    def broadcast(self, obj: Sent, src: int = 0) -> Sent:
        """The object that rank ``src`` has."""
        return obj

    def tell(self, words: object, src: int = 0) -> Any:
        """What rank ``src`` has to say, in JSON: unlike ``broadcast``, nothing that could run code is read."""
        return self.broadcast(words, src)

    def gather_words(self, words: object) -> list[Any]:
        """What each rank has to say, in JSON, in order of rank."""
        return self.gather_objects(words)

    def reduce(self, tensor: Reduced, group: ProcessGroup | None = None, reduce_op: ReduceOp = "mean") -> Reduced:
        """``tensor``, or every tensor in it, over all ranks.

        Args:
            tensor: alone or in a collection.
            group: of ranks, where not over all.
            reduce_op: mean, sum, min, max or product in any case, band, bor, bxor of integers, or one of
                ``torch.distributed.ReduceOp``.

        Raises:
            MisconfigurationException: there is no such operation.
        """
        operation_of(reduce_op)
        return tensor

    def reduce_boolean_decision(self, decision: bool, all: bool = True) -> bool:
        """One answer for all ranks: true if all (or any) of them say so."""
        return decision

    def all_of(self, decision: bool) -> bool:
        """True if all ranks say so, told over the host: nothing waits for a device."""
        return decision

    def on_first(self, work: Callable[[], None], what: str) -> None:
        """Let rank 0 do it, and all ranks fail where it does.

        Args:
            work: raises what is wrong.
            what: is written, for the message of the other ranks.

        Raises:
            OSError: rank 0 failed, on the others; on rank 0 what ``work`` raised.
        """
        failure: Exception | None = None
        if self.is_global_zero:
            try:
                work()
            except Exception as error:  # noqa: BLE001 - raised below, once the other ranks know that they need not wait
                failure = error
        said = self.tell(None if failure is None else f"{type(failure).__name__}: {failure}")
        if failure is not None:
            raise failure
        if said is not None:
            raise OSError(f"rank 0 could not write {what!r}: {said}")

    def wait_for_one(self, name: str, chosen: bool) -> None:
        """Wait, however long, until the chosen rank of this node (or of all) has come here."""

    def all_gather(self, data: object, group: ProcessGroup | None = None, sync_grads: bool = False) -> Any:
        """Every tensor of ``data`` with all ranks' values along a new first dimension."""
        return data

    def gather_objects(self, obj: object) -> list[Any]:
        """What each rank has, in order of rank."""
        return [obj]

    def gather_on_first(self, obj: object) -> list[Any]:
        """What each rank has, in order of rank, on rank 0; nothing on the others."""
        return [obj]

    def leave_with_first(self, obj: object, seconds: float) -> list[Any]:
        """As ``gather_on_first``, for ranks that end: over the store, and rank 0 waits so long at most.

        Raises:
            RuntimeError: a rank did not come, on rank 0.
        """
        return [obj]

    def sync_buffers(self, module: nn.Module) -> None:
        """Give all ranks the buffers of rank 0, if that is what training does."""

    def local_buffers(self, module: nn.Module) -> dict[str, Tensor]:
        """Buffers that differ between ranks and must be saved by each."""
        return {}

    @property
    def saves_together(self) -> bool:
        """Whether all ranks write a ``.ckpt``, so that all must call ``save_checkpoint``; else it is rank 0's."""
        return False

    def save_checkpoint(self, checkpoint: dict[str, Any], filepath: Path, storage_options: Any = None) -> None:
        """Write a ``.ckpt`` file, on rank 0."""
        if self.is_global_zero:
            self._io.save_checkpoint(checkpoint, filepath, storage_options=storage_options)

    def load_checkpoint(self, checkpoint_path: Path, weights_only: bool | None = None) -> dict[str, Any]:
        """Read a ``.ckpt`` file, on every rank."""
        return self._io.load_checkpoint(checkpoint_path, weights_only=weights_only)

    def remove_checkpoint(self, filepath: Path) -> None:
        """Delete a ``.ckpt`` file, on rank 0."""
        if self.is_global_zero:
            self._io.remove_checkpoint(filepath)

    def link_checkpoint(self, target: Path, filepath: Path) -> None:
        """Let ``filepath`` name the ``.ckpt`` file ``target`` too, on rank 0."""
        if self.is_global_zero:
            self._io.link_checkpoint(target, filepath)

    @property
    def _io(self) -> CheckpointIO:
        assert self.checkpoint_io is not None, "the Trainer gives its strategy one"
        return self.checkpoint_io

    def attend_optimizers(self, optimizers: Sequence[Optimizer], *, in_job: bool) -> None:
        """The optimizers are made; what belongs to their steps can be added."""

    def explanations(self, error: BaseException, module: nn.Module) -> Iterable[str]:
        """What to note on an error of this strategy's that a fit ended with."""
        return ()

    def tell_outside(self, outside: bool) -> None:
        """A run of this rank begins, or has ended, however it did; whoever started this process may want to know."""

    def leave(self) -> None:
        """This process ends: be in no group any more, unless an error ends it."""
        leave_group()

    def teardown(self) -> None:
        """Leave everything as it was found, with all checkpoints on their place."""
        self.model = None
        if self.checkpoint_io is not None:
            self.checkpoint_io.teardown()


class SingleDeviceStrategy(Strategy):
    """One process on one device, such as ``"cuda:1"``."""

"""``.ckpt`` files and directories of modules that are spread over ranks, and who reads them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from trainer_models import QUIET, in_order, regression, shuffled
from trainer_ranks import run_ranks
from trainer_sharded import Sharded, gathered

import thunderhead as th
from thunderhead.exceptions import MisconfigurationException
from thunderhead.files.consolidate_checkpoint import main
from thunderhead.strategies import FSDPStrategy, ModelParallelStrategy


class Saves(th.Callback):
    """Writes files after some batches of the run."""

    def __init__(self, folder: Path, after: tuple[int, ...] = ()) -> None:
        self.folder, self.after, self.done = folder, after, 0

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        self.done += 1
        if self.done in self.after:
            trainer.save_checkpoint(self.folder / f"{self.done}.ckpt")


class Frozen(Sharded):
    """Leaves a layer out of its state, and calls another by another name."""

    def state_dict(self, *args: Any, **kwargs: Any) -> dict[str, Any]:
        found = super().state_dict(*args, **kwargs)
        return {key.replace("net.2", "head"): value for key, value in found.items() if not key.startswith("net.0")}

    def load_state_dict(self, state_dict: Any, strict: bool = True, assign: bool = False) -> Any:
        named = {key.replace("head", "net.2"): value for key, value in state_dict.items()}
        return super().load_state_dict(named, strict=False)


class Compiled(Sharded):
    """A layer that ``torch.compile`` wraps, by a backend that compiles nothing."""

    def configure_model(self) -> None:
        super().configure_model()
        if not hasattr(self.net[0], "_orig_mod"):
            self.net[0] = torch.compile(self.net[0], backend="eager")


def strategy_of(name: str) -> Any:
    return {
        "directory": lambda: ModelParallelStrategy(tensor_parallel_size=1),
        "file": lambda: ModelParallelStrategy(tensor_parallel_size=1, save_distributed_checkpoint=False),
        "parts": lambda: ModelParallelStrategy(data_parallel_size=1),
        "parts in a file": lambda: ModelParallelStrategy(data_parallel_size=1, save_distributed_checkpoint=False),
        "fsdp": lambda: FSDPStrategy(auto_wrap_policy={nn.Linear}),
        "fsdp directory": lambda: FSDPStrategy(state_dict_type="sharded"),
        "copies": lambda: FSDPStrategy(
            sharding_strategy="HYBRID_SHARD",
            device_mesh=(2, 2),
            auto_wrap_policy={nn.Linear},
            state_dict_type="sharded",
        ),
        "both": lambda: ModelParallelStrategy(data_parallel_size=2, tensor_parallel_size=2),
        "both in a file": lambda: ModelParallelStrategy(2, 2, save_distributed_checkpoint=False),
        "ddp": lambda: "ddp",
        "one": lambda: "single_device",
    }[name]()


CASES: dict[str, Any] = {
    "directory": ("directory", lambda: Sharded(dropout=0.3), {}),
    "file": ("file", lambda: Sharded(dropout=0.3, hidden=7), {}),
    "inside of a window": ("directory", lambda: Sharded(dropout=0.3), {"accumulate_grad_batches": 2}),
    "window in a file": ("file", lambda: Sharded("whole", dropout=0.3), {"accumulate_grad_batches": 2}),
    "parts": ("parts", lambda: Sharded("tensor", dropout=0.3), {"accumulate_grad_batches": 2}),
    "parts in a file": ("parts in a file", lambda: Sharded("tensor", dropout=0.3), {}),
    "whole": ("file", lambda: Sharded("whole", dropout=0.3), {}),
    "fsdp": ("fsdp", lambda: Sharded("nothing", dropout=0.3), {}),
    "fsdp directory": ("fsdp directory", lambda: Sharded("nothing", dropout=0.3), {}),
    "compiled, directory": ("directory", Compiled, {}),
    "compiled, file": ("file", Compiled, {}),
    "copies of shards": ("copies", lambda: Sharded("nothing", dropout=0.3), {"accumulate_grad_batches": 2}),
    "pieces cut twice": ("both", lambda: Sharded("both", dropout=0.3), {"accumulate_grad_batches": 2}),
    "pieces cut twice, in a file": ("both in a file", lambda: Sharded("both", dropout=0.3), {}),
    "bf16-true": ("file", lambda: Sharded(dropout=0.3), {"precision": "bf16-true"}),
}


def fit(case: str, saves: Saves, ckpt_path: Path | None = None, strategy: Any = None) -> tuple[Any, ...]:
    """One execution, as a new process would make it: losses, weights."""
    name, make, options = CASES[case]
    th.seed_everything(3, verbose=False)
    module = make()
    trainer = th.Trainer(
        **{**QUIET, "max_epochs": 2, **options}, strategy=strategy or strategy_of(name), callbacks=[saves]
    )
    trainer.fit(module, shuffled(regression(40), batch_size=4), ckpt_path=ckpt_path)
    return module.losses, {name: value.tolist() for name, value in gathered(module).items()}


def _resumed(rank: int, folder: str, cases: list[str]) -> list[str]:
    wrong = []
    for case in cases:
        place = Path(folder) / case
        batches = {"parts": 10, "parts in a file": 10, "copies of shards": 3}.get(case, 5)
        after = (min(3, batches - 1), batches)  # inside of an epoch, and of a window; at its end
        losses, weights = fit(case, Saves(place, after))
        for moment in after:
            of_resumed = fit(case, Saves(place), place / f"{moment}.ckpt")
            if of_resumed[0] != losses[moment:]:
                wrong.append(f"{case}: losses after {moment}: {of_resumed[0]} != {losses[moment:]}")
            if of_resumed[1] != weights:
                wrong.append(f"{case}: weights after {moment}")
    return wrong


FEW = ("inside of a window", "parts in a file", "fsdp")
OF_FOUR = ("copies of shards", "pieces cut twice", "pieces cut twice, in a file")
REST = tuple(set(CASES) - set(FEW) - set(OF_FOUR))


@pytest.mark.matrix
def test_four_ranks_go_on_with_the_same_bits_and_one_process_reads_theirs(tmp_path: Path) -> None:
    assert run_ranks(_resumed, 4, tmp_path, str(tmp_path), list(OF_FOUR)) == [[]] * 4
    for case in OF_FOUR:
        assert 0 < _score(str(tmp_path / case / "3.ckpt")) < 10


@pytest.mark.parametrize("cases", [FEW, pytest.param(REST, marks=pytest.mark.matrix)])
def test_as_many_ranks_go_on_with_the_same_bits(tmp_path: Path, cases: tuple[str, ...]) -> None:
    assert run_ranks(_resumed, 2, tmp_path, str(tmp_path), sorted(cases)) == [[]] * 2


def _written(rank: int, folder: str, cases: list[str]) -> dict[str, Any]:
    return {case: fit(case, Saves(Path(folder) / case, (10,)))[1] for case in cases}


def _validated(rank: int, paths: list[str], how: str, strategy: str) -> list[Any]:
    """What each file's weights score, and its first losses of a fit that goes on from it."""
    found = []
    for path in paths:
        th.seed_everything(3, verbose=False)
        module, loader = Sharded(how), in_order(regression(20, seed=8), batch_size=20)
        trainer = th.Trainer(**QUIET, strategy=strategy_of(strategy), max_epochs=3, limit_train_batches=2)
        (score,) = trainer.validate(module, loader, ckpt_path=path, verbose=False)
        going_on = Sharded(how)
        trainer = th.Trainer(**QUIET, strategy=strategy_of(strategy), max_epochs=3, limit_train_batches=2)
        trainer.fit(going_on, in_order(regression(20, seed=8), batch_size=20), ckpt_path=path)
        found.append((score["val_loss"], len(going_on.losses), trainer.global_step))
    return found


WRITTEN = ("directory", "whole", "fsdp", "fsdp directory", "parts")


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """Files of two ranks at the end of an epoch, and the weights at the end of their run."""
    folder = tmp_path_factory.mktemp("written")
    return folder, run_ranks(_written, 2, folder, str(folder), list(WRITTEN))[0]


@pytest.mark.parametrize(
    ("world_size", "how", "strategy"),
    [
        (1, "nothing", "one"),
        (4, "layers", "directory"),
        (4, "nothing", "fsdp"),
        (2, "nothing", "ddp"),
        (2, "tensor", "parts"),
    ],
)
def test_another_number_of_ranks_and_other_strategies_go_on(
    tmp_path: Path, written: tuple[Path, Any], world_size: int, how: str, strategy: str
) -> None:
    paths = [str(written[0] / case / "10.ckpt") for case in WRITTEN]
    expected = [_score(path) for path in paths]
    for found in run_ranks(_validated, world_size, tmp_path, paths, how, strategy):
        for (score, batches, steps), of_one in zip(found, expected, strict=True):
            assert score == pytest.approx(of_one, rel=1e-5)
            assert batches > 0
            assert steps > 5


def _score(path: str) -> float:
    """Without a process group, on this CPU."""
    module = Sharded.load_from_checkpoint(path)
    inputs, target = regression(20, seed=8).tensors
    with torch.no_grad():
        return torch.nn.functional.mse_loss(module.eval()(inputs), target).item()


def test_one_process_reads_what_many_wrote(written: tuple[Path, Any]) -> None:
    folder, _ = written
    for case in WRITTEN:
        assert torch.isfinite(torch.tensor(_score(str(folder / case / "10.ckpt"))))
    assert (folder / "directory/10.ckpt").is_dir()
    assert (folder / "whole/10.ckpt").is_file()
    assert sorted(p.name for p in (folder / "directory").iterdir()) == ["10.ckpt"]


def test_a_directory_is_made_one_file(
    written: tuple[Path, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source, output = written[0] / "fsdp directory/10.ckpt", tmp_path / "whole.ckpt"
    assert main([str(source), "--output_file", str(output)]) == 0
    assert capsys.readouterr().out.strip() == str(output)
    made = torch.load(output, weights_only=True)
    assert _score(str(output)) == _score(str(source))
    assert set(made["optimizer_states"][0]["state"]) == set(range(4))
    assert main([str(source), "--output_file", str(output)]) == 1
    assert "exists; pass another --output_file" in capsys.readouterr().err


@pytest.mark.filterwarnings("ignore:torch.distributed is disabled")
def test_a_directory_that_calls_the_module_model(tmp_path: Path) -> None:
    """As Lightning's FSDPStrategy lays one out: made by hand, of a file."""
    import torch.distributed.checkpoint as dcp

    def run(steps: Saves, path: Path | None = None) -> tuple[Any, ...]:
        return fit("fsdp", steps, path, "single_device")

    losses, weights = run(Saves(tmp_path, (3,)))
    content = torch.load(tmp_path / "3.ckpt", weights_only=True)
    (state,) = content.pop("optimizer_states")
    names = list(content["state_dict"])
    groups = [{**group, "params": [names[number] for number in group["params"]]} for group in state["param_groups"]]
    by_name = {"state": {names[number]: of for number, of in state["state"].items()}, "param_groups": groups}
    place = tmp_path / "theirs.ckpt"
    tensors = {"model": content.pop("state_dict"), "optimizer_0": by_name}
    dcp.save(tensors, storage_writer=dcp.FileSystemWriter(place), no_dist=True)
    torch.save(content, place / "meta.pt")

    assert run(Saves(tmp_path), place) == (losses[3:], weights)
    read = Sharded.load_from_checkpoint(place, how="nothing")
    assert all(torch.equal(value, tensors["model"][name]) for name, value in read.state_dict().items())


def test_a_directory_of_another_kind_is_told(tmp_path: Path) -> None:
    (tmp_path / "x.ckpt").mkdir()
    with pytest.raises(MisconfigurationException, match=r"is a directory that holds no \.metadata"):
        Sharded.load_from_checkpoint(tmp_path / "x.ckpt")


def test_a_description_that_would_run_code_is_refused(tmp_path: Path) -> None:
    import pickle

    class Bomb:
        def __reduce__(self) -> Any:
            return print, ("ran",)

    (tmp_path / ".metadata").write_bytes(pickle.dumps(Bomb()))
    with pytest.raises(MisconfigurationException, match=r"names builtins\.print, which no description needs"):
        Sharded.load_from_checkpoint(tmp_path)


def _own_states(rank: int, folder: str) -> list[Any]:
    found = []
    for name in ("file", "directory"):
        place = Path(folder) / f"own-{name}"
        th.seed_everything(3, verbose=False)
        module = Frozen()
        trainer = th.Trainer(**QUIET, strategy=strategy_of(name), max_epochs=1, callbacks=[Saves(place, (3,))])
        trainer.fit(module, shuffled(regression(40), batch_size=4))
        trainer.save_checkpoint(place / "after.ckpt")
        assert (place / "after.ckpt").exists()
        other = Frozen()
        trainer = th.Trainer(**QUIET, strategy=strategy_of(name), max_epochs=1)
        trainer.fit(other, shuffled(regression(40), batch_size=4), ckpt_path=place / "3.ckpt")
        content = torch.load(place / "3.ckpt") if name == "file" and rank == 0 else None
        found.append(None if content is None else sorted(content["state_dict"]))
        found.append(len(other.losses))
    return found


def test_a_module_with_a_state_of_its_own(tmp_path: Path) -> None:
    first, other = run_ranks(_own_states, 2, tmp_path, str(tmp_path))
    assert first[0] == ["head.bias", "head.weight"]
    assert first[1:] == [2, None, 2]
    assert other[1] == 2


class Fails(th.Callback):
    """An error on rank 0 alone."""

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        if batch_idx == 2:
            raise ZeroDivisionError("on purpose")


def _after_an_error(rank: int, folder: str) -> str:
    from thunderhead.callbacks import OnExceptionCheckpoint

    callbacks = [Fails(), OnExceptionCheckpoint(folder)]
    options = {**QUIET, "enable_checkpointing": True}
    trainer = th.Trainer(**options, strategy=strategy_of("file"), max_epochs=1, callbacks=callbacks)
    with pytest.raises(ZeroDivisionError) as error:
        trainer.fit(Sharded(), shuffled(regression(40), batch_size=4))
    return "\n".join(getattr(error.value, "__notes__", []))


def test_after_an_error_no_piece_is_taken_for_the_whole(tmp_path: Path) -> None:
    folder = tmp_path / "failed"
    notes = run_ranks(_after_an_error, 2, tmp_path, str(folder))
    assert "is not written: this rank holds a part of" in notes[0]
    assert not list(folder.rglob("*.ckpt"))

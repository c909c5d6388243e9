"""The same metrics with one, two and three ranks: every sample counts once, in every loader and reduction."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
import torchmetrics
from torch.utils.data import DataLoader, TensorDataset
from trainer_models import QUIET, Net, regression
from trainer_ranks import run_ranks

import thunderhead as th
from thunderhead import warning
from thunderhead.distributed.environment import ProcessRank
from thunderhead.exceptions import MisconfigurationException
from thunderhead.strategies import DDPStrategy, SingleDeviceStrategy


class Reducing(th.LightningModule):
    """Logs each value of a sample's number, in every reduction."""

    def validation_step(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> None:
        (numbers,) = batch
        self.log("mean", numbers.mean(), sync_dist=True)
        self.log("sum", numbers.sum(), sync_dist=True, reduce_fx="sum")
        self.log("count", float(len(numbers)), sync_dist=True, reduce_fx="sum")
        self.log("min", numbers.min(), sync_dist=True, reduce_fx="min")
        self.log("max", numbers.max(), sync_dist=True, reduce_fx="max")

    test_step = validation_step


def _evaluate(rank: int, fn: str, sizes: list[int], batch_size: int) -> list[dict[str, float]]:
    loaders = [
        DataLoader(TensorDataset(torch.arange(size, dtype=torch.float64) + 100 * index), batch_size=batch_size)
        for index, size in enumerate(sizes)
    ]
    found: list[dict[str, float]] = getattr(th.Trainer(**QUIET), fn)(
        Reducing(), loaders if len(loaders) > 1 else loaders[0], verbose=False
    )
    return found


@pytest.mark.parametrize("fn", ["validate", "test"])
@pytest.mark.parametrize(("sizes", "batch_size"), [([23], 4), ([7], 1), ([4], 3), ([22, 13, 5], 4)], ids=str)
def test_metrics_do_not_depend_on_the_number_of_ranks(
    tmp_path: Path, fn: str, sizes: list[int], batch_size: int
) -> None:
    alone = run_ranks(_evaluate, 1, tmp_path, fn, sizes, batch_size)[0]
    counts = [value for found in alone for name, value in found.items() if name.startswith("count")]
    assert counts == sizes
    for world_size in (2, 3):
        for found in run_ranks(_evaluate, world_size, tmp_path, fn, sizes, batch_size):
            assert [list(metrics) for metrics in found] == [list(metrics) for metrics in alone]
            for mine, its in zip(found, alone, strict=True):
                assert mine == pytest.approx(its, rel=1e-12), world_size


def test_fewer_samples_than_ranks(tmp_path: Path) -> None:
    """A rank without a sample takes part in the reductions all the same, and knows what came of them."""
    alone = run_ranks(_evaluate, 1, tmp_path, "validate", [2], 4)[0]
    for found in run_ranks(_evaluate, 3, tmp_path, "validate", [2], 4):
        assert found == [pytest.approx(alone[0])]


class Measuring(th.LightningModule):
    """Metric objects, one of them of all that it saw, and numbers of every step."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(()))
        self.metrics = torch.nn.ModuleDict(
            {"mean": torchmetrics.MeanMetric(), "max": torchmetrics.MaxMetric(), "cat": Median()}
        )

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        return self.weight * batch[0].sum()

    def validation_step(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> None:
        (numbers,) = batch
        for name in ("mean", "max", "cat") if dataloader_idx == 0 else ("cat", "max"):
            self.metrics[name].update(numbers)
            self.log(name, self.metrics[name], on_step=False, on_epoch=True)
        self.log("each", numbers.sum(), on_step=True, on_epoch=True, sync_dist=True, reduce_fx="sum")

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), lr=0.0)


class Median(torchmetrics.Metric):
    """Keeps everything: a list that is empty where there was nothing."""

    seen: list[torch.Tensor]

    def __init__(self) -> None:
        super().__init__()
        self.add_state("seen", default=[], dist_reduce_fx="cat")

    def update(self, numbers: torch.Tensor) -> None:
        self.seen.append(numbers.float())

    def compute(self) -> torch.Tensor:
        return torchmetrics.utilities.dim_zero_cat(self.seen).median()


SIZES = [[1], [2], [2, 1], [1, 7]]
OPERATIONS: dict[Any, float] = {
    **dict.fromkeys(("max", "MAX", "Max", dist.ReduceOp.MAX), 3.0),
    **dict.fromkeys(("min", "MIN", dist.ReduceOp.MIN), 1.0),
    **dict.fromkeys(("sum", "SUM", dist.ReduceOp.SUM, "product", dist.ReduceOp.PRODUCT), 6.0),
    **dict.fromkeys(("mean", "avg", "AVG", dist.ReduceOp.AVG), 2.0),
}


def _counted(size: int) -> DataLoader[Any]:
    return DataLoader(TensorDataset(torch.arange(1.0, size + 1)), batch_size=1)


def _measured(sizes: list[int]) -> list[dict[str, float]]:
    found: list[dict[str, float]] = th.Trainer(**QUIET).validate(
        Measuring(), [_counted(size) for size in sizes], verbose=False
    )
    return found


@pytest.fixture(scope="module")
def of_ranks(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """What three ranks found, all in one run: it takes long to start them."""
    return run_ranks(_uneven, 3, tmp_path_factory.mktemp("ranks"), timeout_s=250)


def _uneven(rank: int) -> dict[str, Any]:
    warnings.filterwarnings("ignore", "self.log.'each', on_step=True")
    return {
        "measured": [_measured(sizes) for sizes in SIZES],
        "first": _only_first(rank),
        "stopped": _stopped(),
        "grouped": _grouped(rank),
        "operations": _operations(rank),
    }


@pytest.mark.timeout(300)  # it starts the ranks
def test_metric_objects_with_fewer_samples_than_ranks(of_ranks: list[dict[str, Any]]) -> None:
    alone = [_measured(sizes) for sizes in SIZES]
    for found in of_ranks:
        assert found["measured"] == [[pytest.approx(metrics) for metrics in loaders] for loaders in alone]


def test_what_only_rank_0_shows_is_computed_by_all(of_ranks: list[dict[str, Any]]) -> None:
    assert [found["first"] for found in of_ranks] == [{"mean": 2.5}, {}, {}]


def _only_first(rank: int) -> dict[str, float]:
    class Only(Measuring):
        def validation_step(self, batch: Any, batch_idx: int) -> None:  # type: ignore[override]
            self.metrics["mean"].update(batch[0])
            if rank == 0:
                self.log("mean", self.metrics["mean"], rank_zero_only=True)

    return dict(th.Trainer(**QUIET).validate(Only(), _counted(4), verbose=False)[0])


def test_ranks_stop_together_by_what_one_of_them_saw(of_ranks: list[dict[str, Any]]) -> None:
    """One validation sample: all ranks watch what came of it, and end after the same epoch."""
    assert [found["stopped"] for found in of_ranks] == [2, 2, 2]


def _stopped() -> int:
    class Watched(Measuring):
        def validation_step(self, batch: Any, batch_idx: int) -> None:  # type: ignore[override]
            self.metrics["mean"].update(batch[0])
            self.log("mean", self.metrics["mean"])

    stopping = th.callbacks.EarlyStopping("mean", patience=1)
    trainer = th.Trainer(**QUIET, max_epochs=5, callbacks=[stopping], num_sanity_val_steps=0)
    trainer.fit(Watched(), _counted(6), _counted(1))
    return trainer.current_epoch


def test_a_group_must_log_together(of_ranks: list[dict[str, Any]]) -> None:
    for found in of_ranks:
        assert "sync_dist_group=...) in on_validation_epoch_end" in found["grouped"]
        assert "was called on ranks of its group, but not on 1; log it on all of [0, 1]" in found["grouped"]


def _grouped(rank: int) -> str:
    pair = dist.new_group([0, 1])

    class Grouped(Measuring):
        def on_validation_epoch_end(self) -> None:
            if rank == 0:
                self.log("half", 1.0, sync_dist=True, sync_dist_group=pair)

    with pytest.raises(MisconfigurationException) as caught:
        th.Trainer(**QUIET).validate(Grouped(), _counted(6), verbose=False)
    return str(caught.value)


def test_a_metric_that_only_ranks_with_a_batch_have_is_an_error_on_all(tmp_path: Path) -> None:
    """Made at the first batch, which one rank never sees; or known under a name that is no metric's."""
    for found in run_ranks(_lazy, 2, tmp_path, timeout_s=40):
        assert [message.split(" had no batch")[0] for message in found] == [
            "self.log('late', metric_attribute='late'): rank 1",
            "self.log('late', metric_attribute='layer'): rank 1",
        ]
        assert all("its Lazy has no metric of that name; make it in __init__" in message for message in found)


def _lazy(rank: int) -> list[str]:
    class Lazy(th.LightningModule):
        def __init__(self, attribute: str | None) -> None:
            super().__init__()
            self.layer, self.attribute = torch.nn.Linear(1, 1), attribute

        def validation_step(self, batch: Any, batch_idx: int) -> None:
            if not hasattr(self, "late"):
                self.late = torchmetrics.MeanMetric()
            self.late.update(batch[0])
            self.log("late", self.late, metric_attribute=self.attribute)

    said = []
    for attribute in (None, "layer"):
        with pytest.raises(MisconfigurationException) as caught:
            th.Trainer(**QUIET).validate(Lazy(attribute), _counted(1), verbose=False)
        said.append(str(caught.value))
    return said


# Batches of each loader by rank, and the step values on each.
STEPS: dict[str, tuple[list[list[int]], list[list[float]]]] = {
    "equally many": ([[2], [2]], [[3.0, 3.0], [3.0, 3.0]]),
    "a loader without any": ([[2, 0], [2, 0]], [[3.0, 3.0], [3.0, 3.0]]),
    "one rank has more": ([[1], [3]], [[1.0], [2.0, 2.0, 2.0]]),
    "as many in all, not in each loader": ([[2, 1], [1, 2]], [[1.0, 1.0, 1.0], [2.0, 2.0, 2.0]]),
    "one rank has none": ([[2], [0]], [[1.0, 1.0], []]),
}


def test_step_values_are_reduced_where_ranks_have_equally_many_batches(tmp_path: Path) -> None:
    """Rank 0 logs ones and rank 1 twos, together three; else each keeps its own, and rank 0 says so."""
    ranks = run_ranks(_stepped, 2, tmp_path, timeout_s=40)
    for case, (_, values) in STEPS.items():
        assert [found[case][0] for found in ranks] == values, case
        assert [found[case][1] for found in ranks] == [values[0][0] != 3.0, False], case


def _stepped(rank: int) -> dict[str, tuple[list[float], bool]]:
    class Stepping(th.LightningModule):
        def validation_step(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> None:
            self.log("each", rank + 1.0, on_step=True, on_epoch=True, sync_dist=True, reduce_fx="sum")

        def on_validation_batch_end(self, outputs: Any, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> None:
            logged = self.trainer.logged_metrics
            seen.append(logged.get(f"each_step/dataloader_idx_{dataloader_idx}", logged.get("each_step")).item())

    found = {}
    for case, (sizes, _) in STEPS.items():
        seen: list[float] = []
        warning._said.clear()
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            trainer = th.Trainer(**QUIET, use_distributed_sampler=False)
            trainer.validate(Stepping(), [_counted(size) for size in sizes[rank]], verbose=False)
        found[case] = seen, any("different numbers of batches" in str(each.message) for each in caught)
    return found


def test_operations_by_any_of_their_names(of_ranks: list[dict[str, Any]]) -> None:
    for found in of_ranks:
        assert found["operations"] == list(OPERATIONS.values())


def _operations(rank: int) -> list[float]:
    strategy = DDPStrategy()
    strategy.bind(torch.device("cpu"), ProcessRank(rank, 3, rank, 3, 0))
    return [strategy.reduce(torch.tensor(rank + 1.0), reduce_op=name).item() for name in OPERATIONS]


@pytest.mark.parametrize("asked", ["maximum", "maxx", "", None, max, 3, dist.ReduceOp.PREMUL_SUM])
@pytest.mark.parametrize("strategy", [DDPStrategy, SingleDeviceStrategy])
def test_an_operation_that_does_not_exist_is_no_sum(asked: Any, strategy: Any) -> None:
    with pytest.raises(MisconfigurationException, match=r"does not exist.* There are mean, avg, sum, min"):
        strategy().reduce(torch.ones(1), reduce_op=asked)


def test_what_is_reduced_over_ranks_at_an_epochs_end_is_there_in_the_sanity_check(tmp_path: Path) -> None:
    assert run_ranks(_sanity, 2, tmp_path) == [[2.0, 2.0], [2.0, 2.0]]


def _sanity(rank: int) -> list[float]:
    seen = []

    class Last(Net):
        def on_validation_epoch_end(self) -> None:
            self.log("highest_rank", float(rank + 1), sync_dist=True, reduce_fx="max")

        def on_validation_end(self) -> None:
            seen.append(self.trainer.callback_metrics["highest_rank"].item())

    loader = DataLoader(regression(8), batch_size=4)
    th.Trainer(**QUIET, max_epochs=1).fit(Last(scheduler="none"), loader, loader)
    return seen

"""Datasets and loaders of a run, in one object that can be shared between modules."""

from __future__ import annotations

import inspect
import os
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, cast

from torch.utils.data import DataLoader, Dataset, IterableDataset

from thunderhead.core.data_hooks import DataModule
from thunderhead.files.file import MapLocation, Source
from thunderhead.files.loading import ClassOnly, load_datamodule
from thunderhead.hooks.overriding import is_overridden

if TYPE_CHECKING:
    from thunderhead.trainer.trainer import Trainer


class LightningDataModule(DataModule):
    """Everything about data: preparing it once, building datasets per stage, and the loaders.

    ``prepare_data`` runs on one process per node, ``setup(stage)`` on every rank, then the loader hooks. A datamodule
    with ``state_dict`` and ``load_state_dict`` has its state in every checkpoint.
    """

    _declares_hooks = True
    name: str | None = None

    def __init__(self) -> None:
        super().__init__()
        self.trainer: Trainer | None = None

    @ClassOnly
    def load_from_checkpoint(
        cls,
        checkpoint_path: Source,
        map_location: MapLocation = None,
        hparams_file: str | os.PathLike[str] | None = None,
        weights_only: bool | None = None,
        **kwargs: object,
    ) -> LightningDataModule:
        """A new datamodule with the hyperparameters and state of a ``.ckpt`` file.

        Args:
            checkpoint_path: the file, a URL, or a binary stream such as ``io.BytesIO``.
            map_location: where tensors go; by default where they were.
            hparams_file: ``.yaml`` or ``.csv`` file to take hyperparameters from instead.
            weights_only: refuse a file that holds more than tensors and plain data (the default).
            **kwargs: constructor arguments, stronger than the saved ones.

        Raises:
            FileNotFoundError: there is no such file.
            MisconfigurationException: it holds objects, which only ``weights_only=False`` loads.
            TypeError: called on an instance.
        """
        owner = cast(type[LightningDataModule], cls)
        return load_datamodule(owner, checkpoint_path, map_location, hparams_file, weights_only, **kwargs)

    @classmethod
    def from_datasets(
        cls,
        train_dataset: Dataset[Any] | Sequence[Dataset[Any]] | Mapping[str, Dataset[Any]] | None = None,
        val_dataset: Dataset[Any] | Sequence[Dataset[Any]] | None = None,
        test_dataset: Dataset[Any] | Sequence[Dataset[Any]] | None = None,
        predict_dataset: Dataset[Any] | Sequence[Dataset[Any]] | None = None,
        batch_size: int = 1,
        num_workers: int = 0,
        **datamodule_kwargs: object,
    ) -> LightningDataModule:
        """A datamodule from finished datasets; training data is shuffled unless it is iterable-style.

        Args:
            train_dataset: one, a sequence or a mapping of datasets for training.
            val_dataset: one dataset or several for validation.
            test_dataset: one dataset or several for testing.
            predict_dataset: one dataset or several for prediction.
            batch_size: samples per batch.
            num_workers: loader processes per loader.
            **datamodule_kwargs: passed to the constructor of ``cls``, with ``batch_size`` and ``num_workers`` where it
                takes these.
        """

        def loader(dataset: Dataset[Any], shuffle: bool) -> DataLoader[Any]:
            shuffle = shuffle and not isinstance(dataset, IterableDataset)
            return DataLoader(
                dataset,
                batch_size=batch_size,
                shuffle=shuffle,
                num_workers=num_workers,
                pin_memory=False,
            )

        def loaders(
            datasets: Dataset[Any] | Sequence[Dataset[Any]] | Mapping[str, Dataset[Any]], shuffle: bool = False
        ) -> Iterable[Any]:
            if isinstance(datasets, Mapping):
                return {name: loader(dataset, shuffle) for name, dataset in datasets.items()}
            if isinstance(datasets, Sequence):
                return [loader(dataset, shuffle) for dataset in datasets]
            return loader(datasets, shuffle)

        sizes = {"batch_size": batch_size, "num_workers": num_workers}
        made = cls(**datamodule_kwargs, **taken_by(cls, sizes))
        if train_dataset is not None:
            made.train_dataloader = lambda: loaders(train_dataset, shuffle=True)  # type: ignore[method-assign]
        if val_dataset is not None:
            made.val_dataloader = lambda: loaders(val_dataset)  # type: ignore[method-assign]
        if test_dataset is not None:
            made.test_dataloader = lambda: loaders(test_dataset)  # type: ignore[method-assign]
        if predict_dataset is not None:
            made.predict_dataloader = lambda: loaders(predict_dataset)  # type: ignore[method-assign]
        return made

    def __str__(self) -> str:
        """Its loaders, with the sizes of their datasets."""
        shown = [f"{stage.capitalize()} dataloader: {sizes_of(self, f'{stage}_dataloader')}" for stage in _STAGES]
        return "\n".join(shown)


_STAGES = ("train", "val", "test", "predict")


def taken_by(cls: type, values: Mapping[str, object]) -> dict[str, Any]:
    """Those of ``values`` that the constructor of ``cls`` takes."""
    parameters = inspect.signature(cls).parameters
    takes_all = any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values())
    return {name: value for name, value in values.items() if takes_all or name in parameters}


def sizes_of(datamodule: LightningDataModule, hook: str) -> str:
    """How many samples the loaders of ``hook`` read, without starting them; what cannot be told is left open."""
    if not is_overridden(hook, datamodule):
        return "none"
    try:
        loaders = getattr(datamodule, hook)()
    except Exception as error:  # noqa: BLE001 - before setup any of them may lack what it reads
        return f"not there yet ({type(error).__name__}: {error})"
    return _sizes(loaders)


def _sizes(loaders: object) -> str:
    if isinstance(loaders, Mapping):
        return "{" + ", ".join(f"{name}: {_sizes(loader)}" for name, loader in loaders.items()) + "}"
    if isinstance(loaders, (list, tuple)):
        return "[" + ", ".join(map(_sizes, loaders)) + "]"
    try:
        return f"size={len(getattr(loaders, 'dataset', loaders))}"  # type: ignore[arg-type]  # those that have none say so
    except TypeError:
        return "size unknown"

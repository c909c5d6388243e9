"""Hyperparameters in files: beside checkpoints, and in those of old releases."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import thunderhead as th
from thunderhead.files.hparams_files import (
    load_hparams_from_tags_csv,
    load_hparams_from_yaml,
    save_hparams_to_tags_csv,
    save_hparams_to_yaml,
    update_hparams,
)

PLAIN = {"lr": 0.1, "layers": [1, 2], "name": "a", "nested": {"deep": True}, "none": None}


@pytest.mark.parametrize("given", [PLAIN, Namespace(**PLAIN)], ids=["dict", "namespace"])
@pytest.mark.parametrize("kind", ["yaml", "csv"])
def test_what_is_saved_is_loaded(tmp_path: Path, given: Any, kind: str) -> None:
    path = tmp_path / "new" / f"hparams.{kind}"
    save, load = {
        "yaml": (save_hparams_to_yaml, load_hparams_from_yaml),
        "csv": (save_hparams_to_tags_csv, load_hparams_from_tags_csv),
    }[kind]
    save(path, given)
    assert load(path) == PLAIN


def test_what_yaml_cannot_say_is_left_out(tmp_path: Path) -> None:
    with pytest.warns(UserWarning, match="'layer' is left out: YAML has no plain form for a Linear"):
        save_hparams_to_yaml(tmp_path / "a.yaml", {"lr": 1, "layer": nn.Linear(1, 1)})
    assert load_hparams_from_yaml(tmp_path / "a.yaml") == {"lr": 1}
    with pytest.raises(TypeError, match="neither a mapping nor a Namespace"):
        save_hparams_to_yaml(tmp_path / "a.yaml", [1])  # type: ignore[arg-type]  # what the test is about


@pytest.mark.parametrize("load", [load_hparams_from_yaml, load_hparams_from_tags_csv])
def test_a_file_that_is_not_there_holds_none(tmp_path: Path, load: Any) -> None:
    with pytest.warns(UserWarning, match="there is no file"):
        assert load(tmp_path / "none.yaml") == {}


def test_updates_go_into_what_is_nested() -> None:
    found = {"a": 1, "b": {"c": 2, "d": 3}}
    update_hparams(found, {"a": 4, "b": {"c": 5}, "e": {"f": 6}})
    assert found == {"a": 4, "b": {"c": 5, "d": 3}, "e": {"f": 6}}


class Sized(th.LightningModule):
    def __init__(self, width: int = 1, depth: int = 1, **other: Any) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.layer = nn.Linear(width, depth)


class Wider(Sized):
    """Derives from it."""


def written(path: Path, **changes: Any) -> Path:
    """A file of a module of width 3, with other entries."""
    content = {
        "state_dict": nn.Module.state_dict(Sized(3)),
        "pytorch-lightning_version": "2.6.6",
        "hyper_parameters": {"width": 3},
        **changes,
    }
    torch.save({name: value for name, value in content.items() if value is not ...}, path)
    return path


@pytest.mark.parametrize("key", ["module_arguments", "hparams"])
def test_past_names_of_hyperparameters_are_read(tmp_path: Path, key: str) -> None:
    path = written(tmp_path / "a.ckpt", **{"hyper_parameters": ..., key: {"width": 3}})
    assert Sized.load_from_checkpoint(path).hparams.width == 3
    newer = written(tmp_path / "b.ckpt", **{key: {"width": 5, "depth": 1}})
    assert Sized.load_from_checkpoint(newer).hparams.width == 3


def test_hyperparameters_of_now_are_saved_and_those_of_then_remembered(tmp_path: Path) -> None:
    module = Sized(2)
    module.hparams.width = 3
    assert (module.hparams.width, module.hparams_initial["width"]) == (3, 2)

"""Hyperparameters: kept, changed, written, and used to make the module again."""

from __future__ import annotations

import collections
import dataclasses
import logging
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from trainer_line import Line, fit, numbers, trainer

import thunderhead as th
from thunderhead.core.hparams import HyperparametersMixin, merged
from thunderhead.exceptions import MisconfigurationException


class Net(Line):
    """Saves all arguments."""

    def __init__(self, width: int, rate: float = 0.5, *rest: Any, name: str = "net", **more: Any) -> None:
        super().__init__()
        local = width + 1
        self.save_hyperparameters()
        self.local = local
        self.made_with = {"width": width, "rate": rate, "name": name, **more}


class Derived(Net):
    """Its own argument is kept too, though its base saves."""

    def __init__(self, depth: int = 3, **more: Any) -> None:
        super().__init__(**{"width": 7, **more})
        self.depth = depth


class Chosen(Line):
    """Saves what it is told to."""

    def __init__(self, width: int = 1, rate: float = 0.5, secret: str = "x", **how: Any) -> None:
        super().__init__()
        self.save_hyperparameters(*how.get("names", ()), ignore=how.get("ignore"))


def test_all_arguments() -> None:
    assert Net(2).hparams == {"width": 2, "rate": 0.5, "name": "net"}
    assert Net(2, 0.1, name="n", extra=[1]).hparams == {"width": 2, "rate": 0.1, "name": "n", "extra": [1]}


def test_arguments_of_derived_classes() -> None:
    assert Derived(depth=5, rate=0.25).hparams == {"depth": 5, "width": 7, "rate": 0.25, "name": "net"}


def test_constructors_of_other_objects_stay_out() -> None:
    class Holder(th.LightningModule):
        def __init__(self, inner_width: int) -> None:
            super().__init__()
            self.inner = Net(inner_width)

    holder = Holder(4)
    assert holder.hparams == {}
    assert holder.inner.hparams == {"width": 4, "rate": 0.5, "name": "net"}


@pytest.mark.parametrize(
    ("how", "expected"),
    [
        ({"names": ("width", "rate")}, {"width": 1, "rate": 0.5}),
        ({"ignore": "secret"}, {"width": 1, "rate": 0.5, "ignore": "secret"}),
        ({"ignore": ["secret", "rate", "ignore"]}, {"width": 1}),
        ({"names": ("width", "rate"), "ignore": ["rate"]}, {"width": 1}),
    ],
)
def test_chosen_arguments(how: dict[str, Any], expected: dict[str, Any]) -> None:
    assert Chosen(**how).hparams == expected


def test_a_name_that_is_no_argument() -> None:
    with pytest.raises(MisconfigurationException, match=r"'wdith'.*no such argument of Chosen.*'width'"):
        Chosen(names=("wdith",))


class Config(Line):
    """Takes one object with everything in it."""

    def __init__(self, conf: Any, other: int = 0) -> None:
        super().__init__()
        self.save_hyperparameters(conf)
        self.conf = conf


@pytest.mark.parametrize("make", [dict, Namespace, th.core.hparams.AttributeDict])
def test_one_object(make: Callable[..., Any], tmp_path: Path) -> None:
    module = Config(make(width=3, rate=0.5))
    assert module.hparams == {"width": 3, "rate": 0.5}
    fit(module, 1).save_checkpoint(tmp_path / "a.ckpt")
    saved = torch.load(tmp_path / "a.ckpt", weights_only=True)
    assert (saved["hyper_parameters"], saved["hparams_name"]) == ({"width": 3, "rate": 0.5}, "conf")
    again = Config.load_from_checkpoint(tmp_path / "a.ckpt", rate=0.125)
    assert (again.conf.width, again.conf["rate"]) == (3, 0.125)
    assert again.hparams == {"width": 3, "rate": 0.125}


class Tree(collections.UserDict[str, Any]):
    """A config object that is no dict."""


def test_a_config_object_is_kept_as_it_is() -> None:
    conf = Tree(width=3)
    module = Config(conf)
    assert module.hparams is conf
    module.hparams["width"] = 4
    assert (type(module.hparams_initial), module.hparams_initial["width"]) == (Tree, 3)


@pytest.mark.parametrize("value", [3, 0.5, [1, 2], None, object()])
def test_what_holds_no_hyperparameters(value: Any) -> None:
    with pytest.raises(ValueError, match="save_hyperparameters got"):
        Config(value)


def test_attributes_and_the_initial_copy() -> None:
    module = Net(2, extra=[1])
    module.hparams.rate = 0.75
    module.hparams["width"] = 9
    module.hparams.extra.append(2)
    assert module.hparams == {"width": 9, "rate": 0.75, "name": "net", "extra": [1, 2]}
    assert module.hparams_initial == {"width": 2, "rate": 0.5, "name": "net", "extra": [1]}
    module.hparams_initial.extra.append(3)
    assert module.hparams_initial.extra == [1]
    with pytest.raises(AttributeError, match=r"'wdith'. Did you mean 'width'\? There are .*save_hyperp"):
        _ = module.hparams.wdith


def test_dataclasses_and_other_classes() -> None:
    @dataclasses.dataclass
    class Data(th.LightningDataModule):
        size: int
        path: str = "here"

        def __post_init__(self) -> None:
            super().__init__()
            self.save_hyperparameters()

    class Other(HyperparametersMixin):
        def __init__(self, a: int, *, b: int = 2) -> None:
            self.save_hyperparameters()

    assert Data(3).hparams == {"size": 3, "path": "here"}
    assert Other(1).hparams == {"a": 1, "b": 2}


def test_what_cannot_be_written_is_dropped_with_a_word(tmp_path: Path) -> None:
    module = Net(2, function=lambda: 0)
    with pytest.warns(UserWarning, match=r"hyperparameter 'function'.*cannot be pickled"):
        made = fit(module, 1)
    assert module.hparams == {"width": 2, "rate": 0.5, "name": "net"}
    made.save_checkpoint(tmp_path / "a.ckpt")
    assert torch.load(tmp_path / "a.ckpt", weights_only=True)["hyper_parameters"] == module.hparams


def test_modules_are_warned_of() -> None:
    """As objects of their class they keep the file from being read safely."""
    rule = r"hyperparameters \['extra'\] of Net are modules.*ignore=\['extra'\]\)$"
    with pytest.warns(UserWarning, match=rule) as caught:
        module = Net(1, extra=torch.nn.Linear(2, 2))
    assert [(len(caught), one.filename) for one in caught] == [(1, __file__)]
    assert isinstance(module.hparams.extra, torch.nn.Linear)


# --- making it again -------------------------------------------------------------------------------------------------


@pytest.fixture
def written(tmp_path: Path) -> Path:
    """The checkpoint of a trained Derived."""
    path = tmp_path / "derived.ckpt"
    fit(Derived(depth=5, rate=0.25, extra=1), 3).save_checkpoint(path)
    return path


def test_load_from_checkpoint(written: Path) -> None:
    module = Derived.load_from_checkpoint(written)
    assert (type(module), module.depth, module.weight.item()) == (Derived, 5, -3)
    assert module.made_with == {"width": 7, "rate": 0.25, "name": "net", "extra": 1}
    assert Derived.load_from_checkpoint(str(written), depth=6, rate=1).hparams == {
        "width": 7,
        "name": "net",
        "extra": 1,
        "depth": 6,
        "rate": 1,
    }


def test_arguments_that_the_class_does_not_take_are_left_out(written: Path) -> None:
    class Smaller(Line):
        def __init__(self, rate: float = 1.0) -> None:
            super().__init__()
            self.rate = rate

    module = Smaller.load_from_checkpoint(written)
    assert (module.rate, module.weight.item()) == (0.25, -3)


@pytest.mark.parametrize(
    ("name", "hint"), [("rte", r"'rte'\. Did you mean 'rate'\?$"), ("zzz", r"'zzz'\.$"), ("depth", r"'depth'\.$")]
)
def test_overrides_without_effect_are_warned_of(written: Path, name: str, hint: str) -> None:
    """Also where a hyperparameter of the file has that name: nothing would take it."""

    class Smaller(Line):
        def __init__(self, rate: float = 1.0) -> None:
            super().__init__()
            self.rate = rate

    rule = rf"^Smaller\.load_from_checkpoint\({name}=3\) has no effect: Smaller\.__init__ has no argument {hint}"
    with pytest.warns(UserWarning, match=rule) as caught:
        assert Smaller.load_from_checkpoint(written, **{name: 3}, rate=2.0).rate == 2.0
    assert [(len(caught), one.filename) for one in caught] == [(1, __file__)]


def test_overrides_inside_of_one_object_have_their_effect(tmp_path: Path) -> None:
    class Config(Line):
        def __init__(self, options: dict[str, Any]) -> None:
            super().__init__()
            self.save_hyperparameters(options)

    fit(Config({"rate": 0.5}), 1).save_checkpoint(tmp_path / "a.ckpt")
    assert Config.load_from_checkpoint(tmp_path / "a.ckpt", rate=2, more=3).hparams == {"rate": 2, "more": 3}


def test_keyword_arguments_are_no_argument_of_that_name(tmp_path: Path) -> None:
    class Keywords(Line):
        def __init__(self, **kwargs: Any) -> None:
            super().__init__()
            self.save_hyperparameters()

    fit(Keywords(width=3), 1).save_checkpoint(tmp_path / "a.ckpt")
    assert Keywords.load_from_checkpoint(tmp_path / "a.ckpt", rate=2).hparams == {"width": 3, "rate": 2}


def test_hyperparameters_from_a_file(written: Path, tmp_path: Path) -> None:
    (tmp_path / "h.yaml").write_text("depth: 8\nrate: 0.5\n")
    (tmp_path / "h.csv").write_text("key,value\ndepth,9\nname,nine\n")
    assert Derived.load_from_checkpoint(written, hparams_file=tmp_path / "h.yaml", rate=2).hparams == {
        "depth": 8,
        "rate": 2,
        "width": 7,
        "name": "net",
    }
    module = Derived.load_from_checkpoint(written, hparams_file=str(tmp_path / "h.csv"))
    assert (module.depth, module.made_with["name"]) == (9, "nine")
    with pytest.raises(MisconfigurationException, match=r"h\.json' must end in \.yaml or \.csv"):
        Derived.load_from_checkpoint(written, hparams_file=tmp_path / "h.json")


class Larger(Derived):
    """Has a weight that the checkpoint lacks."""

    def __init__(self, **more: Any) -> None:
        super().__init__(**more)
        self.added = torch.nn.Parameter(torch.ones(1))


def test_strict(written: Path) -> None:
    with pytest.raises(RuntimeError, match="added"):
        Larger.load_from_checkpoint(written)
    with pytest.warns(UserWarning, match="lacks added, which strict=False ignores"):
        module = Larger.load_from_checkpoint(written, strict=False)
    assert (module.weight.item(), module.added.item(), module.strict_loading) == (-3, 1, False)


def test_hooks_are_called_before_the_weights_are_loaded(written: Path) -> None:
    calls: list[Any] = []

    class Late(Derived):
        def configure_model(self) -> None:
            calls.append("model")

        def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
            calls.append(checkpoint["global_step"])
            checkpoint["state_dict"]["weight"] += 100

    assert Late.load_from_checkpoint(written).weight.item() == 97
    assert calls == ["model", 1]


def test_arguments_that_nobody_gives(tmp_path: Path) -> None:
    class Needing(Line):
        def __init__(self, size: int, depth: int, rate: float = 1.0) -> None:
            super().__init__()
            self.size, self.depth = size, depth

    fit(Needing(1, 2), 3).save_checkpoint(tmp_path / "a.ckpt")
    for given, rule in (
        (
            {"size": 1},
            r"'depth' was saved; pass load_from_checkpoint\(path, depth=\.\.\.\), and for later ones let Needing",
        ),
        ({}, r"'size' or 'depth' was saved; pass load_from_checkpoint\(path, size=\.\.\., depth=\.\.\.\)"),
    ):
        with pytest.raises(TypeError, match=rf"missing \d required (?s:.)*{rule}"):
            Needing.load_from_checkpoint(tmp_path / "a.ckpt", **given)
    assert Needing.load_from_checkpoint(tmp_path / "a.ckpt", size=1, depth=4).depth == 4


def test_it_belongs_to_the_class(written: Path) -> None:
    with pytest.raises(TypeError, match=r"Derived.load_from_checkpoint makes a new instance"):
        Derived().load_from_checkpoint(written)


def test_objects_in_a_file_are_refused_unless_trusted(tmp_path: Path) -> None:
    fit(Net(1, extra=numbers), 2).save_checkpoint(tmp_path / "a.ckpt")
    with pytest.raises(MisconfigurationException, match="weights_only=False if you trust"):
        Net.load_from_checkpoint(tmp_path / "a.ckpt")
    assert Net.load_from_checkpoint(tmp_path / "a.ckpt", weights_only=False).made_with["extra"] is numbers
    with pytest.raises(FileNotFoundError, match=r"no\.ckpt"):
        Net.load_from_checkpoint(tmp_path / "no.ckpt")


def test_datamodules(tmp_path: Path) -> None:
    class Data(th.LightningDataModule):
        def __init__(self, size: int = 1, start: int = 0) -> None:
            super().__init__()
            self.save_hyperparameters()
            self.seen = 0

        def train_dataloader(self) -> Any:
            self.seen += 1
            return numbers(*range(self.hparams.start, self.hparams.start + self.hparams.size))

        def state_dict(self) -> dict[str, Any]:
            return {"seen": self.seen}

        def load_state_dict(self, state: dict[str, Any]) -> None:
            self.seen = state["seen"]

    made, module = trainer(), Line()
    made.fit(module, datamodule=Data(3, start=5))
    assert module.fed == [5, 6, 7]
    made.save_checkpoint(tmp_path / "a.ckpt")
    with pytest.warns(UserWarning, match=r"Data\.__init__ has no argument 'strt'\. Did you mean 'start'\?"):
        Data.load_from_checkpoint(tmp_path / "a.ckpt", strt=6)
    again = Data.load_from_checkpoint(tmp_path / "a.ckpt", start=6)
    assert (again.hparams, again.seen) == ({"size": 3, "start": 6}, 1)
    with pytest.raises(TypeError, match="call it on the class"):
        again.load_from_checkpoint(tmp_path / "a.ckpt")


@pytest.mark.parametrize(
    ("of_module", "of_data", "logged"),
    [
        ({"a": 1}, {"b": 2}, {"a": 1, "b": 2}),
        ({"a": 1, "c": 0.5}, {"a": 1}, {"a": 1, "c": 0.5}),
        ({"a": 1}, {"a": 2}, None),
        ({"a": 1}, {"a": 1.0}, None),
        ({"a": torch.ones(2)}, {"a": torch.ones(2)}, None),
    ],
)
def test_loggers_get_those_of_module_and_datamodule(
    of_module: dict[str, Any], of_data: dict[str, Any], logged: dict[str, Any] | None
) -> None:
    if logged is None:
        with pytest.raises(RuntimeError, match=r"hyperparameters \['a'\] of the module and of the datamodule differ"):
            merged([of_module, of_data])
    else:
        assert merged([of_module, of_data]) == logged


def test_nothing_is_said_when_all_is_well(written: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "thunderhead"):
        Derived.load_from_checkpoint(written)
    assert not caplog.records

"""Objects from class_path and init_args: what works, and what a user is told otherwise."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from thunderhead.job.errors import InvalidConfiguration, StorageRefused
from thunderhead_agent.build import build, call

CODE = """
from __future__ import annotations
import enum
from pathlib import Path
from typing import Iterable, TYPE_CHECKING
if TYPE_CHECKING:
    from nowhere import Unknown

class Mode(enum.Enum):
    FAST = "fast"

class Encoder:
    def __init__(self, width: int):
        self.width = width

class Classifier:
    def __init__(self, hidden: int, lr: float = 0.1, betas: tuple[float, float] = (0.9, 0.99), *,
                 mode: Mode = Mode.FAST, root: Path | None = None, encoder: Encoder | None = None,
                 names: Iterable[str] = ()):
        self.args = dict(hidden=hidden, lr=lr, betas=betas, mode=mode, root=root, encoder=encoder, names=names)

class Vague:
    def __init__(self, thing: Unknown, **rest):
        self.args = dict(thing=thing, **rest)

class Refusing:
    def __init__(self, depth: int = 1):
        raise ValueError(f"depth={depth} is too deep")

class Unlucky:
    def __init__(self):
        raise OSError("the disk is gone")

NOT_A_CLASS = 3
"""


@pytest.fixture
def code(tmp_path: Path) -> Iterator[str]:
    name = "code_of_a_user"
    (tmp_path / f"{name}.py").write_text(CODE)
    (tmp_path / "needs_more.py").write_text("x = 1\nimport not_installed_anywhere\n")
    (tmp_path / "broken.py").write_text("def f(:\n")
    (tmp_path / "raises.py").write_text("\n\nraise KeyError('no such table')\n")
    sys.path.insert(0, str(tmp_path))
    yield name
    sys.path.remove(str(tmp_path))
    for module in (name, "needs_more", "broken", "raises"):
        sys.modules.pop(module, None)


def fill(value: Any, code: str) -> Any:
    """``value`` with the module's name in the place of ``{}``, in nested descriptions too."""
    if isinstance(value, dict):
        return {key: fill(item, code) for key, item in value.items()}
    return value.replace("{}", code) if isinstance(value, str) else value


def built(code: str, name: str, **init_args: Any) -> Any:
    return build({"class_path": f"{code}.{name}", "init_args": init_args}, "spec.module")


def test_arguments_are_brought_to_the_declared_types(code: str) -> None:
    encoder = {"class_path": f"{code}.Encoder", "init_args": {"width": 8}}
    args = built(
        code,
        "Classifier",
        hidden=64.0,
        lr="1e-3",
        betas=[0.5, 1],
        mode="fast",
        root="/data",
        encoder=encoder,
        names=["a", "b"],
    ).args
    assert (args["hidden"], args["lr"], args["betas"], args["root"]) == (64, 0.001, (0.5, 1.0), Path("/data"))
    assert type(args["hidden"]) is int
    assert args["mode"].name == "FAST"
    assert args["encoder"].width == 8
    assert args["names"] == ["a", "b"]


def test_annotations_that_cannot_be_resolved_are_left_alone(code: str) -> None:
    assert built(code, "Vague", thing="anything", more=[1]).args == {"thing": "anything", "more": [1]}


def test_init_args_may_be_absent(code: str) -> None:
    assert build({"class_path": "collections.OrderedDict"}, "spec.module") == {}


@pytest.mark.parametrize(
    ("class_path", "init_args", "said"),
    [
        ("{}.Classifer", {}, "spec.module.class_path='{}.Classifer': module '{}' has no 'Classifer'. "
         "Did you mean 'Classifier'?"),
        ("code_of_a_usr.Classifier", {}, "there is no module 'code_of_a_usr'. Did you mean 'code_of_a_user'?"),
        ("no_package.sub.M", {}, "there is no module 'no_package'. Files given by spec.code"),
        ("needs_more.M", {}, "importing 'needs_more' failed at needs_more.py line 2: "
         "ModuleNotFoundError: No module named 'not_installed_anywhere'"),
        ("broken.M", {}, "importing 'broken' failed: SyntaxError: "),
        ("raises.M", {}, "importing 'raises' failed at raises.py line 3: KeyError: 'no such table'"),
        ("{}.NOT_A_CLASS", {}, "is no class but int"),
        ("{}.Classifier", {"hiden": 3}, "spec.module.init_args.hiden: Classifier takes no argument 'hiden'. "
         "Did you mean 'hidden'?"),
        ("{}.Encoder", {"zzz": 3}, "takes no argument 'zzz'. It takes 'width'."),
        ("{}.Classifier", {}, "spec.module.init_args: Classifier needs 'hidden', which is not given"),
        ("{}.Classifier", {"hidden": "many"}, "spec.module.init_args.hidden='many': input should be a valid integer"),
        ("{}.Classifier", {"hidden": 1, "betas": [1, "x"]}, "(1); Classifier declares tuple[float, float]"),
        ("{}.Classifier", {"hidden": 1, "encoder": {"class_path": "{}.Encoder", "init_args": {"w": 1}}},
         "spec.module.init_args.encoder.init_args.w: Encoder takes no argument 'w'"),
        ("{}.Refusing", {"depth": 9}, "Refusing refuses its arguments: ValueError: depth=9 is too deep"),
    ],
)  # fmt: skip
def test_what_cannot_work_is_invalid_configuration(
    code: str, class_path: str, init_args: dict[str, Any], said: str
) -> None:
    with pytest.raises(InvalidConfiguration) as caught:
        build({"class_path": fill(class_path, code), "init_args": fill(init_args, code)}, "spec.module")
    assert fill(said, code) in str(caught.value)


@pytest.mark.parametrize(
    ("class_path", "init_args", "said"),
    [
        ("callbacks.ModelChekpoint", {}, "has no 'ModelChekpoint'. Did you mean 'ModelCheckpoint'?"),
        ("loggers.CometLogger", {}, "has no 'CometLogger': use TensorBoardLogger or CSVLogger, or derive one from"),
        ("Trainr", {}, "callbacks[0].class_path='thunderhead.Trainr': module 'thunderhead' has no 'Trainr'. "
         "Did you mean 'Trainer'?"),
        ("callbacks.ModelCheckpoint", {"montior": "loss"}, "no argument 'montior'. Did you mean 'monitor'?"),
        ("callbacks.ModelCheckpoint", {"dirpath": "s4://a"}, "ModelCheckpoint refuses its arguments: "),
        ("callbacks.EarlyStopping", {"monitor": "a", "patiance": 1}, "argument 'patiance'. Did you mean 'patience'?"),
        ("callbacks.LearningRateMonitor", {"interval": "step"}, "Did you mean 'logging_interval'?"),
        ("callbacks.Timer", {"durations": "00:01:00:00"}, "no argument 'durations'. Did you mean 'duration'?"),
        ("callbacks.TQDMProgressBar", {"refresh": 1}, "no argument 'refresh'. Did you mean 'refresh_rate'?"),
        ("callbacks.LambdaCallback", {"on_fit_strat": "print"}, "no hook 'on_fit_strat'. Did you mean 'on_fit_start'?"),
        ("callbacks.EarlyStopping", {}, "EarlyStopping needs 'monitor', which is not given"),
        ("callbacks.EarlyStopping", {"monitor": "a", "patience": "long"}, "patience='long': input should be a valid"),
        ("loggers.CSVLogger", {"save_dri": "a"}, "no argument 'save_dri'. Did you mean 'save_dir'?"),
        ("loggers.TensorBoardLogger", {"save_dir": "a", "verison": 1}, "argument 'verison'. Did you mean 'version'?"),
        ("loggers.TensorBoardLogger", {"save_dir": "a", "flush_sec": 1}, "Did you mean 'flush_secs'?"),
    ],
    ids=lambda value: str(value)[:40],
)  # fmt: skip
def test_our_callbacks_and_loggers_tell_what_was_meant(class_path: str, init_args: dict[str, Any], said: str) -> None:
    where = "spec.trainer.callbacks[0]"
    with pytest.raises(InvalidConfiguration) as caught:
        build({"class_path": f"thunderhead.{class_path}", "init_args": init_args}, where)
    assert str(caught.value).startswith(where)
    assert said in str(caught.value)


def test_what_may_be_different_next_time_is_no_configuration_error(code: str) -> None:
    with pytest.raises(OSError, match="the disk is gone"):
        built(code, "Unlucky")


def test_our_own_errors_keep_their_kind() -> None:
    def refuse(x: int) -> None:
        raise StorageRefused("denied")

    with pytest.raises(StorageRefused):
        call(refuse, {"x": 1}, "spec.trainer")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("import lightning.pytorch as pl", '; to run it with Thunderhead, set the variable THUNDERHEAD_COMPAT to "1"'),
        ("from pytorch_lightning import Trainer", "env of the container trainer in spec.podTemplate"),
        ("import nosuchpackage.part", "in the job's image (with thunderhead run: in this Python environment)"),
        ("import sklearn", "in this Python environment): pip install 'thunderhead[examples]'"),
        ("from collections import OrderedDct", "cannot import name 'OrderedDct' from 'collections'"),
        ("from collections import OrderedDct", ". Did you mean 'OrderedDict'?"),
    ],
)  # fmt: skip
def test_a_failed_import_in_the_users_code_says_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, said: str
) -> None:
    name = f"imports_{abs(hash(text))}"
    (tmp_path / f"{name}.py").write_text(f"import os\n{text}\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    for absent in ("lightning", "pytorch_lightning", "sklearn"):  # whatever this environment holds
        monkeypatch.setitem(sys.modules, absent, None)
    with pytest.raises(InvalidConfiguration) as caught:
        build({"class_path": f"{name}.Model"}, "spec.module")
    assert f"importing {name!r} failed at {name}.py line 2" in str(caught.value)
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("class_path", "said"),
    [
        ("{code}.Zzz", "has no 'Zzz'; it has Mode, Encoder, Classifier, Vague, Refusing, Unlucky"),
        ("thunderhead.loggers.Zzz", "has no 'Zzz'; it has CSVLogger, "),
        ("lightning.pytorch.Trainer", "there is no module 'lightning.pytorch'; to run it with Thunderhead, set"),
        ("zzz.Model", "packages must be in the image (with thunderhead run: in this Python environment)"),
        ("Model", "must be module.Class, as in digits.Classifier"),
    ],
)
def test_a_name_that_resembles_nothing_is_answered_with_what_there_is(
    code: str, monkeypatch: pytest.MonkeyPatch, class_path: str, said: str
) -> None:
    monkeypatch.setitem(sys.modules, "lightning", None)
    monkeypatch.delitem(sys.modules, "lightning.pytorch", raising=False)
    with pytest.raises(InvalidConfiguration) as caught:
        build({"class_path": class_path.format(code=code)}, "spec.module")
    assert said in str(caught.value)

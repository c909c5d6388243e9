"""Command lines drawn at random: arguments, files, variables; right ones, and some with something wrong in them."""

from __future__ import annotations

import copy
import random
from dataclasses import dataclass, field
from typing import Any, Final

import yaml

_OF_TRAINER: Final[dict[str, list[Any]]] = {
    "max_epochs": [1, 3, None, -1],
    "min_epochs": [1, None],
    "max_steps": [5, -1],
    "max_time": ["00:01:00:00", {"hours": 1}],
    "limit_train_batches": [2, 0.5, 1.0],
    "limit_val_batches": [0, 3, 0.25],
    "overfit_batches": [0.0, 2],
    "val_check_interval": [0.5, 1.0, 3],
    "check_val_every_n_epoch": [1, 2],
    "log_every_n_steps": [1, 50],
    "accumulate_grad_batches": [1, 4],
    "gradient_clip_val": [0.5, 1, None],
    "gradient_clip_algorithm": ["norm", "value"],
    "precision": ["32", 64, "bf16-mixed", "32-true"],
    "devices": [1, "1"],
    "num_sanity_val_steps": [0, 2],
    "deterministic": [False, "warn"],
    "benchmark": [True, False],
    "detect_anomaly": [True],
    "inference_mode": [False],
    "fast_dev_run": [False, True, 2],
    "reload_dataloaders_every_n_epochs": [1],
    "use_distributed_sampler": [False],
    "default_root_dir": ["here"],
    "enable_model_summary": [False],
    "logger": [False, {"class_path": "PACKAGE.loggers.CSVLogger", "init_args": {"save_dir": "logs", "name": "x"}}],
    "profiler": ["simple", None],
    "callbacks": [
        {"class_path": "PACKAGE.callbacks.EarlyStopping", "init_args": {"monitor": "val_loss", "mode": "max"}},
        [{"class_path": "PACKAGE.callbacks.LearningRateMonitor", "init_args": {"logging_interval": "step"}}],
        [
            {"class_path": "PACKAGE.callbacks.Timer", "init_args": {"interval": "epoch"}},
            {"class_path": "PACKAGE.callbacks.ModelSummary"},
        ],
        [{"class_path": "EarlyStopping", "init_args": {"monitor": "x", "patience": 7}}],
        None,
    ],
}
_ENCODERS: Final[list[Any]] = [
    {"class_path": "parts.Encoder"},
    {"class_path": "parts.WideEncoder", "init_args": {"width": 5, "norm": "layer"}},
    {"class_path": "WideEncoder", "init_args": {"depth": 3}},
    {"class_path": "parts.Encoder", "init_args": {"activation": "torch.nn.Tanh"}},
    {"class_path": "parts.Encoder", "init_args": {"activation": {"class_path": "torch.nn.GELU"}}},
    "parts.WideEncoder",
    None,
]
_OF_MODEL: Final[dict[str, list[Any]]] = {
    "lr": [0.5, 1e-3, "1e-2"],
    "size": [3, 10],
    "name": ["resnet", "1", "true", "with words"],
    "flag": [True, False, "yes"],
    "maybe": [None, 5],
    "either": [3, "many", "3"],
    "word": ["large"],
    "norm": ["batch", "layer"],
    "sizes": [[1, 2], [], None],
    "table": [{"a": 1.0, "b": 2}, {}],
    "pair": [[2, "b"]],
    "schedule": [{"warmup": 7}, {"decay": 0.25, "name": "cosine"}],
    "encoder": _ENCODERS,
    "encoders": [[_ENCODERS[0], _ENCODERS[1]], []],
    "anything": [1, "a", [1, 2], {"a": {"b": None}}, _ENCODERS[1]],
    "untyped": [2, {"x": 1}],
    "where": ["some/file"],
}
_OF_INJECTED: Final[dict[str, list[Any]]] = {
    "needed": [4],
    "optimizer": ["SGD", {"class_path": "torch.optim.SGD", "init_args": {"lr": 0.25, "momentum": 0.5}}],
    "scheduler": [{"class_path": "torch.optim.lr_scheduler.StepLR", "init_args": {"step_size": 3}}],
}
_OF_DATA: Final[dict[str, list[Any]]] = {"batch_size": [2, 16], "samples": [1, 32], "split": [[0.5, 0.5]]}
_MODELS: Final = {
    "Model": _OF_MODEL,
    "Wider": {**_OF_MODEL, "factor": [3]},
    "Injected": _OF_INJECTED,
    "Required": {"lr": [0.3]},
}
_DATA: Final = {"Data": _OF_DATA, "Small": {**_OF_DATA, "shrink": [0.1]}}
_OPTIMIZERS: Final[list[Any]] = [
    {"class_path": "torch.optim.Adam", "init_args": {"lr": 0.01}},
    {"class_path": "SGD", "init_args": {"lr": 0.5, "momentum": 0.9}},
    {"class_path": "AdamW", "init_args": {"lr": 1, "betas": [0.8, 0.9]}},
]
_SCHEDULERS: Final[list[Any]] = [
    {"class_path": "torch.optim.lr_scheduler.StepLR", "init_args": {"step_size": 2, "gamma": 0.5}},
    {"class_path": "ExponentialLR", "init_args": {"gamma": 0.9}},
    {"class_path": "PACKAGE.cli.ReduceLROnPlateau", "init_args": {"monitor": "val_loss", "factor": 0.3}},
]
_WRONG: Final[list[Any]] = ["wrong", 1.5, -7, [1, "x"], {"a": 1}, None, "parts.Other", "parts.Nothing", True]


@dataclass(slots=True)
class Case:
    """One start of a script."""

    cli: str
    options: dict[str, Any]
    args: list[str]
    files: dict[str, str] = field(default_factory=dict)
    env: dict[str, str] = field(default_factory=dict)


def drawn(seed: int) -> Case:
    """The case of a seed."""
    dice = random.Random(seed)
    cli = dice.choice(["Plain"] * 4 + ["LinkedWhenRead", "LinkedWhenMade", "OneOptimizer"])
    options: dict[str, Any] = {"run": dice.random() < 0.5, "seed_everything_default": dice.choice([True, False, 7])}
    tree = _tree(dice, cli, options)
    tree = copy.deepcopy(tree)  # its parts are those of every case
    if dice.random() < 0.25:
        _spoil(dice, tree)
    return _written(dice, cli, options, tree)


def _tree(dice: random.Random, cli: str, options: dict[str, Any]) -> dict[str, Any]:
    tree: dict[str, Any] = {"trainer": _some(dice, _OF_TRAINER, 4)}
    options["trainer_defaults"] = {
        "accelerator": "cpu",
        "devices": 1,
        **_some(dice, {"max_epochs": [2], "logger": [False]}, 2),
    }
    linked = cli.startswith("Linked")
    _part(
        dice,
        tree,
        options,
        ("model", "model_class", "subclass_mode_model"),
        {"Model": _OF_MODEL} if linked else _MODELS,
        named=linked,
    )
    if linked or dice.random() < 0.6:
        _part(dice, tree, options, ("data", "datamodule_class", "subclass_mode_data"), _DATA, named=linked)
    if cli == "OneOptimizer":
        tree |= {"optimizer": {"lr": 0.5}, "lr_scheduler": {"gamma": 0.5}}
    elif dice.random() < 0.4:
        tree["optimizer"] = dice.choice(_OPTIMIZERS)
        if dice.random() < 0.5:
            tree["lr_scheduler"] = dice.choice(_SCHEDULERS)
    if dice.random() < 0.3:
        tree["seed_everything"] = dice.choice([3, True, False])
    return tree


def _part(
    dice: random.Random,
    tree: dict[str, Any],
    options: dict[str, Any],
    names: tuple[str, str, str],
    kinds: dict[str, dict[str, list[Any]]],
    *,
    named: bool,
) -> None:
    """A module or datamodule: of a class that the script names, of one derived from it, or of any."""
    key, of_class, mode = names
    how = dice.choice(["class", "derived", "any"]) if not named else "class"
    kind = dice.choice(["Model", "Wider"] if how == "derived" and key == "model" else list(kinds))
    arguments = _some(dice, kinds[kind], 4)
    if kind == "Required" and dice.random() < 0.9:
        arguments["size"] = 4
    by_path = {"class_path": dice.choice([f"parts.{kind}", kind]), "init_args": arguments}
    if how == "class":
        options[of_class] = kind
        tree[key] = arguments
    elif how == "derived":
        options |= {of_class: next(iter(kinds)), mode: True}
        tree[key] = by_path
    else:
        tree[key] = by_path


def _some(dice: random.Random, known: dict[str, list[Any]], most: int) -> dict[str, Any]:
    names = dice.sample(list(known), dice.randint(0, min(most, len(known))))
    return {name: dice.choice(known[name]) for name in names}


def _spoil(dice: random.Random, tree: dict[str, Any]) -> None:
    """One value or one name is another."""
    places = [(part, name) for part in tree.values() if isinstance(part, dict) for name in part]
    if not places:
        return
    part, name = dice.choice(places)
    if dice.random() < 0.3:
        part[f"{name}x"] = part.pop(name)
    else:
        part[name] = dice.choice(_WRONG)


def _written(dice: random.Random, cli: str, options: dict[str, Any], tree: dict[str, Any]) -> Case:
    """Each leaf of the tree goes into a file, onto the command line or into the environment."""
    subcommand = dice.choice(["fit", "fit", "validate", "test", "predict"]) if options["run"] else None
    case = Case(cli, options, [])
    in_files: list[dict[str, Any]] = [{}, {}]
    arguments: list[str] = []
    reads_env = dice.random() < 0.2
    if reads_env:
        options["parser_kwargs"] = {"default_env": True, **({subcommand: {"default_env": True}} if subcommand else {})}
    for key, part in tree.items():
        leaves = part.items() if isinstance(part, dict) and "class_path" not in part else [(None, part)]
        for name, value in leaves:
            place = dice.choice(["file", "other file", "argument", "environment" if reads_env else "argument"])
            if place == "argument":
                arguments.append(f"--{key if name is None else f'{key}.{name}'}={_text(value)}")
            elif place == "environment":
                words = [*([subcommand] if subcommand else []), key, *([name] if name else [])]
                case.env["PL_" + "__".join(words).upper()] = _text(value)
            else:
                _put(in_files[place == "other file"], key, name, value)
    _write_files(dice, case, in_files, subcommand, arguments)
    return case


def _write_files(
    dice: random.Random, case: Case, trees: list[dict[str, Any]], subcommand: str | None, arguments: list[str]
) -> None:
    after: list[str] = []
    before: list[str] = []
    for number, tree in enumerate(trees):
        if not tree:
            continue
        name = f"c{number}.yaml"
        whole = subcommand is not None and dice.random() < 0.3
        case.files[name] = yaml.safe_dump({subcommand: tree} if whole else tree)
        (before if whole else after).append(f"--config={name}")
    dice.shuffle(arguments)
    case.args = [*before, *([subcommand] if subcommand else []), *after, *arguments]


def _put(tree: dict[str, Any], key: str, name: str | None, value: object) -> None:
    if name is None:
        tree[key] = value
    else:
        tree.setdefault(key, {})[name] = value


def _text(value: object) -> str:
    return (
        value
        if isinstance(value, str)
        else yaml.safe_dump(value, default_flow_style=True, width=10000).strip().removesuffix("...").strip()
    )

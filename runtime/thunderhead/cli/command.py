"""``LightningCLI``: module, datamodule and Trainer from a command line, and what is run with them."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, ClassVar, Final, cast

import yaml
from jsonargparse import Namespace
from jsonargparse._actions import ActionConfigFile
from jsonargparse.typing import class_from_function
from torch.optim import Optimizer

from thunderhead.cli import configured
from thunderhead.cli.annotations import ArgsType, LRSchedulerTypeTuple, ReduceLROnPlateau
from thunderhead.cli.from_checkpoint import described_in
from thunderhead.cli.instantiating import KeptAsGiven
from thunderhead.cli.parser import LightningArgumentParser
from thunderhead.cli.problems import Given, places_of
from thunderhead.cli.save_config import SaveConfigCallback
from thunderhead.rng import seed_everything
from thunderhead.trainer.trainer import Trainer
from thunderhead.user.callback import Callback
from thunderhead.user.datamodule import LightningDataModule
from thunderhead.user.module import LightningModule
from thunderhead.warning import warn

_FROM_ELSEWHERE: Final = {
    "fit": {"model", "train_dataloaders", "val_dataloaders", "datamodule"},
    "validate": {"model", "dataloaders", "datamodule"},
    "test": {"model", "dataloaders", "datamodule"},
    "predict": {"model", "dataloaders", "datamodule"},
}


class LightningCLI:
    """A command line of module, datamodule and Trainer; making one reads it and runs what it asks for.

    Args:
        model_class: the module's class, or a function that returns one; left out, ``--model`` names it.
        datamodule_class: the same for the datamodule and ``--data``; left out, there need be none.
        save_config_callback: writes the configuration beside the logs; None for not.
        save_config_kwargs: arguments for it.
        trainer_class: a class derived from Trainer, or a function that returns one.
        trainer_defaults: defaults of its arguments; ``callbacks`` in it are always there, whatever is configured.
        seed_everything_default: the seed; True for the default one, False for none.
        parser_kwargs: arguments for the parser, or for those of subcommands by their names.
        parser_class: the parser's class.
        subclass_mode_model: whether ``--model`` may name a class derived from ``model_class``.
        subclass_mode_data: the same for ``--data``.
        args: a list of arguments in the place of those of the process, or a configuration.
        run: whether there are the subcommands fit, validate, test and predict; without, objects are made only.
        auto_configure_optimizers: whether there are ``--optimizer`` and ``--lr_scheduler``.
        load_from_checkpoint_support: whether ``save_hyperparameters`` keeps what was written, so that
            ``load_from_checkpoint`` can build it again.

    Attributes:
        config: what was read.
        config_init: the same, its parts built.
        model: the module.
        datamodule: the datamodule, if any.
        trainer: the Trainer.
        subcommand: which one runs; None without any.
    """

    config: Namespace
    config_init: Namespace
    parser: LightningArgumentParser
    model: LightningModule
    datamodule: LightningDataModule | None
    trainer: Trainer
    _dumped: Mapping[str, Any] | None = None
    _runs: ClassVar[tuple[str, ...]] = tuple(_FROM_ELSEWHERE)

    def __init__(
        self,
        model_class: type[LightningModule] | Callable[..., LightningModule] | None = None,
        datamodule_class: type[LightningDataModule] | Callable[..., LightningDataModule] | None = None,
        save_config_callback: type[SaveConfigCallback] | None = SaveConfigCallback,
        save_config_kwargs: dict[str, Any] | None = None,
        trainer_class: type[Trainer] | Callable[..., Trainer] = Trainer,
        trainer_defaults: dict[str, Any] | None = None,
        seed_everything_default: bool | int = True,
        parser_kwargs: dict[str, Any] | None = None,
        parser_class: type[LightningArgumentParser] = LightningArgumentParser,
        subclass_mode_model: bool = False,
        subclass_mode_data: bool = False,
        args: ArgsType = None,
        run: bool = True,
        auto_configure_optimizers: bool = True,
        load_from_checkpoint_support: bool = True,
    ) -> None:
        self.save_config_callback = save_config_callback
        self.save_config_kwargs = save_config_kwargs or {}
        self.trainer_class = trainer_class
        self.trainer_defaults = trainer_defaults or {}
        self.seed_everything_default = seed_everything_default
        self.parser_kwargs = parser_kwargs or {}
        self.parser_class = parser_class
        self.auto_configure_optimizers = auto_configure_optimizers
        self.model_class = model_class
        self.subclass_mode_model = model_class is None or subclass_mode_model
        self.datamodule_class = datamodule_class
        self.subclass_mode_data = datamodule_class is None or subclass_mode_data
        self._model_class = model_class or LightningModule
        self._datamodule_class = datamodule_class or LightningDataModule
        self._keeps_as_given = load_from_checkpoint_support
        self._arguments: list[str] | None = sys.argv[1:] if args is None else args if isinstance(args, list) else None

        names = self.subcommands()
        of_parser = {name: value for name, value in self.parser_kwargs.items() if name not in names}
        of_subcommands = {name: value for name, value in self.parser_kwargs.items() if name in names}
        self.setup_parser(run, of_parser, of_subcommands)
        self.parse_arguments(self.parser, args)
        self.subcommand: str | None = self.config["subcommand"] if run else None
        self._take_hyperparameters_of_checkpoint()
        self._set_seed()
        self.before_instantiate_classes()
        self.instantiate_classes()
        self.after_instantiate_classes()
        if self.subcommand is not None:
            self._run_subcommand(self.subcommand)

    # --- the parser ----------------------------------------------------------------------------------------------

    @staticmethod
    def subcommands() -> dict[str, set[str]]:
        """Methods of the Trainer that can be run, each with those of its arguments that are no options."""
        return {name: set(found) for name, found in _FROM_ELSEWHERE.items()}

    def init_parser(self, **kwargs: Any) -> LightningArgumentParser:
        """A parser that reads configuration files, without further arguments."""
        parser = self.parser_class(**kwargs)
        parser.add_argument(
            "-c", "--config", action=ActionConfigFile, help="A configuration file (YAML or JSON); may be repeated."
        )
        return parser

    def setup_parser(
        self, add_subcommands: bool, main_kwargs: dict[str, Any], subparser_kwargs: dict[str, Any]
    ) -> None:
        """Make ``self.parser``, with subcommands or without."""
        self.parser = self.init_parser(**main_kwargs)
        self._subcommand_parsers: dict[str, LightningArgumentParser] = {}
        self._subcommand_method_arguments: dict[str, list[str]] = {}
        if add_subcommands:
            self._add_subcommands(self.parser, **subparser_kwargs)
        else:
            self._add_arguments(self.parser)
        for parser in (self.parser, *self._subcommand_parsers.values()):
            parser.given = Given(tuple(self._arguments or ()))

    def add_default_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Add those that belong to no class."""
        parser.add_argument(
            "--seed_everything",
            type=bool | int,
            default=self.seed_everything_default,
            help="Seed of all random numbers, set before anything is made; true for the default one, false for none.",
        )

    def add_core_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Add those of Trainer, module and datamodule."""
        parser.add_lightning_class_args(self.trainer_class, "trainer")
        parser.set_defaults(
            {f"trainer.{name}": value for name, value in self.trainer_defaults.items() if name != "callbacks"}
        )
        parser.add_lightning_class_args(self._model_class, "model", subclass_mode=self.subclass_mode_model)
        # Without a class the module may have the loaders.
        needed = self.datamodule_class is not None
        mode = self.subclass_mode_data
        parser.add_lightning_class_args(self._datamodule_class, "data", subclass_mode=mode, required=needed)

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Override to add arguments, and to link some to others."""

    @staticmethod
    def link_optimizers_and_lr_schedulers(parser: LightningArgumentParser) -> None:
        """Give optimizers and schedulers that were added with ``link_to`` to the argument named there."""
        configured.link(parser)

    def _add_arguments(self, parser: LightningArgumentParser) -> None:
        self.add_default_arguments_to_parser(parser)
        self.add_core_arguments_to_parser(parser)
        self.add_arguments_to_parser(parser)
        if self.auto_configure_optimizers:
            if not parser._optimizers:
                parser.add_optimizer_args((Optimizer,))
            if not parser._lr_schedulers:
                parser.add_lr_scheduler_args(LRSchedulerTypeTuple)
        self.link_optimizers_and_lr_schedulers(parser)

    def _add_subcommands(self, parser: LightningArgumentParser, **kwargs: Any) -> None:
        action = parser.add_subcommands()
        trainer_class = self.trainer_class
        kind = trainer_class if isinstance(trainer_class, type) else class_from_function(trainer_class)
        only = self._only_subcommand()
        for name in self.subcommands():
            described = (getattr(kind, name).__doc__ or "").partition("\n")[0]
            of_parser = {"description": described, **kwargs.get(name, {})}
            wanted = only is None or name == only
            made = self._prepare_subcommand_parser(kind, name, **of_parser) if wanted else self.init_parser(**of_parser)
            self._subcommand_parsers[name] = made
            action.add_subcommand(name, made, help=described)

    def _only_subcommand(self) -> str | None:
        """The one that is asked for, where the command line begins with it: the parsers of others, which take time to
        make, are not needed then."""
        first = self._arguments[0] if self._arguments else None
        return first if first in self.subcommands() else None

    def _prepare_subcommand_parser(self, klass: type, subcommand: str, **kwargs: Any) -> LightningArgumentParser:
        parser = self.init_parser(**kwargs)
        self._add_arguments(parser)
        skip: set[str | int] = set(self.subcommands()[subcommand])
        self._subcommand_method_arguments[subcommand] = parser.add_method_arguments(klass, subcommand, skip=skip)
        return parser

    # --- what was read -------------------------------------------------------------------------------------------

    def parse_arguments(self, parser: LightningArgumentParser, args: ArgsType) -> None:
        """Read ``args``, or the arguments of the process, into ``self.config``."""
        if args is not None and len(sys.argv) > 1:
            warn(
                f"LightningCLI(args={args!r}) does not read the arguments of the process, {sys.argv[1:]}; "
                "leave args out to read those"
            )
        if isinstance(args, (dict, Namespace)):
            self.config = parser.parse_object(args)
        else:
            self.config = parser.parse_args(args)

    def _take_hyperparameters_of_checkpoint(self) -> None:
        described = described_in(self._get(self.config, "ckpt_path")) if self.subcommand is not None else None
        if described is None:
            return
        for name in configured.link_targets(self._parser(self.subcommand), "model"):
            described.get("dict_kwargs", described).pop(name, None)
        try:
            self.config = self.parser.parse_object({self.subcommand: {"model": described}}, self.config)
        except SystemExit:
            path = self._get(self.config, "ckpt_path")
            sys.stderr.write(f"The hyperparameters in ckpt_path={str(path)!r} are not what this command line takes.\n")
            raise

    def _set_seed(self) -> None:
        asked = self._get(self.config, "seed_everything")
        if asked is not False:
            seed = seed_everything(None if asked is True else asked, workers=True)
            self.config.get(str(self.subcommand), self.config)["seed_everything"] = seed

    @property
    def config_dump(self) -> Mapping[str, Any]:
        """The configuration of the subcommand as plain data."""
        if self._dumped is None:
            found = yaml.safe_load(
                self.parser.dump(self.config, skip_link_targets=False, skip_unset=False, format="yaml")
            )
            self._dumped = found if self.subcommand is None else found[self.subcommand]
        return cast("Mapping[str, Any]", self._dumped)

    def _get(self, config: Namespace, key: str, default: object = None) -> Any:
        return config.get(str(self.subcommand), config).get(key, default)

    def _parser(self, subcommand: str | None) -> LightningArgumentParser:
        return self.parser if subcommand is None else self._subcommand_parsers[subcommand]

    # --- what is made of it --------------------------------------------------------------------------------------

    def before_instantiate_classes(self) -> None:
        """Override to do something before anything is made."""

    def after_instantiate_classes(self) -> None:
        """Override to do something when everything is made and nothing runs yet."""

    def instantiate_classes(self) -> None:
        """Make datamodule, module and Trainer."""
        self.config_init = self.parser.instantiate(self.config, instantiators=self._instantiators())
        self.datamodule = self._get(self.config_init, "data")
        self.model = self._get(self.config_init, "model")
        self._add_configure_optimizers_method_to_model(self.subcommand)
        self.trainer = self.instantiate_trainer()

    def _instantiators(self) -> list[tuple[Any, type, bool]]:
        if not self._keeps_as_given:
            return []
        kinds: list[tuple[str, type | Callable[..., object], bool]] = [
            ("model", self._model_class, self.subclass_mode_model),
            ("data", self._datamodule_class, self.subclass_mode_data),
        ]
        return [
            (KeptAsGiven(key, partial(self._described, key)), configured.returned_by(kind), subclasses)
            for key, kind, subclasses in kinds
        ]

    def _described(self, key: str) -> Mapping[str, Any]:
        return self.config_dump.get(key) or {}

    def instantiate_trainer(self, **kwargs: object) -> Trainer:
        """Make the Trainer.

        Args:
            **kwargs: arguments that win over what was read.
        """
        callbacks = [self._get(self.config_init, key) for key in self._parser(self.subcommand).callback_keys]
        return self._instantiate_trainer({**self._get(self.config_init, "trainer", {}), **kwargs}, callbacks)

    def _instantiate_trainer(self, config: dict[str, Any], callbacks: list[Callback]) -> Trainer:
        if "callbacks" not in config:
            name = self.trainer_class.__qualname__
            warn(f"{name} takes no callbacks, so {len(callbacks)} of the command line are lost")
            return self.trainer_class(**config)
        always = self.trainer_defaults.get("callbacks")
        found = [*_listed(config["callbacks"]), *callbacks, *_listed(always)]
        if self.save_config_callback is not None and not config.get("fast_dev_run"):
            parser = self._parser(self.subcommand)
            config_of_run = self.config.get(str(self.subcommand), self.config)
            found.append(self.save_config_callback(parser, config_of_run, **self.save_config_kwargs))
        try:
            return self.trainer_class(**{**config, "callbacks": found})
        except ValueError as error:
            for note in places_of(str(error), "trainer", config, self._arguments or ()):
                error.add_note(note)
            raise

    @staticmethod
    def configure_optimizers(
        lightning_module: LightningModule, optimizer: Optimizer, lr_scheduler: object = None
    ) -> object:
        """What the module's ``configure_optimizers`` returns; override to return something else.

        Args:
            lightning_module: the module.
            optimizer: the one that was configured.
            lr_scheduler: its scheduler, if any.
        """
        if lr_scheduler is None:
            return optimizer
        if isinstance(lr_scheduler, ReduceLROnPlateau):
            return {
                "optimizer": optimizer,
                "lr_scheduler": {"scheduler": lr_scheduler, "monitor": lr_scheduler.monitor},
            }
        return [optimizer], [lr_scheduler]

    def _add_configure_optimizers_method_to_model(self, subcommand: str | None) -> None:
        if not self.auto_configure_optimizers:
            return
        parser = self._parser(subcommand)
        configured.configure(self.model, parser, partial(self._get, self.config_init), self.configure_optimizers)

    # --- and run -------------------------------------------------------------------------------------------------

    def _run_subcommand(self, subcommand: str) -> None:
        _call(getattr(self, f"before_{subcommand}", None))
        run = getattr(self, subcommand, None) or getattr(self.trainer, subcommand)
        run(**self._prepare_subcommand_kwargs(subcommand))
        _call(getattr(self, f"after_{subcommand}", None))

    def _prepare_subcommand_kwargs(self, subcommand: str) -> dict[str, Any]:
        read = self.config_init[subcommand]
        given = {name: read[name] for name in self._subcommand_method_arguments[subcommand]}
        given["model"] = self.model
        if self.datamodule is not None:
            given["datamodule"] = self.datamodule
        return given


def _call(found: object) -> None:
    if callable(found):
        found()


def _listed(found: object) -> list[Any]:
    return [] if found is None else list(found) if isinstance(found, (list, tuple)) else [found]

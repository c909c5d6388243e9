"""The command line of a script: what ``Trainer``, module and datamodule take, from arguments, files and environment."""

import sys
from typing import TYPE_CHECKING

from thunderhead.compat.unknown import refusing
from thunderhead_api.extras import needed

try:
    from thunderhead.cli.annotations import (
        ArgsType,
        LRSchedulerCallable,
        LRSchedulerTypeTuple,
        LRSchedulerTypeUnion,
        OptimizerCallable,
        ReduceLROnPlateau,
    )
    from thunderhead.cli.command import LightningCLI
    from thunderhead.cli.instantiating import instantiate_module
    from thunderhead.cli.parser import LightningArgumentParser
    from thunderhead.cli.save_config import SaveConfigCallback
    from thunderhead.compat.internal_arguments import instantiate_class
except ModuleNotFoundError as error:
    if (sentence := needed(__name__, error)) is None:
        raise
    if sys.argv[:1] == ["-m"]:  # what Python puts there while it looks for the package's __main__: nobody imports us
        sys.exit(sentence)
    raise ModuleNotFoundError(sentence, name=error.name) from error

__all__ = [
    "ArgsType",
    "LRSchedulerCallable",
    "LRSchedulerTypeTuple",
    "LRSchedulerTypeUnion",
    "LightningArgumentParser",
    "LightningCLI",
    "OptimizerCallable",
    "ReduceLROnPlateau",
    "SaveConfigCallback",
    "instantiate_class",
    "instantiate_module",
]

if not TYPE_CHECKING:  # a type checker knows by itself
    __getattr__ = refusing(__name__, __all__)

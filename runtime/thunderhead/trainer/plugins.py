"""What ``Trainer(plugins=...)`` holds, one of a kind at most, and what else may have set the same."""

from __future__ import annotations

from dataclasses import dataclass

from thunderhead.device_kinds import refuse_format
from thunderhead.distributed.cluster import ClusterEnvironment
from thunderhead.distributed.strategy import Strategy
from thunderhead.exceptions import MisconfigurationException
from thunderhead.files.checkpoint_io import CheckpointIO, TorchCheckpointIO
from thunderhead.layer_sync import LayerSync, TorchSyncBatchNorm
from thunderhead.precision import Precision, canonical_precision, make_precision

# What ``plugins`` takes, one of each.
Plugin = Precision | CheckpointIO | ClusterEnvironment | LayerSync


@dataclass(slots=True)
class Plugins:
    """One of each kind."""

    precision: Precision | None = None
    checkpoint_io: CheckpointIO | None = None
    cluster: ClusterEnvironment | None = None
    layer_sync: LayerSync | None = None


_KINDS: dict[str, type] = {
    "precision": Precision,
    "checkpoint_io": CheckpointIO,
    "cluster": ClusterEnvironment,
    "layer_sync": LayerSync,
}


def read_plugins(given: object) -> Plugins:
    """``plugins`` by kind.

    Raises:
        MisconfigurationException: it is of no kind, or there are two of one.
    """
    found = Plugins()
    for plugin in [] if given is None else given if isinstance(given, (list, tuple)) else [given]:
        name = next((name for name, kind in _KINDS.items() if isinstance(plugin, kind)), None)
        if name is None:
            raise MisconfigurationException(
                f"plugins={plugin!r} is no plugin; pass a Precision, CheckpointIO, ClusterEnvironment or LayerSync"
            )
        before = getattr(found, name)
        if before is not None:
            raise MisconfigurationException(
                f"plugins holds {type(before).__name__} and {type(plugin).__name__}, both a {_KINDS[name].__name__}; "
                "pass one"
            )
        setattr(found, name, plugin)
    return found


def choose_precision(asked: object, plugins: Plugins, strategy: Strategy) -> Precision:
    """The precision that was named, or passed as a plugin or with the strategy.

    Raises:
        MisconfigurationException: more than one of these was given, or the name means nothing.
    """
    ways = {
        f"precision={asked!r}": asked,
        f"the plugin {type(plugins.precision).__name__}": plugins.precision,
        f"the strategy's {type(strategy.precision_plugin).__name__}": strategy.precision_plugin,
    }
    used = [way for way, value in ways.items() if value is not None]
    if len(used) > 1 and plugins.precision is not strategy.precision_plugin:
        raise MisconfigurationException(f"{' and '.join(used)} both set the precision; pass one")
    chosen = plugins.precision or strategy.precision_plugin
    if chosen is None:
        name = "32-true" if asked is None else canonical_precision(asked)
        strategy.check_precision(name)
        chosen = make_precision(name, strategy.root_device.type)
    else:
        strategy.check_precision(chosen.precision)
        refuse_format(chosen.precision, strategy.root_device.type)
    return chosen


def choose_checkpoint_io(plugins: Plugins, strategy: Strategy) -> CheckpointIO:
    """Who writes ``.ckpt`` files.

    Raises:
        MisconfigurationException: the strategy and ``plugins`` name one each.
    """
    own, given = strategy.checkpoint_io, plugins.checkpoint_io
    if own is not None and given is not None and own is not given:
        raise MisconfigurationException(
            f"plugins holds {type(given).__name__} and the strategy {type(own).__name__}; pass one of them"
        )
    return given or own or TorchCheckpointIO()


def choose_layer_sync(asked: bool, plugins: Plugins) -> LayerSync | None:
    """What makes layers share statistics.

    Raises:
        MisconfigurationException: ``sync_batchnorm=True`` beside a plugin of another kind.
    """
    given = plugins.layer_sync
    if asked and given is not None and not isinstance(given, TorchSyncBatchNorm):
        raise MisconfigurationException(
            f"sync_batchnorm=True and the plugin {type(given).__name__} both synchronise layers; pass one"
        )
    return given or (TorchSyncBatchNorm() if asked else None)

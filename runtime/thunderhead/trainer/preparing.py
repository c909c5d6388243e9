"""What comes before the loops of a run, and after them."""

from __future__ import annotations

from functools import partial

from thunderhead.core.state import TrainerStatus
from thunderhead.core.steps import Steps
from thunderhead.hooks.overriding import call_hook, is_called, is_overridden
from thunderhead.layer_sync import LayerSync
from thunderhead.run.run import Run
from thunderhead.warning import say, warn_once


def prepare_data(run: Run) -> None:
    """Once per node, or once in all; the others wait."""
    strategy = run.strategy
    for owner in (run.datamodule, run.module):
        if owner is None or not is_called("prepare_data", owner):
            continue
        per_node = owner.prepare_data_per_node
        chosen = strategy.local_rank == 0 if per_node else strategy.global_rank == 0
        if chosen:
            with run.hooks.inside("prepare_data"):
                run.timed(run.action_of(owner, "prepare_data"), owner.prepare_data)()
        name = f"prepared-{strategy.node_rank}" if per_node else "prepared"
        strategy.wait_for_one(name, chosen)


def set_up_profiler(run: Run, log_dir: str | None) -> None:
    """Tell it what is run, and where its files may go."""
    if run.profiler is not None:
        run.profiler._lightning_module = run.module
        run.profiler.setup(run.fn, run.strategy.local_rank if run.strategy.world_size > 1 else None, log_dir)


def set_up(run: Run) -> None:
    """The hook ``setup`` of everybody."""
    stage = str(run.state.fn)
    run.strategy.barrier("before setup")
    # Loggers make their directories on rank 0 before anyone asks where they are.
    for logger in run.loggers:
        _ = logger.experiment
    run.hooks.resolve()
    if run.datamodule is not None:
        run.timed(run.action_of(run.datamodule, "setup"), partial(call_hook, run.datamodule, "setup"))(stage)
    run.hooks.call("setup", stage)
    run.hooks.call_module("setup", stage)
    run.hooks.resolve()
    run.strategy.barrier("after setup")


def configure_model(run: Run) -> None:
    """The hook of that name, or else under its old one; what it makes has the run's device and number format."""
    with run.precision.init_context(), run.strategy.module_context():
        run.hooks.call_module(name_of_configure_model(run.module))
    run.strategy.configured(run.module, training=run.fitting)


def name_of_configure_model(module: Steps) -> str:
    """Under which name a module has the hook; its old one is told of."""
    if not is_called("configure_sharded_model", module):
        return "configure_model"
    name = type(module).__name__
    if is_overridden("configure_model", module):
        warn_once(
            f"{name} overrides configure_model and configure_sharded_model, which is its old name and is not called "
            "beside it; keep the first"
        )
        return "configure_model"
    warn_once(f"{name}.configure_sharded_model is deprecated; rename it to configure_model")
    return "configure_sharded_model"


def place_module(run: Run, layer_sync: LayerSync | None) -> None:
    """To the device, in its number format, with layers that share what they are to share; wrapped to train."""

    def convert(module: Steps) -> None:
        run.precision.convert_module(module)
        if layer_sync is not None and run.strategy.world_size > 1 and run.fitting:
            converted = layer_sync.apply(module)
            if converted is not module:
                say("the module itself is a BatchNorm layer, which sync_batchnorm cannot replace")

    run.strategy.place(run.module, convert=convert, training=run.fitting)


def tear_down(run: Run, status: str, end: TrainerStatus) -> None:
    """The hook ``teardown`` of everybody; ``status`` is what loggers are told."""
    stage = str(run.state.fn)
    if run.datamodule is not None:
        run.timed(run.action_of(run.datamodule, "teardown"), partial(call_hook, run.datamodule, "teardown"))(stage)
    run.hooks.call("teardown", stage)
    run.hooks.call_module("teardown", stage)
    for logger in run.loggers:
        logger.finalize(status)
    if run.profiler is not None:
        run.profiler.describe()
    run.strategy.teardown()
    run.sink.close()
    run.state.status = end
    run.state.stage = None

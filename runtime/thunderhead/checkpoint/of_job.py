"""What a job checkpoint holds, part by part, and how it is put back.

==============  =======================================================================================================
``replicated``  parameters, buffers that ranks share, optimizers, schedulers, position, settings, whether to stop
``local``       random state, where loaders stand, values and counters, threads, buffers that ranks do not share, and
                what callbacks, datamodule, precision and user hooks keep; under ``own`` this rank's parameters and
                optimizers, where a strategy spreads them over ranks; under ``loops`` what ``trainer.fit_loop`` counts
==============  =======================================================================================================

Taken by ``checkpoint.capture``, as a ``.ckpt`` file is; only how it is arranged differs.
"""

from __future__ import annotations

from typing import Any

import torch

from thunderhead.checkpoint.capture import ask_hooks, own_buffers, rank_state, state_of
from thunderhead.checkpoint.content import OWN_KEY, restore_counters
from thunderhead.checkpoint.lightning_loops import without_loaders
from thunderhead.core.position import Position
from thunderhead.distributed.base import Strategy
from thunderhead.job.link import Restored
from thunderhead.job.parts import LOCAL, REPLICATED, Parts, parts_of
from thunderhead.results.metric_objects import MetricsOf
from thunderhead.run.run import Run
from thunderhead.run.training import Training
from thunderhead.warning import warn

# Written by every rank alike; all other keys of the content may differ between ranks.
_ALIKE = ("epoch", "global_step", "pytorch-lightning_version", "state_dict", "optimizer_states", "lr_schedulers")
# Of these, what strategies spread over ranks.
_OWN = ("state_dict", "optimizer_states")


def job_parts(run: Run, training: Training, position: Position, *, should_stop: bool) -> Parts:
    """Everything that is committed at ``position``, with live tensors; user hooks have had their say."""
    run.strategy.sync_buffers(run.module)
    content = state_of(run, training, position)
    ask_hooks(run, content)
    # After the hooks: the run goes on from what they drew and logged.
    rank = rank_state(run, training, position)
    buffers = own_buffers(run, content["state_dict"])
    content["state_dict"] = {k: v for k, v in content["state_dict"].items() if k not in buffers}
    replicated = {key: content.pop(key) for key in _ALIKE}
    replicated["position"] = position.state_dict()
    replicated["settings"] = training.optimizers.made
    replicated["should_stop"] = should_stop
    # In the place of what lies on other ranks, each saves what it holds itself: all of it, for one rule is enough.
    own = {}
    if run.strategy.spreads:
        own = {key: run.strategy.own_part(replicated[key]) for key in _OWN}
        replicated |= {key: type(value)() for key, value in own.items()}
    local = {
        **({"own": own} if own else {}),
        "rng": rank.random,
        "data": rank.data,
        "validation_data": rank.validation_data,
        "results": rank.results,
        "metrics": rank.metrics,
        "buffers": buffers,
        "counters": rank.counters,
        "loops": without_loaders(content.pop("loops", {})),
        "threads": torch.get_num_threads(),
        "content": content,
    }
    return parts_of(replicated, local)


def content_of(strategy: Strategy, restored: Restored) -> dict[str, Any]:
    """The restored state under the keys of a ``.ckpt`` file, so that both are put back by the same functions."""
    replicated, local = restored.parts[REPLICATED].tree, restored.parts[LOCAL].tree
    content = {**local["content"], **{key: replicated[key] for key in _ALIKE}}
    content |= strategy.from_own_part(local.get("own", {}))
    content["state_dict"] = {**content["state_dict"], **local["buffers"]}
    # Checkpoints of before there were settings have none.
    settings = replicated.get("settings")
    content[OWN_KEY] = {"position": replicated["position"], "settings": settings, "data": local["data"]}
    # Those of before they were kept count from where they are taken up.
    content["loops"] = local.get("loops", {})
    return content


def restore_local(run: Run, training: Training, restored: Restored) -> None:
    """Put back what belongs to this rank, but for its random state, which must come last."""
    local = restored.parts[LOCAL].tree
    run.stop.asked = restored.parts[REPLICATED].tree["should_stop"]
    if local["threads"] != torch.get_num_threads():
        warn(f"using {local['threads']} threads, as the run being resumed did, instead of {torch.get_num_threads()}")
        torch.set_num_threads(local["threads"])
    training.results.load_state_dict(local["results"], MetricsOf(run.module))
    run.metrics.load_state_dict(local["metrics"])
    if "counters" in local:
        restore_counters(training, local["counters"])
    training.left.leave({"validation_data": local["validation_data"], "random": local["rng"]})

"""A script started by hand becomes one process per device."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from trainer_models import QUIET, Net, in_order, regression, shuffled

import thunderhead as th
from thunderhead.distributed.environment import ProcessRank
from thunderhead.distributed.launch import command_again, environment_of
from thunderhead.strategies import DDPStrategy, SingleDeviceStrategy

HERE = str(Path(__file__).parents[1])
SCRIPT = """
import atexit, json, os, signal, sys, time
sys.path.insert(0, {here!r})
import torch.distributed as dist
from trainer_ranks import threads_of_gloo
from trainer_models import QUIET, Net, regression, shuffled
import thunderhead as th

def at_the_very_end():
    found = [dist.is_initialized(), *threads_of_gloo(none=not dist.is_initialized())]
    with open("group" + os.environ.get("RANK", "0"), "w") as stream:
        json.dump(found, stream)

class Telling(th.Callback):
    def on_train_batch_end(self, trainer, *_):
        if {how!r} == "SIGTERM" and trainer.global_step == 3 and trainer.global_rank == 0:
            os.kill(os.getpid(), signal.SIGTERM)

    def on_exception(self, trainer, pl_module, exception):
        if {how!r} == "SIGTERM":
            self.on_train_end(trainer, pl_module)

    def on_train_end(self, trainer, pl_module):
        if {how!r} == "exits" and trainer.global_rank == 1:
            sys.exit(3)
        found = [trainer.global_rank, trainer.world_size, trainer.local_rank, trainer.global_step, sys.argv[1:]]
        with open(f"rank{{trainer.global_rank}}.json", "w") as stream:
            json.dump(found, stream)
        if {how!r} == "exits":
            trainer.strategy.barrier()
        if {how!r} == "caught":
            raise ValueError("the same on all ranks")

def work_by_oneself(trainer):
    # Rank 1 goes on for longer than rank 0 waits for those that stand in a collective.
    if trainer.global_rank == 0:
        trainer.strategy.launcher._grace_s = 0.2
    else:
        time.sleep(1.5)
        open("worked", "w").close()

if __name__ == "__main__":
    atexit.register(at_the_very_end)
    th.seed_everything(1, verbose=False)
    epochs = 100_000 if {how!r} == "SIGTERM" else 1
    trainer = th.Trainer(**QUIET, devices=2, max_epochs=epochs, callbacks=[Telling()])
    try:
        trainer.fit(Net(), shuffled(regression(16), batch_size=4))
    except ValueError:
        work_by_oneself(trainer)
"""


NO_GROUP: list[Any] = [False]
GROUP = [True, "gloo_tcp_loop", "pt_gloo_runloop"]


def group_at_the_end(directory: Path) -> list[list[Any]]:
    """Of each rank, as the interpreter began to end: whether it was in a process group, and gloo's threads."""
    return [json.loads((directory / f"group{rank}").read_text()) for rank in range(2)]


def run(directory: Path, how: str) -> subprocess.CompletedProcess[str]:
    script = directory / "script.py"
    script.write_text(SCRIPT.format(here=HERE, how=how))
    return subprocess.run(
        [sys.executable, str(script), "--flag", "x y"], cwd=directory, capture_output=True, text=True, timeout=100
    )


def test_every_rank_runs_the_script(tmp_path: Path) -> None:
    ended = run(tmp_path, "ends")
    assert ended.returncode == 0, ended.stderr
    found = [json.loads((tmp_path / f"rank{rank}.json").read_text()) for rank in range(2)]
    assert found == [[rank, 2, rank, 2, ["--flag", "x y"]] for rank in range(2)]
    # A thread of gloo's that is still at work while the interpreter ends can abort the process.
    assert group_at_the_end(tmp_path) == [NO_GROUP, NO_GROUP]


def test_a_rank_that_fails_takes_the_others_along(tmp_path: Path) -> None:
    ended = run(tmp_path, "exits")
    assert ended.returncode == 1
    assert "local rank 1 ended with exit code 3; ending the other ranks" in ended.stderr
    # Rank 0 had an error, and waits for nothing that is under way.
    assert group_at_the_end(tmp_path) == [GROUP, NO_GROUP]


def test_a_rank_that_caught_its_error_may_go_on_by_itself(tmp_path: Path) -> None:
    ended = run(tmp_path, "caught")
    assert (ended.returncode, "ending the other ranks" in ended.stderr) == (0, False), ended.stderr
    assert (tmp_path / "worked").exists()


def test_sigterm_to_the_script_ends_all_ranks_after_one_step(tmp_path: Path) -> None:
    """As a terminal's ``kill`` does it: only the process that the user started hears of it."""
    ended = run(tmp_path, "SIGTERM")
    assert ended.returncode == 143, ended.stderr
    assert "ending the other ranks" not in ended.stderr
    found = [json.loads((tmp_path / f"rank{rank}.json").read_text()) for rank in range(2)]
    assert found[0][3] == found[1][3] >= 3
    assert group_at_the_end(tmp_path) == [NO_GROUP, NO_GROUP]


def test_commands(tmp_path: Path) -> None:
    script = tmp_path / "a.py"
    script.touch()
    assert command_again([str(script), "--x"], None) == [sys.executable, str(script), "--x"]
    assert command_again(["/somewhere/pkg/__main__.py", "--x"], "pkg") == [sys.executable, "-m", "pkg", "--x"]
    with pytest.raises(th.MisconfigurationException, match="an interactive session"):
        command_again(["-c"], None)


def test_environment() -> None:
    assert environment_of(ProcessRank(5, 8, 1, 4, 1), "head", 29500) == {
        "RANK": "5",
        "WORLD_SIZE": "8",
        "LOCAL_RANK": "1",
        "LOCAL_WORLD_SIZE": "4",
        "GROUP_RANK": "1",
        "MASTER_ADDR": "head",
        "MASTER_PORT": "29500",
    }


@pytest.mark.parametrize("devices", [2, "2", [0, 1], "0,1"])
def test_what_devices_mean(devices: object) -> None:
    trainer = th.Trainer(**QUIET, devices=devices)
    assert (trainer.world_size, trainer.global_rank, trainer.num_devices) == (2, 0, 2)
    assert trainer.strategy.launcher is not None


def test_a_strategy_made_by_hand_gets_its_device_from_the_trainer() -> None:
    strategy = DDPStrategy(find_unused_parameters=True)
    trainer = th.Trainer(**QUIET, strategy=strategy, max_epochs=1)
    trainer.fit(Net(), shuffled(regression(16), batch_size=8), in_order())
    assert trainer.strategy is strategy
    assert strategy.root_device == torch.device("cpu")
    assert trainer.global_step == 2
    torch.distributed.destroy_process_group()


def test_a_device_of_its_own() -> None:
    assert th.Trainer(**QUIET, strategy=SingleDeviceStrategy("cpu")).strategy.root_device == torch.device("cpu")

"""A device that torch has never heard of trains, is saved and goes on: no code of ours knows its name."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from pathlib import Path

PROGRAM = """
import sys
from pathlib import Path

import stand_in_device

NAME, FOLDER = sys.argv[1], Path(sys.argv[2])
stand_in_device.install(NAME, group=f"{NAME}_dist")

import torch
import torch.distributed as dist
from torch.utils.data import DataLoader, TensorDataset

import thunderhead as th
from thunderhead.rng import capture_rng, restore_rng

device = torch.get_device_module(NAME)


class Net(th.LightningModule):
    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(4, 1)
        self.drawn = []

    def training_step(self, batch, batch_idx):
        loss = (self.layer(batch[0]) - batch[1]).square().mean()
        self.drawn.append(torch.rand((), generator=device.generator).item())
        self.log("loss", loss)
        return loss

    def on_train_batch_end(self, outputs, batch, batch_idx):
        if self.trainer.global_step == 5 and not (FOLDER / "five.ckpt").exists():
            self.trainer.save_checkpoint(FOLDER / "five.ckpt")

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)


def trainer(steps, **more):
    return th.Trainer(
        max_steps=steps, logger=False, enable_progress_bar=False, enable_model_summary=False,
        enable_checkpointing=False, **{"devices": 1, **more},
    )


def fit(steps, ckpt=None, **more):
    th.seed_everything(1, verbose=False)
    x = torch.randn(64, 4, generator=torch.Generator().manual_seed(0))
    loader = DataLoader(TensorDataset(x, x.sum(1, keepdim=True)), batch_size=4)
    one, net = trainer(steps, **more), Net()
    stand_in_device.READS.clear()
    one.fit(net, loader, ckpt_path=ckpt)
    return one, net, list(stand_in_device.READS)


"""


def run(body: str, name: str, folder: Path) -> str:
    program = folder / "program.py"
    program.write_text(PROGRAM + textwrap.dedent(body))
    command = [sys.executable, program, name, folder]
    ended = subprocess.run(command, env=_env(), capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr[-4000:]
    return ended.stdout


def _env() -> dict[str, str]:
    import os

    return {**os.environ, "PYTHONPATH": str(Path(__file__).parent), "OMP_NUM_THREADS": "1"}


def test_it_trains_and_goes_on_with_the_same_bits(tmp_path: Path) -> None:
    said = run(
        """
        few, net, reads = fit(2)
        assert type(few.accelerator).__name__ == "GIZMOAccelerator", few.accelerator
        assert few.strategy.root_device == torch.device(NAME, 0) == net.layer.weight.device
        assert trainer(1, devices="auto").num_devices == 2
        assert trainer(1, accelerator=NAME, devices=[1]).strategy.root_device == torch.device(NAME, 1)
        whole, whole_net, more_reads = fit(12)
        # What was logged is read once at the end, and the one file's tensors; nothing of a step.
        assert len(reads) <= 1, reads
        assert len(more_reads) <= 5, more_reads

        device.manual_seed_all(99)
        again, again_net, _ = fit(12, FOLDER / "five.ckpt")
        assert torch.equal(again_net.layer.weight.cpu(), whole_net.layer.weight.cpu())
        assert again_net.drawn == whole_net.drawn[5:], (again_net.drawn, whole_net.drawn)
        saved = torch.load(FOLDER / "five.ckpt", weights_only=True)
        assert set(saved["state_dict"]) == {"layer.weight", "layer.bias"}

        fit(2, precision="bf16-true")
        print("all well")
        """,
        "gizmo",
        tmp_path,
    )
    assert said.splitlines()[-1] == "all well"


def test_a_tpu_is_chosen_where_there_is_one(tmp_path: Path) -> None:
    said = run(
        """
        one, net, _ = fit(2)
        assert one.accelerator.name() == "tpu"
        for refused in ("16-mixed", "16-true"):
            try:
                trainer(1, precision=refused)
            except th.MisconfigurationException as error:
                assert "on tpu" in str(error) and "bf16" in str(error)
            else:
                raise AssertionError(refused)

        state = capture_rng()
        assert len(state["tpu"]) == 1
        drawn = torch.rand(3, generator=device.generator)
        restore_rng(state)
        assert torch.equal(drawn, torch.rand(3, generator=device.generator))

        alone = th.Trainer(strategy="ddp", devices=1, logger=False).strategy
        alone.setup_environment()
        assert dist.get_backend_config() == "cpu:gloo,tpu:tpu_dist", dist.get_backend_config()
        alone.barrier()
        assert alone.all_of(True) and alone.tell({"a": 1}) == {"a": 1}
        assert alone._words_device.type == "cpu"

        # Several of one node, started by hand: what all must find in the environment is there before the first of them.
        for method in ("ddp", "ddp_spawn"):
            launcher = trainer(1, strategy=method, devices=2).strategy.launcher
            assert launcher._prepare.__name__ == "prepare_slice"
        print("all well")
        """,
        "tpu",
        tmp_path,
    )
    assert said.splitlines()[-1] == "all well"

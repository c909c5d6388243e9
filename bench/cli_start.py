"""Seconds from the start of a script to its first step: a plain script, and the same by a command line."""

from __future__ import annotations

from bench.fresh import BEGIN, END, in_turn
from bench.report import Result, row

_PLAIN = f"""
{BEGIN}
import sys
import torch
import thunderhead as th

class Line(th.LightningModule):
    def __init__(self, lr: float = 0.1):
        super().__init__()
        self.weight, self.lr = torch.nn.Parameter(torch.zeros(1)), lr
    def training_step(self, batch, batch_idx):
        return (self.weight * batch).sum()
    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=self.lr)
    def train_dataloader(self):
        return torch.utils.data.DataLoader(torch.ones(2, 1))

class First(th.Callback):
    def on_train_batch_end(self, *arguments):
        {END}

quiet = dict(accelerator="cpu", max_steps=1, logger=False, enable_checkpointing=False, enable_progress_bar=False,
             enable_model_summary=False, log_every_n_steps=1, callbacks=First())
"""
_SCRIPTS = {
    "a plain script": f"{_PLAIN}\nth.seed_everything(0, verbose=False)\nth.Trainer(**quiet).fit(Line())",
    "by LightningCLI": f"{_PLAIN}\nfrom thunderhead.cli import LightningCLI\n"
    "sys.argv = ['script.py', 'fit', '--model.lr=0.2']\n"
    "LightningCLI(Line, trainer_defaults=quiet, save_config_callback=None)",
}
AT_MOST_S = 0.5


def run(*, quick: bool) -> list[Result]:
    """Both in turn."""
    plain, by_cli = in_turn(_SCRIPTS, 3 if quick else 21).values()
    pairs = list(zip(plain, by_cli, strict=True))
    rows = []
    for name, measured in zip(_SCRIPTS, (plain, by_cli), strict=True):
        rows.append(row(f"{name}: CPU", [one.cpu for one in measured], digits=3))
        rows.append(row(f"{name}: elapsed", [one.elapsed for one in measured], digits=3))
    rows.append(row("added: CPU", [cli.cpu - one.cpu for one, cli in pairs], at_most=AT_MOST_S, digits=3))
    rows.append(row("added: elapsed", [cli.elapsed - one.elapsed for one, cli in pairs], at_most=AT_MOST_S, digits=3))
    return [
        Result(
            name="cli-start",
            title="From the start of a script to its first step, s",
            how="Fresh interpreters in turn, from before `import torch` on; bytecode is compiled already.",
            rows=rows,
        )
    ]

"""Seconds from the start of a script to its first step: a plain script, and the same by a command line."""

from __future__ import annotations

import subprocess
import sys

from bench.report import Result, row

_PLAIN = """
import sys, time
wall, cpu = time.perf_counter(), time.process_time()
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
        print(time.perf_counter() - wall, time.process_time() - cpu)

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
    """Both in turn, every other time backwards; the first round warms the disk and does not count."""
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in _SCRIPTS}
    for number in range(4 if quick else 10):
        for name in _SCRIPTS if number % 2 == 0 else reversed(_SCRIPTS):
            seconds = _seconds(_SCRIPTS[name])
            if number > 0:
                found[name].append(seconds)
    plain, by_cli = found.values()
    added = [(cli[0] - one[0], cli[1] - one[1]) for one, cli in zip(plain, by_cli, strict=True)]
    rows = [row(f"{name}: elapsed", [wall for wall, _ in measured], digits=3) for name, measured in found.items()]
    rows.append(row("added: CPU", [cpu for _, cpu in added], at_most=AT_MOST_S, digits=3))
    rows.append(row("added: elapsed", [wall for wall, _ in added], at_most=AT_MOST_S, digits=3))
    return [
        Result(
            name="cli-start",
            title="From the start of a script to its first step, s",
            how="Fresh interpreters in turn, from before `import torch` on; bytecode is compiled already.",
            rows=rows,
        )
    ]


def _seconds(script: str) -> tuple[float, float]:
    """Elapsed and CPU seconds."""
    done = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True)
    wall, cpu = done.stdout.split()
    return float(wall), float(cpu)

"""Tokens per second of a GPT of 124M parameters against a raw loop, eager and compiled. Needs a CUDA device.

The device is waited for at the ends of each block only, so that a trainer which waits within a step shows.
"""

from __future__ import annotations

import tempfile
import time
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from bench.pairs import PairedBatches, Pairs
from bench.report import Result, row


@dataclass(frozen=True, slots=True)
class Shape:
    """Of the model and its batches; the defaults are GPT-2's, 124M parameters."""

    layers: int = 12
    width: int = 768
    heads: int = 12
    vocabulary: int = 50304
    context: int = 1024
    batch_size: int = 8


class Block(nn.Module):
    """Causal attention and a perceptron, each behind a layer norm."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.heads = shape.heads
        self.norms = nn.ModuleList([nn.LayerNorm(shape.width) for _ in range(2)])
        self.qkv = nn.Linear(shape.width, 3 * shape.width)
        self.out = nn.Linear(shape.width, shape.width)
        self.mlp = nn.Sequential(
            nn.Linear(shape.width, 4 * shape.width), nn.GELU(), nn.Linear(4 * shape.width, shape.width)
        )

    def forward(self, x: Tensor) -> Tensor:
        """x and the result: [batch, context, width]."""
        batch, length, width = x.shape
        parts = self.qkv(self.norms[0](x)).view(batch, length, 3, self.heads, width // self.heads)
        q, k, v = parts.permute(2, 0, 3, 1, 4)
        found = nn.functional.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.out(found.transpose(1, 2).reshape(batch, length, width))
        more: Tensor = self.mlp(self.norms[1](x))
        return x + more


class GPT(nn.Module):
    """Next-token loss of tokens [batch, context + 1]; the embedding is also the output layer."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.tokens = nn.Embedding(shape.vocabulary, shape.width)
        self.positions = nn.Parameter(torch.zeros(shape.context, shape.width))
        self.blocks = nn.Sequential(*[Block(shape) for _ in range(shape.layers)])
        self.norm = nn.LayerNorm(shape.width)
        nn.init.normal_(self.tokens.weight, std=0.02)

    def forward(self, tokens: Tensor) -> Tensor:
        """The mean loss, no dimensions."""
        x = self.norm(self.blocks(self.tokens(tokens[:, :-1]) + self.positions))
        logits = nn.functional.linear(x, self.tokens.weight)
        return nn.functional.cross_entropy(logits.flatten(0, 1), tokens[:, 1:].flatten())


def run(*, quick: bool) -> list[Result]:
    """Eager and compiled; without a CUDA device a result that says so and claims nothing."""
    rows, notes = [], []
    if torch.cuda.is_available():
        for compiled in (False, True):
            pairs = measure("cuda", Shape(), compiled=compiled, steps=20, pairs=10 if quick else 40)
            ratios = [1 / ratio for ratio in pairs.ratios()]
            rows.append(row("compiled" if compiled else "eager", ratios, at_least=0.997, digits=4))
        notes.append(f"On {torch.cuda.get_device_name()}.")
    else:
        notes.append("Not measured: no CUDA device. Nothing is claimed about GPUs.")
    return [
        Result(
            name="gpu",
            title="Tokens/s of a 124M GPT ÷ a raw loop's",
            how="bf16 autocast, fused AdamW, the loss logged; wall time of blocks, in pairs inside one run.",
            rows=rows,
            notes=notes,
        )
    ]


def measure(device: str, shape: Shape, *, compiled: bool, steps: int, pairs: int) -> Pairs:
    """Pairs of blocks of Thunderhead's steps and of a raw loop's; two models of one shape are on the device."""
    import thunderhead as th

    torch.manual_seed(0)
    size = (shape.batch_size, shape.context + 1)
    items = [torch.randint(shape.vocabulary, size, device=device) for _ in range(4)]
    loader = PairedBatches(
        items, raw_loop(device, shape, compiled=compiled), steps=steps, pairs=pairs, warm_up=10, clock=clock_of(device)
    )
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        trainer = th.Trainer(
            max_epochs=1,
            accelerator=device,
            devices=1,
            precision="bf16-mixed",
            default_root_dir=folder,
            enable_progress_bar=False,
            enable_model_summary=False,
        )
        trainer.fit(module(shape, compiled=compiled), loader)
    return loader.measured


def module(shape: Shape, *, compiled: bool) -> Any:
    """The module that Thunderhead trains."""
    import thunderhead as th

    class Module(th.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.net = GPT(shape)
            self.call = torch.compile(self.net) if compiled else self.net

        def training_step(self, batch: Tensor, batch_idx: int) -> Tensor:
            loss: Tensor = self.call(batch)
            self.log("loss", loss, on_step=True, on_epoch=True)
            return loss

        def configure_optimizers(self) -> torch.optim.Optimizer:
            return torch.optim.AdamW(self.net.parameters(), lr=1e-4, fused=True)

    return Module()


def raw_loop(device: str, shape: Shape, *, compiled: bool) -> Any:
    """The same by hand."""
    net = GPT(shape).to(device)
    call: Any = torch.compile(net) if compiled else net
    optimizer = torch.optim.AdamW(net.parameters(), lr=1e-4, fused=True)

    def train(items: Sequence[Tensor]) -> None:
        for tokens in items:
            optimizer.zero_grad()
            with torch.autocast(device, dtype=torch.bfloat16):
                loss = call(tokens)
            loss.backward()
            optimizer.step()

    return train


def clock_of(device: str) -> Any:
    """Wall seconds at which everything queued on the device is done."""

    def now() -> float:
        if device == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter()

    return now

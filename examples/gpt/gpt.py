"""A small GPT that learns the text of Python's own reference, character by character; Python ships it."""

from __future__ import annotations

import math
import string
from pydoc_data.topics import topics
from typing import Any, Final

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import DataLoader, Dataset

import thunderhead as th

VALIDATION_SHARE: Final = 0.1
ALPHABET: Final = string.printable  # what else the text holds, some accents and dashes, is read as "?"
_NUMBERS: Final = {character: number for number, character in enumerate(ALPHABET)}


def encode(text: str) -> Tensor:
    """Numbers of the characters of ``text`` (positions,)."""
    return torch.tensor([_NUMBERS.get(character, _NUMBERS["?"]) for character in text])


def decode(characters: Tensor) -> str:
    """The text of these numbers."""
    return "".join(ALPHABET[number] for number in characters.tolist())


class Block(nn.Module):
    """Attention over what came before, then a feed-forward layer, each added to its input.

    Args:
        width: size of a position's vector.
        heads: attention heads; ``width`` is a multiple of it.
        dropout: share of values dropped in training.
    """

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads = heads
        self.dropout = dropout
        self.norm_attention = nn.LayerNorm(width)
        self.qkv = nn.Linear(width, 3 * width)
        self.projection = nn.Linear(width, width)
        self.norm_feed_forward = nn.LayerNorm(width)
        self.feed_forward = nn.Sequential(
            nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width), nn.Dropout(dropout)
        )

    def forward(self, states: Tensor) -> Tensor:
        """(batch, positions, width) → the same shape."""
        states = states + self._attend(self.norm_attention(states))
        changed: Tensor = states + self.feed_forward(self.norm_feed_forward(states))
        return changed

    def _attend(self, states: Tensor) -> Tensor:
        batch, positions, width = states.shape
        shape = (batch, positions, self.heads, width // self.heads)
        query, key, value = (part.view(shape).transpose(1, 2) for part in self.qkv(states).split(width, dim=2))
        attended = functional.scaled_dot_product_attention(
            query, key, value, dropout_p=self.dropout if self.training else 0.0, is_causal=True
        )
        mixed: Tensor = self.projection(attended.transpose(1, 2).reshape(batch, positions, width))
        return mixed


class GPT(th.LightningModule):
    """Predicts the next character.

    Args:
        context: characters it looks back on.
        layers: number of blocks.
        heads: attention heads per block.
        width: size of a position's vector.
        dropout: share of values dropped in training.
        lr: highest learning rate, reached after a tenth of the steps and then lowered along a cosine.
    """

    def __init__(
        self,
        context: int = 64,
        layers: int = 2,
        heads: int = 4,
        width: int = 64,
        dropout: float = 0.0,
        lr: float = 0.006,
    ) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.context = context
        self.lr = lr
        self.embed_character = nn.Embedding(len(ALPHABET), width)
        self.embed_position = nn.Embedding(context, width)
        self.blocks = nn.Sequential(*(Block(width, heads, dropout) for _ in range(layers)))
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, len(ALPHABET), bias=False)
        self.example_input_array = torch.zeros(1, context, dtype=torch.int64)

    def forward(self, characters: Tensor) -> Tensor:
        """(batch, positions) of character numbers → (batch, positions, alphabet) of logits."""
        positions = torch.arange(characters.shape[1], device=characters.device)
        states = self.embed_character(characters) + self.embed_position(positions)
        logits: Tensor = self.head(self.norm(self.blocks(states)))
        return logits

    def _loss(self, window: Tensor) -> Tensor:
        """Cross entropy in nats per character; ``window`` is (batch, positions + 1)."""
        logits = self(window[:, :-1])
        return functional.cross_entropy(logits.flatten(0, 1), window[:, 1:].flatten())

    def training_step(self, batch: Tensor, batch_idx: int) -> Tensor:
        """The loss of one batch of windows."""
        loss = self._loss(batch)
        self.log("train_loss", loss, prog_bar=True)
        return loss

    def validation_step(self, batch: Tensor, batch_idx: int) -> None:
        """The loss over text it has not seen."""
        self.log("val_loss", self._loss(batch), sync_dist=True, prog_bar=True)

    def on_train_end(self) -> None:
        """Show what it writes."""
        self.print(repr(decode(self.write(encode("The "), 120))))

    @torch.no_grad()
    def write(self, start: Tensor, length: int) -> Tensor:
        """Go on writing after ``start`` (positions,), taking the likeliest character ``length`` times."""
        was_training = self.training
        self.eval()
        text = start.to(self.device)
        for _ in range(length):
            following = self(text[-self.context :].unsqueeze(0))[0, -1].argmax()
            text = torch.cat([text, following.view(1)])
        self.train(was_training)
        return text

    def configure_optimizers(self) -> dict[str, Any]:
        """AdamW with a warm-up and a cosine, stepped with every optimizer step."""
        optimizer = torch.optim.AdamW(self.parameters(), lr=self.lr, weight_decay=0.1)
        steps = int(self.trainer.estimated_stepping_batches)
        warm_up = max(1, steps // 10)

        def factor(step: int) -> float:
            if step < warm_up:
                return (step + 1) / warm_up
            return 0.5 * (1 + math.cos(math.pi * min(1.0, (step - warm_up) / max(1, steps - warm_up))))

        scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, factor)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}


class Windows(Dataset[Tensor]):
    """Windows of a text that do not overlap but for one character.

    Args:
        text: the text.
        context: characters per window; one more is its last target.
    """

    def __init__(self, text: str, context: int) -> None:
        self.context = context
        self.characters = encode(text)

    def __len__(self) -> int:
        return (len(self.characters) - 1) // self.context

    def __getitem__(self, index: int) -> Tensor:
        start = index * self.context
        return self.characters[start : start + self.context + 1]


class PythonReference(th.LightningDataModule):
    """What ``help()`` shows on Python's topics: some 465,000 characters. Nothing is downloaded.

    Args:
        context: characters per window; must be the module's.
        batch_size: windows per process and step.
    """

    def __init__(self, context: int = 64, batch_size: int = 16) -> None:
        super().__init__()
        self.context = context
        self.batch_size = batch_size

    def setup(self, stage: str) -> None:
        """Read the text; its last tenth is for validation."""
        text = "\n".join(topics[name] for name in sorted(topics))
        split = int(len(text) * (1 - VALIDATION_SHARE))
        self.train_set = Windows(text[:split], self.context)
        self.val_set = Windows(text[split:], self.context)

    def train_dataloader(self) -> DataLoader[Tensor]:
        """Shuffled; the trainer gives each rank its share."""
        return DataLoader(self.train_set, batch_size=self.batch_size, shuffle=True)

    def val_dataloader(self) -> DataLoader[Tensor]:
        """In order."""
        return DataLoader(self.val_set, batch_size=64)

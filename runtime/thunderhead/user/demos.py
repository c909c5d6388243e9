"""Small modules and data to try a Trainer with, as Lightning's ``demos`` have them."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sized
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import StepLR
from torch.utils.data import DataLoader, Dataset, IterableDataset, Sampler, Subset

from thunderhead.user.datamodule import LightningDataModule
from thunderhead.user.module import LightningModule

_WIDTH, _SAMPLES = 32, 64
_WORDS = 33278  # of WikiText-2


class RandomDataset(Dataset[Tensor]):
    """``length`` random vectors of ``size`` numbers, drawn once."""

    def __init__(self, size: int, length: int) -> None:
        self.len = length
        self.data = torch.randn(length, size)

    def __getitem__(self, index: int) -> Tensor:
        return self.data[index]

    def __len__(self) -> int:
        return self.len


class RandomIterableDataset(IterableDataset[Tensor]):
    """``count`` random vectors of ``size`` numbers, drawn as they are read."""

    def __init__(self, size: int, count: int) -> None:
        self.size, self.count = size, count

    def __iter__(self) -> Iterator[Tensor]:
        for _ in range(self.count):
            yield torch.randn(self.size)


class RandomIterableDatasetWithLen(RandomIterableDataset):
    """The same, with a length."""

    def __len__(self) -> int:
        return self.count


class BoringModel(LightningModule):
    """One layer that learns to answer with ones; override what you want to try."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(_WIDTH, 2)

    def forward(self, x: Tensor) -> Tensor:
        """Two numbers for each row."""
        return cast(Tensor, self.layer(x))

    def loss(self, preds: Tensor, labels: Tensor | None = None) -> Tensor:
        """How far they are from ``labels``, by default ones."""
        return F.mse_loss(preds, torch.ones_like(preds) if labels is None else labels)

    def step(self, batch: Tensor) -> Tensor:
        """The loss of a batch."""
        return self.loss(self(batch))

    def training_step(self, batch: Tensor, batch_idx: int) -> dict[str, Tensor]:
        return {"loss": self.step(batch)}

    def validation_step(self, batch: Tensor, batch_idx: int) -> dict[str, Tensor]:
        return {"x": self.step(batch)}

    def test_step(self, batch: Tensor, batch_idx: int) -> dict[str, Tensor]:
        return {"y": self.step(batch)}

    def configure_optimizers(self) -> tuple[list[Optimizer], list[StepLR]]:
        optimizer = torch.optim.SGD(self.parameters(), lr=0.1)
        return [optimizer], [StepLR(optimizer, step_size=1)]

    def train_dataloader(self) -> DataLoader[Tensor]:
        return DataLoader(RandomDataset(_WIDTH, _SAMPLES))

    def val_dataloader(self) -> DataLoader[Tensor]:
        return DataLoader(RandomDataset(_WIDTH, _SAMPLES))

    def test_dataloader(self) -> DataLoader[Tensor]:
        return DataLoader(RandomDataset(_WIDTH, _SAMPLES))

    def predict_dataloader(self) -> DataLoader[Tensor]:
        return DataLoader(RandomDataset(_WIDTH, _SAMPLES))


class ManualOptimBoringModel(BoringModel):
    """The same, which steps its optimizer itself."""

    def __init__(self) -> None:
        super().__init__()
        self.automatic_optimization = False

    def training_step(self, batch: Tensor, batch_idx: int) -> dict[str, Tensor]:
        optimizer = cast(Optimizer, self.optimizers())
        loss = self.step(batch)
        optimizer.zero_grad()
        self.manual_backward(loss)
        optimizer.step()
        return {"loss": loss}


class DemoModel(LightningModule):
    """One layer whose loss is the sum of what it answers."""

    def __init__(self, out_dim: int = 10, learning_rate: float = 0.02) -> None:
        super().__init__()
        self.l1 = nn.Linear(_WIDTH, out_dim)
        self.learning_rate = learning_rate

    def forward(self, x: Tensor) -> Tensor:
        """What is positive of the layer's answer."""
        return torch.relu(self.l1(x.view(x.size(0), -1)))

    def training_step(self, batch: Tensor, batch_nb: int) -> Tensor:
        return cast(Tensor, self(batch)).sum()

    def configure_optimizers(self) -> Optimizer:
        return torch.optim.Adam(self.parameters(), lr=self.learning_rate)


class BoringDataModule(LightningDataModule):
    """64 random vectors for each stage."""

    def __init__(self) -> None:
        super().__init__()
        self.random_full = RandomDataset(_WIDTH, 4 * _SAMPLES)

    def setup(self, stage: str) -> None:
        if stage == "fit":
            self.random_train = self._part(0)
        if stage in ("fit", "validate"):
            self.random_val = self._part(1)
        if stage == "test":
            self.random_test = self._part(2)
        if stage == "predict":
            self.random_predict = self._part(3)

    def _part(self, which: int) -> Subset[Tensor]:
        return Subset(self.random_full, range(which * _SAMPLES, (which + 1) * _SAMPLES))

    def train_dataloader(self) -> DataLoader[Tensor]:
        return DataLoader(self.random_train)

    def val_dataloader(self) -> DataLoader[Tensor]:
        return DataLoader(self.random_val)

    def test_dataloader(self) -> DataLoader[Tensor]:
        return DataLoader(self.random_test)

    def predict_dataloader(self) -> DataLoader[Tensor]:
        return DataLoader(self.random_predict)


class BoringDataModuleNoLen(LightningDataModule):
    """Random vectors without a known number."""

    def train_dataloader(self) -> DataLoader[Tensor]:
        return DataLoader(RandomIterableDataset(_WIDTH, 512))

    def val_dataloader(self) -> DataLoader[Tensor]:
        return DataLoader(RandomIterableDataset(_WIDTH, 128))

    def test_dataloader(self) -> DataLoader[Tensor]:
        return DataLoader(RandomIterableDataset(_WIDTH, 256))

    def predict_dataloader(self) -> DataLoader[Tensor]:
        return DataLoader(RandomIterableDataset(_WIDTH, 64))


class SequenceSampler(Sampler[list[int]]):
    """Batches whose rows go on where those of the batch before ended."""

    def __init__(self, dataset: Sized, batch_size: int) -> None:
        self.dataset, self.batch_size = dataset, batch_size
        self.chunk_size = len(dataset) // batch_size

    def __iter__(self) -> Iterator[list[int]]:
        used = self.chunk_size * self.batch_size
        for first in range(self.chunk_size):
            yield list(range(first, used, self.chunk_size))

    def __len__(self) -> int:
        return self.chunk_size


class SimpleLSTM(nn.Module):
    """A language model of LSTM layers."""

    def __init__(
        self, vocab_size: int = _WORDS, ninp: int = 512, nhid: int = 512, nlayers: int = 4, dropout: float = 0.2
    ) -> None:
        super().__init__()
        self.vocab_size, self.nlayers, self.nhid = vocab_size, nlayers, nhid
        self.drop = nn.Dropout(dropout)
        self.encoder = nn.Embedding(vocab_size, ninp)
        self.rnn = nn.LSTM(ninp, nhid, nlayers, dropout=dropout, batch_first=True)
        self.decoder = nn.Linear(nhid, vocab_size)
        nn.init.uniform_(self.encoder.weight, -0.1, 0.1)
        nn.init.uniform_(self.decoder.weight, -0.1, 0.1)
        nn.init.zeros_(self.decoder.bias)

    def forward(self, input: Tensor, hidden: tuple[Tensor, Tensor]) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """Log probabilities of each next word, and the state after them."""
        output, hidden = self.rnn(self.drop(self.encoder(input)), hidden)
        words = self.decoder(self.drop(output)).view(-1, self.vocab_size)
        return F.log_softmax(words, dim=1), hidden

    def init_hidden(self, batch_size: int) -> tuple[Tensor, Tensor]:
        """The state before the first word."""
        zeros = next(self.parameters()).new_zeros(self.nlayers, batch_size, self.nhid)
        return zeros, zeros.clone()


class LightningLSTM(LightningModule):
    """Trains ``SimpleLSTM`` on batches of words and the words after them; pass the loader to ``fit``."""

    def __init__(self, vocab_size: int = _WORDS) -> None:
        super().__init__()
        self.model = SimpleLSTM(vocab_size=vocab_size)
        self.hidden: tuple[Tensor, Tensor] | None = None

    def on_train_epoch_end(self) -> None:
        """Each epoch begins without a state."""
        self.hidden = None

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        words, target = batch
        state = self.model.init_hidden(words.size(0)) if self.hidden is None else self.hidden
        output, self.hidden = self.model(words, (state[0].detach(), state[1].detach()))
        loss = F.nll_loss(output, target.view(-1))
        self.log("train_loss", loss, prog_bar=True)
        return loss

    def configure_optimizers(self) -> Optimizer:
        return torch.optim.SGD(self.parameters(), lr=20.0)


class Transformer(nn.Module):
    """A language model of transformer layers."""

    def __init__(
        self,
        vocab_size: int = _WORDS,
        ninp: int = 200,
        nhead: int = 2,
        nhid: int = 200,
        nlayers: int = 2,
        dropout: float = 0.2,
    ) -> None:
        super().__init__()
        self.ninp, self.vocab_size = ninp, vocab_size
        self.drop = nn.Dropout(dropout)
        self.embedding = nn.Embedding(vocab_size, ninp)
        self.transformer = nn.Transformer(ninp, nhead, nlayers, nlayers, nhid, dropout, batch_first=True)
        self.decoder = nn.Linear(ninp, vocab_size)

    def forward(self, inputs: Tensor, target: Tensor, mask: Tensor | None = None) -> Tensor:
        """Log probabilities of each next word."""
        if mask is None:
            mask = nn.Transformer.generate_square_subsequent_mask(inputs.shape[1], inputs.device)
        source, aim = (self.drop(self.embedding(words) * math.sqrt(self.ninp)) for words in (inputs, target))
        places = _places(inputs.shape[1], self.ninp, inputs.device)
        output = self.decoder(self.transformer(source + places, aim + places, tgt_mask=mask))
        return F.log_softmax(output, dim=-1).view(-1, self.vocab_size)


def _places(length: int, width: int, device: torch.device) -> Tensor:
    at = torch.arange(length, device=device)[:, None]
    rates = torch.exp(torch.arange(0, width, 2, device=device) * (-math.log(10000.0) / width))
    return torch.stack([torch.sin(at * rates), torch.cos(at * rates)], dim=-1).flatten(1)[:, :width]


class LightningTransformer(LightningModule):
    """Trains ``Transformer`` on batches of words and the words after them; pass the loader to ``fit``."""

    def __init__(self, vocab_size: int = _WORDS) -> None:
        super().__init__()
        self.model = Transformer(vocab_size=vocab_size)

    def forward(self, inputs: Tensor, target: Tensor) -> Tensor:
        """Log probabilities of each next word."""
        return cast(Tensor, self.model(inputs, target))

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        words, target = batch
        return F.nll_loss(self(words, target), target.view(-1))

    def configure_optimizers(self) -> Optimizer:
        return torch.optim.SGD(self.model.parameters(), lr=0.1)

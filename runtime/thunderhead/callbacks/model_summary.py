"""Telling what a module is made of before it is trained."""

from __future__ import annotations

import importlib.util
import sys
from typing import TYPE_CHECKING, Any, TextIO

from thunderhead.arguments import whole_number
from thunderhead.user.callback import Callback
from thunderhead.user.summary import ModelSummary as Summary

if TYPE_CHECKING:
    from thunderhead.trainer.trainer import Trainer
    from thunderhead.user.module import LightningModule


class ModelSummary(Callback):
    """Prints the module's layers and its totals when fit starts, on rank 0.

    Args:
        max_depth: levels of submodules to list; -1 for all, 0 to print nothing.
        stream: where to write; standard output by default.

    Raises:
        MisconfigurationException: ``max_depth`` is no integer of at least -1.
    """

    def __init__(self, max_depth: int = 1, *, stream: TextIO | None = None) -> None:
        self._max_depth = whole_number(f"{type(self).__name__}: max_depth", max_depth, least=-1)
        self._stream = stream

    @property
    def stream(self) -> TextIO:
        """Where it writes."""
        return self._stream if self._stream is not None else sys.stdout

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Print."""
        if self._max_depth and trainer.is_global_zero:
            self.show(Summary(pl_module, max_depth=self._max_depth))

    def show(self, summary: Summary) -> None:
        """Print ``summary``; override to show it otherwise."""
        print(summary, file=self.stream, flush=True)


class RichModelSummary(ModelSummary):
    """The same as a table of the package ``rich``.

    Args:
        max_depth: levels of submodules to list; -1 for all, 0 to print nothing.
        stream: where to write; standard output by default.
        **table_options: passed to ``rich.table.Table``.

    Raises:
        MisconfigurationException: ``max_depth`` is no integer of at least -1.
        ModuleNotFoundError: ``rich`` is not installed.
    """

    def __init__(self, max_depth: int = 1, *, stream: TextIO | None = None, **table_options: Any) -> None:
        import rich.table  # noqa: F401 - missing here is better than missing when training starts

        super().__init__(max_depth, stream=stream)
        self._table_options = table_options

    def show(self, summary: Summary) -> None:
        """Print ``summary``."""
        from rich.console import Console
        from rich.table import Table

        rows = summary.rows
        table = Table(**{"header_style": "bold magenta", **self._table_options})
        for title in rows[0]:
            table.add_column(title, justify="right" if title in ("Params", "FLOPs") else "left", no_wrap=True)
        for row in rows[1:]:
            table.add_row(*row)
        totals = Table.grid(padding=(0, 2))
        for value, what in summary.totals:
            totals.add_row(value, what)
        console = Console(file=self.stream)
        console.print(table)
        console.print(totals)


def default_summary() -> ModelSummary:
    """A table of ``rich`` where it is installed and standard output is a terminal, else a plain one."""
    is_rich = sys.stdout.isatty() and importlib.util.find_spec("rich") is not None
    return RichModelSummary() if is_rich else ModelSummary()

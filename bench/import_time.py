"""Seconds that ``import thunderhead`` takes once ``torch`` is imported, in fresh interpreters."""

from __future__ import annotations

from bench.fresh import BEGIN, END, in_turn
from bench.report import Result, row
from bench.sides import has_lightning


def run(*, quick: bool) -> list[Result]:
    """All statements in turn."""
    statements = ["import thunderhead", "import thunderhead as th; th.Trainer, th.LightningModule"]
    if has_lightning():
        statements.append("import lightning.pytorch")
    scripts = {statement: f"import torch\n{BEGIN}\n{statement}\n{END}" for statement in statements}
    found = in_turn(scripts, 3 if quick else 9)
    rows = []
    for statement, measured in found.items():
        limit = 0.3 if "thunderhead" in statement else None
        rows.append(row(f"`{statement}`: CPU", [one.cpu for one in measured], at_most=limit, digits=3))
        rows.append(row(f"`{statement}`: elapsed", [one.elapsed for one in measured], digits=3))
    return [
        Result(
            name="import",
            title="Import over `import torch`, s",
            how="Fresh interpreters in turn, timed from the end of `import torch`; bytecode is compiled already.",
            rows=rows,
        )
    ]

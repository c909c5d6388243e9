"""PINA, after its tutorial on a Poisson problem."""

import torch
from lightning.pytorch import seed_everything
from pina import Condition, Trainer
from pina.callback import MetricTracker
from pina.domain import CartesianDomain
from pina.equation import Equation, FixedValue
from pina.model import FeedForward
from pina.operator import laplacian
from pina.problem import SpatialProblem
from pina.solver import PINN


def poisson(input_, output_):
    force = torch.sin(input_.extract(["x"]) * torch.pi) * torch.sin(input_.extract(["y"]) * torch.pi)
    return laplacian(output_.extract(["u"]), input_) - force


class Poisson(SpatialProblem):
    output_variables = ["u"]  # noqa: RUF012 - as its tutorial writes it
    spatial_domain = CartesianDomain({"x": [0, 1], "y": [0, 1]})
    domains = {  # noqa: RUF012
        "border": CartesianDomain({"x": 0, "y": [0, 1]}),
        "D": CartesianDomain({"x": [0, 1], "y": [0, 1]}),
    }
    conditions = {  # noqa: RUF012
        "border": Condition(domain="border", equation=FixedValue(0.0)),
        "D": Condition(domain="D", equation=Equation(poisson)),
    }


seed_everything(1)
problem = Poisson()
problem.discretise_domain(20, "grid", domains=["D"])
problem.discretise_domain(20, "grid", domains=["border"])
solver = PINN(problem, FeedForward(2, 1, layers=[8, 8]))
tracker = MetricTracker(["train_loss"])
trainer = Trainer(
    solver,
    max_epochs=3,
    accelerator="cpu",
    callbacks=[tracker],
    train_size=0.8,
    val_size=0.1,
    test_size=0.1,
    enable_progress_bar=False,
)
trainer.train()
print("RESULT", "loss", [value.item() for value in tracker.metrics["train_loss"]])
print("RESULT", "test", trainer.test())

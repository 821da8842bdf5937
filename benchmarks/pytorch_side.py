"""PyTorch's side: autograd through the training loop, in float32; eager, functional or compiled.

In eager mode every step builds the graph of its own gradient (`create_graph=True`), and one backward pass goes through
all of them, which is how bilevel problems are written in PyTorch. `torch.func` and `torch.compile` stand beside it.
Each is tuned before anything is measured: the number of threads, and two layouts of the rows. `joined` multiplies all
rows at once, but gets the cotangent of every row; `blocks` keeps points and clean rows apart, with more and smaller
operations.
"""

import itertools
import os
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch.nn import functional

from .problem import Rows, Setting
from .timing import Contestant, fastest

Parameters = tuple[torch.Tensor, ...]
Layout = tuple[tuple[torch.Tensor, torch.Tensor], ...]


def logistic_loss(parameters: Parameters, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """Return the summed log-loss of logistic regression; y is ±1."""
    weight, bias = parameters
    return functional.softplus(-y * torch.addmv(bias, x, weight)).sum()


def squared_loss(parameters: Parameters, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """Return the summed squared loss of ADALINE, halved; y is ±1."""
    weight, bias = parameters
    return 0.5 * (torch.addmv(bias, x, weight) - y).square().sum()


def mlp_loss(parameters: Parameters, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """Return the summed cross-entropy of a one-layer tanh network; y is ±1."""
    w1, b1, w2, b2 = parameters
    scores = torch.addmm(b2, torch.tanh(torch.addmm(b1, x, w1)), w2)
    return functional.cross_entropy(scores, (y > 0).long(), reduction="sum")


LOSSES: dict[str, Callable[..., torch.Tensor]] = {"LR": logistic_loss, "ADALINE": squared_loss, "MLP": mlp_loss}


def _tensors(rows: Rows) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.tensor(rows.x, dtype=torch.float32), torch.tensor(2 * rows.y - 1, dtype=torch.float32)


class Hypergradient:
    """A call that returns the gradient of the validation loss with respect to the features of all points.

    Args:
        name: of the learner: LR, ADALINE or MLP.
        setting: the rows.
        initial: initial parameters, as the library draws them.
        steps: T.
        step_size: η.
        layout: `"joined"` or `"blocks"`.
        way: how a step's gradient comes about, and all steps': `"autograd"` twice; `"by hand"`, a step's gradient
            written as a formula (LR alone), so that autograd differentiates once; `"functional"`, `torch.func.grad` of
            a loop with `torch.func.grad` in it; `"compiled"`, autograd through steps that `torch.compile` made of one
            `torch.func.grad` and an update.
    """

    def __init__(self, name, setting: Setting, initial, *, steps: int, step_size: float, layout: str, way="autograd"):
        self.loss, self.steps, self.step_size = LOSSES[name], steps, step_size
        self.layout, self.way = layout, way
        self.train, self.validation, self.points = (_tensors(rows) for rows in setting)
        self.initial = tuple(torch.tensor(np.asarray(leaf), dtype=torch.float32) for leaf in initial)

        self.step = {
            "autograd": lambda parameters, x: self._moved(parameters, self._gradient(parameters, x)),
            "by hand": lambda parameters, x: self._moved(parameters, self._formula(parameters, x)),
            "functional": self._functional_step,
            "compiled": None if way != "compiled" else torch.compile(self._functional_step, fullgraph=True),
        }[way]

    def __call__(self) -> torch.Tensor:
        if self.way == "functional":
            return torch.func.grad(self._trained_loss)(self.points[0])
        x = self.points[0].clone().requires_grad_()
        return torch.autograd.grad(self._trained_loss(x), x)[0]

    def _trained_loss(self, x: torch.Tensor) -> torch.Tensor:
        """Return the validation loss after training."""
        parameters = self.initial
        if self.way == "autograd":
            parameters = tuple(leaf.clone().requires_grad_() for leaf in parameters)
        for _ in range(self.steps):
            parameters = self.step(parameters, x)
        return self.loss(parameters, *self.validation) / len(self.validation[1])

    def _moved(self, parameters: Parameters, moves: Parameters) -> Parameters:
        return tuple(torch.sub(w, g, alpha=self.step_size) for w, g in zip(parameters, moves, strict=True))

    def _mean_loss(self, parameters: Parameters, x: torch.Tensor) -> torch.Tensor:
        total: Any = sum(self.loss(parameters, *block) for block in self._blocks(x))
        return total / (len(self.train[1]) + len(x))

    def _functional_step(self, parameters: Parameters, x: torch.Tensor) -> Parameters:
        return self._moved(parameters, torch.func.grad(self._mean_loss)(parameters, x))

    def _blocks(self, x: torch.Tensor) -> Layout:
        if self.layout == "blocks":
            return (self.train, (x, self.points[1]))
        return ((torch.cat([self.train[0], x]), torch.cat([self.train[1], self.points[1]])),)

    def _gradient(self, parameters: Parameters, x: torch.Tensor) -> Parameters:
        return torch.autograd.grad(self._mean_loss(parameters, x), parameters, create_graph=True)

    def _formula(self, parameters: Parameters, x: torch.Tensor) -> Parameters:
        (weight, bias), n = parameters, len(self.train[1]) + len(x)
        blocks = self._blocks(x)
        pulls = [-y * torch.sigmoid(-y * torch.addmv(bias, rows, weight)) / n for rows, y in blocks]
        by_weight: Any = sum(rows.T @ pull for (rows, _), pull in zip(blocks, pulls, strict=True))
        by_bias: Any = sum(pull.sum() for pull in pulls)
        return by_weight, by_bias


def tuned(make: Callable[[str], Contestant]) -> tuple[str, Contestant]:
    """Return the fastest of all layouts and numbers of threads: its name, and a call that uses them.

    Args:
        make: makes the contestant of a layout.
    """

    def variant(layout: str, threads: int) -> Contestant:
        call = make(layout)

        def run():
            torch.set_num_threads(threads)
            return call()

        return run

    counts = sorted({1, len(os.sched_getaffinity(0))})
    variants = {
        f"{layout}, {threads} thread{'s' * (threads > 1)}": variant(layout, threads)
        for layout, threads in itertools.product(("joined", "blocks"), counts)
    }
    best = fastest(variants)
    return best, variants[best]

"""Muon: momentum whose steps are made orthogonal, for matrices that multiply activations."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

_ITERATIONS = 5


@dataclass(frozen=True)
class _Part:
    """A matrix that is stepped by itself: a parameter, or one of the equal parts its rows are cut into."""

    parameter: nn.Parameter
    index: int
    parts: int

    def of(self, whole: Tensor) -> Tensor:
        return whole.chunk(self.parts, 0)[self.index]


def orthogonalised(steps: Tensor) -> Tensor:
    """Steps (n, rows, columns) with all singular values near 1, by Newton-Schulz iterations in bfloat16."""
    x = steps.bfloat16()
    tall = x.shape[1] > x.shape[2]
    if tall:
        x = x.transpose(1, 2)
    x = x / (x.norm(dim=(1, 2), keepdim=True) + 1e-7)
    for _ in range(_ITERATIONS):
        a = x @ x.transpose(1, 2)
        x = 3.4445 * x + (-4.775 * a + 2.0315 * (a @ a)) @ x
    if tall:
        x = x.transpose(1, 2)
    return x.float()


class Muon:
    """Muon over named matrices; fused `qkv` matrices are stepped as three. One shape is stepped at once."""

    def __init__(self, named: Iterable[tuple[str, nn.Parameter]], lr: float) -> None:
        self._lr = lr
        self._groups: dict[tuple[int, int], list[_Part]] = {}
        for name, parameter in named:
            parts = 3 if "qkv" in name else 1
            shape = (parameter.shape[0] // parts, parameter.shape[1])
            for index in range(parts):
                self._groups.setdefault(shape, []).append(_Part(parameter, index, parts))
        self._momentum = {shape: torch.zeros(len(group), *shape) for shape, group in self._groups.items()}

    def step(self, scale: float, momentum: float = 0.95, weight_decay: float = 0.01) -> None:
        """One step at `scale` times the learning rate; every parameter must have its gradient."""
        lr = self._lr * scale
        with torch.no_grad():
            for shape, group in self._groups.items():
                gradients = torch.stack([part.of(_gradient(part.parameter)) for part in group])
                average = self._momentum[shape].lerp_(gradients, 1 - momentum)
                steps = (
                    orthogonalised(gradients.lerp(average, momentum)) * max(1.0, shape[0] / shape[1]) ** 0.5
                )
                for part, step in zip(group, steps, strict=True):
                    part.of(part.parameter.data).mul_(1 - lr * weight_decay).add_(step, alpha=-lr)

    def state(self) -> dict[str, Tensor]:
        """The momentum, by shape."""
        return {f"{rows}x{columns}": value for (rows, columns), value in self._momentum.items()}

    def load(self, state: dict[str, Tensor]) -> None:
        """Put back what `state` gave."""
        for (rows, columns), value in self._momentum.items():
            value.copy_(state[f"{rows}x{columns}"])


def _gradient(parameter: nn.Parameter) -> Tensor:
    if parameter.grad is None:
        raise RuntimeError("a matrix has no gradient")
    return parameter.grad

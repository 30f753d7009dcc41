from __future__ import annotations

import pytest
import torch
from torch import nn

from sciffusion.training.gradients import clip_gradients


def _parameters(*gradients: torch.Tensor) -> list[nn.Parameter]:
    parameters = [nn.Parameter(torch.zeros_like(g)) for g in gradients]
    for parameter, gradient in zip(parameters, gradients, strict=True):
        parameter.grad = gradient.clone()
    return parameters


def _norms(parameters: list[nn.Parameter]) -> torch.Tensor:
    return torch.stack([p.grad.reshape(len(p), -1).square().sum(1) for p in parameters]).sum(0).sqrt()


def test_members_are_clipped_each_by_itself() -> None:
    generator = torch.Generator().manual_seed(0)
    scale = torch.tensor([1e-3, 1.0, 1e4]).view(3, 1, 1)
    parameters = _parameters(
        scale * torch.randn(3, 4, 5, generator=generator),
        scale[:, 0] * torch.randn(3, 2, generator=generator),
    )
    before = [p.grad.clone() for p in parameters]
    norms = _norms(parameters)
    clip_gradients(parameters, 0.5, n_members=3)
    torch.testing.assert_close(_norms(parameters), norms.clamp(max=0.5))
    assert torch.equal(parameters[0].grad[0], before[0][0])  # below the limit: untouched
    cosine = torch.cosine_similarity(parameters[0].grad[2].flatten(), before[0][2].flatten(), dim=0)
    assert float(cosine) == pytest.approx(1.0, abs=1e-6)


def test_a_single_network_has_one_norm() -> None:
    parameters = _parameters(torch.tensor([3.0, 0.0]), torch.tensor([[4.0]]))
    clip_gradients(parameters, 1.0)
    torch.testing.assert_close(parameters[0].grad, torch.tensor([0.6, 0.0]))
    torch.testing.assert_close(parameters[1].grad, torch.tensor([[0.8]]))


def test_zero_and_missing_gradients_pass() -> None:
    parameters = [*_parameters(torch.zeros(2, 3)), nn.Parameter(torch.ones(2))]
    clip_gradients(parameters, 1.0, n_members=2)
    clip_gradients(parameters, 1.0)
    assert torch.equal(parameters[0].grad, torch.zeros(2, 3))
    clip_gradients([nn.Parameter(torch.ones(2))], 1.0)

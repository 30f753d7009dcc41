"""The divergence of fields whose Jacobian is known."""

from __future__ import annotations

import pytest
import torch

from sciffusion.continuous.divergence import divergence


def quadratic(x: torch.Tensor) -> torch.Tensor:
    return x**3 + x.flip(-1)


@pytest.fixture
def points() -> torch.Tensor:
    return torch.randn(7, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def test_exact_divergence(points: torch.Tensor):
    values, found = divergence(quadratic, points)
    torch.testing.assert_close(values, quadratic(points))
    torch.testing.assert_close(found, (3 * points**2).sum(-1))


def test_probes_are_exact_for_diagonal_jacobians_and_unbiased_for_others(points: torch.Tensor):
    generator = torch.Generator().manual_seed(1)
    _, found = divergence(lambda x: x**3, points, n_probes=1, generator=generator)
    torch.testing.assert_close(found, (3 * points**2).sum(-1))
    _, found = divergence(quadratic, points[:1].expand(4000, -1), n_probes=1, generator=generator)
    # The four off-diagonal ones come in two pairs, each a sign times 2: variance 8.
    assert abs(float(found.mean() - (3 * points[0] ** 2).sum())) < 4 * (8 / 4000) ** 0.5
    assert float(found.var()) == pytest.approx(8.0, rel=0.1)


def test_works_under_inference_mode_and_for_constant_fields(points: torch.Tensor):
    with torch.inference_mode():
        _, found = divergence(torch.ones_like, points)
        assert torch.equal(found, torch.zeros(7, dtype=torch.float64))
        _, found = divergence(quadratic, points)
    torch.testing.assert_close(found, (3 * points**2).sum(-1))


def test_a_constant_field_with_parameters_has_no_divergence(points: torch.Tensor):
    slope = torch.nn.Parameter(torch.ones(4, dtype=torch.float64))
    values, found = divergence(lambda x: slope.expand_as(x), points)
    assert torch.equal(values, torch.ones_like(points))
    assert torch.equal(found, torch.zeros(7, dtype=torch.float64))


@pytest.mark.parametrize(("n_probes", "words"), [(0, "at least 1"), (1, "generator")])
def test_refuses(points: torch.Tensor, n_probes: int, words: str):
    with pytest.raises(ValueError, match=words):
        divergence(quadratic, points, n_probes=n_probes)

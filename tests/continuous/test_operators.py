"""Linear operators: powers, traces and scale, against their dense matrices."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from sciffusion.continuous import (
    DiagonalOperator,
    FullOperator,
    LinearOperator,
    LowRankOperator,
    ScalarOperator,
    SpectralOperator,
)


def _random(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


DIM = 6
FACTOR = _random(DIM, DIM)
DIRECTIONS = torch.linalg.qr(FACTOR).Q[:, :2]
OPERATORS: dict[str, tuple[LinearOperator, tuple[int, ...]]] = {
    "scalar": (ScalarOperator(2.5), (DIM,)),
    "diagonal": (DiagonalOperator(torch.arange(1.0, DIM + 1.0)), (DIM,)),
    "full": (FullOperator(FACTOR @ FACTOR.mT), (DIM,)),
    "low rank": (LowRankOperator(DIRECTIONS, torch.tensor([3.0, 1.0]), floor=0.5), (DIM,)),
    "spectral": (SpectralOperator(torch.tensor([4.0, 2.0, 1.0, 0.5]), (DIM,)), (DIM,)),
    "spectral, odd": (SpectralOperator(torch.tensor([4.0, 2.0, 1.0]), (5,)), (5,)),
    "spectral, plane": (SpectralOperator.radial(lambda r: 1.0 / (0.1 + r), (4, 3)), (4, 3)),
}


def _dense(operator: LinearOperator, shape: tuple[int, ...], power: float = 1.0) -> Tensor:
    size = torch.Size(shape).numel()
    eye = torch.eye(size, dtype=torch.float64).reshape(size, *shape)
    return operator.apply(eye, power).reshape(size, size)


@pytest.mark.parametrize("name", OPERATORS)
def test_powers_are_those_of_a_symmetric_matrix(name: str) -> None:
    operator, shape = OPERATORS[name]
    matrix, root, inverse = (_dense(operator, shape, power) for power in (1.0, 0.5, -1.0))
    torch.testing.assert_close(matrix, matrix.mT)
    torch.testing.assert_close(root @ root, matrix)
    torch.testing.assert_close(matrix @ inverse, torch.eye(len(matrix), dtype=torch.float64))
    assert float(torch.linalg.eigvalsh(matrix).min()) > 0.0


@pytest.mark.parametrize("name", OPERATORS)
def test_trace_and_scale(name: str) -> None:
    operator, shape = OPERATORS[name]
    matrix = _dense(operator, shape)
    assert float(operator.mean_eigenvalue) == pytest.approx(float(matrix.trace()) / len(matrix))
    torch.testing.assert_close(_dense(operator.scaled(3.0), shape), 3.0 * matrix)
    assert float(operator.normalised().mean_eigenvalue) == pytest.approx(1.0)


@pytest.mark.parametrize("name", OPERATORS)
def test_leading_axes_are_batches_and_types_are_kept(name: str) -> None:
    operator, shape = OPERATORS[name]
    x = _random(2, 3, *shape)
    together = operator.apply(x)
    torch.testing.assert_close(together[1, 2], operator.apply(x[1, 2]))
    assert operator.apply(x.to(torch.float32)).dtype == torch.float32
    half = operator.apply(x.to(torch.bfloat16))
    assert half.dtype == torch.bfloat16
    torch.testing.assert_close(half.double(), together, rtol=0.1, atol=0.15)


def test_full_and_low_rank_are_their_matrices() -> None:
    torch.testing.assert_close(_dense(*OPERATORS["full"]), FACTOR @ FACTOR.mT)
    low = DIRECTIONS @ torch.diag(torch.tensor([3.0, 1.0], dtype=torch.float64)) @ DIRECTIONS.mT
    torch.testing.assert_close(
        _dense(*OPERATORS["low rank"]), 0.5 * torch.eye(DIM, dtype=torch.float64) + low
    )


def test_spectral_operator_is_a_circular_convolution_with_the_given_power() -> None:
    operator, shape = OPERATORS["spectral"]
    matrix = _dense(operator, shape)
    torch.testing.assert_close(matrix.roll((1, 1), (0, 1)), matrix)
    wave = torch.cos(2.0 * torch.pi * 2.0 * torch.arange(DIM, dtype=torch.float64) / DIM)
    torch.testing.assert_close(operator.apply(wave), 1.0 * wave)


def test_bad_operators_are_refused() -> None:
    with pytest.raises(ValueError, match="not negative"):
        DiagonalOperator(torch.tensor([1.0, -1.0]))
    with pytest.raises(ValueError, match="not negative"):
        FullOperator(torch.tensor([[0.0, 1.0], [1.0, 0.0]]))
    with pytest.raises(ValueError, match="symmetric"):
        FullOperator(torch.tensor([[1.0, 1.0], [0.0, 1.0]]))
    with pytest.raises(ValueError, match="orthonormal"):
        LowRankOperator(torch.ones(3, 1), torch.ones(1))
    with pytest.raises(ValueError, match="half spectrum"):
        SpectralOperator(torch.ones(6), (6,))
    with pytest.raises(ValueError, match="opposite"):
        SpectralOperator(torch.arange(12.0).reshape(4, 3), (4, 4))
    with pytest.raises(ValueError, match="trailing axes"):
        OPERATORS["spectral"][0].apply(torch.zeros(5))
    with pytest.raises(ValueError, match="trailing axes"):
        # Broadcasting would give noise of another shape than the state.
        DiagonalOperator(torch.ones(5)).apply(torch.ones(3, 1))
    with pytest.raises(ValueError, match="no power"):
        DiagonalOperator(torch.tensor([1.0, 0.0])).apply(torch.ones(2), -1.0)
    with pytest.raises(ValueError, match="normalised"):
        ScalarOperator(0.0).normalised()

r"""Stationary autoregressive series of any order, with their exact forecasts.

The series :math:`x_t = m + \sum_{j=1}^p \phi_j (x_{t-j} - m) + s\,\varepsilon_t` is stationary if all roots
of :math:`z^p - \sum_j \phi_j z^{p-j}` lie inside the unit circle.  Its autocovariances solve the
Yule-Walker equations

.. math:: \gamma_k - \sum_j \phi_j \gamma_{|k-j|} = s^2\,\mathbb{1}[k = 0],

and given the last p values the next h ones are normal, with means by the recursion and errors :math:`e_i =
s\sum_{l \le i} \psi_{i-l}\varepsilon_l`, :math:`\psi_0 = 1`, :math:`\psi_k = \sum_j \phi_j \psi_{k-j}`.
Brockwell and Davis, *Time Series: Theory and Methods*, chapters 3 and 5.
"""

from __future__ import annotations

import torch
from torch import Tensor

from sciffusion.exact.gaussian import GaussianTarget

__all__ = ["AutoregressiveTarget"]


class AutoregressiveTarget(GaussianTarget):
    """Stretch of a stationary AR(p) series.

    Parameters
    ----------
    coefficients : Tensor
        Coefficients of the last 1, 2, ..., p values, shape ``(p,)`` with ``p >= 1``.
    innovation_std : float
        Standard deviation s of the innovations, positive.
    length : int
        Number of values of the stretch.
    mean : float, default 0
        Mean of the series.

    Raises
    ------
    ValueError
        If the coefficients do not belong to a stationary series.
    """

    def __init__(self, coefficients: Tensor, innovation_std: float, length: int, mean: float = 0.0) -> None:
        if coefficients.ndim != 1 or coefficients.shape[0] < 1:
            raise ValueError(f"coefficients must be a vector, got shape {tuple(coefficients.shape)}")
        if not innovation_std > 0.0 or length < 1:
            raise ValueError(f"innovation_std and length must be positive, got {innovation_std} and {length}")
        self.coefficients = coefficients.to(torch.float64)
        self.innovation_std = float(innovation_std)
        self.level = float(mean)
        radius = float(torch.linalg.eigvals(self._companion()).abs().max())
        if not radius < 1.0:
            raise ValueError(
                f"coefficients must be those of a stationary series, their largest root is {radius:.4g}"
            )
        lag = torch.arange(length)
        covariance = self.autocovariance(length)[(lag[:, None] - lag).abs()]
        whole = GaussianTarget.full(covariance, torch.full_like(covariance[0], self.level))
        self._set(whole.mean, whole.laws.spaces)

    def autocovariance(self, count: int) -> Tensor:
        """Return the autocovariances at lags 0 to ``count - 1``, by the Yule-Walker equations."""
        order = self.coefficients.shape[0]
        system = torch.eye(order + 1, dtype=torch.float64)
        for k in range(order + 1):
            for j, coefficient in enumerate(self.coefficients.tolist(), 1):
                system[k, abs(k - j)] -= coefficient
        right = torch.zeros(order + 1, dtype=torch.float64)
        right[0] = self.innovation_std**2
        known = torch.linalg.solve(system, right).tolist()
        return torch.tensor(self._continued(known, count)[:count], dtype=torch.float64)

    def forecast(self, past: Tensor, horizon: int) -> GaussianTarget:
        """Return the exact law of the next values.

        Parameters
        ----------
        past : Tensor
            Values so far, oldest first, shape ``(at least p,)``.
        horizon : int
            Number of values to forecast, positive.

        Returns
        -------
        GaussianTarget
            Of dimension ``horizon``.
        """
        return GaussianTarget.full(self.forecast_covariance(horizon), self.forecast_mean(past, horizon))

    def forecast_mean(self, past: Tensor, horizon: int) -> Tensor:
        """Return the means of the next values, shape ``(..., horizon)``, of pasts ``(..., at least p)``."""
        order = self.coefficients.shape[0]
        if past.shape[-1] < order:
            raise ValueError(f"past must hold at least {order} values, got {past.shape[-1]}")
        steps = [past[..., -k].to(torch.float64) - self.level for k in range(order, 0, -1)]
        for _ in range(horizon):
            last = torch.stack(steps[: -order - 1 : -1], -1)
            steps.append((last * self.coefficients).sum(-1))
        return self.level + torch.stack(steps[order:], -1)

    def forecast_covariance(self, horizon: int) -> Tensor:
        """Return the covariance of the errors of the next values, shape ``(horizon, horizon)``."""
        order = self.coefficients.shape[0]
        response = self._continued([0.0] * (order - 1) + [1.0], horizon + order - 1)[order - 1 :]
        lag = torch.arange(horizon)
        gap = lag[:, None] - lag
        weights = torch.tensor(response, dtype=torch.float64)[gap.clamp_min(0)]
        factor = self.innovation_std * torch.where(gap >= 0, weights, 0.0)
        return factor @ factor.mT

    def _continued(self, values: list[float], count: int) -> list[float]:
        """Continue a list by the recursion without innovations until it has ``count`` values."""
        coefficients = self.coefficients.tolist()
        values = list(values)
        while len(values) < count:
            values.append(sum(c * values[-j] for j, c in enumerate(coefficients, 1)))
        return values

    def _companion(self) -> Tensor:
        order = self.coefficients.shape[0]
        matrix = torch.diag(torch.ones(order - 1, dtype=torch.float64), -1)
        matrix[0] = self.coefficients
        return matrix

"""The smallest estimator that uses everything of the base class: a network that predicts the mean of y."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Self

import numpy as np
import pytest
import torch
from numpy.typing import ArrayLike, NDArray
from sklearn.base import RegressorMixin
from sklearn.utils.validation import check_is_fitted, validate_data
from torch import Tensor, nn

from sciffusion.estimators import DiffusionEstimator, all_or_nothing
from sciffusion.estimators.validation import check_integer, check_sample_weight
from sciffusion.training import TrainingOptions


def _network(n_features: int, width: int) -> nn.Module:
    return nn.Sequential(nn.Linear(n_features, width), nn.SiLU(), nn.Linear(width, 1))


def _objective(network: nn.Module, batch: tuple[Tensor, ...], generator: torch.Generator) -> Tensor:
    x, y, weight = batch
    # The noise makes the result depend on the private stream, as a diffusion objective does.
    x = x + 0.01 * torch.randn(x.shape, generator=generator, device=x.device)
    losses: Tensor = weight * (network(x)[:, 0] - y).square()
    return losses.sum() / weight.sum()


class MeanRegressor(RegressorMixin, DiffusionEstimator):
    def __init__(
        self,
        *,
        width: int = 16,
        max_steps: int = 60,
        random_state: Any = None,
        device: str = "auto",
        verbose: bool = False,
        trainer_options: dict[str, Any] | None = None,
        checkpoint: str | None = None,
    ) -> None:
        self.width = width
        self.max_steps = max_steps
        self.random_state = random_state
        self.device = device
        self.verbose = verbose
        self.trainer_options = trainer_options
        self.checkpoint = checkpoint

    @all_or_nothing
    def fit(self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None = None) -> Self:
        X, y = validate_data(self, X, y, y_numeric=True)
        weight = check_sample_weight(sample_weight, len(X))
        check_integer("width", self.width, low=1)
        self.seed_ = self._new_seed()
        self._mean_, self._scale_ = X.mean(0), X.std(0) + 1e-9
        self._target_ = (float(np.average(y, weights=weight)), float(y.std()) + 1e-9)
        x = torch.as_tensor((X - self._mean_) / self._scale_, dtype=torch.float32)
        t = torch.as_tensor((y - self._target_[0]) / self._target_[1], dtype=torch.float32)
        with self._private_streams(0):
            self._network_ = _network(x.shape[1], self.width)
        options = TrainingOptions(
            max_steps=self.max_steps, batch_size=64, learning_rate=1e-2, ema_half_life=10, evaluate_every=20
        )
        data = (x, t, torch.as_tensor(weight, dtype=torch.float32))
        self.history_ = self._train(self._network_, _objective, data, options=options)
        return self

    def predict(self, X: ArrayLike) -> NDArray[np.float64]:
        check_is_fitted(self)
        X = validate_data(self, X, reset=False)
        device = self._compute_device()
        x = torch.as_tensor((X - self._mean_) / self._scale_, dtype=torch.float32, device=device)
        with torch.inference_mode():
            out = self._on_device(self._network_)(x)[:, 0].cpu().double().numpy()
        return out * self._target_[1] + self._target_[0]

    def _fitted_state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        values = {"mean": self._mean_, "scale": self._scale_, "target": self._target_}
        return dict(self._network_.state_dict()), values

    def _restore_fitted_state(self, tensors: dict[str, Tensor], values: dict[str, Any]) -> None:
        self._mean_, self._scale_ = values["mean"], values["scale"]
        self._target_ = values["target"]
        self._network_ = _network(len(self._mean_), self.width)
        self._network_.load_state_dict(tensors)


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    # Networks this small only lose time to more threads.
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def regressor() -> type[MeanRegressor]:
    return MeanRegressor


@pytest.fixture
def table() -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    rng = np.random.default_rng(0)
    X = rng.normal(size=(150, 3))
    return X, X[:, 0] - 2 * np.abs(X[:, 1]) + 0.1 * rng.normal(size=150)

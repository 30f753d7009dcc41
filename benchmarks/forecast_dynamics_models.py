"""What forecasts of dynamics are compared with: climatology, persistence, a linear map, one-step networks.

Every model learns from trajectories (n, steps, dim) and continues known states (n, context, dim) by random
paths (n, n_samples, steps, dim). Inside, variables are standardised (points of a periodic field together).
"""

from __future__ import annotations

from abc import ABC, abstractmethod

import numpy as np
import torch
from torch import Tensor, nn

from sciffusion.domains.forecasting.dynamics import DynamicsDiffusion
from sciffusion.domains.forecasting.dynamics_networks import Forecaster
from sciffusion.domains.forecasting.dynamics_trajectories import StateScale, Windows, split_windows
from sciffusion.training import TrainingOptions, fit_network

__all__ = [
    "Climatology", "DynamicsModel", "LinearMap", "NoisyEnsemble", "OneStepEnsemble", "OurModel",
    "Persistence",
]  # fmt: skip

LIMIT = 10.0  # standard deviations, or 1.5 times the largest value seen: where a path that runs away is held


class DynamicsModel(ABC):
    """A forecaster of trajectories."""

    def __init__(self, context: int = 1, periodic: bool = False) -> None:
        self.context, self.periodic = context, periodic

    def fit(self, values: np.ndarray) -> DynamicsModel:
        """Learn from trajectories."""
        self.scale = StateScale.learn(values, self.periodic)
        standardised = self.scale.standardise(values)
        self.limit = max(LIMIT, 1.5 * float(standardised.abs().max()))
        self.learn(standardised)
        return self

    def sample(self, known: np.ndarray, steps: int, n_samples: int, seed: int) -> np.ndarray:
        """Draw continuations of known states (n, context, dim)."""
        past = self.scale.standardise(known).repeat_interleave(n_samples, 0)
        paths = self.paths(past, steps, torch.Generator().manual_seed(seed))
        return self.scale.restore(paths.reshape(len(known), n_samples, steps, -1))

    @abstractmethod
    def learn(self, values: Tensor) -> None:
        """Learn from standardised trajectories."""

    @abstractmethod
    def paths(self, past: Tensor, steps: int, generator: torch.Generator) -> Tensor:
        """Continue standardised pasts (rows, context, dim) by (rows, steps, dim)."""


class Climatology(DynamicsModel):
    """Stretches of the training trajectories, whatever the present."""

    changes = False

    def learn(self, values: Tensor) -> None:
        """Keep the trajectories."""
        self.values = values

    def paths(self, past: Tensor, steps: int, generator: torch.Generator) -> Tensor:
        """Draw stretches; where they are too short, several one after the other."""
        n_trajectories, n_steps, _ = self.values.shape
        length = min(steps, n_steps - 1)
        parts = []
        for _ in range(-(-steps // length)):
            row = torch.randint(n_trajectories, (len(past),), generator=generator)
            start = torch.randint(n_steps - length, (len(past),), generator=generator)
            frames = self.values[row[:, None], start[:, None] + torch.arange(length + 1)]
            before = (past[:, -1] if not parts else parts[-1][:, -1])[:, None]
            parts.append(before + frames[:, 1:] - frames[:, :1] if self.changes else frames[:, 1:])
        return torch.cat(parts, 1)[:, :steps]


class Persistence(Climatology):
    """The last state plus the changes of a random stretch of the training trajectories."""

    changes = True


class _Iterated(DynamicsModel):
    """A map of one step with Gaussian errors, applied again and again."""

    residual_factor: Tensor | None

    @abstractmethod
    def step(self, past: Tensor) -> Tensor:
        """Return the next states (rows, dim) of pasts (rows, context, dim)."""

    def paths(self, past: Tensor, steps: int, generator: torch.Generator) -> Tensor:
        """Iterate."""
        given = []
        with torch.no_grad():
            for _ in range(steps):
                state = self.step(past)
                if self.residual_factor is not None:
                    noise = torch.randn(state.shape, generator=generator)
                    state = state + noise @ self.residual_factor.mT
                state = state.clamp(-self.limit, self.limit)
                given.append(state)
                past = torch.cat([past[:, 1:], state[:, None]], 1)
        return torch.stack(given, 1)

    def _learn_residuals(self, kept: Windows) -> None:
        frames = kept.take(kept.starts[:: max(len(kept.starts) // 20_000, 1)])
        with torch.no_grad():
            error = (frames[:, -1] - self.step(frames[:, :-1])).double()
        covariance = error.mT @ error / len(error)
        values, vectors = torch.linalg.eigh(covariance)
        self.residual_factor = (vectors * values.clamp_min(0.0).sqrt()).float()


class LinearMap(_Iterated):
    """Ridge regression of the next state on the known ones, with Gaussian residuals."""

    penalty = 1e-3

    def learn(self, values: Tensor) -> None:
        """Solve the normal equations; residuals on trajectories kept back."""
        learning, kept = split_windows(values, self.context + 1, 0.1, torch.Generator().manual_seed(0))
        frames = learning.take(learning.starts).double()
        inputs = self._inputs(frames[:, :-1])
        gram = inputs.mT @ inputs + self.penalty * torch.eye(inputs.shape[1], dtype=inputs.dtype)
        self.weights = torch.linalg.solve(gram, inputs.mT @ frames[:, -1]).float()
        self._learn_residuals(learning if kept is None else kept)

    def step(self, past: Tensor) -> Tensor:
        """Apply the map."""
        return self._inputs(past) @ self.weights

    @staticmethod
    def _inputs(past: Tensor) -> Tensor:
        return torch.cat([past.flatten(1), torch.ones_like(past[:, 0, :1])], 1)


class OneStepEnsemble(_Iterated):
    """Networks of one step, trained by squared error; every path keeps to one of them.

    Parameters
    ----------
    n_members, width, depth, max_steps, batch_size
        Size and training of each.
    """

    def __init__(
        self, context: int = 1, periodic: bool = False, *, n_members: int = 3, width: int = 256,
        depth: int = 4, max_steps: int = 3000, batch_size: int = 256,
    ) -> None:  # fmt: skip
        super().__init__(context, periodic)
        self.n_members, self.batch_size = n_members, batch_size
        self.sizes, self.max_steps = {"width": width, "depth": depth}, max_steps

    def learn(self, values: Tensor) -> None:
        """Train every member from its own start and order of rows."""
        learning, kept = split_windows(values, self.context + 1, 0.1, torch.Generator().manual_seed(0))
        self.members = []
        for seed in range(self.n_members):
            generator = torch.Generator().manual_seed(seed)
            network = Forecaster(
                self.context, self.periodic, n_points=values.shape[2], generator=generator, **self.sizes
            )
            options = TrainingOptions(
                max_steps=self.max_steps, batch_size=self.batch_size, learning_rate=5e-3,
                learning_rate_schedule="cosine", ema_decay=0.995, threads=1,
            )  # fmt: skip
            fit_network(network, self._objective(learning), (learning.starts,), options=options, seed=seed)
            self.members.append(network.eval())
        self.residual_factor = None
        self.kept = learning if kept is None else kept

    @staticmethod
    def _objective(windows: Windows):  # noqa: ANN205
        def loss(network: nn.Module, batch: tuple[Tensor, ...], _: torch.Generator) -> Tensor:
            frames = windows.take(batch[0])
            return (network(frames[:, :-1], frames[:, -2], 0.0) - frames[:, -1]).square().mean()

        return loss

    def step(self, past: Tensor) -> Tensor:
        """Apply member i to the rows i, i + n_members, ..."""
        result = torch.empty_like(past[:, -1])
        for number, network in enumerate(self.members):
            rows = slice(number, None, self.n_members)
            if len(past[rows]):
                result[rows] = network(past[rows], past[rows, -1], 0.0)
        return result


class NoisyEnsemble(_Iterated):
    """A fitted ensemble of one-step networks plus Gaussian residuals as on the trajectories kept back."""

    def __init__(self, ensemble: OneStepEnsemble) -> None:
        super().__init__(ensemble.context, ensemble.periodic)
        self.ensemble = ensemble

    def learn(self, values: Tensor) -> None:
        """Learn the residuals; the networks stay as they are where they have been trained."""
        if not hasattr(self.ensemble, "members"):
            self.ensemble.learn(values)
        self._learn_residuals(self.ensemble.kept)

    def step(self, past: Tensor) -> Tensor:
        """Apply the networks."""
        return self.ensemble.step(past)


class OurModel:
    """`DynamicsDiffusion` in the form of the others."""

    def __init__(self, estimator: DynamicsDiffusion) -> None:
        self.estimator = estimator

    def fit(self, values: np.ndarray) -> OurModel:
        """Fit the estimator."""
        self.estimator.fit(values)
        return self

    def sample(self, known: np.ndarray, steps: int, n_samples: int, seed: int) -> np.ndarray:
        """Draw continuations."""
        return self.estimator.sample(known, steps, n_samples, random_state=seed)

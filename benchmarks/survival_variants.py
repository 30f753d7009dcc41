"""The default estimator with one choice changed, for the ablation.

Choices that are parameters of the estimator are passed to it. The others are constants or parts of the
default recipe, which are replaced while a variant fits and predicts.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any
from unittest.mock import patch

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.special import ndtr
from survival_data import SurvivalData
from survival_ours import OurModel, default_estimator, network_off_estimator
from survival_peers import CoxRidge, SurvivalModel

from sciffusion.continuous import DenoisingObjective, Euler, Heun, NetworkDenoiser, gaussian_panel
from sciffusion.domains.survival import estimator as estimator_module
from sciffusion.domains.survival import rank_diffusion
from sciffusion.domains.survival.draws import Draws
from sciffusion.sampling import uniform_grid

__all__ = ["VARIANTS", "LogTimes"]


class LogTimes:
    """Standardised log times in place of ranks, with the same methods; times stay in the observed range."""

    def __init__(self, mean: float, std: float, smallest: float, largest: float) -> None:
        self.mean, self.std, self.smallest, self.largest = mean, std, smallest, largest

    @classmethod
    def learn(cls, times: NDArray[np.float64], weights: NDArray[np.float64]) -> LogTimes:
        """Learn mean and standard deviation of the log times, zeros being half the smallest positive time."""
        positive = times[times > 0.0]
        smallest = 0.5 * float(positive.min()) if len(positive) else 1.0
        logs = np.log(np.maximum(times, smallest))
        mean = float(np.average(logs, weights=weights))
        std = float(np.sqrt(np.average((logs - mean) ** 2, weights=weights)))
        return cls(mean, max(std, 1e-8), smallest, float(times.max()))

    def intervals(self, times: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return intervals of ranks of width 0: a time has one place."""
        place = ndtr((np.log(np.maximum(times, self.smallest)) - self.mean) / self.std)
        return place, place

    def inverse(self, values: NDArray[Any]) -> NDArray[np.float64]:
        """Return the times of standardised logs."""
        times = np.exp(np.asarray(values, dtype=np.float64) * self.std + self.mean)
        return np.clip(times, 0.0, self.largest)


class _Predicting(NetworkDenoiser):
    """A denoiser whose network predicts another kind, whatever kind is asked for."""

    kind: Any = "v"

    def __init__(self, network: Any, path: Any, prediction: Any) -> None:
        super().__init__(network, path, self.kind)


def _predicting(kind: str) -> type[NetworkDenoiser]:
    return type(f"Predicting_{kind}", (_Predicting,), {"kind": kind})


def _v_loss(path: Any) -> Any:
    """Keep the loss in v, so that only the parametrisation of the network differs."""
    return DenoisingObjective(path, "v")


def _just_below_noise(n_steps: int) -> Any:
    return uniform_grid(n_steps, start=0.98)  # a predicted noise says nothing about the data at time 1


def _half_as_many_steps(nfe: int) -> Any:
    return uniform_grid(nfe // 2)  # Heun evaluates twice a step


def _coins(
    self: rank_diffusion.RankDiffusion, features: Any, start: Any, nfe: int, device: Any, generator: Any
) -> Draws:
    """Throw a coin for every flag instead of weighting."""
    return self.observe(features, start, nfe, device, generator)


def _independent_panel(count: int, dim: int, generator: Any) -> Any:
    return gaussian_panel(count, dim, generator, quasi_random=False)


class _Variant(OurModel):
    """The default with parameters of its own and parts of the recipe replaced while it works."""

    def __init__(self, parameters: Mapping[str, Any], changes: Mapping[tuple[Any, str], Any]) -> None:
        super().__init__(default_estimator(**parameters))
        self.changes = changes

    def _changed(self, work: Callable[[], Any]) -> Any:
        patches = [patch.object(place, name, value) for (place, name), value in self.changes.items()]
        for change in patches:
            change.start()
        try:
            return work()
        finally:
            for change in patches:
                change.stop()

    def fit(self, data: SurvivalData) -> _Variant:
        """Fit with the changes in place."""
        self._changed(lambda: super(_Variant, self).fit(data))
        return self

    def survival(self, X: pd.DataFrame, times: np.ndarray) -> np.ndarray:
        """Predict with the changes in place."""
        return np.asarray(self._changed(lambda: super(_Variant, self).survival(X, times)))

    def risk(self, X: pd.DataFrame) -> np.ndarray:
        """Predict with the changes in place."""
        return np.asarray(self._changed(lambda: super(_Variant, self).risk(X)))


def _parameters(**parameters: Any) -> Callable[[], SurvivalModel]:
    return lambda: OurModel(default_estimator(**parameters))


def _changes(*changes: tuple[Any, str, Any]) -> Callable[[], SurvivalModel]:
    return lambda: _Variant({}, {(place, name): value for place, name, value in changes})


_LOSS = (rank_diffusion, "DenoisingObjective", _v_loss)

VARIANTS: dict[str, Callable[[], SurvivalModel]] = {
    "SDPMSurvival": _parameters(),
    "network off": lambda: OurModel(network_off_estimator()),
    "time: log instead of rank": _changes((rank_diffusion, "RankTransform", LogTimes)),
    "network predicts x0, v loss": _changes((rank_diffusion, "NetworkDenoiser", _predicting("x0")), _LOSS),
    "network predicts noise, v loss": _changes(
        (rank_diffusion, "NetworkDenoiser", _predicting("eps")),
        _LOSS,
        (rank_diffusion, "uniform_grid", _just_below_noise),
    ),
    "network predicts noise, noise loss": _changes(
        (rank_diffusion, "NetworkDenoiser", _predicting("eps")),
        (rank_diffusion, "uniform_grid", _just_below_noise),
    ),
    "flag: coins instead of weights": _changes((rank_diffusion.RankDiffusion, "draw", _coins)),
    "kinds of time: nothing apart": _changes((rank_diffusion, "_OWN_SHARE", 0.0)),
    "kinds of time: fully apart": _changes((rank_diffusion, "_OWN_SHARE", 1.0)),
    "panel: independent draws": _changes((estimator_module, "gaussian_panel", _independent_panel)),
    "solver: Euler": _changes((rank_diffusion, "DPMSolverMultistep", lambda order: Euler())),
    "solver: Heun": _changes(
        (rank_diffusion, "DPMSolverMultistep", lambda order: Heun()),
        (rank_diffusion, "uniform_grid", _half_as_many_steps),
    ),
    "1 member": _parameters(n_members=1),
    "2 members": _parameters(n_members=2),
    "4 members": _parameters(n_members=4),
    "16 members": _parameters(n_members=16),
    "width 16": _parameters(width=16),
    "width 64": _parameters(width=64),
    "3 hidden layers": _parameters(depth=3),
    "dropout .1": _parameters(dropout=0.1),
    "learning rate .004, patience 5": _parameters(learning_rate=4e-3, patience=5),
    "no patience limit, 1000 steps": _parameters(max_steps=1000, patience=1000),
    "last weights instead of averaged": _changes((rank_diffusion, "_EMA_DECAY", None)),
    "CoxPH": CoxRidge,
}

"""`DynamicsDiffusion`: random futures of state vectors and fields, from many observed trajectories."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import asdict
from functools import partial
from typing import Any, Literal

import numpy as np
import torch
from sklearn.utils.validation import check_is_fitted
from torch import Tensor, nn

from sciffusion.estimators import DiffusionEstimator, all_or_nothing
from sciffusion.estimators.chunking import map_chunks
from sciffusion.estimators.random_state import integer_seed, private_generator
from sciffusion.estimators.validation import check_boolean, check_choice, check_integer
from sciffusion.training import TrainingHistory

from .dynamics_cold import cold_sample
from .dynamics_networks import Forecaster, Interpolator, WindowNetwork
from .dynamics_rolling import roll_states, rolling_evaluations, window_denoiser
from .dynamics_training import (
    DynamicsSettings,
    train_forecaster,
    train_interpolator,
    train_window_network,
)
from .dynamics_trajectories import (
    Floats,
    StateScale,
    Windows,
    read_initial,
    read_trajectories,
    split_windows,
)
from .metrics import crps

__all__ = ["DynamicsDiffusion"]

_SPLIT, _FIRST, _SECOND, _PREDICTION, _SCORE, _INITIAL = range(6)  # numbers of the private random streams


class DynamicsDiffusion(DiffusionEstimator):
    r"""Probabilistic forecasts of a dynamical system, learnt from its trajectories.

    Two methods. *Rolling* diffusion denoises a window of future frames, the later the noisier, and moves it
    along: every frame costs the same, and the randomness is that of a diffusion model. *DYffusion* learns to
    interpolate between now and `window` steps later (with dropout left on, its only randomness) and to
    forecast the end, and walks from one to the other; longer forecasts chain such walks.

    Parameters
    ----------
    method : {"rolling", "dyffusion"}, default "rolling"
        See above.
    window : int >= 1, default 4
        Frames that are forecast together. With "dyffusion" and 1 the model is a map of one step, without any
        randomness.
    context : int >= 1, default 1
        Known states that a forecast looks at: 1 where the variables are the whole state of the system, more
        where some are hidden.
    periodic : bool, default False
        Whether the variables are a field at equally spaced points of a circle. Networks are then circular
        convolutions, and shifted initial fields have shifted forecasts in law.
    steps_per_frame : int >= 1, default 4
        Sampling steps of "rolling" for each frame; may be changed after the fit. Every frame makes ``window``
        times as many in all; 16 leave the variance of a Gaussian process within 3 %, 8 make it 8 % too small.
    extra_steps : int >= 0, default 0
        Artificial times k of "dyffusion" between now and the first step.
    dropout : float in [0, 1), default 0.1
        Of the interpolator of "dyffusion".
    boundary_probability : float in (0, 1), default 0.1
        Share of the training windows of "rolling" that show the way from pure noise into the first window.
    width, depth : int, default 256 and 4
        Units (channels) of a hidden layer, and hidden layers (blocks).
    learning_rate, weight_decay : float, default 0.005 and 0.0
        Of AdamW; the rate falls to zero along a cosine.
    batch_size : int, default 256
        Windows of a training step.
    max_steps : int, default 4000
        Training steps at most, for each of the two networks of "dyffusion".
    patience : int or None, default 10
        Evaluations of the held-out loss (every 100 steps) without improvement after which training stops.
    validation_fraction : float in [0, 1), default 0.1
        Share of the trajectories kept back to stop by; of the steps of each, where there are too few
        trajectories.
    n_samples : int >= 2, default 20
        Draws behind `predict` and `score`.
    random_state : int, RandomState or None
        Makes the fit reproducible; `sample` has a `random_state` of its own.
    device : str, default "auto"
        "auto", "cpu", "cuda" or "mps".
    verbose : bool, default False
        Show a progress bar in training.
    trainer_options : mapping, optional
        Passed to ``pytorch_lightning.Trainer``.
    checkpoint : path, optional
        File by which an interrupted fit is taken up again; give a fixed `random_state` with it.

    Attributes
    ----------
    n_features_in_ : int
        Variables of a state.
    interpolator_history_ : TrainingHistory or None
        Of the first stage of "dyffusion"; `history_` is that of the forecaster (or of the window network).

    Notes
    -----
    States must be complete and equally spaced in time. Variables are standardised each by itself, the points
    of a periodic field together; one that is constant in the fit is constant in all draws. Draws of
    "dyffusion" are held within the range seen in the fit, widened by half of it on either side: chained walks
    can run away.

    DYffusion's spread comes from the interpolator's dropout alone, whose share nothing fits to the errors: it
    is too large or too small as it happens. Read its draws as scenarios, not as a calibrated law.

    References
    ----------
    D. Ruhe and others, "Rolling Diffusion Models", arXiv 2402.09470. S. R. Cachay and others, "Elucidated
    Rolling Diffusion Models for Probabilistic Weather Forecasting", arXiv 2506.20024. S. R. Cachay and
    others, "DYffusion: A Dynamics-informed Diffusion Model for Spatiotemporal Forecasting", arXiv 2306.01984.

    Examples
    --------
    >>> from sciffusion import DynamicsDiffusion
    >>> from sciffusion.datasets import make_lorenz63
    >>> X = make_lorenz63(50, 30, random_state=0).values
    >>> model = DynamicsDiffusion(window=4, width=32, max_steps=20, random_state=0).fit(X)
    >>> model.sample(X[:3, -1], steps=10, n_samples=5, random_state=0).shape
    (3, 5, 10, 3)
    """

    def __init__(
        self,
        *,
        method: Literal["rolling", "dyffusion"] = "rolling",
        window: int = 4,
        context: int = 1,
        periodic: bool = False,
        steps_per_frame: int = 4,
        extra_steps: int = 0,
        dropout: float = 0.1,
        boundary_probability: float = 0.1,
        width: int = 256,
        depth: int = 4,
        learning_rate: float = 0.005,
        weight_decay: float = 0.0,
        batch_size: int = 256,
        max_steps: int = 4000,
        patience: int | None = 10,
        validation_fraction: float = 0.1,
        n_samples: int = 20,
        random_state: Any = None,
        device: str = "auto",
        verbose: bool = False,
        trainer_options: Mapping[str, Any] | None = None,
        checkpoint: str | os.PathLike[str] | None = None,
    ) -> None:
        self.method = method
        self.window = window
        self.context = context
        self.periodic = periodic
        self.steps_per_frame = steps_per_frame
        self.extra_steps = extra_steps
        self.dropout = dropout
        self.boundary_probability = boundary_probability
        self.width = width
        self.depth = depth
        self.learning_rate = learning_rate
        self.weight_decay = weight_decay
        self.batch_size = batch_size
        self.max_steps = max_steps
        self.patience = patience
        self.validation_fraction = validation_fraction
        self.n_samples = n_samples
        self.random_state = random_state
        self.device = device
        self.verbose = verbose
        self.trainer_options = trainer_options
        self.checkpoint = checkpoint

    # ---------------------------------------------------------------- fitting

    @all_or_nothing
    def fit(self, X: Any, y: Any = None) -> DynamicsDiffusion:
        """Fit the model.

        Parameters
        ----------
        X : array-like of shape (n_trajectories, n_steps, dim)
            States, equally spaced in time, with at least ``context + window`` steps.
        y : object
            Not used; there for pipelines.

        Returns
        -------
        DynamicsDiffusion
            The fitted estimator.

        Raises
        ------
        ValueError, TypeError
            If the trajectories or a parameter cannot be used; a model fitted before is then left as it was.
        """
        method = check_choice("method", self.method, ("rolling", "dyffusion"))
        periodic = check_boolean("periodic", self.periodic)
        settings = DynamicsSettings.of(self)
        check_integer("steps_per_frame", self.steps_per_frame, low=1)
        check_integer("n_samples", self.n_samples, low=2)
        length = settings.context + settings.window
        trajectories = read_trajectories(X, fewest_steps=length)
        dim = self.n_features_in_ = trajectories.shape[2]
        self.seed_ = self._new_seed()
        self._scale_ = StateScale.learn(trajectories, periodic)
        values = self._scale_.standardise(trajectories)
        windows = split_windows(values, length, settings.validation_fraction, self._generator(_SPLIT))
        self._settings_, self._method_, self._periodic_ = settings, method, periodic
        with self._private_streams(_INITIAL):  # layers of torch draw first weights that are then replaced
            self._networks_ = self._trained_networks(windows, dim)
        return self

    def _trained_networks(self, windows: tuple[Windows, Windows | None], dim: int) -> nn.ModuleDict:
        settings, periodic = self._settings_, self._periodic_
        first, second = self._generator(_FIRST), self._generator(_SECOND)
        self.interpolator_history_: TrainingHistory | None = None
        if self._method_ == "rolling":
            window_network, self.history_ = train_window_network(
                settings, periodic, windows, dim, first, self._train
            )
            return nn.ModuleDict({"window": window_network})
        interpolator, self.interpolator_history_ = train_interpolator(
            settings, periodic, windows, dim, first, self._train
        )
        forecaster, self.history_ = train_forecaster(
            settings, periodic, windows, dim, second, self._train, interpolator
        )
        return nn.ModuleDict({"interpolator": interpolator, "forecaster": forecaster}).cpu()

    # ---------------------------------------------------------------- forecasts

    def sample(
        self, initial: Any, steps: int, n_samples: int | None = None, *, random_state: Any = None
    ) -> Floats:
        """Draw random futures.

        Parameters
        ----------
        initial : array-like of shape (n, dim) or (n, n_steps, dim)
            Known states of each case, oldest first; the last `context` of them are looked at.
        steps : int >= 1
            Steps ahead, of any number.
        n_samples : int >= 1, optional
            Futures of each case, in place of the constructor's.
        random_state : int, RandomState or None
            Source of the draws.

        Returns
        -------
        ndarray of shape (n, n_samples, steps, dim)
            In the units of X. Whole paths: draws of one number belong together at all steps.

        Raises
        ------
        ValueError, TypeError
            If an argument cannot be used.
        """
        return self._draw(initial, steps, n_samples, integer_seed(random_state))

    def predict(self, initial: Any, steps: int, n_samples: int | None = None) -> Floats:
        """Return the mean of the futures, shape (n, steps, dim); always from the same random numbers.

        Parameters
        ----------
        initial, steps, n_samples
            As for `sample`.
        """
        check_is_fitted(self)
        seed = int(torch.randint(2**31 - 1, (), generator=self._generator(_PREDICTION)))
        return np.asarray(self._draw(initial, steps, n_samples, seed).mean(axis=1))

    def score(self, X: Any, y: Any = None, n_samples: int | None = None) -> float:
        """Return minus the mean CRPS of forecasts of trajectories from their first states (higher is better).

        Parameters
        ----------
        X : array-like of shape (n, n_steps, dim)
            Trajectories; the first `context` states are shown, the others forecast.
        y : object
            Not used.
        n_samples : int >= 2, optional
            Draws behind the score, whose fair form is taken.

        Returns
        -------
        float
            Over all cases, steps and variables, in standard deviations of the variables in the fit.
        """
        check_is_fitted(self)
        count = check_integer("n_samples", self.n_samples if n_samples is None else n_samples, low=2)
        context = self._settings_.context
        truth = read_trajectories(X, fewest_steps=context + 1, dim=self.n_features_in_)
        seed = int(torch.randint(2**31 - 1, (), generator=self._generator(_SCORE)))
        future = truth[:, context:]
        draws = self._draw(truth[:, :context], future.shape[1], count, seed)
        scale = self._scale_.scale
        return -float(crps(future / scale, draws / scale, fair=True).mean())

    def evaluations(self, steps: int) -> int:
        """Return how many network evaluations, each of the whole batch, a forecast of some steps takes.

        Parameters
        ----------
        steps : int >= 1
            Steps ahead. For "dyffusion" calls of both networks count.
        """
        check_is_fitted(self)
        steps = check_integer("steps", steps, low=1)
        window = self._settings_.window
        if self._method_ == "rolling":
            return rolling_evaluations(
                steps, window, check_integer("steps_per_frame", self.steps_per_frame, low=1)
            )
        walk = window + self._settings_.extra_steps
        # The first step subtracts the known start and the last one gives the forecaster's own end.
        return -(-steps // window) * (walk + max(2 * walk - 3, 0))

    def _draw(self, initial: Any, steps: int, n_samples: int | None, seed: int) -> Floats:
        check_is_fitted(self)
        steps = check_integer("steps", steps, low=1)
        count = check_integer("n_samples", self.n_samples if n_samples is None else n_samples, low=1)
        check_integer("steps_per_frame", self.steps_per_frame, low=1)
        known = read_initial(initial, self._settings_.context, self.n_features_in_)
        past = self._scale_.standardise(known)
        device = self._compute_device()
        networks = self._on_device(self._networks_)

        def draw(rows: slice) -> Tensor:
            generator = private_generator(seed, rows.start)
            part = past[rows].repeat_interleave(count, dim=0).to(device)
            with torch.inference_mode():
                futures = self._futures(networks, part, steps, generator)
            return futures.reshape(-1, count, *futures.shape[1:]).cpu()

        size = known.shape[2]
        channels = self._settings_.width * (size if self._periodic_ else 1)
        per_row = (
            4 * count * (8 * channels + size * (2 * steps + 8 * (known.shape[1] + self._settings_.window)))
        )
        return self._scale_.restore(torch.cat(map_chunks(draw, len(past), per_row)))

    def _futures(
        self, networks: nn.ModuleDict, past: Tensor, steps: int, generator: torch.Generator
    ) -> Tensor:
        """Return standardised futures (batch, steps, dim) of pasts (batch, context, dim)."""
        if self._method_ == "rolling":
            return roll_states(
                window_denoiser(networks["window"]), past, steps, window=self._settings_.window,
                steps_per_frame=self.steps_per_frame, generator=generator,
            )  # fmt: skip
        window, extra = self._settings_.window, self._settings_.extra_steps
        interpolator, forecaster = networks["interpolator"], networks["forecaster"]
        walks: list[Tensor] = []
        for _ in range(-(-steps // window)):
            walk = cold_sample(
                partial(_at_share, partial(forecaster, past), window),
                partial(_at_share, partial(interpolator, past, noise=generator), window),
                past[:, -1], window, extra,
            )  # fmt: skip
            # Networks that meet a state beyond all they know can send it anywhere, the further each time.
            walk = self._scale_.held(walk)
            walks.append(walk)
            past = torch.cat([past, walk], dim=1)[:, -past.shape[1] :]
        return torch.cat(walks, dim=1)[:, :steps]

    # ---------------------------------------------------------------- persistence

    def _fitted_state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        history = self.interpolator_history_
        return dict(self._networks_.state_dict()), {
            "settings": asdict(self._settings_),
            "method": self._method_,
            "periodic": self._periodic_,
            "scale": vars(self._scale_),
            "interpolator_history": None if history is None else history.to_dict(),
        }

    def _restore_fitted_state(self, tensors: dict[str, Tensor], values: dict[str, Any]) -> None:
        settings = self._settings_ = DynamicsSettings(**values["settings"])
        self._method_, self._periodic_ = str(values["method"]), bool(values["periodic"])
        self._scale_ = StateScale(**{name: np.asarray(value) for name, value in values["scale"].items()})
        history = values["interpolator_history"]
        self.interpolator_history_ = None if history is None else TrainingHistory.from_dict(history)
        body = settings.body(len(self._scale_.mean), torch.Generator().manual_seed(0))
        networks: dict[str, nn.Module]
        if self._method_ == "rolling":
            networks = {"window": WindowNetwork(settings.context, settings.window, self._periodic_, **body)}
        else:
            networks = {
                "interpolator": Interpolator(
                    settings.context, self._periodic_, dropout=settings.dropout, **body
                ),
                "forecaster": Forecaster(settings.context, self._periodic_, **body),
            }
        self._networks_ = nn.ModuleDict(networks)
        self._networks_.load_state_dict(tensors)
        self._networks_.eval()


def _at_share(network: Callable[..., Tensor], window: int, state: Tensor, step: float) -> Tensor:
    """Ask a network at a step of the window."""
    return network(state, share=step / window)

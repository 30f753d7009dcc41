"""`SDPMSurvival`: a diffusion model of survival data as a scikit-learn estimator."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any, Literal, TypeVar

import numpy as np
import pandas as pd
import torch
from numpy.typing import ArrayLike, NDArray
from scipy.special import ndtri
from sklearn.utils import Tags
from sklearn.utils.validation import check_is_fitted, validate_data
from torch import Tensor

from sciffusion.continuous import gaussian_panel
from sciffusion.estimators import DiffusionEstimator, all_or_nothing
from sciffusion.estimators.chunking import map_chunks
from sciffusion.estimators.random_state import integer_seed, private_generator
from sciffusion.estimators.validation import check_choice, check_integer, check_sample_weight
from sciffusion.training import TrainingHistory

from .conformal_bound import ConformalBound
from .draws import Draws
from .features import FeatureEncoder, infinite_columns
from .models import SurvivalModel, build_model
from .predictions import SurvivalPredictions
from .settings import Settings, resolve_settings
from .tail import shape_times, weibull_shape
from .targets import SurvivalTarget, read_survival_data, survival_target
from .time_transform import RankTransform

__all__ = ["SDPMSurvival"]

Floats = NDArray[np.float64]
_Result = TypeVar("_Result")

_INITIAL, _PANEL, _STEPS, _CALIBRATION, _TAIL = range(5)  # numbers of the private random streams
_FEWEST_ROWS = 5
_RISK_TIMES = 100  # quantiles of the event times at which the risk is read off
_TAIL_ROWS = 256  # training rows from which the shape of the tail is learned
_OUTSIDE = 0.01  # share of generated times beyond the follow-up that is worth a warning


class SDPMSurvival(SurvivalPredictions, DiffusionEstimator):
    r"""Survival analysis by generating survival times.

    A diffusion model learns the joint law of observed time and event flag given the covariates. A prediction
    draws many such pairs for a patient and takes their Kaplan-Meier curve, which estimates S(t | x) when
    event and censoring time are independent given the covariates.

    Parameters
    ----------
    recipe : {"default", "paper"}, default "default"
        "default" learns the event flag and diffuses the rank of the time given the flag, by ensembles of
        small networks (see `sciffusion.domains.survival.rank_diffusion`); "paper" is the published model
        with fixed hyper-parameters (arXiv 2605.22776), slower by far. Parameters that are None take the
        recipe's value.
    censoring : {"required", "none"}, default "required"
        Whether a target must come with event flags; with "none" a plain array of times is accepted, and every
        row is taken to be an event.
    calibrate : {None, "conformal"}, default None
        "conformal" keeps a quarter of the rows back and widens lower bounds on the survival time by what
        they show, so that `predict_lower_bound` covers as often as it says.
    n_members : int, optional
        Networks in the ensemble (8).
    width, depth : int, optional
        Units of a hidden layer and hidden layers of each network (32 and 2; paper: 128, and 3 linear layers).
    dropout : float in [0, 1), optional
        Share of hidden units left out in training (0; paper 0.05).
    learning_rate, weight_decay : float, optional
        Of AdamW (0.002 and 0.05; paper 0.0005 and 0.00001).
    batch_size : int, optional
        Rows of a training step (256; paper 64).
    max_steps : int, optional
        Training steps at most (3000; paper: by epochs). With 0 the networks of the default recipe learn
        nothing and everybody gets the cohort's curve.
    max_epochs : int, optional
        Passes over the data at most (no limit; paper 1000).
    patience : int, optional
        Evaluations of the held-out loss (every 20 steps; paper: every epoch) without improvement, after which
        a member stops (10; paper 20).
    validation_fraction : float in (0, 1), optional
        Share of the rows that a member keeps back to stop by (0.2; paper 0.25).
    n_draws : int, optional
        Draws for a predicted curve, unless a method is told otherwise; rounded up to a multiple of
        `n_members` (256, half of them events; paper 2048).
    nfe : int, optional
        Evaluations of the network to make a draw, unless a method is told otherwise (8; paper 20, which
        belong to its training and cannot be changed afterwards).
    random_state : int, RandomState or None
        Makes fit and predictions reproducible.
    device : str, default "auto"
        "auto", "cpu", "cuda" or "mps".
    n_jobs : int, optional
        Workers for chunks of a large prediction (joblib).
    verbose : bool, default False
        Show progress bars in training.
    trainer_options : mapping, optional
        Passed to ``pytorch_lightning.Trainer``.
    checkpoint : path, optional
        File by which an interrupted fit is taken up again; give a fixed `random_state` with it.

    Attributes
    ----------
    unique_times_ : ndarray
        Distinct training times, where predicted step functions may step.
    histories_ : dict of str to TrainingHistory
        Losses and best steps of each network: "flag" and "time" in the default recipe, "joint" in the
        paper's; "flag" is left out where every row is an event.
    n_features_in_, feature_names_in_
        As everywhere in scikit-learn.

    Notes
    -----
    Predictions use one fixed panel of quasi-random starting noise, shared by all rows: two calls agree, a
    row's prediction does not depend on its company, and comparisons between rows have less noise. `sample`
    uses fresh independent noise instead.

    Covariates may be numeric (NaN allowed), boolean, strings or pandas categoricals; see
    `sciffusion.domains.survival.features` for what becomes of them.

    Examples
    --------
    >>> import numpy as np
    >>> from sciffusion import SDPMSurvival
    >>> rng = np.random.default_rng(0)
    >>> X = rng.normal(size=(60, 2))
    >>> T = rng.exponential(np.exp(X[:, 0]))
    >>> E = rng.random(60) < 0.7
    >>> model = SDPMSurvival(random_state=0, max_steps=40).fit(X, T, E)
    >>> model.predict_survival_function(X[:2], times=[0.5, 1.0], return_array=True).shape
    (2, 2)
    """

    def __init__(
        self,
        *,
        recipe: Literal["default", "paper"] = "default",
        censoring: Literal["required", "none"] = "required",
        calibrate: Literal["conformal"] | None = None,
        n_members: int | None = None,
        width: int | None = None,
        depth: int | None = None,
        dropout: float | None = None,
        learning_rate: float | None = None,
        weight_decay: float | None = None,
        batch_size: int | None = None,
        max_steps: int | None = None,
        max_epochs: int | None = None,
        patience: int | None = None,
        validation_fraction: float | None = None,
        n_draws: int | None = None,
        nfe: int | None = None,
        random_state: Any = None,
        device: str = "auto",
        n_jobs: int | None = None,
        verbose: bool = False,
        trainer_options: Mapping[str, Any] | None = None,
        checkpoint: str | os.PathLike[str] | None = None,
    ) -> None:
        self.recipe = recipe
        self.censoring = censoring
        self.calibrate = calibrate
        self.n_members = n_members
        self.width = width
        self.depth = depth
        self.dropout = dropout
        self.learning_rate = learning_rate
        self.weight_decay = weight_decay
        self.batch_size = batch_size
        self.max_steps = max_steps
        self.max_epochs = max_epochs
        self.patience = patience
        self.validation_fraction = validation_fraction
        self.n_draws = n_draws
        self.nfe = nfe
        self.random_state = random_state
        self.device = device
        self.n_jobs = n_jobs
        self.verbose = verbose
        self.trainer_options = trainer_options
        self.checkpoint = checkpoint

    # ---------------------------------------------------------------- fitting

    @all_or_nothing
    def fit(
        self,
        X: Any,
        y: Any = None,
        E: ArrayLike | None = None,
        *,
        sample_weight: ArrayLike | None = None,
        duration_col: str | None = None,
        event_col: str | None = None,
    ) -> SDPMSurvival:
        """Fit the model.

        Parameters
        ----------
        X : array-like or DataFrame of shape (n, n_features)
            Covariates; with `duration_col` and `event_col`, a frame that holds the target as well.
        y : array-like of shape (n,), structured array or DataFrame
            Observed times (with `E`), or times and flags together: a structured array whose boolean field is
            the event, as `make_survival_target` builds it. Times are >= 0, in any unit.
        E : array-like of shape (n,), optional
            True (1) where the event was observed, False (0) where the row was censored.
        sample_weight : array-like of shape (n,), optional
            Weights >= 0 of the rows in every loss and in the cohort's curve.
        duration_col, event_col : str, optional
            Names of the columns of X that hold the times and the flags.

        Returns
        -------
        SDPMSurvival
            The fitted estimator.

        Raises
        ------
        ValueError, TypeError
            If the data or a parameter cannot be used; a model fitted before is then left as it was.
        """
        settings = self._checked_settings()
        X, target = read_survival_data(
            X, y, E, duration_col=duration_col, event_col=event_col, censoring=self.censoring
        )
        frame = self._frame(X, reset=True)
        target = survival_target(target, n_rows=len(frame))
        weights = check_sample_weight(sample_weight, len(frame))
        kept = weights > 0.0
        # In units of the largest weight, sums of weights do not overflow.
        frame, target, weights = frame[kept], _rows_of(target, kept), weights[kept] / weights.max()
        _check_learnable(target)
        self.seed_ = self._new_seed()
        if self.calibrate is None:
            return self._fit_rows(settings, frame, target, weights)
        proper, calibration = ConformalBound.split(target.event, self._generator(_CALIBRATION))
        training = _rows_of(target, proper)
        horizon = ConformalBound.choose_horizon(training)
        self._fit_rows(settings, frame.iloc[proper], training, weights[proper])
        rows = frame.iloc[calibration]
        self._conformal_ = ConformalBound.learn(
            horizon,
            _rows_of(target, calibration),
            lambda times: self._survival_and_follow_up(rows, times),
        )
        return self

    def _fit_rows(
        self, settings: Settings, frame: pd.DataFrame, target: SurvivalTarget, weights: Floats
    ) -> SDPMSurvival:
        self._settings_ = settings
        self._encoder_ = FeatureEncoder().fit(frame)
        self.unique_times_ = np.unique(target.time)
        self._model_: SurvivalModel = build_model(settings)
        histories = self._model_.fit(
            self._encoder_.transform(frame),
            target.time,
            target.event,
            weights / weights.mean(),
            self._generator(_INITIAL),
            self._train,
        )
        self.histories_ = histories
        self._conformal_: ConformalBound | None = None
        self._tail_shape_: float | None = None
        self._risk_times_: Floats | None = None
        if settings.recipe == "default":
            shares = (np.arange(_RISK_TIMES) + 0.5) / _RISK_TIMES
            of_events = RankTransform.learn(target.time[target.event], weights[target.event])
            self._risk_times_ = of_events.inverse(ndtri(shares))
            self._tail_shape_ = self._learn_tail_shape(frame, target)
        return self

    def _learn_tail_shape(self, frame: pd.DataFrame, target: SurvivalTarget) -> float:
        """Return the Weibull shape by which curves go on beyond the follow-up."""
        order = torch.randperm(len(frame), generator=self._generator(_TAIL))
        rows = order[:_TAIL_ROWS].numpy()
        times = shape_times(target.time[target.event])
        hazards = self._over_chunks(
            frame.iloc[rows], lambda draws, _: draws.curves().cumulative_hazard_at(times)
        )
        return weibull_shape(times, np.concatenate(hazards))

    def _checked_settings(self) -> Settings:
        check_choice("censoring", self.censoring, ("required", "none"))
        if self.calibrate is not None:
            check_choice("calibrate", self.calibrate, ("conformal",))
        if self.n_jobs is not None and check_integer("n_jobs", self.n_jobs) == 0:
            raise ValueError("n_jobs must be a number of workers, or -1 for one a core, got 0")
        names = set(Settings.__dataclass_fields__) - {"recipe"}
        return resolve_settings(self.recipe, {name: getattr(self, name) for name in names})

    def _frame(self, X: Any, *, reset: bool) -> pd.DataFrame:
        """Return the covariates as a frame, checked against those of the fit unless `reset`."""
        if isinstance(X, pd.DataFrame):
            if X.shape[0] == 0 or X.shape[1] == 0:
                raise ValueError(f"X must have at least one row and one column, got shape {X.shape}")
            validate_data(self, X, skip_check_array=True, reset=reset)
            frame = X
        else:
            frame = pd.DataFrame(validate_data(self, X, reset=reset, ensure_all_finite="allow-nan"))
        infinite = infinite_columns(frame)
        if infinite:
            raise ValueError(f"Input X contains infinity in the columns {infinite[:5]}; only NaN is allowed")
        return frame

    # ---------------------------------------------------------------- drawing

    def _over_chunks(
        self,
        X: Any,
        reduce: Callable[[Draws, slice], _Result],
        *,
        n_draws: int | None = None,
        nfe: int | None = None,
        random_state: Any = None,
        fresh: bool = False,
    ) -> list[_Result]:
        """Draw for all rows, in chunks that fit in memory, and return what `reduce` makes of each chunk.

        The columns of the draws are one panel shared by all rows, or with `fresh` independent noise from
        `random_state`, in random order.
        """
        check_is_fitted(self)
        settings = self._settings_
        count = settings.n_draws if n_draws is None else check_integer("n_draws", n_draws, low=1)
        evaluations = settings.nfe if nfe is None else check_integer("nfe", nfe, low=1)
        features = self._encoder_.transform(self._frame(X, reset=False))
        fewest = 1 if fresh else self._model_.fewest_draws
        per_member = max(-(-count // settings.n_members), fewest)
        device = self._compute_device()
        for network in self._model_.networks().values():
            self._on_device(network)
        seed = integer_seed(random_state) if fresh else self.seed_

        def draw(rows: slice) -> _Result:
            stream = private_generator(seed, _PANEL, rows.start if fresh else 0)
            shape = (settings.n_members, rows.stop - rows.start, per_member, self._model_.noise_dim)
            if fresh:
                start = torch.randn(shape, generator=stream, dtype=torch.float32)
                steps = private_generator(seed, _STEPS, rows.start, device=device)
            else:
                start, steps = self._panel(per_member), private_generator(seed, _STEPS)
            generate = self._model_.observe if fresh else self._model_.draw
            draws = generate(features[rows], start, evaluations, device, steps)
            if fresh:
                order = torch.randperm(draws.times.shape[1], generator=stream).numpy()[:count]
                draws = Draws(draws.times[:, order], draws.events[:, order])
            self._warn_outside(draws)
            return reduce(draws, rows)

        bytes_per_row = 4 * settings.n_members * per_member * (6 * settings.width + 32)
        return map_chunks(draw, len(features), bytes_per_row, n_jobs=self.n_jobs)

    def _panel(self, per_member: int) -> Tensor:
        """Return the shared starting noise: a quasi-random panel, in one block a member."""
        members, dim = self._settings_.n_members, self._model_.noise_dim
        panel = gaussian_panel(members * per_member, dim, self._generator(_PANEL))
        return panel.reshape(members, 1, per_member, dim)

    def _warn_outside(self, draws: Draws) -> None:
        share = float((draws.times > self.unique_times_[-1]).mean())
        if share > _OUTSIDE:
            warnings.warn(
                f"{share:.0%} of the generated times lie beyond the longest observed time "
                f"{self.unique_times_[-1]:g}; curves are extrapolated there. recipe='default' does not leave "
                "the observed range",
                UserWarning,
                stacklevel=2,
            )

    # ---------------------------------------------------------------- persistence and tags

    def _fitted_state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        tensors, values = self._model_.to_state()
        return tensors, {
            "model": values,
            "settings": asdict(self._settings_),
            "encoder": self._encoder_.to_dict(),
            "unique_times": self.unique_times_,
            "histories": {name: history.to_dict() for name, history in self.histories_.items()},
            "tail_shape": self._tail_shape_,
            "risk_times": self._risk_times_,
            "conformal": None if self._conformal_ is None else self._conformal_.to_dict(),
        }

    def _restore_fitted_state(self, tensors: dict[str, Tensor], values: dict[str, Any]) -> None:
        self._settings_ = Settings(**values["settings"])
        self._encoder_ = FeatureEncoder.from_dict(values["encoder"])
        self.unique_times_ = np.asarray(values["unique_times"], dtype=np.float64)
        conformal, tail_shape = values["conformal"], values["tail_shape"]
        self._tail_shape_ = None if tail_shape is None else float(tail_shape)
        risk_times = values["risk_times"]
        self._risk_times_ = None if risk_times is None else np.asarray(risk_times, dtype=np.float64)
        self.histories_ = {k: TrainingHistory.from_dict(v) for k, v in values["histories"].items()}
        self._conformal_ = None if conformal is None else ConformalBound.from_dict(conformal)
        self._model_ = build_model(self._settings_)
        self._model_.restore(tensors, values["model"])

    def __sklearn_tags__(self) -> Tags:
        """Tell scikit-learn what the estimator takes."""
        tags = super().__sklearn_tags__()
        tags.target_tags.required = True
        tags.target_tags.positive_only = True
        tags.input_tags.allow_nan = True
        return tags


def _rows_of(target: SurvivalTarget, rows: NDArray[Any]) -> SurvivalTarget:
    return SurvivalTarget(target.time[rows], target.event[rows])


def _check_learnable(target: SurvivalTarget) -> None:
    if len(target) < _FEWEST_ROWS:
        raise ValueError(
            f"at least {_FEWEST_ROWS} rows of positive weight are needed, got n_samples = {len(target)}"
        )
    if not target.event.any():
        raise ValueError(
            f"E holds no event in {len(target)} rows (all are censored), so nothing can be learned about "
            "survival; check the coding of E: 1 or True means that the event was observed"
        )

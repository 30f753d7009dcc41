"""What `DiffusionForecaster` says about events: their probability, and paths in which they hold."""

from __future__ import annotations

import warnings
import zlib
from typing import Any, NamedTuple, cast

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor

from sciffusion.estimators.random_state import integer_seed, private_generator
from sciffusion.estimators.validation import check_integer

from .event_estimates import ENOUGH_HITS, EventProbabilities, of_draws, of_weighted
from .event_flow import PathEvents, WhiteFlow
from .event_importance import Noise, NotDifferentiableError, WeightedPaths, weighted_paths
from .frame_format import id_values
from .frame_output import draws_frame
from .history import Floats
from .model import ForecastModel
from .panel import Panel

__all__ = ["ConditionalPaths", "EventMethods"]

_EVENTS = 7  # number of the private random stream
_METHODS = ("auto", "monte_carlo", "importance")
_FEW = 20  # below this effective sample size weighted paths come with a warning
_TRIED_PER_PATH = 8


class ConditionalPaths(NamedTuple):
    """Weighted paths of arrays.

    Attributes
    ----------
    paths : ndarray of shape (n, n_samples, h[, channels])
    weights : ndarray of shape (n, n_samples)
        Not negative, summing to 1 in each series.
    effective_sample_size : ndarray of shape (n,)
        Equally weighted paths that would tell as much.
    """

    paths: Floats
    weights: Floats
    effective_sample_size: Floats


class EventMethods:
    """Mixin of the forecaster."""

    model_: ForecastModel
    seed_: int
    nfe: int
    n_samples: int

    def event_probability(
        self,
        event: Any,
        h: int | None = None,
        *,
        X: Any = None,
        df: Any = None,
        futr_df: Any = None,
        method: str = "auto",
        n_samples: int = 2000,
        nfe: int | None = None,
        random_state: Any = None,
    ) -> Any:
        r"""Estimate how probable an event is within the next steps of each series.

        Parameters
        ----------
        event : tuple or list of tuples
            ``(function, relation, value)`` or ``(function, relation, value, noise)``; of a list all have to
            hold. The function takes paths in the units of the data as a torch tensor of shape (paths, h[,
            channels]) and returns one number a path, e.g. ``lambda y: y.amax(-1)``; relation is ">", "<",
            ">=" or "<="; the value is a number, one a series, or a mapping from their names; noise is the
            deviation of an error that is added before comparing.
        h : int, optional
            Steps ahead that the function sees; by default `horizon`.
        X : array-like, optional
            In array mode, other histories.
        df, futr_df
            As in `predict`.
        method : {"auto", "monte_carlo", "importance"}, default "auto"
            "monte_carlo" counts plain paths, those that `sample` draws. "importance" draws paths near the
            event and weighs them, for rare events; it needs a function that torch can differentiate, and h
            up to `horizon`. "auto" counts, and turns to importance sampling for series with fewer than 50
            hits where that is possible.
        n_samples : int >= 20, default 2000
            Paths a series, for each method that is used.
        nfe, random_state
            As in `predict`.

        Returns
        -------
        DataFrame or EventProbabilities
            Columns ``unique_id, probability, standard_error, lower, upper, effective_sample_size, method,
            reliable``; for arrays a named tuple of arrays of shape (n,). `lower` and `upper` bound the
            sampling error (95 %), not that of the model. Estimates from fewer than 30 effective hits are not
            `reliable`; with no hit at all the probability is 0 and `upper` tells what it may be.

        Raises
        ------
        TypeError, ValueError
            For an event of another form, an equality, a function that returns something else than a number a
            path, or NaN; for importance sampling also if the function cannot be differentiated or h is too
            large.

        Notes
        -----
        Both methods estimate the same number without bias: the probability under the law of the paths that
        `sample` draws with this nfe. A path costs nfe network evaluations; importance sampling adds those of
        about 2000 paths a series for finding where the event lies.
        """
        if method not in _METHODS:
            raise ValueError(f"method must be one of {_METHODS}, got {method!r}")
        count = check_integer("n_samples", n_samples, low=20)
        request = cast("Any", self)._request(X, h, df, futr_df)
        events = PathEvents.read("event", event, request.panel, request.horizon)
        if any(part.sign == 0.0 for part in events.parts):
            raise ValueError(
                "an equality has no probability; give two inequalities, for example "
                "[(function, '>', low), (function, '<', high)]"
            )
        if method == "importance":
            found = of_weighted(self._weighted(request, events, None, count, nfe, random_state))
        else:
            draws = cast("Any", self)._draws(request, count, nfe, random_state)
            found = of_draws(_likelihood(events, draws))
            rare = np.flatnonzero(found.effective_sample_size < ENOUGH_HITS)
            if method == "auto" and len(rare) and request.horizon <= self.model_.horizon:
                found = self._sharpened(found, rare, request, events, count, nfe, random_state)
        return _probability_frame(request.panel, found) if request.framed else found

    def _sharpened(
        self, found: EventProbabilities, rare: Any, request: Any, events: PathEvents,
        count: int, nfe: Any, random_state: Any,
    ) -> EventProbabilities:  # fmt: skip
        """Replace estimates from few hits by those of importance sampling, where it can be done."""
        try:
            other = of_weighted(self._weighted(request, events, rare, count, nfe, random_state))
        except NotDifferentiableError:
            return found
        upper = np.where(
            other.effective_sample_size == 0.0, np.minimum(other.upper, found.upper[rare]), other.upper
        )
        return found.replaced(rare, other._replace(upper=upper))

    def _weighted(
        self, request: Any, events: PathEvents, places: Any, count: int, nfe: Any,
        random_state: Any,
    ) -> WeightedPaths:  # fmt: skip
        """Draw paths around events, for all series or those at some places."""
        if request.horizon > self.model_.horizon:
            raise ValueError(
                f"importance sampling reaches the trained horizon of {self.model_.horizon} steps, got h="
                f"{request.horizon}; fit with a longer horizon or use method='monte_carlo'"
            )
        panel = request.panel
        if places is not None:
            values = tuple(value[torch.from_numpy(places)] for value in events.values)
            events = PathEvents(events.parts, values, events.horizon, events.squeezed)
            panel = panel.take(places)
        evaluations = check_integer("nfe", self.nfe if nfe is None else nfe, low=2)
        flow = WhiteFlow(self.model_, panel, nfe=evaluations, device=cast("Any", self)._compute_device())
        seed = self.seed_ if random_state is None else integer_seed(random_state)
        return weighted_paths(flow, events, count, _noise_of(panel, seed))

    def _conditional_sample(
        self, request: Any, condition: Any, n_samples: Any, nfe: Any, random_state: Any, weighted: bool
    ) -> Any:
        """Draw paths in which events hold (see `DiffusionForecaster.sample`)."""
        events = PathEvents.read("condition", condition, request.panel, request.horizon)
        events.check_likelihood()
        count = check_integer("n_samples", self.n_samples if n_samples is None else n_samples, low=1)
        tried = max(count, 20) if weighted else max(_TRIED_PER_PATH * count, 200)
        paths, weights = self._condition_draws(request, events, tried, nfe, random_state)
        total = weights.sum(axis=1, keepdims=True)
        if not total.all():
            names = [request.panel.ids[place] for place in np.flatnonzero(total[:, 0] == 0.0)[:5]]
            raise ValueError(
                f"no path fulfils the condition for the series {names}: it is impossible or too rare; take "
                "more n_samples, more noise, or functions that torch can differentiate"
            )
        weights = weights / total
        effective = 1.0 / (weights**2).sum(axis=1)
        _warn_of_few(request.panel, effective, min(_FEW, 0.5 * count))
        if not weighted:
            seed = self.seed_ if random_state is None else integer_seed(random_state)
            chosen = _resampled(request.panel, weights, count, seed)
            paths = np.take_along_axis(paths, chosen[:, :, None, None], axis=1)
            return draws_frame(request.panel, paths) if request.framed else _squeezed(paths)
        if not request.framed:
            return ConditionalPaths(_squeezed(paths), weights, effective)
        frame = draws_frame(request.panel, paths)
        frame["weight"] = np.repeat(weights.ravel(), request.horizon)
        frame.attrs["effective_sample_size"] = dict(zip(request.panel.ids, effective.tolist(), strict=True))
        return frame

    def _condition_draws(
        self, request: Any, events: PathEvents, tried: int, nfe: Any, random_state: Any
    ) -> tuple[Floats, Floats]:
        """Return paths and their weights before they are normalised."""
        if request.horizon <= self.model_.horizon:
            try:
                found = self._weighted(request, events, None, tried, nfe, random_state)
            except NotDifferentiableError:
                pass
            else:
                weight = found.log_weights + found.log_likelihood
                return found.paths[:, :, : request.horizon].double().numpy(), _relative(weight)
        draws = cast("Any", self)._draws(request, tried, nfe, random_state)
        return draws, _relative(_log_likelihood(events, draws))


def _likelihood(events: PathEvents, draws: Floats) -> Tensor:
    return torch.exp(_log_likelihood(events, draws))


def _log_likelihood(events: PathEvents, draws: Floats) -> Tensor:
    with torch.no_grad():
        return events.log_likelihood(events.gaps(torch.from_numpy(np.ascontiguousarray(draws))))


def _relative(log_weight: Tensor) -> Floats:
    """Return weights relative to the largest of their series; 0 where all are."""
    top = log_weight.amax(1, keepdim=True)
    found = torch.where(torch.isfinite(top), torch.exp(log_weight - top), 0.0)
    result: Floats = found.numpy()
    return result


def _noise_of(panel: Panel, seed: int) -> Noise:
    """Return a source of white noise in which each series has streams of its own, named by its id."""
    names = [zlib.crc32(repr(name).encode()) for name in panel.ids]

    def noise(place: slice, stream: int, n_draws: int, width: int) -> Tensor:
        drawn = [
            torch.randn(
                (n_draws, width), generator=private_generator(seed, _EVENTS, name, stream),
                dtype=torch.float32,
            )
            for name in names[place]
        ]  # fmt: skip
        return torch.stack(drawn)

    return noise


def _resampled(panel: Panel, weights: Floats, count: int, seed: int) -> NDArray[np.int64]:
    """Return places of draws, as often as their weights say, in random order, shape (series, count)."""
    chosen = []
    for name, own in zip(panel.ids, weights, strict=True):
        generator = private_generator(seed, _EVENTS, zlib.crc32(repr(name).encode()), 100)
        first = float(torch.rand((), generator=generator))
        places = np.searchsorted(np.cumsum(own), (first + np.arange(count)) / count)
        order = torch.randperm(count, generator=generator).numpy()
        chosen.append(np.minimum(places, len(own) - 1)[order])
    return np.stack(chosen)


def _warn_of_few(panel: Panel, effective: Floats, least: float) -> None:
    few = np.flatnonzero(effective < least)
    if len(few):
        names = [panel.ids[place] for place in few[:5]]
        warnings.warn(
            f"the weighted paths of {len(few)} series tell no more than {effective.min():.1f} equal ones "
            f"would (the first being {names}): take more n_samples or more noise",
            UserWarning,
            stacklevel=4,
        )


def _probability_frame(panel: Panel, found: EventProbabilities) -> pd.DataFrame:
    form = panel.frame_format
    names = id_values(panel.ids, np.arange(panel.n_series), form)
    return pd.DataFrame({form.id_column: names, **found._asdict()})


def _squeezed(values: Floats) -> Floats:
    return values[..., 0] if values.shape[-1] == 1 else values

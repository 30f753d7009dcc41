r"""Streaming: a session that takes rows as they arrive and forecasts after each.

A session holds the histories and, for every series, `n_samples` paths of the h steps ahead. In mode
``"fresh"`` each push draws the paths anew, for `nfe` evaluations of the network. In mode ``"rolling"`` the
noised future is kept: with W the horizon of the model, the residual of step k ahead waits at the time
:math:`k/W` (:math:`k = 0, \dots, W-1`), the nearest ones all but clean. A new observation

1. shifts the window by one: the residuals of steps 2 ... W become those of 1 ... W-1, by the linear map
   :math:`L_{1:W-1} K^{-1}` that takes their Gaussian law before training, with covariance
   :math:`K K^\top = R_{2:W,2:W}`, to that of their new places, and a last one is drawn given the others, so
   the state has the covariance R again (a construction of this library);
2. makes one step of the flow from the times :math:`(k+1)/W` to :math:`k/W`, given the new history;
3. finishes a copy to time 0, in `finish_steps` steps, for the paths that are given away.

A push thus costs ``2 * finish_steps`` evaluations (1 where only one step ahead is asked for), against
`nfe` for fresh paths. Location and scale are those of the base at the new origin in both modes. With the
network off both modes are exact: Gaussian residuals with the covariance R. With a network the rolling mode is
an approximation: what the near residuals have learned of older histories is not revised but by the last steps
of their flow. Paths of successive pushes belong together, so a path's view of a date changes little.

Rolling windows are those of Ruhe et al., *Rolling Diffusion Models*, arXiv 2402.09470, see
`sciffusion.sampling.rolling`.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from sklearn.utils.validation import check_is_fitted
from torch import Tensor

from sciffusion.continuous import Euler, Heun
from sciffusion.estimators.random_state import integer_seed, private_generator
from sciffusion.estimators.validation import check_integer
from sciffusion.sampling import State, sample
from sciffusion.sampling.time_maps import BoundaryPhase

from .base_forecast import Series
from .frame_columns import names_text
from .frame_output import draws_frame
from .future_frames import future_of_frame
from .history import Floats
from .interval_methods import IntervalMethods
from .model import Prepared
from .panel import Panel
from .storage import panel_values, restored_panel
from .tokens import WindowTokens
from .update_methods import UpdateMethods, rows_after

__all__ = ["ForecastStream", "OnlineMethods", "StreamMethods"]

_MODES = ("rolling", "fresh")
_STREAMING = 7  # number of the private random stream


class StreamMethods:
    """The streaming of `DiffusionForecaster`, which mixes this in."""

    n_samples: int
    nfe: int

    def stream(
        self,
        h: int | None = None,
        n_samples: int | None = None,
        *,
        mode: str = "rolling",
        finish_steps: int = 2,
        keep: int | None = None,
        futr_df: Any = None,
        nfe: int | None = None,
        random_state: Any = None,
    ) -> ForecastStream:
        """Begin a session at the end of the histories that were fitted; the forecaster stays as it is.

        Parameters
        ----------
        h : int, optional
            Steps ahead, at most `horizon`, its default.
        n_samples : int, optional
            Paths a series.
        mode : {"rolling", "fresh"}
            Whether paths are moved along with the window or drawn anew; see `ForecastStream`.
        finish_steps : int >= 1, default 2
            Steps from the moved window to clean paths for ``"rolling"``, of two evaluations but for the last,
            which takes one.
        keep : int, optional
            Rows of history to keep of each series; by default all. Fewer cost less at each push.
        futr_df : DataFrame, optional
            Future covariates of the first forecast.
        nfe : int, optional
            Evaluations of fresh draws, and of the first forecast.
        random_state : int, RandomState or None
            Source of the paths; by default that of the fit, so that sessions agree.
        """
        check_is_fitted(self)
        return ForecastStream(
            self,
            h=h,
            n_samples=self.n_samples if n_samples is None else n_samples,
            mode=mode,
            finish_steps=finish_steps,
            keep=keep,
            futr_df=futr_df,
            nfe=self.nfe if nfe is None else nfe,
            random_state=random_state,
        )


class OnlineMethods(IntervalMethods, StreamMethods, UpdateMethods):
    """What `DiffusionForecaster` does beyond a fit and its forecasts: intervals, updates and streams."""


class ForecastStream:
    """A session of forecasts from arriving rows; made by `DiffusionForecaster.stream`.

    The module's text says what a push does and costs.

    Attributes
    ----------
    panel : Panel
        The histories so far.
    draws : ndarray of shape (series, n_samples, h, channels)
        Paths of the steps after them.
    n_pushes : int
        Pushes so far.
    nfe_last, nfe_total : int
        Network evaluations of the last push (or the start), and of the session.
    """

    def __init__(
        self, forecaster: Any, *, h: Any, n_samples: Any, mode: str, finish_steps: Any, keep: Any,
        futr_df: Any, nfe: Any, random_state: Any,
    ) -> None:  # fmt: skip
        if mode not in _MODES:
            raise ValueError(f"mode must be one of {', '.join(map(repr, _MODES))}, got {mode!r}")
        self._model = forecaster.model_
        self._forecaster = forecaster
        self.mode = mode
        self.h = self._model.horizon if h is None else check_integer("h", h, low=1)
        if self.h > self._model.horizon:
            raise ValueError(f"h must be at most the trained horizon, {self._model.horizon}, got {self.h}")
        self.n_samples = check_integer("n_samples", n_samples, low=1)
        self.finish_steps = check_integer("finish_steps", finish_steps, low=1)
        self.keep = None if keep is None else check_integer("keep", keep, low=1)
        self.nfe = check_integer("nfe", nfe, low=2)
        self.seed = (forecaster.seed_ if random_state is None else integer_seed(random_state)) + _STREAMING
        self.framed_ = forecaster.framed_
        self.n_pushes = self.nfe_last = self.nfe_total = 0
        self.panel_ = _shortened(forecaster.panel_, self.keep)
        self._waiting = torch.zeros(0)
        self._start(future_of_frame(futr_df, self.panel_, self.h))

    @property
    def panel(self) -> Panel:
        """The histories so far."""
        return self.panel_

    # ---------------------------------------------------------------- what users call

    def push(self, rows: Any, *, futr_df: Any = None) -> Any:
        """Take in rows and forecast.

        Parameters
        ----------
        rows : DataFrame or array-like
            Rows that follow those known, of some or all of the session's series, as a long frame; or, in
            array mode, the next values of all, of shape (n,), (n, channels), (n, steps) or (n, steps,
            channels).
        futr_df : DataFrame, optional
            Future covariates of the rows that follow.

        Returns
        -------
        DataFrame or ndarray
            Paths, as `DiffusionForecaster.sample` gives them.

        Raises
        ------
        ValueError, TypeError
            If the rows do not fit; the session is then as it was.
        """
        panel = self._joined(rows)
        ahead = future_of_frame(futr_df, panel, self.h)
        moved = np.asarray(panel.last_step - self.panel_.last_step)
        before = dict(vars(self))
        try:
            self.panel_ = _shortened(panel, self.keep)
            self.n_pushes += 1
            self.nfe_last = 0
            if self.mode == "fresh":
                self._redraw(ahead)
            else:
                self._roll(ahead, moved)
        except BaseException:
            vars(self).update(before)
            raise
        return self.paths()

    def run(self, rows: Iterable[Any]) -> Iterator[Any]:
        """Push one after the other and yield the forecasts."""
        for one in rows:
            yield self.push(one)

    def paths(self) -> Any:
        """Return the present paths, as `DiffusionForecaster.sample` does."""
        if self.framed_:
            return draws_frame(self.panel_, self.draws)
        return self.draws[..., 0] if self.draws.shape[-1] == 1 else self.draws

    def quantiles(self, levels: Any = (0.1, 0.5, 0.9)) -> Floats:
        """Return quantiles of the present paths, shape (levels, series, h, channels)."""
        return np.asarray(np.quantile(self.draws, levels, axis=1, method="weibull"))

    def state_dict(self) -> dict[str, Any]:
        """Return the session as numbers, strings and arrays; the fitted forecaster is not among them."""
        return {
            "mode": self.mode, "h": self.h, "n_samples": self.n_samples, "finish_steps": self.finish_steps,
            "keep": self.keep, "nfe": self.nfe, "seed": self.seed, "n_pushes": self.n_pushes,
            "nfe_last": self.nfe_last, "nfe_total": self.nfe_total, "panel": panel_values(self.panel_),
            "waiting": self._waiting.numpy().copy(), "draws": self.draws.copy(),
        }  # fmt: skip

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from what `state_dict` returned, of a session of the same fitted forecaster.

        Raises
        ------
        ValueError
            If the state is incomplete, or of another horizon or number of channels.
        """
        absent = sorted(self.state_dict().keys() - state.keys())
        if absent:
            raise ValueError(f"the state lacks {names_text(absent)}; give what state_dict returned")
        draws = np.array(state["draws"])
        shape = (draws.shape[-1], int(np.shape(state["waiting"])[-1]))
        wanted = (self.panel_.n_channels, self._model.horizon if state["mode"] == "rolling" else 0)
        if shape != wanted:
            raise ValueError(f"the state has (channels, steps kept) {shape}, expected {wanted}")
        for name in ("mode", "h", "n_samples", "finish_steps", "keep", "nfe", "seed", "n_pushes"):
            setattr(self, name, state[name])
        self.nfe_last, self.nfe_total = state["nfe_last"], state["nfe_total"]
        self.panel_ = restored_panel(state["panel"])
        self._waiting, self.draws = torch.from_numpy(np.array(state["waiting"])), draws

    # ---------------------------------------------------------------- how paths come about

    def _joined(self, rows: Any) -> Panel:
        if not self.framed_:
            array = np.asarray(rows, dtype=np.float64)
            several = self.panel_.n_channels > 1
            rows = array[:, None] if array.ndim == 1 + several else array
        panel = rows_after(self, rows)
        if panel.n_series != self.panel_.n_series:
            raise ValueError(
                "rows hold series that the session does not know: "
                f"{names_text(panel.ids[self.panel_.n_series :])}; take them in by update, then begin anew"
            )
        return panel

    def _panel_of_frame(self, df: Any, **options: Any) -> Panel:
        panel: Panel = self._forecaster._panel_of_frame(df, **options)
        return panel

    def _prepare(self, panel: Panel) -> tuple[Series, Prepared]:
        series = self._model.base.series(panel)
        return series, self._model.prepare(series, series.last_windows())

    def _start(self, ahead: Panel) -> None:
        if self.mode == "fresh":
            self._redraw(ahead)
            return
        model, width = self._model, self._model.horizon
        noise = model.starting_noise(ahead.ids, self.n_samples, self.seed)[..., model.n_context :]
        _, prepared = self._prepare(ahead)
        n_steps = max(self.nfe // 2, 1)
        grid = _boundary(width, width, n_steps)
        self._waiting = self._flow(prepared, noise, grid, Heun())
        self._finish(prepared)

    def _redraw(self, ahead: Panel) -> None:
        self._count(2 * max(self.nfe // 2, 1))
        self.draws = self._model.draw(
            ahead, self.h, self.n_samples, nfe=self.nfe, seed=self.seed + self.n_pushes,
            device=self._forecaster._compute_device(),
        )  # fmt: skip

    def _roll(self, ahead: Panel, moved: Any) -> None:
        _, prepared = self._prepare(ahead)
        width = self._model.horizon
        waiting = self._waiting.clone()
        for steps in np.unique(moved[moved > 0]):
            chosen = np.flatnonzero(moved == steps)
            state = waiting[chosen]
            for number in range(min(int(steps), width)):
                state = self._shifted(state, [ahead.ids[place] for place in chosen], number)
            grid = _boundary(width, min(int(steps), width), 1)
            part = _rows(prepared, chosen, ahead.n_channels)
            waiting[chosen] = self._flow(part, state, grid, Euler())
        self._waiting = waiting
        self._finish(prepared)

    def _shifted(self, state: Tensor, ids: list[Any], number: int) -> Tensor:
        """Return the window of shape (series, channels, draws, width) one step on."""
        factor = self._model.law.factor
        width = len(factor)
        correlation = factor @ factor.T
        rest = factor[:-1, :-1]
        to_white = np.linalg.inv(np.linalg.cholesky(correlation[1:, 1:])) if width > 1 else np.eye(0)
        white = torch.from_numpy(to_white).to(state) @ state[..., 1:, None]
        moved = (torch.from_numpy(rest).to(state) @ white)[..., 0]
        given = white[..., 0] @ torch.from_numpy(factor[-1, :-1]).to(state)
        fresh = torch.stack([self._fresh(one, number) for one in ids]).to(state)
        last = given + float(factor[-1, -1]) * fresh
        return torch.cat([moved, last[..., None]], dim=-1)

    def _fresh(self, name: Any, number: int) -> Tensor:
        """Draw white noise of one series, shape (channels, draws), in antithetic pairs as the paths are."""
        generator = private_generator(self.seed, zlib.crc32(repr(name).encode()), self.n_pushes, number)
        mixing = torch.from_numpy(self._model.law.channel_factor).float()
        half = -(-self.n_samples // 2)
        white = mixing @ torch.randn((len(mixing), half), generator=generator)
        return torch.cat([white, -white], dim=1)[:, : self.n_samples]

    def _finish(self, prepared: Prepared) -> None:
        width, residuals = self._model.horizon, self._waiting
        if self.h > 1:
            ladder = torch.arange(width, dtype=torch.float64) / width
            shares = torch.linspace(1.0, 0.0, self.finish_steps + 1, dtype=torch.float64)
            grid = shares[:, None] * ladder
            residuals = self._flow(prepared, residuals, grid, Heun())
        n_series, n_channels = self._waiting.shape[:2]
        flat = residuals.reshape(n_series * n_channels, self.n_samples, width).double().numpy()
        values = self._model.values(prepared, flat)
        shaped = values.reshape(n_series, n_channels, self.n_samples, width)[..., : self.h]
        self.draws = np.moveaxis(shaped, 1, 3)

    def _flow(self, prepared: Prepared, state: Tensor, grid: Tensor, solver: Any) -> Tensor:
        """Walk a window of shape (series, channels, draws, width) along times of shape (steps + 1, width)."""
        model = self._model
        if model.network is None:
            return state
        context = torch.zeros(len(grid), model.n_context, dtype=grid.dtype)
        times = torch.cat([context, grid], dim=1)[:, None]
        counts: list[int] = []

        def run(denoiser: Any, _: Tensor, start: State, condition: Any) -> Tensor:
            result = sample(denoiser, solver, times.to(start.x.device), state=start, condition=condition)
            counts.append(result.nfe)
            return result.samples

        flat = state.reshape(-1, self.n_samples, model.horizon)
        padded = torch.cat([flat.new_zeros(*flat.shape[:2], model.n_context), flat], dim=-1)
        found = model.residuals(
            prepared, padded, nfe=self.nfe, device=self._forecaster._compute_device(), run=run
        )
        self._count(max(counts))  # chunks of one batch count once
        return torch.from_numpy(found).to(state).reshape(state.shape)

    def _count(self, nfe: int) -> None:
        if self._model.network is not None:
            self.nfe_last += nfe
            self.nfe_total += nfe


def _boundary(width: int, steps: int, n_steps: int) -> Tensor:
    """Return times from a window moved on by `steps` to the ladder k/width, shape (n_steps + 1, width)."""
    start = torch.linspace(steps / width, 0.0, n_steps + 1, dtype=torch.float64)
    return BoundaryPhase(width).local(start, width)


def _rows(prepared: Prepared, chosen: Any, n_channels: int) -> Prepared:
    """Return what was prepared for some series."""
    rows = (chosen[:, None] * n_channels + np.arange(n_channels)).reshape(-1)
    tokens = prepared.tokens
    some = WindowTokens(*(getattr(tokens, name)[rows] for name in tokens.__dataclass_fields__))
    return Prepared(prepared.location[rows], prepared.scale[rows], some, prepared.inputs[rows])


def _shortened(panel: Panel, keep: int | None) -> Panel:
    """Return the panel with at most `keep` rows."""
    if keep is None or keep >= panel.length:
        return panel
    kept = slice(panel.length - keep, None)
    return replace(
        panel, values=panel.values[:, kept], past=panel.past[:, kept], future=panel.future[:, kept],
        lengths=np.minimum(panel.lengths, keep),
    )  # fmt: skip

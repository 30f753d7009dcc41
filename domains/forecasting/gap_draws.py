r"""Joint draws of the missing values of whole series, of any length and with any gaps.

With location f and scale g of the gap base, a draw is :math:`y_i = f_i + g_i z_i` with residuals z that are
bridges in each gap (`gap_law`); the network's flow, where there is one, turns the bridges of a window into
residuals that fit the values around them. Windows move along all series at once, from left to right. Each
begins a quarter of its tokens before the first value that is still missing and keeps what it draws up to a
quarter before its end, or to the beginning of a gap that reaches across; values drawn before are known to
it, each draw seeing its own. A gap that is too long for one window goes on from the last drawn residual, at
distance n from it, as the bridge does:

.. math:: f_j \to f_j + g_j\, c_j z_i, \qquad g_j \to g_j \sqrt{1 - c_j^2}, \qquad
          c_j = \textstyle\prod_{k=i+1}^{j} \rho_k ,

so that without a network a gap's law does not depend on how it was cut. Missing values before the first known
one have a bridge that is pinned on the right only; those after the last one are forecasts, not drawn here.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sciffusion.estimators.chunking import map_chunks
from sciffusion.estimators.random_state import private_generator

from .base_forecast import Series
from .gap_base import GapBase, GapFill
from .gap_law import bridge_noise, chain_of_gaps, distances_to_known
from .gap_tokens import GapWindows
from .history import Floats, Integers, Windows
from .model import ForecastModel
from .panel import Panel
from .residual_draws import draw_residuals

__all__ = ["draw_gaps"]

_MARGIN = 4  # a window knows, or draws and leaves to the next one, a quarter of its tokens on either side
_GAP_STREAM = 7


def draw_gaps(
    model: ForecastModel,
    panel: Panel,
    n_samples: int,
    *,
    nfe: int,
    seed: int,
    device: torch.device,
    reduce: Callable[[Floats], Floats] = lambda draws: draws,
) -> Floats:
    """Draw the missing values of a panel.

    Parameters
    ----------
    model : ForecastModel
    panel : Panel
        Every channel of every series has a known value.
    n_samples, nfe, seed : int
    device : torch.device
    reduce : callable, optional
        Applied to the draws of some series at a time, to save memory.

    Returns
    -------
    ndarray of shape (series, samples, length, channels), or what `reduce` makes of it
        Known values as they are, NaN before a series began; after its last known value, locations.
    """
    size = panel.n_channels * n_samples
    bytes_per_series = size * (30 * panel.length + 40 * len(model.input_scale.mean))

    def some(chosen: slice) -> Floats:
        return reduce(_draw_series(model, panel.take(chosen), n_samples, nfe=nfe, seed=seed, device=device))

    return np.concatenate(map_chunks(some, panel.n_series, bytes_per_series))


def _draw_series(
    model: ForecastModel, panel: Panel, n_samples: int, *, nfe: int, seed: int, device: torch.device
) -> Floats:
    series = model.base.series(panel)
    rows = _Rows.of(model.gap_base, series, _white_noise(model, panel, n_samples, seed))
    values = rows.plain() if model.network is None else _draw_windows(model, rows, nfe=nfe, device=device)
    if model.lower_bound is not None:
        values = np.where(rows.wanted[:, None], np.maximum(values, model.lower_bound), values)
    shaped = values.reshape(panel.n_series, panel.n_channels, n_samples, panel.length)
    return np.moveaxis(shaped, 1, 3)


def _white_noise(model: ForecastModel, panel: Panel, n_samples: int, seed: int) -> Tensor:
    """Return white noise of shape (rows, samples, length), channels correlated, in antithetic pairs.

    A series has a stream of its own and as many numbers as rows, so that its draws depend on no other one.
    """
    half = -(-n_samples // 2)
    mixing = torch.from_numpy(model.law.channel_factor).float()
    parts = []
    for name, own in zip(panel.ids, panel.lengths.tolist(), strict=True):
        stream = private_generator(seed, _GAP_STREAM, zlib.crc32(repr(name).encode()))
        one = torch.randn((panel.n_channels, half, own), generator=stream, dtype=torch.float32)
        one = torch.einsum("cd,dst->cst", mixing, torch.nn.functional.pad(one, (panel.length - own, 0)))
        parts.append(torch.cat([one, -one], dim=1)[:, :n_samples])
    return torch.cat(parts)


@dataclass(frozen=True, eq=False)
class _Rows:
    """Rows whose gaps are to be drawn.

    Attributes
    ----------
    series : Series
    fill : GapFill
    left, right : ndarray of shape (rows, length)
        Distances to known values.
    missing, wanted : ndarray of bool, shape (rows, length)
        What is missing, and which of that is drawn: what has a known value after it.
    chain : ndarray of shape (rows, length)
        Correlation of the residual of each missing value with the one before.
    phi : float
    white : Tensor of shape (rows, samples, length)
    """

    series: Series
    fill: GapFill
    left: Floats
    right: Floats
    missing: NDArray[np.bool_]
    wanted: NDArray[np.bool_]
    chain: Floats
    phi: float
    white: Tensor

    @classmethod
    def of(cls, gaps: GapBase, series: Series, white: Tensor) -> _Rows:
        """Fill the rows of series and measure their gaps."""
        observed = series.history.observed
        missing = np.isnan(observed) & (np.arange(observed.shape[1]) >= series.begin[:, None])
        left, right = distances_to_known(np.isnan(observed))
        return cls(
            series, gaps.fill(observed, series.units, missing), left, right, missing,
            missing & np.isfinite(right), chain_of_gaps(left, right, missing, gaps.phi), gaps.phi, white,
        )  # fmt: skip

    def plain(self) -> Floats:
        """Return values of shape (rows, samples, length) whose residuals are bridges."""
        noise = bridge_noise(self.white, torch.from_numpy(self.chain)[:, None]).double().numpy()
        scale = np.where(self.wanted, self.fill.scale, 0.0)
        result: Floats = self.fill.location[:, None] + scale[:, None] * noise
        return result


@dataclass(frozen=True, eq=False)
class _Stage:
    """One window for each of some rows.

    Attributes
    ----------
    row : ndarray of int64, shape (windows,)
    first, end : ndarray of int64, shape (windows,)
        What is missing from the first place on and before the end is kept.
    places : ndarray of int64, shape (windows, tokens)
        May lie beyond the ends of the series.
    """

    row: Integers
    first: Integers
    end: Integers
    places: Integers

    @classmethod
    def following(cls, rows: _Rows, done: Integers, n_tokens: int) -> _Stage | None:
        """Return the windows that follow where rows are drawn before `done`; None if nothing is left."""
        length = rows.missing.shape[1]
        ahead = rows.wanted & (np.arange(length) >= done[:, None])
        row = np.flatnonzero(ahead.any(axis=1))
        if not len(row):
            return None
        first = ahead[row].argmax(axis=1)
        margin = n_tokens // _MARGIN
        start = np.minimum(first - margin, length - n_tokens)
        end = np.where(start + n_tokens >= length, length, start + n_tokens - margin)
        return cls(
            row, first, _before_gaps(rows.missing[row], first, end), start[:, None] + np.arange(n_tokens)
        )

    def kept(self, rows: _Rows, inside: Integers) -> NDArray[np.bool_]:
        """Return which tokens, at places inside the series, are kept."""
        within = (self.places >= self.first[:, None]) & (self.places < self.end[:, None])
        kept: NDArray[np.bool_] = within & rows.wanted[self.row[:, None], inside]
        return kept


def _before_gaps(missing: NDArray[np.bool_], first: Integers, end: Integers) -> Integers:
    """Move ends that lie in a gap to its beginning, unless that is where the window's first gap begins."""
    length = missing.shape[1]
    known = np.maximum.accumulate(np.where(missing, -1, np.arange(length)), axis=1)
    every = np.arange(len(end))
    begins = known[every, end - 1] + 1
    cut = missing[every, end - 1] & (end < length) & missing[every, np.minimum(end, length - 1)]
    result: Integers = np.where(cut & (begins > first), begins, end)
    return result


def _draw_windows(model: ForecastModel, rows: _Rows, *, nfe: int, device: torch.device) -> Floats:
    """Return values of shape (rows, samples, length), drawn window after window."""
    values = np.repeat(rows.fill.location[:, None], rows.white.shape[1], axis=1)
    done = np.zeros(len(values), dtype=np.int64)
    n_tokens = model.n_context + model.horizon
    while (stage := _Stage.following(rows, done, n_tokens)) is not None:
        begin = rows.series.begin[stage.row][:, None]
        inside = np.clip(stage.places, begin, values.shape[2] - 1)
        drawn = _draw_stage(model, rows, values, stage, inside, nfe=nfe, device=device)
        window, token = np.nonzero(stage.kept(rows, inside))
        values[stage.row[window], :, inside[window, token]] = drawn[window, :, token]
        done[stage.row] = stage.end
    return values


def _draw_stage(
    model: ForecastModel,
    rows: _Rows,
    values: Floats,
    stage: _Stage,
    inside: Integers,
    *,
    nfe: int,
    device: torch.device,
) -> Floats:
    """Return values of shape (windows, samples, tokens) for the windows of a stage."""
    assert model.network is not None
    n_samples, n_tokens = values.shape[1], stage.places.shape[1]
    at = (stage.row[:, None], inside)
    outside = stage.places != inside
    unknown = rows.missing[at] & (stage.places >= stage.first[:, None]) & ~outside
    share, last = _continuation(rows, values, stage, at, unknown)
    location = values[stage.row[:, None], :, inside].swapaxes(1, 2)
    location = location + np.where(unknown, rows.fill.scale[at] * share, 0.0)[:, None] * last[..., None]
    scale = rows.fill.scale[at] * np.sqrt(1.0 - share**2)
    cut = GapWindows(
        location.reshape(-1, n_tokens),
        *(np.repeat(one, n_samples, axis=0) for one in (scale, unknown, outside)),
    )
    origin = stage.places[:, model.n_context - 1]
    windows = Windows(np.repeat(stage.row, n_samples), np.repeat(origin, n_samples))
    inputs = cut.inputs(rows.series, model.base.settings, windows, len(model.base.shown_members))
    noise = bridge_noise(
        torch.stack([rows.white[row][:, places] for row, places in zip(stage.row, inside, strict=True)]),
        torch.from_numpy(_own_chain(rows, stage, at, unknown))[:, None],
    )
    residual = draw_residuals(
        model.network, model.input_scale.apply(inputs), cut.unknown, noise.reshape(-1, 1, n_tokens),
        nfe=nfe, device=device,
    )  # fmt: skip
    z = np.where(cut.unknown, residual[:, 0].double().numpy(), 0.0)
    drawn: Floats = (cut.location + cut.scale * z).reshape(-1, n_samples, n_tokens)
    return drawn


def _continuation(
    rows: _Rows, values: Floats, stage: _Stage, at: tuple[Integers, Integers], unknown: NDArray[np.bool_]
) -> tuple[Floats, Floats]:
    """Return the correlation of each token with the residual before the first one, and that residual.

    The former has shape (windows, tokens) and is 0 but in a gap that goes on; the latter (windows, samples).
    """
    before_first = stage.places < stage.first[:, None]
    factors: Floats = np.where(before_first, 1.0, np.where(unknown, rows.chain[at], 0.0))
    share: Floats = np.where(unknown, np.multiply.accumulate(factors, axis=1), 0.0)
    # Nothing lies before the first row of a series; where it is missing, no gap goes on.
    before = np.maximum(stage.first - 1, rows.series.begin[stage.row])
    scale = rows.fill.scale[stage.row, before]
    residual = values[stage.row, :, before] - rows.fill.location[stage.row, before][:, None]
    return share, residual / np.where(scale > 0, scale, 1.0)[:, None]


def _own_chain(
    rows: _Rows, stage: _Stage, at: tuple[Integers, Integers], unknown: NDArray[np.bool_]
) -> Floats:
    """Return the chain of a window, in which a gap that goes on is pinned at what was drawn last."""
    goes_on = rows.chain[stage.row, stage.first][:, None] > 0.0
    since = stage.places - stage.first[:, None] + 1.0
    left = np.where(goes_on, np.minimum(rows.left[at], since), rows.left[at])
    return chain_of_gaps(left, rows.right[at], unknown, rows.phi)

r"""General noise: tokens jump by the rates of a matrix, which may know what is close to what.

.. math:: q_t(y \mid k) = \bigl(e^{\tau R}\bigr)_{ky}, \quad \tau = -\log a_t, \qquad
   q_{t|s}(x \mid y) = \bigl(e^{(\tau_t - \tau_s) R}\bigr)_{yx}.

With :math:`R = V \Lambda V^{-1}` the exponential is :math:`V a^{-\Lambda} V^{-1}`, so that time 1, where a
vanishes, is the stationary law of R itself. `kernels` has matrices for levels, nucleotides and amino acids;
with `uniform_rates` this is `Uniform`.

Austin et al., *Structured Denoising Diffusion Models in Discrete State-Spaces*, arXiv 2107.03006; Campbell et
al., *A Continuous Time Framework for Discrete Denoising Models*, arXiv 2205.14987.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from sciffusion.discrete.categorical import draw_categorical
from sciffusion.discrete.kernels import stationary_law
from sciffusion.discrete.prediction import NoisyTokens
from sciffusion.discrete.process import Corrupted, DiscreteProcess, site_times
from sciffusion.discrete.schedules import KeepSchedule, LinearSchedule, wide

__all__ = ["Matrix"]


@dataclass(frozen=True, eq=False)
class Matrix(DiscreteProcess):
    """Corruption of tokens by a rate matrix.

    Parameters
    ----------
    rates : Tensor of shape ``(vocab_size, vocab_size)``
        Rates at which tokens (rows) become others (columns) per unit of ``-log a``; the diagonal is set so
        that rows sum to 0. Probabilities carry errors of about 1e-15, so less likely ones are not resolved.
    schedule : KeepSchedule
        The clock; linear by default.

    Raises
    ------
    ValueError
        For a matrix that is not square, is negative off its diagonal, or does not connect all tokens.
    """

    rates: Tensor
    schedule: KeepSchedule = LinearSchedule()  # noqa: RUF009 - frozen
    #: The law of tokens at time 1.
    stationary: Tensor = field(init=False, repr=False)
    _decay: Tensor = field(init=False, repr=False)
    _out: Tensor = field(init=False, repr=False)
    _into: Tensor = field(init=False, repr=False)

    def __post_init__(self) -> None:
        rates = _checked_rates(self.rates)
        law = stationary_law(rates)
        decay, out, into = _eigenbasis(rates, law)
        for name, value in {
            "rates": rates, "stationary": law, "_decay": decay, "_out": out, "_into": into,
        }.items():  # fmt: skip
            object.__setattr__(self, name, value)

    @property
    def vocab_size(self) -> int:  # type: ignore[override]
        """Number of tokens."""
        return len(self.rates)

    @property
    def state_size(self) -> int:  # type: ignore[override]
        """As many noisy tokens as clean ones."""
        return len(self.rates)

    def draw_prior(
        self,
        shape: tuple[int, ...],
        generator: torch.Generator,
        t: Tensor | float = 1.0,
        dtype: torch.dtype = torch.int64,
        device: torch.device | str = "cpu",
    ) -> Tensor:
        """Draw tokens from the stationary law."""
        return draw_categorical(torch.log(self.stationary).expand(*shape, -1), generator).to(device)

    def corrupt(
        self, x0: Tensor, t: Tensor, generator: torch.Generator, known: Tensor | None = None
    ) -> Corrupted:
        """Draw tokens from the rows of the exponential (see `DiscreteProcess.corrupt`)."""
        keep = self.schedule.keep(site_times(t, x0)).expand(x0.shape)[..., None]
        own = torch.nn.functional.one_hot(x0.long(), self.vocab_size).to(keep)
        x = draw_categorical(torch.log(self._evolve(own, keep)), generator).to(x0)
        return Corrupted(*self._with_known(x, x0, t, known))

    def emission_log_likelihood(self, state: NoisyTokens) -> Tensor:
        """Return ``log q_t(x_t | k)`` for every k."""
        return self._likelihood(state.x, self.schedule.keep(site_times(state.t, state.x)))

    def push(self, probabilities: Tensor, t: Tensor) -> Tensor:
        """Move a law of clean tokens forward by the exponential."""
        keep = self.schedule.keep(site_times(t, probabilities[..., 0]))[..., None]
        law = wide(probabilities)
        return self._evolve(law, keep.to(law.device))

    def transition_log_likelihood(self, state: NoisyTokens, s: Tensor) -> Tensor:
        """Return ``log q_{t|s}(x_t | y)`` for every y."""
        late = self.schedule.keep(site_times(state.t, state.x))
        early = self.schedule.keep(site_times(s, state.x))
        return self._likelihood(state.x, torch.where(early > 0.0, late / early.clamp_min(1e-300), 1.0))

    def _evolve(self, law: Tensor, keep: Tensor) -> Tensor:
        """Return a law of shape ``(..., size)`` after the time at which ``keep`` is left."""
        decay, out, into = (each.to(law.device) for each in (self._decay, self._out, self._into))
        moved = (((law.to(out) @ out) * _powers(keep, decay)) @ into).real.clamp_min(0.0)
        return torch.where(keep >= 1.0, law, moved)

    def _likelihood(self, x: Tensor, keep: Tensor) -> Tensor:
        """Return the log of the column of every token in ``x``."""
        keep = keep.expand(x.shape)[..., None]
        decay, out, into = (each.to(keep.device) for each in (self._decay, self._out, self._into))
        columns = into.T[x.to(keep.device).long()]
        column = ((columns * _powers(keep, decay)) @ out.T).real.clamp_min(0.0)
        own = torch.nn.functional.one_hot(x.long(), self.vocab_size).to(column)
        return torch.log(torch.where(keep >= 1.0, own, column))


def _powers(keep: Tensor, decay: Tensor) -> Tensor:
    """Return ``keep ** decay``, at 0 what does not decay."""
    powers = torch.exp(torch.log(keep.clamp_min(1e-300)) * decay)
    return torch.where(keep > 0.0, powers, (decay == 0.0).to(powers))


def _checked_rates(rates: Tensor) -> Tensor:
    """Return a rate matrix in float64 with the diagonal that it has to have."""
    rates = torch.as_tensor(rates).detach().cpu().double().clone()
    if rates.ndim != 2 or rates.shape[0] != rates.shape[1] or len(rates) < 2:
        raise ValueError(
            f"rates must be a square matrix of at least 2 tokens, got shape {tuple(rates.shape)}"
        )
    rates.fill_diagonal_(0.0)
    if not bool(((rates >= 0.0) & rates.isfinite()).all()):
        raise ValueError("rates must be finite and not negative off the diagonal")
    return rates - torch.diag(rates.sum(-1))


def _eigenbasis(rates: Tensor, law: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return decay rates and the matrices V and its inverse; real where the rates are reversible."""
    flow = law[:, None] * rates
    if bool((law > 0.0).all()) and torch.allclose(
        flow, flow.T, rtol=1e-9, atol=1e-12 * float(flow.abs().max())
    ):
        root = torch.sqrt(law)
        symmetric = root[:, None] * rates / root
        values, vectors = torch.linalg.eigh(0.5 * (symmetric + symmetric.T))
        decay, out, into = -values, vectors / root[:, None], vectors.T * root
    else:
        values, out = torch.linalg.eig(rates)
        decay, into = -values, torch.linalg.inv(out)
        if float(out.abs().sum(0).max() * into.abs().sum(0).max()) > 1e8:
            raise ValueError("the rates have no well-conditioned basis of eigenvectors; change them slightly")
    still = decay.abs().argmin()
    decay[still] = 0.0  # exactly, so that nothing else is left where a vanishes
    return decay, out, into

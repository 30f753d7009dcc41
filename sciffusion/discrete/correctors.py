r"""Correctors: moves at one time that bring the law of the tokens closer to that of the process there.

After a predictor step the tokens have a law that is not quite :math:`p_t`. A Gibbs move draws the token of a
site from the noisy conditional

.. math:: G_l(y) = p_t(x_t^l = y \mid x_t^{-l}) = \sum_k Q_l(k)\, q_t(y \mid k),

which leaves :math:`p_t` as it is and takes one network evaluation. Drawing several sites in one move treats
them as independent; the closer they lie, the larger the bias, and more steps do not remove it. Choosing sites
by what the network says of them changes the law whatever their number.

Liang et al., *From Scores to Gibbs Correctors: Accelerating Uniform-Rate Discrete Diffusion Models*, arXiv
2605.27352; Gourevitch et al., arXiv 2605.22765. The corrector that moves by forward and reverse rates is that
of Campbell et al., *A Continuous Time Framework for Discrete Denoising Models*, arXiv 2205.14987.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import Any, Literal, TypeVar

import torch
from torch import Tensor

from sciffusion.discrete.categorical import draw_categorical
from sciffusion.discrete.denoiser import DiscreteDenoiser
from sciffusion.discrete.process import Corrupted as NoisyAt
from sciffusion.discrete.process import site_times
from sciffusion.discrete.site_choice import random_sites, site_sets
from sciffusion.discrete.solvers.base import DiscreteSolver, TokenState, needed_generator
from sciffusion.discrete.solvers.rates import (
    forward_rates,
    jump_log_probabilities,
    require_plain_noise,
    reverse_rates,
)

__all__ = ["CTMCCorrector", "Corrected", "Corrector", "Gibbs"]

S = TypeVar("S", bound=TokenState)


class Corrector(ABC):
    """A move at fixed times.

    Attributes
    ----------
    nfe : int
        Network evaluations of a move.
    biased : bool
        Whether the move changes the law of the process even with one site and an exact denoiser.
    """

    nfe: int = 1
    biased: bool = False

    @abstractmethod
    def choose(self, state: TokenState, generator: torch.Generator) -> Tensor:
        """Return the sites, bool of the shape of ``state.x``, that the move may change."""

    @abstractmethod
    def choices(self, state: TokenState) -> Iterator[tuple[Tensor, float]]:
        """Yield all that `choose` may return for states without known sites, with their probabilities."""

    @abstractmethod
    def log_probabilities(self, state: TokenState, chosen: Tensor, denoiser: DiscreteDenoiser) -> Tensor:
        """Return the log law that each site is drawn from, ``(..., state_size)``, by ``nfe`` evaluations."""

    def correct(self, state: S, denoiser: DiscreteDenoiser) -> S:
        """Make one move.

        Parameters
        ----------
        state : TokenState
            Sites at time 0, known ones among them, stay as they are.
        denoiser : DiscreteDenoiser
            Called ``nfe`` times.
        """
        generator = needed_generator(state)
        law = self.log_probabilities(state, self.choose(state, generator), denoiser)
        return state.moved(draw_categorical(law, generator).to(state.x), state.t, state.history)


def _free(state: TokenState) -> Tensor:
    """Return the sites that are not clean yet."""
    return (site_times(state.t, state.x) > 0.0).expand(state.x.shape).to(state.x.device)


def _only_at(chosen: Tensor, law: Tensor, x: Tensor) -> Tensor:
    """Return a log law with certainty of the present token at the sites that were not chosen."""
    own = torch.nn.functional.one_hot(x.long(), law.shape[-1]).to(law.device).bool()
    return torch.where(chosen[..., None].to(law.device), law, torch.where(own, 0.0, -torch.inf).to(law))


def _require_whole_laws(prediction: Any, process: Any, state: TokenState) -> None:
    """Refuse a denoiser where noisy tokens rule clean ones out, which a conditional needs to know of."""
    if getattr(prediction, "kind", "loo") == "loo":
        return
    half = NoisyAt(state.x, process.schedule.time_of_keep(0.5), state.aux)
    if bool((process.emission_log_likelihood(half) == -torch.inf).any()):
        raise ValueError(
            f"the noisy tokens of {process.name} rule clean ones out, and a denoiser does not tell how "
            'likely other sites alone make those: Gibbs needs predictions of kind "loo", got kind "denoiser"'
        )


class Gibbs(Corrector):
    """Draws a few sites from their noisy conditionals; one evaluation a move.

    One random site a move leaves the law of the process exactly as it is. More sites are drawn independently
    of each other, which is biased unless they are far apart. A process with a mask token has its chosen sites
    masked before the evaluation, since a denoiser does not tell what else could stand at a revealed site.

    .. warning::
       ``select="lowest_margin"`` draws the sites whose token is least certain among all. The choice depends
       on the tokens, so the move does not leave the law of the process as it is: samples gather at its
       modes. They look better by likelihood and are further from the law. Such a corrector carries
       ``biased = True``.

    Parameters
    ----------
    sites : int, default 1
        How many sites a move draws at most.
    spacing : int, optional
        Least distance of two sites of a move; 1 allows any. By default the sites of a sequence divided by
        ``sites``.
    select : {"random", "lowest_margin"}
        How sites are chosen.
    """

    def __init__(
        self,
        sites: int = 1,
        spacing: int | None = None,
        select: Literal["random", "lowest_margin"] = "random",
    ) -> None:
        if sites < 1:
            raise ValueError(f"sites must be at least 1, got {sites}")
        if spacing is not None and spacing < 1:
            raise ValueError(f"spacing must be at least 1, got {spacing}")
        if select not in ("random", "lowest_margin"):
            raise ValueError(f"select must be 'random' or 'lowest_margin', got {select!r}")
        if select == "lowest_margin" and spacing is not None:
            raise ValueError("spacing applies to sites chosen at random, not to select='lowest_margin'")
        self.sites, self.spacing, self.select = sites, spacing, select
        self.biased = select == "lowest_margin"

    def _distance(self, length: int) -> int:
        return max(1, length // self.sites) if self.spacing is None else self.spacing

    def choose(self, state: TokenState, generator: torch.Generator) -> Tensor:
        """Return random sites, or all from which those of lowest margin are chosen."""
        free = _free(state)
        if self.biased:
            return free
        return random_sites(free, self.sites, self._distance(state.x.shape[-1]), generator)

    def choices(self, state: TokenState) -> Iterator[tuple[Tensor, float]]:
        """Yield all sets of sites with their probabilities."""
        if self.biased:
            yield _free(state), 1.0
            return
        length = state.x.shape[-1]
        for chosen, share in site_sets(length, self.sites, self._distance(length)).items():
            mask = torch.zeros(length, dtype=torch.bool, device=state.x.device)
            mask[list(chosen)] = True
            yield mask.expand(state.x.shape), share

    def log_probabilities(self, state: TokenState, chosen: Tensor, denoiser: DiscreteDenoiser) -> Tensor:
        """Return the noisy conditionals at the chosen sites, and the present tokens elsewhere.

        Raises
        ------
        ValueError
            For sites of lowest margin on a process with a mask token, where margins cannot be known, and for
            denoisers of counts (kind "denoiser"), which do not know of smaller counts than are left.
        """
        process: Any = denoiser.path
        require_plain_noise(process, "Gibbs")
        if process.mask_token is None:
            prediction = denoiser(state)
            _require_whole_laws(prediction, process, state)
            law = prediction.noisy_conditional(process, state)
            if self.biased:
                chosen = self._least_certain(law, state.x, chosen)
            return _only_at(chosen, law, state.x)
        if self.biased:
            raise ValueError(
                "select='lowest_margin' compares tokens of unmasked sites, and a denoiser of masked tokens "
                "does not see past them; use select='random'"
            )
        blank = state.moved(torch.where(chosen, process.mask_token, state.x), state.t, state.history)
        return _only_at(chosen, denoiser(blank).noisy_conditional(process, blank), state.x)

    def _least_certain(self, law: Tensor, x: Tensor, free: Tensor) -> Tensor:
        """Return the sites whose token beats the best other one by least."""
        own = torch.nn.functional.one_hot(x.long(), law.shape[-1]).to(law.device).bool()
        best_other = torch.where(own, -torch.inf, law).amax(-1)
        margin = law.gather(-1, x.long()[..., None].to(law.device))[..., 0] - best_other
        margin = torch.where(free.to(law.device), margin, torch.inf)
        lowest = margin.topk(min(self.sites, x.shape[-1]), -1, largest=False).indices
        return torch.zeros_like(free).scatter(-1, lowest.to(free.device), True) & free


class CTMCCorrector(Corrector):
    """A leap of all sites at forward plus reverse rates, for comparison: biased unless the leap is short.

    Parameters
    ----------
    length : float
        Of the leap, in units of minus the log keep probability; above 0.
    """

    biased = True

    def __init__(self, length: float = 0.1) -> None:
        if not length > 0.0:
            raise ValueError(f"length must be positive, got {length}")
        self.length = length

    def choose(self, state: TokenState, generator: torch.Generator) -> Tensor:
        """Return every site that is not clean."""
        return _free(state)

    def choices(self, state: TokenState) -> Iterator[tuple[Tensor, float]]:
        """Yield the only choice."""
        yield _free(state), 1.0

    def log_probabilities(self, state: TokenState, chosen: Tensor, denoiser: DiscreteDenoiser) -> Tensor:
        """Return the law of the leap."""
        process: Any = denoiser.path
        rates = forward_rates(process, state) + reverse_rates(denoiser(state), process, state)
        return _only_at(chosen, jump_log_probabilities(rates, state.x, self.length), state.x)


class Corrected(DiscreteSolver):
    """A solver with moves of a corrector after each of its steps but the one to time 0.

    Parameters
    ----------
    predictor : DiscreteSolver
        Makes the steps.
    corrector : Corrector
        Makes the moves.
    moves : int, default 1
        Moves after a step; counted in ``nfe``.
    """

    def __init__(self, predictor: DiscreteSolver, corrector: Corrector, moves: int = 1) -> None:
        if moves < 1:
            raise ValueError(f"moves must be at least 1, got {moves}")
        self.predictor, self.corrector, self.moves = predictor, corrector, moves
        self.nfe = predictor.nfe + moves * corrector.nfe
        self.nfe_saved = predictor.nfe_saved + moves * corrector.nfe

    @property
    def biased(self) -> bool:
        """Whether the corrector is."""
        return self.corrector.biased

    def step(self, state: S, t_next: Tensor, denoiser: DiscreteDenoiser) -> S:
        """Step and correct (see `DiscreteSolver.step`)."""
        state = self.predictor.step(state, t_next, denoiser)
        if bool((state.t > 0.0).any()):
            for _ in range(self.moves):
                state = self.corrector.correct(state, denoiser)
        return state

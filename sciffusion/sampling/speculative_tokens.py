r"""Drafts from a diffusion verified by an autoregressive target, with exactly the target's law.

The target gives :math:`p_l(\cdot \mid x_{<l})` for every site of a sequence in one evaluation, but needs the
sites before it. A masked diffusion gives in one evaluation a law :math:`q_l` for every masked site, given the
known ones alone. So the next d sites are drawn from q, and one evaluation of the target judges them: from
left to right, site l is accepted where :math:`u_l < p_l(y_l) / q_l(y_l)` with u uniform. The first that is
not is drawn from :math:`(p_l - q_l)_+` instead, normalised, and what follows it is dropped; where all are
accepted, the target's law of the next site gives one more. Every site then has the law
:math:`p_l(\cdot \mid x_{<l})`, whatever q is, since

.. math:: q \min(1, p/q) + \Bigl(1 - \sum \min(p, q)\Bigr) \frac{(p - q)_+}{\sum (p - q)_+} = p .

Leviathan et al., *Fast Inference from Transformers via Speculative Decoding*, arXiv 2211.17192; Christopher
et al., *Speculative Diffusion Decoding*, arXiv 2408.05636 (drafts by a masked diffusion).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor

from sciffusion.discrete.categorical import draw_categorical
from sciffusion.sampling.state import State

__all__ = ["SpeculativeTokens", "speculative_tokens"]


class _Denoiser(Protocol):
    @property
    def path(self) -> Any: ...

    def __call__(self, state: Any, condition: Any = None, cache: Any = None) -> Any: ...


class SpeculativeTokens(NamedTuple):
    """Sequences with the target's law, and what they cost.

    Parameters
    ----------
    samples : Tensor of int64, shape ``(items, length)``
        Tokens.
    target_nfe, draft_nfe : int
        Evaluations of the target and of the denoiser, one after the other.
    accepted : float
        Share of the judged drafts that were accepted.
    """

    samples: Tensor
    target_nfe: int
    draft_nfe: int
    accepted: float


def speculative_tokens(
    target: Callable[[Tensor], Tensor],
    denoiser: _Denoiser,
    items: int,
    length: int,
    *,
    generator: torch.Generator,
    draft: int = 4,
    prompt: Tensor | None = None,
    device: torch.device | str = "cpu",
) -> SpeculativeTokens:
    """Draw sequences from an autoregressive target with drafts of a masked diffusion.

    Parameters
    ----------
    target : callable
        From tokens ``(items, n)`` to log laws ``(items, n, vocab_size)``, that of each site given the tokens
        before it; it must not look at a site itself or those after it.
    denoiser : Denoiser
        On a process with masks; sees ``(items, length)`` tokens of which those not yet drawn are masked.
    items, length : int
        Shape of the result.
    generator : torch.Generator
        Source of randomness.
    draft : int, default 4
        Sites drafted in one evaluation.
    prompt : Tensor of int64, shape ``(items, tokens)``, optional
        Known beginning.
    device
        Of the tokens.

    Raises
    ------
    TypeError
        For a process without masks.
    ValueError
        For a draft below 1, or a prompt whose shape does not fit.
    """
    mask = denoiser.path.mask_token
    if mask is None:
        raise TypeError("drafts need a process with a mask token, given the sites before them alone")
    if draft < 1:
        raise ValueError(f"draft must be at least 1, got {draft}")
    tokens = torch.full((items, length), mask, dtype=torch.int64, device=device)
    done = torch.zeros(items, dtype=torch.int64, device=device)
    if prompt is not None:
        if prompt.ndim != 2 or len(prompt) != items or prompt.shape[1] > length:
            raise ValueError(f"prompt must have shape ({items}, at most {length}), got {tuple(prompt.shape)}")
        tokens[:, : prompt.shape[1]] = prompt.to(tokens)
        done += prompt.shape[1]
    rounds, judged, accepted = 0, 0, 0
    with torch.inference_mode():
        while bool((done < length).any()):
            drafted, proposal = _draft(denoiser, tokens, done, draft, generator)
            # Masks beyond the draft are no tokens of the target; what stands there cannot matter.
            wanted = _law(target, torch.where(drafted == mask, 0, drafted), done, draft)
            count, tokens = _judged(wanted, proposal, drafted, done, generator, mask)
            open_sites = (length - done).clamp(0, draft)
            judged += int(torch.minimum(count + 1, open_sites).sum())
            accepted += int(torch.minimum(count, open_sites).sum())
            done = (done + count + 1).clamp_max(length)
            rounds += 1
    return SpeculativeTokens(tokens, rounds, rounds, accepted / max(judged, 1))


def _sites(done: Tensor, count: int, length: int) -> Tensor:
    """Return the next ``count`` sites of each item, those past the end held at the last one."""
    return (done[:, None] + torch.arange(count, device=done.device)).clamp_max(length - 1)


def _draft(
    denoiser: _Denoiser, tokens: Tensor, done: Tensor, draft: int, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Draw the next sites of each item; return the tokens with them, and their log laws."""
    length = tokens.shape[1]
    known = torch.arange(length, device=tokens.device) < done[:, None]
    times = torch.where(known, 0.0, 1.0).double()
    laws = denoiser(State(x=tokens, t=times, known=known)).log_probabilities
    drawn = torch.where(known, tokens, draw_categorical(laws, generator).to(tokens))
    near = torch.arange(length, device=tokens.device) < (done + draft)[:, None]
    proposal = laws.gather(1, _spread(_sites(done, draft, length), laws))
    return torch.where(near, drawn, tokens), proposal


def _law(target: Callable[[Tensor], Tensor], drafted: Tensor, done: Tensor, draft: int) -> Tensor:
    """Return the target's log laws of the drafted sites and the one after them."""
    laws = target(drafted).double()
    return laws.gather(1, _spread(_sites(done, draft + 1, drafted.shape[1]), laws))


def _spread(sites: Tensor, laws: Tensor) -> Tensor:
    return sites[..., None].expand(-1, -1, laws.shape[-1])


def _judged(
    wanted: Tensor, proposal: Tensor, drafted: Tensor, done: Tensor, generator: torch.Generator, mask: int
) -> tuple[Tensor, Tensor]:
    """Return how many drafts of each item are accepted, and the tokens with the site after them drawn."""
    items, draft = proposal.shape[:2]
    length = drafted.shape[1]
    own = drafted.gather(1, _sites(done, draft, length))[..., None]
    own = own.clamp_max(proposal.shape[-1] - 1)
    ratio = torch.exp(wanted[:, :draft].gather(-1, own) - proposal.gather(-1, own))[..., 0]
    uniforms = torch.rand(items, draft, generator=generator, dtype=torch.float64, device=generator.device)
    count = (uniforms.to(ratio.device) < ratio).long().cumprod(-1).sum(-1)
    # After the last draft there is nothing to subtract: the target's law itself.
    nothing = torch.full_like(proposal[:, :1], -torch.inf)
    place = count[:, None, None].expand(-1, 1, wanted.shape[-1])
    law, against = (
        torch.exp(part.gather(1, place)[:, 0]) for part in (wanted, torch.cat([proposal, nothing], dim=1))
    )
    rest = (law - against).clamp_min(0.0)
    # Where both laws are equal nothing is ever rejected, but for rounding.
    rest = torch.where(rest.sum(-1, keepdim=True) > 0.0, rest, law)
    following = draw_categorical(torch.log(rest), generator).to(drafted)
    sites = torch.arange(length, device=drafted.device)
    at = (done + count)[:, None]
    tokens = torch.where(sites < at, drafted, torch.where(sites == at, following[:, None], mask))
    finished = (done >= length)[:, None]
    return count, torch.where(finished, drafted, tokens)

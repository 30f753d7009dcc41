r"""Score functions as DriftLite needs them: value, divergence and, where known, log density.

The divergence of a score comes from the user, from the exact target, or from differentiation: exactly (one
backward pass a coordinate) or by Hutchinson's probes.  For a denoiser D the score is :math:`s = (\alpha D -
x) / \sigma^2`, hence :math:`\operatorname{div} s = (\alpha \operatorname{div} D - d)/\sigma^2`, and only D is
probed: the large constant adds no variance.

Systems that live in a linear subspace (particles whose centre of mass is fixed) give the orthogonal
projection P onto it and its dimension d.  The field is then :math:`P s(P x)`, whose divergence is that within
the subspace.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor

from sciffusion.continuous.divergence import divergence
from sciffusion.continuous.path import Path, align
from sciffusion.sampling.state import State

__all__ = ["DenoiserField", "FunctionField", "ScoreField", "ScoreValues", "Subspace"]

TimedFunction = Callable[[Tensor, Tensor], Tensor]


class ScoreValues(NamedTuple):
    """A score ``(batch, ...)`` with its divergence and the log density ``(batch,)`` where asked for."""

    score: Tensor
    divergence: Tensor | None = None
    log_density: Tensor | None = None


class ScoreField(Protocol):
    """A score function that can also tell its divergence."""

    @property
    def knows_log_density(self) -> bool:
        """Whether log densities can be asked for."""
        ...

    def evaluate(
        self, x: Tensor, t: Tensor, *, with_divergence: bool, with_log_density: bool,
        generator: torch.Generator,
    ) -> ScoreValues:  # fmt: skip
        """Return the score at values ``(batch, ...)`` and one time, a scalar."""
        ...


@dataclass(frozen=True)
class Subspace:
    """The linear subspace in which a system lives.

    Parameters
    ----------
    project : callable, optional
        Orthogonal projection of values ``(batch, ...)``; None for the whole space.
    dim : int, optional
        Dimension of the subspace, needed with a projection; for n particles in three dimensions whose centre
        of mass is fixed ``3 (n - 1)``.
    """

    project: Callable[[Tensor], Tensor] | None = None
    dim: int | None = None

    def __post_init__(self) -> None:
        if (self.project is None) != (self.dim is None):
            raise ValueError("give project and effective_dim together: the projection and its dimension")
        if self.dim is not None and self.dim < 1:
            raise ValueError(f"effective_dim must be positive, got {self.dim}")

    def __call__(self, x: Tensor) -> Tensor:
        """Return the projection of values."""
        return x if self.project is None else self.project(x)

    def dimension(self, x: Tensor) -> int:
        """Return the number of dimensions of one item."""
        return x[0].numel() if self.dim is None else self.dim


def check_shape(values: Any, expected: tuple[int, ...], name: str) -> Tensor:
    """Return ``values``, or raise ``TypeError`` or ``ValueError`` unless a tensor of the expected shape."""
    if not isinstance(values, Tensor):
        raise TypeError(
            f"{name} must return a Tensor of shape {tuple(expected)}, got {type(values).__name__}"
        )
    if tuple(values.shape) != tuple(expected):
        raise ValueError(f"{name} must return shape {tuple(expected)}, got {tuple(values.shape)}")
    return values


def check_finite(values: Tensor | None, name: str) -> None:
    """Raise ``ValueError`` naming the first particle for which ``values`` ``(batch, ...)`` are not finite."""
    if values is None:
        return
    wrong = ~values.isfinite().reshape(values.shape[0], -1).all(-1)
    if bool(wrong.any()):
        raise ValueError(
            f"{name} is not finite for particle {int(wrong.nonzero()[0])} of the batch "
            f"({int(wrong.sum())} of {values.shape[0]} in all); expected finite numbers"
        )


@dataclass(frozen=True)
class FunctionField:
    """An outside score function.

    Parameters
    ----------
    score : callable
        From values ``(batch, ...)`` and a time (a scalar tensor of the type of the values) to scores.
    divergence, log_density : callable, optional
        From the same to one value an item.
    n_probes : int, optional
        Hutchinson probes for a divergence that is not given; None differentiates exactly.
    subspace : Subspace
        Where the system lives.
    """

    score: TimedFunction
    divergence: TimedFunction | None = None
    log_density: TimedFunction | None = None
    n_probes: int | None = None
    subspace: Subspace = Subspace()

    @property
    def knows_log_density(self) -> bool:
        """Whether a log density was given."""
        return self.log_density is not None

    def evaluate(
        self, x: Tensor, t: Tensor, *, with_divergence: bool, with_log_density: bool,
        generator: torch.Generator,
    ) -> ScoreValues:  # fmt: skip
        """Return what the functions say (see `ScoreField.evaluate`)."""
        time, total = t.to(x.dtype).to(x.device), None

        def field(values: Tensor) -> Tensor:
            score = self.score(self.subspace(values), time)
            return self.subspace(check_shape(score, values.shape, "score"))

        if with_divergence and self.divergence is None:
            score, total = divergence(field, x, n_probes=self.n_probes, generator=generator)
        else:
            score = field(x)
        if with_divergence and self.divergence is not None:
            total = check_shape(self.divergence(x, time), x.shape[:1], "divergence")
        log_density = None
        if with_log_density and self.log_density is not None:
            log_density = check_shape(self.log_density(x, time), x.shape[:1], "log_density")
        return ScoreValues(score, total, log_density)


@dataclass(frozen=True)
class DenoiserField:
    """The score of a denoiser, learned or exact.

    Parameters
    ----------
    denoiser : Denoiser
        Its ``score_divergence(x, t)`` and ``log_density(x, t)`` are used where it has them.
    condition : object, optional
        Passed to the denoiser.
    n_probes, subspace
        As for `FunctionField`.
    """

    denoiser: Any
    condition: Any = None
    n_probes: int | None = None
    subspace: Subspace = Subspace()

    @property
    def knows_log_density(self) -> bool:
        """Whether the denoiser has a ``log_density``."""
        return hasattr(self.denoiser, "log_density")

    def evaluate(
        self, x: Tensor, t: Tensor, *, with_divergence: bool, with_log_density: bool,
        generator: torch.Generator,
    ) -> ScoreValues:  # fmt: skip
        """Return score and divergence by way of the clean estimate (see `ScoreField.evaluate`)."""
        path: Path = self.denoiser.path
        c = path.coefficients(t)
        alpha, sigma = align(c.alpha, x), align(c.sigma, x)

        def clean(values: Tensor) -> Tensor:
            inside = self.subspace(values)
            mean: Tensor = self.denoiser(State(inside, t), self.condition).to("x0", c, inside).value
            return self.subspace(mean)

        total = None
        if with_divergence and not hasattr(self.denoiser, "score_divergence"):
            mean, of_mean = divergence(clean, x, n_probes=self.n_probes, generator=generator)
            scale, noise = align(c.alpha, of_mean), align(c.sigma, of_mean)
            total = (scale * of_mean - self.subspace.dimension(x)) / noise**2
        else:
            mean = clean(x)
            if with_divergence:
                total = self.denoiser.score_divergence(x, t)
        log_density = self.denoiser.log_density(x, t) if with_log_density else None
        return ScoreValues((alpha * mean - self.subspace(x)) / sigma**2, total, log_density)

r"""Laws that every denoiser obeys, exact, learned or wrapped.

With a target whose posterior mean :math:`D^*` is known, the quality of a denoiser D is its excess loss

.. math::
   E|D(x_t, t) - x_0|^2 - E|D^*(x_t, t) - x_0|^2 = E|D(x_t, t) - D^*(x_t, t)|^2 ,

averaged without the noise of the loss itself.  The posterior mean has a symmetric Jacobian, for it is
:math:`x/\alpha` plus a gradient; :math:`u^\top J v = v^\top J u` for all directions tests it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, get_args

import torch
from torch import Tensor

from sciffusion.continuous.denoiser import Denoiser
from sciffusion.continuous.prediction import PredictionKind
from sciffusion.exact.target import ExactDenoiser, ExactTarget
from sciffusion.sampling.state import State

__all__ = ["assert_denoiser_laws", "excess_loss"]


def excess_loss(
    denoiser: Denoiser,
    target: ExactTarget,
    t: float,
    generator: torch.Generator,
    *,
    count: int = 2048,
    condition: Any = None,
    dtype: torch.dtype = torch.float64,
) -> float:
    """Return how far a denoiser's loss lies above the smallest one possible, relative to the data's variance.

    Parameters
    ----------
    denoiser : Denoiser
        Of data vectors ``(count, dim)``.
    target : ExactTarget
        Law of the data.
    t : float
        Time.
    generator : torch.Generator
        For the noisy values.
    count : int, default 2048
        Number of noisy values.
    condition : object, optional
        Passed to the denoiser.
    dtype : torch.dtype, default float64
        Of the values given to the denoiser.

    Returns
    -------
    float
        ``E|D - D*|^2 / tr Cov(x0)``.
    """
    exact = ExactDenoiser(target, denoiser.path)
    x = exact.draw_marginal(count, t, generator).to(dtype)
    with torch.no_grad():
        gap = _mean(denoiser, x, t, condition) - exact.predict(x, t).value
    spread = target.draw(count, generator).var(0).sum()
    return float((gap.to(torch.float64) ** 2).sum(-1).mean() / spread)


def assert_denoiser_laws(
    denoiser: Denoiser,
    shape: Sequence[int] | None = None,
    *,
    target: ExactTarget | None = None,
    max_excess: float | None = None,
    symmetry: float | None = None,
    condition: Any = None,
    ends: Sequence[float] = (0.0, 1.0),
    dtype: torch.dtype = torch.float64,
    tolerance: float = 1e-6,
) -> None:
    """Check that a denoiser keeps its promises.

    The laws: it is pure (same state in, same prediction out; its input is not changed); its prediction has
    the shape and type of the state, and every form of it satisfies ``x = alpha x0 + sigma eps``; its mean is
    finite at both ends of time; items do not influence each other; equal times per item, of shape
    ``(count,)`` or ``(count, 1, ...)``, agree with a scalar one.  With a target its loss may exceed the
    optimal one only by ``max_excess``, and if asked its Jacobian must be symmetric.

    Parameters
    ----------
    denoiser : Denoiser
        The denoiser to check.
    shape : sequence of int, optional
        Shape of one item; ``(target.dim,)`` if a target is given.
    target : ExactTarget, optional
        Law of the data, for the excess loss and for realistic states.
    max_excess : float, optional
        Largest `excess_loss` allowed at ``t`` = .1, .3, .5, .7 and .9; needs a target.
    symmetry : float, optional
        Largest relative asymmetry of the Jacobian allowed.  Networks are not conservative: none by default.
    condition : object, optional
        Passed to the denoiser; it must be one that fits every batch size.
    ends : sequence of float, default (0, 1)
        Times at which the mean must be finite.  Networks that predict the noise have none where there is no
        signal: give ``(0, 0.99)`` for them.
    dtype : torch.dtype, default float64
        Of the states; networks usually want float32, with a ``tolerance`` of 1e-4.
    tolerance : float, default 1e-6
        Relative and absolute difference allowed between two ways to the same number.

    Raises
    ------
    AssertionError
        Naming the law that fails.
    ValueError
        If neither a shape nor a target is given, or a largest excess without a target.
    """
    if shape is None and target is None:
        raise ValueError("give the shape of one item, or a target")
    if max_excess is not None and target is None:
        raise ValueError("max_excess needs a target, got None")
    generator = torch.Generator().manual_seed(0)
    x = _states(denoiser, shape, target, generator).to(dtype)
    times = torch.linspace(0.1, 0.9, x.shape[0], dtype=torch.float64)
    _check_purity(denoiser, x, condition)
    _check_forms(denoiser, x, times, condition, tolerance)
    _check_ends(denoiser, x, ends, condition)
    _check_items(denoiser, x, times, condition, tolerance)
    _check_times(denoiser, x, condition, tolerance)
    if symmetry is not None:
        _check_symmetry(denoiser, x, condition, symmetry, generator)
    if max_excess is not None and target is not None:
        for t in (0.1, 0.3, 0.5, 0.7, 0.9):
            excess = excess_loss(denoiser, target, t, generator, condition=condition, dtype=dtype)
            if not excess <= max_excess:
                raise AssertionError(f"excess loss {excess:.3g} at t={t} is above {max_excess:.3g}")


def _states(
    denoiser: Denoiser, shape: Sequence[int] | None, target: ExactTarget | None, generator: torch.Generator
) -> Tensor:
    if target is not None:
        return ExactDenoiser(target, denoiser.path).draw_marginal(9, 0.4, generator)
    return torch.randn(9, *(shape or ()), generator=generator, dtype=torch.float64)


def _mean(denoiser: Denoiser, x: Tensor, t: Tensor | float, condition: Any) -> Tensor:
    state = State(x=x, t=torch.as_tensor(t, dtype=torch.float64))
    prediction = denoiser(state, condition)
    return prediction.to("x0", denoiser.path.coefficients(state.t), x).value


def _check_purity(denoiser: Denoiser, x: Tensor, condition: Any) -> None:
    kept = x.clone()
    with torch.no_grad():
        first = _mean(denoiser, x, 0.4, condition)
        _mean(denoiser, x + 1.0, 0.7, condition)
        second = _mean(denoiser, x, 0.4, condition)
    if not torch.equal(first, second) or not torch.equal(x, kept):
        raise AssertionError("a denoiser must be pure: it remembers an earlier call or changes its input")
    if first.shape != x.shape or first.dtype != x.dtype:
        raise AssertionError(
            f"a prediction must have shape and type of the state, {tuple(x.shape)} {x.dtype}; "
            f"got {tuple(first.shape)} {first.dtype}"
        )


def _check_forms(denoiser: Denoiser, x: Tensor, times: Tensor, condition: Any, tolerance: float) -> None:
    c = denoiser.path.coefficients(times)
    with torch.no_grad():
        prediction = denoiser(State(x=x, t=times), condition)
    for kind in get_args(PredictionKind):
        form = prediction.to(kind, c, x)
        clean, noise = form.to("x0", c, x).value, form.to("eps", c, x).value
        _assert_close(
            denoiser.path.marginal(clean, times, noise), x, tolerance,
            f"x = alpha x0 + sigma eps in the form {kind!r}",
        )  # fmt: skip
        _assert_close(form.to(prediction.kind, c, x).value, prediction.value, tolerance,
                      f"conversion to {kind!r} and back")  # fmt: skip


def _check_ends(denoiser: Denoiser, x: Tensor, ends: Sequence[float], condition: Any) -> None:
    for end in ends:
        with torch.no_grad():
            if not bool(_mean(denoiser, x, end, condition).isfinite().all()):
                raise AssertionError(f"the mean must be finite at t={end}")


def _check_items(denoiser: Denoiser, x: Tensor, times: Tensor, condition: Any, tolerance: float) -> None:
    with torch.no_grad():
        whole = _mean(denoiser, x, times, condition)
        for start, stop in ((0, 4), (4, 9)):
            part = _mean(denoiser, x[start:stop], times[start:stop], condition)
            _assert_close(part, whole[start:stop], tolerance, "items must not influence each other")
        for index in (0, 5):
            single = _mean(denoiser, x[index : index + 1], times[index], condition)
            _assert_close(
                single, whole[index : index + 1], tolerance, "times of items agree with scalar ones"
            )


def _check_times(denoiser: Denoiser, x: Tensor, condition: Any, tolerance: float) -> None:
    with torch.no_grad():
        scalar = _mean(denoiser, x, 0.4, condition)
        for shape in (x.shape[:1], x.shape[:1] + (1,) * (x.ndim - 1)):
            wide = _mean(denoiser, x, torch.full(shape, 0.4, dtype=torch.float64), condition)
            _assert_close(wide, scalar, tolerance, "equal times for every item agree with a scalar one")


def _check_symmetry(
    denoiser: Denoiser, x: Tensor, condition: Any, limit: float, generator: torch.Generator
) -> None:
    for t in (0.2, 0.6):
        leaf = x.detach().clone().requires_grad_(True)
        mean = _mean(denoiser, leaf, t, condition)
        u, v = torch.randn(2, *x.shape, generator=generator, dtype=torch.float64).to(x)
        rows = [torch.autograd.grad(mean, leaf, probe, retain_graph=True)[0] for probe in (u, v)]
        axes = tuple(range(1, x.ndim))
        gap = (rows[0] * v).sum(axes) - (rows[1] * u).sum(axes)
        # |u^T J| |v| bounds what symmetric parts contribute.
        size = (rows[0].square().sum(axes) * v.square().sum(axes)).sqrt()
        worst = float((gap.square().mean() / size.square().mean().clamp_min(1e-300)).sqrt())
        if not worst <= limit:
            raise AssertionError(f"the Jacobian at t={t} must be symmetric: relative asymmetry {worst:.3g}")


def _assert_close(actual: Tensor, expected: Tensor, tolerance: float, law: str) -> None:
    if not torch.allclose(actual, expected, rtol=tolerance, atol=tolerance):
        gap = float((actual - expected).abs().max())
        raise AssertionError(f"{law}: largest difference {gap:.3g}")

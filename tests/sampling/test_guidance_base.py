"""How guidance composes and how its evaluations are counted."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import pytest
import torch

from sciffusion.continuous import ContinuousPrediction, Euler, VariancePreserving
from sciffusion.exact import ExactDenoiser, GaussianTarget
from sciffusion.sampling import State, sample, uniform_grid
from sciffusion.sampling.guidance import Guidance, GuidedDenoiser

PATH = VariancePreserving()
DENOISER = ExactDenoiser(GaussianTarget.isotropic(2), PATH)
STATE = State(x=torch.ones(3, 2, dtype=torch.float64), t=torch.tensor(0.5, dtype=torch.float64))


@dataclass
class Affine(Guidance):
    """Maps the clean estimate to ``scale * estimate + shift``."""

    scale: float = 1.0
    shift: float = 0.0
    nfe: int = 1
    calls: int | None = None

    def on_prediction(self, denoiser: Any, state: Any, condition: Any = None, cache: Any = None) -> Any:
        for _ in range(self.calls or self.nfe):
            prediction = denoiser(state, condition, cache)
        return ContinuousPrediction(self.scale * prediction.value + self.shift, "x0")


class Differentiating(Affine):
    """Needs a gradient of the clean estimate."""

    differentiates = True

    def on_prediction(self, denoiser: Any, state: Any, condition: Any = None, cache: Any = None) -> Any:
        with torch.enable_grad():
            x = state.x.detach().requires_grad_(True)
            value = denoiser(replace(state, x=x), condition, cache).value
            (slope,) = torch.autograd.grad(value.sum(), x)
        return ContinuousPrediction(value.detach() + slope, "x0")


def test_the_first_guidance_is_next_to_the_denoiser():
    plain = DENOISER(STATE).value
    guided = GuidedDenoiser(DENOISER, [Affine(shift=1.0), Affine(scale=2.0)])
    torch.testing.assert_close(guided(STATE).value, 2.0 * (plain + 1.0))
    assert torch.equal(GuidedDenoiser(DENOISER, ())(STATE).value, plain)


def test_the_evaluations_of_all_guidances_count():
    start = State(x=STATE.x)
    guidance = [Affine(nfe=2), Affine(nfe=3)]
    result = sample(DENOISER, Euler(), uniform_grid(4), state=start, guidance=guidance)
    assert result.nfe == 4 * 6
    with pytest.raises(RuntimeError, match="made 2 evaluations in a step and declares 1"):
        sample(DENOISER, Euler(), uniform_grid(4), state=start, guidance=Affine(nfe=1, calls=2))


def test_a_guidance_can_take_gradients_in_a_run():
    result = sample(DENOISER, Euler(), uniform_grid(4), state=State(x=STATE.x), guidance=Differentiating())
    plain = sample(DENOISER, Euler(), uniform_grid(4), state=State(x=STATE.x))
    assert not torch.equal(result.samples, plain.samples)


def test_what_is_no_guidance_is_refused():
    with pytest.raises(TypeError, match="guidance must be a Guidance or a sequence of them, got NoneType"):
        GuidedDenoiser(DENOISER, None)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="guidance must be a Guidance"):
        sample(DENOISER, Euler(), uniform_grid(4), state=State(x=STATE.x), guidance=[3])  # type: ignore[list-item]

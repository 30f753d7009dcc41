r"""
How fast solvers converge
=========================

A solver of order :math:`p` makes an error that falls like :math:`n^{-p}` with the number of steps
:math:`n`. With a trained network the order is hidden under the network's own error. With a target whose
flow is known in closed form it can be measured: here a mixture of two normal laws in one dimension, whose
exact denoiser takes the network's place.
"""

from __future__ import annotations

from typing import Any

import matplotlib.pyplot as plt
import torch

from sciffusion.continuous import DPMSolverMultistep, Euler, Heun, Solver, VariancePreserving
from sciffusion.exact import ExactDenoiser, GaussianMixtureTarget
from sciffusion.sampling import uniform_grid
from sciffusion.testing import assert_order, measure_order

# %%
# The target and its exact denoiser
# ---------------------------------
#
# Integration starts at :math:`t = 0.9` from a few fixed values. Where they end at :math:`t = 0.05` is known
# exactly: the flow keeps the probability to the left of each value.

means = torch.tensor([-1.5, 1.0], dtype=torch.float64)
stds = torch.tensor([0.5, 0.8], dtype=torch.float64)
target = GaussianMixtureTarget.from_stds([0.4, 0.6], means, stds)
denoiser = ExactDenoiser(target, VariancePreserving())

START_TIME, END_TIME = 0.9, 0.05
start = torch.linspace(-2.0, 2.0, 9, dtype=torch.float64)[:, None]
exact = denoiser.flow_map(start, START_TIME, END_TIME)


def grid_of(n_steps: int) -> torch.Tensor:
    """Return equally spaced times between the two ends."""
    return uniform_grid(n_steps, start=START_TIME, end=END_TIME)


# %%
# Errors at equal cost
# --------------------
#
# Costs are compared in network evaluations (nfe), not in steps: a step of Heun's method takes two.

solvers = {
    "Euler, order 1": Euler(),
    "Heun, order 2": Heun(),
    "DPM++ multistep, order 2": DPMSolverMultistep(order=2),
    "DPM++ multistep, order 3": DPMSolverMultistep(order=3),
}
steps = (8, 16, 32, 64, 128, 256)

figure, axes = plt.subplots(figsize=(6.5, 4.2), layout="constrained")
for name, solver in solvers.items():
    measured = measure_order(solver, denoiser, start, exact, steps, grid_of)
    axes.loglog([solver.nfe * n for n in measured.steps], measured.errors, marker="o", label=name)
    print(f"{name:26} observed order {measured.orders[-1]:.2f}")
axes.set(xlabel="network evaluations", ylabel="largest error", title="Error against cost on an exact mixture")
axes.legend()
plt.show()

# %%
# At eight evaluations no method has reached its order yet, and Euler's is no worse than the others. From some
# thirty on the third-order multistep method is ahead, at one evaluation a step.

# %%
# A solver of your own, and a mistake in it
# -----------------------------------------
#
# ``assert_order`` puts any solver through a problem of this kind; no target is needed. Below is the two-step
# Adams-Bashforth method for the straightened flow
#
# .. math:: \frac{d}{dl}\frac{x}{\alpha} = \varepsilon, \qquad l = \frac{\sigma}{\alpha},
#
# with the weight of its correction as an argument: 1/2 is right.


class TwoStep(Solver):
    """Adams-Bashforth of order 2 in the predicted noise; its first step is Euler's."""

    order = 2

    def __init__(self, weight: float = 0.5) -> None:
        self.weight = weight

    def step(self, state: Any, t_next: torch.Tensor, denoiser: Any) -> Any:
        """Make one step; what the next one needs goes into the history of the state."""
        here, there = denoiser.path.coefficients(state.t), denoiser.path.coefficients(t_next)
        noise = denoiser(state).to("eps", here, state.x).value
        place, width = here.noise_to_signal, there.noise_to_signal - here.noise_to_signal
        slope = noise
        if state.history:
            old_noise, old_place = state.history[-1]
            slope = noise + self.weight * width * (noise - old_noise) / (place - old_place)
        x = there.alpha * (state.x / here.alpha + width * slope)
        return state.moved(x, t_next, ((noise, place),))


print("right:", assert_order(TwoStep()).orders)
for wrong in (0.0, 0.4, 1.0):
    try:
        assert_order(TwoStep(wrong))
    except AssertionError as refusal:
        print(f"weight {wrong}: {refusal}")

# %%
# Samples of the wrong methods look right, and their errors fall, too. Only the rate tells: a widely used
# library has shipped a "second-order" sampler with such a mistake.

figure, axes = plt.subplots(figsize=(6.5, 4.2), layout="constrained")
for weight, colour in ((0.5, "#2a6f97"), (0.4, "#e0a458"), (0.0, "#c1440e")):
    measured = measure_order(TwoStep(weight), denoiser, start, exact, steps, grid_of)
    label = f"weight {weight:g}: order {measured.orders[-1]:.2f}"
    axes.loglog(measured.steps, measured.errors, marker="o", color=colour, label=label)
axes.set(
    xlabel="network evaluations", ylabel="largest error", title="One wrong number in a second-order method"
)
axes.legend()
plt.show()

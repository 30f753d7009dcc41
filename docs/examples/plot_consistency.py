r"""
From noise to data in one evaluation
====================================

A solver follows the probability flow in many small steps. A *flow map* goes to the end at once. For a mixture
in one dimension the exact map is known: it keeps the probability to the left of every value. Here a
consistency model learns it from a frozen denoiser, on the trigonometric path, without ever being shown a
solved curve.
"""

from __future__ import annotations

import matplotlib.pyplot as plt
import torch

from sciffusion.continuous import ConsistencyModel, ConsistencyObjective, Euler, ExactFlowMap, Trigonometric
from sciffusion.exact import ExactDenoiser, GaussianMixtureTarget
from sciffusion.networks import TwoTimeMLP
from sciffusion.sampling import State, few_step_sample, sample, uniform_grid
from sciffusion.training import LogNormalNoise, TrainingOptions, fit_network

means = torch.tensor([-1.2, 1.0], dtype=torch.float64)
stds = torch.tensor([0.4, 0.5], dtype=torch.float64)
target = GaussianMixtureTarget.from_stds([0.4, 0.6], means, stds)
path = Trigonometric()
denoiser = ExactDenoiser(target, path)

# %%
# Training
# --------
#
# The objective asks that the model's answer does not change along the flow. Its derivative along the flow
# comes from one forward-mode pass through the network; at the exact map it is zero. The answer at time 0 is
# the state itself by construction, so nothing else has to be asked.

rows = target.draw(20_000, torch.Generator().manual_seed(0)).float()
network = TwoTimeMLP(1, width=48, depth=3, n_times=1, generator=torch.Generator().manual_seed(1))
model = ConsistencyModel(network, path, data_std=float(rows.std()))
times = LogNormalNoise(time_of_log_snr=path.time_of_log_snr, location=0.3, scale=1.2)
objective = ConsistencyObjective(times, teacher=denoiser, warmup_updates=400)
options = TrainingOptions(
    max_steps=800,
    batch_size=512,
    learning_rate=2e-3,
    learning_rate_schedule="cosine",
    ema_relative_std=0.1,
    warmup_steps=30,
    evaluate_every=800,
    threads=1,
)
fit_network(model, objective, (rows,), options=options, seed=0)

# %%
# The map that it learned
# -----------------------
#
# The flow pulls the values apart where the two modes part. The straight line is what one Euler step does with
# the exact denoiser: everything goes to about the mean.

START = 0.95
values = torch.linspace(-2.5, 2.5, 201)[:, None]
exact = ExactFlowMap(denoiser)(values, START, 0.0)
with torch.no_grad():
    learned = model(values, START)
one_step = sample(denoiser, Euler(), uniform_grid(1, START), state=State(x=values)).samples

figure, (map_axes, *panels) = plt.subplots(1, 3, figsize=(10.5, 3.5), layout="constrained")
map_axes.plot(values[:, 0], exact[:, 0], color="black", linewidth=3, alpha=0.4, label="exact flow map")
map_axes.plot(values[:, 0], learned[:, 0], color="C1", label="consistency model")
map_axes.plot(values[:, 0], one_step[:, 0], color="C0", linestyle="--", label="one Euler step")
map_axes.set(xlabel="noise at t = 0.95", ylabel="data", title="One evaluation each")
map_axes.legend(fontsize="small")
# sphinx_gallery_defer_figures

# %%
# Samples at equal cost
# ---------------------
#
# With two evaluations the consistency model jumps, puts noise back, and jumps again; Euler's method takes two
# steps with the exact denoiser. Training for some minutes instead of seconds brings the jumps to the truth.

start = denoiser.draw_marginal(20_000, START, torch.Generator().manual_seed(2)).float()
grid = uniform_grid(2, START)
generator = torch.Generator().manual_seed(3)
jumps = few_step_sample(model, grid, state=State(x=start), generator=generator)
steps = sample(denoiser, Euler(), grid, state=State(x=start))

clean, no_noise = torch.ones(1, dtype=torch.float64), torch.zeros(1, dtype=torch.float64)
density = target.log_density(values.double(), clean, no_noise).exp()
for axes, result, name in zip(panels, (jumps, steps), ("Consistency model", "Euler"), strict=True):
    axes.hist(result.samples[:, 0].numpy(), bins=100, range=(-2.5, 2.5), density=True, color="0.75")
    axes.plot(values[:, 0], density, color="C0")
    axes.set(title=f"{name}, {result.nfe} evaluations", xlabel="data", ylim=(0.0, 0.9))
plt.show()

print(f"mean error of the learned map {float((learned - exact).abs().mean()):.3f}")
print(f"std of the samples: jumps {float(jumps.samples.std()):.3f}, Euler {float(steps.samples.std()):.3f}")
print(f"std of the data: {float(rows.std()):.3f}")

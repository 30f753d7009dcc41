r"""
Network calls on a budget
=========================

A compute policy calls the network only at some of the evaluations of a run and forecasts the clean estimate
in between. :class:`~sciffusion.sampling.BudgetedCompute` decides by what it sees: where two forecasts
disagree, weighted by how much an error there would move the result, it calls. Its budget is never exceeded.

The fair question is whether that beats a good solver with fewer steps. It depends on the grid.
"""

from __future__ import annotations

import matplotlib.pyplot as plt
import torch

from sciffusion.continuous import DPMSolverMultistep, VariancePreserving
from sciffusion.exact import ExactDenoiser, GaussianMixtureTarget
from sciffusion.sampling import (
    BudgetedCompute,
    State,
    StaticRefresh,
    TraceRecorder,
    log_snr_grid,
    sample,
    uniform_grid,
)

path = VariancePreserving()
means = torch.tensor([-1.5, 1.0], dtype=torch.float64)
stds = torch.tensor([0.4, 0.6], dtype=torch.float64)
target = GaussianMixtureTarget.from_stds([0.3, 0.7], means, stds)
denoiser = ExactDenoiser(target, path)
start = State(x=torch.randn(200, 1, generator=torch.Generator().manual_seed(0), dtype=torch.float64))
exact = denoiser.flow_map(start.x, 1.0, 0.0)

# %%
# Error against calls
# -------------------
#
# On a grid that is even in time most steps are far from the data, where little happens. The policy finds that
# out and keeps its calls for the end; a solver with fewer steps cannot. On a grid even in the log
# signal-to-noise ratio the steps are where they should be already, and fewer of them are as good or better.

solver = DPMSolverMultistep(3)
budgets = (6, 8, 10, 12, 16, 24)
figure, panels = plt.subplots(1, 2, figsize=(9, 3.6), sharey=True, layout="constrained")
for axes, make_grid, title in (
    (panels[0], uniform_grid, "even in time"),
    (panels[1], lambda n: log_snr_grid(path, n), "even in the log SNR"),
):
    ways = {
        "budgeted, 48 steps": lambda n, grid=make_grid: (grid(48), BudgetedCompute(n)),
        "evenly spread, 48 steps": lambda n, grid=make_grid: (grid(48), StaticRefresh(n)),
        "as many steps as calls": lambda n, grid=make_grid: (grid(n), None),
    }
    for name, way in ways.items():
        errors = []
        for budget in budgets:
            grid, policy = way(budget)
            result = sample(denoiser, solver, grid, state=start, policy=policy)
            assert result.nfe <= budget
            errors.append(float((result.samples - exact).square().mean().sqrt()))
        axes.loglog(budgets, errors, "o-", label=name)
    axes.set(xlabel="network calls", title=title)
    axes.set_xticks(budgets, [str(budget) for budget in budgets])
    axes.minorticks_off()
panels[0].set_ylabel("error")
panels[1].legend(fontsize=8)
plt.show()

# %%
# Where the calls go
# ------------------

figure, axes = plt.subplots(figsize=(8, 2.2), layout="constrained")
for row, make_grid in enumerate((uniform_grid, lambda n: log_snr_grid(path, n))):
    policy = BudgetedCompute(12)
    spent = TraceRecorder(lambda state, policy=policy: policy.spent, name="spent")
    trace = sample(denoiser, solver, make_grid(48), state=start, policy=policy, hooks=[spent]).trace
    counts = torch.tensor(trace["spent"])
    called = (counts.diff() > 0).nonzero()[:, 0]
    times = torch.stack(trace["spent_times"])
    axes.plot(times, torch.full_like(times, row), "|", color="0.75")
    axes.plot(times[called], torch.full_like(times[called], row), "o", color="C0")
axes.set_yticks([0, 1], ["even in time", "even in the log SNR"])
axes.set(xlabel="time (1 is noise)", ylim=(-0.6, 1.6), title="Twelve calls (dots) in 48 steps (bars)")
axes.invert_xaxis()
plt.show()

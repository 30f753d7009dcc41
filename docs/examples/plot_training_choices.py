r"""
What training leaves on the table
=================================

Most of the denoising loss is the variance of the clean data given the noisy ones, which no network can
remove. On a target whose perfect denoiser is known, only the rest need be looked at: the *excess loss*. Here
it shows, for one small network, what averaging its weights is worth, how wide the average should be when that
is decided afterwards, and what a calibration repairs.
"""

from __future__ import annotations

import matplotlib.pyplot as plt
import torch
from torch import nn

from sciffusion.continuous import DenoisingObjective, NetworkDenoiser, VariancePreserving, calibrate
from sciffusion.exact import ExactDenoiser, GaussianMixtureTarget
from sciffusion.training import PostHocAverage, TrainingOptions, UniformTimes, fit_network, loss_profile

# %%
# Data, network and objective
# ---------------------------

means = torch.tensor([[-1.0, -0.6], [1.0, -0.6], [0.0, 1.1]], dtype=torch.float64)
target = GaussianMixtureTarget.from_stds([0.3, 0.4, 0.3], means, torch.full_like(means, 0.25))
path = VariancePreserving()
perfect = ExactDenoiser(target, path)
generator = torch.Generator().manual_seed(0)
data = target.draw(20_000, generator).float()


class Network(nn.Module):
    """A perceptron of the values and the time."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(3, 64), nn.SiLU(), nn.Linear(64, 64), nn.SiLU(), nn.Linear(64, 2)
        )

    def forward(self, x: torch.Tensor, time: torch.Tensor, condition: object = None) -> torch.Tensor:
        return self.layers(torch.cat([x, time.expand(len(x))[:, None]], dim=1))


network = Network()
with torch.no_grad():
    for parameter in network.parameters():
        parameter.uniform_(-0.2, 0.2, generator=generator)
denoiser = NetworkDenoiser(network, path)
objective = DenoisingObjective(path, "v", maximum_weight=100.0)


def loss(net: nn.Module, batch: tuple[torch.Tensor, ...], source: torch.Generator) -> torch.Tensor:
    """Return the x0 prediction's loss, counted as an error of v, at stratified times."""
    (x0,) = batch
    times = UniformTimes().sample(len(x0), source).times
    return objective(denoiser, x0, times, torch.randn(x0.shape, generator=source)).mean()


# %%
# One fit, every width of the average
# -----------------------------------
#
# `PostHocAverage` follows the weights and stores snapshots of two running averages. From them the average of
# any width is put together after the fit, as if it had been kept from the start.

posthoc = PostHocAverage(every=50)
options = TrainingOptions(max_steps=1500, batch_size=64, learning_rate=1e-2, patience=None)
fit_network(network, loss, (data,), options=options, seed=0, posthoc=posthoc)

held_out = target.draw(4000, torch.Generator().manual_seed(1)).float()
times = path.time_of_log_snr(torch.linspace(3.0, -3.0, 13, dtype=torch.float64))


def excess(model: NetworkDenoiser) -> torch.Tensor:
    """Return the excess loss of x0 at each noise level."""
    unit = DenoisingObjective(path, "x0")
    profile = loss_profile(model, unit, held_out, times, torch.Generator().manual_seed(2), perfect=perfect)
    return profile.excess


raw_weights = {name: value.clone() for name, value in network.state_dict().items()}
raw = excess(denoiser)
widths = (0.02, 0.04, 0.06, 0.09, 0.13, 0.18, 0.24)
by_width = []
for width in widths:
    network.load_state_dict(posthoc.reconstruct(width))
    by_width.append(excess(denoiser))
best = min(range(len(widths)), key=lambda index: float(by_width[index].mean()))

# %%
# Calibrate what is left
# ----------------------
#
# The mean error of a perfect denoiser is 0 at every noise level. Subtracting what a trained one has instead
# costs one pass over some data.

calibration = target.draw(8000, torch.Generator().manual_seed(3)).float()
network.load_state_dict(raw_weights)
raw_calibrated = excess(calibrate(denoiser, calibration, torch.Generator().manual_seed(4), times=times))
network.load_state_dict(posthoc.reconstruct(widths[best]))
calibrated = excess(calibrate(denoiser, calibration, torch.Generator().manual_seed(4), times=times))

figure, axes = plt.subplots(1, 2, figsize=(9.5, 3.9), layout="constrained")
log_snr = path.log_snr(times)
curves = {
    "last weights": raw,
    "last weights, calibrated": raw_calibrated,
    f"average of width {widths[best]:g}": by_width[best],
    "the same, calibrated": calibrated,
}
for (name, values), style in zip(curves.items(), ("C0-", "C0--", "C1-", "C1--"), strict=True):
    axes[0].semilogy(log_snr, values, style, label=name)
    print(f"{name:26} mean excess loss {float(values.mean()):.5f}")
axes[0].set(
    xlabel="log signal-to-noise ratio", ylabel="excess loss of x0", title="Where the network is wrong"
)
axes[0].set_ylim(top=0.2)
axes[0].legend(fontsize=8, loc="upper left")
axes[1].plot(widths, [float(values.mean()) for values in by_width], "o-", color="C1")
axes[1].axhline(float(raw.mean()), color="C0", label="last weights")
axes[1].set(xlabel="relative width of the average", ylabel="mean excess loss", title="Chosen after the fit")
axes[1].set_ylim(bottom=0.0)
axes[1].legend()
plt.show()

# %%
# Averaging is worth more than a quarter of the excess loss here, at any width between .02 and .13.
# Calibration repairs some of what the last weights get wrong, mostly where there is much or little noise, and
# next to nothing of what the average gets wrong: its mean error is small already.

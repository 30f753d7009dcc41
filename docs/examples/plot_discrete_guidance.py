r"""
Tokens towards a goal, and how far from the truth
=================================================

Four ways to ask a model of tokens for larger values of a reward: classifier-free guidance, guidance by a
classifier, particles that are weighed by the reward, and particles that a classifier proposes and weights
correct. The model is a chain of four letters whose 81 words are all known, so every method can be compared
with the law that it stands for, :math:`p(x)\,e^{\lambda r(x)}`.
"""

from __future__ import annotations

import matplotlib.pyplot as plt
import torch

from sciffusion.discrete import Ancestral, DiscretePrediction, Mask
from sciffusion.exact import MarkovChainOracle
from sciffusion.sampling import DiscreteTilt, TokenSteering, sample, uniform_grid
from sciffusion.sampling.guidance import DiscreteClassifier, DiscreteClassifierFree

# %%
# A model, a reward and the truth
# -------------------------------
#
# The reward counts how often the letter C stands in a word. It is a black box to the model: a function of
# whole words.

chain, process = MarkovChainOracle.bench_a(), Mask(3)
words = torch.cartesian_prod(*[torch.arange(3)] * 4)
law = torch.exp(chain.log_likelihood(words))


def reward(x):
    """Count the letter C."""
    return (x == 2).sum(-1).double()


scale = 2.0
target = law * torch.exp(scale * reward(words))
target = target / target.sum()
print(
    f"mean reward: {float(law @ reward(words)):.2f} of the model, {float(target @ reward(words)):.2f} wanted"
)

# %%
# A classifier that reads noisy words
# -----------------------------------
#
# Both kinds of guidance need to know what a noisy word says of the goal. Here the goal is a class with
# probability proportional to :math:`e^{r}`, and what a masked word says of it is a sum over the words that
# fit it; for real data a network learns it. A conditional model is given by the same sums.


def fitting(x):
    """Weigh every word by whether it agrees with a noisy one at the sites that are not masked."""
    return ((x[:, None] == words) | (x[:, None] == process.mask_token)).all(-1) * law


def log_class(x, times):
    """Return the log probability of the class given noisy words."""
    weights = fitting(x)
    return torch.log((weights @ torch.exp(reward(words))) / weights.sum(-1))


class Model:
    """The exact denoiser, with the condition "high" or without."""

    path = process

    def __call__(self, state, condition=None, cache=None):
        """Predict the letters of all sites."""
        weights = fitting(state.x) * (torch.exp(reward(words)) if condition == "high" else 1.0)
        sites = torch.nn.functional.one_hot(words, 3).double()
        return DiscretePrediction(torch.log(torch.einsum("iw,wsk->isk", weights, sites)), "denoiser")


# %%
# Four runs
# ---------
#
# Guidance changes predictions, so its samples come without weights. Particles come in systems of eight, with
# weights that must be used: here one word is drawn from each system.

count, n_systems = 8, 250
grid = uniform_grid(8)
tilt = DiscreteTilt(lambda x, times: scale * log_class(x, times), count)
ways = {
    "unguided": {},
    "classifier-free": {"guidance": DiscreteClassifierFree(scale), "condition": "high"},
    "classifier": {"guidance": DiscreteClassifier(log_class, scale=scale)},
    "steering of 8": {"particles": TokenSteering(reward, count, scale=scale)},
    "tilt of 8": {"particles": tilt, "guidance": tilt.proposal()},
}
shares = {}
for name, settings in ways.items():
    particles = settings.get("particles")
    n_words = n_systems * (count if particles else 4)
    generator = torch.Generator().manual_seed(0)
    run = sample(Model(), Ancestral(), grid, shape=(n_words, 4), generator=generator, **settings)
    drawn = run.unweighted(generator, 1) if particles else run.samples
    shares[name] = torch.bincount(reward(drawn).long(), minlength=5).double() / len(drawn)
    line = f"{name}: mean reward {float(reward(drawn).mean()):.2f}, nfe {run.nfe}"
    if particles:
        ess = float(run.ess_history.amin(0).mean())
        line += f", smallest effective sample size {ess:.1f} of {count}"
    print(line)

# %%
# What came out
# -------------
#
# Grey is the truth. Both kinds of guidance come near it on this small chain, but do not aim at it: at scales
# other than 1 the tilt of noisy words is not the noise of tilted words, and no number of steps mends that.
# Steering does aim at it, without any classifier, but eight particles that propose without knowing the goal
# cannot reach all of it, and the smallest effective sample size says so. The tilt proposes by the classifier
# *and* corrects by weights.

figure, axis = plt.subplots(figsize=(7.2, 3.8), layout="constrained")
values = torch.arange(5)
truth = [float(target[reward(words) == value].sum()) for value in values]
axis.bar(values, truth, width=0.92, color="#d9d9d9", label="exact tilt")
for place, (name, share) in enumerate(shares.items()):
    axis.plot(values + 0.15 * (place - 2), share, "osD^v"[place], label=name)
axis.set_xlabel("letters C in a word")
axis.set_ylabel("share of words")
axis.legend(frameon=False)
plt.show()

# %%
# Weights at work
# ---------------
#
# The weights also tell how likely the goal was: the log normaliser estimates
# :math:`\log E\,e^{\lambda r}`, here without bias in the mean of the normalisers themselves.

estimate = torch.log(run.log_normaliser.exp().mean())
exact = torch.log(law @ torch.exp(scale * reward(words)))
print(f"log normaliser: {float(estimate):.3f} estimated, {float(exact):.3f} exact")

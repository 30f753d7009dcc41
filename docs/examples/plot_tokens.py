r"""
Sequences of tokens, and how good a model of them is
====================================================

`TokenDiffusion` learns sequences of tokens by undoing their corruption. Here the sequences come from a small
Markov chain (3 tokens, 4 sites), so that everything can be compared with what is true: the bound of the log
likelihood, the law of the draws, and tokens filled in between given ones.
"""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import torch

from sciffusion import TokenDiffusion
from sciffusion.exact import MarkovChainOracle

torch.set_num_threads(1)  # a network this small only loses time to more threads
chain = MarkovChainOracle.bench_a()
train = chain.draw(4000, torch.Generator().manual_seed(0)).numpy()
states = np.stack(np.meshgrid(*[np.arange(3)] * 4, indexing="ij"), axis=-1).reshape(-1, 4)
log_law = chain.log_likelihood(torch.from_numpy(states)).numpy()
law = np.exp(log_law)

# %%
# Fitting and scoring
# -------------------
#
# The score is a lower bound of the mean log likelihood, in nats a sequence. No model can be above minus the
# entropy of the chain on average; how far it is below says what is left to learn. Single sequences may lie
# above the line, where the model holds them for likelier than they are, at the cost of others.

model = TokenDiffusion(
    width=32, depth=1, n_heads=2, max_steps=350, warmup_steps=30, learning_rate=0.01, ema_decay=0.98,
    random_state=0,
).fit(train)  # fmt: skip
bound = model.score_samples(states, draws=64)
print(f"mean bound {law @ bound:.3f} nats, minus the entropy {-chain.entropy():.3f} nats")

# %%
# Draws, and tokens between given ones
# ------------------------------------
#
# On the right the first and the last token are given, and the two between them are drawn: nine pairs, whose
# law given the ends is known, too.

code = np.array([27, 9, 3, 1])
drawn = np.bincount(model.sample(4000, nfe=16, random_state=0) @ code, minlength=81) / 4000
filled = model.infill(np.tile([2, -1, -1, 1], (3000, 1)), nfe=8, random_state=0)
pairs = np.bincount(filled[:, 1:3] @ [3, 1], minlength=9) / 3000
ends = (states[:, 0] == 2) & (states[:, 3] == 1)
exact_pairs = law[ends] / law[ends].sum()
print(f"total variation of 4000 draws {0.5 * np.abs(drawn - law).sum():.3f}, of pairs "
      f"{0.5 * np.abs(pairs - exact_pairs).sum():.3f}")  # fmt: skip

figure, axes = plt.subplots(1, 3, figsize=(11, 3.5), layout="constrained")
axes[0].plot(log_law, bound, ".", color="#1f5f8b")
axes[0].axline((-4, -4), slope=1, color="0.6", linewidth=1)
axes[0].set(xlabel="log likelihood, nats", ylabel="bound, nats", title="all 81 sequences")
axes[1].plot(law, drawn, ".", color="#c1440e")
axes[1].axline((0, 0), slope=1, color="0.6", linewidth=1)
axes[1].set(xlabel="probability", ylabel="share of 4000 draws", title="draws, 16 evaluations")
places = np.arange(9)
axes[2].bar(places - 0.2, exact_pairs, 0.4, color="0.6", label="exact")
axes[2].bar(places + 0.2, pairs, 0.4, color="#c1440e", label="3000 draws")
axes[2].set_xticks(places, [f"{pair // 3}{pair % 3}" for pair in places])
axes[2].set(xlabel="tokens between 2 and 1", title="infilling, 8 evaluations")
axes[2].legend(frameon=False)
plt.show()

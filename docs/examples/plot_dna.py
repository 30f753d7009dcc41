r"""
Promoters and peptides
======================

The same estimator on DNA and on proteins. Both sets come out of packages on the index (see the cards):
variants of the lac promoter of E. coli, whose expression was measured, and antimicrobial peptides.

What is compared are k-mers: how often each word of k letters occurs in draws and in sequences that the model
has not seen, by the Jensen-Shannon divergence of the two laws. Two numbers say what it means: letters of the
same sequences in random order, which keep their composition only, and as many real sequences, which is the
smallest divergence to be had.
"""

from __future__ import annotations

from collections import Counter

import matplotlib.pyplot as plt
import numpy as np
import torch

from sciffusion import TokenDiffusion
from sciffusion.datasets import fetch_antimicrobial_peptides, fetch_lac_promoters

torch.set_num_threads(1)  # a network this small only loses time to more threads
rng = np.random.default_rng(0)


def words(sequences, k):
    """Return the law of the words of k letters."""
    counts = Counter(one[i : i + k] for one in sequences for i in range(len(one) - k + 1))
    total = sum(counts.values())
    return {word: count / total for word, count in counts.items()}


def divergence(first, second, k):
    """Return the Jensen-Shannon divergence of words, in nats."""
    p, q = words(first, k), words(second, k)
    laws = np.array([[p.get(word, 0.0), q.get(word, 0.0)] for word in p.keys() | q.keys()])
    middle = laws.mean(axis=1, keepdims=True)
    return 0.5 * np.where(laws > 0, laws * np.log(np.maximum(laws, 1e-300) / middle), 0.0).sum()


def shuffled(sequences):
    """Return sequences with their letters in random order."""
    return ["".join(rng.permutation(list(one))) for one in sequences]


# %%
# Bright promoters
# ----------------
#
# 24 letters around the site where the polymerase binds, conditioned on brightness. A share of the training
# rows hides it, so that one model draws with and without.

promoters = fetch_lac_promoters()
region = promoters.sequences.str[36:60]
train, test = (promoters.split == part for part in ("training", "test"))
settings = {
    "width": 32, "depth": 1, "n_heads": 2, "batch_size": 64, "warmup_steps": 20, "learning_rate": 0.01,
    "ema_decay": 0.98, "validation_fraction": 0.0, "nfe": 8, "random_state": 0,
}  # fmt: skip
dna = TokenDiffusion(max_steps=100, **settings).fit(region[train][:3000], promoters.target[train][:3000])
draws = {f"bin {level}": dna.sample(200, condition=level, random_state=0) for level in (0, 9)}
free = dna.sample(500, random_state=0)

# %%
# Peptides of all lengths
# -----------------------
#
# Antimicrobial peptides of up to 24 amino acids; where one ends is drawn with it.

peptides = fetch_antimicrobial_peptides()
chosen = peptides.sequences[(peptides.target == "AMP") & (peptides.sequences.str.len() <= 24)]
chosen = chosen.sample(frac=1.0, random_state=0)
held_out, seen = chosen[:300], chosen[300:]
protein = TokenDiffusion(max_steps=100, **settings).fit(seen)
drawn = protein.sample(300, random_state=0)
print("\n".join(drawn[:4]))

# %%
# How near the draws are
# ----------------------
#
# Draws of promoters are nearly as close to sequences that were not seen as other real ones are. The model of
# peptides has had seconds of training on a thousand sequences: its lengths lie where those of real ones do,
# but are not spread as widely, and its words are not yet closer than shuffled letters are, whose composition
# is exact. `max_steps` is 2000 unless it is said otherwise.

rows = {
    "promoters, 4 letters": (free, region[test], region[train][:500], 4),
    "peptides, 2 letters": (drawn, held_out, seen[:300], 2),
}
table = {
    name: [divergence(one, real, k) for one in (shuffled(real[:500]), made, other)]
    for name, (made, real, other, k) in rows.items()
}
for name, values in table.items():
    print(name, dict(zip(["shuffled", "drawn", "real"], np.round(values, 4), strict=True)))

figure, axes = plt.subplots(1, 3, figsize=(11, 3.4), layout="constrained")
for place, values in enumerate(table.values()):
    for kind, (value, colour) in enumerate(zip(values, ["0.7", "#c1440e", "#1f5f8b"], strict=True)):
        axes[0].bar(place + 0.25 * (kind - 1), value, 0.25, color=colour)
axes[0].set_xticks(range(len(table)), list(table))
axes[0].legend(["shuffled letters", "draws", "other real ones"], frameon=False)
axes[0].set(title="divergence of words from real ones", ylabel="Jensen-Shannon, nats", yscale="log")
consensus = np.array([Counter(column).most_common(1)[0][0] for column in zip(*region[:2000], strict=True)])
for (name, sequences), colour in zip(draws.items(), ["#1f5f8b", "#c1440e"], strict=True):
    changed = (np.array([list(one) for one in sequences]) != consensus).mean(axis=0)
    axes[1].plot(changed, color=colour, label=f"draws for {name}")
axes[1].set(title="where draws differ from the promoter", xlabel="site", ylabel="share of changed letters")
axes[1].legend(frameon=False)
bins = np.arange(0, 27, 2)
for sequences, colour, name in ((held_out, "#1f5f8b", "real"), (drawn, "#c1440e", "draws")):
    axes[2].hist([len(one) for one in sequences], bins, color=colour, alpha=0.6, label=name)
axes[2].set(title="lengths of peptides", xlabel="amino acids")
axes[2].legend(frameon=False)
plt.show()

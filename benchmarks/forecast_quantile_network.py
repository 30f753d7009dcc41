"""A multi-quantile network of about our network's size.

Windows of L values over their own mean and standard deviation (L as in the ridge); a trunk of residual blocks
of width 256 with dropout .1, and one linear head for all steps and levels; about 300,000 parameters. Pinball
loss over 15 levels, AdamW (rate .001, decay .01), batches of 256 windows, averaged weights (decay .99). It is
trained twice: without the last 15 % of the windows of every series, at most 3,000 steps, stopped after
12 checks of 50 steps without a smaller loss on them; then anew on all windows for the best number of steps.
One network for all series of a set, fitted once.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from forecast_cheap_peers import cut_windows, normalised, window_length
from forecast_data import Histories, fill_linearly
from forecast_models import QuantileModel, read_quantiles

__all__ = ["QuantileNetwork"]

WIDTH, BLOCKS, DROPOUT = 256, 3, 0.1
BATCH, MAX_STEPS, CHECK_EVERY, PATIENCE, DECAY = 256, 3000, 50, 12, 0.99
HELD_OUT = 0.15
LEVELS = np.array([0.01, 0.025, 0.05, *(decile / 10 for decile in range(1, 10)), 0.95, 0.975, 0.99])


def quantile_trunk(length: int, outputs: int) -> Any:
    """Give the network: a linear layer, residual blocks, and a linear head."""
    from torch import nn

    class Block(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inside = nn.Sequential(
                nn.LayerNorm(WIDTH), nn.Linear(WIDTH, WIDTH), nn.SiLU(), nn.Dropout(DROPOUT)
            )

        def forward(self, x: Any) -> Any:
            return x + self.inside(x)

    head = nn.LayerNorm(WIDTH), nn.Linear(WIDTH, outputs)
    return nn.Sequential(nn.Linear(length, WIDTH), *(Block() for _ in range(BLOCKS)), *head)


def _tensors(windows: np.ndarray, length: int) -> tuple[Any, Any]:
    """Give normalised inputs and targets of windows."""
    import torch

    inputs, level, spread = normalised(windows[:, :length])
    targets = (windows[:, length:] - level) / spread
    return torch.as_tensor(inputs, dtype=torch.float32), torch.as_tensor(targets, dtype=torch.float32)


class QuantileNetwork(QuantileModel):
    """A multi-quantile network over normalised windows.

    Parameters
    ----------
    seed : int
        Of its weights and batches.
    max_steps : int
        Most steps of training.
    """

    def __init__(self, seed: int = 0, max_steps: int = MAX_STEPS) -> None:
        self.seed, self.max_steps = seed, max_steps

    def fit(self, histories: Histories) -> QuantileNetwork:
        """Find the number of steps on held-out windows and train with it on all."""
        import torch

        self.length_, self.horizon_ = window_length(histories), histories.horizon
        everything = [cut_windows(y, self.length_, self.horizon_) for y in histories.filled()]
        last = [max(1, round(HELD_OUT * len(windows))) for windows in everything]
        # A horizon of windows between the two parts, so that their targets do not overlap.
        early = [
            windows[: max(1, len(windows) - count - self.horizon_)]
            for windows, count in zip(everything, last, strict=True)
        ]
        late = [windows[-count:] for windows, count in zip(everything, last, strict=True)]
        parts = (_tensors(np.concatenate(part), self.length_) for part in (early, late, everything))
        train, held_out, whole = parts
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)
            steps = self._train(train, held_out, self.max_steps)
            self._train(whole, None, steps)
        return self

    def _loss(self, network: Any, inputs: Any, targets: Any) -> Any:
        import torch

        levels = torch.as_tensor(LEVELS, dtype=torch.float32)[:, None]
        over = targets[:, None] - network(inputs).unflatten(1, (len(LEVELS), self.horizon_))
        return torch.maximum(levels * over, (levels - 1) * over).mean()

    def _train(self, train: tuple[Any, Any], held_out: tuple[Any, Any] | None, steps: int) -> int:
        """Train a new network and give the number of steps after which the held-out loss was least."""
        import torch
        from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

        network = quantile_trunk(self.length_, self.horizon_ * len(LEVELS))
        optimiser = torch.optim.AdamW(network.parameters(), lr=1e-3, weight_decay=1e-2)
        averaged = AveragedModel(network, multi_avg_fn=get_ema_multi_avg_fn(DECAY))
        self.network_ = averaged.module.eval()
        best, best_step = float("inf"), steps
        for step in range(1, steps + 1):
            rows = torch.randint(len(train[0]), (BATCH,))
            optimiser.zero_grad()
            self._loss(network, train[0][rows], train[1][rows]).backward()
            optimiser.step()
            averaged.update_parameters(network)
            if held_out is None or step % CHECK_EVERY:
                continue
            with torch.inference_mode():
                loss = float(self._loss(self.network_, *held_out))
            if loss < best:
                best, best_step = loss, step
            if step - best_step >= PATIENCE * CHECK_EVERY:
                break
        return best_step

    def quantiles(self, histories: Histories, levels: np.ndarray) -> np.ndarray:
        """Give the network's quantiles, read at the levels."""
        import torch

        contexts = np.stack([fill_linearly(values)[-self.length_ :] for values in histories.values])
        inputs, level, spread = normalised(contexts)
        with torch.inference_mode():
            found = self.network_(torch.as_tensor(inputs, dtype=torch.float32)).double().numpy()
        found = found.reshape(len(found), len(LEVELS), self.horizon_)
        return read_quantiles(LEVELS, level[:, None] + spread[:, None] * found, levels)

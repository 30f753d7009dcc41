"""A Cox model whose log risk is a small network (DeepSurv type), for comparison.

Katzman et al., *DeepSurv: personalized treatment recommender system using a Cox proportional hazards deep
neural network*, arXiv 1606.00931. With log risks f_i and risk sets R_i = {j : T_j >= T_i}, training
minimises Breslow's

    - (1 / number of events) * sum over events i of [ f_i - log sum_{j in R_i} exp(f_j) ]

in mini-batches. A fifth of the rows, stratified on the event, chooses when to stop; the best weights are
kept.
"""

from __future__ import annotations

import numpy as np
import torch
from sklearn.model_selection import train_test_split

__all__ = ["DeepCox", "negative_partial_log_likelihood"]


def negative_partial_log_likelihood(
    log_risk: torch.Tensor, time: torch.Tensor, event: torch.Tensor
) -> torch.Tensor:
    """Give Breslow's negative log partial likelihood per event.

    Parameters
    ----------
    log_risk, time : Tensor of shape (n,)
    event : Tensor of bool, shape (n,)
        At least one row must be an event.
    """
    order = torch.argsort(time, descending=True, stable=True)
    log_risk, time, event = log_risk[order], time[order], event[order]
    log_total = torch.logcumsumexp(log_risk, dim=0)
    # rows tied in time share a risk set: take the sum up to the last row of the tie
    last = torch.searchsorted(-time, -time, right=True) - 1
    return -(log_risk - log_total[last])[event].mean()


class DeepCox:
    """Network of two hidden layers of 64 units trained on the partial likelihood with early stopping."""

    def __init__(
        self, seed: int = 0, width: int = 64, dropout: float = 0.1, learning_rate: float = 1e-3
    ) -> None:
        self.seed, self.width, self.dropout, self.learning_rate = seed, width, dropout, learning_rate
        self.batch_size, self.patience, self.max_epochs, self.weight_decay = 256, 10, 500, 1e-3

    def fit(self, X: np.ndarray, time: np.ndarray, event: np.ndarray) -> DeepCox:
        """Fit on preprocessed covariates (n, d)."""
        parts = train_test_split(np.arange(len(time)), test_size=0.2, stratify=event, random_state=self.seed)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)
            self._train(*(self._tensors(X, time, event, rows) for rows in parts))
        return self

    @staticmethod
    def _tensors(
        X: np.ndarray, time: np.ndarray, event: np.ndarray, rows: np.ndarray
    ) -> tuple[torch.Tensor, ...]:
        return (
            torch.as_tensor(X[rows], dtype=torch.float32),
            torch.as_tensor(time[rows], dtype=torch.float64),
            torch.as_tensor(event[rows], dtype=torch.bool),
        )

    def _network(self, columns: int) -> torch.nn.Sequential:
        layers: list[torch.nn.Module] = []
        for inputs in (columns, self.width):
            layers += [torch.nn.Linear(inputs, self.width), torch.nn.ReLU(), torch.nn.Dropout(self.dropout)]
        return torch.nn.Sequential(*layers, torch.nn.Linear(self.width, 1))

    def _train(self, train: tuple[torch.Tensor, ...], held_out: tuple[torch.Tensor, ...]) -> None:
        self.network_ = self._network(train[0].shape[1])
        optimizer = torch.optim.AdamW(
            self.network_.parameters(), lr=self.learning_rate, weight_decay=self.weight_decay
        )
        best, best_loss, waited = self._weights(), float("inf"), 0
        for _ in range(self.max_epochs):
            self._epoch(train, optimizer)
            loss = float(negative_partial_log_likelihood(self._log_risk(held_out[0]), *held_out[1:]))
            best, best_loss, waited = (
                (self._weights(), loss, 0) if loss < best_loss else (best, best_loss, waited + 1)
            )
            if waited >= self.patience:
                break
        self.network_.load_state_dict(best)

    def _weights(self) -> dict[str, torch.Tensor]:
        return {name: value.clone() for name, value in self.network_.state_dict().items()}

    def _epoch(self, train: tuple[torch.Tensor, ...], optimizer: torch.optim.Optimizer) -> None:
        self.network_.train()
        for rows in torch.randperm(len(train[1])).split(self.batch_size):
            X, time, event = (part[rows] for part in train)
            if not event.any():
                continue
            optimizer.zero_grad()
            negative_partial_log_likelihood(self.network_(X)[:, 0].double(), time, event).backward()
            optimizer.step()

    def _log_risk(self, X: torch.Tensor) -> torch.Tensor:
        self.network_.eval()
        with torch.inference_mode():
            return self.network_(X)[:, 0].double()

    def predict(self, X: np.ndarray) -> np.ndarray:
        """Give the log risk of each row."""
        return self._log_risk(torch.as_tensor(X, dtype=torch.float32)).numpy()

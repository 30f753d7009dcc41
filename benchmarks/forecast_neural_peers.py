"""DeepAR of gluonts, trained on all series of a set at once.

Salinas, Flunkert, Gasthaus, *DeepAR: Probabilistic forecasting with autoregressive recurrent networks* (arXiv
1704.04110), with gluonts' own defaults (two LSTM layers of 40, Student's t, mean scaling) but for its lags,
which are the last seven steps and those around one, two, three and seven seasons, and early stopping: the
last 15 % of each series (at most ten horizons) are held out, the epoch with the least loss on them is kept,
and training stops after eight epochs without a smaller one, or at thirty. Holding windows out helped on every
set on which it was tried. Its draws are paths. Fitted once.
"""

from __future__ import annotations

import logging
import tempfile
from typing import Any

import numpy as np
import pandas as pd
from forecast_cheap_peers import window_length
from forecast_data import Histories
from forecast_models import ForecastModel

__all__ = ["DeepAutoregression"]

EPOCHS, PATIENCE, BATCH = 30, 8, 64
HELD_OUT, MOST_HELD_OUT = 0.15, 10
PERIODS = {"MS": "M", "ME": "M", "QS": "Q", "YS": "Y"}


def period_frequency(times: np.ndarray) -> str:
    """Give the frequency as gluonts takes it; hours where the times are plain integers."""
    if np.issubdtype(times.dtype, np.integer):
        return "h"
    found = pd.infer_freq(pd.DatetimeIndex(times[-50:]))
    if found is None:
        raise ValueError("the times have no frequency")
    return PERIODS.get(found.split("-")[0], found)


def entries(histories: Histories) -> list[dict[str, Any]]:
    """Give the series as gluonts takes them."""
    frequency = period_frequency(histories.times[0])
    found = []
    for name, times, values in zip(histories.ids, histories.times, histories.values, strict=True):
        first = "2020-01-01" if np.issubdtype(times.dtype, np.integer) else times[0]
        start = pd.Period(pd.Timestamp(first), freq=frequency)
        found.append({"item_id": str(name), "start": start, "target": values.astype(np.float32)})
    return found


class DeepAutoregression(ForecastModel):
    """DeepAR of gluonts.

    Parameters
    ----------
    seed : int
        Of its weights and batches.
    epochs : int
        Most epochs of 50 batches.
    """

    def __init__(self, seed: int = 0, epochs: int = EPOCHS) -> None:
        self.seed, self.epochs = seed, epochs

    def fit(self, histories: Histories) -> DeepAutoregression:
        """Train on all series and keep the epoch that is best on their ends."""
        import torch

        for name in ("lightning.pytorch", "lightning.pytorch.utilities.rank_zero"):
            logging.getLogger(name).setLevel(logging.WARNING)
        train, held_out = self._parts(histories)
        with torch.random.fork_rng(devices=[]), tempfile.TemporaryDirectory() as folder:
            torch.manual_seed(self.seed)
            np.random.seed(self.seed)  # noqa: NPY002 - gluonts draws its windows from the global stream
            self.predictor_ = self._estimator(histories, folder).train(train, held_out)
        return self

    def _parts(self, histories: Histories) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
        """Give the series without their ends, and with one, two, ... horizons of the ends."""
        length, h = window_length(histories), histories.horizon
        train, held_out = [], []
        for entry in entries(histories):
            rows = len(entry["target"])
            windows = int(np.clip(round(HELD_OUT * (rows - length) / h), 1, MOST_HELD_OUT))
            train.append({**entry, "target": entry["target"][: rows - windows * h]})
            held_out += [{**entry, "target": entry["target"][: rows - k * h]} for k in range(windows)]
        return train, held_out

    def _estimator(self, histories: Histories, folder: str) -> Any:
        from gluonts.torch import DeepAREstimator
        from lightning.pytorch.callbacks import EarlyStopping

        m, h = histories.season_length, histories.horizon
        shortest = min(len(values) for values in histories.values)
        lags = {*range(1, 8), m - 1, m, m + 1, 2 * m, 3 * m, 7 * m}
        trainer = {
            "max_epochs": self.epochs,
            "accelerator": "cpu",
            "logger": False,
            "enable_progress_bar": False,
            "enable_model_summary": False,
            "default_root_dir": folder,
            "callbacks": [EarlyStopping("val_loss", patience=PATIENCE)],
        }
        return DeepAREstimator(
            freq=period_frequency(histories.times[0]),
            prediction_length=h,
            context_length=min(max(2 * h, m), shortest // 3),
            lags_seq=sorted(lag for lag in lags if 0 < lag <= shortest // 2),
            batch_size=BATCH,
            trainer_kwargs=trainer,
        )

    def draws(self, histories: Histories, n_draws: int, seed: int) -> np.ndarray:
        """Draw paths."""
        import torch

        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            found = list(self.predictor_.predict(entries(histories), num_samples=n_draws))
        return np.stack([forecast.samples for forecast in found]).astype(float)

"""What the demonstration found, and the sentences that say it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pandas as pd

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["DAYS", "HORIZON", "PEAK_KW", "Findings", "event_text", "gap_text"]

HORIZON, DAYS, PEAK_KW = 24, 7, 3.0


@dataclass(eq=False)
class Findings:
    """What the demonstration found.

    Attributes
    ----------
    frame : DataFrame
        The series.
    tables : dict of str to DataFrame
        Scores of the backtest by forecaster.
    draws : DataFrame
        Its draws.
    event : Series
        The probability of a peak on the last day, with its standard error.
    covered : float
        Share of the hidden values inside the 80 % interval of the imputation.
    gap : (stamp, stamp)
        First and last row of the longest gap.
    seconds : dict of str to float
        Time of each part.
    figures : dict of str to Figure
        Pictures of the page.
    """

    frame: pd.DataFrame
    tables: dict[str, pd.DataFrame] = field(default_factory=dict)
    draws: pd.DataFrame = field(default_factory=pd.DataFrame)
    event: Any = None
    covered: float = float("nan")
    gap: tuple[Any, Any] = (None, None)
    seconds: dict[str, float] = field(default_factory=dict)
    figures: dict[str, Figure] = field(default_factory=dict)


def event_text(found: Findings) -> str:
    """Say how probable the peak was, and what happened."""
    highest = float(found.frame["y"].tail(HORIZON).max())
    probability, error = (float(found.event[name]) for name in ("probability", "standard_error"))
    return (
        f"Probability, told the evening before, that the last day has an hour above {PEAK_KW:g} kW: "
        f"{probability:.3f} (standard error {error:.3f}). Its highest hour had {highest:.2f} kW."
    )


def gap_text(found: Findings) -> str:
    """Say how well the hidden values were covered."""
    return (
        f"Of the {HORIZON} hours that were hidden, {round(HORIZON * found.covered)} lie in the 80 % interval "
        "of what was drawn for them."
    )

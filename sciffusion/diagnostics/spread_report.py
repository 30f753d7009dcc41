"""What a comparison of a posterior sampler with the exact law found: rows, verdicts, table and picture."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from pandas import DataFrame

__all__ = ["PosteriorSpread", "SpreadAtTime"]


@dataclass(frozen=True, eq=False)
class SpreadAtTime:
    """The comparison at one time.

    Parameters
    ----------
    t : float
        Time of the states.
    exact_spread, spread : float
        Root of the covariance trace, exact and of the states.
    ratio_error : float
        Standard error of their ratio.
    spread_p, mean_p : float
        p values.
    mean_gap : float
        Distance of the means over the exact spread.
    exact_masses, masses, mass_errors, mass_p : tuple of float
        One a mode.
    verdicts : tuple of str
        Of "under-spread", "over-spread", "wrong mean", "wrong masses"; empty if it passes.
    """

    t: float
    exact_spread: float
    spread: float
    ratio_error: float
    spread_p: float
    mean_gap: float
    mean_p: float
    exact_masses: tuple[float, ...]
    masses: tuple[float, ...]
    mass_errors: tuple[float, ...]
    mass_p: tuple[float, ...]
    verdicts: tuple[str, ...] = ()

    @property
    def ratio(self) -> float:
        """Spread of the states over the exact spread."""
        return self.spread / self.exact_spread


@dataclass(frozen=True, eq=False)
class PosteriorSpread:
    """What `posterior_spread` found.

    Parameters
    ----------
    rows : tuple of SpreadAtTime
        In the order of the run, from noise to data.
    effective_atoms : float
        Effective number of atoms behind the reference.
    """

    rows: tuple[SpreadAtTime, ...]
    effective_atoms: float

    @property
    def passed(self) -> bool:
        """Whether no time has a verdict."""
        return not self.verdicts

    @property
    def verdicts(self) -> tuple[str, ...]:
        """All verdicts, each once, those of the last time first."""
        found = [verdict for row in reversed(self.rows) for verdict in row.verdicts]
        return tuple(dict.fromkeys(found))

    @property
    def final(self) -> SpreadAtTime:
        """The comparison at the last time."""
        return self.rows[-1]

    @property
    def table(self) -> DataFrame:
        """One row a time as a pandas frame."""
        import pandas as pd

        lines = []
        for row in self.rows:
            line: dict[str, Any] = {
                "t": row.t, "exact spread": row.exact_spread, "spread": row.spread, "ratio": row.ratio,
                "ratio error": row.ratio_error, "mean gap": row.mean_gap,
            }  # fmt: skip
            for mode, (exact, mass) in enumerate(zip(row.exact_masses, row.masses, strict=True)):
                line |= {f"exact mass {mode}": exact, f"mass {mode}": mass}
            lines.append(line | {"verdict": ", ".join(row.verdicts) or "passes"})
        return pd.DataFrame(lines).set_index("t")

    def plot(self, figure: Figure | None = None) -> Figure:
        """Draw the ratio of spreads and the mode masses against time; returns the figure."""
        if figure is None:
            from matplotlib import pyplot

            figure = pyplot.figure(figsize=(9.0, 3.6), layout="constrained")
        times = [row.t for row in self.rows]
        left, right = figure.subplots(1, 2)
        errors = [2.0 * row.ratio_error for row in self.rows]
        left.errorbar(times, [row.ratio for row in self.rows], errors, marker="o", capsize=3)
        left.axhline(1.0, color="black", linewidth=0.8)
        left.set(xlabel="time (the run goes from right to left)", ylabel="spread / exact spread")
        for mode in range(len(self.rows[0].masses)):
            (line,) = right.plot(times, [row.masses[mode] for row in self.rows], "o-", label=f"mode {mode}")
            exact = [row.exact_masses[mode] for row in self.rows]
            right.plot(times, exact, "--", color=line.get_color(), linewidth=1.0)
        right.set(xlabel="time", ylabel="mass (dashed: exact)", ylim=(0.0, 1.0))
        right.legend()
        return figure

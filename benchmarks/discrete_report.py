"""Tables, reading and picture of `discrete_exact.py`."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
from survival_pictures import new_figure, save_figure

__all__ = ["chain_table", "draw", "exact_table", "imperfect_table", "reading"]

#: What the picture shows, by panel.
PANELS = {
    "Uniform noise": {
        "plug-in of the denoiser (wrong)": "k--", "tau-leaping": "#b9a394", "Euler": "#e0a458",
        "ancestral": "#c1440e", "theta-trapezoid, cosine": "#5b7083",
        "clipped trapezoid, cosine": "#2a6f97", "prediction trapezoid, cosine": "#2a9d8f",
    },
    "Masks": {
        "mask ancestral": "#c1440e", "mask remasking, rescale .2": "#e0a458",
        "mask theta-trapezoid, logit": "#5b7083", "mask clipped trapezoid, linear": "#2a6f97",
        "mask prediction trapezoid, linear": "#2a9d8f", "mask ancestral + Gibbs, 1 site": "#6a4c93",
    },
    "Correctors on uniform noise": {
        "ancestral": "#c1440e", "ancestral + Gibbs, 1 site": "#6a4c93",
        "ancestral + Gibbs, 2 sites, spacing 3": "#2a9d8f",
        "ancestral + Gibbs, 2 sites anywhere": "#2a6f97", "ancestral + CTMC corrector .1": "#e0a458",
        "ancestral + Gibbs, all sites": "#222222", "ancestral + Gibbs, lowest margin": "k--",
    },
}  # fmt: skip
#: Samplers whose slope the reading gives.
SLOPES = (
    "ancestral", "mask ancestral", "theta-trapezoid, cosine", "clipped trapezoid, linear",
    "clipped trapezoid, cosine", "prediction trapezoid, cosine", "mask clipped trapezoid, linear",
    "mask prediction trapezoid, linear",
)  # fmt: skip


def _wide(rows: pd.DataFrame, cells: pd.Series) -> pd.DataFrame:
    """Give one line a sampler and one column a budget."""
    rows = rows.assign(cell=cells)
    wide = rows.pivot(index="sampler", columns="budget", values="cell")
    return wide.reindex(rows["sampler"].unique()).fillna("-")


def exact_table(rows: pd.DataFrame, score: str) -> pd.DataFrame:
    """Give total variations or divergences by budget."""
    form = "{:.4f}" if score == "tv" else "{:.1e}"
    return _wide(rows, rows[score].map(form.format))


def imperfect_table(rows: pd.DataFrame) -> pd.DataFrame:
    """Give total variations by strength of the error and budget, mean over perturbations."""
    mean = rows.groupby(["strength", "sampler", "budget"], sort=False)["tv"].mean().reset_index()
    mean["sampler"] = mean["sampler"] + " (error " + mean["strength"].map("{:g}".format) + ")"
    return _wide(mean, mean["tv"].map("{:.4f}".format))


def chain_table(rows: pd.DataFrame) -> pd.DataFrame:
    """Give excess negative log likelihoods and total variations of pairs by budget."""
    cells = rows["excess"].map("{:+.2f}".format) + " / " + rows["pair_tv"].map("{:.3f}".format)
    return _wide(rows, cells)


def draw(rows: pd.DataFrame, path: Path, note: str) -> None:
    """Draw total variation against evaluations."""
    figure, axes = new_figure(columns=3, width=4.6, height=4.4)
    for panel, (title, shown) in zip(axes[0], PANELS.items(), strict=True):
        for name, style in shown.items():
            own = rows[rows["sampler"] == name]
            look = {"color": style} if style.startswith("#") else {"color": "black", "linestyle": "--"}
            panel.loglog(own["nfe"], own["tv"], marker="o", markersize=3, label=name, **look)
        ends = np.array([rows["budget"].min(), rows["budget"].max()], dtype=float)
        panel.loglog(ends, 0.35 * (ends / ends[0]) ** -1.0, ":", color="#999999", lw=1)
        panel.set_title(title, fontsize=10)
        panel.set_xlabel("network evaluations")
        panel.grid(alpha=0.3)
        panel.legend(fontsize=6.5, loc="lower left")
        panel.set_ylim(7e-5, 0.8)
    axes[0, 0].set_ylabel("total variation")
    figure.suptitle(f"Distance of the sampler's law from the data, exact denoiser (dotted: order 1){note}")
    save_figure(figure, path)


def _at(rows: pd.DataFrame, sampler: str, budget: int, score: str = "tv") -> float:
    found = rows.loc[(rows["sampler"] == sampler) & (rows["budget"] == budget), score]
    return float(found.iloc[0]) if len(found) else float("nan")


def _slope(rows: pd.DataFrame, sampler: str) -> float:
    own = rows[rows["sampler"] == sampler].sort_values("nfe")
    if len(own) < 2:
        return float("nan")
    last = own.iloc[-2:]
    return float(-np.diff(np.log(last["tv"]))[0] / np.diff(np.log(last["nfe"]))[0])


def _exact_lines(rows: pd.DataFrame) -> list[str]:
    budgets = sorted(set(rows["budget"]))
    few, many = budgets[0], budgets[-1]
    wrong, right = "plug-in of the denoiser (wrong)", "ancestral"
    lines = [
        "Putting the denoiser where the leave-one-out law belongs gives total variation "
        f"{_at(rows, wrong, few):.3f} at {few} evaluations and {_at(rows, wrong, many):.3f} at {many}: more "
        f"steps do not help. With the right law the same steps go from {_at(rows, right, few):.3f} to "
        f"{_at(rows, right, many):.4f}."
    ]
    slopes = ", ".join(f"{name} {_slope(rows, name):.2f}" for name in SLOPES)
    lines.append(
        f"Slopes of total variation at the last doubling: {slopes}. The trapezoid that extrapolates "
        "probabilities and cuts them at 0 stalls on the cosine grid of uniform noise; in logarithms it does "
        "not, so the cut is the reason. Extrapolating the last step, too, gives up the order for an error "
        "that is several times smaller up to some 16 evaluations."
    )
    for prefix, title in (("", "uniform noise"), ("mask ", "masks")):
        for budget in (budget for budget in (4, 8, 16, 32) if budget in budgets):
            own = {g: _at(rows, f"{prefix}prediction trapezoid, {g}", budget) for g in ("linear", "cosine")}
            grid = min(own, key=lambda name: own[name])
            ratio = _at(rows, f"{prefix}ancestral", budget) / own[grid]
            lines.append(
                f"At {budget} evaluations on {title} the prediction-space trapezoid on its better grid "
                f"({grid}) is {ratio:.1f} times below ancestral."
            )
    return [*lines, _corrector_line(rows, many)]


def _corrector_line(rows: pd.DataFrame, many: int) -> str:
    gibbs = "ancestral + Gibbs, 1 site"
    end = {name: _at(rows, name, many) for name in ("ancestral", "mask ancestral", gibbs, f"mask {gibbs}")}
    other = {
        name: _at(rows, f"ancestral + Gibbs, {name}", many)
        for name in ("2 sites anywhere", "all sites", "lowest margin")
    }
    return (
        f"One-site Gibbs moves reach {end[gibbs]:.4f} at {many - 1} evaluations on uniform noise and "
        f"{end[f'mask {gibbs}']:.5f} on masks, where a site is masked and drawn again (ancestral "
        f"{end['ancestral']:.4f} and {end['mask ancestral']:.4f} at {many}). Two sites anywhere in one move "
        f"stop at {other['2 sites anywhere']:.3f}, all four at {other['all sites']:.3f}; choosing the site "
        f"of lowest margin ends at {other['lowest margin']:.3f}."
    )


def _chain_lines(rows: pd.DataFrame, draws: int) -> list[str]:
    budget = int(rows["budget"].max())
    margin = "ancestral + Gibbs, 4 of lowest margin"
    excess, pairs = (_at(rows, margin, budget, score) for score in ("excess", "pair_tv"))
    return [
        f"Bench B has {draws} sequences a cell; the standard error of the excess is about "
        f"{rows['error'].median():.2f} nats, and exact draws have pairs "
        f"{_at(rows, 'exact draws', budget, 'pair_tv'):.3f} from their law.",
        f"Sites of lowest margin give an excess of {excess:+.1f} nats at {budget} evaluations with pairs "
        f"{pairs:.3f} off: a sampler that seeks modes is likelier than the data and far from their law. An "
        "excess near 0 says something only beside a distance of laws.",
    ]


def _imperfect_lines(rows: pd.DataFrame) -> list[str]:
    budget, lines = int(rows["budget"].max()), []
    for strength, part in rows.groupby("strength"):
        mean = part[part["budget"] == budget].groupby("sampler")["tv"].mean()
        best = ", ".join(f"{name} {mean[name]:.4f}" for name in mean.sort_values().index[:3])
        lines.append(
            f"With an error of {strength:g} in the denoiser, lowest at {budget} evaluations: {best}."
        )
    return lines


def reading(exact: pd.DataFrame, imperfect: pd.DataFrame, chain: pd.DataFrame, draws: int) -> str:
    """Say in sentences what the numbers show."""
    lines = [*_exact_lines(exact), *_imperfect_lines(imperfect), *_chain_lines(chain, draws)]
    lines.append(
        "One chain a bench and synthetic errors: how samplers on masks and on uniform noise compare depends "
        "on the chain, and nothing here was trained."
    )
    return "\n".join(f"- {line}" for line in lines)

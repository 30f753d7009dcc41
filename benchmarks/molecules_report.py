"""Tables, picture and reading of the comparison of molecule models."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
from survival_pictures import new_figure, save_figure

__all__ = ["OTHER", "attempts_table", "main_table", "picture", "property_table", "reading"]

PEER, FLOOR, OTHER = "autoregressive", "training set", "torch-molecule MolGPT"
SHOWN = {
    "valid": "valid",
    "unique": "unique",
    "novel": "novel",
    "fcd": "FCD",
    "nearest_similarity": "SNN",
    "fragment_similarity": "fragments",
    "scaffold_similarity": "scaffolds",
    "internal_diversity": "diversity",
    "passes_filters": "filters",
    "draws_per_cpu_second": "draws / CPU s",
}
COLOURS = {"mask": "#c1440e", "uniform": "#2f6f8f"}


def _families(table: pd.DataFrame) -> pd.Series:
    return table["model"].str.split("_").str[0]


def _plain(table: pd.DataFrame) -> pd.Series:
    """Say which rows stand in the main table: ancestral steps as they come, the peer, the floor."""
    ancestral = (table["solver"] == "ancestral") & (table["spacing"] == "linear")
    return (ancestral & (table["temperature"] == 1.0)) | _families(table).isin((PEER, FLOOR, OTHER))


def _label(row: pd.Series) -> str:
    name = str(row["model"]).replace("_", ", ")
    if row["solver"] in ("-", "ancestral"):
        return name
    parts = [name, str(row["solver"])]
    if row["spacing"] == "cosine":
        parts.append("cosine grid")
    return ", ".join(parts)


def _listed(rows: pd.DataFrame, columns: dict[str, str]) -> pd.DataFrame:
    found = rows[[name for name in columns if name in rows]].rename(columns=columns)
    labels = [
        _label(row) + (f", temperature {row['temperature']:g}" if row["temperature"] != 1.0 else "")
        for _, row in rows.iterrows()
    ]
    nfe = [
        f"{row.get('mean_nfe'):.0f}" if row.get("mean_nfe") == row.get("mean_nfe") else "-"
        for _, row in rows.iterrows()
    ]
    found.insert(0, "nfe", nfe)
    return found.set_axis(pd.Index(labels, name="model"), axis=0)


def main_table(table: pd.DataFrame) -> pd.DataFrame:
    """Give the draws of every family at equal nfe."""
    return _listed(table[_plain(table)], SHOWN)


def property_table(table: pd.DataFrame) -> pd.DataFrame:
    """Give the Wasserstein distances of properties to the test set, in the unit of each property."""
    names = {name: name.removeprefix("w1_") for name in table if str(name).startswith("w1_")}
    return _listed(table[_plain(table)], names)


def attempts_table(table: pd.DataFrame) -> pd.DataFrame:
    """Give the other solvers, temperatures, representations and longer trainings."""
    shown = {name: SHOWN[name] for name in ("valid", "unique", "novel", "fcd", "scaffold_similarity")}
    found = _listed(table[~_plain(table)], {**shown, "training_cpu_seconds": "training CPU s"})
    return found


def _value(table: pd.DataFrame, family: str, column: str, nfe: int | None = None) -> float:
    rows = table[_plain(table) & (_families(table) == family)]
    if nfe is not None:
        rows = rows[rows["nfe"] == nfe]
    return float(rows[column].iloc[0]) if len(rows) else float("nan")


def reading(table: pd.DataFrame) -> str:
    """Say in words what the numbers show."""
    peer, floor = _value(table, PEER, "fcd"), _value(table, FLOOR, "fcd")
    steps, spent = (_value(table, PEER, f"training_{name}") for name in ("steps", "cpu_seconds"))
    lines = [
        f"- The autoregressive peer has FCD {peer:.2f} after {steps:.0f} steps in {spent:.0f} CPU seconds; "
        f"as many molecules of the training set have {floor:.2f}, which no model can be expected to undercut."
    ]
    for family in COLOURS:
        rows = table[_plain(table) & (_families(table) == family)].sort_values("nfe")
        if rows.empty:
            continue
        values = ", ".join(f"{fcd:.2f} at {nfe}" for nfe, fcd in zip(rows["nfe"], rows["fcd"], strict=True))
        ratio = float(rows["fcd"].min()) / peer
        lines.append(
            f"- `{family}`: FCD {values} evaluations, at best {ratio:.2f} x the peer's, after "
            f"{rows['training_steps'].iloc[0]:.0f} steps in as many CPU seconds."
        )
    return "\n".join(lines)


def picture(table: pd.DataFrame, path: Path) -> None:
    """Draw FCD and speed against nfe."""
    figure, axes = new_figure(columns=2, width=4.4)
    for panel, column in zip(axes[0], ("fcd", "draws_per_cpu_second"), strict=True):
        for family, colour in COLOURS.items():
            rows = table[_plain(table) & (_families(table) == family)].sort_values("nfe")
            panel.plot(rows["nfe"], rows[column], "o-", color=colour, label=family)
        panel.axhline(
            _value(table, PEER, column), color="#444444", ls="--", label=f"{PEER} (one token a time)"
        )
        if column == "fcd":
            panel.axhline(_value(table, FLOOR, column), color="#999999", ls=":", label="training set")
        panel.set_xscale("log", base=2)
        panel.set_xticks(sorted(set(table["nfe"]) - {0}), sorted(set(table["nfe"]) - {0}))
        panel.set_xlabel("network evaluations")
        panel.set_ylim(bottom=0)
    axes[0][0].set_ylabel("FCD to the test set (lower is better)")
    axes[0][1].set_ylabel("draws a CPU second")
    axes[0][0].legend(fontsize=8)
    save_figure(figure, path)

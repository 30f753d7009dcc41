"""``sciffusion boltzmann simulate`` and ``evaluate``: configurations made, and measured."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pandas as pd
import typer
from rich.console import Console
from rich.table import Table

from sciffusion.estimators.command_session import refuse_outputs, say, session, waiting
from sciffusion.training.checkpoints import write_atomically

from .cli_options import Count, Force, Oscillator, Picture, Seed, Threads, Xyz
from .files import Configurations, check_ending, read_configurations, write_configurations
from .files_xyz import write_xyz
from .metrics import compare_samples
from .metrics_reference import BoltzmannReference, EnergyFunction
from .plots import plot_samples
from .plots_style import write_picture
from .systems import SYSTEMS, element_names, simulate_system, system_energy
from .units import thermal_energy

__all__ = ["draw_picture", "evaluate", "simulate", "write_models"]

_LENGTH_TO_ANGSTROM = {"nm": 10.0}
_MEANINGS = {
    "n": "configurations",
    "ess": "effective number of them",
    "delta_nll": "mean energy less the reference's, in kT",
    "w1_energy": "W1 of energies",
    "w1_radial": "W1 of distances between atoms",
    "mmd": "maximum mean discrepancy, coordinates",
    "swd": "sliced Wasserstein distance, coordinates",
    "mmd_distances": "maximum mean discrepancy, distances",
    "swd_distances": "sliced Wasserstein distance, distances",
}


def simulate(
    system: Annotated[str, typer.Argument(help=", ".join(SYSTEMS), metavar="SYSTEM", show_default=False)],
    temperature: Annotated[
        float,
        typer.Option(help="Reduced, or in kelvin for the peptide.", metavar="T", show_default=False),
    ],
    out: Annotated[Path, typer.Option(help="NPZ file to write.", metavar="FILE", show_default=False)],
    count: Count = 2000,
    oscillator: Oscillator = None,
    xyz: Xyz = None,
    picture: Picture = None,
    threads: Threads = 1,
    seed: Seed = 0,
    force: Force = False,
) -> None:
    """Simulate a system by replica exchange or molecular dynamics.

    Example: sciffusion boltzmann simulate dw4 --temperature 2 -n 5000 --out hot.npz
    """
    refuse_outputs([out, xyz], force, picture=picture)
    check_ending(out)
    with session(threads):
        with waiting(f"simulating {system}"):
            found, dataset = simulate_system(system, count, temperature, oscillator=oscillator, seed=seed)
        write_configurations(out, found)
        write_models(xyz, found)
        if picture is not None:
            draw_picture(picture, {system: found}, None, dataset.energy)
    r_hat = np.ravel(dataset.diagnostics.get("r_hat", ()))
    converged = f", R-hat of the energy {float(r_hat[0]):.3f}" if r_hat.size else ""
    energies = dataset.energies
    say(f"Mean energy {energies.mean():.2f} (standard deviation {energies.std():.2f}){converged}.")
    say(f"Wrote {len(found)} configurations of {SYSTEMS[system].title} to {out}.")


def evaluate(
    samples: Annotated[
        list[Path],
        typer.Argument(help="Weighted draws, and last the reference.", metavar="DRAWS... REFERENCE"),
    ],
    second: Annotated[
        Path | None,
        typer.Option(help="Another run of the reference, for the floor.", metavar="FILE", show_default=False),
    ] = None,
    symmetries: Annotated[
        str, typer.Option(help="particles, molecule, none or auto.", metavar="NAME")
    ] = "auto",
    out: Annotated[
        Path | None, typer.Option(help="CSV file to write.", metavar="FILE", show_default=False)
    ] = None,
    picture: Picture = None,
    threads: Threads = 1,
    force: Force = False,
) -> None:
    """Measure draws against a reference, beside the floor that chance sets.

    Example: sciffusion boltzmann evaluate drawn.npz reference.npz --picture drawn.png
    """
    refuse_outputs([out], force, picture=picture)
    if len(samples) < 2:
        raise ValueError("evaluate needs files of draws, and last the reference")
    with session(threads):
        known = read_configurations(samples[-1])
        drawn = {path.stem: read_configurations(path) for path in samples[:-1]}
        if len(drawn) < len(samples) - 1:
            raise ValueError("two files of draws have the same name; rename one")
        _check_systems(drawn, known)
        other = None if second is None else _reference(read_configurations(second), symmetries)
        energy = system_energy(known.system, known.oscillator)
        with waiting("comparing"):
            table = compare_samples(drawn, _reference(known, symmetries), second_reference=other)
        Console().print(_shown(table, known))
        if out is not None:
            content = table.to_csv()
            write_atomically(out, lambda file: file.write(content.encode("utf-8")))
            say(f"Wrote {out}.")
        if picture is not None:
            draw_picture(picture, drawn, known, energy)
            say(f"Wrote {picture}.")


def draw_picture(
    path: Path, drawn: dict[str, Configurations], known: Configurations | None, energy: EnergyFunction | None
) -> None:
    """Draw distances, energies as far as they are known, and what weights did."""
    first = next(iter(drawn.values()))
    runs = {name: one for name, one in drawn.items() if one.ess is not None and one.ess.size}
    figure = plot_samples(
        drawn, known, energy=energy, units=first.units, length_unit=first.length_unit, ess=runs or None
    )
    write_picture(path, figure)


def write_models(path: Path | None, content: Configurations) -> None:
    """Write configurations for a viewer, if a file is asked for."""
    if path is None:
        return
    scale = _LENGTH_TO_ANGSTROM.get(content.length_unit or "", 1.0)
    write_xyz(path, content.configurations, element_names(content), scale=scale)
    say(f"Wrote {path}.")


def _check_systems(drawn: dict[str, Configurations], known: Configurations) -> None:
    """Refuse draws of other units or another temperature than the reference's."""
    for name, one in drawn.items():
        for field in ("units", "length_unit", "temperature"):
            mine, theirs = getattr(one, field), getattr(known, field)
            if mine is not None and theirs is not None and mine != theirs:
                raise ValueError(f"{name} has {field} {mine}, and the reference {theirs}")


def _reference(known: Configurations, symmetries: str) -> BoltzmannReference:
    if known.temperature is None or known.units is None:
        raise ValueError("the reference must say its temperature and units: simulate writes them")
    alike = known.atom_types is None or (len(set(known.atom_types.tolist())) == 1)
    chosen: Any = symmetries if symmetries != "auto" else "particles" if alike else "molecule"
    return BoltzmannReference(
        known.configurations, kT=thermal_energy(known.temperature, known.units), energies=known.energies,
        energy=system_energy(known.system, known.oscillator), log_weights=known.log_weights,
        atom_types=None if known.atom_types is None else known.atom_types.tolist(), symmetries=chosen,
        features=("coordinates", "distances"),
    )  # fmt: skip


def _shown(table: pd.DataFrame, known: Configurations) -> Table:
    units = {"w1_energy": known.units, "w1_radial": known.length_unit, "swd": known.length_unit}
    shown = Table(title=f"against {len(known)} configurations", title_justify="left", box=None)
    shown.add_column("measure")
    for name in table.index:
        shown.add_column(str(name), justify="right", no_wrap=True)
    for measure in table.columns:
        unit = units.get(str(measure).removesuffix("_distances"))
        meaning = _MEANINGS[measure] + (f" ({unit})" if unit not in (None, "reduced") else "")
        numbers = [_number(value, measure) for value in table[measure]]
        shown.add_row(meaning, *numbers)
    return shown


def _number(value: float, measure: str) -> str:
    return f"{value:.0f}" if measure in ("n", "ess") else f"{value:.4f}"

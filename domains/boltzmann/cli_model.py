"""``sciffusion boltzmann fit`` and ``sample``: a model learned at one temperature, drawn from at another."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer
from torch import Tensor

from sciffusion.estimators.command_session import counting, on_terminal, refuse_outputs, say, session, waiting

from .boltzmann_sample import BoltzmannSample
from .cli_data import draw_picture, write_models
from .cli_options import Count, Data, Device, Force, Model, Picture, Seed, Threads, Xyz
from .demo import run_demo
from .diffusion import BoltzmannDiffusion
from .files import Configurations, check_ending, read_configurations, write_configurations
from .metrics_profiles import families
from .metrics_reference import energies_of
from .plots_style import normalised
from .pretrained import list_pretrained, pretrained_card
from .systems import system_energy

__all__ = ["demo_command", "fit", "models", "sample"]


def fit(
    data: Data,
    out: Annotated[Path, typer.Option(help="Model file to write.", metavar="FILE", show_default=False)],
    temperature: Annotated[
        float | None,
        typer.Option(
            help="Of the data, if the file does not say: reduced, or in kelvin.",
            metavar="T",
            show_default=False,
        ),
    ] = None,
    units: Annotated[
        str | None,
        typer.Option(
            help="Of energies and forces, if the file does not say: reduced, kJ/mol or kcal/mol.",
            metavar="NAME",
            show_default=False,
        ),
    ] = None,
    chiral_centre: Annotated[
        str,
        typer.Option(
            help="A centre and three of its neighbours, counted from 0: keeps the data's hand.",
            metavar="A,B,C,D",
        ),
    ] = "",
    use_forces: Annotated[
        bool, typer.Option("--forces/--no-forces", help="Learn from the forces in the file, too.")
    ] = True,
    energy_based: Annotated[
        bool, typer.Option("--energy-based", help="Learn log densities, for --control ecg; slower.")
    ] = False,
    fokker_planck: Annotated[
        float,
        typer.Option(
            help="With it: weight of a penalty that holds them to the equation of diffusion.",
            metavar="W",
            min=0.0,
        ),
    ] = 0.0,
    width: Annotated[int, typer.Option(help="Features of the network.", metavar="N", min=1)] = 64,
    depth: Annotated[int, typer.Option(help="Blocks of the network.", metavar="N", min=1)] = 4,
    batch_size: Annotated[int, typer.Option(help="Configurations of a step.", metavar="N", min=1)] = 256,
    max_steps: Annotated[int, typer.Option(help="Training steps.", metavar="N", min=1)] = 5000,
    checkpoint: Annotated[
        Path | None,
        typer.Option(help="File by which an interrupted fit goes on.", metavar="FILE", show_default=False),
    ] = None,
    device: Device = "auto",
    threads: Threads = 1,
    seed: Seed = 0,
    force: Force = False,
) -> None:
    """Fit a model to configurations at one temperature and save it.

    Atoms are told apart by the types in the file, or else by their names; weights of draws count.

    Example: sciffusion boltzmann fit hot.npz --out model.safetensors
    """
    refuse_outputs([out], force)
    if fokker_planck > 0.0 and not energy_based:
        raise ValueError("--fokker-planck needs --energy-based: the penalty is on log densities")
    with session(threads):
        known = read_configurations(data)
        heat = _settled("temperature", temperature, known.temperature, None)
        unit = _settled("units", units, known.units, "reduced")
        model = BoltzmannDiffusion(
            energy_based=energy_based, fokker_planck=fokker_planck,
            width=width, depth=depth, units=unit, batch_size=batch_size, max_steps=max_steps,
            atom_types=_types(known),
            bonds=None if known.bonds is None or not len(known.bonds) else known.bonds.tolist(),
            chiral_centre=_places(chiral_centre), checkpoint=checkpoint, device=device, random_state=seed,
            verbose=on_terminal(),
        )  # fmt: skip
        logs = known.log_weights
        with waiting(f"fitting on {len(known)} configurations"):
            model.fit(
                known.configurations, temperature=heat, forces=known.forces if use_forces else None,
                sample_weight=None if logs is None else normalised(logs, len(known)),
            )  # fmt: skip
        model.set_params(verbose=False).save(out)
    learned = ", with forces" if use_forces and known.forces is not None else ""
    kind = "a model of energies" if energy_based else "a model"
    say(f"Fitted {kind} on {len(known)} configurations at temperature {heat:g}{learned}; saved {out}.")


def sample(
    model: Model,
    out: Annotated[Path, typer.Option(help="NPZ file to write.", metavar="FILE", show_default=False)],
    temperature: Annotated[
        float | None,
        typer.Option(help="Of the draws; the model's by default.", metavar="T", show_default=False),
    ] = None,
    count: Count = 1000,
    control: Annotated[
        str, typer.Option(help="vcg, ecg, langevin, none or guidance.", metavar="NAME")
    ] = "vcg",
    trap: Annotated[
        float,
        typer.Option(help="Tilt by a harmonic trap around the centre of mass, K/2 r².", metavar="K"),
    ] = 0.0,
    reward_scale: Annotated[
        float | None,
        typer.Option(
            help="Length on which the trap varies: stiff ones need it.", metavar="L", show_default=False
        ),
    ] = None,
    particles: Annotated[
        int | None, typer.Option(help="Particles of a system.", metavar="N", min=2, show_default=False)
    ] = None,
    nfe: Annotated[
        int | None, typer.Option(help="Network evaluations of a draw.", metavar="N", show_default=False)
    ] = None,
    langevin_steps: Annotated[
        int | None,
        typer.Option(
            help="Langevin steps at the end; the model's by default.", metavar="N", min=0, show_default=False
        ),
    ] = None,
    n_probes: Annotated[
        int | None,
        typer.Option(
            help="Probes for divergences; exact, or 1 above 24 coordinates, by default.",
            metavar="N",
            min=1,
            show_default=False,
        ),
    ] = None,
    resample: Annotated[bool, typer.Option("--resample/--no-resample", help="Resample on the way.")] = True,
    unweighted: Annotated[
        bool, typer.Option("--unweighted", help="Write draws of equal weight, with repetitions.")
    ] = False,
    reference: Annotated[
        Path | None,
        typer.Option(help="For the picture, and for energies.", metavar="FILE", show_default=False),
    ] = None,
    xyz: Xyz = None,
    picture: Picture = None,
    device: Device = "auto",
    threads: Threads = 1,
    seed: Seed = 0,
    force: Force = False,
) -> None:
    """Draw weighted configurations, at another temperature or in another potential if wished.

    Example: sciffusion boltzmann sample model.safetensors --temperature 1 --out cold.npz --picture cold.png
    """
    refuse_outputs([out, xyz], force, picture=picture)
    check_ending(out)
    _check_scale(reward_scale, trap)
    with session(threads):
        estimator = _load(model, device)
        if control == "ecg" and not estimator.energy_based:
            raise ValueError("--control ecg needs a model fitted with --energy-based; vcg needs none")
        known = None if reference is None else read_configurations(reference)
        if known is not None:
            _check_reference(known, estimator)
        with _progress(f"drawing {count} configurations") as progress:
            drawn = estimator.sample(
                count, temperature=temperature, potential=_trap(trap), reward_scale=reward_scale,
                control=control, particles=particles, nfe=nfe, langevin_steps=langevin_steps,
                n_probes=n_probes, resample=resample, random_state=seed, progress=progress,
            )  # fmt: skip
        content = _content(drawn, estimator.units, known, unweighted, seed)
        write_configurations(out, content)
        write_models(xyz, content)
        if picture is not None:
            energy = None if known is None else system_energy(known.system, known.oscillator)
            draw_picture(picture, {"drawn": content}, known, energy)
            say(f"Wrote {picture}.")
    _report(drawn, estimator.units)
    say(f"Wrote {len(content)} configurations at temperature {drawn.temperature:g} to {out}.")


def demo_command(
    out: Annotated[Path, typer.Option(help="Folder to write.", metavar="FOLDER")] = Path("report/boltzmann"),
    quick: Annotated[bool, typer.Option("--quick", help="Next to nothing, to see that all works.")] = False,
    threads: Threads = 1,
    seed: Seed = 0,
) -> None:
    """Draw four particles at half the temperature a model was trained at, and measure the draws."""
    with session(threads):
        run_demo(out, seed=seed, quick=quick, say=say)


def models(
    name: Annotated[str, typer.Argument(help="Model whose card is wanted.", metavar="NAME")] = "",
) -> None:
    """List the published models, or print the card of one."""
    if name:
        say(pretrained_card(name))
        return
    say("\n".join(list_pretrained()) or "This version comes without trained models of particles.")


def _settled(name: str, option: Any, stored: Any, default: Any) -> Any:
    """Return what an option or the file says; both may not differ."""
    if option is not None and stored is not None and option != stored:
        raise ValueError(f"--{name} says {option}, but the file says {stored}; leave --{name} out")
    found = option if option is not None else stored if stored is not None else default
    if found is None:
        raise ValueError(f"the file does not say its {name}: give --{name}")
    return found


def _load(model: str, device: str) -> BoltzmannDiffusion:
    """Return the model of a file, or a published one."""
    path = Path(model)
    named = not path.suffix and len(path.parts) == 1 and not path.exists()
    estimator = BoltzmannDiffusion.from_pretrained(model) if named else BoltzmannDiffusion.load(path)
    estimator.set_params(device=device)
    return estimator


def _types(known: Configurations) -> list[Any] | None:
    """Return what tells the atoms apart: their types, or else their names."""
    if known.atom_types is not None:
        return [int(kind) for kind in known.atom_types]
    return None if known.names is None or len(set(known.names)) == 1 else list(known.names)


def _check_reference(known: Configurations, estimator: BoltzmannDiffusion) -> None:
    """Refuse, before any draw, a reference of another system or in other units."""
    shape = (estimator.n_atoms_, estimator.n_dimensions_)
    if known.configurations.shape[1:] != shape:
        raise ValueError(
            f"the reference has {known.configurations.shape[1:]} atoms and dimensions, and the model {shape}"
        )
    if known.units not in (None, estimator.units):
        raise ValueError(f"the reference has units {known.units}, and the model {estimator.units}")


def _check_scale(reward_scale: float | None, trap: float) -> None:
    """Refuse a scale of nothing, or that is none."""
    if reward_scale is None:
        return
    if trap == 0.0:
        raise ValueError("--reward-scale needs --trap: nothing else tilts the law")
    if not reward_scale > 0.0:
        raise ValueError(f"--reward-scale must be above 0, got {reward_scale:g}")


def _trap(strength: float) -> Any:
    if strength == 0.0:
        return None

    def potential(x: Tensor) -> Tensor:
        return 0.5 * strength * (x - x.mean(1, keepdim=True)).square().sum((1, 2))

    return potential


@contextmanager
def _progress(what: str) -> Iterator[Callable[[int, int], None] | None]:
    """Give what shows the steps of a draw, None where there is no terminal."""
    if not on_terminal():
        yield None
        return
    with counting() as show:
        yield lambda made, steps: show(made, steps, what)


def _places(text: str) -> list[int] | None:
    """Read numbers of atoms between commas."""
    try:
        return [int(word) for word in text.split(",")] if text.strip() else None
    except ValueError:
        raise ValueError(f"--chiral-centre must be four whole numbers between commas, got {text!r}") from None


def _content(
    drawn: BoltzmannSample, units: str, known: Configurations | None, unweighted: bool, seed: int
) -> Configurations:
    """Return what is written of a draw."""
    x = drawn.resampled(random_state=seed) if unweighted else drawn.configurations
    made = Configurations(
        configurations=x,
        log_weights=None if unweighted else drawn.log_weights,
        families=None if unweighted else families(drawn),
        temperature=drawn.temperature,
        units=units,
        ess=drawn.ess,
        resamplings=drawn.resamplings,
    )
    if known is None:
        return made
    energy = system_energy(known.system, known.oscillator)
    return replace(
        made,
        energies=None if energy is None else energies_of(energy, x).cpu().numpy(),
        length_unit=known.length_unit,
        atom_types=known.atom_types,
        bonds=known.bonds,
        names=known.names,
        system=known.system,
        oscillator=known.oscillator,
    )


def _report(drawn: BoltzmannSample, units: str) -> None:
    if not drawn.ess.size:
        say("Draws of guidance alone: without weights, and biased.")
        return
    systems = drawn.ess.shape[1]
    say(
        f"Weights are worth {drawn.effective_sample_size:.0f} of {len(drawn)} draws; smallest share on "
        f"the way {drawn.ess.min():.2f}, {drawn.resamplings.mean():.3g} resamplings a system, "
        f"{drawn.unique_ancestors} ancestors in {systems} system{'s' if systems > 1 else ''}."
    )
    unit = "" if units == "reduced" else f" {units}"
    say(
        f"Log normaliser {drawn.log_normaliser.mean():.3f} +- {drawn.log_normaliser_error:.3f}; free energy "
        f"less that of the training data {drawn.free_energy_difference:.3f} +- "
        f"{drawn.free_energy_error:.3f}{unit}."
    )
    if drawn.reflected_share is not None:
        say(f"{drawn.reflected_share:.1%} were mirror images and have been reflected.")

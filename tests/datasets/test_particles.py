"""The list of simulated systems of particles and their cards, in Python, in a shell and on the page."""

from __future__ import annotations

import inspect

import pytest

from sciffusion import datasets
from sciffusion.cli import describe_datasets
from sciffusion.datasets import list_particle_sets, particle_card, particle_loader
from sciffusion.datasets.__main__ import reference_page


def functions_that_return_particles() -> set[str]:
    """Return the public functions of the package whose result is a `ParticleDataset`."""
    public = {name: getattr(datasets, name) for name in datasets.__all__}
    return {
        name
        for name, function in public.items()
        if inspect.isfunction(function) and function.__annotations__.get("return") == "ParticleDataset"
    }


def test_every_function_that_simulates_particles_has_a_card() -> None:
    found = list_particle_sets()
    assert set(found["loader"]) == functions_that_return_particles() >= {"make_dw4", "make_lj13"}
    assert set(found["kind"]) == {"make"}
    assert tuple(found.loc["lj13", ["atoms", "dimensions", "units", "length_unit"]]) == (
        13, 3, "reduced", "reduced",
    )  # fmt: skip
    for name in found.index:
        assert particle_card(str(name)).name == name
        assert particle_loader(str(name)) is getattr(datasets, str(found.loc[name, "loader"]))


def test_the_shell_lists_and_prints_every_card() -> None:
    names = [str(name) for name in list_particle_sets().index]
    lines = {line.split()[0]: line for line in describe_datasets([])}
    for name in names:
        assert lines[name].endswith(particle_card(name).title)
    assert describe_datasets(names) == [str(particle_card(name)) for name in names]


def test_the_reference_page_has_every_card_once() -> None:
    page = reference_page()
    for name in list_particle_sets().index:
        card = particle_card(str(name))
        assert page.count(f"   * - ``{card.loader}``\n") == 1
        for text in (card.title, card.potential, card.sampling, *card.notes, *map(str, card.columns)):
            escaped = text.replace("*", "\\*").replace("_", "\\_").replace("`", "\\`").replace("|", "\\|")
            assert escaped in page


@pytest.mark.filterwarnings("ignore:R-hat of the energy")
def test_the_card_of_a_system_is_that_of_its_sets() -> None:
    drawn = datasets.make_dw4(4, 2.0, columns=2, thinning=5, burn_in=20, cache=False, random_state=0)
    assert drawn.card == particle_card("dw4")
    assert drawn.card.n_atoms == drawn.n_atoms


def test_an_unknown_system_is_refused_with_those_there_are() -> None:
    for function in (particle_card, particle_loader):
        with pytest.raises(ValueError, match="name is 'argon', expected one of alanine_dipeptide, dw4, lj13"):
            function("argon")

"""The elastic network against finite differences of its springs, and its law against brute-force algebra."""

from __future__ import annotations

import ast
import math
import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor

from sciffusion.continuous import VariancePreserving
from sciffusion.domains.boltzmann import alpha_carbons, distance_restraints, elastic_network
from sciffusion.domains.boltzmann.alpha_carbons import load_villin, read_alpha_carbons
from sciffusion.domains.boltzmann.elastic_network import ElasticNetwork
from sciffusion.domains.boltzmann.units import thermal_energy
from sciffusion.sampling import log_snr_grid
from sciffusion.sampling.driftlite import DriftLiteSampler

PATH = VariancePreserving()


def _beads(count: int = 5) -> Tensor:
    generator = torch.Generator().manual_seed(3)
    return 0.3 * torch.randn(count, 3, generator=generator, dtype=torch.float64) + torch.tensor(
        [2.0, 1.0, 0.5]
    )


def _network(count: int = 5) -> ElasticNetwork:
    return ElasticNetwork(_beads(count), cutoff=5.0, spring=300.0)


def test_the_hessian_is_that_of_the_springs_by_finite_differences() -> None:
    network, step = ElasticNetwork(_beads(), cutoff=0.9, spring=300.0), 1e-4
    assert len(network.pairs) == 9  # of ten: the cut-off matters
    eye = step * torch.eye(15, dtype=torch.float64).reshape(15, 1, 5, 3)
    corners = [
        network.energy((network.positions + a * eye + b * eye.transpose(0, 1)).reshape(-1, 5, 3)).reshape(
            15, 15
        )
        for a in (1.0, -1.0)
        for b in (1.0, -1.0)
    ]
    measured = (corners[0] - corners[1] - corners[2] + corners[3]) / (4.0 * step**2)
    assert float(network.energy(network.positions[None])) == 0.0
    torch.testing.assert_close(network.hessian, measured, rtol=1e-4, atol=1e-2)


def test_the_harmonic_energy_is_that_of_the_springs_to_second_order() -> None:
    network = _network()
    push = torch.randn(4, 5, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    gaps = []
    for size in (1e-2, 1e-3):
        x = network.positions + size * push
        gaps.append(float((network.energy(x) - network.harmonic_energy(x)).abs().max()) / size**2)
    assert gaps[1] < 0.15 * gaps[0]  # what is left is of third order


def test_six_modes_are_free_and_they_are_the_rigid_motions() -> None:
    network = _network()
    assert network.effective_dim == 9
    values = torch.linalg.eigvalsh(network.hessian)
    assert float(values[:6].abs().max()) < 1e-9 * float(values[-1])
    assert float(network.stiffness[0]) > 1e-3 * float(values[-1])
    axes = torch.eye(3, dtype=torch.float64)
    shifts = axes[:, None].expand(3, 5, 3)
    turns = torch.linalg.cross(axes[:, None].expand(3, 5, 3), network.positions.expand(3, 5, 3))
    for motion in (shifts, turns):
        torch.testing.assert_close(network.project(motion), torch.zeros_like(motion))


def test_the_equilibrium_lies_in_the_space_of_the_modes() -> None:
    network = _network()
    x = network.positions + 0.1 * torch.randn(3, 5, 3, generator=torch.Generator().manual_seed(1)).double()
    torch.testing.assert_close(network.project(network.positions[None])[0], network.positions)
    torch.testing.assert_close(network.from_modes(network.to_modes(x)), network.project(x))
    torch.testing.assert_close(network.project(network.project(x)), network.project(x))


@pytest.mark.parametrize("temperature", [300.0, 600.0])
def test_the_law_is_the_boltzmann_law_of_the_harmonic_energy(temperature: float) -> None:
    network, thermal = _network(), thermal_energy(temperature, "kJ/mol")
    law = network.law(temperature)
    covariance = network.modes @ law.covariance @ network.modes.mT
    torch.testing.assert_close(covariance, thermal * torch.linalg.pinv(network.hessian, rtol=1e-9))
    x = network.from_modes(law.draw(4, torch.Generator().manual_seed(0)))
    one, zero = torch.ones(()).double(), torch.zeros(()).double()
    log_density = law.log_density(network.to_modes(x), one, zero)
    unnormalised = -network.harmonic_energy(x) / thermal
    constant = 0.5 * torch.log(network.stiffness / (2.0 * math.pi * thermal)).sum()
    torch.testing.assert_close(log_density, unnormalised + constant)


def test_the_score_is_the_gradient_and_the_divergence_its_trace() -> None:
    network = _network()
    score = network.score(450.0, PATH)
    x = network.project(torch.randn(3, 5, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64))
    t = torch.tensor(0.2, dtype=torch.float64)
    gradient = torch.autograd.functional.jacobian(lambda values: score.log_density(values, t).sum(), x)
    torch.testing.assert_close(score(x, t), gradient)
    jacobian = torch.autograd.functional.jacobian(lambda values: score(values[None], t)[0], x[0])
    trace = jacobian.reshape(15, 15).trace()
    torch.testing.assert_close(score.divergence(x, t), trace.expand(3))
    assert score.path is PATH


def test_the_score_is_that_of_the_noisy_law_by_brute_force() -> None:
    network, t = _network(), torch.tensor(0.15, dtype=torch.float64)
    c = PATH.coefficients(t)
    covariance = network.modes @ network.law(450.0).covariance @ network.modes.mT
    projection = network.modes @ network.modes.mT
    noisy = c.alpha**2 * covariance + c.sigma**2 * projection
    x = network.project(torch.randn(3, 5, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64))
    moved = (x - c.alpha * network.positions).flatten(1)
    expected = -(moved @ torch.linalg.pinv(noisy, rtol=1e-9)).reshape(3, 5, 3)
    torch.testing.assert_close(network.score(450.0, PATH)(x, t), expected)


def test_fluctuations_are_those_of_draws() -> None:
    network = _network()
    law = network.law(300.0)
    x = network.from_modes(law.draw(20_000, torch.Generator().manual_seed(0)))
    measured = ((x - network.positions) ** 2).sum(-1).mean(0)
    torch.testing.assert_close(network.fluctuations(law.covariance), measured, rtol=0.05, atol=0.0)


def test_annealing_gives_the_law_at_the_other_temperature() -> None:
    network = _network()
    score = network.score(600.0, PATH)
    sampler = DriftLiteSampler.from_score(
        score, PATH, divergence=score.divergence, project=network.project, effective_dim=network.effective_dim
    )
    grid = log_snr_grid(PATH, 120, end=2e-3)
    result = sampler.sample(
        grid,
        count=500,
        shape=(5, 3),
        gamma=2.0,
        generator=torch.Generator().manual_seed(0),
        dtype=torch.float64,
    )
    torch.testing.assert_close(network.project(result.samples), result.samples)
    end = PATH.coefficients(grid[-1])
    law = network.law(600.0)
    spread = end.alpha**2 * law.variances + end.sigma**2
    exact = float((-0.5 * torch.log(2.0 * math.pi * spread) - 0.5 * math.log(2.0)).sum())
    assert result.particles is not None
    assert float(result.particles.log_normaliser) == pytest.approx(exact, abs=0.1)
    ratio = network.to_modes(result.samples).var(0) / (0.5 * spread)
    assert float((ratio - 1.0).abs().max()) < 5.0 * math.sqrt(2.0 / 500)


@pytest.fixture(scope="module")
def villin() -> ElasticNetwork:
    pytest.importorskip("openmm")
    return ElasticNetwork(load_villin().positions)


def test_the_shipped_protein_is_whole_and_its_fluctuations_realistic(villin: ElasticNetwork) -> None:
    structure = load_villin()
    assert structure.positions.shape == (35, 3)
    assert (structure.residues[0], structure.residues[26]) == ("LEU1", "HIS27")
    assert villin.effective_dim == 99
    b_factors = 100.0 * 8.0 * math.pi**2 / 3.0 * villin.fluctuations(villin.law(300.0).covariance)
    assert 10.0 < float(b_factors.mean()) < 30.0  # square angstrom
    ends = torch.cat([b_factors[:3], b_factors[-3:]])
    assert float(ends.mean()) > float(b_factors[3:-3].mean())  # the ends of the chain are loose


def _atom(number: int, name: str, residue: int, x: float, element: str) -> str:
    place = f"{x:8.3f}{0.0:8.3f}{0.0:8.3f}"
    return f"ATOM  {number:5d}  {name:<3s} ALA A{residue:4d}    {place}  1.00  0.00          {element:>2s}"


def test_broken_chains_and_calcium_are_noticed(tmp_path: Path) -> None:
    pytest.importorskip("openmm")
    path = tmp_path / "chain.pdb"
    path.write_text("\n".join(_atom(k, "CA", k, 3.8 * k, "C") for k in range(1, 6)) + "\nEND\n")
    assert read_alpha_carbons(path).positions[:, 0].tolist() == pytest.approx([0.38 * k for k in range(1, 6)])
    path.write_text(
        "\n".join(_atom(k, "CA", k, 3.8 * k + 9.0 * (k > 3), "C") for k in range(1, 6)) + "\nEND\n"
    )
    with pytest.raises(ValueError, match=r"ALA3 and ALA4 are 1\.28 nm apart"):
        read_alpha_carbons(path)
    path.write_text("\n".join(_atom(k, "CA", k, 3.8 * k, "CA") for k in range(1, 6)) + "\nEND\n")
    with pytest.raises(ValueError, match="got 0 alpha carbons"):
        read_alpha_carbons(path)
    with pytest.raises(FileNotFoundError, match=r"missing\.pdb"):
        read_alpha_carbons(tmp_path / "missing.pdb")


def test_networks_need_neither_prody_nor_openmm(monkeypatch: pytest.MonkeyPatch) -> None:
    for package in ("prody", "openmm", "openmm.app", "openmm.unit"):
        monkeypatch.setitem(sys.modules, package, None)  # makes their import fail
    assert ElasticNetwork(_beads(), cutoff=5.0).effective_dim == 9
    with pytest.raises(ImportError, match="openmm"):
        load_villin()
    for module in (elastic_network, alpha_carbons, distance_restraints):
        tree = ast.parse(Path(str(module.__file__)).read_text())
        imported = [node for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom)]
        assert not any("openmm" in ast.unparse(node) or "prody" in ast.unparse(node) for node in imported)


@pytest.mark.parametrize(
    ("positions", "settings", "reason"),
    [
        (torch.zeros(4, 2), {}, r"shape \(atoms, 3\)"),
        (torch.zeros(2, 3), {}, "at least three atoms"),
        (torch.full((4, 3), torch.nan), {}, "finite"),
        (torch.zeros(4, 3), {}, "beads 0 and 1"),
        (_beads(), {"cutoff": 0.0}, "cutoff must be positive and finite, in nm"),
        (_beads(), {"spring": -1.0}, "spring must be positive and finite, in kJ/mol"),
        (_beads(), {"cutoff": 0.4}, "6 rigid motions"),
    ],
)
def test_networks_that_cannot_be_are_refused(
    positions: Tensor, settings: dict[str, float], reason: str
) -> None:
    with pytest.raises(ValueError, match=reason):
        ElasticNetwork(positions, **settings)


def test_other_arguments_are_refused() -> None:
    network = _network()
    with pytest.raises(TypeError, match="positions must be a Tensor"):
        ElasticNetwork(_beads().numpy())  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="temperature must be positive and finite"):
        network.law(-1.0)
    with pytest.raises(ValueError, match="second must be a bead from 0 to 4, got 5"):
        network.difference(0, 5)
    with pytest.raises(ValueError, match="must differ"):
        network.difference(1, 1)

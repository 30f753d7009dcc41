"""Laws of the solvers, and their observed orders against measured references."""

from __future__ import annotations

import inspect

import pytest
import torch
from torch import Tensor

import sciffusion.continuous as continuous
from sciffusion.continuous import (
    ERSDE,
    AncestralDDPM,
    Cosine,
    DPMSolverMultistep,
    Euler,
    EulerMaruyama,
    Heun,
    Path,
    PowerScale,
    PredictorCorrector,
    RectifiedFlow,
    Solver,
    StochasticHeun,
    VarianceExploding,
    VariancePreserving,
    no_strength,
    sigma_strength,
)
from sciffusion.exact import ExactDenoiser, GaussianMixtureTarget, GaussianTarget
from sciffusion.sampling import State, angle_grid, sample, uniform_grid
from sciffusion.testing import assert_solver_laws, measure_order

SOLVERS = {
    "euler": Euler(),
    "euler-noise": Euler("noise_to_signal"),
    "heun": Heun(),
    "heun-noise": Heun("noise_to_signal"),
    "dpm1": DPMSolverMultistep(1),
    "dpm2": DPMSolverMultistep(2),
    "dpm3": DPMSolverMultistep(3),
    "ersde1-ode": ERSDE(1, PowerScale(1.0)),
    "ersde2": ERSDE(2),
    "ersde2-power": ERSDE(2, PowerScale(1.5)),
    "ersde3-power": ERSDE(3, PowerScale(2.0)),
    "ersde3": ERSDE(3),
    "ddpm": AncestralDDPM(),
    "ddpm-upper": AncestralDDPM("upper"),
    "euler-maruyama": EulerMaruyama(),
    "euler-maruyama-sigma": EulerMaruyama(sigma_strength),
    "euler-maruyama-ode": EulerMaruyama(no_strength),
    "predictor-corrector": PredictorCorrector(DPMSolverMultistep(2), 0.3),
    "predictor-corrector-stochastic": PredictorCorrector(EulerMaruyama(), 0.5, 2),
    "stochastic-heun": StochasticHeun(),
    "stochastic-heun-sigma": StochasticHeun(sigma_strength),
}


@pytest.mark.parametrize("path", [VariancePreserving(), Cosine(0.008, 0.0), RectifiedFlow()], ids=repr)
@pytest.mark.parametrize("name", SOLVERS)
def test_solver_laws(name: str, path: Path) -> None:
    assert_solver_laws(SOLVERS[name], path)


def test_every_public_solver_is_checked() -> None:
    public = [getattr(continuous, name) for name in continuous.__all__]
    solvers = {item for item in public if inspect.isclass(item) and issubclass(item, Solver)} - {Solver}
    assert solvers == {type(solver) for solver in SOLVERS.values()}


def _mixture(path: Path) -> tuple[ExactDenoiser, Tensor, Tensor]:
    """Denoiser, quantiles of the start and their exact images, for the two-component reference mixture."""
    centres = torch.tensor([-1.5, 1.0], dtype=torch.float64)
    stds = torch.tensor([0.4, 0.6], dtype=torch.float64)
    denoiser = ExactDenoiser(GaussianMixtureTarget.from_stds([0.3, 0.7], centres, stds), path)
    # Quantiles at t=1 by bisection.
    levels = torch.linspace(0.02, 0.98, 97, dtype=torch.float64)
    low, high = torch.full_like(levels, -3.0), torch.full_like(levels, 3.0)
    c = path.coefficients(1.0)
    parts = list(zip((0.3, 0.7), centres, stds, strict=True))
    for _ in range(60):
        middle = 0.5 * (low + high)
        below = sum(
            weight * torch.special.ndtr((middle - c.alpha * centre) / torch.hypot(c.alpha * std, c.sigma))
            for weight, centre, std in parts
        )
        low, high = torch.where(below < levels, middle, low), torch.where(below < levels, high, middle)
    start = low[:, None]
    return denoiser, start, denoiser.flow_map(start, 1.0, 0.0)


# Largest error at 512 uniform steps and order from 256 to 512, measured independently of this library.
REFERENCE = {
    ("euler-noise", "vp"): (1.42e-2, 0.99),
    ("euler-noise", "flow"): (1.26e-2, 0.99),
    ("dpm1", "vp"): (1.42e-2, 0.99),
    ("dpm1", "flow"): (1.26e-2, 0.99),
    ("heun-noise", "vp"): (4.1e-5, 2.00),
    ("heun-noise", "flow"): (9.0e-5, 2.03),
    ("dpm2", "vp"): (3.0e-4, 2.14),
    ("dpm2", "flow"): (6.0e-5, 1.98),
    ("dpm3", "vp"): (7.1e-5, 3.16),
    ("dpm3", "flow"): (1.8e-5, 2.22),
}
REFERENCE_PATHS = {
    "vp": VariancePreserving.from_alpha_min(0.01, sigma_min=0.01),
    "flow": RectifiedFlow(alpha_min=0.01, sigma_min=0.01),
}


@pytest.mark.parametrize(("name", "path"), REFERENCE)
def test_order_and_error_match_the_reference(name: str, path: str) -> None:
    error, order = REFERENCE[name, path]
    measured = measure_order(SOLVERS[name], *_mixture(REFERENCE_PATHS[path]), steps=(256, 512))
    # References are given to two or three digits.
    assert measured.errors[-1] == pytest.approx(error, rel=0.02)
    assert measured.orders[-1] == pytest.approx(order, abs=0.01)


@pytest.mark.parametrize("name", ["euler", "heun", "ersde1-ode"])
@pytest.mark.parametrize("path", REFERENCE_PATHS)
def test_observed_order_is_the_declared_one(name: str, path: str) -> None:
    measured = measure_order(SOLVERS[name], *_mixture(REFERENCE_PATHS[path]), steps=(128, 256))
    assert measured.orders[-1] == pytest.approx(SOLVERS[name].order, abs=0.15)


@pytest.mark.parametrize(("order", "least"), [(2, 1.9), (3, 2.3)])
@pytest.mark.parametrize("path", REFERENCE_PATHS)
def test_multistep_extended_solver_without_noise_has_its_order(path: str, order: int, least: float) -> None:
    # Start-up steps of lower order keep the third from showing in full.
    solver = ERSDE(order, PowerScale(1.0))
    measured = measure_order(solver, *_mixture(REFERENCE_PATHS[path]), steps=(128, 256))
    assert measured.orders[-1] > least


def test_first_order_steps_at_equal_angles_have_a_closed_form() -> None:
    # Final standard deviation = exact one times cos(Theta / n)^n for Gaussian data of standard deviation c.
    path, c, n = VarianceExploding(0.002, 80.0), 0.5, 10
    denoiser = ExactDenoiser(GaussianTarget.isotropic(1, std=c), path)
    start = torch.ones(1, 1, dtype=torch.float64)
    grid = angle_grid(path, n, data_std=c)
    final = float(sample(denoiser, DPMSolverMultistep(1), grid, state=State(x=start)).samples)
    turn = torch.atan(torch.tensor([80.0, 0.002], dtype=torch.float64) / c)
    ratio = float(torch.cos((turn[0] - turn[1]) / n) ** n)
    assert ratio == pytest.approx(0.8849158552, abs=1e-10)
    assert final / float(denoiser.flow_map(start, 1.0, 0.0)) == pytest.approx(ratio, rel=1e-10)
    assert final == pytest.approx(0.00553066, abs=5e-9)


def test_starts_in_pure_noise_are_finite_or_refused() -> None:
    denoiser = ExactDenoiser(GaussianTarget.isotropic(2, std=0.5), RectifiedFlow())
    start = State(x=torch.randn(3, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64))
    exact = denoiser.flow_map(start.x, 1.0, 0.0)
    for name in ("euler", "heun", "dpm1", "dpm2", "dpm3"):
        result = sample(denoiser, SOLVERS[name], uniform_grid(400), state=start)
        torch.testing.assert_close(result.samples, exact, rtol=0.02, atol=0.0)
    with pytest.raises(ValueError, match="pure noise"):
        sample(denoiser, Heun("noise_to_signal"), uniform_grid(4), state=start)


def test_bad_solver_arguments_are_named() -> None:
    with pytest.raises(ValueError, match="order must be"):
        DPMSolverMultistep(4)
    with pytest.raises(ValueError, match="order must be"):
        ERSDE(0)
    with pytest.raises(ValueError, match="power"):
        PowerScale(0.5)
    with pytest.raises(ValueError, match="variance"):
        AncestralDDPM("fixed")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="variable"):
        Euler("sigma")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="nfe=1"):
        Heun().steps_within(1)
    assert Heun().steps_within(9) == 4
    assert Heun().total_nfe(4) == 8

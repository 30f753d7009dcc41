"""Measures of weighted configurations: known values, weights as replication, invariances, the floor."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from scipy.stats import wasserstein_distance

from sciffusion.diagnostics import distances as core
from sciffusion.domains.boltzmann import metrics, metrics_kernel


def cluster(n: int = 60, atoms: int = 4, dimensions: int = 3, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(n, atoms, dimensions))


def harmonic(x: torch.Tensor) -> torch.Tensor:
    return 0.5 * x.square().sum((1, 2))


COUNTS = np.array([3, 0, 1, 2, 0, 4] * 10)


def weighted_and_repeated(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Log weights, and the rows that are the same law without weights."""
    with np.errstate(divide="ignore"):
        return np.log(COUNTS) + 17.0, np.repeat(np.arange(len(x)), COUNTS)


# ------------------------------------------------------------------ weights


def test_effective_sample_size_counts_equal_shares() -> None:
    assert metrics.effective_sample_size(np.full(7, -300.0)) == pytest.approx(7.0)
    assert metrics.effective_sample_size([5.0, 5.0, -np.inf, -np.inf]) == pytest.approx(2.0)
    assert metrics.effective_sample_size(torch.tensor([0.0, math.log(3.0)])) == pytest.approx(1.6)


def test_weighted_resample_keeps_shares_within_one_draw() -> None:
    weights = np.random.default_rng(0).exponential(size=50)
    drawn = metrics.weighted_resample(np.log(weights), 1000, generator=torch.Generator().manual_seed(3))
    expected = 1000 * weights / weights.sum()
    assert np.all(np.abs(np.bincount(drawn, minlength=50) - expected) < 1.0)
    assert len(metrics.weighted_resample(np.log(weights))) == 50
    assert set(metrics.weighted_resample([0.0, -np.inf, 0.0], 20)) == {0, 2}


def test_delta_nll_is_the_difference_of_weighted_means() -> None:
    found = metrics.delta_nll(
        [1.0, 5.0, np.inf], [2.0, 4.0], kT=0.5, log_weights=[0.0, math.log(3.0), -np.inf]
    )
    assert found == pytest.approx((4.0 - 3.0) / 0.5)
    weighted = metrics.delta_nll([1.0], [2.0, 4.0], reference_log_weights=[0.0, -np.inf])
    assert weighted == pytest.approx(-1.0)


# ------------------------------------------------------------------ distances on the line


def test_energy_distance_of_point_masses_and_shifts() -> None:
    assert metrics.energy_distance_w1([2.0], [5.5]) == pytest.approx(3.5)
    x = np.random.default_rng(0).normal(size=40)
    assert metrics.energy_distance_w1(x, x[::-1]) == pytest.approx(0.0, abs=1e-12)
    assert metrics.energy_distance_w1(x - 7.0, x) == pytest.approx(7.0)
    halves = metrics.energy_distance_w1([0.0, 1.0], [0.0, 1.0], log_weights=[0.0, math.log(3.0)])
    assert halves == pytest.approx(0.25)


def test_energy_distance_agrees_with_scipy() -> None:
    source = np.random.default_rng(1)
    x, y, a, b = (
        source.normal(size=30),
        source.normal(1.0, size=45),
        source.normal(size=30),
        source.random(45),
    )
    found = metrics.energy_distance_w1(x, y, log_weights=a, reference_log_weights=b)
    assert found == pytest.approx(wasserstein_distance(x, y, np.exp(a), np.exp(b)), abs=1e-12)


def test_radial_distribution_is_a_density() -> None:
    x = cluster()
    whole = metrics.radial_distribution(x, bins=30)
    assert (whole.values * np.diff(whole.edges)).sum() == pytest.approx(1.0)
    part = metrics.radial_distribution(x, bins=10, range=(0.0, 2.0))
    share = (metrics.pair_distances(x) <= 2.0).double().mean()
    assert (part.values * np.diff(part.edges)).sum() == pytest.approx(float(share))
    shell = metrics.radial_distribution(x, bins=10, range=(0.0, 2.0), normalisation="shell")
    volumes = 4 / 3 * np.pi * np.diff(part.edges**3)
    np.testing.assert_allclose(shell.values * volumes, part.values * np.diff(part.edges))
    assert part.middles[0] == pytest.approx(0.1)


@pytest.mark.parametrize(("dimensions", "first", "second"), [(2, math.pi, 3 * math.pi), (3, 4.19, 29.3)])
def test_shells_are_rings_in_the_plane_and_shells_in_space(
    dimensions: int, first: float, second: float
) -> None:
    x = np.zeros((4, 2, dimensions))
    x[:, 1, 0] = [0.5, 1.5, 1.5, 1.5]
    found = metrics.radial_distribution(x, bins=2, range=(0.0, 2.0), normalisation="shell")
    np.testing.assert_allclose(found.values, [0.25 / first, 0.75 / second], rtol=1e-3)


def test_radial_distribution_of_a_pair_of_types() -> None:
    x = np.zeros((1, 3, 2))
    x[0, 1, 0], x[0, 2, 1] = 1.0, 3.0  # distances 1, 3 and sqrt(10)
    types = [0, 1, 1]
    assert metrics.pair_distances(x, atom_types=types, pair=(1, 0)).tolist() == [[1.0, 3.0]]
    assert metrics.pair_distances(x, atom_types=types, pair=(1, 1))[0, 0] == pytest.approx(math.sqrt(10.0))
    with pytest.raises(ValueError, match="no pair of atoms of types"):
        metrics.pair_distances(x, atom_types=types, pair=(0, 0))
    with pytest.raises(ValueError, match="give atom_types"):
        metrics.pair_distances(x, pair=(0, 1))


def test_radial_w1_of_a_stretched_pair() -> None:
    x = np.zeros((5, 2, 3))
    x[:, 1, 2] = np.arange(1.0, 6.0)
    assert metrics.radial_w1(2.0 * x, x) == pytest.approx(3.0)  # the mean distance
    assert metrics.radial_w1(x[:1], x[4:]) == pytest.approx(4.0)


# ------------------------------------------------------------------ vectors


@pytest.mark.parametrize("symmetries", ["particles", "molecule"])
def test_random_symmetry_keeps_distances_and_handedness(symmetries: Any) -> None:
    x = torch.as_tensor(cluster())
    types = [0, 0, 1, 2]
    moved = metrics.random_symmetry(x + 5.0, symmetries, atom_types=types)
    assert float(moved.mean(1).abs().max()) < 1e-12
    for pair in ((0, 0), (0, 1), (0, 2), (1, 2)):
        before, after = (metrics.pair_distances(one, atom_types=types, pair=pair) for one in (x, moved))
        torch.testing.assert_close(before.sort(1).values, after.sort(1).values)
    bases = [one[:, 1:] - one[:, :1] for one in (x, moved)]
    hands = torch.linalg.det(bases[0]).sign() * torch.linalg.det(bases[1]).sign()
    share = float((hands > 0).double().mean())
    assert share == 1.0 if symmetries == "molecule" else 0.2 < share < 0.8
    if symmetries == "molecule":
        torch.testing.assert_close(metrics.pair_distances(x), metrics.pair_distances(moved))


def test_random_turns_are_uniform() -> None:
    x = np.broadcast_to(np.array([[-1.0, 0.0, 0.0], [1.0, 0.0, 0.0]]), (4000, 2, 3))
    ends = metrics.random_symmetry(x, "molecule")[:, 1]
    torch.testing.assert_close(ends.T @ ends / 4000, torch.eye(3).double() / 3, atol=0.03, rtol=0.0)
    assert float(ends.mean(0).abs().max()) < 0.05


def test_random_exchange_gives_every_place_equally_often() -> None:
    x = np.zeros((6000, 3, 1))
    x[:] = [[0.0], [1.0], [2.0]]
    places = metrics.random_symmetry(x, "particles", atom_types=[0, 1, 0])[..., 0].abs()
    assert bool((places[:, 1] == 0.0).all())  # the atom of a type of its own keeps its number
    single = metrics.random_symmetry(x, "particles")[..., 0]
    assert float((single[:, 0] == 0.0).double().mean()) == pytest.approx(1 / 3, abs=0.03)


def test_sorted_distances_do_not_change_under_symmetries() -> None:
    x = cluster(dimensions=2)
    settings: dict[str, Any] = {"features": "distances", "atom_types": [0, 1, 0, 1]}
    moved = metrics.random_symmetry(x, "particles", atom_types=[0, 1, 0, 1])
    torch.testing.assert_close(
        metrics.feature_vectors(x, **settings), metrics.feature_vectors(moved, **settings)
    )
    other = metrics.feature_vectors(x[:, [1, 0, 2, 3]], **settings)
    assert not torch.allclose(metrics.feature_vectors(x, **settings), other)


# ------------------------------------------------------------------ kernel and sliced distances


def test_discrepancy_is_the_double_sum() -> None:
    x, y = cluster(7, 3, 2), cluster(9, 3, 2, seed=1) + 0.3
    logs = np.random.default_rng(0).normal(size=7)
    vectors = [metrics.feature_vectors(one, symmetries="none").numpy() for one in (x, y)]
    w, v = np.exp(logs) / np.exp(logs).sum(), np.full(9, 1 / 9)
    pairs = [np.linalg.norm(vectors[1][i] - vectors[1][j]) for i in range(9) for j in range(i)]
    median = sorted(pairs)[17]  # of 36: torch takes the lower of the two in the middle

    def total(one: np.ndarray, two: np.ndarray, first: np.ndarray, second: np.ndarray) -> float:
        result = 0.0
        for i, a in enumerate(one):
            for j, b in enumerate(two):
                for c in (0.25, 0.5, 1.0, 2.0, 4.0):
                    k = math.exp(-np.sum((a - b) ** 2) / (2 * (c * median) ** 2))
                    result += first[i] * second[j] * k / 5
        return result

    square = total(vectors[0], vectors[0], w, w) + total(vectors[1], vectors[1], v, v)
    square -= 2 * total(vectors[0], vectors[1], w, v)
    found = metrics.maximum_mean_discrepancy(x, y, log_weights=logs, symmetries="none")
    assert found == pytest.approx(math.sqrt(square), rel=1e-9)


@pytest.mark.parametrize("features", ["coordinates", "distances"])
def test_discrepancy_agrees_with_the_core(features: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics_kernel, "_BLOCK", 100)  # several blocks
    x, y = cluster(30), 1.2 * cluster(50, seed=1)
    logs = np.random.default_rng(0).normal(size=30)
    found = metrics.maximum_mean_discrepancy(x, y, log_weights=logs, features=features, symmetries="none")
    vectors = [metrics.feature_vectors(one, features=features, symmetries="none") for one in (x, y)]
    weights = torch.softmax(torch.as_tensor(logs), 0)
    assert found == pytest.approx(float(core.maximum_mean_discrepancy(*vectors, first_weights=weights)))


def test_discrepancy_is_zero_for_equal_samples_and_positive_else() -> None:
    x = cluster()
    assert metrics.maximum_mean_discrepancy(x, x[::-1].copy(), symmetries="none") < 1e-7
    assert metrics.maximum_mean_discrepancy(x, 1.5 * x, features="distances") > 0.1


def test_sliced_wasserstein_of_a_shift() -> None:
    """A shift d along all directions gives the root of the mean squared projection, |d| / sqrt(dim)."""
    x = cluster(100, 2, 2)
    shift = np.zeros((2, 2))
    shift[0, 0], shift[1, 0] = 0.5, -0.5  # keeps the centre
    found = metrics.sliced_wasserstein(x + shift, x, symmetries="none", n_projections=4000)
    assert found == pytest.approx(np.linalg.norm(shift) / 2.0, rel=0.05)


@pytest.mark.parametrize("features", ["coordinates", "distances"])
def test_weights_are_repetitions(features: Any) -> None:
    x, y = cluster(), 1.1 * cluster(80, seed=1)
    logs, rows = weighted_and_repeated(x)
    energies = harmonic(torch.as_tensor(x)).numpy()
    settings: dict[str, Any] = {"features": features, "symmetries": "none"}
    for function, first, second, options in (
        (metrics.energy_distance_w1, energies, energies[:30], {}),
        (metrics.delta_nll, energies, energies[:30], {}),
        (metrics.radial_w1, x, y, {}),
        (metrics.maximum_mean_discrepancy, x, y, settings),
        (metrics.sliced_wasserstein, x, y, settings),
    ):
        weighted = function(first, second, log_weights=logs, **options)  # type: ignore[operator]
        repeated = function(first[rows], second, **options)  # type: ignore[operator]
        assert weighted == pytest.approx(repeated, rel=1e-8, abs=1e-9)
    histograms = [
        metrics.radial_distribution(x, log_weights=logs, bins=8, range=(0.0, 4.0)),
        metrics.radial_distribution(x[rows], bins=8, range=(0.0, 4.0)),
    ]
    np.testing.assert_allclose(histograms[0].values, histograms[1].values)


def test_either_side_of_the_sliced_distance_has_its_weights_and_directions_are_as_many_as_asked() -> None:
    x, y = cluster(30), 1.3 * cluster(40, seed=1)
    logs = np.random.default_rng(0).normal(size=30)
    settings: dict[str, Any] = {"symmetries": "none", "n_projections": 3}
    one = metrics.sliced_wasserstein(x, y, log_weights=logs, **settings)
    other = metrics.sliced_wasserstein(y, x, reference_log_weights=logs, **settings)
    assert other == pytest.approx(one)
    assert metrics.sliced_wasserstein(x, y, **settings) != pytest.approx(one, rel=1e-3)
    vectors = [metrics.feature_vectors(each, symmetries="none") for each in (x, y)]
    weights = torch.softmax(torch.as_tensor(logs), 0)
    expected = core.sliced_wasserstein(*vectors, first_weights=weights, n_projections=3)
    assert one == pytest.approx(float(expected))


def test_weights_of_a_reference_are_repetitions() -> None:
    x, drawn = cluster(), 1.2 * cluster(25, seed=1)
    logs, rows = weighted_and_repeated(x)
    settings: dict[str, Any] = {"kT": 0.7, "energy": harmonic, "symmetries": "none"}
    weighted = metrics.BoltzmannReference(x, log_weights=logs, **settings).compare(drawn)
    repeated = metrics.BoltzmannReference(x[rows], **settings).compare(drawn)
    # The bandwidths of the kernel are those of the rows, however often they are there.
    assert weighted.pop("mmd") == pytest.approx(repeated.pop("mmd"), rel=0.1)
    assert weighted == pytest.approx(repeated)
    plain = metrics.BoltzmannReference(x, **settings).compare(drawn)
    for measure in ("delta_nll", "w1_energy", "w1_radial", "swd"):
        assert plain[measure] != pytest.approx(weighted[measure], rel=1e-3), measure


# ------------------------------------------------------------------ tables


def gaussian_law(n: int, seed: int, temperature: float = 1.0) -> SimpleNamespace:
    x = math.sqrt(temperature) * cluster(n, seed=seed)
    return SimpleNamespace(
        configurations=x, energies=harmonic(torch.as_tensor(x)).numpy(), energy=harmonic, kT=temperature,
        atom_types=np.zeros(4, dtype=int),
    )  # fmt: skip


def test_reference_agrees_with_the_single_measures() -> None:
    law, drawn = gaussian_law(300, 0), gaussian_law(200, 1, temperature=2.0)
    logs = -0.5 * drawn.energies  # reweights temperature 2 to 1
    reference = metrics.BoltzmannReference.from_dataset(
        law, features=("coordinates", "distances"), symmetries="none"
    )
    found = reference.compare(drawn.configurations, logs)
    both: tuple[Any, Any] = (drawn.configurations, law.configurations)
    settings: dict[str, Any] = {"symmetries": "none", "log_weights": logs}
    assert found["n"] == 200
    assert found["ess"] == pytest.approx(metrics.effective_sample_size(logs))
    pair = (drawn.energies, law.energies)
    assert found["delta_nll"] == pytest.approx(metrics.delta_nll(*pair, log_weights=logs))
    assert found["w1_energy"] == pytest.approx(metrics.energy_distance_w1(*pair, log_weights=logs))
    assert found["w1_radial"] == pytest.approx(metrics.radial_w1(*both, log_weights=logs))
    assert found["mmd"] == pytest.approx(metrics.maximum_mean_discrepancy(*both, **settings))
    assert found["swd"] == pytest.approx(metrics.sliced_wasserstein(*both, **settings))
    apart = metrics.maximum_mean_discrepancy(*both, features="distances", **settings)
    assert found["mmd_distances"] == pytest.approx(apart)


def test_table_puts_right_draws_at_the_floor_and_wrong_ones_above() -> None:
    law, hot = gaussian_law(1000, 0), gaussian_law(300, 1, temperature=2.0)
    samples = {
        "right": gaussian_law(300, 2).configurations,
        "reweighted": (hot.configurations, -0.5 * hot.energies),
        "hot": SimpleNamespace(configurations=hot.configurations, log_weights=np.zeros(300)),
    }
    table = metrics.compare_samples(samples, law, features=("distances",))
    assert list(table.index) == ["right", "reweighted", "hot", "floor", "floor spread"]
    floor = table.loc["floor"]
    assert floor["n"] == 300
    for measure in ("mmd_distances", "swd_distances", "w1_radial", "w1_energy"):
        assert table.loc["right", measure] < floor[measure] + 5 * table.loc["floor spread", measure]
        assert table.loc["hot", measure] > 2.5 * floor[measure]
        assert table.loc["reweighted", measure] < 0.6 * table.loc["hot", measure]
    assert abs(table.loc["right", "delta_nll"]) < 0.5 < table.loc["hot", "delta_nll"]
    again = metrics.compare_samples(samples, law, features=("distances",))
    assert table.equals(again)


def test_floor_between_two_runs() -> None:
    """The floor of a run against another one sees that the other one is different."""
    law = gaussian_law(400, 0)
    samples = {"right": gaussian_law(100, 2).configurations}
    own = metrics.compare_samples(samples, law, n_floor=3)
    runs = metrics.compare_samples(samples, law, second_reference=gaussian_law(400, 3, 1.5), n_floor=3)
    assert runs.loc["floor", "w1_energy"] > 2 * own.loc["floor", "w1_energy"]
    assert "floor" not in metrics.compare_samples(samples, law, n_floor=0).index


def _levels(energies: list[float], log_weights: Any = None) -> metrics.BoltzmannReference:
    x = cluster(len(energies))
    return metrics.BoltzmannReference(x, kT=1.0, energies=energies, log_weights=log_weights)


def test_the_floor_is_between_rows_and_the_others_with_their_weights() -> None:
    """Of four equidistant energies two are 1 or 2 from the other two, and nearer to all four."""
    sample = {"any": (cluster(2, seed=1), None)}
    apart, known = set(), _levels([0.0, 1.0, 2.0, 3.0])
    for seed in range(12):
        floor = metrics._floor(known, None, 2, torch.Generator().manual_seed(seed))
        apart.add(round(floor["w1_energy"], 9))
    assert apart == {1.0, 2.0}
    # Rows that hardly count, on both sides: all of the weight has energy 0 unless both rows have none.
    weighted = _levels([0.0, 0.0, 5.0, 5.0], [0.0, 0.0, -50.0, -50.0])
    found = {
        round(metrics._floor(weighted, None, 2, torch.Generator().manual_seed(seed))["w1_energy"], 6)
        for seed in range(12)
    }
    assert found == {0.0, 5.0}
    for name in ("floor", "floor spread"):
        with pytest.raises(ValueError, match=f"a sample is called '{name}'"):
            metrics.compare_samples({name: sample["any"]}, gaussian_law(10, 0))


def test_reference_without_energies_says_nothing_of_them() -> None:
    reference = metrics.BoltzmannReference(cluster(50), kT=1.0)
    assert {"n", "ess", "mmd", "swd", "w1_radial"} == set(reference.compare(cluster(20, seed=1)))


# ------------------------------------------------------------------ refusals


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda x: metrics.pair_distances(x[0]), r"shape \(n, atoms, dimensions\)"),
        (lambda x: metrics.pair_distances(np.where(x > 2, np.nan, x)), "must be finite"),
        (lambda x: metrics.maximum_mean_discrepancy(x, x[:, :3]), "same atoms and dimensions"),
        (lambda x: metrics.maximum_mean_discrepancy(x, x, log_weights=[0.0]), r"shape \(60,\)"),
        (lambda x: metrics.maximum_mean_discrepancy(x, 0 * x), "all equal"),
        (lambda x: metrics.maximum_mean_discrepancy(x, x, features="angles"), "features must be"),
        (lambda x: metrics.maximum_mean_discrepancy(x, x, atom_types=[0, 1]), "atom_types must be 4"),
        (lambda x: metrics.effective_sample_size([np.nan, 0.0]), "finite or -inf"),
        (lambda x: metrics.effective_sample_size(0.0), "shape"),
        (lambda x: metrics.energy_distance_w1([1.0, np.inf], [1.0]), "overlapping atoms"),
        (lambda x: metrics.energy_distance_w1([], [1.0]), "got none"),
        (lambda x: metrics.delta_nll([1.0], [1.0], kT=0.0), "kT must be positive"),
        (lambda x: metrics.radial_distribution(x, range=(2.0, 1.0)), "range must be increasing"),
        (lambda x: metrics.radial_distribution(x, normalisation="bulk"), "normalisation"),
        (lambda x: metrics.weighted_resample([0.0], 0), "n must be at least 1"),
        (lambda x: metrics.compare_samples({}, gaussian_law(10, 0)), "samples is empty"),
        (lambda x: metrics.compare_samples({"a": (x,)}, gaussian_law(10, 0)), "a tuple of 1"),
        (lambda x: metrics.energies_of(lambda y: y, x), "energy must give shape"),
    ],
)
def test_bad_input_is_refused(call: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call(cluster())


def test_texts_are_no_configurations() -> None:
    with pytest.raises(TypeError, match="real numbers"):
        metrics.pair_distances([["a"]])
    with pytest.raises(TypeError, match="must hold an array"):
        metrics.compare_samples({"a": "x"}, gaussian_law(10, 0))

"""What scikit-learn and this library ask of `BoltzmannDiffusion`.

Frames do not apply: its X has three axes.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.utils.estimator_checks import parametrize_with_checks

import sciffusion
from sciffusion.continuous import Trigonometric
from sciffusion.domains.boltzmann import BoltzmannDiffusion, particle_model
from sciffusion.estimators import DiffusionEstimator
from sciffusion.estimators.devices import DeviceError

_CONFIGURATIONS = "X has three axes: configurations, atoms, dimensions; a table of numbers is refused"
_CHECKS_ON_TABLES = (
    "check_fit_score_takes_y", "check_estimators_overwrite_params", "check_dont_overwrite_parameters",
    "check_estimators_fit_returns_self", "check_readonly_memmap_input",
    "check_n_features_in_after_fitting", "check_positive_only_tag_during_fit", "check_estimators_dtypes",
    "check_complex_data", "check_dtype_object", "check_estimators_empty_data_messages",
    "check_pipeline_consistency", "check_estimators_nan_inf", "check_estimator_sparse_tag",
    "check_estimator_sparse_array", "check_estimator_sparse_matrix", "check_estimators_pickle",
    "check_f_contiguous_array_estimator", "check_methods_sample_order_invariance",
    "check_methods_subset_invariance", "check_fit2d_1sample", "check_fit2d_1feature",
    "check_dict_unchanged", "check_fit_idempotent", "check_fit_check_is_fitted", "check_n_features_in",
    "check_fit2d_predict1d", "check_sample_weights_pandas_series", "check_sample_weights_not_an_array",
    "check_sample_weights_list", "check_all_zero_sample_weights_error", "check_sample_weights_shape",
    "check_sample_weights_not_overwritten", "check_sample_weight_equivalence_on_dense_data",
)  # fmt: skip
KILOJOULE = 0.00831446261815324


def small(**parameters: Any) -> BoltzmannDiffusion:
    given: dict[str, Any] = {
        "width": 4, "depth": 1, "max_steps": 3, "batch_size": 32, "nfe": 6, "langevin_steps": 2,
        "particles": 20, "device": "cpu", "random_state": 0,
    }  # fmt: skip
    return BoltzmannDiffusion(**{**given, **parameters})


def _positions(count: int = 60) -> np.ndarray:
    x = np.random.default_rng(0).normal(size=(count, 3, 2)) * np.sqrt(0.5)
    return x - x.mean(1, keepdims=True)


def _one_hand(count: int = 30) -> np.ndarray:
    x = np.random.default_rng(0).normal(size=(count, 4, 3))
    x[np.linalg.det(x[:, 1:] - x[:, :1]) < 0, :, 0] *= -1.0
    return x


def _drawn(model: BoltzmannDiffusion, **settings: Any) -> np.ndarray:
    given: dict[str, Any] = {"temperature": 0.8 * model.temperature_, "resample": False, "random_state": 1}
    return model.sample(20, **{**given, **settings}).configurations


@pytest.fixture(scope="module")
def fitted() -> BoltzmannDiffusion:
    x = _positions()
    return small().fit(x, temperature=2.0, forces=-4.0 * x)


@parametrize_with_checks(
    [small(max_steps=1)], expected_failed_checks=lambda _: dict.fromkeys(_CHECKS_ON_TABLES, _CONFIGURATIONS)
)
@pytest.mark.filterwarnings("ignore:.*SCIPY_ARRAY_API")
def test_scikit_learns_checks(estimator: BoltzmannDiffusion, check: Callable[[Any], None]) -> None:
    check(estimator)


def test_what_those_checks_ask_holds_of_configurations() -> None:
    """Parameters stay, a fit returns itself, may be repeated, and what is asked of it changes nothing."""
    model, x = small(bonds=((0, 1), (1, 2)), atom_types=("C", "H", "C")), _positions()
    before, copy, stream = model.get_params(), x.copy(), torch.get_rng_state()
    assert model.fit(x) is model
    assert model.get_params() == before
    added = vars(model).keys() - before.keys()
    assert all(name.endswith("_") for name in added)
    assert {"temperature_", "kT_", "n_atoms_", "n_dimensions_", "length_", "seed_", "history_"} <= added
    held, drawn = pickle.dumps(model), _drawn(model)
    assert pickle.dumps(model) == held
    np.testing.assert_array_equal(x, copy)
    np.testing.assert_array_equal(_drawn(model.fit(x)), drawn)
    assert torch.equal(torch.get_rng_state(), stream)
    assert clone(model).get_params() == before
    assert model.set_params(nfe=9).nfe == 9
    assert sciffusion.BoltzmannDiffusion is BoltzmannDiffusion


def test_nothing_can_be_asked_before_a_fit() -> None:
    for call in (BoltzmannDiffusion().sample, lambda: BoltzmannDiffusion().score_samples(_positions())):
        with pytest.raises(NotFittedError):
            call()
    with pytest.raises(NotFittedError):
        BoltzmannDiffusion().save("m.safetensors")


def test_a_failed_fit_leaves_the_model_as_it_was(fitted: BoltzmannDiffusion) -> None:
    before = _drawn(fitted)
    for wrong in (_positions().reshape(60, 6), _positions()[:1], np.full((5, 3, 2), np.nan)):
        with pytest.raises(ValueError, match="X"):
            fitted.fit(wrong)
    np.testing.assert_array_equal(_drawn(fitted), before)


def test_forms_of_configurations_agree(fitted: BoltzmannDiffusion) -> None:
    x, expected = _positions(), _drawn(fitted)
    for form in (torch.from_numpy(x), x.tolist(), x.astype(np.float32)):
        forces = -4.0 * np.asarray(form)
        found = small().fit(form, temperature=2.0, forces=forces)
        np.testing.assert_allclose(_drawn(found), expected, atol=1e-3)
    scores = fitted.score_samples(x[:4])
    np.testing.assert_allclose(fitted.score_samples(x[:4].tolist()), scores)
    np.testing.assert_allclose(fitted.score_samples(torch.from_numpy(x[:4])), scores)


def test_a_saved_and_a_pickled_model_are_the_same(fitted: BoltzmannDiffusion, tmp_path: Path) -> None:
    fitted.save(tmp_path / "m.safetensors")
    back = DiffusionEstimator.load(tmp_path / "m.safetensors")
    assert isinstance(back, BoltzmannDiffusion)
    for other in (back, pickle.loads(pickle.dumps(fitted))):
        np.testing.assert_array_equal(_drawn(other), _drawn(fitted))
        np.testing.assert_array_equal(other.score_samples(_positions(4)), fitted.score_samples(_positions(4)))
        assert other.temperature_ == fitted.temperature_
        assert other.length_ == fitted.length_


def test_all_of_a_chiral_model_comes_back(tmp_path: Path) -> None:
    """With settings, all of which are not those by default, and what was given as arrays."""
    x = _one_hand()
    model = small(
        chiral_centre=np.array([0, 1, 2, 3]), min_noise=0.3, max_noise=4.0, energy_based=True,
        units="kcal/mol", atom_types=np.array([0, 1, 1, 2]),
        bonds=np.array([[0, 1], [0, 2], [0, 3]]), local_scale=0.4,
    ).fit(x, temperature=310.0)  # fmt: skip
    model.save(tmp_path / "m.safetensors")
    back = BoltzmannDiffusion.load(tmp_path / "m.safetensors")
    for name in ("temperature_", "kT_", "length_", "local_scale_", "hand_", "_centre_", "_ends_", "seed_"):
        assert getattr(back, name) == getattr(model, name), name
    assert model._ends_ == (4.0, pytest.approx(0.3 * 0.4 / model.length_))
    assert back._frame_.chiral == (0, 1, 2, 3)
    given: dict[str, Any] = {"temperature": 300.0, "random_state": 0, "control": "ecg"}
    one, other = (each.sample(20, **given) for each in (model, back))
    np.testing.assert_array_equal(one.configurations, other.configurations)
    np.testing.assert_array_equal(one.log_weights, other.log_weights)
    np.testing.assert_array_equal(one.log_normaliser, other.log_normaliser)
    assert one.reflected_share == other.reflected_share
    np.testing.assert_array_equal(model.score_samples(x[:3]), back.score_samples(x[:3]))


def test_the_centre_is_that_of_the_fit(harmonic: Any) -> None:
    model = small(chiral_centre=[0, 1, 2, 3]).fit(_one_hand())
    before = model.sample(20, random_state=0)
    for other in (None, (0, 2, 1, 3)):
        found = model.set_params(chiral_centre=other).sample(20, random_state=0)
        np.testing.assert_array_equal(found.configurations, before.configurations)
    for wrong in ((0, 1, 2), (0, 1, 2, 9)):
        with pytest.raises(ValueError, match="chiral_centre must be four different atoms"):
            BoltzmannDiffusion.from_score(lambda x, t: -x, path=Trigonometric(), atoms=4, chiral_centre=wrong)


def test_scales_of_rewards_are_in_the_unit_of_the_data(
    fitted: BoltzmannDiffusion, monkeypatch: pytest.MonkeyPatch
) -> None:
    class SeenError(Exception):
        pass

    def look(source: Any, settings: Any, *_: Any, **__: Any) -> None:
        level = 0.6 / fitted.length_
        assert settings.reward_scale == pytest.approx(level)
        time = source.path.time_of_log_snr(torch.tensor([-np.log(level)], dtype=torch.float64))
        share = settings.reward_schedule(source.path.coefficients(time))
        assert float(share[0]) == pytest.approx(0.5)
        raise SeenError

    assert abs(fitted.length_ - 1.0) > 0.1
    monkeypatch.setattr(particle_model, "run_systems", look)
    with pytest.raises(SeenError):
        fitted.sample(4, reward=lambda x: x.square().flatten(1).sum(1), reward_scale=0.6)


def test_divergences_are_exact_for_few_coordinates_and_probed_for_many(fitted: BoltzmannDiffusion) -> None:
    model = pickle.loads(pickle.dumps(fitted))
    for atoms, expected in ((3, None), (12, None), (13, 1)):
        model.n_atoms_ = atoms
        assert model._probes(None) == expected
        assert model._probes(3) == 3


def test_files_of_before_energies_can_be_read(fitted: BoltzmannDiffusion) -> None:
    tensors, values = fitted._fitted_state()
    values["settings"] = {
        name: value for name, value in values["settings"].items()
        if name not in ("energy_based", "fokker_planck")
    }  # fmt: skip
    back = small()
    back.seed_ = fitted.seed_
    back._restore_fitted_state(tensors, values)
    np.testing.assert_array_equal(_drawn(back), _drawn(fitted))


@pytest.mark.parametrize(
    ("units", "energy", "length"),
    [("reduced", 2.0 / 300.0, 1.0), ("kJ/mol", KILOJOULE, 0.1), ("kcal/mol", KILOJOULE / 4.184, 10.0)],
)
def test_units_change_nothing_but_units(units: str, energy: float, length: float) -> None:
    x = _positions()
    forces, kt = -4.0 * x, 2.0  # in the units of kT = 2
    reference = small(local_scale=0.5).fit(x, temperature=2.0, forces=forces)
    temperature = 2.0 if units == "reduced" else 300.0
    scale = energy * 300.0 / kt
    model = small(units=units, local_scale=0.5 * length)
    model.fit(x * length, temperature=temperature, forces=forces * scale / length)
    assert model.kT_ == pytest.approx(kt * scale)
    assert model.length_ == pytest.approx(reference.length_ * length)

    def trap(y: torch.Tensor) -> torch.Tensor:
        return 0.7 * y.square().flatten(1).sum(1)

    expected = _drawn(reference, potential=trap)
    found = _drawn(model, potential=lambda y: scale * trap(y / length))
    np.testing.assert_allclose(found / length, expected, atol=2e-3)
    one, other = (
        each.sample(40, temperature=0.8 * each.temperature_, random_state=0, resample=False)
        for each in (reference, model)
    )
    # The log of a length stays: (1 - gamma) D log(length).
    shift = (1.0 - one.gamma) * 4 * np.log(length)
    np.testing.assert_allclose(other.log_normaliser - one.log_normaliser, shift, atol=2e-2)
    np.testing.assert_allclose(
        model.score_samples(x[:3] * length), reference.score_samples(x[:3]) - 4 * np.log(length), atol=2e-2
    )


def test_units_are_those_of_the_fit(fitted: BoltzmannDiffusion) -> None:
    other = pickle.loads(pickle.dumps(fitted)).set_params(units="kJ/mol")
    np.testing.assert_array_equal(_drawn(other), _drawn(fitted))


def test_weights_are_repetitions_for_all_that_is_measured() -> None:
    x = _positions(40)
    weights = np.arange(40) % 3
    repeated = np.repeat(x, weights, 0)
    one = small().fit(x, sample_weight=weights, forces=-2.0 * x)
    other = small().fit(repeated, forces=-2.0 * repeated)
    assert one.length_ == pytest.approx(other.length_)
    assert one.local_scale_ == pytest.approx(other.local_scale_)
    torch.testing.assert_close(one._frame_.pair_means, other._frame_.pair_means)
    torch.testing.assert_close(one._frame_.pair_stds, other._frame_.pair_stds)
    same = small().fit(x, sample_weight=np.full(40, 3.0), forces=-2.0 * x)
    plain = small().fit(x, forces=-2.0 * x)
    np.testing.assert_array_equal(_drawn(same), _drawn(plain))
    with pytest.raises(ValueError, match="at least 2 configurations, got 1"):
        small().fit(x, sample_weight=np.arange(40) == 3)


def test_an_interrupted_fit_is_taken_up_again(tmp_path: Path) -> None:
    class StopError(Exception):
        pass

    import pytorch_lightning as lightning

    class Stopper(lightning.Callback):  # type: ignore[misc, unused-ignore]
        def on_train_batch_end(self, trainer: Any, *_: Any) -> None:
            if trainer.global_step >= 25:
                raise StopError

    x, options = _positions(), {"max_steps": 40}
    whole = small(**options).fit(x)
    path = tmp_path / "c"
    with pytest.raises(StopError):
        small(**options, checkpoint=path, trainer_options={"callbacks": [Stopper()]}).fit(x)
    resumed = small(**options, checkpoint=path).fit(x)
    np.testing.assert_array_equal(_drawn(resumed), _drawn(whole))
    with pytest.raises(ValueError, match="checkpoint needs random_state"):
        small(checkpoint=path, random_state=None).fit(x)


def test_seeds_decide(fitted: BoltzmannDiffusion) -> None:
    assert not np.array_equal(_drawn(fitted, random_state=2), _drawn(fitted))
    states = [np.random.RandomState(5), 5]
    first = [fitted.sample(20, random_state=state).configurations for state in states]
    assert np.isfinite(first).all()
    x = _positions()
    first, other = (small(random_state=seed).fit(x)._model_.network.of_bumps.weight for seed in (0, 1))
    assert not torch.equal(first, other)


def test_it_can_be_searched_over_and_ends_a_pipeline() -> None:
    x = _positions(30)
    search = GridSearchCV(small(), {"max_noise": [5.0, 10.0]}, cv=2).fit(x)
    assert np.isfinite(search.best_score_)
    line = make_pipeline(small()).fit(x)
    assert np.isfinite(line.score(x))


@pytest.mark.parametrize(
    ("name", "value", "kind"),
    [
        ("units", "eV", ValueError), ("width", 0, ValueError), ("depth", 1.5, TypeError),
        ("min_noise", 1.0, ValueError), ("max_noise", 0.5, ValueError), ("nfe", 1, ValueError),
        ("particles", 1, ValueError), ("langevin_steps", -1, ValueError), ("local_scale", 0.0, ValueError),
        ("learning_rate", 0.0, ValueError), ("validation_fraction", 1.0, ValueError),
        ("energy_based", "yes", TypeError), ("fokker_planck", -1.0, ValueError),
        ("variance_floor", 0.0, ValueError), ("bonds", 3, TypeError),
        ("atom_types", "CC", TypeError), ("chiral_centre", (0, 1, 2), ValueError),
        ("device", "gpu", ValueError), ("trainer_options", 3, TypeError),
    ],
)  # fmt: skip
def test_wrong_parameters_are_named_in_fit(name: str, value: Any, kind: type[Exception]) -> None:
    with pytest.raises(kind, match=name):
        small(**{name: value}).fit(_positions(8))


@pytest.mark.parametrize(
    ("name", "value", "kind"),
    [
        ("temperature", 0.0, ValueError), ("temperature", float("nan"), ValueError),
        ("temperature", 0.05, ValueError), ("temperature", 100.0, ValueError),
        ("control", "best", ValueError), ("control", "ecg", ValueError), ("particles", 1, ValueError),
        ("nfe", 1, ValueError), ("threshold", 1.5, ValueError), ("bound", 0.0, ValueError),
        ("n_probes", 0, ValueError), ("resample", "yes", TypeError), ("langevin_steps", -1, ValueError),
    ],
)  # fmt: skip
def test_wrong_arguments_of_a_draw_are_named(
    fitted: BoltzmannDiffusion, name: str, value: Any, kind: type[Exception]
) -> None:
    with pytest.raises(kind, match=name if name != "control" else "control|ecg"):
        fitted.sample(10, **{name: value})
    with pytest.raises((ValueError, TypeError), match="n must"):
        fitted.sample(1)


def test_far_temperatures_are_refused_with_the_range(fitted: BoltzmannDiffusion) -> None:
    with pytest.raises(ValueError, match=r"between 0\.1 and 40.*train at a temperature nearer"):
        fitted.sample(10, temperature=50.0)


def test_forces_in_other_units_are_refused() -> None:
    x = _positions(400)
    with pytest.raises(ValueError, match="forces do not fit the temperature"):
        small(units="kJ/mol").fit(x, temperature=300.0, forces=-4.0 * 300.0 * x)
    assert small(units="kJ/mol").fit(x, temperature=300.0, forces=-600.0 * KILOJOULE * x).kT_ > 0.0


def test_a_device_that_is_not_there_is_refused() -> None:
    if torch.cuda.is_available():
        pytest.skip("there is one")
    with pytest.raises(DeviceError, match="device='cpu'"):
        small(device="cuda").fit(_positions(8))


def test_hands_of_training_data_are_kept() -> None:
    x = np.random.default_rng(0).normal(size=(40, 4, 3))
    hands = np.linalg.det(x[:, 1:] - x[:, :1])
    mixed = small(chiral_centre=(0, 1, 2, 3))
    with pytest.raises(ValueError, match="hand"):
        mixed.fit(x)
    x[hands > 0, :, 0] *= -1.0  # all of hand -1
    found = mixed.fit(x).sample(30, random_state=0)
    assert mixed.hand_ == -1
    drawn = found.configurations
    assert (np.linalg.det(drawn[:, 1:] - drawn[:, :1]) < 0).all()
    assert found.reflected_share is not None
    assert 0.0 < found.reflected_share < 1.0


def test_models_of_outside_scores_cannot_be_saved_and_are_replaced_by_a_fit(
    harmonic: Any, tmp_path: Path
) -> None:
    model = harmonic(0.5, 0.5).model(particles=10, nfe=4)
    with pytest.raises(ValueError, match=r"cannot be saved.*from_score again"):
        model.save(tmp_path / "m.safetensors")
    with pytest.raises(NotFittedError):
        clone(model).sample(4)
    before = model.sample(10, random_state=0).configurations
    model.set_params(width=4, depth=1, max_steps=1).fit(_positions(20))
    assert not np.array_equal(model.sample(10, random_state=0).configurations, before)
    model.save(tmp_path / "m.safetensors")


@pytest.mark.parametrize(
    ("name", "value", "kind"),
    [
        ("path", None, TypeError), ("atoms", 1, ValueError), ("dimensions", 4, ValueError),
        ("temperature", -1.0, ValueError), ("units", "eV", ValueError), ("min_noise", 0.0, ValueError),
        ("max_noise", 1e-4, ValueError), ("effective_dim", 3, ValueError), ("nfe", 1, ValueError),
        ("particles", 1, ValueError), ("n_probes", 0, ValueError), ("divergence", 3, TypeError),
        ("log_density", 3, TypeError), ("project", 3, TypeError),
    ],
)  # fmt: skip
def test_wrong_arguments_of_outside_scores_are_named(name: str, value: Any, kind: type[Exception]) -> None:
    given: dict[str, Any] = {"path": Trigonometric(), "atoms": 3}
    with pytest.raises(kind, match=f"{name}|min_noise"):
        BoltzmannDiffusion.from_score(lambda x, t: -x, **{**given, name: value})
    with pytest.raises(TypeError, match="score must be a function"):
        BoltzmannDiffusion.from_score(3.0, **given)  # type: ignore[arg-type]

"""Forms of input, weights, reproducibility, and what is refused."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from scipy.sparse import csr_array
from sklearn.utils.validation import check_is_fitted

from sciffusion.domains.survival import SDPMSurvival, make_survival_target
from sciffusion.estimators import chunking

MakeModel = Callable[..., SDPMSurvival]
RECIPES = pytest.mark.parametrize("recipe", ["default", "paper"])


def _curves(model: SDPMSurvival, X: Any, **arguments: Any) -> np.ndarray:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*beyond the longest observed time")
        values: np.ndarray = model.predict_survival_function(X, return_array=True, **arguments)
    return values


# ---------------------------------------------------------------- forms


@RECIPES
def test_all_forms_of_input_give_one_model(make_model: MakeModel, study: Any, recipe: str) -> None:
    X, T, E = study
    other_names = np.empty(len(T), dtype=[("lenfol", np.float32), ("fstat", np.bool_)])
    other_names["lenfol"], other_names["fstat"] = T, E
    frame = X.assign(days=T, died=E.astype(int))[["days", "age", "marker", "died", "sex"]]
    forms: list[tuple[tuple[Any, ...], dict[str, Any]]] = [
        ((X, T, E), {}),
        ((X, pd.Series(T), list(E)), {}),
        ((X, T, E.astype(int)), {}),
        ((X, study.y), {}),
        ((X, other_names), {}),
        ((X, pd.DataFrame({"e": E, "t": T})), {}),
        ((frame,), {"duration_col": "days", "event_col": "died"}),
    ]
    models = [make_model(recipe=recipe).fit(*args, **named) for args, named in forms]
    first = _curves(models[0], X)
    for model in models[1:]:
        assert_array_equal(_curves(model, X), first)
        assert list(model.feature_names_in_) == ["age", "marker", "sex"]


def test_all_events_can_be_said_or_shown(make_model: MakeModel, study: Any) -> None:
    shown = make_model().fit(study.X, study.T, np.ones(len(study.T)))
    said = make_model(censoring="none").fit(study.X, study.T)
    assert_array_equal(_curves(shown, study.X), _curves(said, study.X))
    assert said.score(study.X, study.T) == shown.score(study.X, study.T, np.ones(len(study.T)))
    assert said.sample(study.X, 3, random_state=0)[1].all()


def test_the_index_of_a_frame_means_nothing(make_model: MakeModel, study: Any) -> None:
    X = study.X.set_axis(np.arange(len(study.X))[::-1] // 2, axis=0)
    assert_array_equal(
        _curves(make_model().fit(X, study.T, study.E), X),
        _curves(make_model().fit(study.X, study.T, study.E), study.X),
    )


def test_an_array_may_hold_nan_and_any_numeric_dtype(make_model: MakeModel, study: Any) -> None:
    array = study.array.astype(np.float32)
    array[::7, 1] = np.nan
    model = make_model().fit(array, study.y)
    assert np.isfinite(_curves(model, array)).all()
    assert_array_equal(_curves(model, array.astype(np.float64)), _curves(model, array))
    assert_array_equal(_curves(model, array.tolist()), _curves(model, array))


# ---------------------------------------------------------------- weights


@RECIPES
def test_a_weight_of_zero_is_an_absent_row(make_model: MakeModel, study: Any, recipe: str) -> None:
    weights = np.ones(len(study.T))
    weights[::5] = 0.0
    kept = weights > 0.0
    X = study.X.copy()
    X.loc[~kept, "age"] = 1e6  # would spoil the scaling
    T = np.where(kept, study.T, 1e6)
    weighted = make_model(recipe=recipe).fit(X, T, study.E, sample_weight=weights)
    absent = make_model(recipe=recipe).fit(study.X[kept], study.T[kept], study.E[kept])
    assert_array_equal(_curves(weighted, study.X), _curves(absent, study.X))
    assert_array_equal(weighted.unique_times_, absent.unique_times_)


@RECIPES
def test_the_unit_of_the_weights_does_not_matter(make_model: MakeModel, study: Any, recipe: str) -> None:
    weights = np.random.default_rng(0).choice([0.5, 1.0, 2.0], len(study.T))
    light = make_model(recipe=recipe).fit(study.X, study.y, sample_weight=weights)
    heavy = make_model(recipe=recipe).fit(study.X, study.y, sample_weight=1024.0 * weights)
    assert_array_equal(_curves(light, study.X), _curves(heavy, study.X))
    ones = make_model(recipe=recipe).fit(study.X, study.y, sample_weight=np.full(len(study.T), 4.0))
    assert_array_equal(
        _curves(ones, study.X), _curves(make_model(recipe=recipe).fit(study.X, study.y), study.X)
    )


def test_without_training_a_weight_of_two_is_a_repeated_row(make_model: MakeModel, study: Any) -> None:
    weights = np.random.default_rng(0).integers(0, 4, len(study.T))
    weighted = make_model(max_steps=0).fit(study.X, study.y, sample_weight=weights)
    repeated = make_model(max_steps=0).fit(
        study.X.loc[study.X.index.repeat(weights)], study.y.repeat(weights)
    )
    assert_allclose(_curves(weighted, study.X), _curves(repeated, study.X), atol=1e-12)


def test_without_training_the_curve_is_the_weighted_kaplan_meier(make_model: MakeModel, study: Any) -> None:
    from sciffusion.domains.survival.kaplan_meier import kaplan_meier_curves

    weights = np.random.default_rng(0).uniform(0.1, 5.0, len(study.T))
    model = make_model(max_steps=0, n_draws=4096, nfe=16).fit(study.X, study.y, sample_weight=weights)
    cohort = kaplan_meier_curves(study.T[None], study.E[None], weights=weights)
    reliable = model.unique_times_[model.unique_times_ <= np.quantile(study.T, 0.9)]
    found = _curves(model, study.X.iloc[:1], times=reliable)
    assert np.abs(found - cohort.survival_at(reliable)).max() < 0.01
    plain = kaplan_meier_curves(study.T[None], study.E[None]).survival_at(reliable)
    assert np.abs(found - plain).max() > 0.03


@RECIPES
def test_weights_decide_which_of_two_groups_is_learned(make_model: MakeModel, recipe: str) -> None:
    # Half of the rows say that x shortens life, the other half that it lengthens it.
    rng = np.random.default_rng(0)
    x, says = rng.normal(size=400), np.arange(400) % 2 == 0
    T = rng.exponential(np.exp(np.where(says, -x, x)))
    extra = {"max_steps": 150} if recipe == "default" else {"max_epochs": 40, "learning_rate": 5e-3}
    for sign, weights in ((1.0, np.where(says, 1.0, 0.01)), (-1.0, np.where(says, 0.01, 1.0))):
        model = make_model(recipe=recipe, censoring="none", **extra).fit(x[:, None], T, sample_weight=weights)
        low, high = _curves(model, [[-1.0], [1.0]], times=[1.0])[:, 0]
        assert sign * (low - high) > 0.2


@pytest.mark.parametrize("wrong", [-1.0, np.nan, np.inf])
def test_impossible_weights_are_refused_by_row(make_model: MakeModel, study: Any, wrong: float) -> None:
    weights = np.ones(len(study.T))
    weights[17] = wrong
    with pytest.raises(ValueError, match=r"sample_weight .*\[17\]"):
        make_model().fit(study.X, study.y, sample_weight=weights)
    with pytest.raises(ValueError, match="sample_weight"):
        make_model().fit(study.X, study.y, sample_weight=weights[:-1])


def test_extreme_weights_give_finite_curves(make_model: MakeModel, study: Any) -> None:
    weights = np.where(study.E, 1.0, 1e-18)
    assert np.isfinite(_curves(make_model().fit(study.X, study.y, sample_weight=weights), study.X)).all()
    assert np.isfinite(
        _curves(make_model().fit(study.X, study.y, sample_weight=weights[::-1]), study.X)
    ).all()


# ---------------------------------------------------------------- reproducibility


@RECIPES
def test_one_random_state_is_one_model(make_model: MakeModel, study: Any, recipe: str) -> None:
    first, second = (make_model(recipe=recipe).fit(study.X, study.y) for _ in range(2))
    assert_array_equal(_curves(first, study.X), _curves(second, study.X))
    assert_array_equal(_curves(first, study.X), _curves(first, study.X))
    other = make_model(recipe=recipe, random_state=1).fit(study.X, study.y)
    assert (_curves(other, study.X) != _curves(first, study.X)).any()


def test_a_fit_forgets_the_one_before(make_model: MakeModel, study: Any) -> None:
    twice = make_model().fit(study.array, study.T, np.ones(len(study.T))).fit(study.X, study.y)
    once = make_model().fit(study.X, study.y)
    assert_array_equal(_curves(twice, study.X), _curves(once, study.X))
    assert set(vars(twice)) == set(vars(once))


def test_without_a_random_state_fits_differ_but_predictions_of_one_agree(
    make_model: MakeModel, study: Any
) -> None:
    first, second = (make_model(random_state=None).fit(study.X, study.y) for _ in range(2))
    assert (_curves(first, study.X) != _curves(second, study.X)).any()
    assert_array_equal(_curves(first, study.X), _curves(first, study.X))


@RECIPES
def test_a_prediction_does_not_depend_on_its_company(make_model: MakeModel, study: Any, recipe: str) -> None:
    model = make_model(recipe=recipe).fit(study.X, study.y)
    order = np.random.default_rng(0).permutation(len(study.X))
    whole = _curves(model, study.X)
    assert _nearly_all_equal(_curves(model, study.X.iloc[order]), whole[order])
    assert _nearly_all_equal(_curves(model, study.X.iloc[3:10]), whole[3:10])
    assert _nearly_all_equal(_curves(model, study.X.iloc[[7, 7]]), whole[[7, 7]])


@RECIPES
def test_chunks_change_nothing(
    make_model: MakeModel, study: Any, recipe: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = make_model(recipe=recipe).fit(study.X, study.y)
    whole = _curves(model, study.X)
    sizes = _chunk_into(monkeypatch, 7)
    assert _nearly_all_equal(_curves(model, study.X), whole)
    assert len(sizes) == 23
    assert sum(sizes) == len(study.X)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*beyond the longest observed time")
        times, _ = model.sample(study.X, 4, random_state=0)
    assert (times[:7] != times[7:14]).any()  # chunks do not repeat each other's noise


def test_each_row_keeps_its_own_start_in_chunks(
    fitted: SDPMSurvival, study: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = np.linspace(0.0, 8.0, len(study.X))
    _chunk_into(monkeypatch, 7)
    remaining = fitted.sample_event_times(study.X, 50, given=given, random_state=0)
    alive = ~np.isnan(remaining)
    assert alive.mean() > 0.9
    assert (remaining > given[:, None])[alive].all()


def _nearly_all_equal(found: np.ndarray, expected: np.ndarray) -> bool:
    # Float32 sums may differ in the last bit with the size of a batch; then a draw falls on the next time.
    return bool((np.abs(found - expected) > 1e-5).mean() < 0.01)


def _chunk_into(monkeypatch: pytest.MonkeyPatch, rows: int) -> list[int]:
    """Make chunks of a few rows, and return the list to which their sizes are written."""
    sizes: list[int] = []

    def slices(n_items: int, bytes_per_item: int, budget_bytes: int = 0) -> list[slice]:
        found = [slice(start, min(start + rows, n_items)) for start in range(0, n_items, rows)]
        sizes.extend(part.stop - part.start for part in found)
        return found

    monkeypatch.setattr(chunking, "chunk_slices", slices)
    return sizes


def test_workers_predict_what_one_process_predicts(
    fitted: SDPMSurvival, study: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    import joblib

    _chunk_into(monkeypatch, 80)
    serial = _curves(fitted, study.X)
    draws = fitted.sample(study.X, 3, random_state=5)
    with joblib.parallel_config(backend="threading", n_jobs=2):
        assert_array_equal(_curves(fitted, study.X), serial)
        for found, expected in zip(fitted.sample(study.X, 3, random_state=5), draws, strict=True):
            assert_array_equal(found, expected)


def test_torchs_and_numpys_global_state_stay(make_model: MakeModel, study: Any) -> None:
    state = torch.get_rng_state(), np.random.get_state()[1].copy(), torch.get_num_threads()  # noqa: NPY002
    dtype, deterministic = torch.get_default_dtype(), torch.are_deterministic_algorithms_enabled()
    for random_state in (0, None):
        model = make_model(random_state=random_state).fit(study.X, study.y)
        model.predict(study.X)
        model.sample(study.X, 2)
        model.sample_event_times(study.X, 2)
    assert torch.equal(torch.get_rng_state(), state[0])
    assert_array_equal(np.random.get_state()[1], state[1])  # noqa: NPY002
    assert torch.get_num_threads() == state[2]
    assert torch.get_default_dtype() == dtype
    assert torch.are_deterministic_algorithms_enabled() == deterministic


@RECIPES
def test_global_seeds_and_the_default_dtype_change_nothing(
    make_model: MakeModel, study: Any, recipe: str
) -> None:
    expected = _curves(make_model(recipe=recipe).fit(study.X, study.y), study.X)
    with torch.random.fork_rng():
        torch.manual_seed(99)
        assert_array_equal(_curves(make_model(recipe=recipe).fit(study.X, study.y), study.X), expected)
    torch.set_default_dtype(torch.float64)
    try:
        changed = _curves(make_model(recipe=recipe).fit(study.X, study.y), study.X)
    finally:
        torch.set_default_dtype(torch.float32)
    assert _nearly_all_equal(changed, expected)


# ---------------------------------------------------------------- edges


def _flags(n_rows: int, *, censored: int = 0) -> np.ndarray:
    return np.arange(n_rows) >= censored


EDGES: dict[str, Callable[[Any], tuple[Any, Any, Any]]] = {
    "all events": lambda s: (s.X, s.T, _flags(len(s.T))),
    "one event": lambda s: (s.X, s.T, _flags(len(s.T), censored=len(s.T) - 1)),
    "one censored": lambda s: (s.X, s.T, _flags(len(s.T), censored=1)),
    "times of zero": lambda s: (s.X, np.where(np.arange(len(s.T)) % 4 == 0, 0.0, s.T), s.E),
    "every time zero": lambda s: (s.X, np.zeros(len(s.T)), s.E),
    "one time for all": lambda s: (s.X, np.full(len(s.T), 3.0), s.E),
    "two times": lambda s: (s.X, np.where(s.T > 3.0, 5.0, 1.0), s.E),
    "everyone censored at one time": lambda s: (s.X, np.where(s.E, s.T, 52.0), s.E & (s.T < 52.0)),
    "one feature": lambda s: (s.X[["age"]], s.T, s.E),
    "one category": lambda s: (s.X[["sex"]], s.T, s.E),
    "constant features": lambda s: (s.X.assign(age=1.0, marker=0.0, sex="m"), s.T, s.E),
    "twenty rows": lambda s: (s.X[:20], s.T[:20], s.E[:20]),
    "five rows": lambda s: (s.X[:5], s.T[:5], np.array([True, False, True, True, False])),
    "times in nanoseconds": lambda s: (s.X, s.T * 1e15, s.E),
    "tiny times": lambda s: (s.X, s.T * 1e-12, s.E),
    "missing values everywhere": lambda s: (
        s.X.mask(np.add.outer(np.arange(len(s.X)), np.arange(3)) % 3 == 0),
        s.T,
        s.E,
    ),
    "an empty column": lambda s: (s.X.assign(marker=np.nan), s.T, s.E),
    "booleans": lambda s: (s.X.assign(sex=s.X["sex"] == "m"), s.T, s.E),
    "strings": lambda s: (s.X.astype({"sex": "string"}), s.T, s.E),
    "objects": lambda s: (s.X.astype({"sex": "object", "age": "object"}), s.T, s.E),
    "nullable numbers": lambda s: (s.X.astype({"age": "Float64", "marker": "Float64"}), s.T, s.E),
    "integer times": lambda s: (s.X, np.ceil(s.T).astype(int), s.E.astype(int)),
}


@RECIPES
@pytest.mark.parametrize("edge", EDGES)
def test_unusual_data_can_be_fitted(make_model: MakeModel, study: Any, edge: str, recipe: str) -> None:
    X, T, E = EDGES[edge](study)
    few = {"max_steps": 20} if recipe == "default" else {"max_epochs": 2}
    model = make_model(recipe=recipe, **few).fit(X, T, E)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*beyond the longest observed time")
        values = model.predict_survival_function(X, return_array=True)
        risk = model.predict(X) if np.max(T) > 0 else None
        times, events = model.sample(X, 3, random_state=0)
    assert values.shape == (len(T), len(np.unique(T)))
    assert ((values >= 0.0) & (values <= 1.0)).all()
    assert (np.diff(values, axis=1) <= 0.0).all()
    assert risk is None or np.isfinite(risk).all()
    assert (np.isfinite(times) & (times >= 0.0)).all()
    if recipe == "default":
        assert np.isin(times, T).all()
        if E.all():
            assert events.all()


def test_the_default_recipe_never_leaves_the_observed_times(fitted: SDPMSurvival, study: Any) -> None:
    far = study.X.assign(age=study.X["age"] * 100.0)
    times, _ = fitted.sample(far, 20, random_state=0)
    assert np.isin(times, study.T).all()
    assert np.isfinite(fitted.predict(far)).all()


def test_the_paper_recipe_warns_when_its_times_leave_the_observed_range(
    make_model: MakeModel, study: Any
) -> None:
    model = make_model(recipe="paper", max_epochs=1).fit(study.X, study.y)
    with pytest.warns(UserWarning, match="beyond the longest observed time"):
        model.predict(study.X)


def test_missing_and_unseen_values_in_prediction_have_predictions(fitted: SDPMSurvival, study: Any) -> None:
    odd = study.X.astype({"sex": "object"}).iloc[:4].copy()
    odd.loc[0, "age"] = np.nan
    odd.loc[1, "sex"] = "never seen"
    odd.loc[2, "sex"] = None
    assert np.isfinite(_curves(fitted, odd)).all()
    assert_array_equal(_curves(fitted, odd)[3], _curves(fitted, study.X.iloc[:4])[3])


# ---------------------------------------------------------------- refusals


def _replaced(values: np.ndarray, row: int, value: float) -> np.ndarray:
    return np.where(np.arange(len(values)) == row, value, values)


BAD_DATA: dict[str, tuple[Callable[[Any], tuple[Any, ...]], type[Exception], str]] = {
    "no event": (lambda s: (s.X, s.T, np.zeros(len(s.T))), ValueError, "E holds no event"),
    "four rows": (lambda s: (s.X[:4], s.T[:4], np.ones(4)), ValueError, "at least 5 rows"),
    "no rows": (lambda s: (s.X[:0], s.T[:0], s.E[:0]), ValueError, "at least one row"),
    "no columns": (lambda s: (s.X[[]], s.T, s.E), ValueError, "one column"),
    "empty array": (lambda s: (np.empty((0, 2)), s.T[:0], s.E[:0]), ValueError, "0 sample"),
    "one dimension": (lambda s: (s.array[:, 0], s.T, s.E), ValueError, "2D array"),
    "sparse": (lambda s: (csr_array(s.array), s.T, s.E), TypeError, "[Ss]parse"),
    "infinity in a frame": (
        lambda s: (s.X.assign(marker=np.where(s.X.index == 9, np.inf, 0.0)), s.T, s.E), ValueError, "marker"),
    "infinity in an array": (
        lambda s: (np.where(s.array > 80.0, np.inf, s.array), s.T, s.E), ValueError, "inf"),
    "dates": (lambda s: (s.X.assign(born=pd.Timestamp("1950-01-01")), s.T, s.E), TypeError, "'born'"),
    "mixed objects": (
        lambda s: (s.X.assign(code=[1, "a"] * (len(s.T) // 2)), s.T, s.E), TypeError, "'code'"),
    "strings in an array": (lambda s: (s.X.to_numpy(), s.T, s.E), ValueError, "could not convert"),
    "duplicated names": (
        lambda s: (s.X.set_axis(["age", "age", "sex"], axis=1), s.T, s.E), ValueError, "'age'"),
    "negative time": (lambda s: (s.X, _replaced(s.T, 11, -1.0), s.E), ValueError, "row 11"),
    "missing time": (lambda s: (s.X, _replaced(s.T, 12, np.nan), s.E), ValueError, "row 12"),
    "infinite time": (lambda s: (s.X, _replaced(s.T, 13, np.inf), s.E), ValueError, "row 13"),
    "flag of two": (lambda s: (s.X, s.T, s.E.astype(int) + 1), ValueError, "E must be boolean or 0/1"),
    "missing flag": (
        lambda s: (s.X, s.T, _replaced(np.ones(len(s.T)), 14, np.nan)), ValueError, "row 14"),
    "short times": (lambda s: (s.X, s.T[:-1], s.E[:-1]), ValueError, "equally many rows, got 160 and 159"),
    "short flags": (lambda s: (s.X, s.T, s.E[:-1]), ValueError, "equally long, got 160 and 159"),
    "no flags": (lambda s: (s.X, s.T), ValueError, "no event flags"),
    "no target": (lambda s: (s.X,), ValueError, "requires y"),
    "unnamed columns": (lambda s: (s.X, np.column_stack([s.E, s.T])), ValueError, "unnamed"),
    "times twice": (lambda s: (s.X, s.y, s.E), ValueError, "E must not be given"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD_DATA)
def test_data_that_cannot_be_used_are_refused(make_model: MakeModel, study: Any, case: str) -> None:
    arguments, error, text = BAD_DATA[case]
    with pytest.raises(error, match=text):
        make_model().fit(*arguments(study))


@pytest.mark.parametrize(
    ("name", "value", "error"),
    [
        ("recipe", "best", ValueError), ("recipe", None, ValueError), ("censoring", "left", ValueError),
        ("calibrate", "yes", ValueError), ("n_members", 0, ValueError), ("n_members", 2.0, TypeError),
        ("width", 0, ValueError), ("depth", 0, ValueError), ("dropout", 1.0, ValueError),
        ("dropout", -0.1, ValueError), ("learning_rate", 0.0, ValueError), ("learning_rate", "x", TypeError),
        ("weight_decay", -1.0, ValueError), ("batch_size", 0, ValueError), ("max_steps", -1, ValueError),
        ("max_steps", True, TypeError), ("max_epochs", 0, ValueError), ("patience", 0, ValueError),
        ("validation_fraction", 1.0, ValueError), ("validation_fraction", 0.0, ValueError),
        ("n_draws", 0, ValueError), ("nfe", 0, ValueError), ("random_state", "x", ValueError),
        ("device", "gpu", ValueError),
    ],
)  # fmt: skip
def test_parameters_that_cannot_be_used_are_named(
    make_model: MakeModel, study: Any, name: str, value: object, error: type[Exception]
) -> None:
    with pytest.raises(error, match=name if name != "random_state" else "'x' cannot be used to seed"):
        make_model(**{name: value}).fit(study.X, study.y)


def test_the_paper_recipe_is_a_single_network(make_model: MakeModel, study: Any) -> None:
    with pytest.raises(ValueError, match="n_members must be 1, got 4"):
        make_model(recipe="paper", n_members=4).fit(study.X, study.y)


@pytest.mark.parametrize("case", ["no event", "infinity in a frame", "dates", "negative time", "four rows"])
def test_a_refused_fit_leaves_the_earlier_one(make_model: MakeModel, study: Any, case: str) -> None:
    arguments, error, _ = BAD_DATA[case]
    model = make_model().fit(study.X, study.y)
    expected, attributes = _curves(model, study.X), dict(vars(model))
    with pytest.raises(error):
        model.fit(*arguments(study))
    assert vars(model) == attributes
    assert_array_equal(_curves(model, study.X), expected)


def test_a_refused_first_fit_leaves_nothing(make_model: MakeModel, study: Any) -> None:
    model = make_model()
    with pytest.raises(ValueError, match="no event"):
        model.fit(study.X, study.T, np.zeros(len(study.T)))
    assert not [name for name in vars(model) if name.endswith("_")]
    with pytest.raises(Exception, match="not fitted"):
        check_is_fitted(model)


def test_an_error_in_the_middle_of_training_leaves_the_earlier_fit(make_model: MakeModel, study: Any) -> None:
    model = make_model().fit(study.X, study.y)
    expected = _curves(model, study.X)
    model.set_params(trainer_options={"callbacks": 7})
    with pytest.raises(Exception):  # noqa: B017, PT011 - whatever the trainer says
        model.fit(study.X, study.y)
    assert_array_equal(_curves(model.set_params(trainer_options=None), study.X), expected)


def test_infinity_in_prediction_is_refused(fitted: SDPMSurvival, study: Any) -> None:
    with pytest.raises(ValueError, match="marker"):
        fitted.predict(study.X.assign(marker=-np.inf))


def test_the_target_of_a_score_must_fit_the_rows(fitted: SDPMSurvival, study: Any) -> None:
    with pytest.raises(ValueError, match="equally many rows"):
        fitted.score(study.X, make_survival_target(study.T[:9], study.E[:9]))

"""sktime's own suite of checks for forecasters."""

from __future__ import annotations

import pytest

pytest.importorskip("sktime")

from sciffusion.domains.forecasting import SktimeDiffusionForecaster

#: Of every kind of check one, where a check is cheap.
REPRESENTATIVE = [
    "test_constructor",
    "test_doctest_examples",
    "test_get_test_params_coverage",
    "test_valid_object_tags",
    "test_random_tags",
    "test_get_fitted_params",
    "test_fit_idempotent",
    "test_fit_does_not_overwrite_hyper_params",
    "test_methods_have_no_side_effects",
    "test_non_state_changing_method_contract",
    "test_persistence_via_pickle",
    "test_raises_not_fitted_error",
    "test_categorical_X_raises_error",
    "test_predict_series_name_preserved",
    "test_predict_quantiles",
    "test_predict_time_index_in_sample_full",
    "test_score",
    "test_cutoff",
    "test__y_remember_data",
    "test_update_with_exogenous_variables",
    "test_hierarchical_with_exogenous",
    "test_unequal_length_hierarchical_fit_predict",
]

# The checks themselves warn, for example of pandas' frequencies.
pytestmark = pytest.mark.filterwarnings("ignore")


def failures(tests: list[str] | None) -> tuple[int, dict[str, str]]:
    """Return how many checks ran, and what went wrong in those that failed."""
    from sktime.utils.estimator_checks import check_estimator

    found = check_estimator(SktimeDiffusionForecaster, raise_exceptions=False, tests_to_run=tests)
    return len(found), {name: repr(result) for name, result in found.items() if result != "PASSED"}


def test_representative_checks_pass() -> None:
    count, failed = failures(REPRESENTATIVE)
    assert failed == {}
    assert count > len(REPRESENTATIVE)


@pytest.mark.slow
def test_all_checks_pass() -> None:
    count, failed = failures(None)
    assert failed == {}
    assert count > 700

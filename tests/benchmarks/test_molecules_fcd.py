"""Fréchet ChemNet distance: the closed form of Gaussians, and the network where its package is installed."""

from __future__ import annotations

from pathlib import Path

import molecules_fcd as subject
import numpy as np
import pytest

DRUGS = ["CC(=O)Oc1ccccc1C(=O)O", "CN1CCCC1c1cccnc1", "O=C(Nc1ccccc1)c1ccccc1", "CCN(CC)CCNC(=O)c1ccc(N)cc1"]
needs_chemnet = pytest.mark.skipif(subject.why_no_chemnet() is not None, reason=str(subject.why_no_chemnet()))


def statistics(mean: list[float], variances: list[float]) -> subject.ChemNetStatistics:
    return subject.ChemNetStatistics(np.array(mean), np.diag(variances), 10)


def test_the_distance_of_independent_gaussians_is_that_of_means_and_deviations() -> None:
    first, second = statistics([0.0, 1.0], [1.0, 4.0]), statistics([3.0, 1.0], [9.0, 1.0])
    # 3^2 of the means, (1 - 3)^2 and (2 - 1)^2 of the standard deviations.
    assert subject.frechet_distance(first, second) == pytest.approx(9 + 4 + 1)
    assert subject.frechet_distance(first, first) == pytest.approx(0, abs=1e-12)


def test_the_distance_does_not_depend_on_the_axes() -> None:
    rng = np.random.default_rng(0)
    first, second = rng.normal(size=(50, 6)), rng.normal(size=(60, 6)) * 2 + 1
    turn = np.linalg.qr(rng.normal(size=(6, 6)))[0]
    of = subject.ChemNetStatistics.of
    plain = subject.frechet_distance(of(first), of(second))
    assert subject.frechet_distance(of(first @ turn), of(second @ turn)) == pytest.approx(plain)
    assert subject.frechet_distance(of(second), of(first)) == pytest.approx(plain)


def test_few_molecules_give_a_singular_covariance_and_a_distance_all_the_same() -> None:
    values = np.random.default_rng(0).normal(size=(3, 8))
    found = subject.ChemNetStatistics.of(values)
    assert subject.frechet_distance(found, found) == pytest.approx(0, abs=1e-6)
    with pytest.raises(ValueError, match="at least 2"):
        subject.ChemNetStatistics.of(values[:1])


def test_a_package_that_is_not_there_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "fcd", None)
    assert "pip install fcd" in str(subject.why_no_chemnet())
    with pytest.raises(ImportError, match="pip install fcd"):
        subject.chemnet_activations(DRUGS)


@needs_chemnet
def test_activations_are_those_of_the_package_and_do_not_depend_on_the_batch() -> None:
    import fcd
    import torch

    network = fcd.load_ref_model(str(Path(fcd.__file__).with_name("ChemNet_v0.13_pretrained.pt")))
    signs = np.stack([fcd.utils.get_one_hot(string, pad_len=350) / 35 for string in DRUGS])
    with torch.inference_mode():
        expected = network(torch.from_numpy(signs).transpose(1, 2).float()).numpy()
    found = subject.chemnet_activations(DRUGS, batch_size=3)
    assert found.shape == (4, 512)
    np.testing.assert_allclose(found, expected, atol=1e-5)
    with pytest.raises(ValueError, match="350 signs"):
        subject.chemnet_activations(["C" * 350])


@needs_chemnet
def test_statistics_are_of_molecules_not_of_their_writing_and_are_kept(tmp_path: Path) -> None:
    pytest.importorskip("rdkit")
    plain = subject.chemnet_statistics(DRUGS, cache=tmp_path)
    other = subject.chemnet_statistics(["OC(=O)c1ccccc1OC(C)=O", *DRUGS[1:], "C1CC"])
    np.testing.assert_allclose(other.mean, plain.mean, atol=1e-6)
    assert (plain.n, other.n) == (4, 4)
    (kept,) = tmp_path.glob("chemnet-*.npz")
    again = subject.chemnet_statistics(DRUGS, cache=tmp_path)
    np.testing.assert_array_equal(again.covariance, plain.covariance)
    kept.write_bytes(b"not an archive")
    np.testing.assert_allclose(subject.chemnet_statistics(DRUGS, cache=tmp_path).mean, plain.mean, atol=1e-6)
    assert subject.fcd_distance(DRUGS, plain) == pytest.approx(0, abs=1e-3)
    assert subject.fcd_distance(["CCO", "CCN", "CCC"], plain) > 1

"""The pictures show the numbers of their results, on given axes or new ones."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
import torch

from sciffusion.diagnostics import memorisation, rank_calibration, region_coverage, spectrum_ratio

matplotlib = pytest.importorskip("matplotlib", reason="pictures need matplotlib")
matplotlib.use("Agg")

from matplotlib import pyplot  # noqa: E402

from sciffusion.diagnostics.pictures import (  # noqa: E402
    draw_copies,
    draw_coverage,
    draw_ranks,
    draw_spectrum_ratio,
)


@pytest.fixture(autouse=True)
def closed_figures() -> Iterator[None]:
    yield
    pyplot.close("all")


def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def test_rank_histogram_counts_every_item() -> None:
    noise = torch.randn(200, 20, 2, generator=generator())
    found = rank_calibration(noise[:, 1:], noise[:, 0], generator=generator())
    _, given = pyplot.subplots()
    panel = draw_ranks(found, coordinate=1, axes=given, bins=10)
    assert panel is given
    heights = [patch.get_height() for patch in panel.patches[:10]]
    expected, _ = np.histogram(found.positions[:, 1].numpy(), bins=10, range=(0, 1))
    assert heights == expected.tolist()
    assert panel.lines[0].get_ydata()[0] == 20.0


def test_coverage_curve_is_that_of_the_result() -> None:
    noise = torch.randn(200, 20, 2, generator=generator())
    found = region_coverage(noise[:, 1:], noise[:, 0], generator=generator())
    panel = draw_coverage(found)
    np.testing.assert_allclose(panel.lines[0].get_ydata(), found.coverage.numpy())


def test_copies_show_the_threshold_and_both_groups() -> None:
    x = torch.randn(90, 2, generator=generator())
    found = memorisation(x[:30], x[30:60], x[60:])
    panel = draw_copies(found)
    assert panel.lines[0].get_xdata()[0] == pytest.approx(found.threshold)
    assert [text.get_text() for text in panel.get_legend().get_texts()] == ["no copies", "generated"]


def test_spectrum_ratio_is_drawn_at_the_middle_of_its_bands() -> None:
    x = torch.randn(40, 16, generator=generator())
    found = spectrum_ratio(3.0 * x, x, 4, generator=generator())
    panel = draw_spectrum_ratio(found)
    line = panel.lines[0]
    np.testing.assert_allclose(np.asarray(line.get_xdata(), float), [0.0625, 0.1875, 0.3125, 0.4375])
    np.testing.assert_allclose(np.asarray(line.get_ydata(), float), 9.0, rtol=1e-5)
    assert panel.get_ylim()[1] > 9.0

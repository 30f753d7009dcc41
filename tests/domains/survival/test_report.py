"""The HTML report: complete, self-contained, safe, and true to its numbers."""

from __future__ import annotations

import base64
import re
from dataclasses import replace
from functools import partial
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from sciffusion.domains.survival import report as report_module
from sciffusion.domains.survival.evaluation import Evaluation, evaluate
from sciffusion.domains.survival.peers import CoxPeer
from sciffusion.domains.survival.report import ReportContent, write_report
from sciffusion.domains.survival.report_pictures import save_overview

HOSTILE = '<script>alert("x")</script> & $title'
VOID = {"meta", "img", "br"}


class Page(HTMLParser):
    """Elements, attributes and text of a page; checks that elements are closed in order."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


class Absent(CoxPeer):
    """A model whose package is not there."""

    def fit(self, X: Any, y: Any) -> Any:
        raise ImportError(f"needs {HOSTILE}")


@pytest.fixture(scope="module")
def evaluation(study: Any, make_model: Any) -> Evaluation:
    X = study.X.rename(columns={"marker": HOSTILE})
    models = {
        "ours <1>": partial(make_model, max_steps=20),
        "Cox": CoxPeer,
        "absent": Absent,
        "off": partial(make_model, max_steps=0),
    }
    return evaluate(models, X, study.y, folds=2)


@pytest.fixture(scope="module")
def content(evaluation: Evaluation) -> ReportContent:
    return ReportContent(
        evaluation,
        "ours <1>",
        title=HOSTILE,
        time_unit="weeks <b>since</b> entry",
        event_meaning=HOSTILE,
        facts=[("source", HOSTILE)],
        command=f"run {HOSTILE}",
        seed=17,
        notes=[HOSTILE],
    )


@pytest.fixture(scope="module")
def html(content: ReportContent, tmp_path_factory: pytest.TempPathFactory) -> str:
    pytest.importorskip("matplotlib")
    path = write_report(tmp_path_factory.mktemp("report") / "index.html", content)
    return path.read_text(encoding="utf-8")


def test_the_page_is_well_formed_and_has_all_parts(html: str) -> None:
    page = Page(html)
    headings = re.findall(r"<h2>(.*?)</h2>", html)
    assert len(headings) == 7
    assert [tag for tag, _ in page.tags].count("img") == 4
    assert "17" in page.text
    assert "not run: needs" in page.text
    assert "What this report does not show" in page.text


def test_nothing_is_loaded_from_elsewhere_and_nothing_runs(html: str) -> None:
    page = Page(html)
    assert not {"script", "link", "iframe", "object", "embed"} & {tag for tag, _ in page.tags}
    for tag, attributes in page.tags:
        assert not any(name.startswith("on") for name in attributes)
        for name in ("src", "href", "srcset", "action"):
            assert name not in attributes or (
                tag == "img" and str(attributes[name]).startswith("data:image/")
            )
    assert "url(" not in html
    assert "@import" not in html


def test_pictures_load_nothing_either(html: str) -> None:
    pictures = re.findall(r'src="data:image/svg\+xml;base64,([^"]+)"', html)
    assert len(pictures) == 4
    for picture in pictures:
        svg = base64.b64decode(picture).decode("utf-8")
        assert svg.rstrip().endswith("</svg>")
        targets = re.findall(r'(?:xlink:)?href="([^"]*)"', svg)
        assert all(target.startswith("#") for target in targets)
        assert "<script" not in svg


def test_text_of_the_user_is_escaped_everywhere(html: str) -> None:
    assert "<script" not in html
    assert "<b>since" not in html
    # Title twice, event, source, command, covariates, the missing model and the note.
    assert Page(html).text.count(HOSTILE) >= 8
    assert "ours &lt;1&gt;" in html


def test_the_table_shows_the_scores(html: str, evaluation: Evaluation) -> None:
    table = evaluation.summary()
    for name in ("ours <1>", "Cox", "off"):
        row = table.loc[name]
        assert f'<td class="number">{row["ibs"]:.4f}<small>&plusmn; {row["ibs_se"]:.4f}</small>' in html
        assert f'<td class="number">{row["uno"]:.3f}<small>' in html


@pytest.mark.parametrize(("shift", "words"), [(-0.05, "lower (better)"), (0.05, "higher (worse)")])
def test_sentences_about_models_follow_the_numbers(
    content: ReportContent, tmp_path: Path, shift: float, words: str
) -> None:
    scores = content.evaluation.scores.copy()
    cox = scores.loc[scores["model"] == "Cox", "ibs"].to_numpy()
    scores.loc[scores["model"] == "ours <1>", "ibs"] = cox + shift
    changed = replace(content, evaluation=replace(content.evaluation, scores=scores))
    text = Page(write_report(tmp_path / "r.html", changed).read_text(encoding="utf-8")).text
    assert (
        f"Against Cox the integrated Brier score is 0.0500 {words} on average; that is more than twice"
        in text
    )


def test_patients_are_printed_only_on_request(content: ReportContent, html: str, tmp_path: Path) -> None:
    rows = content.evaluation.example_rows(content.model)
    ages = [f"<td>{age:g}</td>" for age in content.evaluation.X["age"].iloc[rows]]
    assert not any(age in html for age in ages)
    shown = write_report(tmp_path / "r.html", replace(content, show_covariates=True))
    assert all(age in shown.read_text(encoding="utf-8") for age in ages)


def test_a_report_that_fails_leaves_the_old_one(
    content: ReportContent, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "r.html"
    path.write_text("old")

    def fail(*_: Any) -> str:
        raise RuntimeError("no pictures today")

    monkeypatch.setattr(report_module, "cohort_picture", fail)
    with pytest.raises(RuntimeError, match="no pictures today"):
        write_report(path, content)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_model_without_draws_or_unknown_is_refused(content: ReportContent, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="one that draws"):
        write_report(tmp_path / "r.html", replace(content, model="Cox"))
    with pytest.raises(ValueError, match="model must be one of"):
        write_report(tmp_path / "r.html", replace(content, model="nobody"))
    assert list(tmp_path.iterdir()) == []


def test_the_overview_is_one_picture(content: ReportContent, tmp_path: Path) -> None:
    save_overview(tmp_path / "survival.png", content.evaluation, content.model, "days")
    data = (tmp_path / "survival.png").read_bytes()
    assert data.startswith(b"\x89PNG\r\n\x1a\n")
    width, height = (int.from_bytes(data[start : start + 4], "big") for start in (16, 20))
    assert width > 2 * height > 800

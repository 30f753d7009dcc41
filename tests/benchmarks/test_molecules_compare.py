"""The comparison of molecule models in miniature: models that memorise, orders, tables and bars."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
import torch
from torch import Tensor

pytest.importorskip("rdkit", reason="molecules need rdkit")
pytest.importorskip("selfies", reason="molecules need selfies")

from molecules_autoregressive import draw_strings, next_token_logits
from molecules_compare import Setting, compare_bars
from molecules_models import ModelSize, Vocabulary, build_network, denoiser_of, draw_lengths, draw_rows
from molecules_orders import OrderedReveal
from molecules_peer import first_token_counts, paid_molecules
from molecules_report import attempts_table, main_table, picture, reading
from molecules_train import (
    LengthBatches,
    TrainingBudget,
    load_training,
    string_losses,
    train_file,
)

from sciffusion.discrete import Mask, MaskELBO, NetworkTokenDenoiser
from sciffusion.sampling import State

SMALL = ModelSize(width=16, depth=1, n_heads=2)
STRINGS = [list("CCO"), list("CNCNC"), list("OCCO")]


@pytest.fixture(scope="module")
def vocabulary() -> Vocabulary:
    """Tokens of three strings."""
    return Vocabulary.of(STRINGS)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Files of three small models that know three strings by heart."""
    folder = tmp_path_factory.mktemp("weights")
    for family, steps in (("mask", 220), ("uniform", 500), ("autoregressive", 120)):
        budget = TrainingBudget(
            steps=steps, batch_size=12, learning_rate=1e-2, warmup_steps=5, average_decay=0.9
        )
        train_file(family, "smiles", STRINGS * 8, folder / f"{family}.safetensors", budget, SMALL)
    return folder


def test_strings_are_encoded_with_pads_and_come_back(vocabulary: Vocabulary) -> None:
    rows = vocabulary.encode(STRINGS)
    assert rows.shape == (3, 6)
    assert vocabulary.tokens == ("C", "N", "O")
    assert vocabulary.decode(rows) == STRINGS


def test_the_peer_sees_only_what_comes_before(vocabulary: Vocabulary) -> None:
    network = build_network("autoregressive", vocabulary.size, vocabulary.length, SMALL, 0)
    torch.nn.init.normal_(network.output.weight)
    for block in network.transformer.blocks:
        torch.nn.init.normal_(block.modulation.bias)
    tokens = torch.tensor([[0, 1, 2, 0, 1, 3]])
    changed = tokens.clone()
    changed[0, 3] = 2
    with torch.no_grad():
        apart = next_token_logits(network, tokens) - next_token_logits(network, changed)
    difference = apart.abs().amax(-1)[0]
    assert float(difference[:4].max()) == 0.0
    assert float(difference[4:].min()) > 1e-4


@pytest.mark.parametrize("family", ["mask", "uniform"])
def test_diffusion_models_draw_what_they_memorised(trained: Path, family: str) -> None:
    network, vocabulary, about = load_training(trained / f"{family}.safetensors")
    generator = torch.Generator().manual_seed(0)
    lengths = draw_lengths(about["lengths"], 60, generator)
    rows = draw_rows(family, network, lengths, 16, generator)
    assert ((rows != vocabulary.pad).sum(1) == lengths).all()
    right = [tokens in STRINGS for tokens in vocabulary.decode(rows)]
    assert sum(right) / len(right) > 0.7


def test_the_peer_draws_what_it_memorised_and_ends_it(trained: Path) -> None:
    network, vocabulary, _ = load_training(trained / "autoregressive.safetensors")
    rows = draw_strings(network, 60, vocabulary.length, torch.Generator().manual_seed(0))
    right = [tokens in STRINGS for tokens in vocabulary.decode(rows)]
    assert sum(right) / len(right) > 0.7


@pytest.mark.parametrize("order", ["left", "certain"])
def test_orders_reveal_every_token_in_their_order(trained: Path, order: str) -> None:
    network, vocabulary, _ = load_training(trained / "mask.safetensors")
    generator = torch.Generator().manual_seed(0)
    lengths = torch.tensor([5, 4, 3] * 10)
    solver = OrderedReveal(order)  # type: ignore[arg-type]
    rows = draw_rows("mask", network, lengths, 5, generator, solver=solver)
    assert int(rows.max()) <= vocabulary.pad
    denoiser = denoiser_of("mask", network)
    known = torch.arange(6) >= 5
    start = torch.where(known, vocabulary.pad, denoiser.process.mask_token).expand(4, 6)
    state = State(start, torch.where(known, 0.0, 1.0).expand(4, 6).double(), known=known.expand(4, 6),
                  generator=generator)  # fmt: skip
    after = solver.step(state, torch.where(known, 0.0, 0.6).expand(4, 6).double(), denoiser)
    revealed = (after.x != denoiser.process.mask_token) & ~known
    assert revealed.sum(1).tolist() == [2] * 4
    if order == "left":
        assert bool(revealed[:, :2].all())


def test_the_loss_of_masks_is_the_bound(vocabulary: Vocabulary) -> None:
    """With n masks uniform in 1 .. L the mean over masked tokens is the bound a token, in expectation."""
    network = build_network("mask", vocabulary.size, vocabulary.length, SMALL, 0)
    torch.nn.init.normal_(network.output.weight)
    x0 = vocabulary.encode([STRINGS[1]])[:, :5].long().repeat(20_000, 1)
    known = torch.zeros_like(x0, dtype=torch.bool)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        ours = string_losses("mask", network, x0, known, generator)
        times = (torch.arange(len(x0)) + 0.5) / len(x0)
        denoiser = NetworkTokenDenoiser(network, Mask(vocabulary.size), "denoiser")
        losses = MaskELBO()(denoiser, x0, times, generator).mean(1)
    error = float(losses.std()) / len(x0) ** 0.5
    assert float(ours.mean()) == pytest.approx(float(losses.mean()), abs=4.0 * error)
    assert float(ours.std()) < float(losses.std())


def test_batches_hold_neighbours_in_length_and_know_their_pads(vocabulary: Vocabulary) -> None:
    rows = vocabulary.encode(STRINGS * 40)
    budget = TrainingBudget(batch_size=8, full_every=3, unknown_every=6)
    batches = LengthBatches(rows, vocabulary.pad, budget, torch.Generator().manual_seed(0))
    widths, unknown = [], 0
    for _ in range(12):
        x0, known = batches.draw()
        assert bool((x0[known] == vocabulary.pad).all())
        unknown += int(not known.any())
        widths.append(x0.shape[1])
    assert unknown == 2
    assert widths.count(6) >= 4


@pytest.fixture
def table() -> pd.DataFrame:
    """Rows as a run makes them."""
    keys = [
        Setting("autoregressive_selfies", solver="token by token"),
        Setting("mask_selfies", 16),
        Setting("uniform_selfies", 16),
        Setting("mask_selfies", 16, "first hitting", temperature=0.9),
    ]
    rows = []
    for place, one in enumerate(keys):
        row = dict(zip(("model", "solver", "spacing", "temperature", "nfe"), one.key, strict=True))
        row |= {"mean_nfe": 16.0, "valid": 1.0, "unique": 1.0, "novel": 0.95, "fcd": 2.0 + place}
        row |= {"scaffold_similarity": 0.5, "w1_qed": 0.1, "draws_per_cpu_second": 10.0}
        rows.append(row | {"training_cpu_seconds": 5.0, "training_steps": 10})
    floor = {"model": "training set", "solver": "-", "spacing": "-", "temperature": 1.0, "nfe": 0, "fcd": 0.5}
    return pd.DataFrame([floor, *rows])


def test_bars_judge_the_best_diffusion_model(table: pd.DataFrame) -> None:
    reached = {bar.name: bar.reached for bar in compare_bars(table, reduced=False)}
    assert set(reached.values()) == {True}
    worse = table.assign(fcd=table["fcd"].where(table["model"] == "autoregressive_selfies", 9.0))
    bars = compare_bars(worse.assign(novel=0.5), reduced=False)
    missed = [bar.name for bar in bars if bar.reached is False]
    assert len(missed) == 2
    assert missed[0].startswith("novel")
    assert [bar.reached for bar in compare_bars(table, reduced=True)] == [None]


def test_tables_and_reading_name_what_was_measured(table: pd.DataFrame, tmp_path: Path) -> None:
    assert list(main_table(table).index) == [
        "training set", "autoregressive, selfies, token by token", "mask, selfies", "uniform, selfies"
    ]  # fmt: skip
    assert list(attempts_table(table).index) == ["mask, selfies, first hitting, temperature 0.9"]
    assert "1.50 x the peer's" in reading(table)
    picture(table, tmp_path / "picture.png")
    assert (tmp_path / "picture.png").stat().st_size > 5000


def test_a_peer_is_paid_by_the_second_and_begins_as_molecules_do() -> None:
    assert paid_molecules(2.0, 100, 20.0, 5000) == (1000, 1)
    assert paid_molecules(2.0, 100, 200.0, 5000) == (5000, 2)
    counts = first_token_counts(["ClC", "CC", "CN"], 300, 0)
    assert set(counts) == {"Cl", "C"}
    assert counts["Cl"] == pytest.approx(100, abs=35)


def test_masks_know_their_places(vocabulary: Vocabulary) -> None:
    """With rotary positions alone all masked sites are alike; the models here must tell them apart."""
    network = build_network("mask", vocabulary.size, vocabulary.length, SMALL, 0)
    torch.nn.init.normal_(network.output.weight)
    with torch.no_grad():
        logits = network(torch.full((1, vocabulary.length), vocabulary.size), torch.zeros(1, 1))
    assert float(logits.std(1).min()) > 1e-3


def test_stopping_a_string_pads_the_rest(trained: Path) -> None:
    network, vocabulary, _ = load_training(trained / "autoregressive.safetensors")
    rows: Tensor = draw_strings(network, 20, 6, torch.Generator().manual_seed(1))
    after_end = (rows == vocabulary.pad).long().cumsum(1) > 1
    assert bool((rows[after_end] == vocabulary.pad).all())

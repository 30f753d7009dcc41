"""Training of the music model: an exact law learnt, every gradient there, checkpoints that change nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from sciffusion.continuous import RectifiedFlow
from sciffusion.domains.music import Control, ControlLayout
from sciffusion.domains.music.training import HeldOutMusic, MusicObjective, MusicTraining, fit_music_network
from sciffusion.domains.music.training_controls import ControlDropout
from sciffusion.domains.music.training_windows import MusicWindows
from sciffusion.networks import BlockLatentTransformer
from sciffusion.networks.block_network import block_times
from sciffusion.training import TrainingOptions

BLOCK, WINDOW, CHANNELS, MEMORY = 4, 3, 2, 0.95
LAYOUT = ControlLayout((Control("first", 1), Control("second", 2)))


def network(seed: int = 0, *, random: bool = False, **sizes: Any) -> BlockLatentTransformer:
    """Return a small network, on request with parameters as if it had been trained."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        made = BlockLatentTransformer(
            CHANNELS, **{"block": BLOCK, "window": WINDOW, "width": 16, "depth": 2, "n_heads": 2, **sizes}
        )
        if random:
            for parameter in made.parameters():
                torch.nn.init.normal_(parameter, std=0.2)
    return made


def autoregression(frames: int, seed: int, memory: float = MEMORY) -> Tensor:
    """Return frames of unit variance, each ``memory`` times the one before it and noise."""
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randn(frames, CHANNELS, generator=generator) * (1 - memory**2) ** 0.5
    noise[0] /= (1 - memory**2) ** 0.5
    # x_n = sum_k memory^(n-k) noise_k, by blocks that keep the powers in range.
    powers = memory ** torch.arange(64.0)
    kernel = torch.tril(torch.stack([powers[(i - torch.arange(64)).abs()] for i in range(64)]))
    out, last = [], torch.zeros(CHANNELS)
    for part in noise.split(64):
        out.append(kernel[: len(part), : len(part)] @ part + memory * powers[: len(part), None] * last)
        last = out[-1][-1]
    return torch.cat(out)


def least_loss(covariance: Tensor, times: Tensor) -> float:
    r"""Return the mean flow loss of the exact posterior: eigenvalues l give l / ((1 - t)^2 l + t^2)."""
    spread = torch.linalg.eigvalsh(covariance.double())[:, None]
    return float((spread / ((1 - times) ** 2 * spread + times**2)).mean())


def test_a_small_network_learns_what_the_past_tells() -> None:
    """The loss comes nearer to that of the exact conditional law than to that of the unconditional one."""
    recordings = [autoregression(4000, seed) for seed in range(2)]
    training = MusicTraining(held_out_windows=128)
    history = fit_music_network(
        model := network(),
        recordings,
        options=TrainingOptions(
            max_steps=200,
            batch_size=16,
            learning_rate=5e-3,
            learning_rate_schedule="cosine",
            evaluate_every=200,
            ema_half_life=10,
            threads=1,
        ),
        seed=0,
        held_out=([autoregression(4000, 9)], None),
        training=training,
    )
    age = torch.arange(1.0, BLOCK + 1)
    unconditional = MEMORY ** (age[:, None] - age).abs()
    conditional = unconditional - MEMORY ** (age[:, None] + age)
    times = training.times.sample(100_000, torch.Generator().manual_seed(0)).times
    alone, told = least_loss(unconditional, times), least_loss(conditional, times)
    windows = MusicWindows([autoregression(4000, 9)], block=BLOCK, n_blocks=6)
    cut = windows.cut(windows.spread(256), torch.Generator().manual_seed(1))
    with torch.no_grad():
        losses, _ = MusicObjective(windows, training=training).losses(
            model, cut, torch.Generator().manual_seed(2), plain=True
        )
    learnt = float(losses[:, 1:].mean())
    # The recording's own share of the expectation lies within a tenth of it; less would be foreknowledge.
    assert 0.9 * told < learnt < told + 0.4 * (alone - told)
    # The first block has no past, and none is dreamt of.
    assert float(losses[:, 0].mean()) > told + 0.6 * (alone - told)
    assert history.held_out_loss[-1, 0] < history.held_out_loss[0, 0]


def test_training_sees_what_sampling_will_see() -> None:
    """Blocks of the two-copy evaluation equal cached ones at the same noisy values, times and controls."""
    model = network(random=True, n_conditions=3).double().eval()
    generator = torch.Generator().manual_seed(0)
    x0, noise = torch.randn(2, 2, 6 * BLOCK, CHANNELS, generator=generator).double().unbind()
    times = block_times(torch.rand(2, 6, generator=generator).double(), BLOCK, 6 * BLOCK)
    shown, of_clean = ControlDropout(late={"second": (0, 6)}).hide(
        torch.randn(2, 6 * BLOCK, 3, generator=generator).double(), LAYOUT, BLOCK, generator
    )
    noisy = RectifiedFlow().marginal(x0, times, noise)
    trained = model.beside(x0, condition=of_clean)(noisy, times, shown)
    cache = model.start_cache(2)
    for start in range(0, 6 * BLOCK, BLOCK):
        part = slice(start, start + BLOCK)
        cached = model(noisy[:, part], times[:, part], shown[:, part], cache=cache)
        torch.testing.assert_close(trained[:, part], cached, atol=1e-10, rtol=0.0)
        cache = model.commit(x0[:, part], of_clean[:, part], cache)
    assert (model.beside(x0)(noisy, times, shown) - trained).abs().amax() > 1e-3


@pytest.mark.parametrize("variant", ["block_causal", "encoder_decoder"])
def test_a_gradient_reaches_every_parameter(variant: str) -> None:
    model = network(random=True, n_conditions=3, variant=variant)
    training = MusicTraining(clean_noise=0.1)
    assert training.blocks(model) == {"block_causal": 2 * WINDOW, "encoder_decoder": WINDOW}[variant]
    recordings = [autoregression(60, seed) for seed in range(3)]
    conditions = [torch.randn(60, 3) for _ in recordings]
    windows = MusicWindows(recordings, conditions, block=BLOCK, n_blocks=training.blocks(model))
    objective = MusicObjective(windows, LAYOUT, training)
    loss = objective(model, (windows.starts()[:24],), torch.Generator().manual_seed(0))
    loss.backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert float(parameter.grad.abs().amax()) > 0.0, name


def test_hidden_controls_change_nothing() -> None:
    """A control that is always hidden is one that was never given."""
    model = network(random=True, n_conditions=3)
    recordings, known = [autoregression(60, 0)], torch.randn(60, 3)
    losses = []
    for given in (known, torch.full_like(known, torch.nan)):
        windows = MusicWindows(recordings, [given], block=BLOCK, n_blocks=6)
        for controls in (ControlDropout(all=1.0), ControlDropout(all=0.0, each=0.0, piece=0.0)):
            objective = MusicObjective(windows, LAYOUT, MusicTraining(controls=controls))
            loss = objective(model, (windows.starts()[:8],), torch.Generator().manual_seed(0))
            losses.append(float(loss.detach()))
    assert losses[0] == losses[2] == losses[3]
    assert losses[1] != losses[0]


def test_an_interrupted_training_ends_as_one_that_was_not(tmp_path: Path) -> None:
    recordings = [autoregression(200, seed) for seed in range(2)]

    def fit(checkpoint: Path | None, stop_after: int | None = None) -> dict[str, Tensor]:
        looks = 0

        class Stopping(HeldOutMusic):
            def __call__(self, network: Any) -> Tensor:
                nonlocal looks
                looks += 1
                if stop_after is not None and looks > stop_after:
                    raise OSError("the machine went down")
                return super().__call__(network)

        model = network()
        training = MusicTraining(clean_noise=0.1)
        from sciffusion.domains.music import training as module

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(module, "HeldOutMusic", Stopping)
            fit_music_network(
                model, recordings, seed=3, held_out=(recordings[:1], None), training=training,
                options=TrainingOptions(
                    max_steps=12, batch_size=4, evaluate_every=4, ema_decay=0.9, threads=1
                ),
                checkpoint=checkpoint,
            )  # fmt: skip
        return dict(model.state_dict())

    whole, place = fit(None), tmp_path / "fit.pt"
    with pytest.raises(OSError, match="went down"):
        fit(place, stop_after=2)
    assert place.exists()
    resumed = fit(place)
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)


def test_other_recordings_do_not_take_up_a_checkpoint(tmp_path: Path) -> None:
    options = TrainingOptions(max_steps=1, batch_size=2, threads=1)
    place = tmp_path / "fit.pt"
    fit_music_network(network(), [autoregression(60, 0)], options=options, seed=0, checkpoint=place)
    with pytest.raises(ValueError, match="another fit"):
        fit_music_network(network(), [autoregression(60, 1)], options=options, seed=0, checkpoint=place)


def test_conditions_must_fit_the_network() -> None:
    options = TrainingOptions(max_steps=1)
    recordings, conditions = [autoregression(60, 0)], [torch.zeros(60, 3)]
    with pytest.raises(ValueError, match="conditioned on 0 numbers a frame, got 3"):
        fit_music_network(network(), recordings, conditions, options=options, seed=0, layout=LAYOUT)
    model = network(n_conditions=3)
    with pytest.raises(ValueError, match="layout="):
        fit_music_network(model, recordings, conditions, options=options, seed=0)
    layout = ControlLayout((Control("first", 1),))
    with pytest.raises(ValueError, match="has 1 numbers a frame, got 3"):
        fit_music_network(model, recordings, conditions, options=options, seed=0, layout=layout)
    with pytest.raises(ValueError, match="history must be a share"):
        MusicTraining(history=1.5)
    with pytest.raises(ValueError, match="clean_noise"):
        MusicTraining(clean_noise=-0.1)


class _Watched:
    """A network that remembers what stands before its targets, and what they are told."""

    def __init__(self, model: Any) -> None:
        self.model, self.given, self.told = model, dict[str, Any](), torch.empty(0)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.model, name)

    def beside(self, clean: Tensor, **given: Any) -> Any:
        self.given = {"clean": clean, **given}
        network = self.model.beside(clean, **given)

        def watched(x: Tensor, times: Tensor, condition: Any = None, **further: Any) -> Any:
            self.told = condition
            return network(x, times, condition, **further)

        return watched


@pytest.mark.parametrize("variant", ["block_causal", "encoder_decoder"])
def test_targets_are_trained_on_the_past_that_was_asked_for(variant: str) -> None:
    """Histories begin at any block in their share of the clips; the past is noisy; controls come late."""
    controls = ControlDropout(all=0.0, each=0.0, piece=0.0, late={"first": (0, 0)})
    training = MusicTraining(history=0.5, clean_noise=0.1, controls=controls, n_blocks=WINDOW)
    recordings, known = [autoregression(600, seed) for seed in range(2)], torch.randn(600, 3)
    windows = MusicWindows(recordings, [known, known], block=BLOCK, n_blocks=WINDOW, joined=False)
    watched: Any = _Watched(network(random=True, n_conditions=3, variant=variant))
    objective, generator = MusicObjective(windows, LAYOUT, training), torch.Generator().manual_seed(0)
    cut = windows.cut(windows.spread(600), generator)
    objective.losses(watched, cut, generator)
    oldest, noise = watched.given["oldest"], watched.given["clean"] - cut.latents
    shares = torch.bincount(oldest, minlength=WINDOW) / len(oldest)
    expected = torch.tensor([0.5, *[0.5 / (WINDOW - 1)] * (WINDOW - 1)])
    torch.testing.assert_close(shares, expected, atol=0.08, rtol=0.0)
    # Standard deviations are uniform up to the largest one.
    assert float(noise.square().mean().sqrt()) == pytest.approx(0.1 / 3**0.5, rel=0.1)
    # The newest block is told nothing of the late control; where it is past, a block of it is known.
    assert watched.told[:, -BLOCK:, 0].isnan().all()
    assert watched.told[:, -BLOCK:, 1:].isfinite().all()
    assert watched.given["condition"].isfinite().all()
    objective.losses(watched, cut, generator, plain=True)
    assert watched.given["oldest"] is None
    torch.testing.assert_close(watched.given["clean"], cut.latents)
    assert watched.told.isfinite().all()

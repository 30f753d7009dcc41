"""Conditions that become known late, commits that share an evaluation, and streams taken up elsewhere."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from sciffusion.continuous import Euler, NetworkDenoiser, RectifiedFlow
from sciffusion.discrete import Ancestral, Mask, NetworkTokenDenoiser
from sciffusion.networks import BlockLatentDenoiser, BlockLatentTransformer, BlockTokenTransformer
from sciffusion.sampling import BlockCausalGenerator, Hook, State, sample, uniform_grid
from sciffusion.sampling.block_past import conditions_of_blocks
from sciffusion.sampling.guidance import ClassifierFreeGuidance
from sciffusion.sampling.step_noise import StepNoise

BLOCK, WINDOW, CHANNELS, ITEMS, WIDTH, STEPS = 4, 3, 3, 2, 2, 3
VARIANTS = ["block_causal", "encoder_decoder"]


def network(variant: Any = "block_causal", dtype: torch.dtype = torch.float64, **sizes: Any) -> Any:
    made = BlockLatentTransformer(
        CHANNELS, width=16, depth=2, n_heads=2, n_conditions=WIDTH, variant=variant,
        **{"block": BLOCK, "window": WINDOW, **sizes},
    )  # fmt: skip
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.normal_(0.0, 0.2, generator=generator)
    return made.to(dtype).eval().requires_grad_(False)


def generator(model: Any, **options: Any) -> BlockCausalGenerator:
    return BlockCausalGenerator(
        BlockLatentDenoiser(model, RectifiedFlow(), "flow"), Euler(), uniform_grid(STEPS),
        **{"frame_shape": (CHANNELS,), "dtype": next(model.parameters()).dtype, **options},
    )  # fmt: skip


def heard(block: int, now: int) -> Tensor:
    """Return what is known of a block when another one is made: more of its frames, the later it is."""
    told = torch.randn(ITEMS, BLOCK, WIDTH, generator=torch.Generator().manual_seed(block)).double()
    known = torch.arange(BLOCK) < (now - block) * 2
    return torch.where(known[:, None], told, torch.nan)


def known_to(now: int) -> Callable[[int], Tensor]:
    return lambda block: heard(block, now)


class WholeHistory:
    """A denoiser of one block by one masked evaluation from the start, each block with a given condition."""

    def __init__(self, model: Any, past: Tensor, conditions: list[Tensor]) -> None:
        self.model, self.past, self.path = model, past, RectifiedFlow()
        self.condition = torch.cat(conditions, dim=1)

    def __call__(self, state: Any, condition: Any = None, cache: Any = None) -> Any:
        def last(x: Tensor, t: Tensor, _: Any) -> Tensor:
            times = torch.cat([torch.zeros(self.past.shape[:2]), t.expand(x.shape[:2])], dim=1)
            out: Tensor = self.model(torch.cat([self.past, x], dim=1), times, self.condition)
            return out[:, -BLOCK:]

        return NetworkDenoiser(last, self.path, "flow")(state)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("fused", [False, True])
@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("revise", [0, 1, 4])
def test_what_is_heard_late_reaches_the_newest_blocks(
    revise: int, variant: str, fused: bool, dtype: torch.dtype
) -> None:
    """Equal to the whole history in which each block has what was known of it when it was settled, or is now.

    With four blocks to revise none of those in the window is settled.
    """
    model, tolerance = network(variant, dtype), 1e-5 if dtype == torch.float32 else 1e-10
    made = generator(model, revise=revise, fused=fused)
    stream, past = made.start(ITEMS, seed=5, conditioned=True), torch.zeros(ITEMS, 0, CHANNELS, dtype=dtype)
    for number in range(8):
        stream, block = made.advance(stream, known_to(number))
        conditions = [heard(j, min(number, j + revise + 1)) for j in range(number + 1)]
        reference = sample(
            WholeHistory(model, past, conditions), Euler(), uniform_grid(STEPS),
            state=made._noise(replace(stream, number=number, pending=block.values)),
            hooks=[StepNoise(5, number)],
        )  # fmt: skip
        torch.testing.assert_close(block.values, reference.samples, atol=tolerance, rtol=0.0)
        past = torch.cat([past, block.values], dim=1)
        assert stream.pending.shape[1] == min(number, revise) * BLOCK + BLOCK
    assert stream.nfe == 8 * STEPS + (0 if fused else 7)


@pytest.mark.parametrize("variant", VARIANTS)
def test_settled_blocks_stay_behind_those_that_are_read_anew(variant: str) -> None:
    """In a window of more blocks than are pending, what never changes is settled as it would be at once."""
    model, told = network(variant, window=5), torch.ones(ITEMS, WIDTH).double()
    made = [generator(model, revise=revise).generate(ITEMS, 8, seed=5, condition=lambda number: told)
            for revise in (0, 1, 2)]  # fmt: skip
    for other in made[1:]:
        torch.testing.assert_close(other.samples, made[0].samples, atol=1e-10, rtol=0.0)


@pytest.mark.parametrize("variant", VARIANTS)
def test_revising_matters(variant: str) -> None:
    """A control heard late changes the next blocks with it, and one that never changes does not."""
    streams = {}
    for revise in (0, 2):
        made = generator(network(variant), revise=revise)
        for late in (True, False):
            stream, parts = made.start(ITEMS, seed=5, conditioned=True), []
            for number in range(6):
                told = known_to(number) if late else (lambda block: heard(block, block + 9))
                stream, block = made.advance(stream, told)
                parts.append(block.values)
            streams[revise, late] = torch.cat(parts, dim=1)
    torch.testing.assert_close(streams[0, False], streams[2, False], atol=1e-10, rtol=0.0)
    difference = (streams[0, True] - streams[2, True]).abs().amax((0, 2))
    assert float(difference[: 2 * BLOCK].amax()) < 1e-10
    assert float(difference[2 * BLOCK :].unflatten(0, (4, BLOCK)).amax(1).amin()) > 1e-4


@pytest.mark.parametrize("variant", VARIANTS)
def test_controls_that_change_in_the_middle(variant: str) -> None:
    """Piecewise controls have an exact reference: the whole history, each block with its own."""
    model, values = network(variant), torch.randn(3, ITEMS, WIDTH, generator=torch.Generator().manual_seed(1))
    made = generator(model)
    stream, past = made.start(ITEMS, seed=2, conditioned=True), torch.zeros(ITEMS, 0, CHANNELS).double()

    def of_block(number: int) -> Tensor:
        return values[min(number // 3, 2)].double()

    for number in range(8):
        stream, block = made.advance(stream, of_block)
        conditions = [of_block(j)[:, None].expand(-1, BLOCK, -1) for j in range(number + 1)]
        reference = sample(
            WholeHistory(model, past, conditions), Euler(), uniform_grid(STEPS),
            state=made._noise(replace(stream, number=number, pending=block.values)),
            hooks=[StepNoise(2, number)],
        )  # fmt: skip
        torch.testing.assert_close(block.values, reference.samples, atol=1e-10, rtol=0.0)
        past = torch.cat([past, block.values], dim=1)


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("revise", [0, 2])
def test_guidance_keeps_a_past_for_every_condition(variant: str, revise: int) -> None:
    """Scale 0 is the unconditional run, scale 1 the conditional one; fused or not."""
    model, told = network(variant), [known_to(number) for number in range(6)]
    runs = {}
    for scale, fused in ((0.0, False), (0.0, True), (1.0, True)):
        made = generator(model, guidance=ClassifierFreeGuidance(scale), revise=revise, fused=fused)
        stream, parts = made.start(ITEMS, conditioned=True), []
        for condition in told:
            stream, block = made.advance(stream, condition)
            parts.append(block.values)
        runs[scale, fused] = torch.cat(parts, dim=1)
        evaluations = 2 if scale != 1.0 else stream.nfe // (6 * STEPS)
        assert stream.nfe == evaluations * 6 * STEPS + (0 if fused else 2 * 5) or scale == 1.0
    plain = generator(model).generate(ITEMS, 6).samples
    torch.testing.assert_close(runs[0.0, False], plain, atol=1e-10, rtol=0.0)
    torch.testing.assert_close(runs[0.0, True], plain, atol=1e-10, rtol=0.0)
    assert (runs[1.0, True] - plain).abs().amax() > 1e-3


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("blocks", [1, 4])
def test_prompts_are_read_with_the_first_step(variant: str, blocks: int) -> None:
    model = network(variant)
    prompt = torch.randn(
        ITEMS, blocks * BLOCK + 1, CHANNELS, generator=torch.Generator().manual_seed(0)
    ).double()
    plain, fused = (
        generator(model, fused=fused).generate(ITEMS, 3, prompt=prompt) for fused in (False, True)
    )
    torch.testing.assert_close(fused.samples, plain.samples, atol=1e-10, rtol=0.0)
    assert (plain.nfe, fused.nfe) == (3 * (STEPS + 1), 3 * STEPS)


def test_tokens_may_be_read_with_the_first_step() -> None:
    model = BlockTokenTransformer(6, 5, block=BLOCK, window=WINDOW, width=16, depth=2, n_heads=2)
    weights = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(0.0, 0.3, generator=weights)
    denoiser = NetworkTokenDenoiser(model.double().eval(), Mask(5), "denoiser")
    plain, fused = (
        BlockCausalGenerator(denoiser, Ancestral(), uniform_grid(3), fused=fused).generate(ITEMS, 5)
        for fused in (False, True)
    )
    assert torch.equal(plain.samples, fused.samples)
    with pytest.raises(ValueError, match="draft="):
        BlockCausalGenerator(denoiser, Ancestral(), uniform_grid(3), fused=True, draft=2)


class _Stop(Hook):
    def __init__(self, step: int) -> None:
        self.step = step

    def after_step(self, before: State, after: State) -> State:
        if after.index == self.step:
            raise KeyboardInterrupt
        return after


_CONTINUE = """
import sys
from safetensors.torch import load_file, save_file
from tests.sampling.test_block_revise import VARIANTS, continued, interruptible
for variant in VARIANTS:
    made = interruptible(variant)
    stream = made.restore(load_file(f"{sys.argv[1]}/{variant}.safetensors"))
    save_file(continued(made, stream), f"{sys.argv[1]}/{variant}.out.safetensors")
"""


def interruptible(variant: str, hooks: Any = ()) -> BlockCausalGenerator:
    return generator(network(variant), revise=1, fused=variant == "block_causal", hooks=hooks)


def continued(made: BlockCausalGenerator, stream: Any) -> dict[str, Tensor]:
    parts = []
    for number in range(4, 7):
        stream, block = made.advance(stream, known_to(number))
        parts.append(block.values)
    return {"values": torch.cat(parts, dim=1), "nfe": torch.tensor(stream.nfe)}


def test_a_stream_interrupted_inside_a_block_goes_on_in_another_process(tmp_path: Path) -> None:
    """The stream before the block is untouched by what was interrupted, and says all there is to know."""
    expected = {}
    for variant in VARIANTS:
        made = interruptible(variant)
        stream = made.start(ITEMS, seed=7, conditioned=True)
        for number in range(4):
            stream, _ = made.advance(stream, known_to(number))
        with pytest.raises(KeyboardInterrupt):
            interruptible(variant, [_Stop(2)]).advance(stream, known_to(4))
        save_file(stream.snapshot(), tmp_path / f"{variant}.safetensors")
        expected[variant] = continued(made, stream)
    subprocess.run(
        [sys.executable, "-c", _CONTINUE, str(tmp_path)], check=True, timeout=120,
        cwd=Path(__file__).parents[2],
    )  # fmt: skip
    for variant, wanted in expected.items():
        other = load_file(tmp_path / f"{variant}.out.safetensors")
        assert torch.equal(other["values"], wanted["values"])
        assert int(other["nfe"]) == int(wanted["nfe"])


def test_conditions_of_blocks_are_joined() -> None:
    first, second = torch.ones(2, 3), torch.zeros(2, BLOCK, 3)
    joined = conditions_of_blocks([first, None, second], BLOCK)
    assert joined.shape == (2, 3 * BLOCK, 3)
    assert torch.equal(joined[:, :BLOCK], torch.ones(2, BLOCK, 3))
    assert bool(joined[:, BLOCK : 2 * BLOCK].isnan().all())
    assert torch.equal(joined[:, 2 * BLOCK :], second)
    assert conditions_of_blocks([None, None], BLOCK) is None
    assert conditions_of_blocks(["anything"], BLOCK) == "anything"
    with pytest.raises(TypeError, match="tensors or None"):
        conditions_of_blocks(["anything", None], BLOCK)


def test_bad_numbers_are_refused() -> None:
    with pytest.raises(ValueError, match="revise must be"):
        generator(network(), revise=-1)

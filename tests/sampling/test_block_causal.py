"""Generation block by block: streams equal runs made at once, and cached runs equal uncached ones."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from safetensors.torch import load, save
from torch import Tensor

from sciffusion.continuous import AncestralDDPM, DPMSolverMultistep, Euler, Heun, VariancePreserving
from sciffusion.discrete import Ancestral, Corrupted, DiscretePrediction, Mask, NetworkTokenDenoiser
from sciffusion.networks import BlockLatentDenoiser, BlockLatentTransformer, BlockTokenTransformer, KVRing
from sciffusion.networks.block_network import block_times
from sciffusion.sampling import BlockCausalGenerator, GreedyReveal, State, sample, uniform_grid
from sciffusion.sampling.guidance import ClassifierFreeGuidance
from sciffusion.sampling.step_noise import StepNoise, step_generator

VOCAB, BLOCK, WINDOW, ITEMS = 5, 4, 3, 2


def random_parameters(network: torch.nn.Module, std: float = 0.3) -> Any:
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.normal_(0.0, std, generator=generator)
    return network.double().eval().requires_grad_(False)


def tokens_network(n_conditions: int = 0, window: int = WINDOW, positions: Any = "fixed") -> Any:
    network = BlockTokenTransformer(
        VOCAB + 1, VOCAB, block=BLOCK, window=window, width=16, depth=2, n_heads=2,
        n_conditions=n_conditions, positions=positions,
    )  # fmt: skip
    return random_parameters(network)


def tokens_generator(network: Any, solver: Any = None, **options: Any) -> BlockCausalGenerator:
    denoiser = NetworkTokenDenoiser(network, Mask(VOCAB), "denoiser")
    return BlockCausalGenerator(denoiser, solver or Ancestral(), uniform_grid(3), **options)


def latents_generator(solver: Any, **options: Any) -> BlockCausalGenerator:
    network = BlockLatentTransformer(3, block=BLOCK, window=WINDOW, width=16, depth=2, n_heads=2)
    denoiser = BlockLatentDenoiser(random_parameters(network, 0.1), VariancePreserving(), "x0")
    return BlockCausalGenerator(
        denoiser, solver, uniform_grid(4, start=0.99), frame_shape=(3,), dtype=torch.float64, **options
    )


class WholeHistory:
    """A denoiser of one block that evaluates the whole sequence from its start, without any cache."""

    def __init__(self, network: Any, past: Tensor) -> None:
        self.network, self.past, self.path = network, past, Mask(VOCAB)

    def __call__(self, state: Any, condition: Any = None, cache: Any = None) -> DiscretePrediction:
        times = torch.cat([torch.zeros(self.past.shape).double(), state.t.expand(state.x.shape)], dim=1)
        whole = Corrupted(torch.cat([self.past, state.x], dim=1), times)
        prediction = NetworkTokenDenoiser(self.network, self.path, "denoiser")(whole, condition)
        return DiscretePrediction(prediction.logits[:, -state.x.shape[1] :], "denoiser")


@pytest.mark.parametrize("positions", ["fixed", "offset"])
def test_cached_generation_equals_generation_from_the_whole_history(positions: str) -> None:
    """Ten blocks with a window of three: blocks leave the ring, and what they were still counts."""
    network = tokens_network(positions=positions)
    made = tokens_generator(network).generate(ITEMS, 10, seed=3)
    past = made.samples[:, :0]
    for number in range(10):
        start = State(x=torch.full((ITEMS, BLOCK), VOCAB))
        result = sample(
            WholeHistory(network, past), Ancestral(), uniform_grid(3), state=start,
            hooks=[StepNoise(3, number)],
        )  # fmt: skip
        past = torch.cat([past, result.samples], dim=1)
    assert torch.equal(made.samples, past)
    assert len(made.samples.unique()) == VOCAB


@pytest.mark.parametrize("make", [
    lambda: tokens_generator(tokens_network()),
    lambda: latents_generator(AncestralDDPM("posterior")),
    lambda: latents_generator(Heun()),
])  # fmt: skip
def test_streaming_equals_a_run_made_at_once(make: Any) -> None:
    generator = make()
    offline = generator.generate(ITEMS, 6, seed=1)
    blocks = list(generator.stream(ITEMS, 6, seed=1))
    assert [block.number for block in blocks] == list(range(6))
    assert torch.equal(torch.cat([block.values for block in blocks], dim=1), offline.samples)
    assert blocks[-1].nfe == offline.nfe
    in_parts = generator.generate(ITEMS, 2, seed=1)
    rest = generator.generate(ITEMS, 4, stream=in_parts.stream)
    assert torch.equal(torch.cat([in_parts.samples[:, :-BLOCK], rest.samples], dim=1), offline.samples)
    other = generator.generate(ITEMS, 6, seed=2).samples
    assert not torch.equal(other, offline.samples)


def test_the_number_of_evaluations_counts_commits() -> None:
    calls = {"steps": 0, "commits": 0}
    network = tokens_network()
    forward, commit = network.forward, network.commit

    def counted(name: str, call: Any) -> Any:
        def run(*given: Any, **named: Any) -> Any:
            calls[name] += 1
            return call(*given, **named)

        return run

    network.forward, network.commit = counted("steps", forward), counted("commits", commit)
    generator = tokens_generator(network)
    assert generator.generate(ITEMS, 4).nfe == 4 * 3 + 3 == sum(calls.values())
    assert calls == {"steps": 12, "commits": 3}
    prompt = torch.zeros(ITEMS, 5 * BLOCK, dtype=torch.int64)
    assert generator.generate(ITEMS, 4, prompt=prompt).nfe == 4 * (3 + 1)


@pytest.mark.parametrize("length", [3, BLOCK, 4 * BLOCK, 4 * BLOCK + 1])
def test_prompts_of_any_length_are_kept_and_seen(length: int) -> None:
    generator = tokens_generator(tokens_network(), GreedyReveal())
    prompt = torch.randint(VOCAB, (ITEMS, length), generator=torch.Generator().manual_seed(0))
    made = generator.generate(ITEMS, 3, prompt=prompt)
    assert made.samples.shape == (ITEMS, (length // BLOCK + 3) * BLOCK)
    assert torch.equal(made.samples[:, :length], prompt)
    # The same blocks one by one, the prompt given through one stream a block.
    stream = generator.start(ITEMS, prompt=prompt[:, : length // BLOCK * BLOCK])
    caches = generator.start(ITEMS).caches
    for start in range(0, length // BLOCK * BLOCK, BLOCK):
        x = prompt[:, start : start + BLOCK]
        caches = tuple(generator.denoiser.network.commit(x, None, cache) for cache in caches)  # type: ignore[attr-defined]
    pieces = generator.generate(
        ITEMS, 3, stream=type(stream)(caches, prompt[:, :0], prompt[:, length // BLOCK * BLOCK :],
                                      stream.number, 0)
    )  # fmt: skip
    assert torch.equal(pieces.samples, made.samples[:, length // BLOCK * BLOCK :])
    changed = (prompt + 1) % VOCAB
    assert not torch.equal(generator.generate(ITEMS, 3, prompt=changed).samples[:, length:],
                           made.samples[:, length:])  # fmt: skip


@pytest.mark.parametrize("make", [
    lambda: tokens_generator(tokens_network()), lambda: latents_generator(AncestralDDPM("posterior"))
])  # fmt: skip
def test_a_restored_stream_goes_on_identically(make: Any) -> None:
    generator = make()
    stream = generator.generate(ITEMS, 5, seed=7).stream
    snapshot = load(save(stream.snapshot()))
    goes_on = generator.generate(ITEMS, 3, stream=stream)
    restored = generator.generate(ITEMS, 3, stream=make().restore(snapshot))
    assert torch.equal(goes_on.samples, restored.samples)
    assert goes_on.nfe == restored.nfe


def test_resampled_streams_take_their_past_along() -> None:
    generator = tokens_generator(tokens_network(), GreedyReveal())
    prompt = torch.arange(ITEMS)[:, None].expand(-1, 3 * BLOCK).contiguous()
    stream = generator.generate(ITEMS, 2, prompt=prompt).stream
    plain = generator.generate(ITEMS, 2, stream=stream).samples
    swapped = generator.generate(ITEMS, 2, stream=stream.take_items(torch.tensor([1, 1]))).samples
    assert torch.equal(swapped, plain[[1, 1]])
    assert not torch.equal(plain[0], plain[1])


@pytest.mark.parametrize("solver", [Euler(), Heun(), DPMSolverMultistep(2), AncestralDDPM("posterior")])
def test_continuous_solvers_run_through_the_same_object(solver: Any) -> None:
    """Against one evaluation of the whole history at every call, for three blocks of frames."""
    generator = latents_generator(solver)
    made = generator.generate(ITEMS, 5, seed=1)
    network = generator.denoiser.network  # type: ignore[attr-defined]
    path, past = generator.denoiser.path, made.samples[:, :0]

    def whole(x: Tensor, times: Tensor, condition: Any) -> Tensor:
        times = torch.cat([torch.zeros(ITEMS, past.shape[1]).double(), times.expand(ITEMS, BLOCK)], dim=1)
        return network(torch.cat([past, x], dim=1), times, condition)[:, -BLOCK:]

    for number in range(5):
        x = path.draw_prior((ITEMS, BLOCK, 3), step_generator(1, number, 0), 0.99, torch.float64)
        result = sample(
            BlockLatentDenoiser(whole, path, "x0"), solver, generator.grid, state=State(x=x),
            hooks=[StepNoise(1, number)],
        )  # fmt: skip
        past = torch.cat([past, result.samples], dim=1)
    torch.testing.assert_close(made.samples, past, atol=1e-10, rtol=0.0)


def test_blocks_may_have_times_of_their_own_elements() -> None:
    """A grid with one time a site: later sites of a block are revealed after earlier ones."""
    grid = (1.5 * uniform_grid(6)[:, None, None] - 0.5 * torch.arange(BLOCK, 0, -1) / BLOCK).clamp(0.0, 1.0)
    denoiser = NetworkTokenDenoiser(tokens_network(), Mask(VOCAB), "denoiser")
    made = BlockCausalGenerator(denoiser, Ancestral(), grid.flip(-1)).generate(ITEMS, 3)
    assert int(made.samples.max()) < VOCAB


def test_conditions_may_change_from_block_to_block() -> None:
    network = tokens_network(n_conditions=1)
    first, second = torch.zeros(ITEMS, 1), torch.ones(ITEMS, 1)
    generator = tokens_generator(network, GreedyReveal())
    same = generator.generate(ITEMS, 4, condition=first).samples
    assert torch.equal(generator.generate(ITEMS, 4, condition=lambda number: first).samples, same)
    switched = generator.generate(ITEMS, 4, condition=lambda number: first if number < 2 else second)
    assert torch.equal(switched.samples[:, : 2 * BLOCK], same[:, : 2 * BLOCK])
    assert not torch.equal(switched.samples, same)


def test_classifier_free_guidance_sees_unconditional_keys() -> None:
    """Scale 0 is the unconditional run, past included; that takes two commits a block."""
    sizes: dict[str, Any] = {"block": BLOCK, "window": WINDOW, "width": 16, "depth": 2, "n_heads": 2}
    network = random_parameters(BlockLatentTransformer(3, n_conditions=1, **sizes), 0.1)
    denoiser = BlockLatentDenoiser(network, VariancePreserving(), "x0")
    options: dict[str, Any] = {"frame_shape": (3,), "dtype": torch.float64}
    grid, condition = uniform_grid(4, start=0.99), torch.ones(ITEMS, 1)
    guided = BlockCausalGenerator(denoiser, Euler(), grid, guidance=ClassifierFreeGuidance(0.0), **options)
    plain = BlockCausalGenerator(denoiser, Euler(), grid, **options)
    made = guided.generate(ITEMS, 4, condition=condition)
    unconditional, conditional = plain.generate(ITEMS, 4), plain.generate(ITEMS, 4, condition=condition)
    torch.testing.assert_close(made.samples, unconditional.samples, atol=1e-10, rtol=0.0)
    assert (made.samples - conditional.samples).abs().max() > 1e-3
    assert made.nfe == 4 * 4 * 2 + 3 * 2
    unkept = BlockCausalGenerator(
        denoiser, Euler(), grid, guidance=ClassifierFreeGuidance(2.0), other_conditions=(), **options
    )
    with pytest.raises(ValueError, match="other_conditions"):
        unkept.generate(ITEMS, 1, condition=condition)


def test_training_beside_clean_blocks_predicts_what_sampling_sees() -> None:
    """Objectives see a denoiser like any other; its answers are those of cached evaluation."""
    network, process = tokens_network(n_conditions=1), Mask(VOCAB)
    x0 = torch.randint(VOCAB, (ITEMS, 5 * BLOCK), generator=torch.Generator().manual_seed(0))
    times = block_times(torch.rand(ITEMS, 5, generator=torch.Generator().manual_seed(1)), BLOCK, 5 * BLOCK)
    noisy = process.corrupt(x0, times, torch.Generator().manual_seed(2))
    condition = torch.ones(ITEMS, 1)
    trained = NetworkTokenDenoiser(network.beside(x0), process, "denoiser")(noisy, condition)
    sampling = NetworkTokenDenoiser(network, process, "denoiser")
    cache: KVRing = network.start_cache(ITEMS)
    for start in range(0, 5 * BLOCK, BLOCK):
        part = slice(start, start + BLOCK)
        seen = sampling(Corrupted(noisy.x[:, part], noisy.t[:, part]), condition, cache)
        torch.testing.assert_close(trained.logits[:, part], seen.logits, atol=1e-10, rtol=0.0)
        cache = network.commit(x0[:, part], condition, cache)
    with pytest.raises(ValueError, match="do not fit clean ones"):
        network.beside(x0[:, :4])(noisy.x, times)
    with pytest.raises(ValueError, match="times for 3"):
        block_times(torch.rand(ITEMS, 3), BLOCK, 5 * BLOCK)


def test_bad_prompts_are_refused() -> None:
    generator = tokens_generator(tokens_network())
    with pytest.raises(ValueError, match="prompt must have shape"):
        generator.start(ITEMS, prompt=torch.zeros(3, 4, dtype=torch.int64))
    with pytest.raises(ValueError, match="hooks"):
        tokens_generator(tokens_network(), hooks=[StepNoise(0)], draft=2)

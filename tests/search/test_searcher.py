from __future__ import annotations

import copy
import math

import numpy as np
import pytest
import torch
from torch import nn

from strongticket import random
from strongticket.models import MLP
from strongticket.search import (
    AbstractMethod,
    Bernoulli,
    Biprop,
    EdgePopup,
    GemMiner,
    IteRand,
    Multicoated,
    ScoreOptimiser,
    Searcher,
    SignedSupermask,
    random_source,
)
from strongticket.search.layers import WeightInit
from strongticket.selection import kept_count
from strongticket.ticketfile import dumps, loads

SIZES = (20, 70, 30, 4)
METHODS = [
    EdgePopup(0.3),
    EdgePopup(0.3, score_transform="identity"),
    EdgePopup(0.3, allocation="global"),
    EdgePopup(0.3, allocation="erdos-renyi"),
    EdgePopup(0.1, levels=4),
    IteRand(0.4, period=5, rate=0.5),
    Biprop(0.3),
    Bernoulli(),
    Bernoulli(rescale=True),
    SignedSupermask(),
    GemMiner(0.3, stages=2),
    Multicoated((0.4, 0.2, 0.1)),
]
TOP_K = [method for method in METHODS if isinstance(method, EdgePopup | IteRand)]


def data(seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(64, SIZES[0], generator=generator)
    return x, (x @ torch.randn(SIZES[0], SIZES[-1], generator=generator)).argmax(1)


def searcher_of(method: AbstractMethod, **options) -> Searcher:
    return Searcher(random_source(MLP(SIZES), seed=1), method, seed=2, **options)


def run(searcher: Searcher, steps: int, lr: float = 0.1, total: int = 40, start: int = 0) -> list[float]:
    x, y = data()
    losses = []
    for i in range(start, start + steps):
        loss = nn.functional.cross_entropy(searcher.module(x), y)
        searcher.zero_grad()
        loss.backward()
        searcher.step(lr, progress=min(1.0, (i + 1) / total))
        losses.append(float(loss.detach()))
    return losses


def stable_sort_mask(score: torch.Tensor, count: int) -> torch.Tensor:
    flat = score.reshape(-1)
    mask = torch.zeros(flat.numel(), dtype=torch.bool)
    mask[torch.sort(flat, stable=True).indices[flat.numel() - count :]] = True
    return mask.view(score.shape)


@pytest.mark.parametrize("method", METHODS, ids=lambda m: f"{m.key}")
def test_every_method_learns_without_touching_weights(method: AbstractMethod) -> None:
    searcher = searcher_of(method, optimiser=ScoreOptimiser(momentum=0.9))
    frozen = [weight.clone() for weight in searcher.weights]
    lr = {"bernoulli": 20.0, "gem-miner": 0.3, "signed-supermask": 0.1}.get(method.key, 0.3)
    losses = run(searcher, 40, lr=lr)
    assert min(losses[-5:]) < 0.8 * losses[0]
    for before, after in zip(frozen, searcher.weights, strict=True):
        assert (not torch.equal(before, after)) == (method.key == "iterand")


@pytest.mark.parametrize("method", TOP_K, ids=lambda m: f"{m.key}-{m.allocation}-{m.absolute}-{m.levels}")
def test_one_pass_equals_plain_torch(method: AbstractMethod) -> None:
    how = ScoreOptimiser(momentum=0.9, weight_decay=1e-3, nesterov=method.density == 0.1)
    fused, plain = searcher_of(method, optimiser=how), searcher_of(method, optimiser=how, fused=False)
    x, y = data()
    for i in range(40):
        for searcher in (fused, plain):
            searcher.zero_grad()
        loss = nn.functional.cross_entropy(plain.module(x), y)
        loss.backward()
        for a, b in zip(fused.module.parameters(), plain.module.parameters(), strict=True):
            a.grad = b.grad.clone()
        for searcher in (fused, plain):
            searcher.step(0.1, progress=(i + 1) / 40)
        for name, score in plain.scores.items():
            # contraction to fused multiply-adds differs: a few units in the last place of the largest term
            torch.testing.assert_close(fused.scores[name], score, rtol=0, atol=4e-7)
            score.copy_(fused.scores[name])
        plain.refresh()
        for a, b in zip(fused.module.parameters(), plain.module.parameters(), strict=True):
            assert torch.equal(a + 0.0, b + 0.0)


@pytest.mark.parametrize("density", [0.0, 0.013, 0.5, 0.9, 1.0])
@pytest.mark.parametrize("absolute", [True, False])
def test_masks_equal_a_stable_sort_at_every_step(density: float, absolute: bool) -> None:
    method = EdgePopup(density, score_transform="abs" if absolute else "identity")
    searcher = searcher_of(method)
    rng = torch.Generator().manual_seed(0)
    for step in range(60):
        for parameter in searcher.module.parameters():
            parameter.grad = torch.randn(parameter.shape, generator=rng)
        if step == 30:  # ties everywhere, and zeros of both signs
            for score in searcher.scores.values():
                score.copy_((score * 40).round() / 40)
                score.view(-1)[::3] *= -0.0
            searcher.refresh()
        searcher.step(0.05)
        for layer, weight in zip(searcher.layers, searcher.weights, strict=True):
            score = searcher.scores[layer.name]
            mask = stable_sort_mask(score.abs() if absolute else score, kept_count(density, layer.size))
            parameter = searcher.module.get_parameter(layer.name)
            assert torch.equal(parameter != 0, mask)
            assert torch.equal(parameter[mask], weight.view(layer.shape)[mask])


def test_global_allocation_equals_one_sort_of_everything() -> None:
    searcher = searcher_of(EdgePopup(0.2, allocation="global"))
    run(searcher, 20)
    scores = torch.cat([score.abs().view(-1) for score in searcher.scores.values()])
    mask = stable_sort_mask(scores, kept_count(0.2, scores.numel()))
    assert torch.equal(torch.cat([p.view(-1) != 0 for p in searcher.module.parameters()]), mask)


def test_slope_is_the_formula_of_the_paper_in_double_precision() -> None:
    # dL/ds_uv = <dL/dI_v, w_uv z_u>, summed over the batch, with the sign of s; a zero score gets none
    torch.manual_seed(0)
    z, w, s = torch.randn(5, 3).double(), torch.randn(2, 3).double(), torch.randn(2, 3).double()
    s[0, 0] = 0.0
    mask = stable_sort_mask(s.abs(), 3)
    effective = (w * mask).requires_grad_(True)
    node = z @ effective.T
    (node**3).sum().backward()
    into = 3 * node.detach() ** 2  # dL/dI
    expected = torch.einsum("bv,bu->vu", into, z) * w * s.sign()
    got = EdgePopup(0.5).slope(s, w, effective.grad, mask)
    torch.testing.assert_close(got, expected)
    assert got[0, 0] == 0
    torch.testing.assert_close(
        EdgePopup(0.5, score_transform="identity").slope(s, w, effective.grad, mask), w * effective.grad
    )
    torch.testing.assert_close(Biprop(0.5).slope(s, w, effective.grad, mask), s.sign() * w * effective.grad)
    torch.testing.assert_close(
        Multicoated((0.5, 0.2)).slope(s, w, effective.grad, mask), 2 * s.sign() * w * effective.grad
    )


@pytest.mark.parametrize("rescale", [False, True])
def test_bernoulli_slope_is_the_derivative_through_the_rounding(rescale: bool) -> None:
    torch.manual_seed(1)
    s, w, g = torch.randn(12).double(), torch.randn(12).double(), torch.randn(12).double()
    mask = torch.rand(12) < 0.6
    p = torch.sigmoid(s).requires_grad_(True)
    through = mask.double() + p - p.detach()  # straight through: value of the mask, derivative of p
    effective = w * through * (12 / through.sum() if rescale else 1.0)
    (effective * g).sum().backward()
    expected = p.grad * (p * (1 - p)).detach()
    torch.testing.assert_close(Bernoulli(rescale=rescale).slope(s, w, g, mask), expected)


def test_biprop_weights_are_binary_with_the_mean_magnitude() -> None:
    searcher = searcher_of(Biprop(0.3))
    run(searcher, 5)
    for layer, weight in zip(searcher.layers, searcher.weights, strict=True):
        mask = searcher.masks()[layer.name].view(-1)
        values = searcher.module.get_parameter(layer.name).view(-1)[mask]
        torch.testing.assert_close(values.abs(), weight[mask].abs().mean().expand(values.shape))
        assert torch.equal(values.sign(), weight[mask].sign())


def test_signed_supermask_takes_three_values() -> None:
    searcher = searcher_of(SignedSupermask(0.2))
    run(searcher, 30)
    values = torch.cat([mask.view(-1) for mask in searcher.masks().values()])
    assert set(values.unique().tolist()) == {-1.0, 0.0, 1.0}


def test_gem_miner_kills_exactly_what_it_says_and_for_good() -> None:
    method = GemMiner(0.05, stages=4)
    searcher = searcher_of(method)
    alive = total = sum(layer.size for layer in searcher.layers)
    dead: torch.Tensor | None = None
    for i in range(40):
        run(searcher, 1, start=i)
        flags = torch.cat(searcher.state.alive)
        if int(flags.sum()) != alive:
            share = 1 - method.density ** (1 / method.stages)
            assert int(flags.sum()) == alive - math.ceil(share * alive)
            alive = int(flags.sum())
        if dead is not None:
            assert not (flags & dead).any()
        dead = ~flags
    assert method.density * total - method.stages <= alive <= method.density * total
    flat = torch.cat([mask.view(-1) for mask in searcher.masks().values()])
    assert not (flat & dead).any()


def test_gem_miner_counts_survivors_of_tied_scores_exactly() -> None:
    method = GemMiner(0.1, stages=2)
    scores = [torch.zeros(50), torch.tensor([0.0] * 30 + [0.7] * 20)]
    alive = method.survivors(scores, [torch.ones(50, dtype=torch.bool), torch.ones(50, dtype=torch.bool)])
    assert sum(int(a.sum()) for a in alive) == 100 - math.ceil((1 - 0.1**0.5) * 100)
    assert alive[1][30:].all()


def test_multicoated_masks_are_nested_counts() -> None:
    searcher = searcher_of(Multicoated((0.4, 0.2, 0.1)))
    run(searcher, 3)
    for layer, (_, coats) in zip(searcher.layers, searcher.masks().items(), strict=True):
        for c, density in enumerate((0.4, 0.2, 0.1), start=1):
            assert int((coats >= c).sum()) == kept_count(density, layer.size)


def test_iterand_redraws_only_what_was_dropped() -> None:
    searcher = searcher_of(IteRand(0.4, period=5, rate=0.5))
    for i in range(25):
        before = [weight.clone() for weight in searcher.weights]
        run(searcher, 1, start=i)
        changed = [a != b for a, b in zip(before, searcher.weights, strict=True)]
        masks = [mask.view(-1) for mask in searcher.masks().values()]
        due = (searcher.state.step + 1) % 5 == 0
        assert any(c.any() for c in changed) == due
        assert not any((c & m).any() for c, m in zip(changed, masks, strict=True))


@pytest.mark.parametrize("method", METHODS, ids=lambda m: f"{m.key}")
def test_resuming_gives_the_same_bits(method: AbstractMethod) -> None:
    whole, first = searcher_of(method), searcher_of(method)
    run(whole, 30)
    run(first, 13)
    saved = copy.deepcopy(first.state_dict())
    second = searcher_of(method)
    second.load_state_dict(saved)
    run(second, 17, start=13)
    for a, b in zip(whole.module.parameters(), second.module.parameters(), strict=True):
        assert torch.equal(a, b)
    other = EdgePopup(0.77)
    with pytest.raises(ValueError, match="another search"):
        searcher_of(other).load_state_dict(saved)


@pytest.mark.parametrize("init", ["signed-constant", "kaiming-normal", "kaiming-uniform"])
@pytest.mark.parametrize("method", METHODS, ids=lambda m: f"{m.key}")
def test_ticket_is_the_module_bit_for_bit(method: AbstractMethod, init: WeightInit) -> None:
    source = random_source(MLP(SIZES, bias=True), 1, init)
    searcher = Searcher(source, method, seed=2, keep=("layers.1.bias",))
    for steps in (0, 7, 13):
        run(searcher, steps, start=searcher.state.step)
        ticket = searcher.ticket()
        assert ticket.matches(searcher.module)
        assert ticket.mask.counts == {**dict.fromkeys(source.shapes, 0), **searcher.kept, "layers.1.bias": 30}
        for name, value in ticket.weights().items():
            assert torch.equal(value, searcher.module.get_parameter(name))
        assert loads(dumps(ticket)).matches(searcher.module)
    plain = method.key in ("edge-popup", "gem-miner") or method == Bernoulli()
    assert ticket.plain == plain
    last = searcher.module.layers[0].weight.view(-1)
    place = int(last.nonzero()[0])
    with torch.no_grad():
        last[place] = torch.nextafter(last[place], torch.tensor(9.0))
    assert not ticket.matches(searcher.module)


@pytest.mark.parametrize("method", METHODS, ids=lambda m: f"{m.key}")
def test_a_resumed_search_finds_the_same_ticket(method: AbstractMethod) -> None:
    whole, resumed = searcher_of(method), searcher_of(method)
    run(whole, 12)
    saved = whole.state_dict()
    found = whole.ticket()
    run(whole, 9, start=12)  # what was saved stays as it was
    resumed.load_state_dict(saved)
    assert resumed.ticket() == found
    assert found.matches(resumed.module)
    run(resumed, 9, start=12)
    assert resumed.ticket() == whole.ticket()


@pytest.mark.filterwarnings("ignore:bernoulli keeps nothing:UserWarning")  # above a probability of 0.9
@pytest.mark.parametrize("rescale", [False, True])
def test_bernoulli_tickets_keep_what_is_likely(rescale: bool) -> None:
    searcher = searcher_of(Bernoulli(rescale=rescale))
    run(searcher, 20, lr=20.0)
    for threshold in (0.0, 0.5, 0.9):
        ticket = searcher.ticket(threshold=threshold)
        assert ticket.plain != rescale
        for name, score in searcher.scores.items():
            likely = 1 / (1 + torch.exp(-score.double())) > threshold
            assert int((ticket.mask[name] != likely).sum()) <= 1  # the sigmoid of float32 may round to the threshold
    ticket = searcher.ticket(threshold=0.5)
    assert ticket != searcher.ticket()
    searcher.module.load_state_dict(ticket.module().state_dict())
    assert ticket.matches(searcher.module)
    with pytest.raises(ValueError, match="threshold in"):
        searcher.ticket(threshold=1.0)
    with pytest.raises(ValueError, match="no probabilities"):
        searcher_of(EdgePopup(0.3)).ticket(threshold=0.5)


def test_redrawn_weights_are_those_of_their_events() -> None:
    searcher = searcher_of(IteRand(0.4, period=5, rate=0.5))
    run(searcher, 39)
    ticket = searcher.ticket()
    for name, events in ticket.reading.redraws.items():
        assert set(events.tolist()) >= {0, 1, 2}
        assert events.max() <= 8
        law, scale = ticket.source.init.of(name)
        size = ticket.mask[name].numel()
        for index, event, weight in zip(ticket.mask.indices(name), events, ticket.kept_weights(name), strict=True):
            purpose = random.REINIT if event else random.WEIGHTS  # one at a time, from the stream itself
            drawn = random.law(law).values_at(ticket.source.seed, name, [index + event * size], purpose=purpose)
            assert float(weight) == float(drawn[0] * np.float32(scale))


def test_scaled_weights_have_the_variance_of_a_dense_layer() -> None:
    for density in (0.1, 0.3, 0.5):
        source = random_source(MLP((400, 300, 10)), 0, "kaiming-normal", density=density)
        std = float(source.weight("layers.0.weight").std())
        assert std == pytest.approx(math.sqrt(2 / (400 * density)), rel=0.01)
        wrong = random_source(MLP((400, 300, 10)), 0, "kaiming-normal", density=density, compat_scale_bug=True)
        assert float(wrong.weight("layers.0.weight").std()) == pytest.approx(
            math.sqrt(2 / (400 * (1 - density))), rel=0.01
        )
    shared = random_source(MLP((400, 300, 10)), 0, density=0.2, allocation="erdos-renyi")
    assert shared.init.of("layers.1.weight")[1] == pytest.approx(math.sqrt(2 / 300), rel=1e-6)  # kept whole


def test_nan_is_reported() -> None:
    searcher = searcher_of(EdgePopup(0.3))
    for parameter in searcher.module.parameters():
        parameter.grad = torch.full_like(parameter, math.nan)
    with pytest.raises(RuntimeError, match="became NaN"):
        searcher.step(0.1)
    with pytest.raises(RuntimeError, match="has no gradient"):
        searcher_of(EdgePopup(0.3)).step(0.1)


def test_warm_brackets_rarely_miss() -> None:
    searcher = Searcher(random_source(MLP((300, 200, 10)), 0), EdgePopup(0.5))
    x = torch.from_numpy(np.random.default_rng(0).standard_normal((256, 300)).astype(np.float32))
    y = torch.arange(256) % 10
    for _ in range(100):
        loss = nn.functional.cross_entropy(searcher.module(x), y)
        searcher.zero_grad()
        loss.backward()
        searcher.step(0.1)
    assert sum(searcher._update.misses) <= 10

"""The searcher with all kinds of modules and ways of running them, and with scores that are not numbers."""

from __future__ import annotations

import copy
import math
import warnings

import pytest
import torch
from torch import nn

from strongticket.models import MLP, ModuleArchitecture
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
    Threshold,
    find,
    find_many,
    random_source,
)
from strongticket.selection import kept_count
from strongticket.training import TrainingError

compiling = pytest.mark.filterwarnings("ignore:.*script_method.*:DeprecationWarning")  # inside torch

PLAIN = [Biprop(0.5), Bernoulli(), SignedSupermask(), GemMiner(0.3, stages=2), Multicoated((0.5, 0.2))]


class Everything(nn.Module):
    """Embedding tied to the output, attention, convolutions of one to three dimensions, normalisation, biases."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(12, 8)
        self.attention = nn.MultiheadAttention(8, 2, bias=False, batch_first=True)
        self.norm = nn.LayerNorm(8)
        self.line = nn.Conv1d(8, 8, 3, padding=1, groups=2)
        self.plane = nn.Conv2d(1, 2, 3, padding=1, bias=False)
        self.space = nn.Conv3d(1, 2, 3, padding=1, bias=False)
        self.scale = nn.BatchNorm1d(8)
        self.out = nn.Linear(8, 12, bias=False)
        self.out.weight = self.embed.weight

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        x = self.embed(tokens)
        x = self.norm(x + self.attention(x, x, x, need_weights=False)[0])
        x = self.line(x.transpose(1, 2)).transpose(1, 2)
        x = x + self.plane(x[:, None]).mean(1) + self.space(x[:, None, None]).mean((1, 2))
        return self.out(self.scale(x.mean(1)))


def everything() -> Searcher:
    return Searcher(random_source(ModuleArchitecture("everything", Everything), 1), EdgePopup(0.4), seed=3)


def tokens() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    x = torch.randint(0, 12, (24, 5), generator=generator)
    return x, x[:, 0]


def one_step(searcher: Searcher, run: nn.Module | None = None, lr: float = 0.1) -> float:
    x, y = tokens()
    network = searcher.module if run is None else run
    loss = nn.functional.cross_entropy(network(x).float(), y)
    searcher.zero_grad()
    loss.backward()
    searcher.step(lr)
    return float(loss.detach())


def test_a_module_of_all_kinds_is_searched_saved_and_copied() -> None:
    searcher = everything()
    losses = [one_step(searcher) for _ in range(30)]
    assert min(losses[-5:]) < 0.8 * losses[0]
    ticket = searcher.ticket()
    assert ticket.matches(searcher.module)
    twin = copy.deepcopy(searcher.module)
    assert ticket.matches(twin)
    assert twin.out.weight is twin.embed.weight
    assert all(ticket.mask.counts[layer.name] == kept_count(0.4, layer.size) for layer in searcher.layers)


@compiling
def test_compiled_and_autocast_runs_see_the_weights_of_each_step() -> None:
    plain, compiled = everything(), everything()
    run = torch.compile(compiled.module, backend="aot_eager")
    for _ in range(4):
        assert one_step(plain) == pytest.approx(one_step(compiled, run), rel=1e-5)
    inside = everything()
    with torch.autocast("cpu", dtype=torch.bfloat16):  # one context around all steps: weights must not stay cached
        losses = [one_step(inside) for _ in range(12)]
    assert min(losses[-3:]) < losses[0] - 0.05
    assert all(score.dtype == torch.float32 for score in inside.scores.values())


def test_channels_last_gives_the_same_ticket() -> None:
    net = ModuleArchitecture(
        "conv", lambda: nn.Sequential(nn.Conv2d(3, 8, 3, bias=False), nn.Flatten(), nn.LazyLinear(1))
    )
    with pytest.raises((TypeError, ValueError)):
        random_source(net, 0)  # lazy layers have no shapes
    net = ModuleArchitecture("conv", lambda: nn.Conv2d(3, 8, 3, bias=False))
    x = torch.randn(4, 3, 6, 6, generator=torch.Generator().manual_seed(0))
    tickets = []
    for form in (torch.contiguous_format, torch.channels_last):
        source = random_source(net, 2)
        module = net.module({**source.weights(), **net.initial_state()}).to(memory_format=form)
        searcher = Searcher(source, EdgePopup(0.3), module=module)
        for _ in range(5):
            searcher.zero_grad()
            searcher.module(x).square().sum().backward()
            searcher.step(0.1)
        tickets.append(searcher.ticket())
        assert tickets[-1].matches(searcher.module)
    assert tickets[0] == tickets[1]


def test_old_graphs_cannot_be_differentiated_after_a_step() -> None:
    searcher = everything()
    x, y = tokens()
    loss = nn.functional.cross_entropy(searcher.module(x), y)
    loss.backward(retain_graph=True)
    searcher.step(0.1)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


def test_replaced_and_converted_parameters_are_noticed() -> None:
    searcher = everything()
    one_step(searcher)
    searcher.module.load_state_dict(copy.deepcopy(searcher.module.state_dict()), assign=True)
    with pytest.raises(RuntimeError, match="was replaced"):
        one_step(searcher)
    half = everything()
    half.module.bfloat16()
    with pytest.raises(RuntimeError, match="converted"):
        half.ticket()


@compiling
def test_modules_of_another_architecture_are_refused() -> None:
    class Untied(Everything):
        def __init__(self) -> None:
            super().__init__()
            self.out = nn.Linear(8, 12, bias=False)

    class More(Everything):
        def __init__(self) -> None:
            super().__init__()
            self.more = nn.Linear(2, 2, bias=False)

    source = random_source(ModuleArchitecture("everything", Everything), 1)
    for wrong, message in ((Untied(), "tied"), (More(), "more.weight"), (torch.compile(Everything()), "inner one")):
        with pytest.raises(ValueError, match=message):
            Searcher(source, EdgePopup(0.4), module=wrong)


def test_sparse_gradients_count_like_dense_ones() -> None:
    results = []
    for sparse in (False, True):
        net = ModuleArchitecture("words", lambda sparse=sparse: nn.Embedding(9, 4, sparse=sparse))
        searcher = Searcher(random_source(net, 0), EdgePopup(0.5))
        for _ in range(3):
            searcher.zero_grad()
            searcher.module(torch.tensor([1, 1, 5])).square().sum().backward()
            searcher.step(0.1)
        results.append(searcher.scores["weight"].clone())
    assert torch.equal(*results)


@pytest.mark.parametrize("method", PLAIN, ids=lambda m: m.key)
def test_nan_scores_of_every_method_are_reported(method: AbstractMethod) -> None:
    searcher = Searcher(random_source(MLP((8, 16, 2)), 0), method)
    for parameter in searcher.module.parameters():
        parameter.grad = torch.full_like(parameter, math.nan)
    searcher.step(0.1, progress=0.1)
    with pytest.raises(RuntimeError, match="NaN or infinite"):
        searcher.ticket()


def test_a_search_whose_scores_blow_up_says_so() -> None:
    x, y = torch.randn(64, 8, generator=torch.Generator().manual_seed(0)), torch.arange(64) % 2
    for method in (Biprop(0.5), EdgePopup(0.5)):
        with pytest.raises((TrainingError, RuntimeError), match="NaN or infinite"):
            find(MLP((8, 16, 2)), x, y, "digits", method=method, epochs=2, batch_size=8, lr=1e38)


@pytest.mark.parametrize("absolute", [True, False])
def test_infinite_scores_are_refused_and_subnormal_ones_ranked(absolute: bool) -> None:
    method = EdgePopup(0.5, score_transform="abs" if absolute else "identity")
    searcher = Searcher(random_source(MLP((20, 70, 4)), 0), method)
    for score in searcher.scores.values():
        score.view(-1)[::2] = math.inf
    with pytest.raises(RuntimeError, match="infinite"):
        searcher.refresh()
    for flush in (False, True):
        torch.set_flush_denormal(flush)
        try:
            for score in searcher.scores.values():
                score.zero_()
                score.view(-1)[::3] = 1e-40
                score.view(-1)[1::7] = 1.0
            searcher.refresh()
            for layer in searcher.layers:
                parameter = searcher.module.get_parameter(layer.name)
                assert int((parameter != 0).sum()) == kept_count(0.5, layer.size)
        finally:
            torch.set_flush_denormal(False)


def test_layers_that_keep_nothing_are_warned_of() -> None:
    with pytest.warns(UserWarning, match=r"keeps nothing of \['layers.1.weight'\]"):
        Searcher(random_source(MLP((100, 50, 2)), 0), EdgePopup(0.004))


@pytest.mark.parametrize(
    "method",
    [
        GemMiner(0.001, stages=3),
        Threshold(9.0),
        SignedSupermask(2.0),
        EdgePopup(0.001, "global"),
        Multicoated((0.001,)),
    ],
    ids=lambda method: method.key,
)
def test_tickets_of_every_method_are_warned_of_that_keep_nothing_of_a_layer(method: AbstractMethod) -> None:
    x = torch.randn(32, 16, generator=torch.Generator().manual_seed(0))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        searcher = Searcher(random_source(MLP((16, 10, 2)), 0), method)
        for i in range(4):
            searcher.zero_grad()
            nn.functional.cross_entropy(searcher.module(x), torch.arange(32) % 2).backward()
            searcher.step(0.1, progress=(i + 1) / 4)
    with pytest.warns(UserWarning, match="keeps nothing of"):
        searcher.ticket()
    with pytest.warns(UserWarning, match="keeps nothing of"):
        find("mlp-16-10-2", x, torch.arange(32) % 2, "digits", method=method, epochs=1)


@pytest.mark.parametrize("densities", [[0.001], [0.5, 0.001]])
def test_searches_in_batches_are_warned_of_too(densities: list[float]) -> None:
    x = torch.randn(32, 16, generator=torch.Generator().manual_seed(0))
    with pytest.warns(UserWarning, match=r"density 0.001 \(layer\) keeps nothing of"):
        find_many("mlp-16-10-2", x, torch.arange(32) % 2, "digits", densities=densities, epochs=1)


def test_who_asks_for_nothing_is_not_warned() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for method in (EdgePopup(0.0), Multicoated((0.0,))):
            Searcher(random_source(MLP((16, 10, 2)), 0), method).ticket()


def test_methods_that_change_on_the_way_need_to_know_how_far_they_are() -> None:
    for method in (EdgePopup(0.1, levels=4), GemMiner()):
        searcher = Searcher(random_source(MLP((8, 16, 2)), 0), method)
        for parameter in searcher.module.parameters():
            parameter.grad = torch.zeros_like(parameter)
        with pytest.raises(ValueError, match="changes on the way"):
            searcher.step(0.1)


def test_levels_begin_where_they_should() -> None:
    for levels in range(1, 60):
        method = EdgePopup(0.1, levels=levels)
        for j in range(levels):
            assert method.density_at(j / levels) == pytest.approx(0.1 ** ((j + 1) / levels))


def test_gem_miner_never_revives_the_dead() -> None:
    alive = [torch.tensor([True] * 4 + [False] * 4)]
    left = GemMiner(0.25, stages=2).survivors([torch.tensor([-2.0, -3, -1.5, -4, 0.9, 0.8, 0.7, 0.6])], alive)
    assert left[0].tolist() == [True, False, True, False, False, False, False, False]


def test_states_of_other_searches_are_refused() -> None:
    source = random_source(MLP((8, 16, 2)), 0)
    state = Searcher(source, IteRand(0.5)).state_dict()
    others = (
        {"seed": 1},
        {"optimiser": ScoreOptimiser(weight_decay=0.1)},
        {"names": ("layers.0.weight",)},
        {"fused": False},
    )
    for options in others:
        with pytest.raises(ValueError, match="another search"):
            Searcher(source, IteRand(0.5), **options).load_state_dict(state)
    with pytest.raises(TypeError, match="not copied"):
        copy.deepcopy(Searcher(source, IteRand(0.5)))


def test_any_seed_draws_its_own_bernoulli_masks() -> None:
    source = random_source(MLP((8, 64, 2)), 0)
    masks = [Searcher(source, Bernoulli(), seed=seed).masks()["layers.0.weight"] for seed in (0, 1, 2**64 - 1)]
    assert not torch.equal(masks[0], masks[1])
    assert all(0.35 < float(mask.float().mean()) < 0.65 for mask in masks)


@pytest.mark.filterwarnings("ignore:There is a performance drop:UserWarning")  # attention under vmap
def test_find_takes_tokens_and_refuses_a_last_batch_of_one() -> None:
    x, y = tokens()
    net = ModuleArchitecture("everything", Everything)
    found = find(net, x, y, "digits", epochs=2, batch_size=8)
    assert found.ticket.matches(found.module)
    many = find_many(net, x, y, "digits", seeds=[0, 1], epochs=2, batch_size=8)
    assert len(many) == 2
    with pytest.raises(ValueError, match="single example"):
        find(net, x[:17], y[:17], "digits", epochs=1, batch_size=8)

"""Held weights stay exactly zero under every optimiser, and every survivor learns as if nothing else were there."""

from __future__ import annotations

import copy
import io
from collections.abc import Callable, Iterable

import pytest
import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from strongticket import Mask
from strongticket.pruning import Hold, hold

Make = Callable[[Iterable[Tensor]], Optimizer]
OPTIMISERS: dict[str, Make] = {
    "sgd": lambda p: torch.optim.SGD(p, lr=0.05),
    "momentum": lambda p: torch.optim.SGD(p, lr=0.05, momentum=0.9, weight_decay=0.1),
    "nesterov": lambda p: torch.optim.SGD(p, lr=0.05, momentum=0.9, nesterov=True, weight_decay=0.1),
    "adam": lambda p: torch.optim.Adam(p, lr=0.05, weight_decay=0.1),
    "amsgrad": lambda p: torch.optim.Adam(p, lr=0.05, amsgrad=True),
    "adamw": lambda p: torch.optim.AdamW(p, lr=0.05, weight_decay=0.5),
    "adamw-fused": lambda p: torch.optim.AdamW(p, lr=0.05, weight_decay=0.5, fused=True),
    "rmsprop": lambda p: torch.optim.RMSprop(p, lr=0.01, momentum=0.9, centered=True),
    "adagrad": lambda p: torch.optim.Adagrad(p, lr=0.05),
    "nadam": lambda p: torch.optim.NAdam(p, lr=0.05, weight_decay=0.1),
    "rprop": lambda p: torch.optim.Rprop(p, lr=0.01),
}
every_optimiser = pytest.mark.parametrize("make", OPTIMISERS.values(), ids=OPTIMISERS)


def net(dtype: torch.dtype = torch.float64) -> nn.Sequential:
    generator = torch.Generator().manual_seed(3)
    made = nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 3)).to(dtype)
    for parameter in made.parameters():
        parameter.data.copy_(torch.randn(parameter.shape, generator=generator, dtype=dtype))
    return made


def mask() -> Mask:
    """Half of the weights, and something behind each hidden unit: otherwise its weights have no slope at all."""
    generator = torch.Generator().manual_seed(4)
    kept = {name: torch.rand(net().get_parameter(name).shape, generator=generator) < 0.5 for name in NAMES}
    kept["2.weight"][torch.arange(6) % 2, torch.arange(6)] = True
    kept["2.weight"][2] = False
    return Mask(kept)


NAMES = ("0.weight", "2.weight")
X = torch.randn(20, 4, generator=torch.Generator().manual_seed(5), dtype=torch.float64)
Y = torch.randint(3, (20,), generator=torch.Generator().manual_seed(6))


def backward(module: nn.Module, optimiser: Optimizer) -> None:
    optimiser.zero_grad()
    nn.functional.cross_entropy(module(X), Y).backward()


def train(module: nn.Module, optimiser: Optimizer, steps: int, check: Mask | None = None) -> None:
    for _ in range(steps):
        backward(module, optimiser)
        optimiser.step()
        if check is not None:
            assert_zero(module, check)


def assert_zero(module: nn.Module, kept: Mask) -> None:
    for name in kept:
        assert not bool(module.get_parameter(name)[~kept[name]].any())


@every_optimiser
def test_pruned_weights_are_exactly_zero_after_each_step_and_survivors_move_as_in_a_smaller_network(make: Make) -> None:
    kept = mask()
    module = net()
    handle = hold(module, kept)
    assert_zero(module, kept)
    train(module, make(module.parameters()), 12, kept)
    # the literal rule: multiply gradient, weight and every tensor of the optimiser by the mask around each step
    plain = net()
    for name in kept:
        plain.get_parameter(name).data *= kept[name]
    optimiser = make(plain.parameters())
    for _ in range(12):
        backward(plain, optimiser)
        for name in kept:
            parameter = plain.get_parameter(name)
            assert parameter.grad is not None
            parameter.grad *= kept[name]
        optimiser.step()
        for name in kept:
            plain.get_parameter(name).data *= kept[name]
    for ours, theirs, before in zip(module.parameters(), plain.parameters(), net().parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-12)
        survivors = ours != 0
        assert bool((ours[survivors] != before[survivors]).all())
    for name in kept:
        assert int(module.get_parameter(name).count_nonzero()) == kept.counts[name]  # of either sign
    handle.remove()


@every_optimiser
def test_momentum_from_before_does_not_leak(make: Make) -> None:
    module, kept = net(), mask()
    optimiser = make(module.parameters())
    train(module, optimiser, 5)
    with hold(module, kept):
        train(module, optimiser, 5, kept)
        for name in kept:
            for value in optimiser.state[module.get_parameter(name)].values():
                if isinstance(value, Tensor) and value.shape == kept.shapes[name]:
                    assert not bool(value[~kept[name]].any())


@every_optimiser
def test_a_survivor_of_exactly_zero_learns(make: Make) -> None:
    module, kept = net(), mask()
    module[0].weight.data.zero_()
    module[2].weight.data[0, ::2] = 0.0
    with hold(module, kept):
        train(module, make(module.parameters()), 3, kept)
    for name in kept:
        assert int(module.get_parameter(name).count_nonzero()) == kept.counts[name]


def test_gradients_are_masked_before_norms_are_taken_and_nan_does_not_pass() -> None:
    module, kept = net(), mask()
    with hold(module, kept):
        optimiser = torch.optim.SGD(module.parameters(), lr=0.1)
        backward(module, optimiser)
        for name in kept:
            gradient = module.get_parameter(name).grad
            assert gradient is not None
            assert not bool(gradient[~kept[name]].any())
        module.zero_grad()
        blocked = ~kept["0.weight"]
        poison = torch.where(blocked, torch.nan, 1.0).double()
        (module[0].weight * poison).nansum().backward()
        (module[0].weight * poison).sum().backward()
        assert module[0].weight.grad is not None
        assert bool(torch.isfinite(module[0].weight.grad[blocked]).all())


def test_deep_copies_are_held_and_so_are_copies_of_what_contains_the_module() -> None:
    module, kept = net(), mask()
    handle = hold(module, kept)
    copied = copy.deepcopy(module)
    inside = copy.deepcopy(nn.Sequential(module))[0]
    for twin in (copied, inside):
        train(twin, OPTIMISERS["momentum"](twin.parameters()), 4, kept)
        assert len(Hold.of(twin)) == 1
    handle.remove()
    train(copied, OPTIMISERS["adamw"](copied.parameters()), 4, kept)
    Hold.of(copied)[0].remove()
    train(copied, OPTIMISERS["adamw"](copied.parameters()), 1)
    assert all(bool(p.all()) for p in copied.parameters())


def test_a_copy_that_is_run_in_parts_is_held_from_its_first_step_on() -> None:
    module, kept = net(), mask()
    hold(module, kept)
    twin = copy.deepcopy(module)
    optimiser = OPTIMISERS["momentum"](twin.parameters())
    for _ in range(3):
        optimiser.zero_grad()
        nn.functional.cross_entropy(twin[2](twin[1](twin[0](X))), Y).backward()
        optimiser.step()
        assert_zero(twin, kept)


def test_saved_modules_are_held_again_and_state_dicts_are_plain() -> None:
    module, kept = net(), mask()
    hold(module, kept)
    assert list(module.state_dict()) == list(net().state_dict())
    stream = io.BytesIO()
    torch.save(module, stream)
    stream.seek(0)
    again = torch.load(stream, weights_only=False)
    train(again, OPTIMISERS["adamw"](again.parameters()), 4, kept)


def test_loaded_weights_are_masked_at_once() -> None:
    module, kept = net(), mask()
    with hold(module, kept):
        module.load_state_dict(net().state_dict())
        assert_zero(module, kept)
    module.load_state_dict(net().state_dict())
    assert torch.equal(module[0].weight, net()[0].weight)


def test_after_removal_pruned_weights_learn_again() -> None:
    module, kept = net(), mask()
    handle = hold(module, kept)
    optimiser = OPTIMISERS["momentum"](module.parameters())
    train(module, optimiser, 3, kept)
    handle.remove()
    handle.remove()
    train(module, optimiser, 1)
    assert bool(module[0].weight.all())
    assert not module._forward_pre_hooks
    assert not module._load_state_dict_post_hooks


def test_two_holds_add_up_and_leave_each_other_alone() -> None:
    module = net()
    left = torch.zeros(6, 4, dtype=torch.bool)
    left[:, :2] = True
    first, second = hold(module, Mask({"0.weight": left})), hold(module, Mask({"0.weight": ~left}))
    optimiser = OPTIMISERS["adam"](module.parameters())
    train(module, optimiser, 2)
    assert not bool(module[0].weight.any())
    first.remove()
    train(module, optimiser, 2)
    assert bool(module[0].weight[:, 2:].all())
    assert not bool(module[0].weight[:, :2].any())
    second.remove()


def test_two_forward_passes_before_one_backward_and_frozen_parameters_work() -> None:
    module, kept = net(), mask()
    module[0].weight.requires_grad_(False)
    with hold(module, kept):
        (nn.functional.cross_entropy(module(X), Y) + module(2 * X).square().mean()).backward()
        module[0].weight.requires_grad_(True)
        optimiser = OPTIMISERS["adamw"](module.parameters())
        train(module, optimiser, 3, kept)


def test_conversions_and_functional_calls_keep_working() -> None:
    module, kept = net(), mask()
    with hold(module, kept):
        module.float()
        assert module[0].weight.dtype == torch.float32
        module.double()
        values = {name: value.clone() for name, value in net().named_parameters()}
        out = torch.func.functional_call(module, values, (X,))
        assert torch.equal(out, net()(X))
        train(module, OPTIMISERS["momentum"](module.parameters()), 2, kept)


def test_masks_that_do_not_fit_are_refused() -> None:
    with pytest.raises(KeyError, match=r"9\.weight"):
        hold(net(), Mask({"9.weight": torch.ones(2, 2, dtype=torch.bool)}))
    with pytest.raises(ValueError, match="shape"):
        hold(net(), Mask({"0.weight": torch.ones(2, 2, dtype=torch.bool)}))


def test_modules_that_are_held_can_be_collected() -> None:
    import gc
    import weakref

    module = net()
    hold(module, mask())
    train(module, OPTIMISERS["adam"](module.parameters()), 1)
    seen = weakref.ref(module)
    del module
    gc.collect()
    assert seen() is None


def test_sparse_gradients_of_an_embedding_are_held() -> None:
    generator = torch.Generator().manual_seed(0)
    mask = Mask({"weight": torch.rand(5, 3, generator=generator) < 0.5})
    layers = [nn.Embedding(5, 3, sparse=sparse) for sparse in (True, False)]
    start = torch.randn(5, 3, generator=generator)
    for layer in layers:
        layer.weight.data.copy_(start)
        with hold(layer, mask):
            optimiser = torch.optim.SGD(layer.parameters(), lr=0.1)
            for words in ([0, 1, 1], [4, 0, 2]):
                optimiser.zero_grad()
                layer(torch.tensor(words)).square().sum().backward()
                optimiser.step()
        assert not bool(layer.weight[~mask["weight"]].any())
    sparse, dense = layers
    assert sparse.weight.grad is not None
    assert sparse.weight.grad.is_sparse
    torch.testing.assert_close(sparse.weight, dense.weight)
    assert bool((sparse.weight[mask["weight"]] != start[mask["weight"]]).any())

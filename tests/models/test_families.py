"""Every named family: counts, names, shapes, what it computes, and how its modules behave."""

from __future__ import annotations

import copy
import math
import pickle

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as f

from strongticket.models import CifarResNet, Conv, LeNet5, PatchTransformer, ResNet, TokenTransformer, Vgg, architecture
from strongticket.models.grammar import read_suffix, scaled, write_suffix
from strongticket.models.names import FAMILIES
from strongticket.ticket import AbstractArchitecture, Mask, Source, Ticket

KINDS = [
    "mlp-12-5-3", "conv2", "conv4", "conv6", "conv8", "lenet5", "vgg11", "vgg13", "vgg16", "vgg19", "vgg-small",
    "vgg13fc2", "vgg13fc3", "vgg13fc5",
    "resnet8", "resnet14", "resnet20", "resnet32", "resnet44", "resnet56", "resnet110",
    "resnet18-cifar", "resnet34-cifar", "resnet50-cifar", "resnet101-cifar",
    "resnet18", "resnet34", "resnet50", "resnet101", "wide-resnet50",
    "vit-l2-d64-h4-p4", "encoder-l1-d32-h2-v100-t16",
]  # fmt: skip
OPTIONS = [
    "vgg-smallx0.1+1x8x8",
    "mlp-12-5-3+bias", "conv2x0.25", "conv4-100", "conv6+1x28x28", "conv8+bias", "conv4x0.25-100+1x28x28+bias",
    "lenet5x2-47+3x32x32+bias", "vgg16x0.125+affine", "vgg13fc3x0.5-100+bias+affine", "vgg19-100+bias+affine",
    "resnet20x2", "resnet20-100", "resnet20+pad", "resnet8x0.5-100+1x14x14+bias+affine+pad", "resnet18-cifar-100",
    "resnet18-cifarx0.125+affine", "resnet50-10+3x64x64", "resnet50+bias+affine", "wide-resnet50x0.0625-2+affine",
    "vit-l1-d16-h2-p7-100+1x28x28+bias+affine", "encoder-l1-d32-h2-v100-t16-2+bias+affine",
]  # fmt: skip
SMALL = [
    "mlp-192-5-3+bias", "conv2x0.125+3x8x8", "conv4x0.125+3x8x8+bias", "conv6x0.1+3x16x16", "conv8x0.1",
    "lenet5+3x16x16", "vgg11x0.0625", "vgg13fc3x0.0625+bias", "vgg19x0.0625+affine", "vgg-smallx0.0625+3x16x16+bias",
    "resnet8x0.5+3x9x9", "resnet20x0.25+affine", "resnet8x0.3+3x8x8+pad", "resnet18-cifarx0.0625+3x8x8",
    "resnet50-cifarx0.0625+3x8x8+affine", "resnet50-cifarx0.0625+3x8x8+pad", "resnet18x0.0625-10+3x64x64",
    "resnet50x0.0625-10+3x64x64+bias+affine", "wide-resnet50x0.0625-10+3x64x64",
    "vit-l2-d16-h2-p4+3x8x8", "vit-l1-d16-h4-p4+3x8x8+bias+affine",
    "encoder-l2-d16-h2-v50-t9", "encoder-l1-d16-h4-v50-t9-2+bias+affine",
]  # fmt: skip


def values(made: AbstractArchitecture, seed: int = 0) -> dict[str, Tensor]:
    """Values for every name: weights of a sensible size, and statistics that are not those of the start."""
    generator = torch.Generator().manual_seed(seed)
    given = {
        name: torch.randn(shape, generator=generator) * math.sqrt(2 / max(1, math.prod(shape[1:])))
        for name, shape in made.shapes.items()
    }
    for name, value in made.initial_state().items():
        noise = torch.rand(value.shape, generator=generator) - 0.5
        given[name] = value + 3 if value.dtype == torch.int64 else value + 0.5 * noise
    return given


def batch(made: AbstractArchitecture, n: int = 3) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    if isinstance(made, TokenTransformer):
        return torch.randint(made.vocabulary, (n, made.length), generator=generator)
    inputs = getattr(made, "inputs", None) or made.sizes[:1]  # type: ignore[attr-defined]
    return torch.randn(n, *inputs, generator=generator)


# -- counts


@pytest.mark.parametrize(
    ("name", "count"),
    [
        ("lenet-300-100", 266_200),
        ("conv2", 4_300_992),
        ("conv4", 2_425_024),
        ("conv6", 2_261_184),
        ("conv8", 5_275_840),
        ("resnet18-cifar", 11_164_352),
        ("resnet20", 267_696 + 2_560 + 640),  # 3x3 convolutions, shortcuts, linear layer
        ("resnet20+pad", 267_696 + 640),
        ("vgg19", 20_018_880 + 5_120),
        ("vgg13", 9_402_048 + 5_120),
        ("vgg13fc2", 9_402_048 + 262_144 + 5_120),
        ("vgg13fc3", 9_402_048 + 2 * 262_144 + 5_120),
        ("vgg13fc5", 9_402_048 + 4 * 262_144 + 5_120),
        ("lenet5", 150 + 2_400 + 48_000 + 10_080 + 840),
        ("vgg-small", 3_456 + 147_456 + 294_912 + 589_824 + 1_179_648 + 2_359_296 + 81_920),
    ],
)
def test_published_counts_of_weights(name: str, count: int) -> None:
    assert architecture(name).size == count


@pytest.mark.parametrize(
    ("name", "count"),
    [
        ("resnet18", 11_689_512),
        ("resnet34", 21_797_672),
        ("resnet50", 25_557_032),
        ("resnet101", 44_549_160),
        ("wide-resnet50", 68_883_240),
    ],
)
def test_with_bias_and_affine_the_counts_are_those_of_torchvision(name: str, count: int) -> None:
    made = architecture(name + "+bias+affine")
    affine = [math.prod(shape) for key, (shape, _) in made.state.items() if key.endswith((".weight", ".bias"))]
    assert made.size + sum(affine) == count
    assert architecture(name).size == made.size - 1000
    assert {"conv1.weight", "layer1.0.conv2.weight", "layer2.0.downsample.0.weight", "fc.bias"} <= made.shapes.keys()
    assert {"bn1.running_var", "layer4.1.bn2.num_batches_tracked", "layer2.0.downsample.1.bias"} <= made.state.keys()


@pytest.mark.parametrize("kind", CifarResNet.KINDS)
@pytest.mark.parametrize("pad", [False, True])
def test_counts_of_cifar_resnets_by_hand(kind: str, pad: bool) -> None:
    plan = CifarResNet.KINDS[kind]
    total = before = 0
    total += 3 * plan.channels * 9
    before = plan.channels
    for stage, blocks in enumerate(plan.blocks):
        c = plan.channels * 2**stage
        after = 4 * c if plan.bottleneck else c
        for block in range(blocks):
            total += before * c + 9 * c * c + c * after if plan.bottleneck else 9 * before * c + 9 * c * c
            changes = before != after or (block == 0 and stage > 0)
            total += before * after if changes and not pad else 0
            before = after
    assert CifarResNet(kind, pad=pad).size == total + 10 * before
    depth = 2 + (3 if plan.bottleneck else 2) * sum(plan.blocks)  # as the papers count
    assert kind.removesuffix("-cifar") == f"resnet{depth}"


@given(st.integers(1, 5), st.sampled_from([8, 16, 24]), st.booleans(), st.booleans())
def test_counts_of_transformers_by_hand(layers: int, dim: int, bias: bool, affine: bool) -> None:
    image = PatchTransformer(layers, dim, 4, 4, classes=7, inputs=(2, 8, 12), bias=bias, affine=affine)
    block = 4 * dim * dim + 8 * dim * dim + (4 * dim + 5 * dim if bias else 0)
    assert image.size == 2 * 16 * dim + 6 * dim + layers * block + 7 * dim + (dim + 7 if bias else 0)
    tokens = TokenTransformer(layers, dim, 4, 100, 9, classes=7, bias=bias, affine=affine)
    assert tokens.size == 109 * dim + layers * block + 7 * dim + (7 if bias else 0)
    assert len(tokens.state) == (2 * (2 * layers + 1) if affine else 0)


# -- names


@pytest.mark.parametrize("name", KINDS + OPTIONS + SMALL)
def test_every_name_is_read_back(name: str) -> None:
    made = architecture(name)
    assert made.id == name
    again = architecture(made.id)
    assert again == made
    assert hash(again) == hash(made)
    assert pickle.loads(pickle.dumps(made)) == copy.deepcopy(made) == made


@pytest.mark.parametrize(
    ("name", "canonical"),
    [
        ("conv4x1", "conv4"),
        ("conv4x1.0-10", "conv4"),
        ("conv4x0.250", "conv4x0.25"),
        ("conv4+3x32x32", "conv4"),
        ("lenet5+1x28x28", "lenet5"),
        ("vgg16+affine+bias", "vgg16+bias+affine"),
        ("resnet20+pad+1x8x8+affine", "resnet20+1x8x8+affine+pad"),
        ("resnet50-1000", "resnet50"),
        ("vit-l2-d64-h4-p4-10+affine+3x32x32", "vit-l2-d64-h4-p4+affine"),
    ],
)
def test_other_spellings_have_one_id(name: str, canonical: str) -> None:
    assert architecture(name).id == canonical


widths = st.integers(1, 64_000_000).map(lambda millionths: millionths / 1_000_000)


@given(widths | st.sampled_from([0.000001, 0.1, 0.25, 1.0, 1.5, 10.0, 64.0]), st.integers(1, 10**6), st.booleans())
def test_width_factors_and_classes_are_read_back(width: float, classes: int, bias: bool) -> None:
    made = Conv("conv4", width=width, classes=classes, bias=bias)
    assert architecture(made.id) == made
    assert "e" not in made.id.removeprefix("conv4")
    hidden = max(1, math.floor(round(width * 1_000_000) * 64 / 1_000_000 + 0.5))
    assert scaled(64, width) == hidden
    found = read_suffix(write_suffix(width=width, classes=classes, flags={"bias": bias}), {"bias"})
    assert found.get("width", 1.0) == width
    assert found["classes"] == classes


@given(st.sampled_from([0.05, 0.1, 0.3, 0.5, 0.77, 1.3]), st.sampled_from(["conv2", "lenet5", "vgg11", "resnet8"]))
def test_the_width_factor_scales_what_is_hidden_and_nothing_else(width: float, kind: str) -> None:
    wide, plain = architecture(f"{kind}x{width}"), architecture(kind)
    last = list(plain.shapes)[-1]
    for name, shape in plain.shapes.items():
        assert wide.shapes[name][0] == (10 if name == last else scaled(shape[0], width))
    first = next(iter(plain.shapes))
    assert wide.shapes[first][1] == plain.shapes[first][1]


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("conv3", "kinds are conv2, conv4"),
        ("conv4x", "is not .x<width factor>"),
        ("conv4x0", "above 0, at most 64"),
        ("conv4x0.0000001", "is not"),
        ("conv4x65", "at most 64"),
        ("conv4x1e3", "is not"),
        ("conv4x-1", "is not"),
        ("conv4-0", "is not"),
        ("conv4-1000001", "number of classes"),
        ("conv4+", "is not"),
        ("conv4+Bias", "is not"),
        ("conv4+affine", r"no option \+affine; options are \+bias, \+elu, \+sign and \+CxHxW"),
        ("conv4+bias+bias", "bias is given twice"),
        ("conv4+1x28x28+1x28x28", "inputs is given twice"),
        ("conv4+28x28", r"no option \+28x28"),
        ("conv4+1x0x5", "no option"),
        ("conv4+1x2000x5", "a size of the inputs"),
        ("conv8+3x8x8", "too small"),
        ("vgg16+1x8x28", "too small"),
        ("lenet5+1x8x8", "at least 12x12"),
        ("lenet-5", "kinds are .*lenet5"),
        ("resnet21", "kinds are resnet8"),
        ("resnet200", "'0' is not"),
        ("resnet50+pad", r"no option \+pad"),
        ("resnet20 ", "is not"),
        ("resnet20\n", "is not"),
        ("vgg", "kinds are"),
        ("vit-l2-d64-h4", "the form is vit-"),
        ("vit-l2-d64-h5-p4", "multiple of the number of heads"),
        ("vit-l2-d64-h4-p5", "multiples of the patch"),
        ("vit-l300-d64-h4-p4", "number of layers"),
        ("vit-l2-d64-h4-p4x2", "the form is"),
        ("vit-l2-d64-h4-p4+pad", "no option"),
        ("encoder-l1-d32-h2-v100-t16+3x32x32", "tokens have no"),
        ("encoder-l1-d32-h2-v100", "the form is"),
        ("mlp-3", "use mlp-784"),
        ("alexnet", "use a name like .*resnet8.*register"),
    ],
)
def test_names_that_are_wrong_are_refused_with_what_is_wrong(name: str, says: str) -> None:
    with pytest.raises(ValueError, match=r"no architecture is named .*" + says):
        architecture(name)


def test_what_is_no_text_is_refused() -> None:
    with pytest.raises(TypeError, match="named by a text"):
        architecture(5)  # type: ignore[arg-type]


@pytest.mark.parametrize("width", [0, -1.0, math.nan, math.inf, 65, 0.1234567, 1 / 3, True])
def test_width_factors_out_of_range_are_refused(width: float) -> None:
    with pytest.raises(ValueError, match="width factor"):
        Vgg("vgg16", width=width)


def test_other_values_out_of_range_are_refused() -> None:
    with pytest.raises(ValueError, match="has no 'conv5'"):
        Conv("conv5")
    with pytest.raises(ValueError, match="number of classes"):
        ResNet("resnet18", classes=0)
    with pytest.raises(TypeError, match="affine is True or False"):
        ResNet("resnet18", affine=1)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="channels, height, width"):
        Conv("conv2", inputs=(28, 28))  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="bias is True or False"):
        PatchTransformer(1, 8, 2, 4, bias="no")  # type: ignore[arg-type]


def test_the_families_have_the_examples_they_show() -> None:
    for family in FAMILIES:
        for example in family.examples:
            assert family.claims.match(example)
            assert architecture(example).size > 0


# -- the network


@pytest.mark.parametrize("name", KINDS + OPTIONS)
def test_shapes_and_state_are_the_state_dict_in_its_order(name: str) -> None:
    made = architecture(name)
    with torch.device("meta"):
        weights = {key: torch.empty(shape) for key, shape in made.shapes.items()}
        state = {key: torch.empty(shape, dtype=getattr(torch, dtype)) for key, (shape, dtype) in made.state.items()}
    module = made.module({**state, **weights})
    found = module.state_dict()
    assert [key for key in found if key in made.shapes] == list(made.shapes)
    assert [key for key in found if key in made.state] == list(made.state)
    assert len(found) == len(made.shapes) + len(made.state)
    assert {key: tuple(value.shape) for key, value in found.items() if key in made.shapes} == dict(made.shapes)
    shapes = {key: (tuple(value.shape), f"{value.dtype}"[6:]) for key, value in found.items() if key in made.state}
    assert shapes == dict(made.state)
    assert not made.aliases
    assert all(type(layer).__module__.startswith(("torch.nn", "strongticket.models")) for layer in module.modules())


@pytest.mark.parametrize("name", [*KINDS, "vgg11+affine", "resnet20+bias+affine+pad", "vit-l2-d64-h4-p4+bias+affine"])
def test_the_state_is_normalisation_alone_and_starts_as_torch_does(name: str) -> None:
    made = architecture(name)
    plain = "affine" not in name
    first = made.initial_state()
    assert list(first) == list(made.state)
    for key, value in first.items():
        leaf = key.rpartition(".")[2]
        assert not plain or leaf in ("running_mean", "running_var", "num_batches_tracked")
        assert torch.equal(value, torch.full_like(value, leaf in ("running_var", "weight")))
        assert value.dtype == (torch.int64 if leaf == "num_batches_tracked" else torch.float32)
    assert all(len(shape) >= 2 for shape in made.shapes.values()) == (
        not name.endswith("+bias") and "+bias" not in name
    )
    for value in first.values():
        value.add_(1)
    assert not any(torch.equal(value, first[key]) for key, value in made.initial_state().items())


@pytest.mark.parametrize("name", SMALL)
def test_networks_run_and_behave(name: str) -> None:
    made = architecture(name)
    given = values(made)
    module, inputs = made.module(given), batch(made)
    assert module.training
    assert not any(parameter.requires_grad for parameter in module.parameters())
    module.eval()
    outputs = module(inputs)
    classes = made.sizes[-1] if hasattr(made, "sizes") else made.classes  # type: ignore[attr-defined]
    assert outputs.shape == (3, classes)
    assert outputs.isfinite().all()
    assert outputs.std() > 0
    assert torch.equal(outputs, made.module(given).eval()(inputs))
    assert torch.allclose(outputs[:1], module(inputs[:1]), atol=1e-5)

    copied = copy.deepcopy(module)
    assert torch.equal(copied(inputs), outputs)
    assert torch.equal(pickle.loads(pickle.dumps(module))(inputs), outputs)
    other = made.module(values(made, 5)).eval()
    assert not torch.allclose(other(inputs), outputs)
    other.load_state_dict(module.state_dict())
    assert torch.equal(other(inputs), outputs)

    turned = copied.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    picture = inputs.ndim == 4
    again = turned(inputs.to(memory_format=torch.channels_last) if picture else inputs)
    assert torch.allclose(again, outputs, atol=1e-4)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        rough = module(inputs).float()
    assert (rough - outputs).abs().max() < 0.15 * outputs.abs().max() + 0.05
    assert torch.allclose(
        module.double()(inputs.double() if inputs.is_floating_point() else inputs).float(), outputs, atol=1e-4
    )


def test_training_moves_the_statistics_of_the_module_only() -> None:
    made = architecture("resnet8x0.25+3x8x8")
    given = values(made)
    before = {name: value.clone() for name, value in given.items()}
    module = made.module(given)
    module(batch(made))
    assert int(module.state_dict()["bn1.num_batches_tracked"]) == 4
    assert not torch.equal(module.state_dict()["bn1.running_mean"], before["bn1.running_mean"])
    assert all(torch.equal(value, before[name]) for name, value in given.items())


@pytest.mark.parametrize("name", ["resnet8x0.25", "conv2x0.1", "vit-l1-d8-h2-p4+affine"])
def test_gradients_reach_every_weight_that_asks_for_them(name: str) -> None:
    made = architecture(name)
    module = made.module(values(made)).requires_grad_(True)
    module(batch(made)).square().sum().backward()
    for key, parameter in module.named_parameters():
        assert parameter.grad is not None
        assert parameter.grad.abs().sum() > 0, key


def test_weights_that_do_not_fit_are_refused() -> None:
    made = architecture("resnet8x0.25")
    given = values(made)
    with pytest.raises(ValueError, match=r"bn1\.running_mean is missing.*initial_state"):
        made.module({name: given[name] for name in made.shapes})
    with pytest.raises(ValueError, match="more is unknown"):
        made.module({**given, "more": torch.zeros(1)})
    with pytest.raises(ValueError, match=r"conv1\.weight has shape \(4, 4, 3, 3\) instead of \(4, 3, 3, 3\)"):
        made.module({**given, "conv1.weight": torch.zeros(4, 4, 3, 3)})


def test_torchs_own_defaults_change_nothing() -> None:
    name = "resnet8x0.25+affine"
    plain = architecture(name)
    expected = (dict(plain.shapes), dict(plain.state), plain.initial_state())
    torch.set_default_dtype(torch.float64)
    torch.set_default_device("meta")
    try:
        made = architecture(name)
        found = (dict(made.shapes), dict(made.state), made.initial_state())
    finally:
        torch.set_default_dtype(torch.float32)
        torch.set_default_device(None)
    assert found[:2] == expected[:2]
    for key, value in found[2].items():
        assert value.dtype == expected[2][key].dtype
        assert torch.equal(value, expected[2][key])


def test_building_draws_nothing_from_torchs_random_state() -> None:
    before = torch.get_rng_state()
    for name in ("resnet20", "vit-l1-d8-h2-p4", "conv2"):
        made = architecture(name)
        made.module(values(made))
    assert torch.equal(torch.get_rng_state(), before)


# -- what the networks compute, written out


def norm(x: Tensor, w: dict[str, Tensor], name: str) -> Tensor:
    mean, variance = w[f"{name}.running_mean"], w[f"{name}.running_var"]
    y = (x - mean[:, None, None]) / (variance[:, None, None] + 1e-5).sqrt()
    if f"{name}.weight" in w:
        y = y * w[f"{name}.weight"][:, None, None] + w[f"{name}.bias"][:, None, None]
    return y


def exact(made: AbstractArchitecture) -> tuple[dict[str, Tensor], Tensor, Tensor]:
    w = {name: value.double() for name, value in values(made).items()}
    x = batch(made)
    x = x.double() if x.is_floating_point() else x
    outputs = made.module(values(made)).eval().double()(x)
    assert outputs.std() > 1e-3
    return w, x, outputs


@pytest.mark.parametrize("name", ["conv6x0.1+3x11x14", "conv4x0.1+bias", "conv2x0.1+1x8x8"])
def test_conv_computes_its_definition(name: str) -> None:
    w, x, outputs = exact(architecture(name))
    n = int(name[4])
    for i in range(1, n + 1):
        x = f.conv2d(x, w[f"conv{i}.weight"], w.get(f"conv{i}.bias"), padding=1).clamp(min=0)
        if i % 2 == 0:
            x = f.max_pool2d(x, 2)
    x = x.flatten(1)
    for i in (1, 2, 3):
        x = x @ w[f"linear{i}.weight"].T + w.get(f"linear{i}.bias", torch.zeros(1))
        x = x.clamp(min=0) if i < 3 else x
    assert torch.allclose(outputs, x, atol=1e-10)


def test_lenet5_computes_its_definition() -> None:
    w, x, outputs = exact(LeNet5(bias=True))
    x = f.max_pool2d(f.conv2d(x, w["conv1.weight"], w["conv1.bias"], padding=2).clamp(min=0), 2)
    x = f.max_pool2d(f.conv2d(x, w["conv2.weight"], w["conv2.bias"]).clamp(min=0), 2)
    assert x.shape[1:] == (16, 5, 5)
    x = (x.flatten(1) @ w["linear1.weight"].T + w["linear1.bias"]).clamp(min=0)
    x = (x @ w["linear2.weight"].T + w["linear2.bias"]).clamp(min=0)
    assert torch.allclose(outputs, x @ w["linear3.weight"].T + w["linear3.bias"], atol=1e-10)


@pytest.mark.parametrize(
    "name", ["vgg11x0.05+3x16x21+affine", "vgg-smallx0.05+3x8x8+bias", "vgg13fc2x0.05", "vgg13fc5x0.05+bias"]
)
def test_vgg_computes_its_definition(name: str) -> None:
    made = architecture(name)
    assert isinstance(made, Vgg)
    w, x, outputs = exact(made)
    groups, i = made.KINDS[made.kind], 0
    for g, group in enumerate(groups):
        for _ in group:
            i += 1
            x = norm(f.conv2d(x, w[f"conv{i}.weight"], padding=1), w, f"norm{i}").clamp(min=0)
        x = f.max_pool2d(x, 2) if g < 4 else x.mean((2, 3), keepdim=True)
    x, last = x.flatten(1), int(made.kind.partition("fc")[2] or 1)
    for i in range(1, last + 1):
        x = x @ w[f"linear{i}.weight"].T + w.get(f"linear{i}.bias", torch.zeros(1))
        x = x.clamp(min=0) if i < last else x
    assert torch.allclose(outputs, x, atol=1e-10)


@pytest.mark.parametrize(
    "name",
    [
        "resnet14x0.25+3x9x9", "resnet8x0.3+3x8x11+affine+pad", "resnet18-cifarx0.05+3x8x8+bias",
        "resnet50-cifarx0.05+3x8x8+affine", "resnet50-cifarx0.05+3x8x8+pad", "resnet18x0.05-7+3x33x40",
        "wide-resnet50x0.05-7+3x33x33+bias+affine",
    ],
)  # fmt: skip
def test_residual_networks_compute_their_definition(name: str) -> None:
    made = architecture(name)
    assert isinstance(made, CifarResNet | ResNet)
    w, x, outputs = exact(made)
    large = isinstance(made, ResNet)
    x = f.conv2d(x, w["conv1.weight"], stride=2 if large else 1, padding=3 if large else 1)
    x = norm(x, w, "bn1").clamp(min=0)
    x = f.max_pool2d(x, 3, 2, 1) if large else x
    for stage, blocks in enumerate(made.KINDS[made.kind].blocks, 1):
        for block in range(blocks):
            key, stride = f"layer{stage}.{block}", 2 if stage > 1 and block == 0 else 1
            y = x
            depth = 3 if f"{key}.conv3.weight" in w else 2
            for i in range(1, depth + 1):
                kernel = w[f"{key}.conv{i}.weight"]
                step = stride if i == depth - 1 else 1  # bottleneck: in the 3x3; else in the first
                y = norm(f.conv2d(y, kernel, stride=step, padding=kernel.shape[-1] // 2), w, f"{key}.bn{i}")
                y = y.clamp(min=0) if i < depth else y
            if f"{key}.downsample.0.weight" in w:
                x = norm(f.conv2d(x, w[f"{key}.downsample.0.weight"], stride=stride), w, f"{key}.downsample.1")
            elif x.shape != y.shape:
                wide = torch.zeros_like(y)
                start = (y.shape[1] - x.shape[1]) // 2
                wide[:, start : start + x.shape[1]] = x[:, :, ::stride, ::stride]
                x = wide
            x = (x + y).clamp(min=0)
    x = x.mean((2, 3)) @ w["fc.weight"].T + w.get("fc.bias", torch.zeros(1))
    assert torch.allclose(outputs, x, atol=1e-10)


@pytest.mark.parametrize(
    "name", ["vit-l2-d12-h3-p4+2x8x12", "vit-l1-d8-h2-p2+1x4x4+bias+affine", "encoder-l2-d8-h4-v20-t6+bias"]
)
def test_transformers_compute_their_definition(name: str) -> None:
    made = architecture(name)
    assert isinstance(made, PatchTransformer | TokenTransformer)
    w, x, outputs = exact(made)

    def linear(z: Tensor, key: str) -> Tensor:
        return z @ w[f"{key}.weight"].T + w.get(f"{key}.bias", torch.zeros(1))

    def normal(z: Tensor, key: str) -> Tensor:
        z = (z - z.mean(-1, keepdim=True)) / (z.var(-1, unbiased=False, keepdim=True) + 1e-5).sqrt()
        return z * w[f"{key}.weight"] + w[f"{key}.bias"] if f"{key}.weight" in w else z

    if isinstance(made, PatchTransformer):
        p = made.patch
        cut = x.unfold(2, p, p).unfold(3, p, p).permute(0, 2, 3, 1, 4, 5).flatten(3).flatten(1, 2)
        h = cut @ w["embedding.weight"].flatten(1).T + w.get("embedding.bias", torch.zeros(1))
    else:
        h = w["embedding.weight"][x]
    h = h + w["positions.weight"]
    for i in range(made.layers):
        z, key = normal(h, f"blocks.{i}.norm1"), f"blocks.{i}.attention"
        whole = z @ w[f"{key}.in_proj_weight"].T + w.get(f"{key}.in_proj_bias", torch.zeros(1))
        d = made.dim // made.heads
        q, k, v = (part.unflatten(-1, (made.heads, d)).transpose(1, 2) for part in whole.chunk(3, -1))
        seen = torch.softmax(q @ k.transpose(-1, -2) / math.sqrt(d), -1) @ v
        h = h + linear(seen.transpose(1, 2).flatten(2), f"{key}.out_proj")
        z = linear(normal(h, f"blocks.{i}.norm2"), f"blocks.{i}.linear1")
        z = 0.5 * z * (1 + torch.erf(z / math.sqrt(2)))
        h = h + linear(z, f"blocks.{i}.linear2")
    assert torch.allclose(outputs, linear(normal(h, "norm").mean(1), "head"), atol=1e-10)


def test_sequences_may_be_shorter_than_the_longest() -> None:
    made = TokenTransformer(1, 8, 2, 20, 6)
    module = made.module(values(made)).eval()
    assert module(torch.zeros(2, 4, dtype=torch.int64)).shape == (2, 10)


# -- tickets of them


@pytest.mark.parametrize("name", SMALL)
def test_tickets_of_every_family_match_their_networks(name: str) -> None:
    made = architecture(name)
    source = Source(made, 3)
    mask = Mask({key: torch.rand(shape) < 0.5 for key, shape in made.shapes.items()})
    ticket = Ticket(source, mask, {key: value for key, value in values(made).items() if key in made.state})
    module = ticket.module()
    assert not module.training
    assert ticket.matches(module)
    module(batch(made))
    assert ticket.matches(module)
    assert ticket.matches(module.to(memory_format=torch.channels_last))  # type: ignore[call-overload]
    batch_norms = [layer for layer in module.modules() if isinstance(layer, nn.BatchNorm2d)]
    if batch_norms:
        module.train()(batch(made))
        assert not ticket.matches(module)

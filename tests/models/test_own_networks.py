"""Networks of one's own as architectures, and their names."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from strongticket import ticketfile
from strongticket.models import MLP, ModuleArchitecture, architecture, names, register
from strongticket.testing import check_ticket, check_ticket_file_roundtrip
from strongticket.ticket import Mask, Source, Ticket


class Everything(nn.Module):
    """A layer of each kind."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv1d(2, 3, 3)
        self.conv2 = nn.Conv2d(3, 4, 3, groups=1)
        self.conv3 = nn.Conv3d(1, 2, 2)
        self.linear = nn.Linear(4, 5)
        self.words = nn.Embedding(7, 4)
        self.attention = nn.MultiheadAttention(4, 2)
        self.recurrent = nn.LSTM(4, 3)
        self.bilinear = nn.Bilinear(2, 3, 4)
        self.batch = nn.BatchNorm2d(4)
        self.layer = nn.LayerNorm((3, 4))
        self.group = nn.GroupNorm(2, 4)
        self.slope = nn.PReLU()
        self.token = nn.Parameter(torch.randn(1, 1, 4))
        self.scale = nn.Parameter(torch.full((4,), 0.1))
        self.number = nn.Parameter(torch.tensor(2.5))
        self.register_buffer("table", torch.arange(6).reshape(2, 3))
        self.register_buffer("flags", torch.tensor([True, False]))


class Tied(nn.Module):
    """A language model's head that shares its matrix with the embedding, and a layer used twice."""

    def __init__(self) -> None:
        super().__init__()
        self.words = nn.Embedding(11, 6)
        self.hidden = nn.Linear(6, 6)
        self.again = self.hidden
        self.norm = nn.BatchNorm1d(6)
        self.head = nn.Linear(6, 11)
        self.head.weight = self.words.weight

    def forward(self, tokens: Tensor) -> Tensor:
        hidden = self.words(tokens)
        outputs: Tensor = self.head(self.norm(self.again(torch.relu(self.hidden(hidden)))))
        return outputs


class Positions(nn.Module):
    """A fixed table that is left out of the state dict."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(3, 3)
        self.register_buffer("table", torch.arange(3.0), persistent=False)
        self.plain = torch.ones(3)

    def forward(self, inputs: Tensor) -> Tensor:
        outputs: Tensor = self.linear(inputs + self.table + self.plain)
        return outputs


def values(made: ModuleArchitecture) -> dict[str, Tensor]:
    return {name: torch.randn(shape) for name, shape in made.shapes.items()} | made.initial_state()


@pytest.fixture(autouse=True)
def _own_names() -> Iterator[None]:
    before = dict(names._registered)
    yield
    names._registered.clear()
    names._registered.update(before)


def test_matrices_are_random_and_the_rest_is_state() -> None:
    made, module = ModuleArchitecture("everything", Everything), Everything()
    parameters = dict(module.named_parameters())
    matrices = [name for name, value in parameters.items() if value.ndim >= 2 and not name.startswith("layer.")]
    assert set(made.shapes) == set(matrices)
    assert {"attention.in_proj_weight", "attention.out_proj.weight", "recurrent.weight_ih_l0", "token"} <= set(matrices)
    found = module.state_dict()
    assert list(made.shapes) == [name for name in found if name in made.shapes]
    assert list(made.state) == [name for name in found if name not in made.shapes]
    assert all(made.shapes[name] == tuple(found[name].shape) for name in made.shapes)
    assert made.state["table"] == ((2, 3), "int64")
    assert made.state["flags"] == ((2,), "bool")
    assert made.state["number"] == ((), "float32")
    assert not made.aliases
    assert made.size == sum(parameters[name].numel() for name in matrices)
    assert made == copy.copy(made)


def test_the_state_starts_as_made_with_zeros_for_what_is_drawn() -> None:
    first = ModuleArchitecture("everything", Everything).initial_state()
    assert torch.equal(first["batch.running_var"], torch.ones(4))
    assert torch.equal(first["layer.weight"], torch.ones(3, 4))
    assert torch.equal(first["scale"], torch.full((4,), 0.1))
    assert first["number"] == 2.5
    assert first["slope.weight"] == 0.25
    assert torch.equal(first["table"], torch.arange(6).reshape(2, 3))
    for drawn in ("conv1.bias", "linear.bias", "recurrent.bias_ih_l0", "bilinear.bias"):
        assert not first[drawn].any()


def test_the_module_holds_the_values_given() -> None:
    made = ModuleArchitecture("everything", Everything)
    given = values(made)
    module = made.module(given)
    found = module.state_dict()
    assert all(torch.equal(found[name], value) for name, value in given.items())
    assert not any(parameter.requires_grad for parameter in module.parameters())
    inputs = torch.randn(5, 2, 4)
    usual = nn.LSTM(4, 3)
    usual.load_state_dict(module.recurrent.state_dict())
    assert torch.equal(module.recurrent(inputs)[0], usual(inputs)[0])


def test_shapes_are_read_without_memory_and_without_drawing() -> None:
    made = ModuleArchitecture("huge", lambda: nn.Linear(10**7, 10**7))
    before = torch.get_rng_state()
    assert made.shapes["weight"] == (10**7, 10**7)
    assert Source(made, 1).weight("weight", slice(10**13, 10**13 + 3)).shape == (3,)
    ModuleArchitecture("small", lambda: nn.Linear(2, 2)).initial_state()
    assert torch.equal(torch.get_rng_state(), before)


def test_a_factory_that_needs_real_numbers_is_called_on_the_cpu() -> None:
    def factory() -> nn.Module:
        return nn.Sequential(nn.Linear(3, int(torch.linspace(0, 4, 2)[1].item())))

    made = ModuleArchitecture("numbers", factory)
    assert made.shapes == {"0.weight": (4, 3)}
    assert made.module(values(made))(torch.ones(1, 3)).shape == (1, 4)


def test_what_is_outside_the_state_dict_is_the_factorys() -> None:
    made = ModuleArchitecture("positions", Positions)
    given = values(made)
    inputs = torch.randn(2, 3)
    expected = (inputs + torch.arange(3.0) + 1) @ given["linear.weight"].T
    assert torch.allclose(made.module(given)(inputs), expected, atol=1e-6)


# -- parameters used twice


def test_tied_parameters_are_random_once() -> None:
    made = ModuleArchitecture("tied", Tied)
    assert list(made.shapes) == ["words.weight", "hidden.weight"]
    assert dict(made.aliases) == {
        "again.weight": "hidden.weight",
        "again.bias": "hidden.bias",
        "head.weight": "words.weight",
    }
    assert "head.weight" not in made.state
    assert "head.bias" in made.state
    module = made.module(values(made))
    assert module.head.weight is module.words.weight
    assert module.again is module.hidden
    with pytest.raises(KeyError, match=r"second name of 'words\.weight'"):
        Source(made, 1).weight("head.weight")


def test_a_ticket_of_tied_parameters_sees_when_they_come_apart() -> None:
    made = ModuleArchitecture("tied", Tied)
    source = Source(made, 5)
    mask = Mask({name: torch.rand(shape) < 0.5 for name, shape in made.shapes.items()})
    ticket = Ticket(source, mask, made.initial_state())
    module = ticket.module()
    assert ticket.matches(module)
    assert module(torch.tensor([[1, 2], [3, 4]])[:, 0]).shape == (2, 11)
    module.head.weight = nn.Parameter(module.head.weight.clone())
    assert ticket.matches(module)  # the same numbers
    with torch.no_grad():
        module.head.weight[0, 0] += 1
    assert not ticket.matches(module)
    check_ticket(ticket)


# -- names


def test_a_registered_network_has_a_name_that_files_can_hold() -> None:
    made = ModuleArchitecture("tied-network", Tied)
    source = Source(made, 5)
    ticket = Ticket(source, Mask.full(source.shapes), made.initial_state())
    with pytest.raises(ValueError, match=r"cannot be read back by its name.*register"):
        ticketfile.dumps(ticket)
    net = register("tied-network", Tied)
    assert architecture("tied-network") is net
    assert net == made
    data = check_ticket_file_roundtrip(ticket)
    del names._registered["tied-network"]
    with pytest.raises(ticketfile.TicketFileError, match=r"no architecture is named 'tied-network'.*or register"):
        ticketfile.loads(data)
    register("tied-network", lambda: nn.Linear(11, 6))
    with pytest.raises(ticketfile.TicketFileError, match=r"where the architecture has|lists"):
        ticketfile.loads(data)


def test_architectures_can_be_registered() -> None:
    class Own(MLP.__bases__[0]):  # type: ignore[misc]
        id = "own-one"
        shapes = {"w": (2, 2)}  # noqa: RUF012

        def module(self, weights: Any) -> nn.Module:
            raise NotImplementedError

    own = Own()
    assert register("own-one", own) is own
    assert register("own-one", own) is own
    assert dict(own.state) == dict(own.aliases) == own.initial_state() == {}
    with pytest.raises(ValueError, match="has the id 'own-one'"):
        register("another", own)


def test_a_name_is_given_once() -> None:
    first = register("mine", Tied)
    assert register("mine", Tied) is first
    with pytest.raises(ValueError, match=r"another network is registered as 'mine'.*replace=True"):
        register("mine", Positions)
    assert architecture("mine") is first
    second = register("mine", Positions, replace=True)
    assert architecture("mine") is second


@pytest.mark.parametrize(
    "name",
    ["mlp-3-2", "mlp-mine", "lenet-300-100", "lenet5", "lenet", "conv4", "conv9", "resnet20", "resnet21-mine",
     "wide-resnet50", "vgg-mine", "vit-mine", "encoder-mine"],
)  # fmt: skip
def test_built_in_names_are_not_given_away(name: str) -> None:
    for replace in (False, True):
        with pytest.raises(ValueError, match="built-in family"):
            register(name, Tied, replace=replace)


@pytest.mark.parametrize("name", ["", " mine", "mine\n", "a" * 101, "my/net", "my+net", "-mine", "méin"])
def test_names_of_another_form_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match="letters, digits"):
        register(name, Tied)


def test_what_cannot_be_an_architecture_is_refused() -> None:
    half = lambda: nn.Linear(2, 2).half()  # noqa: E731
    refused: list[tuple[Any, type[Exception], str]] = [
        (Tied(), TypeError, "must build a new network when it is called, got a Tied; give the class"),
        (5, TypeError, "must build a new network"),
        (lambda: 5, TypeError, "returned a int, not an nn.Module"),
        (lambda: nn.PReLU(), ValueError, "no parameter of two or more dimensions"),
        (lambda: nn.LazyLinear(3), ValueError, "has no shape yet"),
        (half, ValueError, "random weights are float32, and it has weight .torch.float16"),
        (WithExtra, ValueError, "is a dict; a ticket holds tensors only"),
    ]
    for made, error, says in refused:
        with pytest.raises(error, match=says):
            register("mine", made)
        assert "mine" not in names._registered
    for name in (5, "", None):
        with pytest.raises(TypeError, match="named by a text"):
            ModuleArchitecture(name, Tied)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="named by a text"):
        register(5, Tied)  # type: ignore[arg-type]


class WithExtra(nn.Linear):
    def __init__(self) -> None:
        super().__init__(2, 2)

    def get_extra_state(self) -> dict[str, int]:
        return {"a": 1}

    def set_extra_state(self, state: object) -> None:
        pass


def test_a_factory_that_errs_says_so() -> None:
    def factory() -> nn.Module:
        raise LookupError("my own mistake")

    with pytest.raises(LookupError, match="my own mistake"):
        register("mine", factory)


def test_a_factory_that_changes_is_refused() -> None:
    sizes = iter([3, 4])
    made = ModuleArchitecture("fickle", lambda: nn.Linear(2, next(sizes)))
    given = {"weight": torch.zeros(made.shapes["weight"]), "bias": torch.zeros(3)}
    with pytest.raises(ValueError, match="now builds other names or shapes"):
        made.module(given)


def test_hidden_random_numbers_are_refused() -> None:
    class Fourier(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear = nn.Linear(3, 3)
            self.register_buffer("frequencies", torch.randn(3), persistent=False)

    made = ModuleArchitecture("fourier", Fourier)
    with pytest.raises(ValueError, match=r"draws frequencies at random.*persistent=True"):
        made.module(values(made))


@pytest.mark.parametrize(
    "factory",
    [
        lambda: nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(16, 2)),
        lambda: nn.utils.parametrizations.weight_norm(nn.Linear(16, 2)),
        lambda: nn.TransformerEncoderLayer(16, 2, 8, batch_first=True),
    ],
    ids=["sequential", "weight norm", "transformer layer"],
)
def test_tickets_of_torchs_own_networks(factory: Callable[[], nn.Module]) -> None:
    made = ModuleArchitecture("net", factory)
    source = Source(made, 9)
    torch.manual_seed(0)  # a mask that drops both norms of a weight norm would leave nothing
    mask = Mask({name: torch.rand(shape) < 0.7 for name, shape in made.shapes.items()})
    ticket = Ticket(source, mask, made.initial_state())
    module = ticket.module()
    inputs = torch.randn(2, 1, 4, 4) if "0.weight" in made.shapes else torch.randn(2, 3, 16)
    outputs = module(inputs)
    assert outputs.isfinite().all()
    assert not torch.equal(outputs, torch.zeros_like(outputs))
    usual = factory().eval()
    usual.load_state_dict(module.state_dict())
    assert torch.allclose(usual(inputs), outputs, atol=1e-6)
    check_ticket(ticket)


def test_vectors_in_a_network_of_ones_own_are_not_masked() -> None:
    made = ModuleArchitecture("net", lambda: nn.Linear(3, 2))
    assert math.prod(made.shapes["weight"]) == made.size == 6
    full = Mask.full({"weight": (2, 3), "bias": (2,)})
    with pytest.raises(ValueError, match="masked, but not random in net: bias"):
        Ticket(Source(made, 1), full)

"""The Triton kernels of the mask search: in Triton's interpreter against a stable sort, compiled ahead, on a device."""

from __future__ import annotations

import inspect
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from strongticket.models import MLP, architecture
from strongticket.search import AbstractTopK, Biprop, EdgePopup, IteRand, Searcher, random_source
from strongticket.search.graphed import GraphedStep
from strongticket.search.layers import Layer
from strongticket.search.methods import MethodState
from strongticket.search.updates.plain import PlainUpdate
from strongticket.search.updates.segmented import SegmentedTopK
from strongticket.selection import kept_count

# Every step is compared with a stable sort, and scores and momenta with those of the torch engine, bit for bit.
_IN_INTERPRETER = """
import json, math
import numpy as np
import torch
from strongticket.search import Biprop, EdgePopup
from strongticket.search.updates import flat_triton
from strongticket.search.updates.flat_triton import Grain
from strongticket.search.layers import Layer
from strongticket.search.methods import MethodState
from strongticket.search.updates.segmented import SegmentedTopK

torch.set_num_threads(1)
np.seterr(all="ignore")  # NaN and infinite scores are a case
SIZES = (90, 33, 4)
ONE = Grain(block=64, keys=32, again=64)
MANY = Grain(block=64, keys=32, again=32, alone=0, stretch=40)


def make(engine, method, nesterov, grain):
    generator = torch.Generator().manual_seed(0)
    scores = [torch.randn(size, generator=generator) * 0.05 for size in SIZES]
    weights = [torch.randn(size, generator=generator) for size in SIZES]
    layers = [Layer(f"l{i}", (size, 1)) for i, size in enumerate(SIZES)]
    update = SegmentedTopK(
        layers, scores, weights, method, MethodState(), momentum=0.9, nesterov=nesterov, weight_decay=1e-3,
        engine=engine, grain=grain,
    )
    update.choose()
    return update


def compare(method, mine, theirs, what):
    flat = mine.flat
    counts = method.counts(mine._layers, mine._state.progress)
    masks = []
    for part, count in zip(torch.split(flat.scores, list(flat.sizes)), counts, strict=True):
        ranks = (part.abs() if method.absolute else part).nan_to_num(math.inf)
        mask = torch.zeros(len(part), dtype=torch.bool)
        mask[torch.sort(ranks, stable=True).indices[len(part) - count :]] = True
        masks.append(mask)
    if flat.scores.isfinite().all():
        assert torch.equal(flat.kept, torch.where(torch.cat(masks), flat.weights, 0.0)), what
    for a, b in ((flat, theirs.flat),):
        assert torch.equal(a.scores.view(torch.int32), b.scores.view(torch.int32)), what
        assert torch.equal(a.momenta.view(torch.int32), b.momenta.view(torch.int32)), what
        assert torch.equal(a.kept, b.kept), what
    for a, b in zip(mine.effective, theirs.effective, strict=True):
        assert torch.equal(a, b), what


def run(method, grain, steps, nesterov=False, wide=False, ties=False, room=None, bad=None):
    if room is not None:
        flat_triton._ROOM = room
    mine, theirs = (make(engine, method, nesterov, grain) for engine in ("triton", "torch"))
    flat_triton._ROOM = 4096
    compare(method, mine, theirs, "start")
    generator = torch.Generator().manual_seed(1)
    for step in range(steps):
        parts = [torch.randn(size, generator=generator) * 0.01 for size in SIZES]
        if bad is not None and step == 3:
            parts[0][7] = bad
        if wide:  # brackets that hold much: several digits, and several blocks of candidates
            low, high = mine.engine._low, mine.engine._high
            fits = (low > -(1 << 30)) & (high < (1 << 30))
            low.copy_(torch.where(fits, low - (1 << 23), low))
            high.copy_(torch.where(fits, high + (1 << 23), high))
        if ties and step % 5 == 3:
            for update in (mine, theirs):
                scores = update.flat.scores
                scores.copy_((scores * 40).round() / 40)
                scores[::3] *= -0.0
                update.choose()
            compare(method, mine, theirs, ("ties", step))
        for update in (mine, theirs):
            update._state.progress = (step + 1) / steps
            update.step(parts, 0.1)
        compare(method, mine, theirs, step)
    assert bool(mine.flat.wrong) == bool(theirs.flat.wrong) == (bad is not None)
    state = mine.state_dict()
    again = make("triton", method, nesterov, grain)
    again.load_state_dict(state)
    assert again.state_dict()["brackets"].keys() == state["brackets"].keys()
    return {"steps": steps, "misses": mine.misses}


signed = {"score_transform": "identity"}
cases = {
    "layers": lambda: run(EdgePopup(0.3), ONE, 200),
    "all together, many programs": lambda: run(EdgePopup(0.3, "global", **signed), MANY, 200),
    "signed": lambda: run(EdgePopup(0.4, **signed), ONE, 12, nesterov=True),
    "many programs": lambda: run(EdgePopup(0.3), MANY, 10, nesterov=True, ties=True),
    "ties": lambda: run(EdgePopup(0.5), ONE, 15, ties=True),
    "signed ties": lambda: run(EdgePopup(0.5, **signed), ONE, 15, ties=True),
    "wide": lambda: run(EdgePopup(0.3), ONE, 10, wide=True),
    "signed wide": lambda: run(EdgePopup(0.3, "global", **signed), ONE, 10, wide=True),
    "no room": lambda: run(EdgePopup(0.3), ONE, 6, wide=True, room=3),
    "nothing": lambda: run(EdgePopup(0.0), ONE, 5),
    "everything": lambda: run(EdgePopup(1.0), MANY, 5),
    "annealed": lambda: run(EdgePopup(0.02, levels=4), ONE, 8),
    "annealed, many programs": lambda: run(EdgePopup(0.02, levels=4), MANY, 8),
    "erdos-renyi": lambda: run(EdgePopup(0.5, "erdos-renyi"), ONE, 6),
    "binary": lambda: run(Biprop(0.3), ONE, 6),
    "nan": lambda: run(EdgePopup(0.3), ONE, 8, bad=math.nan),
    "infinite": lambda: run(EdgePopup(0.3, **signed), MANY, 8, bad=-math.inf),
}
told = {}
for name, case in cases.items():
    try:
        told[name] = case()
    except AssertionError as error:
        told[name] = {"failed": repr(error)}
print(json.dumps(told))
"""


@pytest.fixture(scope="module")
def interpreted() -> dict[str, dict[str, Any]]:
    """What happened in Triton's interpreter, which is chosen where triton is first imported: a process of its own."""
    pytest.importorskip("triton")
    environment = {**os.environ, "TRITON_INTERPRET": "1", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-W", "error", "-c", _IN_INTERPRETER]
    root = Path(__file__).parents[2]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300, cwd=root, check=False)
    assert done.returncode == 0, done.stderr
    told: dict[str, dict[str, Any]] = json.loads(done.stdout)
    return told


def test_kernels_are_exact_at_every_step(interpreted: dict[str, dict[str, Any]]) -> None:
    assert {name: case["failed"] for name, case in interpreted.items() if "failed" in case} == {}
    assert len(interpreted) == 17
    assert sum(case["steps"] for case in interpreted.values()) > 500


def test_both_ways_were_taken(interpreted: dict[str, dict[str, Any]]) -> None:
    for name in ("layers", "all together, many programs"):  # predictions hold as a rule, in segments of any size
        assert (
            0 < sum(interpreted[name]["misses"]) < 0.2 * interpreted[name]["steps"] * len(interpreted[name]["misses"])
        )
    assert min(interpreted["no room"]["misses"]) == 0  # four scores always fit
    assert max(interpreted["no room"]["misses"]) == interpreted["no room"]["steps"]
    assert sum(interpreted["wide"]["misses"]) == 0
    for name in ("nothing", "everything"):
        assert sum(interpreted[name]["misses"]) == 0


_LONG = {"chunk_start", "stop", "key_start", "keys", "start", "stretch_start", "stretch_stop"}
_REAL = {"gradient", "weight", "score", "momentum", "kept", "hyper", "threshold", "width", "spread"}
_BLOCKS = {"KEYS": 1024, "BLOCK": 4096}


@pytest.mark.parametrize("absolute", [True, False])
@pytest.mark.parametrize(
    ("name", "constants"),
    [
        ("sweep", {"UPDATE": True, "NESTEROV": True, "BLOCK": 1024}),
        ("sweep", {"UPDATE": False, "NESTEROV": False, "BLOCK": 1024}),
        ("settle", {"ALONE": True, **_BLOCKS}),
        ("settle", {"ALONE": False, **_BLOCKS}),
        ("digits", {"LEVEL": 3, "BLOCK": 4096}),
        ("ties", {"STRETCHES": 1024, "BLOCK": 4096}),
        ("apply", {"STRETCHES": 1024, "BLOCK": 4096}),
    ],
)
def test_kernels_compile_for_sm_90(
    name: str, constants: dict[str, Any], absolute: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    triton = pytest.importorskip("triton")
    if os.environ.get("TRITON_INTERPRET"):
        pytest.skip("the interpreter does not compile")
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    from strongticket.search.updates import _segmented_kernels

    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))
    kernel = getattr(_segmented_kernels, name)
    values = {**constants, "ABSOLUTE": absolute}
    kinds = {
        argument: "constexpr" if argument in values
        else "*i64" if argument in _LONG else "*fp32" if argument in _REAL else "*i32"
        for argument in inspect.signature(kernel.fn).parameters
    }  # fmt: skip
    compiled = triton.compile(
        ASTSource(kernel, signature=kinds, constexprs=values),
        target=GPUTarget("cuda", 90, 32),
        options={"num_warps": 4 if name == "sweep" else 8, "enable_fp_fusion": False},
    )
    ptx = compiled.asm["ptx"]
    assert compiled.asm["cubin"]
    assert ".target sm_90" in ptx
    assert compiled.metadata.shared <= 48 << 10  # no more than any CUDA device gives without asking
    assert "st.local" not in ptx  # no table indexed at run time
    if name == "sweep":  # each product and each sum is rounded, and subnormal numbers count: the bits of the CPU
        assert not re.search(r"\bfma\.|\.ftz|\b(mul|add|sub)\.f32", ptx)
        assert ("mul.rn.f32" in ptx) == constants["UPDATE"]


# on a device --------------------------------------------------------------------------------------------------------

on_a_device = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")]
METHODS = [
    EdgePopup(0.3),
    EdgePopup(0.3, score_transform="identity"),
    EdgePopup(0.2, "global"),
    EdgePopup(0.1, levels=4),
    IteRand(0.4, period=7, rate=0.5),
    Biprop(0.3),
]


def both(method: AbstractTopK, network: str) -> tuple[Searcher, Searcher, torch.Tensor, torch.Tensor]:
    """The same search on the device and, by literal operations, on the CPU, with a batch for it on the device."""
    net = architecture(network)
    source = random_source(net, 0)
    far = net.module({**source.weights(), **net.initial_state()}).cuda()
    generator = torch.Generator().manual_seed(0)
    shape = (1, 28, 28) if network.startswith("lenet") else (3, 32, 32)
    x, y = torch.randn(64, *shape, generator=generator).cuda(), torch.randint(0, 10, (64,), generator=generator).cuda()
    return Searcher(source, method, module=far), Searcher(source, method, fused=False), x, y


def same_choice(far: Searcher, near: Searcher) -> None:
    """The CPU chooses from the scores of the device: the weights must be those of the device, bit for bit."""
    near.state.progress = far.state.progress
    for name, score in near.scores.items():
        score.copy_(far.scores[name].cpu())
    for mine, theirs in zip(near.weights, far.weights, strict=True):
        mine.copy_(theirs.cpu())
    near.refresh()
    for layer in far.layers:
        mine, theirs = (one.module.get_parameter(layer.name).detach().cpu() for one in (near, far))
        assert torch.equal(mine + 0.0, theirs + 0.0), layer.name


@pytest.mark.parametrize("network", ["lenet-300-100", "conv4"])
@pytest.mark.parametrize("method", METHODS, ids=str)
@pytest.mark.parametrize("graphed", [pytest.param(way, marks=on_a_device) for way in (False, True)])
def test_masks_on_the_device_equal_those_of_the_cpu(graphed: bool, method: AbstractTopK, network: str) -> None:
    far, near, x, y = both(method, network)
    assert isinstance(far._update, SegmentedTopK)
    assert isinstance(near._update, PlainUpdate)

    def loss(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return nn.functional.cross_entropy(far.module(x), y)

    same_choice(far, near)
    start = far.scores[far.layers[0].name].clone()
    step = GraphedStep(far, loss, x, y) if graphed else None
    assert torch.equal(far.scores[far.layers[0].name], start)  # warming up leaves no trace
    same_choice(far, near)
    for i in range(60):
        images, progress = x.roll(i, 0), (i + 1) / 60
        if step is None:
            far.zero_grad()
            loss(images, y.roll(i, 0)).backward()
            far.step(0.1, progress=progress)
        else:
            step(images, y.roll(i, 0), 0.1, progress=progress)
        same_choice(far, near)
    assert sum(far._update.misses) < 60 * len(far._update.misses)
    assert far.ticket().matches(far.module)


@pytest.mark.parametrize("engine", [pytest.param(name, marks=on_a_device) for name in ("triton", "torch")])
def test_a_step_never_waits_for_the_device(engine: str) -> None:
    far, _, x, y = both(EdgePopup(0.3), "lenet-300-100")
    options = {"momentum": 0.9, "nesterov": False, "weight_decay": 1e-4}
    scores = [score.view(-1) for score in far.scores.values()]
    update = SegmentedTopK(far.layers, scores, far.weights, far.method, far.state, engine=engine, **options)
    far._update = update
    far.refresh()
    for i in range(8):
        if i == 3:  # everything is compiled and allocated
            torch.cuda.set_sync_debug_mode("error")
        try:
            far.zero_grad()
            nn.functional.cross_entropy(far.module(x), y).backward()
            far.step(0.1)
        finally:
            torch.cuda.set_sync_debug_mode("default")


@pytest.mark.parametrize("nesterov", [pytest.param(way, marks=on_a_device) for way in (False, True)])
def test_engines_give_the_same_bits_everywhere(nesterov: bool) -> None:
    near = Searcher(random_source(MLP((784, 300, 100, 10)), 0), EdgePopup(0.3), fused=False)
    updates = []
    for engine, device in (("triton", "cuda"), ("torch", "cuda"), ("torch", "cpu")):
        scores = [score.view(-1).to(device) for score in near.scores.values()]
        weights = [weight.to(device) for weight in near.weights]
        updates.append(
            SegmentedTopK(
                near.layers,
                scores,
                weights,
                near.method,
                near.state,
                momentum=0.9,
                nesterov=nesterov,
                weight_decay=1e-3,
                engine=engine,
            )
        )
        updates[-1].choose()
    for i in range(30):
        parts = [torch.randn(layer.size, generator=torch.Generator().manual_seed(i)) * 0.01 for layer in near.layers]
        for update in updates:
            update.step([part.to(update.flat.device) for part in parts], 0.1)
        for update in updates[:2]:
            for mine, theirs in (
                (update.flat.scores, updates[2].flat.scores),
                (update.flat.kept, updates[2].flat.kept),
            ):
                assert torch.equal(mine.cpu(), theirs)


@pytest.mark.parametrize("size", [pytest.param(size, marks=on_a_device) for size in (262_144, 10_000_000)])
def test_large_segments_are_exact(size: int) -> None:
    for method in (EdgePopup(0.3), EdgePopup(0.5, score_transform="identity")):
        generator = torch.Generator("cuda").manual_seed(0)
        score = torch.randn(size, generator=generator, device="cuda")
        update = SegmentedTopK(
            [Layer("w", (size, 1))], [score], [torch.ones_like(score)], method, MethodState(),
            momentum=0.9, nesterov=False, weight_decay=0.0,
        )  # fmt: skip
        update.choose()
        for i in range(12):
            if i == 6:  # ties at the threshold
                update.flat.scores.copy_(update.flat.scores.bfloat16())
                update.choose()
            ranks = update.flat.scores.abs() if method.absolute else update.flat.scores
            mask = torch.zeros(size, dtype=torch.bool, device="cuda")
            mask[torch.sort(ranks, stable=True).indices[size - kept_count(method.density, size) :]] = True
            assert torch.equal(update.flat.kept != 0, mask)
            update.step([torch.randn(size, generator=generator, device="cuda") * 1e-3], 0.1)

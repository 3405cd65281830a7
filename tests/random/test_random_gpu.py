from __future__ import annotations

import hashlib

import numpy as np
import pytest
import torch

from strongticket import random

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]
NAME = "layer.0.weight"
EVERY_LAW = pytest.mark.parametrize("law", list(random.LAWS.values()), ids=lambda law: law.name)


@EVERY_LAW
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("seed", [0, 42, 2**64 - 1])
@pytest.mark.parametrize("start", [0, 2**34 - 33_333, 2**62 - 1_000_003])
def test_cuda_makes_the_bits_of_numpy(law, dtype, seed, start):
    n = 1_000_003
    made = law.tensor(seed, NAME, start, start + n, device="cuda", dtype=dtype)
    expected = law.values(seed, NAME, start, start + n, dtype=str(dtype).removeprefix("torch."))
    assert made.is_cuda
    assert made.cpu().numpy().tobytes() == expected.tobytes()
    index = torch.from_numpy(np.random.default_rng(0).permutation(n)[:50_000].reshape(100, 500) + start)
    gathered = law.tensor_at(seed, NAME, index.cuda(), dtype=dtype)
    assert gathered.is_cuda
    assert gathered.cpu().numpy().tobytes() == expected[index.numpy() - start].tobytes()


def test_cuda_reproduces_the_golden_digests():
    sha = "20d03a8afd7eb2f58cae9931a7cd8a3f7961a5290d9a130752a860f718b7b202"
    made = random.NORMAL_TAB1.tensor(42, NAME, 0, 10**6, device="cuda", dtype=torch.float64)
    assert hashlib.sha256(made.cpu().numpy().tobytes()).hexdigest() == sha
    sha = "b57faff1ff312f6220b960073b4e93ae2cdecc02e4f3aa1af3c954daacdde39c"
    assert (
        hashlib.sha256(random.UNIFORM23.tensor(42, NAME, 0, 10**6, device="cuda").cpu().numpy().tobytes()).hexdigest()
        == sha
    )


def test_cuda_makes_the_extreme_values_of_the_normal_law():
    # v = 0 and v = 2^52 - 1 with both signs: no feasible search of streams would meet them.
    words = torch.tensor([0, 0, 2**31, 0, 2**31 - 1, 2**32 - 1, 2**32 - 1, 2**32 - 1])
    law = random.NORMAL_TAB1
    here, there = (law._from_tensor(words.to(device), torch.float64).cpu() for device in ("cpu", "cuda"))
    assert here.numpy().tobytes() == there.numpy().tobytes()
    assert (here[0].item(), here[1].item()) == law.support

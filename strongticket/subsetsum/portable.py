"""The solver that runs wherever torch does: a bitonic meet in the middle of whole tensors, nothing compiled."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from math import comb
from typing import Literal, final

import numpy as np
import torch
from torch import Tensor

from strongticket.subsetsum._exact import Bools, Ints
from strongticket.subsetsum.abstract import AbstractSubsetSumSolver, Choice
from strongticket.subsetsum.batch import Batch
from strongticket.subsetsum.goal import Goal, Objective

__all__ = ["Keys", "TorchSolver", "key_bits"]

Keys = Literal["auto", "int32", "int64"]

_LARGEST = 44  # a half of 2^22 sums, several copies
_CACHED = 1 << 19  # bytes of the merged list that stay in a CPU's second-level cache together with their copy
_TABLES = 1 << 20  # int64 elements of the tables of the other objectives
_COPIES = 12  # lists of the size of the merged one that exist at a time, with room to spare
_NARROW = 1 << 30
_PEAK = (1 << 63) - 1
_IDLE = 3 << 60  # stands for a sum with a zero item in it: farther from any target than every other sum
_EASY = 2  # sizes that are tried before the exact minimum tells which rows have no hope


def key_bits(items: Ints, keys: Keys) -> int:
    """Width of the keys for a chunk: 32 where 4 sum |items| + 1 < 2^30 in every row, or as forced.

    Raises:
        ValueError: "int32" is forced on rows beyond that budget.
    """
    if keys == "int64":
        return 64
    most = int(np.abs(items).sum(1).max(initial=0))
    if 4 * most + 1 < _NARROW:
        return 32
    if keys == "int32":
        raise ValueError(f"expected 4 sum |items| + 1 < 2^30 for int32 keys, got sum |items| = {most}: use keys='auto'")
    return 64


@final
class TorchSolver(AbstractSubsetSumSolver):
    """All objectives exactly, on any torch device, up to 44 items; what the compiled solvers are compared with.

    The minimum of error is found without a data-dependent host synchronisation; the other objectives look at their
    intermediate results to stop early.

    Args:
        device: where to work, for example "cpu" or "cuda".
        keys: width of the sums that are sorted: "auto" takes int32 where a chunk's numbers allow, which is about
            twice as fast.

    >>> TorchSolver().solve([[5, -2, 8]], [4]).chosen(3).tolist()
    [[True, False, False]]
    """

    name = "torch"
    reads_only = True

    def __init__(self, device: str | torch.device = "cpu", keys: Keys = "auto") -> None:
        if keys not in ("auto", "int32", "int64"):
            raise ValueError(f"expected keys 'auto', 'int32' or 'int64', got {keys!r}")
        self.device = torch.device(device)
        self.keys: Keys = keys

    def most_items(self, objective: Objective) -> int:
        """Refuse halves that would need gigabytes."""
        return _LARGEST

    def chunk_size(self, n: int, goal: Goal, sharing: float = 1.0) -> int:
        """As many instances as fit a CPU's cache, or a quarter of a GPU's free memory."""
        if goal.objective == "min_error":
            room = _CACHED if self.device.type == "cpu" else _free_bytes(self.device) // (4 * _COPIES)
            return int(min(1 << 18, max(1, room // (4 << (n // 2 + 1)))))
        room = _TABLES if self.device.type == "cpu" else _free_bytes(self.device) // (4 * 8 * _COPIES)
        return int(min(1 << 16, max(1, room >> ((n + 1) // 2 + 1))))

    def choose(self, batch: Batch, goal: Goal) -> Choice:
        """Minimum error by sorting half sums; sizes by tables of the halves' sums per size."""
        if len(batch) == 0 or batch.n == 0:
            return _exactly(np.zeros(len(batch), np.int64))
        with torch.inference_mode():
            if goal.objective == "min_error":
                return beyond_the_ends(batch, lambda inside: self._minimum(inside).cpu().numpy())
            x, z = self._tensor(batch.rows()), self._tensor(batch.targets)
            if goal.objective == "sparsest":
                masks = _sparsest(x, z, goal.limit, lambda rows: self._minimum(batch.take(rows.cpu().numpy())))
            else:
                masks = _best_of_sizes(x, z, [_size_of(goal)])[:, 0]
            return _exactly(masks.cpu().numpy().copy())

    def choose_sizes(self, batch: Batch) -> Ints:  # [batch, n + 1]
        """Masks of least error of every size from one set of tables."""
        if len(batch) == 0 or batch.n == 0:
            return np.zeros((len(batch), batch.n + 1), np.int64)
        with torch.inference_mode():
            x, z = self._tensor(batch.rows()), self._tensor(batch.targets)
            return np.asarray(_best_of_sizes(x, z, range(batch.n + 1)).cpu().numpy().copy())

    def _tensor(self, values: Ints) -> Tensor:
        return torch.from_numpy(values if values.flags.writeable else values.copy()).to(self.device)

    def _minimum(self, batch: Batch) -> Tensor:  # [batch]
        used = batch.pool
        items = batch.items
        if used is not None:
            rows, used = np.unique(used, return_inverse=True)
            items = items[rows]
        key = torch.int32 if key_bits(items, self.keys) == 32 else torch.int64
        x, z = self._tensor(items), self._tensor(batch.targets)
        if used is not None:
            return minimum(x, z, self._tensor(used.astype(np.int64)), key)
        if key == torch.int32 or self.device.type != "cpu" or len(z) < 32:
            return minimum(x, z, None, key)
        half = len(z) // 2  # twice the width, half as many at a time
        return torch.cat([minimum(x[:half], z[:half], None, key), minimum(x[half:], z[half:], None, key)])


def _size_of(goal: Goal) -> int:
    if goal.size is None:
        raise ValueError("expected a size with objective 'fixed_size', got None")
    return goal.size


def beyond_the_ends(batch: Batch, search: Callable[[Batch], Ints]) -> Choice:
    """Answer targets at or beyond the ends of their reach on the host, and search for the minimum of the others."""
    masks, settled = batch.ends()
    rows = np.flatnonzero(~settled)
    if rows.size:
        masks[rows] = search(batch if rows.size == len(batch) else batch.take(rows))
    return Choice(masks, np.ones(len(batch), bool), settled)


def _exactly(masks: Ints) -> Choice:
    # which of several equally good subsets comes out is left to the order of the sums
    proved: Bools = np.ones(len(masks), bool)
    return Choice(masks, proved, np.zeros(len(masks), bool))


def _free_bytes(device: torch.device) -> int:
    """Memory to plan with: what a CUDA device has free, elsewhere a modest guess."""
    return int(torch.cuda.mem_get_info(device)[0]) if device.type == "cuda" else 1 << 30


def minimum(
    x: Tensor,  # [pools, n] int64
    z: Tensor,  # [batch] int64
    pool: Tensor | None,  # [batch] rows of x; None: one row each
    key: torch.dtype,
) -> Tensor:  # [batch] int64
    """Masks of least error, none with a zero item.

    With a_i = 2 |x_i|, choosing a subset is choosing signs: |z - sum_S x| = |T - sum e_i a_i| / 4 up to parity, with
    T = 2 (2 z - sum x) + 1 odd. The sums of one half, and T minus those of the other, are sorted together; the best
    pair is adjacent there, and it is told from pairs of one list by its odd difference.
    """
    if x.shape[1] < 2:
        x = torch.nn.functional.pad(x, (0, 2 - x.shape[1]))
    n = x.shape[1]
    h, spare = n // 2, n % 2
    total, size = x.sum(1), x.abs().sum(1)
    a = (2 * x.abs().T).to(key).contiguous()
    halves = torch.cat([a[:h], a[h : 2 * h]], 1)  # both halves side by side: as few operations as for one
    upper = _upper_half(halves)
    u, v = upper[:, : len(x)], upper[:, len(x) :]
    if pool is not None:  # the lists of a pool are made once; its targets share them
        x, a, total, size = x[pool], a[:, pool], total[pool], size[pool]
        halves = torch.cat([a[:h], a[h : 2 * h]], 1)
        u, v = u.index_select(1, pool), v.index_select(1, pool)
    # out of reach one unit beyond the ends is as good as any distance
    z = torch.minimum(torch.maximum(z, (total - size) // 2 - 1), (total + size) // 2 + 1)
    t = torch.minimum(torch.maximum(2 * (2 * z - total) + 1, -2 * size - 1), 2 * size + 1).to(key)
    gap, sums, last = _closest(u, v, t if not spare else t + a[-1])
    if spare:
        other, other_sums, _ = _closest(u, v, t - a[-1])
        closer = other < gap
        sums, last = torch.where(closer, other_sums, sums), closer.to(last.dtype)
    pattern = _signs(halves, sums.view(-1))
    signs = pattern[: len(z)] | (pattern[len(z) :] << h) | (last.long() << (2 * h))
    place = torch.arange(n, device=x.device)
    chosen = (((signs[:, None] >> place) & 1) == (x > 0)) & (x != 0)
    return (chosen.long() << place).sum(1)


def _clean(source: Tensor, spare: Tensor, stride: int) -> tuple[Tensor, Tensor]:  # [positions, batch] each
    """Sort bitonic columns by compare-exchange at distance stride, stride / 2, ..., 1; the second result is scratch."""
    width = source.shape[1]
    while stride:
        low, high = source.view(-1, 2, stride * width).unbind(1)
        least, most = spare.view(-1, 2, stride * width).unbind(1)
        torch.minimum(low, high, out=least)
        torch.maximum(low, high, out=most)
        source, spare, stride = spare, source, stride // 2
    return source, spare


def _upper_half(a: Tensor) -> Tensor:  # [h, columns] -> [2^(h-1), columns]
    """The sorted upper half of the signed sums of the rows of `a`, which are symmetric about 0."""
    h, width = a.shape
    upper, spare, made = (a.new_empty(1 << (h - 1), width) for _ in range(3))
    upper[0] = a[0]
    for k in range(h - 1):
        m = 1 << k
        plus, minus = made[:m], made[m : 2 * m]
        torch.add(upper[:m].flip(0), a[k + 1], out=plus)  # falls; |upper - a| falls further and then rises
        torch.sub(upper[:m], a[k + 1], out=minus).abs_()
        torch.minimum(plus, minus, out=spare[:m])
        torch.maximum(plus, minus, out=spare[m : 2 * m])
        if k % 2 == 0:  # the stages left, k of them, end where they began
            upper, spare = spare, upper
            _clean(upper[: 2 * m], spare[: 2 * m], m // 2)
        else:
            _clean(spare[: 2 * m], upper[: 2 * m], m // 2)
    return upper


def _closest(u: Tensor, v: Tensor, t: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Least odd difference [batch] of +-u and t +- v, the two half sums behind it [2, batch], and zeros [batch]."""
    quarter, width = u.shape
    merged = u.new_empty(4 * quarter, width)
    # the lists {-u, u} and {t + v, t - v}, one rising and one falling, and the first two stages of their merging
    a, b, c, d = -u.flip(0), v.flip(0).add_(t), u, t - v
    low, high = torch.minimum(a, b), torch.maximum(a, b, out=b)
    torch.minimum(c, d, out=a)
    torch.minimum(low, a, out=merged[:quarter])
    torch.maximum(low, a, out=merged[quarter : 2 * quarter])
    torch.maximum(c, d, out=a)
    torch.minimum(high, a, out=merged[2 * quarter : 3 * quarter])
    torch.maximum(high, a, out=merged[3 * quarter :])
    merged, spare = _clean(merged, torch.empty_like(merged), quarter // 2)
    lowest = torch.iinfo(u.dtype).min
    gap = torch.sub(merged[1:], merged[:-1], out=spare[1:])
    gap.mul_(lowest + 1)  # in wrap-around arithmetic odd gaps turn very negative, even ones stay
    best = gap.amin(0)
    left = torch.where(gap == best, merged[:-1], lowest).amax(0)
    gap = best ^ lowest
    right, odd = left + gap, (left & 1) == 1
    sums = torch.stack([torch.where(odd, right, left), t - torch.where(odd, left, right)])
    return gap, sums, torch.zeros_like(gap)


def _signs(a: Tensor, wanted: Tensor) -> Tensor:  # [h, columns], [columns] -> [columns] int64
    """Bits b with sum of (2 b_i - 1) a_i equal to `wanted`."""
    h = len(a)
    low, high = _signed_sums(a[: h // 2]), _signed_sums(a[h // 2 :])
    hit = (high[:, None] + (low - wanted)).view(1 << h, -1) == 0
    place = torch.arange(1 << h, dtype=torch.int32, device=a.device)[:, None]
    return torch.where(hit, place, 0).amax(0).long()


def _signed_sums(a: Tensor) -> Tensor:  # [h, columns] -> [2^h, columns]
    sums = -a.sum(0, keepdim=True, dtype=a.dtype)
    for row in a:
        sums = torch.cat([sums, sums + 2 * row])
    return sums


class _Half:
    """The subset sums of one half of the items, handed out per number of items."""

    def __init__(self, x: Tensor) -> None:  # [batch, h]
        h = x.shape[1]
        self.items = h
        self._sums = x.new_empty(1 << h, len(x))
        self._sums[0] = 0
        count = torch.zeros(1 << h, dtype=torch.uint8, device=x.device)
        for i, item in enumerate(x.T):
            torch.add(self._sums[: 1 << i], item, out=self._sums[1 << i : 2 << i])
            torch.add(count[: 1 << i], 1, out=count[1 << i : 2 << i])
        if (x == 0).any():
            index = torch.arange(1 << h, device=x.device)[:, None]
            idle = ((x == 0).long() << torch.arange(h, device=x.device)).sum(1)
            self._sums.masked_fill_((index & idle) != 0, _IDLE)
        sizes = [comb(h, k) for k in range(h + 1)]
        self._members = torch.split(count.argsort(stable=True), sizes)
        self._rows: Tensor | None = None
        self._ascending: dict[int, tuple[Tensor, Tensor]] = {}

    def plain(self, k: int) -> tuple[Tensor, Tensor]:
        """Sums [batch, C(h, k)] and their masks [C(h, k)]."""
        sums = self._sums.index_select(0, self._members[k])
        if self._rows is not None:
            sums = sums.index_select(1, self._rows)
        return sums.T.contiguous(), self._members[k]

    def ascending(self, k: int) -> tuple[Tensor, Tensor]:
        """The same, each row sorted: sums and masks [batch, C(h, k)]."""
        if k not in self._ascending:
            sums, members = self.plain(k)
            ordered, order = sums.sort(1)
            self._ascending[k] = ordered, members[order]
        return self._ascending[k]

    def keep(self, rows: Tensor) -> None:
        """Hand out these rows only, of those that were handed out so far."""
        self._rows = rows if self._rows is None else self._rows[rows]
        self._ascending = {k: (sums[rows], masks[rows]) for k, (sums, masks) in self._ascending.items()}


class _Tables:
    """Both halves of a batch of instances."""

    def __init__(self, x: Tensor, z: Tensor) -> None:  # [batch, n], [batch]
        h = x.shape[1] // 2
        self.first, self.second = _Half(x[:, :h]), _Half(x[:, h:])
        # beyond the ends every unit adds to the error of all subsets alike
        low, high = x.clamp(max=0).sum(1), x.clamp(min=0).sum(1)
        self.z = torch.minimum(torch.maximum(z, low - 1), high + 1)

    def keep(self, rows: Tensor) -> None:
        self.first.keep(rows)
        self.second.keep(rows)
        self.z = self.z[rows]

    def best(self, size: int) -> Tensor:  # [batch]
        """Masks of least error among subsets of `size` nonzero items; any mask where there is none."""
        least = torch.full_like(self.z, _PEAK)
        found = torch.zeros_like(least)
        for k in range(max(0, size - self.second.items), min(self.first.items, size) + 1):
            error, mask = _nearest(*self.first.ascending(k), *self.second.plain(size - k), self.z, self.first.items)
            found = torch.where(error < least, mask, found)
            least = torch.minimum(error, least)
        return found


def _nearest(
    a: Tensor,  # [batch, p] ascending
    a_masks: Tensor,  # [batch, p]
    b: Tensor,  # [batch, q]
    b_masks: Tensor,  # [q]
    z: Tensor,  # [batch]
    h: int,
) -> tuple[Tensor, Tensor]:
    """Least |z - a_i - b_j| of each row and its mask."""
    rest = z[:, None] - b
    above = torch.searchsorted(a, rest).clamp_(max=a.shape[1] - 1)
    below = (above - 1).clamp_(min=0)
    error_above, error_below = (rest - a.gather(1, above)).abs_(), (rest - a.gather(1, below)).abs_()
    error, j = torch.minimum(error_above, error_below).min(1, keepdim=True)
    i = torch.where(error_below.gather(1, j) == error, below.gather(1, j), above.gather(1, j))
    return error[:, 0], (a_masks.gather(1, i) | (b_masks[j] << h))[:, 0]


def _errors(x: Tensor, z: Tensor, masks: Tensor) -> Tensor:  # [batch, n], [batch], [batch] -> [batch]
    """|target - chosen sum|."""
    place = torch.arange(x.shape[1], device=x.device)
    return (z - (((masks[:, None] >> place) & 1) * x).sum(1)).abs()


def _best_of_sizes(x: Tensor, z: Tensor, sizes: Iterable[int]) -> Tensor:  # [batch, n], [batch] -> [batch, sizes]
    """For each size the mask of least error with that many nonzero items; any mask where a row has too few."""
    tables = _Tables(x, z)
    return torch.stack([tables.best(size) for size in sizes], 1)


def _sparsest(
    x: Tensor,  # [batch, n]
    z: Tensor,  # [batch]
    eps: int,
    minimum: Callable[[Tensor], Tensor],  # rows, ascending -> their masks of least error
) -> Tensor:  # [batch]
    """The smallest subset within eps, nearest among those of its size; where there is none, the nearest of all."""
    masks = torch.zeros_like(z)
    rows = torch.arange(len(z), device=x.device)
    tables = _Tables(x, z)
    for size in range(x.shape[1] + 1):
        if not len(rows):
            return masks
        if size == _EASY + 1:  # the larger sizes cost more than to see who has an answer at all
            masks[rows] = minimum(rows)
            hopeful = _errors(x[rows], z[rows], masks[rows]) <= eps
            rows = rows[hopeful]
            tables.keep(hopeful.nonzero()[:, 0])
        found = tables.best(size)
        hit = _errors(x[rows], z[rows], found) <= eps
        # a table's answer may hold an idle entry where a row has too few nonzero items
        hit &= ~((((found[:, None] >> torch.arange(x.shape[1], device=x.device)) & 1) == 1) & (x[rows] == 0)).any(1)
        masks[rows[hit]] = found[hit]
        rows = rows[~hit]
        tables.keep((~hit).nonzero()[:, 0])
    if len(rows) and x.shape[1] <= _EASY:
        masks[rows] = minimum(rows)
    return masks

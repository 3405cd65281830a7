"""The engine of fused kernels for GPUs: brackets, room for candidates and launches around `_segmented_kernels`."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass
from importlib import import_module
from typing import Any, final

import torch
from torch import Tensor

from strongticket.search.updates.flat import AbstractEngine, Flat

__all__ = ["Grain", "TritonEngine"]

_NEVER = (1 << 31) - 1  # a rank that no number has
_ROOM, _MOST_ROOM = 4096, 1 << 18  # candidates of a segment
_START = 1e-3  # half-width of the first bracket, as a share of the threshold
_STRETCHES = 1024


@dataclass(frozen=True)
class Grain:
    """How the kernels share the work; results do not depend on it.

    Attributes:
        block: scores of one program of the sweep, a power of 2.
        keys: candidates that are looked at together, a power of 2.
        again: scores that are looked at together where a prediction missed, a power of 2.
        alone: up to this many scores of every segment, one program does all that a miss needs.
        stretch: scores of one program in larger segments (more where a segment has over 1024 such stretches).
    """

    block: int = 1024
    keys: int = 1024
    again: int = 4096
    alone: int = 1 << 18
    stretch: int = 1 << 15


@final
class TritonEngine(AbstractEngine):
    """Fused Triton kernels: one sweep over the scores, one program per segment to settle it, and a way out for misses.

    On a machine without a GPU they run, slowly, in Triton's interpreter, if TRITON_INTERPRET=1 is in the environment
    before triton is imported for the first time.

    Raises:
        ImportError: triton is not installed.
        RuntimeError: there is no GPU and the interpreter is not switched on.
    """

    def __init__(self, flat: Flat, *, absolute: bool, nesterov: bool, grain: Grain | None = None) -> None:
        try:
            self._kernels: Any = import_module("strongticket.search.updates._segmented_kernels")
        except ImportError as error:
            raise ImportError("the kernels for GPUs need triton: pip install 'strongticket[triton]'") from error
        if flat.device.type != "cuda" and type(self._kernels.sweep).__name__ != "InterpretedFunction":
            raise RuntimeError(
                f"expected buffers on a CUDA device, got {flat.device}: use the torch engine, or set "
                "TRITON_INTERPRET=1 before triton is imported to run its interpreter on the CPU"
            )
        self._flat, self._absolute, self._nesterov, self._grain = flat, absolute, nesterov, grain or Grain()
        self._chunks = self._table(self._grain.block)
        self._keys()
        self._brackets()
        self._alone = max(flat.sizes) <= self._grain.alone
        if not self._alone:
            longest = max(self._grain.stretch, -(-max(flat.sizes) // _STRETCHES))
            self._stretches = self._table(longest)
            self._tied = self._numbers(len(flat.sizes), _STRETCHES)
        levels = 0 if self._alone else int(self._kernels.LEVELS.value)
        self._histograms = self._numbers(len(flat.sizes), levels, int(self._kernels.BINS.value))

    def _numbers(self, *shape: int) -> Tensor:
        return torch.zeros(shape, dtype=torch.int32, device=self._flat.device)

    def _table(self, longest: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:  # int32, int64, int64, int32 [programs]
        """Segment, start, stop and place in the segment of stretches of the flat buffers, at most `longest` each."""
        rows = []
        begin = 0
        for segment, size in enumerate(self._flat.sizes):
            starts = range(begin, begin + size, longest)
            rows += [(segment, at, min(at + longest, begin + size), place) for place, at in enumerate(starts)]
            begin += size
        table = torch.tensor(rows, device=self._flat.device).unbind(1)
        segment_of, starts_of, stops_of, places = (column.contiguous() for column in table)
        return segment_of.int(), starts_of, stops_of, places.int()

    def _keys(self) -> None:
        """The room for candidates."""
        rooms = [min(size, max(_ROOM, min(size // 32, _MOST_ROOM))) for size in self._flat.sizes]
        room = torch.tensor(rooms, device=self._flat.device)
        self._room, self._key_start = room.int(), room.cumsum(0) - room
        self._keys_of = torch.empty(sum(rooms), dtype=torch.int64, device=self._flat.device)
        self._seen = self._numbers(len(rooms), 2)

    def _brackets(self) -> None:
        flat = self._flat
        self._threshold = torch.full((len(flat.sizes),), torch.nan, device=flat.device)
        widths = [_START if size >= 20_000 else 10 * _START for size in flat.sizes]
        self._width = torch.tensor(widths, device=flat.device)
        parts = torch.split(flat.scores, list(flat.sizes))
        self._spread = torch.stack([part.std(correction=0) for part in parts])
        self._low, self._high = (torch.full_like(flat.counts, _NEVER) for _ in range(2))  # an empty bracket
        self._failed, self._misses = self._numbers(len(flat.sizes)), self._numbers(len(flat.sizes))

    def step(self) -> None:
        """Move and choose."""
        self._run(update=True)

    def choose(self) -> None:
        """Choose."""
        self._run(update=False)

    def _run(self, update: bool) -> None:
        flat, grain = self._flat, self._grain
        segment, start, _, _ = self._chunks
        device = torch.cuda.device(flat.device) if flat.device.type == "cuda" else nullcontext()
        with device:
            self._kernels.sweep[(len(segment),)](
                flat.gradients, flat.weights, flat.scores, flat.momenta, flat.kept, flat.hyper, segment, start,
                flat.stops, self._low, self._high, self._key_start, self._room, self._keys_of, self._seen, flat.wrong,
                UPDATE=update, NESTEROV=self._nesterov, ABSOLUTE=self._absolute, BLOCK=grain.block,
                num_warps=4, enable_fp_fusion=False,
            )  # fmt: skip
            self._kernels.settle[(len(flat.sizes),)](
                flat.weights, flat.scores, flat.kept, flat.starts, flat.stops, flat.counts, self._key_start, self._room,
                self._keys_of, self._seen, self._threshold, self._width, self._spread, self._low, self._high,
                self._failed, self._misses, self._histograms,
                ABSOLUTE=self._absolute, ALONE=self._alone, KEYS=grain.keys, BLOCK=grain.again,
                num_warps=8, enable_fp_fusion=False,
            )  # fmt: skip
            if not self._alone:
                self._again()

    def _again(self) -> None:
        """The launches that do something only where a segment failed."""
        flat = self._flat
        segment, start, stop, place = self._stretches
        options = {"ABSOLUTE": self._absolute, "BLOCK": self._grain.again, "num_warps": 8, "enable_fp_fusion": False}
        grid = (len(segment),)
        for level in range(int(self._kernels.LEVELS.value)):
            self._kernels.digits[grid](
                flat.scores, segment, start, stop, flat.counts, self._failed, self._histograms, LEVEL=level, **options
            )
        self._kernels.ties[grid](
            flat.scores, segment, start, stop, place, flat.counts, self._failed, self._histograms, self._tied,
            STRETCHES=_STRETCHES, **options,
        )  # fmt: skip
        self._kernels.apply[grid](
            flat.weights, flat.scores, flat.kept, segment, start, stop, place, flat.starts, flat.stops, flat.counts,
            self._failed, self._histograms, self._tied, self._threshold, self._width, self._spread, self._low,
            self._high, STRETCHES=_STRETCHES, **options,
        )  # fmt: skip

    def _tables(self) -> dict[str, Tensor]:
        return {
            "threshold": self._threshold, "width": self._width, "low": self._low, "high": self._high,
            "misses": self._misses,
        }  # fmt: skip

    def state(self) -> dict[str, Tensor]:
        """The brackets."""
        return {name: table.clone() for name, table in self._tables().items()}

    def restore(self, state: dict[str, Tensor]) -> None:
        """Take up the brackets, if they were saved."""
        for name, table in self._tables().items():
            if name in state:
                table.copy_(state[name])

    @property
    def misses(self) -> list[int]:
        """How often a bracket did not hold the threshold."""
        return [int(count) for count in self._misses.tolist()]

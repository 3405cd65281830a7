"""Explicit vectors for numba: 64 bytes of int32 or int64 side by side, so that one kernel source serves both widths.

A *lane* is one instance; `Lanes` is an LLVM vector of sixteen int32 or eight int64. `Rows` is the address of a list of
such vectors in an array, whose dtype decides the width; rows are counted in vectors of 64 bytes. A *column* is a tuple
of `Lanes` that lives in registers; arithmetic works on vectors and columns alike, a vector serving every entry of a
column. Nothing here checks bounds, and `Rows` does not keep its array alive.

LLVM makes one instruction of each operation where registers have 64 bytes (AVX-512) and two or four where they are
narrower (AVX2, SSE, NEON). No alignment is assumed; loads are fastest where rows start on a 64-byte line.
"""
# numba has types here and there, depending on its version.
# mypy: disallow-untyped-decorators=False, disallow-untyped-calls=False, disallow-subclassing-any=False

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.core.errors import TypingError
from numba.extending import intrinsic as numba_intrinsic
from numba.extending import models, register_model

__all__ = [
    "absolute", "add", "any_equal", "both", "clean", "clean_rows", "column", "differing", "either", "fill", "halved",
    "larger", "least", "less", "load", "lower", "negate", "numbers", "odd", "odd_first", "peek", "pick", "poke",
    "put_cleaned", "rows_of", "select", "skip", "smaller", "store", "subtract", "upper", "width",
]  # fmt: skip

intrinsic: Any = numba_intrinsic
"""Where numba is typed, a call of an intrinsic is expected to pass the typing context, which no caller does."""

_BYTES = 64
_INDEX = ir.IntType(64)


class LanesType(types.Type):
    """The numba type of a vector of 64 bytes; `dtype` is int32 or int64."""

    def __init__(self, dtype: Any) -> None:
        self.dtype = dtype
        self.bits = int(dtype.bitwidth)
        self.width = 8 * _BYTES // self.bits
        self.vector = ir.VectorType(ir.IntType(self.bits), self.width)
        super().__init__(name=f"Lanes({dtype})")

    def constant(self, value: int) -> ir.Constant:
        """The vector with `value` in every lane."""
        return ir.Constant(self.vector, [value] * self.width)


class RowsType(types.Type):
    """The numba type of the address of a list of vectors."""

    def __init__(self, dtype: Any) -> None:
        self.lanes = LanesType(dtype)
        super().__init__(name=f"Rows({dtype})")


class ChoiceType(types.Type):
    """The numba type of one truth value per lane."""

    def __init__(self, width: int) -> None:
        self.width = width
        super().__init__(name=f"Choice({width})")


@register_model(LanesType)
class _LanesModel(models.PrimitiveModel):
    def __init__(self, manager: Any, kind: LanesType) -> None:
        super().__init__(manager, kind, kind.vector)


@register_model(RowsType)
class _RowsModel(models.PrimitiveModel):
    def __init__(self, manager: Any, kind: RowsType) -> None:
        super().__init__(manager, kind, ir.IntType(8).as_pointer())


@register_model(ChoiceType)
class _ChoiceModel(models.PrimitiveModel):
    def __init__(self, manager: Any, kind: ChoiceType) -> None:
        super().__init__(manager, kind, ir.VectorType(ir.IntType(1), kind.width))


# --- Memory -----------------------------------------------------------------------------------------------------------


class _Strided:
    """Emits loads and stores of the rows row, row + stride, row + 2 stride, ... of a list."""

    def __init__(self, builder: ir.IRBuilder, lanes: LanesType, rows: Any, row: Any, stride: Any = None) -> None:
        self.builder, self.lanes = builder, lanes
        size = ir.Constant(_INDEX, _BYTES)
        self.start = builder.gep(rows, [builder.mul(row, size)])
        if stride is not None:
            self.stride = builder.mul(stride, size)

    def _pointer(self, k: int) -> Any:
        start = self.start
        if k:
            start = self.builder.gep(start, [self.builder.mul(self.stride, ir.Constant(_INDEX, k))])
        return self.builder.bitcast(start, self.lanes.vector.as_pointer())

    def load(self, k: int = 0) -> Any:
        return self.builder.load(self._pointer(k), align=self.lanes.bits // 8)

    def store(self, value: Any, k: int = 0) -> None:
        self.builder.store(value, self._pointer(k), align=self.lanes.bits // 8)


@intrinsic
def rows_of(typingctx: Any, array: types.Array) -> Any:
    """The address of a contiguous array of int32 or int64 as a list of vectors."""
    if array.ndim != 1 or array.layout != "C" or array.dtype not in (types.int32, types.int64):
        raise TypingError(f"expected a contiguous vector of int32 or int64, got {array}")

    def codegen(context: Any, builder: ir.IRBuilder, signature: Any, args: Any) -> Any:
        data = context.make_array(array)(context, builder, args[0]).data
        return builder.bitcast(data, context.get_value_type(signature.return_type))

    return RowsType(array.dtype)(array), codegen


@intrinsic
def skip(typingctx: Any, rows: RowsType, count: types.Integer) -> Any:
    """The list that starts `count` rows later."""

    def codegen(context: Any, builder: ir.IRBuilder, signature: Any, args: Any) -> Any:
        return _Strided(builder, rows.lanes, *args).start

    return rows(rows, types.int64), codegen


@intrinsic
def width(typingctx: Any, rows: RowsType) -> Any:
    """Number of lanes of a row: 16 or 8."""

    def codegen(context: Any, builder: ir.IRBuilder, signature: Any, args: Any) -> Any:
        return ir.Constant(_INDEX, rows.lanes.width)

    return types.int64(rows), codegen


def _element(builder: ir.IRBuilder, rows: RowsType, args: Any) -> Any:
    start = _Strided(builder, rows.lanes, args[0], args[1]).start
    return builder.gep(builder.bitcast(start, ir.IntType(rows.lanes.bits).as_pointer()), [args[2]])


@intrinsic
def peek(typingctx: Any, rows: RowsType, row: types.Integer, lane: types.Integer) -> Any:
    """One lane of a row, as int64."""

    def codegen(context: Any, builder: ir.IRBuilder, signature: Any, args: Any) -> Any:
        value = builder.load(_element(builder, rows, args))
        return value if rows.lanes.bits == 64 else builder.sext(value, _INDEX)

    return types.int64(rows, types.int64, types.int64), codegen


@intrinsic
def poke(typingctx: Any, rows: RowsType, row: types.Integer, lane: types.Integer, value: types.Integer) -> Any:
    """Write one lane of a row."""

    def codegen(context: Any, builder: ir.IRBuilder, signature: Any, args: Any) -> Any:
        value = args[3] if rows.lanes.bits == 64 else builder.trunc(args[3], ir.IntType(rows.lanes.bits))
        builder.store(value, _element(builder, rows, args))
        return context.get_dummy_value()

    return types.none(rows, types.int64, types.int64, types.int64), codegen


@intrinsic
def load(typingctx: Any, rows: RowsType, row: types.Integer) -> Any:
    """The vector at a row."""

    def codegen(context: Any, builder: ir.IRBuilder, signature: Any, args: Any) -> Any:
        return _Strided(builder, rows.lanes, *args).load()

    return rows.lanes(rows, types.int64), codegen


@intrinsic
def store(typingctx: Any, rows: RowsType, row: types.Integer, value: LanesType) -> Any:
    """Write a vector to a row."""

    def codegen(context: Any, builder: ir.IRBuilder, signature: Any, args: Any) -> Any:
        _Strided(builder, rows.lanes, *args[:2]).store(args[2])
        return context.get_dummy_value()

    return types.none(rows, types.int64, value), codegen


@intrinsic(prefer_literal=True)
def column(typingctx: Any, rows: RowsType, row: types.Integer, stride: types.Integer, count: Any) -> Any:
    """The column of the rows row, row + stride, row + 2 stride, ...: `count` of them (a literal)."""
    result = types.UniTuple(rows.lanes, int(count.literal_value))

    def codegen(context: Any, builder: ir.IRBuilder, signature: Any, args: Any) -> Any:
        strided = _Strided(builder, rows.lanes, *args[:3])
        return context.make_tuple(builder, result, [strided.load(k) for k in range(len(result))])

    return result(rows, types.int64, types.int64, count), codegen


@intrinsic
def fill(typingctx: Any, rows: RowsType, value: types.Integer) -> Any:
    """The vector, as wide as a row, that has `value` in every lane."""

    def codegen(context: Any, builder: ir.IRBuilder, signature: Any, args: Any) -> Any:
        lanes, undefined = rows.lanes, ir.Constant(rows.lanes.vector, ir.Undefined)
        value = args[1] if lanes.bits == 64 else builder.trunc(args[1], ir.IntType(lanes.bits))
        first = builder.insert_element(undefined, value, ir.Constant(ir.IntType(32), 0))
        everywhere = ir.Constant(ir.VectorType(ir.IntType(32), lanes.width), [0] * lanes.width)
        return builder.shuffle_vector(first, undefined, everywhere)

    return rows.lanes(rows, types.int64), codegen


@intrinsic(prefer_literal=True)
def numbers(typingctx: Any, rows: RowsType, first: Any, step: Any, count: Any) -> Any:
    """The constant column first, first + step, ... of `count` vectors (all three literals)."""
    result = types.UniTuple(rows.lanes, int(count.literal_value))

    def codegen(context: Any, builder: ir.IRBuilder, signature: Any, args: Any) -> Any:
        values = [first.literal_value + k * step.literal_value for k in range(len(result))]
        return context.make_tuple(builder, result, [rows.lanes.constant(value) for value in values])

    return result(rows, first, step, count), codegen


# --- Arithmetic, lane by lane -----------------------------------------------------------------------------------------


def _elementwise(emit: Callable[..., Any], *operands: Any) -> Any:
    """Signature and code of an operation on vectors or columns; a vector serves every entry of a column."""
    lengths = {len(o) for o in operands if isinstance(o, types.BaseTuple)}
    if len(lengths) > 1:
        raise TypingError(f"expected columns of one length, got lengths {sorted(lengths)}")
    lanes = next(o.dtype if isinstance(o, types.UniTuple) else o for o in operands)
    result = types.UniTuple(lanes, lengths.pop()) if lengths else lanes

    def codegen(context: Any, builder: ir.IRBuilder, signature: Any, args: Any) -> Any:
        if result is lanes:
            return emit(builder, lanes, *args)
        parts = [
            cgutils.unpack_tuple(builder, arg) if isinstance(o, types.BaseTuple) else [arg] * len(result)
            for o, arg in zip(operands, args, strict=True)
        ]
        return context.make_tuple(builder, result, [emit(builder, lanes, *p) for p in zip(*parts, strict=True)])

    return result(*operands), codegen


def _min(builder: ir.IRBuilder, lanes: LanesType, x: Any, y: Any) -> Any:
    return builder.select(builder.icmp_signed("<", x, y), x, y)


def _max(builder: ir.IRBuilder, lanes: LanesType, x: Any, y: Any) -> Any:
    return builder.select(builder.icmp_signed(">", x, y), x, y)


def _abs(builder: ir.IRBuilder, lanes: LanesType, x: Any) -> Any:
    return builder.select(builder.icmp_signed("<", x, lanes.constant(0)), builder.neg(x), x)


def _rotate(builder: ir.IRBuilder, lanes: LanesType, x: Any) -> Any:
    down = builder.lshr(x, lanes.constant(1))
    return builder.or_(down, builder.shl(x, lanes.constant(lanes.bits - 1)))


@intrinsic
def add(typingctx: Any, x: Any, y: Any) -> Any:
    """x + y, wrapping around."""
    return _elementwise(lambda builder, lanes, x, y: builder.add(x, y), x, y)


@intrinsic
def subtract(typingctx: Any, x: Any, y: Any) -> Any:
    """x - y, wrapping around."""
    return _elementwise(lambda builder, lanes, x, y: builder.sub(x, y), x, y)


@intrinsic
def negate(typingctx: Any, x: Any) -> Any:
    """-x."""
    return _elementwise(lambda builder, lanes, x: builder.neg(x), x)


@intrinsic
def absolute(typingctx: Any, x: Any) -> Any:
    """|x|."""
    return _elementwise(_abs, x)


@intrinsic
def smaller(typingctx: Any, x: Any, y: Any) -> Any:
    """The smaller of x and y."""
    return _elementwise(_min, x, y)


@intrinsic
def larger(typingctx: Any, x: Any, y: Any) -> Any:
    """The larger of x and y."""
    return _elementwise(_max, x, y)


@intrinsic
def halved(typingctx: Any, x: Any) -> Any:
    """x / 2, rounded down."""
    return _elementwise(lambda builder, lanes, x: builder.ashr(x, lanes.constant(1)), x)


@intrinsic
def either(typingctx: Any, x: Any, y: Any) -> Any:
    """The bits of x or y."""
    return _elementwise(lambda builder, lanes, x, y: builder.or_(x, y), x, y)


@intrinsic
def both(typingctx: Any, x: Any, y: Any) -> Any:
    """The bits of x and y."""
    return _elementwise(lambda builder, lanes, x, y: builder.and_(x, y), x, y)


@intrinsic
def differing(typingctx: Any, x: Any, y: Any) -> Any:
    """The bits of x or y but not both."""
    return _elementwise(lambda builder, lanes, x, y: builder.xor(x, y), x, y)


@intrinsic
def odd_first(typingctx: Any, x: Any) -> Any:
    """x rotated right by one bit: from x >= 0, odd numbers come out below all even ones, each kind in its order."""
    return _elementwise(_rotate, x)


# --- Columns ----------------------------------------------------------------------------------------------------------


@intrinsic
def lower(typingctx: Any, x: types.UniTuple) -> Any:
    """The first half of a column."""
    return _part(x, 0)


@intrinsic
def upper(typingctx: Any, x: types.UniTuple) -> Any:
    """The second half of a column."""
    return _part(x, len(x) // 2)


def _part(x: types.UniTuple, start: int) -> Any:
    result = types.UniTuple(x.dtype, len(x) // 2)

    def codegen(context: Any, builder: ir.IRBuilder, signature: Any, args: Any) -> Any:
        entries = cgutils.unpack_tuple(builder, args[0])
        return context.make_tuple(builder, result, entries[start : start + len(x) // 2])

    return result(x), codegen


@intrinsic
def least(typingctx: Any, x: types.UniTuple) -> Any:
    """The smallest entry of a column, lane by lane."""

    def codegen(context: Any, builder: ir.IRBuilder, signature: Any, args: Any) -> Any:
        return _tree(lambda p, q: _min(builder, x.dtype, p, q), cgutils.unpack_tuple(builder, args[0]))

    return x.dtype(x), codegen


def _tree(combine: Callable[[Any, Any], Any], values: Sequence[Any]) -> Any:
    """Combine neighbours level by level: a short chain of dependent operations."""
    while len(values) > 1:
        pairs = [combine(p, q) for p, q in zip(values[::2], values[1::2], strict=False)]
        values = pairs + list(values[len(pairs) * 2 :])
    return values[0]


def _checked_count(count: int) -> int:
    if count < 2 or count & (count - 1):
        raise TypingError(f"expected a column of 2, 4, 8, ... vectors, got {count}")
    return count


def _clean(
    builder: ir.IRBuilder,
    lanes: LanesType,
    count: int,
    first: Callable[[int], Any],
    put: Callable[[Any, int], None],
) -> None:
    """All stages of cleaning a bitonic column: `first` gives its entries, `put` takes the sorted ones.

    Depth first, in the order in which entries are needed, so that loads, exchanges and stores overlap.
    """
    values: list[Any] = [None] * count

    def sort(start: int, size: int) -> None:
        if size == 1:
            put(values[start], start)
            return
        half = size // 2
        for i in range(start, start + half):
            if size == count:
                values[i], values[i + half] = first(i), first(i + half)
            x, y = values[i], values[i + half]
            values[i], values[i + half] = _min(builder, lanes, x, y), _max(builder, lanes, x, y)
        sort(start, half)
        sort(start + half, half)

    sort(0, count)


@intrinsic
def clean(typingctx: Any, x: types.UniTuple) -> Any:
    """A bitonic column (rising then falling, or a rotation of that) of 2^k vectors, sorted: k stages of exchanges."""
    count = _checked_count(len(x))

    def codegen(context: Any, builder: ir.IRBuilder, signature: Any, args: Any) -> Any:
        values = cgutils.unpack_tuple(builder, args[0])
        done = list(values)
        _clean(builder, x.dtype, count, values.__getitem__, lambda value, k: done.__setitem__(k, value))
        return context.make_tuple(builder, signature.return_type, done)

    return x(x), codegen


@intrinsic
def put_cleaned(typingctx: Any, rows: RowsType, row: types.Integer, stride: types.Integer, x: types.UniTuple) -> Any:
    """Sort a bitonic column and write it to the rows row, row + stride, row + 2 stride, ..."""
    count = _checked_count(len(x))

    def codegen(context: Any, builder: ir.IRBuilder, signature: Any, args: Any) -> Any:
        strided = _Strided(builder, rows.lanes, *args[:3])
        _clean(builder, rows.lanes, count, cgutils.unpack_tuple(builder, args[3]).__getitem__, strided.store)
        return context.get_dummy_value()

    return types.none(rows, types.int64, types.int64, x), codegen


@intrinsic(prefer_literal=True)
def clean_rows(typingctx: Any, rows: RowsType, row: types.Integer, stride: types.Integer, count: Any) -> Any:
    """Sort the bitonic column of `count` (a literal) rows row, row + stride, row + 2 stride, ... in place."""
    size = _checked_count(int(count.literal_value))

    def codegen(context: Any, builder: ir.IRBuilder, signature: Any, args: Any) -> Any:
        strided = _Strided(builder, rows.lanes, *args[:3])
        _clean(builder, rows.lanes, size, strided.load, strided.store)
        return context.get_dummy_value()

    return types.none(rows, types.int64, types.int64, count), codegen


# --- Choices ----------------------------------------------------------------------------------------------------------


@intrinsic
def less(typingctx: Any, x: LanesType, y: LanesType) -> Any:
    """Where x < y."""

    def codegen(context: Any, builder: ir.IRBuilder, signature: Any, args: Any) -> Any:
        return builder.icmp_signed("<", *args)

    return ChoiceType(x.width)(x, y), codegen


@intrinsic
def odd(typingctx: Any, x: LanesType) -> Any:
    """Where x is odd."""

    def codegen(context: Any, builder: ir.IRBuilder, signature: Any, args: Any) -> Any:
        return builder.trunc(args[0], context.get_value_type(signature.return_type))

    return ChoiceType(x.width)(x), codegen


@intrinsic
def any_equal(typingctx: Any, x: types.UniTuple, y: LanesType) -> Any:
    """Where some entry of column x equals y."""

    def codegen(context: Any, builder: ir.IRBuilder, signature: Any, args: Any) -> Any:
        # the least difference is 0: comparisons that end in mask registers are slow, so there is but one
        differences = [builder.xor(entry, args[1]) for entry in cgutils.unpack_tuple(builder, args[0])]
        nearest = _tree(lambda p, q: builder.select(builder.icmp_unsigned("<", p, q), p, q), differences)
        return builder.icmp_signed("==", nearest, y.constant(0))

    return ChoiceType(y.width)(x, y), codegen


@intrinsic
def select(typingctx: Any, where: ChoiceType, x: LanesType, y: LanesType) -> Any:
    """x where true, else y."""

    def codegen(context: Any, builder: ir.IRBuilder, signature: Any, args: Any) -> Any:
        return builder.select(*args)

    return x(where, x, y), codegen


@intrinsic
def pick(typingctx: Any, x: types.UniTuple, y: LanesType, values: types.UniTuple) -> Any:
    """The entry of column `values` at the last place where column x equals y; 0 in lanes without such a place."""

    def codegen(context: Any, builder: ir.IRBuilder, signature: Any, args: Any) -> Any:
        chosen = y.constant(0)
        for entry, value in zip(*(cgutils.unpack_tuple(builder, args[i]) for i in (0, 2)), strict=True):
            chosen = builder.select(builder.icmp_signed("==", entry, args[1]), value, chosen)
        return chosen

    return y(x, y, values), codegen

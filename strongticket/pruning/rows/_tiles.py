"""The inner loop of the elimination for numba: a tile of a matrix held in vector registers takes many pivots at once.

A tile is `height` rows by `vectors` vectors of the widest register. Each entry becomes
`matrix[i, j] - sum_k left[k, i] * right[k, j]`; left and right are the same panel of scaled rows of the inverse. LLVM
vectorises such loops by itself only where it can prove that the arrays do not overlap, which it cannot here; and the
tile is loaded and stored once for all pivots of the panel, where the plain loop does so for each.
"""
# numba has types here and there, depending on its version.
# mypy: disallow-untyped-decorators=False, disallow-untyped-calls=False

from __future__ import annotations

from typing import Any

from llvmlite import binding, ir
from numba import types
from numba.core import cgutils
from numba.core.errors import TypingError
from numba.extending import intrinsic as numba_intrinsic

__all__ = [
    "BYTES",
    "HEIGHT",
    "ROW_VECTORS",
    "VECTORS",
    "follow",
    "get_column",
    "only",
    "put_column",
    "update_row",
    "update_tile",
]

intrinsic: Any = numba_intrinsic
"""Where numba is typed, a call of an intrinsic is expected to pass the typing context, which no caller does."""

BYTES = 64 if binding.get_host_cpu_features().get("avx512f") else 32
"""Width of a vector. numba keeps compiled kernels apart by the processor's features, from which alone this follows."""

HEIGHT, VECTORS = 4, 3
"""Rows and vectors of a tile: 12 sums, as many as 16 registers hold beside what is added."""

ROW_VECTORS = 4
"""Vectors of one row that are updated together: enough sums in flight to hide the latency of a multiply-add."""

_INDEX = ir.IntType(64)


def _vector(builder: ir.IRBuilder, dtype: Any) -> tuple[Any, int, Any]:
    """The type of a vector, its number of entries, and the function a * b + c."""
    element = ir.DoubleType() if dtype == types.float64 else ir.FloatType()
    width = 8 * BYTES // dtype.bitwidth
    vector = ir.VectorType(element, width)
    name = f"llvm.fma.v{width}f{dtype.bitwidth}"
    return vector, width, cgutils.get_or_insert_function(builder.module, ir.FunctionType(vector, [vector] * 3), name)


def _spread(builder: ir.IRBuilder, vector: Any, width: int, scalar: Any) -> Any:
    """A vector with the scalar in every entry."""
    empty = ir.Constant(vector, ir.Undefined)
    single = builder.insert_element(empty, scalar, ir.Constant(ir.IntType(32), 0))
    return builder.shuffle_vector(single, empty, ir.Constant(ir.VectorType(ir.IntType(32), width), [0] * width))


def _emit(builder: ir.IRBuilder, dtype: Any, args: Any, height: int, vectors: int) -> None:
    """Emit the update of one tile; args: matrix, at, pitch, panel, left, right, panel pitch, depth."""
    matrix, at, pitch, panel, left, right, step, depth = args
    size = dtype.bitwidth // 8
    vector, width, fma = _vector(builder, dtype)

    def number(value: int) -> ir.Constant:
        return ir.Constant(_INDEX, value)

    def pointer(base: Any, offset: Any) -> Any:
        return builder.bitcast(builder.gep(base, [offset]), vector.as_pointer())

    def place(i: int, j: int) -> Any:
        return pointer(matrix, builder.add(builder.add(at, builder.mul(pitch, number(i))), number(j * width)))

    tile = [(i, j) for i in range(height) for j in range(vectors)]
    before = [builder.load(place(i, j), align=size) for i, j in tile]
    sums = [cgutils.alloca_once_value(builder, ir.Constant(vector, [0.0] * width)) for _ in tile]
    for total in sums:  # the allocation is at the head of the function; this tile starts here
        builder.store(ir.Constant(vector, [0.0] * width), total)
    with cgutils.for_range(builder, depth) as loop:
        row = builder.gep(panel, [builder.mul(loop.index, step)])
        rights = [builder.load(pointer(row, builder.add(right, number(j * width))), align=size) for j in range(vectors)]
        for i in range(height):
            scalar = builder.load(builder.gep(row, [builder.add(left, number(i))]))
            spread = _spread(builder, vector, width, scalar)
            for j in range(vectors):
                total = sums[i * vectors + j]
                builder.store(builder.call(fma, [spread, rights[j], builder.load(total)]), total)
    for (i, j), old, total in zip(tile, before, sums, strict=True):
        builder.store(builder.fsub(old, builder.load(total)), place(i, j), align=size)


def _typed(array: Any, panel: Any, numbers: tuple[Any, ...], height: int, vectors: int) -> Any:
    for given in (array, panel):
        if given.ndim != 1 or given.layout != "C" or given.dtype not in (types.float32, types.float64):
            raise TypingError(f"expected contiguous float32 or float64 vectors, got {given}")
    if array.dtype != panel.dtype:
        raise TypingError(f"expected one dtype, got {array.dtype} and {panel.dtype}")

    def codegen(context: Any, builder: ir.IRBuilder, signature: Any, args: Any) -> Any:
        data = [context.make_array(kind)(context, builder, args[k]).data for kind, k in ((array, 0), (panel, 3))]
        given = [data[0], args[1], args[2], data[1], *args[4:]]
        _emit(builder, array.dtype, given, height, vectors)
        return context.get_dummy_value()

    indices = [types.int64] * len(numbers)
    return types.void(array, *indices[:2], panel, *indices[2:]), codegen


@intrinsic
def update_tile(
    typingctx: Any, matrix: Any, at: Any, pitch: Any, panel: Any, left: Any, right: Any, step: Any, depth: Any
) -> Any:
    """Subtract from the tile whose first entry is matrix[at]; left and right are its row and column in the panel."""
    return _typed(matrix, panel, (at, pitch, left, right, step, depth), HEIGHT, VECTORS)


@intrinsic
def update_row(
    typingctx: Any, matrix: Any, at: Any, pitch: Any, panel: Any, left: Any, right: Any, step: Any, depth: Any
) -> Any:
    """The same for one row of `ROW_VECTORS` vectors."""
    return _typed(matrix, panel, (at, pitch, left, right, step, depth), 1, ROW_VECTORS)


@intrinsic
def follow(
    typingctx: Any, panel: Any, base: Any, weight: Any, diagonal: Any, bias: Any, score: Any, scale: Any, change: Any,
    floor: Any, count: Any,
) -> Any:  # fmt: skip
    """Bring all columns up to date after a pivot whose row `own` starts at panel[base], and return the least score.

    own *= scale; weight -= own * change; diagonal = max(diagonal - own^2, floor); score = weight^2 / diagonal + bias:
    as many whole vectors as hold `count` entries.
    """
    arrays = (panel, weight, diagonal, bias, score)
    for array in arrays:
        if array.ndim != 1 or array.layout != "C" or array.dtype not in (types.float32, types.float64):
            raise TypingError(f"expected contiguous float32 or float64 vectors, got {array}")
    dtype = panel.dtype

    def codegen(context: Any, builder: ir.IRBuilder, signature: Any, args: Any) -> Any:
        vector, width, fma = _vector(builder, dtype)
        given = [args[0], *args[2:6]]
        data = [context.make_array(kind)(context, builder, one).data for kind, one in zip(arrays, given, strict=True)]
        data[0] = builder.gep(data[0], [args[1]])
        scales, changes, floors = (_spread(builder, vector, width, args[k]) for k in (6, 7, 8))
        infinite = ir.Constant(vector, [float("inf")] * width)
        least = cgutils.alloca_once_value(builder, infinite)
        builder.store(infinite, least)
        number = ir.Constant(_INDEX, width)
        vectors = builder.udiv(builder.add(args[9], ir.Constant(_INDEX, width - 1)), number)
        with cgutils.for_range(builder, vectors) as loop:
            at = builder.mul(loop.index, number)
            places = [builder.bitcast(builder.gep(base, [at]), vector.as_pointer()) for base in data]
            row, w, d, b = (builder.load(place, align=dtype.bitwidth // 8) for place in places[:4])
            row = builder.fmul(row, scales)
            minus = builder.fneg(row)
            w = builder.call(fma, [minus, changes, w])
            d = builder.call(fma, [minus, row, d])
            d = builder.select(builder.fcmp_ordered(">", d, floors), d, floors)
            new = builder.fadd(builder.fdiv(builder.fmul(w, w), d), b)
            old = builder.load(least)
            builder.store(builder.select(builder.fcmp_ordered("<", new, old), new, old), least)
            for value, k in ((row, 0), (w, 1), (d, 2), (new, 4)):
                builder.store(value, places[k], align=dtype.bitwidth // 8)
        total = builder.load(least)
        result = builder.extract_element(total, ir.Constant(ir.IntType(32), 0))
        for k in range(1, width):
            other = builder.extract_element(total, ir.Constant(ir.IntType(32), k))
            result = builder.select(builder.fcmp_ordered("<", other, result), other, result)
        return result

    return dtype(panel, types.int64, *arrays[1:], dtype, dtype, dtype, types.int64), codegen


@intrinsic
def only(typingctx: Any, score: Any, value: Any, count: Any) -> Any:
    """Return the one place of a value among `count` scores, or -1 if it occurs more often; NaN behind is no match."""
    if score.ndim != 1 or score.layout != "C" or score.dtype not in (types.float32, types.float64):
        raise TypingError(f"expected a contiguous float32 or float64 vector, got {score}")
    dtype = score.dtype

    def codegen(context: Any, builder: ir.IRBuilder, signature: Any, args: Any) -> Any:
        vector, width, _ = _vector(builder, dtype)
        base = context.make_array(score)(context, builder, args[0]).data
        wanted = _spread(builder, vector, width, args[1])
        zero, number = ir.Constant(_INDEX, 0), ir.Constant(_INDEX, width)
        found, place = (cgutils.alloca_once_value(builder, zero) for _ in range(2))
        builder.store(zero, found)
        vectors = builder.udiv(builder.add(args[2], ir.Constant(_INDEX, width - 1)), number)
        with cgutils.for_range(builder, vectors) as loop:
            at = builder.mul(loop.index, number)
            some = builder.load(
                builder.bitcast(builder.gep(base, [at]), vector.as_pointer()), align=dtype.bitwidth // 8
            )
            equal = builder.bitcast(builder.fcmp_ordered("==", some, wanted), ir.IntType(width))
            bits = builder.zext(equal, _INDEX)
            builder.store(builder.add(builder.load(found), builder.ctpop(bits)), found)
            here = builder.add(at, builder.cttz(bits, ir.Constant(ir.IntType(1), 0)))
            builder.store(builder.select(builder.icmp_unsigned("!=", bits, zero), here, builder.load(place)), place)
        single = builder.icmp_unsigned("==", builder.load(found), ir.Constant(_INDEX, 1))
        return builder.select(single, builder.load(place), ir.Constant(_INDEX, -1))

    return types.int64(score, dtype, types.int64), codegen


def _column(read: bool) -> Any:
    """Make the intrinsic that copies between `count` entries one pitch apart and as many side by side.

    Left to itself LLVM gathers and scatters such entries, which is slow on many processors: so each is moved alone.
    """

    def typed(array: Any) -> Any:
        if array.ndim != 1 or array.layout != "C" or array.dtype not in (types.float32, types.float64):
            raise TypingError(f"expected contiguous float32 or float64 vectors, got {array}")

        def codegen(context: Any, builder: ir.IRBuilder, signature: Any, args: Any) -> Any:
            vector, width, _ = _vector(builder, array.dtype)
            size = array.dtype.bitwidth // 8
            apart, beside = (
                builder.gep(context.make_array(array)(context, builder, args[k]).data, [args[k + 1]]) for k in (0, 3)
            )
            with cgutils.for_range(builder, builder.udiv(args[5], ir.Constant(_INDEX, width))) as loop:
                start = builder.mul(loop.index, ir.Constant(_INDEX, width))
                place = builder.bitcast(builder.gep(beside, [start]), vector.as_pointer())
                value = ir.Constant(vector, ir.Undefined) if read else builder.load(place, align=size)
                for k in range(width):
                    row = builder.mul(builder.add(start, ir.Constant(_INDEX, k)), args[2])
                    single, at = builder.gep(apart, [row]), ir.Constant(ir.IntType(32), k)
                    if read:
                        value = builder.insert_element(value, builder.load(single), at)
                    else:
                        builder.store(builder.extract_element(value, at), single)
                if read:
                    builder.store(value, place, align=size)
            return builder.mul(builder.udiv(args[5], ir.Constant(_INDEX, width)), ir.Constant(_INDEX, width))

        index = types.int64
        return index(array, index, index, array, index, index), codegen

    return typed


@intrinsic
def get_column(typingctx: Any, matrix: Any, at: Any, pitch: Any, line: Any, base: Any, count: Any) -> Any:
    """Copy matrix[at + k * pitch] to line[base + k] for whole vectors of k < count; returns how many that were."""
    return _column(read=True)(matrix)


@intrinsic
def put_column(typingctx: Any, matrix: Any, at: Any, pitch: Any, line: Any, base: Any, count: Any) -> Any:
    """Copy line[base + k] to matrix[at + k * pitch] for whole vectors of k < count; returns how many that were."""
    return _column(read=False)(matrix)

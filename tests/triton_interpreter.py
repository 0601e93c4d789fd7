"""Runs this session's Triton kernels in Triton's interpreter, in Python on the CPU, where there is no GPU to run them.

The interpreter is mended first, as it computes some things otherwise than a GPU without a word:

    bfloat16    is held as integers of 16 bits, whose products and sums it takes; conversion to it loses carries.
                Here conversion rounds to the nearest, products are those of the values, and whatever else would
                calculate with such integers raises an error.
    TF32        is ignored. Here a product that is to be made in TF32 cuts off what its operands have beyond 10 bits of
                mantissa, as the tensor cores may: kernels that do not round before are found out.
    products    are NumPy's, whose order of sums depends on the shape. Here they are summed one after the other, as on a
                GPU in float32.
    maximum     of a number and NaN is NaN. Here it is the number, as on a GPU.

It is also made several times as fast: it would prepare the whole language anew at every call of a function within a
kernel, compute whether integers overflow to forget the answer, and describe the same shapes at every operation.
"""

import functools
import os
import types

import numpy as np
import torch


def begin() -> None:
    """Imports the backend so that it runs in the interpreter, unless there is a GPU; call it before any other import.

    What is imported later, or run in another process, knows nothing of the interpreter.
    """
    if torch.cuda.device_count() > 0:
        return
    before = os.environ.get("TRITON_INTERPRET")
    os.environ["TRITON_INTERPRET"] = "1"
    try:
        from strf_cuda.backends import triton as backend

        if backend.why_not() is None:
            _mend()
            import triton.experimental.gluon  # noqa: F401, which Triton imports at its first launch

            from strf_cuda.backends.triton_kernels import launches  # noqa: F401
    finally:
        if before is None:
            del os.environ["TRITON_INTERPRET"]


def _mend() -> None:
    import triton.language as tl
    from triton.runtime import interpreter

    patch_language = interpreter._patch_lang
    language = types.SimpleNamespace(__globals__={"tl": tl, "core": tl.core})

    def patch_once(kernel):
        """For a whole launch; the functions that a kernel calls find the language patched."""
        scope = patch_language(language)
        # Triton 3.6 asks this of an array, not of its only element, which NumPy 2.4 refuses.
        scope.set_attr(tl.tensor, "__index__", lambda self: int(self.handle.data.item()))
        return scope

    interpreter._patch_lang = patch_once
    interpreter.InterpretedFunction.__call__ = lambda self, *args, **kwargs: self.rewrite()(*args, **kwargs)
    interpreter.interpreter_builder.__class__ = _mended_builder(tl, interpreter)
    interpreter.interpreter_builder.options = interpreter.InterpreterOptions(sanitize_overflow=False)
    check_tensor = interpreter.ReduceScanOpInterface.check_tensor

    def check_reduced(self, tensors):
        _refuse_bfloat16(tl, *(tensor.handle for tensor in tensors))
        check_tensor(self, tensors)

    interpreter.ReduceScanOpInterface.check_tensor = check_reduced
    of_scalars, addresses = functools.cache(interpreter._get_np_dtype), np.dtype(np.uint64)
    interpreter._get_np_dtype = lambda type: addresses if type.scalar.is_ptr() else of_scalars(type.scalar)
    _describe_shapes_once(tl.core)


def _describe_shapes_once(core) -> None:
    """What tensors and their types say of their shape, made once for each shape."""

    @functools.cache
    def described(shape: tuple[int, ...]):
        if not shape:
            raise TypeError("a block has at least one dimension")
        numel = core.validate_block_shape(shape)
        return core.tuple(shape), numel, core.constexpr(numel), core.tuple([core.constexpr(size) for size in shape])

    scalar = core.constexpr(1), core.tuple([])

    def begin_type(self, element_ty, shape):
        self.element_ty = element_ty
        sizes = tuple(size.value if isinstance(size, core.constexpr) else size for size in shape)
        self.shape, self.numel, *self.of_tensors = described(sizes)

    def begin_tensor(self, handle, type):
        self.handle, self.type, self.dtype = handle, type, type.scalar
        self.numel, self.shape = type.of_tensors if type.is_block() else scalar

    def equal(self, other):
        return core.constexpr(self.values == [getattr(size, "value", size) for size in other])

    core.tuple.__eq__ = equal
    core.block_type.name = property(lambda self: f"<{self.shape}, {self.element_ty}>")
    core.block_type.__init__, core.tensor.__init__ = begin_type, begin_tensor


def _refuse_bfloat16(tl, *handles) -> None:
    if any(handle.dtype.scalar == tl.bfloat16 for handle in handles):
        raise NotImplementedError("the interpreter cannot calculate with bfloat16; convert it to float32 first")


def _cut_off(numbers: np.ndarray) -> np.ndarray:
    return (numbers.view(np.uint32) & np.uint32(0xFFFFE000)).view(np.float32)


def _mended_builder(tl, interpreter):
    """The class of the object that carries out the operations of the language."""

    class Builder(interpreter.InterpreterBuilder):
        def cast_impl(self, src, dst_type):
            if tl.bfloat16 not in (src.dtype.scalar, dst_type.scalar):
                return super().cast_impl(src, dst_type)
            source = torch.from_numpy(np.ascontiguousarray(src.data))
            if src.dtype.scalar == tl.bfloat16:
                data = source.view(torch.bfloat16).float().numpy()
            else:
                data = source.bfloat16().view(torch.uint16).numpy()
            return interpreter.TensorHandle(data.astype(interpreter._get_np_dtype(dst_type)), dst_type.scalar)

        def create_dot(self, a, b, d, input_precision, max_num_imprecise_acc):
            a, b = (self.cast_impl(operand, d.dtype).data for operand in (a, b))
            if d.dtype.scalar == tl.float32 and input_precision == interpreter._ir.INPUT_PRECISION.TF32:
                a, b = _cut_off(a), _cut_off(b)
            total = d.data.copy()
            for k in range(len(b)):
                total += a[:, k, None] * b[k]
            return interpreter.TensorHandle(total, d.dtype.scalar)

        def binary_op(self, lhs, rhs, op):
            _refuse_bfloat16(tl, lhs, rhs)
            return super().binary_op(lhs, rhs, op)

        def create_fma(self, x, y, z):
            _refuse_bfloat16(tl, x, y, z)
            return super().create_fma(x, y, z)

        def create_fabs(self, arg):
            _refuse_bfloat16(tl, arg)
            return super().create_fabs(arg)

        def create_maxnumf(self, lhs, rhs):
            return self.binary_op(lhs, rhs, np.fmax)

        def create_minnumf(self, lhs, rhs):
            return self.binary_op(lhs, rhs, np.fmin)

    return Builder

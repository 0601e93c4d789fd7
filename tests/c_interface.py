"""The structures of csrc/strf.h for ctypes."""

import ctypes


class Pool(ctypes.Structure):
    _fields_ = [(name, ctypes.c_int32) for name in ("frames", "height", "width", "kind")]


class Problem(ctypes.Structure):
    _fields_ = [
        *[(name, ctypes.c_int64) for name in ("batch", "channels", "frames", "height", "width", "reduced")],
        ("paths", ctypes.c_int32),
        ("pools", Pool * 4),
        ("temperature", ctypes.c_double),
        ("type", ctypes.c_int32),
        ("layout", ctypes.c_int32),
        ("tf32", ctypes.c_int32),
        ("similarity", ctypes.c_int32),
    ]

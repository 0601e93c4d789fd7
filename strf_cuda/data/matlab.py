"""Matrices of whole numbers from MATLAB files."""

from pathlib import Path

import numpy as np

from strf_cuda.contents import in_its_place
from strf_cuda.data.indexing import and_more
from strf_cuda.errors import InputError


def read_matrix(path: Path, variable: str) -> np.ndarray:
    """The whole numbers of one variable, as int64.

    Raises:
        InputError: the file is damaged, does not hold the variable, or holds something else in it.
    """
    from scipy.io import (
        loadmat,  # takes a quarter of a second, which commands that read no MATLAB file need not wait for
    )

    try:
        contents = loadmat(path)
    except Exception as error:  # scipy raises a different type for every way in which a file can be damaged
        if found := in_its_place(path, or_text=True):
            raise InputError(f"{path} is no MATLAB file but {found}") from error
        raise InputError(f"{path} cannot be read as a MATLAB file: {' '.join(str(error).split())}") from error
    if variable not in contents:
        found = ", ".join(key for key in contents if not key.startswith("__")) or "nothing"
        raise InputError(f"{path} must hold the variable {variable}, but holds {found}")
    matrix = contents[variable]
    if not np.issubdtype(matrix.dtype, np.number):
        raise InputError(f"{variable} in {path} must hold whole numbers, but is of type {matrix.dtype}")
    broken = matrix[matrix != np.round(matrix)]
    if len(broken):
        raise InputError(f"{variable} in {path} must hold whole numbers, but holds {broken[0]}{and_more(len(broken))}")
    if not matrix.size:
        raise InputError(f"{variable} in {path} is empty")
    return matrix.astype(np.int64)

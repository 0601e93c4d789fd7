"""How vectors become codes: projection, inverted lists, quantiser; what is chosen for how many rows, and the training.

    y = R P x              P [D, F]: the leading eigenvectors of E[x x^T]; R [D, D]: a random rotation, for "pq" alone
    list of y              of the lists' centres, unit vectors, the one with the largest product
    code of y              "pq": y - centre in parts of D / bytes numbers, each the nearest of 256 (Jégou, Douze and
                           Schmid, "Product Quantization for Nearest Neighbor Search", PAMI 2011)
                           "sq8": each number of y in 8 bits

The mean is not taken away before P: so y_1 y_2 is the cosine of x_1 and x_2 but for what P leaves out, and 1 - y_1 y_2
their distance. R spreads the variance, which P orders, over the parts; a learned rotation (OPQ, Ge et al., CVPR 2013)
found 62.0% of the ten nearest where this one found 60.6%, and took three times the training.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from strf_cuda.errors import InputError
from strf_cuda.retrieval.faiss_library import load_faiss, threads_of_faiss

FEWEST_ROWS = 1_000  # to train anything on
ROWS_WORTH_IT = 20_000  # below, exact search answers in milliseconds too
# What a projection leaves out no code brings back; with so many bits for a number it is what limits "sq8".
_DIMENSIONS = {"pq": 256, "sq8": 512}
_FEWEST_READ = 16_384  # rows, unless there are fewer: so many are compared in a fraction of a millisecond
_CENTRES_OF_PQ = 256
_PROJECTION_ROWS = 20_000
_ROWS_A_LIST = 40  # of the training sample
# FAISS's k-means on the parts of a product quantiser is several times slower on fewer rows than on these.
_PQ_ROWS = 65_536
_LIST_ITERATIONS = 10
_PQ_ITERATIONS = 16


@dataclass(frozen=True)
class CodeSettings:
    """How rows are coded.

    Attributes:
        codes: "pq" (product quantisation) or "sq8" (8 bits for each number).
        dimensions: numbers D that the projection leaves of a vector.
        bytes: of a row's code.
        lists: inverted lists, of which a search reads a few.
        probes: how many it reads unless told otherwise.
        seed: of the training sample and all that is random.
    """

    codes: Literal["pq", "sq8"]
    dimensions: int
    bytes: int
    lists: int
    probes: int
    seed: int = 0


def choose_settings(
    rows: int,
    size: int,
    *,
    codes: Literal["pq", "sq8"] = "pq",
    dimensions: int | None = None,
    code_bytes: int | None = None,
    lists: int | None = None,
    seed: int = 0,
) -> CodeSettings:
    """Settings for so many rows of vectors of length `size`; what is None is chosen.

    Raises:
        InputError: too few rows, or settings that do not go together.
    """
    if rows < FEWEST_ROWS:
        raise InputError(
            f"there are {rows:,} embeddings, but a compressed gallery is trained on {FEWEST_ROWS:,} or more: search "
            "the embeddings file itself, exactly"
        )
    dimensions = min(_DIMENSIONS[codes], size) if dimensions is None else dimensions
    if not 1 <= dimensions <= size:
        raise InputError(f"dimensions is {dimensions}, but it must be between 1 and the embeddings' {size}")
    if codes == "sq8":
        if code_bytes not in (None, dimensions):
            raise InputError(f"bytes is {code_bytes}, but codes sq8 take a byte a dimension, {dimensions}")
        code_bytes = dimensions
    elif code_bytes is None:
        code_bytes = next(count for count in range(max(1, dimensions // 4), 0, -1) if dimensions % count == 0)
    elif code_bytes < 1 or dimensions % code_bytes:
        raise InputError(f"bytes is {code_bytes}, but it must divide the dimensions, {dimensions}")
    # A power of two near 2 sqrt(rows): a query meets about as many centres as it reads codes of a few lists.
    lists = 1 << math.floor(math.log2(2 * math.sqrt(rows))) if lists is None else lists
    if not 1 <= lists <= rows // 10:
        raise InputError(f"lists is {lists}, but with {rows:,} embeddings it must be between 1 and {rows // 10}")
    probes = min(lists, max(lists // 8, _ceiling(lists * _FEWEST_READ, rows)))
    return CodeSettings(codes, dimensions, code_bytes, lists, probes, seed)


def rows_to_train_on(settings: CodeSettings) -> tuple[int, int]:
    """Rows of the samples for the projection and for the lists and codes."""
    return _PROJECTION_ROWS, max(_ROWS_A_LIST * settings.lists, _PQ_ROWS)


def train(
    sample: Callable[[int, int], Iterator[np.ndarray]],
    size: int,
    settings: CodeSettings,
    *,
    threads: int | None = None,
    tell: Callable[[str], None] = lambda step: None,
) -> tuple[Any, dict[str, Any]]:
    """Learns projection, lists and quantiser.

    Args:
        sample: called with a number of rows and a seed; gives so many random rows, or all there are, in blocks
            float32 [n, size].
        threads: of FAISS, for the lists; the codes are trained in one.
        tell: called with the name of each step that begins.

    Returns:
        A `faiss.IndexPreTransform` of a projection and an inverted file without rows, and what it was trained on.
    """
    faiss = load_faiss()
    projection_rows, rows = rows_to_train_on(settings)
    tell("projection")
    matrix, share, used = _projection(sample(projection_rows, settings.seed), size, settings)
    projection = faiss.LinearTransform(size, settings.dimensions, False)
    faiss.copy_array_to_vector(matrix.ravel(), projection.A)
    projection.is_trained = True
    tell("lists")
    with threads_of_faiss(threads):
        points = np.concatenate([projection.apply(block) for block in sample(rows, settings.seed + 1)])
        centres = _centres(points, settings)
    tell("codes")
    # Its steps are so short that several threads spend more time on waiting for each other than on them.
    with threads_of_faiss(1):
        inverted = _inverted_file(centres, settings)
        inverted.train(points)
    projection.this.disown()
    inverted.this.disown()
    index = faiss.IndexPreTransform(projection, inverted)
    index.own_fields = True
    trained_on = {
        "projection_rows": used,
        "rows": len(points),
        "list_iterations": _LIST_ITERATIONS,
        "code_iterations": _PQ_ITERATIONS if settings.codes == "pq" else 0,
        "share_of_squared_length_kept": share,
        "faiss": faiss.__version__,
    }
    return index, trained_on


def _projection(blocks: Iterator[np.ndarray], size: int, settings: CodeSettings) -> tuple[np.ndarray, float, int]:
    """R P [D, F], the share of the vectors' squared length that it keeps, and the number of rows it was made from."""
    moments, rows = np.zeros((size, size)), 0
    for block in blocks:
        moments += block.T @ block
        rows += len(block)
    values, vectors = np.linalg.eigh((moments / rows).astype(np.float32))
    matrix = vectors[:, ::-1][:, : settings.dimensions].T
    share = float(values[::-1][: settings.dimensions].sum() / values.sum())
    if settings.codes == "pq":
        random = np.random.default_rng(settings.seed)
        rotation = np.linalg.qr(random.standard_normal((settings.dimensions, settings.dimensions)))[0]
        matrix = rotation @ matrix
    return np.ascontiguousarray(matrix, dtype=np.float32), share, rows


def _centres(points: np.ndarray, settings: CodeSettings) -> Any:
    faiss = load_faiss()
    centres = faiss.IndexFlatIP(settings.dimensions)
    clustering = faiss.Clustering(settings.dimensions, settings.lists)
    clustering.spherical = True
    clustering.niter = _LIST_ITERATIONS
    clustering.seed = settings.seed + 1
    clustering.max_points_per_centroid = _ceiling(len(points), settings.lists)
    clustering.min_points_per_centroid = 1
    clustering.train(points, centres)
    return centres


def _inverted_file(centres: Any, settings: CodeSettings) -> Any:
    faiss = load_faiss()
    product, dimensions, lists = faiss.METRIC_INNER_PRODUCT, settings.dimensions, settings.lists
    if settings.codes == "pq":
        inverted = faiss.IndexIVFPQ(centres, dimensions, lists, settings.bytes, 8, product)
        inverted.pq.cp.niter = _PQ_ITERATIONS
        inverted.pq.cp.seed = settings.seed + 1
        inverted.pq.cp.max_points_per_centroid = _PQ_ROWS // _CENTRES_OF_PQ
        inverted.pq.cp.min_points_per_centroid = 1
    else:
        kind = faiss.ScalarQuantizer.QT_8bit
        inverted = faiss.IndexIVFScalarQuantizer(centres, dimensions, lists, kind, product, False)
    centres.this.disown()
    inverted.own_fields = True
    return inverted


def _ceiling(count: int, parts: int) -> int:
    return -(-count // parts)

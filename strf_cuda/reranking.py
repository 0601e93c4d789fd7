"""Re-ranking with k-reciprocal encoding (Zhong et al., CVPR 2017, arXiv:1701.08398).

Two tracklets are alike when they have the same neighbours, and a neighbour counts when it is one both ways. Every
tracklet is encoded as a sparse vector over all tracklets, weights of its reciprocal neighbours, and the Jaccard
distance of two encodings is mixed with the plain distance. Where the paper leaves a choice, or the authors' code
(github.com/zhunzhong07/person-re-ranking), from which published figures come, differs from it, this follows the code;
docs/protocol.md lists these places.
"""

from collections.abc import Iterator, Sequence

import numpy as np
from scipy.sparse import csr_array
from tqdm import tqdm

from strf_cuda.errors import InputError
from strf_cuda.ordering import smallest

CELLS_PER_BLOCK = 1 << 24  # similarities held at once, of some rows: 64 MB


def rerank(
    features: np.ndarray,
    queries: Sequence[int] | np.ndarray,
    gallery: Sequence[int] | np.ndarray,
    *,
    k1: int = 20,
    k2: int = 6,
    plain_share: float = 0.3,
    progress: bool = False,
) -> np.ndarray:
    """Re-ranked distances between queries and gallery.

    All tracklets are neighbours of each other, queries and gallery alike, and each is listed once: a tracklet that is
    a query and stands in the gallery too would otherwise be its own nearest neighbour. So this takes features, and
    needs no matrix of distances between all tracklets: a block of its rows at a time is enough, and memory grows with
    the number of tracklets times k1 and with queries times gallery.

    Args:
        features: [N, F] of all tracklets, compared by 1 - cos.
        queries: indices [Q] into features.
        gallery: indices [G] into features; may hold queries.
        k1: a tracklet's neighbours are itself and the k1 nearest others, equally near ones by index.
        k2: encodings are averaged over a tracklet and its k2 - 1 nearest others; 1 leaves them as they are.
        plain_share: lambda, 0 to 1: the plain distance's share in the result, the Jaccard distance has the rest.
        progress: show a bar where stderr is a terminal.

    Returns:
        float32 [Q, G], smaller is more alike, 0 to 1.

    Raises:
        InputError: features that are no numbers or no matrix, or a k or a share out of range.
    """
    features = np.asarray(features)
    if features.ndim != 2:
        raise InputError(f"features must be tracklets x size, but their shape is {list(features.shape)}")
    if k1 < 1 or k2 < 1:
        raise InputError(f"k1 is {k1} and k2 {k2}, but both must be at least 1")
    if not 0 <= plain_share <= 1:
        raise InputError(f"plain_share is {plain_share}, but it must be between 0 and 1")
    wrong = np.flatnonzero(~np.isfinite(features).all(1))
    if len(wrong):
        raise InputError(f"the features of tracklet {wrong[0]} are not finite numbers, so it has no neighbours")
    queries, gallery = np.asarray(queries), np.asarray(gallery)
    unit = _unit_length(features)
    nearest, largest = _nearest(unit, max(k1, k2 - 1), progress)
    encodings = _encode(unit, nearest[:, : k1 + 1], largest, k1)
    if k2 > 1:
        near = nearest[:, :k2]
        encodings = _indicator(near) / near.shape[1] @ encodings
    distances = _jaccard(encodings[queries], encodings[gallery])
    distances *= 1 - plain_share
    for rows in _blocks(len(queries), len(gallery)):
        plain = _distance(unit[queries[rows]] @ unit[gallery].T) / largest[queries[rows], None]
        distances[rows] += plain_share * plain
    return distances


def _unit_length(features: np.ndarray) -> np.ndarray:
    """float32 features of length 1; zero stays zero."""
    features = features.astype(np.float32)
    features /= np.maximum(np.linalg.norm(features, axis=1, keepdims=True), np.finfo(np.float32).tiny)
    return features


def _distance(similarity: np.ndarray) -> np.ndarray:
    """1 - cos, without the negative ones of rounding."""
    return np.maximum(1 - similarity, 0)


def _blocks(rows: int, columns: int) -> Iterator[slice]:
    step = max(1, CELLS_PER_BLOCK // columns)
    return (slice(start, min(start + step, rows)) for start in range(0, rows, step))


def _nearest(unit: np.ndarray, k: int, progress: bool) -> tuple[np.ndarray, np.ndarray]:
    """Each tracklet and its k nearest others [N, k + 1], nearest first, and its largest distance to any [N].

    Where all distances of a tracklet are rounding the largest is given as 1, which leaves them next to nothing.
    """
    count = len(unit)
    k = min(k, count - 1)
    nearest, largest = np.empty((count, k + 1), np.int64), np.empty(count, np.float32)
    blocks = list(_blocks(count, count))
    for rows in tqdm(blocks, desc="re-ranking", unit="block", disable=None if progress else True, leave=False):
        opposite = -unit[rows] @ unit.T  # -cos, which rounding leaves finer than 1 - cos
        largest[rows] = 1 + opposite.max(1)
        opposite[np.arange(len(opposite)), np.arange(rows.start, rows.stop)] = -np.inf
        _, column, _ = smallest(opposite, k + 1)
        nearest[rows] = column.reshape(-1, k + 1)
    return nearest, np.where(largest > 1e-6, largest, 1)


def _encode(unit: np.ndarray, nearest: np.ndarray, largest: np.ndarray, k1: int) -> csr_array:
    """The encodings [N, N]: rows of weights exp(-d) of the expanded reciprocal neighbours, with sum 1."""
    reciprocal = _reciprocal(nearest)
    half = _reciprocal(nearest[:, : round(k1 / 2) + 1])
    # A neighbour's own reciprocal neighbours join, at half of k1, if more than two thirds of them are there already.
    shared = (reciprocal @ half.T).multiply(reciprocal).tocoo()
    joins = 3 * shared.data > 2 * half.sum(1)[shared.col]
    joining = csr_array((shared.data[joins], (shared.row[joins], shared.col[joins])), shape=shared.shape)
    encodings = (reciprocal + joining @ half).astype(np.float64)
    row, column = encodings.nonzero()
    distance = np.empty(len(row), np.float32)
    for pairs in _blocks(len(row), 2 * unit.shape[1]):
        distance[pairs] = _distance(np.einsum("ij,ij->i", unit[row[pairs]], unit[column[pairs]]))
    weights = np.where(row == column, 1.0, np.exp(-distance / largest[row]))
    totals = np.bincount(row, weights, minlength=len(unit))
    return csr_array((weights / totals[row], (row, column)), shape=encodings.shape)


def _reciprocal(nearest: np.ndarray) -> csr_array:
    """1 where each of two tracklets is among the other's nearest."""
    near = _indicator(nearest)
    return near.multiply(near.T).tocsr()


def _indicator(nearest: np.ndarray) -> csr_array:
    """1 in row i and the columns nearest[i]."""
    count, width = nearest.shape
    rows = np.arange(0, count * width + 1, width)
    return csr_array((np.ones(count * width, np.int64), nearest.ravel(), rows), shape=(count, count))


def _jaccard(queries: csr_array, gallery: csr_array) -> np.ndarray:
    """1 - (sum of the smaller weights) / (sum of the larger ones), float32 [Q, G], of encodings with sum 1."""
    columns = gallery.T.tocsr()
    distances = np.empty((queries.shape[0], gallery.shape[0]), np.float32)
    for query, out in enumerate(distances):
        entries = slice(queries.indptr[query], queries.indptr[query + 1])
        held = columns[queries.indices[entries]]  # by whom the query's neighbours are held, and how much
        smaller = np.minimum(held.data, np.repeat(queries.data[entries], np.diff(held.indptr)))
        overlap = np.minimum(np.bincount(held.indices, smaller, minlength=len(out)), 1)
        out[:] = 1 - overlap / (2 - overlap)
    return distances

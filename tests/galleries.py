"""Embeddings of people who do not exist, for the tests of what is searched."""

import numpy as np

from strf_cuda.embeddings import Embeddings, encode_paths

CAMERAS = (1, 2, 5)


def unit(vectors):
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def make_embeddings(rows, size=32, *, people=7, seed=0, fingerprint="0" * 64):
    """Embeddings [rows, size] of `people` and of people whom nobody knows, an hour of each camera."""
    random = np.random.default_rng(seed)
    start = random.uniform(0, 3600, rows)
    paths, ends = encode_paths([[f"{row}/{frame}.jpg" for frame in range(1 + row % 3)] for row in range(rows)])
    return Embeddings(
        vectors=unit(random.standard_normal((rows, size))),
        persons=random.integers(-1, people, rows),
        cameras=random.choice(CAMERAS, rows),
        frames=1 + np.arange(rows) % 3,
        start=start,
        end=start + random.uniform(1, 60, rows),
        lists=np.full(rows, 4, np.uint8),
        paths=paths,
        path_ends=ends,
        description={"fingerprint": fingerprint},
    )

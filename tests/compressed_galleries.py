"""Small compressed galleries, for the tests of what builds and searches them."""

import dataclasses

import numpy as np

from galleries import make_embeddings, unit
from strf_cuda.embeddings import write_embeddings
from strf_cuda.retrieval.building import build_index
from strf_cuda.retrieval.coding import choose_settings
from strf_cuda.retrieval.streams import FileStream

SIZE = 32
ROWS = (900, 0, 700)  # of three files


def clustered(rows, seed, people=200):
    """Embeddings [rows, SIZE] of people whose tracklets resemble each other."""
    made = make_embeddings(rows, SIZE, people=people, seed=seed)
    known = np.random.default_rng(99).standard_normal((people + 1, SIZE))
    return dataclasses.replace(made, vectors=unit(known[made.persons] + 0.8 * made.vectors * np.sqrt(SIZE)))


def write_files(folder):
    """Three embeddings files, one of them empty; their paths and what they hold."""
    paths, made = [], []
    for number, rows in enumerate(ROWS):
        paths.append(folder / f"{number}.safetensors")
        made.append(clustered(rows, seed=number))
        write_embeddings(paths[-1], made[-1])
    return paths, made


def build(paths, out, codes="pq", **options):
    """The folder of a gallery with 16 lists."""
    stream = FileStream(paths)
    settings = choose_settings(len(stream), stream.size, codes=codes, lists=16)
    return build_index(stream, out, settings, threads=1, **options)

"""Embeddings of whole data sets, folders and videos, written into one file."""

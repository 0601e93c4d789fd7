"""Builds and installs strf_cuda; what it is and needs stands in pyproject.toml."""

from setuptools import setup

setup()

"""Builds and installs strf_cuda; what it is and needs stands in pyproject.toml."""

from setuptools import setup
from setuptools.command.install import install


class Install(install):
    """`python setup.py install` copies the package and no dependencies, which setuptools 65 would fetch as eggs."""

    def run(self) -> None:
        self.single_version_externally_managed = True
        super().run()


setup(cmdclass={"install": Install})

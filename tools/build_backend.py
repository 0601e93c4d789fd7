"""The build backend that pip calls: setuptools, asking for CMake and ninja where the machine has none.

torch is not asked for: pip would download gigabytes into the isolated environment. setup.py finds the one installed.
"""

import shutil

from setuptools import build_meta
from setuptools.build_meta import *  # noqa: F403


def _missing_tools() -> list[str]:
    return [tool for tool in ("cmake", "ninja") if shutil.which(tool) is None]


def get_requires_for_build_wheel(config_settings=None) -> list[str]:
    return build_meta.get_requires_for_build_wheel(config_settings) + _missing_tools()


def get_requires_for_build_editable(config_settings=None) -> list[str]:
    return build_meta.get_requires_for_build_editable(config_settings) + _missing_tools()

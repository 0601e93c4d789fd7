"""How Sphinx makes the site of these pages: `make docs`, into build/docs. Nothing is fetched, nor when it is read."""

from strf_cuda import __version__

project = "strf_cuda"
author = "the strf_cuda authors"
version = release = __version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
myst_heading_anchors = 4
exclude_patterns = ["images"]
nitpicky = True
nitpick_ignore_regex = [("py:.*", r"(collections|os|pathlib|numpy|torch)\..*")]  # have pages of their own, on the net

autodoc_member_order = "bysource"
autodoc_typehints = "description"
autodoc_typehints_description_target = "documented"
default_role = "code"  # docstrings write names between single backticks

html_theme = "furo"
html_title = "strf_cuda"
html_copy_source = False

"""How Sphinx makes the site of these pages: `make docs`, into build/docs. Nothing is fetched, nor when it is read."""

import re

from docutils import nodes

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

smartquotes = False  # quotes stand around what is typed as well
html_show_copyright = False
html_theme = "furo"
html_title = "strf_cuda"
html_copy_source = False


def name_pages(app, doctree, docname):
    """A link that shows the file of a page, as on a code host, shows the page's title on the site."""
    for link in doctree.findall(nodes.reference):
        page = re.fullmatch(r"(\w+)\.md", link.astext())
        if page and page[1] in app.env.titles:
            link.clear()
            link += nodes.inline("", app.env.titles[page[1]].astext())


def setup(app):
    app.connect("doctree-resolved", name_pages)
    return {"parallel_read_safe": True, "parallel_write_safe": True}

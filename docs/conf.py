"""Sphinx's settings: MyST for the written pages, autodoc for the rooms, furo; nothing from a network."""

from __future__ import annotations

from typing import Any

from docutils import nodes

from strongticket._version import __version__

project = "strongticket"
author = "The strongticket developers"
copyright = author
version = release = __version__

extensions = ["myst_parser", "sphinx.ext.autodoc"]
exclude_patterns: list[str] = []
suppress_warnings = ["ref.python"]  # a type named in a signature that two rooms have: it is left without a link
nitpicky = False
smartquotes = False  # "..." and quotes stay what the code says

myst_enable_extensions = ["deflist", "colon_fence"]
myst_heading_anchors = 3

autodoc_member_order = "bysource"
autodoc_preserve_defaults = True
autodoc_typehints = "signature"
autodoc_class_signature = "mixed"
python_maximum_signature_line_length = 150
python_use_unqualified_type_names = True
add_module_names = False
toc_object_entries = False  # names are listed on top of each page instead: thousands of entries cost half of the time

html_theme = "furo"
html_title = "strongticket"
html_static_path = ["static"]
html_css_files = ["site.css"]
html_show_sphinx = False
html_copy_source = False
html_show_sourcelink = False
pygments_style = "default"


def setup(app: Any) -> dict[str, bool]:
    """Let docstrings be read as plain text, and part names from words by a dash as smartquotes would."""
    from generate.docstrings import connect

    connect(app)
    app.connect("doctree-read", _dashes)
    return {"parallel_read_safe": False, "parallel_write_safe": True}


def _dashes(app: Any, doctree: Any) -> None:
    del app
    for text in list(doctree.findall(nodes.Text)):
        if text.astext() == " -- ":
            text.parent.replace(text, nodes.Text(" – "))

"""Configuration of the documentation: `make docs` builds it into docs/_build/html, warnings being errors."""

from __future__ import annotations

import os
from importlib.metadata import version as installed_version

# Examples are executed while building: one thread each, and no window.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("MPLBACKEND", "Agg")

project = "sciffusion"
author = "The sciffusion authors"
copyright = "2026, The sciffusion authors"
release = version = installed_version("sciffusion")

extensions = [
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.mathjax",
    "myst_parser",
    "numpydoc",
    "sphinx_gallery.gen_gallery",
]
templates_path = ["_templates"]
exclude_patterns = ["_build", "examples"]
source_suffix = {".rst": "restructuredtext", ".md": "markdown"}
suppress_warnings = [
    "myst.header",  # a benchmark's report may skip a level of headings
    "sphinx_gallery.space_in_filename",  # it also warns when only the checkout's own path holds a space
]
myst_enable_extensions = ["deflist"]

# The public names of a package are those in its __all__, wherever they are defined.
autosummary_generate = True
autosummary_imported_members = True
autosummary_ignore_module_all = False
autodoc_typehints = "none"  # the numpydoc sections give the types, in words where that is clearer
autodoc_member_order = "bysource"
numpydoc_show_class_members = False
default_role = "code"

html_theme = "pydata_sphinx_theme"
html_title = "sciffusion"
html_show_sourcelink = False
html_theme_options = {
    "navigation_with_keys": False,
    "show_prev_next": False,
    "secondary_sidebar_items": ["page-toc"],
}

sphinx_gallery_conf = {
    "examples_dirs": "examples",
    "gallery_dirs": "auto_examples",
    "filename_pattern": r"plot_.*\.py$",
    "within_subsection_order": "FileNameSortKey",
    "plot_gallery": True,
    "download_all_examples": False,
    "show_memory": False,
    "remove_config_comments": True,
}


def leave_out_generated_members(
    app: object, what: str, name: str, member: object, skip: bool, options: object
) -> bool | None:
    """Leave out methods that scikit-learn generates for metadata routing, and those that are sktime's own."""
    generated = name == "get_metadata_routing" or (name.startswith("set_") and name.endswith("_request"))
    module = getattr(member, "__module__", None) or ""
    return True if generated or module.split(".")[0] in ("skbase", "sktime") else None


def setup(app: object) -> None:
    """Connect the function above; Sphinx calls this."""
    app.connect("autodoc-skip-member", leave_out_generated_members)

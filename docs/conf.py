"""Sphinx settings; build with ``python -m sphinx -W --keep-going -j 2 docs docs/_build/html``."""

import cfe_stack

project = "cfe_stack"
author = "The cfe_stack developers"
copyright = author
version = release = cfe_stack.__version__

extensions = [
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.mathjax",
    "sphinx.ext.viewcode",
    "numpydoc",
    "myst_parser",
    "sphinx_gallery.gen_gallery",
]
exclude_patterns = ["_build"]
templates_path = ["_templates"]
suppress_warnings = ["config.cache"]

myst_enable_extensions = ["colon_fence", "deflist", "dollarmath"]
myst_heading_anchors = 3

autodoc_typehints = "none"
toc_object_entries_show_parents = "hide"
# Methods are shown by the class template, once.
numpydoc_show_class_members = False

sphinx_gallery_conf = {
    "examples_dirs": "../examples",
    "gallery_dirs": "gallery",
    "filename_pattern": "plot_",
    "ignore_pattern": "benchmarks",
    "backreferences_dir": None,
    "capture_repr": (),
    "doc_module": ("cfe_stack",),
    "within_subsection_order": "FileNameSortKey",
    "download_all_examples": False,
    "reference_url": {"cfe_stack": None},
    "parallel": True,
    "show_memory": False,
    "write_computation_times": False,
}

html_theme = "pydata_sphinx_theme"
html_context = {"default_mode": "auto"}
html_title = f"cfe_stack {release}"
html_show_sourcelink = False
html_theme_options = {
    "navigation_with_keys": False,
    "secondary_sidebar_items": ["page-toc"],
    "show_prev_next": False,
}
html_sidebars = {"index": [], "quickstart": [], "api": []}


def is_not_ours(app, what, name, member, skip, options):
    """Return True for what a class has from scikit-learn or Python, which documents it."""
    function = getattr(member, "fget", member)
    origin = getattr(function, "__module__", None) or ""
    return skip or (what == "class" and not origin.startswith("cfe_stack"))


def setup(app):
    """Show our own methods only."""
    app.connect("autodoc-skip-member", is_not_ours)

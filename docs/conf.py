"""The site: `make docs` builds it, with every notebook executed and every link inside it checked."""

from __future__ import annotations

import os
import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))

import generated
import links

import latentode

project = "latentode"
author = "the authors of latentode"
copyright = author
version = release = latentode.__version__

extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx.ext.mathjax",
    "sphinx_copybutton",
]
source_suffix = {".md": "myst-nb", ".rst": "restructuredtext"}
exclude_patterns = ["_build", "**.ipynb_checkpoints"]
html_theme = "furo"
html_title = f"latentode {release}"
html_static_path = ["static"]
html_css_files = ["site.css"]
default_role = "literal"
suppress_warnings = ["mystnb.unknown_mime_type", "myst.header"]

# Other projects' references need the network, which a build on a closed machine has not.
if os.environ.get("DOCS_INTERSPHINX"):
    extensions.append("sphinx.ext.intersphinx")
    intersphinx_mapping = {
        "python": ("https://docs.python.org/3", None),
        "numpy": ("https://numpy.org/doc/stable", None),
        "pandas": ("https://pandas.pydata.org/docs", None),
        "sklearn": ("https://scikit-learn.org/stable", None),
        "torch": ("https://pytorch.org/docs/stable", None),
        "lightning": ("https://lightning.ai/docs/pytorch/stable", None),
    }

myst_enable_extensions = ["dollarmath", "colon_fence", "deflist"]
myst_heading_anchors = 4
myst_dmath_double_inline = True

nb_execution_mode = os.environ.get("DOCS_EXECUTION", "cache")
nb_execution_cache_path = str(HERE.parent / "build" / "notebooks")
nb_execution_raise_on_error = True
nb_execution_timeout = 300
nb_merge_streams = True
nb_output_stderr = "remove"

autodoc_typehints = "signature"
autodoc_inherit_docstrings = False  # those of Lightning speak of its own pages
autodoc_member_order = "bysource"
autodoc_preserve_defaults = True
autodoc_class_signature = "mixed"
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_custom_sections = [("Warns", "params_style")]
python_use_unqualified_type_names = True


def setup(app: object) -> None:
    """What is generated before the build, and what is checked after it."""
    generated.setup(app)
    links.setup(app)

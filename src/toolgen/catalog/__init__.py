"""In: foreign descriptions of tools.
Out: Catalog, an ordered set of Tool values with unique ids and a content hash.
"""

from toolgen.catalog.catalog import Catalog, CatalogDiff
from toolgen.catalog.text import document, views
from toolgen.catalog.tool import Tool

__all__ = ["Catalog", "CatalogDiff", "Tool", "document", "views"]

"""In: a catalog, a way to search it and environments that execute its calls.
Out: services that existing clients speak to.
"""

from toolgen.serving.gateway import Gateway

__all__ = ["Gateway"]

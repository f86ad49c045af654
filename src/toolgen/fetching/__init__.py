"""In: the name of a base model or of a raw benchmark (or a local path to it).
Out: a local folder, complete and checked, in the cache.

Needs no torch until a GGUF is to be turned into an ordinary model folder.
"""

from toolgen.fetching.artifacts import BASES, DATASETS, Artifact
from toolgen.fetching.cache import Origin, cache_folder, read_origin
from toolgen.fetching.fetcher import Via, base_names, fetch_base, fetch_dataset, resolve_base

__all__ = [
    "BASES",
    "DATASETS",
    "Artifact",
    "Origin",
    "Via",
    "base_names",
    "cache_folder",
    "fetch_base",
    "fetch_dataset",
    "read_origin",
    "resolve_base",
]

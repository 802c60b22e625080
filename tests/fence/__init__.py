"""oneDNN's calls with every array between two pages that may not be touched: see ``fence.c`` and ``__main__.py``."""

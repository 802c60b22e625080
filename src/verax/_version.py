__version__ = "0.1.0"


def version() -> str:
    """Verax's version."""
    return __version__

__version__ = "0.1.0"


def version() -> str:
    """The version, as ``verax.__version__``."""
    return __version__

"""rwsgi: a preforking WSGI application server.

The server is a command, `rwsgi` (or `python -m rwsgi`); an application needs nothing from this package.
Its decorators register functions that the server's processes call.
"""

from rwsgi.hooks import after_fork, before_fork, on_exit, warmup

__all__ = ["__version__", "after_fork", "before_fork", "on_exit", "warmup"]

__version__: str


def __getattr__(name: str) -> str:
    # Imported on demand: reading package metadata costs more memory than everything else in this package, in
    # a process that lives as long as the server.
    if name == "__version__":
        from importlib.metadata import version

        return version("rwsgi")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

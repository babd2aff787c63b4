//! The package `rwsgi` that an application imports, as embedded in this program.

/// The Python package, for interpreters in which it is not installed: version, then the source of each module.
pub(crate) const PACKAGE: (&str, &str, &str) = (
    env!("CARGO_PKG_VERSION"),
    include_str!("../../../python/rwsgi/__init__.py"),
    include_str!("../../../python/rwsgi/hooks.py"),
);

//! Parsers and formatters of values.

pub(crate) mod application;
pub(crate) mod descriptor;
pub(crate) mod django;
pub(crate) mod mount_point;
pub(crate) mod units;
pub(crate) mod variables;

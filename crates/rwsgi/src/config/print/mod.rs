//! What is made of the table for those who read it.

mod fill;
pub(crate) mod help;
#[cfg(test)]
pub(crate) mod reference;
pub(crate) mod toml;

pub(crate) use fill::fill;

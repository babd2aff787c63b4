//! Values from one source.

use crate::config::error::Origin;
use crate::config::spec::Opt;

/// One value of one option.
#[derive(Clone, Debug)]
pub(crate) struct Value {
    pub(crate) text: String,
    pub(crate) origin: Origin,
}

/// The values from one source, each with its option, in order.
pub(crate) type Entries = Vec<(&'static Opt, Value)>;

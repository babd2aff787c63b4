//! What one source gives.

use crate::config::error::Origin;
use crate::config::spec::Opt;

/// One value of one option.
#[derive(Clone, Debug)]
pub(crate) struct Value {
    pub(crate) text: String,
    pub(crate) origin: Origin,
}

/// What one source gives: each value with its option, in order.
pub(crate) type Entries = Vec<(&'static Opt, Value)>;

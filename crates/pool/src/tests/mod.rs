//! The rules of elastic pools.

mod corrections;

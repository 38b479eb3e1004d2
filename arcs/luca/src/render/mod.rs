//! What a person sees: values, tables, errors, progress. Everything that came from outside passes [`safe`] first.

pub(crate) mod error;
pub(crate) mod json;
pub(crate) mod progress;
pub(crate) mod safe;
pub(crate) mod table;
pub(crate) mod terminal;
pub(crate) mod units;

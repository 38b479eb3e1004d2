//! The key-value Arc.

//! The multi-call binary `arcs NAME`.
fn main() {}

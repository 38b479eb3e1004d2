//! The task runner, driven as a user drives it, and the rules that hold for the whole workspace.

mod crate_graph;
mod dev;
mod e2e;
mod flash;
mod kill;
mod model;
mod packages;
mod reload;
#[path = "../../../arcs/luca/tests/it/screen.rs"]
mod screen;
mod site;
mod system;
mod tick;
mod workbench;

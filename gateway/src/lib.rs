//! The one door: knows who calls, decides, and writes it down.

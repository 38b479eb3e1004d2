//! PID 1: starts every other process, keeps it running, and never dies.

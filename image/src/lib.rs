//! The task runner: developer mode, disk images and the machines that boot them.

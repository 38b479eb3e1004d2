//! Drives the real `luca-run` and `luca-shell` against a scripted gateway, over a UNIX socket and a WebSocket.

mod gateway;
mod interactive;
mod program;
mod run;
mod screen;
mod secrets;
mod shell;

//! An Arc that tries everything that an Arc may not. It is in no image: the tests put it into systems of their own
//! (`image/tests/boot/hostile/`), which see what comes of it.
//!
//! It speaks MCP by hand, for it misbehaves in that as well, and makes system calls by their numbers, so that no library
//! stands between an attempt and the kernel. Its tools are `try` and
//! `answer`, which make one attempt, and `attempts`, which names them.

mod attempts;
mod kernel;
mod server;

fn main() -> std::io::Result<()> {
    server::run()
}

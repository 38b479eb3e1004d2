//! Random keys: what one program shows to another so that nobody else is let in.

use std::fs::File;
use std::io::{Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use crate::cache::hex;
use crate::failure::Failure;

/// Writes a new key of 128 bits, in hexadecimals, for its owner alone. There must be no such file yet.
pub(crate) fn write(path: &Path) -> Result<(), Failure> {
    let write = || {
        let mut random = [0; 16];
        File::open("/dev/urandom")?.read_exact(&mut random)?;
        let mut file = File::options().write(true).create_new(true).mode(0o600).open(path)?;
        file.write_all(hex(&random).as_bytes())
    };
    write().map_err(|error| Failure::io("write", path, &error))
}

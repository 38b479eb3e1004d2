//! Files on the FAT file system of what was written, by mtools: no partition of it has to be mounted.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::failure::{Failure, plain};
use crate::process::not_started;

/// A FAT file system on a disk.
#[derive(Debug)]
pub(super) struct Card {
    /// The disk and the byte at which the file system begins, as mtools(1) is told.
    at: String,
}

impl Card {
    /// The file system that begins at `offset` of a disk, in bytes.
    pub(super) fn new(disk: &Path, offset: u64) -> Self {
        Self { at: format!("{}@@{offset}", disk.display()) }
    }

    /// A file in its root; `None` where there is none.
    ///
    /// # Errors
    /// mtools is not there.
    pub(super) fn read(&self, name: &str) -> Result<Option<String>, Failure> {
        let mut tool = self.tool("mtype");
        tool.arg(format!("::/{name}")).stdin(Stdio::null());
        let said = tool.output().map_err(|error| not_started(&tool, &error))?;
        Ok(said.status.success().then(|| String::from_utf8_lossy(&said.stdout).into_owned()))
    }

    /// Puts a file into its root, and reads it back. Its content passes through no other file.
    ///
    /// # Errors
    /// It could not be written.
    pub(super) fn write(&self, name: &str, content: &str) -> Result<(), Failure> {
        let failed = |why: String| {
            let advice =
                "the image itself is whole on it: mount its partition LLMBASEDOS and edit llmbasedos.toml there";
            Failure::new(format!("cannot write {name} onto it"), why, advice)
        };
        let mut tool = self.tool("mcopy");
        tool.args(["-o", "-", &format!("::/{name}")])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped());
        let mut copy = tool.spawn().map_err(|error| not_started(&tool, &error))?;
        let sent = copy.stdin.take().map(|mut input| input.write_all(content.as_bytes()));
        let ended = copy.wait_with_output().map_err(|error| failed(plain(&error)))?;
        if !ended.status.success() {
            return Err(failed(String::from_utf8_lossy(&ended.stderr).trim().to_owned()));
        }
        sent.transpose().map_err(|error| failed(plain(&error)))?;
        match self.read(name)? {
            Some(there) if there == content => Ok(()),
            _ => Err(failed("what was read back is not what was written".to_owned())),
        }
    }

    fn tool(&self, name: &str) -> Command {
        let mut tool = Command::new(name);
        tool.env("MTOOLS_SKIP_CHECK", "1").env("LC_ALL", "C").args(["-i", &self.at]);
        tool
    }
}

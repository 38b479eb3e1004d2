//! One request to init on its socket, with a value attached to it.

use std::io::{self, BufRead, BufReader, IoSlice, Read, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, memfd_create};
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
use serde::Deserialize;
use serde_json::{Value, json};
use spec::caller::Failure;

use crate::address::Address;
use crate::failure::Error;

/// A TPM may take its time for a key.
const TIMEOUT: Duration = Duration::from_secs(60);
/// A longer answer is none of init.
const ANSWER_MAX: u64 = 1 << 20;

#[derive(Deserialize)]
struct Answer {
    #[serde(default)]
    result: Option<Value>,
    #[serde(default)]
    error: Option<Refusal>,
}

#[derive(Deserialize)]
struct Refusal {
    code: i32,
    message: String,
}

/// Asks the init whose socket is the first of `sockets` at which somebody answers.
///
/// # Errors
/// Nobody answers, or init refuses.
pub(super) fn ask(sockets: &[PathBuf], method: &str, params: &Value, value: Option<&[u8]>) -> Result<Value, Error> {
    let mut first = None;
    for path in sockets {
        match UnixStream::connect(path) {
            Ok(stream) => return ask_on(stream, path, method, params, value),
            Err(error) => first = first.or(Some((path, error))),
        }
    }
    let (path, error) = first.ok_or(Error::NotFound { looked: sockets.to_vec() })?;
    let reason = match error.kind() {
        io::ErrorKind::PermissionDenied => "only the user that the system runs as may set secrets".to_owned(),
        _ => error.to_string(),
    };
    Err(Error::Unreachable { address: Address::Unix(path.clone()), reason })
}

fn ask_on(stream: UnixStream, path: &Path, method: &str, params: &Value, value: Option<&[u8]>) -> Result<Value, Error> {
    let lost = |error: io::Error| Error::Lost { address: Address::Unix(path.to_owned()), reason: error.to_string() };
    let line = format!("{}\n", json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": params }));
    let failed = |source| Error::Io { what: "the value cannot be put into a memory file", source };
    let attached = value.map(sealed).transpose().map_err(failed)?;
    stream.set_read_timeout(Some(TIMEOUT)).and_then(|()| send(&stream, &line, attached.as_ref())).map_err(lost)?;
    let mut answer = String::new();
    BufReader::new(stream).take(ANSWER_MAX).read_line(&mut answer).map_err(lost)?;
    let answer: Answer = serde_json::from_str(&answer).map_err(|error| lost(error.into()))?;
    match (answer.result, answer.error) {
        (_, Some(Refusal { code, message })) => {
            Err(Error::of_tool(method, Failure { code, message, problems: Vec::new() }))
        }
        (Some(result), None) => Ok(result),
        (None, None) => Err(lost(io::Error::other("init answered neither a result nor an error"))),
    }
}

/// A memory file with this content, which nobody can change any more.
fn sealed(value: &[u8]) -> io::Result<OwnedFd> {
    let file = memfd_create("secret", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?;
    std::fs::File::from(file.try_clone()?).write_all(value)?;
    fcntl_add_seals(&file, SealFlags::WRITE | SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL)?;
    Ok(file)
}

/// Sends a line, with a descriptor attached to its first byte.
fn send(stream: &UnixStream, line: &str, attached: Option<&OwnedFd>) -> io::Result<()> {
    let descriptors: Vec<_> = attached.iter().map(AsFd::as_fd).collect();
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    if !descriptors.is_empty() {
        ancillary.push(SendAncillaryMessage::ScmRights(&descriptors));
    }
    let bytes = line.as_bytes();
    let count = sendmsg(stream, &[IoSlice::new(bytes)], &mut ancillary, SendFlags::NOSIGNAL)?;
    let mut stream = stream;
    stream.write_all(bytes.get(count..).unwrap_or_default())
}

//! Against `swtpm`, the software TPM (Debian package of that name).

use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::*;

/// A software TPM, whose state lies in a folder.
struct Machine {
    process: Child,
    socket: std::path::PathBuf,
}

impl Machine {
    fn start(state: &Path) -> Self {
        std::fs::create_dir_all(state).expect("made");
        let socket = state.join("tpm.sock");
        let _ = std::fs::remove_file(&socket);
        let process = Command::new("swtpm")
            .args(["socket", "--tpm2", "--flags", "not-need-init,startup-clear", "--tpmstate"])
            .arg(format!("dir={}", state.display()))
            .arg("--server")
            .arg(format!("type=unixio,path={}", socket.display()))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .expect("swtpm is there (Debian package swtpm)");
        Self { process, socket }
    }

    /// swtpm serves one connection, and ends with it.
    fn connect(&self) -> Tpm<UnixStream> {
        let deadline = Instant::now() + Duration::from_secs(20);
        loop {
            match UnixStream::connect(&self.socket) {
                Ok(stream) => return Tpm::new(stream),
                Err(error) if Instant::now() > deadline => panic!("{error}"),
                Err(_) => std::thread::sleep(Duration::from_millis(10)),
            }
        }
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[test]
fn a_tpm_gives_back_what_it_sealed_after_a_restart_too_and_no_other_does() {
    let folder = tempfile::tempdir().expect("a folder");
    let (here, elsewhere) = (folder.path().join("here"), folder.path().join("elsewhere"));
    let secret = [7; 32];
    let sealed = {
        let machine = Machine::start(&here);
        let mut tpm = machine.connect();
        let sealed = tpm.seal(&secret).expect("sealed");
        // What it takes in the TPM is freed: there is room for three objects at most.
        for _ in 0..5 {
            assert_eq!(tpm.unseal(&sealed).expect("unsealed").as_slice(), secret);
        }
        sealed
    };
    let kept = sealed.to_bytes();
    assert!(!kept.windows(8).any(|window| window == [7; 8]));
    let sealed = Sealed::of_bytes(&kept).expect("as it was");
    assert_eq!(Machine::start(&here).connect().unseal(&sealed).expect("after a restart").as_slice(), secret);
    let error = Machine::start(&elsewhere).connect().unseal(&sealed).expect_err("another TPM").to_string();
    assert!(error.contains("Load") && error.contains("sealed by another TPM"), "{error}");
}

#[test]
fn an_answer_that_makes_no_sense_is_an_error() {
    for answer in [&b""[..], b"\x80\x01\0\0\0\x0a\0\0\x01\x01", b"\x80\x02\0\0\0\x0a\0\0\0\0", &[0xff; 5000]] {
        let (ours, theirs) = UnixStream::pair().expect("a pair");
        (&theirs).write_all(answer).expect("written");
        theirs.shutdown(std::net::Shutdown::Write).expect("ended");
        assert!(Tpm::new(ours).seal(b"secret").is_err(), "{answer:?}");
    }
    assert_eq!(Sealed::of_bytes(b"something else"), None);
}

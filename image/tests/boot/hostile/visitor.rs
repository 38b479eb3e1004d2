//! A visitor of the pages that this machine serves, beside the attempt that swaps one for links.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::guest::until;

/// Asks for that page again and again.
pub(super) struct Visitor {
    has_ended: Arc<AtomicBool>,
    /// How often it was answered, or what it was shown from outside.
    visits: JoinHandle<Result<usize, String>>,
}

impl Visitor {
    /// It begins once it has been answered.
    pub(super) fn start(port: u16) -> Self {
        until("a visitor is answered", || visit(port));
        let has_ended = Arc::new(AtomicBool::new(false));
        let ended = Arc::clone(&has_ended);
        let visits = std::thread::spawn(move || {
            let mut answers = 0;
            while !ended.load(Ordering::Relaxed) {
                match visit(port) {
                    Some(answer) if is_outside(&answer) => return Err(answer),
                    Some(_) => answers += 1,
                    None => std::thread::sleep(Duration::from_millis(50)),
                }
            }
            Ok(answers)
        });
        Self { has_ended, visits }
    }

    /// It goes; answers what it was shown that lies outside.
    pub(super) fn leaves(self) -> Option<String> {
        self.has_ended.store(true, Ordering::Relaxed);
        match self.visits.join().expect("it visited") {
            Ok(answers) => {
                eprintln!("  a visitor was answered {answers} times meanwhile, never with what lies outside");
                assert!(answers > 0, "it was not answered");
                None
            }
            Err(answer) => Some(format!("a visitor was shown {answer:.200}")),
        }
    }
}

fn visit(port: u16) -> Option<String> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(20))).ok()?;
    let request = "GET /race/index.html HTTP/1.1\r\nHost: 127.0.0.1:8001\r\nConnection: close\r\n\r\n";
    stream.write_all(request.as_bytes()).ok()?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).ok().filter(|count| *count > 0)?;
    Some(String::from_utf8_lossy(&answer).into_owned())
}

/// What stands in the files that the links lead to.
fn is_outside(answer: &str) -> bool {
    let body = answer.split_once("\r\n\r\n").map_or("", |(_, body)| body);
    answer.starts_with("HTTP/1.1 200") && body != "mine" && !body.contains("<html") && !body.is_empty()
}

//! A hand of the tests inside of a machine: a static program on the data partition, which init runs as a service and
//! the tests talk to over the second serial line. `machine.rs` compiles it; it has nothing but the standard library.
//!
//! Started with `serve`, it obeys a line at a time, and answers each with a line that begins with `= `:
//!
//! | line | what it does |
//! | --- | --- |
//! | `kill NAME` | kills (SIGKILL) every process whose first argument, or the Arc that it serves, has that name |
//! | `storm COUNT` | leaves so many orphans behind, which end at once |
//! | `zombies` | counts the processes that have ended and that nobody has reaped |
//! | `fill PATH` | fills the disk with that file |
//! | `remove PATH` | removes it |

use std::fs::{self, File, OpenOptions};
use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio, exit};

/// The second serial line.
const LINE: &str = "/dev/ttyS1";
const SIGKILL: i32 = 9;

unsafe extern "C" {
    fn kill(pid: i32, signal: i32) -> i32;
}

fn main() {
    let words: Vec<String> = std::env::args().skip(1).collect();
    match words.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["serve"] => serve(),
        ["fail"] => {
            eprintln!("the well is dry");
            exit(7);
        }
        ["leave", count] => leave(count.parse().expect("a number")),
        ["end"] => {}
        _ => panic!("serve, fail, leave COUNT or end, not {words:?}"),
    }
}

fn serve() {
    let mut answers = OpenOptions::new().write(true).open(LINE).expect("a second serial line");
    for line in BufReader::new(File::open(LINE).expect("a second serial line")).lines() {
        let line = line.expect("read");
        let answer = match line.trim().split_once(' ').unwrap_or((line.trim(), "")) {
            ("", _) => continue,
            ("kill", name) => kill_all(name).to_string(),
            ("storm", count) => storm(count).to_string(),
            ("zombies", _) => zombies().to_string(),
            ("fill", path) => fill(path).to_string(),
            ("remove", path) => format!("{:?}", fs::remove_file(path)),
            other => format!("does not know {other:?}"),
        };
        writeln!(answers, "= {answer}").expect("written");
    }
}

/// The numbers of all processes.
fn processes() -> impl Iterator<Item = i32> {
    let entries = fs::read_dir("/proc").expect("mounted").flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}

fn kill_all(name: &str) -> usize {
    let is_meant = |pid: &i32| {
        let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let line = String::from_utf8_lossy(&line);
        let mut words = line.split('\0');
        let program = words.next().unwrap_or_default();
        let program = program.rsplit('/').next().unwrap_or_default();
        *pid != 1
            && if program == "arcs" || program == "init" {
                words.any(|word| word.trim_start_matches("--") == name)
            } else {
                program == name
            }
    };
    // SAFETY: no memory is touched.
    processes().filter(is_meant).filter(|&pid| unsafe { kill(pid, SIGKILL) } == 0).count()
}

/// Children whose children outlive them: the latter are orphans, and init's to reap.
fn storm(count: &str) -> usize {
    const EACH: usize = 50;
    let count: usize = count.parse().expect("a number");
    let this = std::env::current_exe().expect("its own path");
    let leave = || Command::new(&this).args(["leave", &EACH.to_string()]).stdin(Stdio::null()).status();
    (0..count.div_ceil(EACH)).filter(|_| leave().is_ok_and(|status| status.success())).count() * EACH
}

fn leave(count: usize) {
    let this = std::env::current_exe().expect("its own path");
    for _ in 0..count {
        // Where no more may be made, there are enough.
        let _ = Command::new(&this).arg("end").stdin(Stdio::null()).spawn();
    }
}

fn zombies() -> usize {
    let is_zombie = |pid: &i32| {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        stat.rsplit(')').next().is_some_and(|rest| rest.trim_start().starts_with('Z'))
    };
    processes().filter(is_zombie).count()
}

fn fill(path: &str) -> u64 {
    let mut file = File::create(path).expect("made");
    let piece = vec![1; 1 << 20];
    while file.write_all(&piece).is_ok() {}
    while file.write_all(&[1; 512]).is_ok() {}
    let _ = file.sync_all();
    file.metadata().map_or(0, |data| data.len())
}

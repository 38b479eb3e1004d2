//! A hand of the tests inside of a machine, outside of every cage: a static program that `machine.rs` compiles and puts
//! beside the initramfs of the image, whose first program the kernel is told (`rdinit=`) it is. It leaves a child behind,
//! which is nobody's service and has all privileges, and becomes the real `/init`. It has nothing but the standard library.
//!
//! The tests talk to the child over the second serial line. It obeys a line at a time, and answers each with a line that
//! begins with `= `:
//!
//! | line | what it does |
//! | --- | --- |
//! | `kill NAME` | kills (SIGKILL) every process whose first argument, or the Arc that it serves, has that name, and waits for that |
//! | `count NAME` | how many there are that this would kill |
//! | `storm COUNT` | leaves so many orphans behind, which end at once |
//! | `zombies` | counts the processes that have ended and that nobody has reaped |
//! | `fill PATH` | fills the disk with that file |
//! | `remove PATH` | removes it |
//! | `listen NAME` | listens on the abstract socket of that name, and counts who connects |
//! | `connected` | how many have connected |
//! | `air SCRIPT` | runs that at the other side of the air: in a network of its own, to which the second radio is moved |
//! | `search HEX` | the processes in whose memory or environment these bytes are, but for its own |

use std::ffi::{CString, c_char, c_int, c_ulong, c_void};
use std::fs::{self, File, OpenOptions};
use std::io::{BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener};
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio, exit};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

/// What it sees of the machine, mounted where nothing else is.
const PROC: &str = "/.proc";
const DEV: &str = "/.dev";
/// The second serial line.
const LINE: &str = "/.dev/ttyS1";
const SIGKILL: i32 = 9;
const CLONE_NEWNS: c_int = 0x0002_0000;

unsafe extern "C" {
    fn kill(pid: i32, signal: i32) -> i32;
    fn fork() -> c_int;
    fn setsid() -> c_int;
    fn unshare(flags: c_int) -> c_int;
    fn mount(
        source: *const c_char,
        target: *const c_char,
        kind: *const c_char,
        flags: c_ulong,
        data: *const c_void,
    ) -> c_int;
    fn execv(path: *const c_char, arguments: *const *const c_char) -> c_int;
}

fn main() {
    let words: Vec<String> = std::env::args().skip(1).collect();
    match words.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["fail"] => {
            eprintln!("the well is dry");
            exit(7);
        }
        ["leave", count] => leave(count.parse().expect("a number")),
        ["end"] => {}
        // Started by the kernel, which hands on what it does not know itself.
        // SAFETY: there is one thread, and the child goes on as this program.
        _ => match unsafe { fork() } {
            0 => serve(),
            _ => become_init(),
        },
    }
}

fn become_init() -> ! {
    let arguments = [c"/init".as_ptr(), std::ptr::null()];
    // SAFETY: both end with a null pointer, and live as long as the call.
    unsafe { execv(c"/init".as_ptr(), arguments.as_ptr()) };
    panic!("/init: {}", std::io::Error::last_os_error());
}

/// Sees processes and devices for itself: nothing of that is mounted where anybody else looks.
fn look_around() {
    // SAFETY: no memory is touched.
    assert!(unsafe { setsid() } > 0 && unsafe { unshare(CLONE_NEWNS) } == 0, "a view of its own");
    for (target, kind) in [(PROC, "proc"), (DEV, "devtmpfs")] {
        fs::create_dir(target).expect("made");
        let (target, kind) = (CString::new(target).expect("text"), CString::new(kind).expect("text"));
        // SAFETY: all are texts that live as long as the call.
        let done = unsafe { mount(kind.as_ptr(), target.as_ptr(), kind.as_ptr(), 0, std::ptr::null()) };
        assert_eq!(done, 0, "{}", std::io::Error::last_os_error());
    }
}

/// A path as the machine has it.
fn seen(path: &str) -> String {
    format!("{PROC}/1/root{path}")
}

fn serve() {
    look_around();
    let mut answers = OpenOptions::new().write(true).open(LINE).expect("a second serial line");
    for line in BufReader::new(File::open(LINE).expect("a second serial line")).lines() {
        let line = line.expect("read");
        let answer = match line.trim().split_once(' ').unwrap_or((line.trim(), "")) {
            ("", _) => continue,
            ("kill", name) => kill_all(name).to_string(),
            ("count", name) => named(name).len().to_string(),
            ("storm", count) => storm(count).to_string(),
            ("zombies", _) => zombies().to_string(),
            ("fill", path) => fill(&seen(path)).to_string(),
            ("remove", path) => format!("{:?}", fs::remove_file(seen(path))),
            ("listen", name) => listen(name),
            ("connected", _) => CONNECTED.load(Ordering::Relaxed).to_string(),
            ("air", script) => air(script),
            ("search", hex) => search(&bytes(hex)),
            other => format!("does not know {other:?}"),
        };
        writeln!(answers, "= {answer}").expect("written");
    }
}

/// The numbers of all processes.
fn processes() -> impl Iterator<Item = i32> {
    let entries = fs::read_dir(PROC).expect("mounted").flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}

fn kill_all(name: &str) -> usize {
    // SAFETY: no memory is touched.
    let killed: Vec<i32> = named(name).into_iter().filter(|&pid| unsafe { kill(pid, SIGKILL) } == 0).collect();
    // What is asked of one that is dying is lost; who is dead has closed its sockets.
    killed.iter().for_each(|pid| {
        while !is_zombie(pid) && fs::exists(format!("{PROC}/{pid}")).unwrap_or(false) {
            std::thread::sleep(Duration::from_millis(1));
        }
    });
    killed.len()
}

/// The processes whose first argument, or the Arc that they serve, has that name.
fn named(name: &str) -> Vec<i32> {
    let is_meant = |pid: &i32| {
        let line = fs::read(format!("{PROC}/{pid}/cmdline")).unwrap_or_default();
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
    processes().filter(is_meant).collect()
}

/// `/dev/null` where it is to be seen here.
fn nothing() -> Stdio {
    File::open(format!("{DEV}/null")).map_or_else(|_| Stdio::inherit(), Stdio::from)
}

/// Children whose children outlive them: the latter are orphans, and init's to reap.
fn storm(count: &str) -> usize {
    const EACH: usize = 50;
    let count: usize = count.parse().expect("a number");
    let this = format!("{PROC}/self/exe");
    let leave = || Command::new(&this).args(["leave", &EACH.to_string()]).stdin(nothing()).status();
    (0..count.div_ceil(EACH)).filter(|_| leave().is_ok_and(|status| status.success())).count() * EACH
}

fn leave(count: usize) {
    let this = format!("{PROC}/self/exe");
    for _ in 0..count {
        // Where no more may be made, there are enough.
        let _ = Command::new(&this).arg("end").stdin(nothing()).spawn();
    }
}

fn zombies() -> usize {
    processes().filter(is_zombie).count()
}

/// Whether it has ended: of its threads, the first is seen as a zombie while others still have its sockets.
fn is_zombie(pid: &i32) -> bool {
    let stat = fs::read_to_string(format!("{PROC}/{pid}/stat")).unwrap_or_default();
    let threads = fs::read_dir(format!("{PROC}/{pid}/task")).map_or(0, Iterator::count);
    threads <= 1 && stat.rsplit(')').next().is_some_and(|rest| rest.trim_start().starts_with('Z'))
}

fn fill(path: &str) -> u64 {
    let mut file = File::create(path).expect("made");
    let piece = vec![1; 1 << 20];
    while file.write_all(&piece).is_ok() {}
    while file.write_all(&[1; 512]).is_ok() {}
    let _ = file.sync_all();
    file.metadata().map_or(0, |data| data.len())
}

static CONNECTED: AtomicUsize = AtomicUsize::new(0);

fn listen(name: &str) -> String {
    let address = SocketAddr::from_abstract_name(name).expect("a name");
    let listener = match UnixListener::bind_addr(&address) {
        Ok(listener) => listener,
        Err(error) => return error.to_string(),
    };
    std::thread::spawn(move || {
        listener.incoming().for_each(|_| {
            CONNECTED.fetch_add(1, Ordering::Relaxed);
        })
    });
    "listens".to_owned()
}

/// The programs that the other side of the air has, in the image with radios.
const BUSYBOX: &str = "/usr/lib/air/busybox";
const CLONE_NEWNET: c_int = 0x4000_0000;
static IS_APART: AtomicBool = AtomicBool::new(false);

/// The first time it leaves the network of the machine, and takes the second radio along.
fn air(script: &str) -> String {
    if !IS_APART.swap(true, Ordering::Relaxed) {
        // SAFETY: no memory is touched.
        assert_eq!(unsafe { unshare(CLONE_NEWNET) }, 0, "a network of its own");
        let take = format!("{BUSYBOX} nsenter -t 1 -n /usr/lib/air/iw phy phy1 set netns {}", std::process::id());
        let said = run(&take);
        assert!(said.starts_with('0'), "{said}");
    }
    run(script)
}

/// Runs a script in the root of the machine; answers its exit code and what it wrote, its lines behind one another.
fn run(script: &str) -> String {
    let root = seen("/");
    let mut shell = Command::new(BUSYBOX);
    shell.args(["sh", "-c", script]).stdin(nothing()).env("PATH", "/usr/lib/air:/usr/sbin");
    // SAFETY: what runs between fork and exec makes two system calls, and the path was made before.
    unsafe { shell.pre_exec(move || std::os::unix::fs::chroot(&root).and_then(|()| std::env::set_current_dir("/"))) };
    match shell.output() {
        Err(error) => format!("cannot be run: {error}"),
        Ok(output) => {
            let said = [output.stdout, output.stderr].concat();
            let said = String::from_utf8_lossy(&said).replace('\r', "");
            let code = output.status.code().unwrap_or(-1);
            format!("{code} {}", said.lines().collect::<Vec<_>>().join(" | "))
        }
    }
}

fn bytes(hex: &str) -> Vec<u8> {
    let digits = hex.as_bytes().chunks_exact(2).map(|two| std::str::from_utf8(two).expect("digits"));
    digits.map(|two| u8::from_str_radix(two, 16).expect("digits")).collect()
}

/// Names and numbers of the processes that know `wanted`, and how many were looked at.
fn search(wanted: &[u8]) -> String {
    let own = i32::try_from(std::process::id()).expect("a number");
    let mut found = Vec::new();
    let mut looked = 0;
    for pid in processes().filter(|&pid| pid != own) {
        let environment = fs::read(format!("{PROC}/{pid}/environ")).unwrap_or_default();
        let Some(is_in_memory) = is_in_memory(pid, wanted) else { continue };
        looked += 1;
        if is_in_memory || holds(&environment, wanted) {
            let name = fs::read_to_string(format!("{PROC}/{pid}/comm")).unwrap_or_default();
            found.push(format!("{}:{pid}", name.trim()));
        }
    }
    format!("{looked} {}", found.join(" ")).trim().to_owned()
}

fn holds(bytes: &[u8], wanted: &[u8]) -> bool {
    bytes.windows(wanted.len()).any(|window| window == wanted)
}

/// Whether it is anywhere in the memory of a process; `None` for one of the kernel's.
fn is_in_memory(pid: i32, wanted: &[u8]) -> Option<bool> {
    let maps = fs::read_to_string(format!("{PROC}/{pid}/maps")).ok().filter(|maps| !maps.is_empty())?;
    let mut memory = File::open(format!("{PROC}/{pid}/mem")).ok()?;
    let readable = maps.lines().filter_map(|line| {
        let (range, rest) = line.split_once(' ')?;
        let (from, to) = range.split_once('-')?;
        let ends = (u64::from_str_radix(from, 16).ok()?, u64::from_str_radix(to, 16).ok()?);
        (rest.starts_with('r') && !line.ends_with("[vvar]")).then_some(ends)
    });
    const PIECE: u64 = 1 << 20;
    for (from, to) in readable {
        // Pieces overlap by what is looked for.
        let mut at = from;
        while at < to {
            let length = (to - at).min(PIECE + wanted.len() as u64);
            let mut piece = vec![0; usize::try_from(length).expect("small")];
            let read = memory.seek(SeekFrom::Start(at)).and_then(|_| memory.read(&mut piece)).unwrap_or(0);
            if holds(&piece[..read], wanted) {
                return Some(true);
            }
            at += PIECE;
        }
    }
    Some(false)
}

//! Files: of others, of the system, more than its share, and such that others stumble over them.

use std::ffi::CString;
use std::fs::{self, File};
use std::io::{self, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt, symlink};
use std::path::Path;
use std::time::{Duration, Instant};

use super::Attempt::{self, Inside};
use super::processes::others;
use super::{Outcome, first};
use crate::kernel::{call, open, pointer, refused, word};

pub(super) const ATTEMPTS: &[(&str, Attempt)] = &[
    ("write outside", Inside(write_outside)),
    ("read the data of others", Inside(read_data)),
    ("see the folders of others", Inside(see_folders)),
    ("read secrets", Inside(read_secrets)),
    ("read the system's files", Inside(read_system)),
    ("a link that leads outside", Inside(links)),
    ("set-user-ID", Inside(set_user_id)),
    ("run what it has written", Inside(run_own)),
    ("run from memory", Inside(run_from_memory)),
    ("fill the disk", Inside(fill_disk)),
    ("race with links", Inside(race)),
];

fn opened(path: impl AsRef<Path>) -> Outcome {
    let path = path.as_ref();
    let readable = if path.is_dir() { fs::read_dir(path).map(drop) } else { File::open(path).map(drop) };
    readable.map(|()| format!("opened {}", path.display())).map_err(|error| refused("open", &error))
}

fn write_outside(at: &str) -> Outcome {
    let folders = ["/", "/data", "/data/arcs", "/data/log", "/etc", "/usr/bin", "/run", "/run/mcp", "/dev", "/sys", at];
    let made = folders.map(|folder| {
        let path = Path::new(folder).join("hostile-was-here");
        let made = File::create(&path).map(|_| format!("made {}", path.display()));
        let _ = fs::remove_file(&path);
        made.map_err(|error| refused("create", &error))
    });
    let pattern = "/proc/sys/kernel/core_pattern";
    let core = File::options().write(true).open(pattern).map(|_| format!("opened {pattern}"));
    first(made.into_iter().chain([core.map_err(|error| refused("open", &error))]))
}

/// Below `/data` and below where the data really are.
fn both(at: &str, below: &[&str]) -> Vec<String> {
    [at, "/data"].iter().flat_map(|data| below.iter().map(move |path| format!("{data}/{path}"))).collect()
}

fn read_data(at: &str) -> Outcome {
    first(
        both(at, &["arcs/kv/kv.redb", "arcs/kv", "arcs", "arcs.d", "log", "log/kv.log", "audit", "log/audit.jsonl"])
            .iter()
            .filter(|path| !path.ends_with("/arcs") || is_more_than_own(path))
            .map(opened),
    )
}

/// Of its own cage it sees the folder in which its own lies.
fn is_more_than_own(path: &str) -> bool {
    fs::read_dir(path).is_ok_and(|entries| entries.count() > 1)
}

/// Whether they are there, which Landlock alone does not hide.
fn see_folders(at: &str) -> Outcome {
    first(both(at, &["arcs/kv", "secrets", "log"]).iter().map(|path| match fs::symlink_metadata(path) {
        Ok(_) => Ok(format!("{path} is there")),
        Err(error) => Err(refused("stat", &error)),
    }))
}

fn read_secrets(at: &str) -> Outcome {
    let handed = fs::read_dir("/run/secrets").map(|_| "read /run/secrets".to_owned());
    let stored = both(at, &["secrets/key", "secrets/store", "keys", "gateway.claim", "llmbasedos.toml"]);
    let environments = others("").into_iter().map(|pid| opened(format!("/proc/{pid}/environ")));
    first(
        [handed.map_err(|error| refused("open", &error))]
            .into_iter()
            .chain(stored.iter().map(opened))
            .chain(environments),
    )
}

fn read_system(_: &str) -> Outcome {
    let files = ["/etc/passwd", "/etc/shadow", "/sys/kernel", "/proc/kcore", "/boot", "/root", "/config"];
    let roots = others("").into_iter().map(|pid| opened(format!("/proc/{pid}/root")));
    first(files.map(opened).into_iter().chain(roots))
}

fn links(at: &str) -> Outcome {
    let outside = format!("{at}/secrets/key");
    let _ = fs::remove_file("link");
    let by_symlink = symlink(&outside, "link").and_then(|()| fs::read("link"));
    let _ = fs::remove_file("link");
    let by_hard_link = fs::hard_link("/run/notify.sock", "link").or_else(|_| fs::hard_link("/dev/null", "link"));
    let _ = fs::remove_file("link");
    first([
        by_symlink.map(|_| format!("read {outside} by a link")).map_err(|error| refused("open", &error)),
        by_hard_link
            .map(|()| "made a hard link to a file of the system".to_owned())
            .map_err(|error| refused("link", &error)),
    ])
}

fn set_user_id(_: &str) -> Outcome {
    let made = File::create("tool").and_then(|file| file.set_permissions(fs::Permissions::from_mode(0o4755)));
    let born = File::options().write(true).create_new(true).mode(0o4755).open("tool2");
    let is_set = |path: &str| fs::metadata(path).is_ok_and(|data| data.permissions().mode() & 0o6000 != 0);
    let outcome = match (made, born) {
        _ if is_set("tool") || is_set("tool2") => Ok("made a set-user-ID file".to_owned()),
        (Err(error), _) => Err(refused("fchmod", &error)),
        (_, Err(error)) => Err(refused("open", &error)),
        _ => Err("the bit was dropped".to_owned()),
    };
    let _ = fs::remove_file("tool");
    let _ = fs::remove_file("tool2");
    outcome
}

/// A program of two instructions would do; a script without an interpreter gets as far as the question whether it may.
fn run_own(_: &str) -> Outcome {
    first(["program", "/tmp/program"].map(|path| {
        let written = fs::write(path, "#!/dev/null\n")
            .and_then(|()| fs::set_permissions(path, fs::Permissions::from_mode(0o755)));
        let ran = written.map_err(|error| refused("write", &error)).and_then(|()| {
            let name = CString::new(path).unwrap_or_default();
            let mapped = File::open(path).and_then(|file| {
                let (protection, flags) = (word(libc::PROT_READ | libc::PROT_EXEC), word(libc::MAP_PRIVATE));
                call(libc::SYS_mmap, &[0, 4096, protection, flags, word(file.as_raw_fd()), 0])
            });
            let arguments = [pointer(name.as_c_str()), 0];
            let executed = call(libc::SYS_execve, &[pointer(name.as_c_str()), pointer(&arguments), pointer(&[0_i64])]);
            first([
                mapped.map(|_| format!("mapped {path} as a program")).map_err(|error| refused("mmap", &error)),
                executed.map(|_| String::new()).map_err(|error| refused("execve", &error)),
            ])
        });
        let _ = fs::remove_file(path);
        ran
    }))
}

fn run_from_memory(_: &str) -> Outcome {
    let made =
        open(libc::SYS_memfd_create, &[pointer(c"program"), 0]).map_err(|error| refused("memfd_create", &error))?;
    let written = call(libc::SYS_write, &[word(made.as_raw_fd()), pointer(b"#!/dev/null\n"), 12]);
    written.map_err(|error| refused("write", &error))?;
    let (arguments, flags) = ([pointer(c"program"), 0], word(libc::AT_EMPTY_PATH));
    let empty = pointer(c"");
    let ran = call(libc::SYS_execveat, &[word(made.as_raw_fd()), empty, pointer(&arguments), pointer(&[0_i64]), flags]);
    ran.map(|_| String::new()).map_err(|error| refused("execveat", &error))
}

/// Four times as much as its manifest allows (`at`, in bytes), in many files; then all of it is removed.
fn fill_disk(at: &str) -> Outcome {
    let allowed: u64 = at.parse().unwrap_or(64 << 20);
    let (mut written, mut number) = (0_u64, 0);
    let piece = vec![7; 1 << 20];
    let error = loop {
        let filled: io::Result<()> = File::create(format!("fill{number}")).and_then(|mut file| {
            for _ in 0..8 {
                file.write_all(&piece)?;
                written += 1 << 20;
            }
            file.sync_data()
        });
        number += 1;
        match filled {
            Err(error) => break Some(error),
            Ok(()) if written >= 4 * allowed => break None,
            Ok(()) => {}
        }
    };
    for number in 0..number {
        let _ = fs::remove_file(format!("fill{number}"));
    }
    match error {
        None => Ok(format!("wrote {} MiB", written >> 20)),
        Some(error) => Err(format!("{} after {} MiB", refused("write", &error), written >> 20)),
    }
}

/// How long it tries to be quicker than who serves its files.
const RACE: Duration = Duration::from_secs(8);

/// Swaps a page and the folder that it is in for links that lead outside, in a folder that somebody else serves. Whether it
/// won, the tests see at the other end.
fn race(folder: &str) -> Outcome {
    let begun = Instant::now();
    let inside = format!("{folder}/race");
    let failed = |error: io::Error| refused("race", &error);
    let mut swaps = 0_u64;
    while begun.elapsed() < RACE {
        for target in
            ["/data/secrets/key", "/run/settings.toml", "/proc/self/environ", "/etc/passwd", "/data/arcs/kv/kv.redb"]
        {
            let _ = fs::remove_dir_all(&inside);
            fs::create_dir_all(&inside).map_err(failed)?;
            fs::write(format!("{inside}/index.html"), "mine").map_err(failed)?;
            fs::remove_file(format!("{inside}/index.html")).map_err(failed)?;
            symlink(target, format!("{inside}/index.html")).map_err(failed)?;
            fs::remove_dir_all(&inside).map_err(failed)?;
            symlink(Path::new(target).parent().unwrap_or(Path::new("/")), &inside).map_err(failed)?;
            fs::remove_file(&inside).map_err(failed)?;
            swaps += 1;
        }
    }
    Err(format!("{swaps} swaps, none of which it could see won"))
}

//! What a machine keeps from one start to the next: who it is, what time it was, and chance.
//!
//! | file in `/data` | what |
//! | --- | --- |
//! | `machine-id` | 32 digits by which this machine differs from all others (machine-id(5)) |
//! | `clock` | its time of change is the last time that this machine knew |
//! | `random-seed` | 512 bytes that nobody else knows; used once |

use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::SystemTime;

use super::{attempt, say};
use crate::layout::write_private;
use crate::sys;

const MACHINE_ID: &str = "machine-id";
const CLOCK: &str = "clock";
const SEED: &str = "random-seed";
/// A file of the image: all of them bear the time of what the image was built from.
const BUILT: &str = "/usr/bin/init";

/// Puts in place what was kept, and keeps what is new. A machine whose data are not there has these things until it ends.
pub(super) fn restore(data: &Path, run: &Path) {
    attempt("set the clock to the last known time", set_clock_floor(data));
    attempt("use the random seed", use_seed(data));
    attempt("have a machine-id", machine_id(data, run));
}

/// Keeps the time, so that a machine without a clock of its own goes on from there.
pub(super) fn keep_time(data: &Path) {
    let kept = File::options().write(true).create(true).truncate(false).mode(0o600).open(data.join(CLOCK));
    // It is not worth a word each time: the log itself says that the disk is full or read-only.
    let _ = kept.and_then(|file| file.set_modified(SystemTime::now()));
}

/// Keeps what the machine knows at its end.
pub(super) fn keep(data: &Path) {
    keep_time(data);
    attempt("keep a random seed", save_seed(data));
}

/// Time never runs back: it is at least what the image was built from, and what was kept.
fn set_clock_floor(data: &Path) -> io::Result<()> {
    let changed = |path: &Path| fs::metadata(path).and_then(|data| data.modified());
    let Ok(built) = changed(Path::new(BUILT)) else { return Ok(()) };
    let floor = changed(&data.join(CLOCK)).map_or(built, |kept| kept.max(built));
    if SystemTime::now() >= floor {
        return Ok(());
    }
    say("the clock was behind the last known time: set to that");
    sys::set_clock(floor)
}

/// A seed is taken away, for good, before it is used, so that no two starts ever count on the same; and the next one is
/// there before anything else runs, because a power cut may come at any time.
fn use_seed(data: &Path) -> io::Result<()> {
    let path = data.join(SEED);
    match fs::read(&path) {
        Ok(seed) => {
            fs::remove_file(&path)?;
            File::open(data)?.sync_all()?;
            // One that is shorter was cut short: it is not counted.
            if let Ok(seed) = <[u8; 512]>::try_from(seed) {
                sys::credit_entropy(&seed)?;
            }
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    save_seed(data)
}

fn save_seed(data: &Path) -> io::Result<()> {
    let mut seed = [0; 512];
    File::open("/dev/urandom")?.read_exact(&mut seed)?;
    write_private(&data.join(SEED), &seed)
}

fn machine_id(data: &Path, run: &Path) -> io::Result<()> {
    let is_one = |text: &String| text.len() == 33 && text.trim_end().bytes().all(|byte| byte.is_ascii_hexdigit());
    let kept = data.join(MACHINE_ID);
    let id = match fs::read_to_string(&kept).ok().filter(is_one) {
        Some(id) => id,
        None => {
            let mut random = [0_u8; 16];
            File::open("/dev/urandom")?.read_exact(&mut random)?;
            let digits: String = random.iter().map(|byte| format!("{byte:02x}")).collect();
            let id = format!("{digits}\n");
            write_private(&kept, id.as_bytes())?;
            id
        }
    };
    fs::write(run.join(MACHINE_ID), id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machine_is_the_same_one_after_each_start() {
        let (data, run) = (tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder"));
        let start = || {
            machine_id(data.path(), run.path()).expect("made");
            fs::read_to_string(run.path().join(MACHINE_ID)).expect("there")
        };
        let first = start();
        assert_eq!(start(), first);
        fs::write(data.path().join(MACHINE_ID), "cut sho").expect("written");
        let another = start();
        assert!(another != first && another.len() == 33, "{another}");
    }

    #[test]
    fn a_seed_is_never_there_twice() {
        let data = tempfile::tempdir().expect("a folder");
        let seed = || fs::read(data.path().join(SEED)).expect("there");
        use_seed(data.path()).expect("the first");
        let first = seed();
        assert_eq!(first.len(), 512);
        // One that was cut short is not credited, which only root may do.
        fs::write(data.path().join(SEED), &first[..100]).expect("written");
        use_seed(data.path()).expect("the second");
        assert!(seed() != first && seed().len() == 512);
    }

    #[test]
    fn the_time_is_kept() {
        let data = tempfile::tempdir().expect("a folder");
        let before = SystemTime::now();
        keep_time(data.path());
        let kept = fs::metadata(data.path().join(CLOCK)).expect("there").modified().expect("a time");
        assert!(kept >= before);
    }
}

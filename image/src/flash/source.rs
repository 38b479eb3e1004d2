//! An image as it is read: packed or not, checked against the sum beside it, and known as one of ours by its first bytes.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::process::{ChildStdout, Command, Stdio};

use clap::ValueEnum;

use super::input::Output;
use super::piece::{self, PIECE};
use super::table::{SECTOR, Table};
use crate::cache::sha256_of;
use crate::failure::Failure;
use crate::process::Running;
use crate::product::Board;
use crate::signals::Signals;
use crate::terminal::Terminal;

/// What unpacks an image, by the end of its name.
const PACKERS: [(&str, &str); 3] = [("zst", "zstd"), ("xz", "xz"), ("gz", "gzip")];

/// An image that is read.
#[derive(Debug)]
pub(super) struct Source {
    path: PathBuf,
    stream: Stream,
    signals: Signals,
    /// Its first piece.
    pub(super) head: Vec<u8>,
    pub(super) table: Table,
    /// How many bytes it has, as far as that is known.
    pub(super) size: u64,
}

#[derive(Debug)]
enum Stream {
    Plain(File),
    Packed { output: Output<ChildStdout>, program: Running, name: &'static str },
}

impl Source {
    /// Opens an image and reads its first piece.
    ///
    /// # Errors
    /// It cannot be read, or is none of ours.
    pub(super) fn open(path: &Path, signals: &Signals) -> Result<Self, Failure> {
        let failed = |error: io::Error| Failure::io("read", path, &error);
        let file = File::open(path).map_err(failed)?;
        let length = file.metadata().map_err(failed)?.len();
        if !file.metadata().map_err(failed)?.is_file() {
            return Err(none_of_ours(path, "it is no file"));
        }
        let packer = PACKERS.iter().find(|(end, _)| path.extension().is_some_and(|extension| extension == *end));
        let mut stream = match packer {
            Some((_, name)) => unpack(path, name, signals)?,
            None => Stream::Plain(file),
        };
        let mut head = vec![0; PIECE];
        let count = piece::fill(stream.reader(), &mut head).map_err(|error| stopped(signals, failed(error)))?;
        head.truncate(count);
        let table = match Table::read(&head) {
            Ok(table) => table,
            Err(why) => {
                stream.end(path, count < PIECE)?;
                return Err(none_of_ours(path, &why));
            }
        };
        let size = if packer.is_some() { table.size } else { length };
        if size < table.size || !size.is_multiple_of(SECTOR) {
            return Err(cut_short(path, size, table.size));
        }
        Ok(Self { path: path.to_owned(), stream, signals: signals.clone(), head, table, size })
    }

    /// Fills `buffer` with what comes next; answers how many bytes there were.
    ///
    /// # Errors
    /// It cannot be read.
    pub(super) fn read(&mut self, buffer: &mut [u8]) -> Result<usize, Failure> {
        let filled = piece::fill(self.stream.reader(), buffer);
        filled.map_err(|error| stopped(&self.signals, Failure::io("read", &self.path, &error)))
    }

    /// All was read: whether it was whole.
    ///
    /// # Errors
    /// It was damaged or cut short.
    pub(super) fn finish(mut self, read: u64) -> Result<(), Failure> {
        self.stream.end(&self.path, true)?;
        if read < self.table.size || !read.is_multiple_of(SECTOR) {
            return Err(cut_short(&self.path, read, self.table.size));
        }
        Ok(())
    }
}

impl Stream {
    fn reader(&mut self) -> &mut dyn Read {
        match self {
            Self::Plain(file) => file,
            Self::Packed { output, .. } => output,
        }
    }

    /// Whether what unpacks is content, where it has come to its end.
    fn end(&mut self, path: &Path, is_over: bool) -> Result<(), Failure> {
        /// It has nothing more to do than to end.
        const PATIENCE: std::time::Duration = std::time::Duration::from_secs(10);
        let Self::Packed { program, name, .. } = self else { return Ok(()) };
        if !is_over {
            return Ok(());
        }
        match program.wait_at_most(PATIENCE) {
            Some(status) if !status.success() => Err(Failure::new(
                format!("{} is damaged", path.display()),
                format!("{name} cannot unpack all of it ({status})"),
                "fetch or build it again",
            )),
            _ => Ok(()),
        }
    }
}

/// What ended reading: a signal, if one has come.
fn stopped(signals: &Signals, failure: Failure) -> Failure {
    signals.check().err().unwrap_or(failure)
}

fn unpack(path: &Path, name: &'static str, signals: &Signals) -> Result<Stream, Failure> {
    let mut command = Command::new(name);
    let file = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let mut program = Running::start(command.arg("-dc").arg(file).stdout(Stdio::piped()).stderr(Stdio::null()))?;
    let pipe = program.output();
    let pipe = pipe.ok_or_else(|| Failure::new(format!("cannot read from {name}"), "", "report this"))?;
    let output = Output { pipe, signals: signals.clone() };
    Ok(Stream::Packed { output, program, name })
}

fn none_of_ours(path: &Path, why: &str) -> Failure {
    let advice = "state an image of llmbasedos: llmbasedos-….img.zst, or disk.img of a build; nothing was written";
    Failure::new(format!("{} is no image of llmbasedos", path.display()), why, advice)
}

fn cut_short(path: &Path, there: u64, wanted: u64) -> Failure {
    let why = format!("it has {there} bytes, and its partition table speaks of {wanted}");
    Failure::new(format!("{} is damaged", path.display()), why, "fetch or build it again")
}

/// Compares an image with the sum beside it: `IMAGE.sha256`, or its line in `SHA256SUMS`.
///
/// # Errors
/// They differ, or one cannot be read.
pub(super) fn check_sum(path: &Path, terminal: &Terminal, signals: &Signals) -> Result<(), Failure> {
    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let Some((file, wanted)) = stated_sum(path, &name)? else {
        terminal.note("check", "there is no .sha256 beside it: what was fetched is not compared with what was built");
        return Ok(());
    };
    let stage = terminal.stage("check", &name, "reading");
    let found = sha256_of(path, signals)?;
    if found == wanted {
        stage.finish("its SHA-256 is the stated one");
        return Ok(());
    }
    let why = format!("its SHA-256 is {found},\nand {} says {wanted}", file.display());
    Err(Failure::new(format!("{} is damaged", path.display()), why, "fetch or build it again; nothing was written"))
}

/// The sum that is stated beside an image, and where.
fn stated_sum(path: &Path, name: &str) -> Result<Option<(PathBuf, String)>, Failure> {
    for file in [path.with_file_name(format!("{name}.sha256")), path.with_file_name("SHA256SUMS")] {
        let Ok(content) = fs::read_to_string(&file) else { continue };
        if let Some(sum) = sum_of(&content, name) {
            return Ok(Some((file, sum)));
        }
        if file.extension().is_some() {
            let advice = "put there what `sha256sum` says of it, or remove that file";
            return Err(Failure::new(format!("{} cannot be used", file.display()), "it holds no SHA-256", advice));
        }
    }
    Ok(None)
}

/// The sum of a file of that name among lines of sha256sum(1); a sum without a name is that of any file.
fn sum_of(content: &str, name: &str) -> Option<String> {
    let mut sums = content.lines().filter_map(|line| {
        let (sum, file) = line.trim().split_once(char::is_whitespace).unwrap_or((line.trim(), name));
        let file = Path::new(file.trim_start().trim_start_matches('*')).file_name()?;
        let is_sum = sum.len() == 64 && sum.bytes().all(|digit| digit.is_ascii_hexdigit());
        (is_sum && file == name).then(|| sum.to_lowercase())
    });
    sums.next()
}

/// The product image that was built last or put into the folder `build`. A quick image is none: its kernel has no drivers
/// for the disks of a real machine.
///
/// # Errors
/// There is none.
pub(super) fn newest(build: &Path) -> Result<PathBuf, Failure> {
    let outputs = entries(&build.join("buildroot"));
    let built = outputs.iter().flat_map(|output| Board::value_variants().iter().map(|board| board.image(output)));
    let images = built.chain(entries(build)).filter(|path| is_product_image(path) && path.is_file());
    let age = |path: &PathBuf| fs::metadata(path).and_then(|data| data.modified()).ok();
    images.max_by_key(age).ok_or_else(|| {
        let why = format!("{} has no image of a board; a quick image is for QEMU alone", build.display());
        let advice = "state one: scripts/flash IMAGE; or build one: scripts/build-image x86_64, rpi4 or rpi5";
        Failure::new("there is no image", why, advice)
    })
}

fn entries(folder: &Path) -> Vec<PathBuf> {
    fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path()).collect()
}

/// `llmbasedos-….img`, packed or not.
fn is_product_image(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let ends = [".img", ".img.zst", ".img.xz", ".img.gz"];
    name.starts_with("llmbasedos-") && ends.iter().any(|end| name.ends_with(end))
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use super::*;

    #[test]
    fn a_sum_is_found_by_the_name_of_its_file() {
        let (one, other) = ("1".repeat(64), "Ab".repeat(32));
        let sums = format!("{one}  other.img\n{other} *dist/mine.img\nnonsense mine.img\n");
        assert_eq!(sum_of(&sums, "mine.img"), Some(other.to_lowercase()));
        assert_eq!(sum_of(&sums, "third.img"), None);
        assert_eq!(sum_of(&format!("{one}\n"), "mine.img"), Some(one));
        assert_eq!(sum_of("", "mine.img"), None);
    }

    #[test]
    fn images_are_known_by_their_names() {
        let sound = ["llmbasedos-rpi4.img.zst", "build/llmbasedos-rpi5.img"];
        assert!(sound.iter().all(|name| is_product_image(Path::new(name))));
        for other in ["build/x86_64/disk.img", "llmbasedos-rpi4.img.zst.sha256", "raspios.img.xz"] {
            assert!(!is_product_image(Path::new(other)), "{other}");
        }
    }

    #[test]
    fn the_product_image_that_was_made_last_is_taken_and_a_quick_one_never() {
        let folder = tempfile::tempdir().expect("a folder");
        let put = |path: &str, age: u64| {
            let path = folder.path().join(path);
            fs::create_dir_all(path.parent().expect("inside")).expect("made");
            let made = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000 - age);
            File::create(&path).and_then(|file| file.set_modified(made)).expect("written");
            path
        };
        put("x86_64/disk.img", 0);
        put("x86_64-ollama/disk.img", 0);
        let failure = newest(folder.path()).expect_err("none is a board's");
        assert!(failure.to_string().contains("a quick image is for QEMU alone"), "{failure}");
        // As `image product` leaves them.
        let of_pc = put("buildroot/x86_64/images/llmbasedos/llmbasedos-x86_64.img.zst", 30);
        put("buildroot/x86_64/images/llmbasedos/llmbasedos-x86_64.img.zst.sha256", 10);
        put("buildroot/x86_64/images/llmbasedos/disk.img", 10);
        assert_eq!(newest(folder.path()), Ok(of_pc));
        let of_other_folder = put("buildroot/lite/images/llmbasedos/llmbasedos-rpi5.img.zst", 20);
        put("llmbasedos-rpi4.img.xz", 25);
        assert_eq!(newest(folder.path()), Ok(of_other_folder));
        let fetched = put("llmbasedos-rpi4.img", 15);
        assert_eq!(newest(folder.path()), Ok(fetched));
    }
}

//! The quick image: a distribution's kernel and our static programs, put together without root and without loop
//! devices, for QEMU and for tests. The same inputs give the same bytes.
//!
//! | path in the output folder | what |
//! | --- | --- |
//! | `disk.img` | the disk, sparse |
//! | `vmlinux` | the kernel, unpacked: QEMU starts it without a boot loader |
//! | `initramfs.cpio.zst` | the first stage |
//! | `command-line` | what the kernel is told |
//! | `work/` | the parts that the disk is made of |

mod boot;
mod initramfs;
mod kernel;
mod layout;
mod modules;
mod packages;
mod root;

use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::process::Command;

use spec::boot::{CONFIG_PARTITION, DATA_PARTITION, Slot};

use crate::cache::{Cache, make_folder, remove_folder};
use crate::cli::BootOptions;
use crate::failure::{Failure, plain};
use crate::process;
use crate::release;
use crate::repository::{Repository, short};
use crate::signals::Signals;
use crate::terminal::{Terminal, say};
use layout::{Partition, Place};
use modules::Modules;
use packages::Archive;

/// What a built image is made of.
#[derive(Debug)]
pub(crate) struct Image {
    pub(crate) disk: PathBuf,
    /// What lies on its root partition.
    pub(crate) root: PathBuf,
    pub(crate) kernel: PathBuf,
    pub(crate) initramfs: PathBuf,
    /// What the kernel is told, beside what a way of booting adds.
    pub(crate) command_line: String,
}

/// Builds the image and, where that is wanted, boots it.
pub(crate) fn run(options: &ImageOptions, repository: &Repository, signals: &Signals) -> Result<(), Failure> {
    let folder = repository.path("build/x86_64");
    make_folder(&folder)?;
    repository.link_programs()?;
    let terminal = Terminal::new(format!("llmbasedos {} · quick image · x86_64", env!("CARGO_PKG_VERSION")));
    let image = build(&folder, repository, &terminal, signals)?;
    let size = format!("{:.0} MB", megabytes(&image.disk)?);
    match options {
        ImageOptions::Build => {
            say(format_args!("\nimage    {}   {size}", short(&image.disk)));
            say("next     scripts/run --qemu");
            Ok(())
        }
        ImageOptions::Boot(options) => boot::Guest {
            image: &image,
            folder: &folder,
            memory: options.memory,
            disk_size: options.disk << 20,
            model: &options.model,
            listen: options.listen,
            append: &options.append,
            config: options.config.as_deref(),
        }
        .run(repository, signals),
    }
}

/// What is wanted of an image.
#[derive(Debug)]
pub(crate) enum ImageOptions<'o> {
    /// That it is there.
    Build,
    /// That it runs.
    Boot(&'o BootOptions),
}

/// Builds the image for x86_64 in `folder`.
pub(crate) fn build(
    folder: &Path,
    repository: &Repository,
    terminal: &Terminal,
    signals: &Signals,
) -> Result<Image, Failure> {
    let work = folder.join("work");
    remove_folder(&work)?;
    make_folder(&work)?;
    let stage = terminal.stage("programs", "static, x86_64", "building");
    let programs = release::build(release::Profile::Quick, repository, signals)?;
    stage.finish("ready");

    let stage = terminal.stage("packages", "kernel, e2fsck", "fetching");
    let cache = Cache::find()?;
    let _lock = cache.lock(signals, || stage.doing("waiting for another that fetches"))?;
    let epoch = epoch(repository, signals)?;
    let archive = Archive::open(&cache, &(epoch / 86_400).to_string(), signals)?;
    let (kernel, release) = archive.kernel()?;
    let e2fsck = archive.unpacked("e2fsck-static")?;
    stage.finish(&format!("ready · Linux {release}"));

    let stage = terminal.stage("root", "erofs with its hash tree", "making");
    let modules = Modules::read(&kernel, &release, signals)?;
    let first = work.join("modules");
    let loaded = modules.copy(modules::FIRST, &[], &first)?;
    let tools = Tools { work: &work, epoch, signals };
    let root = root::Root { programs: &programs, e2fsck: &e2fsck, modules: &modules, loaded: &loaded, repository };
    let (root_image, verified) = root.make(&tools, Slot::A)?;
    stage.finish(&format!("{:.1} MB", megabytes(&root_image)?));

    let stage = terminal.stage("kernel", "with its initramfs", "packing");
    let vmlinux = folder.join("vmlinux");
    kernel::unpack(&kernel.join("boot").join(format!("vmlinuz-{release}")), &vmlinux, signals)?;
    let initramfs = tools.initramfs(&programs.join("init"), &first, folder)?;
    let command_line = format!("quiet panic=10 gpt printk.devkmsg=on cryptomgr.notests=1 {verified}");
    write(&folder.join("command-line"), &format!("{command_line}\n"))?;
    stage.finish(&format!("{:.1} MB", megabytes(&initramfs)?));

    let stage = terminal.stage("disk", "partitions and file systems", "putting together");
    let disk = folder.join("disk.img");
    let places = layout::create(&disk)?;
    let find = |name: &str| places.iter().find(|(partition, _)| partition.name == name);
    for (name, source) in [
        (Slot::A.root_partition(), root_image.clone()),
        (CONFIG_PARTITION, tools.config(find(CONFIG_PARTITION), repository)?),
        (DATA_PARTITION, tools.data(find(DATA_PARTITION))?),
    ] {
        let place = find(name).map(|(_, place)| *place);
        let place = place.ok_or_else(|| Failure::new(format!("there is no partition {name}"), "", "report this"))?;
        copy_to(&source, &disk, place, Zeros::Hole).map_err(|error| Failure::io("write", &disk, &error))?;
    }
    stage.finish("ready");
    Ok(Image { disk, root: root_image, kernel: vmlinux, initramfs, command_line })
}

/// The moment that every file in the image bears: that of the last commit, or what `SOURCE_DATE_EPOCH` says
/// (<https://reproducible-builds.org/specs/source-date-epoch/>).
fn epoch(repository: &Repository, signals: &Signals) -> Result<u64, Failure> {
    if let Some(stated) = std::env::var("SOURCE_DATE_EPOCH").ok().and_then(|text| text.parse().ok()) {
        return Ok(stated);
    }
    let mut git = Command::new("git");
    let said = process::ask(git.current_dir(repository.path("")).args(["log", "-1", "--format=%ct"]), signals)?;
    let parsed = said.and_then(|text| text.trim().parse().map_err(|_| format!("git says {text:?}")));
    parsed.map_err(|why| Failure::new("the age of the sources is not known", why, "set SOURCE_DATE_EPOCH=SECONDS"))
}

/// What makes file systems, with all that could make two builds differ held still.
struct Tools<'a> {
    work: &'a Path,
    epoch: u64,
    signals: &'a Signals,
}

/// A program of the distribution: some lie where only root looks.
fn tool(program: &str) -> Command {
    let mut command = Command::new(program);
    command.env("PATH", format!("{}:/usr/sbin:/sbin", std::env::var("PATH").unwrap_or_default()));
    command
}

impl Tools<'_> {
    /// Runs a tool; answers what it said.
    fn run(&self, program: &str, arguments: &[&str]) -> Result<String, Failure> {
        let mut command = tool(program);
        let epoch = self.epoch.to_string();
        // E2FSPROGS_FAKE_TIME is what e2fsprogs before 1.47.1 knows of it.
        command.args(arguments).env("SOURCE_DATE_EPOCH", &epoch).env("E2FSPROGS_FAKE_TIME", &epoch).env("TZ", "UTC");
        command.env("MTOOLS_SKIP_CHECK", "1").env("LC_ALL", "C");
        process::ask(&mut command, self.signals)?.map_err(|why| {
            Failure::new(format!("{program} failed"), why, "run scripts/run --qemu, which installs what is missing")
        })
    }

    fn initramfs(&self, init: &Path, modules: &Path, folder: &Path) -> Result<PathBuf, Failure> {
        let archive = self.work.join("initramfs.cpio");
        initramfs::write(&archive, init, modules)?;
        let packed = folder.join("initramfs.cpio.zst");
        self.run("zstd", &["-q", "-f", "-19", &text(&archive), "-o", &text(&packed)])?;
        Ok(packed)
    }

    /// The partition with the owner's `llmbasedos.toml`, which every PC can write.
    fn config(&self, place: Option<&(Partition, Place)>, repository: &Repository) -> Result<PathBuf, Failure> {
        let image = self.work.join("config.img");
        set_size(&image, place)?;
        self.run("mkfs.vfat", &["--invariant", "-n", "LLMBASEDOS", &text(&image)])?;
        let example = repository.path("image/src/quick/llmbasedos.toml");
        self.run("mcopy", &["-i", &text(&image), "-m", &text(&example), "::/llmbasedos.toml"])?;
        Ok(image)
    }

    /// The empty data partition: ext4, whose metadata are checked as they are read.
    fn data(&self, place: Option<&(Partition, Place)>) -> Result<PathBuf, Failure> {
        let image = self.work.join("data.img");
        set_size(&image, place)?;
        let (name, seed) = (layout::identifier("data").to_string(), layout::identifier("hash seed").to_string());
        let options = format!("hash_seed={seed},lazy_itable_init=0,lazy_journal_init=0,root_owner=0:0");
        let features = "metadata_csum,64bit,quota,project";
        self.run(
            "mke2fs",
            &["-q", "-t", "ext4", "-O", features, "-U", &name, "-L", "data", "-E", &options, &text(&image)],
        )?;
        Ok(image)
    }
}

fn set_size(image: &Path, place: Option<&(Partition, Place)>) -> Result<(), Failure> {
    let size = place.map_or(0, |(_, place)| place.size);
    let made = File::create(image).and_then(|file| file.set_len(size));
    made.map_err(|error| Failure::io("write", image, &error))
}

/// What is done with the zeros of a file that is copied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Zeros {
    /// Nothing: the place is empty, and stays so.
    Hole,
    /// They are written over what is there.
    Written,
}

/// Copies a file to its place on the disk.
fn copy_to(source: &Path, disk: &Path, place: Place, zeros: Zeros) -> io::Result<()> {
    /// What is looked at at once.
    const PIECE: usize = 64 << 10;
    let mut source = File::open(source)?;
    if source.metadata()?.len() > place.size {
        return Err(io::Error::other("it does not fit into its partition"));
    }
    let mut disk = File::options().write(true).open(disk)?;
    let mut piece = vec![0; PIECE];
    let mut at = place.start;
    loop {
        let count = source.read(&mut piece)?;
        let read = piece.get(..count).unwrap_or_default();
        if zeros == Zeros::Written || read.iter().any(|&byte| byte != 0) {
            disk.seek(SeekFrom::Start(at))?;
            disk.write_all(read)?;
        }
        if count == 0 {
            return Ok(());
        }
        at += count as u64;
    }
}

fn megabytes(file: &Path) -> Result<f64, Failure> {
    let size = fs::metadata(file).map_err(|error| Failure::io("find", file, &error))?.len();
    Ok(u32::try_from(size / 1000).map_or(f64::INFINITY, f64::from) / 1000.0)
}

fn text(path: &Path) -> String {
    path.display().to_string()
}

fn write(path: &Path, content: &str) -> Result<(), Failure> {
    fs::write(path, content).map_err(|error| {
        Failure::new(format!("cannot write {}", path.display()), plain(&error), "mend that and run this again")
    })
}

//! The data folder: what lies where, and that only one init uses it.

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Component, Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{OFlag, OpenHow, ResolveFlag, openat2};
use nix::sys::stat::{Mode, mkdirat};
use nix::unistd::fsync;
use spec::paths;

use crate::error::StartError;

/// The two folders from which all others follow (`spec::paths`); both absolute.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Layout {
    pub(crate) data: PathBuf,
    pub(crate) run: PathBuf,
}

/// Folders in `run` that hold only what init makes anew at each start.
const VOLATILE: [&str; 5] = ["mcp", "callers", "egress", "notify", "settings"];

impl Layout {
    /// Creates what is missing (`run`: in the data folder unless it is given), and takes the lock that keeps a second
    /// init away while the file is open.
    ///
    /// # Errors
    /// [`StartError::Data`] where the folder cannot be used, [`StartError::AlreadyRunning`] where it is in use.
    pub(crate) fn prepare(data: &Path, run: Option<&Path>) -> Result<(Self, File), StartError> {
        let failed = StartError::data;
        create_folder(data).map_err(failed(data, "create it"))?;
        let data = data.canonicalize().map_err(failed(data, "find it"))?;
        let run = run.map_or_else(|| data.join("run"), Path::to_owned);
        let layout = Self { run, data };
        create_folder(&layout.run).map_err(failed(&layout.run, "create it"))?;
        let lock = layout.lock()?;
        layout.clear_volatile();
        let volatile = VOLATILE.iter().map(|name| layout.run.join(name));
        let lasting = ["log", "arcs", "sites", "arcs.d", "quests"].iter().map(|name| layout.data.join(name));
        for folder in volatile.chain(lasting) {
            create_folder(&folder).map_err(failed(&folder, "create it"))?;
        }
        Ok((layout, lock))
    }

    fn lock(&self) -> Result<File, StartError> {
        let path = self.run.join("init.lock");
        let failed = |step| StartError::data(&path, step);
        let mut options = OpenOptions::new();
        let opened = options.read(true).write(true).create(true).truncate(false).mode(0o600).open(&path);
        let mut file = opened.map_err(failed("write it"))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut pid = String::new();
                // Not knowing the number is no reason to fail differently.
                let _ = file.read_to_string(&mut pid);
                return Err(StartError::AlreadyRunning { data: self.data.clone(), pid: pid.trim().to_owned() });
            }
            Err(TryLockError::Error(source)) => return Err(failed("lock it")(source)),
        }
        file.set_len(0).and_then(|()| writeln!(file, "{}", std::process::id())).map_err(failed("write it"))?;
        Ok(file)
    }

    /// Removes the sockets and files that only mean something while init runs.
    pub(crate) fn clear_volatile(&self) {
        for name in VOLATILE {
            let entries = self.run.join(name).read_dir().into_iter().flatten().flatten();
            for entry in entries {
                // What cannot be removed now is replaced when it is needed.
                let _ = fs::remove_file(entry.path());
            }
        }
        let _ = fs::remove_file(paths::init_socket(&self.run));
    }

    /// The readiness socket of a service.
    pub(crate) fn notify_socket(&self, service: &str) -> PathBuf {
        self.run.join("notify").join(format!("{service}.sock"))
    }

    /// The variable that a service's processes have in their environment and no others do.
    pub(crate) fn mark(&self, service: &str) -> String {
        format!("{}{service}.sock", self.mark_prefix())
    }

    /// What the marks of all services begin with.
    pub(crate) fn mark_prefix(&self) -> String {
        format!("NOTIFY_SOCKET={}/", self.run.join("notify").display())
    }

    /// The settings of an Arc.
    pub(crate) fn settings_file(&self, arc: &str) -> PathBuf {
        self.run.join("settings").join(format!("{arc}.toml"))
    }

    /// Where a path of a manifest lies here: `/data/sites` in the data folder, all others where they are.
    pub(crate) fn resolve(&self, path: &str) -> PathBuf {
        match Path::new(path).strip_prefix("/data") {
            Ok(below) => self.data.join(below),
            Err(_) => PathBuf::from(path),
        }
    }
}

/// Creates a folder and those above it, for their owner alone. One that is there stays as it is; one that is made is
/// there after a power cut: who is in a cage cannot see to that, for it does not have the folder above its own.
pub(crate) fn create_folder(path: &Path) -> io::Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    let above = path.parent().filter(|above| !above.as_os_str().is_empty());
    above.map_or(Ok(()), create_folder)?;
    match DirBuilder::new().mode(0o700).create(path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists || !path.is_dir() => Err(error),
        _ => above.map_or(Ok(()), |above| File::open(above)?.sync_all()),
    }
}

/// The same below `base`, where services may write: no link is followed on the way, so that nobody has init make folders
/// elsewhere. A file that is there in the place of the last one stays.
pub(crate) fn create_folder_in(base: &Path, path: &Path) -> io::Result<()> {
    let below = path.strip_prefix(base).map_err(io::Error::other)?;
    let mut above: OwnedFd = File::open(base)?.into();
    let how = OpenHow::new()
        .flags(OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC | OFlag::O_NOFOLLOW)
        .resolve(ResolveFlag::RESOLVE_BENEATH | ResolveFlag::RESOLVE_NO_SYMLINKS);
    let mut names = below.components().map(Component::as_os_str).peekable();
    while let Some(name) = names.next() {
        let open = || openat2(&above, name, how);
        above = match open() {
            Err(Errno::ENOTDIR) if names.peek().is_none() => return Ok(()),
            Err(Errno::ENOENT) => {
                mkdirat(&above, name, Mode::S_IRWXU)?;
                fsync(&above)?;
                open()?
            }
            other => other?,
        };
    }
    Ok(())
}

/// Replaces a small file for its owner alone (0600), so that a reader finds the old or the new one whole, also after a
/// power cut.
pub(crate) fn write_private(path: &Path, content: &[u8]) -> io::Result<()> {
    let fresh = path.with_extension("new");
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&fresh)?;
    file.write_all(content)?;
    file.sync_all()?;
    fs::rename(&fresh, path)?;
    path.parent().map_or(Ok(()), |folder| File::open(folder)?.sync_all())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_link_leads_out_of_the_folder_in_which_one_is_made() {
        let (data, outside) = (tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder"));
        let at = |name: &str| data.path().join(name);
        create_folder_in(data.path(), &at("arcs/kv")).expect("made");
        create_folder_in(data.path(), &at("arcs/kv")).expect("there");
        fs::write(at("arcs/file"), "x").expect("written");
        create_folder_in(data.path(), &at("arcs/file")).expect("left as it is");
        std::os::unix::fs::symlink(outside.path(), at("arcs/link")).expect("linked");
        assert!(create_folder_in(data.path(), &at("arcs/link/key.tpm")).is_err());
        // Itself it is left as it is, as a file would be; who binds it follows no link either.
        let _ = create_folder_in(data.path(), &at("arcs/link"));
        assert_eq!(fs::read_dir(outside.path()).expect("there").count(), 0);
        assert!(create_folder_in(data.path(), Path::new("/elsewhere")).is_err());
    }

    #[test]
    fn paths_of_a_manifest_are_found_in_the_data_folder() {
        let layout = Layout { data: "/home/a/data".into(), run: "/home/a/data/run".into() };
        assert_eq!(layout.resolve("/data/sites"), Path::new("/home/a/data/sites"));
        assert_eq!(layout.resolve("/database"), Path::new("/database"));
    }

    #[test]
    fn a_folder_is_used_once_and_left_by_the_first_is_free_again() {
        let folder = tempfile::tempdir().expect("a folder");
        let (layout, lock) = Layout::prepare(&folder.path().join("a/b"), None).expect("prepared");
        let second = Layout::prepare(&layout.data, None).expect_err("in use").to_string();
        let expected = format!(
            "llmbasedos is already running on {} (pid {}); stop it or use --data",
            layout.data.display(),
            std::process::id()
        );
        assert_eq!(second, expected);
        drop(lock);
        Layout::prepare(&layout.data, None).expect("free again");
    }
}

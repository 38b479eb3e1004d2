//! The folder of the sites: opening what is in it and nothing else, and telling which sites there are.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::path::PathBuf;

use kit::Name;
use rustix::fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags, ResolveFlags, Stat, fstat, openat, openat2, statat};
use rustix::io::Errno;
use time::OffsetDateTime;

/// Nothing above the folder, no symbolic link, no `/proc/self/fd`-like link: `openat2(2)`.
const INSIDE: ResolveFlags = ResolveFlags::BENEATH.union(ResolveFlags::NO_SYMLINKS).union(ResolveFlags::NO_MAGICLINKS);
const FOLDER: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);

/// The largest file that is served; it is read into memory whole.
const LARGEST: u64 = 32 << 20;
/// How many sites are told of, how many entries of each are counted, and how deep its folders are looked into.
const MOST_SITES: usize = 1000;
const MOST_ENTRIES: usize = 10_000;
const DEEPEST: u32 = 4;
/// The title stands in the first bytes of a page.
const HEAD_BYTES: u64 = 16 << 10;

/// The folder of the sites. It is opened for each use: it may not be there yet, or be replaced.
#[derive(Debug)]
pub(crate) struct Shelf {
    path: PathBuf,
}

/// What lies at a path.
#[derive(Debug)]
pub(crate) enum Found {
    /// A file, with what changes when it does.
    File { bytes: Vec<u8>, version: String },
    /// A folder.
    Folder,
    /// Nothing that is served.
    Nothing,
    /// A file that is too large to be served.
    TooLarge,
}

/// A site, as far as its files tell.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Site {
    pub(crate) id: Name,
    /// What the title of its first page says, else its name.
    pub(crate) title: String,
    /// How many pages it has.
    pub(crate) pages: u32,
    /// When its first page was written.
    pub(crate) modified: OffsetDateTime,
}

impl Shelf {
    /// The folder at `path` of this machine.
    pub(crate) fn new(path: PathBuf) -> Self {
        Self { path }
    }

    /// Finds what lies at `path`, which [`Target`](crate::target::Target) has read.
    pub(crate) fn find(&self, path: &str) -> io::Result<Found> {
        let opened = self.root().and_then(|root| open(&root, path, OFlags::RDONLY));
        let (file, stat) = match opened {
            Ok(opened) => opened,
            Err(errno) if is_absence(errno) => return Ok(Found::Nothing),
            Err(errno) => return Err(errno.into()),
        };
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::Directory => Ok(Found::Folder),
            FileType::RegularFile => read(file, &stat),
            _ => Ok(Found::Nothing),
        }
    }

    /// The sites, the one that was written last first. What has no first page is none.
    pub(crate) fn sites(&self) -> io::Result<Vec<Site>> {
        let root = match self.root() {
            Ok(root) => root,
            Err(errno) if is_absence(errno) => return Ok(Vec::new()),
            Err(errno) => return Err(errno.into()),
        };
        let names = names(&root)?.into_iter().filter_map(|name| name.parse::<Name>().ok());
        let mut sites: Vec<Site> = names.filter_map(|id| site(&root, id)).take(MOST_SITES).collect();
        sites.sort_by(|a, b| b.modified.cmp(&a.modified).then_with(|| a.id.cmp(&b.id)));
        Ok(sites)
    }

    fn root(&self) -> Result<OwnedFd, Errno> {
        openat(CWD, &self.path, FOLDER, Mode::empty())
    }
}

/// What is not there for whoever asks: missing, behind a link, outside, or not to be read.
fn is_absence(errno: Errno) -> bool {
    matches!(
        errno,
        Errno::NOENT | Errno::NOTDIR | Errno::LOOP | Errno::XDEV | Errno::ACCESS | Errno::NAMETOOLONG | Errno::NXIO
    )
}

fn open(root: &OwnedFd, path: &str, flags: OFlags) -> Result<(File, Stat), Errno> {
    // Without NONBLOCK a pipe would be waited for.
    let flags = flags | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
    let file = openat2(root, path, flags, Mode::empty(), INSIDE)?;
    let stat = fstat(&file)?;
    Ok((file.into(), stat))
}

fn read(file: File, stat: &Stat) -> io::Result<Found> {
    if u64::try_from(stat.st_size).is_ok_and(|size| size > LARGEST) {
        return Ok(Found::TooLarge);
    }
    let mut bytes = Vec::new();
    file.take(LARGEST).read_to_end(&mut bytes)?;
    let version = format!("{:x}-{:x}-{:x}", stat.st_size, stat.st_mtime, stat.st_mtime_nsec);
    Ok(Found::File { bytes, version })
}

/// The names in a folder that can be served.
fn names(folder: &OwnedFd) -> Result<Vec<String>, Errno> {
    let mut names = Vec::new();
    for entry in Dir::read_from(folder)?.take(MOST_ENTRIES) {
        let name = entry?.file_name().to_str().map(str::to_owned);
        names.extend(name.ok().filter(|name| !name.starts_with('.')));
    }
    Ok(names)
}

fn site(root: &OwnedFd, id: Name) -> Option<Site> {
    let (index, stat) = open(root, &format!("{id}/index.html"), OFlags::RDONLY).ok()?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
        return None;
    }
    let mut head = Vec::new();
    index.take(HEAD_BYTES).read_to_end(&mut head).ok()?;
    let title = title(&String::from_utf8_lossy(&head)).unwrap_or_else(|| id.to_string());
    let modified = OffsetDateTime::from_unix_timestamp(stat.st_mtime).ok()?;
    let mut entries_left = MOST_ENTRIES;
    let pages = pages(root, id.as_str(), DEEPEST, &mut entries_left);
    Some(Site { id, title, pages, modified })
}

/// How many pages there are below `path`.
fn pages(root: &OwnedFd, path: &str, depth: u32, entries_left: &mut usize) -> u32 {
    let Ok(folder) = openat2(root, path, FOLDER, Mode::empty(), INSIDE) else { return 0 };
    let mut count = 0;
    for name in names(&folder).unwrap_or_default() {
        let Some(left) = entries_left.checked_sub(1) else { return count };
        *entries_left = left;
        let Ok(stat) = statat(&folder, &name, AtFlags::SYMLINK_NOFOLLOW) else { continue };
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::RegularFile if name.ends_with(".html") => count += 1,
            FileType::Directory if depth > 0 => {
                count += pages(root, &format!("{path}/{name}"), depth - 1, entries_left)
            }
            _ => {}
        }
    }
    count
}

/// The text of the `title` element of a page, with the references that our own templates write resolved.
fn title(html: &str) -> Option<String> {
    let (_, rest) = html.split_once("<title>")?;
    let (title, _) = rest.split_once("</title>")?;
    let mut title = title.split_whitespace().collect::<Vec<_>>().join(" ");
    for (reference, character) in [
        ("&lt;", "<"),
        ("&gt;", ">"),
        ("&quot;", "\""),
        ("&#34;", "\""),
        ("&#39;", "'"),
        ("&#x27;", "'"),
        ("&#x2f;", "/"),
        ("&amp;", "&"),
    ] {
        title = title.replace(reference, character);
    }
    let title: String = title.chars().filter(|c| !c.is_control()).take(200).collect();
    (!title.is_empty()).then_some(title)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    fn shelf() -> (tempfile::TempDir, Shelf) {
        let folder = tempfile::tempdir().expect("a folder");
        fs::write(folder.path().join("secret"), "secret").expect("written");
        let root = folder.path().join("sites");
        fs::create_dir_all(root.join("demo/posts")).expect("made");
        fs::write(root.join("demo/index.html"), "<title>Tea &amp;\n &lt;more&gt;</title>").expect("written");
        fs::write(root.join("demo/posts/a.html"), "a").expect("written");
        fs::write(root.join("demo/posts/a.txt"), "a").expect("written");
        fs::create_dir_all(root.join(".demo.new")).expect("made");
        fs::write(root.join(".demo.new/index.html"), "unfinished").expect("written");
        fs::create_dir_all(root.join("empty")).expect("made");
        (folder, Shelf::new(root))
    }

    #[test]
    fn finished_sites_are_told_with_their_titles() {
        let (_folder, shelf) = shelf();
        let sites = shelf.sites().expect("reads");
        let told: Vec<_> = sites.iter().map(|site| (site.id.as_str(), site.title.as_str(), site.pages)).collect();
        assert_eq!(told, [("demo", "Tea & <more>", 2)]);
    }

    #[test]
    fn a_folder_that_is_not_there_yet_holds_no_sites() {
        let shelf = Shelf::new("/nowhere/at/all".into());
        assert_eq!(shelf.sites().expect("reads"), []);
        assert!(matches!(shelf.find("demo/index.html"), Ok(Found::Nothing)));
    }

    #[test]
    fn nothing_is_served_through_a_link_or_from_outside() {
        let (folder, shelf) = shelf();
        let root = folder.path().join("sites");
        symlink(folder.path().join("secret"), root.join("demo/link")).expect("linked");
        symlink(folder.path(), root.join("demo/out")).expect("linked");
        symlink("posts/a.html", root.join("demo/near")).expect("linked");
        for path in ["demo/link", "demo/out/secret", "demo/near", "demo/../../secret", "/etc/passwd"] {
            assert!(matches!(shelf.find(path), Ok(Found::Nothing)), "{path}");
        }
        assert!(matches!(shelf.find("demo/posts/a.html"), Ok(Found::File { .. })));
        assert!(matches!(shelf.find("demo/posts"), Ok(Found::Folder)));
    }

    #[test]
    fn a_pipe_is_not_waited_for() {
        let (folder, shelf) = shelf();
        let path = folder.path().join("sites/demo/pipe");
        rustix::fs::mkfifoat(CWD, &path, Mode::from_raw_mode(0o600)).expect("made");
        assert!(matches!(shelf.find("demo/pipe"), Ok(Found::Nothing)));
    }
}

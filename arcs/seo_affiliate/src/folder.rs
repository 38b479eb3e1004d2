//! The folder of all sites, and how a site changes there: written whole beside the old one, checked, and exchanged with
//! it in one step. Whatever happens before that step leaves the old site as it was.
//!
//! A site's folder belongs to this Arc: it is replaced as a whole, so nothing that others put there stays.

use std::fs::{self, File, Permissions};
use std::hash::{BuildHasher, RandomState};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use kit::Name;
use rustix::fs::{CWD, RenameFlags, renameat_with};

use crate::article::Article;
use crate::check::{Checks, Faults, check};
use crate::page::{self, Addresses};
use crate::site::{DATA, Site};

/// What the name of an unfinished site begins with. Such folders are not served.
const UNFINISHED: &str = ".new-";

/// Why a site could not be changed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FolderError {
    /// A step on the disk failed.
    #[error("cannot {step} {}", path.display())]
    Disk {
        /// What was done.
        step: &'static str,
        /// With what.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
    /// The new site is in its place, and the disk could not be told to keep it there.
    #[error("the new site may not outlive a power cut: {0}")]
    Unflushed(Box<FolderError>),
    /// Something else has the name of the site.
    #[error("{} holds something that is no site of this Arc", path.display())]
    Foreign {
        /// The site's folder.
        path: PathBuf,
    },
    /// The data of a site that was written before.
    #[error("{} cannot be read: {why}", path.display())]
    Data {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// A template of this program.
    #[error("a page cannot be made")]
    Template(#[from] minijinja::Error),
    /// What was written does not stand its own check.
    #[error("the new site does not pass its check")]
    Check(#[from] Faults),
}

/// The folder of all sites.
pub(crate) struct Sites {
    folder: PathBuf,
    /// Held while a site is read, changed and exchanged.
    changing: Mutex<()>,
}

/// The folder of a site that is being made; goes with its content when it is dropped unfinished.
#[derive(Debug)]
pub(crate) struct Draft {
    path: PathBuf,
}

impl Sites {
    /// The sites in `folder`. What a run that was killed left there is removed; nobody else may be writing there.
    pub(crate) fn open(folder: PathBuf) -> Self {
        let entries = fs::read_dir(&folder).into_iter().flatten().flatten();
        for entry in entries.filter(|entry| entry.file_name().to_string_lossy().starts_with(UNFINISHED)) {
            remove(&entry.path());
        }
        Self { folder, changing: Mutex::new(()) }
    }

    /// Makes an empty folder for the next state of a site, which shows early whether the disk can be written and whether
    /// the name is free or ours.
    ///
    /// # Errors
    /// The folder cannot be made, or what has the site's name cannot be read.
    pub(crate) fn draft(&self, id: &Name) -> Result<Draft, FolderError> {
        fs::create_dir_all(&self.folder).map_err(disk("make the folder", &self.folder))?;
        self.folder.parent().map_or(Ok(()), sync)?;
        self.site(id)?;
        let path = self.folder.join(format!("{UNFINISHED}{id}-{:016x}", RandomState::new().hash_one(id.as_str())));
        make_folder(&path)?;
        Ok(Draft { path })
    }

    /// The site as it is; one without articles where there is none.
    fn site(&self, id: &Name) -> Result<Site, FolderError> {
        let path = self.folder.join(id.as_str());
        let data = path.join(DATA);
        match fs::read_to_string(&data) {
            Ok(text) => Site::from_json(id, &text).map_err(|why| FolderError::Data { path: data, why }),
            Err(error) if error.kind() == ErrorKind::NotFound && is_free(&path) => Ok(Site::new(id.clone())),
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
                Err(FolderError::Foreign { path })
            }
            Err(error) => Err(disk("read", &data)(error)),
        }
    }

    /// Adds articles to a site: the draft is filled, checked and takes the place of what was there.
    ///
    /// # Errors
    /// A step fails; the old site is then as it was, and the draft is gone. Only after [`FolderError::Unflushed`] the
    /// new site is there.
    pub(crate) fn publish(
        &self,
        draft: &Draft,
        id: &Name,
        articles: &[Article],
        addresses: &Addresses,
    ) -> Result<Checks, FolderError> {
        let _changing = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let mut site = self.site(id)?;
        articles.iter().rev().for_each(|article| site.add(article.clone()));
        let checks = draft.fill(&site, addresses)?;
        let place = self.folder.join(id.as_str());
        let flags = if place.exists() { RenameFlags::EXCHANGE } else { RenameFlags::NOREPLACE };
        renameat_with(CWD, &draft.path, CWD, &place, flags)
            .map_err(|error| disk("put the new site in the place of", &place)(error.into()))?;
        sync(&self.folder).map_err(|error| FolderError::Unflushed(Box::new(error)))?;
        Ok(checks)
    }
}

impl Draft {
    /// Writes the site and reads it back. Once this is done, a power cut loses nothing of it.
    fn fill(&self, site: &Site, addresses: &Addresses) -> Result<Checks, FolderError> {
        let posts = self.path.join("posts");
        make_folder(&posts)?;
        for file in page::render(site, addresses)? {
            self.write(&file.path, &file.text)?;
        }
        let checks = check(&self.path, site, addresses)?;
        let data =
            site.to_json().map_err(|error| FolderError::Data { path: self.path.join(DATA), why: error.to_string() })?;
        self.write(DATA, &data)?;
        sync(&posts)?;
        sync(&self.path)?;
        Ok(checks)
    }

    fn write(&self, path: &str, text: &str) -> Result<(), FolderError> {
        let path = self.path.join(path);
        let written = File::create_new(&path).and_then(|mut file| {
            file.write_all(text.as_bytes())?;
            // Others read it: the Arc that serves sites runs as another user.
            file.set_permissions(Permissions::from_mode(0o644))?;
            file.sync_all()
        });
        written.map_err(disk("write", &path))
    }
}

impl Drop for Draft {
    /// Removes what lies under the draft's name: an unfinished site, or the old one after the exchange.
    fn drop(&mut self) {
        remove(&self.path);
    }
}

/// Whether nothing is at `path`, or an empty folder.
fn is_free(path: &Path) -> bool {
    match fs::symlink_metadata(path) {
        Ok(data) => data.is_dir() && fs::read_dir(path).is_ok_and(|mut entries| entries.next().is_none()),
        Err(error) => error.kind() == ErrorKind::NotFound,
    }
}

fn make_folder(path: &Path) -> Result<(), FolderError> {
    let made = fs::create_dir(path).and_then(|()| fs::set_permissions(path, Permissions::from_mode(0o755)));
    made.map_err(disk("make the folder", path))
}

fn sync(folder: &Path) -> Result<(), FolderError> {
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(disk("flush", folder))
}

fn remove(path: &Path) {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            tracing::warn!(%error, path = %path.display(), "an unfinished site cannot be removed");
        }
        _ => {}
    }
}

fn disk(step: &'static str, path: &Path) -> impl FnOnce(io::Error) -> FolderError {
    let path = path.to_owned();
    move |source| FolderError::Disk { step, path, source }
}

impl FolderError {
    /// What a caller is told of a failure with the site `id`: no path of this machine.
    pub(crate) fn for_caller(self, id: &Name) -> kit::Error {
        let place = format!("/data/sites/{id}");
        let why = match &self {
            Self::Disk { source, .. } => disk_words(source).to_owned(),
            Self::Unflushed(_) => {
                let message = format!("{place} is new, but may not outlive a power cut: see the log of seo_affiliate");
                return kit::Error::new(message).caused_by(self);
            }
            Self::Foreign { .. } => "something else has that name; take another site_id, or remove it".to_owned(),
            Self::Data { .. } => format!(
                "its {DATA} cannot be read, which holds the older articles; mend it after what the log of seo_affiliate \
                 says, or remove {place} to begin anew"
            ),
            Self::Template(_) => "a page cannot be made; see the log of seo_affiliate".to_owned(),
            Self::Check(faults) => format!("the new pages did not pass their check ({faults}); try again"),
        };
        kit::Error::new(format!("{place} was not changed: {why}")).caused_by(self)
    }
}

fn disk_words(error: &io::Error) -> &'static str {
    match error.kind() {
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => "the disk is full; free some space and try again",
        ErrorKind::ReadOnlyFilesystem => "the disk is read-only; make the data folder writable and try again",
        ErrorKind::PermissionDenied => "it may not be written; give the data folder to the user who runs the system",
        _ => "the disk refused; see the log of seo_affiliate",
    }
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};
    use std::time::Duration;

    use super::*;
    use crate::sample;

    fn names(folder: &Path) -> Vec<String> {
        let mut names: Vec<String> = fs::read_dir(folder)
            .expect("a folder")
            .map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned())
            .collect();
        names.sort();
        names
    }

    fn publish(sites: &Sites, articles: &[Article]) -> Result<Checks, FolderError> {
        let id: Name = "demo".parse().expect("a name");
        let draft = sites.draft(&id)?;
        sites.publish(&draft, &id, articles, &Addresses::new("http://127.0.0.1:8001/", "demo"))
    }

    #[test]
    fn a_new_site_appears_whole_and_an_old_one_grows() {
        let folder = tempfile::tempdir().expect("a folder");
        let sites = Sites::open(folder.path().join("sites"));
        let [first, second] = sample::articles();
        publish(&sites, std::slice::from_ref(&first)).expect("published");
        assert_eq!(names(&folder.path().join("sites")), ["demo"]);
        publish(&sites, std::slice::from_ref(&second)).expect("published again");
        let place = folder.path().join("sites/demo");
        assert_eq!(names(&folder.path().join("sites")), ["demo"]);
        assert_eq!(names(&place), [DATA, "feed.xml", "icon.svg", "index.html", "posts", "sitemap.xml", "style.css"]);
        assert_eq!(names(&place.join("posts")).len(), 2);
        let index = fs::read_to_string(place.join("index.html")).expect("an index");
        assert!(index.contains(&first.title) && index.contains(&second.title));
    }

    #[test]
    fn what_fails_its_check_leaves_the_old_site_as_it_was() {
        let folder = tempfile::tempdir().expect("a folder");
        let sites = Sites::open(folder.path().to_owned());
        let [first, second] = sample::articles();
        publish(&sites, std::slice::from_ref(&first)).expect("published");
        let before = fs::read_to_string(folder.path().join("demo/index.html")).expect("an index");
        let endless = Article { description: "Far too long. ".repeat(4000), ..second };
        let error = publish(&sites, &[endless]).expect_err("too big");
        assert!(matches!(error, FolderError::Check(_)), "{error:?}");
        assert_eq!(names(folder.path()), ["demo"]);
        assert_eq!(fs::read_to_string(folder.path().join("demo/index.html")).expect("an index"), before);
    }

    #[test]
    #[ignore = "the next test starts it, and kills it"]
    fn publish_for_ever() {
        let sites = Sites::open(std::env::var_os("PUBLISH_IN").expect("a folder").into());
        for article in sample::articles().iter().cycle() {
            publish(&sites, std::slice::from_ref(article)).expect("published");
        }
    }

    #[test]
    fn a_kill_at_any_moment_leaves_a_whole_site() {
        let folder = tempfile::tempdir().expect("a folder");
        let (place, id) = (folder.path().join("demo"), "demo".parse().expect("a name"));
        for round in 0..12 {
            let mut publisher = Command::new(std::env::current_exe().expect("this program"))
                .args(["--exact", "folder::tests::publish_for_ever", "--ignored"])
                .env("PUBLISH_IN", folder.path())
                .stdout(Stdio::null())
                .spawn()
                .expect("it runs");
            while !place.exists() {
                assert!(publisher.try_wait().expect("a child").is_none(), "it ended by itself");
            }
            // At another moment of its work each time.
            std::thread::sleep(Duration::from_millis(100 + 7 * round));
            publisher.kill().expect("it runs");
            publisher.wait().expect("a child");
            let sites = Sites::open(folder.path().to_owned());
            assert_eq!(names(folder.path()), ["demo"]);
            let site = sites.site(&id).expect("its data");
            check(&place, &site, &Addresses::new("http://127.0.0.1:8001/", "demo")).expect("a sound site");
        }
    }

    #[test]
    fn what_a_killed_run_left_is_removed_at_the_next_start() {
        let folder = tempfile::tempdir().expect("a folder");
        fs::create_dir_all(folder.path().join(".new-demo-12/posts")).expect("made");
        fs::create_dir_all(folder.path().join("other")).expect("made");
        Sites::open(folder.path().to_owned());
        assert_eq!(names(folder.path()), ["other"]);
    }

    #[test]
    fn what_is_not_ours_is_not_touched() {
        let folder = tempfile::tempdir().expect("a folder");
        let sites = Sites::open(folder.path().to_owned());
        fs::create_dir(folder.path().join("demo")).expect("made");
        fs::write(folder.path().join("demo/precious.txt"), "x").expect("written");
        assert!(matches!(publish(&sites, &sample::articles()), Err(FolderError::Foreign { .. })));
        fs::remove_dir_all(folder.path().join("demo")).expect("removed");
        fs::write(folder.path().join("demo"), "a file").expect("written");
        assert!(matches!(publish(&sites, &sample::articles()), Err(FolderError::Foreign { .. })));
        assert_eq!(names(folder.path()), ["demo"]);
    }

    #[test]
    fn damaged_data_is_not_written_over() {
        let folder = tempfile::tempdir().expect("a folder");
        let sites = Sites::open(folder.path().to_owned());
        publish(&sites, &sample::articles()).expect("published");
        fs::write(folder.path().join("demo").join(DATA), "{").expect("damaged");
        let error = publish(&sites, &sample::articles()).expect_err("damaged");
        let told = error.for_caller(&"demo".parse().expect("a name")).to_string();
        assert!(told.starts_with("/data/sites/demo was not changed: its .site.json cannot be read"), "{told}");
        assert!(!told.contains(&folder.path().display().to_string()), "no path of this machine: {told}");
    }

    #[test]
    fn a_disk_that_is_full_or_cannot_be_written_is_named() {
        let told = |code: i32| {
            let failed = disk("write", Path::new("/secret/place"))(io::Error::from_raw_os_error(code));
            failed.for_caller(&"demo".parse().expect("a name")).to_string()
        };
        let (full, read_only) = (rustix::io::Errno::NOSPC.raw_os_error(), rustix::io::Errno::ROFS.raw_os_error());
        assert!(told(full).contains("the disk is full; free some space"));
        assert!(told(read_only).contains("the disk is read-only"));
        assert!(!told(full).contains("secret"));
    }

    #[test]
    fn a_data_folder_that_is_none_is_one_clear_error() {
        let folder = tempfile::tempdir().expect("a folder");
        fs::write(folder.path().join("sites"), "a file").expect("written");
        let sites = Sites::open(folder.path().join("sites"));
        assert!(matches!(publish(&sites, &sample::articles()), Err(FolderError::Disk { .. })));
    }

    #[test]
    fn what_was_changed_is_not_said_to_be_as_before() {
        let id = "demo".parse().expect("a name");
        let cause = disk("flush", Path::new("/secret/place"))(io::Error::from_raw_os_error(5));
        let told = FolderError::Unflushed(Box::new(cause)).for_caller(&id).to_string();
        assert!(
            told.starts_with("/data/sites/demo is new, but may not outlive a power cut") && !told.contains("secret"),
            "{told}"
        );
    }
}

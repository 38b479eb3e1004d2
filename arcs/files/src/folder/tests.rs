//! The folder from the inside, and every way out of it that there might be.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::sync::atomic::{AtomicBool, Ordering};

use super::*;
use crate::content::Encoding;
use crate::listing::Kind;

/// A granted folder beside things that were not granted.
struct Scene {
    outside: tempfile::TempDir,
    folder: Folder,
}

const SECRET: &str = "a secret";

impl Scene {
    fn new() -> Self {
        let outside = tempfile::tempdir().expect("a folder");
        fs::create_dir(outside.path().join("private")).expect("made");
        fs::write(outside.path().join("private/secret"), SECRET).expect("written");
        let folder = Folder::open(&outside.path().join("granted")).expect("opens");
        Self { outside, folder }
    }

    fn real(&self, path: &str) -> std::path::PathBuf {
        self.outside.path().join("granted").join(path)
    }

    fn read(&self, path: &str) -> Result<String, FilesError> {
        self.folder.read(&at(path), Encoding::Text, 0, None).map(|part| part.content)
    }

    fn write(&self, path: &str, text: &str) -> Result<(), FilesError> {
        self.folder.write(&at(path), text.as_bytes())
    }

    fn names(&self, path: &str) -> Vec<String> {
        self.folder.list(&at(path)).expect("lists").into_iter().map(|listed| listed.name).collect()
    }

    fn is_unharmed(&self) -> bool {
        let secret = self.outside.path().join("private/secret");
        let around = fs::read_dir(self.outside.path()).expect("reads").count();
        fs::read_to_string(secret).is_ok_and(|text| text == SECRET) && around == 2
    }
}

fn at(path: &str) -> VirtualPath {
    VirtualPath::try_from(path.to_owned()).expect("a path")
}

#[test]
fn what_is_written_is_read_and_listed() {
    let scene = Scene::new();
    scene.write("/notes/today.md", "two\nlines: é").expect("writes");
    assert_eq!(scene.read("notes/today.md").expect("reads"), "two\nlines: é");
    scene.write("/b", "").expect("writes");
    fs::set_permissions(scene.real("b"), fs::Permissions::from_mode(0o600)).expect("set");
    scene.write("/b", "new").expect("writes again");
    assert_eq!(fs::metadata(scene.real("b")).expect("there").permissions().mode() & 0o777, 0o600);
    let listed = scene.folder.list(&VirtualPath::root()).expect("lists");
    let told: Vec<_> = listed.iter().map(|one| (one.path.as_str(), &one.kind, one.size)).collect();
    assert_eq!(told, [("/b", &Kind::File, 3), ("/notes", &Kind::Directory, 0)]);
    let modified = &listed[0].modified_at;
    assert!(modified.len() == 20 && modified.ends_with('Z') && modified.contains('T'), "{modified}");
}

#[test]
fn appending_begins_a_file_and_goes_on_at_its_end() {
    let scene = Scene::new();
    for text in ["one\n", "two\n"] {
        scene.folder.append(&at("/log/a.txt"), text.as_bytes()).expect("appends");
    }
    assert_eq!(scene.read("/log/a.txt").expect("reads"), "one\ntwo\n");
}

#[test]
fn a_file_is_read_in_parts_of_whole_characters() {
    let scene = Scene::new();
    scene.write("/t", "aéb").expect("writes");
    let part = |offset, limit| scene.folder.read(&at("/t"), Encoding::Text, offset, Some(limit)).expect("reads");
    assert_eq!((part(0, 2).content.as_str(), part(0, 2).next), ("a", Some(1)));
    assert_eq!((part(1, 9).content.as_str(), part(1, 9).next), ("éb", None));
    assert_eq!((part(99, 1).content.as_str(), part(99, 1).next), ("", None));
    assert!(matches!(scene.folder.read(&at("/t"), Encoding::Text, 2, None), Err(FilesError::NotText { .. })));
    let part = scene.folder.read(&at("/t"), Encoding::Base64, 2, Some(1)).expect("reads");
    assert_eq!((part.content.as_str(), part.next), ("qQ==", Some(3)));
}

#[test]
fn a_file_that_is_too_long_is_not_cut_silently() {
    let scene = Scene::new();
    File::create(scene.real("large")).and_then(|file| file.set_len(5 << 20)).expect("made");
    let message = scene.read("/large").expect_err("too long").to_string();
    assert!(message.contains("give offset and limit"), "{message}");
    let part = scene.folder.read(&at("/large"), Encoding::Base64, 0, Some(4 << 20)).expect("reads");
    assert_eq!(part.next, Some(4 << 20));
}

#[test]
fn text_that_is_none_is_to_be_read_in_base64() {
    let scene = Scene::new();
    fs::write(scene.real("picture"), [0xff, 0xd8, 0xff]).expect("written");
    let message = scene.read("/picture").expect_err("no text").to_string();
    assert_eq!(message, "/picture: is not UTF-8 text: read it with encoding = \"base64\"");
}

#[test]
fn no_link_is_followed() {
    let scene = Scene::new();
    fs::write(scene.real("inside"), "inside").expect("written");
    fs::create_dir(scene.real("folder")).expect("made");
    symlink(scene.outside.path().join("private/secret"), scene.real("to-file")).expect("linked");
    symlink(scene.outside.path().join("private"), scene.real("to-folder")).expect("linked");
    symlink("../private", scene.real("relative")).expect("linked");
    symlink("inside", scene.real("near")).expect("linked");
    symlink("/proc/self/root", scene.real("magic")).expect("linked");
    symlink("loop", scene.real("loop")).expect("linked");
    let paths = [
        "/to-file",
        "/to-folder/secret",
        "/relative/secret",
        "/near",
        "/magic/etc/passwd",
        "/loop",
        "/to-folder/new/file",
    ];
    for path in paths {
        assert!(matches!(scene.read(path), Err(FilesError::Link { .. })), "read {path}");
        assert!(matches!(scene.write(path, "x"), Err(FilesError::Link { .. })), "write {path}");
        assert!(matches!(scene.folder.append(&at(path), b"x"), Err(FilesError::Link { .. })), "append {path}");
    }
    for path in ["/to-folder", "/relative", "/magic", "/loop"] {
        assert!(scene.folder.list(&at(path)).is_err(), "list {path}");
        assert!(scene.folder.search("secret", 10, &at(path)).is_err(), "search {path}");
    }
    assert!(scene.folder.delete(&at("/to-folder/secret"), false).is_err());
    assert_eq!(scene.names("/"), ["folder", "inside"]);
    assert_eq!(scene.folder.search("secret root passwd", 10, &VirtualPath::root()).expect("searches"), []);
    assert!(scene.is_unharmed());
}

#[test]
fn deleting_a_link_deletes_the_link() {
    let scene = Scene::new();
    scene.write("/d/e/f", "x").expect("writes");
    symlink(scene.outside.path().join("private"), scene.real("d/out")).expect("linked");
    symlink(scene.outside.path().join("private/secret"), scene.real("d/e/out")).expect("linked");
    symlink(scene.outside.path().join("private"), scene.real("link")).expect("linked");
    scene.folder.delete(&at("/link"), true).expect("deletes the link");
    let message = scene.folder.delete(&at("/d"), false).expect_err("not empty").to_string();
    assert!(message.contains("recursive = true"), "{message}");
    scene.folder.delete(&at("/d"), true).expect("deletes all");
    assert_eq!(scene.names("/"), [""; 0]);
    assert!(scene.is_unharmed());
}

#[test]
fn the_granted_folder_itself_stays() {
    let scene = Scene::new();
    assert!(matches!(scene.folder.delete(&at("/"), true), Err(FilesError::Root)));
    assert!(matches!(scene.write("/", "x"), Err(FilesError::IsFolder { .. })));
    assert!(scene.real("").is_dir());
}

#[test]
fn a_link_that_is_swapped_in_meanwhile_is_no_way_out() {
    let scene = Scene::new();
    scene.write("/real/secret", "harmless").expect("writes");
    let (spot, spare) = (scene.real("spot"), scene.real("spare"));
    symlink(scene.outside.path().join("private"), &spare).expect("linked");
    fs::rename(scene.real("real"), &spot).expect("moved");
    let ended = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let root = File::open(scene.real("")).expect("opens");
            while !ended.load(Ordering::Relaxed) {
                let exchange = rustix::fs::RenameFlags::EXCHANGE;
                rustix::fs::renameat_with(&root, "spot", &root, "spare", exchange).expect("swaps");
            }
        });
        let (mut read, mut refused) = (0, 0);
        for turn in 0..20_000 {
            match scene.read("/spot/secret") {
                Ok(text) => {
                    assert_ne!(text, SECRET);
                    read += 1;
                }
                Err(_) => refused += 1,
            }
            if turn % 20 == 0 {
                // Either lands in the real folder or fails; never in the private one.
                let _ = scene.write("/spot/written", "x");
                let _ = scene.folder.append(&at("/spot/written"), b"x");
                let _ = scene.folder.delete(&at("/spot/written"), false);
            }
        }
        ended.store(true, Ordering::Relaxed);
        assert!(read > 0 && refused > 0, "the swap was never met: {read} read, {refused} refused");
    });
    assert!(scene.is_unharmed());
    assert_eq!(fs::read_dir(scene.outside.path().join("private")).expect("reads").count(), 1);
}

#[test]
fn a_folder_that_is_swapped_while_it_is_emptied_is_no_way_out() {
    let scene = Scene::new();
    for turn in 0..40 {
        scene.write("/d/in/file", "x").expect("writes");
        let aside = scene.real(&format!("aside{turn}"));
        std::thread::scope(|scope| {
            scope.spawn(|| {
                if fs::rename(scene.real("d/in"), &aside).is_ok() {
                    let _ = symlink(scene.outside.path().join("private"), scene.real("d/in"));
                }
            });
            let _ = scene.folder.delete(&at("/d"), true);
        });
        assert!(scene.is_unharmed());
        let _ = scene.folder.delete(&at("/d"), true);
    }
}

#[test]
fn pipes_and_devices_are_refused_without_waiting() {
    let scene = Scene::new();
    rustix::fs::mkfifoat(CWD, scene.real("pipe"), Mode::from_raw_mode(0o600)).expect("made");
    let _socket = std::os::unix::net::UnixListener::bind(scene.real("socket")).expect("bound");
    for path in ["/pipe", "/socket"] {
        assert!(matches!(scene.read(path), Err(FilesError::Special { .. })), "{path}: {:?}", scene.read(path));
        assert!(matches!(scene.write(path, "x"), Err(FilesError::Special { .. })), "{path}");
        assert!(matches!(scene.folder.append(&at(path), b"x"), Err(FilesError::Special { .. })), "{path}");
    }
    assert_eq!(scene.names("/"), [""; 0]);
}

#[test]
fn what_is_there_but_of_another_kind_is_said_so() {
    let scene = Scene::new();
    scene.write("/d/f", "x").expect("writes");
    assert!(matches!(scene.read("/d"), Err(FilesError::IsFolder { .. })));
    assert!(matches!(scene.write("/d", "x"), Err(FilesError::IsFolder { .. })));
    assert!(matches!(scene.folder.list(&at("/d/f")), Err(FilesError::NotFolder { .. })));
    assert!(matches!(scene.write("/d/f/g", "x"), Err(FilesError::NotFolder { .. })));
    assert_eq!(scene.read("/nothing").expect_err("absent").to_string(), "/nothing: there is no such file or folder");
}

#[test]
fn a_deep_tree_is_written_searched_and_deleted() {
    let scene = Scene::new();
    let deep = format!("{}needle", "d/".repeat(300));
    scene.write(&deep, "x").expect("writes");
    let found = scene.folder.search("needle", 10, &VirtualPath::root()).expect("searches");
    assert_eq!(found.iter().map(|one| one.path.clone()).collect::<Vec<_>>(), [format!("/{deep}")]);
    scene.folder.delete(&at("/d"), true).expect("deletes");
    assert_eq!(scene.names("/"), [""; 0]);
}

#[test]
fn a_search_finds_names_and_texts_the_best_first() {
    let scene = Scene::new();
    scene.write("/wallet.md", "How to keep a hardware wallet.\nA wallet is not a bank.").expect("writes");
    scene.write("/notes/ideas.txt", "first line\n  buy a WALLET soon").expect("writes");
    scene.write("/other.txt", "nothing of it").expect("writes");
    fs::write(scene.real("binary"), [0xff, b'w', b'a', b'l', b'l', b'e', b't']).expect("written");
    let found = scene.folder.search("Wallet", 10, &VirtualPath::root()).expect("searches");
    let told: Vec<_> = found.iter().map(|one| (one.path.as_str(), one.preview.as_deref())).collect();
    assert_eq!(
        told,
        [("/wallet.md", Some("How to keep a hardware wallet.")), ("/notes/ideas.txt", Some("buy a WALLET soon")),]
    );
    assert!(found.iter().all(|one| one.score > 0.0 && one.score <= 1.0));
    let scoped = scene.folder.search("wallet", 1, &at("/notes")).expect("searches");
    assert_eq!(scoped.iter().map(|one| one.path.as_str()).collect::<Vec<_>>(), ["/notes/ideas.txt"]);
}

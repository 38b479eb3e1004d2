//! Paths as callers write them.

use std::fmt;

use schemars::JsonSchema;
use serde::Deserialize;

use crate::writing::UNFINISHED;

/// A path below the granted folder: `/` is the folder itself, and the slash at the front may be left out.
///
/// It has no `.` and `..`, no control characters, names of at most 255 bytes (`NAME_MAX` of Linux) and at most
/// [`VirtualPath::MAX_BYTES`] bytes. It may still lead through a symbolic link: that is for the kernel to refuse.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Deserialize, JsonSchema)]
#[serde(try_from = "String")]
#[schemars(inline)]
pub(crate) struct VirtualPath(String);

impl VirtualPath {
    /// Below `PATH_MAX` of Linux (4096), with room for the name of a file that is being written.
    pub(crate) const MAX_BYTES: usize = 3800;
    /// `NAME_MAX` of Linux.
    const MAX_NAME_BYTES: usize = 255;

    /// The granted folder itself.
    pub(crate) fn root() -> Self {
        Self(String::new())
    }

    pub(crate) fn is_root(&self) -> bool {
        self.0.is_empty()
    }

    /// The path relative to the granted folder, as the kernel takes it.
    pub(crate) fn relative(&self) -> &str {
        if self.is_root() { "." } else { &self.0 }
    }

    /// The folder that it lies in, and its name there; `None` for the granted folder itself.
    pub(crate) fn split(&self) -> Option<(Self, &str)> {
        match self.0.rsplit_once('/') {
            Some((folder, name)) => Some((Self(folder.to_owned()), name)),
            None if self.is_root() => None,
            None => Some((Self::root(), &self.0)),
        }
    }

    /// What is called `name` in this folder; `None` where that cannot be written as a path.
    pub(crate) fn join(&self, name: &str) -> Option<Self> {
        check_name(name).ok()?;
        let joined = if self.is_root() { name.to_owned() } else { format!("{}/{name}", self.0) };
        (joined.len() <= Self::MAX_BYTES).then_some(Self(joined))
    }

    /// Its names, the outermost first.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.0.split('/').filter(|name| !name.is_empty())
    }
}

impl fmt::Display for VirtualPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "/{}", self.0)
    }
}

impl TryFrom<String> for VirtualPath {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let names: Vec<&str> = text.split('/').filter(|name| !name.is_empty() && *name != ".").collect();
        names.iter().try_for_each(|name| check_name(name))?;
        let path = names.join("/");
        match path.len() {
            0..=Self::MAX_BYTES => Ok(Self(path)),
            length => Err(format!("a path must have at most {} bytes, not {length}", Self::MAX_BYTES)),
        }
    }
}

fn check_name(name: &str) -> Result<(), String> {
    if name == ".." {
        return Err("a path must not have \"..\": write it from /".to_owned());
    }
    if name.contains(|c: char| c.is_control() || c == '/') || name.is_empty() {
        return Err("a name must not have control characters such as a line's end or NUL".to_owned());
    }
    if name.len() > VirtualPath::MAX_NAME_BYTES {
        return Err(format!("a name must have at most {} bytes, not {}", VirtualPath::MAX_NAME_BYTES, name.len()));
    }
    if name.starts_with(UNFINISHED) {
        return Err(format!("names that begin with {UNFINISHED} are for files that are being written"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(text: &str) -> Result<String, String> {
        VirtualPath::try_from(text.to_owned()).map(|path| path.to_string())
    }

    #[test]
    fn a_path_has_one_form() {
        for text in ["/a/b", "a/b", "//a///b/", "./a/./b/."] {
            assert_eq!(path(text).as_deref(), Ok("/a/b"), "{text}");
        }
        for text in ["/", "", ".", "//./"] {
            assert_eq!(path(text).as_deref(), Ok("/"), "{text}");
        }
        assert_eq!(path("/...").as_deref(), Ok("/..."));
    }

    #[test]
    fn what_cannot_be_a_path_is_refused() {
        for text in ["..", "/a/../b", "/a/..", "a\0b", "a\nb", "/a/\u{1b}[2J", &"n".repeat(256), &"a/".repeat(2000)] {
            assert!(path(text).is_err(), "{text:?}");
        }
        assert!(path(&"n".repeat(255)).is_ok());
    }

    #[test]
    fn a_path_is_split_and_joined() {
        let path = VirtualPath::try_from("/a/b/c".to_owned()).expect("a path");
        let (folder, name) = path.split().expect("not the root");
        assert_eq!((folder.to_string().as_str(), name), ("/a/b", "c"));
        assert_eq!(folder.join("c"), Some(path.clone()));
        assert_eq!(VirtualPath::root().join("..").or(folder.join("x/y")), None);
        assert_eq!(VirtualPath::root().split(), None);
    }

    proptest::proptest! {
        #[test]
        fn no_text_leads_above(text in "[/.a\\PC]{0,40}") {
            if let Ok(path) = VirtualPath::try_from(text) {
                proptest::prop_assert!(!path.relative().starts_with('/'));
                proptest::prop_assert!(path.relative().split('/').all(|name| name != ".."));
                proptest::prop_assert_eq!(VirtualPath::try_from(path.to_string()), Ok(path));
            }
        }
    }
}

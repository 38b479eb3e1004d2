//! What services keep on the disk, and how much of it each place may hold.
//!
//! Each place that a service writes is a project of the file system's (Linux, `Documentation/filesystems/quota.rst`):
//! what is made in it counts towards its bound, whoever makes it. Bounds are shared out so that all places full still
//! leave room for the rest of the machine: first those are served that ask for a part of it, with three quarters at the most, then a place is given what it
//! asks for, or as much as every other that asks for more than there is.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use spec::{Bound, Manifest, MountMode, paths};

use super::{fnv, user_of};
use crate::layout::Layout;

/// No place is given less, however full the disk is; a bound of nothing would be none.
const LEAST_BYTES: u64 = 256 << 10;
const LEAST_FILES: u64 = 256;
/// Bounds are multiples of this, so that they do not change with each file that somebody else writes.
const STEP: u64 = 1 << 20;
/// The part of the room that is shared out to nobody.
const RESERVED_PART: u64 = 16;

/// Folders, or files, on the data partition that services write, each with what is known of it.
pub(crate) type Places = BTreeMap<PathBuf, Place>;

/// Somewhere that services write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Place {
    /// Its number in the file system's quotas.
    pub(crate) project: u32,
    /// The largest `disk_max` of those that write there.
    pub(crate) wanted: Bound,
}

/// What may be kept, or is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Room {
    pub(crate) bytes: u64,
    pub(crate) files: u64,
}

/// The places that these services write. One that lies in another is part of that.
pub(crate) fn places<'a>(manifests: impl IntoIterator<Item = &'a Manifest>, layout: &Layout) -> Places {
    let mut all = Places::new();
    for manifest in manifests {
        let wanted = manifest.cage.disk_max;
        for (path, project) in written(manifest, layout) {
            let place = all.entry(path).or_insert(Place { project, wanted });
            place.wanted = place.wanted.max(wanted);
        }
    }
    // Whatever lies in a folder comes right after it.
    let mut outermost: Vec<(PathBuf, Place)> = Vec::new();
    for (path, place) in all {
        match outermost.last_mut().filter(|(above, _)| path.starts_with(above)) {
            Some((_, above)) => above.wanted = above.wanted.max(place.wanted),
            None => outermost.push((path, place)),
        }
    }
    // Two that meet, by chance or because somebody made it so, have a number each all the same.
    let mut taken = BTreeSet::new();
    for (_, place) in &mut outermost {
        while !taken.insert(place.project) {
            place.project = next(place.project);
        }
    }
    outermost.into_iter().collect()
}

/// Those of the places that a service writes.
pub(crate) fn places_of<'a>(manifest: &Manifest, all: &'a Places, layout: &Layout) -> Vec<(&'a Path, Place)> {
    let written = written(manifest, layout);
    let is_its = |place: &Path| written.iter().any(|(path, _)| path.starts_with(place));
    all.iter().filter(|(path, _)| is_its(path)).map(|(path, place)| (path.as_path(), *place)).collect()
}

/// What a service writes: its own folder, and what its manifest says.
fn written(manifest: &Manifest, layout: &Layout) -> Vec<(PathBuf, u32)> {
    let name = manifest.name.as_str();
    let mounts = manifest.cage.mounts.iter().filter(|mount| mount.mode == MountMode::Rw);
    let shared = mounts.map(|mount| (layout.resolve(&mount.path), project_of(&mount.path)));
    let own = (paths::arc_data(&layout.data, name), user_of(name));
    [own].into_iter().chain(shared.filter(|(path, _)| path.starts_with(&layout.data))).collect()
}

/// The first number of folders that are nobody's own, beside those that are user ids as well; and how many there are.
const FIRST: u32 = 0x3000_0000;
const MASK: u32 = 0x1FFF_FFFF;

/// The project of a folder that is nobody's own: made from its path.
fn project_of(path: &str) -> u32 {
    FIRST + (fnv(path) & MASK)
}

fn next(project: u32) -> u32 {
    FIRST + (project.wrapping_sub(FIRST).wrapping_add(1) & MASK)
}

/// Shares `room` out: the bound of each place, by its project. Together they never are more than that, but for the least
/// that each has.
pub(crate) fn share_out(places: &Places, room: Room) -> BTreeMap<u32, Room> {
    let shared = room.bytes - room.bytes / RESERVED_PART;
    let mut for_parts = shared / 4 * 3;
    let mut left = shared;
    let mut parts = BTreeMap::new();
    let mut wanted = Vec::new();
    for place in places.values() {
        match place.wanted {
            Bound::Bytes(bytes) => wanted.push(bytes.0),
            part @ Bound::Percent(_) => {
                let part = part.of(shared).min(for_parts);
                for_parts -= part;
                left -= part;
                parts.insert(place.project, part);
            }
        }
    }
    wanted.sort_unstable();
    // Those who ask for the least are served first; as soon as one asks for more than its part, all that are left get that.
    let mut level = u64::MAX;
    for (others, wanted) in (1..=wanted.len() as u64).rev().zip(wanted) {
        if wanted > left / others {
            level = left / others;
            break;
        }
        left -= wanted;
    }
    let bound = |place: &Place| {
        let bytes = match place.wanted {
            Bound::Bytes(bytes) => bytes.0.min(level),
            Bound::Percent(_) => parts.get(&place.project).copied().unwrap_or(0),
        };
        let bytes = if bytes > STEP { bytes - bytes % STEP } else { bytes }.max(LEAST_BYTES);
        // As large a part of all files as of all bytes.
        let files = u128::from(room.files) * u128::from(bytes) / u128::from(room.bytes.max(1));
        Room { bytes, files: u64::try_from(files).unwrap_or(u64::MAX).clamp(LEAST_FILES, room.files.max(LEAST_FILES)) }
    };
    places.values().map(|place| (place.project, bound(place))).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use spec::Origin;

    use super::*;

    fn manifest(name: &str, cage: &str) -> Manifest {
        let text = format!("name = \"{name}\"\nversion = \"1\"\ndescription = \"\"\nexec = [\"x\"]\n[cage]\n{cage}");
        Manifest::parse("arc.toml", &text, Origin::System).expect("sound")
    }

    fn layout() -> Layout {
        Layout { data: "/home/a/data".into(), run: "/run".into() }
    }

    #[test]
    fn a_folder_of_several_is_bounded_by_the_largest_of_them() {
        let all = [
            manifest("a", "disk_max = \"2M\"\nmounts = [{ path = \"/data/sites\", mode = \"rw\" }]"),
            manifest("b", "disk_max = \"3M\"\nmounts = [{ path = \"/data/sites\", mode = \"rw\" }]"),
            manifest(
                "c",
                "disk_max = \"9M\"\nmounts = [{ path = \"/data/sites\" }, { path = \"/run/x\", mode = \"rw\" }]",
            ),
        ];
        let places = places(&all, &layout());
        let wanted: Vec<(&str, u64)> = places
            .iter()
            .map(|(path, place)| {
                (path.strip_prefix("/home/a/data").expect("below").to_str().expect("text"), place.wanted.of(0))
            })
            .collect();
        assert_eq!(wanted, [("arcs/a", 2 << 20), ("arcs/b", 3 << 20), ("arcs/c", 9 << 20), ("sites", 3 << 20)]);
        let own: Vec<&Path> = places_of(&all[0], &places, &layout()).into_iter().map(|(path, _)| path).collect();
        assert_eq!(own, [Path::new("/home/a/data/arcs/a"), Path::new("/home/a/data/sites")]);
        assert_eq!(places[Path::new("/home/a/data/arcs/a")].project, user_of("a"));
    }

    #[test]
    fn what_lies_in_a_place_is_part_of_it() {
        let all = [
            manifest("a", "disk_max = \"2M\"\nmounts = [{ path = \"/data/files\", mode = \"rw\" }]"),
            manifest("b", "disk_max = \"5M\"\nmounts = [{ path = \"/data/files/b\", mode = \"rw\" }]"),
            manifest("c", "mounts = [{ path = \"/data/files-too\", mode = \"rw\" }]"),
        ];
        let places = places(&all, &layout());
        assert!(!places.contains_key(Path::new("/home/a/data/files/b")), "{places:?}");
        assert!(places.contains_key(Path::new("/home/a/data/files-too")), "{places:?}");
        assert_eq!(places[Path::new("/home/a/data/files")].wanted.of(0), 5 << 20);
        let of_b = places_of(&all[1], &places, &layout());
        assert!(of_b.iter().any(|(path, _)| *path == Path::new("/home/a/data/files")), "{of_b:?}");
    }

    fn bytes(bytes: u64) -> Bound {
        Bound::Bytes(spec::ByteSize(bytes))
    }

    #[test]
    fn who_asks_for_a_part_gets_it_however_many_others_there_are() {
        let place = |project, wanted| (PathBuf::from(format!("/{project}")), Place { project, wanted });
        let mut places = Places::from([place(1, Bound::Percent(60))]);
        places.extend((2..20).map(|project| place(project, bytes(1 << 30))));
        let bounds = share_out(&places, Room { bytes: 640 << 20, files: 64_000 });
        // Of the 600 MiB that are shared out.
        assert_eq!((bounds[&1].bytes >> 20, bounds[&2].bytes >> 20), (360, 13));
        places.extend([place(20, Bound::Percent(95))]);
        let bounds = share_out(&places, Room { bytes: 640 << 20, files: 64_000 });
        assert_eq!((bounds[&20].bytes >> 20, bounds[&2].bytes >> 20), (90, 8), "a quarter is left to the others");
    }

    #[test]
    fn who_asks_for_little_gets_it_and_the_others_get_the_same() {
        let place = |project, wanted| (PathBuf::from(format!("/{project}")), Place { project, wanted: bytes(wanted) });
        let places = Places::from([place(1, 8 << 20), place(2, 1 << 30), place(3, 2 << 30)]);
        let bounds = share_out(&places, Room { bytes: 640 << 20, files: 64_000 });
        // Of 640 MiB a sixteenth is kept, and 8 are taken.
        assert_eq!(bounds[&1], Room { bytes: 8 << 20, files: 800 });
        assert_eq!(bounds[&2], Room { bytes: 296 << 20, files: 29_600 });
        assert_eq!(bounds[&3], bounds[&2]);
        let bounds = share_out(&places, Room { bytes: 64 << 30, files: 1 << 22 });
        assert_eq!((bounds[&2].bytes, bounds[&3].bytes), (1 << 30, 2 << 30), "there is enough for all");
        assert_eq!(share_out(&places, Room::default())[&3], Room { bytes: LEAST_BYTES, files: LEAST_FILES });
    }

    /// One in eight asks for a part.
    fn bytes_or_part(wanted: u64) -> Bound {
        let percent = u8::try_from(wanted % 95).map_or(1, |percent| percent + 1);
        if wanted.is_multiple_of(8) { Bound::Percent(percent) } else { bytes(wanted) }
    }

    proptest! {
        #[test]
        fn all_places_full_leave_room(wanted in prop::collection::vec(1_u64..1 << 40, 1..40), bytes in 64_u64 << 20..1 << 42) {
            let places: Places = wanted
                .iter()
                .zip(0_u32..)
                .map(|(wanted, project)| (PathBuf::from(format!("/{project}")), Place { project, wanted: bytes_or_part(*wanted) }))
                .collect();
            let room = Room { bytes, files: bytes / 4096 };
            let bounds = share_out(&places, room);
            prop_assert!(bounds.values().map(|bound| bound.bytes).sum::<u64>() < bytes - bytes / 17);
            prop_assert!(bounds.values().map(|bound| bound.files).sum::<u64>() < room.files);
            for place in places.values() {
                prop_assert!(bounds[&place.project].bytes <= place.wanted.of(bytes).max(LEAST_BYTES));
            }
        }
    }
}

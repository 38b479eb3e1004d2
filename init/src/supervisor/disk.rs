//! Bounds on what services keep on the disk: set before a service starts, so that it never has a file that is in none.

use std::io;
use std::path::Path;

use super::Supervisor;
use super::service::Service;
use super::start::Failure;
use crate::cage::{Places, Room, places, places_of, share_out, size};
use crate::layout::Layout;
use crate::sys::{self, Quota, Quotas};

/// The project that a quota is tried out with: none of a service or of a folder (`cage::disk`).
const TRIAL: u32 = 0x5000_0000;

/// Finds out whether what is kept in the data folder can be bounded.
///
/// # Errors
/// Why it cannot.
pub(super) fn try_out(layout: &Layout, are_data_lost: bool) -> Result<(), String> {
    if are_data_lost {
        return Err("the data lie in memory, which has none; the machine serves all the same".to_owned());
    }
    let tried = Quotas::try_out(&layout.data, TRIAL);
    tried.map_err(|error| format!("the file system of {} does not give it: {error}", layout.data.display()))
}

impl Supervisor {
    /// Everything on the disk that services write.
    fn places(&self) -> Places {
        places(self.services.values().map(|service| &service.candidate.manifest), &self.layout)
    }

    /// Puts each place that a service writes under a bound. Those of all others are set anew with it: what there is to
    /// share out may have changed.
    pub(super) fn bound_disk(&self, number: u32) -> Result<(), Failure> {
        let Some(service) = self.services.get(&number) else { return Ok(()) };
        let all = self.places();
        for (path, place) in places_of(&service.candidate.manifest, &all, &self.layout) {
            let given = sys::give_tree(path, place.project);
            given.map_err(|source| Failure::Disk { place: path.to_owned(), source })?;
        }
        set_bounds(&self.layout.data, &all).map_err(|source| Failure::Disk { place: self.layout.data.clone(), source })
    }

    /// How much of its bounds a service uses, in words, a line for each place.
    pub(super) fn kept_on_disk(&self, service: &Service) -> Vec<String> {
        let Ok(quotas) = Quotas::open(&self.layout.data) else { return Vec::new() };
        let all = self.places();
        let of = |(path, place): (&Path, crate::cage::Place)| {
            let quota = quotas.of(place.project).ok().filter(|quota| quota.bound != Room::default())?;
            let shown = path.strip_prefix(&self.layout.data).unwrap_or(path).display();
            Some(format!("keeps {} of at most {} in /data/{shown}", size(quota.used.bytes), size(quota.bound.bytes)))
        };
        places_of(&service.candidate.manifest, &all, &self.layout).into_iter().filter_map(of).collect()
    }
}

/// Shares out what is free and what the places hold already.
fn set_bounds(data: &Path, all: &Places) -> io::Result<()> {
    let quotas = Quotas::open(data)?;
    let known: Vec<(u32, Quota)> =
        all.values().map(|place| Ok((place.project, quotas.of(place.project)?))).collect::<io::Result<_>>()?;
    let room = known.iter().fold(quotas.free()?, |room, (_, quota)| Room {
        bytes: room.bytes.saturating_add(quota.used.bytes),
        files: room.files.saturating_add(quota.used.files),
    });
    let bounds = share_out(all, room);
    for (project, quota) in known {
        if let Some(bound) = bounds.get(&project).filter(|bound| **bound != quota.bound) {
            // On a disk that can no longer be written a bound stays what it was.
            quotas
                .bound(project, *bound)
                .or_else(|error| if quota.bound == Room::default() { Err(error) } else { Ok(()) })?;
        }
    }
    Ok(())
}

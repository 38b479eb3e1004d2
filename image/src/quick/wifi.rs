//! An image for tests of Wi-Fi: a kernel with two simulated radios (mac80211_hwsim), wpa_supplicant with all that it is
//! linked to, and what the tests play the other side of the air with.
//!
//! | path on the root | what |
//! | --- | --- |
//! | `usr/sbin/wpa_supplicant` | the program of the service `wifi` |
//! | `usr/lib/<machine>-linux-gnu/`, `lib64/` | its libraries and their loader, where Debian's look for them |
//! | `usr/lib/firmware/regulatory.db` | which country allows what |
//! | `usr/lib/air/` | busybox with a script for its DHCP client, and iw: for the tests' hand alone, no service sees them |

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use super::libraries::Gathering;
use super::packages::{Archive, Release};
use crate::architecture::Architecture;
use crate::cache::{Cache, make_folder};
use crate::disk::write;
use crate::failure::Failure;
use crate::signals::Signals;

const SUPPLICANT: &str = "wpa_supplicant";
const LINK_TOOL: &str = "iw";
/// What the loader of programs begins with.
const LOADER: &str = "ld-linux";

/// What busybox's DHCP client does with an address (busybox, `examples/udhcp/`).
const LEASE: &str = r#"#!/usr/lib/air/busybox sh
[ "$1" = bound ] && /usr/lib/air/busybox ip address add "$ip/$mask" dev "$interface"
echo "$1 $ip router $router dns $dns"
"#;

/// What of Debian's packages goes into the root.
#[derive(Debug)]
pub(super) struct Wifi {
    architecture: Architecture,
    /// Programs, libraries and their loader, by name.
    programs: BTreeMap<String, PathBuf>,
    busybox: PathBuf,
    rules: PathBuf,
}

impl Wifi {
    /// Fetches what is not there yet.
    pub(super) fn provide(
        architecture: Architecture,
        cache: &Cache,
        day: &str,
        signals: &Signals,
    ) -> Result<Self, Failure> {
        let archive = Archive::open(cache, architecture, Release::This, day, signals)?;
        let mut programs = BTreeMap::new();
        for (package, program) in [("wpasupplicant", SUPPLICANT), ("iw", LINK_TOOL)] {
            programs.extend(Gathering::new(architecture, signals).gather(
                &archive,
                package,
                BTreeSet::from([program.to_owned()]),
            )?);
        }
        let (busybox, rules) = (archive.unpacked("busybox-static")?, archive.unpacked("wireless-regdb")?);
        Ok(Self { architecture, programs, busybox: busybox.join("bin/busybox"), rules: rules.join("lib/firmware") })
    }

    /// Puts it into `tree`.
    pub(super) fn fill(&self, tree: &Path) -> Result<(), Failure> {
        let libraries = format!("usr/lib/{}-linux-gnu", self.architecture);
        for (name, source) in &self.programs {
            let folder = match name.as_str() {
                SUPPLICANT => "usr/sbin",
                LINK_TOOL => "usr/lib/air",
                loader if loader.starts_with(LOADER) && self.architecture == Architecture::X86_64 => "lib64",
                loader if loader.starts_with(LOADER) => "usr/lib",
                _ => &libraries,
            };
            put(source, &tree.join(folder), name)?;
        }
        put(&self.busybox, &tree.join("usr/lib/air"), "busybox")?;
        let script = tree.join("usr/lib/air/lease");
        write(&script, LEASE)?;
        set_run(&script)?;
        let firmware = tree.join("usr/lib/firmware");
        put(&self.rules.join("regulatory.db-upstream"), &firmware, "regulatory.db")?;
        put(&self.rules.join("regulatory.db.p7s-upstream"), &firmware, "regulatory.db.p7s")
    }
}

fn put(source: &Path, folder: &Path, name: &str) -> Result<(), Failure> {
    make_folder(folder)?;
    let target = folder.join(name);
    fs::copy(source, &target).map_err(|error| Failure::io("copy", source, &error))?;
    set_run(&target)
}

fn set_run(file: &Path) -> Result<(), Failure> {
    let set = fs::set_permissions(file, fs::Permissions::from_mode(0o755));
    set.map_err(|error| Failure::io("write", file, &error))
}

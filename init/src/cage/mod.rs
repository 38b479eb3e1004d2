//! The cage of a service: what it sees, what it may do and what bounds it. A pure value, computed from the manifest and
//! from what this kernel gives; `sys::cage` builds it.
//!
//! | layer | what it is made of |
//! | --- | --- |
//! | user | a user id made from the name, and id-mapped mounts: on the disk everything stays the owner's |
//! | files | a mount namespace whose root holds nothing but [`Part`]s, read-only |
//! | processes, network, names | namespaces: pid; net; uts, ipc, cgroup |
//! | privileges | no capabilities, `no_new_privs`, no executable memory that was written |
//! | seccomp | the [`Profile`] |
//! | landlock, scope | [`Part`]s a second time; no signals and abstract sockets to the outside |
//! | memory, pids, cpu | cgroup v2, entered at the birth of the process |
//! | disk | a quota on each [`Place`] that it writes |

mod disk;
mod profile;
mod tree;
mod words;

use std::path::{Path, PathBuf};

use spec::{Bound, Capability, Extra, HostPort, Layer, Manifest, Network};

pub(crate) use disk::{Place, Places, Room, places, places_of, share_out};
pub(crate) use profile::{Check, Profile};
pub(crate) use tree::{Content, Part, Sight};
pub(crate) use words::{describe, size};

/// What is known of this kernel and of a service's program before its cage is planned.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Abilities {
    /// The layers that this kernel does not give, each with why.
    pub(crate) missing: Vec<(Layer, String)>,
    /// Whether init has no privileges, so that a cage needs a user namespace.
    pub(crate) is_unprivileged: bool,
    /// Whether a cage without all of its layers is none: on the image.
    pub(crate) is_strict: bool,
    /// Whether the data lie in memory because their partition cannot be used. There is no quota then, and the machine
    /// serves all the same.
    pub(crate) are_data_lost: bool,
    /// The machine's memory, in bytes.
    pub(crate) memory: u64,
}

impl Abilities {
    /// This kernel does not give a layer, nor what is built on it.
    pub(crate) fn miss(&mut self, layer: Layer, why: &str) {
        if self.has(layer) {
            self.missing.push((layer, why.to_owned()));
        }
        if layer == Layer::Files {
            self.miss(Layer::User, "takes a file system of its own: on the disk everything stays the owner's");
        }
    }

    pub(crate) fn has(&self, layer: Layer) -> bool {
        !self.missing.iter().any(|(missing, _)| *missing == layer)
    }
}

/// A cage.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Cage {
    /// The layers that are built.
    pub(crate) layers: Vec<Layer>,
    /// The layers that the manifest cannot do without and this kernel does not give.
    pub(crate) lacking: Vec<Layer>,
    /// Whether it lies in a user namespace.
    pub(crate) in_user_namespace: bool,
    /// The user and group id; used with [`Layer::User`] alone.
    pub(crate) user: u32,
    pub(crate) parts: Vec<Part>,
    pub(crate) profile: Profile,
    pub(crate) capabilities: Vec<Capability>,
    pub(crate) network: Network,
    pub(crate) egress: Vec<HostPort>,
    pub(crate) serves: Option<u16>,
    pub(crate) limits: Limits,
}

/// What bounds a service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Limits {
    pub(crate) open_files: u32,
    /// In bytes.
    pub(crate) memory: u64,
    /// So much of that is not taken from it as long as others have some, in bytes.
    pub(crate) memory_kept: u64,
    pub(crate) processes: u32,
    pub(crate) cpu_weight: u32,
    pub(crate) disk: Bound,
    /// The bound on each file, in bytes: where no quota bounds all of them together, and not for who keeps the logs. Its
    /// journals are in memory, and what has been written down is punched out of their beginning: their length only grows.
    pub(crate) file: Option<u64>,
    /// Added to how much the kernel would like to end it when memory runs out (proc_pid_oom_score_adj(5)).
    pub(crate) oom_score: i16,
}

/// Enough for a thousand connections with their files.
const OPEN_FILES: u32 = 2048;
/// What is needed to reach and to steer the machine keeps its programs in memory, however short that is.
const KEPT: u64 = 32 << 20;
/// Nobody is given less memory, in bytes, where nobody knows how much a part of it is.
const LEAST: u64 = 1 << 20;
/// What everything else depends on is ended last.
const ESSENTIAL: i16 = -900;
const ORDINARY: i16 = 500;

impl Cage {
    /// The cage of the service with this manifest, whose folders and sockets are `parts`.
    pub(crate) fn plan(manifest: &Manifest, parts: Vec<Part>, is_dynamic: bool, abilities: &Abilities) -> Self {
        let cage = &manifest.cage;
        let memory = cage.memory_max.of(abilities.memory).max(LEAST);
        let basics = tree::basics(memory).into_iter();
        let parts = basics.chain(tree::libraries().filter(|_| is_dynamic)).chain(parts).collect();
        let is_host = cage.network == Network::Host;
        let wanted = |layer: &Layer| match layer {
            Layer::Network => !is_host,
            // One that keeps the machine's network or clock is root there, with nothing but these privileges.
            Layer::User => cage.capabilities.is_empty(),
            _ => true,
        };
        let all = Layer::ALL.iter().map(|(layer, ..)| *layer).filter(wanted);
        let (layers, missing): (Vec<Layer>, Vec<Layer>) = all.partition(|layer| abilities.has(*layer));
        let is_essential = is_essential(manifest);
        let is_bounded_by_file = !layers.contains(&Layer::Disk) && !manifest.logs;
        let is_excused = |layer: &Layer| abilities.are_data_lost && *layer == Layer::Disk;
        Self {
            in_user_namespace: abilities.is_unprivileged && layers.contains(&Layer::Files),
            lacking: missing
                .into_iter()
                .filter(|layer| cage.requires.contains(layer) || (abilities.is_strict && !is_excused(layer)))
                .collect(),
            layers,
            user: user_of(manifest.name.as_str()),
            parts,
            profile: Profile {
                is_dynamic,
                has_loopback: !cage.egress.is_empty() || cage.serves.is_some() || cage.allow.contains(&Extra::Loopback),
                has_host_network: is_host,
                has_channel: manifest.has_channel(),
                sets_clock: cage.capabilities.contains(&Capability::SysTime),
                sets_links: cage.capabilities.contains(&Capability::NetAdmin),
                extras: cage.allow.clone(),
            },
            capabilities: cage.capabilities.clone(),
            network: cage.network,
            egress: cage.egress.clone(),
            serves: cage.serves,
            limits: Limits {
                open_files: OPEN_FILES,
                memory,
                memory_kept: if is_essential { KEPT.min(memory) } else { 0 },
                processes: cage.pids_max,
                cpu_weight: cage.cpu_weight,
                disk: cage.disk_max,
                file: match cage.disk_max {
                    Bound::Bytes(bytes) => Some(bytes.0).filter(|_| is_bounded_by_file),
                    // As large as the disk is.
                    Bound::Percent(_) => None,
                },
                oom_score: if is_essential { ESSENTIAL } else { ORDINARY },
            },
        }
    }

    pub(crate) fn has(&self, layer: Layer) -> bool {
        self.layers.contains(&layer)
    }

    /// Whether it may write what lies at `path` of the machine.
    pub(crate) fn writes(&self, path: &Path) -> bool {
        let writes = |part: &Part| match part {
            Part::Bound { source, sight: Sight::Write, .. } => path.starts_with(&source.path),
            _ => false,
        };
        self.parts.iter().any(writes)
    }

    /// Whether what lies at `path` of the machine is seen under the same path.
    pub(crate) fn shows(&self, path: &Path) -> bool {
        let shows = |part: &Part| match part {
            Part::Bound { source, target, .. } => source.path == Path::new(target) && path.starts_with(target),
            _ => false,
        };
        !self.has(Layer::Files) || self.parts.iter().any(shows)
    }
}

/// Whether a service is needed to reach and to steer the machine.
pub(crate) fn is_essential(manifest: &Manifest) -> bool {
    manifest.control || manifest.logs || manifest.cage.network == Network::Host
}

/// The user id of a service: the same on every machine and at every boot, with nothing to be kept anywhere. The range is
/// one that no distribution gives to people or daemons; of two names that meet (one pair in half a billion) the catalogue
/// refuses the second.
pub(crate) fn user_of(name: &str) -> u32 {
    const FIRST: u32 = 0x1000_0000;
    const MASK: u32 = 0x1FFF_FFFF;
    FIRST + (fnv(name) & MASK)
}

/// FNV-1a, 32 bits (<http://www.isthe.com/chongo/tech/comp/fnv/>).
fn fnv(text: &str) -> u32 {
    text.bytes().fold(0x811C_9DC5, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193))
}

/// A file of the machine that lies in a cage under another name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Source {
    pub(crate) path: PathBuf,
    /// Below a folder of ours, where others may write: no link is followed on the way, and it is the owner's on the disk.
    pub(crate) is_ours: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_id_follows_from_the_name() {
        assert_eq!(user_of("kv"), user_of("kv"));
        let names = ["kv", "files", "sites", "awake", "llm_router", "seo_affiliate", "gateway", "logd", "netd"];
        let ids: std::collections::BTreeSet<u32> = names.iter().map(|name| user_of(name)).collect();
        assert_eq!(ids.len(), names.len());
        assert!(ids.iter().all(|id| (0x1000_0000..0x3000_0000).contains(id)));
    }

    #[test]
    fn a_part_of_the_memory_is_that_of_this_machine() {
        let text = "name = \"m\"\nversion = \"1\"\ndescription = \"\"\nexec = [\"m\"]\n[cage]\nmemory_max = \"75%\"";
        let manifest = Manifest::parse("m.toml", text, spec::Origin::User).expect("sound");
        let abilities = Abilities { memory: 8 << 30, ..Default::default() };
        assert_eq!(Cage::plan(&manifest, Vec::new(), false, &abilities).limits.memory >> 20, 6143);
    }

    #[test]
    fn on_the_image_there_is_no_cage_without_a_quota_unless_there_are_no_data() {
        let text = "name = \"kv\"\nversion = \"1\"\ndescription = \"\"\nexec = [\"kv\"]";
        let manifest = Manifest::parse("kv.toml", text, spec::Origin::System).expect("sound");
        let missing = vec![(Layer::Disk, "the file system has none".to_owned())];
        let lacking = |are_data_lost| {
            let abilities =
                Abilities { missing: missing.clone(), is_strict: true, are_data_lost, ..Default::default() };
            let cage = Cage::plan(&manifest, Vec::new(), false, &abilities);
            assert_eq!(cage.limits.file, Some(1 << 30), "each file is bounded then");
            cage.lacking
        };
        assert_eq!((lacking(false), lacking(true)), (vec![Layer::Disk], vec![]));
    }
}

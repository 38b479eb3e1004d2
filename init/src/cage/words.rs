//! A cage in words, for the person who wants to know what an Arc may touch.

use spec::{Bound, Capability, Extra, Layer, Network};

use super::{Cage, Part, Sight};

/// What the cage holds, a line each: first what it may touch, then what bounds it, then what is missing of it here.
pub(crate) fn describe(cage: &Cage) -> Vec<String> {
    let mut lines: Vec<String> = cage.parts.iter().filter_map(seen).collect();
    lines.extend(reached(cage));
    lines.extend(allowed(cage));
    let limits = cage.limits;
    lines.push(format!(
        "is bounded to {} of memory, {} processes and threads, {} on the disk, {} open files",
        size(limits.memory),
        limits.processes,
        match limits.disk {
            Bound::Bytes(bytes) => size(bytes.0),
            Bound::Percent(percent) => format!("{percent} % of what is there"),
        },
        limits.open_files
    ));
    let user = if cage.has(Layer::User) { format!("user {}", cage.user) } else { "the user of init".to_owned() };
    let layers: Vec<&str> = cage.layers.iter().map(|layer| layer.words()).collect();
    lines.push(format!("runs as {user}, held by {}", layers.join(", ")));
    lines
}

fn seen(part: &Part) -> Option<String> {
    Some(match part {
        Part::Bound { target, sight: Sight::Read, .. } => format!("reads {target}"),
        Part::Bound { target, sight: Sight::Execute, .. } => format!("reads and executes {target}"),
        Part::Bound { target, sight: Sight::Write, .. } => format!("reads and writes {target}"),
        Part::Bound { target, sight: Sight::Connect, .. } => format!("connects to {target}"),
        Part::Bound { sight: Sight::Device, .. } => return None,
        Part::Scratch { target, bytes } => format!("writes {target}, in memory, {} at the most", size(*bytes)),
        Part::File { target, .. } => format!("reads {target}"),
        Part::Processes => "sees its own processes in /proc".to_owned(),
    })
}

fn reached(cage: &Cage) -> Vec<String> {
    let serves = cage.serves.map(|port| format!("is reached at its own 127.0.0.1:{port}, through the gateway"));
    let reaches = match (cage.network, cage.egress.as_slice()) {
        (Network::Host, _) => vec!["is in the network of the machine".to_owned()],
        (Network::Own, []) => vec!["reaches no host".to_owned()],
        (Network::Own, hosts) => hosts.iter().map(|host| format!("reaches {host}, through the gateway")).collect(),
    };
    reaches.into_iter().chain(serves).collect()
}

fn allowed(cage: &Cage) -> Vec<String> {
    let extra = |extra: &Extra| match extra {
        Extra::Jit => "may execute what it has written (jit)",
        Extra::Loopback => "may have its processes speak to each other at its own 127.0.0.1",
        Extra::Libraries => "may load libraries",
        Extra::Processes => "may start processes of its own",
        Extra::Openat2 => "may use openat2",
        Extra::Runtime => "may use what runtimes for scripts need: messages with descriptors, inotify, memory files",
    };
    let capability = |capability: &Capability| match capability {
        Capability::NetAdmin => "may set links, addresses and routes",
        Capability::NetBindService => "may serve on ports below 1024",
        Capability::NetRaw => "may send raw packets",
        Capability::SysTime => "may set the clock",
    };
    let extras = cage.profile.extras.iter().map(extra);
    extras.chain(cage.capabilities.iter().map(capability)).map(str::to_owned).collect()
}

/// Binary multiples, as manifests have them; what is large and no multiple is rounded down.
pub(crate) fn size(bytes: u64) -> String {
    const LARGE: u64 = 16 << 20;
    match bytes {
        0 => "nothing".to_owned(),
        _ if bytes.is_multiple_of(1 << 30) => format!("{} GiB", bytes >> 30),
        _ if bytes.is_multiple_of(1 << 20) || bytes >= LARGE => format!("{} MiB", bytes >> 20),
        _ => format!("{} KiB", bytes >> 10),
    }
}

//! What a person sees of a machine on its screen and its serial line: a few lines once it is up, and one for each thing
//! that changes later.

use std::fmt;
use std::fs;

use super::Appliance;

/// How wide the name of a line is.
const NAME: usize = 10;

/// A line of the screen: what it is about, and what there is to say of it.
pub(crate) type Line = (&'static str, String);

/// The screen of a machine that is up.
#[derive(Debug)]
pub(crate) struct Screen {
    pub(crate) head: String,
    pub(crate) lines: Vec<Line>,
}

impl Screen {
    /// With what the machine itself can say.
    pub(crate) fn of(appliance: &Appliance) -> Self {
        let slot = appliance.root.map_or_else(String::new, |root| format!(" (slot {}, verified)", root.slot));
        let name = format!("llmbasedos {}{slot}", env!("CARGO_PKG_VERSION"));
        let head = format!("{name:<58}{}", hardware());
        Self { head, lines: vec![("data", appliance.data.describe())] }
    }

    /// One line of it, as it is said when that changes later.
    pub(crate) fn line((name, text): &Line) -> String {
        format!("  {name:<NAME$}{text}")
    }
}

impl fmt::Display for Screen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "\n{}", self.head)?;
        self.lines.iter().try_for_each(|line| writeln!(f, "{}", Self::line(line)))
    }
}

/// `x86_64 · 4 cores · 7.7 GB`
fn hardware() -> String {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let cores = if cores == 1 { "1 core".to_owned() } else { format!("{cores} cores") };
    format!("{} · {cores} · {}", std::env::consts::ARCH, decimal_size(memory()))
}

/// The memory that the kernel has, in bytes (proc_meminfo(5)).
fn memory() -> u64 {
    let text = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"));
    let kib: Option<u64> = line.and_then(|line| line.split_ascii_whitespace().next()?.parse().ok());
    kib.unwrap_or_default() * 1024
}

/// `58 GB`, `0.5 GB`, `12 MB`.
pub(super) fn decimal_size(bytes: u64) -> String {
    let megabytes = bytes / 1_000_000;
    match megabytes {
        0..100 => format!("{megabytes} MB"),
        100..10_000 => format!("{}.{} GB", megabytes / 1000, megabytes % 1000 / 100),
        _ => format!("{} GB", megabytes / 1000),
    }
}

/// How long the kernel runs, in seconds (proc_uptime(5)).
pub(crate) fn seconds_since_boot() -> f64 {
    let text = fs::read_to_string("/proc/uptime").unwrap_or_default();
    text.split_ascii_whitespace().next().and_then(|seconds| seconds.parse().ok()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_short() {
        let shown = [999_999, 12_300_000, 512_000_000, 7_740_000_000, 58_900_000_000].map(decimal_size);
        assert_eq!(shown, ["0 MB", "12 MB", "0.5 GB", "7.7 GB", "58 GB"]);
    }

    #[test]
    fn names_stand_in_a_column() {
        let screen = Screen {
            head: "llmbasedos".to_owned(),
            lines: vec![("data", "58 GB free of 59 GB".to_owned()), ("services", "9 up".to_owned())],
        };
        let expected = "\nllmbasedos\n  data      58 GB free of 59 GB\n  services  9 up\n";
        assert_eq!(screen.to_string(), expected);
    }
}

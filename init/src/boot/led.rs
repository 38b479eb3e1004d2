//! The light of a machine that has one and perhaps no screen: the green one of a Raspberry Pi.
//!
//! | what it does | what that means |
//! | --- | --- |
//! | blinks quickly, four times a second | the machine starts, or ends |
//! | is on | all is well |
//! | blinks slowly, a second on and a second off | it needs somebody: it is not claimed, or it has no address |
//! | flashes twice, pauses | something failed: a service, or the data partition |
//!
//! The kernel makes the light blink by itself (Linux, `Documentation/leds/leds-class.rst`); init only says how. A machine
//! without such a light, or a kernel without these triggers, is none the worse.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::attempt;

/// Where the kernel shows its lights.
pub(super) const LEDS: &str = "/sys/class/leds";
/// What the light is called: by the Pi's own kernel, by older ones, and by the kernel's own device trees.
const NAMES: [&str; 4] = ["ACT", "led0", "green:status", "green:activity"];

/// How a machine is, as far as somebody sees it who only sees a light.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Condition {
    /// It starts or ends.
    Busy,
    /// All is well.
    Well,
    /// Somebody has to do something: claim it, or plug in a cable.
    Waiting,
    /// Something failed for good.
    Failed,
}

/// What the condition is worked out from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Signs {
    /// All that starts at boot is there, and nothing is being ended.
    pub(crate) is_up: bool,
    pub(crate) has_failed: bool,
    pub(crate) is_claimed: bool,
    pub(crate) has_address: bool,
}

impl Condition {
    /// A failure is told before anything that is only missing.
    pub(crate) fn of(signs: Signs) -> Self {
        match signs {
            Signs { is_up: false, .. } => Self::Busy,
            Signs { has_failed: true, .. } => Self::Failed,
            Signs { is_claimed: true, has_address: true, .. } => Self::Well,
            _ => Self::Waiting,
        }
    }

    /// The kernel's trigger, and for how many milliseconds the light is on and off where that is to be said.
    fn pattern(self) -> (&'static str, Option<(u32, u32)>) {
        match self {
            Self::Busy => ("timer", Some((125, 125))),
            Self::Well => ("default-on", None),
            Self::Waiting => ("timer", Some((1000, 1000))),
            Self::Failed => ("heartbeat", None),
        }
    }
}

/// Whether the machine is in a network: the kernel has a route that leads somewhere (proc_pid_net(5), below its heading).
pub(crate) fn has_address() -> bool {
    fs::read_to_string("/proc/net/route").is_ok_and(|routes| routes.lines().nth(1).is_some())
}

/// The light.
#[derive(Debug)]
pub(crate) struct Led {
    /// Its folder in [`LEDS`], where there is one that does what it is told.
    folder: Option<PathBuf>,
    shown: Option<Condition>,
}

impl Led {
    /// The first in `leds` of those that are ours to use.
    pub(super) fn find(leds: &Path) -> Self {
        let folder = NAMES.iter().map(|name| leds.join(name)).find(|folder| folder.join("trigger").exists());
        Self { folder, shown: None }
    }

    /// Shows how the machine is. A light that cannot be used is given up, which is said once.
    pub(crate) fn show(&mut self, condition: Condition) {
        if self.shown.replace(condition) == Some(condition) {
            return;
        }
        let Some(folder) = &self.folder else { return };
        let set = write(folder, condition);
        let failed = set.is_err();
        attempt(&format!("use the light {}", folder.display()), set);
        self.folder.take_if(|_| failed);
    }
}

fn write(folder: &Path, condition: Condition) -> io::Result<()> {
    let (trigger, delays) = condition.pattern();
    fs::write(folder.join("trigger"), trigger)?;
    // These two are there once the kernel has heard of `timer`.
    let Some((on, off)) = delays else { return Ok(()) };
    fs::write(folder.join("delay_on"), on.to_string())?;
    fs::write(folder.join("delay_off"), off.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_worst_is_shown() {
        let signs = |is_up, has_failed, is_claimed, has_address| {
            Condition::of(Signs { is_up, has_failed, is_claimed, has_address })
        };
        assert_eq!(signs(false, true, false, false), Condition::Busy);
        assert_eq!(signs(true, true, true, true), Condition::Failed);
        assert_eq!(signs(true, false, false, true), Condition::Waiting);
        assert_eq!(signs(true, false, true, false), Condition::Waiting);
        assert_eq!(signs(true, false, true, true), Condition::Well);
    }

    #[test]
    fn each_condition_looks_different() {
        let all = [Condition::Busy, Condition::Well, Condition::Waiting, Condition::Failed].map(Condition::pattern);
        for (at, one) in all.iter().enumerate() {
            assert!(!all[..at].contains(one), "{one:?}");
        }
    }

    #[test]
    fn the_kernel_is_told_once_how_the_light_blinks() {
        let leds = tempfile::tempdir().expect("a folder");
        let folder = leds.path().join("led0");
        fs::create_dir(&folder).expect("made");
        fs::write(folder.join("trigger"), "[none] timer").expect("written");
        let read = |name: &str| fs::read_to_string(folder.join(name)).unwrap_or_default();
        let mut led = Led::find(leds.path());
        led.show(Condition::Waiting);
        assert_eq!(
            (read("trigger"), read("delay_on"), read("delay_off")),
            ("timer".into(), "1000".into(), "1000".into())
        );
        fs::write(folder.join("trigger"), "untouched").expect("written");
        led.show(Condition::Waiting);
        assert_eq!(read("trigger"), "untouched", "nothing has changed");
        led.show(Condition::Well);
        assert_eq!(read("trigger"), "default-on");
    }

    #[test]
    fn a_machine_without_a_light_and_one_with_another_do_without() {
        let leds = tempfile::tempdir().expect("a folder");
        fs::create_dir(leds.path().join("input3::capslock")).expect("made");
        Led::find(leds.path()).show(Condition::Failed);
        assert_eq!(fs::read_dir(leds.path().join("input3::capslock")).expect("there").count(), 0);
        // One that takes no orders: its trigger is a folder.
        fs::create_dir_all(leds.path().join("ACT/trigger")).expect("made");
        let mut led = Led::find(leds.path());
        led.show(Condition::Busy);
        assert!(led.folder.is_none());
    }
}

//! Where a value comes from: a terminal, which does not show it, or the standard input.

use std::fs::File;
use std::io::{self, IsTerminal, Read, Write};
use std::os::fd::AsFd;

use rustix::io::ioctl_fionread;
use rustix::termios::{LocalModes, OptionalActions, SpecialCodeIndex, Termios, tcgetattr, tcsetattr};
use spec::Name;
use spec::control::SECRET_MAX;
use zeroize::Zeroizing;

use crate::failure::Error;

/// Where a value may come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Source {
    /// The standard input: typed, where it is a terminal.
    StandardInput,
    /// Nowhere: the standard input holds commands.
    Nowhere,
}

/// Reads the value for `name`.
///
/// # Errors
/// There is none, it is too long, or the person thought better of it.
pub(super) fn read(name: &Name, source: Source) -> Result<Zeroizing<Vec<u8>>, Error> {
    let failed = |source| Error::Io { what: "the value cannot be read", source };
    // Not by `std::io::stdin`, whose buffer would keep a copy.
    let input = io::stdin().as_fd().try_clone_to_owned().map(File::from).map_err(failed)?;
    let value = match (source, input.is_terminal()) {
        (Source::Nowhere, _) => {
            let message = "in a script the value has to come from a file of its own: luca-run secret set NAME < FILE";
            return Err(Error::Usage(message.to_owned()));
        }
        (_, true) => typed(name, input)?,
        (_, false) => piped(input).map_err(failed)?,
    };
    match value.len() {
        0 => Err(Error::Usage("the value is empty: nothing was changed".to_owned())),
        1..=SECRET_MAX => Ok(value),
        _ => Err(Error::Usage(format!("a secret has at most {} KiB: nothing was changed", SECRET_MAX / 1024))),
    }
}

/// All of the standard input but one line's end at its end.
fn piped(input: File) -> io::Result<Zeroizing<Vec<u8>>> {
    // With room from the start: what a buffer leaves behind when it grows would not be wiped.
    let mut value = Zeroizing::new(Vec::with_capacity(SECRET_MAX + 64));
    input.take(SECRET_MAX as u64 + 3).read_to_end(&mut value)?;
    if value.last() == Some(&b'\n') {
        value.pop();
        if value.last() == Some(&b'\r') {
            value.pop();
        }
    }
    Ok(value)
}

/// A terminal that shows nothing of what is typed until this is dropped.
struct Silence<'t> {
    terminal: &'t File,
    before: Termios,
}

impl<'t> Silence<'t> {
    fn begin(terminal: &'t File) -> io::Result<Self> {
        let before = tcgetattr(terminal)?;
        let mut silent = before.clone();
        // Keys come one by one, Ctrl-C among them: nothing may end the program while the terminal is silent.
        silent.local_modes -= LocalModes::ECHO | LocalModes::ICANON | LocalModes::ISIG | LocalModes::IEXTEN;
        silent.special_codes[SpecialCodeIndex::VMIN] = 1;
        silent.special_codes[SpecialCodeIndex::VTIME] = 0;
        tcsetattr(terminal, OptionalActions::Flush, &silent)?;
        Ok(Self { terminal, before })
    }
}

impl Drop for Silence<'_> {
    fn drop(&mut self) {
        // What was not read goes: the rest of something that was pasted is no command.
        let _ = tcsetattr(self.terminal, OptionalActions::Flush, &self.before);
        let _ = writeln!(io::stderr());
    }
}

/// A line from the terminal.
fn typed(name: &Name, mut terminal: File) -> Result<Zeroizing<Vec<u8>>, Error> {
    let failed = |source| Error::Io { what: "the terminal cannot be used", source };
    let keys = terminal.try_clone().map_err(failed)?;
    let _silence = Silence::begin(&keys).map_err(failed)?;
    let _ = write!(io::stderr(), "value of {name} (not shown): ");
    let mut value = Zeroizing::new(Vec::with_capacity(SECRET_MAX + 1));
    let mut key = Zeroizing::new([0]);
    loop {
        if terminal.read(key.as_mut_slice()).map_err(failed)? == 0 {
            return Ok(value);
        }
        match key[0] {
            b'\r' | b'\n' if ioctl_fionread(&keys).is_ok_and(|waiting| waiting > 0) => {
                let message = "that had more than one line: nothing was changed; give it from a file: luca-run secret set \
                               NAME < FILE";
                return Err(Error::Usage(message.to_owned()));
            }
            b'\r' | b'\n' => return Ok(value),
            // Ctrl-C, and Ctrl-D where nothing was typed.
            3 => return Err(Error::Cancelled),
            4 if value.is_empty() => return Err(Error::Cancelled),
            4 => return Ok(value),
            // Backspace takes a character, Ctrl-U all.
            8 | 127 => while value.pop().is_some_and(|byte| byte & 0xc0 == 0x80) {},
            21 => value.clear(),
            _ if value.len() > SECRET_MAX => {}
            byte => value.push(byte),
        }
    }
}

//! The token of an appliance whose owner has given it none: made at the first boot, and kept.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::Path;

use spec::Token;

use crate::layout::write_private;

/// Base 32 without what is mistaken for something else when it is typed (Crockford's).
const LETTERS: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";
/// Five bits each: 130.
const LENGTH: usize = 26;

/// The token that is kept in `file`, or a new one, which is kept there from now on.
///
/// # Errors
/// The new one could not be kept, or there is no random source.
pub(crate) fn kept(file: &Path) -> io::Result<Token> {
    // One that is none was cut short by somebody's hand, and nobody can have it.
    if let Some(token) = fs::read_to_string(file).ok().and_then(|text| text.trim().parse().ok()) {
        return Ok(token);
    }
    let mut random = [0_u8; LENGTH];
    File::open("/dev/urandom")?.read_exact(&mut random)?;
    let letter = |byte: &u8| LETTERS.get(usize::from(byte % 32)).map(|&letter| char::from(letter));
    let text: String = random.iter().filter_map(letter).collect();
    write_private(file, format!("{text}\n").as_bytes())?;
    text.parse().map_err(io::Error::other)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_made_once_and_another_machine_has_another() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("gateway.token");
        let first = kept(&file).expect("made");
        assert_eq!(first.as_str().len(), LENGTH);
        assert_eq!(kept(&file).expect("kept"), first);
        fs::write(&file, "short").expect("written");
        assert_ne!(kept(&file).expect("made anew"), first);
    }
}

//! The token that is shown to a gateway on another machine: in a file or the environment, never on the command line,
//! where other users of this machine would see it.

use std::path::Path;

use spec::Token;

use crate::failure::Error;

/// The environment variable with the token itself.
pub(crate) const VARIABLE: &str = "LLMBASEDOS_TOKEN";

/// The token of the file, else that of the environment, if there is one.
///
/// # Errors
/// The file cannot be read, or what was found is no token.
pub(crate) fn find(file: Option<&Path>) -> Result<Option<Token>, Error> {
    let (place, text) = match file {
        Some(path) => {
            let text = std::fs::read_to_string(path);
            let text = text.map_err(|error| Error::Usage(format!("--token-file {}: {error}", path.display())))?;
            (format!("--token-file {}", path.display()), text)
        }
        None => match std::env::var(VARIABLE) {
            Ok(text) if !text.is_empty() => (VARIABLE.to_owned(), text),
            _ => return Ok(None),
        },
    };
    text.trim().parse().map(Some).map_err(|why| Error::Usage(format!("{place}: the token {why}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_read_from_a_file_and_never_repeated() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("token");
        std::fs::write(&file, "0123456789abcdef\n").expect("written");
        let token = find(Some(&file)).expect("a token").expect("there");
        assert_eq!(token.as_str(), "0123456789abcdef");
        std::fs::write(&file, "too short").expect("written");
        let said = find(Some(&file)).expect_err("no token").to_string();
        assert!(said.contains("must be 16 to 128") && !said.contains("too short"), "{said}");
        assert!(find(Some(&folder.path().join("none"))).is_err());
    }
}

//! What the head of a GGUF file says (<https://github.com/ggml-org/ggml/blob/master/docs/gguf.md>).

use std::io::{self, Read};

/// The versions that servers read.
const VERSIONS: std::ops::RangeInclusive<u32> = 2..=3;
/// The key that every model has.
const ARCHITECTURE: &str = "general.architecture";
/// No head has more entries, no text in one is longer, and lists lie in each other no deeper.
const MOST_ENTRIES: u64 = 4096;
const LONGEST_TEXT: u64 = 16 << 20;
const DEEPEST: u32 = 4;
/// `gguf_metadata_value_type` of a text and of a list.
const TEXT: u32 = 8;
const LIST: u32 = 9;

/// The architecture of the model that a file holds: `llama`, `qwen2`.
///
/// # Errors
/// It is no such file, or it names none.
pub(super) fn architecture(file: &mut impl Read) -> io::Result<String> {
    let wrong = |why: &str| io::Error::new(io::ErrorKind::InvalidData, why.to_owned());
    if &bytes::<4>(file)? != b"GGUF" {
        return Err(wrong("it does not begin as a GGUF file does"));
    }
    let version = u32::from_le_bytes(bytes(file)?);
    if !VERSIONS.contains(&version) {
        return Err(wrong(&format!("it is of version {version} of GGUF, and 2 and 3 are known")));
    }
    let _tensors = number(file)?;
    let entries = number(file)?;
    for _ in 0..entries.min(MOST_ENTRIES) {
        let key = text(file)?;
        let kind = u32::from_le_bytes(bytes(file)?);
        if key == ARCHITECTURE && kind == TEXT {
            let name = text(file)?;
            let is_name = !name.is_empty() && name.len() <= 64 && name.bytes().all(|byte| byte.is_ascii_graphic());
            return if is_name { Ok(name) } else { Err(wrong("the name of its architecture is none")) };
        }
        skip(file, kind, DEEPEST)?;
    }
    Err(wrong("it does not say what kind of model it holds"))
}

fn bytes<const N: usize>(file: &mut impl Read) -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    file.read_exact(&mut bytes)?;
    Ok(bytes)
}

fn number(file: &mut impl Read) -> io::Result<u64> {
    Ok(u64::from_le_bytes(bytes(file)?))
}

fn text(file: &mut impl Read) -> io::Result<String> {
    let length = number(file)?;
    let mut bytes = Vec::new();
    file.take(length.min(LONGEST_TEXT)).read_to_end(&mut bytes)?;
    if bytes.len() as u64 != length {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// Reads over a value of that kind.
fn skip(file: &mut impl Read, kind: u32, deepest: u32) -> io::Result<()> {
    let over = |file: &mut dyn Read, length: u64| {
        let read = io::copy(&mut file.take(length), &mut io::sink())?;
        if read == length { Ok(()) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
    };
    if let Some(size) = size_of(kind) {
        return over(file, size);
    }
    match kind {
        TEXT => {
            let length = number(file)?;
            over(file, length)
        }
        LIST if deepest > 0 => {
            let kind = u32::from_le_bytes(bytes(file)?);
            let count = number(file)?;
            match size_of(kind) {
                Some(size) => over(file, count.saturating_mul(size)),
                None => (0..count).try_for_each(|_| skip(file, kind, deepest - 1)),
            }
        }
        _ => Err(io::Error::new(io::ErrorKind::InvalidData, format!("it has values of an unknown kind, {kind}"))),
    }
}

/// How many bytes a number of that kind takes.
fn size_of(kind: u32) -> Option<u64> {
    match kind {
        0 | 1 | 7 => Some(1),
        2 | 3 => Some(2),
        4..=6 => Some(4),
        10..=12 => Some(8),
        _ => None,
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    fn push(file: &mut Vec<u8>, text: &str) {
        file.extend((text.len() as u64).to_le_bytes());
        file.extend(text.as_bytes());
    }

    /// A head with some other entries before the one that counts.
    pub(crate) fn head(architecture: &str) -> Vec<u8> {
        let mut file = b"GGUF".to_vec();
        file.extend(3_u32.to_le_bytes());
        file.extend(0_u64.to_le_bytes());
        file.extend(4_u64.to_le_bytes());
        push(&mut file, "a.number");
        file.extend([4, 0, 0, 0, 7, 0, 0, 0]);
        push(&mut file, "some.texts");
        file.extend(LIST.to_le_bytes());
        file.extend(TEXT.to_le_bytes());
        file.extend(2_u64.to_le_bytes());
        push(&mut file, "one");
        push(&mut file, "two");
        push(&mut file, "some.numbers");
        file.extend(LIST.to_le_bytes());
        file.extend(2_u32.to_le_bytes());
        file.extend(3_u64.to_le_bytes());
        file.extend([0; 6]);
        push(&mut file, ARCHITECTURE);
        file.extend(TEXT.to_le_bytes());
        push(&mut file, architecture);
        file
    }

    #[test]
    fn the_architecture_is_found_behind_other_entries() {
        assert_eq!(architecture(&mut head("qwen2").as_slice()).expect("sound"), "qwen2");
    }

    #[test]
    fn what_is_no_model_is_told() {
        let said = |file: &[u8]| architecture(&mut { file }).expect_err("wrong").to_string();
        assert!(said(b"PK\x03\x04 and more").contains("does not begin as a GGUF"));
        assert!(said(b"GGUF\x01\0\0\0").contains("version 1"));
        assert!(said(&head("")).contains("none"));
        let mut without = b"GGUF\x03\0\0\0".to_vec();
        without.extend([0; 16]);
        assert!(said(&without).contains("does not say"));
    }

    proptest::proptest! {
        #[test]
        fn no_file_makes_it_panic_or_hang(tail in proptest::collection::vec(proptest::num::u8::ANY, 0..300), cut in 0_usize..160) {
            let mut file = head("llama");
            file.truncate(cut);
            file.extend(tail);
            let _ = architecture(&mut file.as_slice());
        }
    }
}

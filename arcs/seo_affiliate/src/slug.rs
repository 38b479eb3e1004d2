//! Addresses made from titles.

/// The most bytes of a slug.
const MOST: usize = 72;

/// A title as a path segment: lower-case ASCII letters and digits with single hyphens between the words, 1 to 72 bytes.
/// A title in a script that has no Latin form is named by a digest of its characters.
pub(crate) fn slug(title: &str) -> String {
    let latin: String = title.chars().map(latin).collect();
    let mut slug = String::new();
    for word in latin.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty()) {
        if slug.len() + 1 + word.len() > MOST && !slug.is_empty() {
            break;
        }
        if !slug.is_empty() {
            slug.push('-');
        }
        slug.push_str(word.get(..MOST.min(word.len())).unwrap_or_default());
    }
    let telling = slug.len() >= 3 || title.chars().count() < 3;
    if telling && !slug.is_empty() { slug } else { format!("article-{:08x}", digest(title)) }
}

/// Whether `text` could have come from [`slug`].
pub(crate) fn is_slug(text: &str) -> bool {
    let sound = text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-');
    (1..=MOST).contains(&text.len()) && sound && !text.starts_with('-') && !text.ends_with('-')
}

fn latin(c: char) -> String {
    let plain = match c.to_lowercase().next().unwrap_or(c) {
        'ä' | 'æ' => "ae",
        'à'..='å' | 'ā' | 'ă' | 'ą' => "a",
        'ç' | 'ć' | 'č' => "c",
        'ď' | 'ð' => "d",
        'è'..='ë' | 'ē' | 'ę' | 'ě' => "e",
        'ì'..='ï' | 'ī' => "i",
        'ł' => "l",
        'ñ' | 'ń' | 'ň' => "n",
        'ò'..='õ' | 'ø' | 'ō' | 'ő' => "o",
        'ö' | 'œ' => "oe",
        'ř' => "r",
        'ś' | 'š' | 'ş' => "s",
        'ß' => "ss",
        'ť' => "t",
        'ù'..='û' | 'ū' | 'ů' | 'ű' => "u",
        'ü' => "ue",
        'ý' | 'ÿ' => "y",
        'ź' | 'ż' | 'ž' => "z",
        // An apostrophe joins: "don't" is one word.
        '\'' | '’' => "",
        other => return other.to_string(),
    };
    plain.to_owned()
}

/// 32-bit FNV-1a.
fn digest(text: &str) -> u32 {
    text.bytes().fold(0x811c_9dc5, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_title_becomes_an_address() {
        assert_eq!(slug("How to Move Coins: Don't Panic!"), "how-to-move-coins-dont-panic");
        assert_eq!(slug("Où garder ses clés ? L’été, à Großenköln"), "ou-garder-ses-cles-lete-a-grossenkoeln");
        assert_eq!(slug("../../etc/passwd"), "etc-passwd");
        assert_eq!(slug(&"word ".repeat(40)).len(), 69);
    }

    #[test]
    fn a_title_without_latin_letters_has_an_address_too() {
        assert!(slug("暗号資産の保管").starts_with("article-") && is_slug(&slug("暗号資産の保管")));
        assert_ne!(slug("暗号資産の保管"), slug("財布の選び方"));
        assert!(slug("").starts_with("article-"));
    }

    proptest::proptest! {
        #[test]
        fn every_title_has_a_safe_address(title in "\\PC{0,200}") {
            proptest::prop_assert!(is_slug(&slug(&title)), "{}", slug(&title));
        }
    }
}

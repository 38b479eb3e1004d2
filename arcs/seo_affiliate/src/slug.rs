//! Addresses made from titles.

/// The most bytes of a slug.
const MOST: usize = 72;

/// The bytes of a digest with the hyphen before it.
const DIGEST: usize = 9;

/// A title as a path segment: lower-case ASCII letters and digits with single hyphens between the words, 1 to 72 bytes.
/// Where it does not hold the whole title, which may be long or in another script, a digest of that tells it from others.
pub(crate) fn slug(title: &str) -> String {
    let latin: String = title.chars().map(latin).collect();
    let words: Vec<&str> = latin.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty()).collect();
    let whole = words.join("-");
    let is_told =
        !whole.is_empty() && whole.len() <= MOST && !latin.chars().any(|c| c.is_alphanumeric() && !c.is_ascii());
    if is_told {
        return whole;
    }
    let mut slug = String::new();
    for word in words {
        if slug.len() + word.len() + 1 + DIGEST > MOST {
            break;
        }
        slug.push_str(word);
        slug.push('-');
    }
    let name = if slug.is_empty() { "article-" } else { &slug };
    format!("{name}{:08x}", digest(title))
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
        let long = slug(&"word ".repeat(40));
        assert!(long.starts_with("word-word-") && long.len() == 68, "{long}");
        assert_ne!(long, slug(&"word ".repeat(41)));
        assert_ne!(slug(&"x".repeat(80)), slug(&"x".repeat(81)));
    }

    #[test]
    fn a_title_without_latin_letters_has_an_address_too() {
        assert!(slug("暗号資産の保管").starts_with("article-") && is_slug(&slug("暗号資産の保管")));
        assert_ne!(slug("暗号資産の保管"), slug("財布の選び方"));
        assert!(slug("").starts_with("article-"));
        assert!(slug("Bitcoinの保管方法").starts_with("bitcoin-"));
        assert_ne!(slug("Bitcoinの保管方法"), slug("Bitcoinの買い方"));
        assert_ne!(slug("Cách bảo quản"), slug("Cách bão quản"));
    }

    proptest::proptest! {
        #[test]
        fn every_title_has_a_safe_address(title in "\\PC{0,200}") {
            proptest::prop_assert!(is_slug(&slug(&title)), "{}", slug(&title));
        }
    }
}

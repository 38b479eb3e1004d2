//! Time and sizes in the form that people read.

use std::time::Duration;

/// `0.6 ms`, `12 ms`, `3.4 s`, `2 min 5 s`.
pub(crate) fn took(time: Duration) -> String {
    let ms = time.as_secs_f64() * 1000.0;
    match ms {
        _ if ms < 10.0 => format!("{ms:.1} ms"),
        _ if ms < 1000.0 => format!("{ms:.0} ms"),
        _ if ms < 10_000.0 => format!("{:.1} s", ms / 1000.0),
        _ => whole_seconds(time),
    }
}

/// `6 s`, `2 min 5 s`, `1 h 2 min`.
pub(crate) fn whole_seconds(time: Duration) -> String {
    match time.as_secs() {
        seconds @ 0..60 => format!("{seconds} s"),
        seconds @ 60..3600 => format!("{} min {} s", seconds / 60, seconds % 60),
        seconds => format!("{} h {} min", seconds / 3600, seconds / 60 % 60),
    }
}

/// `just now`, `40 s ago`, `4 min ago`, `3 h ago`, `12 days ago`; a moment to come is `now`.
pub(crate) fn ago(milliseconds: i128) -> String {
    let seconds = milliseconds / 1000;
    match seconds {
        ..1 => "now".to_owned(),
        1..60 => format!("{seconds} s ago"),
        60..3600 => format!("{} min ago", seconds / 60),
        3600..172_800 => format!("{} h ago", seconds / 3600),
        _ => format!("{} days ago", seconds / 86_400),
    }
}

/// `0 B`, `812 B`, `1.2 KB`, `45 MB` (decimal multiples).
pub(crate) fn size(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["KB", "MB", "GB", "TB", "PB"];
    if bytes < 1000 {
        return format!("{bytes} B");
    }
    #[expect(clippy::cast_precision_loss, reason = "two digits are shown")]
    let mut number = bytes as f64;
    let mut unit = "B";
    for next in UNITS {
        if number < 999.5 {
            break;
        }
        number /= 1000.0;
        unit = next;
    }
    if number < 9.95 { format!("{number:.1} {unit}") } else { format!("{number:.0} {unit}") }
}

/// Milliseconds since 1970 of an RFC 3339 time, the form of `modified_at`.
pub(crate) fn milliseconds_of(text: &str) -> Option<i128> {
    let time = time::OffsetDateTime::parse(text, &time::format_description::well_known::Rfc3339).ok()?;
    Some(time.unix_timestamp_nanos() / 1_000_000)
}

/// Milliseconds since 1970.
pub(crate) fn now_ms() -> i128 {
    time::OffsetDateTime::now_utc().unix_timestamp_nanos() / 1_000_000
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_is_short() {
        let took = |us| took(Duration::from_micros(us));
        assert_eq!((took(640), took(12_300)), ("0.6 ms".to_owned(), "12 ms".to_owned()));
        assert_eq!((took(3_440_000), took(125_000_000)), ("3.4 s".to_owned(), "2 min 5 s".to_owned()));
        assert_eq!(whole_seconds(Duration::from_secs(3_720)), "1 h 2 min");
        let ago = |seconds: i128| ago(seconds * 1000);
        assert_eq!((ago(-5), ago(250), ago(90_000)), ("now".into(), "4 min ago".into(), "25 h ago".into()));
        assert_eq!(milliseconds_of("1970-01-01T00:00:02Z"), Some(2000));
        assert_eq!(milliseconds_of("yesterday"), None);
    }

    #[test]
    fn sizes_are_short() {
        let sizes = [0, 999, 1_234, 45_600_000, 999_999, u64::MAX].map(size);
        assert_eq!(sizes, ["0 B", "999 B", "1.2 KB", "46 MB", "1.0 MB", "18447 PB"]);
    }
}

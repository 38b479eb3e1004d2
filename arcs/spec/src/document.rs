//! Reading a TOML file key by key, so that every problem is found in one go and each knows its place.
//!
//! serde stops at the first fault and forgets where it stood. A [`Section`] is asked for each key that the format
//! knows; whatever it was not asked for is an unknown key. All problems gather in the [`Document`].

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::time::Duration;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::problem::{Problem, Problems};
use crate::values::{InvalidValue, parse_duration};

/// A TOML file that is being read.
pub struct Document<'s> {
    file: String,
    source: &'s str,
    problems: RefCell<Vec<Problem>>,
}

impl<'s> Document<'s> {
    /// Reads `source` with `read` and returns what it built, or every problem that was met on the way.
    ///
    /// `file` is only used to name the file in messages. `read` returns `None` when a required part was missing;
    /// it has then reported why.
    ///
    /// # Errors
    /// All problems of the file: syntax, missing and unknown keys, wrong types, values out of bounds.
    pub fn read<T>(file: &str, source: &'s str, read: impl FnOnce(&Section<'_>) -> Option<T>) -> Result<T, Problems> {
        let document = Document { file: file.to_owned(), source, problems: RefCell::default() };
        let (table, errors) = DeTable::parse_recoverable(source);
        for error in &errors {
            document.report(String::new(), error.message().to_owned(), error.span().unwrap_or(0..0));
        }
        let syntax_is_sound = errors.is_empty();
        let root = Section::new(&document, String::new(), table.get_ref(), 0..0);
        let value = read(&root);
        if syntax_is_sound {
            root.report_unknown_keys();
        } else {
            // What cannot be parsed would only be reported a second time as a missing or odd key.
            document.problems.borrow_mut().truncate(errors.len());
        }
        document.finish(value)
    }

    fn finish<T>(self, value: Option<T>) -> Result<T, Problems> {
        let mut problems = self.problems.into_inner();
        match value {
            Some(value) if problems.is_empty() => Ok(value),
            _ => {
                if problems.is_empty() {
                    problems.push(Problem { key: String::new(), message: "cannot be read".to_owned(), span: 0..0 });
                }
                Err(Problems::new(&self.file, self.source, problems))
            }
        }
    }

    fn report(&self, key: String, message: String, span: Range<usize>) {
        self.problems.borrow_mut().push(Problem { key, message, span });
    }
}

/// Where a value stands; what a [`TomlValue`] reports its problems to.
pub struct Place<'d> {
    document: &'d Document<'d>,
    key: String,
    span: Range<usize>,
}

impl Place<'_> {
    /// Reports that the value here is wrong; `message` says what would be right.
    pub fn report(&self, message: impl Into<String>) {
        self.document.report(self.key.clone(), message.into(), self.span.clone());
    }
}

/// A value that can be read from TOML. Reports what is wrong and answers `None`.
pub trait TomlValue: Sized {
    /// Reads `value`; on `None` the problem was reported at `place`.
    fn read(value: &DeValue<'_>, place: &Place<'_>) -> Option<Self>;
}

/// A table of the document. Every key that is asked for is a known key.
pub struct Section<'d> {
    document: &'d Document<'d>,
    path: String,
    table: &'d DeTable<'d>,
    span: Range<usize>,
    known: RefCell<BTreeSet<String>>,
}

impl<'d> Section<'d> {
    fn new(document: &'d Document<'d>, path: String, table: &'d DeTable<'d>, span: Range<usize>) -> Self {
        Self { document, path, table, span, known: RefCell::default() }
    }

    /// The value of `key`, which must be there.
    pub fn required<T: TomlValue>(&self, key: &str) -> Option<T> {
        if self.lookup(key).is_none() {
            self.report_missing(key);
            return None;
        }
        self.optional(key)
    }

    /// The value of `key`, `None` where it is absent (or wrong, which is then reported).
    pub fn optional<T: TomlValue>(&self, key: &str) -> Option<T> {
        let (span, value) = self.lookup(key)?;
        T::read(value, &Place { document: self.document, key: self.join(key), span })
    }

    /// The value of `key`, or `default` where it is absent.
    pub fn or<T: TomlValue>(&self, key: &str, default: T) -> T {
        self.optional(key).unwrap_or(default)
    }

    /// Reads the table under `key` if it is there.
    pub fn section<T>(&self, key: &str, read: impl FnOnce(&Section<'_>) -> Option<T>) -> Option<T> {
        let (span, value) = self.lookup(key)?;
        self.read_table(self.join(key), span, value, read)
    }

    /// Reads each table of the array of tables under `key`.
    pub fn sections<T>(&self, key: &str, mut read: impl FnMut(&Section<'_>) -> Option<T>) -> Vec<T> {
        let Some((span, value)) = self.lookup(key) else { return Vec::new() };
        let Some(array) = value.as_array() else {
            self.document.report(self.join(key), "must be an array of tables".to_owned(), span);
            return Vec::new();
        };
        let read_one = |(index, item): (usize, &Spanned<DeValue<'_>>)| {
            self.read_table(format!("{}[{index}]", self.join(key)), item.span(), item.get_ref(), &mut read)
        };
        array.iter().enumerate().filter_map(read_one).collect()
    }

    /// Reads each table under `key` by its name: `[tools.get]`, `[tools.set]`.
    pub fn named_sections<T>(
        &self,
        key: &str,
        mut read: impl FnMut(&str, &Section<'_>) -> Option<T>,
    ) -> BTreeMap<String, T> {
        self.section(key, |all| Some(all.each_section(&mut read))).unwrap_or_default()
    }

    /// Reads every key of this table as a table by its name.
    pub fn each_section<T>(&self, mut read: impl FnMut(&str, &Section<'_>) -> Option<T>) -> BTreeMap<String, T> {
        let names: Vec<String> = self.table.keys().map(|key| key.get_ref().to_string()).collect();
        let read_one = |name: String| {
            let value = self.section(&name, |section| read(&name, section))?;
            Some((name, value))
        };
        names.into_iter().filter_map(read_one).collect()
    }

    /// Every key of this table with its value: for maps whose keys the format does not fix.
    pub fn entries<T: TomlValue>(&self) -> BTreeMap<String, T> {
        let names: Vec<String> = self.table.keys().map(|key| key.get_ref().to_string()).collect();
        names.into_iter().filter_map(|name| Some((name.clone(), self.optional(&name)?))).collect()
    }

    /// Whether `key` is written here. Counts as asking for it.
    pub fn has(&self, key: &str) -> bool {
        self.lookup(key).is_some()
    }

    /// Whether a table is written under `key`.
    pub fn is_table(&self, key: &str) -> bool {
        self.lookup(key).is_some_and(|(_, value)| value.is_table())
    }

    /// This table as it stands in the source, to be read later by whom it belongs to. All keys count as known.
    #[must_use]
    pub fn raw(&self) -> toml::Table {
        self.known.borrow_mut().extend(self.table.keys().map(|key| key.get_ref().to_string()));
        to_table(self.table)
    }

    /// Reports a problem at `key`, or at the table itself where the key is absent.
    pub fn report(&self, key: &str, message: impl Into<String>) {
        let span = self.lookup(key).map_or_else(|| self.span.clone(), |(span, _)| span);
        self.document.report(self.join(key), message.into(), span);
    }

    fn read_table<T>(
        &self,
        path: String,
        span: Range<usize>,
        value: &DeValue<'_>,
        read: impl FnOnce(&Section<'_>) -> Option<T>,
    ) -> Option<T> {
        let Some(table) = value.as_table() else {
            self.document.report(path, format!("must be a table, not {}", described(value)), span);
            return None;
        };
        let section = Section::new(self.document, path, table, span);
        let value = read(&section);
        section.report_unknown_keys();
        value
    }

    fn lookup(&self, key: &str) -> Option<(Range<usize>, &'d DeValue<'d>)> {
        self.known.borrow_mut().insert(key.to_owned());
        self.table.get(key).map(|value| (value.span(), value.get_ref()))
    }

    fn join(&self, key: &str) -> String {
        // In quotes where it stands so in the file (TOML 1.0, "Keys"): it may hold what a terminal obeys.
        let is_bare = key.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte)) && !key.is_empty();
        let key = if is_bare { key.to_owned() } else { format!("{key:?}") };
        if self.path.is_empty() { key } else { format!("{}.{key}", self.path) }
    }

    fn report_missing(&self, key: &str) {
        self.document.report(self.join(key), format!("`{key}` is missing"), self.span.clone());
    }

    fn report_unknown_keys(&self) {
        let known = self.known.borrow();
        for key in self.table.keys().filter(|key| !known.contains(key.get_ref().as_ref())) {
            let name = key.get_ref().as_ref();
            let hint = close_to(name, known.iter().map(String::as_str));
            self.document.report(self.join(name), format!("unknown key{hint}"), key.span());
        }
    }
}

/// The end of a sentence that names what is spelled much like `name`, closest first: `. Close to it: kv.get, kv.set`.
/// Empty where nothing is.
#[must_use]
pub fn close_to<'c>(name: &str, candidates: impl IntoIterator<Item = &'c str>) -> String {
    /// Below this Jaro-Winkler similarity a hint confuses more than it helps.
    const CLOSE: f64 = 0.8;
    let mut scored: Vec<(f64, &str)> = candidates
        .into_iter()
        .map(|candidate| (strsim::jaro_winkler(name, candidate), candidate))
        .filter(|(score, _)| *score >= CLOSE)
        .collect();
    scored.sort_by(|a, b| b.0.total_cmp(&a.0).then_with(|| a.1.cmp(b.1)));
    let closest: Vec<&str> = scored.into_iter().map(|(_, candidate)| candidate).take(3).collect();
    if closest.is_empty() { String::new() } else { format!(". Close to it: {}", closest.join(", ")) }
}

fn described(value: &DeValue<'_>) -> String {
    match value {
        DeValue::String(text) => format!("the string {:?}", text.chars().take(40).collect::<String>()),
        DeValue::Integer(number) => format!("the number {number}"),
        DeValue::Float(number) => format!("the number {number}"),
        DeValue::Boolean(value) => value.to_string(),
        DeValue::Datetime(_) => "a date".to_owned(),
        DeValue::Array(_) => "an array".to_owned(),
        DeValue::Table(_) => "a table".to_owned(),
    }
}

fn to_table(table: &DeTable<'_>) -> toml::Table {
    table.iter().map(|(key, value)| (key.get_ref().to_string(), to_value(value.get_ref()))).collect()
}

fn to_value(value: &DeValue<'_>) -> toml::Value {
    match value {
        DeValue::String(text) => toml::Value::String(text.to_string()),
        DeValue::Integer(number) => toml::Value::Integer(integer(number).unwrap_or_default()),
        DeValue::Float(number) => toml::Value::Float(number.as_str().parse().unwrap_or(f64::NAN)),
        DeValue::Boolean(value) => toml::Value::Boolean(*value),
        DeValue::Datetime(value) => toml::Value::Datetime(*value),
        DeValue::Array(items) => toml::Value::Array(items.iter().map(|item| to_value(item.get_ref())).collect()),
        DeValue::Table(table) => toml::Value::Table(to_table(table)),
    }
}

fn integer(number: &toml::de::DeInteger<'_>) -> Option<i64> {
    i64::from_str_radix(number.as_str(), number.radix()).ok()
}

impl TomlValue for String {
    fn read(value: &DeValue<'_>, place: &Place<'_>) -> Option<Self> {
        if value.as_str().is_none() {
            place.report(format!("must be a string, not {}", described(value)));
        }
        value.as_str().map(str::to_owned)
    }
}

impl TomlValue for bool {
    fn read(value: &DeValue<'_>, place: &Place<'_>) -> Option<Self> {
        if value.as_bool().is_none() {
            place.report(format!("must be true or false, not {}", described(value)));
        }
        value.as_bool()
    }
}

impl TomlValue for u32 {
    fn read(value: &DeValue<'_>, place: &Place<'_>) -> Option<Self> {
        let number = value.as_integer().and_then(integer).and_then(|number| u32::try_from(number).ok());
        if number.is_none() {
            place.report(format!("must be a whole number from 0 to {}, not {}", u32::MAX, described(value)));
        }
        number
    }
}

/// A port of TCP or UDP.
impl TomlValue for u16 {
    fn read(value: &DeValue<'_>, place: &Place<'_>) -> Option<Self> {
        let number = value.as_integer().and_then(integer).and_then(|number| Self::try_from(number).ok());
        let port = number.filter(|port| *port != 0);
        if port.is_none() {
            place.report(format!("must be a port from 1 to {}, not {}", Self::MAX, described(value)));
        }
        port
    }
}

impl TomlValue for f64 {
    fn read(value: &DeValue<'_>, place: &Place<'_>) -> Option<Self> {
        let text = value.as_float().map(|n| n.as_str()).or_else(|| value.as_integer().map(|n| n.as_str()));
        let number = text.and_then(|text| text.parse().ok()).filter(|number: &f64| number.is_finite());
        if number.is_none() {
            place.report(format!("must be a number, not {}", described(value)));
        }
        number
    }
}

impl TomlValue for Duration {
    fn read(value: &DeValue<'_>, place: &Place<'_>) -> Option<Self> {
        from_text(value, place, parse_duration)
    }
}

impl TomlValue for toml::Value {
    fn read(value: &DeValue<'_>, _place: &Place<'_>) -> Option<Self> {
        Some(to_value(value))
    }
}

impl<T: TomlValue> TomlValue for Vec<T> {
    fn read(value: &DeValue<'_>, place: &Place<'_>) -> Option<Self> {
        let Some(array) = value.as_array() else {
            place.report(format!("must be an array, not {}", described(value)));
            return None;
        };
        let read_one = |(index, item): (usize, &Spanned<DeValue<'_>>)| {
            let key = format!("{}[{index}]", place.key);
            T::read(item.get_ref(), &Place { document: place.document, key, span: item.span() })
        };
        Some(array.iter().enumerate().filter_map(read_one).collect())
    }
}

/// Reads a string and parses it; the parser's message says what would be right.
pub(crate) fn from_text<T>(
    value: &DeValue<'_>,
    place: &Place<'_>,
    parse: impl FnOnce(&str) -> Result<T, InvalidValue>,
) -> Option<T> {
    let text = String::read(value, place)?;
    parse(&text).map_err(|invalid| place.report(invalid.to_string())).ok()
}

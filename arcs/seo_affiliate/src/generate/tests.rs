//! Whole runs with a model that reads from a script.

use std::collections::VecDeque;
use std::fs;
use std::path::Path;
use std::sync::Mutex;

use serde_json::{Value, json};

use super::*;
use crate::model::{Answer, Choice, Completion, Request};

const NOW: i64 = 1_795_392_000;

/// A model that answers each kind of question from a list, and the last of the list for ever.
struct Script {
    answers: Mutex<Vec<(&'static str, VecDeque<Value>)>>,
    asked: Mutex<Vec<String>>,
    progress: Mutex<Vec<String>>,
}

impl Script {
    /// A model that answers well.
    fn good() -> Self {
        let answers = vec![
            (
                "topics",
                VecDeque::from([json!(["Paper wallets at home", "Fees of a first transfer", "Scams in a chat group"])]),
            ),
            ("title", VecDeque::from([json!(null)])),
            (
                "headings",
                VecDeque::from([json!([
                    "Check the address twice",
                    "Send a small amount first",
                    "Wait for three confirmations",
                    "Write the words on paper",
                ])]),
            ),
            (
                "questions",
                VecDeque::from([json!([
                    "How long does it take?",
                    "What does a transfer cost?",
                    "Can I get coins back?"
                ])]),
            ),
            ("paragraphs", VecDeque::from([json!(null)])),
            ("answer", VecDeque::from([json!(null)])),
        ];
        Self { answers: Mutex::new(answers), asked: Mutex::default(), progress: Mutex::default() }
    }

    /// The same, but the first answers of one kind are these.
    fn with(self, kind: &'static str, first: impl IntoIterator<Item = Value>) -> Self {
        let mut answers = self.answers.into_inner().expect("not poisoned");
        let (_, queue) = answers.iter_mut().find(|(name, _)| *name == kind).expect("a kind of the script");
        first.into_iter().collect::<Vec<_>>().into_iter().rev().for_each(|value| queue.push_front(value));
        Self { answers: Mutex::new(answers), ..self }
    }

    /// Only this, whatever is asked of that kind.
    fn always(self, kind: &'static str, answer: Value) -> Self {
        let mut answers = self.answers.into_inner().expect("not poisoned");
        let (_, queue) = answers.iter_mut().find(|(name, _)| *name == kind).expect("a kind of the script");
        *queue = VecDeque::from([answer]);
        Self { answers: Mutex::new(answers), ..self }
    }

    fn answer(&self, kind: &str) -> Value {
        let mut answers = self.answers.lock().expect("not poisoned");
        let (_, queue) = answers.iter_mut().find(|(name, _)| *name == kind).expect("a kind of the script");
        if queue.len() > 1 { queue.pop_front().expect("more than one") } else { queue[0].clone() }
    }
}

impl Model for Script {
    async fn chat(&self, request: &Request<'_>) -> Result<Completion> {
        let number = {
            let mut asked = self.asked.lock().expect("not poisoned");
            asked.push(request.messages.last().expect("a question").content.clone());
            asked.len()
        };
        let kind = request.options.schema["required"][0].as_str().expect("a kind").to_owned();
        let scripted = self.answer(&kind);
        if let Some(message) = scripted.get("error").and_then(Value::as_str) {
            return Err(Error::new(message).with_code(kit::code::MODEL));
        }
        let parsed = match (kind.as_str(), scripted) {
            ("title", Value::Null) => {
                json!({"title": format!("How to Move Coins to Wallet Number {}", WORDS[number % WORDS.len()]), "description": "Learn what to check before you send coins, what a transfer costs, and how long it takes to arrive."})
            }
            ("title", value) => value,
            ("paragraphs", Value::Null) => json!({ "paragraphs": [prose(number), prose(number + 40)] }),
            ("answer", Value::Null) => json!({ "answer": prose(number) }),
            (kind, value) => json!({ kind: value }),
        };
        let usage = serde_json::from_value(json!({"prompt_tokens": 100, "completion_tokens": 10})).expect("usage");
        Ok(Completion { model: "scripted-1b".to_owned(), choices: vec![Choice { message: Answer { parsed } }], usage })
    }

    async fn progress(&self, message: String, _part: Option<(u32, u32)>) {
        self.progress.lock().expect("not poisoned").push(message);
    }
}

const WORDS: [&str; 12] =
    ["one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve"];

/// Prose that is another one for each number.
fn prose(number: usize) -> String {
    let word = |index: usize| WORDS[(number / 12usize.pow(u32::try_from(index % 2).expect("small")) + index * 5) % 12];
    let sentence = |start: &str, from: usize| {
        let words: Vec<String> =
            (from..from + 8).map(|index| format!("{}{}", word(index), number * 31 + index)).collect();
        format!("{start} {}.", words.join(" "))
    };
    [sentence("Coins go from", 0), sentence("Every wallet has", 8), sentence("Nobody knows whether", 16)].join(" ")
}

fn order(articles: u8) -> Order {
    Order {
        site: "demo".parse().expect("a name"),
        keyword: "move coins to a wallet".to_owned(),
        affiliate_link: None,
        articles,
        lang: "en".to_owned(),
        dry: false,
    }
}

async fn run(folder: &Path, script: &Script, order: &Order) -> Result<Generated> {
    let sites = Arc::new(Sites::open(folder.to_owned()));
    let state = SeoAffiliate { sites, base_url: "http://127.0.0.1:8001".to_owned() };
    generate(&state, script, order, NOW, 1).await
}

fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).expect("a folder");
    entries.map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned()).collect()
}

#[tokio::test]
async fn a_good_model_gives_a_site_that_says_what_was_done() {
    let folder = tempfile::tempdir().expect("a folder");
    let script = Script::good();
    let made = run(folder.path(), &script, &order(1)).await.expect("a site");
    assert!(made.ok && !made.dry && made.words > 150, "{made:?}");
    assert_eq!((made.model.as_str(), made.out_dir.as_str()), ("scripted-1b", "/data/sites/demo"));
    assert_eq!(made.pages[0].url, format!("/demo/posts/{}.html", made.pages[0].slug));
    assert_eq!(
        made.usage.completion_tokens,
        10 * u64::try_from(script.asked.lock().expect("asked").len()).expect("few")
    );
    assert_eq!((made.checks.html, made.checks.json_ld, made.checks.xml), (2, 4, 2));
    let progress = script.progress.into_inner().expect("not poisoned");
    assert_eq!(progress[1], "outline 4 sections, 3 questions");
    assert_eq!(progress[2], "write section 1 of 4 · 0 words");
    assert!(progress[3].starts_with("write section 2 of 4 · ") && progress[6].starts_with("write answer 1 of 3 · "));
    assert!(progress.last().is_some_and(|last| last.starts_with("check HTML valid · JSON-LD valid · ")));
}

#[tokio::test]
async fn several_articles_have_different_titles() {
    let folder = tempfile::tempdir().expect("a folder");
    let made = run(folder.path(), &Script::good(), &order(3)).await.expect("a site");
    let mut slugs: Vec<&str> = made.pages.iter().map(|page| page.slug.as_str()).collect();
    slugs.dedup();
    assert_eq!(slugs.len(), 3);
    assert_eq!(names(&folder.path().join("demo/posts")).len(), 3);
    let same = json!({"title": "How to Move Coins to a Wallet", "description": "Learn what to check before you send coins, what a transfer costs, and more."});
    let error = run(folder.path(), &Script::good().always("title", same), &order(3)).await.expect_err("the same title");
    assert!(error.to_string().contains("no usable title in 3 tries: the last one repeats"), "{error}");
}

#[tokio::test]
async fn rubbish_is_asked_for_again() {
    let good = json!([prose(200), prose(240)]);
    let bad = [
        json!(["**Bold** words. ".repeat(20), prose(1)]),
        json!(["Slugs eat your lettuce at night. ".repeat(5), prose(1)]),
        json!(["x", "y"]),
        json!([prose(1).replace('.', ","), prose(2)]),
    ];
    for bad in bad {
        let folder = tempfile::tempdir().expect("a folder");
        let script = Script::good().with("paragraphs", [bad.clone(), bad.clone(), good.clone()]);
        run(folder.path(), &script, &order(1)).await.expect("a site");
        let page =
            fs::read_to_string(folder.path().join("demo/posts").join(&names(&folder.path().join("demo/posts"))[0]));
        assert!(page.expect("a page").contains(&prose(200)), "{bad}");
    }
}

#[tokio::test]
async fn a_model_that_never_fits_is_an_error_and_the_old_site_stays() {
    let folder = tempfile::tempdir().expect("a folder");
    run(folder.path(), &Script::good(), &order(1)).await.expect("a site");
    let before = fs::read_to_string(folder.path().join("demo/index.html")).expect("an index");
    let cases = [
        ("title", json!({"title": "x", "description": "y"}), "title"),
        ("headings", json!(["Introduction", "Introduction", "Conclusion", "Summary"]), "headings"),
        ("questions", json!(["Why?", "Why?", "Why?"]), "questions"),
        ("paragraphs", json!(["1. Open it. 2. Close it.", "- a\n- b"]), "section \"Check the address twice\""),
        ("answer", json!("This is cut off in the"), "answer to \"How long does it take?\""),
        ("paragraphs", json!("no array"), "does not fit the schema"),
    ];
    for (kind, answer, named) in cases {
        let error = run(folder.path(), &Script::good().always(kind, answer), &order(1)).await.expect_err(kind);
        assert!(error.to_string().contains(named), "{kind}: {error}");
        assert_eq!(names(folder.path()), ["demo"], "{kind}");
        assert_eq!(fs::read_to_string(folder.path().join("demo/index.html")).expect("an index"), before, "{kind}");
    }
}

#[tokio::test]
async fn a_model_that_comes_back_is_asked_again() {
    let folder = tempfile::tempdir().expect("a folder");
    let script = Script::good().with("answer", [json!({"error": "the model server ended"})]);
    run(folder.path(), &script, &order(1)).await.expect("a site");
    let gone = Script::good().always("answer", json!({"error": "the model server ended"}));
    let error = run(folder.path(), &gone, &order(1)).await.expect_err("it stays away");
    assert_eq!(error.to_string(), "the model server ended");
}

#[tokio::test]
async fn a_plan_writes_nothing() {
    let folder = tempfile::tempdir().expect("a folder");
    let script = Script::good();
    let made = run(folder.path(), &script, &Order { dry: true, ..order(2) }).await.expect("a plan");
    assert!(made.ok && made.dry && made.words == 0);
    assert_eq!((made.pages.len(), made.checks), (2, Checks::default()));
    assert!(names(folder.path()).is_empty());
    assert!(!script.asked.into_inner().expect("asked").iter().any(|asked| asked.contains("Write this section")));
}

#[tokio::test]
async fn a_disk_that_cannot_be_written_shows_before_the_model_is_asked() {
    let folder = tempfile::tempdir().expect("a folder");
    fs::write(folder.path().join("demo"), "somebody else's").expect("written");
    let script = Script::good();
    let error = run(folder.path(), &script, &order(1)).await.expect_err("no place");
    assert_eq!(
        error.to_string(),
        "/data/sites/demo was not changed: something else has that name; take another site_id, or remove it"
    );
    assert!(script.asked.into_inner().expect("asked").is_empty());
}

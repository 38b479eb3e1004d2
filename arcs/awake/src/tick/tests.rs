//! Whole ticks in a world that tests can look into.

use std::collections::BTreeMap;
use std::fs;
use std::sync::Mutex as StdMutex;

use kit::code;
use serde_json::json;
use time::macros::datetime;

use super::*;
use crate::world::Tools;

const NOW: OffsetDateTime = datetime!(2026-11-23 08:00 UTC);

type Answer = Box<dyn Fn(usize, &Value) -> Result<Value> + Send + Sync>;

/// A world with a store, a model that says topics one after the other, and a writer of sites.
struct Stage {
    topics: Vec<&'static str>,
    write: Answer,
    store: StdMutex<BTreeMap<String, Value>>,
    calls: StdMutex<Vec<(String, Value)>>,
    progress: StdMutex<Vec<String>>,
}

impl Stage {
    fn new(topics: &[&'static str]) -> Self {
        let write = |_, arguments: &Value| {
            Ok(
                json!({"ok": true, "out_dir": format!("/data/sites/{}", arguments["site_id"].as_str().expect("an id")), "pages": [{"title": "T"}]}),
            )
        };
        Self {
            topics: topics.to_vec(),
            write: Box::new(write),
            store: StdMutex::default(),
            calls: StdMutex::default(),
            progress: StdMutex::default(),
        }
    }

    fn writing(self, write: impl Fn(usize, &Value) -> Result<Value> + Send + Sync + 'static) -> Self {
        Self { write: Box::new(write), ..self }
    }

    fn calls(&self, tool: &str) -> Vec<Value> {
        let calls = self.calls.lock().expect("not poisoned");
        calls.iter().filter(|(name, _)| name == tool).map(|(_, arguments)| arguments.clone()).collect()
    }

    fn keys(&self) -> Vec<String> {
        self.store.lock().expect("not poisoned").keys().cloned().collect()
    }
}

impl Tools for Stage {
    async fn call(&self, tool: &str, arguments: &Value) -> Result<Value> {
        let before = self.calls(tool).len();
        self.calls.lock().expect("not poisoned").push((tool.to_owned(), arguments.clone()));
        let text = |name: &str| arguments[name].as_str().unwrap_or_default().to_owned();
        let mut store = self.store.lock().expect("not poisoned");
        match tool {
            "kv.get" => Ok(store.get(&text("key")).cloned().unwrap_or_default()),
            "kv.set" => {
                store.insert(text("key"), arguments["value"].clone());
                Ok(json!({"status": "ok"}))
            }
            "kv.list" => {
                let listed = store.iter().filter(|(key, _)| key.starts_with(&text("prefix")));
                Ok(
                    json!({"entries": listed.map(|(key, value)| json!({"key": key, "value": value})).collect::<Vec<_>>()}),
                )
            }
            "llm.chat" => match self.topics.get(before % self.topics.len().max(1)) {
                Some(topic) => Ok(json!({"choices": [{"message": {"content": "", "parsed": {"topic": topic}}}]})),
                None => Err(Error::new("no model answers").with_code(code::MODEL)),
            },
            _ => (self.write)(before, arguments),
        }
    }
}

impl World for Stage {
    type Store = Self;

    fn store(&self) -> &Self {
        self
    }

    async fn progress(&self, message: String) {
        self.progress.lock().expect("not poisoned").push(message);
    }
}

const SEED: &str = "How to keep a seed phrase on paper";
const FEES: &str = "Why a transfer costs more on a Monday";

fn awake(files: &[(&str, String)]) -> (tempfile::TempDir, Awake) {
    let folder = tempfile::tempdir().expect("a folder");
    for (file, source) in files {
        fs::write(folder.path().join(file), source).expect("written");
    }
    let awake = Awake::new(folder.path().to_owned());
    (folder, awake)
}

fn sentinel(name: &str, args: &str) -> String {
    format!(
        "name = \"{name}\"\ndescription = \"d\"\ngoal = \"g\"\nthink = \"A topic for a crypto blog.\"\n\
         tools = [\"seo_affiliate.generate_site\"]\nautonomy = \"full\"\non = {{ tick = true }}\n\
         [[steps]]\nname = \"write\"\ntool = \"seo_affiliate.generate_site\"\nargs = {{ {args} }}\n"
    )
}

#[tokio::test]
async fn a_tick_thinks_acts_remembers_and_tells() {
    let (_folder, awake) = awake(&[]);
    let stage = Stage::new(&[SEED, "Crypto basics guide overview", FEES]);
    let ticked = run(&awake, &stage, None, NOW).await.expect("a tick");
    assert!(ticked.triggered, "{ticked:?}");
    assert_eq!(ticked.action.as_deref(), Some("seo_affiliate.generate_site"));
    assert_eq!((ticked.sentinel.as_deref(), ticked.topic.as_deref()), (Some("quick-money"), Some(SEED)));
    assert!(ticked.reason.starts_with("the best of "), "{}", ticked.reason);
    let expected = json!({"site_id": "crypto-beginner", "keyword": SEED, "n_articles": 1});
    assert_eq!(stage.calls("seo_affiliate.generate_site"), [expected]);
    assert_eq!(
        stage.keys(),
        [
            "awake:clock:quick-money",
            "awake:last_run:2026-11-23T08:00:00Z",
            "awake:topic:quick-money:how-to-keep-a-seed-phrase-on-paper",
        ]
    );
    let progress = stage.progress.into_inner().expect("not poisoned");
    assert_eq!(progress[1..], [format!("think {SEED:?}"), "done 1 article in data/sites/crypto-beginner".to_owned()]);
}

#[tokio::test]
async fn what_is_covered_is_not_done_again() {
    let (_folder, awake) = awake(&[]);
    let stage = Stage::new(&[SEED, "How do you keep a seed phrase on paper?", FEES]);
    run(&awake, &stage, None, NOW).await.expect("a tick");
    let second = run(&awake, &stage, None, NOW).await.expect("a tick");
    assert_eq!(second.topic.as_deref(), Some(FEES));
    let third = run(&awake, &stage, None, NOW).await.expect("a tick");
    assert!(!third.triggered && third.reason.contains("is covered already (2 so far)"), "{third:?}");
    assert_eq!(stage.calls("seo_affiliate.generate_site").len(), 2);
}

#[tokio::test]
async fn a_second_tick_does_not_wait_for_the_first() {
    let (_folder, awake) = awake(&[]);
    let _first = awake.turn.lock().await;
    let second = run(&awake, &Stage::new(&[SEED]), None, NOW).await.expect("an answer");
    assert_eq!(second, Ticked::nothing("a tick is already running".to_owned()));
}

#[tokio::test]
async fn those_that_a_tick_wakes_take_turns() {
    let (_folder, awake) =
        awake(&[("other.toml", sentinel("other", "site_id = \"other\", keyword = \"{{ topic }}\""))]);
    let stage = Stage::new(&[SEED, FEES]);
    let mut woken = Vec::new();
    for minute in 0..4 {
        let now = NOW + time::Duration::minutes(minute);
        woken.push(run(&awake, &stage, None, now).await.expect("a tick").sentinel.unwrap_or_default());
    }
    assert_eq!(woken, ["other", "quick-money", "other", "quick-money"]);
}

#[tokio::test]
async fn a_broken_sentinel_is_an_error_if_it_is_the_only_one_and_said_otherwise() {
    let broken = "name = \"quick-money\"\nthink = 1\n".to_owned();
    let (_folder, alone) = awake(&[("quick-money.toml", broken.clone())]);
    let error = run(&alone, &Stage::new(&[SEED]), None, NOW).await.expect_err("nothing to wake").to_string();
    assert!(error.contains("quick-money.toml:2: think: must be a string"), "{error}");
    assert!(error.contains("`goal` is missing"), "{error}");
    let (_folder, beside) = awake(&[("other.toml", broken)]);
    assert!(run(&beside, &Stage::new(&[SEED]), None, NOW).await.expect("a tick").triggered);
}

#[tokio::test]
async fn a_template_that_cannot_be_filled_in_names_step_and_variable() {
    let (_folder, awake) =
        awake(&[("quick-money.toml", sentinel("quick-money", "site_id = \"x\", keyword = \"{{ topc }}\""))]);
    let stage = Stage::new(&[SEED]);
    let error = run(&awake, &stage, None, NOW).await.expect_err("an unknown name").to_string();
    let expected =
        "quick-money: step write: args.keyword: nothing is called topc. Known are: topic, today, sentinel, steps";
    assert_eq!(error, expected);
    assert!(stage.calls("seo_affiliate.generate_site").is_empty());
}

#[tokio::test]
async fn templates_know_the_day_the_sentinel_and_steps_and_a_topic_is_never_read_as_one() {
    let source = sentinel("quick-money", "site_id = \"x\", keyword = \"{{ topic }}\"")
        + "[[steps]]\nname = \"again\"\ntool = \"seo_affiliate.generate_site\"\n\
           args = { site_id = \"y\", tags = [\"{{ steps.write.out_dir }}\", \"{{ today }} {{ sentinel.name }}\"], n = 2 }\n";
    let (_folder, awake) = awake(&[("quick-money.toml", source)]);
    let stage = Stage::new(&["Why \"safe\" & cheap coins cost more & more"]);
    run(&awake, &stage, None, NOW).await.expect("a tick");
    let calls = stage.calls("seo_affiliate.generate_site");
    assert_eq!(calls[0]["keyword"], "Why \"safe\" & cheap coins cost more & more");
    assert_eq!(calls[1], json!({"site_id": "y", "tags": ["/data/sites/x", "2026-11-23 quick-money"], "n": 2}));
}

#[tokio::test]
async fn a_step_whose_arc_ended_is_tried_once_more_and_nothing_is_remembered_of_a_failure() {
    let ended = |code| {
        move |before, _: &Value| match before {
            0 => Err(Error::new("seo_affiliate ended while it was working").with_code(code)),
            _ => Ok(json!({})),
        }
    };
    let (_folder, awake) = awake(&[]);
    let stage = Stage::new(&[SEED]).writing(ended(code::INTERNAL));
    assert!(run(&awake, &stage, None, NOW).await.expect("a tick").triggered);
    let stage = Stage::new(&[SEED]).writing(ended(code::MODEL));
    assert!(run(&awake, &stage, None, NOW).await.is_err());
    assert_eq!(stage.keys(), ["awake:clock:quick-money"]);
    let stage = Stage::new(&[SEED, FEES]).writing(ended(code::MODEL));
    assert!(run(&awake, &stage, None, NOW).await.expect("a second thought").triggered);
    let keywords =
        stage.calls("seo_affiliate.generate_site").iter().map(|call| call["keyword"].clone()).collect::<Vec<_>>();
    assert!(keywords.len() == 2 && keywords[0] != keywords[1], "{keywords:?}");
    let stage = Stage::new(&[SEED]).writing(|_, _| Err(Error::new("the disk is full")));
    assert_eq!(run(&awake, &stage, None, NOW).await.expect_err("full").to_string(), "the disk is full");
    assert_eq!(stage.calls("seo_affiliate.generate_site").len(), 2);
}

#[tokio::test]
async fn a_model_that_says_nothing_useful_is_an_error() {
    let (_folder, awake) = awake(&[]);
    let error =
        run(&awake, &Stage::new(&["Crypto", "", "Crypto for beginners"]), None, NOW).await.expect_err("rubbish");
    assert!(error.to_string().starts_with("the model named no usable topic for quick-money"), "{error}");
    let error = run(&awake, &Stage::new(&[]), None, NOW).await.expect_err("no model");
    assert_eq!(error.to_string(), "no model answers");
}

#[tokio::test]
async fn a_sentinel_that_asks_does_nothing_by_itself() {
    let source = sentinel("quick-money", "site_id = \"x\"").replace("\"full\"", "\"ask\"");
    let (_folder, awake) = awake(&[("quick-money.toml", source)]);
    let stage = Stage::new(&[SEED]);
    let ticked = run(&awake, &stage, None, NOW).await.expect("an answer");
    assert!(!ticked.triggered && ticked.reason.contains("asks before each step"), "{ticked:?}");
    assert!(stage.calls("llm.chat").is_empty());
}

#[tokio::test]
async fn what_was_done_but_cannot_be_remembered_is_told() {
    struct Forgetful(Stage);
    impl Tools for Forgetful {
        async fn call(&self, tool: &str, arguments: &Value) -> Result<Value> {
            match (tool, arguments["key"].as_str()) {
                ("kv.set", Some(key)) if key.starts_with("awake:topic:") => Err(Error::new("the disk is full")),
                _ => self.0.call(tool, arguments).await,
            }
        }
    }
    impl World for Forgetful {
        type Store = Self;
        fn store(&self) -> &Self {
            self
        }
        async fn progress(&self, message: String) {
            self.0.progress(message).await;
        }
    }
    let (_folder, awake) = awake(&[]);
    let ticked = run(&awake, &Forgetful(Stage::new(&[SEED])), None, NOW).await.expect("it was done");
    assert!(ticked.triggered && ticked.reason.contains("could not be remembered"), "{ticked:?}");
}

#[tokio::test]
async fn a_sentinel_can_be_woken_by_name() {
    let clocked = sentinel("clocked", "site_id = \"x\"").replace("tick = true", "every = \"1d\"");
    let (_folder, awake) = awake(&[("clocked.toml", clocked)]);
    let stage = Stage::new(&[SEED]);
    let ticked = run(&awake, &stage, Some("clocked"), NOW).await.expect("its turn");
    assert_eq!(ticked.sentinel.as_deref(), Some("clocked"));
    let error = run(&awake, &stage, Some("clokced"), NOW).await.expect_err("unknown").to_string();
    assert!(error.contains("there is no Sentinel \"clokced\". There are: clocked, quick-money"), "{error}");
}

#[tokio::test]
async fn nothing_is_done_twice_for_a_second_thought() {
    let source = sentinel("quick-money", "site_id = \"x\"")
        + "[[steps]]\nname = \"again\"\ntool = \"seo_affiliate.generate_site\"\nargs = { site_id = \"y\" }\n";
    let (_folder, awake) = awake(&[("quick-money.toml", source)]);
    let stage = Stage::new(&[SEED, FEES]).writing(|before, _| match before {
        0 => Ok(json!({})),
        _ => Err(Error::new("the model wrote nothing").with_code(code::MODEL)),
    });
    assert!(run(&awake, &stage, None, NOW).await.is_err());
    assert_eq!(stage.calls("seo_affiliate.generate_site").len(), 2, "the first step stays done once");
}

#[tokio::test]
async fn a_turn_that_was_taken_in_the_future_holds_nobody_back() {
    let (_folder, awake) =
        awake(&[("other.toml", sentinel("other", "site_id = \"other\", keyword = \"{{ topic }}\""))]);
    let stage = Stage::new(&[SEED, FEES]);
    run(&awake, &stage, Some("other"), NOW + time::Duration::days(1000)).await.expect("a tick");
    run(&awake, &stage, Some("quick-money"), NOW).await.expect("a tick");
    let next = run(&awake, &stage, None, NOW + time::Duration::minutes(1)).await.expect("a tick");
    assert_eq!(next.sentinel.as_deref(), Some("other"));
}

#[tokio::test]
async fn what_it_remembers_is_not_read_in_its_run() {
    struct Apart(Stage);
    impl Tools for Apart {
        async fn call(&self, tool: &str, arguments: &Value) -> Result<Value> {
            assert!(!tool.starts_with("kv."), "the run has touched private data: no model elsewhere may be asked");
            self.0.call(tool, arguments).await
        }
    }
    impl World for Apart {
        type Store = Stage;
        fn store(&self) -> &Stage {
            &self.0
        }
        async fn progress(&self, message: String) {
            self.0.progress(message).await;
        }
    }
    let (_folder, awake) = awake(&[]);
    assert!(run(&awake, &Apart(Stage::new(&[SEED])), None, NOW).await.expect("a tick").triggered);
}

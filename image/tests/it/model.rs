//! A model that reads from a script, on a real socket: its words are nonsense in the form of an article, and it takes no
//! time to think, so that what is around it can be harmed at every stage of a tick.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde_json::{Value, json};

/// The model's name.
pub(crate) const NAME: &str = "scripted-1b";

/// How long an answer takes at least: a tick that is heard to be at a stage is there still.
const THINKS: Duration = Duration::from_millis(100);

/// How the model answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mood {
    /// In the form that is asked for.
    Helpful,
    /// In words, whatever form is asked for.
    Chatty,
    /// Half an answer, and the connection is gone.
    Tired,
    /// No answer until the mood is another one.
    Absent,
}

/// A server of OpenAI's protocol; its threads end with the test.
pub(crate) struct ScriptedModel {
    pub(crate) url: String,
    script: Arc<Script>,
}

struct Script {
    mood: Mutex<Mood>,
    /// How often it was asked for an answer.
    asked: AtomicUsize,
    /// How many answers were given; no two are the same.
    answers: AtomicUsize,
}

impl ScriptedModel {
    pub(crate) fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let script =
            Script { mood: Mutex::new(Mood::Helpful), asked: AtomicUsize::new(0), answers: AtomicUsize::new(1) };
        let script = Arc::new(script);
        let shared = script.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let script = shared.clone();
                // Who asked may be dead by now.
                std::thread::spawn(move || drop(script.serve(stream)));
            }
        });
        Self { url, script }
    }

    /// Whether anybody asked it for an answer.
    pub(crate) fn was_asked(&self) -> bool {
        self.script.asked.load(Ordering::Relaxed) > 0
    }

    pub(crate) fn set_mood(&self, mood: Mood) {
        *self.script.mood.lock().unwrap_or_else(PoisonError::into_inner) = mood;
    }
}

impl Script {
    fn serve(&self, mut stream: TcpStream) -> std::io::Result<()> {
        let (path, body) = read(&stream)?;
        let (status, content) = match path.as_str() {
            "/v1/models" => ("200 OK", json!({"data": [{"id": NAME}]}).to_string()),
            "/v1/chat/completions" => ("200 OK", self.stream(&body)),
            _ => ("404 Not Found", String::new()),
        };
        write!(stream, "HTTP/1.1 {status}\r\nConnection: close\r\n\r\n{content}")
    }

    /// The answer as server-sent events.
    fn stream(&self, asked: &Value) -> String {
        self.asked.fetch_add(1, Ordering::Relaxed);
        std::thread::sleep(THINKS);
        let mood = loop {
            match *self.mood.lock().unwrap_or_else(PoisonError::into_inner) {
                Mood::Absent => {}
                mood => break mood,
            }
            std::thread::sleep(THINKS);
        };
        let number = self.answers.fetch_add(1, Ordering::Relaxed);
        let schema = &asked["response_format"]["json_schema"]["schema"];
        let text = match mood {
            Mood::Chatty => "Certainly! Here is what you asked for.".to_owned(),
            Mood::Helpful | Mood::Tired | Mood::Absent => in_form(schema["required"][0].as_str(), number).to_string(),
        };
        let event = |content: Value| format!("data: {content}\n\n");
        let piece = |text: &str| event(json!({"choices": [{"delta": {"content": text}, "finish_reason": null}]}));
        let (half, rest) = text.split_at(text.len() / 2);
        if mood == Mood::Tired {
            return piece(half);
        }
        let end = json!({"choices": [{"delta": {}, "finish_reason": "stop"}]});
        let usage = json!({"choices": [], "usage": {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15}});
        [piece(half), piece(rest), event(end), event(usage), "data: [DONE]\n\n".to_owned()].concat()
    }
}

/// A request's path and body.
fn read(stream: &TcpStream) -> std::io::Result<(String, Value)> {
    let mut lines = BufReader::new(stream);
    let (mut first, mut length) = (String::new(), 0);
    lines.read_line(&mut first)?;
    loop {
        let mut header = String::new();
        lines.read_line(&mut header)?;
        let header = header.trim_end().to_lowercase();
        if let Some(stated) = header.strip_prefix("content-length:") {
            length = stated.trim().parse().unwrap_or(0);
        }
        if header.is_empty() {
            break;
        }
    }
    let mut body = Vec::new();
    lines.take(length).read_to_end(&mut body)?;
    let path = first.split(' ').nth(1).unwrap_or_default().to_owned();
    Ok((path, serde_json::from_slice(&body).unwrap_or_default()))
}

/// An answer that has `key`, another one for each number.
fn in_form(key: Option<&str>, number: usize) -> Value {
    let lines = |lines: &[&str]| lines.iter().map(|line| line.replace('#', &number.to_string())).collect::<Vec<_>>();
    match key {
        Some("topic") => {
            json!({"topic": format!("How to guard purse{number} against trick{number} and offer{number}")})
        }
        Some("topics") => json!({"topics": lines(&["Paper purse# at home", "Fees of transfer#", "Scams in group#"])}),
        Some("title") => json!({
            "title": format!("How to Guard Purse{number} against Trick{number}"),
            "description": format!(
                "Learn what to check before you send coins to purse{number}, what it costs, and how long it takes."
            ),
        }),
        Some("headings") => json!({"headings": lines(&[
            "Check address# twice", "Send small amount# first", "Wait for confirmation#", "Write word# on paper",
        ])}),
        Some("questions") => json!({"questions": lines(&[
            "How long does transfer# take?", "What does transfer# cost me?", "Can I get coin# back?",
        ])}),
        Some("paragraphs") => json!({"paragraphs": [prose(number, "north"), prose(number, "south")]}),
        Some("answer") => json!({"answer": prose(number, "east")}),
        _ => json!({}),
    }
}

/// Three sentences of words that no other text has.
fn prose(number: usize, place: &str) -> String {
    let sentence = |start: &str, from: usize| {
        let words: Vec<_> = (from..from + 8).map(|index| format!("{place}{number}x{index}")).collect();
        format!("{start} {}.", words.join(" "))
    };
    [sentence("Coins go from", 0), sentence("Every purse has", 8), sentence("Nobody knows whether", 16)].join(" ")
}

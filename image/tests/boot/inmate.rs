//! A service of the tests that tries what a cage bounds: a static program on the data partition, with nothing but the
//! standard library. `caged.rs` compiles it. What comes of it stands in its log.
//!
//! | words | what it does |
//! | --- | --- |
//! | `fill FOLDER …` | fills each folder with one file, removes that, fills it with many small ones, and removes most |
//! | `devour` | takes memory, quickly as long as there is plenty, then slowly, without end |
//! | `tell FILE` | tells the sum of the bytes of a file, which is no secret when the file is |

use std::fs::{self, File};
use std::io::Write;
use std::path::Path;
use std::time::Duration;

fn main() {
    let words: Vec<String> = std::env::args().skip(1).collect();
    match words.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["fill", ref folders @ ..] => folders.iter().for_each(|folder| fill(Path::new(folder))),
        ["devour"] => devour(),
        ["tell", file] => match fs::read(file) {
            Ok(bytes) => {
                let sum: u64 = bytes.iter().map(|byte| u64::from(*byte)).sum();
                println!("{} bytes with the sum {sum}", bytes.len());
            }
            Err(error) => println!("cannot read it: {error}"),
        },
        ref other => println!("does not know {other:?}"),
    }
    println!("done");
    loop {
        std::thread::park();
    }
}

fn fill(folder: &Path) {
    let path = folder.join("large");
    let piece = vec![1; 1 << 16];
    let mut kib = 0;
    let error = File::create(&path).and_then(|mut file| {
        loop {
            file.write_all(&piece)?;
            kib += 64;
        }
    });
    println!("{}: {kib} KiB, then {}", folder.display(), words(error));
    fs::remove_file(&path).expect("removed");
    let mut count = 0;
    let error = loop {
        match File::create(folder.join(count.to_string())) {
            Ok(_) => count += 1,
            Err(error) => break Err(error),
        }
    };
    println!("{}: {count} files, then {}", folder.display(), words(error));
    (1..count).for_each(|number| fs::remove_file(folder.join(number.to_string())).expect("removed"));
}

fn words(outcome: std::io::Result<std::convert::Infallible>) -> String {
    outcome.map_or_else(|error| format!("{:?}", error.kind()), |never| match never {})
}

fn devour() {
    const PLENTY_KIB: u64 = 64 << 10;
    let mut stomach = Vec::new();
    let mut bite = |bytes: usize| stomach.push(vec![1_u8; bytes]);
    loop {
        let memory = fs::read_to_string("/proc/meminfo").expect("its /proc");
        let available = memory.lines().find_map(|line| line.strip_prefix("MemAvailable:"));
        let available = available.and_then(|text| text.split_ascii_whitespace().next()?.parse::<u64>().ok());
        if available > Some(PLENTY_KIB) {
            bite(4 << 20);
        } else {
            bite(256 << 10);
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

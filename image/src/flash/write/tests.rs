use std::fs;
use std::path::Path;

use spec::boot::mbr;
use tempfile::TempDir;

use super::*;
use crate::flash::source::Source;

/// The size of the image, in bytes: three pieces and a bit.
const IMAGE: usize = 3 * PIECE + 4096;

/// No offset.
const SETTLED: u64 = u64::MAX;

/// A medium in memory, and how it fails.
struct Fake {
    bytes: Vec<u8>,
    /// How many bytes it really has: what lies beyond wraps around, as on a forged card.
    really: u64,
    /// Writes at or behind this offset fail.
    breaks_at: u64,
    /// The lowest bit of this byte is read as it is not.
    stuck: Option<usize>,
    /// Where was written to, in order, and [`SETTLED`] where that was waited for.
    writes: Vec<u64>,
}

impl Fake {
    fn new() -> Self {
        // What was there before: nothing of it may be left where it could be found.
        let bytes = vec![0xa5; IMAGE + 3 * PIECE];
        Self { bytes, really: u64::MAX, breaks_at: u64::MAX, stuck: None, writes: Vec::new() }
    }

    fn place(&self, at: u64) -> usize {
        usize::try_from(at % self.really).expect("small")
    }
}

impl Medium for Fake {
    fn write_at(&mut self, at: u64, bytes: &[u8]) -> io::Result<()> {
        assert!(at.is_multiple_of(SECTOR) && bytes.len().is_multiple_of(512), "whole sectors");
        assert_eq!(bytes.as_ptr().align_offset(4096), 0, "past the cache");
        self.writes.push(at);
        if at + bytes.len() as u64 > self.breaks_at {
            return Err(io::Error::from_raw_os_error(5));
        }
        let place = self.place(at);
        self.bytes[place..place + bytes.len()].copy_from_slice(bytes);
        Ok(())
    }

    fn read_at(&mut self, at: u64, bytes: &mut [u8]) -> io::Result<()> {
        let place = self.place(at);
        bytes.copy_from_slice(&self.bytes[place..place + bytes.len()]);
        let stuck = self.stuck.and_then(|stuck| bytes.get_mut(stuck.checked_sub(place)?));
        stuck.into_iter().for_each(|byte| *byte ^= 1);
        Ok(())
    }

    fn settle(&mut self) -> io::Result<()> {
        self.writes.push(SETTLED);
        Ok(())
    }
}

/// An image as a Raspberry Pi has it: a master boot record of ours, then nothing that repeats.
fn image(folder: &Path) -> (Source, Vec<u8>) {
    let mut random = fastrand::Rng::with_seed(6);
    let mut bytes = vec![0; IMAGE];
    random.fill(&mut bytes);
    let config = mbr::Entry { kind: mbr::Kind::Fat, first: 2048, sectors: 2048 };
    bytes[..512].copy_from_slice(&mbr::Table::of_disk().with(0, config).to_sector());
    let path = folder.join("llmbasedos-test.img");
    fs::write(&path, &bytes).expect("written");
    let signals = Signals::watch().expect("signals");
    (Source::open(&path, &signals).expect("ours"), bytes)
}

fn write(fake: &mut Fake) -> (Result<(), Failure>, Vec<u8>) {
    let folder: TempDir = tempfile::tempdir().expect("a folder");
    let (source, bytes) = image(folder.path());
    let (terminal, signals) = (Terminal::new(String::new()), Signals::watch().expect("signals"));
    let size = fake.bytes.len() as u64;
    let writing = Writing { medium: fake, name: "the card", size, terminal: &terminal, signals: &signals };
    (writing.run(source), bytes)
}

#[test]
fn all_of_it_is_written_and_the_table_last() {
    let mut fake = Fake::new();
    let (ended, image) = write(&mut fake);
    ended.expect("written");
    assert!(fake.bytes[..IMAGE] == image[..], "the image");
    let end = fake.bytes.len();
    let tail = end - usize::try_from(TAIL).expect("small");
    assert!(fake.bytes[tail..].iter().all(|&byte| byte == 0), "no old table at the end");
    assert!(fake.bytes[IMAGE..tail].iter().all(|&byte| byte == 0xa5), "nothing in between is worn for nothing");
    assert_eq!(fake.writes.first(), Some(&0), "wiped first");
    let written_last = [TABLE as u64, SETTLED, 0, SETTLED];
    assert!(fake.writes.ends_with(&written_last), "a table makes a card look whole: {:?}", fake.writes);
}

#[test]
fn a_card_that_is_smaller_than_it_says_is_found_out() {
    let mut fake = Fake { really: 2 * PIECE as u64, ..Fake::new() };
    let failure = write(&mut fake).0.expect_err("it wraps");
    assert_eq!(
        failure.to_string(),
        "the card did not keep the image: what was read back at 4 MB is not what was written"
    );
    assert!(!is_bootable(&fake));
}

#[test]
fn a_bit_that_is_lost_anywhere_is_found() {
    for lost in [0, PIECE, 2 * PIECE + 77, IMAGE - 1] {
        let mut fake = Fake { stuck: Some(lost), ..Fake::new() };
        let ended = write(&mut fake).0;
        assert!(ended.is_err_and(|failure| failure.to_string().contains("did not keep the image")), "{lost}");
        assert!(!is_bootable(&fake), "{lost}");
    }
}

#[test]
fn an_error_says_what_has_become_of_the_card() {
    let mut fake = Fake { breaks_at: 2 * PIECE as u64, ..Fake::new() };
    let Err(Failure::Error { what, why, advice, .. }) = write(&mut fake).0 else { panic!("an error") };
    assert_eq!((what.as_str(), why.as_str()), ("cannot write the card at 8 MB", "input/output error"));
    let end = "the card is not finished: it has no partition table, so nothing boots from it";
    assert!(advice.to_string().ends_with(end), "{advice}");
    assert!(!is_bootable(&fake));
}

fn is_bootable(fake: &Fake) -> bool {
    fake.bytes[510..512] == [0x55, 0xaa]
}

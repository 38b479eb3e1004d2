use std::fs;
use std::path::Path;

use super::*;

fn settings(text: &str) -> GatewaySettings {
    spec::SystemConfig::parse("c", &format!("[gateway]\n{text}")).expect("sound").gateway
}

/// The machine starts.
fn start(folder: &Path, text: &str) -> Claim {
    let (claim, made) = Claim::open(folder.join("gateway.claim"), &settings(text));
    made.expect("kept");
    claim
}

fn folder() -> tempfile::TempDir {
    tempfile::tempdir().expect("a folder")
}

#[test]
fn a_machine_has_one_code_until_somebody_enters_it() {
    let folder = folder();
    let mut claim = start(folder.path(), "");
    let code = claim.shown().expect("a code");
    assert_eq!((claim.ownership(), code.len(), claim.token()), (Ownership::Open, 9, None));
    assert_eq!(start(folder.path(), "").shown(), Some(code.clone()), "it outlives a restart");
    assert_ne!(start(self::folder().path(), "").shown(), Some(code.clone()), "another machine has another");

    assert!(matches!(claim.enter("2222-2222", 0), Err(ClaimError::Wrong)));
    let token = claim.enter(&code.to_lowercase().replace('-', ""), 0).expect("claimed");
    assert_eq!((claim.ownership(), claim.shown(), claim.token()), (Ownership::Given, None, Some(&token)));
    assert!(matches!(claim.enter(&code, 0), Err(ClaimError::NotOpen)), "once");
    assert!(claim.confirm().expect("kept"), "that is news");
    assert_eq!(claim.ownership(), Ownership::Claimed);
    assert!(!claim.confirm().expect("nothing to keep"));
    let again = start(folder.path(), "");
    assert_eq!((again.ownership(), again.token()), (Ownership::Claimed, Some(&token)), "that outlives a restart too");
}

#[test]
fn a_power_cut_leaves_neither_two_claims_nor_none() {
    let folder = folder();
    let mut claim = start(folder.path(), "");
    let code = claim.shown().expect("a code");
    // Before the file is replaced nothing has happened.
    fs::write(folder.path().join("gateway.new"), "{\"code\":null,\"tok").expect("written");
    assert_eq!(start(folder.path(), "").shown(), Some(code.clone()));
    // After it, the code is void, whether the token arrived or not; and where nobody has shown it, so is the token.
    let token = claim.enter(&code, 0).expect("claimed");
    let mut after = start(folder.path(), "");
    assert_eq!((after.ownership(), after.token()), (Ownership::Open, None));
    let next = after.shown().expect("another code");
    assert_ne!(next, code);
    assert!(matches!(after.enter(&code, 0), Err(ClaimError::Wrong)));
    assert_ne!(after.enter(&next, 0).expect("claimed"), token);
}

#[test]
fn what_cannot_be_written_down_does_not_count() {
    let folder = folder();
    let mut claim = start(folder.path(), "");
    let code = claim.shown().expect("a code");
    claim.file = folder.path().join("no such folder/gateway.claim");
    assert!(matches!(claim.enter(&code, 0), Err(ClaimError::Keep(_))));
    assert_eq!((claim.ownership(), claim.token()), (Ownership::Open, None));
    let (broken, made) = Claim::open(claim.file.clone(), &settings(""));
    assert!(made.is_err() && broken.shown().is_some(), "it has a code as long as it runs");
}

#[test]
fn what_cannot_be_read_is_neither_taken_for_nothing_nor_overwritten() {
    let folder = folder();
    let file = folder.path().join("gateway.claim");
    // Reading a folder is an error that a disk may answer as well.
    fs::create_dir(&file).expect("made");
    let (mut claim, read) = Claim::open(file.clone(), &settings("setup_code = \"my-own-code\""));
    assert!(read.is_err() && !claim.is_known());
    assert_eq!((claim.ownership(), claim.shown(), claim.token()), (Ownership::Claimed, None, None));
    assert!(matches!(claim.enter("my-own-code", 0), Err(ClaimError::NotOpen)));
    assert!(claim.renew().is_err() && claim.shown().is_none());
    assert!(file.is_dir() && !folder.path().join("gateway.new").exists(), "nothing was written");
    fs::remove_dir(&file).expect("removed");
    fs::write(&file, b"{\"code\":\"2222-\xff").expect("written");
    assert!(start(folder.path(), "").shown().is_some(), "what is broken is as good as none");
}

#[test]
fn the_owners_own_code_opens_once_and_another_one_opens_anew() {
    let folder = folder();
    let mine = "setup_code = \"my-own-code\"";
    let mut claim = start(folder.path(), mine);
    assert_eq!((claim.ownership(), claim.shown()), (Ownership::Open, None), "it is not on the screen");
    let token = claim.enter("MY OWN CODE", 0).expect("claimed");
    claim.confirm().expect("kept");
    let mut after = start(folder.path(), mine);
    assert_eq!(after.ownership(), Ownership::Claimed, "it is void, wherever it still stands");
    assert!(after.enter("my-own-code", 0).is_err());
    assert_eq!(start(folder.path(), "").ownership(), Ownership::Claimed);

    let mut anew = start(folder.path(), "setup_code = \"another-code\"");
    assert_eq!((anew.ownership(), anew.token()), (Ownership::Reopened, Some(&token)), "the token counts until then");
    let second = anew.enter("another-code", 0).expect("claimed");
    assert!(second != token && anew.token() == Some(&second));
}

#[test]
fn an_owner_who_has_lost_the_token_gets_a_new_code() {
    let folder = folder();
    let mut claim = start(folder.path(), "");
    let first = claim.shown().expect("a code");
    let token = claim.enter(&first, 0).expect("claimed");
    claim.confirm().expect("kept");
    let code = claim.renew().expect("made");
    assert_eq!(
        (claim.shown(), claim.ownership(), claim.token()),
        (Some(code.clone()), Ownership::Reopened, Some(&token))
    );
    let mut after = start(folder.path(), "");
    assert_eq!((after.shown(), after.token()), (Some(code.clone()), Some(&token)));
    assert!(after.enter(&first, 0).is_err());
    assert_ne!(after.enter(&code, 0).expect("claimed"), token);
    assert_ne!(claim.renew().expect("made"), code, "each is new");
}

#[test]
fn the_owners_own_code_opens_again_only_where_the_token_was_given_for_it() {
    let own = "setup_code = \"my-own-code\"";
    let both = "tokens = [\"0123456789abcdef\"]\nsetup_code = \"my-own-code\"";
    let given = |folder: &Path, text: &str| {
        let mut claim = start(folder, text);
        claim.enter("my-own-code", 0).expect("claimed");
        claim
    };
    let folder = folder();
    given(folder.path(), own);
    let mut claim = given(folder.path(), own);
    claim.confirm().expect("kept");
    // Handed over, and cut off before the other has shown the token.
    let code = claim.renew().expect("made");
    claim.enter(&code, 0).expect("claimed");
    let mut after = start(folder.path(), own);
    assert!(matches!(after.enter("my-own-code", 0), Err(ClaimError::Wrong)), "there is a new code on the screen");
    assert!(after.shown().is_some_and(|shown| shown != code));

    // What the owner makes void meanwhile stays so, by a withdrawal or by another code.
    let folder = self::folder();
    given(folder.path(), both).withdraw().expect("kept");
    assert_eq!(start(folder.path(), both).ownership(), Ownership::Settled);
    let folder = self::folder();
    let code = given(folder.path(), both).renew().expect("made");
    assert_eq!(start(folder.path(), both).shown(), Some(code));
}

#[test]
fn an_owner_takes_a_code_back() {
    let folder = folder();
    let mut claim = start(folder.path(), "");
    assert!(claim.withdraw().is_err(), "nobody could come in");
    let token = claim.enter(&claim.shown().expect("a code"), 0).expect("claimed");
    claim.confirm().expect("kept");
    let code = claim.renew().expect("made");
    claim.withdraw().expect("kept");
    for claim in [&mut claim, &mut start(folder.path(), "")] {
        assert_eq!((claim.ownership(), claim.shown(), claim.token()), (Ownership::Claimed, None, Some(&token)));
        assert!(matches!(claim.enter(&code, 0), Err(ClaimError::NotOpen)));
    }
    let own = "setup_code = \"my-own-code\"";
    start(folder.path(), own).withdraw().expect("kept");
    assert_eq!(start(folder.path(), own).ownership(), Ownership::Claimed, "nor does one of the file open again");
}

#[test]
fn a_token_in_the_owners_file_leaves_nothing_to_claim() {
    let folder = folder();
    let mut claim = start(folder.path(), "tokens = [\"0123456789abcdef\"]");
    assert_eq!((claim.ownership(), claim.shown()), (Ownership::Settled, None));
    assert!(matches!(claim.enter("2222-2222", 0), Err(ClaimError::NotOpen)));
    let code = "tokens = [\"0123456789abcdef\"]\nsetup_code = \"my-own-code\"";
    assert_eq!(start(folder.path(), code).ownership(), Ownership::Reopened, "unless there is a code as well");
}

#[test]
fn whoever_guesses_waits() {
    let folder = folder();
    let mut claim = start(folder.path(), "");
    let code = claim.shown().expect("a code");
    for _ in 0..5 {
        assert!(matches!(claim.enter("guess", 0), Err(ClaimError::Wrong)));
    }
    let refused = claim.enter(&code, 9_000).expect_err("the right code waits as well").to_string();
    assert_eq!(refused, "too many wrong codes: try again in 1 s");
    claim.enter(&code, 10_000).expect("claimed");
}

#[test]
fn letters_are_as_likely_as_each_other() {
    let text = random_text(SetupCode::ALPHABET, 30_000).expect("random");
    for letter in SetupCode::ALPHABET {
        let count = text.bytes().filter(|byte| byte == letter).count();
        // Ten standard deviations around 1000: about 31 each.
        assert!((690..1310).contains(&count), "{}: {count}", char::from(*letter));
    }
}

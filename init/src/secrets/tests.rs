//! The store as the supervisor uses it.

use super::*;

fn name(text: &str) -> Name {
    text.parse().expect("a name")
}

fn secret(text: &str) -> Secret {
    Secret::new(Zeroizing::new(text.as_bytes().to_vec()))
}

fn open(folder: &Path) -> Secrets {
    Secrets::open(folder.join("secrets"), None)
}

#[test]
fn what_is_set_is_there_after_a_restart_and_nowhere_in_the_clear() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut secrets = open(folder.path());
    secrets.set(&name("openai"), &secret("sk-canary-1"), 7).expect("set");
    secrets.set(&name("mail"), &secret("old"), 8).expect("set");
    secrets.set(&name("mail"), &secret("new"), 9).expect("set");
    let secrets = open(folder.path());
    assert_eq!(secrets.get(&name("openai")).expect("there").bytes(), b"sk-canary-1");
    assert_eq!(secrets.get(&name("mail")).expect("there").bytes(), b"new");
    assert_eq!(secrets.names().expect("open"), BTreeMap::from([(name("mail"), 9), (name("openai"), 7)]));
    let store = fs::read(folder.path().join("secrets/store")).expect("there");
    for hidden in ["canary", "openai", "mail"] {
        assert!(!String::from_utf8_lossy(&store).contains(hidden), "{hidden}");
    }
    assert_eq!(format!("{:?}", secrets.get(&name("mail")).expect("there")), "Secret(not shown)");
    use std::os::unix::fs::PermissionsExt;
    let mode = |path: &str| fs::metadata(folder.path().join(path)).expect("there").permissions().mode() & 0o777;
    assert_eq!([mode("secrets"), mode("secrets/store"), mode("secrets/key")], [0o700, 0o600, 0o600]);
}

#[test]
fn what_is_deleted_is_gone_and_a_slip_is_understood() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut secrets = open(folder.path());
    secrets.set(&name("openai"), &secret("x"), 7).expect("set");
    let error = secrets.delete(&name("opnai")).expect_err("none").to_string();
    assert_eq!(error, "there is no secret opnai. Close to it: openai");
    assert_eq!(secrets.delete(&name("openai")).expect("deleted"), 7);
    assert!(secrets.get(&name("openai")).is_err());
    assert!(open(folder.path()).names().expect("open").is_empty());
    assert!(matches!(secrets.set(&name("a"), &secret(""), 1), Err(SecretsError::Size)));
}

#[test]
fn a_store_without_its_key_is_kept_until_a_secret_is_set_and_then_put_aside() {
    let folder = tempfile::tempdir().expect("a folder");
    open(folder.path()).set(&name("openai"), &secret("x"), 7).expect("set");
    let (store, key) = (folder.path().join("secrets/store"), folder.path().join("secrets/key"));
    let before = fs::read(&store).expect("there");
    let kept = fs::read(&key).expect("there");
    for other in [None, Some(vec![7; 32]), Some(vec![7; 3])] {
        let _ = fs::remove_file(&key);
        other.into_iter().for_each(|other| fs::write(&key, other).expect("written"));
        let secrets = open(folder.path());
        let trouble = secrets.trouble().expect("locked");
        assert!(trouble.contains("secrets/") && trouble.contains("luca-run secret set NAME"), "{trouble}");
        assert_eq!(secrets.get(&name("openai")).expect_err("locked").to_string(), trouble);
        assert_eq!(fs::read(&store).expect("untouched"), before);
    }
    fs::write(&key, kept).expect("put back");
    assert!(open(folder.path()).get(&name("openai")).is_ok());

    fs::remove_file(&key).expect("removed");
    let mut secrets = open(folder.path());
    secrets.set(&name("mail"), &secret("y"), 8).expect("set");
    assert_eq!(fs::read(folder.path().join("secrets/store.unreadable")).expect("kept aside"), before);
    assert_eq!(open(folder.path()).names().expect("open").into_keys().collect::<Vec<_>>(), [name("mail")]);
}

#[test]
fn a_store_that_was_changed_is_not_believed() {
    let folder = tempfile::tempdir().expect("a folder");
    open(folder.path()).set(&name("openai"), &secret("sk-1234"), 7).expect("set");
    let store = folder.path().join("secrets/store");
    let sound = fs::read(&store).expect("there");
    for at in 0..sound.len() {
        let mut changed = sound.clone();
        changed[at] ^= 1;
        fs::write(&store, &changed).expect("written");
        assert!(open(folder.path()).trouble().is_some(), "byte {at}");
        fs::write(&store, &sound[..at]).expect("written");
        assert!(open(folder.path()).trouble().is_some(), "cut at {at}");
    }
}

#[test]
fn a_tpm_that_fails_is_told_of_and_one_that_is_gone_costs_the_store() {
    let folder = tempfile::tempdir().expect("a folder");
    let device = folder.path().join("tpm");
    fs::write(&device, "").expect("written");
    let mut secrets = Secrets::open(folder.path().join("secrets"), Some(&device));
    secrets.set(&name("openai"), &secret("x"), 7).expect("set");
    let remark = secrets.take_remark().expect("a remark");
    assert!(remark.contains("a file keeps it") && remark.contains("makes no sense"), "{remark}");

    fs::write(folder.path().join("secrets/key.tpm"), "sealed").expect("written");
    let trouble = open(folder.path()).trouble().expect("locked");
    assert!(trouble.contains("key.tpm: was sealed by the TPM of a machine, and here is none"), "{trouble}");
}

#[test]
fn fingerprints_find_each_value() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut secrets = open(folder.path());
    secrets.set(&name("openai"), &secret("sk-canary-1"), 7).expect("set");
    let redactor = spec::redaction::Redactor::new(&secrets.fingerprints(&[3; 32]).0);
    assert_eq!(redactor.redact("it is sk-canary-1."), "it is [secret].");
}

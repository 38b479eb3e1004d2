//! `image flash`, driven as a user drives it, at a terminal and in a script. In the place of a card there is a file; where
//! this kernel lets root have a loop device, that is used as a disk, too.

use std::fs::{self, File};
use std::io::Read;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use crate::screen::Screen;
use crate::workbench::{Workbench, finish, repository, run, until};

const MIB: usize = 1 << 20;
/// The size of the image of these tests, in bytes.
const IMAGE: usize = 14 * MIB;
/// Where its FAT file system begins, in bytes.
const CONFIG: usize = MIB;

/// A bench with an image: a small one as a Raspberry Pi has it, with the llmbasedos.toml that images come with.
fn bench() -> Workbench {
    let bench = Workbench::new();
    let fat = bench.path("config.fat");
    File::create(&fat).and_then(|file| file.set_len(4 << 20)).expect("made");
    tool("mkfs.vfat", &["-n", "LLMBASEDOS", &text(&fat)]);
    let example = repository().join("image/src/disk/llmbasedos.toml");
    tool("mcopy", &["-i", &text(&fat), &text(&example), "::/llmbasedos.toml"]);
    let mut random = fastrand::Rng::with_seed(6);
    let mut image = vec![0; IMAGE];
    // The system: nothing of it repeats. Before and behind it, nothing: holes.
    random.fill(&mut image[6 * MIB..11 * MIB]);
    let fat = fs::read(fat).expect("made");
    image[CONFIG..CONFIG + fat.len()].copy_from_slice(&fat);
    image[450] = 0x0c;
    for (at, sectors) in [(454, CONFIG / 512), (458, fat.len() / 512)] {
        image[at..at + 4].copy_from_slice(&u32::try_from(sectors).expect("small").to_le_bytes());
    }
    image[440..444].copy_from_slice(&spec::boot::mbr::IDENTIFIER.to_le_bytes());
    image[510..512].copy_from_slice(&[0x55, 0xaa]);
    fs::write(bench.path("llmbasedos-test.img"), image).expect("written");
    bench
}

/// `image flash` at a terminal.
fn at_a_terminal(bench: &Workbench, arguments: &str) -> Screen {
    let mut script = Command::new("script");
    script.current_dir(bench.path("")).env("TERM", "xterm").env_remove("NO_COLOR");
    let program = format!("{} flash {arguments}", env!("CARGO_BIN_EXE_image"));
    Screen::run(script, &program, Duration::from_secs(60))
}

/// A card of that many bytes that was used before.
fn card(bench: &Workbench, size: usize) -> PathBuf {
    let card = bench.path("card");
    fs::write(&card, vec![0xa5; size]).expect("written");
    card
}

fn tool(program: &str, arguments: &[&str]) {
    let path = format!("{}:/usr/sbin:/sbin", std::env::var("PATH").unwrap_or_default());
    let output = Command::new(program).args(arguments).env("PATH", path).output();
    let output = output.unwrap_or_else(|error| panic!("{program}: {error}"));
    assert!(output.status.success(), "{program} {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
}

fn text(path: &Path) -> String {
    path.display().to_string()
}

fn flash(bench: &Workbench, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_image"));
    command.arg("flash").args(arguments).current_dir(bench.path(""));
    command.env("PATH", format!("{}:{}", text(&bench.path("bin")), std::env::var("PATH").unwrap_or_default()));
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// What the file on the card says.
fn settings(card: &Path) -> String {
    let at = format!("{}@@{CONFIG}", text(card));
    let output = Command::new("mtype").args(["-i", &at, "::/llmbasedos.toml"]).output().expect("mtools is there");
    String::from_utf8(output.stdout).expect("UTF-8")
}

/// Fails the test unless the card holds the image, but for the file system with the settings.
#[track_caller]
fn expect_image(bench: &Workbench, card: &Path) {
    let (image, card) = (fs::read(bench.path("llmbasedos-test.img")).expect("there"), fs::read(card).expect("there"));
    assert!(image[..CONFIG] == card[..CONFIG], "the table");
    assert!(image[5 * MIB..] == card[5 * MIB..IMAGE], "the system");
    let tail = &card[(card.len() - MIB).max(IMAGE)..];
    assert!(tail.iter().all(|&byte| byte == 0), "what was at the end of the card");
}

#[test]
fn a_card_is_written_and_set_up_without_a_question_where_all_is_stated() {
    let bench = bench();
    let card = card(&bench, IMAGE + 8 * MIB);
    let stated =
        ["--yes", "--hostname", "attic", "--address", "10.0.0.5/24", "--router", "10.0.0.1", "--dns", "10.0.0.1"];
    let ended = run(flash(&bench, &[&["llmbasedos-test.img", "card"][..], &stated].concat()));
    ended.expect_code(0).expect_words(&[
        "flash · llmbasedos-test.img\n",
        "  check          there is no .sha256 beside it",
        "  write          card                             14 MB · ",
        "  verify         card                             identical\n",
        "  settings       llmbasedos.toml\n",
        "card is written and verified. Put it in, power on, open http://attic.local in a minute.\n",
    ]);
    assert!(!ended.stderr.contains(['\u{1b}', '\r']), "plain lines: {:?}", ended.stderr);
    expect_image(&bench, &card);
    let said = settings(&card);
    assert!(said.starts_with("hostname = \"attic\"\n# The settings of this machine."), "{said}");
    assert!(
        said.contains("[network]\naddress = \"10.0.0.5/24\"\ngateway = \"10.0.0.1\"\ndns = [\"10.0.0.1\"]\n"),
        "{said}"
    );
}

#[test]
fn a_packed_image_is_the_same_one_and_its_sum_is_checked() {
    let bench = bench();
    let card = card(&bench, IMAGE);
    for (program, end) in [("zstd", "zst"), ("xz", "xz"), ("gzip", "gz")] {
        fs::write(&card, vec![0xa5; IMAGE]).expect("written");
        tool(program, &["-q", "-k", "-1", &text(&bench.path("llmbasedos-test.img"))]);
        let name = format!("llmbasedos-test.img.{end}");
        let sum = Command::new("sha256sum").arg(&name).current_dir(bench.path("")).output().expect("it runs").stdout;
        fs::write(bench.path(&format!("{name}.sha256")), sum).expect("written");
        let ended = run(flash(&bench, &[&name, "card", "--yes", "--no-config"]));
        ended.expect_code(0).expect_words(&["its SHA-256 is the stated one\n", "identical\n"]);
        expect_image(&bench, &card);
        assert!(settings(&card).starts_with("# The settings of this machine."), "as the image has it");
    }
}

#[test]
fn what_is_no_sound_image_is_refused_and_nothing_is_written() {
    let bench = bench();
    let card = card(&bench, IMAGE);
    let image = fs::read(bench.path("llmbasedos-test.img")).expect("there");
    let put = |name: &str, content: &[u8]| fs::write(bench.path(name), content).expect("written");
    put("text.img", b"not an image");
    put("others.img", &vec![0xeb; IMAGE]);
    put("short.img", &image[..3 * MIB]);
    put("changed.img", &image);
    put("changed.img.sha256", format!("{}  changed.img\n", "0".repeat(64)).as_bytes());
    put("sumless.img", &image);
    put("sumless.img.sha256", b"<html>404</html>");
    put("broken.img.zst", b"\x28\xb5\x2f\xfd, and nothing that zstd knows");
    for (name, words) in [
        ("text.img", "error: text.img is no image of llmbasedos\n  why   it has no partition table\n"),
        ("others.img", "others.img is no image of llmbasedos"),
        (
            "short.img",
            "short.img is damaged\n  why   it has 3145728 bytes, and its partition table speaks of 5242880\n",
        ),
        ("changed.img", "changed.img is damaged\n  why   its SHA-256 is "),
        ("sumless.img", "sumless.img.sha256 cannot be used\n  why   it holds no SHA-256\n"),
        ("broken.img.zst", "broken.img.zst is damaged\n  why   zstd cannot unpack all of it"),
        ("missing.img", "cannot read missing.img\n  why   no such file"),
        (".", "error: . is no image of llmbasedos\n  why   it is no file\n"),
    ] {
        run(flash(&bench, &[name, "card", "--yes"])).expect_code(1).expect_words(&[words, "\n  do    "]);
    }
    assert!(fs::read(card).expect("there").iter().all(|&byte| byte == 0xa5), "nothing was written");
}

#[test]
fn a_packed_image_that_breaks_off_leaves_a_card_that_nothing_boots_from() {
    let bench = bench();
    let card = card(&bench, IMAGE);
    tool("zstd", &["-q", "-1", &text(&bench.path("llmbasedos-test.img"))]);
    let packed = fs::read(bench.path("llmbasedos-test.img.zst")).expect("there");
    fs::write(bench.path("llmbasedos-test.img.zst"), &packed[..packed.len() / 2]).expect("written");
    run(flash(&bench, &["llmbasedos-test.img.zst", "card", "--yes"])).expect_code(1).expect_words(&[
        "error: llmbasedos-test.img.zst is damaged\n  why   zstd cannot unpack all of it",
        "card is not finished: it has no partition table, so nothing boots from it\n",
    ]);
    assert!(fs::read(card).expect("there")[..MIB].iter().all(|&byte| byte == 0));
}

#[test]
fn what_cannot_be_written_to_is_refused() {
    let bench = bench();
    card(&bench, IMAGE - 512);
    let refused = |device: &str, words: &[&str]| {
        run(flash(&bench, &["llmbasedos-test.img", device, "--yes"])).expect_code(1).expect_words(words);
    };
    refused("card", &["error: card is too small\n  why   it has 14679552 bytes, and the image 14680064\n"]);
    refused("nowhere", &["nothing can be written to nowhere\n  why   it is not there\n", "it lists what there is"]);
    refused("/dev/null", &["why   it is neither a disk nor a file\n"]);
    refused("llmbasedos-test.img", &["an image cannot be written onto itself"]);
    // Whatever this machine runs from.
    let root = fs::metadata("/").expect("there").dev();
    let name = fs::read_dir("/sys/block").expect("there").flatten().map(|entry| entry.file_name()).find(|name| {
        let dev = fs::read_to_string(Path::new("/sys/block").join(name).join("dev")).unwrap_or_default();
        dev.trim() == format!("{}:{}", rustix::fs::major(root), rustix::fs::minor(root))
    });
    match name {
        Some(name) => {
            let disk = text(&Path::new("/dev").join(name));
            let stated = ["llmbasedos-test.img", &disk, "--yes", "--fixed-disk"];
            run(flash(&bench, &stated)).expect_code(1).expect_words(&["is not written to\n  why   it is mounted at /"]);
        }
        None => eprintln!("the root of this machine is on no disk of its own: that it is refused is not seen here"),
    }
}

#[test]
fn a_wrong_command_line_or_setting_is_told_before_anything_is_written() {
    let bench = bench();
    let card = card(&bench, IMAGE);
    fs::write(bench.path("mine.toml"), "hostnam = \"attic\"\n").expect("written");
    for (arguments, code, words) in [
        (&["--yes"][..], 2, "<DEVICE>"),
        (&["llmbasedos-test.img", "card", "--yes", "--no-config", "--hostname", "x"], 2, "cannot be used with"),
        (&["llmbasedos-test.img", "card", "--yes", "--hostname", "a b"], 1, "hostname: must be 1 to 63"),
        (&["llmbasedos-test.img", "card", "--yes", "--address", "10.0.0.5"], 1, "network.address: must be \"dhcp\" or"),
        (&["llmbasedos-test.img", "card", "--yes", "--config", "mine.toml"], 1, "mine.toml:1: hostnam: unknown key"),
        (&["llmbasedos-test.img", "card", "--yes", "--config", "no.toml"], 1, "cannot read no.toml"),
        (&["llmbasedos-test.img", "card"], 1, "there is nobody to ask what may be erased\n  why   this is no terminal"),
    ] {
        run(flash(&bench, arguments)).expect_code(code).expect_words(&[words]);
    }
    assert!(fs::read(card).expect("there").iter().all(|&byte| byte == 0xa5), "nothing was written");
}

#[test]
fn a_file_of_the_owners_is_written_as_it_is() {
    let bench = bench();
    let card = card(&bench, IMAGE);
    let mine = "hostname = \"cellar\"\n[gateway]\ntokens = [\"0123456789abcdef\"]\n";
    fs::write(bench.path("mine.toml"), mine).expect("written");
    let ended = run(flash(&bench, &["llmbasedos-test.img", "card", "--yes", "--config", "mine.toml"]));
    ended.expect_code(0).expect_words(&["open http://cellar.local"]);
    assert_eq!(settings(&card).trim_end(), mine.trim_end());
    assert!(!ended.stderr.contains("0123456789abcdef"));
}

#[test]
fn a_signal_ends_it_and_says_what_has_become_of_the_card() {
    let bench = bench();
    let card = card(&bench, IMAGE);
    // What unpacks hands out the first half and then waits, so that the signal comes in between.
    bench.stand_in("gzip", &format!("head -c {} llmbasedos-test.img; touch halfway; exec sleep 60", IMAGE / 2));
    fs::write(bench.path("llmbasedos-test.img.gz"), "whatever").expect("written");
    let child = flash(&bench, &["llmbasedos-test.img.gz", "card", "--yes"]).spawn().expect("it runs");
    until(|| bench.path("halfway").exists().then_some(()));
    interrupt(&child);
    let ended = finish(child);
    ended.expect_code(130).expect_words(&[
        "stopped: card is not finished: it has no partition table, so nothing boots from it; run this again\n",
    ]);
    let mut head = [1; 512];
    File::open(card).expect("there").read_exact_at(&mut head, 0).expect("read");
    assert_eq!(head, [0; 512]);
}

fn interrupt(child: &Child) {
    let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw).expect("a process");
    kill_process(pid, Signal::INT).expect("sent");
}

#[test]
fn a_person_is_asked_once_and_then_for_the_settings() {
    let bench = bench();
    let card = card(&bench, IMAGE);
    let mut screen = at_a_terminal(&bench, "llmbasedos-test.img card");
    screen.expect("Everything on card (a file, 14 MB) will be erased. Type its name to go on, card:");
    screen.press("card\n");
    let between = screen.expect("identical");
    assert!(!between.contains("Type its name"), "once: {between}");
    screen.expect("Set it up now? [Y/n]");
    screen.press("\n");
    screen.expect("hostname [llmbasedos]:");
    screen.press("the attic\n");
    screen.expect("hostname: must be 1 to 63");
    screen.expect("hostname [llmbasedos]:");
    screen.press("attic\n");
    screen.expect("name of the Wi-Fi [none: a cable]:");
    screen.press("\n");
    screen.expect("address [dhcp]:");
    screen.press("10.0.0.5/24\n");
    screen.expect("router [none]:");
    screen.press("10.1.0.1\n");
    screen.expect("must be another address of the network");
    screen.expect("router [none]:");
    screen.press("10.0.0.1\n");
    screen.expect("name server [none]:");
    screen.press("\n");
    screen.expect("passphrase of its own Wi-Fi for the set-up, not shown [it makes one and shows it on its screen]:");
    screen.press("short\n");
    let after = screen.expect("network.setup_passphrase: must be");
    assert!(!after.contains("short"), "{after}");
    screen.expect("passphrase of its own Wi-Fi");
    screen.press("typed by hand\n");
    screen.expect("set-up code [it makes one and shows it on its screen]:");
    screen.press("\n");
    screen.expect("open http://attic.local in a minute.");
    assert_eq!(screen.exit_code(), Some(0));
    expect_image(&bench, &card);
    let network =
        "[network]\nsetup_passphrase = \"typed by hand\"\naddress = \"10.0.0.5/24\"\ngateway = \"10.0.0.1\"\n#";
    assert!(settings(&card).contains(network), "{}", settings(&card));
}

#[test]
fn a_passphrase_is_asked_for_and_shown_nowhere() {
    let bench = bench();
    let card = card(&bench, IMAGE);
    let mut screen = at_a_terminal(&bench, "llmbasedos-test.img card");
    for (question, answer) in [
        ("Type its name to go on, card:", "card"),
        ("Set it up now? [Y/n]", "y"),
        ("hostname [llmbasedos]:", ""),
        ("name of the Wi-Fi [none: a cable]:", "At home"),
        ("its passphrase, not shown [none: an open network]:", "short"),
    ] {
        screen.expect(question);
        screen.press(&format!("{answer}\n"));
    }
    let after = screen.expect("must be 8 to 63 ASCII characters");
    assert!(!after.contains("short"), "{after}");
    screen.expect("its passphrase, not shown");
    screen.press("correct horse\n");
    let after = screen.expect("your country, such as DE [not said]:");
    assert!(!after.contains("horse"), "{after}");
    screen.press("de\n");
    screen.expect("address [dhcp]:");
    screen.press("192.168.1.20/24\n");
    screen.expect("router [none]:");
    screen.press("192.168.1.1\n");
    screen.expect("name server [none]:");
    screen.press("\n");
    screen.expect("passphrase of its own Wi-Fi");
    screen.press("\n");
    screen.expect("set-up code [it makes one and shows it on its screen]:");
    screen.press("attic-2026\n");
    screen.expect("open http://llmbasedos.local in a minute.");
    assert_eq!(screen.exit_code(), Some(0));
    let written = "\n[[network.wifi]]\nssid = \"At home\"\npassphrase = \"correct horse\"\ncountry = \"DE\"\n";
    assert!(settings(&card).ends_with(written), "{}", settings(&card));
    for table in [
        "\n[gateway]\nsetup_code = \"attic-2026\"\n",
        "\n[network]\naddress = \"192.168.1.20/24\"\ngateway = \"192.168.1.1\"\n",
    ] {
        assert!(settings(&card).contains(table), "{}", settings(&card));
    }
}

#[test]
fn a_passphrase_comes_from_a_file_and_lies_on_the_card_alone() {
    let bench = bench();
    let card = card(&bench, IMAGE);
    fs::write(bench.path("passphrase"), "correct horse\n").expect("written");
    fs::write(bench.path("code"), "7KQ-M4X\n").expect("written");
    let wifi = ["--wifi", "At home", "--wifi-passphrase-file", "passphrase", "--wifi-country", "DE"];
    let stated = ["llmbasedos-test.img", "card", "--yes", "--setup-code-file", "code"];
    let stated = [&stated[..], &wifi].concat();
    let mut command = flash(&bench, &stated);
    command.env("TMPDIR", bench.path("bin"));
    let ended = run(command);
    ended.expect_code(0);
    assert!(!ended.stderr.contains("horse") && !ended.stdout.contains("horse"), "{}", ended.stderr);
    assert!(settings(&card).contains("passphrase = \"correct horse\"\n"));
    assert!(settings(&card).contains("\n[gateway]\nsetup_code = \"7KQ-M4X\"\n"));
    assert_eq!(fs::read_dir(bench.path("bin")).expect("there").count(), 0, "nothing of it is left there");
}

#[test]
fn another_name_or_none_or_ctrl_c_writes_nothing() {
    let bench = bench();
    let card = card(&bench, IMAGE);
    for (keys, words, code) in [
        ("y\n", "error: nothing was written", 1),
        ("\n", "no name was typed", 1),
        ("\u{4}", "no name was typed", 1),
        ("\u{3}", "stopped", 130),
    ] {
        let mut screen = at_a_terminal(&bench, "llmbasedos-test.img card");
        screen.expect("Type its name to go on, card:");
        screen.press(keys);
        screen.expect(words);
        assert_eq!(screen.exit_code(), Some(code), "{keys:?}");
    }
    assert!(fs::read(card).expect("there").iter().all(|&byte| byte == 0xa5), "nothing was written");
}

#[test]
fn ctrl_c_among_the_settings_leaves_a_card_that_is_whole() {
    let bench = bench();
    let card = card(&bench, IMAGE);
    let mut screen = at_a_terminal(&bench, "llmbasedos-test.img card");
    screen.expect("Type its name to go on, card:");
    screen.press("card\n");
    screen.expect("Set it up now? [Y/n]");
    screen.press("y\n");
    screen.expect("hostname [llmbasedos]:");
    screen.press("\u{3}");
    screen.expect("stopped: card is written and verified, with the settings that the image has");
    assert_eq!(screen.exit_code(), Some(130));
    expect_image(&bench, &card);
    assert!(settings(&card).starts_with("# The settings of this machine."));
}

/// A loop device, where this kernel and this user's rights give one; it is let go in the end.
struct Loop(String);

impl Loop {
    fn new(file: &Path) -> Option<Self> {
        let path = format!("{}:/usr/sbin:/sbin", std::env::var("PATH").unwrap_or_default());
        let output = Command::new("losetup").args(["--find", "--show"]).arg(file).env("PATH", path).output().ok()?;
        let name = String::from_utf8(output.stdout).ok()?.trim().to_owned();
        if name.is_empty() {
            eprintln!("there are no loop devices here: a real block device is not seen");
        }
        (!name.is_empty()).then(|| Self(name))
    }
}

impl Drop for Loop {
    fn drop(&mut self) {
        tool("losetup", &["--detach", &self.0]);
    }
}

#[test]
fn a_block_device_is_written_and_nobody_else_has_it_meanwhile() {
    let bench = bench();
    let card = card(&bench, IMAGE + MIB);
    let Some(device) = Loop::new(&card) else { return };
    let stated = ["llmbasedos-test.img", &device.0, "--yes", "--hostname", "attic"];
    run(flash(&bench, &stated)).expect_code(1).expect_words(&["it is built into this machine", "--fixed-disk"]);
    let fixed = [&stated[..], &["--fixed-disk"]].concat();

    let folder = bench.path("mounted");
    fs::create_dir(&folder).expect("made");
    tool("mke2fs", &["-q", &device.0]);
    tool("mount", &[&device.0, &text(&folder)]);
    let refused = run(flash(&bench, &fixed));
    tool("umount", &[&text(&folder)]);
    refused.expect_code(1).expect_words(&[&format!("it is mounted at {}\n", text(&folder)), "umount "]);
    fs::write(&card, vec![0xa5; IMAGE + MIB]).expect("written");

    // The kernel itself refuses what somebody else has for himself, which nothing in /proc tells of.
    let busy = Command::new("python3")
        .args([
            "-c",
            "import os, sys; os.open(sys.argv[1], os.O_RDWR | os.O_EXCL); print(1, flush=True); sys.stdin.read()",
        ])
        .arg(&device.0)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn();
    let mut busy = busy.expect("python3 is there");
    busy.stdout.as_mut().expect("piped").read_exact(&mut [0]).expect("it is opened");
    run(flash(&bench, &fixed)).expect_code(1).expect_words(&["cannot open /dev/loop", "something uses it"]);
    drop(busy.stdin.take());
    busy.wait().expect("it ends");
    assert_eq!(fs::read(&card).expect("there")[..512], [0xa5; 512], "nothing was written");

    run(flash(&bench, &fixed)).expect_code(0).expect_words(&["identical", "settings"]);
    expect_image(&bench, &card);
    assert!(settings(&card).starts_with("hostname = \"attic\"\n"));
}

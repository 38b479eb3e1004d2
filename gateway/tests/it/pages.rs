//! The pages of the machine: what strangers are told, the claim, and what the owner sees.

use serde_json::{Value, json};
use tokio::net::TcpStream;

use crate::system::{System, service, soon};
use crate::tls::{self, Answer};

const CODE: &str = "7KQM-4XPD";
const TOKEN: &str = "a-token-that-init-has-made";
const HOST: &str = "Host: attic.local";
const SETTINGS: &str = "host_name = \"attic\"";

/// A machine that nobody has claimed, and its certificate as init was told of it.
async fn machine(settings: &str) -> (System, String) {
    let mut system = System::start_open(Some(settings), &[]).await;
    let certificate = system.is_asked("certificate").await["sha256"].as_str().expect("a digest").to_owned();
    is_somebodys(&system, "open");
    (system, certificate)
}

fn status(ownership: &str) -> Value {
    json!({
        "version": "0.1.0", "host_name": "attic", "ready": true, "uptime_seconds": 61.0, "ready_seconds": 4.1, "slot": "a",
        "data": "58 GB free of 59 GB", "network": "eth0 192.168.1.23", "ownership": ownership,
        "certificate_sha256": "AB:CD", "problems": ["llmbasedos.toml:1: <b>wrong</b>"],
    })
}

fn is_somebodys(system: &System, ownership: &str) {
    system.init_answers("status", json!({ "result": status(ownership) }));
}

async fn plain(system: &System, request: &str, headers: &[&str], body: &str) -> Answer {
    let stream = TcpStream::connect(("127.0.0.1", system.address.port())).await.expect("it listens");
    tls::ask(stream, request, headers, body).await
}

async fn secure(system: &System, certificate: &str, request: &str, headers: &[&str], body: &str) -> Answer {
    let port = system.secure.expect("a door for TLS").port();
    tls::ask(tls::connect(port, certificate).await.expect("the machine"), request, headers, body).await
}

/// The first page as a stranger sees it, once it has `words`: strangers are told what was so a second ago.
async fn until_told(system: &System, certificate: &str, words: &str) -> String {
    let told = async {
        loop {
            let page = secure(system, certificate, "GET /", &[HOST], "").await.body;
            if page.contains(words) {
                return page;
            }
        }
    };
    soon(words, told).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stranger_is_told_little_and_sent_to_where_nobody_listens() {
    let (mut system, certificate) = machine(SETTINGS).await;
    system.set_service("secret-arc", "failed", Some("exited")).await;
    let open = plain(&system, "GET /", &[HOST], "").await;
    let safe = secure(&system, &certificate, "GET /", &[HOST], "").await;
    for page in [&open, &safe] {
        assert_eq!(page.status, 200);
        for told in ["<h1>attic</h1>", "llmbasedos 0.1.0", "one service has failed", "It is nobody's yet."] {
            assert!(page.body.contains(told), "{told}: {}", page.body);
        }
        for hidden in ["secret-arc", "exited", "192.168", "58 GB", "wrong", "AB:CD", "4.1 s", "verified"] {
            assert!(!page.body.contains(hidden), "{hidden}: {}", page.body);
        }
        assert!(!page.body.contains("<script") && !page.body.contains("src="), "{}", page.body);
        assert_eq!(page.header("cache-control"), Some("no-store"));
        assert!(page.header("content-security-policy").is_some_and(|policy| policy.contains("default-src 'none'")));
    }
    let address = format!("https://attic.local:{}/", system.secure.expect("a door for TLS").port());
    assert!(open.body.contains(&format!("href=\"{address}\"")) && !open.body.contains("<form"), "{}", open.body);
    assert!(safe.body.contains("action=\"/claim\""), "{}", safe.body);

    let refused = plain(&system, "POST /claim", &[HOST], &format!("code={CODE}")).await;
    assert_eq!(refused.status, 403);
    assert!(refused.body.contains("TLS alone") && refused.body.contains(&address), "{}", refused.body);
    assert!(system.asked.try_recv().is_ok_and(|asked| asked["method"] == "status"), "it only looked");
    while let Ok(asked) = system.asked.try_recv() {
        assert_eq!(asked["method"], "status", "init was told of no code");
    }
    is_somebodys(&system, "claimed");
    until_told(&system, &certificate, "action=\"/enter\"").await;
    is_somebodys(&system, "reopened");
    let both = until_told(&system, &certificate, "Or claim it anew").await;
    assert!(both.contains("action=\"/enter\"") && !both.contains("nobody's"), "{both}");
    is_somebodys(&system, "given");
    assert!(until_told(&system, &certificate, "not yet shown").await.contains("restart the machine"));
}

#[tokio::test(flavor = "multi_thread")]
async fn who_claims_the_machine_is_its_owner() {
    let (mut system, certificate) = machine(SETTINGS).await;
    let wrong = json!({ "error": { "code": -32000, "message": "this is <i>not</i> the set-up code" } });
    system.init_answers("claim", wrong);
    let refused = secure(&system, &certificate, "POST /claim", &[HOST], "code=2222-2222").await;
    assert_eq!((refused.status, refused.cookie()), (403, None));
    assert!(refused.body.contains("This is &lt;i&gt;not&lt;/i&gt; the set-up code"), "{}", refused.body);
    assert_eq!(system.is_asked("claim").await, json!({ "code": "2222-2222" }));

    system.init_answers("claim", json!({ "result": { "token": TOKEN } }));
    let origin = "Origin: https://attic.local";
    let given = secure(&system, &certificate, "POST /claim", &[HOST, origin], "code=7KQM-4XPD").await;
    assert_eq!(given.status, 200);
    let (port, digits) = (system.secure.expect("a door for TLS").port(), certificate.replace(':', "").to_lowercase());
    let address = format!("wss://attic.local:{port}/ws#sha256={digits}");
    assert!(given.body.contains(TOKEN) && given.body.contains(&address), "{}", given.body);
    assert!(!given.body.contains("ws://attic.local/ws"), "the token is sent to nobody in the clear: {}", given.body);
    assert_eq!(system.is_asked("claim").await, json!({ "code": CODE }));
    let cookie = given.header("set-cookie").expect("a cookie");
    for word in ["__Host-", "Secure", "HttpOnly", "SameSite=Strict", "Path=/"] {
        assert!(cookie.contains(word), "{cookie}");
    }
    assert!(!cookie.contains(TOKEN), "a token cannot be told from it");

    is_somebodys(&system, "claimed");
    let cookie = format!("Cookie: other=1; {}", given.cookie().expect("a cookie"));
    system.set_service("kv", "failed", Some("exited: <script>")).await;
    let own = secure(&system, &certificate, "GET /", &[HOST, &cookie], "").await;
    for told in
        ["eth0 192.168.1.23", "58 GB free", "up</th><td class=\"\">1 min", "4.1 s", "&lt;b&gt;wrong", "&lt;script&gt;"]
    {
        assert!(own.body.contains(told), "{told}: {}", own.body);
    }
    assert_eq!(system.is_asked("claim.used").await, Value::Null, "init hears that the token has arrived");
    let bearer = format!("Authorization: Bearer {TOKEN}");
    assert!(secure(&system, &certificate, "GET /", &[HOST, &bearer], "").await.body.contains("192.168"));
    let seen = plain(&system, "GET /", &[HOST, &cookie], "").await.body;
    assert!(!seen.contains("192.168"), "what came without TLS opens nothing");
    let upgrade = [
        "Upgrade: websocket",
        "Connection: upgrade",
        "Sec-WebSocket-Version: 13",
        "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==",
    ];
    let with_cookie = [&[HOST, cookie.as_str()][..], &upgrade].concat();
    assert_eq!(secure(&system, &certificate, "GET /ws", &with_cookie, "").await.status, 401, "a cookie is for pages");

    // A second claim takes the place of the first.
    system.init_answers("claim", json!({ "result": { "token": "another-token-of-init" } }));
    secure(&system, &certificate, "POST /claim", &[HOST], "code=7KQM-4XPD").await;
    assert!(!secure(&system, &certificate, "GET /", &[HOST, &cookie], "").await.body.contains("192.168"));
    assert!(!secure(&system, &certificate, "GET /", &[HOST, &bearer], "").await.body.contains("192.168"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_script_claims_with_json() {
    let (system, certificate) = machine(SETTINGS).await;
    let json_form = "Content-Type: application/json";
    let claim = async |body: &str| {
        let answer = secure(&system, &certificate, "POST /claim", &[HOST, json_form], body).await;
        (answer.status, serde_json::from_str::<Value>(&answer.body).expect("JSON"))
    };
    system.init_answers("claim", json!({ "error": { "code": -32001, "message": "try again in 10 s" } }));
    assert_eq!(claim(r#"{"code":"x"}"#).await, (429, json!({ "error": "try again in 10 s" })));
    for nothing in ["", "{}", "[]", r#"{"code":7}"#, r#"{"code":" "}"#] {
        assert_eq!(claim(nothing).await.0, 400, "{nothing}");
    }
    system.init_answers("claim", json!({ "result": { "token": TOKEN } }));
    assert_eq!(claim(r#"{"code":"7KQM-4XPD"}"#).await, (200, json!({ "token": TOKEN })));
    let long = format!("{{\"code\":\"{}\"}}", "x".repeat(10_000));
    let refused = secure(&system, &certificate, "POST /claim", &[HOST, json_form], &long).await;
    assert_eq!(refused.status, 413);
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_of_others_reach_nothing() {
    let (mut system, certificate) = machine(SETTINGS).await;
    system.init_answers("claim", json!({ "result": { "token": TOKEN } }));
    let port = system.secure.expect("one").port();
    let foreign = [
        (vec![HOST, "Origin: https://example.com"], 403),
        (vec![HOST, "Origin: null"], 403),
        (vec![HOST, "Origin: http://attic.local"], 403),
        (vec![HOST, "Sec-Fetch-Site: cross-site", "Sec-Fetch-Mode: no-cors"], 403),
        (vec!["Host: example.com", "Origin: https://example.com"], 421),
        (vec!["Host: attic.example.com"], 421),
    ];
    for (headers, expected) in foreign {
        let answer = secure(&system, &certificate, "POST /claim", &headers, "code=7KQM-4XPD").await;
        assert_eq!(answer.status, expected, "{headers:?}");
        assert!(!answer.body.contains(TOKEN));
    }
    assert_eq!(plain(&system, "GET /", &["Host: example.com"], "").await.status, 421);
    assert_eq!(plain(&system, "GET /generate_204", &["Host: example.com"], "").await.status, 404);
    while let Ok(asked) = system.asked.try_recv() {
        assert_ne!(asked["method"], "claim", "init was told of no code");
    }
    for host in
        ["Host: attic", "Host: ATTIC.local:443", "Host: attic-2.local", "Host: 192.168.1.23", "Host: localhost:8"]
    {
        assert_eq!(secure(&system, &certificate, "GET /", &[host], "").await.status, 200, "{host}");
    }
    // A browser that is led here by a link sends its cookie once it is led here by ourselves.
    let led =
        secure(&system, &certificate, "GET /", &[HOST, "Sec-Fetch-Site: cross-site", "Sec-Fetch-Mode: navigate"], "");
    assert!(led.await.body.contains("http-equiv=\"refresh\""));
    let other = "00:".repeat(32);
    tls::connect(port, other.trim_end_matches(':')).await.expect_err("this client knows the certificate by its digest");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_browser_is_kept_in_mind_by_the_token_and_forgotten() {
    let settings = format!("{SETTINGS}\ntokens = [\"{TOKEN}\"]");
    let (mut system, certificate) = machine(&settings).await;
    is_somebodys(&system, "settled");
    let refused = secure(&system, &certificate, "POST /enter", &[HOST], "token=not-the-token-of-it").await;
    assert_eq!((refused.status, refused.cookie()), (403, None));
    assert_eq!(plain(&system, "POST /enter", &[HOST], &format!("token={TOKEN}")).await.status, 403);
    let entered = secure(&system, &certificate, "POST /enter", &[HOST], &format!("token={TOKEN}")).await;
    assert_eq!((entered.status, entered.header("location")), (303, Some("/")));
    let cookie = format!("Cookie: {}", entered.cookie().expect("a cookie"));
    assert!(secure(&system, &certificate, "GET /", &[HOST, &cookie], "").await.body.contains("192.168"));

    system.init_answers("setup_code", json!({ "result": { "code": CODE } }));
    assert_eq!(secure(&system, &certificate, "POST /setup-code", &[HOST], "").await.status, 403);
    let code = secure(&system, &certificate, "POST /setup-code", &[HOST, &cookie], "").await;
    assert!(code.status == 200 && code.body.contains(CODE), "{}", code.body);
    is_somebodys(&system, "reopened");
    system.init_answers("setup_code_withdraw", json!({ "result": {} }));
    assert_eq!(secure(&system, &certificate, "POST /setup-code/withdraw", &[HOST], "").await.status, 403);
    let page = secure(&system, &certificate, "GET /", &[HOST, &cookie], "").await.body;
    assert!(page.contains("action=\"/setup-code/withdraw\""), "{page}");
    let withdrawn = secure(&system, &certificate, "POST /setup-code/withdraw", &[HOST, &cookie], "").await;
    assert_eq!((withdrawn.status, withdrawn.header("location")), (303, Some("/")), "{}", withdrawn.body);
    system.is_asked("setup_code_withdraw").await;
    let left = secure(&system, &certificate, "POST /leave", &[HOST, &cookie], "").await;
    assert!(left.header("set-cookie").is_some_and(|cookie| cookie.contains("Max-Age=0")), "{left:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_owner_and_who_comes_by_the_access_point_join_a_network() {
    let settings = format!("{SETTINGS}\nclaimed = \"{TOKEN}\"");
    let (mut system, certificate) = machine(&settings).await;
    let bearer = format!("Authorization: Bearer {TOKEN}");
    system.init_answers("network.scan", json!({ "error": { "code": -32601, "message": "there is no method" } }));
    let none = secure(&system, &certificate, "GET /wifi", &[HOST, &bearer], "").await;
    assert!(none.status == 404 && none.body.contains("This machine has no Wi-Fi"), "{}", none.body);

    let found = json!([{ "ssid": "Caf\u{e9} \"<x>\"", "signal_dbm": -50, "secured": true }]);
    system.init_answers("network.scan", json!({ "result": found.clone() }));
    let form = secure(&system, &certificate, "GET /wifi", &[HOST, &bearer], "").await;
    assert!(form.body.contains("Caf\u{e9} &quot;&lt;x&gt;&quot;") && form.body.contains("strong"), "{}", form.body);
    assert_eq!(secure(&system, &certificate, "GET /wifi", &[HOST], "").await.status, 403);
    assert_eq!(plain(&system, "GET /wifi", &[HOST, &bearer], "").await.status, 403);

    system.init_answers("network.join", json!({ "result": {} }));
    let seen = "ssid=Caf%C3%A9+%22%3Cx%3E%22&passphrase=";
    let joined = secure(&system, &certificate, "POST /wifi", &[HOST, &bearer], seen).await;
    assert!(joined.status == 200 && joined.body.contains("Joined"), "{}", joined.body);
    let expected = json!({ "ssid": "Caf\u{e9} \"<x>\"", "hidden": false });
    assert_eq!(system.is_asked("network.join").await, expected);
    system.init_answers("network.join", json!({ "error": { "code": -32603, "message": "the passphrase is wrong" } }));
    let refused = secure(&system, &certificate, "POST /wifi", &[HOST, &bearer], seen).await;
    assert!(refused.status == 502 && refused.body.contains("The passphrase is wrong"), "{}", refused.body);
    assert_eq!(system.is_asked("network.join").await, expected);
    system.init_answers("network.scan", json!({ "result": {} }));
    let unclear = secure(&system, &certificate, "GET /wifi", &[HOST, &bearer], "").await;
    assert!(unclear.status == 502 && !unclear.body.contains("no network"), "{}", unclear.body);
    system.init_answers("network.scan", json!({ "result": found }));

    let mut by_access_point = status("open");
    by_access_point["access_point"] = json!({ "address": "127.0.0.1", "prefix": 8 });
    by_access_point["network"] = json!("the passphrase of the network <home> is wrong");
    system.init_answers("status", json!({ "result": by_access_point }));
    let first = until_told(&system, &certificate, "href=\"/wifi\"").await;
    assert!(first.contains("action=\"/claim\""), "{first}");
    for (path, host) in [("/generate_204", "Host: connectivity.example.com"), ("/", "Host: captive.example.com")] {
        let led = plain(&system, &format!("GET {path}"), &[host], "").await;
        assert_eq!((led.status, led.header("location")), (302, Some("http://127.0.0.1/")), "{path}");
    }
    let tried =
        secure(&system, &certificate, "POST /wifi", &[HOST], "ssid=My+net&passphrase=p%26ss+word&country=de").await;
    assert!(tried.status == 200 && tried.body.contains("comes back in a minute"), "{}", tried.body);
    let expected = json!({ "ssid": "My net", "passphrase": "p&ss word", "country": "DE", "hidden": true });
    assert_eq!(system.is_asked("network.join").await, expected);
    let again = secure(&system, &certificate, "GET /wifi", &[HOST], "").await;
    assert!(again.body.contains("the network &lt;home&gt; is wrong"), "{}", again.body);
    assert_eq!(secure(&system, &certificate, "POST /wifi", &[HOST], "ssid=").await.status, 400);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_machine_is_known_by_the_same_certificate_after_a_restart() {
    let (system, certificate) = machine(SETTINGS).await;
    let folder = system.stop().await;
    let mut again = System::start_open_in(folder, Some(SETTINGS), &[]).await;
    assert_eq!(again.is_asked("certificate").await, json!({ "sha256": certificate }));
    assert_eq!(secure(&again, &certificate, "GET /", &[HOST], "").await.status, 200);
    // Who says nothing, and who speaks no TLS, holds up nobody.
    let port = again.secure.expect("one").port();
    let _silent = TcpStream::connect(("127.0.0.1", port)).await.expect("it listens");
    let _loud = plain(&again, "GET /", &[HOST], "").await;
    assert_eq!(secure(&again, &certificate, "GET /", &[HOST], "").await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn on_a_developers_machine_the_page_is_for_its_user() {
    let system = System::start(&[]).await;
    let mut developers = status("open");
    developers.as_object_mut().expect("an object").remove("ownership");
    system.init_answers("status", json!({ "result": developers }));
    system.init_answers("services", json!({ "result": [service("kv", "listening", None)] }));
    let host = format!("Host: {}", system.address);
    let page = plain(&system, "GET /", &[&host], "").await;
    assert!(page.status == 200 && page.body.contains("starts at the first call"), "{}", page.body);
    assert!(!page.body.contains("<form"), "there is nothing to claim: {}", page.body);
}

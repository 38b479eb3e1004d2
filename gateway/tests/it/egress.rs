//! The one way out: what a manifest grants is reached, everything else is refused with the key to change.

use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, UnixStream};

use crate::fake_arc::{FakeArc, tool};
use crate::system::{System, soon};

/// What the proxy answers to `request`, until it closes.
async fn asked(arc: &FakeArc, request: &str) -> String {
    let mut stream = UnixStream::connect(arc.egress_socket()).await.expect("the proxy listens");
    // A proxy that has heard enough may close before all is said.
    let _ = stream.write_all(request.as_bytes()).await;
    let _ = stream.shutdown().await;
    let mut answer = Vec::new();
    let _ = soon("an answer", stream.read_to_end(&mut answer)).await;
    String::from_utf8_lossy(&answer).into_owned()
}

/// A server that answers each connection with `said` once it has heard something.
async fn server(said: &'static str) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("bound");
    let port = listener.local_addr().expect("an address").port();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut heard = [0; 1024];
                let length = stream.read(&mut heard).await.unwrap_or(0);
                let text = said.replace("%", &String::from_utf8_lossy(heard.get(..length).unwrap_or_default()));
                stream.write_all(text.as_bytes()).await
            });
        }
    });
    port
}

fn weather(more: &str) -> FakeArc {
    FakeArc::new("weather", more, json!([tool("now", &[])]))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_granted_address_is_reached_by_a_tunnel_and_by_a_plain_request() {
    let port = server("HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nheard %").await;
    let arc = weather(&format!("[cage]\negress = [\"127.0.0.1:{port}\"]\n"));
    let _system = System::start(&[&arc]).await;
    let tunnel = asked(&arc, &format!("CONNECT 127.0.0.1:{port} HTTP/1.1\r\nHost: x\r\n\r\nhello")).await;
    assert!(tunnel.starts_with("HTTP/1.1 200 OK\r\n") && tunnel.ends_with("heard hello"), "{tunnel}");

    let request = format!(
        "GET http://127.0.0.1:{port}/a?b HTTP/1.1\r\nHost: elsewhere\r\nProxy-Authorization: x\r\nConnection: x-own\r\n\
         X-Own: 1\r\nX-Kept: 2\r\n\r\n"
    );
    let plain = asked(&arc, &request).await.to_lowercase();
    assert!(plain.contains("get /a?b http/1.1"), "{plain}");
    assert!(plain.contains(&format!("host: 127.0.0.1:{port}")) && plain.contains("x-kept: 2"), "{plain}");
    for gone in ["elsewhere", "proxy-authorization", "x-own"] {
        assert!(!plain.contains(gone), "{plain}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_granted_is_refused_with_the_key_to_change() {
    let arc = weather("[cage]\negress = [\"api.example.com:443\"]\n");
    let system = System::start(&[&arc]).await;
    for (request, status, words) in [
        (
            "CONNECT evil.example.net:443",
            403,
            "weather may not reach evil.example.net:443: add \"evil.example.net:443\" to egress in [cage] of its arc.toml",
        ),
        ("CONNECT api.example.com:80", 403, "add \"api.example.com:80\""),
        ("CONNECT 127.0.0.1:80", 403, "may not reach 127.0.0.1:80"),
        ("GET http://169.254.169.254/latest/meta-data/", 403, "may not reach 169.254.169.254:80"),
        ("CONNECT [::ffff:10.0.0.1]:443", 403, "may not reach 10.0.0.1:443"),
        ("CONNECT 0x7f000001:443", 400, "not the name or address"),
        ("CONNECT user@api.example.com:443", 400, ""),
        ("GET https://api.example.com/", 400, "use CONNECT"),
        ("GET /path", 400, ""),
    ] {
        let answer = asked(&arc, &format!("{request} HTTP/1.1\r\nHost: x\r\n\r\n")).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{request}: {answer}");
        assert!(answer.contains(words), "{request}: {answer}");
    }
    let folder = system.stop().await;
    let audit = std::fs::read_to_string(System::audit_file(folder.path())).expect("an audit");
    assert!(audit.contains("\"tool\":\"egress evil.example.net:443\"") && audit.contains("arc:weather"), "{audit}");
}

#[tokio::test(flavor = "multi_thread")]
async fn rubbish_is_answered_or_dropped_and_limits_hold() {
    let port = server("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await;
    let more = format!("[cage]\negress = [\"127.0.0.1:{port}\"]\n[cage.traffic]\nper_minute = 3\n");
    let arc = weather(&more);
    let _system = System::start(&[&arc]).await;
    let long = format!("GET http://127.0.0.1:{port}/ HTTP/1.1\r\nX: {}\r\n\r\n", "x".repeat(200 << 10));
    for rubbish in ["\u{0}\u{1}\u{2}\r\n\r\n", "HELLO\r\n\r\n", &long] {
        let answer = asked(&arc, rubbish).await;
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 4"), "{answer}");
    }
    let request = format!("GET http://127.0.0.1:{port}/ HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    for _ in 0..3 {
        assert!(asked(&arc, &request).await.ends_with("ok"));
    }
    let answer = asked(&arc, &request).await;
    assert!(answer.starts_with("HTTP/1.1 429 ") && answer.contains("per_minute"), "{answer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_manifest_counts_at_once_and_an_arc_that_is_gone_has_no_way_out() {
    let port = server("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await;
    let mut arc = weather("");
    let system = System::start(&[&arc]).await;
    let request = format!("GET http://127.0.0.1:{port}/ HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    assert!(asked(&arc, &request).await.starts_with("HTTP/1.1 403 "));
    arc.set_manifest(&format!("[cage]\negress = [\"127.0.0.1:{port}\"]\n"));
    system.add(&arc).await;
    assert!(asked(&arc, &request).await.ends_with("ok"));
    system.remove(&arc).await;
    let gone = async {
        while UnixStream::connect(arc.egress_socket()).await.is_ok() {
            tokio::task::yield_now().await;
        }
    };
    soon("its socket closes", gone).await;
}

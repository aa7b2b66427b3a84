//! The status page, its JSON and its badges, as bytes; `status_browser.rs` sees them in a browser.

use std::io::Read;

use flate2::read::GzDecoder;
use serde_json::{Value, json};

use crate::support::{
    client::{Answer, ask},
    daemon::Daemon,
    pki::IDENTITY,
    server::{Closed, Server, Step, ok, response},
};

const HOSTILE: &str = "<script>alert(1)</script> \"'& 日本 /..//?#%41";

/// The name of [`HOSTILE`] as a part of a path.
const HOSTILE_PATH: &str = "%3Cscript%3Ealert%281%29%3C%2Fscript%3E%20%22%27%26%20%E6%97%A5%E6%9C%AC%20%2F..%2F%2F%3F%23%2541";

/// A daemon with monitors that are up, down and not checked yet, the servers that it checks, and a port.
fn daemon() -> (Daemon, ([Server; 4], Closed)) {
    let good = Server::start([IDENTITY.tls(), Step::answer(|_| ok("hello"))]);
    let bad = Server::answering(|_| response("503 <b>No</b>", &[], "no"));
    let silent = Server::start([Step::Hang]);
    let talking = Server::start([Step::send("<script>no</script>\r\n")]);
    let closed = Closed::new();
    let insecure = json!({ "insecure_skip_verify": true });
    let daemon = Daemon::start(json!({
        "defaults": { "check_every": "1d", "labels": { "env": "prod" } },
        "monitors": {
            "good": { "url": good.https("/good?token=hunter2"), "tls_config": insecure,
                      "labels": { "team": "core" }, "headers": { "X-Key": "hunter2" } },
            HOSTILE: { "url": bad.http("/"), "labels": { "team": HOSTILE } },
            "closed": { "url": format!("http://user:hunter2@{}/", closed.address) },
            "talking": { "type": "tcp", "target": talking.address.to_string(),
                         "query_response": [{ "expect": "^220" }], "timeout": 2 },
            "silent": { "url": silent.http("/"), "timeout": "1d" },
        },
    }));
    daemon.until_page("four are checked", |page| page.completed() > 3.5);
    (daemon, ([good, bad, talking, silent], closed))
}

#[track_caller]
fn json_of(daemon: &Daemon, path: &str) -> Value {
    let answer = daemon.get(path);
    assert_eq!(answer.status, 200, "{path}: {answer:?}");
    assert_eq!(answer.header("content-type"), Some("application/json"));
    serde_json::from_slice(&answer.body).expect("JSON")
}

/// The names of the monitors that a query finds.
#[track_caller]
fn names(daemon: &Daemon, query: &str) -> Vec<String> {
    let found = json_of(daemon, &format!("/api/v1/monitors{query}"));
    let monitors = found["monitors"].as_array().expect("a list").iter();
    let name = |monitor: &Value| monitor["name"].as_str().expect("a text").to_owned();
    monitors.map(name).collect()
}

#[test]
fn every_path_of_the_status_page_has_its_answer() {
    let (daemon, _servers) = daemon();
    for (path, status, kind) in [
        ("/", 200, "text/html; charset=utf-8"),
        ("/?q=x&nonsense", 200, "text/html; charset=utf-8"),
        ("/monitors/good", 200, "text/html; charset=utf-8"),
        ("/monitors/%67ood", 200, "text/html; charset=utf-8"),
        ("/api/v1/monitors", 200, "application/json"),
        ("/api/v1/monitors/good", 200, "application/json"),
        ("/badge/good.svg", 200, "image/svg+xml"),
        ("/style.css", 200, "text/css; charset=utf-8"),
        ("/script.js", 200, "text/javascript; charset=utf-8"),
        ("/monitors/nothing", 404, "text/plain; charset=utf-8"),
        ("/monitors/%FF", 404, "text/plain; charset=utf-8"),
        ("/monitors/", 404, "text/plain; charset=utf-8"),
        ("/monitors", 404, "text/plain; charset=utf-8"),
        ("/badge/good", 404, "text/plain; charset=utf-8"),
        ("/badge/nothing.svg", 404, "text/plain; charset=utf-8"),
        ("/api/v1/monitors/", 404, "application/json"),
        ("/page.html", 404, "text/plain; charset=utf-8"),
    ] {
        let answer = daemon.get(path);
        assert_eq!(answer.status, status, "{path}: {answer:?}");
        assert_eq!(answer.header("content-type"), Some(kind), "{path}");
        let head = ask(daemon.address, "HEAD", path, "");
        assert_eq!((head.status, &*head.body), (status, &b""[..]), "{path}");
        if status == 200 {
            let posted = ask(daemon.address, "POST", path, "");
            assert_eq!(posted.status, 405, "{path}");
            assert_secure(path, &answer);
        }
    }
}

#[track_caller]
fn assert_secure(path: &str, answer: &Answer) {
    let policy = answer.header("content-security-policy").unwrap_or_default();
    assert!(
        policy.starts_with("default-src 'none'; "),
        "{path}: {policy}"
    );
    for unsafe_word in ["unsafe", "*", "http:"] {
        assert!(!policy.contains(unsafe_word), "{path}: {policy}");
    }
    assert_eq!(answer.header("x-content-type-options"), Some("nosniff"));
    assert_eq!(answer.header("referrer-policy"), Some("no-referrer"));
    let is_file = ["/style.css", "/script.js"].contains(&path);
    let cached = if is_file { "no-cache" } else { "no-store" };
    assert_eq!(answer.header("cache-control"), Some(cached), "{path}");
}

#[test]
fn texts_of_targets_and_users_are_escaped() {
    let (daemon, _servers) = daemon();
    for path in [
        "/".to_owned(),
        "/?group=team".to_owned(),
        "/?q=%3Cscript%3E&label=%22%3E%3Cb%3E&group=%3Cb%3E".to_owned(),
        "/monitors/talking".to_owned(),
        format!("/monitors/{HOSTILE_PATH}"),
        format!("/badge/{HOSTILE_PATH}.svg"),
    ] {
        let answer = daemon.get(&path);
        assert_eq!(answer.status, 200, "{path}");
        let text = answer.text();
        for markup in ["<script>", "<b>No", "\"'", "alert(1)<"] {
            assert!(!text.contains(markup), "{path} has {markup}: {text}");
        }
    }
    let page = daemon.get("/").text();
    assert!(
        page.contains("&#60;script&#62;no&#60;/script&#62;"),
        "{page}"
    );
    let link = format!("href=\"/monitors/{HOSTILE_PATH}\"");
    assert!(page.contains(&link), "{page}");
    // A slash may stand for itself.
    let slashes = HOSTILE_PATH.replace("%2F", "/");
    let found = json_of(&daemon, &format!("/api/v1/monitors/{slashes}"));
    assert_eq!(found["name"], HOSTILE);
}

#[test]
fn pages_hide_secrets() {
    let (daemon, _servers) = daemon();
    for path in [
        "/",
        "/monitors/good",
        "/monitors/closed",
        "/api/v1/monitors",
        "/api/v1/monitors/good",
        "/api/v1/monitors/closed",
        "/?q=hunter2",
    ] {
        let text = daemon.get(path).text();
        let asked = path.contains("hunter2");
        assert_eq!(text.contains("hunter2"), asked, "{path}: {text}");
    }
    assert_eq!(
        names(&daemon, "?q=hunter2"),
        [""; 0],
        "nor does it find by one"
    );
}

#[test]
fn json_describes_a_monitor() {
    let (daemon, _servers) = daemon();
    let all = json_of(&daemon, "/api/v1/monitors");
    let counts = ["down", "unknown", "up", "found", "page", "pages"].map(|key| &all[key]);
    assert_eq!(counts, [3, 1, 1, 5, 1, 1]);

    let good = json_of(&daemon, "/api/v1/monitors/good");
    assert_eq!(good["state"], "up");
    assert_eq!(good["type"], "http");
    assert_eq!(good["labels"], json!({ "env": "prod", "team": "core" }));
    assert_eq!((&good["uptime"], &good["kept"]), (&json!(1.0), &json!(1)));
    assert!(good["certificate_days"].as_i64().is_some(), "{good}");
    assert!(
        good["next_check"].as_str() > good["since"].as_str(),
        "{good}"
    );
    let last = &good["last"];
    assert_eq!(
        (&last["outcome"], &last["error"]),
        (&json!("success"), &Value::Null)
    );
    let phases = last["phases"].as_object().expect("phases");
    let reached: Vec<_> = phases.keys().collect();
    assert_eq!(reached, ["connect", "processing", "tls", "transfer"]);
    assert_eq!(good["checks"], json!([last]));

    let closed = json_of(&daemon, "/api/v1/monitors/closed");
    assert_eq!(
        (&closed["state"], &closed["uptime"]),
        (&json!("down"), &json!(0.0))
    );
    assert_eq!(closed["last"]["reason"], "connection_refused");
    assert_eq!(closed["last"]["phase"], "connect");
    let error = closed["last"]["error"].as_str().expect("a text");
    assert!(error.contains("refused"), "{error}");

    let silent = json_of(&daemon, "/api/v1/monitors/silent");
    for key in ["since", "uptime", "last", "certificate_days", "next_check"] {
        assert_eq!(silent[key], Value::Null, "{key}");
    }
    assert_eq!(silent["state"], "unknown");
}

#[test]
fn monitors_are_found_by_text_label_and_state_and_those_that_are_down_come_first() {
    let (daemon, _servers) = daemon();
    for (query, expected) in [
        ("", &[HOSTILE, "closed", "talking", "silent", "good"][..]),
        ("?q=GOO", &["good"]),
        ("?q=core", &["good"]),
        (
            "?q=127.0.0.1",
            &[HOSTILE, "closed", "talking", "silent", "good"],
        ),
        ("?q=TCP", &["talking"]),
        ("?label=team", &[HOSTILE, "good"]),
        ("?label=team:core", &["good"]),
        ("?label=team%3Acore&label=env:prod", &["good"]),
        ("?label=team:core&label=env:test", &[]),
        ("?state=down", &[HOSTILE, "closed", "talking"]),
        ("?state=up&q=c", &["good"]),
        (
            "?group=team",
            &[HOSTILE, "good", "closed", "talking", "silent"],
        ),
    ] {
        assert_eq!(names(&daemon, query), expected, "{query}");
    }
    let page = daemon.get("/?group=team").text();
    let headings = ["team: &#60;script", "team: core", "without team"];
    let places = headings.map(|heading| page.find(heading).expect(heading));
    assert!(places.is_sorted(), "{places:?}");
}

#[test]
fn more_than_a_thousand_monitors_take_several_pages() {
    let closed = Closed::new();
    let monitor = json!({ "url": format!("http://{}/", closed.address), "check_every": "1d" });
    let monitors: serde_json::Map<_, _> = (0..1001)
        .map(|n| (format!("m{n:04}"), monitor.clone()))
        .collect();
    let daemon = Daemon::start(json!({ "monitors": monitors }));
    daemon.until_page("all have started", |page| {
        page.values("monitor_info", &[]).len() == 1001
    });
    let rows = |text: &str| text.matches("<tr id=\"m").count();
    let first = daemon.get("/?q=m").text();
    assert_eq!(rows(&first), 1000);
    assert!(
        first.contains("rel=\"next\" href=\"/?q=m&#38;page=2\""),
        "no link"
    );
    let second = daemon.get("/?q=m&page=2").text();
    assert_eq!(rows(&second), 1);
    assert!(second.contains("page 2 of 2"));
    assert_eq!(rows(&daemon.get("/?page=99").text()), 1, "the last one");
    // What the script asks for, whatever page it is on.
    assert_eq!(rows(&daemon.get("/?rows=1,1001,5000").text()), 2);
    let found = json_of(&daemon, "/api/v1/monitors?page=2");
    assert_eq!(
        (&found["found"], &found["pages"]),
        (&json!(1001), &json!(2))
    );
    assert_eq!(found["monitors"].as_array().map(Vec::len), Some(1));
}

#[test]
fn pages_are_compressed_and_files_are_sent_once() {
    let (daemon, _servers) = daemon();
    let zipped = ask(daemon.address, "GET", "/", "accept-encoding: gzip\r\n");
    assert_eq!(zipped.header("content-encoding"), Some("gzip"));
    let mut text = String::new();
    let read = GzDecoder::new(&*zipped.body).read_to_string(&mut text);
    read.expect("gzip of UTF-8");
    assert!(text.starts_with("<!doctype html>") && text.trim_end().ends_with("</html>"));
    for path in ["/style.css", "/script.js"] {
        let tag = daemon.get(path).header("etag").expect("a tag").to_owned();
        let known = format!("if-none-match: {tag}\r\n");
        let again = ask(daemon.address, "GET", path, &known);
        assert_eq!((again.status, &*again.body), (304, &b""[..]), "{path}");
        let other = ask(daemon.address, "GET", path, "if-none-match: \"x\"\r\n");
        assert_eq!(other.status, 200, "{path}");
    }
}

#[test]
fn a_badge_shows_the_state() {
    let (daemon, _servers) = daemon();
    for (name, expected) in [
        ("good", "good: up 100 %"),
        ("closed", "closed: down 0.0 %"),
        ("silent", "silent: unknown"),
    ] {
        let badge = daemon.get(&format!("/badge/{name}.svg")).text();
        let title = format!("<title>{expected}</title>");
        assert!(badge.contains(&title), "{badge}");
    }
}

#[test]
fn the_status_page_can_be_off() {
    let server = Server::ok();
    let monitors = json!({ "good": { "url": server.http("/") } });
    for off in [json!("off"), json!(false)] {
        let config = json!({ "server": { "status_page": off }, "monitors": monitors });
        let daemon = Daemon::start(config);
        for path in [
            "/",
            "/monitors/good",
            "/api/v1/monitors",
            "/api/v1/monitors/good",
            "/api/v1/events",
            "/badge/good.svg",
            "/style.css",
            "/script.js",
        ] {
            assert_eq!(daemon.get(path).status, 404, "{path}");
        }
        daemon.page();
    }
}

//! The HTTP face, from outside: statuses, problem documents, headers, pages.
#![allow(clippy::expect_used, clippy::panic, reason = "tests")]

use std::path::Path;
use std::sync::LazyLock;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::{Request, Response, StatusCode};
use infra_core::config::Profile;
use infra_core::lifecycle::Signals;
use infra_testkit::time::eventually;
use message_service::assembly::{MessageApp, Purpose, serve};
use message_service::config::ServiceConfig;
use message_service::http::router;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::runtime::Runtime;
use tokio::sync::OnceCell;
use tower::ServiceExt as _;

/// One runtime for all tests: the service that they share lives on it.
static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| Runtime::new().expect("a runtime"));

/// One service for all tests of this file (a process has one log), on a folder of its own.
async fn app() -> Router {
    static APP: OnceCell<(MessageApp, tempfile::TempDir)> = OnceCell::const_new();
    let (app, _) = APP
        .get_or_init(|| async {
            let folder = tempfile::tempdir().expect("a temporary folder");
            let app = MessageApp::open(config(folder.path()), Purpose::Serve)
                .await
                .expect("the service starts");
            (app, folder)
        })
        .await;
    router(app.http())
}

fn config(folder: &Path) -> ServiceConfig {
    let mut config =
        ServiceConfig::load(Profile::Development, None, Some(folder)).expect("the default configuration");
    config.http.address = ([127, 0, 0, 1], 0).into();
    config.moderation.forbidden = vec!["freemoney".into()];
    config
}

async fn call(request: Request<Body>) -> (StatusCode, Value, Response<()>) {
    let response = app().await.oneshot(request).await.expect("routers do not fail");
    let (parts, body) = response.into_parts();
    let bytes = to_bytes(body, 1 << 20).await.expect("a body");
    let text = String::from_utf8_lossy(&bytes).into_owned();
    let body = serde_json::from_slice(&bytes).unwrap_or(Value::String(text));
    (parts.status, body, Response::from_parts(parts, ()))
}

fn post(session: &str, key: Option<&str>, body: &str) -> Request<Body> {
    let mut request =
        Request::post(format!("/sessions/{session}/messages")).header("content-type", "application/json");
    if let Some(key) = key {
        request = request.header("idempotency-key", key);
    }
    request.body(Body::from(body.to_owned())).expect("a request")
}

fn get(path: &str) -> Request<Body> {
    Request::get(path).body(Body::empty()).expect("a request")
}

fn text(sender: &str, content: &str) -> String {
    json!({ "sender_id": sender, "content": content }).to_string()
}

#[test]
fn a_message_is_created_once_listed_and_found_by_its_words() {
    RUNTIME.block_on(async {
        let body = text("ann", "今天天气很好 <b>sunny</b>");
        let (status, first, _) = call(post("weather", Some("k1"), &body)).await;
        assert_eq!((status, &first["replayed"]), (StatusCode::CREATED, &json!(false)));
        let (status, again, _) = call(post("weather", Some("k1"), &body)).await;
        assert_eq!(
            (status, &again["id"], &again["replayed"]),
            (StatusCode::OK, &first["id"], &json!(true))
        );

        let (_, recent, _) = call(get("/sessions/weather/messages")).await;
        assert_eq!(recent["messages"].as_array().map(Vec::len), Some(1));
        assert_eq!(recent["messages"][0]["id"], first["id"]);

        for path in [
            "/sessions/weather/search?q=%E5%A4%A9%E6%B0%94",
            "/search?q=%E5%A4%A9%E6%B0%94",
        ] {
            let found = async || call(get(path)).await.1["total"] == json!(1);
            assert!(eventually(Duration::from_secs(10), found).await, "{path}");
        }
        let (_, found, _) = call(get("/sessions/weather/search?q=%E5%A4%A9%E6%B0%94")).await;
        let highlight = found["hits"][0]["highlight"].as_str().expect("a fragment");
        assert!(
            highlight.contains("<em>天气</em>") && highlight.contains("&lt;b&gt;"),
            "{highlight}"
        );
        let (_, elsewhere, _) = call(get("/sessions/other/search?q=%E5%A4%A9%E6%B0%94")).await;
        assert_eq!(elsewhere["total"], json!(0));
    });
}

#[test]
fn bad_requests_are_refused_with_a_problem_document() {
    RUNTIME.block_on(async {
        let good = text("bob", "hello");
        let long = text("bob", &"x".repeat(20_000));
        let cases = [
            (post("s", None, &good), StatusCode::BAD_REQUEST, "Idempotency-Key"),
            (post("s", Some("k"), "{oops"), StatusCode::BAD_REQUEST, "JSON"),
            (
                post("s", Some("k"), r#"{"sender_id":1,"content":"x"}"#),
                StatusCode::BAD_REQUEST,
                "sender_id",
            ),
            (
                post("s", Some("k"), r#"{"sender_id":"b","content":"x","colour":1}"#),
                StatusCode::BAD_REQUEST,
                "colour",
            ),
            (
                post("s", Some("k"), &text("", "")),
                StatusCode::BAD_REQUEST,
                "content",
            ),
            (post("s", Some("k"), &long), StatusCode::BAD_REQUEST, "16384"),
            (
                post(&"s".repeat(300), Some("k"), &good),
                StatusCode::BAD_REQUEST,
                "session_id",
            ),
            (
                post("s", Some(&"k".repeat(300)), &good),
                StatusCode::BAD_REQUEST,
                "idempotency key",
            ),
            (get("/search?q=x&size=0"), StatusCode::BAD_REQUEST, ""),
            (get("/search?q=x&size=100000"), StatusCode::BAD_REQUEST, ""),
            (get("/search?q=x&page=0"), StatusCode::BAD_REQUEST, ""),
            (get("/search?q=x&page=4000000000"), StatusCode::BAD_REQUEST, ""),
            (get("/search"), StatusCode::BAD_REQUEST, "q"),
            (get("/nowhere"), StatusCode::NOT_FOUND, "path"),
            (
                post("s", Some("k9"), &text("bob", "some freemoney here")),
                StatusCode::FORBIDDEN,
                "moderation",
            ),
        ];
        for (request, expected, part) in cases {
            let shown = format!("{} {}", request.method(), request.uri());
            let (status, body, head) = call(request).await;
            assert_eq!(status, expected, "{shown}: {body}");
            assert_eq!(
                head.headers()["content-type"],
                "application/problem+json",
                "{shown}"
            );
            assert!(
                body["detail"]
                    .as_str()
                    .is_some_and(|detail| detail.contains(part)),
                "{shown}: {body}"
            );
        }
    });
}

#[test]
fn one_key_is_for_one_message_and_a_fast_sender_is_told_to_wait() {
    RUNTIME.block_on(async {
        assert_eq!(
            call(post("keys", Some("k"), &text("cleo", "one"))).await.0,
            StatusCode::CREATED
        );
        assert_eq!(
            call(post("keys", Some("k"), &text("cleo", "two"))).await.0,
            StatusCode::CONFLICT
        );

        let mut limited = None;
        for n in 0..200 {
            let (status, _, head) = call(post("flood", Some(&format!("k{n}")), &text("dora", "again"))).await;
            if status == StatusCode::TOO_MANY_REQUESTS {
                limited = Some(head);
                break;
            }
            assert_eq!(status, StatusCode::CREATED);
        }
        let head = limited.expect("sixty at once and thirty a second are allowed, not two hundred at once");
        assert!(
            head.headers()["retry-after"]
                .to_str()
                .expect("text")
                .parse::<u64>()
                .is_ok_and(|seconds| seconds >= 1)
        );
    });
}

#[test]
fn any_name_is_a_session_of_its_own() {
    RUNTIME.block_on(async {
        for (index, session) in [
            "..",
            "%2E%2E%2Fx",
            "a%2Fb",
            "%F0%9F%98%80",
            "s%20t",
            "x:y",
            "%7Bx%7D",
        ]
        .into_iter()
        .enumerate()
        {
            let content = format!("odd {index}");
            let (status, body, _) = call(post(session, Some("k"), &text("eve", &content))).await;
            assert_eq!(status, StatusCode::CREATED, "{session}: {body}");
            let (_, recent, _) = call(get(&format!("/sessions/{session}/messages"))).await;
            let contents: Vec<_> = recent["messages"]
                .as_array()
                .expect("a list")
                .iter()
                .map(|m| &m["content"])
                .collect();
            assert_eq!(contents, [&json!(content)], "{session}");
        }
    });
}

#[test]
fn health_metrics_and_trace_ids() {
    RUNTIME.block_on(async {
        let (status, health, _) = call(get("/health")).await;
        assert_eq!((status, &health["healthy"]), (StatusCode::OK, &json!(true)));
        for component in [
            "coordination",
            "cache",
            "database",
            "queue",
            "rate_limit",
            "once",
            "search",
        ] {
            assert_eq!(
                health["components"][component]["healthy"],
                json!(true),
                "{component}"
            );
        }
        call(post("metrics", Some("very-secret-key"), &text("fred", "hello"))).await;
        let (_, page, _) = call(get("/metrics")).await;
        let page = page.as_str().expect("text").to_owned();
        assert!(
            page.contains("infra_client_operation_duration") && page.ends_with("# EOF\n"),
            "{page}"
        );
        assert!(
            !page.contains("very-secret-key") && !page.contains("fred"),
            "no key and no user in labels"
        );

        let traceparent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        for (header, value, expected) in [
            ("x-trace-id", "my-trace", Some("my-trace")),
            (
                "traceparent",
                traceparent,
                Some("4bf92f3577b34da6a3ce929d0e0e4736"),
            ),
            ("traceparent", "nonsense", None),
        ] {
            let request = Request::get("/health")
                .header(header, value)
                .body(Body::empty())
                .expect("a request");
            let (_, _, head) = call(request).await;
            let id = head.headers()["x-trace-id"].to_str().expect("text").to_owned();
            assert!(
                expected.map_or(id.len() == 32, |expected| id == expected),
                "{header}: {value} gave {id}"
            );
        }
    });
}

#[test]
fn a_port_in_use_is_told_before_anything_is_opened() {
    RUNTIME.block_on(async {
        let taken = tokio::net::TcpListener::bind("127.0.0.1:0")
            .await
            .expect("a port");
        let folder = tempfile::tempdir().expect("a temporary folder");
        let mut config = config(folder.path());
        config.http.address = taken.local_addr().expect("an address");
        let error = serve(config, &Signals::manual(), |_| ())
            .await
            .expect_err("the port is taken");
        assert!(
            error.to_string().contains("another process listens there"),
            "{error}"
        );
        assert_eq!(
            std::fs::read_dir(folder.path()).expect("a folder").count(),
            0,
            "nothing was opened"
        );
    });
}

#[test]
fn a_request_over_a_real_socket_may_come_in_pieces() {
    RUNTIME.block_on(async {
        let mut socket = tokio::net::TcpStream::connect(served().await)
            .await
            .expect("connected");
        let body = text("gus", "the last word");
        let head = format!(
            "POST /sessions/end/messages HTTP/1.1\r\nhost: x\r\nidempotency-key: k\r\ncontent-type: application/json\r\n\
             content-length: {}\r\nconnection: close\r\n\r\n",
            body.len()
        );
        socket.write_all(head.as_bytes()).await.expect("sent");
        tokio::task::yield_now().await;
        socket.write_all(body.as_bytes()).await.expect("sent");
        let mut answer = String::new();
        socket.read_to_string(&mut answer).await.expect("answered");
        assert!(answer.starts_with("HTTP/1.1 201"), "{answer}");
    });
}

/// The routes over a real socket.
async fn served() -> std::net::SocketAddr {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0")
        .await
        .expect("a port");
    let address = listener.local_addr().expect("an address");
    let routes = app().await;
    tokio::spawn(async move { axum::serve(listener, routes).await });
    address
}

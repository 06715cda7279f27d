//! The HTTP face over fakes: what impatient, mistaken and hostile clients try, and what they hear when parts are down.
#![allow(clippy::expect_used, clippy::panic, reason = "tests")]

mod support;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::{HeaderMap, Method, Request, StatusCode};
use infra_core::ErrorKind;
use infra_core::backend::Backend;
use infra_core::config::Reloads;
use infra_core::intercept::Fault;
use infra_core::lifecycle::HealthReport;
use infra_core::rate_limit::Rule;
use infra_testkit::TestInfra;
use infra_testkit::time::eventually;
use message_service::fleet::Fleet;
use message_service::http::{Http, router};
use message_service::model::{INDEX, MAX_CONTENT_BYTES};
use serde_json::{Value, json};
use support::Fixture;
use tower::ServiceExt as _;

/// Longer than any of these should take; a bound, not a wait.
const BOUND: Duration = Duration::from_secs(10);

/// The routes over a fixture.
struct Site {
    fixture: Fixture,
    router: Router,
}

/// What came back.
#[derive(Debug)]
struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    text: String,
}

impl Site {
    async fn new() -> Self {
        Self::on(TestInfra::new().with_rule("send", Rule::new(1000.0, 1000))).await
    }

    async fn on(infra: TestInfra) -> Self {
        let fixture = Fixture::on(infra).await;
        let queue: Arc<dyn Backend> = fixture.infra.memory_queue().clone();
        let meter = fixture.infra.meter().clone();
        let fleet = Fleet::new(
            "message-service",
            fixture.infra.coordinator(),
            fixture.infra.ids(),
        );
        let http = Http {
            instance: Arc::new(move || {
                let fleet = fleet.clone();
                Box::pin(async move { fleet.describe(&Reloads::new()).await })
            }),
            service: Arc::new(fixture.service.clone()),
            health: Arc::new(move || {
                let queue = queue.clone();
                Box::pin(async move { HealthReport::of([("queue", &queue)].into_iter()).await })
            }),
            metrics: Arc::new(move || meter.render()),
        };
        Self {
            router: router(http),
            fixture,
        }
    }

    async fn call(&self, request: Request<Body>) -> Answer {
        let response = self.router.clone().oneshot(request).await.expect("infallible");
        let (parts, body) = response.into_parts();
        let body = to_bytes(body, usize::MAX).await.expect("a body");
        Answer {
            status: parts.status,
            headers: parts.headers,
            text: String::from_utf8(body.to_vec()).expect("text"),
        }
    }

    async fn get(&self, path: &str) -> Answer {
        self.call(Request::get(path).body(Body::empty()).expect("a request"))
            .await
    }

    /// Posts this body, with a key if there is one.
    async fn post(&self, session: &str, key: Option<&str>, body: impl Into<Body>) -> Answer {
        let mut request =
            Request::post(format!("/sessions/{session}/messages")).header("Content-Type", "application/json");
        if let Some(key) = key {
            request = request.header("Idempotency-Key", key);
        }
        self.call(request.body(body.into()).expect("a request")).await
    }

    async fn send(&self, session: &str, key: &str, content: &str) -> Answer {
        let body = json!({ "sender_id": "ann", "content": content }).to_string();
        self.post(session, Some(key), body).await
    }

    async fn settled(&self) {
        assert!(eventually(BOUND, async || self.fixture.unsettled().await == 0).await);
        self.fixture.search.refresh(INDEX).await.expect("refreshed");
    }
}

impl Answer {
    fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|_| panic!("not JSON: {self:?}"))
    }

    fn header(&self, name: &str) -> &str {
        self.headers
            .get(name)
            .and_then(|value| value.to_str().ok())
            .unwrap_or_default()
    }

    /// Asserts that this is a problem document of this status, and returns its detail.
    #[track_caller]
    fn problem(&self, status: StatusCode) -> String {
        assert_eq!(self.status, status, "{self:?}");
        assert_eq!(
            self.header("content-type"),
            "application/problem+json",
            "{self:?}"
        );
        let body = self.json();
        assert_eq!(body["status"], status.as_u16());
        assert!(
            body["type"]
                .as_str()
                .is_some_and(|name| name.starts_with("urn:infra:error:")),
            "{body}"
        );
        body["detail"].as_str().expect("a detail").to_owned()
    }

    /// The contents of the messages that were found.
    fn contents(&self) -> Vec<String> {
        assert_eq!(self.status, StatusCode::OK, "{self:?}");
        let body = self.json();
        let hits = body["hits"].as_array().expect("hits");
        hits.iter()
            .map(|hit| hit["message"]["content"].as_str().expect("text").to_owned())
            .collect()
    }
}

#[tokio::test]
async fn one_key_sent_at_once_by_thirty_two_clients_creates_one_message() {
    let site = Arc::new(Site::new().await);
    let calls: Vec<_> = (0..32)
        .map(|_| {
            let site = site.clone();
            tokio::spawn(async move { site.send("s1", "k1", "hello").await.status })
        })
        .collect();
    let mut created = 0;
    for call in calls {
        let status = call.await.expect("no panic");
        assert!(status.is_success(), "{status}");
        created += u32::from(status == StatusCode::CREATED);
    }
    assert_eq!((created, site.fixture.stored().await), (1, 1));
}

#[tokio::test]
async fn a_used_key_conflicts_in_words_that_a_client_can_use() {
    let site = Site::new().await;
    site.send("s1", "k1", "hello").await;
    let detail = site
        .send("s1", "k1", "something else")
        .await
        .problem(StatusCode::CONFLICT);
    assert!(detail.contains("idempotency key"), "{detail}");
    assert!(
        !detail.contains("message:"),
        "the internal key is nobody's business: {detail}"
    );
    assert_eq!(
        site.send("s2", "k1", "hello").await.status,
        StatusCode::CREATED,
        "keys belong to sessions"
    );
}

#[tokio::test]
async fn a_body_that_cannot_be_a_message_is_refused_with_the_reason() {
    let site = Site::new().await;
    let long = json!({ "sender_id": "ann", "content": "x".repeat(MAX_CONTENT_BYTES + 1) }).to_string();
    let nul = json!({ "sender_id": "ann", "content": "a\u{0}b" }).to_string();
    for (body, reason) in [
        ("", "JSON"),
        ("{oops", "JSON"),
        (r#"{"sender_id":5,"content":"x"}"#, "sender_id"),
        (r#"{"content":"x"}"#, "sender_id"),
        (r#"{"sender_id":"ann","content":"x","colour":"red"}"#, "colour"),
        (r#"{"sender_id":"","content":"x"}"#, "sender_id"),
        (r#"{"sender_id":"ann","content":""}"#, "content"),
        (long.as_str(), "content"),
        (nul.as_str(), "U+0000"),
    ] {
        let answer = site.post("s1", Some("k1"), body.to_owned()).await;
        let detail = answer.problem(StatusCode::BAD_REQUEST);
        assert!(detail.contains(reason), "{detail}");
    }
    let huge = vec![b'x'; 1024 * 1024];
    site.post("s1", Some("k1"), huge)
        .await
        .problem(StatusCode::BAD_REQUEST);
    let untyped = Request::post("/sessions/s1/messages")
        .header("Idempotency-Key", "k1")
        .body(Body::from("{}"))
        .expect("a request");
    let detail = site.call(untyped).await.problem(StatusCode::BAD_REQUEST);
    assert!(detail.contains("application/json"), "{detail}");
    assert_eq!(site.fixture.stored().await, 0);
}

#[tokio::test]
async fn the_longest_message_is_accepted_even_when_all_of_it_is_escaped() {
    let site = Site::new().await;
    let escaped = "\\u0001".repeat(MAX_CONTENT_BYTES);
    let body = format!(r#"{{"sender_id":"ann","content":"{escaped}"}}"#);
    let answer = site.post("s1", Some("k1"), body).await;
    assert_eq!(answer.status, StatusCode::CREATED, "{answer:?}");
}

#[tokio::test]
async fn an_idempotency_key_is_needed_and_told_apart_from_a_bad_one() {
    let site = Site::new().await;
    let body = || json!({ "sender_id": "ann", "content": "x" }).to_string();
    let missing = site
        .post("s1", None, body())
        .await
        .problem(StatusCode::BAD_REQUEST);
    assert!(missing.contains("Idempotency-Key is missing"), "{missing}");
    for (key, reason) in [
        ("", "1 to 256"),
        (&*"k".repeat(257), "1 to 256"),
        ("ключ", "ASCII"),
    ] {
        let detail = site
            .post("s1", Some(key), body())
            .await
            .problem(StatusCode::BAD_REQUEST);
        assert!(detail.contains(reason), "{detail}");
    }
    assert_eq!(site.fixture.stored().await, 0);
}

#[tokio::test]
async fn a_sender_who_is_too_fast_is_told_when_to_come_back() {
    let site = Site::on(TestInfra::new().with_rule("send", Rule::new(0.5, 1))).await;
    assert_eq!(site.send("s1", "k1", "one").await.status, StatusCode::CREATED);
    let answer = site.send("s1", "k2", "two").await;
    answer.problem(StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(answer.header("retry-after"), "2", "whole seconds, rounded up");
}

#[tokio::test]
async fn a_refused_text_is_forbidden_and_a_failure_inside_stays_inside() {
    let site = Site::new().await;
    site.send("s1", "k1", "a forbidden word")
        .await
        .problem(StatusCode::FORBIDDEN);

    site.fixture
        .infra
        .faults()
        .script("database.begin", [Fault::Err(ErrorKind::Unavailable)]);
    let detail = site
        .send("s1", "k2", "hello")
        .await
        .problem(StatusCode::SERVICE_UNAVAILABLE);
    for inside in ["database", "sqlite", "begin"] {
        assert!(!detail.contains(inside), "{detail}");
    }
}

#[tokio::test]
async fn messages_are_listed_newest_first_and_found_by_word() {
    let site = Site::new().await;
    let _indexer = site.fixture.start_indexer().await;
    site.send("s1", "k1", "今天天气很好").await;
    site.send("s1", "k2", "明天去北京").await;
    site.send("s2", "k1", "北京的天气").await;
    site.settled().await;

    let listed = site.get("/sessions/s1/messages?limit=10").await.json();
    let listed: Vec<_> = listed["messages"]
        .as_array()
        .expect("messages")
        .iter()
        .map(|message| message["content"].as_str().expect("text"))
        .collect();
    assert_eq!(listed, ["明天去北京", "今天天气很好"]);

    // "天气", percent-encoded.
    let weather = "q=%E5%A4%A9%E6%B0%94";
    let in_session = site.get(&format!("/sessions/s1/search?{weather}")).await;
    assert_eq!(in_session.contents(), ["今天天气很好"]);
    assert_eq!(in_session.json()["hits"][0]["highlight"], "今天<em>天气</em>很好");
    let everywhere = site.get(&format!("/search?{weather}&size=1&page=2")).await;
    assert_eq!(
        (everywhere.contents().len(), &everywhere.json()["total"]),
        (1, &json!(2))
    );
    assert!(
        site.get("/search?q=nothing").await.contents().is_empty(),
        "no hit is no error"
    );
}

#[tokio::test]
async fn markup_in_a_message_is_escaped_in_its_highlight() {
    let site = Site::new().await;
    let _indexer = site.fixture.start_indexer().await;
    site.send("s1", "k1", "<script>alert('weather')</script> & <em>")
        .await;
    site.settled().await;
    let found = site.get("/search?q=weather").await.json();
    let highlight = found["hits"][0]["highlight"].as_str().expect("a highlight");
    assert!(highlight.contains("<em>weather</em>"), "{highlight}");
    let rest = highlight.replace("<em>weather</em>", "");
    assert!(!rest.contains('<') && !rest.contains('>'), "{highlight}");
}

#[tokio::test]
async fn pages_and_parameters_that_cannot_be_are_refused() {
    let site = Site::new().await;
    let _indexer = site.fixture.start_indexer().await;
    for (path, reason) in [
        ("/search", "q"),
        ("/search?q=a&page=0", "page"),
        ("/search?q=a&page=-1", "page"),
        ("/search?q=a&page=4294967295", "page"),
        ("/search?q=a&page=99999999999999999999", "page"),
        ("/search?q=a&size=0", "page of 0"),
        ("/search?q=a&size=4294967295", "page of 4294967295"),
        ("/search?q=a&sise=5", "sise"),
        ("/sessions/s1/messages?limit=many", "limit"),
        ("/sessions/s1/messages?limits=5", "limits"),
    ] {
        let detail = site.get(path).await.problem(StatusCode::BAD_REQUEST);
        assert!(detail.contains(reason), "{path}: {detail}");
    }
}

#[tokio::test]
async fn odd_session_names_work_and_impossible_ones_are_refused() {
    let site = Site::new().await;
    let _indexer = site.fixture.start_indexer().await;
    let longest = "a".repeat(256);
    let odd = [
        "..%2Fx",
        "%2F",
        "%F0%9F%98%80",
        "a%20b",
        "%25",
        "'%3B--",
        "%7Bx%7D",
        &longest,
    ];
    for (number, session) in odd.iter().enumerate() {
        let content = format!("message number{number}");
        let sent = site.send(session, "k1", &content).await;
        assert_eq!(sent.status, StatusCode::CREATED, "{session}: {sent:?}");
        site.settled().await;
        let listed = site.get(&format!("/sessions/{session}/messages")).await.json();
        assert_eq!(
            listed["messages"].as_array().map(Vec::len),
            Some(1),
            "{session}: sessions stay apart"
        );
        let found = site
            .get(&format!("/sessions/{session}/search?q=message"))
            .await
            .contents();
        assert_eq!(found, [content], "{session}");
    }
    for session in ["a".repeat(257).as_str(), "%FF"] {
        site.send(session, "k1", "x")
            .await
            .problem(StatusCode::BAD_REQUEST);
        site.get(&format!("/sessions/{session}/messages"))
            .await
            .problem(StatusCode::BAD_REQUEST);
        site.get(&format!("/sessions/{session}/search?q=a"))
            .await
            .problem(StatusCode::BAD_REQUEST);
    }
    site.send("%00", "k1", "x").await.problem(StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn unknown_paths_and_wrong_methods_are_problems_too() {
    let site = Site::new().await;
    site.get("/nope").await.problem(StatusCode::NOT_FOUND);
    site.get("/sessions//messages")
        .await
        .problem(StatusCode::BAD_REQUEST);
    let request = Request::delete("/search").body(Body::empty()).expect("a request");
    let answer = site.call(request).await;
    answer.problem(StatusCode::METHOD_NOT_ALLOWED);
    assert!(
        answer.header("allow").contains(Method::GET.as_str()),
        "{answer:?}"
    );
}

#[tokio::test]
async fn health_follows_the_components() {
    let site = Site::new().await;
    let well = site.get("/health").await;
    assert_eq!(
        (well.status, &well.json()["healthy"]),
        (StatusCode::OK, &json!(true))
    );
    let queue: Arc<dyn Backend> = site.fixture.infra.memory_queue().clone();
    queue.shutdown(Duration::from_secs(1)).await.expect("closed");
    let ill = site.get("/health").await;
    assert_eq!(ill.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(ill.json()["components"]["queue"]["healthy"], json!(false));
    assert_eq!(ill.json()["components"]["queue"]["problem"], "closed");
}

#[tokio::test]
async fn the_metrics_page_is_openmetrics_and_names_no_key() {
    let infra = TestInfra::new().with_rule("send", Rule::new(1000.0, 1000));
    let site = Site::on(infra.hardened().expect("the standard stack")).await;
    site.send("a-secret-session", "a-secret-key", "a-secret-text")
        .await;
    site.get("/sessions/a-secret-session/messages").await;
    let page = site.get("/metrics").await;
    assert_eq!(
        page.header("content-type"),
        "application/openmetrics-text; version=1.0.0; charset=utf-8"
    );
    assert!(page.text.ends_with("# EOF\n"), "the end mark of the format");
    for line in [
        "# TYPE infra_client_operation_duration_seconds histogram",
        "# TYPE infra_client_operation_active gauge",
        r#"infra_client_operation_duration_seconds_count{backend="sqlite",component="database",method="begin",outcome="ok"}"#,
    ] {
        assert!(page.text.contains(line), "{line} is missing:\n{}", page.text);
    }
    assert!(!page.text.contains("secret"), "{}", page.text);
    assert!(!page.text.contains("ann"), "{}", page.text);
}

#[tokio::test]
async fn a_trace_id_that_cannot_be_is_replaced() {
    let site = Site::new().await;
    for (name, value) in [
        ("X-Trace-ID", ""),
        ("X-Trace-ID", &*"x".repeat(129)),
        ("traceparent", "00-0-0-01"),
        ("unrelated", "x"),
    ] {
        let request = Request::get("/nope").header(name, value);
        let answer = site.call(request.body(Body::empty()).expect("a request")).await;
        let fresh = answer.header("x-trace-id");
        assert_eq!(fresh.len(), 32, "{name}: {value} gave {fresh:?}");
        assert!(fresh.bytes().all(|byte| byte.is_ascii_hexdigit()), "{fresh}");
    }
}

#[tokio::test]
async fn an_instance_says_who_it_is_and_whom_it_knows() {
    let site = Site::new().await;
    let described = site.get("/instance").await;
    assert_eq!(described.status, StatusCode::OK);
    let described = described.json();
    assert!(
        described["id"].is_string() && described["snowflake_instance"].is_u64(),
        "{described}"
    );
    assert_eq!(described["announces_for_all"], json!(false));
    assert_eq!(described["instances"], json!([]), "it is not registered");
}

//! The routes: five of them, each a few lines around the service.

use std::fmt;
use std::num::NonZeroU32;
use std::sync::Arc;

use axum::extract::rejection::{JsonRejection, PathRejection, QueryRejection};
use axum::extract::{DefaultBodyLimit, Path, Query, State};
use axum::http::{HeaderMap, StatusCode, header::CONTENT_TYPE};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router, middleware};
use infra_core::error::{Error, ErrorKind};
use infra_core::lifecycle::HealthReport;
use infra_core::search::Page;
use serde::Deserialize;
use serde_json::{Value, json};

use super::problem::{Problem, document};
use super::trace::traced;
use crate::model::{ChatMessage, MAX_CONTENT_BYTES, NewMessage};
use crate::service::MessageService;

/// The header by which a client names its request.
const IDEMPOTENCY_KEY: &str = "idempotency-key";
/// The largest body: a message whose every byte is written as a JSON escape of six, and some room.
const MAX_BODY_BYTES: usize = 8 * MAX_CONTENT_BYTES;

type HealthCheck = dyn Fn() -> futures_util::future::BoxFuture<'static, HealthReport> + Send + Sync;
type InstancePage =
    dyn Fn() -> futures_util::future::BoxFuture<'static, infra_core::Result<Value>> + Send + Sync;
type MetricsPage = dyn Fn() -> infra_core::Result<String> + Send + Sync;

/// What the routes need.
#[derive(Clone)]
pub struct Http {
    /// The business logic.
    pub service: Arc<MessageService>,
    /// How the components are.
    pub health: Arc<HealthCheck>,
    /// The metrics page, in the OpenMetrics text format.
    pub metrics: Arc<MetricsPage>,
    /// Who this instance is, whom it knows, and what it follows.
    pub instance: Arc<InstancePage>,
}

impl fmt::Debug for Http {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Http")
            .field("service", &self.service)
            .finish_non_exhaustive()
    }
}

/// The routes of the service.
pub fn router(http: Http) -> Router {
    Router::new()
        .route("/sessions/{session}/messages", post(send).get(recent))
        .route("/sessions/{session}/search", get(search_session))
        .route("/search", get(search_all))
        .route("/health", get(health))
        .route("/metrics", get(metrics))
        .route("/instance", get(instance))
        .fallback(unknown)
        .method_not_allowed_fallback(wrong_method)
        .layer(DefaultBodyLimit::max(MAX_BODY_BYTES))
        .layer(middleware::from_fn(traced))
        .with_state(http)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SendBody {
    sender_id: String,
    content: String,
    lang: Option<String>,
}

async fn send(
    State(http): State<Http>,
    session: Result<Path<String>, PathRejection>,
    headers: HeaderMap,
    body: Result<Json<SendBody>, JsonRejection>,
) -> Result<Response, Problem> {
    let session_id = named(session)?;
    let Json(SendBody {
        sender_id,
        content,
        lang,
    }) = body.map_err(|rejection| invalid(rejection.body_text()))?;
    let key = idempotency_key(&headers)?;
    let outcome = http
        .service
        .send(
            NewMessage {
                session_id,
                sender_id,
                content,
                lang,
            },
            key,
        )
        .await?;
    let status = if outcome.is_replay() {
        StatusCode::OK
    } else {
        StatusCode::CREATED
    };
    let replayed = outcome.is_replay();
    let sent = outcome.into_inner();
    Ok((
        status,
        Json(json!({ "id": sent.id.to_string(), "sent_at": sent.sent_at, "replayed": replayed })),
    )
        .into_response())
}

fn idempotency_key(headers: &HeaderMap) -> Result<&str, Problem> {
    let key = headers.get(IDEMPOTENCY_KEY).ok_or_else(|| {
        invalid("the header Idempotency-Key is missing; send a fresh UUID for each message, and the same one to repeat it".into())
    })?;
    key.to_str()
        .map_err(|_| invalid("the header Idempotency-Key must be visible ASCII, a UUID for example".into()))
}

/// The session of the path.
fn named(session: Result<Path<String>, PathRejection>) -> Result<String, Problem> {
    session
        .map(|Path(session)| session)
        .map_err(|rejection| invalid(rejection.body_text()))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RecentQuery {
    #[serde(default = "fifty")]
    limit: u32,
}

const fn fifty() -> u32 {
    50
}

async fn recent(
    State(http): State<Http>,
    session: Result<Path<String>, PathRejection>,
    query: Result<Query<RecentQuery>, QueryRejection>,
) -> Result<Json<Value>, Problem> {
    let session = named(session)?;
    let Query(query) = query.map_err(|rejection| invalid(rejection.body_text()))?;
    let messages = http.service.recent(&session, query.limit).await?;
    Ok(Json(json!({ "messages": messages })))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SearchQuery {
    q: String,
    #[serde(default = "first")]
    page: NonZeroU32,
    #[serde(default = "ten")]
    size: u32,
}

const fn first() -> NonZeroU32 {
    NonZeroU32::MIN
}

const fn ten() -> u32 {
    10
}

async fn search_session(
    State(http): State<Http>,
    session: Result<Path<String>, PathRejection>,
    query: Result<Query<SearchQuery>, QueryRejection>,
) -> Result<Json<Value>, Problem> {
    let session = named(session)?;
    let Query(query) = query.map_err(|rejection| invalid(rejection.body_text()))?;
    found(
        http.service
            .find(&query.q, Some(&session), query.page, query.size)
            .await?,
    )
}

async fn search_all(
    State(http): State<Http>,
    query: Result<Query<SearchQuery>, QueryRejection>,
) -> Result<Json<Value>, Problem> {
    let Query(query) = query.map_err(|rejection| invalid(rejection.body_text()))?;
    found(http.service.find(&query.q, None, query.page, query.size).await?)
}

fn found(page: Page<ChatMessage>) -> Result<Json<Value>, Problem> {
    let hits = page.hits.into_iter().map(|hit| {
        let highlight = hit.highlights.into_iter().map(|(_, fragment)| fragment).next();
        json!({ "message": hit.value, "score": hit.score, "highlight": highlight })
    });
    Ok(Json(
        json!({ "total": page.total, "hits": hits.collect::<Vec<_>>() }),
    ))
}

async fn health(State(http): State<Http>) -> Response {
    let report = (http.health)().await;
    let components = report.iter().map(|(name, backend, answer)| {
        let state = match answer {
            Ok(()) => json!({ "backend": backend, "healthy": true }),
            Err(error) => json!({ "backend": backend, "healthy": false, "problem": error.kind().name() }),
        };
        (name.to_owned(), state)
    });
    let body = json!({ "healthy": report.is_healthy(), "components": components.collect::<serde_json::Map<_, _>>() });
    let status = if report.is_healthy() {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    (status, Json(body)).into_response()
}

async fn instance(State(http): State<Http>) -> Result<Json<Value>, Problem> {
    Ok(Json((http.instance)().await?))
}

async fn metrics(State(http): State<Http>) -> Result<Response, Problem> {
    let content_type = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    Ok(([(CONTENT_TYPE, content_type)], (http.metrics)()?).into_response())
}

async fn unknown() -> Problem {
    Problem(Error::new(
        ErrorKind::NotFound,
        "there is no such path; see the README for those that are",
    ))
}

async fn wrong_method() -> Response {
    let detail = "this path does not take this method; see the header Allow for those it does";
    document(StatusCode::METHOD_NOT_ALLOWED, ErrorKind::InvalidArgument, detail)
}

fn invalid(message: String) -> Problem {
    Problem(Error::invalid_argument(message))
}

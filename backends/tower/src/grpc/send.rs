//! One request: the choice of an instance, and another one when the first did not take it.

use std::future::poll_fn;
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderMap, Request, Response};
use tokio::time::{Instant, timeout_at};
use tonic::Status;
use tonic::body::Body;
use tonic::transport::Channel;
use tower_service::Service as _;

use super::connection::{Connection, Unanswered};
use super::fleet::Fleet;
use super::replay::Replay;
use super::service::{Answer, Followed};
use super::unsent::{Fate, fate};

/// So often may servers refuse a request unprocessed before it fails. Connections that are gone do not count: each of them
/// leaves the choice.
const MAX_REFUSALS: u32 = 3;

/// The header by which a request says how long its caller waits.
const TIMEOUT: &str = "grpc-timeout";

/// Sends a request to an instance that takes it, within the request's own timeout if it has one.
pub(super) async fn send(followed: Arc<Followed>, request: Request<Body>) -> Result<Response<Body>, Status> {
    let Some(timeout) = timeout_of(request.headers()) else {
        return attempts(&followed, request).await;
    };
    let deadline = Instant::now() + timeout;
    timeout_at(deadline, attempts(&followed, request))
        .await
        .unwrap_or_else(|_| {
            Err(Status::deadline_exceeded(format!(
                "{:?} did not answer within {timeout:?}",
                followed.fleet().service()
            )))
        })
}

async fn attempts(followed: &Followed, request: Request<Body>) -> Result<Response<Body>, Status> {
    let fleet = followed.fleet();
    let (head, body) = request.into_parts();
    let replay = Replay::new(body, followed.max_replay_bytes());
    let deadline = Instant::now() + followed.request_wait();
    let mut refusals = 0;
    let mut failure = None;
    loop {
        let Some(body) = replay.attempt() else {
            return Err(
                failure.unwrap_or_else(|| Status::internal("a request's body was gone before it was sent"))
            );
        };
        let mut picked = match pick(fleet, deadline).await {
            Ok(picked) => picked,
            Err(none) => return Err(failure.unwrap_or(none)),
        };
        let request = Request::from_parts(head.clone(), body);
        let error = match picked.send(request).await {
            Ok(response) => {
                replay.settle();
                return Ok(response.map(|body| picked.count(body)));
            }
            Err(error) => error,
        };
        match fate(&error) {
            Fate::NotSent => {}
            Fate::Refused if refusals < MAX_REFUSALS => refusals += 1,
            Fate::Refused | Fate::Unknown => return Err(Status::from_error(Box::new(error))),
        }
        picked.connection.lost(picked.made);
        fleet.metrics().redirected.add(1);
        tracing::debug!(service = fleet.service(), uri = %picked.connection.uri(), %error,
            "an instance did not take a request; it goes to another");
        failure = Some(Status::from_error(Box::new(error)));
    }
}

/// An instance with an open connection.
struct Picked {
    connection: Arc<Connection>,
    channel: Channel,
    /// Which of the connection's channels that is.
    made: u64,
    unanswered: Unanswered,
}

impl Picked {
    async fn send(&mut self, request: Request<Body>) -> Result<Response<Body>, tonic::transport::Error> {
        poll_fn(|context| self.channel.poll_ready(context)).await?;
        self.channel.call(request).await
    }

    /// Counts the request as unanswered until the body of its answer ends.
    fn count(self, body: Body) -> Body {
        Body::new(Answer {
            body,
            unanswered: Some(self.unanswered),
        })
    }
}

/// Picks an instance with an open connection, and waits for one until the deadline if there is none.
async fn pick(fleet: &Fleet, deadline: Instant) -> Result<Picked, Status> {
    if let Some(picked) = pick_now(fleet) {
        return Ok(picked);
    }
    let mut changes = fleet.subscribe();
    loop {
        // Again after subscribing, so that no change in between is missed.
        if let Some(picked) = pick_now(fleet) {
            return Ok(picked);
        }
        if timeout_at(deadline, changes.changed()).await.is_err() {
            return Err(nobody(fleet));
        }
    }
}

/// Picks by weight. A pick that is not connected yet is connected for the requests to come, while one that is takes this one.
fn pick_now(fleet: &Fleet) -> Option<Picked> {
    let choice = fleet.choice();
    let chosen = choice.any.pick()?;
    take(chosen).or_else(|| choice.open.pick().and_then(take))
}

fn take(connection: &Arc<Connection>) -> Option<Picked> {
    let (channel, made) = connection.channel()?;
    Some(Picked {
        connection: Arc::clone(connection),
        channel,
        made,
        unanswered: connection.begin(),
    })
}

/// Why no instance could take a request.
fn nobody(fleet: &Fleet) -> Status {
    let (service, choice) = (fleet.service(), fleet.choice());
    let message = match (choice.known, choice.takers) {
        (0, _) => format!("no instance of {service:?} is registered"),
        (known, 0) => format!("none of the {known} instances of {service:?} takes requests"),
        (_, takers) => {
            let why = fleet
                .last_error()
                .unwrap_or_else(|| "no connection was opened in time".to_owned());
            format!("none of the {takers} instances of {service:?} can be reached: {why}")
        }
    };
    Status::unavailable(message)
}

/// What the header says, if it is there and well formed: at most eight digits and a unit.
fn timeout_of(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get(TIMEOUT)?.to_str().ok()?;
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    if digits.is_empty() || digits.len() > 8 || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let amount: u64 = digits.parse().ok()?;
    match unit {
        "H" => Some(Duration::from_secs(amount * 3600)),
        "M" => Some(Duration::from_secs(amount * 60)),
        "S" => Some(Duration::from_secs(amount)),
        "m" => Some(Duration::from_millis(amount)),
        "u" => Some(Duration::from_micros(amount)),
        "n" => Some(Duration::from_nanos(amount)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_timeout_of_a_request_is_read_as_the_protocol_writes_it() {
        let read = |text: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(
                TIMEOUT,
                http::HeaderValue::from_str(text).expect("a header value"),
            );
            timeout_of(&headers)
        };
        assert_eq!(read("3H"), Some(Duration::from_secs(10_800)));
        assert_eq!(read("2M"), Some(Duration::from_secs(120)));
        assert_eq!(read("5S"), Some(Duration::from_secs(5)));
        assert_eq!(read("250m"), Some(Duration::from_millis(250)));
        assert_eq!(read("7u"), Some(Duration::from_micros(7)));
        assert_eq!(read("99999999n"), Some(Duration::from_nanos(99_999_999)));
        for wrong in ["", "S", "5", "5s", "-5S", "+5S", "123456789S", "5 S", "1.5S"] {
            assert_eq!(read(wrong), None, "{wrong:?}");
        }
        assert_eq!(timeout_of(&HeaderMap::new()), None);
    }
}

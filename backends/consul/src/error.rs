//! What Consul says, in this project's words: one table, tested row by row.

use std::fmt;

use infra_core::{Error, ErrorKind};

use crate::tls;

/// The words of an agent that refused a request; the source of the error that tells it.
#[derive(Debug)]
pub(crate) struct Refusal {
    status: u16,
    said: String,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Consul answered {}: {}", self.status, self.said)
    }
}

impl std::error::Error for Refusal {}

/// The most of an agent's words that is kept.
const WORDS: usize = 300;

/// The error that an answer with this status is.
pub(crate) fn of_answer(status: u16, body: &[u8]) -> Error {
    let said: String = String::from_utf8_lossy(body).trim().chars().take(WORDS).collect();
    let (kind, message) = of_status(status, &said);
    let error = Error::new(kind, message);
    if kind == ErrorKind::InvalidArgument {
        // Such words quote what was sent, and that may be a secret.
        return error.without_effect();
    }
    error.with_source(Refusal { status, said })
}

fn of_status(status: u16, said: &str) -> (ErrorKind, &'static str) {
    // Consul says in words what has no status of its own.
    let says = |words: &str| said.contains(words);
    match status {
        401 => (
            ErrorKind::Unauthenticated,
            "Consul does not know the ACL token; correct it in the URL",
        ),
        403 if says("ACL not found") || says("token does not exist") => (
            ErrorKind::Unauthenticated,
            "Consul does not know the ACL token; correct it in the URL",
        ),
        403 => (
            ErrorKind::PermissionDenied,
            "the ACL token may not do this; grant it what the README of infra-consul lists",
        ),
        404 => (ErrorKind::NotFound, "Consul does not know what was asked for"),
        405 => (ErrorKind::Unsupported, "this version of Consul cannot do it"),
        409 => (
            ErrorKind::Conflict,
            "Consul rolled the transaction back, since a condition did not hold",
        ),
        413 => (
            ErrorKind::InvalidArgument,
            "the request is larger than Consul takes; write less at once",
        ),
        429 => (
            ErrorKind::RateLimited,
            "Consul takes no more connections or requests from here; see `limits` in its configuration",
        ),
        500 if says("invalid session") || (says("session") && says("not found")) => {
            (ErrorKind::LeaseLost, "Consul does not know the session any more")
        }
        500 if says("does not have associated TTL") || says("nknown check") || says("nknown service") => (
            ErrorKind::NotFound,
            "the agent does not know what was registered any more",
        ),
        400 => (ErrorKind::InvalidArgument, "Consul refused an argument"),
        500 if says("Invalid Session") => (ErrorKind::InvalidArgument, "Consul refused an argument"),
        500 if says("ACL not found") => (
            ErrorKind::Unauthenticated,
            "Consul does not know the ACL token; correct it in the URL",
        ),
        500 if says("Permission denied") => (
            ErrorKind::PermissionDenied,
            "the ACL token may not do this; grant it what the README of infra-consul lists",
        ),
        500 if says("leader")
            || says("rpc error")
            || says("No known Consul servers")
            || says("raft is")
            || says("consistent reads") =>
        {
            (
                ErrorKind::Unavailable,
                "Consul cannot answer now; it may have no leader, or be about to stop",
            )
        }
        502 | 503 => (
            ErrorKind::Unavailable,
            "Consul cannot answer now, or has too much to do",
        ),
        504 => (ErrorKind::Timeout, "Consul did not answer in time"),
        _ => (ErrorKind::Internal, "Consul failed"),
    }
}

/// The error of a request that had no answer. The URL is left out: it has keys in it.
pub(crate) fn of_transport(source: reqwest::Error) -> Error {
    let unsent = source.is_connect();
    if let Some((kind, message)) = tls::problem(&source) {
        return Error::new(kind, message)
            .with_source(source.without_url())
            .without_effect();
    }
    let (kind, message) = if source.is_timeout() && !unsent {
        (ErrorKind::Timeout, "Consul did not answer in time")
    } else if source.is_builder() {
        (
            ErrorKind::InvalidConfig,
            "the address of an agent is none; correct the URL",
        )
    } else if unsent {
        (
            ErrorKind::Unavailable,
            "no agent of Consul could be reached; check that it runs, and the URL",
        )
    } else {
        (
            ErrorKind::Unavailable,
            "the connection to Consul broke before the answer was there",
        )
    };
    let error = Error::new(kind, message).with_source(source.without_url());
    if unsent { error.without_effect() } else { error }
}

/// An answer that is none: a proxy in between, or a version that answers otherwise.
pub(crate) fn of_nonsense(what: &str, source: impl std::error::Error + Send + Sync + 'static) -> Error {
    Error::new(
        ErrorKind::DataCorrupted,
        format!("Consul's answer to {what} cannot be read; check that the URL names an agent"),
    )
    .with_source(source)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_answer_has_the_kind_that_says_what_to_do() {
        for (status, said, kind) in [
            (400, "Invalid Service Meta: …", ErrorKind::InvalidArgument),
            (401, "", ErrorKind::Unauthenticated),
            (403, "ACL not found", ErrorKind::Unauthenticated),
            (
                403,
                "rpc error making call: ACL not found",
                ErrorKind::Unauthenticated,
            ),
            (403, "Permission denied", ErrorKind::PermissionDenied),
            (404, "", ErrorKind::NotFound),
            (405, "method PUT not allowed", ErrorKind::Unsupported),
            (409, "{\"Results\":null}", ErrorKind::Conflict),
            (
                413,
                "Request body(524300 bytes) too large",
                ErrorKind::InvalidArgument,
            ),
            (429, "", ErrorKind::RateLimited),
            (500, "No cluster leader", ErrorKind::Unavailable),
            (500, "rpc error making call: EOF", ErrorKind::Unavailable),
            (
                500,
                "rpc error getting client: failed to get conn",
                ErrorKind::Unavailable,
            ),
            (
                500,
                "leadership lost while committing log",
                ErrorKind::Unavailable,
            ),
            (500, "raft is already shutdown", ErrorKind::Unavailable),
            (500, "Not ready to serve consistent reads", ErrorKind::Unavailable),
            (500, "No known Consul servers", ErrorKind::Unavailable),
            (
                500,
                "Invalid Session TTL '9000000000'",
                ErrorKind::InvalidArgument,
            ),
            (500, "invalid session \"e77b\"", ErrorKind::LeaseLost),
            (404, "Session id 'e77b' not found", ErrorKind::NotFound),
            (
                500,
                "CheckID \"a\" does not have associated TTL",
                ErrorKind::NotFound,
            ),
            (500, "Unknown check \"a\"", ErrorKind::NotFound),
            (
                500,
                "rpc error making call: Permission denied",
                ErrorKind::PermissionDenied,
            ),
            (500, "something else", ErrorKind::Internal),
            (502, "", ErrorKind::Unavailable),
            (503, "rate limit exceeded", ErrorKind::Unavailable),
            (504, "", ErrorKind::Timeout),
        ] {
            assert_eq!(of_status(status, said).0, kind, "{status} {said}");
        }
    }

    #[test]
    fn words_that_quote_what_was_sent_are_not_repeated() {
        let error = of_answer(400, b"Couldn't load metadata pair ('password', 'hunter2')");
        assert!(!format!("{error} {error:?}").contains("hunter2"));
        let error = of_answer(500, b"No cluster leader");
        assert!(error.downcast_source::<Refusal>().is_some());
        assert!(error.is_retryable());
    }
}

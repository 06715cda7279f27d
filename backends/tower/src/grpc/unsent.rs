//! Which failures say that a request was never processed, so that sending it again is safe whatever it does.
//!
//! The rules are those of gRPC's transparent retries (its proposal A6): the request never left this process, or the server
//! refused its stream.

use std::error::Error;

/// What became of a request that failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    /// It never left this process: the connection was gone or could not be made.
    NotSent,
    /// The server says that it did not look at it: it goes away, or has no room for another stream.
    Refused,
    /// The server may have processed it.
    Unknown,
}

/// Reads the fate of a request from the chain of causes of its failure.
pub(super) fn fate(error: &(dyn Error + 'static)) -> Fate {
    let mut next = Some(error);
    while let Some(cause) = next {
        if cause.is::<tonic::ConnectError>() {
            return Fate::NotSent;
        }
        if let Some(cause) = cause.downcast_ref::<hyper::Error>()
            && cause.is_canceled()
        {
            return Fate::NotSent;
        }
        if let Some(cause) = cause.downcast_ref::<h2::Error>() {
            return if is_refusal(cause) {
                Fate::Refused
            } else {
                Fate::Unknown
            };
        }
        next = cause.source();
    }
    Fate::Unknown
}

/// A stream that was reset as refused, or that is above the last one that a server which goes away will still serve.
fn is_refusal(error: &h2::Error) -> bool {
    let reason = error.reason();
    error.is_remote()
        && (error.is_reset() && reason == Some(h2::Reason::REFUSED_STREAM)
            || error.is_go_away() && reason == Some(h2::Reason::NO_ERROR))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_certainly_was_not_processed_is_repeatable() {
        let refused = tonic::ConnectError(std::io::Error::other("connection refused").into());
        assert_eq!(fate(&refused), Fate::NotSent);
        assert_eq!(fate(&std::io::Error::other("reset by peer")), Fate::Unknown);
        // What this side did itself is no refusal by the server.
        assert_eq!(fate(&h2::Error::from(h2::Reason::REFUSED_STREAM)), Fate::Unknown);
    }
}

//! What etcd says, in this project's words: one table, tested row by row.

use std::error::Error as _;

use etcd_client::Error as EtcdError;
use infra_core::{Error, ErrorKind};

use crate::tls;

/// The numbers of gRPC's status codes that etcd uses.
mod code {
    pub(super) const CANCELLED: i32 = 1;
    pub(super) const UNKNOWN: i32 = 2;
    pub(super) const INVALID_ARGUMENT: i32 = 3;
    pub(super) const DEADLINE_EXCEEDED: i32 = 4;
    pub(super) const NOT_FOUND: i32 = 5;
    pub(super) const ALREADY_EXISTS: i32 = 6;
    pub(super) const PERMISSION_DENIED: i32 = 7;
    pub(super) const RESOURCE_EXHAUSTED: i32 = 8;
    pub(super) const FAILED_PRECONDITION: i32 = 9;
    pub(super) const ABORTED: i32 = 10;
    pub(super) const OUT_OF_RANGE: i32 = 11;
    pub(super) const UNIMPLEMENTED: i32 = 12;
    pub(super) const INTERNAL: i32 = 13;
    pub(super) const UNAVAILABLE: i32 = 14;
    pub(super) const UNAUTHENTICATED: i32 = 16;
}

const UNREACHABLE: (ErrorKind, &str) = (
    ErrorKind::Unavailable,
    "no endpoint of etcd could be reached; check that it runs, the URL, and whether it wants TLS",
);

/// The error of a request, with the driver's error as its source.
pub(crate) fn of(source: EtcdError) -> Error {
    if let Some((kind, message)) = tls::problem(&source) {
        return Error::new(kind, message).with_source(source);
    }
    let (kind, message) = match &source {
        // The transport's failures have the code of what nobody knows, and a source, which the server's have not.
        EtcdError::GRpcStatus(status)
            if status.code() as i32 == code::UNKNOWN && status.source().is_some() =>
        {
            UNREACHABLE
        }
        EtcdError::GRpcStatus(status) => of_status(status.code() as i32, status.message()),
        EtcdError::TransportError(_) | EtcdError::IoError(_) => UNREACHABLE,
        EtcdError::LeaseKeepAliveError(reason) if reason.contains("not found") => {
            (ErrorKind::LeaseLost, "etcd does not know the lease any more")
        }
        EtcdError::LeaseKeepAliveError(_) => (ErrorKind::Unavailable, "the stream of a renewal broke"),
        EtcdError::InvalidUri(_) | EtcdError::EndpointError(_) => (
            ErrorKind::InvalidConfig,
            "an endpoint of etcd is no address; correct the URL",
        ),
        EtcdError::WatchError(_) => (ErrorKind::Unavailable, "the stream of a watch broke"),
        _ => (ErrorKind::Internal, "the client of etcd failed"),
    };
    Error::new(kind, message).with_source(source)
}

/// Whether the request certainly did not leave this machine, so that it may be made again whatever it does.
pub(crate) fn was_not_sent(error: &EtcdError) -> bool {
    match error {
        EtcdError::GRpcStatus(status) => says_not_connected(status.message()),
        _ => false,
    }
}

/// The words of the transport for a connection that could not be made.
fn says_not_connected(message: &str) -> bool {
    message.contains("tcp connect error") || message.contains("dns error")
}

fn of_status(code: i32, message: &str) -> (ErrorKind, &'static str) {
    // etcd says in words what has no code of its own.
    let says = |words: &str| message.contains(words);
    match code {
        code::UNAUTHENTICATED => (ErrorKind::Unauthenticated, "etcd refused the credentials"),
        code::INVALID_ARGUMENT if says("authentication failed") || says("user name is empty") => (
            ErrorKind::Unauthenticated,
            "etcd refused the credentials; correct user and password in the URL",
        ),
        code::PERMISSION_DENIED => (
            ErrorKind::PermissionDenied,
            "the user may not do this; grant its role the key prefix",
        ),
        code::UNAVAILABLE if says("timed out") => (
            ErrorKind::Timeout,
            "etcd gave up: its cluster did not agree in time",
        ),
        // What broke below gRPC has no status of its own.
        code::UNKNOWN if says("transport error") => (
            ErrorKind::Unavailable,
            "the connection to etcd broke, or no endpoint could be reached; check that it runs, and the URL",
        ),
        code::UNKNOWN if says("too many requests") => (
            ErrorKind::RateLimited,
            "etcd has more requests than it can apply; send fewer at once",
        ),
        code::INTERNAL if says("h2 protocol error") || says("stream") => {
            (ErrorKind::Unavailable, "the connection to etcd broke")
        }
        code::UNAVAILABLE | code::CANCELLED | code::ABORTED => (
            ErrorKind::Unavailable,
            "etcd cannot answer now; it may have no leader, or no endpoint can be reached",
        ),
        code::DEADLINE_EXCEEDED => (ErrorKind::Timeout, "etcd did not answer in time"),
        code::RESOURCE_EXHAUSTED => (
            ErrorKind::ResourceExhausted,
            "etcd has no room, or too many requests; compact and defragment it, or raise its quota",
        ),
        code::NOT_FOUND if says("lease") => (ErrorKind::LeaseLost, "etcd does not know the lease any more"),
        code::NOT_FOUND => (ErrorKind::NotFound, "etcd does not know what was asked for"),
        code::ALREADY_EXISTS => (ErrorKind::AlreadyExists, "etcd has it already"),
        code::INVALID_ARGUMENT => (ErrorKind::InvalidArgument, "etcd refused an argument"),
        code::FAILED_PRECONDITION => (ErrorKind::InvalidConfig, "etcd is not set up for this"),
        code::OUT_OF_RANGE => (
            ErrorKind::Conflict,
            "the history that was asked for was compacted",
        ),
        code::UNIMPLEMENTED => (ErrorKind::Unsupported, "this version of etcd cannot do it"),
        _ => (ErrorKind::Internal, "etcd failed"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_answer_has_the_kind_that_says_what_to_do() {
        for (code, message, kind) in [
            (1, "context canceled", ErrorKind::Unavailable),
            (
                3,
                "etcdserver: authentication failed, invalid user ID or password",
                ErrorKind::Unauthenticated,
            ),
            (3, "etcdserver: user name is empty", ErrorKind::Unauthenticated),
            (
                3,
                "etcdserver: duplicate key given in txn request",
                ErrorKind::InvalidArgument,
            ),
            (
                3,
                "etcdserver: too many operations in txn request",
                ErrorKind::InvalidArgument,
            ),
            (4, "context deadline exceeded", ErrorKind::Timeout),
            (5, "etcdserver: requested lease not found", ErrorKind::LeaseLost),
            (5, "etcdserver: member not found", ErrorKind::NotFound),
            (7, "etcdserver: permission denied", ErrorKind::PermissionDenied),
            (
                8,
                "etcdserver: mvcc: database space exceeded",
                ErrorKind::ResourceExhausted,
            ),
            (
                9,
                "etcdserver: authentication is not enabled",
                ErrorKind::InvalidConfig,
            ),
            (
                11,
                "etcdserver: mvcc: required revision has been compacted",
                ErrorKind::Conflict,
            ),
            (12, "unknown method", ErrorKind::Unsupported),
            (14, "etcdserver: no leader", ErrorKind::Unavailable),
            (14, "etcdserver: request timed out", ErrorKind::Timeout),
            (16, "etcdserver: invalid auth token", ErrorKind::Unauthenticated),
            (2, "transport error", ErrorKind::Unavailable),
            (
                13,
                "h2 protocol error: error reading a body from connection",
                ErrorKind::Unavailable,
            ),
            (2, "etcdserver: too many requests", ErrorKind::RateLimited),
            (2, "something else", ErrorKind::Internal),
        ] {
            assert_eq!(of_status(code, message).0, kind, "{code} {message}");
        }
    }
}

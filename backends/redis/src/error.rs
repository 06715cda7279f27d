//! What Redis says, in this project's words: one table, tested row by row.

use infra_core::{Error, ErrorKind, Retry};
use redis::{ErrorKind as DriverKind, RedisError, ServerErrorKind as Server};

/// What is known of a command that failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    /// It had no effect: it was not sent, or the server refused it.
    NoEffect,
    /// It was sent, and the connection broke before the reply came.
    ReplyLost,
}

/// What became of a command that failed with this error.
pub(crate) fn fate(error: &RedisError) -> Fate {
    match error.kind() {
        DriverKind::Io if error.is_connection_refusal() => Fate::NoEffect,
        DriverKind::Io | DriverKind::Parse => Fate::ReplyLost,
        _ => Fate::NoEffect,
    }
}

/// Whether the failure may have passed a moment later.
pub(crate) fn may_pass(error: &RedisError) -> bool {
    match error.kind() {
        DriverKind::Io => crate::tls::problem(error).is_none(),
        DriverKind::Parse => is_cut_short(error),
        DriverKind::ClusterConnectionNotFound
        | DriverKind::MasterNameNotFoundBySentinel
        | DriverKind::NoValidReplicasFoundBySentinel => true,
        DriverKind::Server(kind) => matches!(
            kind,
            Server::BusyLoading
                | Server::Moved
                | Server::Ask
                | Server::TryAgain
                | Server::ClusterDown
                | Server::MasterDown
                | Server::ReadOnly
        ),
        _ => false,
    }
}

/// Whether the connection broke in the midst of a reply, which the driver tells as a reply that cannot be read.
fn is_cut_short(error: &RedisError) -> bool {
    error.kind() == DriverKind::Parse && error.to_string().contains("end of input")
}

/// The error of an operation, with the driver's error as its source. `repeatable` operations may be done again whatever became of
/// this attempt.
pub(crate) fn of(source: RedisError, repeatable: bool) -> Error {
    if let Some((kind, message)) = crate::tls::problem(&source) {
        return Error::new(kind, message).without_effect().with_source(source);
    }
    let fate = fate(&source);
    let (kind, message) = match (fate, repeatable) {
        (Fate::ReplyLost, false) => LOST,
        _ => meaning(&source),
    };
    let error = Error::new(kind, message);
    let error = match fate {
        Fate::NoEffect => error.without_effect(),
        Fate::ReplyLost => error,
    };
    // What the server says of a script that another client wrote may quote its arguments.
    error.with_source(source)
}

/// The error of the last attempt at an operation that may be repeated, when the reply to an earlier one was lost: that the last one
/// had no effect says nothing of the operation.
pub(crate) fn after_lost_reply(last: Error) -> Error {
    let message = format!(
        "{} (an earlier attempt may have been done: its reply was lost)",
        last.message()
    );
    Error::new(last.kind(), message).with_source(last)
}

const LOST: (ErrorKind, &str) = (
    ErrorKind::OutcomeUnknown,
    "the connection to Redis broke before the reply came: the operation may have been done; look before doing it again",
);

fn meaning(error: &RedisError) -> (ErrorKind, &'static str) {
    match error.kind() {
        DriverKind::Io | DriverKind::ClusterConnectionNotFound => (
            ErrorKind::Unavailable,
            "Redis could not be reached; check that it runs, the URL, and whether it wants TLS",
        ),
        DriverKind::AuthenticationFailed => UNAUTHENTICATED,
        DriverKind::InvalidClientConfig | DriverKind::EmptySentinelList => (
            ErrorKind::InvalidConfig,
            "the client of Redis cannot work with this configuration",
        ),
        DriverKind::RESP3NotSupported => (
            ErrorKind::InvalidConfig,
            "the server does not speak RESP3; Redis 6 or newer is needed",
        ),
        DriverKind::MasterNameNotFoundBySentinel | DriverKind::NoValidReplicasFoundBySentinel => (
            ErrorKind::Unavailable,
            "no sentinel knows a master of this name that answers; check the name and the sentinels",
        ),
        DriverKind::Parse if is_cut_short(error) => (
            ErrorKind::Unavailable,
            "the connection to Redis broke in the midst of a reply; check the network, and that it runs",
        ),
        DriverKind::Parse | DriverKind::UnexpectedReturnType => (
            ErrorKind::DataCorrupted,
            "the reply of Redis was not of the expected form",
        ),
        DriverKind::Server(kind) => of_server(kind, error.detail().unwrap_or_default()),
        DriverKind::Extension => of_code(
            error.code().unwrap_or_default(),
            error.detail().unwrap_or_default(),
        ),
        _ => (ErrorKind::Internal, "the client of Redis failed"),
    }
}

const UNAUTHENTICATED: (ErrorKind, &str) = (
    ErrorKind::Unauthenticated,
    "Redis refused the credentials, or wants some; correct the user and password of the URL",
);

const NOT_PERMITTED: (ErrorKind, &str) = (
    ErrorKind::PermissionDenied,
    "the user may not do this to this key; correct the access control list of Redis",
);

fn of_server(kind: Server, detail: &str) -> (ErrorKind, &'static str) {
    match kind {
        Server::BusyLoading => (ErrorKind::Unavailable, "Redis is loading its data"),
        Server::Moved | Server::Ask | Server::TryAgain => (
            ErrorKind::Unavailable,
            "the slot of the key is being moved to another node of the cluster",
        ),
        Server::ClusterDown => (
            ErrorKind::Unavailable,
            "the cluster is down: a part of its slots has no master",
        ),
        Server::MasterDown => (
            ErrorKind::Unavailable,
            "the server is a replica that has lost its master",
        ),
        Server::ReadOnly => (
            ErrorKind::Unavailable,
            "the server is a replica, which takes no writes: a fail-over is going on, or the URL names a replica",
        ),
        Server::CrossSlot => (
            ErrorKind::InvalidArgument,
            "the keys lie in different slots of the cluster; give them one hash tag, as in {42}:a and {42}:b",
        ),
        Server::NoPerm => NOT_PERMITTED,
        Server::ExecAbort => (ErrorKind::Conflict, "the transaction was refused"),
        Server::ResponseError => of_words(detail),
        _ => (ErrorKind::Internal, "Redis failed"),
    }
}

/// Errors with the code `ERR` differ in their words alone.
fn of_words(detail: &str) -> (ErrorKind, &'static str) {
    let says = |words: &str| detail.contains(words);
    // What a command raises in the middle of a script comes without its code: of rights always, of the rest before Redis 7.
    if says("user executing the script can't") {
        return NOT_PERMITTED;
    }
    if let Some(code) = ["WRONGTYPE", "OOM"]
        .into_iter()
        .find(|code| says("@user_script") && says(&format!(": {code} ")))
    {
        return of_code(code, "");
    }
    if says("not an integer") || says("is not a number") {
        return (
            ErrorKind::Conflict,
            "the value is not a 64-bit integer in decimal text; nothing was changed",
        );
    }
    if says("would overflow") {
        return (
            ErrorKind::Conflict,
            "the sum would not fit into 64 bits; nothing was changed",
        );
    }
    if says("max number of clients") {
        return (
            ErrorKind::ResourceExhausted,
            "Redis has as many clients as it takes; raise its `maxclients`, or use fewer connections",
        );
    }
    if says("unknown command") || says("unknown subcommand") {
        return (
            ErrorKind::Unsupported,
            "the server does not know the command; Redis 6.2 or newer is needed",
        );
    }
    if says("AUTH") || says("without any password configured") {
        return UNAUTHENTICATED;
    }
    if says("DB index is out of range") {
        return (
            ErrorKind::InvalidConfig,
            "the server has no database of this number; correct the URL",
        );
    }
    if says("exceeds maximum allowed size") || says("invalid bulk length") {
        return (
            ErrorKind::InvalidArgument,
            "the value is larger than the server takes",
        );
    }
    (ErrorKind::Internal, "Redis refused the command")
}

/// Errors whose code the driver does not know.
fn of_code(code: &str, detail: &str) -> (ErrorKind, &'static str) {
    match code {
        "WRONGTYPE" => (
            ErrorKind::Conflict,
            "the key holds another type; delete it first or use another key",
        ),
        "OOM" => (
            ErrorKind::ResourceExhausted,
            "Redis has used its `maxmemory` and may not evict; free memory, raise it, or choose an eviction policy",
        ),
        "NOAUTH" | "WRONGPASS" => UNAUTHENTICATED,
        "BUSY" => (ErrorKind::Unavailable, "Redis is busy running a script"),
        "MISCONF" => (
            ErrorKind::Unavailable,
            "Redis takes no writes since it cannot save its data; look at its log and its disk",
        ),
        "NOREPLICAS" => (
            ErrorKind::Unavailable,
            "Redis takes no writes since too few replicas follow it",
        ),
        "UNBLOCKED" | "UNKILLABLE" => (ErrorKind::Unavailable, "Redis gave the command up"),
        _ => of_words(detail),
    }
}

/// The connection cannot be made, and was tried a moment ago.
pub(crate) fn retry_of(error: Error, pause: std::time::Duration) -> Error {
    if error.is_retryable() {
        error.with_retry(Retry::After(pause))
    } else {
        error
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_command_raises_in_a_script_has_its_kind() {
        for (words, kind) in [
            (
                "The user executing the script can't run this command or subcommand script: f, on @user_script:3.",
                ErrorKind::PermissionDenied,
            ),
            (
                "Error running script (call to f_1): @user_script:1: WRONGTYPE Operation against a key holding the wrong kind",
                ErrorKind::Conflict,
            ),
            (
                "Error running script (call to f_1): @user_script:1: OOM command not allowed",
                ErrorKind::ResourceExhausted,
            ),
            ("a WRONGTYPE in the words of a script", ErrorKind::Internal),
        ] {
            let driver = redis::make_extension_error("ERR".to_owned(), Some(words.to_owned()));
            assert_eq!(of(driver, true).kind(), kind, "{words}");
        }
    }
}

//! Scripts that run by their hash, and are sent whole when the server does not know them: after a restart, a flush, a fail-over.

use std::sync::OnceLock;

use infra_core::Result;
use redis::{Arg, Cmd, ErrorKind as DriverKind, RedisError, ServerErrorKind, ToRedisArgs, Value};

use crate::client::{Client, Repeat};

/// A script and its hash.
#[derive(Debug)]
pub(crate) struct Script {
    source: &'static str,
    hash: OnceLock<String>,
}

impl Script {
    pub(crate) const fn new(source: &'static str) -> Self {
        Self {
            source,
            hash: OnceLock::new(),
        }
    }

    fn hash(&self) -> &str {
        self.hash
            .get_or_init(|| redis::Script::new(self.source).get_hash().to_owned())
    }
}

/// A script with its keys and arguments.
pub(crate) struct Invocation<'s> {
    source: &'s str,
    by_hash: Cmd,
}

impl<'s> Invocation<'s> {
    /// Runs `script` on these keys of the server.
    pub(crate) fn of(script: &'s Script, keys: &[&str]) -> Self {
        Self::by(script.source, script.hash(), keys)
    }

    /// Runs the script of this source and its hash on these keys of the server.
    pub(crate) fn by(source: &'s str, hash: &str, keys: &[&str]) -> Self {
        let mut invocation = Self {
            source,
            by_hash: redis::cmd("EVALSHA"),
        };
        invocation.by_hash.arg(hash).arg(keys.len());
        for key in keys {
            invocation.arg(*key);
        }
        invocation
    }

    /// Adds an argument.
    pub(crate) fn arg(&mut self, argument: impl ToRedisArgs) -> &mut Self {
        self.by_hash.arg(argument);
        self
    }

    /// The same, with the script itself.
    fn whole(&self) -> Cmd {
        let mut whole = redis::cmd("EVAL");
        whole.arg(self.source.as_bytes());
        // Behind the command and the hash come the keys and the arguments.
        for argument in self.by_hash.args_iter().skip(2) {
            if let Arg::Simple(argument) = argument {
                whole.arg(argument);
            }
        }
        whole
    }
}

impl Client {
    /// Runs a script, in one round trip unless the server does not know it.
    pub(crate) async fn invoke(&self, invocation: &Invocation<'_>, repeat: Repeat) -> Result<Value> {
        let replied = self.run(&invocation.by_hash, repeat).await;
        let is_unknown = replied
            .as_ref()
            .is_err_and(|error| error.downcast_source::<RedisError>().is_some_and(is_unknown));
        if is_unknown {
            return self.run(&invocation.whole(), repeat).await;
        }
        replied
    }
}

fn is_unknown(error: &RedisError) -> bool {
    error.kind() == DriverKind::Server(ServerErrorKind::NoScript)
}

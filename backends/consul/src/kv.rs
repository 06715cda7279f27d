//! The key-value store on the wire: reading folders and keys, and transactions.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use infra_core::{Error, ErrorKind, Result};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::client::{Client, Request};
use crate::error;
use crate::keys::in_path;
use crate::sessions::SessionId;

/// A key with what Consul knows of it.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Pair {
    pub(crate) key: String,
    /// Left out of the results of writes.
    #[serde(default)]
    pub(crate) value: Encoded,
    pub(crate) create_index: u64,
    pub(crate) modify_index: u64,
    /// Who locked it; empty where nobody has.
    #[serde(default)]
    pub(crate) session: String,
}

/// Bytes as base64.
#[derive(Clone, Default, PartialEq, Eq)]
pub(crate) struct Encoded(pub(crate) Bytes);

impl std::fmt::Debug for Encoded {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "<{} bytes>", self.0.len())
    }
}

impl Serialize for Encoded {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&STANDARD.encode(&self.0))
    }
}

impl<'de> Deserialize<'de> for Encoded {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let Some(text) = Option::<&str>::deserialize(deserializer)? else {
            return Ok(Self::default());
        };
        let bytes = STANDARD
            .decode(text)
            .map_err(|_| serde::de::Error::custom("a value is no base64"))?;
        Ok(Self(Bytes::from(bytes)))
    }
}

/// What is read: a key, or all keys that begin with a text.
#[derive(Debug, Clone)]
pub(crate) enum Range {
    Key(String),
    Prefix(String),
}

impl Range {
    /// The question for what the range holds. Consistent: a server that has just started, or that does not know yet that it leads no
    /// longer, would else show what was there before.
    pub(crate) fn request(&self) -> Request {
        match self {
            Self::Key(key) => Request::get(format!("kv/{}?consistent", in_path(key))),
            Self::Prefix(prefix) => Request::get(format!("kv/{}?recurse&consistent", in_path(prefix))),
        }
    }
}

/// The answer to [`Range::request`]: what the range holds, as of which index.
pub(crate) async fn read(client: &Client, request: &Request) -> Result<(Vec<Pair>, u64)> {
    let answer = client.send(request).await?;
    if answer.status == 404 && answer.index > 0 {
        return Ok((Vec::new(), answer.index));
    }
    let answer = answer.success()?;
    Ok((answer.json("a reading of keys")?, answer.index))
}

/// One operation of a transaction.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Operation {
    verb: &'static str,
    key: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    value: Option<Encoded>,
    #[serde(skip_serializing_if = "Option::is_none")]
    index: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    session: Option<String>,
}

impl Operation {
    fn new(verb: &'static str, key: impl Into<String>) -> Self {
        Self {
            verb,
            key: key.into(),
            value: None,
            index: None,
            session: None,
        }
    }

    /// Sets a key.
    pub(crate) fn set(key: impl Into<String>, value: Bytes) -> Self {
        Self {
            value: Some(Encoded(value)),
            ..Self::new("set", key)
        }
    }

    /// Sets a key whose last change has this index; 0 if it is not there.
    pub(crate) fn compare_and_set(key: impl Into<String>, value: Bytes, index: u64) -> Self {
        Self {
            value: Some(Encoded(value)),
            index: Some(index),
            ..Self::new("cas", key)
        }
    }

    /// Deletes a key, there or not.
    pub(crate) fn delete(key: impl Into<String>) -> Self {
        Self::new("delete", key)
    }

    /// Sets a key and locks it for a session.
    pub(crate) fn lock(key: impl Into<String>, value: Bytes, session: SessionId) -> Self {
        Self {
            value: Some(Encoded(value)),
            session: Some(session),
            ..Self::new("lock", key)
        }
    }

    /// Reads all keys of a folder.
    pub(crate) fn get_tree(folder: impl Into<String>) -> Self {
        Self::new("get-tree", folder)
    }

    /// The key is there, and its last change has this index.
    pub(crate) fn check_index(key: impl Into<String>, index: u64) -> Self {
        Self {
            index: Some(index),
            ..Self::new("check-index", key)
        }
    }

    /// The key is not there.
    pub(crate) fn check_absent(key: impl Into<String>) -> Self {
        Self::new("check-not-exists", key)
    }
}

/// What became of a transaction.
#[derive(Debug)]
pub(crate) enum Transacted {
    /// All of it was done; what its writes and reads gave, in their order. Deletions and conditions give nothing.
    Done(Vec<Pair>),
    /// None of it was done, since these operations could not be.
    RolledBack(Vec<Fault>),
}

/// Why an operation could not be done.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Fault {
    pub(crate) op_index: usize,
    pub(crate) what: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Outcome {
    results: Option<Vec<Wrapped>>,
    errors: Option<Vec<Fault>>,
}

#[derive(Deserialize)]
struct Wrapped {
    #[serde(rename = "KV")]
    kv: Pair,
}

#[derive(Serialize)]
struct Step<'a> {
    #[serde(rename = "KV")]
    kv: &'a Operation,
}

/// What is sent, as JSON.
pub(crate) fn as_json(what: &str, body: &impl Serialize) -> Result<Bytes> {
    serde_json::to_vec(body).map(Bytes::from).map_err(|source| {
        Error::new(ErrorKind::Internal, format!("{what} cannot be written as JSON")).with_source(source)
    })
}

/// Consul takes no larger body of a transaction.
const MAX_BODY: usize = 512 * 1024;

/// The body of a transaction; refused if it is too large.
fn body(operations: &[Operation]) -> Result<Bytes> {
    let steps: Vec<Step<'_>> = operations.iter().map(|kv| Step { kv }).collect();
    let body = as_json("a transaction", &steps)?;
    if body.len() > MAX_BODY {
        return Err(Error::invalid_argument(format!(
            "the keys and values of this transaction take {} bytes on their way to Consul, more than the {MAX_BODY} allowed; write fewer at once",
            body.len()
        )));
    }
    Ok(body)
}

/// Does all of the operations at once, or none.
pub(crate) async fn transact(client: &Client, operations: &[Operation]) -> Result<Transacted> {
    let answer = client.send(&Request::put("txn", body(operations)?)).await?;
    if answer.status == 409 {
        let outcome: Outcome = answer.json("a transaction")?;
        let faults = outcome.errors.unwrap_or_default();
        let forbidden =
            |fault: &&Fault| fault.what.contains("Permission denied") || fault.what.contains("ACL not found");
        // What the token may not do is no condition, and has a status of its own everywhere else.
        if let Some(fault) = faults.iter().find(forbidden) {
            return Err(error::of_answer(403, fault.what.as_bytes()).without_effect());
        }
        return Ok(Transacted::RolledBack(faults));
    }
    let outcome: Outcome = answer.success()?.json("a transaction")?;
    let results = outcome.results.unwrap_or_default();
    Ok(Transacted::Done(
        results.into_iter().map(|wrapped| wrapped.kv).collect(),
    ))
}

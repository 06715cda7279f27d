//! Filters of a module (RedisBloom, valkey-bloom), where the server has one.
//!
//! Debian packages neither, so what stands here is proved against a scripted server alone.

use infra_core::cache::BloomOptions;
use infra_core::{Error, ErrorKind, Result};
use redis::{RedisError, Value};
use tokio::sync::OnceCell;

use super::{exists, not_reserved};
use crate::cache::{RedisCache, command};
use crate::reply;

/// Whether the server has the commands; asked once for each client, when it uses the first filter.
#[derive(Debug, Default)]
pub(crate) struct Module(OnceCell<bool>);

/// What a command of the module came to.
#[derive(Debug, PartialEq)]
enum Answer {
    /// It did it.
    Reply(Value),
    /// The filter is none of the module's, or the module has gone: the scripts know better.
    NotOurs,
    /// There is no such filter.
    NotFound,
    /// There is such a filter already.
    Exists,
}

impl RedisCache {
    /// Whether the module is there. A user who may not ask does without it.
    async fn has_module(&self) -> Result<bool> {
        if self.is_gochat() {
            return Ok(false);
        }
        let known = self.module.0.get_or_try_init(|| async {
            let mut ask = redis::cmd("COMMAND");
            ask.arg("INFO")
                .arg("BF.RESERVE")
                .arg("BF.INSERT")
                .arg("BF.EXISTS");
            match self.ask(&ask).await {
                Ok(reply) => Ok(knows_all(&reply)),
                Err(error)
                    if matches!(error.kind(), ErrorKind::PermissionDenied | ErrorKind::Unsupported) =>
                {
                    Ok(false)
                }
                Err(error) => Err(error),
            }
        });
        known.await.copied()
    }

    /// Reserves a filter with the module; nothing where the scripts are to do it.
    pub(super) async fn module_reserve(
        &self,
        key: &str,
        name: &str,
        options: &BloomOptions,
    ) -> Result<Option<()>> {
        if !self.has_module().await? {
            return Ok(None);
        }
        // Scaling, as is the default: more items than it was made for are taken, as the contract says.
        let mut reserve = command("BF.RESERVE", name);
        reserve.arg(options.error_rate).arg(options.capacity);
        match answer(self.ask(&reserve).await)? {
            Answer::Reply(_) => Ok(Some(())),
            Answer::Exists => {
                let info = self.ask(&command("BF.INFO", name)).await;
                let debug = self.ask(&command("BF.DEBUG", name)).await;
                let described = info.ok().and_then(|info| by_info(&info, options));
                let same = described.or_else(|| debug.ok().and_then(|debug| by_debug(&debug, options)));
                if same == Some(true) {
                    Ok(Some(()))
                } else {
                    Err(exists(key, None))
                }
            }
            Answer::NotOurs | Answer::NotFound => Ok(None),
        }
    }

    /// Adds an item with the module; nothing where the scripts are to do it.
    pub(super) async fn module_add(&self, key: &str, name: &str, item: &[u8]) -> Result<Option<bool>> {
        if !self.has_module().await? {
            return Ok(None);
        }
        // Not BF.ADD, which would make a filter of its own idea where there is none.
        let mut insert = command("BF.INSERT", name);
        insert.arg("NOCREATE").arg("ITEMS").arg(item);
        match answer(self.ask_once(&insert).await)? {
            Answer::Reply(added) => {
                let mut added = reply::list(added)?;
                let added = added.pop().ok_or_else(crate::client::unexpected)?;
                reply::flag(added).map(Some)
            }
            Answer::NotFound => Err(not_reserved(key)),
            Answer::NotOurs | Answer::Exists => Ok(None),
        }
    }

    /// Asks the module for an item; nothing where the scripts are to be asked.
    pub(super) async fn module_contains(&self, name: &str, item: &[u8]) -> Result<Option<bool>> {
        if !self.has_module().await? {
            return Ok(None);
        }
        match answer(self.ask(command("BF.EXISTS", name).arg(item)).await)? {
            Answer::Reply(found) => reply::flag(found).map(Some),
            Answer::NotFound => Ok(Some(false)),
            Answer::NotOurs | Answer::Exists => Ok(None),
        }
    }
}

/// Whether the server described each command that it was asked for.
fn knows_all(reply: &Value) -> bool {
    matches!(reply, Value::Array(commands) if !commands.is_empty() && commands.iter().all(is_described))
}

fn is_described(command: &Value) -> bool {
    matches!(command, Value::Array(description) if !description.is_empty())
}

fn answer(reply: Result<Value>) -> Result<Answer> {
    let error = match reply {
        Ok(reply) => return Ok(Answer::Reply(reply)),
        Err(error) => error,
    };
    let Some(source) = error.downcast_source::<RedisError>() else {
        return Err(error);
    };
    let detail = source.detail().unwrap_or_default();
    if source.code() == Some("WRONGTYPE") || detail.contains("unknown command") {
        return Ok(Answer::NotOurs);
    }
    if detail.ends_with("not found") {
        return Ok(Answer::NotFound);
    }
    if detail.ends_with("item exists") {
        return Ok(Answer::Exists);
    }
    if detail.contains("filter is full") {
        return Err(Error::new(
            ErrorKind::ResourceExhausted,
            "the bloom filter is full: some other program made it so that it does not grow",
        )
        .without_effect());
    }
    Err(error)
}

/// Whether `BF.INFO` of valkey-bloom, which tells the error rate, describes a filter with these options.
fn by_info(info: &Value, options: &BloomOptions) -> Option<bool> {
    let pairs: Vec<(String, &Value)> = match info {
        Value::Map(pairs) => pairs.iter().map(|(name, value)| (text(name), value)).collect(),
        Value::Array(flat) => flat
            .chunks_exact(2)
            .filter_map(|pair| Some((text(pair.first()?), pair.get(1)?)))
            .collect(),
        _ => return None,
    };
    let number = |wanted: &str| {
        let (_, value) = pairs.iter().find(|(name, _)| name.eq_ignore_ascii_case(wanted))?;
        text(value).parse::<f64>().ok()
    };
    let rate = number("Error rate")?;
    // The capacity is that of all filters that it has grown to by now, each for twice as many items as the one before.
    let filters = number("Number of filters")?;
    let first = number("Capacity")? / (filters.exp2() - 1.0);
    Some(is_close(rate, options.error_rate) && is_close(first, as_real(options.capacity)))
}

/// Whether `BF.DEBUG` of RedisBloom describes a filter with these options: the first of those that it has grown to by now.
fn by_debug(debug: &Value, options: &BloomOptions) -> Option<bool> {
    let Value::Array(lines) = debug else { return None };
    let first = text(lines.get(1)?);
    let number = |name: &str| {
        let value = first
            .split_whitespace()
            .find_map(|part| part.strip_prefix(name))?;
        value.parse::<f64>().ok()
    };
    // A filter that grows is given half of the error rate first, and some versions take no more than 0.25.
    let rates = [options.error_rate, options.error_rate.min(0.25)].map(|rate| rate / 2.0);
    let (rate, capacity) = (number("ratio:")?, number("capacity:")?);
    let is_this_rate = rates.iter().any(|expected| is_close(rate, *expected));
    Some(is_this_rate && is_close(capacity, as_real(options.capacity)))
}

/// Modules write six digits.
fn is_close(one: f64, other: f64) -> bool {
    (one - other).abs() <= other.abs() * 1e-5
}

#[expect(clippy::cast_precision_loss, reason = "compared to five digits")]
fn as_real(number: u64) -> f64 {
    number as f64
}

fn text(value: &Value) -> String {
    match value {
        Value::Int(number) => number.to_string(),
        Value::Double(number) => number.to_string(),
        Value::SimpleString(text) => text.clone(),
        Value::BulkString(bytes) => String::from_utf8_lossy(bytes).into_owned(),
        _ => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OPTIONS: BloomOptions = BloomOptions::new(0.01, 1000);

    fn simple(text: &str) -> Value {
        Value::SimpleString(text.to_owned())
    }

    fn refused(code: &str, detail: &str) -> Result<Value> {
        let driver = redis::make_extension_error(code.to_owned(), Some(detail.to_owned()));
        Err(crate::error::of(driver, true))
    }

    #[test]
    fn the_module_is_used_when_all_its_commands_are_there() {
        let described = || Value::Array(vec![simple("bf.insert"), Value::Int(-4)]);
        assert!(knows_all(&Value::Array(vec![described(), described()])));
        assert!(!knows_all(&Value::Array(vec![described(), Value::Nil])));
        assert!(!knows_all(&Value::Array(vec![Value::Array(Vec::new())])));
        assert!(!knows_all(&Value::Array(Vec::new())));
    }

    #[test]
    fn refusals_of_the_module_have_their_meaning() {
        for (code, detail, expected) in [
            ("WRONGTYPE", "Operation against a key", Answer::NotOurs),
            ("ERR", "unknown command 'BF.INSERT'", Answer::NotOurs),
            ("ERR", "not found", Answer::NotFound),
            ("ERR", "item exists", Answer::Exists),
        ] {
            assert_eq!(answer(refused(code, detail)).ok(), Some(expected), "{detail}");
        }
        let full = answer(refused("ERR", "non scaling filter is full")).map_err(|error| error.kind());
        assert_eq!(full, Err(ErrorKind::ResourceExhausted));
        assert!(answer(refused("OOM", "command not allowed")).is_err());
    }

    #[test]
    fn options_are_told_by_both_modules() {
        let info = |rate: f64, filters, capacity| {
            Value::Map(vec![
                (simple("Capacity"), Value::Int(capacity)),
                (simple("Number of filters"), Value::Int(filters)),
                (simple("Error rate"), Value::Double(rate)),
            ])
        };
        assert_eq!(by_info(&info(0.01, 1, 1000), &OPTIONS), Some(true));
        assert_eq!(by_info(&info(0.01, 3, 7000), &OPTIONS), Some(true));
        assert_eq!(by_info(&info(0.02, 1, 1000), &OPTIONS), Some(false));
        assert_eq!(by_info(&info(0.01, 1, 2000), &OPTIONS), Some(false));
        assert_eq!(
            by_info(
                &Value::Map(vec![(simple("Capacity"), Value::Int(1000))]),
                &OPTIONS
            ),
            None
        );
        let debug = |line: &str| Value::Array(vec![simple("size:3"), simple(line)]);
        let line = "bytes:1376 bits:11008 hashes:8 hashwidth:64 capacity:1000 size:3 ratio:0.005";
        assert_eq!(by_debug(&debug(line), &OPTIONS), Some(true));
        let line = "bytes:1376 bits:11008 hashes:8 hashwidth:64 capacity:1000 size:3 ratio:0.01";
        assert_eq!(by_debug(&debug(line), &OPTIONS), Some(false));
        assert_eq!(by_debug(&debug("nonsense"), &OPTIONS), None);
    }
}

//! What another program, or nobody, does to locks.

use infra_core::Result;
use infra_core::config::Compat;
use infra_redis::redis::{self, Cmd, Value};
use infra_testkit::conformance::Disturbance;

use crate::ground::Native;

/// `Ok(false)` for what is no matter of locks.
pub(crate) async fn disturb(native: &Native, disturbance: Disturbance) -> Result<bool> {
    match disturbance {
        Disturbance::StealLock { key } => {
            native.run(&steal(native, &key)).await?;
        }
        Disturbance::ExpireLock { key } => {
            native.run(&expire(native, &key)).await?;
        }
        Disturbance::LoseSessions => {
            let mut all = redis::cmd("KEYS");
            all.arg(name(native, "*"));
            let Value::Array(keys) = native.run(&all).await? else {
                return Ok(false);
            };
            for key in keys {
                if let Value::BulkString(key) = key {
                    native.run(redis::cmd("DEL").arg(key)).await?;
                }
            }
        }
        _ => return Ok(false),
    }
    Ok(true)
}

fn steal(native: &Native, lock: &str) -> Cmd {
    let (name, thief) = (name(native, lock), "somebody else");
    if native.compat == Compat::GoChat {
        let mut set = redis::cmd("SET");
        return set.arg(name).arg(thief).arg("EX").arg(3600).to_owned();
    }
    let mut set = redis::cmd("HSET");
    // Far beyond the end of any test, in microseconds since 1970.
    let set = set
        .arg(name)
        .arg("owner")
        .arg(thief)
        .arg("until")
        .arg(1_u64 << 52);
    set.to_owned()
}

fn expire(native: &Native, lock: &str) -> Cmd {
    let name = name(native, lock);
    if native.compat == Compat::GoChat {
        return redis::cmd("DEL").arg(name).to_owned();
    }
    redis::cmd("HSET").arg(name).arg("until").arg(0).to_owned()
}

fn name(native: &Native, lock: &str) -> String {
    format!("{}lock:{lock}", native.prefix)
}

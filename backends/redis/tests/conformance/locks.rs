//! What another program, or nobody, does to locks.

use infra_core::Result;
use infra_redis::redis::{self, Value};
use infra_testkit::conformance::Disturbance;

use crate::ground::Native;

/// `Ok(false)` for what is no matter of locks.
pub(crate) async fn disturb(native: &Native, disturbance: Disturbance) -> Result<bool> {
    match disturbance {
        Disturbance::StealLock { key } => {
            let mut steal = redis::cmd("HSET");
            steal.arg(name(native, &key)).arg("owner").arg("somebody else");
            // Far beyond the end of any test, in microseconds since 1970.
            steal.arg("until").arg(1_u64 << 52);
            native.run(&steal).await?;
        }
        Disturbance::ExpireLock { key } => {
            let mut expire = redis::cmd("HSET");
            expire.arg(name(native, &key)).arg("until").arg(0);
            native.run(&expire).await?;
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

fn name(native: &Native, lock: &str) -> String {
    format!("{}lock:{lock}", native.prefix)
}

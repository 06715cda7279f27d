//! What a backend says of itself, and how it ends.

use std::time::Duration;

use infra_core::ErrorKind;

use super::Opening;
use super::opening::Ground;
use crate::conformance::{Harness, Outcome, Premise, SLACK, check, check_error};

/// A component that opened answers its health check, and has a name.
pub async fn meta_007_what_was_opened_is_well(harness: &Harness<Opening>) -> Outcome {
    let ground = Ground::new(harness).await?;
    let opened = ground.open(&ground.section).await?;
    let name = opened.backend();
    check!(
        !name.is_empty()
            && name
                .chars()
                .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_' || c == '-'),
        "{name:?} cannot be a label of metrics"
    );
    opened.health().await?;
    opened.shutdown(SLACK * 5).await.premise("it is shut down")
}

/// The limits that it declares can be kept: there is a key, a value and a time to live between them.
pub async fn meta_008_its_limits_can_be_kept(harness: &Harness<Opening>) -> Outcome {
    let ground = Ground::new(harness).await?;
    let opened = ground.open(&ground.section).await.premise("it opens")?;
    let limits = *opened.capabilities().limits();
    check!(
        limits.max_key_bytes >= 64 && limits.max_value_bytes >= 1024,
        "nothing of use fits into {limits:?}"
    );
    check!(
        !limits.min_ttl.is_zero() && limits.min_ttl <= limits.max_ttl,
        "no time to live lies between the bounds of {limits:?}"
    );
    check!(
        limits.ttl_granularity < Duration::from_secs(3600),
        "what expires may be seen for an hour: {limits:?}"
    );
    opened.shutdown(SLACK * 5).await.premise("it is shut down")
}

/// After shutdown it says that it is closed; a second shutdown succeeds.
pub async fn meta_009_after_shutdown_it_is_closed(harness: &Harness<Opening>) -> Outcome {
    let ground = Ground::new(harness).await?;
    let opened = ground.open(&ground.section).await.premise("it opens")?;
    opened.shutdown(SLACK * 5).await?;
    opened.shutdown(SLACK * 5).await?;
    check_error!(opened.health().await, ErrorKind::Closed, "health after shutdown");
    Ok(())
}

//! Clocks that step back, leases that are lost.

use std::time::Duration;

use infra_core::ErrorKind;
use infra_core::uid::UidConfig;

use super::uniqueness::provider;
use super::{HandClock, LEASE, MakesIds, lease};
use crate::conformance::{Harness, Outcome, Premise, check, check_error};

/// A clock that is a few milliseconds behind is waited for; ids go on increasing.
pub async fn id_008_a_clock_that_steps_back_a_little_is_waited_for(
    harness: &Harness<dyn MakesIds>,
) -> Outcome {
    let clock = HandClock::new();
    let ids = provider(harness, 5, clock.clone()).await?;
    let before = ids.snowflake().premise("an id")?;
    clock.back(Duration::from_millis(5));
    let after = ids.snowflake()?;
    check!(
        after > before,
        "{after} was made after {before}, with the clock 5 ms behind"
    );
    Ok(())
}

/// A clock that is an hour behind is an error that says so, not an id.
pub async fn id_009_a_clock_that_steps_back_far_gives_no_id(harness: &Harness<dyn MakesIds>) -> Outcome {
    let clock = HandClock::new();
    let ids = provider(harness, 5, clock.clone()).await?;
    ids.snowflake().premise("an id")?;
    clock.back(Duration::from_secs(3600));
    check_error!(
        ids.snowflake(),
        ErrorKind::Unavailable,
        "an id with the clock an hour behind"
    );
    Ok(())
}

/// An instance whose number belongs to another makes no id any more.
pub async fn id_010_a_lost_lease_gives_no_id(harness: &Harness<dyn MakesIds>) -> Outcome {
    let maker = harness.client().await?;
    let (instance, keeper) = lease(7);
    let ids = maker
        .ids(instance, UidConfig::development(), HandClock::new())
        .premise("ids under a number")?;
    ids.snowflake().premise("an id")?;
    keeper.revoke();
    harness.pass(LEASE).await;
    check_error!(
        ids.snowflake(),
        ErrorKind::LeaseLost,
        "an id under a number that another has"
    );
    check_error!(
        ids.snowflakes(2),
        ErrorKind::LeaseLost,
        "ids under a number that another has"
    );
    Ok(())
}

/// When the clock has caught up, ids are made again, and none of them twice.
pub async fn id_011_a_clock_that_goes_on_gives_ids_again(harness: &Harness<dyn MakesIds>) -> Outcome {
    let clock = HandClock::new();
    let ids = provider(harness, 5, clock.clone()).await?;
    let before = ids.snowflake().premise("an id")?;
    clock.back(Duration::from_secs(60));
    ids.snowflake()
        .is_err()
        .premise("no id with the clock a minute behind")?;
    clock.forward(Duration::from_secs(61));
    let after = ids.snowflake();
    check!(
        after.as_ref().is_ok_and(|id| *id > before),
        "{after:?} once the clock had caught up, after {before}"
    );
    Ok(())
}

/// Of two instances by one clock, the id that was made in a later millisecond is the larger, whichever made it.
pub async fn id_012_ids_are_sorted_by_their_time_across_instances(
    harness: &Harness<dyn MakesIds>,
) -> Outcome {
    let clock = HandClock::new();
    let (low, high) = (
        provider(harness, 0, clock.clone()).await?,
        provider(harness, 1023, clock.clone()).await?,
    );
    let mut last = 0;
    for round in 0..50 {
        let ids = if round % 2 == 0 { &high } else { &low };
        let id = ids.snowflake().premise("an id")?;
        check!(
            id > last,
            "{id} was made a millisecond after {last}, by another instance"
        );
        last = id;
        clock.forward(Duration::from_millis(1));
    }
    Ok(())
}

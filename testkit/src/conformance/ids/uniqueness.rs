//! No id is made twice.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use infra_core::ErrorKind;
use infra_core::uid::{Clock, UidConfig, UidProvider};

use super::{HandClock, MakesIds, ReadingClock, lease};
use crate::conformance::{Failure, Harness, Outcome, Premise, check, check_eq, check_error};

/// Ids of each thread: a million in all.
const PER_THREAD: usize = 125_000;

pub(super) async fn provider(
    harness: &Harness<dyn MakesIds>,
    number: u16,
    clock: Arc<dyn Clock>,
) -> Result<Arc<dyn UidProvider>, Failure> {
    let (instance, _) = lease(number);
    let maker = harness.client().await?;
    maker
        .ids(instance, UidConfig::development(), clock)
        .premise("ids under a valid number")
}

/// Four instances with two threads each, all at once by one clock, make no id twice.
///
/// The clock goes on with the ids and not with the machine's, so that no machine is so fast that a millisecond is exhausted: that is
/// another scenario.
pub async fn id_001_tasks_and_instances_never_make_the_same_id(harness: &Harness<dyn MakesIds>) -> Outcome {
    let (clock, mut threads) = (ReadingClock::new(), Vec::new());
    for number in 0..4 {
        let ids = provider(harness, number * 300, clock.clone()).await?;
        for _ in 0..2 {
            let ids = Arc::clone(&ids);
            threads.push(std::thread::spawn(move || {
                (0..PER_THREAD)
                    .map(|_| ids.snowflake())
                    .collect::<infra_core::Result<Vec<i64>>>()
            }));
        }
    }
    let mut made = Vec::new();
    for thread in threads {
        let ids = thread.join().ok().premise("a thread that makes ids")?;
        made.extend(ids.premise("an id")?);
    }
    made.sort_unstable();
    let twice = made.array_windows().find(|[one, next]| one == next);
    check!(twice.is_none(), "an id was made twice: {twice:?}");
    Ok(())
}

/// Each id is larger than the one before.
pub async fn id_002_ids_of_an_instance_increase(harness: &Harness<dyn MakesIds>) -> Outcome {
    let clock = HandClock::new();
    let ids = provider(harness, 5, clock.clone()).await?;
    let mut last = 0;
    for step in 0..10_000_u64 {
        let id = ids.snowflake().premise("an id")?;
        check!(id > last, "{id} came after {last}");
        last = id;
        clock.forward(Duration::from_micros(step % 700));
    }
    Ok(())
}

/// Beyond 4096 ids of one millisecond, it waits for the next instead of beginning anew.
pub async fn id_003_more_ids_than_a_millisecond_holds_are_still_unique(
    harness: &Harness<dyn MakesIds>,
) -> Outcome {
    let ids = provider(harness, 5, HandClock::new()).await?;
    let mut seen = HashSet::new();
    for _ in 0..9_000 {
        let id = ids.snowflake().premise("an id")?;
        check!(
            seen.insert(id),
            "the id {id} was made twice, after {} within few milliseconds",
            seen.len()
        );
    }
    Ok(())
}

/// An id tells its time, its instance and its number within the millisecond.
pub async fn id_004_parts_round_trip(harness: &Harness<dyn MakesIds>) -> Outcome {
    let clock = HandClock::new();
    let ids = provider(harness, 1023, clock.clone()).await?;
    let now = std::time::UNIX_EPOCH + clock.since_unix_epoch();
    let (first, second) = (
        ids.snowflake().premise("an id")?,
        ids.snowflake().premise("an id")?,
    );
    let (first, second) = (ids.parse_snowflake(first)?, ids.parse_snowflake(second)?);
    check_eq!((first.instance, second.instance), (1023, 1023), "the instance");
    check_eq!((first.time, second.time), (now, now), "the time");
    check!(
        first.sequence < second.sequence,
        "{first:?} was made before {second:?}"
    );
    Ok(())
}

/// What is no id is refused, not taken apart.
pub async fn id_005_a_negative_number_is_no_id(harness: &Harness<dyn MakesIds>) -> Outcome {
    let ids = provider(harness, 5, HandClock::new()).await?;
    for number in [-1, i64::MIN] {
        check_error!(
            ids.parse_snowflake(number),
            ErrorKind::InvalidArgument,
            "{number}"
        );
    }
    Ok(())
}

/// So many ids at once are exactly so many, in order; more than a millisecond holds are refused.
pub async fn id_006_several_at_once_are_as_many_as_asked_and_too_many_are_refused(
    harness: &Harness<dyn MakesIds>,
) -> Outcome {
    let ids = provider(harness, 5, HandClock::new()).await?;
    for count in [0, 1, 17, 4096] {
        let made = ids.snowflakes(count)?;
        check_eq!(made.len(), count, "ids at once");
        check!(
            made.is_sorted_by(|a, b| a < b),
            "{count} ids at once are not in order"
        );
    }
    check_error!(
        ids.snowflakes(4097),
        ErrorKind::InvalidArgument,
        "4097 ids at once"
    );
    Ok(())
}

/// UUIDs carry version 7 and their variant, and each is larger than the one before.
pub async fn id_007_uuids_are_of_version_7_and_increase(harness: &Harness<dyn MakesIds>) -> Outcome {
    let ids = provider(harness, 5, HandClock::new()).await?;
    let made: Vec<_> = (0..2_000).map(|_| ids.uuid()).collect();
    for uuid in &made {
        check_eq!(uuid.get_version_num(), 7, "the version of {uuid}");
    }
    check!(
        made.is_sorted_by(|a, b| a < b),
        "UUIDs made one after the other do not increase"
    );
    Ok(())
}

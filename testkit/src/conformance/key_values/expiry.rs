//! Times to live: when a key is over, what changes it, what it says of itself.

use std::time::Duration;

use bytes::Bytes;
use infra_core::Ttl;
use infra_core::cache::{CompareAndSet, Expected, KeyValue};
use infra_core::error::ErrorKind;
use tokio::time::Instant;

use super::steps::{long_while, put, put_for, text, time_left, together};
use crate::conformance::{
    Harness, Outcome, Premise, SLACK, check, check_eq, check_error, limits, long_lease, short_lease,
};

/// A value is there until its time is over, and never seen later than the declared granularity.
pub async fn cache_010_an_expired_value_is_gone(harness: &Harness<dyn KeyValue>) -> Outcome {
    let cache = harness.client().await?;
    let (key, ttl) = (harness.name("key"), short_lease(harness, &*cache));
    let granularity = limits(&*cache).ttl_granularity;
    let began = Instant::now();
    put_for(&*cache, &key, "1", ttl).await?;
    let stored = Instant::now();
    harness.pass(ttl / 2).await;
    let read = text(&*cache, &key).await?;
    check!(
        read.is_some() || began.elapsed() + granularity >= ttl,
        "a value that lives for {ttl:?} was gone after {:?}",
        began.elapsed()
    );
    harness
        .pass((ttl + granularity).saturating_sub(stored.elapsed()))
        .await;
    check_eq!(
        text(&*cache, &key).await?,
        None,
        "a value that lives for {ttl:?}, {granularity:?} later"
    );
    Ok(())
}

/// What never expires is there however long nobody asks for it.
pub async fn cache_011_what_never_expires_stays(harness: &Harness<dyn KeyValue>) -> Outcome {
    let cache = harness.client().await?;
    let key = harness.name("key");
    put(&*cache, &key, "1").await?;
    let long = long_while(harness);
    harness.pass(long).await;
    check_eq!(
        text(&*cache, &key).await?.as_deref(),
        Some("1"),
        "a value without expiry after {long:?}"
    );
    Ok(())
}

/// Setting a value anew sets its time too: without one the old one is cleared, and a longer one counts from now.
pub async fn cache_012_overwriting_replaces_the_time_to_live(harness: &Harness<dyn KeyValue>) -> Outcome {
    let cache = harness.client().await?;
    let (never, longer) = (harness.name("never"), harness.name("longer"));
    let (short, long) = (short_lease(harness, &*cache), long_lease(&*cache));
    put_for(&*cache, &never, "1", short).await?;
    put(&*cache, &never, "2").await?;
    put_for(&*cache, &longer, "1", short).await?;
    put_for(&*cache, &longer, "2", long).await?;
    harness.pass(short + limits(&*cache).ttl_granularity).await;
    for (key, ttl) in [(&never, Ttl::Never), (&longer, Ttl::After(long))] {
        check_eq!(
            text(&*cache, key).await?.as_deref(),
            Some("2"),
            "a value for {short:?}, overwritten with one for {ttl:?}, after {short:?}"
        );
    }
    Ok(())
}

/// A time of zero or outside the declared limits is refused by every operation that takes one, and changes nothing.
pub async fn cache_013_times_outside_the_limits_are_refused(harness: &Harness<dyn KeyValue>) -> Outcome {
    let cache = harness.client().await?;
    let (key, absent) = (together(harness, "key"), together(harness, "absent"));
    put(&*cache, &key, "1").await?;
    let limits = limits(&*cache);
    let too_short = limits.min_ttl.saturating_sub(Duration::from_nanos(1));
    let too_long = limits.max_ttl.saturating_add(Duration::from_secs(1));
    for ttl in [Duration::ZERO, too_short, too_long, Duration::MAX].map(Ttl::After) {
        let value = || Bytes::from("2");
        let expected = Expected::Value("1".into());
        for (call, answer) in [
            ("set", cache.set(&key, value(), ttl).await),
            (
                "set_many",
                cache.set_many(&[(&key, value())], ttl).await.and_then(first),
            ),
            (
                "set_if_absent",
                cache.set_if_absent(&absent, value(), ttl).await.map(drop),
            ),
            ("get_set", cache.get_set(&key, value(), ttl).await.map(drop)),
            (
                "compare_and_set",
                cache
                    .compare_and_set(&key, expected, value(), ttl)
                    .await
                    .map(drop),
            ),
            ("expire", cache.expire(&key, ttl).await.map(drop)),
        ] {
            check_error!(answer, ErrorKind::InvalidArgument, "{call} with {ttl:?}");
        }
        check_eq!(
            text(&*cache, &key).await?.as_deref(),
            Some("1"),
            "the value after {ttl:?} was refused"
        );
        check_eq!(
            time_left(&*cache, &key).await?,
            Some(Ttl::Never),
            "its time after {ttl:?} was refused"
        );
        check_eq!(
            text(&*cache, &absent).await?,
            None,
            "the absent key after {ttl:?} was refused"
        );
    }
    Ok(())
}

/// A refusal may stand for the whole call or for the only entry of it.
fn first(results: Vec<infra_core::Result<()>>) -> infra_core::Result<()> {
    results.into_iter().next().unwrap_or(Ok(()))
}

/// A key says how long it has left: what was set less what passed, that it never expires, or that there is no such key.
pub async fn cache_029_a_key_says_how_long_it_has_left(harness: &Harness<dyn KeyValue>) -> Outcome {
    let cache = harness.client().await?;
    let [key, never, absent] = ["key", "never", "absent"].map(|suffix| harness.name(suffix));
    let (ttl, passed) = (long_lease(&*cache), short_lease(harness, &*cache) / 2);
    let began = Instant::now();
    put_for(&*cache, &key, "1", ttl).await?;
    put(&*cache, &never, "1").await?;
    let stored = Instant::now();
    harness.pass(passed).await;
    let most = ttl.saturating_sub(stored.elapsed()) + limits(&*cache).ttl_granularity;
    let left = cache.ttl(&key).await?;
    // What it says may be whole seconds or milliseconds.
    let least = ttl.saturating_sub(began.elapsed() + Duration::from_secs(1));
    check!(
        matches!(left, Some(Ttl::After(left)) if left <= most && left >= least),
        "a key for {ttl:?} says {left:?} after {passed:?}; {least:?} to {most:?} is true"
    );
    check_eq!(
        cache.ttl(&never).await?,
        Some(Ttl::Never),
        "a key that never expires"
    );
    check_eq!(cache.ttl(&absent).await?, None, "a key that is not there");
    Ok(())
}

/// The time of a key that is there can be set and cleared, its value stays; one that is not there is not made.
pub async fn cache_030_the_time_of_a_key_can_be_changed(harness: &Harness<dyn KeyValue>) -> Outcome {
    let cache = harness.client().await?;
    let [sooner, never, absent] = ["sooner", "never", "absent"].map(|suffix| harness.name(suffix));
    let ttl = short_lease(harness, &*cache);
    put(&*cache, &sooner, "1").await?;
    put_for(&*cache, &never, "1", ttl).await?;
    check!(
        cache.expire(&sooner, Ttl::After(ttl)).await?,
        "there was no key to give a time"
    );
    check!(
        cache.expire(&never, Ttl::Never).await?,
        "there was no key to take the time of"
    );
    check!(
        !cache.expire(&absent, Ttl::After(ttl)).await?,
        "a key that is not there was given a time"
    );
    check_eq!(
        text(&*cache, &sooner).await?.as_deref(),
        Some("1"),
        "a value that was given a time"
    );
    check_eq!(
        text(&*cache, &absent).await?,
        None,
        "a key that was only given a time"
    );
    harness.pass(ttl + limits(&*cache).ttl_granularity).await;
    check_eq!(
        text(&*cache, &sooner).await?,
        None,
        "a value that was given {ttl:?}, after it"
    );
    check_eq!(
        text(&*cache, &never).await?.as_deref(),
        Some("1"),
        "a value whose {ttl:?} were taken away, after them"
    );
    Ok(())
}

/// Every operation that stores a value gives it the time that it was called with, also where another one was set before.
pub async fn cache_031_every_write_sets_the_time(harness: &Harness<dyn KeyValue>) -> Outcome {
    let cache = harness.client().await?;
    let (ttl, expected) = (long_lease(&*cache), || Expected::Value("1".into()));
    for time in [Ttl::After(ttl), Ttl::Never] {
        let suffix = |call: &str| together(harness, &format!("{call}{}", time == Ttl::Never));
        let keys = ["set_many", "get_set", "compare_and_set", "set_if_absent"].map(suffix);
        let [many, swapped, compared, absent] = keys.each_ref().map(String::as_str);
        for key in [many, swapped, compared] {
            put_for(&*cache, key, "1", ttl / 2).await?;
        }
        let results = cache.set_many(&[(many, "2".into())], time).await;
        first(results.premise("many are stored")?).premise("one of many is stored")?;
        let swap = cache.get_set(swapped, "2".into(), time).await;
        swap.premise("a value is swapped")?;
        let done = cache
            .compare_and_set(compared, expected(), "2".into(), time)
            .await;
        (done.premise("a value is compared and set")? == CompareAndSet::Stored).premise("it is equal")?;
        let done = cache.set_if_absent(absent, "2".into(), time).await;
        done.premise("a value is stored if absent")?
            .premise("it is absent")?;
        for key in [many, swapped, compared, absent] {
            let left = time_left(&*cache, key).await?;
            let is_new = match (left, time) {
                (Some(Ttl::After(left)), Ttl::After(_)) => left <= ttl && left + SLACK > ttl / 2,
                (left, time) => left == Some(time),
            };
            check!(is_new, "after a write for {time:?}, {key:?} says {left:?}");
        }
    }
    Ok(())
}

/// What expired is absent to everybody: it can be set if absent, does not exist, is equal to nothing, and counts from zero.
pub async fn cache_032_what_expired_is_absent(harness: &Harness<dyn KeyValue>) -> Outcome {
    let cache = harness.client().await?;
    let ttl = short_lease(harness, &*cache);
    let keys = [
        "exists", "many", "absent", "compared", "counted", "swapped", "time",
    ];
    let keys = keys.map(|suffix| together(harness, suffix));
    let [exists, many, absent, compared, counted, swapped, time] = keys.each_ref().map(String::as_str);
    for key in &keys {
        put_for(&*cache, key, "7", ttl).await?;
    }
    harness.pass(ttl + limits(&*cache).ttl_granularity).await;
    for key in &keys {
        text(&*cache, key)
            .await?
            .is_none()
            .premise("an expired value is not read")?;
    }
    check!(!cache.exists(exists).await?, "an expired key exists");
    check_eq!(
        cache.get_many(&[many]).await?,
        [None],
        "an expired value among many"
    );
    check_eq!(
        cache.ttl(time).await?,
        None,
        "the time that an expired key has left"
    );
    check!(
        !cache.expire(time, Ttl::Never).await?,
        "an expired key was given a time"
    );
    check!(
        cache.set_if_absent(absent, "8".into(), Ttl::Never).await?,
        "an expired key is not absent"
    );
    check!(
        !cache.compare_and_delete(compared, "7".into()).await?,
        "an expired value was compared and deleted"
    );
    let done = cache
        .compare_and_set(compared, Expected::Value("7".into()), "8".into(), Ttl::Never)
        .await?;
    check_eq!(
        done,
        CompareAndSet::Mismatch { current: None },
        "comparing with an expired value"
    );
    let sum = cache.incr_by(counted, 1).await;
    sum.premise("an absent number is added to")?;
    check_eq!(
        text(&*cache, counted).await?.as_deref(),
        Some("1"),
        "an expired number to which 1 was added"
    );
    check_eq!(
        cache.get_set(swapped, "8".into(), Ttl::Never).await?,
        None,
        "swapping an expired value"
    );
    Ok(())
}

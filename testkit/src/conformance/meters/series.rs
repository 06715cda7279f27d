//! One series: what its handle records, and which labels make it another one.

use infra_core::telemetry::{Descriptor, Label, Unit};

use super::ReadableMeter;
use crate::conformance::{Failure, Harness, Outcome, check, check_eq};

pub(super) const SENT: Descriptor =
    Descriptor::new("test.messages.sent", "Messages that were sent.", Unit::Count);
const OPEN: Descriptor = Descriptor::new("test.connections.open", "Connections that are open.", Unit::Count);
const MEMORY: Descriptor = Descriptor::new("test.memory.used", "Memory in use.", Unit::Bytes);
const DURATION: Descriptor = Descriptor::new("test.call.duration", "How long calls took.", Unit::Seconds);

pub(super) fn read(
    meter: &dyn ReadableMeter,
    descriptor: &Descriptor,
    labels: &[Label<'_>],
) -> Result<f64, Failure> {
    meter
        .value(descriptor.name, labels)
        .ok_or_else(|| Failure::broken(format!("{} has no series {labels:?}", descriptor.name)))
}

/// A counter is the sum of what was added, and is there, at zero, as soon as somebody holds a handle.
pub async fn metric_001_a_counter_adds_up(harness: &Harness<dyn ReadableMeter>) -> Outcome {
    let meter = harness.client().await?;
    let counter = meter.meter().counter(&SENT, &[("topic", "orders")]);
    check_eq!(
        read(&*meter, &SENT, &[("topic", "orders")])?,
        0.0,
        "a counter that nothing was added to"
    );
    for amount in [1, 0, 41] {
        counter.add(amount);
    }
    check_eq!(read(&*meter, &SENT, &[("topic", "orders")])?, 42.0, "1 + 0 + 41");
    Ok(())
}

/// A level follows differences in both directions, below zero too.
pub async fn metric_002_a_level_goes_up_and_down(harness: &Harness<dyn ReadableMeter>) -> Outcome {
    let meter = harness.client().await?;
    let level = meter.meter().up_down_counter(&OPEN, &[]);
    for difference in [2, 3, -4] {
        level.add(difference);
    }
    check_eq!(read(&*meter, &OPEN, &[])?, 1.0, "2 + 3 - 4");
    level.add(-3);
    check_eq!(read(&*meter, &OPEN, &[])?, -2.0, "three less");
    Ok(())
}

/// A gauge shows what was observed last.
pub async fn metric_003_a_gauge_shows_the_last_observation(harness: &Harness<dyn ReadableMeter>) -> Outcome {
    let meter = harness.client().await?;
    let gauge = meter.meter().gauge(&MEMORY, &[]);
    for value in [7.5, -1.25] {
        gauge.set(value);
        check_eq!(read(&*meter, &MEMORY, &[])?, value, "what was set");
    }
    Ok(())
}

/// A histogram knows how many observations it has, and their sum.
pub async fn metric_004_a_histogram_counts_and_sums_its_observations(
    harness: &Harness<dyn ReadableMeter>,
) -> Outcome {
    let meter = harness.client().await?;
    let duration = meter.meter().histogram(&DURATION, &[("method", "get")]);
    for seconds in [0.25, 0.5, 8.0] {
        duration.record(seconds);
    }
    let labels = [("method", "get")];
    check_eq!(read(&*meter, &DURATION, &labels)?, 3.0, "observations");
    let (sum, _) = histogram(&*meter, &labels)?;
    check!((sum - 8.75).abs() < 1e-9, "0.25 + 0.5 + 8 gave a sum of {sum}");
    Ok(())
}

/// The buckets of durations tell a millisecond from ten and from a second: they are not those that count in units.
pub async fn metric_005_buckets_of_seconds_tell_milliseconds_from_seconds(
    harness: &Harness<dyn ReadableMeter>,
) -> Outcome {
    let meter = harness.client().await?;
    let duration = meter.meter().histogram(&DURATION, &[]);
    for seconds in [0.0008, 0.008, 0.8, 8.0, 80.0] {
        duration.record(seconds);
    }
    let (_, buckets) = histogram(&*meter, &[])?;
    let filled: Vec<_> = buckets.iter().filter(|(_, count)| *count > 0).collect();
    check_eq!(
        filled.len(),
        5,
        "buckets that five durations of five magnitudes fell into"
    );
    check!(
        filled.windows(2).all(|pair| pair[0].0 < pair[1].0) && filled.iter().all(|(_, count)| *count == 1),
        "durations fell into the wrong buckets: {buckets:?}"
    );
    Ok(())
}

/// An observation that is no number is left out; it would spoil the sum for good.
pub async fn metric_006_what_is_no_number_spoils_nothing(harness: &Harness<dyn ReadableMeter>) -> Outcome {
    let meter = harness.client().await?;
    let duration = meter.meter().histogram(&DURATION, &[]);
    duration.record(1.0);
    duration.record(f64::NAN);
    duration.record(1.0);
    let (sum, _) = histogram(&*meter, &[])?;
    check!(sum.is_finite(), "the sum of a histogram is {sum}");
    Ok(())
}

/// Asking twice gives handles on one series, in whatever order the labels stand.
pub async fn metric_007_the_same_labels_are_the_same_series(harness: &Harness<dyn ReadableMeter>) -> Outcome {
    let meter = harness.client().await?;
    let (one, other) = ([("a", "1"), ("b", "2")], [("b", "2"), ("a", "1")]);
    meter.meter().counter(&SENT, &one).add(1);
    meter.meter().counter(&SENT, &other).add(1);
    let sets = meter.label_sets(SENT.name);
    check_eq!(sets.len(), 1, "series of one set of labels");
    check_eq!(read(&*meter, &SENT, &other)?, 2.0, "what two handles added");
    Ok(())
}

/// Two sets of labels never share a series, whatever characters their values consist of.
pub async fn metric_008_labels_never_run_together(harness: &Harness<dyn ReadableMeter>) -> Outcome {
    let meter = harness.client().await?;
    let strange: [&[Label<'_>]; 9] = [
        &[],
        &[("a", "")],
        &[("a", "1"), ("b", "2")],
        &[("a", "1,b=2")],
        &[("a", "1\",b=\"2")],
        &[("a", "\\")],
        &[("a", "\n")],
        &[("a", "\\n")],
        &[("a", "ä\u{308}\u{1F600}")],
    ];
    for (number, labels) in strange.iter().enumerate() {
        meter.meter().counter(&SENT, labels).add(number as u64 + 1);
    }
    for (number, labels) in strange.iter().enumerate() {
        check_eq!(
            read(&*meter, &SENT, labels)?,
            number as f64 + 1.0,
            "the series with the labels {labels:?}"
        );
    }
    Ok(())
}

fn histogram(meter: &dyn ReadableMeter, labels: &[Label<'_>]) -> Result<(f64, Vec<(f64, u64)>), Failure> {
    meter
        .histogram(DURATION.name, labels)
        .ok_or_else(|| Failure::broken(format!("{} has no series {labels:?}", DURATION.name)))
}

//! Durations as people write them, and the names of profiles.

use infra_core::config::{Profile, humane};
use infra_testkit::fuzz::Start;

use crate::support::frugally;

infra_testkit::fuzz!(
    durations_read_back,
    Start::new(&[
        "1m30s",
        "250ms",
        " 2h ",
        "1day 3h 5us 6ns",
        "2years 1month 1week",
        "0s"
    ])
    .with_words(&[
        "s",
        "ms",
        "us",
        "ns",
        "m",
        "h",
        "d",
        "days",
        "weeks",
        "months",
        "years",
        "µs",
        "18446744073709551615s"
    ]),
    |input| {
        let text = String::from_utf8_lossy(input);
        if let Ok(duration) = frugally(input, || humane::parse(&text)) {
            let written = humane::format(duration);
            assert_eq!(humane::parse(&written).ok(), Some(duration), "{written}");
        }
    }
);

infra_testkit::fuzz!(
    profiles_read_back,
    Start::new(&["development", "dev", "PROD ", "Production"]).with_inputs(1_000),
    |input| {
        if let Ok(profile) = String::from_utf8_lossy(input).parse::<Profile>() {
            assert_eq!(profile.to_string().parse::<Profile>().ok(), Some(profile));
        }
    }
);

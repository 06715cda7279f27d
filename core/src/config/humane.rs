//! Durations as people write them, `"1m30s"` or `"250ms"`, for `#[serde(with = "infra_core::config::humane")]`.
//!
//! The grammar is that of the `humantime` crate: numbers with the units `ns us ms s m h days weeks months years`.

use std::fmt;
use std::time::Duration;

use humantime_serde::re::humantime;
use serde::de::{self, Visitor};
use serde::{Deserializer, Serializer};

use crate::error::{Error, Result};

/// Reads a duration.
///
/// ```
/// use std::time::Duration;
/// assert_eq!(infra_core::config::humane::parse("1m30s")?, Duration::from_secs(90));
/// # Ok::<(), infra_core::Error>(())
/// ```
///
/// # Errors
/// [`InvalidArgument`](crate::ErrorKind::InvalidArgument) for anything else, a number without a unit included.
pub fn parse(text: &str) -> Result<Duration> {
    humantime::parse_duration(text.trim())
        .map_err(|_| Error::invalid_argument("not a duration; write a number and a unit, such as \"1m30s\""))
}

/// Writes a duration in the form that [`parse`] reads.
#[must_use]
pub fn format(duration: Duration) -> String {
    humantime::format_duration(duration).to_string()
}

/// Serialises a duration as text.
///
/// # Errors
/// Those of the serialiser.
pub fn serialize<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&humantime::format_duration(*duration))
}

/// Deserialises a duration from text.
///
/// # Errors
/// When the text is not a duration; the message shows how one is written.
pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    deserializer.deserialize_str(Humane)
}

struct Humane;

impl Visitor<'_> for Humane {
    type Value = Duration;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a duration such as \"1m30s\"")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Duration, E> {
        parse(text).map_err(|_| E::invalid_value(de::Unexpected::Str(text), &self))
    }
}

/// The same for `Option<Duration>`: `#[serde(default, with = "infra_core::config::humane::option")]`.
pub mod option {
    use std::fmt;
    use std::time::Duration;

    use serde::de::{self, Visitor};
    use serde::{Deserializer, Serializer};

    /// Serialises a duration as text, or nothing.
    ///
    /// # Errors
    /// Those of the serialiser.
    pub fn serialize<S: Serializer>(duration: &Option<Duration>, serializer: S) -> Result<S::Ok, S::Error> {
        match duration {
            Some(duration) => serializer.serialize_some(&super::format(*duration)),
            None => serializer.serialize_none(),
        }
    }

    /// Deserialises a duration from text, or nothing.
    ///
    /// # Errors
    /// When the text is not a duration.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
        deserializer.deserialize_option(Optional)
    }

    struct Optional;

    impl<'de> Visitor<'de> for Optional {
        type Value = Option<Duration>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a duration such as \"1m30s\", or nothing")
        }

        fn visit_none<E: de::Error>(self) -> Result<Self::Value, E> {
            Ok(None)
        }

        fn visit_unit<E: de::Error>(self) -> Result<Self::Value, E> {
            Ok(None)
        }

        fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
            super::deserialize(deserializer).map(Some)
        }
    }
}

#[cfg(test)]
mod tests {
    use serde::{Deserialize, Serialize};

    use super::*;

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Times {
        #[serde(with = "super")]
        short: Duration,
        #[serde(default, with = "super::option")]
        long: Option<Duration>,
    }

    #[test]
    fn round_trips_and_refuses_numbers_without_a_unit() {
        for (short, long) in [(0, None), (1, Some(90_061)), (999, Some(0))] {
            let times = Times {
                short: Duration::from_millis(short),
                long: long.map(Duration::from_secs),
            };
            let json = serde_json::to_string(&times).expect("serialises");
            assert_eq!(
                serde_json::from_str::<Times>(&json).expect("reads back"),
                times,
                "{json}"
            );
        }
        for bad in [
            r#"{"short":5}"#,
            r#"{"short":"5"}"#,
            r#"{"short":"5 lightyears"}"#,
            r#"{"short":"-1s"}"#,
        ] {
            let error = serde_json::from_str::<Times>(bad).expect_err(bad).to_string();
            assert!(error.contains("a duration such as \"1m30s\""), "{error}");
        }
    }
}

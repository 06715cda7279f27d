//! What both forms of a line have in common.

use std::borrow::Cow;
use std::fmt::Write;

use time::OffsetDateTime;

use super::layer::{Field, Value};

/// The keys that belong to the log.
const RESERVED: [&str; 6] = ["level", "time", "namespace", "trace_id", "caller", "msg"];

/// The fields to show, each with its key: of equal names the first, and no key that belongs to the log.
pub(super) fn keyed(fields: &[Field]) -> Vec<(Cow<'static, str>, &Value)> {
    let mut keyed: Vec<(Cow<'static, str>, &Value)> = Vec::with_capacity(fields.len());
    for field in fields {
        let taken = |key: &str| keyed.iter().any(|(known, _)| known == key);
        let key = if RESERVED.contains(&field.name) {
            let mut key = format!("field_{}", field.name);
            while taken(&key) {
                key.push('_');
            }
            Cow::Owned(key)
        } else if taken(field.name) {
            continue;
        } else {
            Cow::Borrowed(field.name)
        };
        keyed.push((key, &field.value));
    }
    keyed
}

/// Writes a time as RFC 3339 has it, with microseconds: always the same width, so that lines sort by it.
pub(super) fn push_time(out: &mut String, time: OffsetDateTime) {
    // Writing to a `String` cannot fail.
    let _ = write!(
        out,
        "{:04}-{:02}-{:02}T{:02}:{:02}:{:02}.{:06}",
        time.year(),
        u8::from(time.month()),
        time.day(),
        time.hour(),
        time.minute(),
        time.second(),
        time.microsecond()
    );
    let (hours, minutes, _) = time.offset().as_hms();
    if (hours, minutes) == (0, 0) {
        out.push('Z');
    } else {
        let sign = if hours < 0 || minutes < 0 { '-' } else { '+' };
        let _ = write!(
            out,
            "{sign}{:02}:{:02}",
            hours.unsigned_abs(),
            minutes.unsigned_abs()
        );
    }
}

#[cfg(test)]
mod tests {
    use time::UtcOffset;
    use time::macros::datetime;

    use super::*;

    #[test]
    fn times_are_rfc_3339_in_any_offset() {
        for (hours, minutes, expected) in [
            (0, 0, "2026-01-02T03:04:05.000006Z"),
            (5, 30, "2026-01-02T08:34:05.000006+05:30"),
            (-3, -30, "2026-01-01T23:34:05.000006-03:30"),
            (0, -30, "2026-01-02T02:34:05.000006-00:30"),
        ] {
            let offset = UtcOffset::from_hms(hours, minutes, 0).expect("an offset");
            let mut out = String::new();
            push_time(
                &mut out,
                datetime!(2026-01-02 03:04:05.000006 UTC).to_offset(offset),
            );
            assert_eq!(out, expected);
        }
    }
}

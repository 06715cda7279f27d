//! A value that must not be seen: masked in `Debug`, in `Display` and when serialised.

use std::cell::Cell;
use std::fmt;
use std::marker::PhantomData;

use serde::de::Visitor;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// What is shown in place of a secret.
pub(super) const MASK: &str = "[redacted]";

thread_local! {
    static REVEALED: Cell<bool> = const { Cell::new(false) };
}

/// A password, a token, a key: readable through [`expose`](Self::expose) only.
///
/// `Debug`, `Display` and `Serialize` give `[redacted]`; a value that does not deserialise is reported without it.
///
/// ```
/// use infra_core::config::Secret;
///
/// let password = Secret::new("correct horse".to_owned());
/// assert_eq!(format!("{password} {password:?}"), "[redacted] [redacted]");
/// assert_eq!(password.expose(), "correct horse");
/// ```
#[derive(Clone, Default, PartialEq, Eq, Hash)]
pub struct Secret<T>(T);

impl<T> Secret<T> {
    /// Hides `value`.
    #[must_use]
    pub const fn new(value: T) -> Self {
        Self(value)
    }

    /// Shows the value. Hand it to a driver; do not format it.
    #[must_use]
    pub const fn expose(&self) -> &T {
        &self.0
    }

    /// Gives the value away.
    #[must_use]
    pub fn into_inner(self) -> T {
        self.0
    }
}

impl<T> From<T> for Secret<T> {
    fn from(value: T) -> Self {
        Self(value)
    }
}

impl From<&str> for Secret<String> {
    fn from(value: &str) -> Self {
        Self(value.to_owned())
    }
}

impl<T> fmt::Debug for Secret<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(MASK)
    }
}

impl<T> fmt::Display for Secret<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(MASK)
    }
}

impl<T: Serialize> Serialize for Secret<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if is_revealed() {
            self.0.serialize(serializer)
        } else {
            serializer.serialize_str(MASK)
        }
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Secret<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        // As a newtype, so that a missing field is still reported as missing.
        deserializer.deserialize_newtype_struct("Secret", Hidden(PhantomData))
    }
}

struct Hidden<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for Hidden<T> {
    type Value = Secret<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a secret")
    }

    fn visit_newtype_struct<D: Deserializer<'de>>(self, deserializer: D) -> Result<Secret<T>, D::Error> {
        // The inner error may quote the value, so it is replaced.
        T::deserialize(deserializer).map(Secret).map_err(|_| {
            serde::de::Error::custom("the secret has the wrong type or form (its value is not shown)")
        })
    }
}

/// Runs `work` with secrets serialised as they are: for values that go from memory to memory, such as the defaults that
/// a loader merges with its other sources.
pub(super) fn revealed<R>(work: impl FnOnce() -> R) -> R {
    struct Restore(bool);
    impl Drop for Restore {
        fn drop(&mut self) {
            REVEALED.set(self.0);
        }
    }
    let _restore = Restore(REVEALED.replace(true));
    work()
}

/// Whether the calling code runs inside [`revealed`].
pub(super) fn is_revealed() -> bool {
    REVEALED.get()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_masked_everywhere_but_in_memory() {
        let secret = Secret::new("hunter2".to_owned());
        assert_eq!(
            serde_json::to_string(&secret).expect("serialises"),
            "\"[redacted]\""
        );
        let revealed = revealed(|| serde_json::to_string(&secret)).expect("serialises");
        assert_eq!(revealed, "\"hunter2\"");
        assert!(!is_revealed());
    }

    #[test]
    fn a_wrong_type_is_reported_without_the_value() {
        let error = serde_json::from_str::<Secret<String>>("424242").expect_err("not a string");
        assert!(!error.to_string().contains("424242"), "{error}");
        let secret: Secret<String> = serde_json::from_str("\"s\"").expect("a string");
        assert_eq!(secret.expose(), "s");
    }
}

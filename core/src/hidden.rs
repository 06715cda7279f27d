//! What stands in `Debug` output in place of a value: values are the users', and debug output ends up in logs.

use std::fmt;

/// A value of so many bytes.
pub(crate) struct Hidden(pub(crate) usize);

impl Hidden {
    pub(crate) fn of(value: &(impl AsRef<[u8]> + ?Sized)) -> Self {
        Self(value.as_ref().len())
    }

    /// The sizes of several values.
    pub(crate) fn each<V: AsRef<[u8]>>(values: &[V]) -> Vec<Self> {
        values.iter().map(Self::of).collect()
    }
}

impl fmt::Debug for Hidden {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "<{} bytes>", self.0)
    }
}

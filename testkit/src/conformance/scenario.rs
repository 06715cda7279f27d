//! A scenario: its id, its title and the function that plays it.

use std::fmt;

use futures_util::future::LocalBoxFuture;

use super::harness::Harness;
use super::verdict::Outcome;

/// One behaviour of the catalogue, and the function that proves it.
///
/// The id and the title come from the function's name: `lock_004_wait_times_out` is `LOCK-004`, "wait times out".
pub struct Scenario<T: ?Sized> {
    name: &'static str,
    eventual: bool,
    play: Play<T>,
}

/// Plays a scenario on a harness.
pub type Play<T> = for<'h> fn(&'h Harness<T>) -> LocalBoxFuture<'h, Outcome>;

impl<T: ?Sized> Scenario<T> {
    /// For the macros of the families: a function by its name.
    #[doc(hidden)]
    #[must_use]
    pub const fn new(name: &'static str, eventual: bool, play: Play<T>) -> Self {
        Self { name, eventual, play }
    }

    /// The name of the function, `"lock_004_wait_times_out"`.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        self.name
    }

    /// The id in the catalogue, `"LOCK-004"`.
    #[must_use]
    pub fn id(&self) -> String {
        id_of(self.name)
    }

    /// What it proves, in a few words.
    #[must_use]
    pub fn title(&self) -> String {
        let words: Vec<&str> = self.name.splitn(3, '_').collect();
        words
            .last()
            .map_or_else(String::new, |title| title.replace('_', " "))
    }

    /// Whether it holds also where one call in twenty fails and is repeated.
    #[must_use]
    pub const fn is_eventual(&self) -> bool {
        self.eventual
    }

    pub(super) fn play<'h>(&self, harness: &'h Harness<T>) -> LocalBoxFuture<'h, Outcome> {
        (self.play)(harness)
    }
}

impl<T: ?Sized> Clone for Scenario<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T: ?Sized> Copy for Scenario<T> {}

impl<T: ?Sized> fmt::Debug for Scenario<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.id(), self.title())
    }
}

/// `"lock_004_wait_times_out"` is `"LOCK-004"`.
fn id_of(name: &str) -> String {
    let mut words = name.splitn(3, '_');
    let family = words.next().unwrap_or_default().to_uppercase();
    match words.next() {
        Some(number) => format!("{family}-{number}"),
        None => family,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_of_the_function_says_id_and_title() {
        let scenario =
            Scenario::<dyn infra_core::coordination::Locks>::new("lock_004_wait_times_out", true, |_| {
                Box::pin(async { Ok(()) })
            });
        assert_eq!(scenario.id(), "LOCK-004");
        assert_eq!(scenario.title(), "wait times out");
    }
}

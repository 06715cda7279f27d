//! Fuzzing of parsers: many inputs, most of them nearly valid, of which none may make a check panic.
//!
//! A target is one line, [`fuzz!`](crate::fuzz!), and is an ordinary test. In `cargo test` it takes, in this order and
//! always the same: the inputs that failed once (files in `__fuzz__/TARGET` beside the source), the seeds, and some
//! thousands of inputs made from the seeds and words by a fixed seed. `INFRA_FUZZ_SECONDS=60` goes on for a minute with a
//! seed of the moment (or with `INFRA_FUZZ_SEED`).
//!
//! A failing input is made smaller and written to that folder, where it is taken first ever after: commit it with the
//! repair.
//!
//! ```
//! use infra_testkit::fuzz::Start;
//!
//! // At the top of a test file: infra_testkit::fuzz!(numbers, …) does the same in a `#[test]` of that name.
//! # let target = infra_testkit::fuzz::Target::without_files("numbers");
//! target.run(&Start::new(&["1", "-12"]).with_words(&["99999999999", "e"]), |input| {
//!     if let Ok(number) = String::from_utf8_lossy(input).parse::<i32>() {
//!         assert_eq!(number.to_string().parse(), Ok(number));
//!     }
//! });
//! ```

mod mutate;
mod target;

pub use mutate::Start;
pub use target::Target;

/// Defines a fuzz target: a `#[test]` of the given name that runs a check on many inputs, see [`fuzz`](mod@crate::fuzz).
///
/// The check takes bytes and panics when something is wrong; what it captures must be shareable, as a `fn` is.
///
/// ```
/// infra_testkit::fuzz!(numbers, infra_testkit::fuzz::Start::new(&["1", "-12"]), |input| {
///     if let Ok(number) = String::from_utf8_lossy(input).parse::<i32>() {
///         assert_eq!(number.to_string().parse(), Ok(number));
///     }
/// });
/// ```
#[macro_export]
macro_rules! fuzz {
    ($(#[$attribute:meta])* $name:ident, $start:expr, $check:expr $(,)?) => {
        $(#[$attribute])*
        #[test]
        fn $name() {
            $crate::fuzz::Target::new(
                env!("CARGO_MANIFEST_DIR"),
                file!(),
                concat!(module_path!(), "::", stringify!($name)),
            )
            .run(&$start, $check);
        }
    };
}

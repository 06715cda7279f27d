//! Running a target: what failed once, the seeds, then made inputs; and what happens when one fails. Reads and writes
//! files below `__fuzz__` only.

use std::cell::Cell;
use std::panic::{self, AssertUnwindSafe};
use std::path::{Path, PathBuf};
use std::sync::Once;
use std::time::{Duration, Instant};

use super::mutate::{Mutator, Start};

/// The seed of the short form.
const SEED: u64 = 0x1F_2A_77;
/// The short form stops here on a slow machine; usually it has come to its end long before.
const SHORT: Duration = Duration::from_millis(900);
/// One input may not take longer. Generous, since the machine may be busy: it is for endless loops and exponential ones.
const LONGEST_INPUT: Duration = Duration::from_secs(5);
/// How often a failing input is tried with something left out.
const MOST_SHRINKS: usize = 2_000;

/// One fuzz target; [`fuzz!`](crate::fuzz!) makes it.
#[derive(Debug, Clone)]
pub struct Target {
    name: &'static str,
    directory: Option<PathBuf>,
}

impl Target {
    /// A target with its files beside `source`, a path as `file!()` gives it, in the package of `manifest`; `name` is the
    /// path of the test.
    #[must_use]
    pub fn new(manifest: &str, source: &str, name: &'static str) -> Self {
        // `file!()` is relative to the workspace, whose place is only known to be above the package.
        let directory = Path::new(manifest)
            .ancestors()
            .map(|above| above.join(source))
            .find(|path| path.exists())
            .and_then(|path| Some(path.parent()?.join("__fuzz__").join(directory_name(name))));
        Self { name, directory }
    }

    /// A target that remembers nothing.
    #[must_use]
    pub fn without_files(name: &'static str) -> Self {
        Self {
            name,
            directory: None,
        }
    }

    /// Runs the check on many inputs.
    ///
    /// # Panics
    /// When the check panics on an input, or takes more than five seconds: with the input, made smaller.
    pub fn run(&self, start: &Start, check: impl Fn(&[u8])) {
        if let Err(failure) = self.explore(start, &check, Length::of_environment()) {
            self.report(&failure);
        }
    }

    fn explore(&self, start: &Start, check: &dyn Fn(&[u8]), length: Length) -> Result<usize, Failure> {
        let began = Instant::now();
        for (name, input) in self.kept() {
            tried(check, &input).map_err(|problem| Failure {
                input,
                problem: format!("{problem} (the input {name}, which failed before)"),
            })?;
        }
        let mut mutator = Mutator::new(start, length.seed);
        let made = std::iter::repeat_with(|| mutator.next());
        let mut inputs = 0;
        for input in std::iter::once(Vec::new())
            .chain(start.seeds.iter().cloned())
            .chain(made)
        {
            if inputs >= length.inputs.unwrap_or(start.inputs) || began.elapsed() > length.time {
                break;
            }
            inputs += 1;
            if tried(check, &input).is_err() {
                return Err(shrunk(check, input));
            }
        }
        Ok(inputs)
    }

    /// The inputs that failed once, with the names of their files, sorted.
    fn kept(&self) -> Vec<(String, Vec<u8>)> {
        let Some(directory) = &self.directory else {
            return Vec::new();
        };
        let entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
        let mut files: Vec<_> = entries
            .filter_map(|entry| {
                let name = entry.file_name().into_string().ok()?;
                Some((name, std::fs::read(entry.path()).ok()?))
            })
            .collect();
        files.sort();
        files
    }

    #[expect(clippy::panic, reason = "it fails the test that this is")]
    fn report(&self, failure: &Failure) -> ! {
        let kept = self.directory.as_ref().map(|directory| {
            let path = directory.join(format!("{:016x}", fingerprint(&failure.input)));
            let written =
                std::fs::create_dir_all(directory).and_then(|()| std::fs::write(&path, &failure.input));
            match written {
                Ok(()) => format!("\nkept as {}: commit it with the repair", path.display()),
                Err(error) => format!("\nnot kept: {}: {error}", path.display()),
            }
        });
        panic!(
            "{}: {}\nfor the input b\"{}\"{}",
            self.name,
            failure.problem,
            failure.input.escape_ascii(),
            kept.unwrap_or_default()
        );
    }
}

/// The folder of a target: the path of its test below the crate.
fn directory_name(name: &str) -> String {
    let within = name.split_once("::").map_or(name, |(_, within)| within);
    within.replace("::", "__")
}

/// How long a target is run, and from which seed.
#[derive(Debug, Clone, Copy)]
struct Length {
    seed: u64,
    inputs: Option<usize>,
    time: Duration,
}

impl Length {
    fn of_environment() -> Self {
        let number = |name| std::env::var(name).ok()?.parse::<u64>().ok();
        let seed = number("INFRA_FUZZ_SEED");
        match number("INFRA_FUZZ_SECONDS") {
            Some(seconds) => Self {
                seed: seed.unwrap_or_else(|| fastrand::u64(..)),
                inputs: Some(usize::MAX),
                time: Duration::from_secs(seconds),
            },
            None => Self {
                seed: seed.unwrap_or(SEED),
                inputs: None,
                time: SHORT,
            },
        }
    }
}

/// An input on which the check failed.
#[derive(Debug)]
struct Failure {
    input: Vec<u8>,
    problem: String,
}

/// Runs the check; what it panicked with, or that it took too long, is the error.
fn tried(check: &dyn Fn(&[u8]), input: &[u8]) -> Result<(), String> {
    let began = Instant::now();
    quietly(|| panic::catch_unwind(AssertUnwindSafe(|| check(input)))).map_err(|payload| {
        let text = payload.downcast_ref::<String>().map(String::as_str);
        text.or_else(|| payload.downcast_ref::<&str>().copied())
            .unwrap_or("it panicked")
            .to_owned()
    })?;
    let took = began.elapsed();
    if took > LONGEST_INPUT {
        return Err(format!("it took {took:?}"));
    }
    Ok(())
}

/// Leaves out of a failing input what it fails without, bigger parts first.
fn shrunk(check: &dyn Fn(&[u8]), mut input: Vec<u8>) -> Failure {
    let began = Instant::now();
    let mut left = MOST_SHRINKS;
    let mut part = input.len();
    while part > 0 {
        let mut from = 0;
        while from < input.len() && left > 0 && began.elapsed() < 4 * LONGEST_INPUT {
            left -= 1;
            let mut fewer = input.clone();
            fewer.drain(from..(from + part).min(input.len()));
            if tried(check, &fewer).is_err() {
                input = fewer;
            } else {
                from += part;
            }
        }
        part /= 2;
    }
    let problem = tried(check, &input).err();
    Failure {
        input,
        problem: problem
            .unwrap_or_else(|| "it failed once and not again: the check is not deterministic".to_owned()),
    }
}

/// FNV-1a, for names of files.
fn fingerprint(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

thread_local! {
    static QUIET: Cell<bool> = const { Cell::new(false) };
}

/// Keeps the panics of this thread out of the output: there may be thousands while an input is made smaller.
fn quietly<R>(run: impl FnOnce() -> R) -> R {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let usual = panic::take_hook();
        panic::set_hook(Box::new(move |information| {
            if !QUIET.get() {
                usual(information);
            }
        }));
    });
    QUIET.set(true);
    let outcome = run();
    QUIET.set(false);
    outcome
}

#[cfg(test)]
#[allow(clippy::expect_used, clippy::panic, reason = "tests")]
mod tests {
    use super::*;

    const SHORT_FORM: Length = Length {
        seed: SEED,
        inputs: None,
        time: Duration::from_secs(60),
    };

    #[test]
    fn a_rare_failure_is_found_and_made_small() {
        let check = |input: &[u8]| {
            assert!(!input.windows(2).any(|pair| pair == b"%\""), "an escaped quote");
        };
        let failure = Target::without_files("it")
            .explore(&Start::new(&["redis://user@host"]), &check, SHORT_FORM)
            .expect_err("found");
        assert_eq!(failure.input, b"%\"");
        assert_eq!(failure.problem, "an escaped quote");
    }

    #[test]
    fn without_failures_all_inputs_are_made() {
        let start = Start::new(&["a"]).with_inputs(50);
        assert_eq!(
            Target::without_files("it")
                .explore(&start, &|_| {}, SHORT_FORM)
                .expect("none fails"),
            50
        );
    }

    #[test]
    fn what_failed_once_is_kept_and_taken_first() {
        let folder = tempfile::tempdir().expect("a folder");
        let target = Target {
            directory: Some(folder.path().join("target")),
            ..Target::without_files("it")
        };
        let failure = Failure {
            input: b"bad".to_vec(),
            problem: "it is bad".to_owned(),
        };
        let told = quietly(|| panic::catch_unwind(|| target.report(&failure))).expect_err("it panics");
        let told = told.downcast_ref::<String>().expect("text");
        assert!(
            told.contains("it is bad\nfor the input b\"bad\"\nkept as "),
            "{told}"
        );

        let only_bad = |input: &[u8]| assert_ne!(input, b"bad", "again");
        let failure = target
            .explore(&Start::new::<&str>(&[]).with_inputs(0), &only_bad, SHORT_FORM)
            .expect_err("taken from the file");
        assert!(
            failure.problem.contains("again") && failure.problem.contains("failed before"),
            "{failure:?}"
        );
    }

    #[test]
    fn folders_are_named_after_the_test() {
        assert_eq!(directory_name("fuzz::url::backend_url"), "url__backend_url");
        assert_eq!(directory_name("fuzz::backend_url"), "backend_url");
    }
}

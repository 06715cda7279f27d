//! What the benches of coordination backends share: each measures its backend beside the bare client of the same server, in one run.

pub(crate) mod fleet;

use std::time::{Duration, Instant};

const ROUNDS: usize = 150;
const CALLS: u32 = 20;

/// Prints the best round of each; the rounds are short and alternate, so that a busy machine slows both, and not all of them.
pub(crate) async fn compare(what: &str, client: &str, ours: &impl AsyncFn(u32), bare: &impl AsyncFn(u32)) {
    let (mut best_ours, mut best_bare) = (Duration::MAX, Duration::MAX);
    for _ in 0..ROUNDS {
        best_bare = best_bare.min(round(bare).await);
        best_ours = best_ours.min(round(ours).await);
    }
    println!(
        "{what:<34} {best_ours:>9.1?}   bare {client} {best_bare:>9.1?}   ratio {:.2}",
        best_ours.as_secs_f64() / best_bare.as_secs_f64()
    );
}

/// The time of one call.
async fn round(call: &impl AsyncFn(u32)) -> Duration {
    let begun = Instant::now();
    for number in 0..CALLS {
        call(number).await;
    }
    begun.elapsed() / CALLS
}

/// Prints the median and the slowest but one in a hundred.
pub(crate) fn print_percentiles(what: &str, times: &mut [Duration]) {
    times.sort_unstable();
    let at = |percent: usize| times[(times.len() - 1) * percent / 100];
    println!("{what:<38} p50 {:>9.1?}   p99 {:>9.1?}", at(50), at(99));
}

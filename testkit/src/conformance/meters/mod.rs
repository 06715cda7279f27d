//! METRIC, first half: what a meter does with what is recorded.

pub mod cardinality;
pub mod series;

use std::fmt;

use infra_core::telemetry::{Label, Meter};

use super::Scenario;
use super::making::makers;

/// A meter whose series can be read back: from memory, from its metrics page, from the collector that it exports to.
pub trait ReadableMeter: fmt::Debug + Send + Sync + 'static {
    /// The meter.
    fn meter(&self) -> &dyn Meter;

    /// The value of a series by its dotted name: a count, a level, the last observation of a gauge; of a histogram, how many observations it
    /// has. `None` for a series that nobody asked a handle for.
    fn value(&self, name: &str, labels: &[Label<'_>]) -> Option<f64>;

    /// The sum of a histogram's observations, and how many of them each bucket holds: its upper bound, and those in it alone.
    fn histogram(&self, name: &str, labels: &[Label<'_>]) -> Option<(f64, Vec<(f64, u64)>)>;

    /// The label sets of an instrument, each in the order of label names.
    fn label_sets(&self, name: &str) -> Vec<Vec<(String, String)>>;

    /// How many label sets one instrument may have before further ones share a series.
    fn max_series(&self) -> usize;
}

makers!(ReadableMeter);

/// Every scenario of this family.
pub const SCENARIOS: &[Scenario<dyn ReadableMeter>] = crate::meters!(@list __conformance_table ());

/// One test per scenario on METRIC for a meter: `conformance::meters!(make_meter)`.
#[macro_export]
macro_rules! meters {
    (@list $callback:ident $arguments:tt) => {
        $crate::$callback! { (meters) $arguments {
            series {
                metric_001_a_counter_adds_up,
                metric_002_a_level_goes_up_and_down,
                metric_003_a_gauge_shows_the_last_observation,
                metric_004_a_histogram_counts_and_sums_its_observations,
                metric_005_buckets_of_seconds_tell_milliseconds_from_seconds,
                metric_006_what_is_no_number_spoils_nothing,
                metric_007_the_same_labels_are_the_same_series,
                metric_008_labels_never_run_together,
            }
            cardinality {
                metric_009_label_sets_are_bounded_and_nothing_is_lost,
                metric_010_threads_lose_nothing,
            }
        } }
    };
    ($($arguments:tt)+) => { $crate::meters!(@list __conformance_tests ($($arguments)+)); };
}

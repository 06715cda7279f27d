//! WATCH on the configuration centre of this process.

use crate::config_centers::coordinator;

infra_testkit::conformance::watches!(coordinator, every_mode);

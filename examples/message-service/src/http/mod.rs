//! The HTTP face of the service.

mod problem;
mod routes;
mod trace;

pub use problem::Problem;
pub use routes::{Http, router};

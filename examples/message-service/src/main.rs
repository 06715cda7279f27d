//! message-service
fn main() {}

use infra_core::{Result, intercept};

#[intercept(component = "payments")]
trait Payments: Send + Sync {
    async fn balance(&self) -> Result<u64>;
}

fn main() {}

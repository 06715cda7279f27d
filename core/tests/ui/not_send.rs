use infra_core::{Result, async_trait, intercept};

#[intercept(component = "payments")]
#[async_trait(?Send)]
trait Payments: Send + Sync {
    async fn balance(&self) -> Result<u64>;
}

fn main() {}

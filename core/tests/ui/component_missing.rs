use infra_core::{Result, async_trait, intercept};

#[intercept]
#[async_trait]
trait Payments: Send + Sync {
    #[call(idempotent)]
    async fn balance(&self) -> Result<u64>;
}

#[intercept("payments")]
trait Bare: Send + Sync {}

#[intercept(component = "Payment Service")]
trait Spaced: Send + Sync {}

fn main() {}

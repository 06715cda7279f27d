use infra_core::{Result, async_trait, intercept};

#[intercept(component = "payments")]
#[async_trait]
trait Payments: Send + Sync {
    #[call(direct, idempotent)]
    async fn balance(&self) -> Result<u64>;
}

#[intercept(component = "ledgers")]
#[async_trait]
trait Ledgers: Send + Sync {
    #[call(idempotent)]
    #[call(once)]
    async fn balance(&self) -> Result<u64>;
}

fn main() {}

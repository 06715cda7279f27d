use infra_core::{Result, async_trait, intercept};

#[intercept(name = "payments")]
trait Payments: Send + Sync {}

#[intercept(component = "accounts")]
#[async_trait]
trait Accounts: Send + Sync {
    #[call(idempotant)]
    async fn open(&self) -> Result<()>;
}

#[intercept(component = "ledgers")]
#[async_trait]
trait Ledgers: Send + Sync {
    #[call]
    async fn open(&self) -> Result<()>;
}

fn main() {}

use infra_core::{Result, async_trait, intercept};

#[intercept(component = "payments")]
#[async_trait]
trait Payments: Send + Sync {
    async fn pay<T: Send>(&self, what: T) -> Result<()>;
    async fn refund(&self, what: impl Into<String> + Send) -> Result<()>;
}

fn main() {}

use infra_core::{async_trait, intercept};

#[intercept(component = "payments")]
#[async_trait]
trait Counts: Send + Sync {
    async fn count(&self) -> u64;
}

#[intercept(component = "payments")]
#[async_trait]
trait Notices: Send + Sync {
    async fn notify(&self);
}

fn main() {}

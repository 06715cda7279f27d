use infra_core::{async_trait, intercept};

#[derive(Debug)]
struct Declined;

#[intercept(component = "payments")]
#[async_trait]
trait Payments: Send + Sync {
    async fn pay(&self, cents: u64) -> Result<(), Declined>;
}

fn main() {}

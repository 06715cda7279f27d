use infra_core::{Result, async_trait, intercept};

struct Body(Vec<u8>);

#[intercept(component = "payments")]
#[async_trait]
trait Payments: Send + Sync {
    async fn send(&self, account: &str, body: Body) -> Result<()>;
}

fn main() {}

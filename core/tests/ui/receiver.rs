use infra_core::{Result, async_trait, intercept};

#[intercept(component = "payments")]
#[async_trait]
trait Payments: Send + Sync {
    async fn close(self: Box<Self>) -> Result<()>;
    async fn change(&mut self) -> Result<()>;
    fn open(name: &str) -> Result<()>;
}

fn main() {}

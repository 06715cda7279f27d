use infra_core::intercept;

#[intercept(component = "payments")]
trait Payments: Send + Sync {
    const NAME: &'static str;
    type Cursor<'a>;
}

fn main() {}

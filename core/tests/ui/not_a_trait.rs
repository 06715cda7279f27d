use infra_core::intercept;

struct Payments;

#[intercept(component = "payments")]
impl Payments {
    fn nothing(&self) {}
}

fn main() {}

//! The attribute macro that makes a trait interceptable; use it as `infra_core::intercept`.
//!
//! It reads a trait and writes, beside the trait itself, the implementation of that trait for
//! `infra_core::intercept::Proxy<T>`. It touches nothing else: what a proxied call does is written in infra-core.

use proc_macro::TokenStream;
use syn::parse_macro_input;

mod expand;
mod options;
mod signature;

/// Makes a trait interceptable: implements it for `infra_core::intercept::Proxy<T>` of every `T` that implements it.
///
/// Write it on the trait, together with `#[async_trait]` (above or below, both work):
///
/// ```ignore
/// use infra_core::{Result, async_trait, intercept};
///
/// #[intercept(component = "payments")]
/// #[async_trait]
/// pub trait Payments: Send + Sync {
///     /// Repeating it changes nothing.
///     #[call(idempotent)]
///     async fn balance(&self, account: &str) -> Result<u64>;
///
///     /// Not marked: repeated only after an error that certainly had no effect.
///     async fn charge(&self, account: &str, cents: u64) -> Result<()>;
///
///     /// Not async: always forwarded as it is.
///     fn currency(&self) -> &'static str;
/// }
/// ```
///
/// # Options of the trait
/// - `component = "name"` (required): the component's name in metrics, traces and errors; `lower_snake_case`.
/// - `crate = path`: where infra-core is found, for a crate that renames the dependency; `::infra_core` by default.
///
/// # Options of a method, in `#[call(...)]`
/// - `idempotent`: doing it twice leaves the same state as doing it once, so it may be repeated after any retryable error.
/// - `waits`: it waits by design, up to a bound of its own (a blocking acquire), so timeouts leave it alone.
/// - `once`: never repeated; for owned arguments that cannot be cloned and for `&mut` arguments.
/// - `direct`: forwarded untouched, seen by no interceptor.
///
/// # What a trait must look like
/// It must be usable as `dyn Trait`. Every method takes `&self` and has no type parameters; every async method returns a
/// `Result` whose error implements `infra_core::Failure`, unless it is `direct`; the first `&str` argument is the
/// subject of the call in traces and logs. Methods with default bodies are forwarded like the others. Type parameters of the
/// trait and plain associated types are supported; associated constants are not.
#[proc_macro_attribute]
pub fn intercept(arguments: TokenStream, item: TokenStream) -> TokenStream {
    let item = parse_macro_input!(item as syn::Item);
    expand::expand(arguments.into(), item).into()
}

//! The macro on traits of another crate, over the range of signatures that `#[async_trait]` accepts.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use bytes::Bytes;
use infra_core::intercept::{Proxy, Recorder, Stack};
use infra_core::{Error, ErrorKind, Failure, Result, Ttl, async_trait, intercept};

/// A type with a lifetime of its own.
struct Item<'a>(&'a str);

impl Clone for Item<'_> {
    fn clone(&self) -> Self {
        Self(self.0)
    }
}

/// Owned and not `Clone`.
struct Body(String);

#[intercept(component = "shapes")]
#[async_trait]
trait Shapes: fmt::Debug + Send + Sync {
    #[call(idempotent)]
    async fn get(&self, key: &str) -> Result<Option<Bytes>>;
    #[call(idempotent)]
    #[call(waits)]
    async fn many(&self, keys: &[&str]) -> Result<Vec<Option<Bytes>>>;
    async fn set(&self, key: &str, value: Bytes, ttl: Ttl) -> Result<()>;
    async fn optional(&self, key: Option<&str>, item: Item<'_>) -> Result<usize>;
    async fn nested<'k>(&'k self, pairs: HashMap<String, Vec<&'k str>>, _: u8) -> Result<&'k str>;
    async fn mapped(&self, pairs: &HashMap<String, Vec<u8>>, tuple: (&str, &[u8])) -> Result<usize>;
    async fn callback(&self, f: &(dyn for<'t> Fn(&'t str) -> usize + Sync), text: &str) -> Result<usize>;
    #[call(once)]
    async fn send(&self, body: Body) -> Result<usize>;
    #[call(once)]
    async fn fill(&self, buffer: &mut Vec<u8>) -> Result<()>;
    #[call(direct)]
    async fn bare(&self, n: u8) -> u8;
    async fn nothing(&self) -> Result<()>;
    async fn inherited(&self, key: &str) -> Result<String> {
        Ok(format!("default {key} {}", self.plain()))
    }
    fn plain(&self) -> &str;
    fn sync_default(&self, (a, b): (u8, u8)) -> u8 {
        a + b
    }
    async fn r#type(&self, r#match: &str) -> Result<usize>;
}

infra_core::assert_object_safe!(Shapes);

#[derive(Debug)]
struct Real;

#[async_trait]
impl Shapes for Real {
    async fn get(&self, key: &str) -> Result<Option<Bytes>> {
        Ok(Some(Bytes::copy_from_slice(key.as_bytes())))
    }
    async fn many(&self, keys: &[&str]) -> Result<Vec<Option<Bytes>>> {
        Ok(keys
            .iter()
            .map(|key| Some(Bytes::copy_from_slice(key.as_bytes())))
            .collect())
    }
    async fn set(&self, _: &str, _: Bytes, _: Ttl) -> Result<()> {
        Err(Error::new(ErrorKind::Conflict, "changed"))
    }
    async fn optional(&self, key: Option<&str>, item: Item<'_>) -> Result<usize> {
        Ok(key.map_or(0, str::len) + item.0.len())
    }
    async fn nested<'k>(&'k self, pairs: HashMap<String, Vec<&'k str>>, _: u8) -> Result<&'k str> {
        Ok(pairs.values().flatten().next().copied().unwrap_or("none"))
    }
    async fn mapped(&self, pairs: &HashMap<String, Vec<u8>>, tuple: (&str, &[u8])) -> Result<usize> {
        Ok(pairs.len() + tuple.0.len() + tuple.1.len())
    }
    async fn callback(&self, f: &(dyn for<'t> Fn(&'t str) -> usize + Sync), text: &str) -> Result<usize> {
        Ok(f(text))
    }
    async fn send(&self, body: Body) -> Result<usize> {
        Ok(body.0.len())
    }
    async fn fill(&self, buffer: &mut Vec<u8>) -> Result<()> {
        buffer.push(7);
        Ok(())
    }
    async fn bare(&self, n: u8) -> u8 {
        n + 1
    }
    async fn nothing(&self) -> Result<()> {
        Ok(())
    }
    fn plain(&self) -> &str {
        "plain"
    }
    fn sync_default(&self, (a, b): (u8, u8)) -> u8 {
        a * b
    }
    async fn r#type(&self, r#match: &str) -> Result<usize> {
        Ok(r#match.len())
    }
}

async fn exercise(shapes: &Arc<dyn Shapes>) {
    assert_eq!(shapes.get("k").await.unwrap().unwrap(), "k");
    assert_eq!(shapes.many(&["a", "b"]).await.unwrap().len(), 2);
    let refused = shapes.set("k", Bytes::new(), Ttl::Never).await.unwrap_err();
    assert_eq!(
        (refused.kind(), refused.message()),
        (ErrorKind::Conflict, "changed")
    );
    assert_eq!(shapes.optional(Some("ab"), Item("cde")).await.unwrap(), 5);
    let pairs = HashMap::from([(String::new(), vec!["first"])]);
    assert_eq!(shapes.nested(pairs, 0).await.unwrap(), "first");
    assert_eq!(shapes.mapped(&HashMap::new(), ("ab", &[1])).await.unwrap(), 3);
    assert_eq!(shapes.callback(&str::len, "abcd").await.unwrap(), 4);
    assert_eq!(shapes.send(Body("xyz".into())).await.unwrap(), 3);
    let mut buffer = Vec::new();
    shapes.fill(&mut buffer).await.unwrap();
    assert_eq!(buffer, [7]);
    assert_eq!(shapes.bare(1).await, 2);
    shapes.nothing().await.unwrap();
    assert_eq!(shapes.inherited("k").await.unwrap(), "default k plain");
    assert_eq!(shapes.plain(), "plain");
    assert_eq!(shapes.sync_default((3, 4)), 12);
    assert_eq!(shapes.r#type("four").await.unwrap(), 4);
}

#[tokio::test]
async fn every_signature_is_forwarded_with_and_without_interceptors() {
    let real: Arc<dyn Shapes> = Arc::new(Real);
    exercise(&real).await;
    let unwatched: Arc<dyn Shapes> = Stack::new().wrap_named("real", Arc::clone(&real));
    exercise(&unwatched).await;

    let recorder = Arc::new(Recorder::new());
    let stack = Stack::new().with_shared(recorder.clone());
    let watched: Arc<dyn Shapes> = stack.wrap_named("real", real);
    exercise(&watched).await;
    let seen: Vec<_> = recorder
        .calls()
        .iter()
        .map(|call| (call.label, call.subject.clone(), call.outcome))
        .collect();
    let expected = [
        ("shapes.get", Some("k"), "ok"),
        ("shapes.many", None, "ok"),
        ("shapes.set", Some("k"), "conflict"),
        ("shapes.optional", None, "ok"),
        ("shapes.nested", None, "ok"),
        ("shapes.mapped", None, "ok"),
        ("shapes.callback", Some("abcd"), "ok"),
        ("shapes.send", None, "ok"),
        ("shapes.fill", None, "ok"),
        ("shapes.nothing", None, "ok"),
        ("shapes.inherited", Some("k"), "ok"),
        ("shapes.type", Some("four"), "ok"),
    ]
    .map(|(label, subject, outcome)| (label, subject.map(str::to_owned), outcome));
    assert_eq!(seen, expected);
    assert_eq!(
        format!("{watched:?}"),
        r#"Proxy { backend: "real", stack: ["recorder"], .. }"#
    );
}

/// The other order of the attributes, an error type of its own, an alias for the result.
#[async_trait]
#[intercept(component = "payments")]
trait Payments: Send + Sync {
    #[call(idempotent)]
    async fn balance(&self, account: &str) -> Outcome<u64>;
}

type Outcome<T> = std::result::Result<T, PaymentError>;

#[derive(Debug)]
enum PaymentError {
    Declined,
    Infrastructure(Error),
}

impl From<Error> for PaymentError {
    fn from(error: Error) -> Self {
        Self::Infrastructure(error)
    }
}

impl Failure for PaymentError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Declined => ErrorKind::Conflict,
            Self::Infrastructure(error) => error.kind(),
        }
    }
    fn as_error(&self) -> Option<&Error> {
        match self {
            Self::Declined => None,
            Self::Infrastructure(error) => Some(error),
        }
    }
    fn exhausted(self) -> Self {
        match self {
            Self::Infrastructure(error) => Self::Infrastructure(error.exhausted()),
            declined @ Self::Declined => declined,
        }
    }
}

struct Bank(AtomicU32);

#[async_trait]
impl Payments for Bank {
    async fn balance(&self, account: &str) -> Outcome<u64> {
        self.0.fetch_add(1, Ordering::Relaxed);
        match account {
            "hangs" => std::future::pending().await,
            "poor" => Err(PaymentError::Declined),
            _ => Ok(7),
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_trait_with_its_own_errors_is_refused_and_bounded_in_them() {
    let recorder = Arc::new(Recorder::new());
    let stack = Stack::new()
        .with_shared(recorder.clone())
        .with(infra_core::intercept::Timeout::new(
            std::time::Duration::from_millis(20),
        ));
    let bank = stack.wrap_named("bank", Arc::new(Bank(AtomicU32::new(0))));
    assert_eq!(bank.balance("rich").await.unwrap(), 7);
    assert!(matches!(bank.balance("poor").await, Err(PaymentError::Declined)));
    let Err(PaymentError::Infrastructure(error)) = bank.balance("hangs").await else {
        panic!("expected a timeout")
    };
    assert_eq!(error.kind(), ErrorKind::Timeout);
    assert_eq!(
        (error.component(), error.backend(), error.operation()),
        ("payments", "bank", "balance")
    );
    assert!(!error.had_no_effect(), "the bank was called, so nobody knows");
    let outcomes: Vec<_> = recorder.calls().iter().map(|call| call.outcome).collect();
    assert_eq!(outcomes, ["ok", "conflict", "timeout"]);
    assert_eq!(Proxy::inner(&bank).0.load(Ordering::Relaxed), 3);
}

/// Type parameters and associated types of the trait.
#[intercept(component = "store")]
#[async_trait]
trait Store<K: Clone + Send + Sync + 'static>: Send + Sync
where
    K: fmt::Debug,
{
    type Value: Send;
    async fn load(&self, key: &K) -> Result<Self::Value>;
    async fn save(&self, key: K) -> Result<Option<K>>;
}

struct Numbers;

#[async_trait]
impl Store<u8> for Numbers {
    type Value = String;
    async fn load(&self, key: &u8) -> Result<String> {
        Ok(key.to_string())
    }
    async fn save(&self, key: u8) -> Result<Option<u8>> {
        Ok(Some(key))
    }
}

#[tokio::test]
async fn generic_traits_are_supported() {
    let recorder = Arc::new(Recorder::new());
    let stack = Stack::new().with_shared(recorder.clone());
    let store: Arc<dyn Store<u8, Value = String>> =
        stack.wrap_named("numbers", Arc::new(Numbers) as Arc<dyn Store<u8, Value = String>>);
    assert_eq!(store.load(&5).await.unwrap(), "5");
    assert_eq!(store.save(6).await.unwrap(), Some(6));
    assert_eq!(recorder.labels(), ["store.load", "store.save"]);
}

/// A provider that is the sum of narrow traits: its proxy has them all, and upcasts.
mod sum {
    use infra_core::capability::{Capabilities, Limits};
    use infra_core::{Backend, assert_object_safe};

    use super::*;

    #[intercept(component = "cache")]
    #[async_trait]
    trait KeyValue: Backend {
        async fn get(&self, key: &str) -> Result<u8>;
    }
    #[intercept(component = "cache")]
    #[async_trait]
    trait Hashes: Backend {
        async fn hash_get(&self, key: &str, field: &str) -> Result<u8>;
    }
    trait Cache: KeyValue + Hashes {}
    impl<T: KeyValue + Hashes + ?Sized> Cache for T {}
    assert_object_safe!(KeyValue, Hashes, Cache);

    #[derive(Debug)]
    struct Memory(Capabilities);

    #[async_trait]
    impl Backend for Memory {
        fn backend(&self) -> &'static str {
            "memory"
        }
        fn capabilities(&self) -> &Capabilities {
            &self.0
        }
        async fn health(&self) -> Result<()> {
            Err(Error::closed("memory"))
        }
        async fn shutdown(&self, _: std::time::Duration) -> Result<()> {
            Ok(())
        }
    }
    #[async_trait]
    impl KeyValue for Memory {
        async fn get(&self, _: &str) -> Result<u8> {
            Ok(1)
        }
    }
    #[async_trait]
    impl Hashes for Memory {
        async fn hash_get(&self, _: &str, _: &str) -> Result<u8> {
            Ok(2)
        }
    }

    #[tokio::test]
    async fn a_proxy_of_a_sum_is_the_sum() {
        let recorder = Arc::new(Recorder::new());
        let cache: Arc<dyn Cache> = Arc::new(Memory(Capabilities::new(Limits::DEFAULT)));
        let cache: Arc<dyn Cache> = Stack::new().with_shared(recorder.clone()).wrap(cache);
        assert_eq!(cache.get("a").await.unwrap(), 1);
        let hashes: Arc<dyn Hashes> = cache.clone();
        assert_eq!(hashes.hash_get("a", "b").await.unwrap(), 2);
        assert_eq!(cache.backend(), "memory");
        assert_eq!(cache.health().await.unwrap_err().kind(), ErrorKind::Closed);
        assert_eq!(
            recorder.labels(),
            ["cache.get", "cache.hash_get"],
            "health is not intercepted"
        );
        assert_eq!(recorder.of("cache.hash_get")[0].backend, "memory");
    }
}

//! A guided tour: each component in the few lines in which business code uses it.
//!
//! Nothing to call is in here. Every example runs on `infra-memory`; with another backend only the line that opens the
//! component changes. Database and search need a crate of their own: see the tours of `infra-sql` and `infra-tantivy`.
//!
//! # Logs
//!
//! Business code uses `tracing`; `main` sets it up once and keeps the guard, which flushes when it is dropped. Everything
//! inside [`with_trace_id`](crate::telemetry::with_trace_id) carries the id, everything inside
//! [`namespaced`](crate::log::namespaced) the namespace.
//!
//! ```standalone_crate
//! # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
//! use infra_core::log::{self, LogConfig};
//! use infra_core::telemetry::with_trace_id;
//!
//! let _guard = log::init(LogConfig::development(), "im-logic")?;
//! tracing::info!("the service has started");
//!
//! let get_user = log::namespaced("get_user", async {
//!     tracing::info!(user_id = "u1", "looking up a user"); // namespace im-logic.get_user
//! });
//! with_trace_id("trace-1", get_user).await;
//! # Ok::<(), infra_core::Error>(())
//! # }).unwrap();
//! ```
//!
//! # Coordination
//!
//! ```
//! # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
//! use std::time::Duration;
//! use futures_util::StreamExt;
//! use infra_core::coordination::{
//!     ConfigCenterExt, Instance, LockOptions, Locks, Registry, RegistryExt,
//! };
//! use infra_core::watch::WatchEvent;
//! # let coordinator = infra_memory::MemoryCoordinator::new();
//!
//! // Discovery: register, look up, and watch from exactly there.
//! let me = Instance::new("user-service", "user-1", "10.0.0.7", 9000);
//! let registration = coordinator.register(me, Duration::from_secs(15)).await?;
//! let (instances, _changes) = coordinator.discover_and_watch("user-service").await?;
//! assert_eq!(instances[0].address, "10.0.0.7");
//!
//! // Configuration: typed values, and a watch over a prefix that misses nothing.
//! let (_limits, mut changes) = coordinator.list_and_watch("config/limits/").await?;
//! coordinator.set("config/limits/send", &30).await?;
//! assert_eq!(coordinator.get::<u32>("config/limits/send").await?, Some(30));
//! let Some(WatchEvent::Put(entry)) = changes.next().await else { panic!("a change") };
//! assert_eq!(entry.key, "config/limits/send");
//!
//! // A lock: renewed while it is held, with a token that grows from owner to owner.
//! let lock = coordinator.acquire("my-resource", LockOptions::new(Duration::from_secs(30))).await?;
//! tracing::info!(token = %lock.fencing_token(), "alone");
//! lock.release().await?;
//! # registration.deregister().await?;
//! # Ok::<(), infra_core::Error>(())
//! # }).unwrap();
//! ```
//!
//! # Message queue
//!
//! ```
//! # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
//! use infra_core::queue::{Disposition, Message, MessageQueue, ProducerExt, Subscription, handler_fn};
//! # let queue = infra_memory::MemoryQueue::new();
//! # let (done, mut seen) = tokio::sync::mpsc::unbounded_channel();
//!
//! let producer = queue.producer().await?;
//! let registered = Message::new("user.events", r#"{"id":"user123"}"#).with_key("user123");
//! producer.send(registered.clone()).await?; // when the answer matters
//! producer
//!     .send_detached(registered, |result| {
//!         if let Err(error) = result {
//!             tracing::error!(%error, "not sent");
//!         }
//!     })
//!     .await?; // when it does not
//!
//! let consumer = queue.consumer("notification-service").await?;
//! let handler = handler_fn(move |delivery| {
//! #   let done = done.clone();
//!     async move {
//!         tracing::info!(topic = delivery.message.topic, attempt = delivery.attempt, "a message came");
//! #       done.send(()).ok();
//!         Ok(Disposition::Ack) // or Retry, or DeadLetter; an Err or a panic is a retry
//!     }
//! });
//! let subscription = consumer.subscribe(Subscription::to(["user.events"]), handler).await?;
//! # for _ in 0..2 { seen.recv().await.unwrap(); }
//! subscription.drain(std::time::Duration::from_secs(5)).await?;
//! # Ok::<(), infra_core::Error>(())
//! # }).unwrap();
//! ```
//!
//! # Cache
//!
//! ```
//! # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
//! use infra_core::Ttl;
//! use infra_core::cache::{Bloom, BloomOptions, KeyValue};
//! # let cache = infra_memory::MemoryCache::new();
//!
//! cache.set("user:123", "John".into(), Ttl::secs(600)).await?;
//! match cache.get("user:123").await? {
//!     Some(name) => assert_eq!(name, "John"),
//!     None => tracing::info!("not in the cache"),
//! }
//!
//! // Seen before? One round trip asks and remembers.
//! cache.bloom_reserve("seen", BloomOptions::new(0.01, 10_000)).await?;
//! if cache.bloom_add("seen", b"item123").await? {
//!     tracing::info!("certainly new");
//! }
//! # Ok::<(), infra_core::Error>(())
//! # }).unwrap();
//! ```
//!
//! # Ids
//!
//! ```
//! # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
//! use std::sync::Arc;
//! use infra_core::uid::{SnowflakeIds, UidConfig, UidProvider};
//! # let coordinator = Arc::new(infra_memory::MemoryCoordinator::new());
//!
//! let ids = SnowflakeIds::connect(coordinator, "message-service", UidConfig::development()).await?;
//! let request_id = ids.uuid();
//! let message_id = ids.snowflake()?;
//! let parts = ids.parse_snowflake(message_id)?;
//! tracing::info!(%request_id, message_id, instance = parts.instance, sequence = parts.sequence, "made");
//! # Ok::<(), infra_core::Error>(())
//! # }).unwrap();
//! ```
//!
//! # Rate limits
//!
//! ```
//! # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
//! use infra_core::rate_limit::{Limiter, LimiterDependencies, RateLimitConfig, RateLimiterExt, Rule};
//!
//! let mut config = RateLimitConfig::development();
//! config.rules.insert("send_message".into(), Rule::new(30.0, 60));
//! let limiter = Limiter::new(config, LimiterDependencies::new())?;
//!
//! let decision = limiter.check("user:123", "send_message").await?;
//! if !decision.allowed {
//!     tracing::warn!(wait = ?decision.retry_after, "too fast");
//! }
//! # assert!(decision.allowed);
//! # Ok::<(), infra_core::Error>(())
//! # }).unwrap();
//! ```
//!
//! # Idempotent operations
//!
//! ```
//! # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
//! use std::sync::Arc;
//! use std::time::Duration;
//! use infra_core::once::{Once, OnceConfig, OnceExt, OnceOptions, StoreOnce};
//! # let store = Arc::new(infra_memory::MemoryOnceStore::new());
//! # const DAY: Duration = Duration::from_secs(24 * 3600);
//!
//! let once = StoreOnce::new(store, OnceConfig::development())?;
//! once.run("payment:order-123", DAY, async { Ok(()) }).await?; // done once, whoever asks again
//!
//! let document = once.execute("doc:create:xyz", OnceOptions::new(2 * DAY), async { Ok("document 7".to_owned()) });
//! assert_eq!(document.await?.into_inner(), "document 7"); // the result is remembered, too
//!
//! once.clear("payment:order-123").await?; // to do it again on purpose
//! # Ok::<(), infra_core::Error>(())
//! # }).unwrap();
//! ```
//!
//! # Circuit breakers and retries
//!
//! ```
//! # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
//! use infra_core::breaker::{BreakerConfig, BreakerExt, BreakerProvider, Breakers};
//! use infra_core::retry::{self, Policy};
//! use infra_core::{ErrorKind, Result};
//!
//! async fn call_downstream() -> Result<u32> {
//!     Ok(7)
//! }
//!
//! let breaker = Breakers::new(BreakerConfig::development())?.breaker("grpc:user-service:GetUser");
//! let policy = Policy::development();
//! let budget = policy.new_budget();
//! // The breaker goes outside the retry: one guarded call is one operation with all its attempts.
//! match breaker.call(|| retry::run(&policy, &budget, call_downstream)).await {
//!     Ok(answer) => assert_eq!(answer, 7),
//!     Err(error) if error.kind() == ErrorKind::CircuitOpen => tracing::warn!("try again later"),
//!     Err(error) => return Err(error),
//! }
//! # Ok::<(), infra_core::Error>(())
//! # }).unwrap();
//! ```
//!
//! # Metrics and traces
//!
//! Calls of components are measured by the standard stack without a line of code. For numbers of your own, bind an
//! instrument once and record through it:
//!
//! ```
//! use infra_core::telemetry::{Descriptor, Meter, SECONDS_BUCKETS, Unit};
//! # let meter = infra_memory::MemoryMeter::new();
//!
//! const SENT: Descriptor = Descriptor::new("messages.sent", "Messages that were sent.", Unit::Count);
//! const DURATION: Descriptor = Descriptor::new("messages.duration", "How long sending took.", Unit::Seconds);
//!
//! let sent = meter.counter(&SENT, &[("kind", "text")]);
//! let duration = meter.histogram(&DURATION, &[("kind", "text")]);
//! sent.add(1);
//! duration.record(0.012);
//! assert!(SECONDS_BUCKETS.contains(&0.01), "buckets fit seconds, not milliseconds");
//! ```
//!
//! # A service from its configuration
//!
//! [`Infra`](crate::assembly::Infra) opens all of the above in dependency order, puts the standard stack in front of each, and
//! closes them in reverse. `examples/message-service` is such a service, whole.
//!
//! ```no_run
//! use infra_core::assembly::{Backends, Infra, InfraConfig};
//! use infra_core::config::{Loader, Profile};
//! use infra_core::lifecycle::{Ended, Signals, run_until_signal};
//! use infra_core::{Result, log};
//!
//! # async fn serve(_: &Infra) -> Result<()> { Ok(()) }
//! async fn run() -> Result<()> {
//!     let profile = Profile::from_env("APP_PROFILE")?.unwrap_or(Profile::Development);
//!     let config: InfraConfig = Loader::new(profile)
//!         .with_defaults(&InfraConfig::of(profile))
//!         .with_file("app.toml") // cache.url = "memory://" and so on
//!         .with_env("APP") // APP__CACHE__URL
//!         .load()?;
//!     let _log = log::init(config.log.clone(), "message-service")?;
//!
//!     let mut backends = Backends::new(); // those that this program is compiled with
//!     infra_memory::register(&mut backends);
//!     // infra_sql::register(&mut backends); infra_tantivy::register(&mut backends);
//!
//!     let signals = Signals::listen()?; // the first signal asks for an orderly end, the second forces it
//!     let service = async {
//!         let infra = Infra::open("message-service", config, &backends, profile).await?;
//!         let served = tokio::select! {
//!             served = serve(&infra) => served, // hands `infra.cache().clone()` and the like to business code
//!             () = signals.stop().cancelled() => Ok(()),
//!         };
//!         infra.shutdown().await.and(served)
//!     };
//!     match run_until_signal(&signals, service).await {
//!         Ended::Finished(outcome) => outcome,
//!         _ => std::process::exit(130),
//!     }
//! }
//! ```

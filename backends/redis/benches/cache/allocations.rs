//! What a read allocates, the driver's task included: on a runtime of one thread, where all of it can be counted.

use infra_core::Ttl;
use infra_redis::redis::AsyncCommands;

use crate::Clients;

const CALLS: u64 = 1000;

/// Runs in a thread of its own.
pub(crate) fn run(url: String) {
    let counting = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.expect("a runtime");
        let clients = runtime.block_on(Clients::connect(&url));
        let place = clients.place("b-counted");
        let (mut bare, ours) = (clients.bare.clone(), clients.shared());
        runtime
            .block_on(async { ours.set("b-counted", "value".into(), Ttl::Never).await })
            .expect("set");
        let of_bare = allocation_counter::measure(|| {
            runtime.block_on(async {
                for _ in 0..CALLS {
                    let value: Option<Vec<u8>> = bare.get(&place).await.expect("answered");
                    drop(value.expect("there"));
                }
            });
        });
        let of_ours = allocation_counter::measure(|| {
            runtime.block_on(async {
                for _ in 0..CALLS {
                    drop(ours.get("b-counted").await.expect("answered").expect("there"));
                }
            });
        });
        println!(
            "allocations per get: infra-redis {:.1} ({} bytes), redis {:.1} ({} bytes)",
            of_ours.count_total as f64 / CALLS as f64,
            of_ours.bytes_total / CALLS,
            of_bare.count_total as f64 / CALLS as f64,
            of_bare.bytes_total / CALLS,
        );
    });
    counting.join().expect("counted");
}

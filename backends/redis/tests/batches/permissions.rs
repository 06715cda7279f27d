//! Users who may do some commands of a batch only.

use infra_core::ErrorKind;
use infra_core::cache::{Hashes, KeyValue, Keys, Operation, Scripts};
use infra_redis::RedisCache;
use infra_redis::redis;
use infra_testkit::{servers, unique};

use crate::{add, batch, cache_at, set};

/// A client of a user with these rights beside all others, one of a user who may do everything, on the same keys.
async fn caches(rights: &str) -> Option<(RedisCache, RedisCache)> {
    let url = servers::require("redis")?;
    let (user, prefix) = (unique("user"), unique("rights"));
    let mut connection = redis::Client::open(url.as_str())
        .unwrap()
        .get_multiplexed_async_connection()
        .await
        .unwrap();
    let mut acl = redis::cmd("ACL");
    acl.arg("SETUSER")
        .arg(&user)
        .arg("on")
        .arg(">secret")
        .arg("~*")
        .arg("+@all")
        .arg(rights);
    acl.exec_async(&mut connection).await.unwrap();
    let as_user = url.replace("redis://", &format!("redis://{user}:secret@"));
    Some((
        cache_at(&as_user, prefix.clone()).await,
        cache_at(&url, prefix).await,
    ))
}

fn field() -> Operation {
    Operation::HashSet("h".into(), vec![("f".into(), "1".into())])
}

#[tokio::test]
async fn a_right_that_ends_in_the_middle_is_reported_with_what_was_done() {
    let Some((limited, other)) = caches("-hset").await else {
        return;
    };
    let error = limited.atomically(batch([field()])).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::PermissionDenied, "{error:?}");
    assert!(error.had_no_effect(), "{error:?}");
    let error = limited
        .atomically(batch([set("a", "1"), field()]))
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::PermissionDenied, "{error:?}");
    assert!(
        !error.had_no_effect() && error.to_string().contains("step 1"),
        "{error:?}"
    );
    assert!(other.exists("a").await.unwrap());
    assert_eq!(other.hash_len("h").await.unwrap(), 0);
}

#[tokio::test]
async fn nothing_is_done_that_could_not_be_put_back() {
    for right in ["-restore", "-dump"] {
        let Some((limited, other)) = caches(right).await else {
            return;
        };
        other
            .set("n", i64::MAX.to_string().into(), infra_core::Ttl::Never)
            .await
            .unwrap();
        other
            .set("a", "old".into(), infra_core::Ttl::Never)
            .await
            .unwrap();
        let error = limited
            .atomically(batch([set("a", "new"), add("n", 1)]))
            .await
            .unwrap_err();
        assert_eq!(error.kind(), ErrorKind::PermissionDenied, "{right}: {error:?}");
        assert_eq!(other.get("a").await.unwrap().unwrap(), "old", "{right}");
        // What can be foreseen needs neither.
        other.set("n", "5".into(), infra_core::Ttl::Never).await.unwrap();
        limited
            .atomically(batch([set("a", "new"), add("n", 1)]))
            .await
            .unwrap();
        assert_eq!(other.get("a").await.unwrap().unwrap(), "new", "{right}");
    }
}

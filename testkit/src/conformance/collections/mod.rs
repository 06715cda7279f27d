//! What hashes, sets and sorted sets have in common as keys that hold several members, written once for the three families.
//!
//! Their scenarios call what is here; what is particular to one of them is in its family.

pub(crate) mod arguments;
pub(crate) mod counting;
pub(crate) mod lifecycle;
pub(crate) mod sharing;
pub(crate) mod steps;
pub(crate) mod whole;

use bytes::Bytes;
use infra_core::async_trait;
use infra_core::cache::{Hashes, Keys, RankRange, ScoreRange, Scored, Sets, SortedSets};
use infra_core::error::Result;

use super::Subject;
use super::answers::Answers;

/// A key that holds several members: the names of fields, the members of a set, those of a sorted set.
#[async_trait]
pub(crate) trait Collection: Subject + Keys {
    /// Adds members, and says how many are new.
    async fn add(&self, key: &str, members: &[&str]) -> Result<u64>;

    /// Removes members, and says how many there were.
    async fn remove(&self, key: &str, members: &[&str]) -> Result<u64>;

    /// Every member, in any order.
    async fn members(&self, key: &str) -> Result<Vec<String>>;

    /// How many members there are.
    async fn count(&self, key: &str) -> Result<u64>;

    /// Every operation of this type that stores nothing.
    async fn reads(&self, key: &str) -> Answers;

    /// Every operation of this type that stores `member`, wherever it takes one.
    async fn writes(&self, key: &str, member: &str) -> Answers;
}

/// Every operation on keys of any type.
pub(crate) async fn key_calls<T: Collection + ?Sized>(client: &T, key: &str) -> Answers {
    vec![
        ("exists", client.exists(key).await.map(drop)),
        ("ttl", client.ttl(key).await.map(drop)),
        (
            "expire",
            client.expire(key, infra_core::Ttl::Never).await.map(drop),
        ),
        ("delete", client.delete(&[key]).await.map(drop)),
    ]
}

fn bytes(members: &[&str]) -> Vec<Bytes> {
    members
        .iter()
        .map(|member| Bytes::from((*member).to_owned()))
        .collect()
}

fn text(member: &[u8]) -> String {
    String::from_utf8_lossy(member).into_owned()
}

#[async_trait]
impl Collection for dyn Hashes {
    async fn add(&self, key: &str, members: &[&str]) -> Result<u64> {
        let fields: Vec<_> = members
            .iter()
            .map(|field| (*field, Bytes::from_static(b"1")))
            .collect();
        self.hash_set(key, &fields).await
    }

    async fn remove(&self, key: &str, members: &[&str]) -> Result<u64> {
        self.hash_delete(key, members).await
    }

    async fn members(&self, key: &str) -> Result<Vec<String>> {
        Ok(self.hash_get_all(key).await?.into_keys().collect())
    }

    async fn count(&self, key: &str) -> Result<u64> {
        self.hash_len(key).await
    }

    async fn reads(&self, key: &str) -> Answers {
        vec![
            ("hash_get", self.hash_get(key, "1").await.map(drop)),
            ("hash_get_all", self.hash_get_all(key).await.map(drop)),
            ("hash_exists", self.hash_exists(key, "1").await.map(drop)),
            ("hash_len", self.hash_len(key).await.map(drop)),
            ("hash_delete", self.hash_delete(key, &["1"]).await.map(drop)),
        ]
    }

    async fn writes(&self, key: &str, member: &str) -> Answers {
        let value = Bytes::from(member.to_owned());
        let as_value = self.hash_set(key, &[("1", value)]).await;
        let as_field = self.hash_set(key, &[(member, Bytes::from_static(b"1"))]).await;
        vec![
            ("hash_set as a value", as_value.map(drop)),
            ("hash_set as a field", as_field.map(drop)),
            ("hash_incr_by", self.hash_incr_by(key, member, 1).await.map(drop)),
        ]
    }
}

#[async_trait]
impl Collection for dyn Sets {
    async fn add(&self, key: &str, members: &[&str]) -> Result<u64> {
        self.set_add(key, &bytes(members)).await
    }

    async fn remove(&self, key: &str, members: &[&str]) -> Result<u64> {
        self.set_remove(key, &bytes(members)).await
    }

    async fn members(&self, key: &str) -> Result<Vec<String>> {
        let members = self.set_members(key).await?;
        Ok(members.iter().map(|member| text(member)).collect())
    }

    async fn count(&self, key: &str) -> Result<u64> {
        self.set_len(key).await
    }

    async fn reads(&self, key: &str) -> Answers {
        let member = Bytes::from_static(b"1");
        let members = [member.clone()];
        vec![
            ("set_members", self.set_members(key).await.map(drop)),
            ("set_contains", self.set_contains(key, member).await.map(drop)),
            ("set_len", self.set_len(key).await.map(drop)),
            ("set_remove", self.set_remove(key, &members).await.map(drop)),
        ]
    }

    async fn writes(&self, key: &str, member: &str) -> Answers {
        vec![("set_add", self.set_add(key, &bytes(&[member])).await.map(drop))]
    }
}

#[async_trait]
impl Collection for dyn SortedSets {
    async fn add(&self, key: &str, members: &[&str]) -> Result<u64> {
        let members: Vec<_> = members
            .iter()
            .map(|member| Scored::new((*member).to_owned(), 1.0))
            .collect();
        self.sorted_add(key, &members).await
    }

    async fn remove(&self, key: &str, members: &[&str]) -> Result<u64> {
        self.sorted_remove(key, &bytes(members)).await
    }

    async fn members(&self, key: &str) -> Result<Vec<String>> {
        let members = self.sorted_range(key, RankRange::ALL).await?;
        Ok(members.iter().map(|scored| text(&scored.member)).collect())
    }

    async fn count(&self, key: &str) -> Result<u64> {
        self.sorted_len(key).await
    }

    async fn reads(&self, key: &str) -> Answers {
        let member = Bytes::from_static(b"1");
        let members = [member.clone()];
        let (ranks, scores) = (RankRange::ALL, ScoreRange::ALL);
        vec![
            ("sorted_range", self.sorted_range(key, ranks).await.map(drop)),
            (
                "sorted_range_by_score",
                self.sorted_range_by_score(key, scores).await.map(drop),
            ),
            ("sorted_len", self.sorted_len(key).await.map(drop)),
            ("sorted_count", self.sorted_count(key, scores).await.map(drop)),
            ("sorted_score", self.sorted_score(key, member).await.map(drop)),
            ("sorted_remove", self.sorted_remove(key, &members).await.map(drop)),
            (
                "sorted_remove_by_rank",
                self.sorted_remove_by_rank(key, ranks).await.map(drop),
            ),
        ]
    }

    async fn writes(&self, key: &str, member: &str) -> Answers {
        let members = [Scored::new(member.to_owned(), 1.0)];
        vec![("sorted_add", self.sorted_add(key, &members).await.map(drop))]
    }
}

//! Keys of any type.

use async_trait::async_trait;
use infra_core::cache::{Keys, ScanPage};
use infra_core::{Error, Result, Ttl};
use redis::cluster_routing::SingleNodeRoutingInfo;

use crate::cache::{RedisCache, command, run};
use crate::client::{Repeat, Way, unexpected};
use crate::reply;
use crate::script::{Invocation, Script};
use crate::strings::milliseconds;

/// Takes the time to live away; returns whether the key exists. `PERSIST` says whether it had one.
static PERSIST: Script = Script::new("redis.call('PERSIST', KEYS[1]) return redis.call('EXISTS', KEYS[1])");

/// How many steps of a scan one page takes at most when they find nothing.
const STEPS: usize = 32;
/// How many keys one step of a deletion looks at.
const DELETED_AT_ONCE: usize = 512;

#[async_trait]
impl Keys for RedisCache {
    async fn delete(&self, keys: &[&str]) -> Result<u64> {
        run("delete", async {
            self.client.check_open()?;
            let keys: Result<Vec<String>> = keys.iter().map(|key| self.key(key)).collect();
            self.unlink(&keys?).await
        })
        .await
    }

    async fn exists(&self, key: &str) -> Result<bool> {
        run("exists", async {
            let key = self.key(key)?;
            reply::flag(self.ask(&command("EXISTS", &key)).await?)
        })
        .await
    }

    async fn expire(&self, key: &str, ttl: Ttl) -> Result<bool> {
        run("expire", async {
            let key = self.key(key)?;
            ttl.check(self.limits())?;
            let _changing = self.changing(&key);
            let reply = match ttl.duration() {
                None => {
                    let persist = Invocation::of(&PERSIST, &[&key]);
                    self.client.invoke(&persist, Repeat::Harmless).await?
                }
                Some(ttl) => self.ask(command("PEXPIRE", &key).arg(milliseconds(ttl))).await?,
            };
            reply::flag(reply)
        })
        .await
    }

    async fn ttl(&self, key: &str) -> Result<Option<Ttl>> {
        run("ttl", async {
            let key = self.key(key)?;
            match reply::number(self.ask(&command("PTTL", &key)).await?)? {
                -2 => Ok(None),
                -1 => Ok(Some(Ttl::Never)),
                left => Ok(Some(Ttl::millis(u64::try_from(left).map_err(|_| unexpected())?))),
            }
        })
        .await
    }

    /// A page may be empty although more follow: Redis looks at about `limit` keys, whatever they begin with.
    async fn scan(&self, prefix: &str, cursor: Option<&str>, limit: usize) -> Result<ScanPage> {
        run("scan", async {
            self.client.check_open()?;
            if limit == 0 {
                return Err(Error::invalid_argument(
                    "a page of 0 keys would never end; ask for at least 1",
                ));
            }
            let mut place = cursor.map(|cursor| Place::read(prefix, cursor)).transpose()?;
            let mut found = Vec::new();
            for _ in 0..STEPS {
                let (keys, next) = self.step(prefix, place, limit).await?;
                found.extend(keys);
                place = next;
                if place.is_none() || found.len() >= limit {
                    break;
                }
            }
            let names = found.iter().filter_map(|key| self.client.keys().strip(key));
            let cursor = place.map(|place| place.write(prefix));
            Ok(ScanPage::new(names.map(str::to_owned).collect(), cursor))
        })
        .await
    }

    async fn delete_prefix(&self, prefix: &str) -> Result<u64> {
        run("delete_prefix", async {
            self.client.check_open()?;
            if prefix.is_empty() {
                return Err(Error::invalid_argument(
                    "an empty prefix would delete every key; give at least one byte",
                ));
            }
            let (mut deleted, mut place) = (0, None);
            loop {
                let (keys, next) = self.step(prefix, place, DELETED_AT_ONCE).await?;
                deleted += self.unlink(&keys).await?;
                match next {
                    Some(next) => place = Some(next),
                    None => return Ok(deleted),
                }
            }
        })
        .await
    }
}

/// Where a scan stands.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Place {
    /// The node of a cluster that is being scanned; empty for a single server.
    node: String,
    /// The server's own cursor.
    cursor: u64,
}

impl Place {
    /// The cursor that a caller gives back: the server's, the node, and a digest of the prefix that it belongs to.
    fn write(&self, prefix: &str) -> String {
        format!("{:x}-{:08x}-{}", self.cursor, digest(prefix), self.node)
    }

    fn read(prefix: &str, cursor: &str) -> Result<Self> {
        let read = || {
            let mut parts = cursor.splitn(3, '-');
            let number = u64::from_str_radix(parts.next()?, 16).ok()?;
            let belongs = u32::from_str_radix(parts.next()?, 16).ok()? == digest(prefix);
            let node = parts.next()?.to_owned();
            belongs.then_some(Self { node, cursor: number })
        };
        read().ok_or_else(|| {
            Error::invalid_argument(
                "the cursor did not come from a scan of this prefix; begin again without one",
            )
        })
    }
}

/// FNV-1a: a mistake is to be noticed, nobody is to be kept out.
fn digest(text: &str) -> u32 {
    text.bytes().fold(0x811c_9dc5, |hash, byte| {
        (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193)
    })
}

impl RedisCache {
    /// Deletes keys of the server, whose memory it gives back later; how many there were.
    async fn unlink(&self, keys: &[String]) -> Result<u64> {
        if keys.is_empty() {
            return Ok(0);
        }
        let _changing: Vec<_> = keys.iter().map(|key| self.changing(key)).collect();
        let mut unlink = redis::cmd("UNLINK");
        unlink.arg(keys);
        reply::count(self.ask(&unlink).await?)
    }

    /// Keys of the server that begin with `prefix`, and where to go on.
    async fn step(
        &self,
        prefix: &str,
        place: Option<Place>,
        count: usize,
    ) -> Result<(Vec<String>, Option<Place>)> {
        let nodes = self.client.masters().await?;
        let place = match place {
            Some(place) => place,
            None => Place {
                node: nodes.first().cloned().unwrap_or_default(),
                cursor: 0,
            },
        };
        let mut scan = redis::cmd("SCAN");
        scan.arg(place.cursor)
            .arg("MATCH")
            .arg(self.client.keys().pattern(prefix))
            .arg("COUNT")
            .arg(count);
        let reply = self
            .client
            .run_at(&scan, way(&place.node)?, Repeat::Harmless)
            .await?;
        let mut parts = reply::list(reply)?.into_iter();
        let (Some(cursor), Some(keys)) = (parts.next(), parts.next()) else {
            return Err(unexpected());
        };
        let cursor: u64 = reply::text(cursor)?.parse().map_err(|_| unexpected())?;
        let keys: Result<Vec<String>> = reply::list(keys)?.into_iter().map(reply::text).collect();
        let next = if cursor == 0 {
            // In the order of their addresses, so that a node that left meanwhile stands in nobody's way.
            let node = nodes.into_iter().find(|node| *node > place.node);
            node.map(|node| Place { node, cursor: 0 })
        } else {
            Some(Place { cursor, ..place })
        };
        Ok((keys?, next))
    }
}

/// The way to a node of a cluster.
fn way(node: &str) -> Result<Way> {
    if node.is_empty() {
        return Ok(Way::Usual);
    }
    let address = node
        .rsplit_once(':')
        .and_then(|(host, port)| Some((host, port.parse().ok()?)));
    let (host, port) = address.ok_or_else(unexpected)?;
    Ok(Way::To(SingleNodeRoutingInfo::ByAddress {
        host: host.to_owned(),
        port,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_belongs_to_its_prefix() {
        let place = Place {
            node: "127.0.0.1:7000".to_owned(),
            cursor: u64::MAX,
        };
        assert_eq!(Place::read("user:", &place.write("user:")).expect("ours"), place);
        for foreign in [
            place.write("room:"),
            "0".to_owned(),
            "x-y-z".to_owned(),
            String::new(),
        ] {
            assert!(Place::read("user:", &foreign).is_err(), "{foreign}");
        }
    }
}

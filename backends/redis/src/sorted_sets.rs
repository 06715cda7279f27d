//! Sorted sets; members come with their scores, at full precision.

use async_trait::async_trait;
use bytes::Bytes;
use infra_core::cache::{Order, RankRange, ScoreBound, ScoreRange, Scored, SortedSets};
use infra_core::{Error, Result};

use crate::cache::{RedisCache, command, run};
use crate::reply;

#[async_trait]
impl SortedSets for RedisCache {
    async fn sorted_add(&self, key: &str, members: &[Scored]) -> Result<u64> {
        run("sorted_add", async {
            let key = self.sorted_key(key)?;
            self.check_scored(members)?;
            if members.is_empty() {
                return Ok(0);
            }
            let mut add = command("ZADD", &key);
            for scored in members {
                add.arg(scored.score).arg(&scored.member[..]);
            }
            reply::count(self.ask(&add).await?)
        })
        .await
    }

    async fn sorted_range(&self, key: &str, range: RankRange) -> Result<Vec<Scored>> {
        run("sorted_range", async {
            let key = self.sorted_key(key)?;
            let name = match range.order {
                Order::Ascending => "ZRANGE",
                Order::Descending => "ZREVRANGE",
            };
            let mut read = command(name, &key);
            read.arg(range.start).arg(range.stop).arg("WITHSCORES");
            reply::scored(self.ask(&read).await?)
        })
        .await
    }

    async fn sorted_range_by_score(&self, key: &str, range: ScoreRange) -> Result<Vec<Scored>> {
        run("sorted_range_by_score", async {
            let key = self.sorted_key(key)?;
            let (min, max) = bounds(&range)?;
            let mut read = match range.order {
                Order::Ascending => command("ZRANGEBYSCORE", &key),
                Order::Descending => command("ZREVRANGEBYSCORE", &key),
            };
            match range.order {
                Order::Ascending => read.arg(min).arg(max),
                Order::Descending => read.arg(max).arg(min),
            };
            read.arg("WITHSCORES");
            if range.offset > 0 || range.limit.is_some() {
                let offset = i64::try_from(range.offset).unwrap_or(i64::MAX);
                // A negative count means no limit, for Redis.
                let limit = range
                    .limit
                    .map_or(-1, |limit| i64::try_from(limit).unwrap_or(i64::MAX));
                read.arg("LIMIT").arg(offset).arg(limit);
            }
            reply::scored(self.ask(&read).await?)
        })
        .await
    }

    async fn sorted_remove(&self, key: &str, members: &[Bytes]) -> Result<u64> {
        run("sorted_remove", async {
            let key = self.sorted_key(key)?;
            self.count_of("ZREM", &key, members).await
        })
        .await
    }

    async fn sorted_remove_by_rank(&self, key: &str, range: RankRange) -> Result<u64> {
        run("sorted_remove_by_rank", async {
            let key = self.sorted_key(key)?;
            let (start, stop) = ascending_ranks(range);
            let mut remove = command("ZREMRANGEBYRANK", &key);
            remove.arg(start).arg(stop);
            reply::count(self.ask_once(&remove).await?)
        })
        .await
    }

    async fn sorted_len(&self, key: &str) -> Result<u64> {
        run("sorted_len", async {
            let key = self.sorted_key(key)?;
            reply::count(self.ask(&command("ZCARD", &key)).await?)
        })
        .await
    }

    async fn sorted_count(&self, key: &str, range: ScoreRange) -> Result<u64> {
        run("sorted_count", async {
            let key = self.sorted_key(key)?;
            let (min, max) = bounds(&range)?;
            reply::count(self.ask(command("ZCOUNT", &key).arg(min).arg(max)).await?)
        })
        .await
    }

    async fn sorted_score(&self, key: &str, member: Bytes) -> Result<Option<f64>> {
        run("sorted_score", async {
            let key = self.sorted_key(key)?;
            reply::score(self.ask(command("ZSCORE", &key).arg(&member[..])).await?)
        })
        .await
    }
}

impl RedisCache {
    fn sorted_key(&self, key: &str) -> Result<String> {
        self.check_key(key)?;
        Ok(self.client.keys().sorted(key))
    }

    /// Refuses scores that are not numbers, and members that are larger than the limit.
    pub(crate) fn check_scored(&self, members: &[Scored]) -> Result<()> {
        if members.iter().any(|scored| scored.score.is_nan()) {
            return Err(not_a_number("score"));
        }
        self.check_members(members.iter().map(|scored| &scored.member))
    }
}

fn not_a_number(what: &str) -> Error {
    Error::invalid_argument(format!("a {what} is not a number; NaN has no place in an order"))
}

/// The ends of a range as Redis writes them, at full precision.
fn bounds(range: &ScoreRange) -> Result<(String, String)> {
    Ok((bound(range.min, "-inf")?, bound(range.max, "+inf")?))
}

fn bound(bound: ScoreBound, unbounded: &str) -> Result<String> {
    match bound {
        ScoreBound::Unbounded => Ok(unbounded.to_owned()),
        ScoreBound::Included(score) | ScoreBound::Excluded(score) if score.is_nan() => {
            Err(not_a_number("bound"))
        }
        ScoreBound::Included(score) => Ok(score.to_string()),
        ScoreBound::Excluded(score) => Ok(format!("({score}")),
    }
}

/// The ranks of a range counted from the least score, as Redis removes them. `!rank` is the same place counted from the other end.
pub(crate) fn ascending_ranks(range: RankRange) -> (i64, i64) {
    match range.order {
        Order::Ascending => (range.start, range.stop),
        Order::Descending => (!range.stop, !range.start),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranks_from_the_other_end_are_the_same_places() {
        let range = |start, stop| {
            let mut range = RankRange::new(start, stop);
            range.order = Order::Descending;
            range
        };
        assert_eq!(ascending_ranks(range(0, 0)), (-1, -1));
        assert_eq!(ascending_ranks(range(0, -1)), (0, -1));
        assert_eq!(ascending_ranks(range(-2, -1)), (0, 1));
        assert_eq!(ascending_ranks(range(i64::MIN, i64::MAX)), (i64::MIN, i64::MAX));
    }

    #[test]
    fn bounds_keep_every_digit() {
        let range = ScoreRange::between(0.1 + 0.2, f64::MAX).with_min(ScoreBound::Excluded(0.1 + 0.2));
        let (min, max) = bounds(&range).expect("numbers");
        assert_eq!(min, "(0.30000000000000004");
        assert_eq!(max.parse::<f64>(), Ok(f64::MAX));
        assert!(bounds(&ScoreRange::between(f64::NAN, 1.0)).is_err());
        assert_eq!(
            bounds(&ScoreRange::between(f64::NEG_INFINITY, f64::INFINITY))
                .expect("numbers")
                .0,
            "-inf"
        );
    }
}

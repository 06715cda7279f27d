//! Sorted sets that are broken on purpose.

use std::sync::Arc;

use bytes::Bytes;
use infra_core::cache::{Order, RankRange, ScoreBound, ScoreRange, Scored, SortedSets};
use infra_core::capability::Limits;
use infra_core::{Error, Result, async_trait};
use infra_memory::MemoryCache;
use infra_testkit::conformance::{self, Breakage, prove};

use super::client::{Client, Member, trimmed};
use super::{Defect, broken};

pub(crate) const FAMILY: &str = "sorted_sets";

#[test]
#[rustfmt::skip] // a table
fn every_scenario_notices_its_defect_and_no_other() {
    prove(
        conformance::sorted_sets::SCENARIOS,
        &[
            sorted("ZSET-001", Defect::AbsentIsAnError, "says not found where no sorted set is"),
            sorted("ZSET-002", Defect::KeepsText, "keeps members as text"),
            sorted("ZSET-003", Defect::CountsNamesake, "counts a member twice that is named twice"),
            sorted("ZSET-004", Defect::KeepsGreaterScores, "keeps a score that is greater than the new one"),
            sorted("ZSET-005", Defect::CountsWhatWasAsked, "counts what was to be removed, not what was"),
            sorted("ZSET-006", Defect::KeepsEmpty, "keeps a sorted set without members"),
            sorted("ZSET-007", Defect::TrimsNames, "trims blanks at the end of members"),
            sorted("ZSET-008", Defect::FirstPageOnly, "returns the first page of members only"),
            sorted("ZSET-009", Defect::RoundsScores, "keeps fifteen digits of a score"),
            sorted("ZSET-010", Defect::RefusesInfinity, "refuses infinite scores"),
            sorted("ZSET-011", Defect::IgnoresCaseInTies, "orders equal scores without regard to case, ascending"),
            sorted("ZSET-012", Defect::TiesAscendAlways, "orders equal scores by member in descending ranges too"),
            sorted("ZSET-013", Defect::RefusesRanksBeforeTheFirst, "finds nothing from a rank before the first"),
            sorted("ZSET-014", Defect::ZeroIsAll, "takes the greatest zero for all"),
            sorted("ZSET-015", Defect::RemovesAscendingAlways, "removes by ascending rank whatever the order"),
            sorted("ZSET-016", Defect::IncludesExcluded, "includes what an upper bound excludes"),
            sorted("ZSET-017", Defect::RoundsBounds, "sends bounds as text with fifteen digits"),
            sorted("ZSET-018", Defect::InfiniteIsUnbounded, "takes an infinite bound for none"),
            sorted("ZSET-019", Defect::TurnsRangesRound, "turns a range round that is upside down"),
            sorted("ZSET-020", Defect::PagesAscendingAlways, "takes the page before it turns the order round"),
            sorted("ZSET-021", Defect::CountsThePage, "counts the members of the page"),
            sorted("ZSET-022", Defect::WritingClearsTheTime, "lets it live for ever once a member is added"),
            sorted("ZSET-023", Defect::CountsWhatExpired, "counts members that expired"),
            sorted("ZSET-024", Defect::AnotherTypeIsEmpty, "takes a key of another type for an empty sorted set"),
            sorted("ZSET-025", Defect::LooksThenAdds, "looks what is new, and then adds it"),
            sorted("ZSET-026", Defect::CountsOutsideOfItsScope, "counts without its scope"),
            sorted("ZSET-027", Defect::TakesItsKeysAlong, "deletes at shutdown what it wrote"),
            sorted("ZSET-028", Defect::AsksBeforeChecking, "asks the server before it checks the arguments"),
            sorted("ZSET-029", Defect::OffByOne, "refuses a member of the size that it declares"),
            sorted("ZSET-030", Defect::WritesUpToTheRefused, "adds the members before a refused one"),
            sorted("ZSET-031", Defect::NoNumberIsEmpty, "finds nothing where a bound is not a number"),
            sorted("ZSET-032", Defect::ShowsMembers, "shows members in a conflict"),
            sorted("ZSET-033", Defect::CountsAfterShutdown, "goes on counting after shutdown"),
            sorted("ZSET-034", Defect::AwayIsEmpty, "counts nothing while the server is away"),
            sorted("ZSET-035", Defect::WritesOneByOne, "adds members one by one"),
        ],
    );
}

fn sorted(breaks: &str, defect: Defect, words: &'static str) -> Breakage<dyn SortedSets> {
    broken(breaks, defect, words, |client| client as Arc<dyn SortedSets>)
}

#[async_trait]
impl Member for Scored {
    fn name(&self) -> Bytes {
        self.member.clone()
    }

    fn named(self, name: Bytes) -> Self {
        Self::new(name, self.score)
    }

    fn is_acceptable(&self, limits: &Limits) -> bool {
        limits.check_value("member", self.member.len()).is_ok() && !self.score.is_nan()
    }

    async fn add(cache: &MemoryCache, key: &str, members: &[Self]) -> Result<u64> {
        cache.sorted_add(key, members).await
    }

    async fn has(&self, cache: &MemoryCache, key: &str) -> Result<bool> {
        let score = cache.sorted_score(key, self.member.clone()).await?;
        Ok(score.is_some())
    }
}

/// The number that fifteen digits make of one.
fn rounded(score: f64) -> f64 {
    format!("{score:.14e}").parse().unwrap_or(score)
}

fn end(bound: ScoreBound) -> Option<f64> {
    match bound {
        ScoreBound::Included(score) | ScoreBound::Excluded(score) => Some(score),
        ScoreBound::Unbounded => None,
    }
}

impl Client {
    fn name_of(&self, member: &Bytes) -> Bytes {
        match self.defect {
            Defect::TrimsNames => trimmed(member),
            Defect::KeepsText => String::from_utf8_lossy(member).into_owned().into(),
            _ => member.clone(),
        }
    }

    fn score_of(&self, score: f64) -> f64 {
        match self.defect {
            Defect::RoundsScores => rounded(score),
            _ => score,
        }
    }

    /// What the defect makes of a range of scores.
    fn range(&self, range: ScoreRange) -> ScoreRange {
        let both = |change: fn(ScoreBound) -> ScoreBound| {
            range.with_min(change(range.min)).with_max(change(range.max))
        };
        match (self.defect, end(range.min), end(range.max)) {
            (Defect::IncludesExcluded, Some(min), Some(max)) if min < max && max.is_finite() => {
                range.with_max(ScoreBound::Included(max))
            }
            (Defect::RoundsBounds, ..) => both(|bound| match bound {
                ScoreBound::Included(score) => ScoreBound::Included(rounded(score)),
                ScoreBound::Excluded(score) => ScoreBound::Excluded(rounded(score)),
                ScoreBound::Unbounded => bound,
            }),
            (Defect::InfiniteIsUnbounded, ..) => both(|bound| match end(bound) {
                Some(score) if score.is_infinite() => ScoreBound::Unbounded,
                _ => bound,
            }),
            (Defect::TurnsRangesRound, Some(min), Some(max)) if min > max => {
                range.with_min(range.max).with_max(range.min)
            }
            _ => range,
        }
    }

    /// Whether the defect is that a bound that is not a number holds nothing.
    fn holds_nothing(&self, range: &ScoreRange) -> bool {
        let is_nan = |bound| end(bound).is_some_and(f64::is_nan);
        self.is(Defect::NoNumberIsEmpty) && (is_nan(range.min) || is_nan(range.max))
    }

    /// What the defect makes of the order of equal scores.
    fn ordered(&self, order: Order, members: &mut [Scored]) {
        match self.defect {
            Defect::IgnoresCaseInTies if order == Order::Ascending => members.sort_by(|a, b| {
                let [one, other] = [a, b].map(|scored| scored.member.to_ascii_lowercase());
                a.score.total_cmp(&b.score).then(one.cmp(&other))
            }),
            Defect::TiesAscendAlways if order == Order::Descending => members.sort_by(|a, b| {
                let down = b.score.total_cmp(&a.score);
                down.then_with(|| a.member.cmp(&b.member))
            }),
            _ => {}
        }
    }
}

#[async_trait]
impl SortedSets for Client {
    async fn sorted_add(&self, key: &str, members: &[Scored]) -> Result<u64> {
        if self.is(Defect::RefusesInfinity) && members.iter().any(|scored| scored.score.is_infinite()) {
            return Err(Error::invalid_argument("a score is not finite"));
        }
        let mut adding = Vec::new();
        for scored in members {
            let mut score = self.score_of(scored.score);
            if self.is(Defect::KeepsGreaterScores)
                && let Ok(Some(before)) = self.inner.sorted_score(key, scored.member.clone()).await
            {
                score = score.max(before);
            }
            adding.push(Scored::new(self.name_of(&scored.member), score));
        }
        self.adding(key, adding).await
    }

    async fn sorted_range(&self, key: &str, range: RankRange) -> Result<Vec<Scored>> {
        let range = match (self.defect, range) {
            (Defect::ZeroIsAll, range) if range == RankRange::greatest(0) => {
                let mut all = RankRange::ALL;
                all.order = Order::Descending;
                all
            }
            (Defect::RefusesRanksBeforeTheFirst, range) if range.start < 0 => {
                let len = self.inner.sorted_len(key).await?;
                if range.start.unsigned_abs() > len {
                    return Ok(Vec::new());
                }
                range
            }
            (_, range) => range,
        };
        let mut members = self.inner.sorted_range(key, range).await?;
        self.ordered(range.order, &mut members);
        Ok(self.paged(members).collect())
    }

    async fn sorted_range_by_score(&self, key: &str, range: ScoreRange) -> Result<Vec<Scored>> {
        if self.holds_nothing(&range) {
            return Ok(Vec::new());
        }
        if self.is(Defect::PagesAscendingAlways) && range.order == Order::Descending {
            let mut ascending = range;
            ascending.order = Order::Ascending;
            let mut members = self.inner.sorted_range_by_score(key, ascending).await?;
            members.reverse();
            return Ok(members);
        }
        let mut members = self.inner.sorted_range_by_score(key, self.range(range)).await?;
        self.ordered(range.order, &mut members);
        Ok(members)
    }

    async fn sorted_remove(&self, key: &str, members: &[Bytes]) -> Result<u64> {
        let removed: Vec<Bytes> = members.iter().map(|member| self.name_of(member)).collect();
        self.removing(key, members.len(), self.inner.sorted_remove(key, &removed))
            .await
    }

    async fn sorted_remove_by_rank(&self, key: &str, mut range: RankRange) -> Result<u64> {
        if self.is(Defect::RemovesAscendingAlways) {
            range.order = Order::Ascending;
        }
        self.inner.sorted_remove_by_rank(key, range).await
    }

    async fn sorted_len(&self, key: &str) -> Result<u64> {
        self.counting(key, |cache| async move { cache.sorted_len(key).await })
            .await
    }

    async fn sorted_count(&self, key: &str, range: ScoreRange) -> Result<u64> {
        if self.holds_nothing(&range) {
            return Ok(0);
        }
        if self.is(Defect::CountsThePage) {
            let members = self.inner.sorted_range_by_score(key, range).await?;
            return Ok(members.len() as u64);
        }
        self.inner.sorted_count(key, self.range(range)).await
    }

    async fn sorted_score(&self, key: &str, member: Bytes) -> Result<Option<f64>> {
        let score = self.inner.sorted_score(key, self.name_of(&member)).await?;
        self.must_be_there(key).await.map(|()| score)
    }
}

//! What is found, in which order, page by page.

use std::num::NonZeroU32;
use std::ops::Bound;

use infra_core::ErrorKind;
use infra_core::capability::Capability;
use infra_core::search::{Document, Filter, Highlighting, Query, Search, SearchExt, Sort};
use serde_json::{Value, json};

use super::{fill, ids, index, message};
use crate::conformance::{Failure, Harness, Outcome, Premise, check, check_eq, check_error, declares};

/// Forty messages, `m000` to `m039`, all with the word "hello".
async fn forty(harness: &Harness<dyn Search>, search: &dyn Search) -> Result<String, Failure> {
    let index = index(harness, search).await?;
    fill(
        search,
        &index,
        (0..40).map(|number| message(number, "hello")).collect(),
    )
    .await?;
    Ok(index)
}

fn names(numbers: impl IntoIterator<Item = i64>) -> Vec<String> {
    numbers
        .into_iter()
        .map(|number| format!("m{number:03}"))
        .collect()
}

/// A word is found by itself, in any case, and not as part of another.
pub async fn search_010_words_are_found_whatever_their_case(harness: &Harness<dyn Search>) -> Outcome {
    let search = harness.client().await?;
    let index = index(harness, &*search).await?;
    fill(
        &*search,
        &index,
        vec![message(1, "Deploy the Gateway"), message(2, "redeployment")],
    )
    .await?;
    for text in ["deploy", "DEPLOY", "gateway"] {
        check_eq!(
            ids(&*search, &index, Query::text(text)).await?,
            ["m001"],
            "hits for {text:?}"
        );
    }
    check!(
        ids(&*search, &index, Query::text("gate")).await?.is_empty(),
        "half a word was found"
    );
    Ok(())
}

/// Words of languages without spaces are found within sentences.
pub async fn search_011_chinese_japanese_and_korean_are_found_by_word(
    harness: &Harness<dyn Search>,
) -> Outcome {
    let search = harness.client().await?;
    let index = index(harness, &*search).await?;
    let sentences = [
        "今天北京的天气怎么样？我想去颐和园。",
        "東京タワーへ行きました。",
        "오늘 서울 날씨가 정말 좋네요.",
    ];
    fill(
        &*search,
        &index,
        (1..)
            .zip(sentences)
            .map(|(number, text)| message(number, text))
            .collect(),
    )
    .await?;
    for (word, id) in [
        ("天气", "m001"),
        ("颐和园", "m001"),
        ("東京", "m002"),
        ("タワー", "m002"),
        ("날씨", "m003"),
    ] {
        check_eq!(
            ids(&*search, &index, Query::text(word)).await?,
            [id],
            "hits for {word:?}"
        );
    }
    Ok(())
}

/// Equality, membership, ranges and their negation are applied, each on its kind of field.
pub async fn search_012_filters_are_applied(harness: &Harness<dyn Search>) -> Outcome {
    let search = harness.client().await?;
    let index = forty(harness, &*search).await?;
    let range = |from: i64, to: i64| {
        Filter::range(
            "sent_at",
            Bound::Included(from.into()),
            Bound::Excluded(to.into()),
        )
    };
    let even = |number: &i64| number % 2 == 0;
    let cases: Vec<(&str, Vec<Filter>, Vec<i64>)> = vec![
        (
            "equals",
            vec![Filter::equals("session_id", "even")],
            (0..40).filter(even).collect(),
        ),
        (
            "not",
            vec![Filter::equals("session_id", "even").negate()],
            (0..40).filter(|n| n % 2 == 1).collect(),
        ),
        (
            "any of",
            vec![Filter::any_of("sent_at", [3_i64, 7, 99])],
            vec![3, 7],
        ),
        ("range", vec![range(10, 13)], vec![10, 11, 12]),
        (
            "boolean",
            vec![Filter::equals("pinned", true), range(0, 11)],
            vec![0, 5, 10],
        ),
        (
            "float",
            vec![Filter::range(
                "score",
                Bound::Excluded(json!(18.5)),
                Bound::Unbounded,
            )],
            vec![38, 39],
        ),
    ];
    for (what, filters, expected) in cases {
        let query = filters.into_iter().fold(Query::text("hello"), Query::with_filter);
        let mut found = ids(&*search, &index, query.with_size(100)).await?;
        found.sort_unstable();
        check_eq!(found, names(expected), "hits of the filter {what}");
    }
    Ok(())
}

/// Hits come sorted by the field that was named, either way, and no more of them than asked for.
pub async fn search_013_hits_come_in_the_order_asked_for(harness: &Harness<dyn Search>) -> Outcome {
    let search = harness.client().await?;
    let index = forty(harness, &*search).await?;
    let first = |sort| Query::all().with_sort(sort).with_size(3);
    check_eq!(
        ids(&*search, &index, first(Sort::ascending("sent_at"))).await?,
        names([0, 1, 2]),
        "the smallest three"
    );
    check_eq!(
        ids(&*search, &index, first(Sort::descending("sent_at"))).await?,
        names([39, 38, 37]),
        "the greatest three"
    );
    Ok(())
}

/// Pages by number give every hit once.
pub async fn search_014_numbered_pages_neither_repeat_nor_skip(harness: &Harness<dyn Search>) -> Outcome {
    let search = harness.client().await?;
    let index = forty(harness, &*search).await?;
    let mut seen = Vec::new();
    for number in 1..=4 {
        let number = NonZeroU32::new(number).premise("a page number")?;
        let query = Query::text("hello")
            .with_sort(Sort::ascending("sent_at"))
            .with_size(11)
            .with_page(number);
        seen.extend(ids(&*search, &index, query).await?);
    }
    check_eq!(seen, names(0..40), "the hits of four pages of 11");
    Ok(())
}

/// A cursor goes on where its page ended, also when documents were written before that place meanwhile.
pub async fn search_015_a_cursor_is_stable_while_documents_are_written(
    harness: &Harness<dyn Search>,
) -> Outcome {
    let search = harness.client().await?;
    let index = forty(harness, &*search).await?;
    let query = || Query::all().with_sort(Sort::descending("sent_at")).with_size(10);
    let mut page = search.search(&index, query()).await?;
    let mut seen = Vec::new();
    for round in 0..4 {
        seen.extend(page.hits.iter().map(|hit| hit.id.clone()));
        // Newer than all: a page by number would now repeat hits.
        fill(&*search, &index, vec![message(100 + round, "hello")]).await?;
        let Some(cursor) = page.next.clone() else { break };
        page = search.search(&index, query().after(cursor)).await?;
    }
    check_eq!(seen, names((0..40).rev()), "the hits of four pages by cursor");
    Ok(())
}

/// The total is of all matches, not of the page.
pub async fn search_016_the_total_counts_every_match(harness: &Harness<dyn Search>) -> Outcome {
    let search = harness.client().await?;
    let index = forty(harness, &*search).await?;
    let even = Query::text("hello")
        .with_filter(Filter::equals("session_id", "even"))
        .with_size(3);
    check_eq!(
        search.search(&index, even).await?.total,
        20,
        "the total of a page of 3"
    );
    Ok(())
}

/// An unknown field, an empty page and a cursor of another query are refused.
pub async fn search_017_what_makes_no_sense_is_refused(harness: &Harness<dyn Search>) -> Outcome {
    let search = harness.client().await?;
    let index = forty(harness, &*search).await?;
    let sorted = Query::all().with_sort(Sort::ascending("sent_at")).with_size(2);
    let cursor = search
        .search(&index, sorted)
        .await
        .premise("a page")?
        .next
        .premise("a next page")?;
    let nonsense = [
        (
            "a filter on an unknown field",
            Query::all().with_filter(Filter::equals("nonsense", 1)),
        ),
        (
            "an order by an unknown field",
            Query::all().with_sort(Sort::ascending("nonsense")),
        ),
        ("a page of no hits", Query::all().with_size(0)),
        ("a cursor that is none", Query::all().after("nonsense")),
        (
            "a cursor of another order",
            Query::all().with_sort(Sort::descending("score")).after(cursor),
        ),
    ];
    for (what, query) in nonsense {
        check_error!(
            search.search(&index, query).await,
            ErrorKind::InvalidArgument,
            "{what}"
        );
    }
    Ok(())
}

/// What people type is words: quotes, brackets and operators are no syntax and no error.
pub async fn search_018_operators_in_the_text_are_words(harness: &Harness<dyn Search>) -> Outcome {
    let search = harness.client().await?;
    let index = index(harness, &*search).await?;
    fill(
        &*search,
        &index,
        vec![message(1, "hello world"), message(2, "goodbye")],
    )
    .await?;
    for text in [
        "hello AND (",
        "\"hello",
        "content:hello^2",
        "hello* -world",
        "\\",
        "[* TO *]",
        "  ",
    ] {
        let found = ids(&*search, &index, Query::text(text)).await?;
        check!(
            !found.contains(&"m002".to_owned()),
            "{text:?} found a document without any of its words: {found:?}"
        );
    }
    Ok(())
}

/// Where it is declared, the words that matched are marked; where it is not, asking is refused.
pub async fn search_019_matches_are_marked(harness: &Harness<dyn Search>) -> Outcome {
    let search = harness.client().await?;
    let index = index(harness, &*search).await?;
    fill(&*search, &index, vec![message(1, "say hello <b>now</b>")]).await?;
    let query = Query::text("hello").with_highlight(Highlighting::default().with_marks("[", "]"));
    let answer = search.search(&index, query).await;
    if !declares(&*search, Capability::Highlight) {
        check_error!(answer, ErrorKind::Unsupported, "highlighting, not declared");
        return Ok(());
    }
    let page = answer?;
    let marked = page
        .hits
        .first()
        .and_then(|hit| hit.highlights.first())
        .map(|(field, text)| (field.as_str(), text.contains("[hello]")));
    check_eq!(
        marked,
        Some(("content", true)),
        "the field and whether its match is marked"
    );
    Ok(())
}

async fn two_sessions(harness: &Harness<dyn Search>, search: &dyn Search) -> Result<String, Failure> {
    let index = index(harness, search).await?;
    let of =
        |id: &str, session: &str| Document::new(id, json!({ "content": "hello", "session_id": session }));
    let documents = vec![
        of("ours", "s-1"),
        of("theirs", "s-10"),
        of("cased", "S-1"),
        of("spaced", "s-1 "),
    ];
    fill(search, &index, documents).await?;
    Ok(index)
}

/// A search within a session finds nothing of a session whose name is like it.
pub async fn search_020_a_session_sees_only_its_own_documents(harness: &Harness<dyn Search>) -> Outcome {
    let search = harness.client().await?;
    let index = two_sessions(harness, &*search).await?;
    let page = search
        .search_in_session::<Value>(&index, "s-1", "hello", NonZeroU32::MIN, 10)
        .await?;
    let found: Vec<&str> = page.hits.iter().map(|hit| hit.id.as_str()).collect();
    check_eq!(found, ["ours"], "what a search in session s-1 found");
    Ok(())
}

/// A global search is bounded by what its caller may see; nobody's permission is everybody's.
pub async fn search_021_the_callers_permission_is_applied(harness: &Harness<dyn Search>) -> Outcome {
    let search = harness.client().await?;
    let index = two_sessions(harness, &*search).await?;
    let found = async |allowed: Filter| -> Result<u64, Failure> {
        Ok(search
            .search_global::<Value>(&index, "hello", Some(allowed), NonZeroU32::MIN, 10)
            .await?
            .total)
    };
    check_eq!(
        found(Filter::any_of("session_id", ["s-1", "s-10"])).await?,
        2,
        "hits in two sessions"
    );
    check_eq!(
        found(Filter::any_of("session_id", Vec::<String>::new())).await?,
        0,
        "hits of who may see no session"
    );
    Ok(())
}

//! Queries: words of many languages, filters, order, pages, cursors, highlighting, bad input.

#![allow(
    clippy::unwrap_used,
    reason = "helpers outside test functions may fail the test"
)]

mod common;

use std::num::NonZeroU32;
use std::ops::Bound;

use common::{doc, ids, memory, put};
use infra_core::ErrorKind;
use infra_core::search::{Document, Filter, Highlighting, Query, Search, SearchExt, Sort};
use infra_tantivy::{TantivyConfig, TantivySearch};
use serde_json::{Value, json};

#[tokio::test]
async fn words_of_many_languages_are_found() {
    let search = memory().await;
    let sentences = [
        ("zh", "今天北京的天气怎么样？我想去颐和园。"),
        ("zht", "今天台北的天氣非常好，我們去學習吧"),
        ("ja", "今日はとても天気がいいですね。東京タワーへ行きました。"),
        ("ko", "오늘 서울 날씨가 정말 좋네요. 산책하러 갈까요?"),
        ("th", "วันนี้อากาศดีมาก ไปเดินเล่นกันไหม"),
        ("hi", "आज दिल्ली का मौसम बहुत अच्छा है।"),
        ("bn", "আজ ঢাকার আবহাওয়া খুব ভালো।"),
        ("ta", "இன்று வானிலை நன்றாக உள்ளது"),
        ("te", "ఈ రోజు వాతావరణం బాగుంది"),
        ("ar", "الطقس اليوم جميل جدًا في القاهرة"),
        ("fa", "هوا امروز خیلی خوب است، می\u{200c}خواهم بروم"),
        ("he", "מזג האוויר היום נפלא"),
        ("ru", "Сегодня в Москве хорошая погода, ёлки зелёные"),
        ("uk", "Сьогодні в Києві гарна погода, їжак"),
        ("de", "Heute ist das Wetter in München schön, große Straße"),
        ("fr", "Aujourd'hui l'été est à Orléans, ça va?"),
        ("es", "Mañana hará buen tiempo en España"),
        ("tr", "Bugün İstanbul'da hava ılık"),
        ("yo", "Ọjọ́ dára lónìí"),
        ("vi", "Hôm nay trời đẹp"),
        ("emoji", "deploy done 🎉👍🏽"),
        ("wide", "Ｒｕｓｔ　１．９５ ﾃｽﾄ"),
    ];
    put(
        &search,
        sentences.iter().map(|(id, text)| doc(id, text)).collect(),
    )
    .await;
    for (id, queries) in [
        (
            "zh",
            vec!["天气", "北京天气", "颐和园", "想去", "颐", "天气 北京"],
        ),
        ("zht", vec!["天氣", "學習", "台北天氣"]),
        (
            "ja",
            vec![
                "天気",
                "東京タワー",
                "タワー",
                "行きました",
                "今日の天気",
                "東京",
                "とても",
            ],
        ),
        ("ko", vec!["날씨", "날씨가", "서울 날씨", "산책"]),
        ("th", vec!["อากาศ", "อากาศดี", "เดินเล่น"]),
        ("hi", vec!["मौसम", "दिल्ली मौसम"]),
        ("bn", vec!["আবহাওয়া", "খুব ভালো"]),
        ("ta", vec!["வானிலை"]),
        ("te", vec!["వాతావరణం"]),
        ("ar", vec!["الطقس", "جميل القاهرة", "جدا"]),
        ("fa", vec!["امروز", "میخواهم", "خیلی خوب"]),
        ("he", vec!["האוויר"]),
        ("ru", vec!["ПОГОДА Москве", "ёлки"]),
        ("uk", vec!["їжак", "Києві"]),
        ("de", vec!["munchen", "SCHÖN", "grosse strasse"]),
        ("fr", vec!["ete", "aujourd'hui", "orleans", "Ça"]),
        ("es", vec!["manana", "españa"]),
        ("tr", vec!["istanbul", "ilik"]),
        ("yo", vec!["ojo", "dara lonii"]),
        ("vi", vec!["trời đẹp", "troi dep"]),
        ("emoji", vec!["🎉", "👍", "👍🏿", "deploy 🎉"]),
        ("wide", vec!["rust", "1.95", "テスト"]),
    ] {
        for query in queries {
            assert_eq!(ids(&search, Query::text(query)).await, [id], "{query}");
        }
    }
    for query in [
        "天汽",
        "京北",
        "氣天",
        "씨날",
        "मौ",
        "Mos",
        "tau",
        "?!",
        "",
        "。",
        "好天气",
    ] {
        assert!(ids(&search, Query::text(query)).await.is_empty(), "{query}");
    }
}

#[tokio::test]
async fn a_whole_word_ranks_before_its_characters() {
    let search = memory().await;
    put(
        &search,
        vec![
            doc("part", "东京都知事在这里讲话"),
            doc("word", "京都的秋天在这里很美"),
        ],
    )
    .await;
    assert_eq!(ids(&search, Query::text("京都")).await[0], "word");
}

#[tokio::test]
async fn a_query_is_data() {
    let search = memory().await;
    put(
        &search,
        vec![doc("1", "AND OR NOT content:secret (a) \"b\" c* d~2")],
    )
    .await;
    for text in ["content:secret", "AND", "\"b", "(a", "c*", "d~2 -a", "+NOT"] {
        assert_eq!(ids(&search, Query::text(text)).await, ["1"], "{text}");
    }
    assert!(ids(&search, Query::text("sess*")).await.is_empty());
}

#[tokio::test]
async fn every_word_must_occur_in_some_field() {
    let search = memory().await;
    let documents = vec![
        Document::new("1", json!({"title": "red", "content": "apple"})),
        Document::new("2", json!({"title": "red", "content": "pear"})),
    ];
    put(&search, documents).await;
    assert_eq!(ids(&search, Query::text("red apple")).await, ["1"]);
    assert!(
        ids(&search, Query::text("red apple").in_fields(["title"]))
            .await
            .is_empty()
    );
    assert_eq!(
        ids(&search, Query::text("red").in_fields(["title", "title"])).await,
        ["1", "2"]
    );
}

fn numbered() -> Vec<Document> {
    (0..10)
        .map(|n| {
            Document::new(
                format!("d{n}"),
                json!({"content": "x", "session_id": format!("s{}", n % 3), "sent_at": n - 5,
                       "score": f64::from(n) / 2.0, "pinned": n % 2 == 0}),
            )
        })
        .collect()
}

#[tokio::test]
async fn filters_of_every_kind() {
    let search = memory().await;
    put(&search, numbered()).await;
    put(
        &search,
        vec![Document::new(
            "many",
            json!({"session_id": ["s7", "s8"], "sent_at": [100, 200]}),
        )],
    )
    .await;
    let included = |value: Value| Bound::Included(value);
    for (filter, expected) in [
        (Filter::equals("session_id", "s1"), vec!["d1", "d4", "d7"]),
        (Filter::equals("session_id", "S1"), vec![]),
        (Filter::equals("session_id", "s8"), vec!["many"]),
        (Filter::equals("sent_at", -5), vec!["d0"]),
        (Filter::equals("score", 4.5), vec!["d9"]),
        (Filter::equals("score", 4), vec!["d8"]),
        (
            Filter::equals("pinned", false),
            vec!["d1", "d3", "d5", "d7", "d9"],
        ),
        (Filter::any_of("sent_at", [-5, 4, 77]), vec!["d0", "d9"]),
        (Filter::any_of("session_id", Vec::<Value>::new()), vec![]),
        (
            Filter::range("sent_at", included(3.into()), Bound::Unbounded),
            vec!["d8", "d9", "many"],
        ),
        (
            Filter::range("sent_at", Bound::Excluded((-5).into()), included((-3).into())),
            vec!["d1", "d2"],
        ),
        (
            Filter::range("sent_at", included(3.into()), included(1.into())),
            vec![],
        ),
        (
            Filter::range("sent_at", Bound::Excluded(3.into()), Bound::Excluded(3.into())),
            vec![],
        ),
        (
            Filter::range("score", Bound::Unbounded, Bound::Excluded(1.into())),
            vec!["d0", "d1"],
        ),
        (
            Filter::range("session_id", included("s2".into()), included("s7".into())),
            vec!["d2", "d5", "d8", "many"],
        ),
        (
            Filter::range("session_id", included("t".into()), included("a".into())),
            vec![],
        ),
        (
            Filter::any_of("session_id", ["s0", "s1"]).negate(),
            vec!["d2", "d5", "d8", "many"],
        ),
        (
            Filter::equals("session_id", "s2").negate().negate(),
            vec!["d2", "d5", "d8"],
        ),
    ] {
        let query = Query::all().with_filter(filter.clone());
        assert_eq!(ids(&search, query).await, expected, "{filter:?}");
    }
    let both = Query::text("x")
        .with_filter(Filter::equals("session_id", "s0"))
        .with_filter(Filter::equals("pinned", true).negate());
    assert_eq!(ids(&search, both).await, ["d3", "d9"]);
}

#[tokio::test]
async fn the_session_helpers_apply_their_filter() {
    let search = memory().await;
    put(&search, numbered()).await;
    let first = NonZeroU32::MIN;
    let page = search
        .search_in_session::<Value>("m", "s1", "x", first, 2)
        .await
        .unwrap();
    assert_eq!((page.total, page.hits.len()), (3, 2));
    let allowed = Some(Filter::any_of("session_id", ["s0"]));
    let page = search
        .search_global::<Value>("m", "x", allowed, first, 10)
        .await
        .unwrap();
    assert_eq!(page.total, 4);
}

#[tokio::test]
async fn order_by_fields_with_ties_and_missing_values() {
    let search = memory().await;
    let documents = vec![
        Document::new("b", json!({"sent_at": 1, "session_id": "z"})),
        Document::new("a", json!({"sent_at": 1})),
        Document::new(
            "c",
            json!({"sent_at": -7, "session_id": ["a", "y"], "score": -1.5}),
        ),
        Document::new("d", json!({"score": 2})),
    ];
    put(&search, documents).await;
    for (sort, expected) in [
        (Sort::ascending("sent_at"), ["c", "a", "b", "d"]),
        (Sort::descending("sent_at"), ["a", "b", "c", "d"]),
        (Sort::ascending("session_id"), ["c", "b", "a", "d"]),
        (Sort::descending("session_id"), ["b", "c", "a", "d"]),
        (Sort::ascending("score"), ["c", "d", "a", "b"]),
        (Sort::relevance(), ["a", "b", "c", "d"]),
    ] {
        let page = search
            .search("m", Query::all().with_sort(sort.clone()))
            .await
            .unwrap();
        let found: Vec<_> = page.hits.iter().map(|hit| hit.id.as_str()).collect();
        assert_eq!(found, expected, "{sort:?}");
    }
}

#[tokio::test]
async fn relevance_puts_the_better_match_first() {
    let search = memory().await;
    put(
        &search,
        vec![
            doc("long", &format!("rust {}", "other ".repeat(50))),
            doc("short", "rust rust"),
        ],
    )
    .await;
    let page = search.search("m", Query::text("rust")).await.unwrap();
    assert_eq!(page.hits[0].id, "short");
    assert!(page.hits[0].score > page.hits[1].score);
}

#[tokio::test]
async fn pages_by_number_and_by_cursor() {
    let search = memory().await;
    put(&search, numbered()).await;
    let query = || Query::all().with_sort(Sort::descending("sent_at")).with_size(4);
    let number = |n| NonZeroU32::new(n).unwrap();
    let second = search.search("m", query().with_page(number(2))).await.unwrap();
    let found: Vec<_> = second.hits.iter().map(|hit| hit.id.as_str()).collect();
    assert_eq!((second.total, found), (10, vec!["d5", "d4", "d3", "d2"]));
    let last = search
        .search("m", query().after(second.next.unwrap()))
        .await
        .unwrap();
    assert_eq!((last.total, last.hits.len(), last.next), (10, 2, None));
    let beyond = search.search("m", query().with_page(number(9))).await.unwrap();
    assert_eq!((beyond.total, beyond.hits.len(), beyond.next), (10, 0, None));
    let exact = search.search("m", query().with_size(10)).await.unwrap();
    assert_eq!(exact.next, None, "nothing more");
}

#[tokio::test]
async fn cursors_by_field_are_stable_while_others_write() {
    let search = memory().await;
    let numbers = |from: i64, to: i64| {
        (from..to)
            .map(|n| Document::new(format!("{n:04}"), json!({"sent_at": n, "content": "x"})))
            .collect::<Vec<_>>()
    };
    put(&search, numbers(0, 200)).await;
    let query = || {
        Query::text("x")
            .with_sort(Sort::ascending("sent_at"))
            .with_size(7)
    };
    let mut seen = Vec::new();
    let mut page = search.search("m", query()).await.unwrap();
    for round in 0.. {
        seen.extend(page.hits.into_iter().map(|hit| hit.id));
        // Before the page, behind it, and a rewrite of what was seen and will be seen.
        put(&search, numbers(1000 + round * 10, 1000 + round * 10 + 3)).await;
        put(
            &search,
            vec![Document::new(
                format!("early-{round}"),
                json!({"sent_at": -1, "content": "x"}),
            )],
        )
        .await;
        put(&search, numbers(0, 20)).await;
        let Some(next) = page.next.filter(|_| seen.len() < 200) else {
            break;
        };
        page = search.search("m", query().after(next)).await.unwrap();
    }
    let expected: Vec<_> = (0..200).map(|n| format!("{n:04}")).collect();
    assert_eq!(seen[..200], expected[..]);
}

#[tokio::test]
async fn cursors_page_through_all_matches_exactly_once() {
    let search = memory().await;
    let mut all = Vec::new();
    for n in 0..157u32 {
        let mut body = json!({"content": "word ".repeat((n % 5 + 1) as usize)});
        if n % 4 != 0 {
            body["sent_at"] = json!(n % 9);
            body["score"] = json!(f64::from(n % 7) - 3.0);
            body["session_id"] = json!(format!("s{}", n % 11));
        }
        all.push(Document::new(format!("id{}", n * 37 % 157), body));
    }
    // Several segments, with deletions.
    for part in all.chunks(40) {
        put(&search, part.to_vec()).await;
    }
    put(&search, all[..10].to_vec()).await;
    let mut expected: Vec<_> = all.iter().map(|document| document.id.clone()).collect();
    expected.sort();
    let mut sorts = vec![Sort::relevance()];
    for field in ["sent_at", "score", "session_id"] {
        sorts.extend([Sort::ascending(field), Sort::descending(field)]);
    }
    for sort in sorts {
        for size in [1, 3, 50, 157, 200] {
            for query in [Query::all(), Query::text("word")] {
                let query = query.with_sort(sort.clone()).with_size(size);
                let mut seen = Vec::new();
                let mut page = search.search("m", query.clone()).await.unwrap();
                loop {
                    assert_eq!(page.total, 157);
                    seen.extend(page.hits.into_iter().map(|hit| hit.id));
                    let Some(next) = page.next else { break };
                    page = search.search("m", query.clone().after(next)).await.unwrap();
                }
                seen.sort();
                assert_eq!(seen, expected, "{sort:?} {size}");
            }
        }
    }
}

#[tokio::test]
async fn highlights_mark_and_escape() {
    let search = memory().await;
    put(
        &search,
        vec![Document::new(
            "1",
            json!({"title": "天气 <b>", "content": "今天天气好 & 明天天气坏"}),
        )],
    )
    .await;
    let highlight = Highlighting::default().with_marks("[", "]");
    let query = Query::text("天气").with_highlight(highlight.clone());
    let page = search.search("m", query.clone()).await.unwrap();
    assert_eq!(
        page.hits[0].highlights,
        [
            ("content".to_owned(), "今天[天气]好 &amp; 明天[天气]坏".to_owned()),
            ("title".to_owned(), "[天气] &lt;b&gt;".to_owned()),
        ]
    );
    let page = search.search("m", query.in_fields(["title"])).await.unwrap();
    assert_eq!(page.hits[0].highlights.len(), 1);
    let page = search
        .search("m", Query::all().with_highlight(highlight))
        .await
        .unwrap();
    assert!(page.hits[0].highlights.is_empty());
}

#[tokio::test]
async fn bad_queries_are_refused() {
    let config = TantivyConfig::development()
        .with_max_page_size(100)
        .with_max_page_depth(1000);
    let search = TantivySearch::open(config).await.unwrap();
    search.create_index("m", common::schema()).await.unwrap();
    put(&search, numbered()).await;
    let page = search.search("m", Query::all().with_size(1)).await.unwrap();
    let cursor = page.next.unwrap();
    let mut bad = vec![
        Query::all().with_size(0),
        Query::all().with_size(101),
        Query::all()
            .with_size(100)
            .with_page(NonZeroU32::new(11).unwrap()),
        Query::all().with_page(NonZeroU32::MAX),
        Query::text("x").in_fields(["absent"]),
        Query::text("x").in_fields(["session_id"]),
        Query::text("y".repeat(9000)),
        Query::text((0..300).map(|n| format!("w{n} ")).collect::<String>()),
        Query::all().with_sort(Sort::ascending("content")),
        Query::all().with_sort(Sort::ascending("pinned")),
        Query::all().with_sort(Sort::ascending("absent")),
        Query::all().with_highlight(Highlighting::default().with_fragment_chars(0)),
        Query::all().after("zz"),
        Query::all().after(""),
        Query::text("x").after(cursor.clone()),
    ];
    let filters = [
        Filter::equals("absent", 1),
        Filter::equals("content", "x"),
        Filter::equals("session_id", 1),
        Filter::equals("sent_at", "1"),
        Filter::equals("sent_at", 1.5),
        Filter::equals("pinned", 1),
        Filter::equals("score", Value::Null),
        Filter::any_of("sent_at", [json!(1), json!("x")]),
        Filter::range("pinned", Bound::Included(true.into()), Bound::Unbounded),
        Filter::range("sent_at", Bound::Unbounded, Bound::Unbounded),
    ];
    bad.extend(
        filters
            .into_iter()
            .map(|filter| Query::all().with_filter(filter.negate())),
    );
    for query in bad {
        let error = search.search("m", query.clone()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{query:?}: {error}");
    }
    search
        .search("m", Query::all().with_size(1).after(cursor))
        .await
        .unwrap();
}

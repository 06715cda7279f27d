//! Documents indexed and searches answered per second, beside bare tantivy doing the same in the same run.
//!
//! `cargo bench -p infra-tantivy --bench index -- [DOCUMENTS]`. Bare tantivy uses the same schema, analysis settings as
//! near as it has them (its own word tokenizer), and one writer thread; it commits once, at the end. This crate journals
//! every batch, looks every version up and refreshes every second.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    reason = "a benchmark prints, and stops at the first failure"
)]

use std::sync::Arc;
use std::time::{Duration, Instant};

use infra_core::Backend;
use infra_core::search::{
    BulkSink, BulkSinkConfig, Document, FieldKind, Filter, IndexSchema, Query, Search, Sort,
};
use infra_tantivy::{Durability, TantivyConfig, TantivySearch};
use serde_json::json;
use tantivy::collector::{Count, TopDocs};
use tantivy::query::{BooleanQuery, Occur, TermQuery};
use tantivy::schema::{FAST, INDEXED, IndexRecordOption, STORED, STRING, Schema, TEXT, Value as _};
use tantivy::{IndexWriter, TantivyDocument, Term};

const ENGLISH: [&str; 16] = [
    "the weather in the city is fine today",
    "shall we meet at the station tomorrow",
    "please send me the report",
    "my phone has no battery left",
    "what is the name of that song",
    "the train was late again",
    "see you at noon",
    "thank you for your help",
    "the deployment failed with an error",
    "coffee or tea",
    "I am on my way home",
    "could you look at this bug",
    "happy birthday to you",
    "the meeting moved to friday",
    "where did you put the keys",
    "it works on my machine",
];
const CHINESE: [&str; 8] = [
    "今天北京的天气怎么样？",
    "我们明天在车站见面吧",
    "请把报告发给我",
    "这首歌叫什么名字",
    "会议改到星期五了",
    "谢谢你的帮助，祝你生日快乐",
    "火车又晚点了",
    "你能看一下这个错误吗",
];

fn corpus(count: usize, chinese: bool) -> Vec<(String, String, i64)> {
    (0..count)
        .map(|n| {
            let sentence = |at: usize| {
                if chinese {
                    CHINESE[at % 8]
                } else {
                    ENGLISH[at % 16]
                }
            };
            let text = format!("{} {} number {}", sentence(n), sentence(n / 7 + 3), n % 997);
            (format!("m{n}"), text, n as i64)
        })
        .collect()
}

fn main() {
    let count = std::env::args()
        .skip(1)
        .find_map(|argument| argument.parse().ok())
        .unwrap_or(60_000);
    let runtime = tokio::runtime::Runtime::new().unwrap();
    // The dictionary of Chinese words is loaded once in a process; not what is measured.
    runtime.block_on(indexing(
        &corpus(100, true),
        100,
        Durability::Process,
        "warm-up",
        None,
    ));
    for (language, chinese) in [("english", false), ("chinese", true)] {
        let documents = corpus(count, chinese);
        let bare = bare(&documents);
        println!("{language}, {count} documents");
        println!(
            "  bare tantivy, one commit              {:>9.0} documents/s",
            bare.indexed
        );
        for (durability, name) in [(Durability::Process, "process"), (Durability::Machine, "machine")] {
            for batch in [100, 500] {
                let label = format!("batches of {batch}, durability {name}");
                runtime.block_on(indexing(
                    &documents,
                    batch,
                    durability,
                    &label,
                    Some(bare.indexed),
                ));
            }
        }
        runtime.block_on(sink(&documents, bare.indexed));
        runtime.block_on(searching(&documents, chinese, &bare));
    }
}

struct Bare {
    indexed: f64,
    word: f64,
    session: f64,
}

fn bare(documents: &[(String, String, i64)]) -> Bare {
    let directory = tempfile::tempdir().unwrap();
    let mut builder = Schema::builder();
    let id = builder.add_text_field("id", STRING | STORED | FAST);
    let source = builder.add_bytes_field("source", STORED);
    let content = builder.add_text_field("content", TEXT);
    let session = builder.add_text_field("session_id", STRING | FAST);
    let sent_at = builder.add_i64_field("sent_at", INDEXED | FAST);
    let index = tantivy::Index::create_in_dir(directory.path(), builder.build()).unwrap();
    let mut writer: IndexWriter = index.writer_with_num_threads(1, 32_000_000).unwrap();
    let started = Instant::now();
    for (name, text, number) in documents {
        let session_id = format!("s{}", number % 100);
        let body = json!({"content": text, "session_id": session_id, "sent_at": number});
        let mut document = TantivyDocument::default();
        document.add_text(id, name);
        document.add_bytes(source, &serde_json::to_vec(&body).unwrap());
        document.add_text(content, text);
        document.add_text(session, &session_id);
        document.add_i64(sent_at, *number);
        writer.add_document(document).unwrap();
    }
    writer.commit().unwrap();
    let indexed = documents.len() as f64 / started.elapsed().as_secs_f64();
    let reader = index.reader().unwrap();
    let searcher = reader.searcher();
    let term =
        |field, text: &str| TermQuery::new(Term::from_field_text(field, text), IndexRecordOption::WithFreqs);
    let read = |addresses: Vec<tantivy::DocAddress>| {
        for address in addresses {
            let document: TantivyDocument = searcher.doc(address).unwrap();
            let bytes = document
                .get_first(source)
                .and_then(|value| value.as_bytes().map(<[u8]>::to_vec))
                .unwrap();
            let _body: serde_json::Value = serde_json::from_slice(&bytes).unwrap();
        }
    };
    let word = per_second(|| {
        let query = term(content, "number");
        let (top, _count) = searcher
            .search(&query, &(TopDocs::with_limit(10).order_by_score(), Count))
            .unwrap();
        read(top.into_iter().map(|(_, address)| address).collect());
    });
    let session = per_second(|| {
        let query = BooleanQuery::new(vec![
            (Occur::Must, Box::new(term(content, "number"))),
            (Occur::Must, Box::new(term(session, "s7"))),
        ]);
        let newest = TopDocs::with_limit(10).order_by_fast_field::<i64>("sent_at", tantivy::Order::Desc);
        let (top, _count) = searcher.search(&query, &(newest, Count)).unwrap();
        read(top.into_iter().map(|(_, address)| address).collect());
    });
    Bare {
        indexed,
        word,
        session,
    }
}

fn per_second(mut work: impl FnMut()) -> f64 {
    let started = Instant::now();
    let mut rounds = 0u32;
    while started.elapsed() < Duration::from_secs(1) {
        work();
        rounds += 1;
    }
    f64::from(rounds) / started.elapsed().as_secs_f64()
}

fn document((id, text, number): &(String, String, i64)) -> Document {
    let body = json!({"content": text, "session_id": format!("s{}", number % 100), "sent_at": number});
    Document::new(id.clone(), body).with_version(1)
}

async fn open(directory: &std::path::Path, durability: Durability) -> TantivySearch {
    let config = TantivyConfig::development()
        .with_directory(directory)
        .with_durability(durability);
    let search = TantivySearch::open(config).await.unwrap();
    let schema = IndexSchema::new()
        .with_field("content", FieldKind::Text)
        .with_field("session_id", FieldKind::Keyword)
        .with_field("sent_at", FieldKind::Integer);
    search.create_index("m", schema).await.unwrap();
    search
}

fn report(label: &str, rate: f64, bare: Option<f64>) {
    if let Some(bare) = bare {
        println!(
            "  {label:<37} {rate:>9.0} documents/s  {:.2} of bare",
            rate / bare
        );
    }
}

async fn indexing(
    documents: &[(String, String, i64)],
    batch: usize,
    durability: Durability,
    label: &str,
    bare: Option<f64>,
) {
    let directory = tempfile::tempdir().unwrap();
    let search = open(directory.path(), durability).await;
    let started = Instant::now();
    for batch in documents.chunks(batch) {
        search
            .bulk("m", batch.iter().map(document).collect())
            .await
            .unwrap();
    }
    search.refresh("m").await.unwrap();
    let rate = documents.len() as f64 / started.elapsed().as_secs_f64();
    assert_eq!(search.count("m").await.unwrap(), documents.len() as u64);
    report(label, rate, bare);
    search.shutdown(Duration::from_secs(60)).await.unwrap();
}

async fn sink(documents: &[(String, String, i64)], bare: f64) {
    let directory = tempfile::tempdir().unwrap();
    let search = Arc::new(open(directory.path(), Durability::Process).await);
    let sink = BulkSink::new(search.clone(), "m", BulkSinkConfig::development()).unwrap();
    let started = Instant::now();
    for entry in documents {
        drop(sink.add(document(entry)).await.unwrap());
    }
    sink.close(Duration::from_secs(60)).await.unwrap();
    search.refresh("m").await.unwrap();
    let rate = documents.len() as f64 / started.elapsed().as_secs_f64();
    assert_eq!(search.count("m").await.unwrap(), documents.len() as u64);
    report("one by one into a BulkSink", rate, Some(bare));
    search.shutdown(Duration::from_secs(60)).await.unwrap();
}

async fn searching(documents: &[(String, String, i64)], chinese: bool, bare: &Bare) {
    let directory = tempfile::tempdir().unwrap();
    let search = open(directory.path(), Durability::Process).await;
    for batch in documents.chunks(500) {
        search
            .bulk("m", batch.iter().map(document).collect())
            .await
            .unwrap();
    }
    search.refresh("m").await.unwrap();
    let in_session = |text: &str| {
        Query::text(text)
            .with_filter(Filter::equals("session_id", "s7"))
            .with_sort(Sort::descending("sent_at"))
    };
    let words = if chinese { "北京天气" } else { "weather city" };
    for (name, query, bare) in [
        ("a word in every document", Query::text("number"), Some(bare.word)),
        (
            "the same in a session, newest first",
            in_session("number"),
            Some(bare.session),
        ),
        ("two words", Query::text(words), None),
        ("two words in a session", in_session(words), None),
    ] {
        let started = Instant::now();
        let mut rounds = 0u32;
        while started.elapsed() < Duration::from_secs(1) {
            let page = search.search("m", query.clone()).await.unwrap();
            assert!(page.total > 0, "{name}");
            rounds += 1;
        }
        let rate = f64::from(rounds) / started.elapsed().as_secs_f64();
        let ratio = bare.map_or(String::new(), |bare| format!("  {:.2} of bare", rate / bare));
        println!("  {name:<37} {rate:>9.0} searches/s{ratio}");
    }
    let started = Instant::now();
    for (id, _, _) in documents.iter().take(20_000) {
        assert!(search.get("m", id).await.unwrap().is_some());
    }
    println!(
        "  get by id                             {:>9.0} reads/s",
        20_000.0 / started.elapsed().as_secs_f64()
    );
    search.shutdown(Duration::from_secs(60)).await.unwrap();
}

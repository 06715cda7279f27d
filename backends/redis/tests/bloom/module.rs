//! Filters of a module, on a server that this test plays: no package of Debian has the modules.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex};

use infra_core::ErrorKind;
use infra_core::cache::{Bloom, BloomOptions};
use infra_redis::RedisCache;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

use crate::config;

/// Filters by key: how they were reserved, and what is in them.
type Filters = HashMap<String, (String, String, HashSet<Vec<u8>>)>;

/// A server that knows the commands of valkey-bloom, and what it was asked.
#[derive(Clone, Default)]
struct Server {
    filters: Arc<Mutex<Filters>>,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Server {
    async fn start(&self) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let server = self.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(server.clone().serve(stream));
            }
        });
        format!("redis://{address}")
    }

    async fn serve(self, stream: TcpStream) {
        let mut stream = BufReader::new(stream);
        while let Some(command) = read(&mut stream).await {
            let reply = self.answer(&command);
            if stream.write_all(reply.as_bytes()).await.is_err() {
                return;
            }
        }
    }

    fn answer(&self, command: &[Vec<u8>]) -> String {
        let words: Vec<String> = command
            .iter()
            .map(|word| String::from_utf8_lossy(word).into_owned())
            .collect();
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let mut filters = self.filters.lock().unwrap();
        if words[0] != "HELLO" && words[0] != "CLIENT" {
            self.asked.lock().unwrap().push(words[0].to_owned());
        }
        let describe = |name: &str| format!("*1\r\n${}\r\n{name}\r\n", name.len());
        match words.as_slice() {
            ["HELLO", ..] => "%1\r\n+proto\r\n:3\r\n".to_owned(),
            ["COMMAND", "INFO", names @ ..] => {
                let described: String = names.iter().map(|name| describe(name)).collect();
                format!("*{}\r\n{described}", names.len())
            }
            ["BF.RESERVE", key, ..] if filters.contains_key(*key) => "-ERR item exists\r\n".to_owned(),
            ["BF.RESERVE", key, rate, capacity] => {
                let filter = ((*rate).to_owned(), (*capacity).to_owned(), HashSet::new());
                filters.insert((*key).to_owned(), filter);
                "+OK\r\n".to_owned()
            }
            ["BF.INFO", key] => filters.get(*key).map_or("-ERR not found\r\n".to_owned(), |(rate, capacity, _)| {
                format!("*6\r\n+Capacity\r\n:{capacity}\r\n+Number of filters\r\n:1\r\n+Error rate\r\n+{rate}\r\n")
            }),
            ["BF.INSERT", key, "NOCREATE", "ITEMS", _] => {
                filters.get_mut(*key).map_or("-ERR not found\r\n".to_owned(), |(.., items)| {
                    let new = items.insert(command[4].clone());
                    format!("*1\r\n#{}\r\n", if new { 't' } else { 'f' })
                })
            }
            ["BF.EXISTS", key, _] => {
                let found = filters.get(*key).is_some_and(|(.., items)| items.contains(&command[2]));
                format!(":{}\r\n", u8::from(found))
            }
            ["BF.DEBUG", ..] => "-ERR wrong number of arguments\r\n".to_owned(),
            _ => "+OK\r\n".to_owned(),
        }
    }
}

/// The next command; nothing when the client has gone.
async fn read(stream: &mut BufReader<TcpStream>) -> Option<Vec<Vec<u8>>> {
    let count = number(stream).await?;
    let mut words = Vec::new();
    for _ in 0..count {
        let mut word = vec![0; number(stream).await? + 2];
        stream.read_exact(&mut word).await.ok()?;
        word.truncate(word.len() - 2);
        words.push(word);
    }
    Some(words)
}

async fn number(stream: &mut BufReader<TcpStream>) -> Option<usize> {
    let mut line = String::new();
    stream.read_line(&mut line).await.ok()?;
    line.trim_end().get(1..)?.parse().ok()
}

#[tokio::test]
async fn the_commands_of_a_module_are_used_and_asked_for_once() {
    let server = Server::default();
    let cache = RedisCache::connect(config(&server.start().await))
        .await
        .expect("connected");
    let options = BloomOptions::new(0.001, 500);
    assert_eq!(
        cache.bloom_add("seen", b"a").await.unwrap_err().kind(),
        ErrorKind::NotFound
    );
    assert!(!cache.bloom_contains("seen", b"a").await.unwrap());
    cache.bloom_reserve("seen", options).await.unwrap();
    cache.bloom_reserve("seen", options).await.unwrap();
    for other in [BloomOptions::new(0.002, 500), BloomOptions::new(0.001, 501)] {
        let error = cache.bloom_reserve("seen", other).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::AlreadyExists, "{error:?}");
    }
    let scope = cache.scoped("other");
    scope.bloom_reserve("seen", options).await.unwrap();
    assert!(cache.bloom_add("seen", b"\0\xff").await.unwrap());
    assert!(!cache.bloom_add("seen", b"\0\xff").await.unwrap());
    assert!(cache.bloom_contains("seen", b"\0\xff").await.unwrap());
    assert!(!scope.bloom_contains("seen", b"\0\xff").await.unwrap());
    let asked = server.asked.lock().unwrap().clone();
    assert_eq!(
        asked.iter().filter(|name| *name == "COMMAND").count(),
        1,
        "{asked:?}"
    );
    assert!(
        asked
            .iter()
            .all(|name| name == "COMMAND" || name.starts_with("BF.")),
        "{asked:?}"
    );
}

//! Does a server answer in its own protocol? One short exchange for each, written by hand: no driver comes in.
//!
//! A port that is open proves nothing: a paused server still has its connections accepted by the kernel.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::time::Duration;

use super::problem::{Attempt, Problem, Result};

/// How long one exchange may take.
const PATIENCE: Duration = Duration::from_secs(2);

/// The most that is read of an answer.
const LIMIT: u64 = 64 * 1024;

fn connect(port: u16) -> Result<TcpStream> {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let open = || -> std::io::Result<TcpStream> {
        let stream = TcpStream::connect_timeout(&address, PATIENCE)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        Ok(stream)
    };
    open().attempt(|| format!("connect to {address}"))
}

/// Sends and reads what comes first, at least `least` bytes.
fn exchange(port: u16, request: &[u8], least: usize) -> Result<Vec<u8>> {
    let mut stream = connect(port)?;
    let mut answer = vec![0; least];
    let mut talk = || {
        stream.write_all(request)?;
        stream.read_exact(&mut answer)
    };
    talk().attempt(|| format!("get an answer from port {port}"))?;
    Ok(answer)
}

fn unexpected(port: u16, answer: &[u8]) -> Problem {
    Problem::new(format!(
        "port {port} answers {:?}",
        String::from_utf8_lossy(answer)
    ))
}

/// Sends a command to a Redis server and returns the answer as it comes, up to its first pause.
pub(super) fn redis(port: u16, command: &str) -> Result<String> {
    let mut stream = connect(port)?;
    let mut buffer = vec![0; 8192];
    let mut talk = || {
        stream.write_all(format!("{command}\r\n").as_bytes())?;
        stream.read(&mut buffer)
    };
    let length = talk().attempt(|| format!("get an answer from port {port}"))?;
    Ok(String::from_utf8_lossy(&buffer[..length]).into_owned())
}

/// Asks a Redis server for `PONG`.
pub(super) fn redis_ping(port: u16) -> Result<()> {
    let answer = redis(port, "PING")?;
    if answer.starts_with("+PONG") {
        Ok(())
    } else {
        Err(unexpected(port, answer.as_bytes()))
    }
}

/// Gets a path by HTTP, with further header lines, and returns the body of an answer whose status is 2xx.
pub(super) fn http_get(port: u16, path: &str, headers: &str) -> Result<String> {
    http(
        port,
        &format!("GET {path} HTTP/1.0\r\nHost: 127.0.0.1\r\n{headers}\r\n"),
    )
}

/// Posts an empty body by HTTP; any answer with status 2xx will do.
pub(super) fn http_post_empty(port: u16, path: &str, content_type: &str) -> Result<()> {
    let headers = format!("Content-Type: {content_type}\r\n");
    http_send(port, "POST", path, &headers, "").map(drop)
}

/// Sends a body by HTTP, with further header lines, and returns the body of an answer whose status is 2xx.
pub(super) fn http_send(port: u16, method: &str, path: &str, headers: &str, body: &str) -> Result<String> {
    let length = body.len();
    http(
        port,
        &format!(
            "{method} {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n{headers}Content-Length: {length}\r\nConnection: close\r\n\r\n{body}"
        ),
    )
}

fn http(port: u16, request: &str) -> Result<String> {
    let mut stream = connect(port)?;
    let mut answer = Vec::new();
    let mut talk = || {
        stream.write_all(request.as_bytes())?;
        (&mut stream).take(LIMIT).read_to_end(&mut answer)
    };
    talk().attempt(|| format!("get an answer from port {port}"))?;
    let text = String::from_utf8_lossy(&answer);
    let (head, body) = text
        .split_once("\r\n\r\n")
        .ok_or_else(|| unexpected(port, &answer))?;
    let status = head.split_whitespace().nth(1).unwrap_or_default();
    if head.starts_with("HTTP/1.") && status.starts_with('2') {
        Ok(body.to_owned())
    } else {
        Err(unexpected(port, &answer))
    }
}

/// Greets an AMQP 0-9-1 broker, which answers with the method `Connection.Start`.
pub(super) fn amqp(port: u16) -> Result<()> {
    let answer = exchange(port, b"AMQP\x00\x00\x09\x01", 11)?;
    // A method frame on channel 0, whose class and method are 10 and 10.
    if answer[..3] == [1, 0, 0] && answer[7..] == [0, 10, 0, 10] {
        Ok(())
    } else {
        Err(unexpected(port, &answer))
    }
}

/// Begins a PostgreSQL session; a server that takes part asks for authentication.
pub(super) fn postgres(port: u16, user: &str, database: &str) -> Result<()> {
    let mut body = 196_608_u32.to_be_bytes().to_vec();
    for text in ["user", user, "database", database, ""] {
        body.extend(text.as_bytes());
        body.push(0);
    }
    let answer = exchange(port, &with_length(&body, 4), 1)?;
    if answer == *b"R" {
        Ok(())
    } else {
        Err(unexpected(port, &answer))
    }
}

/// Waits for the greeting of a MySQL or MariaDB server: protocol version 10.
pub(super) fn mysql(port: u16) -> Result<()> {
    let greeting = exchange(port, b"", 5)?;
    if greeting[4] == 10 {
        Ok(())
    } else {
        Err(unexpected(port, &greeting))
    }
}

/// Asks a Kafka broker for the versions of its API.
pub(super) fn kafka(port: u16) -> Result<()> {
    // Key 18, version 0, correlation id 7, client id "probe".
    let mut request = vec![0, 18, 0, 0, 0, 0, 0, 7, 0, 5];
    request.extend(b"probe");
    let answer = exchange(port, &with_length(&request, 0), 10)?;
    // Correlation id, then the error code 0.
    if answer[4..] == [0, 0, 0, 7, 0, 0] {
        Ok(())
    } else {
        Err(unexpected(port, &answer))
    }
}

/// The body behind its length as 32 bits, which counts itself when `own` is 4.
fn with_length(body: &[u8], own: usize) -> Vec<u8> {
    let length = u32::try_from(body.len() + own).unwrap_or(u32::MAX);
    [&length.to_be_bytes()[..], body].concat()
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::thread::JoinHandle;

    use super::*;

    /// A server that gives one answer to one connection, whatever it is asked.
    fn answering(answer: &'static [u8]) -> (u16, JoinHandle<()>) {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let server = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().expect("a connection");
            stream
                .set_read_timeout(Some(Duration::from_millis(100)))
                .expect("a timeout");
            // Some protocols let the server speak first; a question that does not come is no failure here.
            let asked = stream.read(&mut [0; 512]).unwrap_or(0);
            assert!(asked < 512);
            stream.write_all(answer).expect("answered");
        });
        (port, server)
    }

    fn with<T>(answer: &'static [u8], probe: impl FnOnce(u16) -> T) -> T {
        let (port, server) = answering(answer);
        let outcome = probe(port);
        server.join().expect("the server ends");
        outcome
    }

    #[test]
    fn each_protocol_knows_its_own_answer_from_another() {
        with(b"+PONG\r\n", redis_ping).expect("redis");
        with(b"-LOADING\r\n", redis_ping).expect_err("still loading");
        with(b"R\0\0\0\x08", |port| postgres(port, "u", "d")).expect("postgres");
        with(b"E\0\0\0\x08", |port| postgres(port, "u", "d")).expect_err("starting up");
        with(b"\x4a\0\0\0\x0a5.5.5", mysql).expect("mysql");
        with(b"\x4a\0\0\0\xff", mysql).expect_err("too many connections");
        with(b"\0\0\0\x20\0\0\0\x07\0\0\0\0", kafka).expect("kafka");
        with(b"\0\0\0\x20\0\0\0\x08\0\0\0\0", kafka).expect_err("another correlation id");
        with(b"\x01\0\0\0\0\x01\xe0\0\x0a\0\x0a", amqp).expect("amqp");
        with(b"AMQP\0\0\x09\x01\0\0\0", amqp).expect_err("another version");
    }

    #[test]
    fn http_needs_a_good_status() {
        let body = with(b"HTTP/1.1 200 OK\r\nA: b\r\n\r\nbody", |port| {
            http_get(port, "/", "")
        });
        assert_eq!(body.expect("an answer"), "body");
        with(b"HTTP/1.1 503 No\r\n\r\n", |port| http_get(port, "/", "")).expect_err("unavailable");
        with(b"SSH-2.0", |port| http_post_empty(port, "/", "text/plain")).expect_err("not HTTP");
    }

    #[test]
    fn nobody_there_is_said_with_the_address() {
        let port = {
            let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
            listener.local_addr().expect("an address").port()
        };
        let problem = redis_ping(port).expect_err("nobody").to_string();
        assert!(problem.contains(&format!("127.0.0.1:{port}")), "{problem}");
    }
}

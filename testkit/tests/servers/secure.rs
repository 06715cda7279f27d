//! The servers with TLS and authentication: who may do what, through their doors without TLS, by a few words of HTTP.

use std::io::{Read, Write};
use std::net::TcpStream;

use crate::ground::{Ground, PATIENCE, value};

/// The status of an answer to a request without TLS; 0 where the answer is none of HTTP.
fn status(url: &str, method: &str, path: &str, headers: &str, body: &str) -> u16 {
    let address = url.rsplit(['@', '/']).next().unwrap();
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let length = body.len();
    let request = format!(
        "{method} {path} HTTP/1.1\r\nHost: x\r\n{headers}Content-Length: {length}\r\nConnection: close\r\n\r\n{body}"
    );
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = Vec::new();
    // A server that speaks TLS closes the connection, in whichever way.
    if stream.read_to_end(&mut answer).is_err() {
        return 0;
    }
    let answer = String::from_utf8_lossy(&answer);
    let mut words = answer.split_whitespace();
    if words.next() != Some("HTTP/1.1") {
        return 0;
    }
    words.next().unwrap().parse().unwrap()
}

#[test]
fn consul_wants_tls_and_a_token_that_allows_what_is_asked() {
    let ground = Ground::new();
    let Some(printed) = ground.up("secure_consul", &["consul-secure"]) else {
        return;
    };
    let url = value(&printed, "INFRA_CONSUL_SECURE_PLAIN_URL");
    let put = |url: &str, key: &str, token: &str| {
        let token = format!("X-Consul-Token: {token}\r\n");
        status(url, "PUT", &format!("/v1/kv/{key}"), &token, "x")
    };
    let ordinary = value(&printed, "INFRA_CONSUL_SECURE_TOKEN");
    let management = value(&printed, "INFRA_CONSUL_SECURE_MANAGEMENT_TOKEN");
    assert_eq!(put(url, "infra/a", ordinary), 200);
    assert_eq!(put(url, "other/a", ordinary), 403);
    assert_eq!(put(url, "other/a", management), 200);
    assert_eq!(put(url, "infra/a", "no-such-token"), 403);
    assert_eq!(put(url, "infra/a", ""), 403);
    let secure = value(&printed, "INFRA_CONSUL_SECURE_URL");
    assert_ne!(put(secure, "infra/a", ordinary), 200, "it answers without TLS");
    // Restarted, or asked for once more, it is the same.
    ground.succeed(&["restart", "consul-secure"]);
    assert_eq!(ground.up("secure_consul", &["consul-secure"]).unwrap(), printed);
    assert_eq!(put(url, "other/a", ordinary), 403);
}

#[test]
fn etcd_wants_tls_and_a_user() {
    let ground = Ground::new();
    let Some(printed) = ground.up("secure_etcd", &["etcd-secure"]) else {
        return;
    };
    let url = value(&printed, "INFRA_ETCD_SECURE_PLAIN_URL");
    assert!(url.starts_with("etcd://infra:staple%40battery%2F7@"), "{url}");
    let post = |url: &str, path: &str, body: &str| status(url, "POST", path, "", body);
    let login = |user: &str, password: &str| {
        let body = format!(r#"{{"name":"{user}","password":"{password}"}}"#);
        post(url, "/v3/auth/authenticate", &body)
    };
    for user in ["root", "infra"] {
        assert_eq!(login(user, "staple@battery/7"), 200);
        assert_ne!(login(user, "wrong"), 200);
    }
    let read = r#"{"key":"aW5mcmEv"}"#;
    assert_ne!(post(url, "/v3/kv/range", read), 200, "it answers to nobody");
    let secure = value(&printed, "INFRA_ETCD_SECURE_URL");
    assert_ne!(post(secure, "/v3/kv/range", read), 200, "it answers without TLS");
    // Restarted, or asked for once more, it is the same.
    ground.succeed(&["restart", "etcd-secure"]);
    assert_eq!(ground.up("secure_etcd", &["etcd-secure"]).unwrap(), printed);
    assert_eq!(login("infra", "staple@battery/7"), 200);
}

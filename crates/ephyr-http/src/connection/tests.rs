//! Requests over an in-memory stream, like the one that a TLS acceptor returns.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use bytes::Bytes;
use http::StatusCode;
use http::request::Parts;
use http_body_util::{Either, Full};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream};

use super::*;
use crate::body::{BodyError, RequestBody};

const PEER: Peer = Peer::Ip(IpAddr::V4(Ipv4Addr::LOCALHOST));
const LIMIT: usize = 1000;

/// Refuses `/refused`, echoes the body of `/echo` frame by frame, and collects all others.
struct TestService;

impl Service for TestService {
    type Body = Either<Full<Bytes>, RequestBody>;

    async fn call(
        self: Arc<Self>,
        peer: Peer,
        head: Parts,
        body: UnreadBody,
    ) -> Response<Self::Body> {
        assert_eq!(peer, PEER);
        let (status, text) = match head.uri.path() {
            "/refused" => {
                body.refuse();
                (StatusCode::UNAUTHORIZED, Bytes::new())
            }
            "/echo" => return Response::new(Either::Right(body.accept())),
            _ => match body.accept().collect(LIMIT).await {
                Ok(bytes) => (StatusCode::OK, bytes),
                Err(BodyError::TooLarge) => (StatusCode::PAYLOAD_TOO_LARGE, Bytes::new()),
                Err(BodyError::TooSlow) => (StatusCode::REQUEST_TIMEOUT, Bytes::new()),
                Err(BodyError::Broken) => (StatusCode::BAD_REQUEST, Bytes::new()),
            },
        };
        let mut response = Response::new(Either::Left(Full::new(text)));
        *response.status_mut() = status;
        response
    }
}

struct Client {
    stream: DuplexStream,
    activity: Arc<Activity>,
    shutdown: Option<oneshot::Sender<()>>,
}

impl Client {
    fn connect() -> Self {
        let (stream, other) = tokio::io::duplex(1 << 16);
        let (activity, (shutdown, on_shutdown)) = (Activity::new(), oneshot::channel());
        let (service, own) = (Arc::new(TestService), Arc::clone(&activity));
        tokio::spawn(serve_connection(other, PEER, own, service, on_shutdown));
        let shutdown = Some(shutdown);
        Self {
            stream,
            activity,
            shutdown,
        }
    }

    async fn send(&mut self, text: &str) {
        self.stream.write_all(text.as_bytes()).await.unwrap();
    }

    async fn head(&mut self, path: &str, headers: &str) {
        let head = format!("POST {path} HTTP/1.1\r\nhost: localhost\r\n{headers}\r\n");
        self.send(&head).await;
    }

    /// Reads until `text` has arrived.
    async fn expect(&mut self, text: &str) {
        let mut read = String::new();
        while !read.contains(text) {
            let byte = self.stream.read_u8().await;
            read.push(char::from(
                byte.unwrap_or_else(|_| panic!("{text} not in {read}")),
            ));
        }
    }

    async fn is_closed(&mut self) -> bool {
        let mut rest = Vec::new();
        let soon = Duration::from_secs(60);
        let read = tokio::time::timeout(soon, self.stream.read_to_end(&mut rest)).await;
        read.is_ok_and(|read| read.is_ok())
    }
}

#[tokio::test]
async fn collected_body_reaches_the_service_whole() {
    let mut client = Client::connect();
    client.head("/", "content-length: 6\r\n").await;
    client.send("one").await;
    tokio::task::yield_now().await;
    assert!(
        !client.activity.is_busy(),
        "an incomplete body must not make the connection busy"
    );
    client.send("two").await;
    client.expect("200 OK").await;
    client.expect("onetwo").await;
}

#[tokio::test]
async fn body_streams_in_both_directions_at_once() {
    let mut client = Client::connect();
    client.head("/echo", "transfer-encoding: chunked\r\n").await;
    for chunk in ["one", "two"] {
        client.send(&format!("3\r\n{chunk}\r\n")).await;
        client.expect(chunk).await;
        assert!(client.activity.is_busy());
    }
    client.send("0\r\n\r\n").await;
    client.expect("\r\n0\r\n\r\n").await;
    assert!(!client.activity.is_busy());
}

#[tokio::test(start_paused = true)]
async fn no_continue_is_sent_before_the_body_is_accepted() {
    let expect = "expect: 100-continue\r\n";
    for (path, length, answer) in [
        ("/refused", 6, "HTTP/1.1 401"),
        ("/", LIMIT + 1, "HTTP/1.1 413"),
        ("/", 6, "HTTP/1.1 100"),
    ] {
        let mut client = Client::connect();
        let headers = format!("{expect}content-length: {length}\r\n");
        client.head(path, &headers).await;
        let mut first = vec![0; answer.len()];
        client.stream.read_exact(&mut first).await.unwrap();
        assert_eq!(String::from_utf8_lossy(&first), answer, "{path}");
        if answer.ends_with("100") {
            client.send("onetwo").await;
            client.expect("onetwo").await;
        } else {
            assert!(
                client.is_closed().await,
                "{path}: the connection stays open"
            );
        }
    }
}

#[tokio::test]
async fn rest_of_a_refused_body_is_drained() {
    let mut client = Client::connect();
    for (path, length, answer) in [("/refused", 2000, "401"), ("/", 2000, "413")] {
        client
            .head(path, &format!("content-length: {length}\r\n"))
            .await;
        client.expect(answer).await;
        client.send(&"x".repeat(length)).await;
        assert!(!client.activity.is_busy());
    }
    client.head("/", "content-length: 2\r\n").await;
    client.send("ok").await;
    client.expect("200 OK").await;
}

#[tokio::test(start_paused = true)]
async fn body_that_stops_is_refused_after_the_timeout() {
    let mut client = Client::connect();
    client.head("/", "content-length: 2\r\n").await;
    client.send("x").await;
    let start = tokio::time::Instant::now();
    client.expect("408").await;
    assert_eq!(start.elapsed().as_secs(), 15);
    assert!(client.is_closed().await);
}

#[tokio::test]
async fn shutdown_lets_the_running_request_end() {
    let mut client = Client::connect();
    client.head("/echo", "content-length: 6\r\n").await;
    client.send("one").await;
    client.expect("one").await;
    client.shutdown.take().unwrap().send(()).unwrap();
    client.send("two").await;
    client.expect("two").await;
    assert!(client.is_closed().await);
}

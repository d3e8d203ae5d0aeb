//! Hostile and broken servers: each causes a clear error within the login timeout.

use std::time::{Duration, Instant};

use ephyr_ssh::{Options, SshError, Stage};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::support::{Ca, Pin, connect, memory_high_water, permit};

/// Shorter than the default, to keep the tests fast.
const LOGIN_TIMEOUT: Duration = Duration::from_millis(1500);

#[tokio::test]
async fn immediate_close_is_reported_as_closed() {
    let error = against(|socket| async move { drop(socket) }).await;
    assert!(
        matches!(
            error,
            SshError::Closed {
                stage: Stage::KeyExchange,
                ..
            }
        ),
        "{error:?}"
    );
    assert!(error.to_string().contains("MaxStartups"), "{error}");
}

#[tokio::test]
async fn silent_server_times_out() {
    let error = against(|socket| async move {
        tokio::time::sleep(Duration::from_secs(60)).await;
        drop(socket);
    })
    .await;
    assert_timeout(&error);
}

#[tokio::test]
async fn server_that_stalls_after_its_banner_times_out() {
    let error = against(|mut socket| async move {
        let _ = socket.write_all(b"SSH-2.0-Stall\r\n").await;
        tokio::time::sleep(Duration::from_secs(60)).await;
    })
    .await;
    assert_timeout(&error);
}

#[tokio::test]
async fn server_that_drips_its_banner_times_out() {
    let error = against(|mut socket| async move {
        for byte in b"SSH-2.0-Drip-drip-drip-drip-drip-drip".iter().cycle() {
            if socket.write_all(&[*byte]).await.is_err() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    })
    .await;
    assert_timeout(&error);
}

#[tokio::test]
async fn web_server_is_rejected() {
    let error = against(|mut socket| async move {
        let answer = b"HTTP/1.1 400 Bad Request\r\n\r\n";
        let _ = socket.write_all(answer).await;
        let _ = socket.shutdown().await;
        let _ = socket.read(&mut [0; 256]).await;
    })
    .await;
    assert!(
        matches!(error, SshError::Protocol { .. } | SshError::Closed { .. }),
        "{error:?}"
    );
}

#[tokio::test]
async fn garbage_banner_is_a_protocol_error() {
    let error = against(|socket| flood(socket, vec![0xff; 4096])).await;
    assert!(matches!(error, SshError::Protocol { .. }), "{error:?}");
}

#[tokio::test]
async fn endless_banner_is_a_protocol_error() {
    let mut banner = b"SSH-2.0-".to_vec();
    banner.resize(64 * 1024, b'A');
    let error = against(|socket| flood(socket, banner)).await;
    assert!(matches!(error, SshError::Protocol { .. }), "{error:?}");
}

#[tokio::test]
async fn endless_lines_before_the_banner_are_a_protocol_error() {
    let error = against(|socket| flood(socket, b"welcome to nothing\r\n".repeat(100))).await;
    assert!(matches!(error, SshError::Protocol { .. }), "{error:?}");
}

#[tokio::test]
async fn garbage_after_the_banner_is_rejected() {
    for byte in [0x00, 0x41, 0xff] {
        let error = against(move |mut socket| async move {
            let _ = socket.write_all(b"SSH-2.0-Garbage\r\n").await;
            flood(socket, vec![byte; 64 * 1024]).await;
        })
        .await;
        assert!(
            matches!(error, SshError::Protocol { .. } | SshError::Closed { .. }),
            "{byte:#x}: {error:?}"
        );
    }
}

#[tokio::test]
async fn endless_packets_before_the_key_exchange_are_limited() {
    // Well-formed SSH_MSG_IGNORE packets without end (RFC 4253, section 11.2).
    let error = against(|mut socket| async move {
        let _ = socket.write_all(b"SSH-2.0-Ignore\r\n").await;
        flood(
            socket,
            packet(&[&[2u8, 0, 0, 0x7f, 0x00][..], &[0; 0x7f00]].concat()),
        )
        .await;
    })
    .await;
    assert!(
        matches!(error, SshError::Protocol { .. } | SshError::Closed { .. }),
        "{error:?}"
    );
}

#[tokio::test]
async fn endless_key_exchange_times_out() {
    let error = against(|mut socket| async move {
        let _ = socket.write_all(b"SSH-2.0-OpenSSH_9.9\r\n").await;
        let _ = socket.write_all(&packet(&kex_init())).await;
        // Reads the client's key exchange message and never sends its own.
        let mut taken = [0; 4096];
        while matches!(socket.read(&mut taken).await, Ok(1..)) {}
    })
    .await;
    assert_timeout(&error);
}

#[tokio::test]
async fn malformed_key_exchange_reply_is_rejected() {
    // SSH_MSG_KEX_ECDH_REPLY with false lengths and an invalid key (RFC 5656, section 4).
    let replies: [&[u8]; 4] = [
        &[31],
        &[31, 0xff, 0xff, 0xff, 0xff],
        &[31, 0, 0, 0, 4, 1, 2, 3, 4, 0, 0, 0, 0, 0, 0, 0, 0],
        &[31, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
    ];
    for reply in replies {
        let error = against(move |mut socket| async move {
            let _ = socket.write_all(b"SSH-2.0-OpenSSH_9.9\r\n").await;
            let _ = socket.write_all(&packet(&kex_init())).await;
            let _ = socket.write_all(&packet(reply)).await;
            let mut taken = [0; 4096];
            while matches!(socket.read(&mut taken).await, Ok(1..)) {}
        })
        .await;
        assert!(
            matches!(
                error,
                SshError::Protocol { .. } | SshError::Closed { .. } | SshError::Crashed { .. }
            ),
            "{reply:?}: {error:?}"
        );
    }
}

#[tokio::test]
async fn aborted_connect_closes_the_connection() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let permit = permit(port, "nobody", &Pin::Key(Ca::new(1).public()), "id");
    let attempt = tokio::spawn(connect(&permit, &Options::default()));
    let (mut socket, _) = listener.accept().await.unwrap();
    socket.write_all(b"SSH-2.0-OpenSSH_9.9\r\n").await.unwrap();
    socket.write_all(&packet(&kex_init())).await.unwrap();
    // Read until the client has sent its key exchange message and waits for the reply.
    let mut taken = vec![0; 4096];
    let quiet = Duration::from_millis(500);
    while tokio::time::timeout(quiet, socket.read(&mut taken))
        .await
        .is_ok()
    {}
    attempt.abort();
    // The read ends only if the client closes: the server keeps its side open.
    taken.clear();
    let closed = tokio::time::timeout(Duration::from_secs(10), socket.read_to_end(&mut taken));
    assert!(closed.await.is_ok());
}

/// Returns the error of connecting to a server that runs `serve`.
async fn against<Served>(serve: impl FnOnce(TcpStream) -> Served) -> SshError
where
    Served: Future<Output = ()> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let permit = permit(port, "nobody", &Pin::Key(Ca::new(1).public()), "id");
    let options = Options {
        login_timeout: LOGIN_TIMEOUT,
        ..Options::default()
    };
    let started = Instant::now();
    let attempt = tokio::spawn(connect(&permit, &options));
    let (socket, _) = listener.accept().await.unwrap();
    let server = tokio::spawn(serve(socket));
    let error = attempt
        .await
        .unwrap()
        .err()
        .expect("the connection succeeded");
    server.abort();
    assert!(started.elapsed() < LOGIN_TIMEOUT + Duration::from_secs(5));
    assert!(
        memory_high_water() < 128 * 1024,
        "{} KiB",
        memory_high_water()
    );
    error
}

fn assert_timeout(error: &SshError) {
    assert!(
        matches!(
            error,
            SshError::TimedOut {
                stage: Stage::KeyExchange,
                ..
            }
        ),
        "{error:?}"
    );
}

/// Sends `data` repeatedly until the client closes the connection.
async fn flood(mut socket: TcpStream, data: Vec<u8>) {
    while socket.write_all(&data).await.is_ok() {}
}

/// Returns an unencrypted binary packet (RFC 4253, section 6).
fn packet(payload: &[u8]) -> Vec<u8> {
    let padding = 8 - (payload.len() + 5) % 8 + 8;
    let length = u32::try_from(payload.len() + padding + 1).unwrap();
    let mut packet = length.to_be_bytes().to_vec();
    packet.push(u8::try_from(padding).unwrap());
    packet.extend_from_slice(payload);
    packet.resize(packet.len() + padding, 0);
    packet
}

/// Returns an SSH_MSG_KEXINIT with the client's preferred algorithms (RFC 4253, section 7.1).
fn kex_init() -> Vec<u8> {
    let mut message = vec![20];
    message.extend_from_slice(&[7; 16]);
    let cipher = "aes256-gcm@openssh.com";
    let lists = [
        "curve25519-sha256",
        "ssh-ed25519",
        cipher,
        cipher,
        "hmac-sha2-256",
        "hmac-sha2-256",
        "none",
        "none",
        "",
        "",
    ];
    for list in lists {
        message.extend_from_slice(&u32::try_from(list.len()).unwrap().to_be_bytes());
        message.extend_from_slice(list.as_bytes());
    }
    message.extend_from_slice(&[0; 5]);
    message
}

//! Servers that are none: each gives a clear error within the time for a login.

use std::time::{Duration, Instant};

use ephyr_ssh::{Options, SshError, Stage};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::support::{Ca, Pin, connect, memory_high_water, permit};

/// Shorter than in earnest, so that the tests are.
const LOGIN_TIMEOUT: Duration = Duration::from_millis(1500);

#[tokio::test]
async fn a_server_that_closes_at_once_is_said_to_have_closed() {
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
async fn a_server_that_says_nothing_times_out() {
    let error = against(|socket| async move {
        tokio::time::sleep(Duration::from_secs(60)).await;
        drop(socket);
    })
    .await;
    is_timeout(&error);
}

#[tokio::test]
async fn a_server_that_stalls_after_its_banner_times_out() {
    let error = against(|mut socket| async move {
        let _ = socket.write_all(b"SSH-2.0-Stall\r\n").await;
        tokio::time::sleep(Duration::from_secs(60)).await;
    })
    .await;
    is_timeout(&error);
}

#[tokio::test]
async fn a_server_that_drips_its_banner_times_out() {
    let error = against(|mut socket| async move {
        for byte in b"SSH-2.0-Drip-drip-drip-drip-drip-drip".iter().cycle() {
            if socket.write_all(&[*byte]).await.is_err() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    })
    .await;
    is_timeout(&error);
}

#[tokio::test]
async fn a_web_server_is_not_understood() {
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
async fn garbage_for_a_banner_is_not_understood() {
    let error = against(|socket| flood(socket, vec![0xff; 4096])).await;
    assert!(matches!(error, SshError::Protocol { .. }), "{error:?}");
}

#[tokio::test]
async fn a_banner_without_end_is_not_understood() {
    let mut banner = b"SSH-2.0-".to_vec();
    banner.resize(64 * 1024, b'A');
    let error = against(|socket| flood(socket, banner)).await;
    assert!(matches!(error, SshError::Protocol { .. }), "{error:?}");
}

#[tokio::test]
async fn lines_without_end_before_the_banner_are_not_understood() {
    let error = against(|socket| flood(socket, b"welcome to nothing\r\n".repeat(100))).await;
    assert!(matches!(error, SshError::Protocol { .. }), "{error:?}");
}

#[tokio::test]
async fn garbage_after_the_banner_is_not_understood() {
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
async fn packets_without_end_and_without_a_key_exchange_are_bounded() {
    // SSH_MSG_IGNORE, well formed, for ever (RFC 4253, section 11.2).
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
async fn a_key_exchange_that_never_ends_times_out() {
    let error = against(|mut socket| async move {
        let _ = socket.write_all(b"SSH-2.0-OpenSSH_9.9\r\n").await;
        let _ = socket.write_all(&packet(&offer())).await;
        // Takes our half of the exchange and keeps its own.
        let mut taken = [0; 4096];
        while matches!(socket.read(&mut taken).await, Ok(1..)) {}
    })
    .await;
    is_timeout(&error);
}

#[tokio::test]
async fn nonsense_in_the_key_exchange_is_not_understood() {
    // SSH_MSG_KEX_ECDH_REPLY with lengths that lie, and with a key that is none (RFC 5656, section 4).
    let lies: [&[u8]; 4] = [
        &[31],
        &[31, 0xff, 0xff, 0xff, 0xff],
        &[31, 0, 0, 0, 4, 1, 2, 3, 4, 0, 0, 0, 0, 0, 0, 0, 0],
        &[31, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
    ];
    for lie in lies {
        let error = against(move |mut socket| async move {
            let _ = socket.write_all(b"SSH-2.0-OpenSSH_9.9\r\n").await;
            let _ = socket.write_all(&packet(&offer())).await;
            let _ = socket.write_all(&packet(lie)).await;
            let mut taken = [0; 4096];
            while matches!(socket.read(&mut taken).await, Ok(1..)) {}
        })
        .await;
        assert!(
            matches!(
                error,
                SshError::Protocol { .. } | SshError::Closed { .. } | SshError::Crashed { .. }
            ),
            "{lie:?}: {error:?}"
        );
    }
}

#[tokio::test]
async fn a_connection_that_is_given_up_is_closed() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let permit = permit(port, "nobody", &Pin::Key(Ca::new(1).public()), "id");
    let attempt = tokio::spawn(connect(&permit, &Options::default()));
    let (mut socket, _) = listener.accept().await.unwrap();
    socket.write_all(b"SSH-2.0-OpenSSH_9.9\r\n").await.unwrap();
    socket.write_all(&packet(&offer())).await.unwrap();
    // Until its half of the key exchange is here, and it waits for ours.
    let mut taken = vec![0; 4096];
    let quiet = Duration::from_millis(500);
    while tokio::time::timeout(quiet, socket.read(&mut taken))
        .await
        .is_ok()
    {}
    attempt.abort();
    // Ends only because the other side closes: the server itself never does.
    taken.clear();
    let closed = tokio::time::timeout(Duration::from_secs(10), socket.read_to_end(&mut taken));
    assert!(closed.await.is_ok());
}

/// The error of a connection to a server that does this.
async fn against<Does>(serve: impl FnOnce(TcpStream) -> Does) -> SshError
where
    Does: Future<Output = ()> + Send + 'static,
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
        .expect("it was taken for a target");
    server.abort();
    assert!(started.elapsed() < LOGIN_TIMEOUT + Duration::from_secs(5));
    assert!(
        memory_high_water() < 128 * 1024,
        "{} KiB",
        memory_high_water()
    );
    error
}

fn is_timeout(error: &SshError) {
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

/// Sends the same for as long as it is taken.
async fn flood(mut socket: TcpStream, data: Vec<u8>) {
    while socket.write_all(&data).await.is_ok() {}
}

/// A packet as it goes before any encryption (RFC 4253, section 6).
fn packet(payload: &[u8]) -> Vec<u8> {
    let padding = 8 - (payload.len() + 5) % 8 + 8;
    let length = u32::try_from(payload.len() + padding + 1).unwrap();
    let mut packet = length.to_be_bytes().to_vec();
    packet.push(u8::try_from(padding).unwrap());
    packet.extend_from_slice(payload);
    packet.resize(packet.len() + padding, 0);
    packet
}

/// SSH_MSG_KEXINIT with what we would choose (RFC 4253, section 7.1).
fn offer() -> Vec<u8> {
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

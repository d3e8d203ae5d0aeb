//! Failures of the target or the network after the key exchange.

use std::time::{Duration, Instant};

use ephyr_ssh::{Connection, ExecOptions, Exit, Identity, KeyPair, Options, SshError, Stage};

use crate::support::{Lab, Relay, Setup, Spec, connect, login, permit, run, within};

#[tokio::test]
async fn silent_target_times_out_at_login() {
    let lab = Lab::start();
    let relay = Relay::to(lab.port).await;
    let (connection, identity) = connected(&lab, &relay, "id").await;
    relay.fall_silent();
    let error = connection.authenticate(identity).await.err().unwrap();
    assert!(
        matches!(
            error,
            SshError::TimedOut {
                stage: Stage::Login,
                ..
            }
        ),
        "{error:?}"
    );
}

#[tokio::test]
async fn connection_closed_at_login_is_reported_as_closed() {
    let lab = Lab::start();
    let relay = Relay::to(lab.port).await;
    let (connection, identity) = connected(&lab, &relay, "id").await;
    relay.close();
    let error = connection.authenticate(identity).await.err().unwrap();
    assert!(
        matches!(
            error,
            SshError::Closed {
                stage: Stage::Login,
                ..
            }
        ),
        "{error:?}"
    );
}

#[tokio::test]
async fn silent_network_failure_ends_the_command_at_its_timeout() {
    let lab = Lab::start();
    let relay = Relay::to(lab.port).await;
    let (connection, identity) = connected(&lab, &relay, "echo begun; sleep 20").await;
    let login = connection.authenticate(identity).await.unwrap();
    let started = Instant::now();
    let (done, ()) = tokio::join!(login.exec(within(Duration::from_secs(3))), async {
        tokio::time::sleep(Duration::from_secs(2)).await;
        relay.fall_silent();
    });
    let done = done.unwrap();
    assert_eq!((done.exit, done.end_reported), (Exit::Timeout, false));
    assert_eq!(done.stdout, b"begun\n");
    assert!(started.elapsed() < Duration::from_secs(15));
}

#[tokio::test]
async fn output_before_a_lost_connection_is_kept() {
    let lab = Lab::start();
    // The shell's parent is the connection's sshd process.
    let command = "echo begun; sleep 1; kill -9 $PPID; sleep 20";
    let done = run(&lab, command, ExecOptions::default()).await.unwrap();
    assert!(matches!(done.exit, Exit::Lost(_)), "{done:?}");
    assert!(!done.end_reported);
    assert_eq!(done.stdout, b"begun\n");
}

#[tokio::test]
async fn target_without_sessions_is_reported_as_refusing() {
    let lab = Lab::with(&Setup {
        config: "MaxSessions 0",
        ..Setup::default()
    });
    let login = login(&lab, "id").await.unwrap();
    let error = login.exec(ExecOptions::default()).await.unwrap_err();
    assert!(
        matches!(error, SshError::CommandRefused { .. }),
        "{error:?}"
    );
}

#[tokio::test]
async fn further_login_method_is_reported() {
    let lab = Lab::with(&Setup {
        config: "AuthenticationMethods publickey,publickey",
        ..Setup::default()
    });
    let error = login(&lab, "id").await.err().unwrap();
    assert!(
        matches!(error, SshError::CertificateRefused { further: true, .. }),
        "{error:?}"
    );
    assert!(
        error.to_string().contains("further login method"),
        "{error}"
    );
}

/// Returns a connection through the relay, and an identity for it.
async fn connected(lab: &Lab, relay: &Relay, command: &str) -> (Connection, Identity) {
    let permit = permit(relay.port, &lab.account, &lab.pin(), command);
    let options = Options {
        login_timeout: Duration::from_secs(5),
        ..Options::default()
    };
    let connection = connect(&permit, &options).await.unwrap();
    let keys = KeyPair::generate().unwrap();
    let certificate = lab
        .ca
        .certify(keys.public_openssh(), command, &Spec::default());
    (connection, keys.identity(&certificate).unwrap())
}

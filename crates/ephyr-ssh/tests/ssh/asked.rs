//! Commands without a regular end: the result states whether the command may have run.

use std::sync::Arc;
use std::time::Duration;

use ephyr_ssh::{ExecOptions, ExecOutput, Exit, KeyPair, Options, SshError, Stage};
use russh::server::{Auth, ChannelOpenHandle, Config, Handle, Handler, Msg, Session, run_stream};
use russh::{Channel, ChannelId, Disconnect};
use tokio::net::TcpListener;

use crate::support::{Ca, Pin, Spec, connect, key, permit, within};

/// The server's behavior after the login.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Behavior {
    RefusesTheChannel,
    HangsBeforeTheChannel,
    DisconnectsBeforeTheChannel,
    RefusesTheCommand,
    RefusesAfterOutput,
    ClosesTheChannel,
    Disconnects,
    NeverAnswers,
    Runs,
    RunsSomethingElse,
    OpensChannels,
}

#[tokio::test]
async fn failures_before_the_request_report_that_nothing_ran() {
    let refused = against(Behavior::RefusesTheChannel).await.unwrap_err();
    assert!(
        matches!(refused, SshError::CommandRefused { .. }),
        "{refused:?}"
    );
    let left = against(Behavior::DisconnectsBeforeTheChannel)
        .await
        .unwrap_err();
    assert!(
        matches!(
            left,
            SshError::Closed {
                stage: Stage::Start,
                ..
            }
        ),
        "{left:?}"
    );
    let hung = against(Behavior::HangsBeforeTheChannel).await.unwrap();
    assert_eq!((hung.exit, hung.asked), (Exit::Timeout, false));
}

#[tokio::test]
async fn refusal_after_output_is_not_trusted() {
    let refused = against(Behavior::RefusesTheCommand).await.unwrap_err();
    assert!(
        matches!(refused, SshError::CommandRefused { .. }),
        "{refused:?}"
    );
    let ran = against(Behavior::RefusesAfterOutput).await.unwrap();
    assert!(matches!(ran.exit, Exit::Lost(_)), "{ran:?}");
    assert!(ran.asked);
}

#[tokio::test]
async fn failures_after_the_request_report_that_it_may_have_run() {
    for behavior in [Behavior::ClosesTheChannel, Behavior::Disconnects] {
        let ran = against(behavior).await.unwrap();
        assert!(matches!(ran.exit, Exit::Lost(_)), "{behavior:?}: {ran:?}");
        assert!(ran.asked && !ran.end_reported);
    }
    let silent = against(Behavior::NeverAnswers).await.unwrap();
    assert_eq!((silent.exit, silent.asked), (Exit::Timeout, true));
    let ran = against(Behavior::Runs).await.unwrap();
    assert_eq!((ran.exit, ran.asked), (Exit::Code(3), true));
    let other = against(Behavior::RunsSomethingElse).await.unwrap();
    assert!(matches!(other.exit, Exit::Unproven(_)), "{other:?}");
    assert!(other.asked);
}

#[tokio::test]
async fn channels_opened_by_the_target_are_refused() {
    let ran = against(Behavior::OpensChannels).await.unwrap();
    // The exit status is the number of channels that the server could open.
    assert_eq!(ran.exit, Exit::Code(0), "{ran:?}");
}

/// Tries to open a channel of each kind; returns how many were accepted.
async fn open_channels(handle: &Handle) -> u32 {
    let opened = [
        handle.channel_open_session().await.is_ok(),
        handle.channel_open_agent().await.is_ok(),
        handle.channel_open_x11("here", 1).await.is_ok(),
        handle
            .channel_open_direct_tcpip("there", 1, "here", 2)
            .await
            .is_ok(),
        handle
            .channel_open_direct_streamlocal("/run/x")
            .await
            .is_ok(),
        handle
            .channel_open_forwarded_tcpip("there", 1, "here", 2)
            .await
            .is_ok(),
        handle
            .channel_open_forwarded_streamlocal("/run/x")
            .await
            .is_ok(),
    ];
    opened.into_iter().map(u32::from).sum()
}

/// Runs one command on a server with this behavior.
async fn against(behavior: Behavior) -> Result<ExecOutput, SshError> {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let host = Ca::new(9);
    let config = Arc::new(Config {
        keys: vec![key(9)],
        auth_rejection_time: Duration::from_millis(1),
        ..Config::default()
    });
    let server = tokio::spawn(async move {
        let (socket, _) = listener.accept().await.unwrap();
        let session = run_stream(config, socket, Server(behavior)).await.unwrap();
        // The test itself ends the session, so its result does not matter.
        let _ = session.await;
    });
    let permit = permit(port, "nobody", &Pin::Key(host.public()), "id");
    let connection = connect(&permit, &Options::default()).await?;
    let keys = KeyPair::generate()?;
    let certificate = Ca::new(1).certify(keys.public_openssh(), "id", &Spec::default());
    let login = connection
        .authenticate(keys.identity(&certificate)?)
        .await?;
    let options = match behavior {
        Behavior::HangsBeforeTheChannel | Behavior::NeverAnswers => within(Duration::from_secs(1)),
        _ => ExecOptions::default(),
    };
    let done = login.exec(options).await;
    server.abort();
    done
}

struct Server(Behavior);

impl Handler for Server {
    type Error = russh::Error;

    async fn auth_openssh_certificate(
        &mut self,
        _user: &str,
        _certificate: &ssh_key::Certificate,
    ) -> Result<Auth, Self::Error> {
        Ok(Auth::Accept)
    }

    async fn channel_open_session(
        &mut self,
        _channel: Channel<Msg>,
        reply: ChannelOpenHandle,
        session: &mut Session,
    ) -> Result<(), Self::Error> {
        match self.0 {
            Behavior::RefusesTheChannel => drop(reply),
            Behavior::HangsBeforeTheChannel => std::future::pending().await,
            Behavior::DisconnectsBeforeTheChannel => {
                session.disconnect(Disconnect::ByApplication, "off", "")?;
            }
            _ => reply.accept().await,
        }
        Ok(())
    }

    async fn exec_request(
        &mut self,
        channel: ChannelId,
        _command: &[u8],
        session: &mut Session,
    ) -> Result<(), Self::Error> {
        match self.0 {
            Behavior::RefusesTheCommand => session.channel_failure(channel),
            Behavior::RefusesAfterOutput => {
                session.data(channel, &b"done\n"[..])?;
                session.channel_failure(channel)
            }
            Behavior::ClosesTheChannel => session.close(channel),
            Behavior::Disconnects => session.disconnect(Disconnect::ByApplication, "off", ""),
            Behavior::Runs | Behavior::RunsSomethingElse => {
                session.channel_success(channel)?;
                if self.0 == Behavior::Runs {
                    session.data(channel, ephyr_policy::SEALED_BEGINS.as_bytes())?;
                }
                session.exit_status_request(channel, 3)?;
                session.eof(channel)?;
                session.close(channel)
            }
            Behavior::OpensChannels => {
                session.channel_success(channel)?;
                session.data(channel, ephyr_policy::SEALED_BEGINS.as_bytes())?;
                let handle = session.handle();
                // In its own task: the session must keep running to receive the client's replies.
                tokio::spawn(async move {
                    let opened = open_channels(&handle).await;
                    let _ = handle.exit_status_request(channel, opened).await;
                    let _ = handle.eof(channel).await;
                    let _ = handle.close(channel).await;
                });
                Ok(())
            }
            _ => Ok(()),
        }
    }
}

//! What is said of a command that the target was asked to run and that came to no proper end: whether it
//! may have run.

use std::sync::Arc;
use std::time::Duration;

use ephyr_ssh::{ExecOptions, ExecOutput, Exit, KeyPair, Options, SshError, Stage};
use russh::server::{Auth, ChannelOpenHandle, Config, Handle, Handler, Msg, Session, run_stream};
use russh::{Channel, ChannelId, Disconnect};
use tokio::net::TcpListener;

use crate::support::{Ca, Pin, Spec, connect, key, permit, within};

/// What a server does once it is logged in to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Answer {
    OpensNoChannel,
    HangsBeforeTheChannel,
    LeavesBeforeTheChannel,
    Refuses,
    RefusesAfterOutput,
    ClosesTheChannel,
    Leaves,
    SaysNothing,
    Runs,
    RunsSomethingElse,
    OpensChannels,
}

#[tokio::test]
async fn before_the_target_was_asked_nothing_can_have_run() {
    let refused = against(Answer::OpensNoChannel).await.unwrap_err();
    assert!(
        matches!(refused, SshError::CommandRefused { .. }),
        "{refused:?}"
    );
    let left = against(Answer::LeavesBeforeTheChannel).await.unwrap_err();
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
    let hung = against(Answer::HangsBeforeTheChannel).await.unwrap();
    assert_eq!((hung.exit, hung.asked), (Exit::Timeout, false));
}

#[tokio::test]
async fn a_target_that_refuses_is_believed_as_long_as_it_has_not_said_otherwise() {
    let refused = against(Answer::Refuses).await.unwrap_err();
    assert!(
        matches!(refused, SshError::CommandRefused { .. }),
        "{refused:?}"
    );
    let ran = against(Answer::RefusesAfterOutput).await.unwrap();
    assert!(matches!(ran.exit, Exit::Lost(_)), "{ran:?}");
    assert!(ran.asked);
}

#[tokio::test]
async fn whatever_breaks_after_the_target_was_asked_is_no_error_that_says_nothing_ran() {
    for answer in [Answer::ClosesTheChannel, Answer::Leaves] {
        let ran = against(answer).await.unwrap();
        assert!(matches!(ran.exit, Exit::Lost(_)), "{answer:?}: {ran:?}");
        assert!(ran.asked && !ran.end_reported);
    }
    let silent = against(Answer::SaysNothing).await.unwrap();
    assert_eq!((silent.exit, silent.asked), (Exit::Timeout, true));
    let ran = against(Answer::Runs).await.unwrap();
    assert_eq!((ran.exit, ran.asked), (Exit::Code(3), true));
    let other = against(Answer::RunsSomethingElse).await.unwrap();
    assert!(matches!(other.exit, Exit::Unproven(_)), "{other:?}");
    assert!(other.asked);
}

#[tokio::test]
async fn channels_that_a_target_opens_are_refused() {
    let ran = against(Answer::OpensChannels).await.unwrap();
    // The server counts the channels that it could open, and exits with that number.
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

/// One command on a server that does this.
async fn against(answer: Answer) -> Result<ExecOutput, SshError> {
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
        let session = run_stream(config, socket, Server(answer)).await.unwrap();
        // How it ended is the test's own doing.
        let _ = session.await;
    });
    let permit = permit(port, "nobody", &Pin::Key(host.public()), "id");
    let connection = connect(&permit, &Options::default()).await?;
    let keys = KeyPair::generate()?;
    let certificate = Ca::new(1).certify(keys.public_openssh(), "id", &Spec::default());
    let login = connection
        .authenticate(keys.identity(&certificate)?)
        .await?;
    let options = match answer {
        Answer::HangsBeforeTheChannel | Answer::SaysNothing => within(Duration::from_secs(1)),
        _ => ExecOptions::default(),
    };
    let done = login.exec(options).await;
    server.abort();
    done
}

struct Server(Answer);

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
            Answer::OpensNoChannel => drop(reply),
            Answer::HangsBeforeTheChannel => std::future::pending().await,
            Answer::LeavesBeforeTheChannel => {
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
            Answer::Refuses => session.channel_failure(channel),
            Answer::RefusesAfterOutput => {
                session.data(channel, &b"done\n"[..])?;
                session.channel_failure(channel)
            }
            Answer::ClosesTheChannel => session.close(channel),
            Answer::Leaves => session.disconnect(Disconnect::ByApplication, "off", ""),
            Answer::Runs | Answer::RunsSomethingElse => {
                session.channel_success(channel)?;
                if self.0 == Answer::Runs {
                    session.data(channel, ephyr_policy::SEALED_BEGINS.as_bytes())?;
                }
                session.exit_status_request(channel, 3)?;
                session.eof(channel)?;
                session.close(channel)
            }
            Answer::OpensChannels => {
                session.channel_success(channel)?;
                session.data(channel, ephyr_policy::SEALED_BEGINS.as_bytes())?;
                let handle = session.handle();
                // The session must go on meanwhile, to see the client's replies.
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

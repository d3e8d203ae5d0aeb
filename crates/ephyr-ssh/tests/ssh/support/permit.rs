//! Permits, made by a policy decision, which is the only source of them.

use std::sync::LazyLock;

use ephyr_audit::{Attempt, AttemptKind, Event, Record, Writer, WriterOptions, new_record_id};
use ephyr_names::{Digest, Timestamp};
use ephyr_policy::{Decision, Ledger, Purpose, SshAction, SshPermit, Subject, authorize, load};
use ephyr_ssh::{Connection, Options, SshError};

const NOW: Timestamp = Timestamp::from_unix_seconds(1_800_000_000);

/// One recorded attempt, shared by all connections.
static ATTEMPT: LazyLock<Attempt> = LazyLock::new(|| {
    // In its own thread: the caller may be inside a runtime, where `block_on` panics.
    let recorded = std::thread::spawn(|| {
        let log = tempfile::tempdir().unwrap();
        let (writer, _) = Writer::open(
            &log.path().join("audit.jsonl"),
            &WriterOptions::new(Digest::ZERO),
        )
        .unwrap();
        let record = Record::new(new_record_id(NOW), NOW, Event::ExecAttempt, Digest::ZERO);
        let runtime = tokio::runtime::Builder::new_current_thread()
            .build()
            .unwrap();
        let attempt = runtime.block_on(writer.attempt(AttemptKind::Exec, record));
        attempt.unwrap()
    });
    recorded.join().unwrap()
});

/// [`ephyr_ssh::connect`] with a recorded attempt.
pub(crate) fn connect(
    permit: &SshPermit,
    options: &Options,
) -> impl Future<Output = Result<Connection, SshError>> + Send + use<> {
    ephyr_ssh::connect(permit, &ATTEMPT, options)
}

/// The policy's host key pin for the target.
pub(crate) enum Pin {
    Key(String),
    Fingerprint(String),
    None,
}

/// Returns a permit to run the command as `account` on a loopback port.
pub(crate) fn permit(port: u16, account: &str, pin: &Pin, command: &str) -> SshPermit {
    let (strict, host_key) = match pin {
        Pin::Key(line) => (true, format!("host_key: {line}")),
        Pin::Fingerprint(print) => (true, format!("host_key_fingerprint: {print}")),
        Pin::None => (false, String::new()),
    };
    let root = match account {
        "root" => "allow_root_equivalent: true",
        _ => "",
    };
    let source = format!(
        "global:\n  host_key_strict: {strict}\n\
         roles:\n  op:\n    principal: {account}\n    {root}\n\
         targets:\n  web:\n    host: 127.0.0.1\n    port: {port}\n    allowed_roles: [op]\n    \
         auto_approve: true\n    {host_key}\n\
         agents:\n  agent:\n    uid: 64100\n    ssh:\n      web:\n        roles: [op]\n"
    );
    let policy = load(source.as_bytes(), "lab.yaml").unwrap_or_else(|errors| {
        panic!("the lab's policy is invalid: {errors:?}\n{source}");
    });
    let action = SshAction {
        target: "web".parse().unwrap(),
        role: "op".parse().unwrap(),
        purpose: Purpose::Exec {
            command: command.to_owned(),
        },
        ttl: None,
    };
    let decision = authorize(
        &policy,
        &mut Ledger::new(),
        &Subject::direct("agent".parse().unwrap()),
        &action,
        NOW,
    );
    match decision {
        Decision::Permit(permit) => permit,
        Decision::Denied(denial) => panic!("the lab's policy denies: {denial:?}"),
    }
}

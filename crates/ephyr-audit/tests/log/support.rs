//! Shared by the tests: a signer that countersigns as the real one does, records, and an attacker's tools, which do not
//! use the crate's chain code so that they cannot share its mistakes.

use std::io::Cursor;
use std::path::{Path, PathBuf};
use std::sync::mpsc::sync_channel;

use ephyr_audit::{
    ActionInfo, ActionKind, Appended, AuditError, Event, Record, Report, Text, VerifyError,
    VerifyOptions, Writer, WriterOptions, checkpoint_file, log_files, new_record_id, verify,
};
use ephyr_chain::{Checkpoint, Fold};
use ephyr_names::{Digest, Timestamp};
use ephyr_token::sshsig::{self, Namespace};
use sha2::{Digest as _, Sha256};
use ssh_key::PrivateKey;
use ssh_key::private::Ed25519Keypair;

pub(crate) const POLICY: Digest = Digest([7; 32]);

pub(crate) fn options() -> WriterOptions {
    WriterOptions::new(POLICY)
}

pub(crate) fn open(path: &Path) -> Writer {
    Writer::open(path, &options()).unwrap().0
}

pub(crate) fn now() -> Timestamp {
    let since = std::time::UNIX_EPOCH.elapsed().unwrap();
    Timestamp::from_unix_millis(i64::try_from(since.as_millis()).unwrap())
}

pub(crate) fn record(event: Event) -> Record {
    let time = now();
    Record::new(new_record_id(time), time, event, POLICY)
}

pub(crate) fn exec(command: &str) -> Record {
    let mut record = record(Event::ExecAttempt);
    record.agent = Some("claude".parse().unwrap());
    record.action = Some(ActionInfo {
        target: Some("web".parse().unwrap()),
        role: Some("read".parse().unwrap()),
        command: Some(Text::new(command)),
        ..ActionInfo::new(ActionKind::Exec)
    });
    record
}

pub(crate) fn append(writer: &Writer, record: &Record) -> Appended {
    append_blocking(writer, record).unwrap()
}

/// Appends a record and waits until it is on disk.
pub(crate) fn append_blocking(writer: &Writer, record: &Record) -> Result<Appended, AuditError> {
    let (done, result) = sync_channel(1);
    writer.append_durable(
        record,
        Box::new(move |appended| done.send(appended).unwrap()),
    );
    result.recv().unwrap()
}

/// Folds the hashes and signs as the real signer does, from its own last head.
pub(crate) struct Signer {
    key: PrivateKey,
    fold: Option<Fold>,
}

impl Signer {
    pub(crate) fn new(seed: u8) -> Self {
        Self {
            key: Ed25519Keypair::from_seed(&[seed; 32]).into(),
            fold: None,
        }
    }

    pub(crate) fn ca(&self) -> ssh_key::PublicKey {
        self.key.public_key().clone()
    }

    pub(crate) fn count(&self) -> u64 {
        self.fold.map_or(0, |fold| fold.count())
    }

    pub(crate) fn sign_next(&mut self, writer: &Writer, max: usize) -> Option<Checkpoint> {
        let unsigned = writer.unsigned_from(self.count(), max)?;
        let mut fold = self.fold.unwrap_or_else(|| Fold::new(unsigned.log));
        assert_eq!((unsigned.log, unsigned.from), (fold.log(), fold.count()));
        unsigned.hashes.into_iter().for_each(|hash| fold.push(hash));
        self.fold = Some(fold);
        Some(self.sign(fold))
    }

    pub(crate) fn sign(&self, fold: Fold) -> Checkpoint {
        let (log, count, head, time) = (fold.log(), fold.count(), fold.head(), now());
        let message = Checkpoint::signed_bytes(log, count, head, time);
        let signature = sshsig::sign(&self.key, Namespace::Checkpoint, &message).unwrap();
        Checkpoint {
            log,
            count,
            head,
            time,
            signature,
        }
    }

    /// Countersigns all records on disk.
    pub(crate) fn countersign(&mut self, writer: &Writer) -> Option<Checkpoint> {
        let mut last = None;
        while let Some(checkpoint) = self.sign_next(writer, 1000) {
            record_checkpoint(writer, &checkpoint).unwrap();
            last = Some(checkpoint);
        }
        last
    }
}

pub(crate) fn record_checkpoint(
    writer: &Writer,
    checkpoint: &Checkpoint,
) -> Result<Appended, AuditError> {
    writer.record_checkpoint(checkpoint, now(), POLICY)
}

pub(crate) fn shipped(path: &Path) -> Checkpoint {
    serde_json::from_slice(&std::fs::read(checkpoint_file(path)).unwrap()).unwrap()
}

pub(crate) fn verify_files(
    path: &Path,
    ca: &ssh_key::PublicKey,
    options: &VerifyOptions,
) -> Result<Report, VerifyError> {
    let read = |file: PathBuf| Cursor::new(std::fs::read(file).unwrap());
    verify(log_files(path).unwrap().into_iter().map(read), ca, options)
}

pub(crate) fn verify_text(
    text: &str,
    ca: &ssh_key::PublicKey,
    shipped: &[Checkpoint],
) -> Result<Report, VerifyError> {
    let options = VerifyOptions {
        shipped: shipped.to_vec(),
        partial: false,
    };
    verify([text.as_bytes()], ca, &options)
}

pub(crate) fn text(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap()
}

/// Splits a line into the hashed part and the hash.
pub(crate) fn split(line: &str) -> (String, String) {
    let (open, hash) = line.rsplit_once(r#","hash":""#).unwrap();
    (
        format!("{open}}}"),
        hash.strip_suffix("\"}").unwrap().to_owned(),
    )
}

/// Recomputes the chain over changed records, as an attacker would.
pub(crate) fn rehash(lines: &[String]) -> String {
    let mut previous = [0u8; 32];
    let mut text = String::new();
    for line in lines {
        let body = if line.contains(r#","hash":""#) {
            split(line).0
        } else {
            line.clone()
        };
        let hash = Sha256::new_with_prefix(previous)
            .chain_update(&body)
            .finalize();
        previous = hash.into();
        let open = body.strip_suffix('}').unwrap();
        text += &format!("{open},\"hash\":\"{}\"}}\n", Digest(previous));
    }
    text
}

pub(crate) fn lines(text: &str) -> Vec<String> {
    text.lines().map(str::to_owned).collect()
}

//! Derives a certificate's fields from an intent by the signer's own policy. Pure: the policy, the time and the
//! serial are arguments.
//!
//! Only the public key and, for `exec`, the sealed command are copied from the intent. Every other field is computed
//! from the policy.

use ephyr_names::{KeyId, MAX_COMMAND_BYTES, Principal, Serial, Timestamp, Ttl};
use ephyr_policy::{Pairing, Policy, Role, SEALED_TTL, sealed_command};
use ephyr_signer_ipc::{ErrorCode, Intent, Purpose};
use ephyr_token::MAX_DEPTH;
use ssh_key::public::{Ed25519PublicKey, KeyData};

/// A certificate is valid from this long before its signing, for hosts whose clocks are slow.
pub const BACKDATING: Ttl = Ttl::from_secs(30);

/// Maximum number of tasks in a lineage: a root and the generations below it.
const MAX_LINEAGE: usize = MAX_DEPTH as usize + 1;

/// The forced command of a `check` certificate.
const CHECK_COMMAND: &str = "exit 0";

/// A certificate's fields (OpenSSH PROTOCOL.certkeys) without nonce, CA key and signature.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertificateSpec {
    /// The subject's key.
    pub public_key: Ed25519PublicKey,
    /// The serial.
    pub serial: Serial,
    /// The key ID, which sshd logs.
    pub key_id: KeyId,
    /// The only principal.
    pub principal: Principal,
    /// Start of validity, inclusive, in whole seconds.
    pub valid_after: Timestamp,
    /// End of validity, exclusive, in whole seconds.
    pub valid_before: Timestamp,
    /// Critical option `force-command`: the command that sshd runs instead of the client's.
    pub force_command: Option<String>,
    /// Critical option `source-address`: the networks that the client must connect from, as comma-separated CIDRs.
    pub source_address: Option<String>,
    /// Extensions, such as `permit-pty`.
    pub extensions: Vec<&'static str>,
}

/// The reason why a request was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{code}: {message}")]
pub struct Refusal {
    /// The code, for programs.
    pub code: ErrorCode,
    /// The message, for people.
    pub message: String,
}

impl Refusal {
    pub(crate) fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
        }
    }
}

/// Returns the certificate that the policy grants for this intent.
///
/// # Errors
///
/// [`Refusal`] if the policy does not grant it.
pub fn derive(
    policy: &Policy,
    intent: &Intent,
    now: Timestamp,
    serial: Serial,
) -> Result<CertificateSpec, Refusal> {
    if intent.policy != policy.hash() {
        return Err(Refusal::new(
            ErrorCode::PolicyMismatch,
            format!(
                "the broker's policy is {}, the signer's is {}: reload both, then retry",
                intent.policy,
                policy.hash()
            ),
        ));
    }
    check_lineage(intent)?;
    let agents = intent.lineage.iter().map(|(_, agent)| agent);
    let pairing = policy
        .pairing(&intent.agent, agents, &intent.target, &intent.role)
        .map_err(|why| Refusal::new(ErrorCode::NotGranted, why.to_string()))?;
    check_approval(&pairing, &intent.purpose)?;
    let ttl = lifetime(policy, &pairing, intent)?;
    let valid_before = Timestamp::from_unix_seconds(now.unix_seconds()).after(ttl);
    let valid_after = now.unix_seconds() - i64::try_from(BACKDATING.as_secs()).unwrap_or_default();
    Ok(CertificateSpec {
        public_key: subject(&intent.public_key)?,
        serial,
        key_id: KeyId {
            agent: intent.agent.clone(),
            principal: pairing.principal(),
            task: intent.task,
            serial,
        },
        principal: pairing.principal(),
        valid_after: Timestamp::from_unix_seconds(valid_after),
        valid_before,
        force_command: force_command(&pairing, &intent.purpose)?,
        source_address: source_address(&pairing),
        extensions: extensions(pairing.role(), &intent.purpose),
    })
}

/// Returns whether a certificate for this purpose is bound to one command.
fn is_sealed(purpose: &Purpose) -> bool {
    match purpose {
        Purpose::Exec { .. } | Purpose::Check => true,
        Purpose::Session | Purpose::User => false,
    }
}

/// Checks that the lineage ends with the acting task and names each task once. The policy decides whether its agents
/// may delegate to each other ([`Policy::pairing`]).
fn check_lineage(intent: &Intent) -> Result<(), Refusal> {
    let bad = |why: &str| Err(Refusal::new(ErrorCode::BadLineage, why));
    if intent.lineage.len() > MAX_LINEAGE {
        return bad("the lineage is longer than a root and five generations");
    }
    if intent.lineage.last().map(|(task, _)| *task) != intent.task {
        return bad("the lineage does not end with the task that acts");
    }
    for (at, (task, _)) in intent.lineage.iter().enumerate() {
        if intent.lineage[..at]
            .iter()
            .any(|(earlier, _)| earlier == task)
        {
            return bad("the lineage names a task twice");
        }
    }
    Ok(())
}

fn check_approval(pairing: &Pairing<'_>, purpose: &Purpose) -> Result<(), Refusal> {
    if pairing.must_be_sealed() && !is_sealed(purpose) {
        return Err(Refusal::new(
            ErrorCode::NotUnsealed,
            format!(
                "role `{}` on `{}` allows only certificates sealed to one command (`exec`), unless the policy \
                 sets `unsealed: true`",
                pairing.role().name,
                pairing.target().name
            ),
        ));
    }
    if pairing.approval().is_some() {
        return Err(Refusal::new(
            ErrorCode::ApprovalRequired,
            format!(
                "role `{}` on `{}` needs a human's approval (`auto_approve: false`), which this signer \
                 cannot verify",
                pairing.role().name,
                pairing.target().name
            ),
        ));
    }
    Ok(())
}

fn lifetime(policy: &Policy, pairing: &Pairing<'_>, intent: &Intent) -> Result<Ttl, Refusal> {
    let most = pairing.target().max_ttl.min(policy.global().max_ttl);
    if intent.ttl.is_zero() || intent.ttl > most {
        return Err(Refusal::new(
            ErrorCode::TtlTooLong,
            format!(
                "the requested lifetime of {} for `{}` is outside the policy's range of 1s to {most}",
                intent.ttl,
                pairing.target().name
            ),
        ));
    }
    if is_sealed(&intent.purpose) {
        Ok(intent.ttl.min(SEALED_TTL))
    } else {
        Ok(intent.ttl)
    }
}

fn force_command(pairing: &Pairing<'_>, purpose: &Purpose) -> Result<Option<String>, Refusal> {
    let own = pairing.target().force_command.clone();
    match purpose {
        Purpose::Exec { command, .. } => {
            check_command(pairing.role(), command)?;
            let command = own.as_deref().unwrap_or(command);
            Ok(Some(sealed_command(command)))
        }
        Purpose::Check => Ok(Some(own.unwrap_or_else(|| CHECK_COMMAND.to_owned()))),
        Purpose::Session | Purpose::User => Ok(own),
    }
}

fn check_command(role: &Role, command: &str) -> Result<(), Refusal> {
    let bad = |why: String| Err(Refusal::new(ErrorCode::BadCommand, why));
    if command.trim().is_empty() {
        return bad("the command is empty".into());
    }
    if command.len() > MAX_COMMAND_BYTES {
        return bad(format!(
            "the command has {} bytes, more than the maximum of {MAX_COMMAND_BYTES}",
            command.len()
        ));
    }
    if command.contains('\0') {
        return bad("the command contains a NUL byte".into());
    }
    if role.allows_command(command) {
        Ok(())
    } else {
        Err(Refusal::new(
            ErrorCode::CommandNotAllowed,
            format!(
                "the command policy of role `{}` does not allow this command",
                role.name
            ),
        ))
    }
}

fn source_address(pairing: &Pairing<'_>) -> Option<String> {
    let networks = &pairing.target().source_address;
    let texts: Vec<String> = networks.iter().map(ToString::to_string).collect();
    (!texts.is_empty()).then(|| texts.join(","))
}

fn extensions(role: &Role, purpose: &Purpose) -> Vec<&'static str> {
    if is_sealed(purpose) {
        return Vec::new();
    }
    [
        (role.agent_forwarding, "permit-agent-forwarding"),
        (role.port_forwarding, "permit-port-forwarding"),
        (role.pty, "permit-pty"),
    ]
    .into_iter()
    .filter_map(|(granted, name)| granted.then_some(name))
    .collect()
}

/// Parses the subject's key, which must be an Ed25519 point of full order: for a point of small order anyone can forge
/// signatures.
fn subject(line: &str) -> Result<Ed25519PublicKey, Refusal> {
    let bad = |why: &str| Refusal::new(ErrorCode::BadPublicKey, why);
    let key = ssh_key::PublicKey::from_openssh(line)
        .map_err(|_| bad("the public key is not an OpenSSH public key line"))?;
    let KeyData::Ed25519(key) = key.key_data() else {
        return Err(bad("the public key is not an ssh-ed25519 key"));
    };
    ephyr_token::usable_point(&key.0)
        .map_err(|fault| bad(&format!("the public key is not usable: {fault}")))?;
    Ok(*key)
}

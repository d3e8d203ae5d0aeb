//! In-memory work: token verification against a bare HMAC chain, and the policy decision.

use std::hint::black_box;
use std::time::Instant;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ephyr_names::{EpochId, TaskId, Timestamp, Ttl};
use ephyr_policy::{Purpose, SshAction, Subject, evaluate};
use ephyr_token::{
    ChildSpec, Envelope, EpochSecret, Grants, Narrowing, RootKey, RootSpec, Scope, Token,
    UnverifiedToken, mint_child, mint_root,
};
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use crate::Failure;
use crate::row::{Row, median};

const NOW: Timestamp = Timestamp::from_unix_seconds(1_800_000_000);
const ROUNDS: usize = 15;

/// Returns the nanoseconds of one call, as the median of several rounds.
pub(crate) fn time<R>(calls: u32, mut work: impl FnMut() -> R) -> f64 {
    let round = |work: &mut dyn FnMut() -> R| {
        let begun = Instant::now();
        for _ in 0..calls {
            black_box(work());
        }
        begun.elapsed().as_secs_f64() * 1e9 / f64::from(calls)
    };
    round(&mut work);
    median((0..ROUNDS).map(|_| round(&mut work)).collect())
}

pub(crate) fn rows() -> Result<Vec<Row>, Failure> {
    let root: TaskId = TaskId::from_parts(NOW, [1; 10]);
    let key = EpochSecret::from_bytes([7; 32]).root_key(root);
    let token = root_token(&key, root)?;
    let mut rows = vec![verify("token: verify + reduce, root (ns)", &token, &key)?];
    let deep = (1..=5u8).try_fold(token, |parent, depth| child_token(&key, &parent, depth))?;
    rows.push(verify(
        "token: verify + reduce, five deep (ns)",
        &deep,
        &key,
    )?);
    rows.push(decision()?);
    Ok(rows)
}

fn root_token(key: &RootKey, task: TaskId) -> Result<Token, Failure> {
    let envelope = Envelope {
        ssh: Grants::Any,
        http: Grants::Any,
        mcp: Grants::Any,
        targets: Scope::Any,
        roles: Scope::Any,
        services: Scope::Any,
        methods: Scope::Any,
        remotes: Scope::Any,
        expires: NOW.after(Ttl::from_secs(3600)),
        can_delegate: true,
        delegation_depth: 5,
    };
    let spec = RootSpec {
        task,
        agent: "claude".parse()?,
        holder: None,
        initiated_by: None,
        envelope,
    };
    Ok(mint_root(key, EpochId::from_parts(NOW, [2; 10]), &spec)?)
}

fn child_token(key: &RootKey, parent: &Token, depth: u8) -> Result<Token, Failure> {
    let parent = UnverifiedToken::parse(&parent.as_text())?.verify(key)?;
    let spec = ChildSpec {
        task: TaskId::from_parts(NOW, [10 + depth; 10]),
        agent: "claude".parse()?,
        holder: None,
        narrowing: Narrowing::default(),
        expires: NOW.after(Ttl::from_secs(600)),
        can_delegate: true,
        delegation_depth: None,
    };
    Ok(mint_child(key, &parent, &spec)?)
}

/// Measures verification from the header's text to the envelope. The reference is the HMAC chain alone, over the
/// same caveats, each keyed with the previous MAC.
fn verify(name: &str, token: &Token, key: &RootKey) -> Result<Row, Failure> {
    let text = token.as_text();
    let ours = time(2_000, || {
        UnverifiedToken::parse(&text)
            .and_then(|token| token.verify(key))
            .map(|token| token.depth())
    });
    let caveats = fields(&URL_SAFE_NO_PAD.decode(text.trim_start_matches("mac_"))?);
    let chain = |caveats: &[Vec<u8>]| {
        caveats.iter().fold([7u8; 32], |key, caveat| {
            let mac =
                <Hmac<Sha256> as KeyInit>::new_from_slice(&key).map(|mac| mac.chain_update(caveat));
            mac.map_or([0; 32], |mac| mac.finalize().into_bytes().into())
        })
    };
    let reference = time(2_000, || chain(&caveats));
    Ok(Row::at_most(name, ours, reference, 2.0))
}

/// Returns the input of the HMAC chain: the identifier and the caveats.
fn fields(bytes: &[u8]) -> Vec<Vec<u8>> {
    let mut rest = &bytes[1..];
    let mut take = || {
        let (length, tail) = rest.split_at(4);
        let length = u32::from_be_bytes([length[0], length[1], length[2], length[3]]) as usize;
        let (field, tail) = tail.split_at(length);
        rest = tail;
        field.to_vec()
    };
    let identifier = take();
    let _location = take();
    let (count, tail) = rest.split_at(4);
    let count = u32::from_be_bytes([count[0], count[1], count[2], count[3]]);
    rest = tail;
    let mut fields = vec![identifier];
    for _ in 0..count {
        let (length, tail) = rest.split_at(4);
        let length = u32::from_be_bytes([length[0], length[1], length[2], length[3]]) as usize;
        let (field, tail) = tail.split_at(length);
        rest = tail;
        fields.push(field.to_vec());
    }
    fields
}

/// Measures a decision in a policy of 50 agents and 50 targets: steps 1 to 4 and 8.
fn decision() -> Result<Row, Failure> {
    use std::fmt::Write as _;
    let mut text =
        "roles: {read: {principal: agent-read}, op: {principal: agent-op}}\ntargets:\n".to_owned();
    let key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIBbDpRBfZccGHoI28vYA4wy3l6ZwJRbQNYOuTRxm51d2";
    for n in 0..50 {
        writeln!(
            text,
            "  host{n}: {{host: 192.0.2.{n}, allowed_roles: [read, op], auto_approve: true, host_key: {key:?}}}"
        )?;
    }
    text.push_str("agents:\n");
    for n in 0..50 {
        writeln!(text, "  agent{n}: {{uid: {}, ssh: {{", 2000 + n)?;
        for target in 0..50 {
            writeln!(text, "    host{target}: {{roles: [read]}},")?;
        }
        text.push_str("  }}\n");
    }
    let policy =
        ephyr_policy::load(text.as_bytes(), "bench.yaml").map_err(|errors| errors.to_string())?;
    let subject = Subject::direct("agent37".parse()?);
    let action = SshAction {
        target: "host41".parse()?,
        role: "read".parse()?,
        purpose: Purpose::Exec {
            command: "uptime".to_owned(),
        },
        ttl: None,
    };
    let allowed = evaluate(&policy, &subject, &action, NOW);
    if let Err(denial) = allowed {
        return Err(denial.message.into());
    }
    let ours = time(20_000, || evaluate(&policy, &subject, &action, NOW).is_ok());
    Ok(Row::at_most(
        "policy: one decision (ns against 1 us)",
        ours,
        1000.0,
        1.0,
    ))
}

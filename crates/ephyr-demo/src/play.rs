//! The demo's steps: an agent's actions over MCP, the refused ones, and the audit log afterwards.

use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ephyr_api::{
    ExecArguments, ListTargetsArguments, TargetView, TaskCreateArguments, TaskRevokeArguments,
};
use ephyr_testkit::{Answer, Mcp, Value, World, json, run};

use crate::Failure;
use crate::narrator::Narrator;

/// The command that runs on the target.
const COMMAND: &str = "echo \"hello from $(id -un)\"";

/// Timeout for a countersignature. The signer countersigns the log every ten seconds.
const COUNTERSIGNED_WITHIN: Duration = Duration::from_secs(13);

pub(crate) fn play(world: &mut World, narrator: &mut Narrator) -> Result<(), Failure> {
    discover(world, narrator)?;
    let task = create_task(world, narrator)?;
    let receipt = act(world, narrator, &task)?;
    refused_role(world, narrator, &task)?;
    refused_tampering(world, narrator, &task)?;
    refused_after_revocation(world, narrator, &task)?;
    read_audit(world, narrator, &task, &receipt)
}

/// A task and its token.
struct Task {
    id: String,
    token: String,
}

fn discover(world: &World, narrator: &mut Narrator) -> Result<(), Failure> {
    narrator
        .step("The agent \"scout\" connects over MCP with its API key and asks what it may use.");
    let mut scout = world.mcp_with_key("scout")?;
    let found = scout.invoke(&ListTargetsArguments {})?;
    let names = |target: &TargetView<'_>| {
        let roles: Vec<&str> = target.roles.iter().map(|role| role.as_str()).collect();
        (target.name.to_string(), json!(roles))
    };
    let targets: Vec<_> = found.targets.iter().map(names).collect();
    for (name, roles) in &targets {
        narrator.tell(&format!("{name:?} with the roles {roles}"));
    }
    expect(
        targets == [("web".to_owned(), json!(["read"]))],
        "scout sees web with the role read",
        &json!(found),
    )
}

fn create_task(world: &World, narrator: &mut Narrator) -> Result<Task, Failure> {
    narrator.step(
        "It creates a task. The task's token has no more rights than the agent, and expires with the task.",
    );
    let mut scout = world.mcp_with_key("scout")?;
    let made = scout.invoke(&TaskCreateArguments {
        ttl: "10m".to_owned(),
        ..TaskCreateArguments::new("look after the web host")
    })?;
    let task = Task {
        id: made.task_id.to_string(),
        token: made.token.as_str().to_owned(),
    };
    narrator.tell(&format!("task {}, until {}", task.id, made.expires_at));
    narrator.tell(&format!(
        "its token has {} characters; its caveats, unverified:",
        task.token.len()
    ));
    let inspected = ephyr(world, &["inspect", "-"], &task.token)?;
    let caveats =
        |line: &&str| line.starts_with("  ") && line.contains(" = ") || line.contains(" IN ");
    narrator.show(
        &inspected
            .lines()
            .filter(caveats)
            .collect::<Vec<_>>()
            .join("\n"),
    );
    Ok(task)
}

fn act(world: &mut World, narrator: &mut Narrator, task: &Task) -> Result<String, Failure> {
    narrator
        .step("With the token it runs a command on \"web\". It never sees a key or a certificate.");
    narrator.tell(&format!("$ {COMMAND}"));
    let mut agent = world.mcp_with_token(&task.token)?;
    let ran = agent.invoke(&ExecArguments::new("web", "read", COMMAND))?;
    narrator.show(&ran.output.stdout);
    let account = world.accounts().role_account("eph-read")?;
    let wanted = format!("hello from {account}\n");
    expect(
        ran.output.stdout == wanted && ran.exit_code == 0,
        "the command ran on the target",
        &json!(ran),
    )?;
    narrator.tell("The SSH server's log: a certificate for this one command, valid for a minute.");
    let log = world.target("web")?.log();
    let login = log
        .lines()
        .rfind(|line| line.contains("Accepted publickey") && line.contains(&task.id));
    let login =
        login.ok_or("the server's log has no login with a certificate that names the task")?;
    narrator.show(login);
    let receipt = ran.receipt.ok_or("exec returned no receipt")?;
    Ok(receipt.text)
}

fn refused_role(world: &World, narrator: &mut Narrator, task: &Task) -> Result<(), Failure> {
    narrator.step("Refused: the same command with the role \"operator\", which it does not have.");
    let mut agent = world.mcp_with_token(&task.token)?;
    let answer = agent.tool("exec", command("operator"))?;
    narrator.show(&answer.text);
    let refused = answer.is_error && answer.details["step"] == 3;
    expect(
        refused,
        "a denial at step 3 of the decision",
        &answer.details,
    )
}

fn refused_tampering(world: &World, narrator: &mut Narrator, task: &Task) -> Result<(), Failure> {
    narrator.step("Refused: its token, modified to expire decades later.");
    let forged = tamper(&task.token)?;
    let answer = world.mcp_with_token(&forged)?.call("exec", command("read"));
    unauthorized(narrator, answer, world, &forged)
}

fn refused_after_revocation(
    world: &World,
    narrator: &mut Narrator,
    task: &Task,
) -> Result<(), Failure> {
    narrator.step("Refused: the unmodified token, after its task was revoked.");
    let mut scout = world.mcp_with_key("scout")?;
    let revoked = scout.invoke(&TaskRevokeArguments {
        task_id: task.id.clone(),
        dry_run: false,
    })?;
    expect(revoked.revoked, "the task is revoked", &json!(revoked))?;
    let answer = world
        .mcp_with_token(&task.token)?
        .call("exec", command("read"));
    unauthorized(narrator, answer, world, &task.token)
}

fn read_audit(
    world: &World,
    narrator: &mut Narrator,
    task: &Task,
    receipt: &str,
) -> Result<(), Failure> {
    narrator.step("The audit log of the task:");
    let log = world.audit_log();
    let (log, ca) = (log.to_string_lossy(), world.ca_pub());
    let ca = ca.to_string_lossy();
    let query = ["audit", "query", "--log", &log, "--task", &task.id];
    let events = [
        "task_created",
        "exec_attempt",
        "exec_outcome",
        "denied",
        "task_revoked",
    ];
    let records = wait_for(|| {
        let text = ephyr(world, &query, "")?;
        Ok(events
            .iter()
            .all(|event| text.contains(event))
            .then_some(text))
    })?;
    narrator.show(&records);

    narrator.step(
        "The agent's receipt leads to the record of its command, checked with the CA's public key.",
    );
    let checked = ephyr(
        world,
        &["audit", "receipt", "-", "--log", &log, "--ca-pub", &ca],
        receipt,
    )?;
    narrator.show(&checked);
    expect(
        checked.contains("exec_attempt"),
        "the receipt vouches for the attempt",
        &json!(checked),
    )?;

    narrator.step(
        "The whole log is verified: no record was changed, removed or forged. The signer countersigned it.",
    );
    let verify = ["audit", "verify", "--log", &log, "--ca-pub", &ca];
    let report = wait_for(|| {
        let value: Value = ephyr(world, &[&verify[..], &["--json"]].concat(), "")?.parse()?;
        Ok(value["signed"]
            .as_u64()
            .is_some_and(|signed| signed > 0)
            .then_some(value))
    })?;
    narrator.show(&ephyr(world, &verify, "")?);
    expect(report["lost"] == 0, "no record was lost", &report)
}

fn command(role: &str) -> Value {
    json!({"target": "web", "role": role, "command": COMMAND})
}

fn expect(holds: bool, expected: &str, actual: &Value) -> Result<(), Failure> {
    if holds {
        Ok(())
    } else {
        Err(format!("expected: {expected}; got: {actual}").into())
    }
}

/// Checks that a call failed and that the broker responds with 401 to its token.
fn unauthorized(
    narrator: &Narrator,
    answer: ephyr_testkit::Result<Answer>,
    world: &World,
    token: &str,
) -> Result<(), Failure> {
    if let Ok(answer) = answer
        && answer.result.is_some()
    {
        return Err(format!("expected a refusal; got: {:?}", answer.result).into());
    }
    // A plain request, for the HTTP status and the error.
    let response =
        Mcp::new(world.tcp()?, Some(token)).post(&[("content-type", "application/json")], b"{}")?;
    let body = response.json()?;
    let error = body["error"].as_str().unwrap_or_default().to_owned();
    narrator.show(&format!("HTTP {}: {error}", response.status));
    expect(response.status == 401, "HTTP status 401", &body)
}

/// Changes the third digit of the year in which a token expires, which invalidates its signature.
fn tamper(token: &str) -> Result<String, Failure> {
    let text = token
        .strip_prefix("mac_")
        .ok_or("the token does not start with mac_")?;
    let mut bytes = URL_SAFE_NO_PAD.decode(text)?;
    let caveat = b"expires_before = 20";
    let at = bytes
        .windows(caveat.len())
        .position(|window| window == caveat);
    let at = at.ok_or("the token has no expiry caveat")? + caveat.len();
    let digit = bytes.get_mut(at).ok_or("the token's expiry is truncated")?;
    *digit = if *digit == b'9' { b'8' } else { b'9' };
    Ok(format!("mac_{}", URL_SAFE_NO_PAD.encode(bytes)))
}

/// Runs `ephyr` and returns its output.
fn ephyr(world: &World, arguments: &[&str], input: &str) -> Result<String, Failure> {
    let mut command = world.own_command("bin/ephyr");
    command.args(arguments);
    let ran = run(command, input)?;
    if ran.code == 0 {
        Ok(ran.out)
    } else {
        Err(format!("ephyr {}: {}", arguments.join(" "), ran.err).into())
    }
}

/// Polls until there is a result: records and countersignatures are written asynchronously.
fn wait_for<T>(mut poll: impl FnMut() -> Result<Option<T>, Failure>) -> Result<T, Failure> {
    let start = Instant::now();
    loop {
        if let Some(found) = poll()? {
            return Ok(found);
        }
        if start.elapsed() > COUNTERSIGNED_WITHIN {
            return Err(format!(
                "the audit log lacks the expected records or countersignature after {} s",
                COUNTERSIGNED_WITHIN.as_secs()
            )
            .into());
        }
        std::thread::sleep(Duration::from_millis(200));
    }
}

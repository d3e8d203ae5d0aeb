//! Measures running daemons: signing over IPC, MCP over HTTP, a client beside ones with wrong keys, memory.

use std::net::SocketAddr;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use ephyr_api::{ExecArguments, TaskCreateArguments};
use ephyr_names::Ttl;
use ephyr_signer_ipc::{Intent, Purpose, Reply, Request, exchange};
use ephyr_testkit::{CaKey, World, json};
use ssh_key::certificate::{Builder, CertType};
use ssh_key::private::{Ed25519Keypair, KeypairData};
use ssh_key::{LineEnding, PrivateKey};

use crate::Failure;
use crate::load;
use crate::reference::{self, GroupCommit};
use crate::row::{Row, median};

/// Many short rounds: disk and CPU contention change within seconds and should affect both sides equally.
const ROUND: Duration = Duration::from_millis(700);
const ROUNDS: usize = 9;

/// A process that is killed on drop.
struct KillOnDrop(Child);

impl Drop for KillOnDrop {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn runtime() -> Result<tokio::runtime::Runtime, Failure> {
    Ok(tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?)
}

fn key_pair() -> Result<PrivateKey, Failure> {
    let mut seed = [0; 32];
    getrandom::fill(&mut seed).map_err(|error| error.to_string())?;
    Ok(PrivateKey::new(
        KeypairData::Ed25519(Ed25519Keypair::from_seed(&seed)),
        "",
    )?)
}

/// Returns a user certificate for `principal` that is valid for an hour.
pub(crate) fn certificate(
    ca: &PrivateKey,
    key: &PrivateKey,
    principal: &str,
) -> Result<String, Failure> {
    let now = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)?
        .as_secs();
    let mut nonce = [0; 16];
    getrandom::fill(&mut nonce).map_err(|error| error.to_string())?;
    let mut builder = Builder::new(
        nonce,
        key.public_key().key_data().clone(),
        now - 30,
        now + 3600,
    )?;
    builder
        .cert_type(CertType::User)?
        .valid_principal(principal)?
        .key_id("bench")?
        .serial(1)?;
    Ok(builder.sign(ca)?.to_openssh()?)
}

/// Measures key generation and a certificate over IPC, against the same in process with one group commit.
pub(crate) fn signer() -> Result<Vec<Row>, Failure> {
    let dir = tempfile::tempdir()?;
    let ca = CaKey::generate("bench")?;
    let socket = dir.path().join("signer.sock");
    let (_signer, policy) = start_signer(dir.path(), &ca, &socket)?;
    let commit = GroupCommit::open(&dir.path().join("reference"))?;
    let ours = || -> Result<f64, Failure> {
        let begun = Instant::now();
        let key = key_pair()?;
        let mut stream = UnixStream::connect(&socket)?;
        let intent = Intent {
            policy,
            agent: "claude".parse()?,
            target: "web".parse()?,
            role: "read".parse()?,
            ttl: Ttl::from_secs(60),
            public_key: key.public_key().to_openssh()?,
            purpose: Purpose::Exec {
                command: "uptime".to_owned(),
                stdin_digest: None,
            },
            task: None,
            lineage: Vec::new(),
        };
        match exchange(&mut stream, &Request::Sign { intent })? {
            Reply::Certificate { .. } => Ok(begun.elapsed().as_secs_f64() * 1e6),
            other => Err(format!("{other:?}").into()),
        }
    };
    let in_process = || -> Result<f64, Failure> {
        let begun = Instant::now();
        let key = key_pair()?;
        certificate(ca.private(), &key, "web/read")?;
        commit.commit_blocking();
        Ok(begun.elapsed().as_secs_f64() * 1e6)
    };
    let (mut a, mut b) = (Vec::new(), Vec::new());
    for _ in 0..600 {
        a.push(ours()?);
        b.push(in_process()?);
    }
    Ok(vec![Row::at_most(
        "signer: keygen + sign over IPC (us)",
        median(a),
        median(b),
        2.0,
    )])
}

fn start_signer(
    dir: &Path,
    ca: &CaKey,
    socket: &Path,
) -> Result<(KillOnDrop, ephyr_names::Digest), Failure> {
    let host_key = ca.public_line()?;
    let policy = json!({
        "roles": {"read": {"principal": "agent-read"}},
        "targets": {"web": {
            "host": "192.0.2.1", "allowed_roles": ["read"], "auto_approve": true, "host_key": host_key,
        }},
        "agents": {"claude": {"uid": 61234, "ssh": {"web": {"roles": ["read"]}}}},
        "signer": {"rate_limit": "100000/1m", "global_rate_limit": "100000/1m"},
    });
    let text = policy.to_string();
    let hash = ephyr_policy::load(text.as_bytes(), "bench")
        .map_err(|errors| errors.to_string())?
        .hash();
    std::fs::write(dir.join("policy.yaml"), &text)?;
    let key = dir.join("ca_key");
    std::fs::write(&key, ca.private().to_openssh(LineEnding::LF)?.as_bytes())?;
    std::fs::set_permissions(&key, std::os::unix::fs::PermissionsExt::from_mode(0o600))?;
    let me = Command::new("id").arg("-u").output()?;
    let program = std::env::current_exe()?.with_file_name("ephyr-signer");
    let mut child = KillOnDrop(
        Command::new(program)
            .arg("--policy")
            .arg(dir.join("policy.yaml"))
            .arg("--socket")
            .arg(socket)
            .arg("--ca-key")
            .arg(&key)
            .args(["--broker-user", String::from_utf8(me.stdout)?.trim()])
            .arg("--journal")
            .arg(dir.join("journal"))
            .stderr(Stdio::null())
            .spawn()?,
    );
    for _ in 0..100 {
        if UnixStream::connect(socket).is_ok() {
            return Ok((child, hash));
        }
        if let Some(status) = child.0.try_wait()? {
            return Err(format!("ephyr-signer exited during startup: {status}").into());
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    Err("ephyr-signer does not listen".into())
}

/// Returns an MCP request as HTTP/1.1 bytes.
fn message(
    address: SocketAddr,
    bearer: &str,
    method: &str,
    name: Option<&str>,
    arguments: &str,
) -> Vec<u8> {
    let meta = r#""_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientInfo":{"name":"bench","version":"1"},"io.modelcontextprotocol/clientCapabilities":{}}"#;
    let params = match name {
        Some(name) => format!(r#"{{"name":"{name}","arguments":{arguments},{meta}}}"#),
        None => format!("{{{meta}}}"),
    };
    let body = format!(r#"{{"jsonrpc":"2.0","id":1,"method":"{method}","params":{params}}}"#);
    let name = name
        .map(|name| format!("Mcp-Name: {name}\r\n"))
        .unwrap_or_default();
    format!(
        "POST /mcp HTTP/1.1\r\nHost: {address}\r\nContent-Type: application/json\r\nAccept: application/json, \
         text/event-stream\r\nMCP-Protocol-Version: 2026-07-28\r\nMcp-Method: {method}\r\n{name}Authorization: \
         Bearer {bearer}\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}

fn tcp(world: &World) -> Result<SocketAddr, Failure> {
    match world.tcp()? {
        ephyr_testkit::http::Endpoint::Tcp(address) => Ok(address),
        ephyr_testkit::http::Endpoint::Unix(..) => Err("no TCP endpoint".into()),
    }
}

fn token(world: &World) -> Result<String, Failure> {
    let mut scout = world.mcp_with_key("scout")?;
    let made = scout.invoke(&TaskCreateArguments {
        ttl: "1h".to_owned(),
        ..TaskCreateArguments::new("bench")
    })?;
    Ok(made.token.as_str().to_owned())
}

/// Measures Ephyr and the reference alternately and compares the medians.
fn alternate(
    name: &str,
    ours: (SocketAddr, &[u8]),
    reference: (SocketAddr, &[u8]),
    bar: f64,
) -> Result<Row, Failure> {
    let runtime = runtime()?;
    let (mut a, mut b) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let ok = "HTTP/1.1 200";
        b.push(runtime.block_on(load::rate(reference.0, reference.1.to_vec(), 16, ROUND, ok))?);
        a.push(runtime.block_on(load::rate(ours.0, ours.1.to_vec(), 16, ROUND, ok))?);
    }
    Ok(Row::at_least(name, median(a), median(b), bar))
}

/// Measures MCP over HTTP with 16 connections.
pub(crate) fn http() -> Result<Vec<Row>, Failure> {
    let world = World::start()?;
    let (address, token) = (tcp(&world)?, token(&world)?);
    let hello = reference::serve(None)?;
    let dir = tempfile::tempdir()?;
    let committing = reference::serve(Some(GroupCommit::open(&dir.path().join("reference"))?))?;
    let key = world.api_key("scout")?.to_owned();

    let mut rows = Vec::new();
    let list_targets = message(address, &token, "tools/call", Some("list_targets"), "{}");
    let answer = runtime()?.block_on(load::ask(address, &list_targets))?;
    let text = String::from_utf8_lossy(&answer);
    if !text.contains("\"isError\":false") {
        return Err(format!("list_targets: {text}").into());
    }
    rows.push(alternate(
        "list_targets, token, 16 connections (1/s)",
        (address, &list_targets),
        (hello, &list_targets),
        0.4,
    )?);
    let tools_list = message(address, &token, "tools/list", None, "");
    rows.push(alternate(
        "tools/list, token, 16 connections (1/s)",
        (address, &tools_list),
        (hello, &tools_list),
        0.3,
    )?);
    // Tasks are kept for half a minute after their end, so all rounds together must stay below an agent's limit.
    let arguments = r#"{"description":"bench","ttl":"3s"}"#;
    let create = message(address, &key, "tools/call", Some("task_create"), arguments);
    rows.push(alternate(
        "task_create, key, 16 connections (1/s)",
        (address, &create),
        (committing, &create),
        0.5,
    )?);
    Ok(rows)
}

/// Measures one client with a valid key, alone and beside sixteen connections with wrong keys.
pub(crate) fn wrong_keys() -> Result<Vec<Row>, Failure> {
    let world = World::start()?;
    let address = tcp(&world)?;
    let good = message(
        address,
        world.api_key("scout")?,
        "tools/call",
        Some("list_targets"),
        "{}",
    );
    let wrong = message(
        address,
        "eph_scout_0000000000000000000000000000000000000000000",
        "tools/call",
        Some("list_targets"),
        "{}",
    );
    let runtime = runtime()?;
    let time = Duration::from_secs(6);
    let ok = "HTTP/1.1 200";
    // The first verification of a key is slower and is not measured.
    runtime.block_on(load::ask(address, &good))?;
    let alone = runtime.block_on(load::rate(address, good.clone(), 1, time, ok))?;
    let beside = runtime.block_on(async {
        let attack = tokio::spawn(async move {
            load::rate(address, wrong, 16, time, "HTTP/1.1 4")
                .await
                .map_err(|e| e.to_string())
        });
        let rate = load::rate(address, good, 1, time, ok).await;
        attack.await??;
        rate
    })?;
    Ok(vec![Row::at_least(
        "good client beside 16 with wrong keys (1/s)",
        beside,
        alone,
        0.6,
    )])
}

const MEGABYTE: f64 = 1_000_000.0;

#[expect(clippy::cast_precision_loss, reason = "megabytes")]
fn megabytes(bytes: u64) -> f64 {
    bytes as f64 / MEGABYTE
}

/// Returns the peak resident size in MB.
fn peak(pid: u32) -> Result<f64, Failure> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status
        .lines()
        .find(|line| line.starts_with("VmHWM:"))
        .ok_or("no VmHWM")?;
    let kilobytes: f64 = line.split_whitespace().nth(1).ok_or("no VmHWM")?.parse()?;
    Ok(kilobytes * 1024.0 / MEGABYTE)
}

/// Measures memory when idle, after a gigabyte of output, and after a hundred thousand expired tasks.
pub(crate) fn memory() -> Result<Vec<Row>, Failure> {
    let mut world = World::start()?;
    std::thread::sleep(Duration::from_secs(12));
    let mut rows = vec![
        Row::at_most(
            "signer, idle, resident (MB)",
            megabytes(world.signer()?.resident_bytes()?),
            3.0,
            1.0,
        ),
        Row::at_most(
            "broker, idle, resident (MB)",
            megabytes(world.broker()?.resident_bytes()?),
            9.0,
            1.0,
        ),
    ];
    let mut scout = world.mcp_with_key("scout")?;
    let command = "yes 0123456789abcdef | head -c 1000000000";
    let ran = scout.invoke(&ExecArguments {
        timeout: 120,
        ..ExecArguments::new("web", "read", command)
    })?;
    if ran.exit_code != 0 || !ran.output.truncated {
        let output = &ran.output.stdout;
        return Err(format!(
            "a gigabyte of output: status {}, {}",
            ran.exit_code,
            output.get(..300).unwrap_or(output)
        )
        .into());
    }
    let pid = world.broker()?.pid();
    rows.push(Row::at_most(
        "broker, 1 GB of exec output, peak (MB)",
        peak(pid)?,
        32.0,
        1.0,
    ));

    let address = tcp(&world)?;
    let key = world.api_key("scout")?.to_owned();
    let create = |ttl: &str| {
        message(
            address,
            &key,
            "tools/call",
            Some("task_create"),
            &format!(r#"{{"description":"bench","ttl":"{ttl}"}}"#),
        )
    };
    let runtime = runtime()?;
    // Warm up, so that `before` is the steady state of a working broker.
    let warm = create("2s");
    runtime.block_on(load::rate(
        address,
        warm,
        16,
        Duration::from_millis(500),
        "HTTP/1.1 200",
    ))?;
    std::thread::sleep(Duration::from_secs(34));
    let before = megabytes(world.broker()?.resident_bytes()?);
    let (mut made, begun, many) = (0.0, Instant::now(), create("40s"));
    while made < 100_000.0 && begun.elapsed() < Duration::from_secs(60) {
        let time = Duration::from_secs(1);
        made += runtime.block_on(load::rate(address, many.clone(), 16, time, "HTTP/1.1 200"))?;
    }
    if made < 100_000.0 {
        return Err(format!("only {made} tasks were created in a minute").into());
    }
    std::thread::sleep(Duration::from_secs(75));
    let after = megabytes(world.broker()?.resident_bytes()?);
    rows.push(Row::at_most(
        "broker, 100 000 tasks later, resident (MB)",
        after,
        before,
        1.15,
    ));
    Ok(rows)
}

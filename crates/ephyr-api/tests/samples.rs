//! Tests every type against a sample of its wire format: the sample is read, written to the same bytes, and read again
//! to an equal value.

use std::fmt::Debug;

use ephyr_api::v1::{
    ApiProblem, CertificateRequest, GrantedCertificate, Health, OpenSession, RequestPreview,
    Session, WhoAmI,
};
use ephyr_api::{
    BoundTask, CertificateList, CommandResult, CreatedTask, Encoding, ExecArguments, ExecPreview,
    FailureDetails, ListCertsArguments, ListTargetsArguments, RevokedTask, TargetList,
    TaskBindArguments, TaskCreateArguments, TaskDelegateArguments, TaskInfo, TaskInfoArguments,
    TaskList, TaskListArguments, TaskPreview, TaskRevokeArguments,
};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

const RECEIPT: &str = concat!(
    r#"{"record":"01ARZ3NDEKTSV4RRFFQ69G5FAV","#,
    r#""record_hash":"1111111111111111111111111111111111111111111111111111111111111111","#,
    r#""certificate":"2222222222222222222222222222222222222222222222222222222222222222","#,
    r#""signature":"c2ln","text":"rec_AQ"}"#
);
const DENIAL: &str = concat!(
    r#"{"step":3,"reason":"role_not_granted","rule":"agents.a.ssh.web.roles","#,
    r#""message":"agent `a` has no role `admin` on `web`","alternatives":["web as read"]}"#
);
const ENVELOPE: &str = r#"{"ssh":{"web":["read"]},"http":"*","targets":["web","db"]}"#;

#[cfg(test)]
fn round_trip<T>(sample: &str) -> T
where
    T: Serialize + DeserializeOwned + PartialEq + Debug,
{
    let read: T = serde_json::from_str(sample).unwrap_or_else(|error| panic!("{error}: {sample}"));
    let written = serde_json::to_string(&read).unwrap();
    assert_eq!(written, sample);
    let again: T = serde_json::from_str(&written).unwrap();
    assert_eq!(again, read);
    // Clients parse a message to a `Value` before they deserialize a part of it.
    let tree: Value = serde_json::from_str(sample).unwrap();
    let of_tree: T = serde_json::from_value(tree.clone()).unwrap();
    assert_eq!(serde_json::to_value(&of_tree).unwrap(), tree);
    read
}

#[test]
fn tool_arguments_round_trip() {
    round_trip::<ListTargetsArguments>("{}");
    round_trip::<ListCertsArguments>("{}");
    round_trip::<TaskListArguments>("{}");
    round_trip::<ExecArguments>(
        r#"{"target":"web","role":"read","command":"id","timeout":5,"encoding":"base64","dry_run":true}"#,
    );
    round_trip::<TaskCreateArguments>(
        r#"{"description":"d","ttl":"45m","can_delegate":true,"holder_pub_key":"k","envelope":{"ssh":{"web":["read"]},"roles":[]},"dry_run":true}"#,
    );
    round_trip::<TaskDelegateArguments>(
        r#"{"parent_task_id":"p","agent":"b","description":"d","ttl":"1m","can_delegate":false,"holder_pub_key":"k","must_bind":true,"envelope":{"targets":["web"]},"dry_run":true}"#,
    );
    round_trip::<TaskBindArguments>(r#"{"task_id":"t","holder_pub_key":"k"}"#);
    round_trip::<TaskInfoArguments>(r#"{"task_id":"t"}"#);
    round_trip::<TaskRevokeArguments>(r#"{"task_id":"t","dry_run":true}"#);
}

#[test]
fn omitted_arguments_have_defaults() {
    let exec: ExecArguments =
        serde_json::from_str(r#"{"target":"web","role":"read","command":"id"}"#).unwrap();
    assert_eq!(
        (exec.timeout, exec.encoding, exec.dry_run),
        (30, Encoding::Text, false)
    );
    let create: TaskCreateArguments = serde_json::from_str(r#"{"description":"d"}"#).unwrap();
    assert_eq!((create.ttl.as_str(), create.can_delegate), ("30m", false));
    assert_eq!((create.envelope, create.dry_run), (None, false));
    let delegate: TaskDelegateArguments = serde_json::from_str(r#"{"description":"d"}"#).unwrap();
    assert_eq!((delegate.ttl, delegate.must_bind), (None, false));
}

#[test]
fn exec_results_round_trip() {
    let text = round_trip::<CommandResult<'_>>(&format!(
        r#"{{"stdout":"a\n","stderr":"","stdout_bytes":2,"stderr_bytes":0,"truncated":false,"exit_code":0,"target":"web","role":"read","duration_ms":12,"receipt":{RECEIPT}}}"#
    ));
    assert_eq!(text.output.encoding, Encoding::Text);
    let all = round_trip::<CommandResult<'_>>(
        r#"{"stdout":"YQ==","stderr":"Yg==","encoding":"base64","stdout_bytes":9,"stderr_bytes":1,"stdout_lossy":true,"stderr_lossy":true,"truncated":true,"exit_code":-1,"signal":"TERM","timed_out":true,"target":"web","role":"read","duration_ms":12}"#,
    );
    assert!(all.output.truncated && all.timed_out && all.receipt.is_none());
    let allowed = r#"{"target":"web","role":"read","decision":{"allowed":true,"ttl_seconds":60}}"#;
    round_trip::<ExecPreview<'_>>(allowed);
    round_trip::<ExecPreview<'_>>(
        r#"{"target":"web","role":"read","decision":{"allowed":false,"step":3,"reason":"outside_envelope","rule":"token envelope","message":"no","alternatives":["web as read"]}}"#,
    );
}

#[test]
fn list_results_round_trip() {
    round_trip::<TargetList<'_>>(
        r#"{"targets":[{"name":"web","host":"192.0.2.1","port":22,"vlan":7,"roles":["admin","read"],"description":"the web server","enabled":true},{"name":"db","host":"db.example","port":2222,"roles":["read"],"description":"","enabled":false}]}"#,
    );
    round_trip::<CertificateList<'_>>(
        r#"{"certs":[{"serial":"00000000000000ff","target":"web","role":"read","principal":"web/read","kind":"user","expires_at":"2026-11-30T12:00:00Z"}]}"#,
    );
}

#[test]
fn task_results_round_trip() {
    round_trip::<CreatedTask<'_>>(&format!(
        r#"{{"task_id":"01ARZ3NDEKTSV4RRFFQ69G5FAV","token":"mac_AgAA","token_type":"macaroon","expires_at":"2026-11-30T12:00:00Z","ttl_seconds":60,"can_delegate":false,"holder_bound":false,"bind_deadline":"2026-11-30T11:59:30Z","agent":"b","envelope":{ENVELOPE},"receipt":{RECEIPT}}}"#
    ));
    round_trip::<TaskPreview<'_>>(&format!(
        r#"{{"decision":{{"allowed":true,"ttl_seconds":60}},"agent":"b","envelope":{ENVELOPE}}}"#
    ));
    round_trip::<TaskPreview<'_>>(
        r#"{"decision":{"allowed":false,"reason":"ttl_out_of_range","message":"ttl must be between 1s and 1h"}}"#,
    );
    round_trip::<BoundTask<'_>>(&format!(
        r#"{{"task_id":"01ARZ3NDEKTSV4RRFFQ69G5FAV","bound":true,"bound_at":"2026-11-30T11:59:00Z","token":"mac_AgAA","token_type":"macaroon","expires_at":"2026-11-30T12:00:00Z","agent":"b","receipt":{RECEIPT}}}"#
    ));
    let task = r#"{"id":"01ARZ3NDEKTSV4RRFFQ69G5FAV","description":"d","agent":"a","created_at":"2026-11-30T11:00:00Z","expires_at":"2026-11-30T12:00:00Z","remaining_ttl":60,"is_revoked":false,"holder_bound":true,"depth":1,"root":"01ARZ3NDEKTSV4RRFFQ69G5FAW","parent":"01ARZ3NDEKTSV4RRFFQ69G5FAW""#;
    round_trip::<TaskInfo<'_>>(&format!(
        r#"{{"task":{task},"lineage":["01ARZ3NDEKTSV4RRFFQ69G5FAW","01ARZ3NDEKTSV4RRFFQ69G5FAV"],"can_delegate":true,"envelope":{ENVELOPE}}}}}"#
    ));
    round_trip::<TaskList<'_>>(&format!(
        r#"{{"tasks":[{task}}}],"count":3,"truncated":true}}"#
    ));
    round_trip::<RevokedTask<'_>>(&format!(
        r#"{{"task_id":"01ARZ3NDEKTSV4RRFFQ69G5FAV","revoked":true,"cascade_count":2,"status":"all tokens invalidated","ended_actions":1,"receipt":{RECEIPT}}}"#
    ));
    round_trip::<RevokedTask<'_>>(
        r#"{"task_id":"01ARZ3NDEKTSV4RRFFQ69G5FAV","revoked":false,"cascade_count":9,"status":"nothing was revoked","tasks":["01ARZ3NDEKTSV4RRFFQ69G5FAV"],"truncated":true}"#,
    );
}

#[test]
fn failure_details_are_distinguished() {
    let denied = round_trip::<FailureDetails<'_>>(DENIAL);
    assert!(matches!(denied, FailureDetails::Denied(_)), "{denied:?}");
    let unreached =
        round_trip::<FailureDetails<'_>>(r#"{"reason":"signer_unavailable","started":false}"#);
    assert!(
        matches!(&unreached, FailureDetails::Exec(failure) if failure.output.is_none()),
        "{unreached:?}"
    );
    let lost = round_trip::<FailureDetails<'_>>(
        r#"{"reason":"connection_lost","started":true,"stdout":"a","stderr":"","stdout_bytes":1,"stderr_bytes":0,"truncated":false}"#,
    );
    assert!(
        matches!(&lost, FailureDetails::Exec(failure) if failure.output.is_some()),
        "{lost:?}"
    );
    let other = round_trip::<FailureDetails<'_>>(r#"{"reason":"task_not_found"}"#);
    assert!(matches!(other, FailureDetails::Other(_)), "{other:?}");
    assert_eq!(other.reason(), "task_not_found");
}

#[test]
fn v1_bodies_round_trip() {
    round_trip::<WhoAmI<'_>>(
        r#"{"agent":"a","via":"uid","uid":1000,"task":"01ARZ3NDEKTSV4RRFFQ69G5FAV","description":"d","policy":"1111111111111111111111111111111111111111111111111111111111111111"}"#,
    );
    round_trip::<OpenSession>(r#"{"agent_name":"a"}"#);
    round_trip::<Session<'_>>(
        r#"{"agent_name":"a","uid":1000,"expires_at":"2026-11-30T12:00:00Z","token":"00ff"}"#,
    );
    round_trip::<CertificateRequest>(
        r#"{"target":"web","role":"read","duration":"5m","public_key":"ssh-ed25519 AAAA","dry_run":true}"#,
    );
    round_trip::<GrantedCertificate<'_>>(
        r#"{"status":"granted","certificate":"ssh-ed25519-cert-v01@openssh.com AAAA","serial":"00000000000000ff","principal":"web/read","account":"agent-read","host":"192.0.2.1","port":22,"expires_at":"2026-11-30T12:00:00Z"}"#,
    );
    round_trip::<RequestPreview<'_>>(r#"{"status":"allowed","ttl_seconds":300}"#);
    round_trip::<ApiProblem<'_>>(
        r#"{"error":"try again in 3 s","code":"rate_limited","retry_after_seconds":3}"#,
    );
    round_trip::<ApiProblem<'_>>(&format!(
        r#"{{"error":"no","code":"role_not_granted","denial":{DENIAL}}}"#
    ));
}

#[test]
fn health_round_trips() {
    let plain = round_trip::<Health>(r#"{"status":"ok","version":"0.1.0"}"#);
    assert!(plain.is_ok());
    let full = round_trip::<Health>(
        r#"{"status":"degraded","version":"0.1.0","details":{"uptime_seconds":1,"policy":"1111111111111111111111111111111111111111111111111111111111111111","active_certs":1,"live_tasks":2,"running":0,"signer_ok":true,"signer":{"version":"0.1.0","policy":"1111111111111111111111111111111111111111111111111111111111111111","sandbox":{"landlock_abi":6,"landlock":["files","tcp"],"seccomp":true,"memory_locked":true,"non_dumpable":true}},"minting_until":null,"audit":{"ok":false,"records":3,"countersigned":2,"error":"disk full"},"state_error":"removed","sandbox":{"landlock_abi":6,"landlock":["files"],"state_in_memory":true},"mcp":"127.0.0.1:8554","warnings":["started without --ca-pub"]}}"#,
    );
    assert!(!full.is_ok());
}

#[test]
fn readers_ignore_unknown_members_of_results() {
    let newer = r#"{"status":"allowed","ttl_seconds":300,"approved_by":"alice"}"#;
    let read: RequestPreview<'_> = serde_json::from_str(newer).unwrap();
    assert_eq!(read.ttl_seconds, 300);
    let newer = r#"{"targets":[{"name":"web","host":"h","port":22,"roles":[],"description":"","enabled":true,"zone":1}],"count":1}"#;
    let read: TargetList<'_> = serde_json::from_str(newer).unwrap();
    assert_eq!(read.targets[0].port, 22);
    let newer = r#"{"step":9,"reason":"new_reason","rule":"r","message":"m","alternatives":[],"retry":true}"#;
    let read: FailureDetails<'_> = serde_json::from_str(newer).unwrap();
    assert_eq!(read.reason(), "new_reason");
}

#[test]
fn unknown_members_of_v1_requests_are_rejected() {
    let known = r#"{"target":"web","role":"read","public_key":"k"}"#;
    serde_json::from_str::<CertificateRequest>(known).unwrap();
    let unknown = r#"{"target":"web","role":"read","public_key":"k","ttl":"5m"}"#;
    serde_json::from_str::<CertificateRequest>(unknown).unwrap_err();
    serde_json::from_str::<OpenSession>(r#"{"agent":"a"}"#).unwrap_err();
}

#[test]
fn debug_prints_no_token() {
    let sample = r#"{"agent_name":"a","expires_at":"2026-11-30T12:00:00Z","token":"s3cret"}"#;
    let session: Session<'_> = serde_json::from_str(sample).unwrap();
    let printed = format!("{session:?}");
    assert!(!printed.contains("s3cret"), "{printed}");
    assert_eq!(session.token.unwrap().as_str(), "s3cret");
}

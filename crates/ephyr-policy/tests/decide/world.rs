//! The fixture of the decision tests: one policy, one agent with a token, one allowed action.

use ephyr_names::{TaskId, Timestamp, Ttl};
use ephyr_policy::{
    Decision, Denial, Ledger, Policy, Purpose, SshAction, SshPermit, Subject, authorize, load,
};
use ephyr_token::Envelope;

pub(crate) const HOST_KEY: &str =
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJLCAUUEqc3qksi4WO6zE3eR2BHZc/8F0KIJ/xvjmQH0";

/// The initial policy; tests replace parts of it.
pub(crate) const POLICY: &str = "\
global:
  max_active_certs: 4
  default_ttl: 5m
  max_ttl: 30m
roles:
  read: { principal: agent-read }
  look: { principal: agent-look, commands: [uptime, 'cat *'] }
  admin: { principal: agent-admin, pty: true }
targets:
  web:
    host: web.example
    host_key: HOST_KEY
    allowed_roles: [read, look, admin]
    max_ttl: 20m
    auto_approve: true
    enabled: true
  db:
    host: db.example
    host_key: HOST_KEY
    allowed_roles: [read]
    auto_approve: true
agents:
  parent:
    uid: 1001
    max_concurrent_certs: 2
    ssh:
      web: { roles: [read, look] }
      db: { roles: [read] }
  child:
    uid: 1002
    max_concurrent_certs: 2
    accept_delegation_from: [parent]
    ssh:
      web: { roles: [read, look, admin] }
";

pub(crate) fn policy(text: &str) -> Policy {
    let text = text.replace("HOST_KEY", HOST_KEY);
    load(text.as_bytes(), "test.yaml").unwrap_or_else(|d| panic!("{d}\n{text}"))
}

pub(crate) fn now() -> Timestamp {
    Timestamp::from_unix_seconds(1_700_000_000)
}

pub(crate) fn task(n: u8) -> TaskId {
    TaskId::from_parts(now(), [n; 10])
}

pub(crate) fn exec(target: &str, role: &str, command: &str) -> SshAction {
    let purpose = Purpose::Exec {
        command: command.to_owned(),
    };
    login(target, role, purpose)
}

pub(crate) fn login(target: &str, role: &str, purpose: Purpose) -> SshAction {
    SshAction {
        target: target.parse().unwrap(),
        role: role.parse().unwrap(),
        purpose,
        ttl: None,
    }
}

/// All inputs of a decision.
pub(crate) struct World {
    pub(crate) text: String,
    pub(crate) ledger: Ledger,
    pub(crate) subject: Subject,
    pub(crate) action: SshAction,
    pub(crate) now: Timestamp,
}

impl World {
    /// Creates the world in which `parent` delegated to `child`, which runs a command on `web` as `read`.
    pub(crate) fn new() -> Self {
        let subject = Subject {
            agent: "child".parse().unwrap(),
            lineage: vec![
                (task(1), "parent".parse().unwrap()),
                (task(2), "child".parse().unwrap()),
            ],
            envelope: Some(Envelope::any(now().after(Ttl::from_secs(600)), false, 0)),
        };
        Self {
            text: POLICY.to_owned(),
            ledger: Ledger::new(),
            subject,
            action: exec("web", "read", "uptime"),
            now: now(),
        }
    }

    /// Replaces a part of the policy, which must exist.
    pub(crate) fn edit(&mut self, from: &str, to: &str) {
        assert!(self.text.contains(from), "{from}");
        self.text = self.text.replacen(from, to, 1);
    }

    pub(crate) fn ssh(&mut self) -> &mut SshAction {
        &mut self.action
    }

    pub(crate) fn policy(&self) -> Policy {
        policy(&self.text)
    }

    pub(crate) fn decide(&mut self) -> Result<SshPermit, Denial> {
        let policy = self.policy();
        self.decide_by(&policy)
    }

    pub(crate) fn decide_by(&mut self, policy: &Policy) -> Result<SshPermit, Denial> {
        let decision = authorize(
            policy,
            &mut self.ledger,
            &self.subject,
            &self.action,
            self.now,
        );
        match decision {
            Decision::Permit(permit) => Ok(permit),
            Decision::Denied(denial) => Err(denial),
        }
    }
}

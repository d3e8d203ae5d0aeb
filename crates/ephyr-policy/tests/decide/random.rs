//! Random policies and requests, generated from a byte sequence so that failures shrink.

use ephyr_names::{Timestamp, Ttl};
use ephyr_policy::{CertificateKind, Purpose, SshAction, Subject};
use ephyr_token::{Envelope, Grants, Scope};

use crate::world::{HOST_KEY, task};

/// A source of choices. When it is exhausted, every choice is the first.
pub(crate) struct Choices<'a>(std::slice::Iter<'a, u8>);

impl<'a> Choices<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self(bytes.iter())
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.len() == 0
    }

    pub(crate) fn pick(&mut self, of: usize) -> usize {
        usize::from(self.0.next().copied().unwrap_or(0)) % of
    }

    pub(crate) fn among<'b, T>(&mut self, of: &'b [T]) -> &'b T {
        &of[self.pick(of.len())]
    }

    /// Returns `true` with a probability of about one in `times`.
    fn once_in(&mut self, times: usize) -> bool {
        self.pick(times) == times - 1
    }

    /// Returns a nonempty subset.
    fn some(&mut self, of: &[&str]) -> Vec<String> {
        let bits = 1 + self.pick((1 << of.len()) - 1);
        let chosen = of.iter().enumerate().filter(|(i, _)| bits >> i & 1 == 1);
        chosen.map(|(_, name)| (*name).to_owned()).collect()
    }
}

const AGENTS: [&str; 3] = ["a0", "a1", "a2"];
const TARGETS: [&str; 3] = ["t0", "t1", "t2"];
const ROLES: [&str; 3] = ["r0", "r1", "r2"];

#[derive(Debug)]
pub(crate) struct Rules {
    pub(crate) limit: usize,
    pub(crate) default_ttl: u64,
    pub(crate) max_ttl: u64,
    pub(crate) agents: Vec<AgentRules>,
    pub(crate) targets: Vec<TargetRules>,
    pub(crate) roles: Vec<RoleRules>,
}

#[derive(Debug)]
pub(crate) struct AgentRules {
    pub(crate) name: String,
    pub(crate) limit: usize,
    pub(crate) accepts: Vec<String>,
    pub(crate) delegated_only: bool,
    pub(crate) grants: Vec<GrantRules>,
}

#[derive(Debug)]
pub(crate) struct GrantRules {
    pub(crate) target: String,
    pub(crate) roles: Vec<String>,
    pub(crate) auto_approve: bool,
}

#[derive(Debug)]
pub(crate) struct TargetRules {
    pub(crate) name: String,
    pub(crate) roles: Vec<String>,
    pub(crate) max_ttl: Option<u64>,
    pub(crate) auto_approve: bool,
    pub(crate) enabled: bool,
}

#[derive(Debug)]
pub(crate) struct RoleRules {
    pub(crate) name: String,
    pub(crate) only_uptime: bool,
    pub(crate) unsealed: bool,
}

impl Rules {
    pub(crate) fn random(choices: &mut Choices<'_>) -> Self {
        let max_ttl = *choices.among(&[300, 1800, 86_400]);
        Self {
            limit: 1 + choices.pick(6),
            default_ttl: *choices.among(&[30, 300]),
            max_ttl,
            agents: AGENTS
                .iter()
                .map(|name| AgentRules::random(name, choices))
                .collect(),
            targets: TARGETS
                .iter()
                .map(|name| TargetRules {
                    name: (*name).to_owned(),
                    roles: choices.some(&ROLES),
                    max_ttl: [None, Some(60), Some(max_ttl)][choices.pick(3)],
                    auto_approve: !choices.once_in(5),
                    enabled: !choices.once_in(8),
                })
                .collect(),
            roles: ROLES
                .iter()
                .map(|name| RoleRules {
                    name: (*name).to_owned(),
                    only_uptime: choices.once_in(3),
                    unsealed: choices.once_in(3),
                })
                .collect(),
        }
    }

    pub(crate) fn agent(&self, name: &str) -> Option<&AgentRules> {
        self.agents.iter().find(|agent| agent.name == name)
    }

    /// Returns the rules as a policy file.
    pub(crate) fn yaml(&self) -> String {
        use std::fmt::Write as _;
        let list = |names: &[String]| format!("[{}]", names.join(", "));
        let mut text = format!(
            "global: {{ max_active_certs: {}, default_ttl: {}s, max_ttl: {}s }}\nroles:\n",
            self.limit, self.default_ttl, self.max_ttl
        );
        for role in &self.roles {
            let commands = if role.only_uptime {
                ", commands: [uptime]"
            } else {
                ""
            };
            let (name, unsealed) = (&role.name, role.unsealed);
            let _ = writeln!(
                text,
                "  {name}: {{ principal: u-{name}, unsealed: {unsealed}{commands} }}"
            );
        }
        text.push_str("targets:\n");
        for target in &self.targets {
            let max = target
                .max_ttl
                .map_or(String::new(), |s| format!(", max_ttl: {s}s"));
            let _ = writeln!(
                text,
                "  {}: {{ host: {}.example, host_key: {HOST_KEY}, allowed_roles: {}, auto_approve: {}, \
                 enabled: {}{max} }}",
                target.name,
                target.name,
                list(&target.roles),
                target.auto_approve,
                target.enabled
            );
        }
        text.push_str("agents:\n");
        for (n, agent) in self.agents.iter().enumerate() {
            let _ = writeln!(
                text,
                "  {}:\n    uid: {}\n    max_concurrent_certs: {}\n    accept_delegation_from: {}\n    \
                 delegated_only: {}\n    ssh:",
                agent.name,
                1000 + n,
                agent.limit,
                list(&agent.accepts),
                agent.delegated_only
            );
            for grant in &agent.grants {
                let _ = writeln!(
                    text,
                    "      \"{}\": {{ roles: {}, auto_approve: {} }}",
                    grant.target,
                    list(&grant.roles),
                    grant.auto_approve
                );
            }
        }
        text
    }
}

impl AgentRules {
    fn random(name: &str, choices: &mut Choices<'_>) -> Self {
        let others: Vec<&str> = AGENTS.into_iter().filter(|other| *other != name).collect();
        let grants = choices.some(&["t0", "t1", "t2", "*"]);
        Self {
            name: name.to_owned(),
            limit: 1 + choices.pick(3),
            accepts: choices.some(&others),
            delegated_only: choices.once_in(6),
            grants: grants
                .into_iter()
                .map(|target| GrantRules {
                    target,
                    roles: choices.some(&ROLES),
                    auto_approve: !choices.once_in(6),
                })
                .collect(),
        }
    }
}

/// The limits of a token.
#[derive(Debug)]
pub(crate) struct Allowance {
    pairs: Option<Vec<(String, String)>>,
    targets: Option<Vec<String>>,
    roles: Option<Vec<String>>,
    pub(crate) expires: i64,
}

impl Allowance {
    fn random(choices: &mut Choices<'_>, now: Timestamp) -> Self {
        let pairs = choices.once_in(3).then(|| {
            let targets = choices.some(&TARGETS);
            let pair = |target: String| (target, (*choices.among(&ROLES)).to_owned());
            targets.into_iter().map(pair).collect()
        });
        let millis: i64 = *choices.among(&[600_000, 3_600_000, 1_500, 45_000, 999, -5]);
        Self {
            pairs,
            targets: choices.once_in(5).then(|| choices.some(&TARGETS)),
            roles: choices.once_in(5).then(|| choices.some(&ROLES)),
            expires: now.unix_millis() + millis,
        }
    }

    pub(crate) fn allows(&self, target: &str, role: &str) -> bool {
        let pairs = self.pairs.as_ref();
        pairs.is_none_or(|pairs| pairs.iter().any(|(t, r)| t == target && r == role))
            && self
                .targets
                .as_ref()
                .is_none_or(|list| list.iter().any(|t| t == target))
            && self
                .roles
                .as_ref()
                .is_none_or(|list| list.iter().any(|r| r == role))
    }

    fn envelope(&self) -> Envelope {
        let mut envelope = Envelope::any(Timestamp::from_unix_millis(self.expires), false, 0);
        if let Some(pairs) = &self.pairs {
            let parse = |(t, r): &(String, String)| (t.parse().unwrap(), r.parse().unwrap());
            envelope.ssh = pairs.iter().map(parse).collect::<Grants<_, _>>();
        }
        if let Some(targets) = &self.targets {
            envelope.targets = Scope::Only(targets.iter().map(|t| t.parse().unwrap()).collect());
        }
        if let Some(roles) = &self.roles {
            envelope.roles = Scope::Only(roles.iter().map(|r| r.parse().unwrap()).collect());
        }
        envelope
    }
}

/// A request.
#[derive(Debug)]
pub(crate) struct Ask {
    pub(crate) agent: String,
    pub(crate) lineage: Vec<(u8, String)>,
    pub(crate) envelope: Option<Allowance>,
    pub(crate) target: String,
    pub(crate) role: String,
    pub(crate) kind: CertificateKind,
    pub(crate) command: String,
    pub(crate) ttl: Option<u64>,
}

impl Ask {
    pub(crate) fn random(choices: &mut Choices<'_>, now: Timestamp) -> Self {
        let mut name = |of: &[&str]| {
            if choices.once_in(24) {
                "x9".to_owned()
            } else {
                (*choices.among(of)).to_owned()
            }
        };
        let agents = [name(&AGENTS), name(&AGENTS), name(&AGENTS)];
        let (target, role) = (name(&TARGETS), name(&ROLES));
        let depth = choices.pick(4);
        let lineage: Vec<(u8, String)> = (0..depth)
            .map(|level| {
                let task = u8::try_from(choices.pick(4)).unwrap();
                (task, agents[level].clone())
            })
            .collect();
        let agent = match lineage.last() {
            Some((_, last)) if !choices.once_in(16) => last.clone(),
            _ => agents[2].clone(),
        };
        let with_token = lineage.is_empty() == choices.once_in(20);
        Self {
            agent,
            lineage,
            envelope: with_token.then(|| Allowance::random(choices, now)),
            target,
            role,
            kind: *choices.among(&[CertificateKind::Exec, CertificateKind::User]),
            command: (*choices.among(&["uptime", "uptime", "reboot"])).to_owned(),
            ttl: *choices.among(&[None, None, Some(10), Some(7200), Some(0)]),
        }
    }

    pub(crate) fn subject(&self) -> Subject {
        let lineage = self.lineage.iter();
        Subject {
            agent: self.agent.parse().unwrap(),
            lineage: lineage
                .map(|(n, agent)| (task(*n), agent.parse().unwrap()))
                .collect(),
            envelope: self.envelope.as_ref().map(Allowance::envelope),
        }
    }

    pub(crate) fn action(&self) -> SshAction {
        SshAction {
            target: self.target.parse().unwrap(),
            role: self.role.parse().unwrap(),
            purpose: match self.kind {
                CertificateKind::Exec => Purpose::Exec {
                    command: self.command.clone(),
                },
                CertificateKind::User => Purpose::User,
            },
            ttl: self.ttl.map(Ttl::from_secs),
        }
    }
}

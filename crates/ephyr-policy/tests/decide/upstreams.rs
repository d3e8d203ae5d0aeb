//! HTTP requests and remote tool calls take the same steps: each denial beside an allowed twin.

use ephyr_names::Ttl;
use ephyr_policy::{
    Action, AnyAction, Decision, Denial, HttpAction, Ledger, McpAction, Policy, ReasonCode,
    Subject, authorize, evaluate, load, preview,
};
use ephyr_token::{Envelope, Grants, Scope};

use crate::world::{now, task};

const POLICY: &str = "\
services:
  git:
    url_prefix: https://git.example/api
    allowed_methods: [GET, POST, PUT]
    allowed_paths: [/repos/**, /user]
    enabled: true
  open: { url_prefix: https://open.example }
remotes:
  tools: { url: https://tools.example/mcp, enabled: true }
agents:
  parent:
    uid: 1001
    services: { git: { methods: [GET, POST, DELETE] } }
    remotes: { tools: { tools: [list, get] } }
  child:
    uid: 1002
    accept_delegation_from: [parent]
    services: { git: { methods: [\"*\"] }, open: { methods: [GET] } }
    remotes: { tools: { tools: [\"*\"] } }
";

/// The subject, action and policy of one decision.
struct Case<A> {
    text: String,
    subject: Subject,
    action: A,
}

impl<A: Action> Case<A> {
    fn new(action: A) -> Self {
        Self {
            text: POLICY.to_owned(),
            subject: Subject {
                agent: "child".parse().unwrap(),
                lineage: vec![
                    (task(1), "parent".parse().unwrap()),
                    (task(2), "child".parse().unwrap()),
                ],
                envelope: Some(Envelope::any(now().after(Ttl::from_secs(600)), false, 0)),
            },
            action,
        }
    }

    fn edit(&mut self, from: &str, to: &str) {
        assert!(self.text.contains(from), "{from}");
        self.text = self.text.replacen(from, to, 1);
    }

    fn envelope(&mut self) -> &mut Envelope {
        self.subject.envelope.as_mut().unwrap()
    }

    fn policy(&self) -> Policy {
        load(self.text.as_bytes(), "test.yaml").unwrap_or_else(|d| panic!("{d}\n{}", self.text))
    }

    /// Runs `evaluate`, `preview` and `authorize`, which must agree.
    fn decide(&self) -> Result<A::Permit, Denial> {
        let (policy, mut ledger) = (self.policy(), Ledger::new());
        let evaluated = evaluate(&policy, &self.subject, &self.action, now()).err();
        let previewed = preview(&policy, &ledger, &self.subject, &self.action, now()).err();
        assert_eq!(evaluated, previewed);
        let decided = authorize(&policy, &mut ledger, &self.subject, &self.action, now());
        assert!(ledger.is_empty(), "only certificates take slots");
        match decided {
            Decision::Permit(permit) => {
                assert_eq!(evaluated, None);
                Ok(permit)
            }
            Decision::Denied(denial) => {
                assert_eq!(evaluated.as_ref(), Some(&denial));
                Err(denial)
            }
        }
    }
}

fn http() -> Case<HttpAction> {
    Case::new(HttpAction {
        service: "git".parse().unwrap(),
        method: "GET".parse().unwrap(),
        path: "/repos/one".to_owned(),
    })
}

fn mcp() -> Case<McpAction> {
    Case::new(McpAction {
        remote: "tools".parse().unwrap(),
        tool: "list".parse().unwrap(),
    })
}

/// Asserts that the case is allowed and that, with the fault, this step refuses it for this reason and rule.
fn refuses<A: Action>(
    mut case: Case<A>,
    (step, reason, rule): (u8, ReasonCode, &str),
    fault: impl FnOnce(&mut Case<A>),
) -> Denial {
    assert!(case.decide().is_ok());
    fault(&mut case);
    let Err(denial) = case.decide() else {
        panic!("allowed");
    };
    let cause = denial.cause();
    assert_eq!((cause.step, cause.reason, cause.rule), (step, reason, rule));
    denial
}

#[test]
fn http_step_1_is_the_same_as_for_ssh() {
    let expected = (1, ReasonCode::SubjectInconsistent, "token envelope");
    refuses(http(), expected, |c| c.subject.envelope = None);
    refuses(mcp(), expected, |c| c.subject.envelope = None);
    let rule = "agents.child.accept_delegation_from";
    let expected = (1, ReasonCode::DelegationNotAccepted, rule);
    refuses(http(), expected, |c| {
        c.edit(
            "accept_delegation_from: [parent]",
            "accept_delegation_from: []",
        );
    });
}

#[test]
fn http_step_2_service_must_exist_and_be_enabled() {
    let expected = (2, ReasonCode::ServiceDisabled, "services.git.enabled");
    let seen = refuses(http(), expected, |c| {
        c.edit("enabled: true", "enabled: false");
    });
    assert_eq!(
        seen.reason,
        ReasonCode::ServiceDisabled,
        "both agents have a grant on it"
    );
    let expected = (2, ReasonCode::ServiceUnknown, "services");
    let answer = refuses(http(), expected, |c| {
        c.action.service = "nil".parse().unwrap();
    });
    assert_eq!(
        answer.reason,
        ReasonCode::MethodNotGranted,
        "existence stays hidden"
    );
}

#[test]
fn http_step_3_every_agent_of_the_lineage_needs_the_method() {
    let expected = (3, ReasonCode::MethodNotGranted, "agents.parent.services");
    let hidden = refuses(http(), expected, |c| {
        c.action.service = "open".parse().unwrap();
    });
    let unknown = refuses(http(), (2, ReasonCode::ServiceUnknown, "services"), |c| {
        c.action.service = "nope".parse().unwrap();
    });
    assert_eq!(
        serde_json::to_string(&hidden).unwrap(),
        serde_json::to_string(&unknown)
            .unwrap()
            .replace("nope", "open"),
        "a service granted to others is answered like one that does not exist"
    );
    refuses(http(), expected, |c| {
        c.action.method = "PUT".parse().unwrap();
    });
    let expected = (
        3,
        ReasonCode::MethodNotAllowedOnService,
        "services.git.allowed_methods",
    );
    refuses(http(), expected, |c| {
        c.action.method = "DELETE".parse().unwrap();
    });
}

#[test]
fn http_step_3_path_must_be_allowed_and_unambiguous() {
    let expected = (3, ReasonCode::PathNotAllowed, "services.git.allowed_paths");
    for path in [
        "",
        "/",
        "/repos",
        "/users",
        "/user/",
        "repos/one",
        "/repos/../user",
        "/repos/./one",
        "/repos//one",
        "/repos/%2e%2E/admin",
        "/repos/a%2Fb",
        "/repos/a\\b",
        "/repos/a?b",
    ] {
        refuses(http(), expected, |c| path.clone_into(&mut c.action.path));
    }
    for path in ["/user", "/repos/", "/repos/one/two", "/repos/%20"] {
        let mut case = http();
        path.clone_into(&mut case.action.path);
        assert!(case.decide().is_ok(), "{path}");
    }
}

#[test]
fn http_step_3_and_4_token_limits_and_expiry_are_enforced() {
    let expected = (3, ReasonCode::OutsideEnvelope, "token envelope");
    refuses(http(), expected, |c| c.envelope().http = Grants::none());
    refuses(http(), expected, |c| c.envelope().services = Scope::none());
    refuses(http(), expected, |c| c.envelope().methods = Scope::none());
    let expired = (4, ReasonCode::DurationExhausted, "token envelope");
    refuses(http(), expired, |c| c.envelope().expires = now());
    refuses(mcp(), expired, |c| c.envelope().expires = now());
}

#[test]
fn mcp_steps_2_and_3_check_the_remote_and_its_tool() {
    let expected = (2, ReasonCode::RemoteDisabled, "remotes.tools.enabled");
    refuses(mcp(), expected, |c| {
        c.edit("mcp, enabled: true", "mcp, enabled: false");
    });
    let expected = (2, ReasonCode::RemoteUnknown, "remotes");
    let answer = refuses(mcp(), expected, |c| {
        c.action.remote = "nil".parse().unwrap();
    });
    assert_eq!(
        answer.reason,
        ReasonCode::ToolNotGranted,
        "existence stays hidden"
    );
    let expected = (3, ReasonCode::ToolNotGranted, "agents.parent.remotes");
    refuses(mcp(), expected, |c| c.action.tool = "drop".parse().unwrap());
    let expected = (3, ReasonCode::OutsideEnvelope, "token envelope");
    refuses(mcp(), expected, |c| c.envelope().remotes = Scope::none());
    refuses(mcp(), expected, |c| c.envelope().mcp = Grants::none());
}

#[test]
fn permit_names_the_allowed_action() {
    let permit = http().decide().unwrap();
    assert_eq!(permit.authorization().agent().as_str(), "child");
    assert_eq!(permit.service().name.as_str(), "git");
    assert_eq!(permit.action(), &http().action);
    let permit = mcp().decide().unwrap();
    assert_eq!(permit.authorization().task(), Some(task(2)));
    assert_eq!(permit.remote().name.as_str(), "tools");
    assert_eq!(permit.action(), &mcp().action);
}

#[test]
fn any_action_is_evaluated_by_its_type() {
    let policy = http().policy();
    let subject = http().subject;
    for (action, allowed) in [
        (AnyAction::from(http().action), true),
        (AnyAction::from(mcp().action), true),
        (
            AnyAction::from(crate::world::exec("web", "read", "id")),
            false,
        ),
    ] {
        let evaluated = action.evaluate(&policy, &subject, now());
        assert_eq!(evaluated.is_ok(), allowed, "{action:?}");
    }
}

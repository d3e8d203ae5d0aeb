//! Steps 2 to 4 for a tool call on a remote MCP server. Calls hold no slot and require no approval.

use std::sync::Arc;

use ephyr_names::{RemoteName, Timestamp, ToolName};

use super::Action;
use super::denial::{Denial, ReasonCode};
use super::slots::Ledger;
use super::steps::Steps;
use super::subject::{Authorization, Request};
use crate::model::Remote;

/// A tool call on a remote MCP server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct McpAction {
    /// The remote.
    pub remote: RemoteName,
    /// The tool's name at the remote, without the prefix.
    pub tool: ToolName,
}

/// A tool call that steps 1 to 4 allow.
#[derive(Debug, Clone, Copy)]
pub struct McpGranted<'p> {
    remote: &'p Arc<Remote>,
}

impl<'p> McpGranted<'p> {
    /// Returns the remote.
    #[must_use]
    pub fn remote(&self) -> &'p Remote {
        self.remote
    }
}

/// The proof that a tool call was allowed. Only [`authorize`](crate::authorize) creates it, and it cannot be copied.
#[derive(Debug)]
#[must_use = "a permit allows one call"]
pub struct McpPermit {
    authorization: Authorization,
    remote: Arc<Remote>,
    action: McpAction,
}

impl McpPermit {
    /// Returns the agent, policy and time of the decision.
    #[must_use]
    pub fn authorization(&self) -> &Authorization {
        &self.authorization
    }

    /// Returns the remote.
    #[must_use]
    pub fn remote(&self) -> &Remote {
        &self.remote
    }

    /// Returns the call that was allowed.
    #[must_use]
    pub fn action(&self) -> &McpAction {
        &self.action
    }
}

impl Action for McpAction {}

impl Steps for McpAction {
    type Granted<'p> = McpGranted<'p>;
    type FreeSlot = ();
    type Permit = McpPermit;

    fn grant<'p>(&self, request: &Request<'p, '_>) -> Result<McpGranted<'p>, Denial> {
        let Some(remote) = request.policy.remotes.get(&self.remote) else {
            let message = format!("the policy has no remote `{}`", self.remote);
            let rule = "remotes".to_owned();
            return Err(self.answer(request, 2, ReasonCode::RemoteUnknown, rule, message));
        };
        if !remote.enabled {
            let message = format!("remote `{}` is disabled in the policy", self.remote);
            let rule = format!("remotes.{}.enabled", self.remote);
            return Err(self.answer(request, 2, ReasonCode::RemoteDisabled, rule, message));
        }
        let mut agents = request.agents();
        if let Some(agent) = agents.find(|agent| !agent.remotes.allows(&self.remote, &self.tool)) {
            let message = format!(
                "agent `{}` may not call tool `{}` of remote `{}`",
                agent.name, self.tool, self.remote
            );
            let rule = format!("agents.{}.remotes", agent.name);
            return Err(self.answer(request, 3, ReasonCode::ToolNotGranted, rule, message));
        }
        let envelope = request.envelope();
        if envelope.is_some_and(|e| !e.allows_mcp(&self.remote, &self.tool)) {
            return Err(self.outside_envelope());
        }
        if envelope.is_some_and(|e| e.expires.since(request.now).is_zero()) {
            return Err(Denial::expired());
        }
        Ok(McpGranted { remote })
    }

    fn find_slot(
        &self,
        _granted: &McpGranted<'_>,
        _request: &Request<'_, '_>,
        _ledger: &Ledger,
    ) -> Result<(), Denial> {
        Ok(())
    }

    fn approve(_granted: &McpGranted<'_>) -> Result<(), Denial> {
        Ok(())
    }

    fn permit(
        &self,
        granted: McpGranted<'_>,
        authorization: Authorization,
        _ledger: &mut Ledger,
        _free: (),
        _now: Timestamp,
    ) -> McpPermit {
        McpPermit {
            authorization,
            remote: Arc::clone(granted.remote),
            action: self.clone(),
        }
    }
}

impl McpAction {
    /// Returns a denial of step 2 or 3. If an agent of the lineage has no grant for the remote, the answer is the
    /// same as for a remote that does not exist.
    fn answer(
        &self,
        request: &Request<'_, '_>,
        step: u8,
        reason: ReasonCode,
        rule: String,
        message: String,
    ) -> Denial {
        let denial = Denial::new(step, reason, rule, message);
        let mut agents = request.agents();
        let is_seen = request.policy.remotes.contains_key(&self.remote)
            && agents.all(|agent| agent.remotes.covers(&self.remote));
        match request.envelope() {
            Some(e) if !e.allows_mcp(&self.remote, &self.tool) => {
                denial.hidden_behind(self.outside_envelope())
            }
            _ if is_seen => denial,
            _ => denial.hidden_behind(self.not_granted(request)),
        }
    }

    fn outside_envelope(&self) -> Denial {
        let message = format!(
            "the task's token does not allow tool `{}` of remote `{}`",
            self.tool, self.remote
        );
        let rule = "token envelope".to_owned();
        Denial::new(3, ReasonCode::OutsideEnvelope, rule, message)
    }

    /// Returns the denial for a missing grant; its text also fits a remote that does not exist.
    fn not_granted(&self, request: &Request<'_, '_>) -> Denial {
        let agent = &request.acting.name;
        let message = format!(
            "agent `{agent}` may not call tool `{}` of a remote `{}`",
            self.tool, self.remote
        );
        let rule = format!("agents.{agent}.remotes");
        Denial::new(3, ReasonCode::ToolNotGranted, rule, message)
    }
}

//! Steps 2 to 4 for a request to an HTTP service. Requests hold no slot and require no approval.

use std::sync::Arc;

use ephyr_names::{Method, ServiceName, Timestamp};

use super::Action;
use super::denial::{Denial, MAX_ALTERNATIVES, ReasonCode};
use super::slots::Ledger;
use super::steps::Steps;
use super::subject::{Authorization, Request};
use crate::model::Service;

/// A request to an HTTP service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpAction {
    /// The service.
    pub service: ServiceName,
    /// The method.
    pub method: Method,
    /// The path relative to the service's prefix, without query; it begins with `/`.
    pub path: String,
}

/// A request that steps 1 to 4 allow.
#[derive(Debug, Clone, Copy)]
pub struct HttpGranted<'p> {
    service: &'p Arc<Service>,
}

impl<'p> HttpGranted<'p> {
    /// Returns the service.
    #[must_use]
    pub fn service(&self) -> &'p Service {
        self.service
    }
}

/// The proof that a request was allowed. Only [`authorize`](crate::authorize) creates it, and it cannot be copied.
#[derive(Debug)]
#[must_use = "a permit allows one request"]
pub struct HttpPermit {
    authorization: Authorization,
    service: Arc<Service>,
    action: HttpAction,
}

impl HttpPermit {
    /// Returns the agent, policy and time of the decision.
    #[must_use]
    pub fn authorization(&self) -> &Authorization {
        &self.authorization
    }

    /// Returns the service.
    #[must_use]
    pub fn service(&self) -> &Service {
        &self.service
    }

    /// Returns the request that was allowed.
    #[must_use]
    pub fn action(&self) -> &HttpAction {
        &self.action
    }
}

impl Action for HttpAction {}

impl Steps for HttpAction {
    type Granted<'p> = HttpGranted<'p>;
    type FreeSlot = ();
    type Permit = HttpPermit;

    fn grant<'p>(&self, request: &Request<'p, '_>) -> Result<HttpGranted<'p>, Denial> {
        let Some(service) = request.policy.services.get(&self.service) else {
            let message = format!("the policy has no service `{}`", self.service);
            let rule = "services".to_owned();
            return Err(self.answer(request, 2, ReasonCode::ServiceUnknown, rule, message));
        };
        if !service.enabled {
            let message = format!("service `{}` is disabled in the policy", self.service);
            let rule = format!("services.{}.enabled", self.service);
            return Err(self.answer(request, 2, ReasonCode::ServiceDisabled, rule, message));
        }
        let mut agents = request.agents();
        if let Some(agent) =
            agents.find(|agent| !agent.services.allows(&self.service, &self.method))
        {
            let message = format!(
                "agent `{}` may not use {} on service `{}`",
                agent.name, self.method, self.service
            );
            let rule = format!("agents.{}.services", agent.name);
            return Err(self.answer(request, 3, ReasonCode::MethodNotGranted, rule, message));
        }
        let methods = &service.allowed_methods;
        if !methods.is_empty() && !methods.contains(&self.method) {
            let message = format!("service `{}` does not allow {}", self.service, self.method);
            let rule = format!("services.{}.allowed_methods", self.service);
            let reason = ReasonCode::MethodNotAllowedOnService;
            return Err(self.answer(request, 3, reason, rule, message));
        }
        if !service.allows_path(&self.path) {
            let message = format!("this path is not allowed on service `{}`", self.service);
            let rule = format!("services.{}.allowed_paths", self.service);
            let allowed = service.allowed_paths.iter().take(MAX_ALTERNATIVES);
            let denial = self.answer(request, 3, ReasonCode::PathNotAllowed, rule, message);
            return Err(denial.with_alternatives(allowed.cloned().collect()));
        }
        let envelope = request.envelope();
        if envelope.is_some_and(|e| !e.allows_http(&self.service, &self.method)) {
            return Err(self.outside_envelope());
        }
        if envelope.is_some_and(|e| e.expires.since(request.now).is_zero()) {
            return Err(Denial::expired());
        }
        Ok(HttpGranted { service })
    }

    fn find_slot(
        &self,
        _granted: &HttpGranted<'_>,
        _request: &Request<'_, '_>,
        _ledger: &Ledger,
    ) -> Result<(), Denial> {
        Ok(())
    }

    fn approve(_granted: &HttpGranted<'_>) -> Result<(), Denial> {
        Ok(())
    }

    fn permit(
        &self,
        granted: HttpGranted<'_>,
        authorization: Authorization,
        _ledger: &mut Ledger,
        _free: (),
        _now: Timestamp,
    ) -> HttpPermit {
        HttpPermit {
            authorization,
            service: Arc::clone(granted.service),
            action: self.clone(),
        }
    }
}

impl HttpAction {
    /// Returns a denial of step 2 or 3. If an agent of the lineage has no grant for the service, the answer is the
    /// same as for a service that does not exist.
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
        let is_seen = request.policy.services.contains_key(&self.service)
            && agents.all(|agent| agent.services.covers(&self.service));
        let envelope = request.envelope();
        match envelope {
            Some(e) if !e.allows_http(&self.service, &self.method) => {
                denial.hidden_behind(self.outside_envelope())
            }
            _ if is_seen => denial,
            _ => denial.hidden_behind(self.not_granted(request)),
        }
    }

    fn outside_envelope(&self) -> Denial {
        let message = format!(
            "the task's token does not allow {} on service `{}`",
            self.method, self.service
        );
        let rule = "token envelope".to_owned();
        Denial::new(3, ReasonCode::OutsideEnvelope, rule, message)
    }

    /// Returns the denial for a missing grant; its text also fits a service that does not exist.
    fn not_granted(&self, request: &Request<'_, '_>) -> Denial {
        let agent = &request.acting.name;
        let message = format!(
            "agent `{agent}` may not use {} on a service `{}`",
            self.method, self.service
        );
        let rule = format!("agents.{agent}.services");
        Denial::new(3, ReasonCode::MethodNotGranted, rule, message)
    }
}

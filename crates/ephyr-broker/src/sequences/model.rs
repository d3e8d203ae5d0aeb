//! The reference model: four agents, four pairs of target and role, whole seconds. It does not model the formats of
//! tokens, journals or envelopes, and shares no code with the broker.

/// `a` creates roots, `b` may accept delegations from `a`, `c` acts only with delegations from `a` and `b`, `d` accepts
/// none.
pub(super) const AGENTS: [&str; 4] = ["a", "b", "c", "d"];
pub(super) const TARGETS: [&str; 2] = ["web", "db"];
pub(super) const ROLES: [&str; 2] = ["read", "operator"];
const HOUR: i64 = 3600;
const BIND_TIME: i64 = 30;
const MAX_DEPTH: usize = 5;

/// A set of pairs: bit `2 * target + role`.
pub(super) type Pairs = u8;
pub(super) const ALL: Pairs = 0b1111;

/// Returns all pairs of these targets and roles.
fn product(targets: u8, roles: u8) -> Pairs {
    let mut pairs = 0;
    for target in 0..2 {
        for role in 0..2 {
            if targets & (1 << target) != 0 && roles & (1 << role) != 0 {
                pairs |= 1 << (2 * target + role);
            }
        }
    }
    pairs
}

/// The requested restrictions: pairs, targets, roles; `None` does not restrict.
#[derive(Debug, Clone, Copy)]
pub(super) struct Scope {
    pub(super) ssh: Option<Pairs>,
    pub(super) targets: Option<u8>,
    pub(super) roles: Option<u8>,
}

impl Scope {
    fn of(self, above: Pairs) -> Pairs {
        above
            & self.ssh.unwrap_or(ALL)
            & product(self.targets.unwrap_or(3), self.roles.unwrap_or(3))
    }

    /// Returns whether it names anything that the parent does not allow.
    fn exceeds(self, above: Pairs) -> bool {
        let useless = |named: Option<u8>, with: fn(u8) -> Pairs| {
            let one = |bit: u8| named.unwrap_or(0) & (1 << bit) != 0 && above & with(1 << bit) == 0;
            one(0) || one(1)
        };
        self.ssh.unwrap_or(0) & !above != 0
            || useless(self.targets, |target| product(target, 3))
            || useless(self.roles, |role| product(3, role))
    }
}

/// The policy in force.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rules {
    pub(super) grants: [Pairs; 4],
    pub(super) b_accepts_a: bool,
    /// Whether `b`'s tokens must be bound.
    pub(super) b_must_prove: bool,
}

impl Rules {
    fn must_prove(self, agent: usize) -> bool {
        agent == 1 && self.b_must_prove
    }

    fn accepts(self, to: usize, from: usize) -> bool {
        match to {
            1 => from == 0 && self.b_accepts_a,
            2 => from < 2,
            _ => false,
        }
    }
}

#[derive(Debug, Clone)]
pub(super) struct Task {
    pub(super) parent: Option<usize>,
    pub(super) agent: usize,
    root_agent: usize,
    expires: i64,
    deadline: Option<i64>,
    pub(super) key: Option<u8>,
    revoked: bool,
}

/// A token: the first of a task, or one narrowed or bound from another.
#[derive(Debug, Clone)]
pub(super) struct Token {
    pub(super) task: usize,
    pub(super) key: Option<u8>,
    pairs: Pairs,
    expires: i64,
    may_delegate: bool,
    generations: usize,
    /// Whether a holder has appended a caveat.
    narrowed: bool,
    /// The token from which it was derived.
    from: Option<usize>,
}

/// A caveat that a holder appends.
#[derive(Debug, Clone, Copy)]
pub(super) enum Caveat {
    Ssh(Pairs),
    Targets(u8),
    Roles(u8),
    Expires(i64),
    NoDelegation,
    Generations(u8),
}

/// A request for a task.
#[derive(Debug, Clone, Copy)]
pub(super) struct TaskRequest {
    pub(super) agent: usize,
    pub(super) scope: Scope,
    pub(super) ttl: i64,
    pub(super) may_delegate: bool,
    pub(super) key: Option<u8>,
    pub(super) must_bind: bool,
}

#[derive(Debug)]
pub(super) struct Model {
    pub(super) now: i64,
    pub(super) rules: Rules,
    pub(super) tasks: Vec<Task>,
    pub(super) tokens: Vec<Token>,
}

impl Model {
    /// Returns the task and all its ancestors.
    fn lineage(&self, task: usize) -> Vec<usize> {
        let mut lineage = vec![task];
        while let Some(above) = self.tasks[lineage[lineage.len() - 1]].parent {
            lineage.push(above);
        }
        lineage
    }

    pub(super) fn is_revoked(&self, task: usize) -> bool {
        self.lineage(task)
            .iter()
            .any(|above| self.tasks[*above].revoked)
    }

    /// Returns whether the broker still keeps the task.
    pub(super) fn is_kept(&self, task: usize) -> bool {
        let task = &self.tasks[task];
        let missed = task.key.is_none() && task.deadline.is_some_and(|end| end <= self.now);
        self.now < task.expires && !missed
    }

    /// Returns whether a token is valid, if only to be bound.
    fn is_valid(&self, token: &Token) -> bool {
        self.now < token.expires && self.is_kept(token.task) && !self.is_revoked(token.task)
    }

    /// Returns whether a token is valid for more than binding.
    pub(super) fn works(&self, token: usize) -> bool {
        let token = &self.tokens[token];
        let task = &self.tasks[token.task];
        self.is_valid(token)
            && token.key == task.key
            && (task.key.is_some()
                || (task.deadline.is_none() && !self.rules.must_prove(task.agent)))
    }

    /// Returns the pairs that a token allows now.
    pub(super) fn allows(&self, token: usize) -> Pairs {
        if !self.works(token) {
            return 0;
        }
        let token = &self.tokens[token];
        let lineage = self.lineage(token.task);
        // An agent that no longer accepts delegations from another cannot use earlier ones either.
        let accepted = |task: &usize| {
            let task = &self.tasks[*task];
            task.parent.is_none_or(|parent| {
                let from = self.tasks[parent].agent;
                from == task.agent || self.rules.accepts(task.agent, from)
            })
        };
        if !lineage.iter().all(accepted) {
            return 0;
        }
        lineage.iter().fold(token.pairs, |pairs, task| {
            pairs & self.rules.grants[self.tasks[*task].agent]
        })
    }

    /// Returns the pairs of the token from which it was derived, regardless of grants and expiry.
    pub(super) fn parent_pairs(&self, token: usize) -> Pairs {
        self.tokens[token]
            .from
            .map_or(ALL, |from| self.tokens[from].pairs)
    }

    fn add(&mut self, task: Task, token: Token) {
        self.tasks.push(task);
        self.tokens.push(token);
    }

    /// `task_create`: returns whether it succeeds.
    pub(super) fn create(&mut self, request: &TaskRequest) -> bool {
        let TaskRequest {
            agent, ttl, key, ..
        } = *request;
        let delegated_only = agent == 2;
        let unproven = self.rules.must_prove(agent) && key.is_none();
        if delegated_only || unproven || !(1..=HOUR).contains(&ttl) {
            return false;
        }
        let expires = self.now + ttl;
        self.add(
            Task {
                parent: None,
                agent,
                root_agent: agent,
                expires,
                deadline: None,
                key,
                revoked: false,
            },
            Token {
                task: self.tasks.len(),
                key,
                pairs: request.scope.of(ALL),
                expires,
                may_delegate: request.may_delegate,
                generations: if request.may_delegate { MAX_DEPTH } else { 0 },
                narrowed: false,
                from: None,
            },
        );
        true
    }

    /// `task_delegate`: returns whether it succeeds.
    pub(super) fn delegate(&mut self, with: usize, request: &TaskRequest) -> bool {
        let token = self.tokens[with].clone();
        let TaskRequest {
            agent, ttl, key, ..
        } = *request;
        let from = self.tasks[token.task].agent;
        let accepted = agent == from || self.rules.accepts(agent, from);
        let may_delegate = token.may_delegate && token.generations > 0;
        let fits = ttl >= 1 && self.now + ttl <= token.expires;
        if !self.works(with)
            || !accepted
            || !may_delegate
            || !fits
            || request.scope.exceeds(token.pairs)
        {
            return false;
        }
        let must_bind = key.is_none() && (request.must_bind || self.rules.must_prove(agent));
        let expires = self.now + ttl;
        self.add(
            Task {
                parent: Some(token.task),
                agent,
                root_agent: self.tasks[token.task].root_agent,
                expires,
                deadline: must_bind.then_some(self.now + BIND_TIME),
                key,
                revoked: false,
            },
            Token {
                task: self.tasks.len(),
                key,
                pairs: request.scope.of(token.pairs),
                expires,
                may_delegate: request.may_delegate,
                generations: if request.may_delegate {
                    token.generations - 1
                } else {
                    0
                },
                narrowed: false,
                from: Some(with),
            },
        );
        true
    }

    /// A holder appends a caveat, without the broker.
    pub(super) fn append(&mut self, to: usize, caveat: Caveat) {
        let mut token = Token {
            narrowed: true,
            from: Some(to),
            ..self.tokens[to].clone()
        };
        match caveat {
            Caveat::Ssh(pairs) => token.pairs &= pairs,
            Caveat::Targets(targets) => token.pairs &= product(targets, 3),
            Caveat::Roles(roles) => token.pairs &= product(3, roles),
            Caveat::Expires(at) => token.expires = token.expires.min(at),
            Caveat::NoDelegation => token.may_delegate = false,
            Caveat::Generations(most) => {
                token.generations = token.generations.min(usize::from(most));
            }
        }
        self.tokens.push(token);
    }

    /// `task_bind`: returns whether it succeeds.
    pub(super) fn bind(&mut self, with: usize, key: u8) -> bool {
        let token = self.tokens[with].clone();
        let task = &self.tasks[token.task];
        let free = task.key.is_none_or(|own| own == key) && token.key.is_none();
        let late_rule =
            task.key.is_none() && task.deadline.is_none() && self.rules.must_prove(task.agent);
        if !self.is_valid(&token) || !free || late_rule || token.narrowed {
            return false;
        }
        self.tasks[token.task].key = Some(key);
        self.tokens.push(Token {
            key: Some(key),
            from: Some(with),
            ..token
        });
        true
    }

    fn revoke(&mut self, task: usize, seen: bool) -> bool {
        let done = seen && self.is_kept(task);
        self.tasks[task].revoked |= done;
        done
    }

    /// `task_revoke` with a token: returns whether it succeeds.
    pub(super) fn revoke_with(&mut self, with: usize, task: usize) -> bool {
        let below = self.lineage(task).contains(&self.tokens[with].task);
        let may = self.works(with) && below && !self.tokens[with].narrowed;
        self.revoke(task, may)
    }

    /// `task_revoke` by an agent without a token: returns whether it succeeds.
    pub(super) fn revoke_as(&mut self, agent: usize, task: usize) -> bool {
        let seen = self.tasks[task].agent == agent || self.tasks[task].root_agent == agent;
        self.revoke(task, seen)
    }
}

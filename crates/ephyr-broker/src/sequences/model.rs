//! What should happen, in the plainest words: four agents, four pairs of target and role, seconds. It knows
//! nothing of tokens, journals or envelopes and shares no code with what it is compared with.

/// `a` makes roots, `b` may take `a`'s delegations, `c` acts only by those of `a` and `b`, `d` takes none.
pub(super) const AGENTS: [&str; 4] = ["a", "b", "c", "d"];
pub(super) const TARGETS: [&str; 2] = ["web", "db"];
pub(super) const ROLES: [&str; 2] = ["read", "operator"];
const HOUR: i64 = 3600;
const BIND_TIME: i64 = 30;
const GENERATIONS: usize = 5;

/// A set of pairs: bit `2 * target + role`.
pub(super) type Pairs = u8;
pub(super) const ALL: Pairs = 0b1111;

/// The pairs on a set of targets, as which roles.
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

/// What is asked to be kept: pairs, targets, roles.
#[derive(Debug, Clone, Copy)]
pub(super) struct Asked {
    pub(super) ssh: Option<Pairs>,
    pub(super) targets: Option<u8>,
    pub(super) roles: Option<u8>,
}

impl Asked {
    fn of(self, above: Pairs) -> Pairs {
        above
            & self.ssh.unwrap_or(ALL)
            & product(self.targets.unwrap_or(3), self.roles.unwrap_or(3))
    }

    /// Whether it names anything that is of no use above.
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
    made_by_root: usize,
    expires: i64,
    deadline: Option<i64>,
    pub(super) key: Option<u8>,
    revoked: bool,
}

/// What a token is worth: a task's first one, or one that was narrowed or bound since.
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
    /// The token that it was made of.
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

/// A task that is asked for.
#[derive(Debug, Clone, Copy)]
pub(super) struct Wanted {
    pub(super) agent: usize,
    pub(super) asked: Asked,
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
    /// The task and all above it.
    fn line(&self, task: usize) -> Vec<usize> {
        let mut line = vec![task];
        while let Some(above) = self.tasks[line[line.len() - 1]].parent {
            line.push(above);
        }
        line
    }

    pub(super) fn is_revoked(&self, task: usize) -> bool {
        self.line(task)
            .iter()
            .any(|above| self.tasks[*above].revoked)
    }

    /// Whether the broker still keeps it.
    pub(super) fn is_kept(&self, task: usize) -> bool {
        let task = &self.tasks[task];
        let missed = task.key.is_none() && task.deadline.is_some_and(|end| end <= self.now);
        self.now < task.expires && !missed
    }

    /// Whether a token is of any use, if only to be bound.
    fn counts(&self, token: &Token) -> bool {
        self.now < token.expires && self.is_kept(token.task) && !self.is_revoked(token.task)
    }

    /// Whether a token can be used for more than binding.
    pub(super) fn works(&self, token: usize) -> bool {
        let token = &self.tokens[token];
        let task = &self.tasks[token.task];
        self.counts(token)
            && token.key == task.key
            && (task.key.is_some()
                || (task.deadline.is_none() && !self.rules.must_prove(task.agent)))
    }

    /// What a token can be used for at this moment.
    pub(super) fn allows(&self, token: usize) -> Pairs {
        if !self.works(token) {
            return 0;
        }
        let token = &self.tokens[token];
        let line = self.line(token.task);
        // Whoever no longer takes delegations from another does not act on those of before either.
        let taken = |task: &usize| {
            let task = &self.tasks[*task];
            task.parent.is_none_or(|parent| {
                let from = self.tasks[parent].agent;
                from == task.agent || self.rules.accepts(task.agent, from)
            })
        };
        if !line.iter().all(taken) {
            return 0;
        }
        line.iter().fold(token.pairs, |pairs, task| {
            pairs & self.rules.grants[self.tasks[*task].agent]
        })
    }

    /// What the token that it was made of, narrowed or bound, would be allowed if nothing but its own pairs
    /// and today's grants counted.
    pub(super) fn parent_pairs(&self, token: usize) -> Pairs {
        self.tokens[token]
            .from
            .map_or(ALL, |from| self.tokens[from].pairs)
    }

    fn add(&mut self, task: Task, token: Token) {
        self.tasks.push(task);
        self.tokens.push(token);
    }

    /// `task_create`: whether it succeeds.
    pub(super) fn create(&mut self, wanted: &Wanted) -> bool {
        let Wanted {
            agent, ttl, key, ..
        } = *wanted;
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
                made_by_root: agent,
                expires,
                deadline: None,
                key,
                revoked: false,
            },
            Token {
                task: self.tasks.len(),
                key,
                pairs: wanted.asked.of(ALL),
                expires,
                may_delegate: wanted.may_delegate,
                generations: if wanted.may_delegate { GENERATIONS } else { 0 },
                narrowed: false,
                from: None,
            },
        );
        true
    }

    /// `task_delegate`: whether it succeeds.
    pub(super) fn delegate(&mut self, with: usize, wanted: &Wanted) -> bool {
        let token = self.tokens[with].clone();
        let Wanted {
            agent, ttl, key, ..
        } = *wanted;
        let from = self.tasks[token.task].agent;
        let taken = agent == from || self.rules.accepts(agent, from);
        let room = token.may_delegate && token.generations > 0;
        let fits = ttl >= 1 && self.now + ttl <= token.expires;
        if !self.works(with) || !taken || !room || !fits || wanted.asked.exceeds(token.pairs) {
            return false;
        }
        let must_bind = key.is_none() && (wanted.must_bind || self.rules.must_prove(agent));
        let expires = self.now + ttl;
        self.add(
            Task {
                parent: Some(token.task),
                agent,
                made_by_root: self.tasks[token.task].made_by_root,
                expires,
                deadline: must_bind.then_some(self.now + BIND_TIME),
                key,
                revoked: false,
            },
            Token {
                task: self.tasks.len(),
                key,
                pairs: wanted.asked.of(token.pairs),
                expires,
                may_delegate: wanted.may_delegate,
                generations: if wanted.may_delegate {
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

    /// A holder appends a caveat; nobody is asked.
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

    /// `task_bind`: whether it succeeds.
    pub(super) fn bind(&mut self, with: usize, key: u8) -> bool {
        let token = self.tokens[with].clone();
        let task = &self.tasks[token.task];
        let free = task.key.is_none_or(|own| own == key) && token.key.is_none();
        let late_rule =
            task.key.is_none() && task.deadline.is_none() && self.rules.must_prove(task.agent);
        if !self.counts(&token) || !free || late_rule || token.narrowed {
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

    /// `task_revoke` with a token: whether it succeeds.
    pub(super) fn revoke_with(&mut self, with: usize, task: usize) -> bool {
        let below = self.line(task).contains(&self.tokens[with].task);
        let may = self.works(with) && below && !self.tokens[with].narrowed;
        self.revoke(task, may)
    }

    /// `task_revoke` by an agent without one.
    pub(super) fn revoke_as(&mut self, agent: usize, task: usize) -> bool {
        let seen = self.tasks[task].agent == agent || self.tasks[task].made_by_root == agent;
        self.revoke(task, seen)
    }
}

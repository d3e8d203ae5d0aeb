//! Model-based tests: random sequences of steps by agents, holders, operators and the clock, on the real router,
//! state and journal. After each step the broker's responses are compared with [`model`].

mod driver;
mod model;

use proptest::prelude::*;

use driver::Driver;
use model::{Caveat, Pairs, Rules, Scope, TaskRequest};

/// One step. Indexes of tasks and tokens are taken modulo the number of existing ones.
#[derive(Debug, Clone)]
enum Step {
    Create(TaskRequest),
    CreateWithToken(usize),
    Delegate {
        with: usize,
        request: TaskRequest,
        own: bool,
    },
    Append {
        to: usize,
        caveat: Caveat,
    },
    Bind {
        with: usize,
        key: u8,
    },
    RevokeWith {
        with: usize,
        task: usize,
    },
    RevokeAs {
        agent: usize,
        task: usize,
    },
    Reload(Rules),
    Wait(i64),
    Restart,
}

fn pairs() -> impl Strategy<Value = Pairs> {
    0..=model::ALL
}

fn scope() -> impl Strategy<Value = Scope> {
    use proptest::option::weighted;
    (
        weighted(0.4, pairs()),
        weighted(0.2, 0..4_u8),
        weighted(0.2, 0..4_u8),
    )
        .prop_map(|(ssh, targets, roles)| Scope {
            ssh,
            targets,
            roles,
        })
}

fn task_request() -> impl Strategy<Value = TaskRequest> {
    let ttl = prop_oneof![6 => 60..3600_i64, 1 => Just(3601_i64), 1 => Just(0_i64), 2 => 1..60_i64];
    let key = proptest::option::weighted(0.25, 1..4_u8);
    (
        0..4_usize,
        scope(),
        ttl,
        prop::bool::weighted(0.8),
        key,
        prop::bool::weighted(0.3),
    )
        .prop_map(
            |(agent, scope, ttl, may_delegate, key, must_bind)| TaskRequest {
                agent,
                scope,
                ttl,
                may_delegate,
                key,
                must_bind,
            },
        )
}

fn caveat() -> impl Strategy<Value = Caveat> {
    prop_oneof![
        2 => pairs().prop_map(Caveat::Ssh),
        1 => (0..4_u8).prop_map(Caveat::Targets),
        1 => (0..4_u8).prop_map(Caveat::Roles),
        // Seconds from now; the driver converts them to a time.
        1 => (0..900_i64).prop_map(Caveat::Expires),
        1 => Just(Caveat::NoDelegation),
        1 => (0..3_u8).prop_map(Caveat::Generations),
    ]
}

fn rules() -> impl Strategy<Value = Rules> {
    let often_all = || prop_oneof![2 => Just(model::ALL), 3 => pairs()];
    (
        [often_all(), often_all(), often_all(), often_all()],
        prop::bool::weighted(0.8),
        prop::bool::weighted(0.3),
    )
        .prop_map(|(grants, b_accepts_a, b_must_prove)| Rules {
            grants,
            b_accepts_a,
            b_must_prove,
        })
}

fn step() -> impl Strategy<Value = Step> {
    let any = || 0..1000_usize;
    prop_oneof![
        3 => task_request().prop_map(Step::Create),
        1 => any().prop_map(Step::CreateWithToken),
        7 => (any(), task_request(), prop::bool::ANY)
            .prop_map(|(with, request, own)| Step::Delegate { with, request, own }),
        3 => (any(), caveat()).prop_map(|(to, caveat)| Step::Append { to, caveat }),
        3 => (any(), 1..4_u8).prop_map(|(with, key)| Step::Bind { with, key }),
        1 => (any(), any()).prop_map(|(with, task)| Step::RevokeWith { with, task }),
        1 => (0..4_usize, any()).prop_map(|(agent, task)| Step::RevokeAs { agent, task }),
        1 => rules().prop_map(Step::Reload),
        2 => prop_oneof![3 => 1..40_i64, 1 => 40..1500_i64].prop_map(Step::Wait),
        1 => Just(Step::Restart),
    ]
}

fn run(steps: &[Step]) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let mut driver = Driver::new();
        for (n, step) in steps.iter().enumerate() {
            driver.step(step).await;
            driver.check_some(n).await;
        }
        driver.check_all().await;
    });
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 100,
        max_shrink_iters: 400,
        ..ProptestConfig::default()
    })]

    #[test]
    fn tokens_never_allow_more_than_the_model(
        steps in prop::collection::vec(step(), 1..40)
    ) {
        run(&steps);
    }
}

#[test]
fn a_fixed_sequence_allows_exactly_the_expected_pairs() {
    let scope = Scope {
        ssh: None,
        targets: None,
        roles: None,
    };
    let task_request = |agent, key| TaskRequest {
        agent,
        scope,
        ttl: 600,
        may_delegate: true,
        key,
        must_bind: true,
    };
    // The sequence covers most steps, so that a driver that does nothing is noticed.
    let seen = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap()
        .block_on(async {
            let mut driver = Driver::new();
            let steps = [
                Step::Create(task_request(0, None)),
                Step::Delegate {
                    with: 0,
                    request: task_request(1, None),
                    own: false,
                },
                Step::Bind { with: 1, key: 1 },
                Step::Append {
                    to: 2,
                    caveat: Caveat::Roles(1),
                },
                Step::Delegate {
                    with: 3,
                    request: task_request(2, Some(2)),
                    own: false,
                },
                Step::Restart,
                Step::Wait(20),
                Step::RevokeAs { agent: 0, task: 1 },
            ];
            let mut seen = Vec::new();
            for step in &steps {
                driver.step(step).await;
                seen.push(driver.check_all().await);
            }
            seen
        });
    // The pairs that all tokens together allow after each step: four of the root; none of the child before it is bound,
    // then four; two of the narrowed token; two of its child; finally those of the root alone.
    assert_eq!(seen, [4, 4, 8, 10, 12, 12, 12, 4]);
}

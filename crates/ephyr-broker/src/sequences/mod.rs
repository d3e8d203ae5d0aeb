//! Random sequences of what agents, holders, operators and time do to tasks, on the real router, state and
//! journal; after each step the broker's answers are held against [`model`].

mod driver;
mod model;

use proptest::prelude::*;

use driver::Driver;
use model::{Asked, Caveat, Pairs, Rules, Wanted};

/// One step. Tasks and tokens are those that there are, counted round.
#[derive(Debug, Clone)]
enum Step {
    Create(Wanted),
    CreateWithToken(usize),
    Delegate {
        with: usize,
        wanted: Wanted,
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

fn asked() -> impl Strategy<Value = Asked> {
    use proptest::option::weighted;
    (
        weighted(0.4, pairs()),
        weighted(0.2, 0..4_u8),
        weighted(0.2, 0..4_u8),
    )
        .prop_map(|(ssh, targets, roles)| Asked {
            ssh,
            targets,
            roles,
        })
}

fn wanted() -> impl Strategy<Value = Wanted> {
    let ttl = prop_oneof![6 => 60..3600_i64, 1 => Just(3601_i64), 1 => Just(0_i64), 2 => 1..60_i64];
    let key = proptest::option::weighted(0.25, 1..4_u8);
    (
        0..4_usize,
        asked(),
        ttl,
        prop::bool::weighted(0.8),
        key,
        prop::bool::weighted(0.3),
    )
        .prop_map(|(agent, asked, ttl, may_delegate, key, must_bind)| Wanted {
            agent,
            asked,
            ttl,
            may_delegate,
            key,
            must_bind,
        })
}

fn caveat() -> impl Strategy<Value = Caveat> {
    prop_oneof![
        2 => pairs().prop_map(Caveat::Ssh),
        1 => (0..4_u8).prop_map(Caveat::Targets),
        1 => (0..4_u8).prop_map(Caveat::Roles),
        // Seconds from now; the driver makes a time of it.
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
        3 => wanted().prop_map(Step::Create),
        1 => any().prop_map(Step::CreateWithToken),
        7 => (any(), wanted(), prop::bool::ANY)
            .prop_map(|(with, wanted, own)| Step::Delegate { with, wanted, own }),
        3 => (any(), caveat()).prop_map(|(to, caveat)| Step::Append { to, caveat }),
        3 => (any(), 1..4_u8).prop_map(|(with, key)| Step::Bind { with, key }),
        1 => (any(), any()).prop_map(|(with, task)| Step::RevokeWith { with, task }),
        1 => (0..4_usize, any()).prop_map(|(agent, task)| Step::RevokeAs { agent, task }),
        1 => rules().prop_map(Step::Reload),
        2 => prop_oneof![3 => 1..40_i64, 1 => 40..1500_i64].prop_map(Step::Wait),
        1 => Just(Step::Restart),
    ]
}

fn play(steps: &[Step]) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let mut driver = Driver::new();
        for (n, step) in steps.iter().enumerate() {
            driver.step(step).await;
            driver.look(n).await;
        }
        driver.look_at_all().await;
    });
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 100,
        max_shrink_iters: 400,
        ..ProptestConfig::default()
    })]

    #[test]
    fn no_sequence_of_steps_gives_a_token_anything_that_the_model_does_not(
        steps in prop::collection::vec(step(), 1..40)
    ) {
        play(&steps);
    }
}

#[test]
fn the_model_and_the_broker_agree_where_a_token_is_good_and_where_it_is_not() {
    let asked = Asked {
        ssh: None,
        targets: None,
        roles: None,
    };
    let wanted = |agent, key| Wanted {
        agent,
        asked,
        ttl: 600,
        may_delegate: true,
        key,
        must_bind: true,
    };
    // A sequence in which everything happens, so that a driver that does nothing is seen.
    let seen = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap()
        .block_on(async {
            let mut driver = Driver::new();
            let steps = [
                Step::Create(wanted(0, None)),
                Step::Delegate {
                    with: 0,
                    wanted: wanted(1, None),
                    own: false,
                },
                Step::Bind { with: 1, key: 1 },
                Step::Append {
                    to: 2,
                    caveat: Caveat::Roles(1),
                },
                Step::Delegate {
                    with: 3,
                    wanted: wanted(2, Some(2)),
                    own: false,
                },
                Step::Restart,
                Step::Wait(20),
                Step::RevokeAs { agent: 0, task: 1 },
            ];
            let mut seen = Vec::new();
            for step in &steps {
                driver.step(step).await;
                seen.push(driver.look_at_all().await);
            }
            seen
        });
    // How many pairs all tokens together are good for, step by step: the root's four; the child's none
    // before it is bound and four after; two of a narrowed one, and two of its child; and the root's in the end.
    assert_eq!(seen, [4, 4, 8, 10, 12, 12, 12, 4]);
}

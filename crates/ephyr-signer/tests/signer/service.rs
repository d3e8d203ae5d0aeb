//! Tests of the rate limits, with a simulated clock.

use std::time::Duration;

use ephyr_names::{EpochId, Timestamp, Ttl};
use ephyr_policy::Policy;
use ephyr_signer::journal::{Journal, ROTATION_LENGTH};
use ephyr_signer::key::CaKey;
use ephyr_signer::service::{Now, Service};
use ephyr_signer_ipc::{BrokerId, ErrorCode, PublicKeyBytes, Reply, Request, SandboxReport};
use tempfile::TempDir;

use crate::support::{checkpoint, intent, new_key, policy_text};

struct Bench {
    service: Service,
    now: Duration,
    _dir: TempDir,
}

fn policy(limits: &str) -> Policy {
    ephyr_policy::load(policy_text(limits).as_bytes(), "policy.yaml").unwrap()
}

impl Bench {
    fn new(limits: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let now = Duration::from_secs(100_000);
        let (journal, _) =
            Journal::open(&dir.path().join("journal"), at(now).time, ROTATION_LENGTH).unwrap();
        let sandbox = SandboxReport {
            landlock_abi: 0,
            landlock: Vec::new(),
            seccomp: false,
            memory_locked: false,
            non_dumpable: false,
        };
        let ca = CaKey::new(new_key()).unwrap();
        let service = Service::new(ca, policy(limits), journal, sandbox, at(now)).unwrap();
        Self {
            service,
            now,
            _dir: dir,
        }
    }

    fn reload(&mut self, limits: &str) {
        self.service.reload(policy(limits), at(self.now)).unwrap();
    }

    fn pass(&mut self, seconds: u64) {
        self.now += Duration::from_secs(seconds);
    }

    /// Returns the error code of the reply, if it is an error.
    fn ask(&mut self, request: &Request) -> Option<ErrorCode> {
        match self.service.handle(request, at(self.now)).reply {
            Reply::Error { code, .. } => Some(code),
            _ => None,
        }
    }

    fn sign(&mut self, agent: &str) -> Option<ErrorCode> {
        let intent = intent(self.service.policy().hash(), agent, "read");
        self.ask(&Request::Sign { intent })
    }

    fn delegate(&mut self, mint_for: Option<Ttl>) -> Option<ErrorCode> {
        let key = new_key();
        let key = key.public_key().key_data().ed25519().unwrap().0;
        self.ask(&Request::Delegate {
            epoch: EpochId::from_bits(1),
            public_key: PublicKeyBytes(key),
            broker_id: BrokerId::new("b").unwrap(),
            mint_for,
        })
    }
}

fn at(now: Duration) -> Now {
    Now {
        time: Timestamp::from_unix_seconds(1_795_500_000 + now.as_secs().cast_signed()),
        monotonic: now,
    }
}

const LIMITED: Option<ErrorCode> = Some(ErrorCode::RateLimited);

#[test]
fn delegations_count_toward_the_global_limit() {
    let mut bench = Bench::new("rate_limit: 3/1m, global_rate_limit: 3/1m");
    for _ in 0..2 {
        assert_eq!(bench.delegate(None), None);
    }
    assert_eq!(bench.sign("lead"), None);
    assert_eq!(bench.delegate(None), LIMITED);
    assert_eq!(bench.sign("lead"), LIMITED);
    bench.pass(62);
    assert_eq!(bench.delegate(None), None);
}

#[test]
fn delegation_ttl_of_the_policy_is_enforced() {
    let mut bench = Bench::new("delegation_ttl: 10m");
    let minutes = |count: u64| Some(Ttl::from_secs(60 * count));
    assert_eq!(bench.delegate(minutes(10)), None);
    assert_eq!(bench.delegate(None), None);
    assert_eq!(bench.delegate(minutes(11)), Some(ErrorCode::TtlTooLong));
}

#[test]
fn checkpoints_have_their_own_limit() {
    let mut bench = Bench::new("rate_limit: 9/1m, global_rate_limit: 9/1m");
    let mut head = 0;
    let mut next = |bench: &mut Bench| {
        let answer = bench.ask(&checkpoint(9, head, &[[1; 32]]));
        head += u64::from(answer.is_none());
        answer
    };
    for _ in 0..1200 {
        assert_eq!(next(&mut bench), None);
    }
    assert_eq!(next(&mut bench), LIMITED);
    assert_eq!(
        bench.sign("lead"),
        None,
        "certificates are not limited by it"
    );
    bench.pass(62);
    assert_eq!(next(&mut bench), None);
}

#[test]
fn unknown_agents_have_no_limit_of_their_own() {
    let mut bench = Bench::new("rate_limit: 1/1m, global_rate_limit: 4/1m");
    for _ in 0..3 {
        assert_eq!(bench.sign("nobody"), Some(ErrorCode::NotGranted));
    }
    assert_eq!(bench.sign("lead"), None);
    assert_eq!(
        bench.sign("nobody"),
        LIMITED,
        "they count toward the global limit"
    );
}

#[test]
fn reload_keeps_the_counts_of_unchanged_limits() {
    let mut bench = Bench::new("rate_limit: 2/1m, global_rate_limit: 20/1m");
    for _ in 0..2 {
        assert_eq!(bench.sign("lead"), None);
    }
    bench.reload("rate_limit: 2/1m, global_rate_limit: 20/1m, delegation_ttl: 10m");
    assert_eq!(
        bench.sign("lead"),
        LIMITED,
        "a reload does not reset the count"
    );
    bench.reload("rate_limit: 3/1m, global_rate_limit: 20/1m");
    for _ in 0..3 {
        assert_eq!(bench.sign("lead"), None);
    }
    assert_eq!(bench.sign("lead"), LIMITED);
    assert_eq!(bench.sign("helper"), None);
    bench.reload("rate_limit: 3/1m, global_rate_limit: 3/1m");
    assert_eq!(bench.sign("lead"), LIMITED, "the agent's count is kept");
    for _ in 0..3 {
        assert_eq!(bench.delegate(None), None);
    }
    assert_eq!(bench.delegate(None), LIMITED, "the global count was reset");
}

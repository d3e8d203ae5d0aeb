//! `/v1`: plain JSON over HTTP on the Unix socket. `GET /v1/targets` and `GET /v1/certs` answer with
//! [`TargetList`](crate::TargetList) and [`CertificateList`](crate::CertificateList).

mod health;
mod problem;
mod request;
mod session;
mod whoami;

pub use health::{AuditHealth, BrokerSandbox, Health, HealthDetails, SignerHealth, SignerSandbox};
pub use problem::ApiProblem;
pub use request::{CertificateRequest, GrantedCertificate, RequestPreview};
pub use session::{OpenSession, Session};
pub use whoami::WhoAmI;

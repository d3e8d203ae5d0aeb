//! Listeners and connections: how many there may be, how long each may take, how large a body may be.
//! What a request means is the router's business.

use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::EXPECT;
use http::request::Parts;
use http::{HeaderValue, Response};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::body::{Body as _, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::sync::{oneshot, watch};
use tokio::task::{AbortHandle, JoinSet};
use tokio_util::either::Either;

use super::activity::{Activity, Watched};
use super::workers::Workers;

/// Connections of one listener at once.
const MAX_CONNECTIONS: usize = 1024;
/// Connections of one user over the Unix socket at once.
const MAX_PER_UID: usize = 256;
/// How often connections are looked at for having been still too long.
const LOOK: Duration = Duration::from_secs(5);
/// A request's body must be whole within this time.
const BODY_TIMEOUT: Duration = Duration::from_secs(15);
/// Greatest request body, in bytes.
const MAX_BODY: usize = 1 << 20;
/// Bounds, in bytes and time, for draining a body after its request was refused: a client that is still sending
/// reads the answer only if the connection is not reset.
const MAX_REST: usize = 16 << 20;
const REST_TIMEOUT: Duration = Duration::from_secs(2);
/// Buffer of a connection: the greatest request head.
const MAX_HEAD: usize = 32 * 1024;

/// Who is at the other end, as the kernel tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Peer {
    /// A process of this user, over the Unix socket.
    Uid(u32),
    /// Anyone at this address.
    Ip(IpAddr),
}

/// Why a request's body was not read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BodyError {
    /// Longer than [`MAX_BODY`].
    TooLarge,
    /// Not whole within [`BODY_TIMEOUT`].
    TooSlow,
    /// The connection broke.
    Broken,
}

/// Reads a body. If the declared length is over the limit, refuses it before reading and before sending `100
/// Continue`.
async fn read_body(body: &mut Incoming) -> Result<Bytes, BodyError> {
    if body.size_hint().lower() > MAX_BODY as u64 {
        return Err(BodyError::TooLarge);
    }
    let collected = tokio::time::timeout(BODY_TIMEOUT, Limited::new(body, MAX_BODY).collect());
    match collected.await {
        Err(_) => Err(BodyError::TooSlow),
        Ok(Ok(collected)) => Ok(collected.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(BodyError::TooLarge),
        Ok(Err(_)) => Err(BodyError::Broken),
    }
}

/// Drains the rest of a refused request's body. A client that waits for `100 Continue` sends none, and reading
/// would send it the `100`.
fn drain(head: &Parts, mut body: Incoming) {
    if body.is_end_stream() || head.headers.contains_key(EXPECT) {
        return;
    }
    tokio::spawn(async move {
        let rest = async {
            let mut taken = 0;
            while let Some(Ok(frame)) = body.frame().await {
                taken += frame.data_ref().map_or(0, Bytes::len);
                if taken > MAX_REST {
                    return;
                }
            }
        };
        // Whichever limit is reached first, dropping an unread body closes the connection.
        let _ = tokio::time::timeout(REST_TIMEOUT, rest).await;
    });
}

/// Answers requests, in two steps: nobody's body is read before the head has said who it is.
pub trait Service: Send + Sync + 'static {
    /// The body of its responses.
    type Body: hyper::body::Body<Data = Bytes, Error = Infallible> + Send + Unpin + 'static;
    /// What the head alone has shown.
    type Admitted: Send;

    /// Looks at a request's head.
    ///
    /// # Errors
    /// The response to a request that goes no further.
    fn admit(
        self: Arc<Self>,
        peer: Peer,
        head: &Parts,
    ) -> impl Future<Output = Result<Self::Admitted, Response<Self::Body>>> + Send;

    /// The response to an admitted request whose body did not come.
    fn no_body(&self, head: &Parts, error: BodyError) -> Response<Self::Body>;

    /// Returns the request's web origin, if its pages may call.
    fn allowed_origin(&self, head: &Parts) -> Option<HeaderValue>;

    /// Adds the headers that let pages of the request's origin read the response.
    fn expose(&self, origin: Option<HeaderValue>, response: &mut Response<Self::Body>);

    /// Answers an admitted request.
    fn answer(
        self: Arc<Self>,
        admitted: Self::Admitted,
        head: Parts,
        body: Bytes,
    ) -> impl Future<Output = Response<Self::Body>> + Send;
}

/// Where connections come from.
pub enum Listener {
    /// A Unix socket.
    Unix(UnixListener),
    /// A TCP socket.
    Tcp(TcpListener),
}

/// A connection of either kind.
type Stream = Either<UnixStream, TcpStream>;

/// A connection that was accepted and belongs to no runtime yet.
enum Accepted {
    Unix(std::os::unix::net::UnixStream),
    Tcp(std::net::TcpStream),
}

impl Accepted {
    /// Makes it one of the runtime that this is called in.
    fn settle(self) -> io::Result<Stream> {
        Ok(match self {
            Self::Unix(stream) => Stream::Left(UnixStream::from_std(stream)?),
            Self::Tcp(stream) => Stream::Right(TcpStream::from_std(stream)?),
        })
    }
}

impl Listener {
    async fn accept(&self) -> io::Result<(Accepted, Peer)> {
        match self {
            Self::Unix(listener) => {
                let (stream, _) = listener.accept().await?;
                let uid = stream.peer_cred()?.uid();
                Ok((Accepted::Unix(stream.into_std()?), Peer::Uid(uid)))
            }
            Self::Tcp(listener) => {
                let (stream, address) = listener.accept().await?;
                stream.set_nodelay(true)?;
                Ok((Accepted::Tcp(stream.into_std()?), Peer::Ip(address.ip())))
            }
        }
    }
}

/// Serves a listener's connections on `workers` until `stop` says so, then lets running requests end within
/// `grace`.
pub async fn serve<S: Service>(
    listener: Listener,
    service: Arc<S>,
    workers: Arc<Workers>,
    mut stop: watch::Receiver<bool>,
    grace: Duration,
) {
    let mut connections = JoinSet::new();
    let mut crowd = Crowd::default();
    let mut look = tokio::time::interval(LOOK);
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = stop.wait_for(|stop| *stop) => break,
            Some(_) = connections.join_next() => continue,
            _ = look.tick() => {
                crowd.close_stale();
                continue;
            }
        };
        match accepted {
            Ok((stream, peer)) if crowd.make_room(peer) => {
                let (activity, (leave, leaving)) = (Activity::new(), oneshot::channel());
                let task = connection(
                    stream,
                    peer,
                    Arc::clone(&activity),
                    Arc::clone(&service),
                    leaving,
                );
                let handle = connections.spawn_on(task, workers.next());
                crowd.members.push(Member {
                    peer,
                    activity,
                    handle,
                    leave,
                });
            }
            // Everyone here is being served; the newcomer is the one who can try again.
            Ok(_) => {}
            // Out of descriptors or a peer already gone: let others end, then go on.
            Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
        }
    }
    drop(listener);
    crowd.leave();
    let rest = async { while connections.join_next().await.is_some() {} };
    let _ = tokio::time::timeout(grace, rest).await;
}

/// The connections of a listener, oldest first.
#[derive(Default)]
struct Crowd {
    members: Vec<Member>,
}

struct Member {
    peer: Peer,
    activity: Arc<Activity>,
    handle: AbortHandle,
    leave: oneshot::Sender<()>,
}

impl Crowd {
    /// Closes what has been still for too long and forgets what has ended.
    fn close_stale(&mut self) {
        self.members.retain(|member| {
            if member.activity.is_stale() {
                member.handle.abort();
            }
            !member.handle.is_finished() && !member.activity.is_stale()
        });
    }

    /// Makes room for one more connection of `peer`: where there is none, the oldest idle one of that
    /// user, or of everyone, is closed. Says whether there is room.
    fn make_room(&mut self, peer: Peer) -> bool {
        if self.members.len() >= MAX_CONNECTIONS / 2 {
            self.members.retain(|member| !member.handle.is_finished());
        }
        let own = |member: &Member| matches!(peer, Peer::Uid(_)) && member.peer == peer;
        let crowded = self.members.iter().filter(|member| own(member)).count() >= MAX_PER_UID;
        if !crowded && self.members.len() < MAX_CONNECTIONS {
            return true;
        }
        let idle = |member: &Member| !member.activity.is_busy() && (!crowded || own(member));
        let Some(at) = self.members.iter().position(idle) else {
            return false;
        };
        self.members.remove(at).handle.abort();
        true
    }

    /// Asks every connection to end after the request that it is at.
    fn leave(self) {
        for member in self.members {
            // A connection that has ended has nobody to tell.
            let _ = member.leave.send(());
        }
    }
}

async fn connection<S: Service>(
    stream: Accepted,
    peer: Peer,
    activity: Arc<Activity>,
    service: Arc<S>,
    leaving: oneshot::Receiver<()>,
) {
    // It fails where the process is out of descriptors; the peer sees the connection end.
    let Ok(stream) = stream.settle() else { return };
    let answer = service_fn(move |request| {
        let (service, activity) = (Arc::clone(&service), Arc::clone(&activity));
        async move { Ok::<_, Infallible>(answer(service, peer, &activity, request).await) }
    });
    let connection = http1::Builder::new()
        .max_buf_size(MAX_HEAD)
        .serve_connection(TokioIo::new(stream), answer);
    let mut connection = std::pin::pin!(connection);
    // A broken connection is the peer's affair: what it asked for is recorded where it was decided.
    tokio::select! {
        biased;
        _ = connection.as_mut() => return,
        _ = leaving => connection.as_mut().graceful_shutdown(),
    }
    let _ = connection.await;
}

async fn answer<S: Service>(
    service: Arc<S>,
    peer: Peer,
    activity: &Arc<Activity>,
    request: http::Request<Incoming>,
) -> Response<Watched<S::Body>> {
    let (head, body) = request.into_parts();
    let origin = service.allowed_origin(&head);
    let (mut response, answering) = match admit_and_read(&service, peer, &head, body).await {
        Ok((admitted, body)) => {
            let answering = activity.answering();
            let response = Arc::clone(&service).answer(admitted, head, body).await;
            (response, Some(answering))
        }
        Err(response) => (response, None),
    };
    service.expose(origin, &mut response);
    response.map(|body| Watched::new(body, answering))
}

/// Processes a request up to its body, or returns the response if it ends earlier.
async fn admit_and_read<S: Service>(
    service: &Arc<S>,
    peer: Peer,
    head: &Parts,
    mut body: Incoming,
) -> Result<(S::Admitted, Bytes), Response<S::Body>> {
    let admitted = match Arc::clone(service).admit(peer, head).await {
        Ok(admitted) => admitted,
        Err(response) => {
            drain(head, body);
            return Err(response);
        }
    };
    match read_body(&mut body).await {
        Ok(body) => Ok((admitted, body)),
        Err(error) => {
            if error == BodyError::TooLarge {
                drain(head, body);
            }
            Err(service.no_body(head, error))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HERE: Peer = Peer::Ip(IpAddr::V4(std::net::Ipv4Addr::LOCALHOST));

    impl Crowd {
        /// Takes connections in that last until they are closed.
        fn enter(&mut self, peer: Peer, count: usize) {
            for _ in 0..count {
                let task = tokio::spawn(std::future::pending::<()>());
                self.members.push(Member {
                    peer,
                    activity: Activity::new(),
                    handle: task.abort_handle(),
                    leave: oneshot::channel().0,
                });
            }
        }

        fn of(&self, peer: Peer) -> usize {
            let own = self.members.iter().filter(|member| member.peer == peer);
            own.count()
        }
    }

    fn answer_all(crowd: &Crowd) -> Vec<crate::http::activity::Answering> {
        let members = crowd.members.iter();
        members.map(|member| member.activity.answering()).collect()
    }

    #[tokio::test]
    async fn a_user_with_all_its_connections_loses_its_own_oldest_and_nobody_elses() {
        let (one, other) = (Peer::Uid(1), Peer::Uid(2));
        let mut crowd = Crowd::default();
        crowd.enter(other, 1);
        crowd.enter(one, MAX_PER_UID - 1);
        assert!(crowd.make_room(one));
        assert_eq!(crowd.of(one), MAX_PER_UID - 1, "there was room");
        crowd.enter(one, 1);
        let oldest = crowd.members[1].handle.clone();
        assert!(crowd.make_room(one));
        assert_eq!((crowd.of(one), crowd.of(other)), (MAX_PER_UID - 1, 1));
        tokio::task::yield_now().await;
        assert!(oldest.is_finished(), "it is closed");
        crowd.enter(one, 1);
        let busy = answer_all(&crowd);
        assert!(!crowd.make_room(one), "all of them are being served");
        assert!(crowd.make_room(other));
        assert_eq!((crowd.of(one), crowd.of(other)), (MAX_PER_UID, 1));
        drop(busy);
        assert!(crowd.make_room(one));
    }

    #[tokio::test]
    async fn a_listener_with_all_its_connections_closes_the_oldest_idle_one() {
        let mut crowd = Crowd::default();
        crowd.enter(HERE, MAX_CONNECTIONS - 1);
        assert!(crowd.make_room(HERE));
        assert_eq!(crowd.of(HERE), MAX_CONNECTIONS - 1, "there was room");
        crowd.enter(HERE, 1);
        let busy = crowd.members[0].activity.answering();
        let idle = crowd.members[1].handle.clone();
        assert!(crowd.make_room(HERE));
        assert_eq!(crowd.of(HERE), MAX_CONNECTIONS - 1);
        tokio::task::yield_now().await;
        assert!(idle.is_finished() && !crowd.members[0].handle.is_finished());
        crowd.enter(HERE, 1);
        let all = answer_all(&crowd);
        assert!(!crowd.make_room(HERE), "the newcomer can try again");
        assert_eq!(crowd.of(HERE), MAX_CONNECTIONS);
        drop((busy, all));
    }
}

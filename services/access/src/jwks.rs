//! Keys from a JWKS URL (RFC 7517, section 5), as identity providers publish them.
//!
//! **Owns** the keys fetched last. **Inputs**: the clock, and tokens that name keys that are not known. **Effects**: one
//! fetch at a time, never more often than [`LEAST`], within a deadline and a size. **Invariant**: nobody who is
//! authenticated waits for the network here. **On failure** the keys of before count, up to [`STALE`]; then none do.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    time::Duration,
};

use bytes::Bytes;
use http_body_util::{BodyExt, Empty, Limited};
use hyper::{
    Request, StatusCode, Uri,
    client::conn::http1,
    header::{ACCEPT, HOST},
};
use hyper_util::rt::TokioIo;
use rustls_pki_types::ServerName;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    sync::{Notify, watch},
    time::{Instant, sleep_until, timeout},
};
use tokio_rustls::{
    TlsConnector,
    rustls::{ClientConfig, RootCertStore},
};

use crate::key::{Key, KeyError};

/// Between two fetches, when nobody asks for one.
const USUAL: Duration = Duration::from_secs(300);

/// Between two fetches at least, whatever tokens ask for.
pub const LEAST: Duration = Duration::from_secs(10);

/// For how long keys count that could not be fetched again: long enough for a provider's bad day.
pub const STALE: Duration = Duration::from_secs(86_400);

/// For one fetch, from the connection to the last byte.
const DEADLINE: Duration = Duration::from_secs(5);

/// Bytes of a set.
const BYTES: usize = 256 << 10;

/// Why keys are not fetched.
#[derive(Debug, thiserror::Error)]
pub enum JwksError {
    /// The URL cannot be used.
    #[error("a JWKS URL is https, or http on this machine: {0}")]
    Url(String),
    /// The system has no certificates to judge servers by.
    #[error("the system's root certificates cannot be read: {0}")]
    Roots(String),
    /// No connection.
    #[error(transparent)]
    Io(#[from] std::io::Error),
    /// No answer.
    #[error(transparent)]
    Http(#[from] hyper::Error),
    /// Another answer than it should be.
    #[error("the answer {0}")]
    Answer(String),
    /// No keys in it.
    #[error(transparent)]
    Keys(#[from] KeyError),
    /// Not in time.
    #[error("not within {DEADLINE:?}")]
    Late,
}

#[derive(Default)]
struct State {
    keys: Option<(Arc<Vec<Key>>, Instant)>,
    /// When a fetch began last.
    tried: Option<Instant>,
}

/// See the [module](self).
pub struct Jwks {
    url: Uri,
    host: String,
    tls: Option<TlsConnector>,
    state: Mutex<State>,
    wanted: Notify,
    fetches: watch::Sender<u64>,
}

/// What is known of a key.
pub(crate) enum Found {
    /// These keys are worth trying.
    Keys(Arc<Vec<Key>>),
    /// It may come with a fetch that is about to begin, or under way.
    Soon,
}

impl Jwks {
    /// Keys at this URL; nothing is fetched yet.
    ///
    /// # Errors
    /// When the URL cannot be used.
    pub fn new(url: &str) -> Result<Self, JwksError> {
        let wrong = || JwksError::Url(url.to_owned());
        let parsed: Uri = url.parse().map_err(|_| wrong())?;
        let host = parsed.host().ok_or_else(wrong)?.trim_matches(['[', ']']).to_owned();
        let near = matches!(host.as_str(), "localhost" | "127.0.0.1" | "::1");
        let tls = match parsed.scheme_str() {
            Some("https") => Some(connector()?),
            Some("http") if near => None,
            _ => return Err(wrong()),
        };
        Ok(Self {
            url: parsed,
            host,
            tls,
            state: Mutex::default(),
            wanted: Notify::new(),
            fetches: watch::Sender::new(0),
        })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Where to look for a key of this name.
    pub(crate) fn find(&self, name: Option<&str>) -> Found {
        let now = Instant::now();
        let state = self.state();
        let fresh = state.keys.as_ref().filter(|(_, at)| now - *at < STALE);
        let may_fetch = state.tried.is_none_or(|tried| now - tried >= LEAST);
        match fresh {
            Some((keys, _)) if name.is_none_or(|name| keys.iter().any(|key| key.id() == Some(name))) || !may_fetch => {
                Found::Keys(keys.clone())
            }
            _ => {
                self.wanted.notify_one();
                Found::Soon
            }
        }
    }

    /// Waits until a fetch has ended.
    pub(crate) async fn fetched(&self) {
        let mut fetches = self.fetches.subscribe();
        let _ = fetches.changed().await;
    }

    /// Fetches now, and again when it is time, for as long as somebody holds the keys.
    pub async fn follow(this: Weak<Self>) {
        loop {
            let (usual, least) = {
                let Some(this) = this.upgrade() else { return };
                let began = Instant::now();
                this.state().tried = Some(began);
                match timeout(DEADLINE, this.fetch()).await.unwrap_or(Err(JwksError::Late)) {
                    Ok(keys) => this.state().keys = Some((Arc::new(keys), Instant::now())),
                    Err(error) => tracing::warn!(url = %this.url, %error, "the keys for tokens were not fetched"),
                }
                this.fetches.send_modify(|count| *count += 1);
                (began + USUAL, began + LEAST)
            };
            sleep_until(least).await;
            let Some(held) = this.upgrade() else { return };
            tokio::select! {
                () = held.wanted.notified() => {}
                () = sleep_until(usual) => {}
            }
        }
    }

    async fn fetch(&self) -> Result<Vec<Key>, JwksError> {
        let port = self.url.port_u16().unwrap_or(if self.tls.is_some() { 443 } else { 80 });
        let stream = TcpStream::connect((self.host.as_str(), port)).await?;
        let body = match &self.tls {
            None => self.exchange(stream).await?,
            Some(tls) => {
                let name = ServerName::try_from(self.host.clone()).map_err(|_| JwksError::Url(self.host.clone()))?;
                self.exchange(tls.connect(name, stream).await?).await?
            }
        };
        Ok(Key::from_jwks(&body)?)
    }

    async fn exchange(&self, stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static) -> Result<Bytes, JwksError> {
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        let path = self.url.path_and_query().map_or("/", |path| path.as_str());
        let authority = self
            .url
            .authority()
            .map_or(self.host.as_str(), |authority| authority.as_str());
        let request = Request::get(path)
            .header(HOST, authority)
            .header(ACCEPT, "application/json")
            .body(Empty::<Bytes>::new())
            .map_err(|error| JwksError::Url(error.to_string()))?;
        let answer = async {
            let response = sender.send_request(request).await?;
            if response.status() != StatusCode::OK {
                // Redirects are not followed: the URL is the one that an operator trusts.
                return Err(JwksError::Answer(format!("has status {}", response.status())));
            }
            let body = Limited::new(response.into_body(), BYTES).collect().await;
            Ok(body.map_err(|error| JwksError::Answer(error.to_string()))?.to_bytes())
        };
        tokio::pin!(answer, connection);
        tokio::select! {
            biased;
            answer = &mut answer => answer,
            ended = &mut connection => match ended {
                // What was read before the connection ended is still there.
                Ok(()) => answer.await,
                Err(error) => Err(error.into()),
            },
        }
    }
}

fn connector() -> Result<TlsConnector, JwksError> {
    let mut roots = RootCertStore::empty();
    let found = rustls_native_certs::load_native_certs();
    let (added, _) = roots.add_parsable_certificates(found.certs);
    if added == 0 {
        let why: Vec<_> = found.errors.iter().map(ToString::to_string).collect();
        return Err(JwksError::Roots(why.join("; ")));
    }
    let config = ClientConfig::builder()
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(TlsConnector::from(Arc::new(config)))
}

#[cfg(test)]
mod tests {
    use rcgen::{KeyPair, PKCS_ED25519, PublicKeyData};
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::TcpListener,
    };

    use super::*;
    use crate::base64url;

    fn set(name: &str) -> String {
        let pair = KeyPair::generate_for(&PKCS_ED25519).unwrap();
        let x = base64url::encode(pair.der_bytes());
        format!(r#"{{"keys":[{{"kty":"OKP","crv":"Ed25519","kid":"{name}","x":"{x}"}}]}}"#)
    }

    fn answer(body: &str) -> String {
        format!(
            "HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
            body.len()
        )
    }

    /// Gives these answers, one to each connection.
    async fn provider(answers: Vec<String>) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/keys", listener.local_addr().unwrap());
        tokio::spawn(async move {
            for answer in answers {
                let (mut stream, _) = listener.accept().await.unwrap();
                let mut request = [0; 4096];
                let read = stream.read(&mut request).await.unwrap();
                assert!(request[..read].starts_with(b"GET /keys HTTP/1.1\r\n"));
                stream.write_all(answer.as_bytes()).await.unwrap();
            }
        });
        url
    }

    #[tokio::test]
    async fn keys_are_fetched_and_what_is_no_set_is_refused() {
        let large = format!("{{\"keys\":[],\"x\":\"{}\"}}", "a".repeat(BYTES));
        let bad = [
            answer("{}"),
            answer("not json"),
            answer(&large),
            "HTTP/1.1 302 Found\r\nLocation: http://x/\r\nContent-Length: 0\r\n\r\n".to_owned(),
            "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{}".to_owned(),
            "nonsense".to_owned(),
        ];
        let count = bad.len();
        let url = provider(bad.into_iter().chain([answer(&set("a"))]).collect()).await;
        let jwks = Jwks::new(&url).unwrap();
        for n in 0..count {
            assert!(jwks.fetch().await.is_err(), "{n}");
        }
        assert_eq!(jwks.fetch().await.unwrap()[0].id(), Some("a"));
        assert!(jwks.fetch().await.is_err(), "nobody listens any more");
    }

    #[tokio::test]
    async fn a_key_that_is_not_known_is_fetched_but_not_all_the_time() {
        let url = provider(vec![answer(&set("old")), answer(&set("new"))]).await;
        let jwks = Arc::new(Jwks::new(&url).unwrap());
        assert!(matches!(jwks.find(Some("old")), Found::Soon), "nothing was fetched yet");
        let task = tokio::spawn(Jwks::follow(Arc::downgrade(&jwks)));
        while jwks.state().keys.is_none() {
            tokio::task::yield_now().await;
        }
        assert!(matches!(jwks.find(Some("old")), Found::Keys(_)));
        // Just fetched: a name that nobody knows starts nothing.
        assert!(matches!(jwks.find(Some("new")), Found::Keys(keys) if keys[0].id() == Some("old")));
        jwks.state().tried = Some(Instant::now() - LEAST);
        assert!(matches!(jwks.find(Some("new")), Found::Soon));
        task.abort();
        let keys = jwks.fetch().await.unwrap();
        jwks.state().keys = Some((Arc::new(keys), Instant::now() - STALE));
        assert!(
            matches!(jwks.find(Some("new")), Found::Soon),
            "keys that are too old are none"
        );
    }

    #[test]
    fn only_this_machine_is_asked_without_encryption() {
        for url in [
            "http://example.org/keys",
            "ftp://localhost/",
            "localhost",
            "",
            "http://localhost.evil/",
        ] {
            assert!(matches!(Jwks::new(url), Err(JwksError::Url(_))), "{url}");
        }
        assert!(Jwks::new("http://127.0.0.1:1/keys").is_ok());
    }
}

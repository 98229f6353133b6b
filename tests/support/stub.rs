//! A service of a few lines: a function from request to answer, and a log of the requests.
//!
//! It stands in for an askpass service and for GitHub's API.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Bytes;
use axum::http::{HeaderMap, Method, Uri};
use axum::response::Response;

/// One request.
#[derive(Clone, Debug)]
pub struct Asked {
    pub method: String,
    pub target: String,
    pub headers: HeaderMap,
}

impl Asked {
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }
}

/// A running service; it ends with the runtime of the test.
pub struct Stub {
    pub address: SocketAddr,
    asked: Arc<Mutex<Vec<Asked>>>,
}

impl Stub {
    pub async fn start<F, A>(answer: F) -> Self
    where
        F: Fn(Asked) -> A + Clone + Send + Sync + 'static,
        A: Future<Output = Response> + Send + 'static,
    {
        let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let asked = Arc::<Mutex<Vec<Asked>>>::default();
        let log = Arc::clone(&asked);
        let router = Router::new().fallback(move |method: Method, uri: Uri, headers: HeaderMap, _: Bytes| {
            let request = Asked { method: method.to_string(), target: uri.to_string(), headers };
            log.lock().unwrap().push(request.clone());
            answer(request)
        });
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self { address, asked }
    }

    pub fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap().clone()
    }
}

/// A plain answer.
pub fn answer(status: u16, body: impl Into<axum::body::Body>) -> Response {
    Response::builder().status(status).body(body.into()).unwrap()
}

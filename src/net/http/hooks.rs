//! What reqwest is given so that it tells of each step: a resolver, and a layer around its connector.

use std::{
    future::Future,
    net::SocketAddr,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll},
};

use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use tower_layer::Layer;
use tower_service::Service;

use crate::{
    check::Phase,
    net::{Resolver, exchange::Exchange},
};

/// Tells the exchange how long it takes to resolve its name, and gives reqwest one address.
pub(super) struct MeasuredResolver(pub Arc<Resolver>);

impl Resolve for MeasuredResolver {
    fn resolve(&self, name: Name) -> Resolving {
        let resolver = self.0.clone();
        Box::pin(async move {
            let exchange = Exchange::shared().ok_or("a lookup for no request")?;
            match exchange.resolve(&resolver, name.as_str()).await {
                // reqwest puts the URL's port in place of 0.
                Ok(address) => Ok(Box::new(std::iter::once(SocketAddr::new(address, 0))) as Addrs),
                Err(failure) => {
                    let error = failure.error.clone();
                    exchange.note(failure);
                    Err(error.into())
                }
            }
        })
    }
}

/// Tells the exchange when its connection stands, TLS included.
#[derive(Clone)]
pub(super) struct MeasuredConnect;

/// reqwest clones its connector, box by box, some six times for a request: so what is in there is shared.
/// It is ready at any time, and only makes the future while it is locked.
#[derive(Clone)]
pub(super) struct MeasuredConnectService<S>(Arc<Mutex<S>>);

impl<S> MeasuredConnectService<S> {
    fn connector(&self) -> MutexGuard<'_, S> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<S> Layer<S> for MeasuredConnect {
    type Service = MeasuredConnectService<S>;

    fn layer(&self, inner: S) -> Self::Service {
        MeasuredConnectService(Arc::new(Mutex::new(inner)))
    }
}

impl<S, R> Service<R> for MeasuredConnectService<S>
where
    S: Service<R>,
    S::Future: Send + 'static,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<S::Response, S::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.connector().poll_ready(context)
    }

    fn call(&mut self, request: R) -> Self::Future {
        let connect = self.connector().call(request);
        Box::pin(async move {
            let connection = connect.await;
            if connection.is_ok() {
                Exchange::current(|exchange| exchange.attempt.enter(Phase::Processing));
            }
            connection
        })
    }
}

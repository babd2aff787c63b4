//! The interface between the versions of HTTP and the code that answers requests.

use std::rc::Rc;

use http::StatusCode;

use crate::context::Context;
use crate::http::{Request, Response};
use crate::respond::websocket::WebSockets;
use crate::respond::{app, health};
use crate::upstream::Upstream;

/// Answers requests.
pub(crate) trait Handler {
    /// Answers this request. If the future or the response is dropped before its end, the request is cancelled.
    fn handle(&self, request: Request) -> impl Future<Output = Response>;

    /// To be called whenever a connection makes progress.
    fn step(&self) {}
}

/// A site: an application, and the responses of the front itself.
#[derive(Debug)]
pub(crate) struct Site {
    pub(crate) context: Rc<Context>,
    pub(crate) upstream: Rc<Upstream>,
    pub(crate) websockets: WebSockets,
}

impl Handler for Site {
    fn step(&self) {
        self.upstream.step();
    }

    async fn handle(&self, request: Request) -> Response {
        if request.head.target().path == b"*" {
            // OPTIONS for the server as a whole (RFC 9110 section 9.3.7): not the application's, as with Apache and mod_wsgi.
            return Response::text(StatusCode::OK, String::new(), &[]);
        }
        if let Some(health) = &self.context.settings.health
            && let Some(asked) = health.asked(request.head.target().path)
        {
            let is_stopping = self.context.closing.get();
            return health::respond(request.head.method(), asked, is_stopping, || {
                self.upstream.scoreboard()
            });
        }
        if request.head.asks_for_websocket() {
            return self.websockets.refuse(&request.head).response();
        }
        app::respond(&self.upstream, request)
            .await
            .unwrap_or_else(|error| error.response())
    }
}

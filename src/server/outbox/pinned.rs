//! Names are resolved once, and only allowed addresses are contacted.

use std::fmt;

use ureq::config::Config;
use ureq::http::Uri;
use ureq::unversioned::resolver::{ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::NextTimeout;

use keystile_model::reach::Reach;

/// A name resolves to an address that may not be contacted.
#[derive(Debug)]
pub struct Closed;

impl fmt::Display for Closed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("its address is not public, and no `--webhook-allow` names its network")
    }
}

impl std::error::Error for Closed {}

/// Resolves a name once, and gives the connection only those addresses.
#[derive(Debug)]
pub struct Pinned<R> {
    reach: Reach,
    resolver: R,
}

impl<R> Pinned<R> {
    /// Over a resolver.
    pub fn new(reach: Reach, resolver: R) -> Self {
        Self { reach, resolver }
    }
}

impl<R: Resolver> Resolver for Pinned<R> {
    fn resolve(
        &self,
        uri: &Uri,
        config: &Config,
        timeout: NextTimeout,
    ) -> Result<ResolvedSocketAddrs, ureq::Error> {
        let found = self.resolver.resolve(uri, config, timeout)?;
        // One disallowed address disallows all of them: the operator does not choose which of them
        // answers.
        if found.iter().all(|a| self.reach.admits(a.ip())) {
            Ok(found)
        } else {
            Err(ureq::Error::Other(Box::new(Closed)))
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;
    use std::io::{Read as _, Write as _};
    use std::net::{IpAddr, SocketAddr, TcpListener};
    use std::sync::{Arc, Mutex};

    use super::*;
    use crate::outbox::WebhookSender;

    /// A name whose address changes from one question to the next.
    #[derive(Debug)]
    struct Rebinding(Arc<Mutex<VecDeque<IpAddr>>>);

    impl Resolver for Rebinding {
        fn resolve(
            &self,
            uri: &Uri,
            _: &Config,
            _: NextTimeout,
        ) -> Result<ResolvedSocketAddrs, ureq::Error> {
            let next = self.0.lock().unwrap().pop_front();
            let port = uri.port_u16().unwrap();
            let mut found = self.empty();
            found.push(SocketAddr::new(next.unwrap(), port));
            Ok(found)
        }
    }

    /// Answers the one request of each connection.
    fn receiver() -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        std::thread::spawn(move || {
            for mut stream in listener.incoming().map_while(Result::ok) {
                let mut request = Vec::new();
                while !request.ends_with(b"body") {
                    let mut byte = [0];
                    stream.read_exact(&mut byte).unwrap();
                    request.extend(byte);
                }
                let answer = "HTTP/1.1 204 X\r\nconnection: close\r\n\r\n";
                stream.write_all(answer.as_bytes()).unwrap();
            }
        });
        address
    }

    #[test]
    fn a_name_that_changes_its_address_after_the_check_leads_nowhere_else() {
        let receiver = receiver();
        // Here they are allowed one address of this machine, and no other.
        let (open, closed) = (receiver.ip(), IpAddr::from([127, 0, 0, 2]));
        let addresses = Arc::new(Mutex::new(VecDeque::from([open, closed, open])));
        let reach = Reach::with(vec!["127.0.0.1/32".parse().unwrap()]);
        let resolver = Rebinding(Arc::clone(&addresses));
        let sender = WebhookSender::resolving(None, reach, resolver).unwrap();
        let send = || {
            let url = format!("http://rebinding.test:{}/hook", receiver.port());
            sender.agent.post(url).send("body")
        };
        assert_eq!(send().unwrap().status(), 204);
        assert_eq!(addresses.lock().unwrap().len(), 2, "asked for once");
        let e = send().unwrap_err();
        assert!(
            matches!(&e, ureq::Error::Other(e) if e.is::<Closed>()),
            "{e}"
        );
        assert_eq!(addresses.lock().unwrap().len(), 1, "asked for once");
        assert_eq!(send().unwrap().status(), 204);
    }
}

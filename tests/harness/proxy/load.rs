use super::{Client, Request, Response, eventually};
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Barrier};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// As many requests at once as there are connections, again and again. All connections
/// stand before the first request is sent, so that both workers have some.
pub fn burst(
    address: SocketAddr,
    connections: usize,
    each: usize,
    request: &Request,
) -> Vec<Response> {
    let start = Barrier::new(connections);
    let connection = || {
        let mut client = Client::connect(address);
        start.wait();
        let send = |_| client.send(request);
        (0..each).map(send).collect::<Vec<_>>()
    };
    thread::scope(|scope| {
        let threads: Vec<_> = (0..connections).map(|_| scope.spawn(connection)).collect();
        let answers = threads.into_iter().map(|thread| thread.join().unwrap());
        answers.flatten().collect()
    })
}

/// How many of the answers have this status.
pub fn count(answers: &[Response], status: u16) -> usize {
    answers.iter().filter(|a| a.status == status).count()
}

/// Kept-alive connections that ask until they are told to stop.
pub struct Load {
    stop: Arc<AtomicBool>,
    /// How many answers each connection has.
    counts: Vec<Arc<AtomicUsize>>,
    requests: usize,
    threads: Vec<JoinHandle<Vec<Answer>>>,
}

/// What became of one request.
pub struct Answer {
    pub sent: Instant,
    pub done: Instant,
    /// Which of the requests it was.
    pub request: usize,
    pub outcome: io::Result<Response>,
}

impl Answer {
    pub fn status(&self) -> Option<u16> {
        let outcome = self.outcome.as_ref();
        outcome.ok().map(|response| response.status)
    }
}

impl Load {
    /// Each connection sends all the requests in turn, `pace` apart, and ends with the
    /// first that got no answer. Every connection stands before this returns.
    pub fn start(
        address: SocketAddr,
        connections: usize,
        pace: Duration,
        requests: Vec<Request>,
    ) -> Self {
        let mut load = Self {
            stop: Arc::new(AtomicBool::new(false)),
            counts: Vec::new(),
            requests: requests.len(),
            threads: Vec::new(),
        };
        for _ in 0..connections {
            let connection = Connection {
                client: Client::connect(address),
                stop: Arc::clone(&load.stop),
                count: Arc::default(),
                pace,
            };
            load.counts.push(Arc::clone(&connection.count));
            let requests = requests.clone();
            let thread = thread::spawn(move || connection.run(&requests));
            load.threads.push(thread);
        }
        load
    }

    /// Waits until every connection has sent each request once more, from now on.
    pub fn another_round(&self) {
        let counts = || self.counts.iter().map(|count| count.load(Ordering::SeqCst));
        let before: Vec<usize> = counts().collect();
        // One of them may be under way already.
        let enough = self.requests + 1;
        eventually("every connection to have gone on", || {
            let mut pairs = counts().zip(&before);
            pairs
                .all(|(now, before)| now >= before + enough)
                .then_some(())
        });
    }

    /// What each connection saw, in order.
    pub fn stop(self) -> Vec<Vec<Answer>> {
        self.stop.store(true, Ordering::SeqCst);
        let threads = self.threads.into_iter();
        threads.map(|thread| thread.join().unwrap()).collect()
    }
}

struct Connection {
    client: Client,
    stop: Arc<AtomicBool>,
    count: Arc<AtomicUsize>,
    pace: Duration,
}

impl Connection {
    fn run(mut self, requests: &[Request]) -> Vec<Answer> {
        let mut answers = Vec::new();
        for (index, request) in requests.iter().enumerate().cycle() {
            if self.stop.load(Ordering::SeqCst) {
                break;
            }
            let sent = Instant::now();
            let outcome = self.client.try_send(request);
            let lost = outcome.is_err();
            answers.push(Answer {
                sent,
                done: Instant::now(),
                request: index,
                outcome,
            });
            self.count.fetch_add(1, Ordering::SeqCst);
            if lost {
                break;
            }
            thread::sleep(self.pace);
        }
        answers
    }
}

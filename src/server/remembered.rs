//! Answers to repeatable requests that create something only in the running server: kept in memory,
//! because what they create does not outlive it either.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

use serde_json::Value;

use keystile_model::error::Result;
use keystile_model::world::World;
use keystile_registry::replay;

/// Answers that are kept at most.
const MOST: usize = 64;

/// Answers that were given.
#[derive(Default)]
pub struct Remembered(Mutex<VecDeque<Answer>>);

struct Answer {
    caller: String,
    key: String,
    request: [u8; 32],
    at: u64,
    body: Vec<u8>,
}

impl Remembered {
    /// The answer to the same request of the same caller, under the same key.
    ///
    /// # Errors
    /// If the key is invalid, or was used for another request.
    pub fn find(&self, world: &World, key: &str, request: [u8; 32]) -> Result<Option<Vec<u8>>> {
        replay::check_key(key)?;
        let caller = world.caller.mark();
        let since = world.now.seconds().saturating_sub(replay::KEPT);
        let mut answers = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        answers.retain(|a| a.at >= since);
        let found = answers.iter().find(|a| a.caller == caller && a.key == key);
        match found {
            None => Ok(None),
            Some(answer) if answer.request == request => Ok(Some(answer.body.clone())),
            Some(_) => Err(replay::used_for_another(key)),
        }
    }

    /// Keeps an answer, without secrets.
    pub fn keep(&self, world: &World, key: String, request: [u8; 32], answer: &Value) {
        let answer = Answer {
            caller: world.caller.mark(),
            key,
            request,
            at: world.now.seconds(),
            body: replay::again(answer.clone()),
        };
        let mut answers = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if answers.len() >= MOST {
            answers.pop_front();
        }
        answers.push_back(answer);
    }
}

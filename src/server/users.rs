//! `basic_auth_users`: who may see anything, as Prometheus' web configuration has it.

use std::{
    collections::{BTreeMap, HashSet},
    fmt,
    sync::{Arc, Mutex, PoisonError},
};

use aws_lc_rs::hmac;
use base64::{Engine, prelude::BASE64_STANDARD};
use bcrypt::HashParts;
use http::{HeaderMap, HeaderValue, header};
use tokio::{sync::Semaphore, task::spawn_blocking};

use crate::value::{Fields, FromNode, Node};

/// Users and the bcrypt hashes of their passwords. It has no `Debug` that shows any.
#[derive(Clone)]
pub struct Users(Arc<Known>);

struct Known {
    hashes: BTreeMap<String, String>,
    /// Held against the passwords of users who are not known, so that they take as long.
    any_hash: String,
    /// What hides passwords in `verified`.
    key: hmac::Key,
    /// Users and passwords that were right before: to find that out again would take too long for
    /// every scrape.
    verified: Mutex<HashSet<Vec<u8>>>,
    /// One password is hashed at a time: a flood of wrong ones takes no more than a thread of those
    /// that run no checks.
    turn: Arc<Semaphore>,
}

/// Users and passwords that are remembered as right.
const REMEMBERED: usize = 1000;

/// The least cost that bcrypt knows.
const MIN_COST: u32 = 4;

/// The cost of a hash, beyond which a request would wait for seconds.
const MAX_COST: u32 = 15;

impl Users {
    /// Reads `basic_auth_users`.
    pub fn read(fields: &mut Fields<'_>) -> Option<Self> {
        let check_name = |name: &str| {
            if name.is_empty() || name.contains([':', '\n', '\r']) {
                return Err((
                    "is no name of a user".to_owned(),
                    "a text without colons and line breaks",
                ));
            }
            Ok(())
        };
        fields.node("basic_auth_users")?;
        let problems = fields.problems().count();
        let hashes = fields.map::<PasswordHash>("basic_auth_users", check_name);
        let hashes: BTreeMap<_, _> = hashes
            .into_iter()
            .map(|(name, PasswordHash(hash))| (name, hash))
            .collect();
        // Of none, a mapping that was left empty by mistake would let everybody in.
        let Some(any_hash) = hashes.values().next().cloned() else {
            if fields.problems().count() == problems {
                let allowed = "one user at least; without the key everybody may see everything";
                fields.wrong_value("basic_auth_users", "has nobody", allowed);
            }
            return None;
        };
        let key = hmac::Key::generate(hmac::HMAC_SHA256, &aws_lc_rs::rand::SystemRandom::new());
        Some(Self(Arc::new(Known {
            hashes,
            any_hash,
            key: key.expect("the system has random numbers"),
            verified: Mutex::default(),
            turn: Arc::new(Semaphore::new(1)),
        })))
    }

    /// Whether a request with these headers is from one of them.
    pub async fn permit(&self, headers: &HeaderMap) -> bool {
        let Some((user, password)) = headers.get(header::AUTHORIZATION).and_then(credentials)
        else {
            return false;
        };
        let known = &*self.0;
        let tag = hmac::sign(&known.key, format!("{user}\n{password}").as_bytes());
        if known.remembers(tag.as_ref()) {
            return true;
        }
        let Ok(turn) = known.turn.clone().acquire_owned().await else {
            return false;
        };
        let hash = known.hashes.get(&user);
        let is_known = hash.is_some();
        let hash = hash.unwrap_or(&known.any_hash).clone();
        let verify = move || {
            // Goes on where the client has gone away, and so keeps its turn.
            let _turn = turn;
            bcrypt::verify(password, &hash).unwrap_or(false)
        };
        let right = spawn_blocking(verify).await.unwrap_or(false) && is_known;
        if right {
            known.remember(tag.as_ref());
        }
        right
    }
}

impl Known {
    fn remembers(&self, tag: &[u8]) -> bool {
        let verified = self.verified.lock().unwrap_or_else(PoisonError::into_inner);
        verified.contains(tag)
    }

    fn remember(&self, tag: &[u8]) {
        let mut verified = self.verified.lock().unwrap_or_else(PoisonError::into_inner);
        if verified.len() >= REMEMBERED {
            verified.clear();
        }
        verified.insert(tag.to_vec());
    }
}

impl fmt::Debug for Users {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.hashes.keys()).finish()
    }
}

/// User and password of the scheme Basic (RFC 7617).
fn credentials(header: &HeaderValue) -> Option<(String, String)> {
    let (scheme, encoded) = header.to_str().ok()?.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let decoded = BASE64_STANDARD.decode(encoded.trim()).ok()?;
    let (user, password) = std::str::from_utf8(&decoded).ok()?.split_once(':')?;
    Some((user.to_owned(), password.to_owned()))
}

struct PasswordHash(String);

impl FromNode for PasswordHash {
    const ALLOWED: &'static str =
        "a hash of bcrypt with a cost from 4 to 15, as of htpasswd -nBC 10";

    fn from_node(node: &Node) -> Result<Self, String> {
        let text = String::from_node(node)?;
        // The text is not repeated: somebody may have written the password itself.
        let parts: HashParts = text.parse().map_err(|_| "is no hash of bcrypt")?;
        if !(MIN_COST..=MAX_COST).contains(&parts.get_cost()) {
            return Err(format!("has the cost {}", parts.get_cost()));
        }
        Ok(Self(text))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_asks_is_told_by_the_scheme_basic_alone() {
        let read = |text: &'static str| credentials(&HeaderValue::from_static(text));
        let prometheus = Some(("prometheus".to_owned(), "a:b".to_owned()));
        assert_eq!(read("Basic cHJvbWV0aGV1czphOmI="), prometheus);
        assert_eq!(read("bASIC  cHJvbWV0aGV1czphOmI="), prometheus);
        for text in [
            "",
            "Basic",
            "Basic ",
            "Basic !",
            "Bearer cHJvbWV0aGV1czphOmI=",
            "Basic YQ==",
            "Basic /zo=",
        ] {
            assert_eq!(read(text), None, "{text}");
        }
    }

    #[test]
    fn a_password_is_not_taken_for_its_hash_and_not_repeated() {
        let read = |text: &str| PasswordHash::from_node(&Node::Text(text.to_owned())).map(|_| ());
        let hash = "$2y$10$QOauhQNbBCuQDKes6eFzPeMqBSjb7Mr5DUmpZ/VcEd00UAV/LDeSi";
        assert_eq!(read(hash), Ok(()));
        assert_eq!(read("hunter2"), Err("is no hash of bcrypt".to_owned()));
        let dear = hash.replace("$10$", "$16$");
        assert_eq!(read(&dear), Err("has the cost 16".to_owned()));
    }
}
